"""What becomes of an output: decisions, revocation, release and receipt."""

from __future__ import annotations

from typing import Any

from trustspace.domain.bodies import SEALED_NOTE_BYTES, Decision, Receipt, Release, Revocation
from trustspace.domain.quorum import standing
from trustspace.domain.records import DecisionRecord, GrantRecord, JobRecord, OutputRecord, View
from trustspace.domain.rules_common import Changes, advanced, body_of, job_for, not_expired
from trustspace.domain.statements import Statement
from trustspace.errors import AlreadyExists, InvalidInput, InvalidTransition, PermissionDenied, PolicyRefused


def decision(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = body_of(statement, Decision)
    job = job_for(view, statement, body.job)
    not_expired(job, now)
    output = view.get(OutputRecord, body.output)
    grant = view.get(GrantRecord, job.grants.get(statement.by, ""))
    if output is None or job.output != body.output or grant is None:
        raise PermissionDenied("The decision is not on this job's output.")
    if key not in {r.review for r in grant.body.reviewers}:
        raise PermissionDenied("The decision is not by a reviewer that the grant names.")
    if job.state == "approved" and standing(view, job, output, now).verdict == "approved":
        # Only when an approval has expired before the release is there anything left to decide.
        raise InvalidTransition(
            "This job is in state {state}: {event} cannot happen now.", state=job.state, event="decision"
        )
    before = view.get(DecisionRecord, output.decisions.get(key, ""))
    if before is not None and now <= before.body.expires:
        raise AlreadyExists("This reviewer has decided already.")
    if body.expires <= now:
        raise InvalidInput("The decision's field {field} lies in the past.", field="expires")
    # Not there at all as long as its own enclave has not handed in.
    evidence = {e.source_unit: e.commitment for e in output.body.evidence}.get(statement.by)
    if body.evidence != evidence:
        raise InvalidInput("The decision is on other evidence than the output's.")
    if body.verdict == "approve":
        _check_approval(output, body, statement.by, key, job)
    elif body.artifacts or body.shares or body.buyer_key:
        raise InvalidInput("A rejection hands nothing on.")
    _check_reasons(body)
    decided = DecisionRecord(
        statement=statement.digest, source_unit=statement.by, reviewer=key, issued=statement.issued, body=body
    )
    output = output.model_copy(update={"decisions": {**output.decisions, key: statement.digest}})
    asked = {"changes": statement.digest} if body.verdict == "changes" else {}
    job = advanced(job, "decision", statement, **asked)
    verdict = standing(_Overlay(view, decided), job, output, now).verdict
    if verdict != "open":
        job = advanced(job, _FOLLOWS[verdict], None)
    return (job, output, decided)


_FOLLOWS = {"rejected": "*rejected", "changes": "*changes", "approved": "*quorum"}


def _check_reasons(body: Decision) -> None:
    if body.verdict != "changes":
        if body.reasons or body.note:
            raise InvalidInput("Only who asks for changes gives reasons to the developer.")
        return
    if not body.reasons or len(set(body.reasons)) != len(body.reasons):
        raise InvalidInput("Who asks for changes gives at least one reason, and each once.")
    if len(body.note) not in (0, 2 * SEALED_NOTE_BYTES):
        raise InvalidInput("A note to the developer has one size, {limit} bytes.", limit=SEALED_NOTE_BYTES)


def _check_approval(output: OutputRecord, body: Decision, unit: str, key: str, job: JobRecord) -> None:
    if body.buyer_key != job.body.buyer_key:
        raise PolicyRefused("The approval hands shares to another key than the buyer's.")
    mine = {
        artifact.name: share.index
        for artifact in output.body.artifacts
        for holder in artifact.units
        if holder.source_unit == unit
        for share in holder.shares
        if share.reviewer == key
    }
    if (
        not body.artifacts
        or len(set(body.artifacts)) != len(body.artifacts)
        or not set(body.artifacts) <= set(mine)
    ):
        raise InvalidInput("The approval's field {field} names no or unknown artifacts.", field="artifacts")
    if any(artifact.role == "own" and artifact.name in body.artifacts for artifact in output.body.artifacts):
        raise PolicyRefused(
            "The approval names a file that belongs to its source unit alone, and is never released."
        )
    if [(s.artifact, s.index) for s in body.shares] != [(name, mine[name]) for name in body.artifacts]:
        raise InvalidInput("The approval's shares do not match its artifacts.")


class _Overlay:
    """A view with one more decision in it, so that the quorum counts the one being made."""

    def __init__(self, view: View, decision: DecisionRecord) -> None:
        self._view, self._decision = view, decision
        self.all = view.all

    def get(self, kind: type[Any], key: str) -> Any:
        if kind is DecisionRecord and key == self._decision.statement:
            return self._decision
        return self._view.get(kind, key)


def revocation(view: View, statement: Statement, now: int, key: str) -> Changes:
    """One reviewer of one source unit stops an output, also after the job's expiry: stopping is never too late."""
    body = body_of(statement, Revocation)
    job = job_for(view, statement, body.job)
    grant = view.get(GrantRecord, job.grants.get(statement.by, ""))
    if not job.output or job.output != body.output or grant is None:
        raise PermissionDenied("The revocation is not of this job's output.")
    if key not in {r.review for r in grant.body.reviewers}:
        raise PermissionDenied("The revocation is not by a reviewer that the grant names.")
    if job.revoked:
        raise AlreadyExists("The output is revoked already.")
    job = advanced(job, "revocation", statement, revoked=statement.digest)
    if job.state == "released" and not job.receipt:
        job = advanced(job, "*no-receipt", None)
    return (job,)


def release(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = body_of(statement, Release)
    job = job_for(view, statement, body.job, source_unit=False)
    output = view.get(OutputRecord, body.output)
    if output is None or job.output != body.output:
        raise InvalidInput("The release is not of this job's output.")
    state = standing(view, job, output, now)
    if state.verdict != "approved" or (body.artifacts, body.decisions) != (state.artifacts, state.decisions):
        raise PolicyRefused("The release is not what the source units approved, or an approval has expired.")
    return (advanced(job, "release", statement, release=statement.digest, released=body.artifacts),)


def receipt(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = body_of(statement, Receipt)
    job = view.get(JobRecord, body.job)
    if job is None or job.body.buyer != statement.by:
        raise PermissionDenied("This job does not name {party} in that role.", party=statement.by[:12])
    if job.release != body.release:
        raise InvalidInput("The receipt is not for this job's release.")
    if job.receipt:
        raise AlreadyExists("The buyer has given a receipt already.")
    return (advanced(job, "receipt", statement, receipt=statement.digest),)
