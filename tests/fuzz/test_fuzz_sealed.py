"""Sealed objects, sealed keys, shares and padding: what was changed does not open."""

from __future__ import annotations

import io
import os

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from fuzz_mutations import REFUSED, canonical, refused, spoilt_bytes, spoilt_json

from trustspace.crypto.canonical import parse_canonical
from trustspace.crypto.padding import pad, unpad
from trustspace.crypto.seal import CHUNK_BYTES, open_bytes, read_header, seal_bytes, take_header
from trustspace.crypto.shares import combine, decode_share, encode_share, split
from trustspace.crypto.wrap import open_sealed, seal_to

KEY = os.urandom(32)
CONTEXT = {"purpose": "artifact", "job": "a" * 64, "version": 1}
SMALL = [seal_bytes(KEY, CONTEXT, content) for content in (b"", b"x", b"content " * 20)]
LARGE = seal_bytes(KEY, CONTEXT, bytes(CHUNK_BYTES) + b"rest")
HEAD = 12


def test_headers(hunt):
    def attack(data):
        found = refused(read_header, data)
        if found is not REFUSED:
            header, end = found
            assert 0 < end <= len(data)
            assert take_header(io.BytesIO(data).read) == data[:end]
            assert len(header.salt) == 32
        else:
            assert refused(lambda d: take_header(io.BytesIO(d).read), data) is REFUSED or len(data) > 0

    hunt(spoilt_bytes(SMALL), attack, 600)


def test_header_fields(hunt):
    """The header's JSON changed and put back, its length right."""
    size = int.from_bytes(SMALL[2][8:HEAD])
    fields = parse_canonical(SMALL[2][HEAD : HEAD + size], what="It")

    def attack(value):
        text = canonical(value)
        data = SMALL[2][:8] + len(text).to_bytes(4) + text + SMALL[2][HEAD + size :]
        refused(read_header, data)
        found = refused(lambda d: open_bytes(KEY, CONTEXT, d), data)
        assert found is REFUSED or data == SMALL[2]

    hunt(spoilt_json([fields]), attack, 500)


def test_a_changed_object_does_not_open(hunt):
    def attack(data):
        found = refused(lambda d: open_bytes(KEY, CONTEXT, d), data)
        assert found is REFUSED or data in SMALL or data == LARGE

    hunt(spoilt_bytes(SMALL), attack, 600)
    hunt(spoilt_bytes([LARGE], most=1), attack, 40)


def test_sealed_keys(hunt):
    private = X25519PrivateKey.generate()
    sealed = [seal_to(private.public_key().public_bytes_raw(), bytes(32), b"purpose") for _ in range(2)]

    def attack(data):
        found = refused(lambda d: open_sealed(private, d, b"purpose"), data)
        assert found is REFUSED or data in sealed

    hunt(spoilt_bytes(sealed), attack)


def test_shares(hunt):
    secret = os.urandom(48)
    sound = [encode_share(share) for share in split(secret, 2, 4)]

    def attack(data):
        found = refused(decode_share, data)
        if found is not REFUSED:
            assert encode_share(found) == data
            shares = [found, *(decode_share(each) for each in sound[1:])]
            # Two shares always fit; with more of them than the threshold, a changed one is found out.
            opened = refused(lambda _: combine(shares, 2), data)
            assert opened is REFUSED or opened == secret

    hunt(spoilt_bytes(sound), attack)


def test_padding(hunt):
    sound = [pad(b""), pad(b"x" * 100), pad(b"y" * 5000)]

    def attack(data):
        found = refused(unpad, data)
        assert found is REFUSED or pad(found) == data

    hunt(spoilt_bytes(sound), attack)
