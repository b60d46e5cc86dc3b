"""The story in memory at each of its steps; every test continues a copy of its own."""

import pytest
from support.cast import Cast


@pytest.fixture(scope="session")
def _stages():
    cast, stages = Cast(), {}
    stages["begin"] = cast.fork()
    for step in Cast.STEPS:
        getattr(cast, step)()
        stages[step] = cast.fork()
    return stages


@pytest.fixture
def at(_stages):
    """``at("grant_all")`` is the story after that step: three source units, two of three reviewers each."""
    return lambda step: _stages[step].fork()
