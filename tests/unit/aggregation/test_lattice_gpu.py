"""The Triton kernels give the bits of the reference: on a card where there is one, else in Triton's interpreter."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from trustspace.aggregation.lattice import gpu, gpu_tables, reference
from trustspace.aggregation.lattice.parameters import L, S
from trustspace.errors import InvalidInput

BOTH = pytest.mark.parametrize("parameters", [S, L], ids=["S", "L"])
PUBLIC, NOISE = bytes(range(16)), bytes(range(100, 116))
LAST = (1 << 48) - 2


def need_triton():
    # Without importing it: what it is imported under, interpreter or not, it stays in this process.
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed (the extra gpu)")


@pytest.fixture(scope="module")
def on_card():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    return torch.cuda.is_available()


class Remembering(gpu.TritonBackend):
    """Draws each public stream once: drawing takes longest in the interpreter, and has tests of its own."""

    def __init__(self):
        super().__init__()
        self.drawn = {}

    def _public(self, parameters, key, first, count):
        place = parameters.name, key, first, count
        if place not in self.drawn:
            self.drawn[place] = super()._public(parameters, key, first, count)
        return self.drawn[place]


@pytest.fixture(scope="module")
def backend(on_card):
    need_triton()
    with pytest.MonkeyPatch.context() as patch:
        if not on_card:
            patch.setenv("TRITON_INTERPRET", "1")
        yield Remembering()


@pytest.fixture
def card(on_card):
    if not on_card:
        pytest.skip("torch finds no NVIDIA GPU here")


@pytest.fixture
def rng():
    return np.random.default_rng(20)


def secret_of(parameters, rng):
    rows = [rng.integers(0, q, parameters.n, dtype=np.uint64) for q in parameters.primes]
    return np.stack(rows).astype(np.uint32)


def words_of(parameters, rng, blocks, largest=None):
    """Random words, the first two at both ends."""
    largest = largest or parameters.largest
    words = rng.integers(-largest, largest + 1, blocks * parameters.block).astype(np.int32)
    words[:2] = largest, -largest
    return words.view(np.uint32)


def expected(parameters, secret, first, words, noise=NOISE):
    out = np.empty_like(words)
    reference.NumpyBackend().protect(parameters, PUBLIC, secret, noise, first, words, out)
    return out


class TestTables:
    def test_substitution_is_that_of_fips_197(self):
        box = gpu_tables.substitution()
        assert [box[0], box[0x53], box[0xFF]] == [0x63, 0xED, 0x16]
        assert sorted(box) == list(range(256))

    def test_schedule_is_that_of_fips_197_appendix_a(self):
        keys = gpu_tables.schedule(bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"))
        assert keys[1].tobytes().hex() == "a0fafe1788542cb123a339392a6c7605"
        assert keys[10].tobytes().hex() == "d014f9a8c9ee2589e13f0cc8b6630ca6"

    def test_planes_are_bits_of_the_round_keys_with_the_constant_in_them(self):
        key = bytes(range(16))
        planes = gpu_tables.key_planes(key).reshape(11, 16, 8)
        assert set(np.unique(planes)) == {0, 0xFFFFFFFF}
        values = ((planes & 1) << np.arange(8)).sum(-1)
        plain = gpu_tables.schedule(key)
        assert (values[0] == plain[0]).all()
        assert (values[1:] == (plain[1:] ^ 0x63)).all()

    @BOTH
    def test_a_montgomery_product_is_the_product(self, parameters, rng):
        for prime in parameters.primes:
            w, a = rng.integers(0, prime, 50, dtype=np.uint64), rng.integers(0, 1 << 32, 50, dtype=np.uint64)
            w[:2], a[:2] = prime - 1, ((1 << 32) - 1, prime - 1)
            factor, quotient = gpu_tables.montgomery(w, prime)
            for i in range(50):
                low = int(a[i]) * int(quotient[i]) % (1 << 32) * prime >> 32
                product = (int(a[i]) * int(factor[i]) >> 32) - low
                assert -prime < product < prime
                assert product % prime == int(a[i]) * int(w[i]) % prime

    def test_rounding_shift_makes_every_centred_residue_positive_and_fit(self):
        shift, half = gpu_tables.rounding_shift(S), S.primes[0] // 2
        assert S.scale * shift - half + S.scale // 2 >= 0
        assert S.scale * shift + half + S.scale // 2 < 1 << 32

    def test_only_sums_of_64_residues_that_fit_are_left_unreduced(self):
        assert gpu.is_loose(L)
        assert max(L.primes) * 64 <= 1 << 32
        assert not gpu.is_loose(S)


class TestWithoutACard:
    def test_importing_needs_neither_triton_nor_torch(self):
        code = (
            "import sys\n"
            "sys.modules['triton'] = sys.modules['torch'] = None\n"
            "import importlib.util\n"
            "found = importlib.util.find_spec\n"
            "importlib.util.find_spec = lambda name, *a: None if name in ('triton', 'torch') else found(name, *a)\n"
            "from trustspace.aggregation.lattice import gpu\n"
            "assert gpu.backends() == ()\n"
            "gpu.TritonBackend()\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

    def test_a_backend_is_offered_only_where_kernels_can_run(self, backend):
        assert [one.name for one in gpu.backends()] == ["triton"]


class TestStreams:
    @BOTH
    def test_noise(self, backend, parameters):
        parts = backend._noise(parameters, NOISE, LAST, 2).cpu().numpy().reshape(2, 3, -1).astype(int)
        assert (parts.sum(1).T - 40 == reference.noise_of(parameters, NOISE, LAST, 2)).all()

    @BOTH
    def test_public(self, backend, parameters):
        words = gpu.TritonBackend()._public(parameters, PUBLIC, LAST, 2).cpu().numpy()
        words = words.reshape(2, parameters.rows, 128, -1).swapaxes(2, 3).reshape(2, parameters.rows, -1)
        for row, prime in enumerate(parameters.primes):
            found = words[:, row].astype(np.uint64)
            assert (found < parameters.rejection_limit(row)).all()
            assert (found % prime == reference.uniform(parameters, PUBLIC, row, LAST, 2).T).all()

    def test_words_beyond_the_limit_are_drawn_again_until_none_is(self, backend):
        # With the limits of the primes few are, and a second retry hardly ever is.
        key, n, first = bytes(range(50, 66)), S.n, 70000
        limits = [7 << 29, 3 << 30]
        retries = []
        wanted = np.empty((2, n), np.uint32)
        for row, limit in enumerate(limits):
            units = np.arange(n // 4, dtype=np.uint64)
            wanted[row] = reference.stream(key, units, first, row, 0).reshape(-1)
            retry = 0
            while (again := wanted[row] >= limit).any():
                retry += 1
                wanted[row][again] = reference.stream(key, units, first, row, retry).reshape(-1)[again]
            retries.append(retry)
        assert min(retries) > 2
        backend = gpu.TritonBackend()
        backend._card.kept("limits", S.name, lambda: np.array(limits, np.uint32))
        words = backend._public(S, key, first, 1).cpu().numpy()
        assert (words.reshape(2, 128, -1).swapaxes(1, 2).reshape(2, n) == wanted).all()


class TestSums:
    @BOTH
    def test_protecting_adding_and_opening_give_the_bits_of_the_reference(self, backend, parameters, rng):
        participants = 2
        secrets = [secret_of(parameters, rng) for _ in range(participants)]
        words = [words_of(parameters, rng, 1, parameters.largest // participants) for _ in secrets]
        first = LAST
        totals = []
        for number, (secret, mine) in enumerate(zip(secrets, words, strict=True)):
            key = bytes([number]) * 16
            out = np.empty_like(mine)
            backend.protect(parameters, PUBLIC, secret, key, first, mine, out)
            assert (out == expected(parameters, secret, first, mine, key)).all()
            totals.append(out)
        total = totals[0].copy()
        backend.add_many(parameters, total, totals[1:])
        wanted = totals[0].copy()
        for addend in totals[1:]:
            reference.NumpyBackend().add_into(parameters, wanted, addend)
        assert (total == wanted).all()
        primes = np.array(parameters.primes, np.uint64)[:, None]
        secret = (np.sum(secrets, 0, dtype=np.uint64) % primes).astype(np.uint32)
        bound = parameters.noise_bound(participants)
        out = np.empty_like(total)
        assert backend.open(parameters, PUBLIC, secret, first, total, bound, out)
        assert (out == np.sum(words, 0, dtype=np.uint32)).all()
        # One wrong residue of the secret, a tighter bound, and what is no residue.
        row = parameters.rows - 1
        wrong = secret.copy()
        wrong[row, 5] = (int(wrong[row, 5]) + 1) % parameters.primes[row]
        assert not backend.open(parameters, PUBLIC, wrong, first, total, bound, out)
        assert not backend.open(parameters, PUBLIC, secret, first, total, 3, out)
        broken = total.copy()
        broken[-1] |= (1 << parameters.residue_bits) - 1
        assert not backend.open(parameters, PUBLIC, secret, first, broken, bound, out)
        with pytest.raises(InvalidInput, match="residues"):
            backend.add_into(parameters, total, broken)

    @BOTH
    def test_mask_and_apply_are_protect(self, backend, parameters, rng):
        secret, words = secret_of(parameters, rng), words_of(parameters, rng, 1)
        masks = np.empty_like(words)
        backend.mask(parameters, PUBLIC, secret, NOISE, 9, masks)
        backend.apply(parameters, words, masks)
        assert (masks == expected(parameters, secret, 9, words)).all()

    def test_pieces_join_and_tensors_are_changed_in_place(self, backend, rng):
        import torch

        small = gpu.TritonBackend(piece_words=1)
        secret, words = secret_of(S, rng), words_of(S, rng, 2)
        tensor = torch.tensor(words.view(np.int32), device=small._card.flag().device)
        place = tensor.data_ptr()
        small.protect(S, PUBLIC, secret, NOISE, 5, tensor, tensor)
        assert tensor.data_ptr() == place
        assert (tensor.cpu().numpy().view(np.uint32) == expected(S, secret, 5, words)).all()
        assert small.open(S, PUBLIC, secret, 5, tensor, S.noise_bound(1), tensor)
        assert (tensor.cpu().numpy().view(np.uint32) == words).all()

    @BOTH
    def test_more_addends_than_go_in_one_pass(self, backend, parameters, rng):
        vectors = []
        for _ in range(10):
            rows = [rng.integers(0, q, (parameters.n, 1), dtype=np.uint64) for q in parameters.primes]
            vectors.append(np.empty(parameters.block, np.uint32))
            reference._pack(parameters, rows, vectors[-1])
        total, wanted = vectors[0].copy(), vectors[0].copy()
        backend.add_many(parameters, total, vectors[1:])
        for vector in vectors[1:]:
            reference.NumpyBackend().add_into(parameters, wanted, vector)
        assert (total == wanted).all()

    @BOTH
    @pytest.mark.parametrize("sign", [1, -1])
    def test_a_word_beyond_the_largest_is_refused(self, backend, parameters, rng, sign):
        words = np.zeros(parameters.block, np.int32)
        words[-1] = sign * (parameters.largest + 1)
        masks = np.zeros(parameters.block, np.uint32)
        with pytest.raises(InvalidInput, match="beyond"):
            backend.apply(parameters, words.view(np.uint32), masks)
        if sign < 0:
            with pytest.raises(InvalidInput, match="beyond"):
                backend.protect(
                    parameters, PUBLIC, secret_of(parameters, rng), NOISE, 0, words.view(np.uint32), masks
                )

    def test_torn_blocks_other_types_and_bad_keys_are_refused(self, backend, rng):
        secret, words = secret_of(S, rng), np.zeros(S.block, np.uint32)
        cases = [
            (PUBLIC, secret, NOISE, 0, words[1:]),
            (PUBLIC, secret, NOISE, 0, words.view(np.float32)),
            (PUBLIC, secret, NOISE, 1 << 48, words),
            (PUBLIC[1:], secret, NOISE, 0, words),
            (PUBLIC, secret, NOISE[1:], 0, words),
            (PUBLIC, secret + np.uint32(1 << 31), NOISE, 0, words),
        ]
        for public, secret_rows, noise, first, out in cases:
            with pytest.raises(InvalidInput):
                backend.mask(S, public, secret_rows, noise, first, out)
        backend.mask(S, PUBLIC, secret, NOISE, 0, words)
        assert words.any()


class TestNumbers:
    def test_encoding_rounds_and_clips_as_the_reference(self, backend, rng):
        values = rng.normal(0, 1, 1000).astype(np.float32)
        values[:8] = 0.5, -0.5, 1.5, 2.5, -2.5, 1e30, -1e30, -0.0
        for factor, bound, scale in [(1.0, 100.0, 1.0), (0.3, 1.0, 524287.0), (1.0, 3.0, 10922666.333)]:
            out, wanted = np.empty(1000, np.int32), np.empty(1000, np.int32)
            assert backend.encode(values, factor, bound, scale, out)
            assert reference.NumpyBackend().encode(values, factor, bound, scale, wanted)
            assert (out == wanted).all()

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_what_is_not_finite_is_refused(self, backend, bad):
        values, out = np.zeros(3000, np.float32), np.empty(3000, np.int32)
        assert backend.encode(values, 1.0, 1.0, 1.0, out)
        values[2999] = bad
        assert not backend.encode(values, 1.0, 1.0, 1.0, out)

    def test_decoding_divides_as_the_reference(self, backend, rng):
        words = rng.integers(0, 1 << 32, 999, dtype=np.uint32)
        out = np.empty(999, np.float64)
        backend.decode(words, 524287.3, out)
        assert (out == words.view(np.int32) / 524287.3).all()


@pytest.mark.slow
def test_kernels_compile_for_hopper_without_spilling_registers_in_the_streams():
    need_triton()
    from benchmarks.gpu import compiled

    for figures in compiled():
        assert figures["registers"] <= 255
        assert figures["stack_bytes"] <= 64, figures


@pytest.mark.gpu
class TestOnACard:
    """What the interpreter cannot show: many programs at once, their order, layouts and the card's arithmetic."""

    @BOTH
    def test_long_vectors_in_several_pieces(self, card, backend, parameters, rng):
        blocks = 700
        backend = gpu.TritonBackend(piece_words=300 * parameters.block)
        secret, words = secret_of(parameters, rng), words_of(parameters, rng, blocks)
        out = np.empty_like(words)
        for turn in range(3):
            backend.protect(parameters, PUBLIC, secret, NOISE, turn, words, out)
            assert (out == expected(parameters, secret, turn, words)).all()
            assert backend.open(parameters, PUBLIC, secret, turn, out, parameters.noise_bound(1), out)
            assert (out == words).all()

    def test_a_refusal_anywhere_is_seen(self, card, backend, rng):
        for place in rng.integers(0, 500 * S.block, 20):
            words = np.zeros(500 * S.block, np.int32)
            words[place] = S.largest + 1
            with pytest.raises(InvalidInput, match="beyond"):
                backend.apply(S, words.view(np.uint32), np.zeros(len(words), np.uint32))
