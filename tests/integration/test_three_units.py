"""Three source units of three reviewers each, two of whom must agree: over the wire, with the product's own clients."""

import itertools

import pytest
from support.units import Consortium
from support.world import World

from trustspace.client import releases, review
from trustspace.client.broker import Broker
from trustspace.crypto.canonical import commit
from trustspace.domain.certificate import load, verify
from trustspace.errors import (
    AlreadyExists,
    InvalidInput,
    InvalidTransition,
    PermissionDenied,
    PolicyRefused,
    TrustspaceError,
)  # fmt: skip


@pytest.fixture
def fresh():
    world = World()
    yield lambda **options: Consortium(world, **options)
    world.close()


def case(consortium, unit, reviewer):
    home = consortium.units[unit].home
    return home, review.open_case(home, consortium.job, consortium.units[unit].people[reviewer])


def approve(consortium, unit, reviewer, artifacts=()):
    home, opened = case(consortium, unit, reviewer)
    review.approve(home, opened, artifacts, comment="looked at it", accept_red=True)
    return consortium.world.state(consortium.job)


def test_the_whole_story(fresh):
    consortium = fresh()
    assert consortium.world.state(consortium.job) == "submitted"
    consortium.grant()
    assert consortium.world.state(consortium.job) == "granted"
    consortium.offer()
    assert consortium.release_keys() == [1, 1, 1]
    assert consortium.world.state(consortium.job) == "running"
    # Each data key came to its own unit's run key, and is another one.
    keys = {
        s.body.sealed_key
        for s in consortium.units[0].home.session.job(consortium.job).statements
        if s.type == "key-release"
    }
    assert len(keys) == 3
    consortium.hand_in()
    order = [(u, r) for u in range(3) for r in (2, 0)]
    for unit, reviewer in order[:-1]:
        assert approve(consortium, unit, reviewer) == "in-review"
        with pytest.raises(InvalidTransition):
            releases.fetch(consortium.buyer, consortium.job)
    assert approve(consortium, *order[-1]) == "released"
    delivered, certificate = releases.fetch(consortium.buyer, consortium.job)
    assert {d.name: d.content for d in delivered} == consortium.contents
    found = verify(load(certificate.to_bytes()), consortium.buyer.trust())
    assert len(found.source_units) == 3
    assert set(found.reviewers) == {u.people[r] for u in consortium.units for r in (2, 0)}


def test_brokers_wait_for_nobody_elses_run(fresh):
    """A key is released to one's own enclave's run; the job runs when every unit has done so."""
    consortium = fresh()
    consortium.grant()
    assert [Broker(u.home).attend() for u in consortium.units] == [0, 0, 0]
    consortium.offer()
    for number, unit in enumerate(consortium.units):
        assert consortium.world.state(consortium.job) == "granted"
        assert Broker(unit.home).attend() == 1
        assert Broker(unit.home).attend() == 0, "once"
        assert (consortium.world.state(consortium.job) == "running") == (number == 2)


@pytest.mark.parametrize("unit", [0, 1, 2])
def test_one_rejection_anywhere_ends_it(fresh, unit):
    consortium = fresh(reviewers=2).until_review()
    for other in {0, 1, 2} - {unit}:
        for reviewer in (0, 1):
            approve(consortium, other, reviewer)
    approve(consortium, unit, 0)
    home, opened = case(consortium, unit, 1)
    review.reject(home, opened, comment="no")
    assert consortium.world.state(consortium.job) == "rejected"
    with pytest.raises(InvalidTransition):
        releases.fetch(consortium.buyer, consortium.job)
    # Nobody can change their mind, here or anywhere.
    with pytest.raises(InvalidInput, match="rejected"):
        review.approve(home, opened, comment="after all", accept_red=True)
    others, theirs = case(consortium, (unit + 1) % 3, 0)
    with pytest.raises(TrustspaceError):
        review.approve(others, theirs, comment="again", accept_red=True)


def test_two_units_of_three_release_nothing(fresh):
    consortium = fresh().until_review()
    for unit, reviewer in itertools.product((0, 1), (0, 1, 2)):
        assert approve(consortium, unit, reviewer) == "in-review"
    assert approve(consortium, 2, 0) == "in-review"
    with pytest.raises(InvalidTransition):
        releases.fetch(consortium.buyer, consortium.job)
    with pytest.raises(AlreadyExists):
        approve(consortium, 2, 0)


def test_only_what_every_unit_approves_goes(fresh):
    consortium = fresh().until_review()
    for unit, reviewer in itertools.product((0, 1, 2), (0, 1)):
        state = approve(consortium, unit, reviewer, () if unit else ("metrics.json",))
    assert state == "released"
    delivered, _ = releases.fetch(consortium.buyer, consortium.job)
    assert [d.name for d in delivered] == ["metrics.json"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: {"units": a.units[:2], "unit_threshold": 2}, "without its share"),
        (lambda a: {"unit_threshold": 2}, "fewer source units"),
        (
            lambda a: {"units": (a.units[0].model_copy(update={"threshold": 1}), *a.units[1:])},
            "fewer reviewers",
        ),
        (
            lambda a: {
                "units": (a.units[0].model_copy(update={"shares": a.units[0].shares[:2]}), *a.units[1:])
            },
            "reviewers",
        ),
    ],
)
def test_an_output_that_passes_somebody_over_is_refused(fresh, change, words):
    consortium = fresh()
    consortium.grant()
    consortium.offer()
    consortium.release_keys()
    honest = consortium.pack()
    first = honest.artifacts[0]
    forged = honest.model_copy(
        update={"artifacts": (first.model_copy(update=change(first)), *honest.artifacts[1:])}
    )
    with pytest.raises(PolicyRefused, match=words):
        consortium.units[0].act(forged)
    consortium.units[0].act(honest)
    assert consortium.world.state(consortium.job) == "running", "the others have yet to sign the same"
    consortium.hand_in(1, 2)
    assert consortium.world.state(consortium.job) == "in-review"


def test_a_log_stays_with_its_own_unit(fresh):
    consortium = fresh().until_review()
    log = next(a for a in consortium.record_output().artifacts if a.role == "log")
    assert consortium.units[0].home.session.link.fetch(log.blob, log.sealed_bytes)
    for other in (consortium.units[1].home, consortium.buyer, consortium.developer):
        with pytest.raises(PermissionDenied):
            other.session.link.fetch(log.blob, log.sealed_bytes)
    home, opened = case(consortium, 1, 0)
    with pytest.raises(PermissionDenied, match="holds no share"):
        review.approve(home, opened, ("run.log",), comment="curious", accept_red=True)


def test_evidence_is_each_units_own(fresh):
    consortium = fresh().until_review()
    output = consortium.record_output()
    for unit, evidence in zip(consortium.units, output.evidence, strict=True):
        for other in consortium.units:
            if other is unit:
                assert other.home.session.link.fetch(evidence.blob, evidence.sealed_bytes)
            else:
                with pytest.raises(PermissionDenied):
                    other.home.session.link.fetch(evidence.blob, evidence.sealed_bytes)


def test_each_reviewers_reason_can_be_shown_later(fresh):
    """Two people of one unit each gave a reason; the ledger holds a commitment to each, and both can be opened."""
    consortium = fresh(units=1, reviewers=2).until_review()
    home = consortium.units[0].home
    for reviewer, reason in enumerate(("small enough", "no rare groups")):
        opened = review.open_case(home, consortium.job, consortium.units[0].people[reviewer])
        review.approve(home, opened, comment=reason, accept_red=True)
    kept = list(home.state()["comments"].values())
    assert {entry["text"] for entry in kept} == {"small enough", "no rare groups"}
    opened = {commit(entry["text"].encode(), bytes.fromhex(entry["salt"])) for entry in kept}
    said = [s.body.comment for s in home.session.job(consortium.job).statements if s.type == "decision"]
    assert set(said) == opened
    # The text itself is nowhere in the ledger.
    everything = b"".join(s.envelope.payload for s in home.session.job(consortium.job).statements)
    assert b"rare groups" not in everything
