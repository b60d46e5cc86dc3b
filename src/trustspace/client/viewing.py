"""What a reviewer is shown of an output, and the note that it was: when, to whom, of which evidence.

viewed.jsonl    in the home it is shown in: a line of canonical JSON for each reviewer and evidence, the first time it
                is shown to them; nothing rewrites it, and each line holds the digest of the one before

It answers an auditor's question who has seen a report, and whether before they decided: OpenSAFELY's Airlock records
every view, too. Each line names the newest checkpoint that was verified by then, and so cannot be older than that.
It is the home's own word all the same: whoever holds the home can leave lines out from the end, or write all anew.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trustspace.client.acting import Acting
from trustspace.client.review import open_artifact
from trustspace.crypto.canonical import canonical_json, sha256_hex
from trustspace.domain.bodies import Artifact
from trustspace.errors import PermissionDenied, VerificationFailed
from trustspace.storage.files import append_line

if TYPE_CHECKING:
    from trustspace.client.review import Case

FILE: Final = "viewed.jsonl"
MOST_TEXT_BYTES: Final = 256 << 10
_TEXTS: Final = frozenset({"application/json", "text/csv", "text/plain"})


@dataclass(frozen=True)
class Viewing:
    """That evidence (its commitment) was shown to a reviewer; ``log_size`` and ``log_root``: the ledger by then."""

    at: int
    reviewer: str
    job: str
    output: str
    evidence: str
    log_size: int
    log_root: str


def note(home: Acting, case: Case) -> Viewing:
    """Write down, durably and once, that a case is shown to its reviewer; returns the first time it was.

    Raises:
        Unavailable: it cannot be written. Then nothing is to be shown.

    """
    log = home.session.accepted()
    new = Viewing(
        case.opened, case.reviewer, case.job.statement, case.output.statement, case.evidence.commitment, log.size,
        log.root,
    )  # fmt: skip
    path = home.path / FILE
    lock = os.open(home.path / "viewed.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lines = _lines(path)
        # A damaged line is for whoever looks into the file (viewings); it must not keep a person from reviewing.
        for line in lines:
            found = _read(line)
            if found is not None and (found[0].reviewer, found[0].evidence) == (new.reviewer, new.evidence):
                return found[0]
        append_line(path, canonical_json({**vars(new), "before": sha256_hex(lines[-1]) if lines else ""}))
        return new
    finally:
        os.close(lock)


def viewings(home: Acting) -> tuple[Viewing, ...]:
    """All that was noted in this home, oldest first.

    Raises:
        VerificationFailed: a line was changed, or taken out from between others.

    """
    before, all_found = "", []
    for number, line in enumerate(_lines(home.path / FILE), start=1):
        found = _read(line)
        if found is None or found[1] != before:
            raise VerificationFailed(
                "Line {line} of {file}, which notes what was viewed, does not follow the one before it.",
                fix="Keep the file for whoever looks into it, and move it away: a new one is then begun.",
                line=number, file=FILE,
            )  # fmt: skip
        all_found.append(found[0])
        before = sha256_hex(line)
    return tuple(all_found)


def _read(line: bytes) -> tuple[Viewing, str] | None:
    """What a line notes, and the digest of the one before it; None for what is no such line."""
    try:
        content = json.loads(line)
        before = str(content.pop("before"))
        return Viewing(**content), before
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _lines(path: Path) -> list[bytes]:
    """The lines of the file but for those that a crash tore: they do not end as one does."""
    content = path.read_bytes() if path.exists() else b""
    return [line for line in content.split(b"\n") if line.startswith(b"{") and line.endswith(b"}")]


def text_of(home: Acting, case: Case, name: str) -> str | None:
    """What stands in a file of text that this reviewer can open alone; None where that takes others as well."""
    try:
        return open_artifact(home, case, name).decode("utf-8", "replace")
    except PermissionDenied:
        return None


def is_text(artifact: Artifact) -> bool:
    """Whether a file is text, that a person can read."""
    return artifact.media_type in _TEXTS


def is_short(artifact: Artifact) -> bool:
    """Whether a file is not too much for a person to read."""
    return artifact.sealed_bytes <= MOST_TEXT_BYTES
