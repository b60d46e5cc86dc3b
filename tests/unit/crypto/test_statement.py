"""DSSE envelopes: published vectors, strict parsing, and who may have signed."""

import base64
import hashlib
import json

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from trustspace.crypto import statement
from trustspace.crypto.statement import (
    PAYLOAD_TYPE,
    Envelope,
    Signature,
    key_id,
    pae,
    sign_statement,
    verify_signature,
    verify_statement,
)
from trustspace.errors import InvalidInput, VerificationFailed

# RFC 8032 §7.1, tests 1 and 2.
SEED_A = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC_A = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
SEED_B = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC_B = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
KEY_A = Ed25519PrivateKey.from_private_bytes(SEED_A)
KEY_B = Ed25519PrivateKey.from_private_bytes(SEED_B)
PAYLOAD = b'{"_type":"https://in-toto.io/Statement/v1"}'


def signed(payload=PAYLOAD):
    return sign_statement(payload, PUBLIC_A, KEY_A.sign)


def raw(envelope: Envelope, **changes) -> bytes:
    """The envelope's JSON with some fields changed, in canonical form."""
    fields = json.loads(envelope.to_bytes()) | changes
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_the_protocols_own_vector():
    # secure-systems-lab/dsse, protocol.md, "Test Vectors".
    encoded = pae("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    signature = base64.b64decode(
        "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="
    )
    public = ec.EllipticCurvePublicNumbers(
        46950820868899156662930047687818585632848591499744589407958293238635476079160,
        5640078356564379163099075877009565129882514886557779369047442380624545832820,
        ec.SECP256R1(),
    ).public_key()
    both = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    public.verify(both, encoded, ec.ECDSA(SHA256()))


@pytest.mark.parametrize(
    ("kind", "payload", "signature"),
    [
        # secure-systems-lab/dsse, testvectors/vectors.json: single-signature, empty-payload,
        # non-ascii-payload-type, empty-payload-type.
        (PAYLOAD_TYPE, PAYLOAD,
         "2WAfaHm5jluo0w+0rk8uVkluELJYWjSmU9x7EUzx+AyteDGJ4/nqyJXfmAUVFIAoQafWm7AxBZNw5M9ixNHiCA=="),
        (PAYLOAD_TYPE, b"",
         "gSggCAaTLTYyRH6FIDBem6meyIynsYy8RTHVzwx9tnTb7Bg/1jMWnuVgI/gffqmbsC2VX5/jHfkkDqsj7CDbDg=="),
        ("application/vnd.exämple+json", PAYLOAD,
         "xmSk/ug66ysT7ayhkCIjhAq42zgZXSsEWuzUaNL7w2eGAdF/NU6/fRXPtmfN+5DNSAs5/i2lUnHjbbjPsu0tAw=="),
        ("", PAYLOAD,
         "iC3q/+3Rm0+lpAJRueDmDh15PnwCfxKmS0NAfKsbv+zgulXQC/WM9trc+j1XEqlwDIg/vf/uNfebeD6sxInrDg=="),
    ],
)  # fmt: skip
def test_the_published_ed25519_vectors(kind, payload, signature):
    expected = base64.b64decode(signature)
    assert KEY_A.sign(pae(kind, payload)) == expected
    verify_signature(PUBLIC_A, pae(kind, payload), expected)
    envelope = Envelope(payload, kind, (Signature(key_id(PUBLIC_A), expected),))
    if kind == PAYLOAD_TYPE:
        assert verify_statement(envelope, PUBLIC_A) == payload
        assert envelope == sign_statement(payload, PUBLIC_A, KEY_A.sign)
    else:
        with pytest.raises(VerificationFailed, match="payload type"):
            verify_statement(envelope, PUBLIC_A)


def test_the_published_vector_with_a_swapped_type_is_refused():
    good = signed()
    swapped = Envelope(good.payload, "application/vnd.example.other+json", good.signatures)
    with pytest.raises(VerificationFailed):
        verify_statement(swapped, PUBLIC_A)
    with pytest.raises(VerificationFailed):
        verify_signature(PUBLIC_A, pae(swapped.payload_type, PAYLOAD), good.signatures[0].signature)


@given(st.text(max_size=8), st.binary(max_size=8), st.text(max_size=8), st.binary(max_size=8))
def test_different_statements_never_have_the_same_signed_bytes(kind, payload, other_kind, other_payload):
    try:
        first, second = pae(kind, payload), pae(other_kind, other_payload)
    except UnicodeEncodeError:
        return
    assert (first == second) == ((kind, payload) == (other_kind, other_payload))


def test_fingerprints_are_digests_of_raw_public_keys():
    assert key_id(PUBLIC_A) == "21fe31dfa154a261626bf854046fd2271b7bed4b6abe45aa58877ef47f9721b9"
    with pytest.raises(InvalidInput):
        key_id(PUBLIC_A + b"\0")


def test_the_written_form_and_its_digest():
    envelope = signed(b"{}")
    data = envelope.to_bytes()
    assert data == (
        b'{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"keyid":"'
        + key_id(PUBLIC_A).encode()
        + b'","sig":"'
        + base64.b64encode(envelope.signatures[0].signature)
        + b'"}]}'
    )
    assert Envelope.parse(data) == envelope
    assert verify_statement(Envelope.parse(data), PUBLIC_A) == b"{}"
    assert envelope.digest == hashlib.sha256(data).hexdigest()


@given(st.binary(max_size=60), st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5)), max_size=3))
def test_any_envelope_reads_back(payload, entries):
    try:
        envelope = Envelope(payload, "t", tuple(Signature(*entry) for entry in entries))
        data = envelope.to_bytes()
    except InvalidInput:
        return
    assert Envelope.parse(data) == envelope


def test_other_ways_to_write_the_same_envelope_are_refused():
    envelope = signed()
    entry = {"keyid": key_id(PUBLIC_A), "sig": base64.b64encode(envelope.signatures[0].signature).decode()}
    payload = base64.b64encode(PAYLOAD).decode()
    assert raw(envelope, payload=payload, signatures=[entry]) == envelope.to_bytes()  # the control
    assert payload.endswith("Q==")
    malleated = payload[:-3] + "R=="
    assert base64.b64decode(malleated) == PAYLOAD  # Python's decoder takes it
    for data in [
        raw(envelope, payload=malleated),
        raw(envelope, payload=payload.rstrip("=")),
        raw(envelope, payload=payload + "\n"),
        raw(envelope, payload=payload[:4] + " " + payload[4:]),
        raw(envelope, payload="-_-_Pj8="),  # URL-safe, which DSSE allows and this profile does not
        raw(envelope, payload=PAYLOAD.decode()),
        raw(envelope, payload=None),
        raw(envelope, payloadType=1),
        raw(envelope, signatures={}),
        raw(envelope, signatures=[entry | {"cert": ""}]),
        raw(envelope, signatures=[{"sig": entry["sig"]}]),
        raw(envelope, signatures=[entry | {"keyid": 5}]),
        raw(envelope, signatures=[entry["sig"]]),
        raw(envelope, signatures=[entry] * 17),
        raw(envelope, extra=1),
        envelope.to_bytes() + b"\n",
        envelope.to_bytes().replace(b",", b", ", 1),
        b"[]",
        b"",
    ]:
        with pytest.raises(VerificationFailed):
            Envelope.parse(data)
    with pytest.raises(VerificationFailed):
        Envelope.parse(envelope.to_bytes(), max_bytes=100)


def test_every_flipped_bit_is_noticed():
    data = signed(b'{"a":1}').to_bytes()
    for position in range(len(data) * 8):
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(VerificationFailed):
            verify_statement(Envelope.parse(bytes(changed)), PUBLIC_A)


def test_exactly_one_signature_by_exactly_that_key():
    good = signed()
    by_a = good.signatures[0]
    by_b = sign_statement(PAYLOAD, PUBLIC_B, KEY_B.sign).signatures[0]
    assert verify_statement(good, PUBLIC_A) == PAYLOAD
    for signatures in [
        (),
        (by_b,),
        (by_a, by_b),
        (by_a, by_a),
        (Signature(by_a.key_id, by_b.signature),),
        (Signature(by_b.key_id, by_a.signature),),
        (Signature(by_a.key_id.upper(), by_a.signature),),
        (Signature(by_a.key_id, by_a.signature[:63]),),
        (Signature(by_a.key_id, b""),),
    ]:
        with pytest.raises(VerificationFailed):
            verify_statement(Envelope(PAYLOAD, PAYLOAD_TYPE, signatures), PUBLIC_A)
    with pytest.raises(VerificationFailed):
        verify_statement(Envelope(PAYLOAD + b" ", PAYLOAD_TYPE, (by_a,)), PUBLIC_A)
    with pytest.raises(VerificationFailed):
        verify_statement(good, PUBLIC_B)


def test_signing_with_another_key_is_noticed_at_once():
    with pytest.raises(InvalidInput, match="private half"):
        sign_statement(PAYLOAD, PUBLIC_A, KEY_B.sign)
    with pytest.raises(InvalidInput):
        sign_statement(PAYLOAD, PUBLIC_A, lambda message: b"")
    with pytest.raises(InvalidInput):
        sign_statement(PAYLOAD, PUBLIC_A[:31], KEY_A.sign)


def test_a_signature_has_one_form():
    # S + L verifies the same equation; RFC 8032 §5.1.7 refuses it.
    order = 2**252 + 27742317777372353535851937790883648493
    signature = KEY_A.sign(b"m")
    other = signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    verify_signature(PUBLIC_A, b"m", signature)
    with pytest.raises(VerificationFailed):
        verify_signature(PUBLIC_A, b"m", other)


# edwards25519 (RFC 8032 §5.1), enough of it to find the points of small order.
P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
ORDER = 2**252 + 27742317777372353535851937790883648493


def add(left, right):
    (x1, y1), (x2, y2) = left, right
    product = D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P)
    return x % P, y % P


def times(factor, point):
    total = (0, 1)
    while factor:
        if factor & 1:
            total = add(total, point)
        point = add(point, point)
        factor >>= 1
    return total


def lift(y):
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return None if (x * x - square) % P else (x, y)


def test_the_refused_keys_are_exactly_those_of_small_order():
    torsion = {(0, 1)}
    y = 2
    while len(torsion) < 8:
        if point := lift(y):
            step = times(ORDER, point)
            torsion |= {times(k, step) for k in range(8)}
        y += 1
    assert len(torsion) == 8
    encodings = {point[1].to_bytes(32, "little") for point in torsion}
    # Not reduced: y + p still fits in 255 bits for y < 19.
    encodings |= {(point[1] + P).to_bytes(32, "little") for point in torsion if point[1] + P < 2**255}
    assert encodings == statement._SMALL_ORDER


@pytest.mark.parametrize("public", sorted(statement._SMALL_ORDER))
@pytest.mark.parametrize("sign_bit", [0, 0x80])
def test_a_key_under_which_anyone_can_sign_is_refused(public, sign_bit):
    public = public[:31] + bytes([public[31] | sign_bit])
    # R = identity, S = 0 holds whenever the challenge kills the key: one message in eight at the latest.
    forged = (1).to_bytes(32, "little") + bytes(32)
    messages = [b"message %d" % n for n in range(200)]
    accepted = []
    for message in messages:
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(forged, message)
            accepted.append(message)
        except InvalidSignature:
            continue
    for message in accepted or messages[:1]:
        with pytest.raises(VerificationFailed):
            verify_signature(public, message, forged)


def test_without_that_refusal_the_forgery_works():
    identity = (1).to_bytes(32, "little")
    for message in (b"pay", b"do not pay"):
        Ed25519PublicKey.from_public_bytes(identity).verify(identity + bytes(32), message)
        with pytest.raises(VerificationFailed, match="anyone can sign"):
            verify_signature(identity, message, identity + bytes(32))
