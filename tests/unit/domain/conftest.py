"""The story in memory at each of its steps; every test continues a copy of its own."""

import functools

import pytest
from support.cast import Cast


@functools.cache
def _stages(blind):
    cast, stages = Cast(blind=blind), {}
    stages["begin"] = cast.fork()
    for step in Cast.STEPS:
        getattr(cast, step)()
        stages[step] = cast.fork()
    return stages


@pytest.fixture
def at():
    """``at("grant_all")`` is the story after that step: three source units, two of three reviewers each.

    ``at("grant_all", blind=True)`` is that of a job whose code is blind.
    """
    return lambda step, blind=False: _stages(blind)[step].fork()
