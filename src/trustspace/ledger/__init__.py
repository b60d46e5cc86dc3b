"""The append-only log: Merkle tree, signed checkpoints, witnesses, and proofs that stand alone.

Pure functions over bytes and text: no file, socket or clock. The formats are the public ones of
RFC 6962 / RFC 9162 and C2SP, so that a log can be checked by anybody's tools.
"""

from trustspace.ledger.checkpoint import Checkpoint, open_checkpoint, open_cosigned, sign_checkpoint
from trustspace.ledger.cosign import WitnessState, add_cosignature, advance, cosign
from trustspace.ledger.merkle import (
    EMPTY_ROOT,
    MerkleTree,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from trustspace.ledger.note import KeyKind, Note, NoteKey, NoteSignature, parse_note, sign_note, verify_note
from trustspace.ledger.proof import LogProof, encode_proof, parse_proof, verify_proof

__all__ = [
    "EMPTY_ROOT",
    "Checkpoint",
    "KeyKind",
    "LogProof",
    "MerkleTree",
    "Note",
    "NoteKey",
    "NoteSignature",
    "WitnessState",
    "add_cosignature",
    "advance",
    "cosign",
    "encode_proof",
    "leaf_hash",
    "node_hash",
    "open_checkpoint",
    "open_cosigned",
    "parse_note",
    "parse_proof",
    "sign_checkpoint",
    "sign_note",
    "verify_consistency",
    "verify_inclusion",
    "verify_note",
    "verify_proof",
]
