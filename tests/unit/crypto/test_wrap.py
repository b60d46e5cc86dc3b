"""HPKE: against a second implementation, itself held to the published vector."""

import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from hypothesis import given
from hypothesis import strategies as st

from trustspace.crypto.wrap import MAX_PLAINTEXT_BYTES, OVERHEAD_BYTES, OneTimeKey, open_sealed, seal_to
from trustspace.errors import InvalidInput, InvalidTransition, VerificationFailed

# The CFRG's test-vectors.json that accompanies RFC 9180: mode 0, kem 32, kdf 1, aead 2, first encryption. It
# has associated data, which the interface used here does not take; hence the second implementation below.
SK_E = bytes.fromhex("179d4b53b6365c45b600c4163b61d95cbc2f4d9e36f1695558dce265ab8bab11")
SK_R = bytes.fromhex("497b4502664cfea5d5af0b39934dac72242a74f8480451e1aee7d6a53320333d")
PK_R = bytes.fromhex("430f4b9859665145a6b1ba274024487bd66f03a2dd577d7753c68d7d7d00c00c")
ENC = bytes.fromhex("6c93e09869df3402d7bf231bf540fadd35cd56be14f97178f0954db94b7fc256")
SHARED = bytes.fromhex("3101c54c3a4f87439eaac080699ed9bbcc726ffe44e860c0424ccb7e3e2ead7b")
KEY = bytes.fromhex("f50b0609186798729ed0564b36ef2ef8044f1f9d05636874d1f46c819c7a669f")
NONCE = bytes.fromhex("151d9929e2449747889bc923")
CIPHERTEXT = bytes.fromhex(
    "e5d84cd531cfb583096e7cfa9641bd3079cf3a91cda813c52deb5f512be9931980a41de125a925cdad859d5b7a"
)
INFO, AAD, PLAINTEXT = b"Ode on a Grecian Urn", b"Count-0", b"Beauty is truth, truth beauty"

KEM_SUITE = b"KEM" + (0x0020).to_bytes(2)
HPKE_SUITE = b"HPKE" + b"".join(i.to_bytes(2) for i in (0x0020, 0x0001, 0x0002))


def mac(key: bytes, data: bytes) -> bytes:
    state = HMAC(key, SHA256())
    state.update(data)
    return state.finalize()


def labeled_extract(suite, salt, label, ikm):  # RFC 9180 §4
    return mac(salt or bytes(32), b"HPKE-v1" + suite + label + ikm)


def labeled_expand(suite, prk, label, info, length):  # RFC 9180 §4, RFC 5869 §2.3
    labeled = length.to_bytes(2) + b"HPKE-v1" + suite + label + info
    output, block, counter = b"", b"", 1
    while len(output) < length:
        block = mac(prk, block + labeled + bytes([counter]))
        output, counter = output + block, counter + 1
    return output[:length]


def shared_secret(dh, enc, recipient):  # RFC 9180 §4.1
    prk = labeled_extract(KEM_SUITE, b"", b"eae_prk", dh)
    return labeled_expand(KEM_SUITE, prk, b"shared_secret", enc + recipient, 32)


def schedule(secret, info):  # RFC 9180 §5.1, base mode
    psk_id = labeled_extract(HPKE_SUITE, b"", b"psk_id_hash", b"")
    context = b"\0" + psk_id + labeled_extract(HPKE_SUITE, b"", b"info_hash", info)
    prk = labeled_extract(HPKE_SUITE, secret, b"secret", b"")
    return (
        labeled_expand(HPKE_SUITE, prk, b"key", context, 32),
        labeled_expand(HPKE_SUITE, prk, b"base_nonce", context, 12),
    )


def reference_seal(ephemeral, recipient, info, aad, plaintext):
    private = X25519PrivateKey.from_private_bytes(ephemeral)
    enc = private.public_key().public_bytes_raw()
    dh = private.exchange(X25519PublicKey.from_public_bytes(recipient))
    key, nonce = schedule(shared_secret(dh, enc, recipient), info)
    return enc + AESGCM(key).encrypt(nonce, plaintext, aad)


def reference_open(private, sealed, info, aad):
    key = X25519PrivateKey.from_private_bytes(private)
    enc, ciphertext = sealed[:32], sealed[32:]
    dh = key.exchange(X25519PublicKey.from_public_bytes(enc))
    file_key, nonce = schedule(shared_secret(dh, enc, key.public_key().public_bytes_raw()), info)
    return AESGCM(file_key).decrypt(nonce, ciphertext, aad)


def test_the_second_implementation_meets_the_published_vector():
    dh = X25519PrivateKey.from_private_bytes(SK_R).exchange(X25519PublicKey.from_public_bytes(ENC))
    assert shared_secret(dh, ENC, PK_R) == SHARED
    assert schedule(SHARED, INFO) == (KEY, NONCE)
    assert reference_seal(SK_E, PK_R, INFO, AAD, PLAINTEXT) == ENC + CIPHERTEXT
    assert reference_open(SK_R, ENC + CIPHERTEXT, INFO, AAD) == PLAINTEXT


def test_what_the_second_implementation_seals_opens_and_the_other_way_round():
    private = X25519PrivateKey.from_private_bytes(SK_R)
    assert open_sealed(private, reference_seal(SK_E, PK_R, INFO, b"", PLAINTEXT), INFO) == PLAINTEXT
    assert reference_open(SK_R, seal_to(PK_R, PLAINTEXT, INFO), INFO, b"") == PLAINTEXT


@given(st.binary(max_size=100), st.binary(min_size=1, max_size=100))
def test_a_one_time_key_opens_what_was_sealed_to_it(plaintext, info):
    key = OneTimeKey.generate()
    sealed = seal_to(key.public, plaintext, info)
    assert len(sealed) == len(plaintext) + OVERHEAD_BYTES
    assert key.open(sealed, info) == plaintext


def test_two_seals_of_the_same_have_nothing_in_common():
    first, second = (seal_to(PK_R, bytes(32), INFO) for _ in range(2))
    assert first[:32] != second[:32]
    assert first[32:] != second[32:]


def test_another_purpose_another_key_or_any_change_does_not_open():
    key = OneTimeKey.generate()
    sealed = seal_to(key.public, b"data key", b"job 1")
    assert key.open(sealed, b"job 1") == b"data key"
    for other, info in [(key, b"job 2"), (key, b"job 1\0"), (OneTimeKey.generate(), b"job 1")]:
        with pytest.raises(VerificationFailed):
            other.open(sealed, info)
    for position in range(len(sealed) * 8):
        if position == 255:
            continue  # the top bit of the X25519 key; see the next test
        changed = bytearray(sealed)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(VerificationFailed):
            key.open(bytes(changed), b"job 1")
    for cut in range(len(sealed)):
        with pytest.raises(VerificationFailed):
            key.open(sealed[:cut], b"job 1")
    with pytest.raises(VerificationFailed):
        key.open(sealed + b"\0", b"job 1")


def test_the_bit_that_x25519_ignores_is_bound_all_the_same():
    # RFC 7748 §5 masks it, so the Diffie-Hellman result is the same; the KEM context holds the bytes as sent.
    key = OneTimeKey.generate()
    sealed = bytearray(seal_to(key.public, b"data key", b"job"))
    private = X25519PrivateKey.generate()
    enc = bytes(sealed[:32])
    flipped = enc[:31] + bytes([enc[31] ^ 0x80])
    assert private.exchange(X25519PublicKey.from_public_bytes(enc)) == private.exchange(
        X25519PublicKey.from_public_bytes(flipped)
    )
    with pytest.raises(VerificationFailed):
        key.open(flipped + bytes(sealed[32:]), b"job")


@pytest.mark.parametrize("point", [0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18])
def test_points_whose_shared_secret_everyone_knows_are_refused(point):
    public = point.to_bytes(32, "little")
    with pytest.raises(InvalidInput, match="usable"):
        seal_to(public, b"data key", INFO)
    key = OneTimeKey.generate()
    # What an attacker would send without knowing the key: the shared secret would be all zeros.
    file_key, nonce = schedule(shared_secret(bytes(32), public, key.public), INFO)
    forged = public + AESGCM(file_key).encrypt(nonce, b"data key", b"")
    with pytest.raises(VerificationFailed):
        key.open(forged, INFO)


def test_a_key_is_sealed_for_a_purpose_and_is_small():
    key = OneTimeKey.generate()
    with pytest.raises(InvalidInput, match="purpose"):
        seal_to(key.public, b"data key", b"")
    with pytest.raises(InvalidInput, match="purpose"):
        key.open(seal_to(key.public, b"data key", b"x"), b"")
    with pytest.raises(InvalidInput, match="small secrets"):
        seal_to(key.public, bytes(MAX_PLAINTEXT_BYTES + 1), INFO)
    for public in (b"", key.public[:31], key.public + b"\0"):
        with pytest.raises(InvalidInput):
            seal_to(public, b"data key", INFO)


def test_a_destroyed_key_opens_nothing():
    key = OneTimeKey.generate()
    public, sealed = key.public, seal_to(key.public, b"data key", INFO)
    assert key.open(sealed, INFO) == b"data key"
    key.destroy()
    key.destroy()
    with pytest.raises(InvalidTransition):
        key.open(sealed, INFO)
    assert key.public == public
    assert key._private is None


def test_a_one_time_key_cannot_be_written_out():
    key = OneTimeKey.generate()
    with pytest.raises(TypeError):
        pickle.dumps(key)
