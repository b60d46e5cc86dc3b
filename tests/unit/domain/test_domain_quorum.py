"""When an output may go: by every source unit concerned, by each one's own number of reviewers, artifact by artifact."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cast import Cast

from trustspace.domain.quorum import standing

HELD = Cast().until("hand_in")
NAMES = ("model.safetensors", "metrics.json")


def decide(cast: Cast, unit: int, reviewer: int, artifacts: tuple[str, ...] = NAMES) -> str:
    """An approval, or without artifacts a rejection; returns the job's state after it."""
    author = cast.units[unit]
    if artifacts:
        body = cast.decision_body(author, reviewer, artifacts=artifacts)
    else:
        body = cast.rejection_body(author)
    cast.put(cast.sign(author, f"review-{reviewer}", body))
    return cast.job.state


def stand(cast: Cast):
    return standing(cast.view, cast.job, cast.output, cast.now)


def test_two_of_three_in_each_of_three_units():
    cast = HELD.fork()
    steps = [(unit, reviewer) for unit in range(3) for reviewer in (1, 3)]
    for unit, reviewer in steps[:-1]:
        assert decide(cast, unit, reviewer) == "in-review"
        assert stand(cast).verdict == "open"
        assert stand(cast).artifacts == ()
    assert stand(cast).waiting_for == (cast.units[2].fingerprint,)
    assert decide(cast, *steps[-1]) == "approved"
    assert stand(cast).artifacts == NAMES
    assert len(stand(cast).decisions) == 6


def test_all_of_two_units_do_not_make_up_for_the_third():
    cast = HELD.fork()
    for unit in (0, 1):
        for reviewer in (1, 2, 3):
            assert decide(cast, unit, reviewer) == "in-review"
    assert decide(cast, 2, 1) == "in-review"
    assert decide(cast, 2, 2) == "approved"


@pytest.mark.parametrize("unit", [0, 1, 2])
@pytest.mark.parametrize("reviewer", [1, 2, 3])
def test_one_rejection_by_anybody_ends_it(unit, reviewer):
    cast = HELD.fork()
    others = [(u, r) for u in range(3) for r in (1, 2, 3) if (u, r) != (unit, reviewer)]
    for one in others[:3]:
        decide(cast, *one)
    assert decide(cast, unit, reviewer, ()) == "rejected"
    assert stand(cast).verdict == "rejected"
    assert stand(cast).artifacts == stand(cast).decisions == ()


def test_only_what_all_approve_is_approved():
    cast = HELD.fork()
    for unit in range(3):
        for reviewer in (1, 2):
            state = decide(cast, unit, reviewer, NAMES if unit else ("metrics.json",))
    assert state == "approved"
    assert stand(cast).artifacts == ("metrics.json",)


def test_reviewers_of_one_unit_who_approve_different_things_approve_nothing():
    cast = HELD.fork()
    for unit in (0, 1):
        for reviewer in (1, 2):
            decide(cast, unit, reviewer)
    decide(cast, 2, 1, ("metrics.json",))
    assert decide(cast, 2, 2, ("model.safetensors",)) == "rejected"


def test_a_log_needs_its_own_unit_alone_and_goes_only_when_named():
    cast = HELD.fork()
    for unit in range(3):
        for reviewer in (1, 2):
            decide(cast, unit, reviewer, (*NAMES, "run.log") if unit == 0 else NAMES)
    assert stand(cast).artifacts == (*NAMES, "run.log")


@settings(max_examples=60, deadline=None)
@given(st.permutations([(u, r) for u in range(3) for r in (1, 2, 3)]))
def test_in_whatever_order_they_come(order):
    """Approved exactly when the last unit reaches its second approval, never a decision before."""
    cast, approvals = HELD.fork(), [0, 0, 0]
    for unit, reviewer in order:
        if cast.job.state != "in-review":
            break
        state = decide(cast, unit, reviewer)
        approvals[unit] += 1
        assert (state == "approved") == (min(approvals) >= 2)
    assert cast.job.state == "approved"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 3), st.sets(st.sampled_from(NAMES), min_size=1)),
        unique_by=lambda d: d[:2],
        max_size=9,
    )
)
def test_nothing_is_approved_that_somebody_did_not_approve(decisions):
    cast, approvals = HELD.fork(), {name: [0, 0, 0] for name in NAMES}
    for unit, reviewer, names in decisions:
        if cast.job.state != "in-review":
            break
        decide(cast, unit, reviewer, tuple(n for n in NAMES if n in names))
        for name in names:
            approvals[name][unit] += 1
    for name in stand(cast).artifacts:
        assert min(approvals[name]) >= 2
