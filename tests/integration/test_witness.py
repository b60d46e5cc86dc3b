"""Witnesses cosign what only ever grew, and auditors find what did not."""

import json
import shutil
import sqlite3
import threading
import time

import pytest
from support.enclaves import until

from trustspace.client import audit
from trustspace.domain.records import PartyRecord
from trustspace.errors import (
    InvalidInput,
    LogCorrupted,
    PermissionDenied,
    TrustspaceError,
    VerificationFailed,
)
from trustspace.ledger.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from trustspace.ledger.cosign import cosign
from trustspace.ledger.merkle import MerkleTree


@pytest.fixture
def auditor(world):
    return world.party("Auditor", "auditor")


@pytest.fixture
def witness(auditor):
    return audit.Witness(auditor)


def grow(world, times=1):
    for _ in range(times):
        party = world.parties[0]
        party.publish(party.party.keys)


def shown(world, party) -> str:
    return world.link(party).checkpoint(0)[0]


def test_it_cosigns_the_newest_and_each_once(world, auditor, witness):
    size = witness.cosign_newest()
    assert size == world.ledger.standing().size
    assert witness.cosign_newest() is None
    key = world.ledger.verifier
    assert open_checkpoint(shown(world, auditor), key, [witness.verifier], 1).size == size
    grow(world, 3)
    with pytest.raises(VerificationFailed, match="cosigned by 0"):
        open_checkpoint(shown(world, auditor), key, [witness.verifier], 1)
    assert witness.cosign_newest() == size + 3


def test_two_witnesses_sign_side_by_side(world, auditor, witness):
    second = audit.Witness(world.party("Auditor two", "auditor"))
    assert {witness.cosign_newest(), second.cosign_newest()} >= {world.ledger.standing().size}
    witness.cosign_newest()
    note = shown(world, auditor)
    assert open_checkpoint(note, world.ledger.verifier, [witness.verifier, second.verifier], 2)


def test_it_goes_on_after_a_restart_from_what_it_signed(world, auditor, witness):
    first = witness.cosign_newest()
    grow(world)
    assert audit.Witness(world.again(auditor)).cosign_newest() == first + 1


class Fork:
    """The space shows the witness another ledger than everybody else: same key, other leaves."""

    def __init__(self, world, size):
        self.key = world.opened().ledger_key()
        self.tree = MerkleTree()
        for number in range(size):
            self.tree.append(number.to_bytes(32))

    def checkpoint(self, known_size):
        checkpoint = Checkpoint(self.key.origin, self.tree.size, self.tree.root())
        note = sign_checkpoint(checkpoint, self.key.origin, self.key.public, self.key.sign)
        proof = self.tree.consistency_proof(known_size) if known_size <= self.tree.size else ()
        return note, tuple(proof)

    def add_cosignature(self, size, line):
        self.cosigned = size


@pytest.mark.parametrize("more", [-1, 0, 5])
def test_it_refuses_a_fork_and_signs_no_more(world, auditor, witness, more):
    """Positive control: a witness that never saw the real ledger signs the forked one."""
    signed = witness.cosign_newest()
    fork = Fork(world, signed + more)
    naive = audit.Witness(world.party("Auditor two", "auditor"))
    naive._home.session.link = fork
    assert naive.cosign_newest() == signed + more
    honest, auditor.session.link = auditor.session.link, fork
    with pytest.raises(LogCorrupted):
        witness.cosign_newest()
    # Not even what it would have signed before, until a person has looked.
    auditor.session.link = honest
    grow(world)
    with pytest.raises(LogCorrupted, match="signs no more"):
        witness.cosign_newest()
    with pytest.raises(LogCorrupted):
        audit.Witness(world.again(auditor)).cosign_newest()


def test_a_space_restored_from_an_old_backup_is_noticed(world, auditor, witness):
    """It holds its own key and a shorter ledger: everybody who saw the longer one refuses it."""
    world.stop()
    backup = world.path / "backup.sqlite"
    shutil.copy(world.home / "space.sqlite", backup)
    world.start()
    auditor = world.again(auditor)
    witness = audit.Witness(auditor)
    grow(world, 2)
    witness.cosign_newest()
    auditor.session.sync()
    world.stop()
    for leftover in world.home.glob("space.sqlite*"):
        leftover.unlink()
    shutil.copy(backup, world.home / "space.sqlite")
    world.start()
    auditor = world.again(auditor)
    with pytest.raises((LogCorrupted, InvalidInput)):
        auditor.session.sync()
    with pytest.raises((LogCorrupted, InvalidInput)):
        audit.Witness(auditor).cosign_newest()
    # Somebody new has no way to know.
    (auditor.path / "ledger.json").unlink()
    assert world.again(auditor).session.sync().size == world.ledger.standing().size


def test_only_an_auditor_cosigns_and_only_the_newest_under_its_own_name(world, auditor, witness):
    party = world.party("Dev GmbH", "developer")
    note = shown(world, party)
    size = world.ledger.standing().size
    key = party.keys.create_signing_key("witness")

    def line(name):
        return cosign(note, name, key, lambda m: party.keys.sign("witness", m), int(time.time()))

    with pytest.raises(PermissionDenied, match="auditor"):
        world.link(party).add_cosignature(size, line(f"witness/{party.fingerprint[:16]}"))
    with pytest.raises(TrustspaceError):
        world.link(auditor).add_cosignature(size, "— nonsense\n")
    with pytest.raises(PermissionDenied, match="own name"):
        world.link(auditor).add_cosignature(size, line("witness/somebody-else"))
    with pytest.raises(InvalidInput, match="moved on"):
        world.link(auditor).add_cosignature(size - 1, line(f"witness/{auditor.fingerprint[:16]}"))
    assert shown(world, party) == note
    assert witness.cosign_newest() == size


def test_it_serves_until_told_to_stop(world, auditor, witness):
    stop = threading.Event()
    serving = threading.Thread(target=witness.serve, args=(stop, 0.02))
    serving.start()
    try:
        for _ in range(3):
            grow(world)
            until(lambda: witness.verifier.split("+")[0] in shown(world, auditor), 20)
    finally:
        stop.set()
        serving.join(20)
    assert not serving.is_alive()


def test_a_fork_ends_its_service(world, auditor, witness):
    signed = witness.cosign_newest()
    auditor.session.link = Fork(world, signed + 2)
    caught = []

    def serve():
        try:
            witness.serve(threading.Event(), 0.02)
        except LogCorrupted as error:
            caught.append(error)

    serving = threading.Thread(target=serve)
    serving.start()
    serving.join(20)
    assert not serving.is_alive()
    assert caught


# -- auditing


def test_an_auditor_replays_everything_and_others_check_what_is_theirs(world, auditor):
    party = world.party("Dev GmbH", "developer")
    grow(world, 2)
    found = audit.verify_ledger(auditor)
    assert (found.replayed, found.size, found.statements_seen) == (True, 5, 5)
    theirs = audit.verify_ledger(party)
    assert (theirs.replayed, theirs.size) == (False, 5)


@pytest.mark.parametrize("lie", ["leaf", "missing leaf", "one too many", "statement", "withheld"])
def test_an_auditor_finds_what_does_not_fit(world, auditor, lie):
    grow(world, 3)
    link = auditor.session.link
    leaves, read = link.leaves, link.read

    def lying_leaves(start, size):
        real = list(leaves(start, size))
        return {
            "leaf": [*real[:2], b"x" * 32, *real[3:]], "missing leaf": real[:-1], "one too many": [*real, b"x" * 32],
        }.get(lie, real)  # fmt: skip

    def lying_read(after, limit, wait):
        entries, position = read(after, limit, wait)
        if lie == "statement":
            entries = [type(e)(e.index, entries[0].envelope) for e in entries]
        if lie == "withheld":
            entries = entries[:-1]
        return entries, position

    assert audit.verify_ledger(auditor).replayed
    link.leaves, link.read = lying_leaves, lying_read
    with pytest.raises(LogCorrupted):
        audit.verify_ledger(auditor)


def test_an_auditor_finds_a_signer_who_was_shown_another_ledger(world, auditor, monkeypatch):
    """The space takes the statement of somebody whom it shows a fork; the auditor sees what that signer saw."""
    party = world.party("Dev GmbH", "developer")
    monkeypatch.setattr(type(world.space), "_check_log", lambda *_: None)
    log = party.session.sync()
    state = json.loads((party.path / "ledger.json").read_bytes())
    (party.path / "ledger.json").write_text(json.dumps({**state, "root": "ab" * 32}))
    body = party.party.model_copy(update={"sequence": 2})
    forked = party.session.sign(
        body, public=party.keys.public("root"), sign=lambda m: party.keys.sign("root", m)
    )
    assert forked.log.size == log.size
    assert audit.verify_ledger(auditor).replayed
    world.link(party).submit(forked.envelope.to_bytes())
    with pytest.raises(LogCorrupted, match="shown another ledger"):
        audit.verify_ledger(auditor)


def test_what_the_projection_says_is_not_what_an_auditor_believes(world, auditor):
    """The operator edits its own tables while it runs; replaying finds nothing of it."""
    party = world.party("Dev GmbH", "developer")
    record = world.ledger.view.get(PartyRecord, party.fingerprint)
    false = record.body.model_copy(update={"roles": ("developer", "auditor")})
    world.ledger.view.install([record.model_copy(update={"body": false})])
    assert any(
        "auditor" in p["roles"]
        for p in world.link(auditor).view("parties")
        if p["fingerprint"] == party.fingerprint
    )
    assert auditor.session.trust.fingerprints()
    auditor.pin("Dev GmbH", party.fingerprint)
    assert auditor.session.party_body(party.fingerprint).roles == ("developer",)


def test_an_operator_who_edits_its_database_while_stopped_is_found(world, auditor):
    party = world.party("Dev GmbH", "developer")
    auditor.pin("Dev GmbH", party.fingerprint)
    world.stop()
    db = sqlite3.connect(world.home / "space.sqlite")
    with db:
        changed = db.execute(
            "UPDATE projection SET record = replace(record, 'developer', 'auditor') WHERE kind = 'party'"
        )
        assert changed.rowcount
    db.close()
    world.start()
    auditor = world.again(auditor)
    assert auditor.session.party_body(party.fingerprint).roles == ("developer",)
