"""Vectors: added right whatever their size, whole or not there, gone when their attempt is."""

import errno
import gc
import os
import threading

import numpy as np
import pytest
from space_rounds import LARGE, Table, added, message, pieces, vector, words

from trustspace.aggregation.masks import PairwiseMasks
from trustspace.errors import (
    AlreadyExists,
    InvalidInput,
    InvalidTransition,
    PermissionDenied,
    Stale,
    Unavailable,
)
from trustspace.space import sums
from trustspace.space.sums import IN_MEMORY_BYTES, PIECE_BYTES, VectorStore, add
from trustspace.transport.rounds import INLINE_BYTES


@pytest.fixture
def table(tmp_path):
    return Table(tmp_path / "rounds")


def open_files(path) -> int:
    """How many files without a name this process holds in a directory."""
    gc.collect()
    found = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{number}").startswith(f"{path}/")
        except FileNotFoundError:
            continue
    return found


def full(*_arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def never(*_arguments) -> None:
    """Nobody stops this."""


def contribute(table, unit, spot=(0, 1), data=None):
    data = vector(unit, LARGE) if data is None else data
    table.board.contribute(unit, spot, message(unit, "contribution", spot), len(data), pieces(data))


def settle(table, spot=(0, 1)):
    """Wait for the sum of large vectors, which another thread makes."""
    return table.board.exchange("a", spot, "contribution", b"", wait_seconds=60)


@pytest.mark.parametrize(
    "count",
    [1, 10, IN_MEMORY_BYTES // 4, IN_MEMORY_BYTES // 4 + 1, PIECE_BYTES // 4, PIECE_BYTES // 4 + 1, LARGE],
)
@pytest.mark.parametrize("units", ["a", "ab", "abcdefgh"])
def test_sums_are_those_of_the_words(tmp_path, count, units):
    store = VectorStore(tmp_path)
    vectors = [store.receive(4 * count, pieces(vector(u, count), 999_999), never) for u in units]
    total = store.reserve(4 * count)
    add(total, vectors, PairwiseMasks(), never)
    assert total.read(0, total.size) == added(units, count)
    assert [v.read(0, v.size) for v in vectors] == [vector(u, count) for u in units]
    assert b"".join(total.read(start, length) for start, length in total.pieces(1)) == added(units, count)


def test_the_small_are_in_memory_and_the_large_in_files_without_names(tmp_path):
    store = VectorStore(tmp_path)
    small = store.receive(IN_MEMORY_BYTES, [bytes(IN_MEMORY_BYTES)], never)
    assert open_files(tmp_path) == 0
    large = store.receive(IN_MEMORY_BYTES + 4, [bytes(IN_MEMORY_BYTES + 4)], never)
    assert open_files(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []
    del small, large
    assert open_files(tmp_path) == 0


def test_what_a_crash_left_is_swept_at_the_start(tmp_path):
    (tmp_path / "tmpabc").write_bytes(b"a vector")
    VectorStore(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [40, 4 * LARGE])
@pytest.mark.parametrize("wrong", [-1, -4, 1, 4])
def test_too_short_and_too_long_leave_nothing(tmp_path, size, wrong):
    store = VectorStore(tmp_path)
    with pytest.raises(InvalidInput):
        store.receive(size, pieces(bytes(size + wrong)), never)
    assert open_files(tmp_path) == 0


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite"])
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, monkeypatch, call):
    store = VectorStore(tmp_path)
    monkeypatch.setattr(sums.os, call, full)
    with pytest.raises(Unavailable, match="disk"):
        store.receive(4 * LARGE, pieces(bytes(4 * LARGE)), never)
    assert open_files(tmp_path) == 0


def test_a_short_write_is_gone_on_with(tmp_path, monkeypatch):
    store, write = VectorStore(tmp_path), os.pwrite
    monkeypatch.setattr(sums.os, "pwrite", lambda fd, data, start: write(fd, bytes(data[:1000]), start))
    data = vector("a", IN_MEMORY_BYTES // 4 + 100)
    assert store.receive(len(data), [data], never).read(0, len(data)) == data


# -- on a board


def test_large_vectors_are_added(table):
    table.until("contribution")
    for unit in "abcd":
        contribute(table, unit)
        table.say(unit, "contribution")
    told = settle(table)
    assert (told.status, told.data) == ("complete", b"")
    for unit in "ab":
        assert b"".join(table.board.sum(unit, (0, 1))) == added("abcd", LARGE)
        seen = list(table.board.contributions(unit, (0, 1)))
        assert [member for member, _ in seen[:8]] == [0, 1, 2, 3, 0, 1, 2, 3]
        for number, other in enumerate("abcd"):
            assert b"".join(piece for member, piece in seen if member == number) == vector(other, LARGE)


def test_the_message_makes_a_vector_count(table):
    """An enclave signs a digest that it knows only when everything is sent."""
    table.until("contribution")
    for unit in "abc":
        contribute(table, unit)
    data = vector("d", LARGE)
    table.board.contribute("d", (0, 1), b"", len(data), pieces(data))
    assert table.ask("a", "contribution").missing == ("d",)
    table.say("d", "contribution")
    assert settle(table).status == "complete"
    assert b"".join(table.board.sum("a", (0, 1))) == added("abcd", LARGE)


def test_a_vector_without_its_message_may_be_sent_again(table):
    table.until("contribution")
    for unit in "abc":
        contribute(table, unit)
    for data in (vector("z", LARGE), vector("d", LARGE)):
        table.board.contribute("d", (0, 1), b"", len(data), pieces(data))
    table.say("d", "contribution")
    assert settle(table).status == "complete"
    assert b"".join(table.board.sum("a", (0, 1))) == added("abcd", LARGE)
    # From now on it stays, whatever is sent.
    table.board.contribute("d", (0, 1), b"", len(data), pieces(vector("z", LARGE)))
    with pytest.raises(AlreadyExists):
        table.board.contribute("d", (0, 1), b"another message", len(data), pieces(data))
    assert b"".join(table.board.sum("a", (0, 1))) == added("abcd", LARGE)


def test_a_vector_of_another_length_does_not_count(table):
    """Whoever comes first with a message says how long the vectors are; what is only held says nothing."""
    table.until("contribution")
    table.board.contribute("d", (0, 1), b"", 4 * LARGE + 4, [bytes(4 * LARGE + 4)])
    for unit in "abc":
        contribute(table, unit)
    with pytest.raises(InvalidInput):
        table.say("d", "contribution")
    contribute(table, "d")
    assert settle(table).status == "complete"
    assert b"".join(table.board.sum("a", (0, 1))) == added("abcd", LARGE)


def test_an_upload_that_breaks_off_can_be_made_again(table):
    table.until("contribution")
    data = vector("a", LARGE)

    def broken():
        yield data[:500_000]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        table.board.contribute("a", (0, 1), message("a", "contribution"), len(data), broken())
    with pytest.raises(InvalidInput):
        table.board.contribute("a", (0, 1), message("a", "contribution"), len(data), [data[:-4]])
    assert table.ask("a", "contribution").missing == tuple("abcd")
    assert open_files(table.path) == 1  # the place that is kept for the sum
    for unit in "abcd":
        contribute(table, unit)
    assert settle(table).status == "complete"
    assert b"".join(table.board.sum("a", (0, 1))) == added("abcd", LARGE)


def test_a_newer_upload_takes_the_place_of_one_that_hangs(table):
    table.until("contribution")
    data, begun, go_on = vector("a", LARGE), threading.Event(), threading.Event()

    def hanging():
        yield data[:100]
        begun.set()
        assert go_on.wait(30)
        yield data[100:]

    caught = []

    def first():
        try:
            table.board.contribute("a", (0, 1), message("a", "contribution"), len(data), hanging())
        except Stale as error:
            caught.append(error)

    thread = threading.Thread(target=first, daemon=True)
    thread.start()
    assert begun.wait(30)
    contribute(table, "a")
    go_on.set()
    thread.join(30)
    # By then the second was there, whole: it is the one that counts, and the first is told so or not needed.
    for unit in "bcd":
        contribute(table, unit)
    assert settle(table).status == "complete"
    assert b"".join(table.board.sum("a", (0, 1))) == added("abcd", LARGE)
    assert len(caught) == 1


def test_an_upload_stops_when_its_attempt_does(table):
    table.until("contribution")
    contribute(table, "a")
    taken = []

    def slow():
        for number in range(100):
            if number == 3:
                table.pass_time(table.wait + 60)
            taken.append(number)
            yield bytes(4 * LARGE // 100 // 4 * 4)

    table.board.contribute("b", (0, 1), b"", 4 * LARGE, slow())
    assert len(taken) == 4
    assert table.ask("b", "contribution").status == "aborted"
    assert open_files(table.path) == 0


@pytest.mark.parametrize("ends", ["reveal", "abort", "end"])
def test_nothing_is_left_when_the_attempt_is_over(table, ends):
    table.until("contribution")
    for unit in "abcd":
        contribute(table, unit)
    assert settle(table).status == "complete"
    assert open_files(table.path) == 5
    if ends == "reveal":
        table.all_say("check")
        table.all_say("reveal")
    elif ends == "abort":
        table.pass_time(table.wait + 60)
    else:
        table.board.end()
    assert open_files(table.path) == 0
    with pytest.raises(Stale):
        table.board.sum("a", (0, 1))


def test_who_is_reading_reads_to_the_end_or_is_told(table):
    table.until("contribution")
    for unit in "abcd":
        contribute(table, unit)
    settle(table)
    whole, cut = table.board.sum("a", (0, 1)), table.board.contributions("b", (0, 1))
    first = next(whole)
    next(cut)
    table.all_say("check")
    table.all_say("reveal")
    assert first + b"".join(whole) == added("abcd", LARGE)
    table.until("check", (1, 1))
    # An attempt that is given up is not read from any more.
    reading = table.board.sum("a", (1, 1))
    table.pass_time(table.wait)
    with pytest.raises(Stale):
        list(reading)


def test_sums_are_for_members_and_when_they_are_made(table):
    for unit in "abc":
        table.say(unit, "join")
    table.pass_time(table.wait)
    table.all_say("agree", units="abc")
    with pytest.raises(InvalidTransition):
        table.board.sum("a", (0, 1))
    table.all_say("contribution", units="abc")
    assert b"".join(table.board.sum("a", (0, 1))) == added("abc")
    for reading in (table.board.sum, table.board.contributions):
        with pytest.raises(PermissionDenied):
            reading("d", (0, 1))
        with pytest.raises(Stale):
            reading("a", (0, 2))


def test_a_disk_that_is_full_during_a_contribution(table, monkeypatch):
    table.until("contribution")
    for unit in "ab":
        contribute(table, unit)
    write, room = os.pwrite, [3]

    def sometimes(*arguments):
        room[0] -= 1
        return write(*arguments) if room[0] >= 0 else full()

    monkeypatch.setattr(sums.os, "pwrite", sometimes)
    before = open_files(table.path)
    with pytest.raises(Unavailable, match="disk"):
        contribute(table, "c")
    assert open_files(table.path) == before
    assert table.ask("c", "contribution").missing == ("c", "d")
    monkeypatch.setattr(sums.os, "pwrite", write)
    for unit in "cd":
        contribute(table, unit)
    assert settle(table).status == "complete"


def test_the_place_for_the_sum_is_taken_before_anybody_sends(table, monkeypatch):
    """A disk that has no room for it says so to who contributes, not to everybody at the end."""
    table.until("contribution")
    monkeypatch.setattr(sums.os, "posix_fallocate", full)
    with pytest.raises(Unavailable):
        contribute(table, "a")
    assert open_files(table.path) == 0


@pytest.mark.parametrize("count", [100, INLINE_BYTES // 4, LARGE])
def test_a_sum_that_cannot_be_written_costs_the_attempt(table, monkeypatch, count):
    table.until("contribution")
    monkeypatch.setattr("trustspace.space.rounds.add", full)
    for unit in "abcd":
        data = vector(unit, count)
        if count <= INLINE_BYTES // 4:
            table.say(unit, "contribution", data=data)
        else:
            contribute(table, unit, data=data)
    assert settle(table).status == "aborted"
    # The thread that adds says so before it lets the last vector go.
    for _ in range(500):
        if open_files(table.path) == 0:
            break
        threading.Event().wait(0.01)
    assert open_files(table.path) == 0
    monkeypatch.undo()
    table.round((0, 2))


def test_words_wrap(tmp_path):
    store = VectorStore(tmp_path)
    most = np.full(3, 2**32 - 1, dtype="<u4").tobytes()
    vectors = [store.receive(12, [most], never) for _ in range(3)]
    total = store.reserve(12)
    add(total, vectors, PairwiseMasks(), never)
    assert np.frombuffer(total.read(0, 12), dtype="<u4").tolist() == [2**32 - 3] * 3
    assert words("a").dtype == np.uint32
