"""A run: challenges, offers, released keys, failures, and the output that it hands in."""

from __future__ import annotations

from trustspace.domain.bodies import Artifact, Evidence, KeyRelease, Output, RunFailed, RunNonce, RunOffer
from trustspace.domain.records import (
    ChallengeRecord,
    DatasetRecord,
    GrantRecord,
    JobRecord,
    OfferRecord,
    OutputRecord,
    Record,
    View,
)
from trustspace.domain.rules_common import Changes, advanced, blob_reference, body_of, job_for, not_expired
from trustspace.domain.statements import Statement
from trustspace.domain.tiers import tier_satisfies
from trustspace.errors import AlreadyExists, InvalidInput, PermissionDenied, PolicyRefused, Stale


def run_nonce(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = body_of(statement, RunNonce)
    job = job_for(view, statement, body.job)
    if view.get(ChallengeRecord, body.challenge) is not None:
        raise AlreadyExists("This challenge was given before.")
    enclaves = {g.body.enclave for g in (view.get(GrantRecord, d) for d in job.grants.values()) if g}
    if body.enclave not in enclaves:
        raise InvalidInput("The challenge is for an enclave that no grant of this job names.")
    record = ChallengeRecord(
        challenge=body.challenge, job=body.job, source_unit=statement.by, enclave=body.enclave
    )
    return (advanced(job, "run-nonce", statement), record)


def run_offer(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = body_of(statement, RunOffer)
    job = job_for(view, statement, body.job)
    not_expired(job, now)
    grant = view.get(GrantRecord, job.grants.get(statement.by, ""))
    if grant is None or grant.body.enclave != key:
        raise PermissionDenied("The run offer is not signed by the enclave that the grant names.")
    _check_evidence(view, job, statement.by, body.evidence)
    if {c.source_unit for c in body.challenges} != set(job.body.source_units):
        raise InvalidInput("A run offer answers one challenge of every source unit.")
    used: list[Record] = []
    for answered in body.challenges:
        challenge = view.get(ChallengeRecord, answered.challenge)
        if challenge is None or (challenge.job, challenge.source_unit, challenge.enclave) != (
            body.job, answered.source_unit, key,
        ):  # fmt: skip
            raise InvalidInput("The run offer answers a challenge that was not given to it.")
        if challenge.used:
            raise PolicyRefused("The run offer answers a challenge that was answered before.")
        used.append(challenge.model_copy(update={"used": True}))
    changed = advanced(job, "run-offer", statement, offers={**job.offers, statement.by: statement.digest})
    offer = OfferRecord(statement=statement.digest, source_unit=statement.by, enclave=key, body=body)
    return (changed, offer, *used)


def _check_evidence(view: View, job: JobRecord, unit: str, evidence: Evidence) -> None:
    """What the offer says of its platform meets the demands of every grant of the job."""
    if evidence.kind != "software":
        # Whoever runs the enclave writes this word: it counts once somebody verifies what stands behind it.
        raise PolicyRefused("Platform evidence of kind {kind} cannot be verified yet.", kind=evidence.kind)
    for grant in (view.get(GrantRecord, digest) for digest in job.grants.values()):
        if grant is None or grant.body.evidence_kind != evidence.kind:
            raise PolicyRefused("The run offer's platform evidence is weaker than a grant demands.")
        if not tier_satisfies(evidence.sandbox_tier, grant.body.sandbox_tier):
            raise PolicyRefused("The run offer's sandbox is weaker than a grant demands.")
    for use in job.body.datasets:
        dataset = view.get(DatasetRecord, use.dataset)
        if use.source_unit == unit and dataset is not None and dataset.body.custody != evidence.custody:
            raise PolicyRefused(
                "The run offer's custody is not the one that the dataset was submitted under."
            )


def key_release(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = body_of(statement, KeyRelease)
    job = job_for(view, statement, body.job)
    not_expired(job, now)
    offer = view.get(OfferRecord, body.offer)
    grant = view.get(GrantRecord, body.grant)
    if job.offers.get(statement.by) != body.offer or offer is None or offer.ended:
        raise Stale("The key release is for a run that is not on.")
    if grant is None or job.grants.get(statement.by) != body.grant:
        raise PermissionDenied("The key release is not under its source unit's grant of this job.")
    if body.dataset not in grant.body.datasets:
        raise PermissionDenied("The grant does not cover this dataset.")
    dataset = view.get(DatasetRecord, body.dataset)
    if dataset is None or dataset.state != "sealed":
        raise PolicyRefused("A dataset of this job is withdrawn.")
    if now > grant.body.expires:
        raise PolicyRefused("The grant has expired.")
    if body.dataset in offer.released:
        raise AlreadyExists("This dataset's key was released to this run already.")
    # A broker counts before it releases: a number that a crash cost it is never used, and blocks nothing.
    right = body.run_number == grant.runs_used if offer.released else body.run_number > grant.runs_used
    if not right or body.run_number > grant.body.runs:
        raise PolicyRefused("The grant's runs are used up or miscounted.")
    offer = offer.model_copy(update={"released": {**offer.released, body.dataset: statement.digest}})
    grant = grant.model_copy(update={"runs_used": body.run_number})
    job = advanced(job, "key-release", statement)
    if _all_released(view, job, offer):
        job = advanced(job, "*all-released", None)
    return (job, offer, grant)


def _all_released(view: View, job: JobRecord, changed: OfferRecord) -> bool:
    for use in job.body.datasets:
        digest = job.offers.get(use.source_unit, "")
        offer = changed if digest == changed.statement else view.get(OfferRecord, digest)
        if offer is None or use.dataset not in offer.released:
            return False
    return True


def run_failed(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = body_of(statement, RunFailed)
    job = job_for(view, statement, body.job)
    offer = view.get(OfferRecord, body.offer)
    if offer is None or offer.enclave != key or job.offers.get(statement.by) != body.offer:
        raise PermissionDenied("The failure is not of a run of this enclave.")
    # One member's failure ends the run for all: the others offer anew, with fresh keys.
    ended = [
        other.model_copy(update={"ended": True})
        for other in (view.get(OfferRecord, digest) for digest in job.offers.values())
        if other is not None
    ]
    job = advanced(job, "run-failed", statement, offers={})
    grants = [g for g in (view.get(GrantRecord, d) for d in job.grants.values()) if g is not None]
    if any(g.runs_used >= g.body.runs for g in grants):
        job = advanced(job, "*runs-used", None)
    return (job, *ended)


def output(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = body_of(statement, Output)
    job = job_for(view, statement, body.job)
    offer = view.get(OfferRecord, body.offer)
    if offer is None or offer.enclave != key or job.offers.get(statement.by) != body.offer:
        raise PermissionDenied("The output is not of a run of this enclave.")
    if set(body.grants) != set(job.grants.values()):
        raise InvalidInput("The output does not name the grants that it was made under.")
    names = [artifact.name for artifact in body.artifacts]
    if len(set(names)) != len(names):
        raise InvalidInput("The output names an artifact twice.")
    if {e.source_unit for e in body.evidence} != set(job.body.source_units):
        raise InvalidInput("The output lacks evidence for a source unit.")
    for artifact in body.artifacts:
        _check_shares(view, job, artifact)
    record = OutputRecord(statement=statement.digest, issued=statement.issued, body=body)
    blobs = [blob_reference(view, a.blob, "artifact", statement) for a in body.artifacts]
    blobs += [blob_reference(view, e.blob, "evidence", statement) for e in body.evidence]
    return (advanced(job, "output", statement, output=statement.digest), record, *blobs)


def _check_shares(view: View, job: JobRecord, artifact: Artifact) -> None:
    named = {unit.source_unit for unit in artifact.units}
    # A joint artifact concerns every source unit; only a domain's own logs concern that domain alone.
    whole = set(job.body.source_units)
    if not named <= whole or (artifact.role != "log" and named != whole):
        raise PolicyRefused("The output leaves a source unit without its share.")
    if artifact.unit_threshold != len(named) or len(artifact.units) != len(named):
        raise PolicyRefused("The output would open with fewer source units than the job says.")
    for unit in artifact.units:
        grant = view.get(GrantRecord, job.grants[unit.source_unit])
        assert grant is not None
        reviewers = {r.review for r in grant.body.reviewers}
        if {s.reviewer for s in unit.shares} != reviewers or len(unit.shares) != len(reviewers):
            raise PolicyRefused("The output's shares are not for the reviewers that the grants name.")
        if unit.threshold != grant.body.reviewer_threshold:
            raise PolicyRefused("The output would open with fewer reviewers than the grant says.")
