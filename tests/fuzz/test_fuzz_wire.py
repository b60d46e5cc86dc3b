"""Streams and messages: the launcher's socket, uploads, blobs, vectors, and errors in a far side's words."""

from __future__ import annotations

import hashlib
import json
import os
import socket

import pytest
from fuzz_mutations import REFUSED, canonical, refused, spoilt_bytes, spoilt_json
from hypothesis import strategies as st

from trustspace.crypto.canonical import canonical_json, sha256_hex
from trustspace.crypto.keys import MemoryKeyStore
from trustspace.crypto.seal import CHUNK_BYTES, seal_bytes
from trustspace.crypto.statement import key_id, sign_statement
from trustspace.data.manifest import DatasetManifest
from trustspace.enclave.datasets import DatasetStore, manifest_digest
from trustspace.errors import InvalidTransition, NotFound, TrustspaceError, Unavailable
from trustspace.sandbox import protocol
from trustspace.space.blobs import BlobStore
from trustspace.space.sums import VectorStore
from trustspace.transport import errors as wire_errors

MESSAGES = [
    {"op": "run", "number": 3, "inputs": ["data", "parameters"], "limits": {"memory": 1 << 30}},
    {"event": "ended", "status": "failed", "reason": "x", "log_bytes": 9, "wall_ms": 12, "output": False},
]


@pytest.mark.parametrize("plain", [False, True], ids=["with-descriptors", "plain"])
def test_messages_over_the_socket(hunt, plain):
    """Only ValueError says that a message is none, and no descriptor stays open."""
    left, right = protocol.pair()
    carried = os.memfd_create("carried")
    read = protocol.receive_plain if plain else protocol.receive

    def attack(data):
        if not data or len(data) > protocol.MESSAGE_BYTES + 100:
            return
        before = len(os.listdir("/proc/self/fd"))
        socket.send_fds(left, [data], [carried])
        try:
            found = read(right)
        except ValueError:
            found = None
        if found is not None and not plain:
            message, descriptors = found
            for descriptor in descriptors:
                os.close(descriptor)
            assert isinstance(message, dict)
        assert len(os.listdir("/proc/self/fd")) == before

    with left, right:
        hunt(spoilt_bytes([json.dumps(message).encode() for message in MESSAGES]), attack, 400)
        hunt(spoilt_json(MESSAGES), lambda value: attack(canonical(value)), 400)
        hunt(st.sampled_from([b"[", b'{"a":', b"9", b'"', b" "]).map(lambda piece: piece * 10_000), attack, 5)
    os.close(carried)


class Upload:
    """A signed manifest and its sealed bytes."""

    def __init__(self, keys: MemoryKeyStore, public: bytes, name: str, plain: int) -> None:
        owner = key_id(public)
        context = {"purpose": "dataset", "source_unit": owner, "dataset": name, "version": 1}
        self.data = seal_bytes(os.urandom(32), context, os.urandom(plain))
        chunks = max(1, -(-plain // CHUNK_BYTES))
        header = len(self.data) - (plain + 16 * chunks)
        self.value = {
            "format": "parquet", "dataset": name, "version": 1, "source_unit": owner, "rows_commitment": "",
            "columns": [{"name": "size", "type": "double"}], "plain_bytes": plain, "sealed_bytes": len(self.data),
            "chunk_count": chunks, "header_digest": sha256_hex(self.data[:header]),
            "ciphertext_digest": sha256_hex(self.data),
        }  # fmt: skip
        self.manifest = DatasetManifest.from_json(self.value)
        self.envelope = sign_statement(
            canonical_json(self.value), public, lambda m: keys.sign("act", m)
        ).to_bytes()


@pytest.fixture(scope="module")
def uploads(tmp_path_factory):
    keys = MemoryKeyStore()
    public = keys.create_signing_key("act")
    home = tmp_path_factory.mktemp("enclave")
    for name in ("uploads", "datasets"):
        (home / name).mkdir()
    store = DatasetStore(home, key_id(public))
    made = [Upload(keys, public, "small", 1000), Upload(keys, public, "two", CHUNK_BYTES + 10)]
    return keys, public, store, made


def test_signed_manifests(hunt, uploads):
    """By the source unit itself, and saying anything."""
    keys, public, store, made = uploads

    def attack(value):
        envelope = sign_statement(canonical(value), public, lambda m: keys.sign("act", m)).to_bytes()
        found = refused(lambda e: store.begin(e, [public]), envelope)
        if found is not REFUSED:
            store.abort(found.upload)
            assert value["source_unit"] == key_id(public)

    hunt(spoilt_json([each.value for each in made]), attack, 300)


def test_upload_streams(hunt, uploads):
    """Bytes changed, cut, spliced, from a wrong place: all of it as signed, or nothing is kept."""
    _, public, store, made = uploads
    errors = (*_DOCUMENTED, InvalidTransition, NotFound, Unavailable)

    def attack(drawn):
        data, offset, piece = drawn
        for each in made:
            upload = store.begin(each.envelope, [public]).upload
            pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
            sent = refused(lambda p, u=upload: list(store.append(u, offset, p)), pieces, errors=errors)
            if sent is not REFUSED:
                kept = refused(store.commit, upload, errors=errors)
                assert kept is REFUSED or data == each.data
            store.withdraw(manifest_digest(each.manifest))
            refused(store.abort, upload, errors=errors)
        assert not store.holdings()

    sound = [each.data for each in made]
    offsets = st.sampled_from([0, 0, 0, 1, 100, 2**63, -1])
    hunt(
        st.tuples(
            spoilt_bytes(sound) | st.sampled_from(sound), offsets, st.sampled_from([1000, 70_000, 1 << 20])
        ),
        attack,
        60,
    )


def test_names_of_uploads_and_blobs(hunt, uploads, tmp_path):
    _, _, store, made = uploads
    blobs = BlobStore(tmp_path / "blobs", 1 << 20)
    sound = manifest_digest(made[0].manifest).encode()
    errors = (*_DOCUMENTED, InvalidTransition, NotFound)

    def attack(data):
        name = data.decode("utf-8", "surrogateescape")
        for act in (
            store.commit,
            store.abort,
            store.open,
            store.withdraw,
            blobs.has,
            lambda n: list(blobs.read(n)),
        ):
            refused(act, name, errors=errors)

    hunt(spoilt_bytes([sound, b"../" * 20 + b"abcd", b"\0" * 64]), attack, 300)


def test_blob_streams(hunt, tmp_path):
    blobs = BlobStore(tmp_path / "blobs", 1 << 16)
    content = bytes(range(256)) * 8
    digest = hashlib.sha256(content).hexdigest()

    def attack(drawn):
        data, total, piece = drawn
        pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
        refused(lambda p: blobs.put(digest, total, p), pieces, errors=(TrustspaceError,))
        assert not list((tmp_path / "blobs").glob("incoming-*"))
        if blobs.has(digest):
            assert b"".join(blobs.read(digest)) == content
            (tmp_path / "blobs" / digest).unlink()

    totals = st.sampled_from([len(content), len(content), 0, -1, len(content) + 1, 2**40])
    hunt(
        st.tuples(spoilt_bytes([content]) | st.just(content), totals, st.sampled_from([1, 100, 5000])),
        attack,
        150,
    )


def test_vector_streams(hunt, tmp_path):
    vectors = VectorStore(tmp_path / "vectors")

    def attack(drawn):
        size, pieces = drawn
        found = refused(lambda p: vectors.receive(size, p, lambda: None), pieces)
        if found is not REFUSED:
            assert found.read(0, size) == b"".join(pieces)

    hunt(st.tuples(st.integers(0, 40), st.lists(st.binary(max_size=20), max_size=6)), attack, 300)


def test_errors_in_a_far_sides_words(hunt):
    """It may lie in them; what comes of it can be shown, and holds no control character."""
    sound = [
        {
            "code": "invalid-input",
            "message": "Field {field} is {limit}.",
            "fix": "Try {field}.",
            "details": {"field": "x", "limit": 3},
        },
        {"code": "internal", "message": "It failed.", "fix": "", "details": {}},
    ]

    def attack(data):
        told = wire_errors._told(data)
        if told is not None:
            assert told.public_message.isprintable()
            assert len(told.public_message) < 50 * len(data) + 1000

    hunt(spoilt_json(sound), lambda value: attack(canonical(value)), 1000)
    hunt(spoilt_bytes([json.dumps(value).encode() for value in sound]), attack, 600)


_DOCUMENTED = (wire_errors.BY_CODE["invalid-input"], wire_errors.BY_CODE["verification-failed"])
