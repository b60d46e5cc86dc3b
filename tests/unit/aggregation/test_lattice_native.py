"""The lattice sum in C: the same bits as the reference on every path that this processor has."""

import os
import subprocess
import sys
import weakref
from dataclasses import replace

import numpy as np
import pytest

from trustspace.aggregation.lattice import library, native, reference
from trustspace.aggregation.lattice.backend import available_backends
from trustspace.aggregation.lattice.library import PATHS, load, load_from
from trustspace.aggregation.lattice.native import NativeBackend
from trustspace.aggregation.lattice.parameters import L, S
from trustspace.aggregation.lattice.reference import NumpyBackend
from trustspace.errors import InvalidInput

KERNEL = load()
PUBLIC, NOISE = bytes(range(16)), bytes(range(100, 116))
REFERENCE = NumpyBackend()
pytestmark = pytest.mark.skipif(KERNEL.library is None, reason=f"no C kernel: {KERNEL.reason}")
sets = pytest.mark.parametrize("parameters", [S, L], ids="SL")


@pytest.fixture(params=PATHS)
def backend(request):
    """A backend of one thread for each path; those that the processor lacks are skipped, visibly."""
    if request.param not in PATHS[: KERNEL.best + 1]:
        pytest.skip("this processor lacks the instructions")
    return NativeBackend(threads=1, path=request.param)


def secret_of(parameters, rng):
    rows = [rng.integers(0, q, parameters.n, dtype=np.uint64) for q in parameters.primes]
    return np.stack(rows).astype(np.uint32)


def words_of(parameters, rng, blocks, participants=1):
    bound = parameters.largest // participants
    return rng.integers(-bound, bound + 1, blocks * parameters.block).astype(np.int32).view(np.uint32)


def reference_mask(parameters, secret, first, blocks):
    out = np.empty(blocks * parameters.block, np.uint32)
    REFERENCE.mask(parameters, PUBLIC, secret, NOISE, first, out)
    return out


@sets
@pytest.mark.parametrize(("first", "blocks"), [(0, 1), (1 << 40, 3), ((1 << 48) - 20, 20)])
def test_masks_have_the_references_bits(backend, parameters, first, blocks):
    secret = secret_of(parameters, np.random.default_rng(first + blocks))
    out = np.full(blocks * parameters.block, 0xDEADBEEF, np.uint32)
    backend.mask(parameters, PUBLIC, secret, NOISE, first, out)
    np.testing.assert_array_equal(out, reference_mask(parameters, secret, first, blocks))


@sets
def test_words_of_a_that_are_rejected_are_drawn_again(backend, parameters):
    # Among these words of row 1 are rejected ones, or the test shows nothing.
    first, blocks = 5, 24
    counters = np.arange(parameters.n // 4, dtype=np.uint64)[:, None]
    numbers = np.arange(first, first + blocks, dtype=np.uint64)
    drawn = reference.stream(PUBLIC, counters, numbers, 1, 0)
    assert (drawn >= parameters.rejection_limit(1)).any()
    secret = secret_of(parameters, np.random.default_rng(2))
    out = np.empty(blocks * parameters.block, np.uint32)
    backend.mask(parameters, PUBLIC, secret, NOISE, first, out)
    np.testing.assert_array_equal(out, reference_mask(parameters, secret, first, blocks))


@sets
@pytest.mark.parametrize("value", ["zeros", "ones", "largest"])
def test_secrets_at_the_ends_of_their_range(backend, parameters, value):
    secret = np.zeros((parameters.rows, parameters.n), np.uint32)
    if value != "zeros":
        tops = np.array(parameters.primes, np.uint32)[:, None] - 1
        secret += tops if value == "largest" else 1
    out = np.empty(2 * parameters.block, np.uint32)
    backend.mask(parameters, PUBLIC, secret, NOISE, 0, out)
    np.testing.assert_array_equal(out, reference_mask(parameters, secret, 0, 2))


@sets
def test_sums_are_protected_added_and_opened_as_by_the_reference(backend, parameters):
    rng = np.random.default_rng(3)
    blocks, participants = 3, 3
    total = np.zeros(blocks * parameters.block, np.uint32)
    plain = np.zeros(len(total), np.int64)
    key = np.zeros((parameters.rows, parameters.n), np.uint64)
    for _ in range(participants):
        secret, words = secret_of(parameters, rng), words_of(parameters, rng, blocks, participants)
        noise = os.urandom(16)
        protected, expected = np.empty_like(total), np.empty_like(total)
        backend.protect(parameters, PUBLIC, secret, noise, 7, words, protected)
        REFERENCE.protect(parameters, PUBLIC, secret, noise, 7, words, expected)
        np.testing.assert_array_equal(protected, expected)
        before = total.copy()
        backend.add_into(parameters, total, protected)
        REFERENCE.add_into(parameters, before, protected)
        np.testing.assert_array_equal(total, before)
        plain += words.view(np.int32)
        key += secret
    key = (key % np.array(parameters.primes, np.uint64)[:, None]).astype(np.uint32)
    opened = np.empty_like(total)
    bound = parameters.noise_bound(participants)
    assert backend.open(parameters, PUBLIC, key, 7, total, bound, opened)
    np.testing.assert_array_equal(opened.view(np.int32), plain)
    key[0, 5] ^= 1
    assert not backend.open(parameters, PUBLIC, key, 7, total, bound, opened)


@sets
def test_open_agrees_with_the_reference_on_the_smallest_bound(backend, parameters):
    rng = np.random.default_rng(4)
    secret, words = secret_of(parameters, rng), words_of(parameters, rng, 2)
    protected = np.empty_like(words)
    backend.protect(parameters, PUBLIC, secret, NOISE, 0, words, protected)
    results = [
        [
            one.open(parameters, PUBLIC, secret, 0, protected, bound, np.empty_like(words))
            for bound in range(41)
        ]
        for one in (backend, REFERENCE)
    ]
    assert results[0] == results[1]
    assert True in results[0]
    assert False in results[0]


@sets
def test_open_refuses_what_is_no_residue(backend, parameters):
    secret = secret_of(parameters, np.random.default_rng(5))
    good = reference_mask(parameters, secret, 0, 1)
    out = np.empty_like(good)
    assert backend.open(parameters, PUBLIC, secret, 0, good, 40, out)
    for slot in range(parameters.slots):
        wrong, at = good.copy(), slot * parameters.n + 17
        prime, low = parameters.primes[parameters.row(slot)], (1 << parameters.residue_bits) - 1
        if (int(wrong[at]) & low) + prime > low:
            wrong[at] = wrong[at] & ~np.uint32(low) | np.uint32(prime)
        else:
            wrong[at] += np.uint32(prime)
        assert not backend.open(parameters, PUBLIC, secret, 0, wrong, parameters.primes[0], out)


@sets
def test_the_online_half_gives_what_protect_gives(backend, parameters):
    rng = np.random.default_rng(6)
    secret, words = secret_of(parameters, rng), words_of(parameters, rng, 3)
    words[:4] = np.array([parameters.largest, -parameters.largest, 0, -1], np.int32).view(np.uint32)
    whole = np.empty_like(words)
    backend.protect(parameters, PUBLIC, secret, NOISE, 1, words, whole)
    masks = reference_mask(parameters, secret, 1, 3)
    backend.apply(parameters, words, masks)
    np.testing.assert_array_equal(masks, whole)


@sets
@pytest.mark.parametrize("beyond", ["largest", "-largest", "2^31-1", "-2^31"])
def test_words_beyond_the_largest_are_refused(backend, parameters, beyond):
    ends = {
        "largest": parameters.largest + 1,
        "-largest": -parameters.largest - 1,
        "2^31-1": 2**31 - 1,
        "-2^31": -(2**31),
    }
    secret = secret_of(parameters, np.random.default_rng(7))
    for at in (0, parameters.block - 1, 2 * parameters.block - 1):
        words = np.zeros(2 * parameters.block, np.int32)
        words[at] = ends[beyond]
        out = np.zeros(len(words), np.uint32)
        with pytest.raises(InvalidInput, match="beyond"):
            backend.protect(parameters, PUBLIC, secret, NOISE, 0, words.view(np.uint32), out)
        with pytest.raises(InvalidInput, match="beyond"):
            backend.apply(parameters, words.view(np.uint32), out)


@sets
def test_additions_of_the_largest_residues(backend, parameters):
    # Each slot's words: the largest residue, with the largest residue of row 0 above it where there is room.
    total = np.zeros(parameters.block, np.uint32)
    for slot in range(parameters.slots):
        piece = 0
        if parameters.noise_bits:
            piece = (parameters.primes[0] - 1) >> parameters.noise_bits * slot & 63
        word = parameters.primes[parameters.row(slot)] - 1 | piece << parameters.residue_bits
        total[slot * parameters.n : (slot + 1) * parameters.n] = word
    expected, addend = total.copy(), total.copy()
    backend.add_into(parameters, total, addend)
    REFERENCE.add_into(parameters, expected, addend)
    np.testing.assert_array_equal(total, expected)
    for slot in range(parameters.slots):
        wrong = addend.copy()
        wrong[slot * parameters.n + 3] += 1
        with pytest.raises(InvalidInput, match="no residues"):
            backend.add_into(parameters, total, wrong)


def test_noise_residues_that_are_none_are_refused_too(backend):
    parameters = L
    wrong = np.zeros(parameters.block, np.uint32)
    for slot in range(3):
        wrong[slot * parameters.n] = (parameters.primes[0] >> 6 * slot & 63) << parameters.residue_bits
    with pytest.raises(InvalidInput, match="no residues"):
        backend.add_into(parameters, np.zeros_like(wrong), wrong)


@sets
def test_input_and_output_may_be_the_same_memory_or_overlap(backend, parameters):
    rng = np.random.default_rng(8)
    secret, words = secret_of(parameters, rng), words_of(parameters, rng, 2)
    expected = np.empty_like(words)
    REFERENCE.protect(parameters, PUBLIC, secret, NOISE, 0, words, expected)
    memory = words.copy()
    backend.protect(parameters, PUBLIC, secret, NOISE, 0, memory, memory)
    np.testing.assert_array_equal(memory, expected)
    assert backend.open(parameters, PUBLIC, secret, 0, memory, 40, memory)
    np.testing.assert_array_equal(memory, words)
    # One word apart.
    memory = np.concatenate([words, words[:1]])
    backend.protect(parameters, PUBLIC, secret, NOISE, 0, memory[:-1], memory[1:])
    np.testing.assert_array_equal(memory[1:], expected)
    assert backend.open(parameters, PUBLIC, secret, 0, memory[1:], 40, memory[:-1])
    np.testing.assert_array_equal(memory[:-1], words)
    doubled = expected.copy()
    backend.add_into(parameters, doubled, doubled)
    REFERENCE.add_into(parameters, expected, expected.copy())
    np.testing.assert_array_equal(doubled, expected)


@sets
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("blocks", [0, 1, 7])
def test_the_number_of_threads_changes_nothing(backend, parameters, threads, blocks, monkeypatch):
    monkeypatch.setattr(native, "THREAD_WORDS", parameters.block)
    monkeypatch.setattr(native, "THREAD_ADDITIONS", parameters.block)
    many = NativeBackend(threads=threads, path=backend.name)
    rng = np.random.default_rng(9)
    secret, words = secret_of(parameters, rng), words_of(parameters, rng, blocks)
    out, expected = np.empty_like(words), np.empty_like(words)
    many.protect(parameters, PUBLIC, secret, NOISE, 3, words, out)
    if blocks:
        REFERENCE.protect(parameters, PUBLIC, secret, NOISE, 3, words, expected)
    np.testing.assert_array_equal(out, expected)
    masks = np.zeros_like(words)
    many.mask(parameters, PUBLIC, secret, NOISE, 3, masks)
    many.apply(parameters, words, masks)
    np.testing.assert_array_equal(masks, expected)
    assert many.open(parameters, PUBLIC, secret, 3, out, 40, out)
    np.testing.assert_array_equal(out, words)
    if blocks:
        # What the last thread finds is told, too.
        words[-1] = 1 << 30
        with pytest.raises(InvalidInput, match="beyond"):
            many.protect(parameters, PUBLIC, secret, NOISE, 3, words, out)


@pytest.mark.parametrize("length", [0, 1, 3, 7, 8, 9, 4096, 70_003])
def test_encoding_and_decoding_have_the_references_bits(backend, length, monkeypatch):
    monkeypatch.setattr(native, "THREAD_ADDITIONS", 1 << 12)
    rng = np.random.default_rng(length)
    values = rng.normal(size=length).astype(np.float32)
    special = [0.0, -0.0, 1e-45, -1e-45, 1.17549435e-38, 3.4028235e38, -3.4028235e38, 0.5, -0.5, 1.5, 2.5]
    values[: len(special)] = np.array(special, np.float32)[:length]
    for one in (backend, NativeBackend(threads=3, path=backend.name)):
        for factor, bound, largest in (
            (1.0, 1.0, 524288),
            (-0.37, 2.0**-64, 33497),
            (1e250, 2.0**64, 2**31 - 1),
        ):
            ours, theirs = np.full(length, 7, np.int32), np.full(length, 8, np.int32)
            assert one.encode(values, factor, bound, largest / bound, ours)
            assert REFERENCE.encode(values, factor, bound, largest / bound, theirs)
            np.testing.assert_array_equal(ours, theirs)
            decoded, expected = np.empty(length), np.empty(length)
            one.decode(ours.view(np.uint32), largest / bound, decoded)
            REFERENCE.decode(ours.view(np.uint32), largest / bound, expected)
            np.testing.assert_array_equal(decoded, expected)


def test_encoding_rounds_halves_to_even(backend):
    values = np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3.4999998, 3.5, 1e30, -1e30], np.float32)
    out = np.empty(len(values), np.int32)
    assert backend.encode(values, 1.0, 100.0, 1.0, out)
    assert out.tolist() == [0, 2, 2, 0, -2, -2, 3, 4, 100, -100]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 5, 30, 40])
def test_numbers_that_are_not_finite_are_told(backend, value, at):
    values, out = np.ones(41, np.float32), np.empty(41, np.int32)
    assert backend.encode(values, 1.0, 1.0, 1.0, out)
    values[at] = value
    assert not backend.encode(values, 1.0, 1.0, 1.0, out)
    assert not backend.encode(np.zeros(41, np.float32), value, 1.0, 1.0, out)


def test_a_product_that_overflows_is_told_not_clipped(backend):
    values, out = np.full(3, 1e38, np.float32), np.empty(3, np.int32)
    assert not backend.encode(values, 1e300, 1.0, 1.0, out)


@sets
def test_wrong_shapes_types_and_keys_are_refused(backend, parameters):
    secret = secret_of(parameters, np.random.default_rng(10))
    good = np.zeros(2 * parameters.block, np.uint32)
    for wrong in (
        good[1:],
        good[:-1],
        good[::2],
        good.view(np.int32),
        good.astype(np.uint64),
        good.reshape(2, -1),
    ):
        with pytest.raises(InvalidInput):
            backend.mask(parameters, PUBLIC, secret, NOISE, 0, wrong)
        with pytest.raises(InvalidInput):
            backend.protect(parameters, PUBLIC, secret, NOISE, 0, good, wrong)
        with pytest.raises(InvalidInput):
            backend.add_into(parameters, good, wrong)
        with pytest.raises(InvalidInput):
            backend.apply(parameters, wrong, good)
        with pytest.raises(InvalidInput):
            backend.open(parameters, PUBLIC, secret, 0, good, 40, wrong)
    for one in (secret[:, 1:], secret[:1], secret.astype(np.uint64), np.asfortranarray(secret)):
        with pytest.raises(InvalidInput):
            backend.mask(parameters, PUBLIC, one, NOISE, 0, good)
    secret[0, 0] = parameters.primes[0]
    with pytest.raises(InvalidInput):
        backend.mask(parameters, PUBLIC, secret, NOISE, 0, good)
    secret[0, 0] = 0
    for keys in ((PUBLIC[1:], NOISE), (PUBLIC, NOISE + b"0")):
        with pytest.raises(InvalidInput):
            backend.mask(parameters, keys[0], secret, keys[1], 0, good)
    for first in (-1, (1 << 48) - 1):
        with pytest.raises(InvalidInput):
            backend.mask(parameters, PUBLIC, secret, NOISE, first, good)
    unaligned = np.zeros(4 * len(good) + 1, np.uint8)[1:].view(np.uint32)
    with pytest.raises(InvalidInput):
        backend.mask(parameters, PUBLIC, secret, NOISE, 0, unaligned)
    with pytest.raises(InvalidInput):
        backend.add_into(parameters, good, unaligned)
    with pytest.raises(InvalidInput):
        backend.encode(unaligned.view(np.float32), 1.0, 1.0, 1.0, good.view(np.int32))


def test_parameters_that_the_kernel_has_no_room_for_are_refused(backend):
    large = replace(S, n=8192)
    with pytest.raises(InvalidInput):
        backend.apply(large, np.zeros(large.block, np.uint32), np.zeros(large.block, np.uint32))


@sets
def test_no_secret_is_left_in_the_scratch_memory(backend, parameters):
    rng = np.random.default_rng(11)
    secret, words = secret_of(parameters, rng), words_of(parameters, rng, 2)
    out = np.empty_like(words)
    backend.protect(parameters, PUBLIC, secret, NOISE, 0, words, out)
    backend.open(parameters, PUBLIC, secret, 0, out, 40, out)
    (scratch,) = backend._scratch
    assert not scratch.any()


@sets
@pytest.mark.parametrize("what", ["protect", "open"])
def test_the_constants_live_as_long_as_the_library_computes_with_them(backend, parameters, what, monkeypatch):
    """Threads that ask first, at once, each compute them, and the cache lets go of all but one's.

    The library went on with memory that was no longer theirs: wrong sums, and a search without an end for a word
    below a limit that had become 0.
    """
    library.tables.cache_clear()
    made = []

    def displaced(parameters):
        constants = library.tables(parameters)
        made.append(weakref.ref(constants))
        library.tables.cache_clear()
        return constants

    class Watched:
        lattice_scratch_size = KERNEL.library.lattice_scratch_size

        def __getattr__(self, name):
            def call(*arguments):
                assert made[-1]() is not None, "computing with constants that nobody holds"
                called.append(name)
                return getattr(KERNEL.library, name)(*arguments)

            return call

    called = []
    monkeypatch.setattr(native, "tables", displaced)
    backend._library = Watched()
    rng = np.random.default_rng(5)
    secret, words = secret_of(parameters, rng), words_of(parameters, rng, 2)
    out = np.empty(len(words), np.uint32)
    backend.protect(parameters, PUBLIC, secret, NOISE, 0, words, out)
    if what == "open":
        opened = np.empty(len(words), np.uint32)
        assert backend.open(parameters, PUBLIC, secret, 0, out, parameters.noise_bound(1), opened)
        np.testing.assert_array_equal(opened, words)
    assert f"lattice_{what}" in called
    assert made[-1]() is None, "the control: nothing else held them"


def test_backends_are_offered_fastest_first():
    names = [backend.name for backend in available_backends() if backend.name.startswith("c")]
    assert names == list(PATHS[KERNEL.best :: -1])


def test_a_path_that_is_none_is_refused():
    with pytest.raises(InvalidInput):
        NativeBackend(path="c-neon")


def test_without_a_library_numpy_does_the_work_and_the_reason_is_told(tmp_path, monkeypatch, capsys):
    kernel = load_from(tmp_path)
    assert kernel.library is None
    assert "compiler" in kernel.reason
    monkeypatch.setattr(native, "load", lambda: kernel)
    assert native.backends() == ()
    assert next(backend.name for backend in available_backends()) == "numpy"
    with pytest.raises(InvalidInput, match="not installed"):
        NativeBackend()
    monkeypatch.setattr(library, "load", lambda: kernel)
    library.main()
    assert "NumPy" in capsys.readouterr().out


def test_a_library_that_is_none_is_no_error(tmp_path):
    suffix = library.EXTENSION_SUFFIXES[0]
    (tmp_path / f"kernel{suffix}").write_bytes(b"not a library")
    kernel = load_from(tmp_path)
    assert kernel.library is None
    assert "cannot be loaded" in kernel.reason


def test_importing_and_computing_leaves_no_thread():
    script = (
        "import threading, numpy as np\n"
        "from trustspace.aggregation.lattice import native\n"
        "assert threading.active_count() == 1\n"
        "backend = native.NativeBackend(threads=3)\n"
        "backend.encode(np.zeros(1 << 23, np.float32), 1.0, 1.0, 1.0, np.zeros(1 << 23, np.int32))\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
