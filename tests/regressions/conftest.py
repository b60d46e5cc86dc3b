"""A fresh space, or a whole small story, for each test; both are gone after it."""

import pytest
from regressions.helpers import Stage
from support.world import World


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
