"""Checkpoints (C2SP tlog-checkpoint): a log's signed statement of its size and root.

The text has exactly three lines: the log's origin, the number of leaves, and the root in base64. The
specification also allows further lines, which no log monitor can audit; they are refused here.

One key's signature means one thing: an origin has no spaces, so that a checkpoint is never the DSSE
encoding of a statement ("DSSEv1 ..."), and is never the first line of a cosignature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.ledger.encoding import decode_hash, decode_number, encode_base64
from trustspace.ledger.merkle import EMPTY_ROOT, HASH_BYTES, MAX_SIZE
from trustspace.ledger.note import (
    KeyKind,
    Note,
    NoteKey,
    Verified,
    check_name,
    make_signature,
    parse_note,
    verify_note,
)


@dataclass(frozen=True)
class Checkpoint:
    """A log's name, its number of leaves, and their root (32 bytes).

    Raises InvalidInput for an origin that is no name, a size out of range, or an empty log whose root is
    not that of the empty tree.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        check_name(self.origin)
        if not 0 <= self.size <= MAX_SIZE:
            raise InvalidInput("The size of a checkpoint is between 0 and {maximum}.", maximum=MAX_SIZE)
        if len(self.root) != HASH_BYTES:
            raise InvalidInput("The root of a checkpoint has {count} bytes.", count=HASH_BYTES)
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise InvalidInput("The root of an empty log is SHA-256 of nothing.")

    def body(self) -> str:
        """Return the three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n"

    @staticmethod
    def parse(body: str) -> Checkpoint:
        """Read the three lines. Raises VerificationFailed unless :meth:`body` gives the same text."""
        lines = body.split("\n", 4)
        if len(lines) != 4 or lines[3]:
            raise VerificationFailed("A checkpoint has exactly three lines: origin, size and root.")
        size = decode_number(lines[1], what="The size of the checkpoint", maximum=MAX_SIZE)
        root = decode_hash(lines[2], what="The root of the checkpoint")
        try:
            return Checkpoint(lines[0], size, root)
        except InvalidInput as error:
            raise VerificationFailed(error.message, fix=error.fix, **error.details) from None


def sign_checkpoint(checkpoint: Checkpoint, name: str, public: bytes, sign: Callable[[bytes], bytes]) -> str:
    """Return the checkpoint as a note signed by the log's key; ``name`` is the log's origin.

    ``public`` is the raw Ed25519 key, ``sign`` signs bytes with it. Raises InvalidInput when the name is
    not the origin (no client would accept it), or ``sign`` is another key's.
    """
    if name != checkpoint.origin:
        raise InvalidInput("A log signs its checkpoints under its own origin.")
    text = checkpoint.body()
    return Note(text, (make_signature(text, NoteKey(name, public), sign),)).to_text()


def _trusted_keys(log_vkey: str, witness_vkeys: Sequence[str], quorum: int) -> tuple[NoteKey, list[NoteKey]]:
    log = NoteKey.parse(log_vkey)
    if log.kind != KeyKind.ED25519:
        raise InvalidInput(
            "The log's verifier key is a witness's.", fix="Name the key that the log signs with."
        )
    witnesses = [NoteKey.parse(vkey) for vkey in witness_vkeys]
    if any(key.kind != KeyKind.COSIGNATURE for key in witnesses):
        raise InvalidInput(
            "A witness's verifier key is not a cosignature key.",
            fix="Ask the witness for its cosignature/v1 key.",
        )
    if len({key.public for key in [log, *witnesses]}) != 1 + len(witnesses):
        raise InvalidInput(
            "One key stands for two of the log and its witnesses.",
            fix="Name every witness once; the log cannot witness itself.",
        )
    if not 0 <= quorum <= len(witnesses):
        raise InvalidInput(
            "The quorum of witnesses is between 0 and {count}.", fix="Name more witnesses or ask for fewer.",
            count=len(witnesses),
        )  # fmt: skip
    return log, witnesses


def open_checkpoint(
    note: str, log_vkey: str, witness_vkeys: Sequence[str] = (), quorum: int = 0
) -> Checkpoint:
    """Verify a checkpoint note: signed by its log, cosigned by at least ``quorum`` of the witnesses.

    A witness counts once, and an invalid line under a known key spoils the note. Raises InvalidInput for
    keys or a quorum that make no sense, VerificationFailed for a note that does not hold.
    """
    return open_cosigned(note, log_vkey, witness_vkeys, quorum)[0]


def open_cosigned(
    note: str, log_vkey: str, witness_vkeys: Sequence[str] = (), quorum: int = 0
) -> tuple[Checkpoint, dict[str, int]]:
    """Like :func:`open_checkpoint`, with the latest time (POSIX seconds) at which each witness signed.

    The times are keyed by the witness's vkey; how old is too old is the caller's to say, by its own clock.
    """
    log, witnesses = _trusted_keys(log_vkey, witness_vkeys, quorum)
    parsed = parse_note(note)
    verified = verify_note(parsed, [log, *witnesses])
    checkpoint = Checkpoint.parse(parsed.text)
    if not any(v.key == log for v in verified):
        raise VerificationFailed("The checkpoint is not signed by its log.")
    if checkpoint.origin != log.name:
        raise VerificationFailed("The checkpoint is of another log than its signer.")
    times = _latest_times(verified)
    if len(times) < quorum:
        raise VerificationFailed(
            "The checkpoint is cosigned by {count} of the {quorum} witnesses it needs.",
            fix="Ask the log for a checkpoint that its witnesses have cosigned.",
            count=len(times),
            quorum=quorum,
        )
    return checkpoint, times


def _latest_times(verified: Sequence[Verified]) -> dict[str, int]:
    times: dict[str, int] = {}
    for entry in verified:
        if entry.time_seconds is not None:
            vkey = entry.key.encode()
            times[vkey] = max(times.get(vkey, 0), entry.time_seconds)
    return times
