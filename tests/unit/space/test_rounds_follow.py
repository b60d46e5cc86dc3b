"""Large sums are made while their vectors arrive: the same bits, whatever becomes of an upload meanwhile."""

import gc
import os
import threading

import numpy as np
import pytest
from space_rounds import LARGE, Table, added, message, vector

from trustspace.aggregation.masks import PairwiseMasks
from trustspace.errors import InvalidInput, Stale
from trustspace.space import sums
from trustspace.space.rounds import Board
from trustspace.space.sums import PIECE_BYTES

SPOT = (0, 1)
NAMES = ("round-sum",)
MARK = 0xDEADBEEF


class Counting(PairwiseMasks):
    """Pairwise masks that can do without some members, refuse marked vectors, and say how much was added."""

    def __init__(self, needed=0):
        self._needed = needed
        self.count = 0
        self.changed = threading.Condition()

    def needed(self, members):
        return self._needed or members

    def add_into(self, total, addend):
        if addend[0] == MARK:
            raise InvalidInput("A protected vector holds words that are no residues.")
        super().add_into(total, addend)
        with self.changed:
            self.count += 1
            self.changed.notify_all()

    def reached(self, count):
        """Wait until so many pieces were added."""
        with self.changed:
            return self.changed.wait_for(lambda: self.count >= count, 30)


class Following(Table):
    """A board at which tests send vectors piece by piece."""

    def __init__(self, path, units="abc", needed=0):
        self.scheme = Counting(needed)
        super().__init__(path, units, minimum=2)

    def restart(self):
        self.board = Board(
            self.store, dict.fromkeys(self.units, "1"), self.minimum, self.wait, self.clock, self.scheme
        )

    def send(self, unit, data=None):
        return Upload(self.board, unit, vector(unit, LARGE) if data is None else data)

    def settle(self):
        """How the contributions stand, once they are added."""
        return self.board.exchange("a", SPOT, "contribution", b"", wait_seconds=30)

    def sum(self):
        return b"".join(self.board.sum("a", SPOT))

    def open_files(self):
        gc.collect()
        links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
        return sum(os.path.exists(link) and os.readlink(link).startswith(f"{self.path}/") for link in links)


class Upload:
    """A contribution that is sent when a test says so: ``upto`` so many pieces, then whole by ``finish``."""

    def __init__(self, board, unit, data):
        self._allowed, self._given, self._more = 0, 0, threading.Condition()
        self._broken = False
        self.error = None
        self._pieces = [data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)]
        arguments = (unit, SPOT, message(unit, "contribution"), len(data), self._come())
        self._thread = threading.Thread(target=self._run, args=(board, arguments), daemon=True)
        self._thread.start()

    def _run(self, board, arguments):
        try:
            board.contribute(*arguments)
        except Exception as error:
            # Its frames would hold the vector.
            self.error = error.with_traceback(None)

    def _come(self):
        for number, piece in enumerate(self._pieces):
            with self._more:
                self._given = number
                self._more.notify_all()
                assert self._more.wait_for(lambda number=number: self._allowed > number or self._broken, 30)
                if self._broken:
                    raise ConnectionError
            yield piece

    def upto(self, count):
        with self._more:
            self._allowed = count
            self._more.notify_all()
            # What was given before is written by the time that more is asked for.
            assert count >= len(self._pieces) or self._more.wait_for(lambda: self._given >= count, 30)
        return self

    def finish(self):
        self.upto(len(self._pieces))
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.error

    def break_off(self):
        with self._more:
            self._broken = True
            self._more.notify_all()
        self._thread.join(30)
        assert isinstance(self.error, ConnectionError)


def nobody_adds():
    """Whether every thread that added has come to its end, within some seconds."""
    for thread in threading.enumerate():
        if thread.name in NAMES:
            thread.join(10)
    return not any(thread.name in NAMES for thread in threading.enumerate())


@pytest.fixture
def table(tmp_path):
    table = Following(tmp_path / "rounds").until("contribution")
    yield table
    table.board.close()
    assert nobody_adds()


def test_what_has_come_is_added_before_the_last_upload_ends(table):
    uploads = [table.send(unit) for unit in "abc"]
    for upload in uploads:
        upload.upto(2)
    # Two pieces of each of three vectors: nobody has sent all.
    assert table.scheme.reached(6)
    assert table.ask("a", "contribution").missing == tuple("abc")
    assert [upload.finish() for upload in uploads] == [None] * 3
    assert table.settle().status == "complete"
    assert table.sum() == added("abc", LARGE)
    # Nothing was added twice.
    assert table.scheme.count == 3 * len(list(sums.Vector(4 * LARGE, None).pieces(1)))


def test_the_slowest_is_followed(table):
    slow, *others = [table.send(unit) for unit in "cab"]
    slow.upto(1)
    for upload in others:
        assert upload.finish() is None
    assert table.scheme.reached(3)
    assert slow.upto(2) is slow
    assert table.scheme.reached(6)
    assert table.scheme.count == 6
    assert slow.finish() is None
    assert table.settle().status == "complete"
    assert table.sum() == added("abc", LARGE)


def test_a_vector_that_takes_the_place_of_one_that_was_added(table):
    """A positive control is the first one's words: what was added of them must not be in the sum."""
    for unit in "ab":
        assert table.send(unit).finish() is None
    first = table.send("c", vector("z", LARGE)).upto(2)
    assert table.scheme.reached(6)
    assert table.send("c").finish() is None
    assert isinstance(first.finish(), Stale)
    assert table.settle().status == "complete"
    assert table.sum() == added("abc", LARGE) != added("abz", LARGE)


def test_an_upload_that_breaks_off_and_comes_again(table):
    for unit in "ab":
        assert table.send(unit).finish() is None
    broken = table.send("c", vector("z", LARGE)).upto(2)
    assert table.scheme.reached(6)
    broken.break_off()
    # Nobody waits for it: there is nothing to add, nor a thread that would.
    assert nobody_adds()
    assert table.open_files() == 3  # two vectors, and the place for the sum
    assert table.send("c").finish() is None
    assert table.settle().status == "complete"
    assert table.sum() == added("abc", LARGE)
    table.all_say("check")
    table.all_say("reveal")
    assert table.open_files() == 0


@pytest.mark.parametrize("ends", ["close", "end", "abort"])
def test_a_board_that_ends_while_it_adds(table, ends):
    uploads = [table.send(unit).upto(1) for unit in "abc"]
    assert table.scheme.reached(3)
    if ends == "abort":
        assert uploads[0].finish() is None
        table.pass_time(table.wait + 60)
    else:
        getattr(table.board, ends)()
    assert nobody_adds()
    for upload in uploads:
        upload.finish()
    if ends != "close":
        assert table.open_files() == 0


def test_a_member_that_is_lost_in_the_middle_of_its_upload(tmp_path):
    """The sum is narrowed to those who are there: what was added of the lost one's vector is in it no more."""
    table = Following(tmp_path / "rounds", "abcd", needed=3).until("contribution")
    for unit in "abcd":
        table.board.deal(unit, SPOT, 16, [bytes(16)])
    for unit in "abc":
        assert table.send(unit).finish() is None
    lost = table.send("d").upto(3)
    assert table.scheme.reached(12)
    table.board.stand(dict.fromkeys("abc", "1"))
    assert table.settle().status == "complete"
    assert table.sum() == added("abc", LARGE)
    lost.finish()
    assert table.sum() == added("abc", LARGE)
    table.board.end()
    assert nobody_adds()
    assert table.open_files() == 0


def test_a_malformed_vector_is_named_when_it_counts(table):
    """Before it does it may still be replaced, and nobody is to be blamed for what does not count."""
    bad = np.full(LARGE, MARK, np.uint32).tobytes()
    for unit in "ab":
        assert table.send(unit).finish() is None
    hanging = table.send("c", bad).upto(1)
    assert table.scheme.reached(2)
    assert table.send("c").finish() is None
    hanging.finish()
    assert table.settle().status == "complete"
    assert table.sum() == added("abc", LARGE)


def test_a_malformed_vector_that_counts_costs_the_attempt(table):
    bad = np.full(LARGE, MARK, np.uint32).tobytes()
    for unit, data in (("a", None), ("b", bad), ("c", None)):
        assert table.send(unit, data).finish() is None
    told = table.settle()
    assert (told.status, told.missing) == ("aborted", ("b",))
    assert nobody_adds()
    assert table.open_files() == 0


def test_a_disk_that_is_full_when_the_sum_is_written(table, monkeypatch):
    uploads = [table.send(unit).upto(1) for unit in "abc"]
    assert table.scheme.reached(3)
    write = sums.Vector.write

    def full(vector, start, data):
        if threading.current_thread().name in NAMES:
            raise OSError
        write(vector, start, data)

    monkeypatch.setattr(sums.Vector, "write", full)
    assert [upload.finish() for upload in uploads] == [None] * 3
    assert table.settle().status == "aborted"
    assert nobody_adds()
    assert table.open_files() == 0
