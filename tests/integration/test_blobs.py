"""Blobs: whole or not there, named by what they are, fetched by those concerned, swept when nobody came for them."""

import hashlib
import os
import threading
import time
from types import SimpleNamespace

import pytest
from support import processes
from support.enclaves import make_enclave, publish, write_job
from support.world import World, trio

from trustspace.api.v1 import space_pb2, space_pb2_grpc
from trustspace.client import jobs
from trustspace.domain.bodies import Dataset, Policy
from trustspace.errors import (
    BudgetExhausted,
    InvalidInput,
    NotFound,
    PermissionDenied,
    TrustspaceError,
    Unavailable,
    VerificationFailed,
)  # fmt: skip
from trustspace.space.blobs import ORPHAN_SECONDS, BlobStore


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def stored(world) -> set[str]:
    return {p.name for p in (world.home / "blobs").iterdir()}


@pytest.fixture
def link(world, three):
    return world.link(three[0])


def test_a_blob_is_stored_under_what_it_is(world, link):
    data = os.urandom(3 << 20)
    link.put_blob(data, sha(data), len(data))
    assert (world.home / "blobs" / sha(data)).read_bytes() == data
    assert stored(world) == {sha(data)}


@pytest.mark.parametrize(
    ("digest", "total", "error"),
    [
        (sha(b"other"), 4, VerificationFailed), (sha(b"data"), 5, VerificationFailed),
        (sha(b"data"), 3, VerificationFailed), (sha(b"data"), 1 << 60, BudgetExhausted),
        ("", 4, InvalidInput), (".." + "0" * 62, 4, InvalidInput), ("../" * 21 + "x", 4, InvalidInput),
        (sha(b"data").upper(), 4, InvalidInput), ("/etc/passwd", 4, InvalidInput),
    ],
)  # fmt: skip
def test_what_is_not_what_it_says_leaves_nothing(world, link, digest, total, error):
    with pytest.raises(error):
        link.put_blob(b"data", digest, total)
    assert stored(world) == set()


def test_an_empty_blob_and_an_empty_stream(world, three, link):
    link.put_blob(b"", sha(b""), 0)
    assert stored(world) == {sha(b"")}
    stub = space_pb2_grpc.SpaceStub(world.channel(three[0].identity()))
    with pytest.raises(Exception, match="empty"):
        stub.PutBlob(iter([]), timeout=10)


def test_a_break_in_the_middle_leaves_nothing(world, three):
    channel = world.channel(three[0].identity())
    stub, sent = space_pb2_grpc.SpaceStub(channel), threading.Event()

    def pieces():
        yield space_pb2.BlobChunk(digest=sha(b"x"), total_bytes=9 << 20)
        for _ in range(4):
            yield space_pb2.BlobChunk(data=bytes(1 << 20))
        sent.set()
        time.sleep(30)

    call = stub.PutBlob.future(pieces(), timeout=30)
    assert sent.wait(10)
    call.cancel()
    give_up = time.monotonic() + 10
    while stored(world) and time.monotonic() < give_up:
        time.sleep(0.02)
    assert stored(world) == set()


def test_storing_again_says_nothing_about_what_is_there(world, three, link):
    """An existing blob is no easier to 'store' than any other: otherwise its digest could be tried."""
    data = os.urandom(1000)
    link.put_blob(data, sha(data), len(data))
    other, answers = world.link(three[1]), []
    for digest in (sha(data), sha(b"not there")):
        with pytest.raises(VerificationFailed) as caught:
            other.put_blob(b"", digest, 1000)
        answers.append(str(caught.value))
    assert answers[0] == answers[1]
    # Whoever has the bytes may send them again.
    other.put_blob(data, sha(data), len(data))


def test_many_storing_the_same_at_once(world, link):
    data, errors = os.urandom(2 << 20), []

    def put():
        try:
            link.put_blob(data, sha(data), len(data))
        except TrustspaceError as error:
            errors.append(error)

    threads = [threading.Thread(target=put) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert stored(world) == {sha(data)}


def test_a_blob_that_no_statement_names_is_nobodys(world, three, link):
    data = b"an upload"
    link.put_blob(data, sha(data), len(data))
    refusals = []
    for digest in (sha(data), sha(b"not there")):
        with pytest.raises(PermissionDenied) as caught:
            link.fetch(digest, 1000)
        refusals.append(str(caught.value))
    assert refusals[0] == refusals[1]


@pytest.fixture(scope="module")
def story():
    world = World()
    hospital, developer, buyer = trio(world)
    stranger = world.party("Other Dev", "developer")
    both = world.party("Hospital B", "source-unit", reviewers=("Dr Wu",))
    world.introduce()
    enclave = make_enclave(world, hospital)
    publish(hospital, world)
    job = jobs.submit(developer, write_job(world))
    yield SimpleNamespace(
        world=world, hospital=hospital, developer=developer, buyer=buyer, stranger=stranger, job=job,
        other_hospital=both, code=hospital.session.job(job).job(job).body.code,
    )  # fmt: skip
    enclave.stop()
    world.close()


def test_open_code_goes_to_those_whose_data_it_would_meet(story):
    for party in (story.hospital, story.developer):
        assert story.world.link(party).fetch(story.code, 1 << 20)
    for party in (story.buyer, story.stranger, story.other_hospital):
        with pytest.raises(PermissionDenied):
            story.world.link(party).fetch(story.code, 1 << 20)


def test_naming_a_blob_does_not_make_it_ones_own(story):
    """The buyer reads the code's digest in the job. Referring to it in a statement of one's own opens nothing."""
    as_developer = story.stranger
    copied = story.hospital.session.job(story.job).job(story.job).body
    body = copied.model_copy(update={"developer": as_developer.fingerprint})
    with pytest.raises(InvalidInput, match="not uploaded"):
        as_developer.submit(body, "act")
    with pytest.raises(PermissionDenied):
        story.world.link(as_developer).fetch(story.code, 1 << 20)


def test_a_blob_does_not_become_a_public_mock_by_being_called_one(story):
    hospital = story.other_hospital
    from trustspace.domain.bodies import PartyKey

    key = hospital.keys.create_signing_key("enclave-x")
    hospital.publish((*hospital.party.keys, PartyKey(use="enclave", public=key.hex(), holder="x")))
    body = Dataset(
        dataset="borrowed", version=1, manifest=sha(b"manifest"), description={"title": "x"}, mock=story.code,
        policy=Policy(), custody="own", enclave=key.hex(),
    )  # fmt: skip
    with pytest.raises(InvalidInput, match="not uploaded"):
        hospital.submit(body, "act")
    with pytest.raises(PermissionDenied):
        story.world.link(story.buyer).fetch(story.code, 1 << 20)
    # With a mock of its own, which it has handed over, the same dataset stands.
    story.world.link(hospital).put_blob(b"a mock", sha(b"a mock"), 6)
    hospital.submit(body.model_copy(update={"mock": sha(b"a mock")}), "act")
    assert story.world.link(story.buyer).fetch(sha(b"a mock"), 100) == b"a mock"


def test_who_has_the_same_bytes_may_hand_them_over_again(story):
    """Two developers may use one published example."""
    code = story.world.link(story.hospital).fetch(story.code, 1 << 20)
    story.world.link(story.stranger).put_blob(code, story.code, len(code))
    copied = story.hospital.session.job(story.job).job(story.job).body
    story.stranger.submit(copied.model_copy(update={"developer": story.stranger.fingerprint}), "act")
    assert story.world.link(story.stranger).fetch(story.code, 1 << 20) == code


def test_what_the_space_sends_is_checked(story):
    path = story.world.home / "blobs" / story.code
    kept = path.read_bytes()
    try:
        for altered in (kept[:-1], kept + b"x", bytes([kept[0] ^ 1]) + kept[1:]):
            path.write_bytes(altered)
            with pytest.raises(VerificationFailed):
                story.world.link(story.hospital).fetch(story.code, len(kept) + 100)
        path.write_bytes(kept)
        with pytest.raises(VerificationFailed, match="more bytes"):
            story.world.link(story.hospital).fetch(story.code, len(kept) - 1)
    finally:
        path.write_bytes(kept)


# -- the store itself


@pytest.fixture
def store():
    folder = processes.folder()
    yield BlobStore(folder / "blobs", 1 << 20)
    processes.remove(folder)


def test_what_nobody_came_for_is_swept(store):
    old, young, wanted = b"old", b"young", b"wanted"
    for data in (old, young, wanted):
        store.put(sha(data), len(data), [data])
    for data in (old, wanted):
        path = store._path(sha(data))
        os.utime(path, (0, time.time() - ORPHAN_SECONDS - 60))
    (store._directory / "incoming-left-by-a-crash").write_bytes(b"half")
    assert store.sweep(lambda digest: digest == sha(wanted)) == 2
    assert {p.name for p in store._directory.iterdir()} == {sha(young), sha(wanted)}


def test_a_restart_sweeps(world, link):
    data = b"nobody will come"
    link.put_blob(data, sha(data), len(data))
    os.utime(world.home / "blobs" / sha(data), (0, time.time() - ORPHAN_SECONDS - 60))
    (world.home / "blobs" / "incoming-x").write_bytes(b"half")
    world.restart()
    assert stored(world) == set()


def test_a_disk_that_refuses_leaves_nothing(store, monkeypatch):
    from trustspace.space import blobs

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(blobs.os, "fsync", full)
    with pytest.raises(Unavailable, match="disk"):
        store.put(sha(b"data"), 4, [b"data"])
    assert list(store._directory.iterdir()) == []
    monkeypatch.undo()
    store.put(sha(b"data"), 4, [b"data"])
    assert b"".join(store.read(sha(b"data"))) == b"data"


def test_what_is_longer_than_announced_is_not_taken_to_its_end(store):
    """A disk is not filled by somebody who says *ten bytes* and goes on sending."""
    taken = []

    def endless():
        while len(taken) < 10_000:
            taken.append(1)
            yield bytes(1000)

    with pytest.raises(VerificationFailed, match="longer"):
        store.put(sha(b"data"), 10, endless())
    assert len(taken) == 1
    assert list(store._directory.iterdir()) == []


def test_what_is_not_there_cannot_be_read(store):
    with pytest.raises(NotFound):
        next(iter(store.read(sha(b"data"))))
    with pytest.raises(InvalidInput):
        store.has("../../etc/passwd")
