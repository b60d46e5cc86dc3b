"""Proof files (C2SP tlog-proof v1): one entry is in the log, to be verified offline.

The text holds the entry's index, its inclusion proof, and a checkpoint with its cosignatures. The format's
line of opaque extra data is refused: nothing authenticates it, and nothing here would read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.ledger.checkpoint import Checkpoint, open_checkpoint
from trustspace.ledger.encoding import decode_hash, decode_number, encode_base64
from trustspace.ledger.merkle import HASH_BYTES, MAX_PROOF_HASHES, MAX_SIZE, leaf_hash, verify_inclusion
from trustspace.ledger.note import MAX_NOTE_BYTES, parse_note

HEADER = "c2sp.org/tlog-proof@v1"
MAX_PROOF_BYTES = MAX_NOTE_BYTES + 4096


@dataclass(frozen=True)
class LogProof:
    """Index of an entry, its inclusion proof, and the checkpoint note it leads to; nothing is verified."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str


def encode_proof(proof: LogProof) -> str:
    """Return the proof file's text. Raises InvalidInput for an index, hash or note that it cannot hold."""
    if not 0 <= proof.index < MAX_SIZE:
        raise InvalidInput("The index of a log entry is between 0 and {maximum}.", maximum=MAX_SIZE - 1)
    if len(proof.hashes) > MAX_PROOF_HASHES or any(len(h) != HASH_BYTES for h in proof.hashes):
        raise InvalidInput("An inclusion proof is at most {maximum} hashes.", maximum=MAX_PROOF_HASHES)
    try:
        Checkpoint.parse(parse_note(proof.checkpoint).text)
    except VerificationFailed as error:
        raise InvalidInput(error.message, fix=error.fix, **error.details) from None
    lines = [HEADER, f"index {proof.index}", *map(encode_base64, proof.hashes), "", proof.checkpoint]
    return "\n".join(lines)


def parse_proof(text: str) -> LogProof:
    """Read a proof file. Raises VerificationFailed unless :func:`encode_proof` gives the same text back."""
    if len(text) > MAX_PROOF_BYTES:
        raise VerificationFailed("The proof is longer than {maximum} bytes.", maximum=MAX_PROOF_BYTES)
    head, separator, checkpoint = text.partition("\n\n")
    header, *lines = head.split("\n")
    if not separator or header != HEADER:
        raise VerificationFailed("The proof does not begin with the line {header}.", header=HEADER)
    if lines and lines[0].startswith("extra "):
        raise VerificationFailed("The proof carries extra data, which nothing authenticates.")
    if not lines or not lines[0].startswith("index "):
        raise VerificationFailed("The proof has no index line.")
    if len(lines) > 1 + MAX_PROOF_HASHES:
        raise VerificationFailed("The proof has more than {maximum} hashes.", maximum=MAX_PROOF_HASHES)
    index = decode_number(
        lines[0].removeprefix("index "), what="The index of the proof", maximum=MAX_SIZE - 1
    )
    hashes = tuple(decode_hash(line, what="A hash of the proof") for line in lines[1:])
    Checkpoint.parse(parse_note(checkpoint).text)
    return LogProof(index, hashes, checkpoint)


def verify_proof(
    proof: LogProof | str, entry: bytes, log_vkey: str, witness_vkeys: Sequence[str] = (), quorum: int = 0
) -> Checkpoint:
    """Check that ``entry`` is in the log, and return the checkpoint that says so.

    ``entry`` is the leaf's bytes, computed by whoever relies on the answer: for a statement the 32-byte
    SHA-256 of its envelope. Raises InvalidInput for keys or a quorum that make no sense, VerificationFailed
    for a proof that does not hold.
    """
    parsed = parse_proof(proof) if isinstance(proof, str) else proof
    checkpoint = open_checkpoint(parsed.checkpoint, log_vkey, witness_vkeys, quorum)
    verify_inclusion(leaf_hash(entry), parsed.index, checkpoint.size, parsed.hashes, checkpoint.root)
    return checkpoint
