"""What the rules share: finding a job for its party, moving it on, and nothing about any one statement."""

from __future__ import annotations

from typing import TypeVar

from trustspace.domain import states
from trustspace.domain.bodies import Body, Job
from trustspace.domain.records import BlobRecord, JobRecord, Record, View
from trustspace.domain.statements import Statement
from trustspace.errors import PermissionDenied, PolicyRefused

Changes = tuple[Record, ...]
B = TypeVar("B", bound=Body)


def job_of(statement: Statement) -> str:
    """The digest of the job that a statement belongs to, or ""."""
    body = statement.body
    if isinstance(body, Job):
        return statement.digest
    job = getattr(body, "job", "")
    return job if isinstance(job, str) else ""


def body_of(statement: Statement, kind: type[B]) -> B:
    assert isinstance(statement.body, kind)
    return statement.body


def job_for(view: View, statement: Statement, digest: str, *, source_unit: bool = True) -> JobRecord:
    job = view.get(JobRecord, digest)
    if job is None or (source_unit and statement.by not in job.body.source_units):
        raise PermissionDenied("This job does not name {party} in that role.", party=statement.by[:12])
    return job


def not_expired(job: JobRecord, now: int) -> None:
    if now > job.body.expires:
        raise PolicyRefused("The job has expired.", fix="Submit it again.")


def advanced(job: JobRecord, event: str, statement: Statement | None, **changes: object) -> JobRecord:
    state = states.advance(states.JOB, job.state, event, "job")
    if statement is not None:
        changes["statements"] = (*job.statements, statement.digest)
    return job.model_copy(update={"state": state, **changes})


def blob_reference(view: View, digest: str, purpose: str, statement: Statement) -> BlobRecord:
    old = view.get(BlobRecord, digest)
    references = (*(old.references if old else ()), (purpose, statement.digest))
    return BlobRecord(digest=digest, references=references)
