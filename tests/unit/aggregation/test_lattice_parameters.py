"""The parameter sets: every number follows from the ones before it, and the backends are chosen by rule."""

import math

import pytest

from trustspace.aggregation.lattice import backend as choice
from trustspace.aggregation.lattice.parameters import NOISE_LIMIT, NOISE_VARIANCE, PARAMETERS, L, S
from trustspace.errors import InvalidInput

SETS = pytest.mark.parametrize("parameters", PARAMETERS, ids=lambda p: p.name)


def factors(number):
    found, divisor = set(), 2
    while divisor * divisor <= number:
        if number % divisor:
            divisor += 1
        else:
            found.add(divisor)
            number //= divisor
    return found | ({number} if number > 1 else set())


@SETS
def test_primes_are_prime_and_split_the_ring(parameters):
    assert parameters.n == 1 << (parameters.n.bit_length() - 1)
    assert len(set(parameters.primes)) == parameters.rows
    for prime in parameters.primes:
        assert factors(prime) == {prime}
        assert prime < 1 << 32
        assert prime % (2 * parameters.n) == 1


@SETS
def test_roots_come_from_the_smallest_generators(parameters):
    for prime, psi in zip(parameters.primes, parameters.psis, strict=True):
        divisors = factors(prime - 1)
        generator = next(
            g
            for g in range(2, prime)
            if all(pow(g, (prime - 1) // divisor, prime) != 1 for divisor in divisors)
        )
        assert psi == pow(generator, (prime - 1) // (2 * parameters.n), prime)
        assert pow(psi, parameters.n, prime) == prime - 1  # of order 2n, and no less


@SETS
def test_the_largest_sum_and_its_noise_are_read_without_doubt(parameters):
    """What a row carries, from its least to its greatest value, is less than its prime apart."""
    bound = parameters.noise_bound(parameters.max_participants)
    words = 2 * parameters.largest + 1
    for slot in range(parameters.slots):
        row = parameters.row(slot)
        if row:  # the noise is taken away before the word is read
            assert words <= parameters.primes[row]
    # Row 0: as many different sums as there are pairs of a word and noise of at most half the scale.
    if parameters.scale:
        assert parameters.scale % 2 == 1
        assert 2 * bound + 1 <= parameters.scale
        assert parameters.scale * words <= parameters.primes[0]
    else:
        assert 2 * bound + 1 <= parameters.primes[0]


@SETS
def test_a_wrong_secret_shows_in_a_block_whatever_row_it_is_wrong_in(parameters):
    """Uniform residues pass for noise and words in range with a chance below 2^-128, in every row."""
    bound = parameters.noise_bound(parameters.max_participants)
    noise = (2 * bound + 1) / (parameters.scale or parameters.primes[0])
    assert parameters.n * math.log2(noise) < -128
    for slot in range(parameters.slots):
        row = parameters.row(slot)
        if row:
            words = (2 * parameters.largest + 1) / parameters.primes[row]
            assert parameters.n * math.log2(words) < -128


@SETS
def test_words_fill_their_32_bits_and_no_more(parameters):
    for slot in range(parameters.slots):
        row = parameters.row(slot)
        assert parameters.primes[row] <= 1 << parameters.residue_bits
    assert parameters.residue_bits + parameters.noise_bits == 32
    if parameters.noise_bits:
        assert parameters.primes[0] <= 1 << (parameters.noise_bits * parameters.slots)
    assert parameters.block == parameters.n * parameters.slots
    assert parameters.largest < 1 << 31


@SETS
def test_few_words_are_drawn_again(parameters):
    for row, prime in enumerate(parameters.primes):
        limit = parameters.rejection_limit(row)
        assert limit % prime == 0
        assert (1 << 32) - prime < limit <= 1 << 32
        assert 1 - limit / 2**32 < 1 / 500


@SETS
def test_the_noise_bound(parameters):
    for participants in (1, 2, 3, parameters.max_participants):
        bound = parameters.noise_bound(participants)
        deviation = math.sqrt(NOISE_VARIANCE * participants)
        # Never more than all noise together can be; else 11 standard deviations, rounded up.
        assert bound == min(NOISE_LIMIT * participants, math.ceil(11 * deviation))
        assert bound == min(40 * participants, math.ceil(math.sqrt(2420 * participants)))
    for bad in (0, -1, parameters.max_participants + 1):
        with pytest.raises(InvalidInput):
            parameters.noise_bound(bad)


def test_noise_beyond_the_bound_is_rarer_than_once_in_2_to_the_88():
    """Exactly, by counting: N participants' noise is binomial, 80 N bits less 40 N."""
    for participants in (S.max_participants, L.max_participants):
        bits, bound = 80 * participants, L.noise_bound(participants)
        term, beyond = 1, 0  # term: how many ways there are to have so many ones
        for ones in range(bits // 2 - bound):
            beyond += 2 * term
            term = term * (bits - ones) // (ones + 1)
        assert beyond.bit_length() <= bits - 88
        assert (beyond + 2 * term).bit_length() > bits - 100  # and the bound is not far wider than that


def test_the_ranges_that_documents_state():
    assert (S.largest // 10, L.largest // 1000) == (1 << 19, 1 << 15)
    assert [S.noise_bound(n) for n in (1, 3, 10)] == [40, 86, 156]
    assert [L.noise_bound(n) for n in (100, 1000)] == [492, 1556]
    modulus = [sum(math.log2(prime) for prime in p.primes) for p in (S, L)]
    assert modulus == [pytest.approx(55.43, abs=0.01), pytest.approx(93.32, abs=0.01)]


def test_names_are_the_ones_that_members_sign():
    assert [p.name for p in PARAMETERS] == ["lattice-sum-s-v1", "lattice-sum-l-v1"]


@pytest.fixture
def unchosen():
    choice.best_backend.cache_clear()
    yield
    choice.best_backend.cache_clear()


def test_the_fastest_backend_is_chosen_once_and_can_be_named(unchosen, monkeypatch):
    monkeypatch.delenv(choice.OVERRIDE, raising=False)
    found = choice.available_backends()
    names = [backend.name for backend in found]
    assert len(set(names)) == len(names)
    assert "numpy" in names
    assert choice.best_backend().name == names[0]
    assert choice.best_backend() is choice.best_backend()
    for name in names:
        choice.best_backend.cache_clear()
        monkeypatch.setenv(choice.OVERRIDE, name)
        assert choice.best_backend().name == name
    choice.best_backend.cache_clear()
    monkeypatch.setenv(choice.OVERRIDE, "abacus")
    with pytest.raises(InvalidInput) as refused:
        choice.best_backend()
    assert "numpy" in str(refused.value)
