"""Limits and tiers: what is out of range is refused by name, and a weaker tier never passes for a stronger."""

import dataclasses
from typing import get_args, get_type_hints

import pytest

from trustspace.domain.tiers import (
    ANY_TIER,
    TIER_FULL,
    TIER_WITHOUT_LANDLOCK,
    TIERS,
    stronger,
    tier_satisfies,
    weaker,
)
from trustspace.errors import InvalidInput
from trustspace.jobs.sections import Terms
from trustspace.sandbox.config import Limits, SandboxConfig


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Limits) if field.type == "int"])
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


def test_the_tiers_from_the_strongest_on():
    """In grants and certificates for good: a new one may come between, none may change its place."""
    assert TIERS == ("gvisor", "namespaces+landlock+seccomp", "namespaces+seccomp", "landlock+seccomp")
    assert not tier_satisfies("landlock+seccomp", "namespaces+seccomp")
    assert weaker("landlock+seccomp", "namespaces+seccomp") == "landlock+seccomp"
    assert stronger("landlock+seccomp", "namespaces+seccomp") == "namespaces+seccomp"
    assert stronger(ANY_TIER, "landlock+seccomp") == "landlock+seccomp"
    assert weaker("unheard-of", "landlock+seccomp") == "unheard-of"


def test_a_job_file_may_ask_for_every_tier():
    assert set(get_args(get_type_hints(Terms)["sandbox_tier"])) == {ANY_TIER, *TIERS}


@pytest.mark.parametrize("tier", ["", "none", ANY_TIER])
def test_what_is_not_a_tier_satisfies_nothing(tier):
    assert not tier_satisfies(tier, ANY_TIER)
    assert not tier_satisfies(TIER_FULL, "something stronger")
