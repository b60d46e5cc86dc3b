"""What a check found, before the source unit's policy is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from trustspace.evidence.figures import Figure
from trustspace.evidence.words import Language

Status = Literal["passed", "warned", "failed", "not_applicable", "could_not_run"]


@dataclass(frozen=True)
class Finding:
    """A check's result: its status, in a sentence, in numbers, and in pictures."""

    status: Status
    summary: dict[Language, str]
    facts: dict[str, Any] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
