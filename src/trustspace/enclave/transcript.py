"""What the members of a run signed, round by round: kept by each enclave, and named by the output that it signs.

One line of canonical JSON for each opened sum, which names the line before it by digest; the last one's digest
stands in the signed output. Nothing in it is secret: member sets, digests of protected vectors and of their sum.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trustspace.crypto.canonical import canonical_json, parse_canonical, sha256_hex
from trustspace.errors import VerificationFailed
from trustspace.storage.files import append_line

MAX_LINE_BYTES = 16 << 20


class Transcript:
    """One run's lines. ``digest`` names the last one, "" before there is any."""

    def __init__(self, directory: Path, job: str, digest: str = "") -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        self._path = directory / f"{job}.transcript"
        self.digest = digest

    def add(self, record: dict[str, Any]) -> None:
        """Note an opened sum, durably. Raises Unavailable."""
        line = canonical_json({**record, "before": self.digest})
        append_line(self._path, line)
        self.digest = sha256_hex(line)


def read_transcript(content: bytes, digest: str) -> list[dict[str, Any]]:
    """The records that lead to ``digest``, oldest first; lines of attempts that a restart repeated are passed over.

    Raises:
        VerificationFailed: one of them is missing or was changed.

    """
    lines = {sha256_hex(line): line for line in content.splitlines() if line}
    found: list[dict[str, Any]] = []
    while digest:
        line = lines.get(digest)
        if line is None:
            raise VerificationFailed("The transcript lacks a line that the output names.")
        record: Any = parse_canonical(line, what="The transcript", max_bytes=MAX_LINE_BYTES)
        if not isinstance(record, dict) or not isinstance(record.get("before"), str):
            raise VerificationFailed("The transcript lacks a line that the output names.")
        digest = record.pop("before")
        found.append(record)
    return found[::-1]
