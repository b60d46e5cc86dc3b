"""What a reviewer is told of how an output stands: nothing too early, and nothing that does not count any more."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.cast import DAY, Cast

from trustspace.client.standing import standing_for


def case(cast: Cast, unit: int = 0, days: int = 0, comments=None):
    """An output as a reviewer of a source unit has it before them, so many days from now."""
    actor = cast.units[unit]
    return SimpleNamespace(
        job=cast.job, output=cast.output, grant=cast.grant(actor), dossier=SimpleNamespace(view=cast.view),
        evidence=SimpleNamespace(source_unit=actor.fingerprint), opened=cast.now + days * DAY, comments=comments or {},
    )  # fmt: skip


def decide(cast: Cast, unit: int, reviewer: int, verdict: str = "approve"):
    actor = cast.units[unit]
    body = {
        "approve": lambda: cast.decision_body(actor, reviewer),
        "reject": lambda: cast.rejection_body(actor),
        "changes": lambda: cast.changes_body(actor),
    }[verdict]()
    return cast.put(cast.sign(actor, f"review-{reviewer}", body))


@pytest.fixture(scope="module")
def handed_in():
    """Two source units, two of three reviewers each."""
    return Cast(units=2, reviewers=3, threshold=2).until("hand_in")


@pytest.fixture
def cast(handed_in):
    return handed_in.fork()


def told(found):
    return [person.decision for person in found.people], [(one.approved, one.closed) for one in found.units]


def names(cast: Cast, unit: int = 0):
    return [reviewer.holder for reviewer in cast.units[unit].reviewers()]


def test_how_far_other_units_are_is_shown_and_ones_own_is_not(cast):
    decide(cast, 0, 1)
    decide(cast, 1, 1)
    decide(cast, 1, 2)
    first, second, _ = names(cast)
    seen = standing_for(case(cast), second)
    assert (seen.blind, seen.approved) == (True, None)
    assert told(seen) == (["hidden", "", "hidden"], [(None, False), (2, False)])
    # Who has decided sees both.
    assert told(standing_for(case(cast), first)) == (["approve", "", ""], [(1, False), (2, False)])
    # And of the other unit's own people, nobody is blind who has decided.
    assert told(standing_for(case(cast, unit=1), names(cast, 1)[0]))[1] == [(1, False), (2, False)]


@pytest.mark.parametrize("verdict", ["reject", "changes"])
def test_what_is_closed_is_hidden_from_nobody(cast, verdict):
    """Once it has ended there is nothing left to influence, and why it ended may be known."""
    decide(cast, 0, 1)
    second = names(cast)[1]
    assert standing_for(case(cast), second).blind
    decide(cast, 1, 3, verdict)
    seen = standing_for(case(cast), second)
    assert (seen.blind, seen.approved) == (False, 1)
    assert told(seen) == (["approve", "", ""], [(1, False), (0, True)])


def test_an_approval_that_has_lapsed_counts_no_more(cast):
    decide(cast, 0, 1)
    decide(cast, 0, 2)
    first = names(cast)[0]
    assert standing_for(case(cast), first).approved == 2
    late = standing_for(case(cast, days=2), first)
    assert late.approved == 0
    assert told(late) == (["lapsed", "lapsed", ""], [(0, False), (0, False)])


def test_a_stranger_is_as_blind_as_who_has_not_decided(cast):
    decide(cast, 0, 1)
    assert told(standing_for(case(cast), "Dr Nobody"))[0] == ["hidden", "hidden", "hidden"]
