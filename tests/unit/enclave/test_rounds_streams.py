"""Long vectors pass through an enclave piece by piece: made as they are sent, kept protected, opened when used."""

import gc
import os
import threading

import numpy as np
import pytest
from support.members import MANY_WORDS, Circle, Given, Line, added, failed, some_words

from trustspace.aggregation.fixedpoint import FixedPoint, encode_reals
from trustspace.aggregation.schemes import scheme_of
from trustspace.enclave import sums
from trustspace.enclave.chunks import Outgoing, chunk_words
from trustspace.enclave.failure import RoundFailed
from trustspace.enclave.rounds import Rounds
from trustspace.enclave.sums import Kept, Opened, Sum, received
from trustspace.enclave.vectors import UpdateSum
from trustspace.errors import InvalidTransition, Unavailable, VerificationFailed

BLOCK = 12_288


def open_files(path):
    """How many files without a name this process holds below a directory."""
    gc.collect()
    links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    return sum(os.path.exists(link) and os.readlink(link).startswith(f"{path}/") for link in links)


# -- on the way out


def test_what_goes_wrong_while_a_piece_is_made_is_kept():
    def pieces():
        yield b"one"
        raise VerificationFailed("Two.")

    going = Outgoing(pieces())
    assert next(going) == b"one"
    assert going.error is None
    with pytest.raises(VerificationFailed, match="Two"):
        next(going)
    assert isinstance(going.error, VerificationFailed)
    assert list(Outgoing([b"a", b"b"])) == [b"a", b"b"]


def test_when_it_is_closed_nothing_is_made_any_more():
    """Also where a stream that nobody listens to any more goes on asking in its own thread."""
    begun, go_on, made = threading.Event(), threading.Event(), []

    def pieces():
        for number in range(3):
            begun.set()
            assert go_on.wait(30)
            made.append(number)
            yield b"piece"

    going, got = Outgoing(pieces()), []
    line = threading.Thread(target=lambda: got.extend(going))
    line.start()
    assert begun.wait(30)
    closing = threading.Thread(target=going.close)
    closing.start()
    # It waits for the piece that is being made: until then its secrets are in use.
    closing.join(0.05)
    assert closing.is_alive()
    assert made == []
    go_on.set()
    closing.join(30)
    at_the_end = list(made)
    line.join(30)
    assert made == at_the_end
    assert len(got) == len(made)
    assert list(going) == []


class Breaking(Line):
    """A line that breaks in the middle of the first upload."""

    def contribute(self, place, envelope, total_bytes, pieces):
        if place.attempt == 1:
            next(iter(pieces))
            raise Unavailable("The line is broken.")
        super().contribute(place, envelope, total_bytes, pieces)


def test_an_upload_that_breaks_is_made_again(tmp_path):
    circle = Circle(tmp_path)
    vectors, first = circle.vectors(MANY_WORDS), circle.units[0]
    acts = {
        unit: lambda unit=unit: circle.rounds(
            unit, **({"relay": Breaking(circle.space, unit)} if unit == first else {})
        ).sum(1, "", lambda: Given(vectors[unit]))
        for unit in circle.units
    }
    found = circle.play(acts)
    assert not failed(found)
    assert {one.record["attempt"] for one in found.values()} == {2}
    assert all((one.words == added(list(vectors.values()))).all() for one in found.values())


def test_a_vector_that_cannot_be_made_says_so(tmp_path):
    class Torn(Given):
        def pieces(self):
            yield self.content[:5]
            raise RoundFailed("job-failed", "The worker changed its update.")

    circle = Circle(tmp_path)
    acts = {
        unit: lambda unit=unit: circle.rounds(unit).sum(1, "", lambda: Torn(some_words(1, MANY_WORDS)))
        for unit in circle.units
    }
    assert "job-failed" in failed(circle.play(acts)).values()


# -- kept


@pytest.mark.parametrize("words", [BLOCK, 21 * BLOCK, 22 * BLOCK, 50 * BLOCK])
@pytest.mark.parametrize("piece", [1 << 20, 999_999, 4099])
def test_what_was_written_is_read(tmp_path, words, piece):
    kept, content = Kept(words, BLOCK, tmp_path), some_words(words, words)
    raw = content.tobytes()
    assert open_files(tmp_path) == (4 * words > 1 << 20)
    for _ in range(2):
        received((raw[start : start + piece] for start in range(0, len(raw), piece)), kept)
        chunks = [kept.read(number) for number in range(-(-words // chunk_words(BLOCK)))]
        assert (np.concatenate(chunks) == content).all()
    kept.close()
    assert open_files(tmp_path) == 0


@pytest.mark.parametrize("words", [BLOCK, 50 * BLOCK])
@pytest.mark.parametrize("wrong", [-1, 1])
def test_another_length_is_refused(tmp_path, words, wrong):
    kept = Kept(words, BLOCK, tmp_path)
    with pytest.raises(RoundFailed) as caught:
        received([bytes(4 * words + wrong)], kept)
    assert caught.value.reason == "disagreement"
    kept.close()


def test_a_disk_that_gives_back_other_bytes(tmp_path):
    kept = Kept(50 * BLOCK, BLOCK, tmp_path)
    received([bytes(200 * BLOCK)], kept)
    os.pwrite(kept._file.fileno(), b"\x01", 4 * 21 * BLOCK)
    assert not kept.read(0).any()
    with pytest.raises(RoundFailed) as caught:
        kept.read(1)
    assert caught.value.reason == "host"
    os.ftruncate(kept._file.fileno(), 100)
    with pytest.raises(RoundFailed):
        kept.read(0)
    kept.close()


def test_a_disk_that_is_full(tmp_path, monkeypatch):
    def full(*_given, **_named):
        raise OSError

    kept = Kept(50 * BLOCK, BLOCK, tmp_path)
    kept._file.write = full
    with pytest.raises(RoundFailed) as caught:
        received([bytes(200 * BLOCK)], kept)
    assert caught.value.reason == "host"
    kept.close()
    monkeypatch.setattr(sums.tempfile, "TemporaryFile", full)
    with pytest.raises(RoundFailed):
        Kept(50 * BLOCK, BLOCK, tmp_path)
    assert Kept(BLOCK, BLOCK, tmp_path).read(0).shape == (BLOCK,)
    assert open_files(tmp_path) == 0


# -- opened


class Protection:
    """Opens a word by turning its bits, and counts."""

    def __init__(self):
        self.opened = []

    def open(self, start, total):
        self.opened.append(start)
        return ~total


def opened_over(tmp_path, words):
    kept, protection = Kept(-(-words // BLOCK) * BLOCK, BLOCK, tmp_path), Protection()
    content = some_words(3, kept.words)
    received([content.tobytes()], kept)
    return Opened(kept, protection, words, kept.close), protection, ~content[:words]


def test_slices_are_those_of_the_array(tmp_path):
    words = 60 * BLOCK + 17
    opened, _, content = opened_over(tmp_path, words)
    assert len(opened) == words
    edge = chunk_words(BLOCK)
    cuts = [
        slice(None),
        slice(-9, None),
        slice(5, 5),
        slice(9, 5),
        slice(words - 1, words + 99),
        slice(words, None),
    ]
    cuts += [slice(edge - 1, edge + 1), slice(edge, 2 * edge), slice(1, 2 * edge + 1), slice(0, 1)]
    for cut in cuts:
        assert (opened[cut] == content[cut]).all(), cut
        assert len(opened[cut]) == len(content[cut])
    opened.close()


def test_reading_on_opens_every_chunk_once(tmp_path):
    opened, protection, content = opened_over(tmp_path, 60 * BLOCK)
    found = [opened[start : start + 100_000] for start in range(7, 60 * BLOCK, 100_000)]
    assert (np.concatenate(found) == content[7:]).all()
    assert protection.opened == [0, 21 * BLOCK, 42 * BLOCK]
    opened.close()


def test_an_update_is_the_same_from_pieces_and_from_memory(tmp_path):
    """The norm is judged and the mean given bit for bit alike, in two parts whose edges are no block's."""
    count, fixed = 300_001, FixedPoint(3, 10.0)
    bulk = np.random.default_rng(5).integers(-(1 << 12), 1 << 12, 2 * count).astype(np.int32).view(np.uint32)
    words = np.concatenate([bulk, added([encode_reals((0.5, 1.0))] * 3)])
    kept = Kept(-(-len(words) // BLOCK) * BLOCK, BLOCK, tmp_path)
    received([(~words).tobytes(), bytes(4 * (kept.words - len(words)))], kept)
    opened = Opened(kept, Protection(), len(words), kept.close)
    one, other = (UpdateSum.of(source, count, 2, fixed, 1e6, 3) for source in (opened, words))
    assert one.extras == other.extras == (1.5, 3.0)
    for part in range(2):
        for start in range(0, count, 1 << 18):
            assert (one.mean(part, start) == other.mean(part, start)).all()
    opened.close()


@pytest.mark.parametrize("name", ["pairwise-masks-v1", "lattice-sum-s-v1"])
def test_a_large_sum_lies_protected_and_is_forgotten_when_closed(tmp_path, name):
    scheme = scheme_of(name)
    circle = Circle(tmp_path, scheme=scheme)
    vectors = {u: v % np.uint32(1000) for u, v in circle.vectors(MANY_WORDS).items()}
    right = added(list(vectors.values()))
    found = circle.sum(vectors)
    assert not failed(found)
    one, other, third = found.values()
    assert isinstance(one.content, Opened)
    with one as used:
        assert (used.content[100_000:100_005] == right[100_000:100_005]).all()
        file = used.content._kept._file
        on_disk = np.frombuffer(os.pread(file.fileno(), 4 * MANY_WORDS, 0), np.uint32)
        assert len(on_disk) == MANY_WORDS
        # Protected: what would be there by chance is less than a word in a hundred.
        assert (on_disk == right).mean() < 0.01
    with pytest.raises((InvalidTransition, ValueError)):
        one.content[0:5]
    with pytest.raises(ZeroDivisionError), other:
        raise ZeroDivisionError
    with pytest.raises((InvalidTransition, ValueError)):
        other.content[0:5]
    assert (third.words == right).all()
    assert (third.words == right).all()
    assert isinstance(third.content, np.ndarray)
    for unit in circle.units:
        assert open_files(circle.path / f"notes-{unit[-4:]}") == 0


def test_a_sum_that_does_not_open_says_so_where_it_is_used(tmp_path):
    class Altered(Protection):
        def open(self, start, total):
            raise VerificationFailed(
                "A protected sum does not open: it was altered, or somebody revealed falsely."
            )

    kept = Kept(50 * BLOCK, BLOCK, tmp_path)
    received([bytes(200 * BLOCK)], kept)
    found = Sum(("1",), b"", Opened(kept, Altered(), 50 * BLOCK, kept.close), (), 1)
    with pytest.raises(RoundFailed) as caught:
        print(found.words)
    assert caught.value.reason == "disagreement"
    assert open_files(tmp_path) == 0


def test_a_round_that_fails_after_the_sum_came_leaves_no_file(tmp_path):
    circle = Circle(tmp_path)

    class Failing(Rounds):
        def _checked(self, group, *given):
            assert open_files(circle.path / f"notes-{self._identity.source_unit[-4:]}") == 1
            raise RoundFailed("disagreement", "Somebody added up another sum.")

    found = circle.sum(circle.vectors(MANY_WORDS), kind=Failing)
    # Who is told that somebody has gone, before it gets as far, only stops.
    assert "disagreement" in failed(found).values()
    assert set(failed(found)) == set(circle.units)
    for unit in circle.units:
        assert open_files(circle.path / f"notes-{unit[-4:]}") == 0
