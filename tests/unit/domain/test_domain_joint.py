"""Joint runs: what a job and its grants must say, who may drop out of a run, and who comes back.

Four source units of two reviewers each, one of whom must approve; three suffice for a sum.
"""

import pytest
from support.cast import Cast, digest
from support.joint import come_back, fail, hand_in, refused, story

from trustspace.crypto.canonical import canonical_json, sha256_hex
from trustspace.domain.bodies import SMALL_SUMS, DatasetUse
from trustspace.domain.records import GrantRecord, OfferRecord
from trustspace.errors import (
    AlreadyExists,
    InvalidInput,
    InvalidTransition,
    PermissionDenied,
    PolicyRefused,
    TrustspaceError,
)  # fmt: skip

RUNNING = story()


@pytest.fixture
def cast() -> Cast:
    return RUNNING.fork()


# -- the request


@pytest.mark.parametrize("kind", ["train", "statistics"])
def test_a_sum_is_of_two_at_least(kind):
    cast = story("describe", kind=kind, minimum=1)
    with pytest.raises(InvalidInput, match="at least 2"):
        cast.ask()
    cast.minimum = 2
    assert cast.ask().job.body.is_joint


@pytest.mark.parametrize(
    ("units", "kind", "joint"),
    [
        (1, "train", False),
        (1, "statistics", False),
        (2, "compute", False),
        (2, "train", True),
        (2, "statistics", True),
    ],
)
def test_a_joint_job_is_of_many_and_makes_one_result(units, kind, joint):
    cast = story("countersign", units=units, kind=kind, minimum=units)
    assert cast.job.body.is_joint == joint
    assert cast.grant_all().job.state == "granted"


@pytest.mark.parametrize("kind", ["train", "statistics"])
def test_a_joint_job_names_one_dataset_of_each(kind):
    cast = story("describe", kind=kind)
    unit = cast.units[0]
    second = cast.dataset_body(unit, dataset="second", manifest=digest("second"))
    more = DatasetUse(
        dataset=cast.put(cast.sign(unit, "act", second)).digest,
        source_unit=unit.fingerprint,
        columns=("size",),
    )
    body = cast.job_body()
    with pytest.raises(InvalidInput, match="two datasets of one source unit"):
        cast.put(
            cast.sign(cast.developer, "act", body.model_copy(update={"datasets": (*body.datasets, more)}))
        )
    cast.put(cast.sign(cast.developer, "act", body))


@pytest.mark.parametrize(
    ("kind", "minimum", "needed"),
    [("train", 2, True), ("statistics", 2, True), ("train", 3, False), ("statistics", 3, False), ("compute", 2, False)],
)  # fmt: skip
def test_sums_of_two_are_granted_in_words(kind, minimum, needed):
    """Whoever is one of two computes the other's part: every source unit must have said that it knows."""
    cast = story("countersign", kind=kind, minimum=minimum)
    unit = cast.units[0]
    without = cast.sign(unit, "grant", cast.grant_body(unit, small_sums=""))
    if needed:
        with pytest.raises(PolicyRefused, match="two source units alone"):
            cast.put(without)
        cast.put(cast.sign(unit, "grant", cast.grant_body(unit, small_sums=SMALL_SUMS)))
    else:
        cast.put(without)
    assert cast.grant(unit).body.small_sums == (SMALL_SUMS if needed else "")


def test_other_words_are_no_words():
    with pytest.raises(ValueError, match="small_sums"):
        type(RUNNING.grant(RUNNING.units[0]).body).model_validate(
            {**RUNNING.grant(RUNNING.units[0]).body.model_dump(), "small_sums": "yes"}
        )


# -- a run and its name


def test_a_run_is_named_by_the_offers_that_began_it():
    cast = story("offer_all")
    assert cast.job.run == ""
    offers = sorted(cast.job.offers.values())
    cast.release_keys()
    assert cast.job.run == sha256_hex(canonical_json({"job": cast.job.statement, "offers": offers}))


def test_another_run_has_another_name(cast):
    first = cast.job.run
    for unit in cast.units[:2]:
        fail(cast, unit)
    assert (cast.job.state, cast.job.run, cast.job.offers) == ("granted", "", {})
    cast.challenge().offer_all().release_keys()
    assert cast.job.state == "running"
    assert cast.job.run not in ("", first)


# -- dropping out


def test_a_run_goes_on_without_one_while_enough_are_left(cast):
    run, lost = cast.job.run, cast.units[1]
    offer = cast.job.offers[lost.fingerprint]
    fail(cast, lost)
    assert (cast.job.state, cast.job.run) == ("running", run)
    assert set(cast.job.offers) == {u.fingerprint for u in cast.units if u is not lost}
    assert cast.view.get(OfferRecord, offer).ended
    assert not any(cast.offer(u).ended for u in cast.units if u is not lost)


def test_below_the_minimum_it_ends_for_all(cast):
    offers = dict(cast.job.offers)
    fail(cast, cast.units[1])
    fail(cast, cast.units[2])
    assert (cast.job.state, cast.job.run, cast.job.offers) == ("granted", "", {})
    assert all(cast.view.get(OfferRecord, digest).ended for digest in offers.values())


def test_it_ends_for_all_when_no_runs_are_left():
    cast = story(runs=1)
    fail(cast, cast.units[1])
    assert cast.job.state == "running"
    fail(cast, cast.units[2])
    assert cast.job.state == "failed"


def test_a_job_without_a_joint_result_waits_for_everybody():
    cast = story(kind="compute")
    fail(cast, cast.units[3])
    assert (cast.job.state, cast.job.offers) == ("granted", {})


def test_before_it_runs_only_the_one_that_failed_offers_anew():
    """The others' keys are released and counted; their runs are not used up by somebody else's restart."""
    cast = story("offer_all", runs=2)
    for unit in cast.units[:3]:
        cast.put(cast.sign(unit, "broker", cast.release_key_body(unit)))
    kept = {u.fingerprint: cast.job.offers[u.fingerprint] for u in cast.units[:3]}
    fail(cast, cast.units[3])
    assert (cast.job.state, cast.job.offers) == ("granted", kept)
    come_back(cast, cast.units[3])
    assert cast.job.state == "running"
    assert [cast.grant(unit).runs_used for unit in cast.units] == [1, 1, 1, 1]


def test_who_has_no_run_left_before_it_began_ends_it_for_all():
    cast = story("offer_all", runs=1)
    unit, offers = cast.units[3], dict(cast.job.offers)
    cast.put(cast.sign(unit, "broker", cast.release_key_body(unit)))
    fail(cast, unit)
    assert (cast.job.state, cast.job.offers) == ("failed", {})
    assert all(cast.view.get(OfferRecord, digest).ended for digest in offers.values())


# -- coming back


def test_an_enclave_that_restarted_comes_back_into_the_same_run(cast):
    run, unit = cast.job.run, cast.units[1]
    old = cast.job.offers[unit.fingerprint]
    fail(cast, unit)
    come_back(cast, unit)
    assert (cast.job.state, cast.job.run) == ("running", run)
    assert set(cast.job.offers) == {u.fingerprint for u in cast.units}
    assert cast.job.offers[unit.fingerprint] != old
    assert cast.grant(unit).runs_used == 2
    # Its new offer counts as the old one did, and the old one no more.
    with pytest.raises(PermissionDenied, match="not of a run"):
        hand_in(cast, unit, offer=old)
    for member in cast.units:
        hand_in(cast, member)
    assert cast.job.state == "in-review"


def test_who_is_in_the_run_offers_nothing_new(cast):
    unit = cast.units[0]
    with pytest.raises(InvalidTransition, match="running: run-nonce"):
        cast.put(cast.sign(cast.units[1], "broker", cast.nonce_body(cast.units[1], unit)))
    fail(cast, cast.units[3])
    with pytest.raises(InvalidTransition, match="running: run-nonce"):
        cast.put(cast.sign(cast.units[1], "broker", cast.nonce_body(cast.units[1], unit)))
    # Nor twice: once it is back, that is its offer.
    come_back(cast, cast.units[3])
    with pytest.raises(InvalidTransition, match="running: run-offer"):
        cast.put(cast.sign(cast.units[3], "enclave", cast.offer_body(cast.units[3])))


def test_a_key_is_not_released_twice_into_a_run(cast):
    unit = cast.units[0]
    with pytest.raises(AlreadyExists):
        cast.put(cast.sign(unit, "broker", cast.release_key_body(unit)))


def test_coming_back_uses_a_run_up():
    cast = story(runs=1)
    asked = cast.sign(cast.units[0], "broker", cast.nonce_body(cast.units[0], cast.units[1]))
    fail(cast, cast.units[1])
    with pytest.raises(PolicyRefused, match="used up"):
        cast.put(asked)
    with pytest.raises(PolicyRefused, match="used up"):
        cast.put(cast.sign(cast.units[1], "enclave", cast.offer_body(cast.units[1])))
    assert cast.job.state == "running", "the others go on"


def test_an_offer_without_a_key_does_not_count_as_in_the_run(cast):
    fail(cast, cast.units[1])
    come_back(cast, cast.units[1], keys=False)
    assert len(cast.job.offers) == 4
    refused(cast, PolicyRefused, "not in this run", cast.units[0], tuple(cast.units))
    fail(cast, cast.units[2])
    assert cast.job.state == "granted", "three offers stand, and only two of them can open anything"


@pytest.mark.parametrize("name", ["key-release", "run-offer", "run-nonce"])
def test_nobody_comes_back_to_what_is_under_review(cast, name):
    lost = cast.units[1]
    fail(cast, lost)
    come_back(cast, lost, keys=False)
    late = {
        "key-release": cast.sign(lost, "broker", cast.release_key_body(lost)),
        "run-nonce": cast.sign(lost, "broker", cast.nonce_body(lost, lost)),
        "run-offer": cast.sign(lost, "enclave", cast.offer_body(lost)),
    }[name]
    members = tuple(u for u in cast.units if u is not lost)
    for member in members:
        hand_in(cast, member, members)
    assert cast.job.state == "in-review"
    with pytest.raises(TrustspaceError):
        cast.put(late)


# -- a run-failed by somebody else


def test_an_enclave_ends_its_own_part_alone(cast):
    """Neither in its own name with another's offer, nor with another's key."""
    villain, victim = cast.units[0], cast.units[1]
    theirs = cast.failed_body(victim)
    for statement in (
        cast.sign(villain, "enclave", theirs),
        cast.sign(cast.other_unit, "enclave", theirs),
    ):
        with pytest.raises(PermissionDenied):
            cast.put(statement)
    with pytest.raises(TrustspaceError):
        cast.put(cast.sign(villain, "enclave", theirs, by=victim.fingerprint))
    assert set(cast.job.offers) == {u.fingerprint for u in cast.units}
    assert cast.view.get(GrantRecord, cast.job.grants[victim.fingerprint]).runs_used == 1
    fail(cast, victim)
    assert victim.fingerprint not in cast.job.offers
