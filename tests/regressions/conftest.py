"""A fresh space, or a whole small story, for each test; both are gone after it."""

import pytest
from support.world import World

from regressions.helpers import Stage


@pytest.fixture
def world():
    made = World()
    yield made
    made.close()


@pytest.fixture
def stage():
    made = Stage()
    yield made
    made.close()
