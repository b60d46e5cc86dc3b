"""How an output stands before one of its reviewers: what colleagues decided, once they may know it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trustspace.domain.records import DecisionRecord, GrantRecord

if TYPE_CHECKING:
    from trustspace.client.review import SealedCase


@dataclass(frozen=True)
class Person:
    """A reviewer of this source unit, and what they decided as far as the one who looks may know.

    ``decision`` is "approve", "changes", "reject", "lapsed" (approved, but that has expired), "" (not yet) or "hidden";
    ``expires`` is when an approval lapses, else 0; ``comment`` is there where it was written in this home.
    """

    name: str
    decision: str
    expires: int = 0
    comment: str = ""
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unit:
    """A source unit of the job: how many have approved (None: hidden) of how many, and whether one has closed it."""

    source_unit: str
    required: int
    approved: int | None
    closed: bool


@dataclass(frozen=True)
class Standing:
    """How an output stands before one reviewer; ``blind`` while colleagues' decisions are kept from them."""

    blind: bool
    required: int
    approved: int | None
    people: tuple[Person, ...]
    units: tuple[Unit, ...]


def standing_for(case: SealedCase, reviewer: str) -> Standing:
    """How an output stands, as ``reviewer`` may know it.

    Where two or more must approve, each judges alone: while the output is in review nothing of what colleagues of
    the same source unit decided, nor how many have, is shown before this reviewer has decided. In the unit's own
    home it is this client that keeps it; to a reviewer's own home the space does not send it (permissions.py). (Blind
    voting of two checkers: OpenSAFELY's Airlock, which also shows both their votes only once both are in.)
    """
    found: dict[str, DecisionRecord] = {}
    for digest in case.output.decisions.values():
        record = case.dossier.view.get(DecisionRecord, digest)
        if record is not None:
            found[record.reviewer] = record
    named, required = case.grant.body.reviewers, case.grant.body.reviewer_threshold
    mine = next((r.review for r in named if r.holder == reviewer), "")
    blind = required > 1 and case.job.state == "in-review" and mine not in found
    people = tuple(
        Person(r.holder, "hidden")
        if blind and r.review != mine
        else _person(r.holder, found.get(r.review), case)
        for r in named
    )
    return Standing(
        blind=blind,
        required=required,
        approved=None if blind else sum(person.decision == "approve" for person in people),
        people=people,
        units=tuple(
            _unit(case, unit, list(found.values()), blind and unit == case.evidence.source_unit)
            for unit in case.job.body.source_units
        ),
    )


def _person(name: str, record: DecisionRecord | None, case: SealedCase) -> Person:
    if record is None:
        return Person(name, "")
    body = record.body
    comment = case.comments.get(body.comment, {}).get("text", "")
    if body.verdict != "approve":
        return Person(name, body.verdict, 0, comment, body.reasons)
    return Person(name, "lapsed" if _has_lapsed(record, case) else "approve", body.expires, comment)


def _unit(case: SealedCase, unit: str, found: list[DecisionRecord], hidden: bool) -> Unit:
    grant = case.dossier.view.get(GrantRecord, case.job.grants.get(unit, ""))
    theirs = [d for d in found if d.source_unit == unit]
    closed = not hidden and any(d.body.verdict != "approve" for d in theirs)
    required = grant.body.reviewer_threshold if grant else 1
    approved = sum(d.body.verdict == "approve" and not _has_lapsed(d, case) for d in theirs)
    return Unit(unit, required, None if hidden else approved, closed)


def _has_lapsed(record: DecisionRecord, case: SealedCase) -> bool:
    return record.body.expires < case.opened
