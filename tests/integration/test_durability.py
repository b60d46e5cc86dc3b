"""What was acknowledged stands: after a restart, a kill, a full disk, a damaged table. What is damaged is refused."""

import os
import resource
import sqlite3
import threading
import time
from types import SimpleNamespace

import pytest
from support import processes
from support.enclaves import make_enclave, publish, until, write_job
from support.world import World, trio

from trustspace.client import audit, jobs, releases, review
from trustspace.client.broker import Broker
from trustspace.domain.records import RECORDS, JobRecord
from trustspace.domain.statements import LogReference, make
from trustspace.errors import LogCorrupted, TrustspaceError, Unavailable
from trustspace.space.ledger import rebuild


def run_to_release(world, hospital, developer, buyer, enclave) -> str:
    """A whole story; returns the job."""
    publish(hospital, world)
    job = jobs.submit(developer, write_job(world))
    jobs.countersign(buyer, job)
    jobs.grant(hospital, job)
    broker = Broker(hospital)
    broker.attend()
    enclave.attend()
    assert broker.attend() == 1
    enclave.attend()
    assert world.state(job) == "in-review", enclave.failures()
    review.approve(hospital, review.open_case(hospital, job, "Dr Li"), comment="fine", accept_red=True)
    assert world.state(job) == "released"
    return job


def records(world) -> dict:
    view = world.ledger.view
    return {(r.kind, r.key): r for kind in RECORDS.values() for r in view.all(kind)}


def on_disk(world) -> dict:
    opened = world.opened()
    try:
        return {(r.kind, r.key): r for r in opened.store.records()}
    finally:
        opened.store.close()


@pytest.fixture(scope="module")
def told():
    """A space that has seen a whole story, stopped; each test works on a copy of its database."""
    world = World()
    people = trio(world)
    auditor = world.party("Auditor", "auditor")
    world.introduce()
    enclave = make_enclave(world, people[0])
    job = run_to_release(world, *people, enclave)
    enclave.stop()
    world.stop()
    yield SimpleNamespace(world=world, people=people, auditor=auditor, job=job)
    world.close()


@pytest.fixture
def damaged(told):
    """The stopped space, for a test to damage; it is whole again afterwards."""
    path = told.world.home / "space.sqlite"
    whole = {p: p.read_bytes() for p in path.parent.glob("space.sqlite*")}
    told.records = on_disk(told.world)
    yield told
    told.world.stop()
    for leftover in path.parent.glob("space.sqlite*"):
        leftover.unlink()
    for p, data in whole.items():
        p.write_bytes(data)


def execute(world, statement: str, *values) -> None:
    db = sqlite3.connect(world.home / "space.sqlite")
    with db:
        assert db.execute(statement, values).rowcount != 0, "the damage was done to nothing"
    db.close()


def rebuilt(world):
    opened = world.opened()
    try:
        return rebuild(opened.store, opened.ledger_key())
    finally:
        opened.store.close()


def test_a_restart_keeps_everything(told):
    before = on_disk(told.world)
    told.world.start()
    try:
        assert records(told.world) == before
        _, _, buyer = told.people
        delivered, certificate = releases.fetch(buyer, told.job)
        assert [d.name for d in delivered] == ["summary.json"]
        assert certificate.job == told.job
        found = audit.verify_ledger(told.auditor)
        assert found.replayed
        assert found.size == told.world.ledger.standing().size
    finally:
        told.world.stop()


# -- the projection is disposable


DAMAGE = {
    "a state changed": ("UPDATE projection SET record = replace(record, 'state\":\"released', 'state\":\"granted') WHERE kind = 'job'",),
    "a record unreadable": ("UPDATE projection SET record = '{' WHERE kind = 'job'",),
    "a record of a kind that is none": ("UPDATE projection SET kind = 'wish' WHERE kind = 'job'",),
    "a table emptied": ("DELETE FROM projection",),
    "a record lost": ("DELETE FROM projection WHERE kind = 'grant'",),
    "a record invented": (
        "INSERT INTO projection SELECT kind, 'ab' || substr(key, 3), record, first FROM projection WHERE kind = 'party' LIMIT 1",
    ),
    "a reviewer swapped": ("UPDATE projection SET record = replace(record, 'Dr Li', 'Dr Who') WHERE kind = 'grant'",),
}  # fmt: skip


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_projection_is_rebuilt(damaged, how):
    execute(damaged.world, *DAMAGE[how])
    found = rebuilt(damaged.world)
    assert found.differing > 0
    assert rebuilt(damaged.world).differing == 0
    damaged.world.start()
    assert records(damaged.world) == damaged.records
    assert damaged.world.state(damaged.job) == "released"


def test_rebuilding_what_is_whole_changes_nothing(damaged):
    assert rebuilt(damaged.world).differing == 0


@pytest.mark.parametrize("how", ["a record unreadable", "a record of a kind that is none"])
def test_a_projection_that_cannot_be_read_says_what_to_do(damaged, how):
    execute(damaged.world, *DAMAGE[how])
    with pytest.raises(LogCorrupted, match="space rebuild"):
        damaged.world.start()


# -- the entries are not


TAMPER = {
    "an envelope altered": "UPDATE entries SET envelope = CAST(replace(envelope, 'x', 'y') AS BLOB) WHERE position = 5",
    "an envelope cut": "UPDATE entries SET envelope = CAST(substr(envelope, 1, 40) AS BLOB) WHERE position = 5",
    "an envelope swapped": "UPDATE entries SET envelope = (SELECT envelope FROM entries WHERE position = 4) WHERE position = 5",
    "a digest altered": "UPDATE entries SET digest = zeroblob(32) WHERE position = 5",
    "the last entry lost": "DELETE FROM entries WHERE position = (SELECT max(position) FROM entries)",
    "an entry lost": "DELETE FROM entries WHERE position = 5",
    "an entry doubled": "INSERT INTO entries SELECT (SELECT max(position) + 1 FROM entries), zeroblob(32), type, author, job, accepted, envelope FROM entries WHERE position = 3",
    "an entry under another job": "UPDATE entries SET job = '' WHERE type = 'grant'",
    "an entry under another author": "UPDATE entries SET author = 'ab' WHERE position = 2",
    "an entry of another type": "UPDATE entries SET type = 'dataset' WHERE type = 'grant'",
    "another checkpoint": "UPDATE checkpoint SET size = size - 1",
    "no checkpoint": "DELETE FROM checkpoint",
    "a checkpoint that nobody signed": "UPDATE checkpoint SET note = replace(note, '— ', '— x')",
}  # fmt: skip


@pytest.mark.parametrize("how", TAMPER)
def test_a_ledger_that_was_tampered_with_is_not_rebuilt(damaged, how):
    projection = (
        sqlite3.connect(damaged.world.home / "space.sqlite").execute("SELECT * FROM projection").fetchall()
    )
    execute(damaged.world, TAMPER[how])
    with pytest.raises(TrustspaceError) as caught:
        rebuilt(damaged.world)
    assert type(caught.value) is LogCorrupted
    after = (
        sqlite3.connect(damaged.world.home / "space.sqlite").execute("SELECT * FROM projection").fetchall()
    )
    assert after == projection, "nothing is replaced by what is not proven"


@pytest.mark.parametrize(
    "how", ["a digest altered", "the last entry lost", "an entry lost", "another checkpoint", "no checkpoint"]
)
def test_a_space_does_not_serve_a_ledger_that_was_tampered_with(damaged, how):
    execute(damaged.world, TAMPER[how])
    with pytest.raises(LogCorrupted):
        damaged.world.start()


def test_a_statement_slipped_in_by_the_operator_is_found(damaged):
    """Everything that the operator holds is used: the entry is hashed and the checkpoint signed. Its rules still refuse."""
    from trustspace.domain.bodies import Refusal
    from trustspace.ledger.checkpoint import Checkpoint, sign_checkpoint
    from trustspace.ledger.merkle import MerkleTree

    hospital, developer, _ = damaged.people
    opened = damaged.world.opened()
    try:
        tree = MerkleTree()
        for leaf in opened.store.digests(0, 10**6):
            tree.append(leaf)
        key = opened.ledger_key()
        log = LogReference(origin=key.origin, size=tree.size, root=tree.root().hex())
        forged = make(
            Refusal(job=damaged.job), by=hospital.fingerprint, issued=int(time.time()), nonce=b"n" * 32, log=log,
            public=developer.keys.public("act"), sign=lambda m: developer.keys.sign("act", m),
        )  # fmt: skip
        tree.append(bytes.fromhex(forged.digest))
        note = sign_checkpoint(
            Checkpoint(key.origin, tree.size, tree.root()), key.origin, key.public, key.sign
        )
        execute(
            damaged.world, "INSERT INTO entries VALUES (?, ?, 'refusal', ?, ?, ?, ?)", tree.size - 1,
            bytes.fromhex(forged.digest), hospital.fingerprint, damaged.job, int(time.time()), forged.envelope.to_bytes(),
        )  # fmt: skip
        execute(damaged.world, "UPDATE checkpoint SET size = ?, note = ?", tree.size, note)
    finally:
        opened.store.close()
    with pytest.raises(LogCorrupted):
        rebuilt(damaged.world)
    damaged.world.start()
    with pytest.raises((LogCorrupted, TrustspaceError)):
        audit.verify_ledger(damaged.auditor)


# -- the disk is full


def limit_files(pid: int, size: int) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


def republish(party) -> None:
    party.publish(party.party.keys)


def test_a_full_disk_leaves_the_state_before_and_a_server_that_answers():
    """No file of the space's process may grow any more: the same error as a full disk, from the system itself."""
    world = World(subprocess=True)
    try:
        party = world.party("Dev GmbH", "developer")
        other = world.party("Auditor", "auditor")
        republish(party)
        before, sequence = party.session.sync(), party.party.sequence
        limit_files(world.child.pid, 1)
        for _ in range(3):
            with pytest.raises(Unavailable, match="disk"):
                republish(party)
        with pytest.raises(Unavailable, match="disk"):
            world.link(party).put_blob(
                bytes(1 << 20), "30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58", 1 << 20
            )
        # It still answers, and nothing has changed: neither what it says nor what is on its disk.
        assert other.session.sync() == before
        assert audit.verify_ledger(other).size == before.size
        assert party.party.sequence == sequence
        assert not list((world.home / "blobs").iterdir())
        # There is room again.
        limit_files(world.child.pid, resource.RLIM_INFINITY)
        republish(party)
        assert other.session.sync().size == before.size + 1
        world.restart()
        assert audit.verify_ledger(world.again(other)).size == before.size + 1
    finally:
        world.close()


def test_a_write_that_fails_takes_back_what_came_with_it(world, three, monkeypatch):
    """A whole batch is refused; the tree in memory is the one on disk again, and goes on from there."""
    ledger, hospital = world.ledger, three[0]
    before = hospital.session.sync()
    real = ledger.store.write_batch

    def fail(*_):
        raise Unavailable("The space cannot write its store (SQLITE_FULL).", fix="Is the disk full?")

    monkeypatch.setattr(ledger.store, "write_batch", fail)
    with pytest.raises(Unavailable):
        republish(hospital)
    assert hospital.session.sync() == before
    assert ledger._tree.size == before.size
    monkeypatch.setattr(ledger.store, "write_batch", real)
    republish(hospital)
    assert hospital.session.sync().size == before.size + 1


def test_a_surprise_in_the_writer_does_not_end_it(world, three, monkeypatch):
    ledger, hospital = world.ledger, three[0]

    def surprise(*_):
        raise RuntimeError("a value that nobody should see")

    monkeypatch.setattr(ledger.store, "write_batch", surprise)
    with pytest.raises(TrustspaceError) as caught:
        republish(hospital)
    assert "nobody should see" not in str(caught.value)
    monkeypatch.undo()
    republish(hospital)


# -- the power goes


def describe_on_and_on(world, party, go_on, acknowledged, errors):
    """Submit ever newer descriptions; keep the digest and place of each that was acknowledged."""
    link, sequence = world.link(party), party.party.sequence
    log = party.session.sync()
    while go_on.is_set():
        sequence += 1
        body = party.party.model_copy(update={"sequence": sequence})
        statement = make(
            body, by=party.fingerprint, issued=int(time.time()), nonce=os.urandom(32), log=log,
            public=party.keys.public("root"), sign=lambda m: party.keys.sign("root", m),
        )  # fmt: skip
        try:
            receipt = link.submit(statement.envelope.to_bytes())
        except Unavailable:
            return
        except TrustspaceError as error:
            errors.append(error)
            return
        acknowledged.append((statement.digest, receipt.index))


def submit_from(world, parties, stop):
    """Everybody submits at once until ``stop`` returns; gives back what was acknowledged."""
    go_on, acknowledged, errors = threading.Event(), [], []
    go_on.set()
    threads = [
        threading.Thread(target=describe_on_and_on, args=(world, p, go_on, acknowledged, errors))
        for p in parties
    ]
    for thread in threads:
        thread.start()
    stop(acknowledged)
    go_on.clear()
    for thread in threads:
        thread.join(60)
    assert errors == []
    return acknowledged


def test_many_at_once(world):
    """Every acknowledgement has its own place, and the ledger holds exactly these statements there."""
    parties = [world.party(f"Dev {n}", "developer") for n in range(6)]
    auditor = world.party("Auditor", "auditor")
    first = world.ledger.standing().size
    done = submit_from(world, parties, lambda acknowledged: until(lambda: len(acknowledged) >= 150, 60))
    assert sorted(index for _, index in done) == list(range(first, first + len(done)))
    leaves = list(world.link(auditor).leaves(0, 10**6))
    assert all(leaves[index].hex() == digest for digest, index in done)
    found = audit.verify_ledger(auditor)
    assert (found.replayed, found.size) == (True, first + len(done))


@pytest.mark.parametrize("moment", [5, 60])
def test_killed_in_the_middle_nothing_acknowledged_is_lost(moment):
    world = World(subprocess=True)
    try:
        parties = [world.party(f"Dev {n}", "developer") for n in range(4)]
        auditor = world.party("Auditor", "auditor")
        seen = auditor.session.sync()

        def kill(acknowledged):
            until(lambda: len(acknowledged) >= moment, 60)
            world.child.kill()

        done = submit_from(world, parties, kill)
        assert len(done) >= moment
        world.child = None
        world.start()
        auditor = world.again(auditor)
        # The ledger goes on from what its clients saw, and holds all that it said it holds.
        assert auditor.session.sync().size >= seen.size + len(done)
        leaves = [leaf.hex() for leaf in world.link(auditor).leaves(0, 10**6)]
        assert all(leaves[index] == digest for digest, index in done)
        assert audit.verify_ledger(auditor).replayed
        world.stop()
        opened = world.opened()
        assert rebuild(opened.store, opened.ledger_key()).differing == 0
        opened.store.close()
    finally:
        world.close()


def test_it_stops_cleanly_when_told_to():
    world = World(subprocess=True)
    try:
        party = world.party("Dev GmbH", "developer")
        waiting = threading.Thread(target=_ignore, args=(lambda: world.link(party).read(99, 10, 15.0),))
        waiting.start()
        started = time.monotonic()
        assert world.child.end() == 0
        assert time.monotonic() - started < 13, "it waited for the reader"
        assert "Traceback" not in world.child.log
        waiting.join(20)
        assert not (world.home / "address.json").exists()
    finally:
        world.child = None
        world.close()


def _ignore(action):
    try:
        action()
    except TrustspaceError:
        pass


# -- an approval whose release was not yet written


def test_a_release_that_a_crash_prevented_follows_at_the_next_start(world, three, monkeypatch):
    enclave = make_enclave(world, three[0])
    monkeypatch.setattr(type(world.space), "_release", lambda *_: None)
    publish(three[0], world)
    job = jobs.submit(three[1], write_job(world))
    jobs.countersign(three[2], job)
    jobs.grant(three[0], job)
    broker = Broker(three[0])
    broker.attend(), enclave.attend(), broker.attend(), enclave.attend()
    review.approve(three[0], review.open_case(three[0], job, "Dr Li"), comment="fine", accept_red=True)
    assert world.state(job) == "approved"
    monkeypatch.undo()
    enclave.stop()
    world.restart()
    assert world.state(job) == "released"
    assert world.ledger.view.get(JobRecord, job).release


def test_the_helpers_leave_nothing_behind():
    folder = processes.folder()
    (folder / "x").write_text("x")
    processes.remove(folder)
    assert not folder.exists()
