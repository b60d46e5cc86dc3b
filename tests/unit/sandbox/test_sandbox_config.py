"""Limits and tiers: what is out of range is refused by name, and a weaker tier never passes for a stronger."""

import dataclasses

import pytest

from trustspace.domain.tiers import ANY_TIER, TIER_FULL, TIER_WITHOUT_LANDLOCK, TIERS, tier_satisfies
from trustspace.errors import InvalidInput
from trustspace.sandbox.config import Limits, SandboxConfig


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Limits)])
@pytest.mark.parametrize("value", [-1, 0, 1 << 60, True, 1.5, "10"])
def test_a_limit_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(InvalidInput, match=name):
        Limits(**{name: value})


def test_the_defaults_are_within_range():
    assert Limits().output_bytes == 64 << 20


def test_an_unknown_tier_cannot_be_demanded():
    with pytest.raises(InvalidInput, match="seatbelt"):
        SandboxConfig(minimum_tier="seatbelt")


def test_a_weaker_tier_does_not_satisfy_a_stronger_demand():
    assert tier_satisfies(TIER_FULL, TIER_WITHOUT_LANDLOCK)
    assert not tier_satisfies(TIER_WITHOUT_LANDLOCK, TIER_FULL)
    for tier in TIERS:
        assert tier_satisfies(tier, tier)
        assert tier_satisfies(tier, ANY_TIER)


@pytest.mark.parametrize("tier", ["", "none", ANY_TIER])
def test_what_is_not_a_tier_satisfies_nothing(tier):
    assert not tier_satisfies(tier, ANY_TIER)
    assert not tier_satisfies(TIER_FULL, "something stronger")
