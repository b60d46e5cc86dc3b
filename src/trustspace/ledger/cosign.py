"""Witnesses: who has seen that a log only ever grew (C2SP tlog-cosignature v1, tlog-witness).

A witness remembers the last checkpoint it accepted from a log and signs a later one only when a
consistency proof leads from the one to the other. Two clients whose quorums share an honest witness can
therefore not be shown two different logs. Every client follows its log by the same rule.

Pure functions: the caller keeps the state of each log durably, and must make reading it, advancing it and
writing it one atomic step before it hands out a cosignature (tlog-witness says what goes wrong otherwise).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trustspace.errors import InvalidInput, LogCorrupted, Stale, VerificationFailed
from trustspace.ledger.checkpoint import Checkpoint
from trustspace.ledger.merkle import EMPTY_ROOT, verify_consistency
from trustspace.ledger.note import KeyKind, Note, NoteKey, make_signature, parse_note, parse_signature_line

_SIGNATURE_BYTES = 8 + 64  # time and Ed25519 signature


@dataclass(frozen=True)
class WitnessState:
    """The last checkpoint accepted from one log; the default is what one knows before the first.

    ``origin`` is empty only before the first checkpoint. Raises InvalidInput for a state that no log has.
    """

    size: int = 0
    root: bytes = EMPTY_ROOT
    origin: str = ""

    def __post_init__(self) -> None:
        if self.origin or self.size:
            Checkpoint(self.origin, self.size, self.root)
        elif self.root != EMPTY_ROOT:
            raise InvalidInput("The root of an empty log is SHA-256 of nothing.")


def advance(
    state: WitnessState, old_size: int, new_checkpoint: Checkpoint, proof: Sequence[bytes]
) -> WitnessState:
    """Accept ``new_checkpoint``, whose signature the caller has verified, after ``state``; or refuse it.

    ``proof`` is the consistency proof from ``old_size``, the size that the sender believes is held here, to
    the new checkpoint; empty from size 0. Raises Stale when that belief is wrong (``size`` in the details
    is what is held) or the checkpoint is older than what is held; LogCorrupted when the log has forked or
    the proof does not show that it has not; VerificationFailed for a checkpoint of another log.
    """
    if state.origin not in ("", new_checkpoint.origin):
        raise VerificationFailed("The checkpoint is of another log than the one that is followed.")
    if old_size != state.size:
        raise Stale(
            "The last accepted checkpoint has {size} leaves, not {old_size}.",
            fix="Prove consistency from {size}.",
            size=state.size,
            old_size=old_size,
        )
    if new_checkpoint.size < state.size:
        raise Stale(
            "The log has shrunk from {size} to {new_size} leaves, or this is an old checkpoint.",
            size=state.size,
            new_size=new_checkpoint.size,
        )
    try:
        verify_consistency(state.size, state.root, new_checkpoint.size, new_checkpoint.root, proof)
    except VerificationFailed as error:
        raise LogCorrupted(
            "The checkpoint of {new_size} leaves does not continue the one of {size} leaves: the log has "
            "forked or the proof is wrong.",
            fix="Keep both checkpoints: signed by the log, they may prove the fork.",
            size=state.size,
            new_size=new_checkpoint.size,
        ) from error
    return WitnessState(new_checkpoint.size, new_checkpoint.root, new_checkpoint.origin)


def cosign(
    note: str, witness_name: str, public: bytes, sign: Callable[[bytes], bytes], time_seconds: int
) -> str:
    """Return the witness's signature line, with its newline, for a checkpoint note it has accepted.

    It says: at ``time_seconds`` (POSIX) this was the largest consistent checkpoint seen of that log. Call it
    only after :func:`advance` accepted the checkpoint and the new state is durable; nothing here checks that.
    Raises VerificationFailed when the note is no checkpoint, InvalidInput for a key or time that cannot be.
    """
    text = parse_note(note).text
    Checkpoint.parse(text)
    key = NoteKey(witness_name, public, KeyKind.COSIGNATURE)
    return make_signature(text, key, sign, time_seconds=time_seconds).line()


def add_cosignature(note: str, line: str) -> str:
    """Return the note with the cosignature line added, in place of an earlier one by the same key.

    Verifies nothing: whoever relies on the note opens it with its own keys. Raises VerificationFailed for
    a note or line that does not parse, or a note that has too many signatures.
    """
    parsed, added = parse_note(note), parse_signature_line(line)
    if len(added.signature) != _SIGNATURE_BYTES:
        raise VerificationFailed("The signature line is not a cosignature.")
    kept = tuple(
        s
        for s in parsed.signatures
        if (s.name, s.key_hash, len(s.signature)) != (added.name, added.key_hash, _SIGNATURE_BYTES)
    )
    text = Note(parsed.text, (*kept, added)).to_text()
    parse_note(text)  # the bounds on a note hold for what is returned
    return text
