"""Submitting and reading: idempotent, ordered, proven, bounded, and only for those concerned."""

import threading
import time
from types import SimpleNamespace

import pytest
from support.enclaves import make_enclave, publish, write_job
from support.world import World, trio

from trustspace.client import jobs
from trustspace.domain.bodies import Refusal
from trustspace.domain.statements import LogReference, make, parse
from trustspace.errors import (
    InvalidInput,
    LogCorrupted,
    NotFound,
    PermissionDenied,
    TrustspaceError,
    VerificationFailed,
)
from trustspace.ledger.merkle import EMPTY_ROOT
from trustspace.transport.links import Subject
from trustspace.transport.tls import Caller


@pytest.fixture(scope="module")
def story():
    """A job that was asked for and countersigned, and a stranger who is enrolled in the same space."""
    world = World()
    hospital, developer, buyer = trio(world)
    stranger = world.party("Other Dev", "developer")
    auditor = world.party("Auditor", "auditor")
    world.introduce()
    enclave = make_enclave(world, hospital)
    dataset = publish(hospital, world)
    job = jobs.submit(developer, write_job(world))
    jobs.countersign(buyer, job)
    yield SimpleNamespace(
        world=world, hospital=hospital, developer=developer, buyer=buyer, stranger=stranger,
        auditor=auditor, dataset=dataset, job=job,
    )  # fmt: skip
    enclave.stop()
    world.close()


def size(world) -> int:
    return world.ledger.standing().size


# -- submit


def test_the_same_statement_again_has_the_same_place(world, three):
    hospital = three[0]
    body = hospital.party.model_copy(update={"sequence": 2})
    signed = hospital.session.sign(
        body, public=hospital.keys.public("root"), sign=lambda m: hospital.keys.sign("root", m)
    )
    before = size(world)
    indexes = {hospital.session.append(signed) for _ in range(3)}
    assert indexes == {before}
    assert size(world) == before + 1


def test_the_same_statement_from_many_at_once_stands_once(world, three):
    hospital = three[0]
    body = hospital.party.model_copy(update={"sequence": 2})
    signed = hospital.session.sign(
        body, public=hospital.keys.public("root"), sign=lambda m: hospital.keys.sign("root", m)
    )
    before, receipts = size(world), []
    threads = [
        threading.Thread(
            target=lambda: receipts.append(world.link(hospital).submit(signed.envelope.to_bytes()).index)
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert receipts == [before] * 8
    assert size(world) == before + 1


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff\xfe", b'{"payload":1}', b"x" * (2 << 20)])
def test_what_is_no_statement_is_refused_and_leaves_nothing(world, three, data):
    before = size(world)
    with pytest.raises((VerificationFailed, InvalidInput)):
        world.link(three[0]).submit(data)
    assert size(world) == before


@pytest.mark.parametrize("lie", ["larger", "root", "empty", "origin"])
def test_a_statement_names_a_state_that_the_ledger_had(world, three, lie):
    """Somebody who was shown another ledger is told so, instead of being taken in."""
    hospital = three[0]
    real = hospital.session.sync()
    log = {
        "larger": LogReference(origin=real.origin, size=real.size + 1, root=real.root),
        "root": LogReference(origin=real.origin, size=real.size, root="ab" * 32),
        "empty": LogReference(origin=real.origin, size=0, root="ab" * 32),
        "origin": LogReference(origin="another/ledger", size=0, root=EMPTY_ROOT.hex()),
    }[lie]

    def statement(reference):
        body = hospital.party.model_copy(update={"sequence": 2})
        return make(
            body, by=hospital.fingerprint, issued=int(time.time()), nonce=b"n" * 32, log=reference,
            public=hospital.keys.public("root"), sign=lambda m: hospital.keys.sign("root", m),
        ).envelope.to_bytes()  # fmt: skip

    before = size(world)
    with pytest.raises(VerificationFailed, match="never had"):
        world.link(hospital).submit(statement(log))
    assert size(world) == before
    world.link(hospital).submit(statement(real))


def test_a_refused_statement_leaves_no_trace(world, three):
    hospital, before = three[0], size(world)
    with pytest.raises(PermissionDenied):
        hospital.submit(Refusal(job="00" * 32), "grant")
    assert size(world) == before
    assert hospital.session.sync().size == before


# -- read


def test_everybody_reads_their_own_and_nobody_anothers(story):
    def kinds(party):
        entries, _ = story.world.link(party).read(0, 256, 0)
        return [parse(e.envelope).type for e in entries]

    everything = kinds(story.auditor)
    assert len(everything) == size(story.world)
    public = [k for k in everything if k in ("party", "dataset")]
    assert kinds(story.stranger) == public
    assert kinds(story.hospital) == everything
    assert kinds(story.developer) == everything


def test_reading_goes_on_from_where_it_was(story):
    link, position, seen = story.world.link(story.auditor), 0, []
    while True:
        entries, following = link.read(position, 2, 0)
        if following == position:
            break
        assert len(entries) <= 2
        seen += [e.index for e in entries]
        position = following
    assert seen == list(range(size(story.world)))


def test_a_reader_who_may_not_see_is_moved_on_all_the_same(story):
    entries, position = story.world.link(story.stranger).read(0, 256, 0)
    assert position == size(story.world)
    assert len(entries) < position


@pytest.mark.parametrize("after", [10**6, 2**63, 2**64 - 1])
def test_beyond_the_end_there_is_nothing(story, after):
    entries, position = story.world.link(story.auditor).read(after, 256, 0)
    assert (entries, position) == ([], after)


def test_a_long_poll_ends_when_something_happens(world, three):
    hospital, link = three[0], world.link(three[1])
    position, answers = size(world), []
    waiting = threading.Thread(
        target=lambda: answers.append((link.read(position, 256, 15.0), time.monotonic()))
    )
    waiting.start()
    time.sleep(0.3)
    assert not answers, "there is nothing to answer with"
    started = time.monotonic()
    hospital.publish(hospital.party.keys)
    waiting.join(30)
    (entries, after), ended = answers[0]
    assert [parse(e.envelope).type for e in entries] == ["party"]
    assert after == position + 1
    assert ended - started < 12, "it waited until its time was over"


def test_a_long_poll_ends_without_anything(world, three):
    started = time.monotonic()
    entries, _ = world.link(three[0]).read(size(world), 256, 0.5)
    assert entries == []
    assert time.monotonic() - started >= 0.4


def test_many_who_wait_do_not_keep_the_others_out(world, three):
    """Waiting is bounded: the thirty-third is answered at once, and everything else goes on."""
    hospital, position = three[0], size(world)
    # As many as there are otherwise would be as many connections of this one process.
    world.space._waiting = threading.BoundedSemaphore(32)
    done = threading.Event()
    threads = [
        threading.Thread(
            target=lambda: (world.link(hospital).read(position, 256, 15.0), done.set()), daemon=True
        )
        for _ in range(40)
    ]
    for thread in threads:
        thread.start()
    assert done.wait(10), "those beyond the bound do not wait"
    started = time.monotonic()
    three[1].publish(three[1].party.keys)
    assert time.monotonic() - started < 10, "it waited for one of those who wait"
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_a_statement_is_read_by_nobody_before_it_is_known_whose_it_is(story):
    """Between the disk and the projection: the new job's statement is stored, and not yet anybody's to read."""
    world, ledger = story.world, story.world.ledger
    stored, go_on = threading.Event(), threading.Event()
    real = ledger.view.install

    def slow(changes):
        stored.set()
        assert go_on.wait(20)
        real(changes)

    ledger.view.install = slow
    before = size(world)
    try:
        asking = threading.Thread(target=lambda: jobs.submit(story.developer, write_job(world)))
        asking.start()
        assert stored.wait(20)
        entries, position = world.link(story.stranger).read(before, 256, 0)
        assert entries == []
        assert position == before, "whoever may read it must not be led past it either"
        entries, position = world.link(story.stranger).read(before - 1, 256, 0)
        assert position == before
        # Should an entry get as far as that all the same, it is nobody's while its job is unknown.
        (stored_entry,) = world.ledger.store.entries(before, 1)
        assert not world.space.reader.may_read(Caller(story.stranger.fingerprint, "client", ""), stored_entry)
    finally:
        ledger.view.install = real
        go_on.set()
        asking.join(20)
    entries, _ = world.link(story.stranger).read(before, 256, 0)
    assert entries == []
    entries, _ = world.link(story.hospital).read(before, 256, 0)
    assert [parse(e.envelope).type for e in entries] == ["job"]


# -- prove


def test_a_proof_is_for_those_concerned(story):
    for party in (story.hospital, story.developer, story.buyer):
        assert party.session.job(story.job).job(story.job).state == "submitted"
    refusals = []
    for job in (story.job, "00" * 32):
        with pytest.raises(PermissionDenied) as caught:
            story.stranger.session.job(job)
        refusals.append(str(caught.value))
    assert refusals[0] == refusals[1]


@pytest.mark.parametrize("which", ["job", "not there"])
def test_a_single_statement_is_there_for_those_who_may_read_it(story, which):
    digest = story.job if which == "job" else "00" * 32
    with pytest.raises(NotFound) as caught:
        story.stranger.session.dossier(Subject("digest", digest))
    assert "not yours to see" in str(caught.value)
    assert story.stranger.session.dataset(story.dataset).body.dataset == "cytology"


@pytest.mark.parametrize("key", ["", "x", "zz" * 32, "00" * 31, "'; DROP TABLE entries; --"])
@pytest.mark.parametrize("kind", ["digest", "job", "party"])
def test_a_subject_that_is_none(story, kind, key):
    """A refusal like any other, not an accident of the server's."""
    try:
        proof = story.world.link(story.stranger).prove(Subject(kind, key))
    except TrustspaceError as error:
        assert error.code != "internal"  # noqa: PT017
    else:
        assert proof.entries == ()


def test_a_checkpoint_that_never_was_is_not_continued(story):
    link = story.world.link(story.auditor)
    with pytest.raises(LogCorrupted, match="old backup"):
        link.checkpoint(size(story.world) + 1)
    note, proof = link.checkpoint(size(story.world))
    assert proof == ()
    assert str(size(story.world)) in note


# -- views


def test_lists_hold_what_one_may_see(story):
    def jobs_of(party):
        return [j["statement"] for j in story.world.link(party).view("jobs")]

    assert story.job in jobs_of(story.hospital)
    assert story.job in jobs_of(story.developer)
    assert story.job in jobs_of(story.buyer)
    assert story.job in jobs_of(story.auditor)
    assert jobs_of(story.stranger) == []
    assert story.world.link(story.stranger).view("job", story.job) == story.world.link(story.stranger).view(
        "job", "00" * 32
    )


def test_a_developer_is_told_coarsely(story):
    """No reviewer, no grant, no count: only a word for the state."""
    fine = next(j for j in story.world.link(story.hospital).view("jobs") if j["statement"] == story.job)
    for party in (story.developer, story.buyer):
        told = next(j for j in story.world.link(party).view("jobs") if j["statement"] == story.job)
        assert told["state"] == "waiting"
        assert not {"granted_by", "decided_by", "output", "waiting_for"} & set(told)
    assert fine["state"] == "submitted"


def test_a_view_that_does_not_exist(story):
    with pytest.raises(InvalidInput, match="no view"):
        story.world.link(story.auditor).view("secrets")


def test_leaves_are_for_all_and_say_nothing(story):
    from trustspace.ledger.merkle import MerkleTree

    tree = MerkleTree()
    for leaf in story.world.link(story.stranger).leaves(0, size(story.world)):
        assert len(leaf) == 32
        tree.append(leaf)
    assert tree.root() == story.world.ledger.root(size(story.world))
    assert len(list(story.world.link(story.stranger).leaves(2, 5))) == 3
    assert list(story.world.link(story.stranger).leaves(10**6, 10**7)) == []
