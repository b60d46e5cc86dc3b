"""What the rules share: finding a job for its party, moving it on, and nothing about any one statement."""

from __future__ import annotations

from typing import TypeVar

from trustspace.domain import states
from trustspace.domain.bodies import Body, Job
from trustspace.domain.records import BlobRecord, JobRecord, OfferRecord, Record, View
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


def without_run(job: JobRecord) -> JobRecord:
    """The job once its run has ended for all: the next one begins with fresh offers."""
    return job.model_copy(update={"offers": {}, "run": "", "output": ""})


def ended_offers(view: View, job: JobRecord) -> list[OfferRecord]:
    """The offers that stand, ended: whoever holds one of them stops."""
    standing = (view.get(OfferRecord, digest) for digest in job.offers.values())
    return [offer.model_copy(update={"ended": True}) for offer in standing if offer is not None]


def blob_reference(view: View, digest: str, purpose: str, referrer: str) -> BlobRecord:
    """A blob with one more reference: ``referrer`` is the statement under whose record it is read."""
    old = view.get(BlobRecord, digest)
    references = (*(old.references if old else ()), (purpose, referrer))
    return BlobRecord(digest=digest, references=references)
