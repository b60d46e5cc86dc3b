"""Every backend of the lattice sum gives the vectors' bits, and the reference gives what the definitions say."""

import math
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.lattice import (
    VECTORS,
    carrying,
    negacyclic,
    noise_row,
    packed,
    public_row,
    random_words,
    same,
    secret_of,
    shake,
    signed,
    transform,
)

from trustspace.aggregation.lattice import reference
from trustspace.aggregation.lattice.backend import available_backends
from trustspace.aggregation.lattice.parameters import PARAMETERS, L, S
from trustspace.aggregation.lattice.reference import NumpyBackend
from trustspace.aggregation.lattice.scheme import public_key
from trustspace.errors import InvalidInput

ROOT = Path(__file__).parents[3]
SETS = pytest.mark.parametrize("parameters", PARAMETERS, ids=lambda p: p.name)
BACKENDS = pytest.mark.parametrize("backend", available_backends(), ids=lambda b: b.name)
PUBLIC, NOISE = b"p" * 16, b"n" * 16


def zero_secret(parameters):
    return np.zeros((parameters.rows, parameters.n), np.uint32)


def room(words):
    return np.empty(len(words), np.uint32)


# -- Vectors --------------------------------------------------------------------------------------------------


@SETS
@BACKENDS
def test_every_backend_gives_the_vectors(backend, parameters):
    case = VECTORS[parameters.name]
    public, first, length = bytes.fromhex(case["public"]), case["first"], case["blocks"] * parameters.block
    assert public == public_key(bytes.fromhex(case["context"]))
    participants = len(case["participants"])
    bound = parameters.largest // participants
    primes = np.array(parameters.primes, np.uint64)[:, None]
    total, secrets, expected = np.zeros(length, np.uint32), zero_secret(parameters).astype(np.uint64), 0
    for one in case["participants"]:
        secret, noise = (
            secret_of(parameters, bytes.fromhex(one["secret_seed"])),
            bytes.fromhex(one["noise_key"]),
        )
        words = (shake(bytes.fromhex(one["words_seed"]), length) % (2 * bound + 1)).astype(np.int64) - bound
        words[0::16], words[1::16] = bound, -bound
        words = words.astype(np.int32).view(np.uint32)
        assert same(secret, one["secret"])
        assert same(words, one["words"])
        mask, protected = room(words), room(words)
        backend.mask(parameters, public, secret, noise, first, mask)
        assert same(mask, one["mask"])
        backend.protect(parameters, public, secret, noise, first, words, protected)
        assert same(protected, one["protected"])
        backend.apply(parameters, words, mask)
        assert np.array_equal(mask, protected)
        backend.add_into(parameters, total, protected)
        secrets, expected = (secrets + secret) % primes, expected + signed(words)
    assert same(total, case["sum"])
    together, opened = secrets.astype(np.uint32), room(total)
    assert same(together, case["secret_sum"])
    assert backend.open(parameters, public, together, first, total, case["bound"], opened)
    assert np.array_equal(signed(opened), expected)
    assert same(opened, case["opened"])
    # The vectors reach the ends of what a sum may be, or the last multiple of the participants before them.
    assert signed(opened).max() == -signed(opened).min() == participants * bound


@SETS
@BACKENDS
def test_every_backend_gives_the_vectors_of_extremes_and_retries(backend, parameters):
    case = VECTORS[parameters.name]
    public, one = bytes.fromhex(case["public"]), case["participants"][0]
    secret, noise = secret_of(parameters, bytes.fromhex(one["secret_seed"])), bytes.fromhex(one["noise_key"])
    ends = np.tile(
        np.array([parameters.largest, -parameters.largest], np.int32), case["blocks"] * parameters.block // 2
    )
    words, out = ends.view(np.uint32), np.empty(len(ends), np.uint32)
    backend.protect(parameters, public, secret, noise, case["extremes"]["first"], words, out)
    assert same(out, case["extremes"]["protected"])
    assert backend.open(parameters, public, secret, case["extremes"]["first"], out, 40, out)
    assert same(out, case["extremes"]["opened"])
    assert [retry["row"] for retry in case["retries"]] == list(range(parameters.rows))
    for retry in case["retries"]:
        mask = np.empty(parameters.block, np.uint32)
        backend.mask(parameters, public, secret, noise, retry["block"], mask)
        assert same(mask, retry["mask"])


def test_the_file_of_vectors_is_what_its_tool_writes():
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "lattice_vectors.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# -- The reference against the definitions --------------------------------------------------------------------


@SETS
def test_public_residues_by_the_definition(parameters):
    case = VECTORS[parameters.name]
    public = bytes.fromhex(case["public"])
    for row, expected in enumerate(case["a"]):
        rows = [public_row(parameters, public, case["first"] + block, row) for block in range(case["blocks"])]
        assert same(np.array(rows), expected)
    for retry in case["retries"]:
        residues = public_row(parameters, public, retry["block"], retry["row"])
        found = reference.uniform(parameters, public, retry["row"], retry["block"], 1)[:, 0]
        assert residues == found.tolist()
        assert residues[retry["coefficient"]] == retry["residue"]
        # The case is one: the words before the last one were refused, and taking them would give another residue.
        refused = reference.stream(
            public, np.array([retry["coefficient"] // 4], np.uint64), retry["block"], retry["row"], 0
        )
        word = int(refused[0, retry["coefficient"] % 4])
        assert word >= parameters.rejection_limit(retry["row"])
        assert word % parameters.primes[retry["row"]] != retry["residue"]


@SETS
def test_noise_by_the_definition(parameters):
    case = VECTORS[parameters.name]
    for one in case["participants"][:2]:
        key = bytes.fromhex(one["noise_key"])
        rows = [noise_row(parameters, key, case["first"] + block) for block in range(case["blocks"])]
        assert same(np.array(rows), one["noise"])


@SETS
def test_the_inverse_transform_by_the_definition(parameters):
    for row, prime in enumerate(parameters.primes):
        values = np.random.default_rng(row).integers(0, prime, (parameters.n, 3), dtype=np.uint64)
        values[:, 2] = prime - 1
        elements = reference.inverse_transform(parameters, row, values)
        assert (elements < prime).all()
        for block in (0, 2):
            assert np.array_equal(transform(parameters, row, elements[:, block]), values[:, block])


@SETS
def test_products_are_those_of_the_ring(parameters):
    for row, prime in enumerate(parameters.primes):
        left, right = np.random.default_rng(row).integers(0, prime, (2, parameters.n), dtype=np.uint64)
        values = transform(parameters, row, left) * transform(parameters, row, right) % np.uint64(prime)
        product = reference.inverse_transform(parameters, row, values[:, None])[:, 0]
        assert product.tolist() == negacyclic(left, right, prime)


@SETS
def test_a_protected_block_by_the_definition(parameters):
    block, secret = 7, secret_of(parameters, b"secret")
    words = random_words(parameters, 5, 1, parameters.largest)
    rows = carrying(parameters, noise_row(parameters, NOISE, block), signed(words))
    for row, prime in enumerate(parameters.primes):
        values = (
            np.array(public_row(parameters, PUBLIC, block, row), np.uint64) * secret[row] % np.uint64(prime)
        )
        product = reference.inverse_transform(parameters, row, values[:, None])[:, 0]
        rows[row] = (rows[row] + product.astype(np.int64)) % prime
    out = room(words)
    NumpyBackend().protect(parameters, PUBLIC, secret, NOISE, block, words, out)
    assert np.array_equal(out, packed(parameters, rows))


# -- Statistics, of fixed keys: these are the same numbers at every run ------------------------------------------


def chi_square(counts, expected):
    """How many standard deviations the statistic lies from its mean."""
    freedom = len(counts) - 1
    return (((counts - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom)


def noise_counts(noise):
    """Counts and expectations of the values -14..14, the tails gathered at the ends."""
    chances = np.array([math.comb(80, ones) / 2**80 for ones in range(81)])
    chances = np.concatenate(([chances[:27].sum()], chances[27:54], [chances[54:].sum()]))
    clipped = np.clip(noise.reshape(-1), -14, 14)
    return np.bincount(clipped + 14, minlength=29), chances * noise.size


@SETS
def test_noise_is_binomial(parameters):
    noise = reference.noise_of(parameters, NOISE, 0, (1 << 20) // parameters.n)
    assert abs(chi_square(*noise_counts(noise))) < 4
    assert abs(noise.mean()) < 5 * math.sqrt(20 / noise.size)
    assert abs(noise.var() - 20) < 0.2
    # Two coefficients that share a word, and two blocks, have nothing in common.
    half = parameters.n // 2
    for one, other in ((noise[:half], noise[half:]), (noise[:, :-1], noise[:, 1:])):
        assert abs((one * other).mean()) < 5 * 20 / math.sqrt(one.size)
    # The test can tell: one bit less, or a rounded Gaussian of another width, is far outside.
    assert (
        chi_square(
            *noise_counts(noise - (noise > 0) * (np.arange(noise.size).reshape(noise.shape) % 40 == 0))
        )
        > 10
    )
    wider = np.rint(np.random.default_rng(1).normal(0, 4.6, noise.shape)).astype(np.int64)
    assert chi_square(*noise_counts(wider)) > 10


@SETS
def test_masks_are_uniform(parameters):
    """Residues of masks under a random secret, and of public rows, in 64 bins."""
    count = (1 << 18) // parameters.n
    secret, out = secret_of(parameters, b"uniform"), np.empty(count * parameters.block, np.uint32)
    NumpyBackend().mask(parameters, PUBLIC, secret, NOISE, 0, out)
    rows = reference._unpack(parameters, out)
    for row, prime in enumerate(parameters.primes):
        edges = np.array([(k * prime + 63) // 64 for k in range(65)])
        for residues in (rows[row], reference.uniform(parameters, PUBLIC, row, 0, count)):
            counts = np.histogram(residues.reshape(-1).astype(np.int64), edges)[0]
            assert counts.sum() == residues.size
            assert abs(chi_square(counts, np.diff(edges) / prime * residues.size)) < 4
    # Without the secret there is no uniformity to be found: the noise alone is small.
    NumpyBackend().mask(parameters, PUBLIC, zero_secret(parameters), NOISE, 0, out)
    last = reference._unpack(parameters, out)[-1].astype(np.int64)
    assert np.minimum(last, parameters.primes[-1] - last).max() <= 40


# -- Every backend against the reference -------------------------------------------------------------------------


@SETS
@BACKENDS
@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32),
    blocks=st.sampled_from([1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 33]),
    first=st.sampled_from([0, 1, 2**16, 2**32 - 3, 2**48 - 40]),
)
def test_every_backend_does_what_the_reference_does(backend, parameters, seed, blocks, first):
    secret = secret_of(parameters, seed.to_bytes(8))
    public, noise = (
        shake(b"keys" + seed.to_bytes(8), 4).tobytes()[:32][:16],
        shake(seed.to_bytes(8), 2).tobytes(),
    )
    words = random_words(parameters, seed, blocks, parameters.largest // 2)
    other = random_words(parameters, seed + 1, blocks, parameters.largest // 2)
    results = []
    for one in (NumpyBackend(), backend):
        mask, protected, aliased = room(words), room(words), other.copy()
        one.mask(parameters, public, secret, noise, first, mask)
        one.protect(parameters, public, secret, noise, first, words, protected)
        one.protect(parameters, public, secret, noise, first, aliased, aliased)
        total, opened = protected.copy(), room(words)
        one.add_into(parameters, total, aliased)
        twice = (secret.astype(np.uint64) * 2 % np.array(parameters.primes, np.uint64)[:, None]).astype(
            np.uint32
        )
        assert one.open(parameters, public, twice, first, total, 80, opened)
        assert np.array_equal(signed(opened), signed(words) + signed(other))
        inside = total.copy()
        assert one.open(parameters, public, twice, first, inside, 80, inside)
        online = mask.copy()
        one.apply(parameters, words, online)
        assert np.array_equal(online, protected)
        assert np.array_equal(inside, opened)
        results.append((mask, protected, aliased, total, opened))
    for expected, found in zip(*results, strict=True):
        assert np.array_equal(expected, found)


@SETS
@BACKENDS
def test_pieces_are_the_whole(backend, parameters):
    secret, words = secret_of(parameters, b"pieces"), random_words(parameters, 3, 6, parameters.largest)
    whole = room(words)
    backend.protect(parameters, PUBLIC, secret, NOISE, 11, words, whole)
    for block in (5, 0, 3):
        here = slice(block * parameters.block, (block + 1) * parameters.block)
        out = room(words[here])
        backend.protect(parameters, PUBLIC, secret, NOISE, 11 + block, words[here], out)
        assert np.array_equal(out, whole[here])
    nothing = np.empty(0, np.uint32)
    backend.protect(parameters, PUBLIC, secret, NOISE, 0, nothing, nothing)
    assert backend.open(parameters, PUBLIC, secret, 0, nothing, 40, nothing)


@SETS
@BACKENDS
def test_a_word_beyond_the_largest_is_refused_in_every_place(backend, parameters):
    secret = zero_secret(parameters)
    for place in (0, parameters.n - 1, parameters.n, parameters.block - 1, 2 * parameters.block - 1):
        for value in (parameters.largest, -parameters.largest):
            words = np.zeros(2 * parameters.block, np.int32)
            words[place] = value
            out = np.empty(len(words), np.uint32)
            backend.protect(parameters, PUBLIC, secret, NOISE, 0, words.view(np.uint32), out)
            assert backend.open(parameters, PUBLIC, secret, 0, out, 40, out)
            assert np.array_equal(out.view(np.int32), words)
        for value in (parameters.largest + 1, -parameters.largest - 1, 2**31 - 1, -(2**31)):
            words[place] = value
            with pytest.raises(InvalidInput):
                backend.protect(parameters, PUBLIC, secret, NOISE, 0, words.view(np.uint32), out)
            with pytest.raises(InvalidInput):
                backend.apply(parameters, words.view(np.uint32), np.zeros(len(words), np.uint32))


@SETS
@BACKENDS
def test_noise_and_words_are_read_up_to_their_bounds_and_not_beyond(backend, parameters):
    """Sums at the corners, put together by hand under the secret zero."""
    bound, secret = parameters.noise_bound(parameters.max_participants), zero_secret(parameters)
    for noise_sign in (1, -1):
        for word_sign in (1, -1):
            noise = np.full(parameters.n, noise_sign * bound)
            words = np.full(parameters.block, word_sign * parameters.largest)
            total = packed(parameters, carrying(parameters, noise, words))
            out = room(total)
            assert backend.open(parameters, PUBLIC, secret, 0, total, bound, out)
            assert np.array_equal(signed(out), words)
            for place in (0, parameters.n // 2 + 1, parameters.n - 1):
                noise[place] += noise_sign
                louder = packed(parameters, carrying(parameters, noise, words))
                assert not backend.open(parameters, PUBLIC, secret, 0, louder, bound, out)
                noise[place] -= noise_sign
            for place in (0, parameters.n - 1, parameters.n, parameters.block - 1):
                words[place] += word_sign
                larger = packed(parameters, carrying(parameters, noise, words))
                assert not backend.open(parameters, PUBLIC, secret, 0, larger, bound, out)
                words[place] -= word_sign


@SETS
@BACKENDS
def test_a_wrong_secret_does_not_open_whatever_row_it_is_wrong_in(backend, parameters):
    secret, words = secret_of(parameters, b"right"), random_words(parameters, 1, 1, parameters.largest)
    protected, out = room(words), room(words)
    backend.protect(parameters, PUBLIC, secret, NOISE, 0, words, protected)
    bound = parameters.noise_bound(parameters.max_participants)
    assert backend.open(parameters, PUBLIC, secret, 0, protected, bound, out)
    for row, prime in enumerate(parameters.primes):
        for change in (secret_of(parameters, b"wrong")[row], np.eye(1, parameters.n, 3, np.uint32)[0]):
            wrong = secret.copy()
            wrong[row] = (wrong[row].astype(np.uint64) + change) % prime
            assert not backend.open(parameters, PUBLIC, wrong, 0, protected, bound, out)
    assert not backend.open(parameters, b"q" * 16, secret, 0, protected, bound, out)
    assert not backend.open(parameters, PUBLIC, secret, 1, protected, bound, out)


@SETS
@BACKENDS
def test_sums_wrap_modulo_the_primes_and_take_residues_only(backend, parameters):
    top = [np.full(parameters.n, prime - 1) for prime in parameters.primes]
    total = packed(parameters, top)
    for _ in range(3):
        backend.add_into(parameters, total, packed(parameters, top))
    assert np.array_equal(total, packed(parameters, [row - 3 for row in top]))
    backend.add_into(parameters, total, total.copy())
    assert np.array_equal(total, packed(parameters, [row - 7 for row in top]))
    zeros = [np.zeros(parameters.n, np.int64) for _ in parameters.primes]
    for row, prime in enumerate(parameters.primes):
        for place in (0, parameters.n - 1):
            zeros[row][place] = prime
            bad = packed(parameters, zeros)
            zeros[row][place] = 0
            with pytest.raises(InvalidInput):
                backend.add_into(parameters, np.zeros(parameters.block, np.uint32), bad)
            bound = parameters.primes[0] // 2  # refused for what they are, whatever noise they would be
            assert not backend.open(parameters, PUBLIC, zero_secret(parameters), 0, bad, bound, room(bad))
    with pytest.raises(InvalidInput):
        backend.add_into(
            parameters, np.zeros(parameters.block, np.uint32), np.full(parameters.block, 2**32 - 1, np.uint32)
        )


@pytest.mark.parametrize("top", [1, -1])
def test_a_thousand_participants_at_their_bound(top):
    """Noise of a thousand and words that add up to the largest: the whole range of set L, in one block."""
    backend, count = available_backends()[0], L.max_participants
    words = np.full(L.block, top * (L.largest // count), np.int32).view(np.uint32)
    total, out = np.zeros(L.block, np.uint32), np.empty(L.block, np.uint32)
    sums, primes = np.zeros((L.rows, L.n), np.uint64), np.array(L.primes, np.uint64)[:, None]
    rng = np.random.default_rng(top + 1)
    for member in range(count):
        secret = rng.integers(0, primes, (L.rows, L.n), dtype=np.uint64)
        backend.protect(L, PUBLIC, secret.astype(np.uint32), member.to_bytes(16), 0, words, out)
        backend.add_into(L, total, out)
        sums = (sums + secret) % primes
    opened = np.empty(L.block, np.uint32)
    assert backend.open(L, PUBLIC, sums.astype(np.uint32), 0, total, L.noise_bound(count), opened)
    assert np.all(signed(opened) == top * L.largest)
    # The noise is that of a thousand: a bound for a hundred refuses it.
    assert not backend.open(L, PUBLIC, sums.astype(np.uint32), 0, total, L.noise_bound(100) // 2, opened)


@BACKENDS
def test_arguments_are_checked(backend):
    good, secret = np.zeros(S.block, np.uint32), zero_secret(S)
    wrong = secret.copy()
    wrong[1, 5] = S.primes[1]

    def mask(public=PUBLIC, secret=secret, noise=NOISE, first=0, out=good):
        return lambda: backend.mask(S, public, secret, noise, first, out.copy() if out is good else out)

    mask()()
    bad_words = (
        np.zeros(S.block - 1, np.uint32),
        np.zeros(S.block, np.int32),
        np.zeros(S.block, np.uint64),
        np.zeros(2 * S.block, np.uint32)[::2],
        np.zeros((2, S.block), np.uint32),
        bytes(4 * S.block),
    )
    bad_secrets = (
        wrong,
        secret[:1],
        secret.astype(np.uint64),
        np.zeros((2, 2 * S.n), np.uint32)[:, ::2],
        zero_secret(L),
        secret.reshape(-1),
    )
    acts = [
        mask(public=b"p" * 15),
        mask(noise=b"n" * 32),
        mask(first=-1),
        mask(first=2**48),
        *(mask(out=words) for words in bad_words),
        *(mask(secret=bad) for bad in bad_secrets),
        *(lambda bad=bad: backend.open(S, PUBLIC, bad, 0, good, 40, good.copy()) for bad in bad_secrets),
        *(
            lambda bad=bad: backend.protect(S, PUBLIC, secret, NOISE, 0, bad, good.copy())
            for bad in bad_words
        ),
        *(lambda bad=bad: backend.protect(S, PUBLIC, secret, NOISE, 0, good, bad) for bad in bad_words),
        *(lambda bad=bad: backend.apply(S, bad, good.copy()) for bad in bad_words),
        *(lambda bad=bad: backend.apply(S, good, bad) for bad in bad_words),
        *(lambda bad=bad: backend.add_into(S, good.copy(), bad) for bad in bad_words),
        *(lambda bad=bad: backend.add_into(S, bad, good) for bad in bad_words),
        *(lambda bad=bad: backend.open(S, PUBLIC, secret, 0, bad, 40, good.copy()) for bad in bad_words),
        *(lambda bad=bad: backend.open(S, PUBLIC, secret, 0, good, 40, bad) for bad in bad_words),
        lambda: backend.add_into(S, good.copy(), np.zeros(2 * S.block, np.uint32)),
        lambda: backend.open(S, PUBLIC, secret, 2**48, good, 40, good.copy()),
        lambda: backend.open(S, PUBLIC, secret, 0, good, -1, good.copy()),
        lambda: backend.open(S, b"", secret, 0, good, 40, good.copy()),
        lambda: backend.encode(np.zeros(3, np.float32), 1.0, 1.0, 1.0, np.zeros(4, np.int32)),
        lambda: backend.encode(np.zeros(3), 1.0, 1.0, 1.0, np.zeros(3, np.int32)),
        lambda: backend.decode(np.zeros(3, np.uint32), 1.0, np.zeros(3, np.float32)),
        lambda: backend.decode(np.zeros(3, np.uint32), 1.0, np.zeros(2)),
    ]
    for act in acts:
        with pytest.raises(InvalidInput):
            act()


# -- Fixed point ----------------------------------------------------------------------------------------------


@BACKENDS
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32),
    count=st.sampled_from([0, 1, 3, 15, 16, 17, 1000, 32768, 32769, 70001]),
    factor=st.floats(-4, 4),
    bound=st.sampled_from([2.0**-64, 0.1, 1.0, 3.0, 2.0**64]),
    largest=st.sampled_from([S.largest // 10, S.largest // 3, L.largest // 1000, (1 << 31) - 1]),
)
def test_every_backend_encodes_alike(backend, seed, count, factor, bound, largest):
    values = (np.random.default_rng(seed).normal(0, bound / 2, count)).astype(np.float32)
    values[:2], values[2:3] = -0.0, np.float32(bound)
    out = np.empty(count, np.int32)
    scale = largest / bound
    assert backend.encode(values, factor, bound, scale, out)
    expected = np.rint(np.clip(values.astype(np.float64) * factor, -bound, bound) * scale)
    assert np.array_equal(out, expected)
    decoded = np.empty(count)
    backend.decode(out.view(np.uint32), scale, decoded)
    assert np.array_equal(decoded, out / scale)


@BACKENDS
def test_ties_go_to_the_even_word(backend):
    values = np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3.0], np.float32)
    out = np.empty(7, np.int32)
    assert backend.encode(values, 1.0, 4.0, 1.0, out)
    assert out.tolist() == [0, 2, 2, 0, -2, -2, 3]


@BACKENDS
def test_what_is_not_finite_is_refused_in_every_place(backend):
    for place in (0, 1, 15, 16, 31, 40000, 69999):
        for bad in (np.nan, np.inf, -np.inf):
            values = np.zeros(70000, np.float32)
            values[place] = bad
            assert not backend.encode(values, 1.0, 1.0, 1.0, np.empty(70000, np.int32))
    ones = np.ones(20, np.float32)
    for factor in (math.nan, math.inf, -math.inf):
        assert not backend.encode(ones, factor, 1.0, 1.0, np.empty(20, np.int32))
    assert backend.encode(np.full(20, 3e38, np.float32), 1e30, 1.0, 5.0, out := np.empty(20, np.int32))
    assert np.all(out == 5)


# -- Memory ---------------------------------------------------------------------------------------------------


def test_memory_beyond_the_arguments_does_not_grow():
    """Of the reference, whose arrays are traced: for sixteen times the words, the same scratch memory."""
    secret, peaks = secret_of(S, b"memory"), []
    for blocks in (32, 512):
        words = np.zeros(blocks * S.block, np.uint32)
        out = room(words)
        tracemalloc.start()
        try:
            NumpyBackend().protect(S, PUBLIC, secret, NOISE, 0, words, out)
            NumpyBackend().add_into(S, out, words)
            NumpyBackend().open(S, PUBLIC, secret, 0, out, 40, out)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 100_000
    assert peaks[1] < words.nbytes
