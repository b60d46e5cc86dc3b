"""The space: what it must refuse, what it must survive, and what it must not tell."""

import os
import time
from dataclasses import replace

import pytest
from support import processes
from support.cast import Cast
from support.world import World, trio

from regressions.helpers import Stage
from trustspace.cli.main import run as command_line
from trustspace.client import audit, datasets, jobs, releases, review
from trustspace.client import home as party_home
from trustspace.client.audit import Witness
from trustspace.crypto.canonical import sha256_hex
from trustspace.domain.bodies import Dataset, PartyKey, Policy
from trustspace.domain.records import DatasetRecord
from trustspace.domain.replay import replay
from trustspace.domain.states import coarse_state
from trustspace.errors import (
    CATALOGUE,
    AlreadyExists,
    Code,
    InvalidInput,
    PermissionDenied,
    PolicyRefused,
    Unavailable,
)
from trustspace.ledger.note import parse_signature_line
from trustspace.space import server

# -- approvals that expire


def expiring(monkeypatch, at: int) -> None:
    """Every decision from now on expires then."""
    decision = review._decision
    monkeypatch.setattr(review, "_decision", lambda *a: decision(*a).model_copy(update={"expires": at}))


def test_an_approval_that_expired_before_it_was_given_is_refused(stage: Stage, monkeypatch):
    """Otherwise the job would be approved, could never be released, and the space could not start again."""
    job = stage.reviewed()
    expiring(monkeypatch, 1)
    with pytest.raises(InvalidInput, match="past"):
        stage.approve(job)
    assert stage.state(job) == "in-review"
    monkeypatch.undo()
    stage.world.restart()
    stage.approve(job)
    assert stage.state(job) == "released"


def test_a_space_starts_with_an_approval_that_expired_before_its_release(stage: Stage, monkeypatch):
    """Otherwise one approval, left behind by a crash, would keep the whole space from ever starting again."""
    job = stage.reviewed()
    # It was approved 100 s ago, for 50 s; the crash came before the release.
    ago = time.time() - 100
    expiring(monkeypatch, int(ago) + 50)
    monkeypatch.setattr(stage.world.ledger, "_clock", lambda: ago)
    monkeypatch.setattr(stage.hospital.session, "_clock", lambda: ago)
    stage.approve(job)
    assert stage.state(job) == "approved"
    monkeypatch.undo()
    stage.world.restart()
    assert stage.state(job) == "approved"
    stage.approve(job)  # the same reviewer, again
    assert stage.state(job) == "released"
    assert len(releases.fetch(stage.buyer, job)[0]) == 1


def test_an_approval_that_stands_is_not_given_twice():
    """The other half: only an expired one may be replaced."""
    cast = Cast(1, 2, 2).until("hand_in")
    unit = cast.units[0]
    cast.put(cast.sign(unit, "review-1", cast.decision_body(unit, 1)))
    again = cast.sign(unit, "review-1", cast.decision_body(unit, 1))
    with pytest.raises(AlreadyExists):
        cast.put(again)
    cast.now += 2 * 86400
    cast.put(cast.sign(unit, "review-1", cast.decision_body(unit, 1)))
    assert cast.job.state == "in-review"


# -- offers


@pytest.mark.parametrize(
    ("claimed", "demanded"),
    [({"kind": "snp"}, "software"), ({"kind": "snp"}, "snp"), ({"custody": "operator-hosted"}, "software")],
)
def test_an_offer_claims_no_better_platform_than_anybody_can_check(claimed, demanded):
    """Otherwise whoever runs an enclave would write "snp", or "own custody", and be given the key for it."""
    cast = Cast(1, 1, 1).until("countersign")
    unit = cast.units[0]
    cast.put(cast.sign(unit, "grant", cast.grant_body(unit, evidence_kind=demanded)))
    cast.challenge()
    evidence = cast.evidence()
    false = cast.sign(unit, "enclave", cast.offer_body(unit, evidence=evidence.model_copy(update=claimed)))
    with pytest.raises(PolicyRefused):
        cast.put(false)
    # A space that logs it all the same finds no broker that takes it: replaying judges by the same rules.
    with pytest.raises(PolicyRefused):
        replay([*cast.statements, false], cast.trust())
    if demanded == "software":
        cast.put(cast.sign(unit, "enclave", cast.offer_body(unit, evidence=evidence)))


# -- what developers and buyers are told, and when


def test_only_source_units_see_states_as_they_change(stage: Stage, monkeypatch):
    """Otherwise a job's code could tell its developer about the data by how long it runs, or by failing."""
    job = stage.granted()
    slot = int(time.time()) + 3600  # so long that its end is the first after all that happens here
    monkeypatch.setattr(stage.world.space.reader, "slot_seconds", slot)

    def told(party, at):
        monkeypatch.setattr(stage.world.space, "_clock", lambda: at)
        return next(j for j in jobs.listing(party) if j["statement"] == job)

    stage.run()
    for outsider in (stage.developer, stage.buyer):
        seen = told(outsider, slot - 1)
        assert seen["state"] == "waiting"
        assert not {"output", "decided_by", "waiting_for", "issued", "granted_by"} & seen.keys()
        assert told(outsider, slot)["state"] == "in review"
    assert told(stage.hospital, slot - 1)["state"] == "in-review"
    monkeypatch.setattr(stage.world.space, "_clock", time.time)
    stage.approve(job)
    assert told(stage.buyer, slot - 1)["state"] == "released"  # nothing is left to hide


def test_a_failure_is_told_no_finer_than_a_slot():
    """Otherwise the moment of a failure, chosen by the code, would carry bits to its developer."""
    moves = ((1000, "waiting"), (1210, "running"), (1217, "waiting"), (1223, "not released"))
    assert {coarse_state(moves, now, 600) for now in range(1210, 1800)} == {"waiting"}
    assert coarse_state(moves, 1800, 600) == "not released"


def test_the_slot_is_a_setting_that_the_space_reads(world: World):
    """Otherwise an operator who made it longer would believe in a bound that is not there."""
    assert world.space.reader.slot_seconds == 600
    path = world.home / "space.toml"
    path.write_text(path.read_text().replace("slot_seconds = 600", "slot_seconds = 3600"))
    world.restart()
    assert world.space.reader.slot_seconds == 3600


# -- long lists


@pytest.fixture
def crowded(world: World):
    """A source unit that may name datasets, and a valid body for one."""
    hospital, developer, _ = trio(world)
    hospital.publish([PartyKey(use="enclave", public="ab" * 32, holder="Enclave")])
    hospital.session.link.put_blob(b"mock", sha256_hex(b"mock"), 4)
    body = Dataset(
        dataset="small", version=1, manifest=sha256_hex(b"small"), description={"columns": []},
        mock=sha256_hex(b"mock"), policy=Policy(), custody="own", enclave="ab" * 32,
    )  # fmt: skip
    return world, hospital, developer, body


def test_many_large_descriptions_do_not_hide_the_others(crowded):
    """Otherwise one source unit could outgrow a message with its descriptions, and nobody could list anything."""
    world, hospital, developer, body = crowded
    small = hospital.submit(body, "act").digest
    large = {"dataset": "large", "manifest": sha256_hex(b"large"), "description": {"text": "y" * 200_000}}
    big = hospital.submit(body.model_copy(update=large), "act").digest
    copies = {}
    for statement, count in ((small, 500), (big, 30)):
        record = world.ledger.view.get(DatasetRecord, statement)
        for n in range(count):
            copy = record.model_copy(update={"statement": sha256_hex(f"{statement} {n}".encode())})
            copies[copy.statement] = copy
    world.ledger.view.install(copies.values())
    listed = [d["statement"] for d in datasets.listing(developer)]
    assert len(listed) == len(set(listed))
    assert set(listed) == {small, big, *copies}


def test_an_oversized_description_is_refused(crowded):
    """Otherwise a single one would be larger than a page can be."""
    _, hospital, _, body = crowded
    with pytest.raises(InvalidInput, match="description"):
        hospital.submit(body.model_copy(update={"description": {"text": "y" * 300_000}}), "act")
    hospital.submit(body, "act")


# -- blobs


def test_naming_a_digest_opens_nobody_elses_blob(stage: Stage):
    """Otherwise whoever learns a digest could read another developer's code by naming it in a job of theirs."""
    job = stage.ask()
    honest = stage.developer.session.job(job).job(job).body
    code = stage.developer.session.link.fetch(honest.code, 1 << 20)
    thief = stage.world.party("Thief", "buyer", "developer")
    stage.world.introduce()
    own = honest.model_copy(
        update={
            "developer": thief.fingerprint, "buyer": thief.fingerprint, "buyer_key": thief.keys.public("receive").hex(),
        }
    )  # fmt: skip
    with pytest.raises(InvalidInput, match="blob"):
        thief.submit(own, "act")
    with pytest.raises(PermissionDenied):
        thief.session.link.fetch(honest.code, 1 << 20)
    # Somebody who has the bytes may use them.
    thief.session.link.put_blob(code, honest.code, len(code))
    thief.submit(own, "act")
    assert thief.session.link.fetch(honest.code, 1 << 20) == code


# -- witnesses


def test_an_auditor_cannot_replace_another_witness_line(world: World):
    """Otherwise one auditor could void every other's cosignatures, and with them all certificates."""
    first, second = world.party("First", "auditor"), world.party("Second", "auditor")
    witness = Witness(first)
    size = witness.cosign_newest()
    assert size is not None
    kept = world.ledger.store.cosigned(size=size)[1]
    # The first one's name and key, hence the place of its line; the signature is rubbish.
    honest = parse_signature_line(kept.splitlines(keepends=True)[-1])
    rubbish = replace(honest, signature=os.urandom(len(honest.signature)))
    with pytest.raises(PermissionDenied):
        second.session.link.add_cosignature(size, rubbish.line())
    assert world.ledger.store.cosigned(size=size)[1] == kept
    assert Witness(second).cosign_newest() == size
    both = world.ledger.store.cosigned(size=size, at_least=2)[1]
    assert all(signed in both for signed in kept.splitlines() if signed.startswith("—"))


# -- one process at a home


def test_nobody_rebuilds_while_the_space_serves(capsys):
    """Otherwise a statement appended meanwhile would be missing from the tables: a party's newest keys, say."""
    world = World(subprocess=True)
    try:
        arguments = ["--home", str(world.home), "space", "rebuild"]
        assert command_line(arguments) == CATALOGUE[Code.UNAVAILABLE].exit_code
        world.stop()
        assert command_line(arguments) == 0
    finally:
        world.close()
        processes.end_all()


def test_nobody_serves_while_somebody_rebuilds(world: World):
    """Otherwise the space would write beside the rebuild, and each undo what the other did."""
    world.stop()
    opened = world.opened()

    def ready(*where: str) -> None:
        raise AssertionError("it serves")

    with opened.alone(), pytest.raises(Unavailable, match="running"):
        server.run(world.home, ready)
    opened.store.close()


# -- a disk that fails, an invitation, an answer that is lost


def test_after_an_unknown_state_of_the_disk_nothing_is_signed(world: World, monkeypatch):
    """Otherwise the space would sign a tree that its disk does not hold: to everybody, a forked ledger."""
    auditor, other = world.party("Auditor", "auditor"), world.party("Dev GmbH", "developer")
    before = world.ledger.standing()

    def fail(*_, **__):
        raise Unavailable("The disk is gone.")

    with monkeypatch.context() as broken:
        broken.setattr(world.ledger.store, "write_batch", fail)
        broken.setattr(world.ledger.store, "digests", fail)
        with pytest.raises(Unavailable):
            other.publish(other.party.keys)
    # The disk is back, and this process cannot know what of its tree is on it.
    with pytest.raises(Unavailable, match="Restart"):
        other.publish(other.party.keys)
    assert world.ledger.standing() == before
    world.restart()
    other.publish(other.party.keys)
    assert audit.verify_ledger(auditor).size == before.size + 1


def test_a_failed_write_alone_loses_nothing(world: World, monkeypatch):
    """Otherwise one full disk would need a restart; the tree is read back, and the next statement stands."""
    party = world.party("Auditor", "auditor")
    with monkeypatch.context() as full:

        def fail(*_):
            raise Unavailable("The disk is full.")

        full.setattr(world.ledger.store, "write_batch", fail)
        with pytest.raises(Unavailable):
            party.publish(party.party.keys)
    party.publish(party.party.keys)
    assert audit.verify_ledger(party).size == 3


def test_an_invitation_outlives_an_attempt_with_the_wrong_roles(world: World):
    """Otherwise a slip of the newcomer would burn it, and anybody who saw it could burn it on purpose."""
    invitation = world.invite("Dev GmbH", "developer")
    wrong = world.party("Wrong", "buyer", enrol=False)
    with pytest.raises(PermissionDenied, match="roles"):
        wrong.enrol(invitation)
    right = world.party("Dev GmbH", "developer", enrol=False)
    right.enrol(invitation)
    assert right.session.sync().size == 2


def test_enrolling_is_repeated_when_the_answer_was_lost(world: World, monkeypatch):
    """Otherwise a newcomer would be on the ledger for good and without a certificate to connect with."""
    invitation = world.invite("Dev GmbH", "developer")
    newcomer = world.party("Dev GmbH", "developer", enrol=False)
    with monkeypatch.context() as lossy:

        class Lossy(party_home.EnrolmentLink):
            def enrol(self, *request):
                super().enrol(*request)
                raise Unavailable("The answer was lost.")

        lossy.setattr(party_home, "EnrolmentLink", Lossy)
        with pytest.raises(Unavailable):
            newcomer.enrol(invitation)
    newcomer.enrol(invitation)
    assert newcomer.session.sync().size == 2  # on the ledger once
    newcomer.publish(newcomer.party.keys)
    stranger = world.party("Stranger", "developer", enrol=False)
    with pytest.raises(PermissionDenied):
        stranger.enrol(invitation)
