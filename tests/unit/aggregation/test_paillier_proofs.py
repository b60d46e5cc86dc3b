"""Proofs about Paillier keys and encrypted weights: honest ones hold; cheating ones, altered and moved ones do not."""

import dataclasses
import hashlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paillier import VECTORS, private_key

from trustspace.aggregation.paillier import norm, proofs, shortness
from trustspace.aggregation.paillier.arithmetic import coprime, is_prime
from trustspace.aggregation.paillier.keys import PublicKey, _encrypt
from trustspace.aggregation.paillier.proofs import (
    EncryptedWeights,
    ProvenWeights,
    encrypt_weights,
    prove_modulus,
    proven_bits,
    verify_modulus,
    verify_weights,
)
from trustspace.aggregation.paillier.squares import three_squares
from trustspace.errors import InvalidInput, VerificationFailed

PRIVATE = private_key()
KEY = PRIVATE.public
CONTEXT = b"job 1, attempt 1"
WEIGHTS = [2**12 - 1, 1 - 2**12, 0, 17]
HONEST = encrypt_weights(KEY, WEIGHTS, 12, CONTEXT)
MODULUS = prove_modulus(PRIVATE, CONTEXT)


@pytest.mark.parametrize("case", VECTORS["modulus_proofs"], ids=lambda case: case["bits"])
def test_modulus_vectors(case):
    private, context = private_key(case["bits"]), case["context"].encode()
    proof = prove_modulus(private, context)
    assert hashlib.sha256(proof).hexdigest() == case["sha256"]
    verify_modulus(private.public, proof, context)


def test_another_context_and_another_key_are_refused():
    with pytest.raises(VerificationFailed, match="does not hold"):
        verify_modulus(KEY, MODULUS, b"job 1, attempt 2")
    with pytest.raises(VerificationFailed, match="does not hold"):
        verify_modulus(PublicKey(KEY.n, KEY.h + 1), MODULUS, CONTEXT)


@pytest.mark.parametrize("at", range(0, len(MODULUS), 251))
def test_altered_roots_are_refused(at):
    altered = bytearray(MODULUS)
    altered[at] ^= 1
    with pytest.raises(VerificationFailed, match="does not hold"):
        verify_modulus(KEY, bytes(altered), CONTEXT)


@pytest.mark.parametrize("proof", [b"", MODULUS[:-1], MODULUS + b"\0"])
def test_proofs_of_another_length_are_refused(proof):
    with pytest.raises(VerificationFailed, match="length"):
        verify_modulus(KEY, proof, CONTEXT)


def test_zeros_are_no_roots():
    with pytest.raises(VerificationFailed, match="does not hold"):
        verify_modulus(KEY, bytes(len(MODULUS)), CONTEXT)


def test_roots_that_share_a_factor_with_the_modulus_are_refused(monkeypatch):
    p = PRIVATE.factors()[0]
    monkeypatch.setattr(proofs, "_to_root", lambda public, context: [pow(p, KEY.n, KEY.n)] * 7)
    with pytest.raises(VerificationFailed, match="does not hold"):
        verify_modulus(KEY, p.to_bytes(256) * 7, CONTEXT)


def roots(key, exponent):
    """What somebody proves who knows ``exponent``: the best that can be done for a bad modulus too."""
    size = key.bits // 8
    return b"".join(pow(value, exponent, key.n).to_bytes(size) for value in proofs._to_root(key, CONTEXT))


def test_a_modulus_with_a_small_factor_is_refused():
    primes = (65521, 2**1024 - 105, 2**1008 - 33)
    n, order = math.prod(primes), math.prod(prime - 1 for prime in primes)
    assert all(map(is_prime, primes))
    key = PublicKey(n, 4)
    proof = roots(key, pow(n, -1, order))
    # The roots are all there; it is the small factor that is refused.
    assert all(
        pow(int.from_bytes(proof[at : at + 256]), n, n) == value
        for at, value in zip(range(0, len(proof), 256), proofs._to_root(key, CONTEXT), strict=True)
    )
    with pytest.raises(VerificationFailed, match="small factor"):
        verify_modulus(key, proof, CONTEXT)


def test_a_prime_modulus_is_refused():
    n = 2**2048 - 1557
    assert is_prime(n)
    key = PublicKey(n, 4)
    with pytest.raises(VerificationFailed, match="itself prime"):
        verify_modulus(key, roots(key, pow(n, -1, n - 1)), CONTEXT)


def test_a_square_in_the_modulus_hides_plaintexts_and_is_refused():
    p, q = 2**683 - 45, 2**682 - 63
    assert is_prime(p)
    assert is_prime(q)
    n = p * p * q
    # Unproven, such a modulus undoes what h^n is for: with h = 1 + n/p the noise itself is a plaintext.
    key = PublicKey(n, 1 + n // p)
    assert key.noise(5) == key.plain(5 * (n // p))
    proof = roots(key, pow(n, -1, (p - 1) * (q - 1)))
    with pytest.raises(VerificationFailed, match="does not hold"):
        verify_modulus(key, proof, CONTEXT)
    # It takes the hash's choice: numbers of the prover's own choice would have roots.
    assert not coprime(n, p * (p - 1) * (q - 1))


def test_honest_weights_are_proven():
    found = verify_weights(KEY, HONEST, CONTEXT)
    assert found == ProvenWeights(KEY, HONEST.ciphertexts, proven_bits(12, 4))
    assert PRIVATE.decrypt_many(found.ciphertexts) == WEIGHTS


@pytest.mark.parametrize(("bits", "weights"), [(1, [1]), (64, [2**64 - 1] * 3), (5, list(range(-31, 32)))])
def test_other_sizes_are_proven(bits, weights):
    assert verify_weights(KEY, encrypt_weights(KEY, weights, bits, CONTEXT), CONTEXT).bits == proven_bits(
        bits, len(weights)
    )


def test_the_slack_is_as_stated():
    assert [proven_bits(12, count) for count in (1, 2, 3, 4, 5, 30, 1024)] == [12, 13, 13, 13, 14, 15, 17]
    for count in range(1, 70):
        assert math.isqrt(proofs._bound(12, count)) < 1 << proven_bits(12, count)


@pytest.mark.parametrize("bits", [1, 12, 64])
@pytest.mark.parametrize("count", [1, 30, 1024])
def test_what_is_short_cannot_wrap_around_the_modulus(bits, count):
    bound = proofs._bound(bits, count)
    size = norm.root_bits(bound)
    assert (1 << 2 * size) > 4 * bound + 1
    proven = shortness.short_bits(KEY, count + 3, size)
    assert 4 * (count + 3) << (2 * proven) < KEY.n // 2


def test_proofs_are_as_large_as_stated():
    assert len(MODULUS) == 7 * 256
    key, bound = private_key(3072).public, proofs._bound(12, 30)
    sizes = (
        3 * 768,
        shortness.short_bytes(key, 33, norm.root_bits(bound)),
        norm.norm_bytes(key, 33, bound),
    )
    assert sum(sizes) == 84_467
    assert sum(sizes) < 230 * (128 + 7 * 33) + 3 * 768


@pytest.mark.parametrize("weight", [2**12, -(2**12), 2**60])
def test_weights_beyond_their_bits_are_refused(weight):
    with pytest.raises(InvalidInput, match="12 bits"):
        encrypt_weights(KEY, [1, weight], 12, CONTEXT)


@pytest.mark.parametrize(("weights", "bits"), [([], 12), ([0] * 1025, 12), ([0], 0), ([0], 65)])
def test_sizes_beyond_a_proof_are_refused(weights, bits):
    with pytest.raises(InvalidInput, match="A proof covers"):
        encrypt_weights(KEY, weights, bits, CONTEXT)
    with pytest.raises(VerificationFailed, match="than a proof covers"):
        verify_weights(KEY, EncryptedWeights((1,) * len(weights), bits, HONEST.proof), CONTEXT)


def refused(weights, context=CONTEXT, key=KEY):
    with pytest.raises(VerificationFailed):
        verify_weights(key, weights, context)


@pytest.mark.parametrize("at", [*range(32), *range(32, len(HONEST.proof), 731), len(HONEST.proof) - 1])
def test_altered_proofs_are_refused(at):
    altered = bytearray(HONEST.proof)
    altered[at] ^= 0x40
    refused(dataclasses.replace(HONEST, proof=bytes(altered)))


def test_what_a_proof_is_not_about_is_refused():
    ciphertexts = HONEST.ciphertexts
    refused(HONEST, b"job 1, attempt 2")
    refused(HONEST, key=PublicKey(KEY.n, KEY.h + 1))
    refused(dataclasses.replace(HONEST, bits=11))
    refused(dataclasses.replace(HONEST, bits=13))
    refused(dataclasses.replace(HONEST, ciphertexts=ciphertexts[::-1]))
    refused(dataclasses.replace(HONEST, ciphertexts=ciphertexts[:-1]))
    refused(dataclasses.replace(HONEST, ciphertexts=(*ciphertexts, ciphertexts[0])))
    refused(dataclasses.replace(HONEST, ciphertexts=(KEY.encrypt(2**40), *ciphertexts[1:])))
    refused(dataclasses.replace(HONEST, ciphertexts=(KEY.rerandomise(ciphertexts[0]), *ciphertexts[1:])))
    refused(dataclasses.replace(HONEST, ciphertexts=(0, *ciphertexts[1:])))
    refused(dataclasses.replace(HONEST, proof=HONEST.proof + b"\0"))
    refused(dataclasses.replace(HONEST, proof=b""))


def test_a_weight_out_of_range_fails_on_the_equation():
    """What somebody who cheats would run: every step of the honest prover, with a weight that is too large."""
    # No a, b and c there are; with the right ones for an honest weight all is well.
    for weight, squares in ((16, (1, 2, 3)), (2**8, (0, 0, 0)), (-(2**9), (5, 5, 5))):
        refused(proofs._prove(KEY, [weight], squares, 4, CONTEXT))
    verify_weights(KEY, proofs._prove(KEY, [15], (1, 0, 0), 4, CONTEXT), CONTEXT)
    refused(proofs._prove(KEY, [14], (1, 0, 0), 4, CONTEXT))


def test_all_weights_together_are_bounded():
    """One weight may use what the others leave, and no more: sqrt(4) * 15 here."""
    verify_weights(KEY, proofs._prove(KEY, [30, 0, 0, 0], (1, 0, 0), 4, CONTEXT), CONTEXT)
    refused(proofs._prove(KEY, [31, 0, 0, 0], (1, 0, 0), 4, CONTEXT))


def hashed(said):
    return hashlib.sha256(b"some context" + said).digest()


def guessed_short(ciphertexts, bits, tries):
    """Guess the challenge, choose responses first and commitments to suit."""
    shape = shortness._Shape(KEY, len(ciphertexts), bits)
    for attempt in range(tries):
        guess = shortness._matrix(attempt.to_bytes(32), len(ciphertexts))
        commitments, responses = [], []
        for k, row in enumerate(guess):
            chosen = [ciphertext for ciphertext, bit in zip(ciphertexts, row, strict=True) if bit]
            product = KEY.add(*chosen)
            commitments.append(KEY.add(KEY.plain(attempt), KEY.noise(k), pow(product, -1, KEY.square)))
            responses.append(attempt.to_bytes(shape.value_bytes) + k.to_bytes(shape.noise_bytes))
        challenge = hashed(KEY.encode(commitments))
        if (shortness._matrix(challenge, len(ciphertexts)) == guess).all():
            break
    return challenge + b"".join(responses)


def test_rows_are_what_a_cheat_must_guess(monkeypatch):
    ciphertexts, bits = [KEY.encrypt(2**1000)], 4
    with pytest.raises(VerificationFailed):
        shortness.verify_short(KEY, ciphertexts, bits, guessed_short(ciphertexts, bits, 3), hashed)
    # With 8 rows in place of 128 one guess in 256 comes true.
    monkeypatch.setattr(shortness, "ROWS", 8)
    shortness.verify_short(KEY, ciphertexts, bits, guessed_short(ciphertexts, bits, 20_000), hashed)


def guessed_norm(ciphertexts, bound, tries):
    """The same for the sum of squares."""
    shape = norm._Shape(KEY, len(ciphertexts), bound)
    for attempt in range(tries):
        said, responses = [], []
        guess = norm._challenges(attempt.to_bytes(32))
        for e in guess:
            z = attempt + 1
            for ciphertext in ciphertexts:
                said.append(KEY.add(KEY.plain(z), KEY.noise(1), pow(ciphertext, -e, KEY.square)))
                responses.append(z.to_bytes(shape.value_bytes) + (1).to_bytes(shape.noise_bytes))
            said.append(norm._combined(KEY, ciphertexts, [z] * len(ciphertexts), 1, e * (4 * bound + 1)))
            responses.append((1).to_bytes(shape.total_bytes))
        challenge = hashed(KEY.encode(said))
        if norm._challenges(challenge) == guess:
            break
    return challenge + b"".join(responses)


def test_challenges_are_what_a_cheat_must_guess(monkeypatch):
    ciphertexts = [KEY.encrypt(value) for value in (100, 1, 2, 3)]
    with pytest.raises(VerificationFailed):
        norm.verify_norm(KEY, ciphertexts, 9, guessed_norm(ciphertexts, 9, 3), hashed)
    # One challenge of 4 bits in place of seven of 20: one guess in 16 comes true.
    monkeypatch.setattr(norm, "REPETITIONS", 1)
    monkeypatch.setattr(norm, "CHALLENGE_BITS", 4)
    norm.verify_norm(KEY, ciphertexts, 9, guessed_norm(ciphertexts, 9, 1000), hashed)


def test_the_equation_is_worth_nothing_for_long_integers(monkeypatch):
    """Who knows p and q takes roots modulo n: then a is long, and that is what shortness refuses."""
    p, q = PRIVATE.factors()
    bound, weight, a = proofs._bound(4, 1), 2**40, None
    for b in range(64):  # one in four is a square modulo both
        square = (4 * bound + 1 - 4 * weight**2 - b * b) % KEY.n
        root_p, root_q = pow(square, (p + 1) // 4, p), pow(square, (q + 1) // 4, q)
        root = root_q + q * ((root_p - root_q) * pow(q, -1, p) % p)
        if root * root % KEY.n == square:
            a = root
            break
    values, exponents = [weight, a, b, 0], [5, 6, 7, 8]
    ciphertexts = [KEY.add(KEY.plain(x), KEY.noise(r)) for x, r in zip(values, exponents, strict=True)]
    with monkeypatch.context() as patch:
        patch.setattr(norm, "root_bits", lambda bound: 2048)
        proof = norm.prove_norm(KEY, ciphertexts, values, exponents, bound, hashed)
        norm.verify_norm(KEY, ciphertexts, bound, proof, hashed)
    size = norm.root_bits(bound)
    proof = shortness.prove_short(KEY, ciphertexts, values, exponents, 2048, hashed)
    shortness.verify_short(KEY, ciphertexts, 2048, proof, hashed)
    with pytest.raises(VerificationFailed):
        shortness.verify_short(KEY, ciphertexts, size, proof, hashed)
    with pytest.raises(OverflowError):  # its responses do not fit
        shortness.prove_short(KEY, ciphertexts, values, exponents, size, hashed)


def test_responses_hide_behind_their_masks(monkeypatch):
    """Masks are as long as is promised: 100 bits more than everything they hide."""
    drawn = []
    genuine = shortness.random_bits
    monkeypatch.setattr(shortness, "random_bits", lambda count: drawn.append(count) or genuine(count))
    shortness.prove_short(KEY, [_encrypt(KEY, 7, 9)] * 5, [7] * 5, [9] * 5, 12, hashed)
    assert set(drawn) == {12 + 3 + 100, 1024 + 3 + 100}
    assert len(drawn) == 2 * 128
    drawn.clear()
    monkeypatch.setattr(norm, "random_bits", lambda count: drawn.append(count) or genuine(count))
    bound = proofs._bound(12, 2)
    norm.prove_norm(KEY, [_encrypt(KEY, 7, 9)] * 5, [7] * 5, [9] * 5, bound, hashed)
    size = norm.root_bits(bound)
    assert set(drawn) == {size + 20 + 100, 1024 + 20 + 100, 1024 + size + 20 + 5 + 100}
    assert len(drawn) == 7 * 11


@settings(max_examples=60)
@given(st.one_of(st.integers(0, 2**12), st.integers(0, 2**40), st.integers(2**100, 2**150)))
def test_three_squares(number):
    n = 4 * number + 1
    parts = three_squares(n)
    assert all(part >= 0 for part in parts)
    assert sum(part * part for part in parts) == n


def test_three_squares_of_all_small_numbers():
    for n in range(1, 3000, 4):
        assert sum(part * part for part in three_squares(n)) == n


def test_weights_travel():
    data = HONEST.to_bytes(KEY)
    assert EncryptedWeights.from_bytes(KEY, data) == HONEST
    for bad in (b"", b"\0", data[: 4 + 512], data[: 4 + 4 * 512 - 1]):
        with pytest.raises(VerificationFailed, match="not those of encrypted weights"):
            EncryptedWeights.from_bytes(KEY, bad)
    for bad in (data[: 4 + 4 * 512], data[:-1]):
        refused(EncryptedWeights.from_bytes(KEY, bad))


@pytest.mark.parametrize("case", VECTORS["challenges"], ids=lambda case: case["bits"])
def test_challenge_vectors(case):
    key = private_key(case["bits"]).public
    challenges = []
    for domain in (proofs._SHORT_DOMAIN, proofs._NORM_DOMAIN):
        ask = proofs._hash(domain, key, case["ciphertexts"], case["weight_bits"], case["context"].encode())
        challenges.append(ask(key.encode(case["commitments"])))
    short, squares = challenges
    assert [short.hex(), squares.hex()] == [case["shortness"], case["norm"]]
    matrix = shortness._matrix(short, len(case["ciphertexts"]))
    assert matrix.shape == (128, 3)
    assert hashlib.sha256(matrix.tobytes()).hexdigest() == case["matrix_sha256"]
    assert norm._challenges(squares) == case["norm_challenges"]
