"""Stopping: a source unit's refusal while it runs, and a developer's cancellation."""

import pytest
from support.cast import DAY, Actor, Cast
from support.joint import approve, hand_in, story

from trustspace.domain.records import OfferRecord
from trustspace.errors import (
    InvalidTransition,
    PermissionDenied,
    PolicyRefused,
)  # fmt: skip

RUNNING = story()


@pytest.fixture
def cast() -> Cast:
    return RUNNING.fork()


# -- stopping: a source unit's refusal and a developer's cancellation


def test_a_source_unit_stops_a_run_that_is_on(cast):
    offers = dict(cast.job.offers)
    hand_in(cast, cast.units[0])
    cast.put(cast.sign(cast.units[2], "grant", cast.refusal_body()))
    assert (cast.job.state, cast.job.refused_by) == ("refused", cast.units[2].fingerprint)
    assert (cast.job.offers, cast.job.run, cast.job.output) == ({}, "", "")
    assert all(cast.view.get(OfferRecord, digest).ended for digest in offers.values())
    late = RUNNING.fork()
    with pytest.raises(PermissionDenied, match="not of a run"):
        cast.put(late.sign(late.units[1], "enclave", late.output_body(late.units[1])))


CANCELLABLE = (
    "ask",
    "countersign",
    "grant_all",
    "challenge",
    "offer_all",
    "release_keys",
    "hand_in",
    "approve_all",
)


@pytest.mark.parametrize("step", CANCELLABLE)
def test_a_developer_cancels(step):
    cast = story(step)
    offers = dict(cast.job.offers)
    cast.put(cast.sign(cast.developer, "act", cast.cancellation_body()))
    assert cast.job.state == "cancelled"
    assert cast.job.moves[-1][1] == "not released"
    if step in ("offer_all", "release_keys"):
        assert (cast.job.offers, cast.job.run) == ({}, "")
        assert all(cast.view.get(OfferRecord, digest).ended for digest in offers.values())
    for unit in cast.units:
        if step == "hand_in":
            with pytest.raises(InvalidTransition, match="cancelled"):
                approve(cast, unit)
    with pytest.raises(InvalidTransition):
        cast.put(cast.sign(cast.units[0], "grant", cast.refusal_body()))


def test_what_is_approved_and_then_cancelled_is_not_released():
    cast = story("approve_all")
    release = cast.sign(cast.operator, "act", cast.release_body())
    cast.fork().put(release)
    cast.put(cast.sign(cast.developer, "act", cast.cancellation_body()))
    with pytest.raises(InvalidTransition, match="cancelled"):
        cast.put(release)


@pytest.mark.parametrize("who", ["other_developer", "buyer", "operator", "auditor", "unit"])
def test_nobody_else_cancels(cast, who):
    stranger = cast.units[0] if who == "unit" else getattr(cast, who)
    with pytest.raises(PermissionDenied):
        cast.put(cast.sign(stranger, "act", cast.cancellation_body()))
    assert cast.job.state == "running"


def test_another_partys_developer_cancels_nothing_of_it(cast):
    """A source unit of the job that is a developer elsewhere is not its developer."""
    both = Actor("Hospital and developer", "source-unit", "developer", reviewers=1)
    cast.put(cast.sign(both, "root", both.body))
    with pytest.raises(PermissionDenied, match="does not name"):
        cast.put(cast.sign(both, "act", cast.cancellation_body()))


def ended(step, act):
    cast = story(step)
    act(cast)
    return cast


ENDS = {
    "refused": lambda: ended("ask", lambda c: c.put(c.sign(c.units[0], "grant", c.refusal_body()))),
    "rejected": lambda: ended(
        "hand_in", lambda c: c.put(c.sign(c.units[0], "review-1", c.rejection_body(c.units[0])))
    ),
    "changes-requested": lambda: ended(
        "hand_in", lambda c: c.put(c.sign(c.units[0], "review-1", c.changes_body(c.units[0])))
    ),
    "revoked": lambda: ended("hand_in", lambda c: c.put(c.sign(c.units[0], "review-1", c.revocation_body()))),
    "released": lambda: story("release"),
    "cancelled": lambda: ended("ask", lambda c: c.put(c.sign(c.developer, "act", c.cancellation_body()))),
}


def test_a_developer_learns_nothing_finer_by_cancelling():
    """However it ended, the answer is the same: what a developer may know is told coarsely, and later."""
    told = set()
    for state, make in ENDS.items():
        cast = make()
        assert cast.job.state == state
        with pytest.raises(InvalidTransition) as caught:
            cast.put(cast.sign(cast.developer, "act", cast.cancellation_body()))
        told.add((type(caught.value), str(caught.value), str(caught.value.details)))
    assert len(told) == 1


def test_a_cancellation_comes_too_late_for_a_job_that_has_expired(cast):
    cast.now += 31 * DAY
    with pytest.raises(PolicyRefused, match="expired"):
        cast.put(cast.sign(cast.developer, "act", cast.cancellation_body()))
