"""A fresh space for each test, cleaned up whatever happens to it."""

import pytest
from support.world import World, trio


@pytest.fixture
def world():
    made = World()
    yield made
    made.close()


@pytest.fixture
def three(world):
    """One hospital, one developer, one buyer, enrolled, who have pinned each other."""
    return trio(world)
