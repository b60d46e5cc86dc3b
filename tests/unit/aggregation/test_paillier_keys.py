"""Paillier keys: vectors, the scheme's identities, an independent decryption, and what keys refuse."""

import copy
import hashlib
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paillier import VECTORS, number, private_key, textbook_decrypt

from trustspace.aggregation.paillier import arithmetic, keys
from trustspace.aggregation.paillier.keys import PrivateKey, PublicKey
from trustspace.errors import InvalidInput, VerificationFailed

PRIVATE = private_key()
PUBLIC = PRIVATE.public
LARGEST = (PUBLIC.n - 1) // 2
plaintexts = st.integers(-LARGEST, LARGEST)


@pytest.fixture(params=[True, False], ids=["gmp", "python"])
def arithmetics(request, monkeypatch):
    """Either library; an mpz that one of them left in a key serves the other as well."""
    if request.param and not arithmetic.accelerated():
        pytest.skip("gmpy2 is not installed")
    if not request.param:
        monkeypatch.setattr(arithmetic, "_gmpy2", None)


@pytest.mark.parametrize("bits", keys.KEY_BITS)
def test_vectors(bits, arithmetics):
    known = VECTORS["keys"][str(bits)]
    private = PrivateKey(number(known["p"]), number(known["q"]), number(known["h"]))
    key = private.public
    assert (key.bits, key.digest()) == (bits, known["digest"])
    cases = [case for case in VECTORS["ciphertexts"] if case["bits"] == bits]
    assert len(cases) == 5
    for case in cases:
        value = number(case["value"])
        ciphertext = keys._encrypt(key, value, number(case["exponent"]))
        assert type(ciphertext) is int
        assert hashlib.sha256(key.encode([ciphertext])).hexdigest() == case["sha256"]
        assert private.decrypt(ciphertext) == value


def test_a_ciphertext_is_what_the_paper_says():
    n, square = PUBLIC.n, PUBLIC.n**2
    expected = pow(1 + n, -7, square) * pow(pow(PUBLIC.h, n, square), 12345, square) % square
    assert keys._encrypt(PUBLIC, -7, 12345) == expected


@settings(max_examples=15)
@given(plaintexts)
def test_encryption_comes_back_also_by_the_textbook(value):
    ciphertext = PUBLIC.encrypt(value)
    assert PRIVATE.decrypt(ciphertext) == value
    assert textbook_decrypt(PRIVATE, ciphertext) == value % PUBLIC.n


@settings(max_examples=15)
@given(plaintexts, plaintexts, st.integers(-(2**70), 2**70))
def test_ciphertexts_add_and_multiply(a, b, factor):
    total = PUBLIC.add_plain(
        PUBLIC.add(PUBLIC.multiply(PUBLIC.encrypt(a), factor), PUBLIC.encrypt(b)), factor
    )
    assert (PRIVATE.decrypt(total) - (a * factor + b + factor)) % PUBLIC.n == 0


@pytest.mark.parametrize("renew", [PUBLIC.rerandomise, PUBLIC.hide])
def test_fresh_noise_keeps_the_number_and_nothing_else(renew):
    ciphertext = PUBLIC.encrypt(-3)
    others = {renew(ciphertext) for _ in range(4)}
    assert len(others | {ciphertext}) == 5
    assert {PRIVATE.decrypt(other) for other in others} == {-3}


@pytest.mark.parametrize(("renew", "expected"), [("rerandomise", 1024), ("hide", 2048 + 128)])
def test_noise_is_as_long_as_is_promised(renew, expected, monkeypatch):
    drawn = []
    monkeypatch.setattr(keys, "random_bits", lambda count: drawn.append(count) or 1)
    getattr(PUBLIC, renew)(PUBLIC.encrypt(1))
    assert drawn == [1024, expected]


def test_a_decryption_works_on_other_numbers_each_time(monkeypatch):
    seen = []
    genuine = keys.power
    monkeypatch.setattr(keys, "power", lambda base, *rest: seen.append(base) or genuine(base, *rest))
    ciphertext = PUBLIC.encrypt(5)
    assert PRIVATE.decrypt_many([ciphertext, ciphertext]) == [5, 5]
    assert len(set(seen)) == 4


def test_a_key_carries_nothing_but_its_modulus_and_base():
    """Noise from a base that hides a plaintext would count up secretly; from h^n it cannot."""
    n, square = PUBLIC.n, PUBLIC.square
    crafted = PUBLIC.plain(1) * pow(PUBLIC.h, n, square) % square  # hs with the plaintext 1 in it
    exponent = 987654321
    # Were hs taken as it is given, a rerandomised 0 would tell its owner the exponent.
    assert PRIVATE.decrypt(pow(crafted, exponent, square)) == exponent
    # A key's bytes have room for h only; whatever is written there, n-th powers of it hold 0.
    for h in (int(crafted % n), PUBLIC.h, 2, n - 2):
        data = PUBLIC.to_bytes()[: -PUBLIC.bits // 8] + h.to_bytes(PUBLIC.bits // 8)
        assert PRIVATE.decrypt(PublicKey.from_bytes(data).noise(exponent)) == 0


@pytest.mark.parametrize("value", [LARGEST + 1, -LARGEST - 1, PUBLIC.n])
def test_numbers_beyond_half_the_modulus_are_refused(value):
    with pytest.raises(InvalidInput, match="too large"):
        PUBLIC.encrypt(value)


def test_the_largest_numbers_are_encrypted():
    assert PRIVATE.decrypt_many([PUBLIC.encrypt(LARGEST), PUBLIC.encrypt(-LARGEST)]) == [LARGEST, -LARGEST]


@pytest.mark.parametrize("bad", [0, PUBLIC.n, PUBLIC.n**2, PUBLIC.n**2 + 1, -1, 5 * PRIVATE.factors()[0]])
def test_what_is_no_ciphertext_is_refused(bad):
    with pytest.raises(VerificationFailed, match="not a ciphertext"):
        PRIVATE.decrypt(bad)
    if 0 <= bad < PUBLIC.n**2:
        with pytest.raises(VerificationFailed, match="not a ciphertext"):
            PUBLIC.decode(PUBLIC.encode([bad]))


def test_ciphertexts_travel():
    ciphertexts = [PUBLIC.encrypt(value) for value in (1, 2)]
    data = PUBLIC.encode(ciphertexts)
    assert len(data) == 2 * PUBLIC.ciphertext_bytes == 1024
    assert PUBLIC.decode(data) == ciphertexts
    assert PUBLIC.decode(b"") == []
    with pytest.raises(VerificationFailed, match="512 bytes"):
        PUBLIC.decode(data[:-1])


def test_generated_keys_are_of_the_papers_kind():
    private = PrivateKey.generate(2048)
    p, q = private.factors()
    assert p % 4 == q % 4 == 3
    assert p.bit_length() == q.bit_length() == 1024
    assert arithmetic.coprime((p - 1) // 2, (q - 1) // 2)
    assert arithmetic.is_prime(p)
    assert arithmetic.is_prime(q)
    # -x^2 has Jacobi symbol 1 and is no square.
    assert pow(private.public.h, (p - 1) // 2, p) == p - 1
    assert pow(private.public.h, (q - 1) // 2, q) == q - 1
    assert private.decrypt(private.public.encrypt(-1)) == -1
    assert private != PrivateKey.generate(2048)


def test_primes_are_paired_only_where_the_paper_lets_them():
    p, q = PRIVATE.factors()
    assert keys._partners(p, q)

    def prime_from(start, residue):
        """The first one that leaves ``residue`` when divided by 12."""
        start += (residue - start) % 12
        while not arithmetic.is_prime(start):
            start += 12
        return start

    # 3 divides both predecessors; one is 1 modulo 4; both lie together.
    high, low = prime_from(2**1024 - 2**1000, 7), prime_from(2**1023 + 2**1022, 7)
    assert keys._apart(high, low)
    assert not keys._partners(high, low)
    assert keys._partners(high, prime_from(low, 11))
    assert not keys._partners(high, prime_from(low, 5))
    assert not keys._partners(high, prime_from(high, 11))


def test_keys_travel():
    assert PublicKey.from_bytes(PUBLIC.to_bytes()) == PUBLIC
    again = PrivateKey.from_bytes(PRIVATE.to_bytes())
    assert again == PRIVATE
    assert hash(again) == hash(PRIVATE)
    assert again.public == PUBLIC
    assert PrivateKey(*reversed(PRIVATE.factors()), PUBLIC.h) == PRIVATE


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"x" + data[1:],
        lambda data: b"",
        lambda data: data[:30] + bytes(len(data) - 30),
    ],
    ids=["short", "long", "magic", "empty", "zeros"],
)
def test_other_bytes_are_no_key(change):
    with pytest.raises(VerificationFailed):
        PublicKey.from_bytes(change(PUBLIC.to_bytes()))
    with pytest.raises((VerificationFailed, InvalidInput)):
        PrivateKey.from_bytes(change(PRIVATE.to_bytes()))


@pytest.mark.parametrize("h", [0, 1, PUBLIC.n - 1, PUBLIC.n, PUBLIC.n + 5, PRIVATE.factors()[0]])
def test_bases_that_fit_no_modulus_are_refused(h):
    with pytest.raises(VerificationFailed, match="base"):
        PublicKey(PUBLIC.n, h)


@pytest.mark.parametrize("n", [PUBLIC.n + 1, PUBLIC.n >> 1 | 1, PUBLIC.n << 1 | 1, 15, -PUBLIC.n])
def test_moduli_of_other_kinds_are_refused(n):
    with pytest.raises(VerificationFailed, match="modulus"):
        PublicKey(n, PUBLIC.h)


def test_unfit_factors_are_refused():
    p, q = PRIVATE.factors()
    near = p + 2
    while not arithmetic.is_prime(near):
        near += 2
    for a, b in ((p, p), (p, near), (p, q + 2), (p * q, 1), (1, p * q), (-p, -q), (p // 2 | 1, q)):
        with pytest.raises(InvalidInput, match="primes"):
            PrivateKey(a, b, 4)


def test_another_length_is_refused():
    with pytest.raises(InvalidInput, match="2048 or 3072"):
        PrivateKey.generate(1024)


def test_secrets_are_neither_printed_nor_copied():
    p, q = PRIVATE.factors()
    shown = repr(PRIVATE) + str(PRIVATE)
    assert PUBLIC.digest()[:16] in shown
    assert not any(str(secret)[:12] in shown or f"{secret:x}"[:12] in shown for secret in (p, q))
    for take in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied"):
            take(PRIVATE)


def test_primes_are_told_from_composites(arithmetics):
    small = [n for n in range(2, 2000) if all(n % d for d in range(2, n))]
    assert [n for n in range(2000) if arithmetic.is_prime(n)] == small
    # Carmichael numbers, and a strong pseudoprime to the bases 2, 3, 5 and 7 (Jaeschke 1993).
    for composite in (561, 41041, 825265, 3215031751, (2**61 - 1) ** 2):
        assert not arithmetic.is_prime(composite)
    assert arithmetic.is_prime(2**521 - 1)


def test_small_factors_are_found(arithmetics):
    large = 2**521 - 1
    assert not arithmetic.has_small_factor(large)
    for prime in (2, 3, 65537, 1048573):  # the last one below 2^20
        assert arithmetic.has_small_factor(large * prime)
    assert not arithmetic.has_small_factor(large * 1048583)  # the first one above


@given(st.integers(0, 2**200))
def test_a_table_gives_the_powers(exponent):
    assert arithmetic.FixedBase(3, 2**127 - 1).power(exponent) == pow(3, exponent, 2**127 - 1)


def test_a_table_grows_with_its_exponents(arithmetics):
    table = arithmetic.FixedBase(7, 1009 * 1013)
    for exponent in (0, 1, 127, 128, 2**70, 5, 2**300 - 1):
        assert table.power(exponent) == pow(7, exponent, 1009 * 1013)


@given(st.lists(st.tuples(st.integers(1, 10**9), st.integers(0, 2**70)), max_size=5))
def test_products_share_their_squarings(pairs):
    modulus = 1009 * 1013
    expected = 1
    for base, exponent in pairs:
        expected = expected * pow(base, exponent, modulus) % modulus
    bases, exponents = [base for base, _ in pairs], [exponent for _, exponent in pairs]
    assert arithmetic.product_of_powers(bases, exponents, modulus) == expected


@pytest.mark.parametrize("limit", [1, 2, 3, 255, 256, 257])
def test_random_numbers_fill_their_range(limit):
    drawn = {arithmetic.below(limit) for _ in range(40 * limit)}
    # One of 257 values stays out with probability 257 * e^-40.
    assert drawn == set(range(limit))


def test_the_stream_is_sha256_of_seed_and_counter():
    first, second = (hashlib.sha256(b"seed" + at.to_bytes(4)).digest() for at in range(2))
    assert arithmetic.expand(b"seed", 40) == first + second[:8]
