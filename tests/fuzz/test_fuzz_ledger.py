"""Proofs and notes: whatever a lying ledger or witness shows, a changed one proves nothing else."""

from __future__ import annotations

from fuzz_mutations import NUMBERS, REFUSED, refused, spoilt_bytes
from hypothesis import strategies as st

from trustspace.crypto.keys import MemoryKeyStore
from trustspace.errors import InvalidInput, LogCorrupted, Stale, VerificationFailed
from trustspace.ledger.checkpoint import Checkpoint, open_cosigned, sign_checkpoint
from trustspace.ledger.cosign import WitnessState, add_cosignature, advance, cosign
from trustspace.ledger.merkle import MerkleTree, leaf_hash, verify_consistency, verify_inclusion
from trustspace.ledger.note import KeyKind, NoteKey, parse_note, parse_signature_line
from trustspace.ledger.proof import LogProof, encode_proof, parse_proof, verify_proof

ORIGIN = "space.example/ledger"
KEYS = MemoryKeyStore()
LOG = NoteKey(ORIGIN, KEYS.create_signing_key("log"))
WITNESS = NoteKey("witness.example", KEYS.create_signing_key("witness"), KeyKind.COSIGNATURE)
ENTRIES = [bytes([n]) * 32 for n in range(37)]
TREE = MerkleTree()
for _entry in ENTRIES:
    TREE.append(_entry)


def checkpoint(size: int) -> str:
    found = Checkpoint(ORIGIN, size, TREE.root(size))
    note = sign_checkpoint(found, ORIGIN, LOG.public, lambda m: KEYS.sign("log", m))
    line = cosign(note, WITNESS.name, WITNESS.public, lambda m: KEYS.sign("witness", m), 1_800_000_000 + size)
    return add_cosignature(note, line)


NOTES = {size: checkpoint(size) for size in (1, 2, 8, 21, 37)}
PROOFS = [
    encode_proof(LogProof(at, TREE.inclusion_proof(at, size), NOTES[size]))
    for at, size in ((0, 1), (1, 2), (7, 8), (20, 21), (5, 37), (36, 37))
]


def text_of(data: bytes) -> str:
    """With lone surrogates where it is no UTF-8: a parser of text meets those too."""
    return data.decode("utf-8", "surrogateescape")


def encoded(*texts: str) -> list[bytes]:
    return [text.encode() for text in texts]


def test_notes(hunt):
    def attack(data):
        text = text_of(data)
        found = refused(parse_note, text)
        assert found is REFUSED or found.to_text() == text

    hunt(spoilt_bytes(encoded(*NOTES.values())), attack, 600)


def test_signature_lines_and_keys(hunt):
    lines = [line + "\n" for note in NOTES.values() for line in note.split("\n") if line.startswith("— ")]

    def attack(data):
        text = text_of(data)
        line, key = refused(parse_signature_line, text), refused(NoteKey.parse, text)
        assert line is REFUSED or line.line() == text
        assert key is REFUSED or key.encode() == text

    hunt(spoilt_bytes(encoded(*lines, LOG.encode(), WITNESS.encode())), attack, 600)


def test_checkpoint_bodies(hunt):
    def attack(data):
        text = text_of(data)
        found = refused(Checkpoint.parse, text)
        assert found is REFUSED or found.body() == text

    hunt(spoilt_bytes(encoded(*(Checkpoint(ORIGIN, n, TREE.root(n)).body() for n in NOTES))), attack, 600)


def test_a_changed_checkpoint_says_nothing_else(hunt):
    known = {(Checkpoint(ORIGIN, n, TREE.root(n)), 1_800_000_000 + n) for n in NOTES}

    def attack(data):
        found = refused(lambda t: open_cosigned(t, LOG.encode(), [WITNESS.encode()], 1), text_of(data))
        assert found is REFUSED or (found[0], found[1][WITNESS.encode()]) in known

    hunt(spoilt_bytes(encoded(*NOTES.values())), attack, 500)


def test_cosignatures_added(hunt):
    line = NOTES[8].rstrip("\n").split("\n")[-1] + "\n"

    def attack(drawn):
        note, added = drawn
        found = refused(add_cosignature, text_of(note), text_of(added))
        assert found is REFUSED or parse_note(found).to_text() == found

    hunt(st.tuples(spoilt_bytes(encoded(NOTES[8], NOTES[21])), spoilt_bytes(encoded(line))), attack)


def test_proof_files(hunt):
    def attack(data):
        text = text_of(data)
        found = refused(parse_proof, text)
        assert found is REFUSED or encode_proof(found) == text

    hunt(spoilt_bytes(encoded(*PROOFS)), attack, 600)


def test_a_changed_proof_file_proves_nothing_else(hunt):
    def attack(data):
        text = text_of(data)
        for at in (0, 5, 20):
            found = refused(lambda t, at=at: verify_proof(t, ENTRIES[at], LOG.encode()), text)
            if found is not REFUSED:
                assert parse_proof(text).index == at
        assert refused(lambda t: verify_proof(t, b"never logged" * 3, LOG.encode()), text) is REFUSED

    hunt(spoilt_bytes(encoded(*PROOFS)), attack)


def hashes(sound: tuple[bytes, ...]) -> st.SearchStrategy[tuple[bytes, ...]]:
    """A proof with hashes left out, doubled, swapped, cut, changed, and far too many."""
    one = st.sampled_from([*sound, TREE.root(), b"", b"\0" * 31, b"\0" * 32, b"\xff" * 33])
    return st.lists(one, max_size=70).map(tuple) | st.permutations(list(sound)).map(tuple) | st.just(sound)


def test_inclusion(hunt):
    """Nothing but a leaf at its own place, by its own proof, is in the tree."""
    sizes = st.sampled_from([0, 1, 2, 21, 36, 37, 38, -1, *NUMBERS])

    def attack(drawn):
        at, index, size, proof = drawn
        found = refused(
            lambda p: verify_inclusion(leaf_hash(ENTRIES[at]), index, size, p, TREE.root()), proof
        )
        assert found is REFUSED or (index == at and proof == TREE.inclusion_proof(at))

    proofs = st.integers(0, 36).flatmap(lambda at: hashes(TREE.inclusion_proof(at)))
    hunt(st.tuples(st.integers(0, 36), st.integers(0, 36) | sizes, st.just(37) | sizes, proofs), attack, 1000)


def test_consistency(hunt):
    """Only by its own proof does a tree begin with an earlier one; every tree begins with the empty one.

    A root does not say of how many leaves it is: a wrong size whose path has the same shape passes, here and in RFC
    6962. Sizes are believed because the checkpoint that signs the root signs the size with it.
    """
    sizes = st.integers(1, 38) | st.sampled_from([-1, *NUMBERS[1:]])

    def attack(drawn):
        old, new, proof = drawn
        old_root = TREE.root(old) if 1 <= old <= 37 else b"\2" * 32
        found = refused(lambda p: verify_consistency(old, old_root, new, TREE.root(), p), proof)
        assert found is REFUSED or old == new or (1 <= old <= 37 and proof == TREE.consistency_proof(old, 37))
        assert refused(lambda p: verify_consistency(old, b"\1" * 32, new, TREE.root(), p), proof) is REFUSED

    proofs = st.integers(0, 37).flatmap(lambda old: hashes(TREE.consistency_proof(old)))
    hunt(st.tuples(sizes, st.just(37) | sizes, proofs), attack, 1000)


def test_a_follower_of_a_log_never_follows_a_fork(hunt):
    state = WitnessState(21, TREE.root(21), ORIGIN)
    errors = (VerificationFailed, InvalidInput, Stale, LogCorrupted)

    def attack(drawn):
        old, size, forged, proof = drawn
        shown = Checkpoint(ORIGIN, size, b"\1" * 32 if forged else TREE.root(size))
        found = refused(lambda p: advance(state, old, shown, p), proof, errors=errors)
        assert found is REFUSED or (not forged and size >= 21 and found.root == TREE.root(size))

    strategy = st.tuples(
        st.just(21) | st.integers(0, 40),
        st.integers(1, 37),
        st.booleans(),
        hashes(TREE.consistency_proof(21)),
    )
    hunt(strategy, attack, 600)
