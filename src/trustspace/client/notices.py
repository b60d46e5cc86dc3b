"""What becomes of a review and is told outside it: changes asked of the developer, and revocations.

Developer and buyer do not see decisions, so they cannot replay them. They are shown these few statements by
themselves: each is in the ledger, and signed by a reviewer whom the grant names, which both may read.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Literal

from trustspace.client.acting import SEALING, Acting
from trustspace.crypto.padding import pad, unpad
from trustspace.crypto.statement import key_id
from trustspace.crypto.wrap import seal_to
from trustspace.domain.binding import note_binding
from trustspace.domain.bodies import NOTE_BYTES, Decision, Reviewer, Revocation
from trustspace.domain.records import GrantRecord, JobRecord
from trustspace.domain.statements import Statement
from trustspace.errors import (
    InvalidInput,
    InvalidTransition,
    NotFound,
    PermissionDenied,
    VerificationFailed,
)
from trustspace.transport.session import Dossier

# What padding leaves of the one size that every note has.
LONGEST_NOTE_BYTES = NOTE_BYTES - 8


@dataclass(frozen=True)
class Changes:
    """What a source unit asked to be changed. ``note`` is there for the developer it was sealed to, else ""."""

    source_unit: str
    reviewer: str
    issued: int
    reasons: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class Revoked:
    """Who revoked an output, and when."""

    source_unit: str
    reviewer: str
    issued: int


@dataclass(frozen=True)
class Answered:
    """The earlier job that a job answers: its title and what was asked, where they may be seen from here."""

    job: str
    title: str
    changes: Changes | None


def sealed_note(dossier: Dossier, job: JobRecord, reviewer: str, note: str) -> str:
    """A note as hex, sealed by HPKE to the job's developer; in one size, also where it says nothing.

    ``reviewer`` is the review key (hex) of whoever writes it. "" where the developer has no opening key.

    Raises:
        InvalidInput: it is too long.
        NotFound: there is a note, and no key to seal it to.

    """
    content = note.encode()
    if len(content) > LONGEST_NOTE_BYTES:
        raise InvalidInput(
            "The note to the developer is longer than {limit} bytes.", limit=LONGEST_NOTE_BYTES
        )
    developer = dossier.party(job.body.developer)
    key = next((k.public for k in reversed(developer.keys) if k.use == "receive"), "")
    if not key:
        if not note:
            return ""
        raise NotFound(
            "The developer has no key yet that a note could be sealed to.",
            fix="Give reasons only; it gets one when it next submits a job.",
        )
    info = note_binding(job=job.statement, output=job.output, reviewer=reviewer, developer_key=key)
    return seal_to(bytes.fromhex(key), pad(content), info).hex()


def changes(home: Acting, digest: str) -> Changes | None:
    """What was asked to be changed in a job's output, proven; None where nothing was, or is told yet."""
    told = _told(home, digest, "changes")
    if told is None:
        return None
    body = told.statement.body
    if not isinstance(body, Decision) or body.verdict != "changes":
        raise VerificationFailed("The space names another statement than the one that asks for changes.")
    return Changes(
        told.statement.by,
        told.reviewer.holder,
        told.statement.issued,
        body.reasons,
        _opened(home, told, body),
    )


def revocation(home: Acting, digest: str) -> Revoked | None:
    """Who revoked a job's output, proven; None where nobody has, as far as the space tells."""
    told = _told(home, digest, "revoked")
    if told is None:
        return None
    if not isinstance(told.statement.body, Revocation):
        raise VerificationFailed("The space names another statement than the one that revokes the output.")
    return Revoked(told.statement.by, told.reviewer.holder, told.statement.issued)


def require_not_revoked(home: Acting, digest: str) -> None:
    """Raises InvalidTransition, saying by whom, where an output was revoked."""
    found = revocation(home, digest)
    if found is not None:
        raise InvalidTransition(
            "The output was revoked by {unit} before its buyer gave a receipt.",
            fix="Use nothing of it. Ask that source unit why.",
            unit=_name(home, found.source_unit),
        )


def _name(home: Acting, fingerprint: str) -> str:
    names = {p.fingerprint: p.name for p in home.trust().parties}
    return names.get(fingerprint, fingerprint[:12])


def answered(home: Acting, job: JobRecord) -> Answered | None:
    """What a job says it answers; of a job that this party had no part in, no more than its digest."""
    digest = job.body.supersedes
    if not digest:
        return None
    try:
        old = home.session.job(digest).job(digest)
    except (NotFound, PermissionDenied):
        return Answered(digest, "", None)
    if old.body.developer != job.body.developer:
        raise VerificationFailed("The job answers another one that is not its developer's.")
    return Answered(digest, old.body.title, changes(home, digest))


@dataclass(frozen=True)
class _Told:
    """A statement about a job, and the reviewer who signed it."""

    dossier: Dossier
    job: JobRecord
    statement: Statement
    reviewer: Reviewer


def _told(home: Acting, digest: str, what: Literal["changes", "revoked"]) -> _Told | None:
    dossier = home.session.job(digest)
    job = dossier.job(digest)
    proven = str(getattr(job, what))
    listed: list[dict[str, str]] = [] if proven else home.session.link.view("job", digest)
    named = proven or next((str(job.get(what, "")) for job in listed), "")
    if not named:
        return None
    statement = dossier.statement(named) if proven else home.session.notice(named)
    grant = dossier.view.get(GrantRecord, job.grants.get(statement.by, ""))
    reviewers = grant.body.reviewers if grant else ()
    signed_by = [r for r in reviewers if key_id(bytes.fromhex(r.review)) == statement.signer]
    if not signed_by or getattr(statement.body, "job", "") != digest:
        raise VerificationFailed("The statement is not about this job, or by no reviewer whom a grant names.")
    return _Told(dossier, job, statement, signed_by[0])


def _opened(home: Acting, told: _Told, body: Decision) -> str:
    """The note, with whichever of the developer's keys it was sealed to; "" for anybody else."""
    if not body.note or home.fingerprint != told.job.body.developer:
        return ""
    theirs = {k.public for k in told.dossier.party(home.fingerprint).keys if k.use == "receive"}
    for name in home.keys.names():
        key = "" if name.startswith(SEALING) else home.keys.public(name).hex()
        if key in theirs:
            info = note_binding(
                job=told.job.statement, output=body.output, reviewer=told.reviewer.review, developer_key=key
            )
            with contextlib.suppress(VerificationFailed):
                return unpad(home.keys.open(name, bytes.fromhex(body.note), info)).decode("utf-8", "replace")
    return ""
