"""Keys that stand in for a log, witnesses and strangers, and a log that hands out what clients receive."""

import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trustspace.ledger import (
    Checkpoint,
    KeyKind,
    LogProof,
    MerkleTree,
    NoteKey,
    add_cosignature,
    cosign,
    encode_proof,
    sign_checkpoint,
)

VECTORS = Path(__file__).parents[2] / "vectors"


def vectors(name: str) -> dict:
    return json.loads((VECTORS / name).read_text("utf-8"))


class Party:
    """An Ed25519 key with a name, the same in every run."""

    def __init__(self, name: str, seed: bytes | None = None) -> None:
        key = Ed25519PrivateKey.from_private_bytes(seed or name.encode().ljust(32, b".")[:32])
        self.name = name
        self.sign = key.sign
        self.public = key.public_key().public_bytes_raw()
        self.key = NoteKey(name, self.public)
        self.vkey = self.key.encode()
        self.witness_key = NoteKey(name, self.public, KeyKind.COSIGNATURE)
        self.witness_vkey = self.witness_key.encode()


LOG = Party("space.example/ledger")
WITNESSES = (Party("hospital-a.example"), Party("见证.example/w2"), Party("auditor.example"))
WITNESS_VKEYS = [w.witness_vkey for w in WITNESSES]
STRANGER = Party("stranger.example")
NOW = 1_800_000_000


def entry(number: int) -> bytes:
    return number.to_bytes(32, "big")


def tree_of(size: int, *, first: int = 0) -> MerkleTree:
    tree = MerkleTree()
    for number in range(size):
        tree.append(entry(first + number))
    return tree


def checkpoint_of(tree: MerkleTree, size: int | None = None, origin: str = LOG.name) -> Checkpoint:
    size = tree.size if size is None else size
    return Checkpoint(origin, size, tree.root(size))


def signed(checkpoint: Checkpoint, witnesses: tuple[Party, ...] = ()) -> str:
    note = sign_checkpoint(checkpoint, LOG.name, LOG.public, LOG.sign)
    for witness in witnesses:
        note = add_cosignature(note, cosign(note, witness.name, witness.public, witness.sign, NOW))
    return note


def proof_file(tree: MerkleTree, index: int, witnesses: tuple[Party, ...] = ()) -> str:
    return encode_proof(LogProof(index, tree.inclusion_proof(index), signed(checkpoint_of(tree), witnesses)))


def mutations(text: str):
    """Every text that differs from ``text`` in one byte: a bit flipped, the byte gone, or one more byte.

    Also truncations and appendages. What is not UTF-8 any more cannot reach the parser and is left out.
    """
    data = text.encode("utf-8")
    changed = []
    for i, byte in enumerate(data):
        changed += [data[:i] + bytes([byte ^ (1 << bit)]) + data[i + 1 :] for bit in range(8)]
        changed += [data[:i] + data[i + 1 :]]
        changed += [data[:i] + extra + data[i:] for extra in (b"\n", b" ", b"\r", b"=", b"0", b"A", b"\x00")]
        changed += [data[:i]]
    changed += [data + extra for extra in (b"\n", b" ", b"\r", b"=", b"\x00", b"\n\n", data)]
    for mutated in dict.fromkeys(changed):
        if mutated == data:
            continue
        try:
            yield mutated.decode("utf-8")
        except UnicodeDecodeError:
            continue
