"""When: what each statement needs before it may stand, and what follows from it.

``apply`` is the only writer of the projection. It is pure: records in, changed records out, the time as
an argument. The space runs it before it appends a statement, and again over the whole log to rebuild.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from trustspace.crypto.canonical import canonical_json
from trustspace.domain import states
from trustspace.domain.bodies import (
    Artifact,
    Body,
    Countersignature,
    Dataset,
    DatasetWithdrawn,
    Decision,
    Evidence,
    Grant,
    Job,
    KeyRelease,
    Output,
    Receipt,
    Refusal,
    Release,
    RunFailed,
    RunNonce,
    RunOffer,
)  # fmt: skip
from trustspace.domain.permissions import names_everyone_once, roles_of, signing_key, verify_party
from trustspace.domain.quorum import standing
from trustspace.domain.records import (
    BlobRecord,
    ChallengeRecord,
    DatasetRecord,
    DecisionRecord,
    GrantRecord,
    JobRecord,
    OfferRecord,
    OutputRecord,
    PartyRecord,
    Record,
    View,
)  # fmt: skip
from trustspace.domain.statements import Statement
from trustspace.domain.tiers import tier_satisfies
from trustspace.errors import (
    AlreadyExists,
    InvalidInput,
    InvalidTransition,
    PermissionDenied,
    PolicyRefused,
    Stale,
    Unauthenticated,
)

CLOCK_SKEW_SECONDS = 300
MAX_JOB_SECONDS = 366 * 86400
MAX_DESCRIPTION_BYTES = 256 << 10
Changes = tuple[Record, ...]
B = TypeVar("B", bound=Body)


def apply(view: View, statement: Statement, now: int) -> Changes:
    """Check a statement against what stands and return the records it changes.

    Raises:
        Unauthenticated: its author is no party of this space.
        PermissionDenied: its author may not; also when the thing does not exist.
        VerificationFailed: the signature or its key.
        InvalidInput, InvalidTransition, PolicyRefused, AlreadyExists, Stale: it may not stand now.

    """
    if abs(statement.issued - now) > CLOCK_SKEW_SECONDS:
        raise Stale(
            "The statement's time is more than {limit} seconds from the clock here.",
            fix="Check both clocks and sign again.", limit=CLOCK_SKEW_SECONDS,
        )  # fmt: skip
    if statement.type == "party":
        return _party(view, statement)
    author = view.get(PartyRecord, statement.by)
    if author is None:
        raise Unauthenticated(
            "The statement's author is not enrolled in this space.", fix="Ask for an invitation."
        )
    key = signing_key(author.body, statement).hex()
    return tuple(_noted(view, record, now) for record in _RULES[statement.type](view, statement, now, key))


def _noted(view: View, record: Record, now: int) -> Record:
    """A changed job remembers when its coarse state moved, so that it can be told later, and coarsely."""
    if not isinstance(record, JobRecord):
        return record
    old, told = view.get(JobRecord, record.statement), states.COARSE[record.state]
    if old is not None and states.COARSE[old.state] == told:
        return record
    return record.model_copy(update={"moves": (*record.moves, (now, told))})


def job_of(statement: Statement) -> str:
    """The digest of the job that a statement belongs to, or ""."""
    body = statement.body
    if isinstance(body, Job):
        return statement.digest
    job = getattr(body, "job", "")
    return job if isinstance(job, str) else ""


def _body(statement: Statement, kind: type[B]) -> B:
    assert isinstance(statement.body, kind)
    return statement.body


def _job(view: View, statement: Statement, digest: str, *, source_unit: bool = True) -> JobRecord:
    job = view.get(JobRecord, digest)
    if job is None or (source_unit and statement.by not in job.body.source_units):
        raise PermissionDenied("This job does not name {party} in that role.", party=statement.by[:12])
    return job


def _not_expired(job: JobRecord, now: int) -> None:
    if now > job.body.expires:
        raise PolicyRefused("The job has expired.", fix="Submit it again.")


def _advance(job: JobRecord, event: str, statement: Statement | None, **changes: object) -> JobRecord:
    state = states.advance(states.JOB, job.state, event, "job")
    if statement is not None:
        changes["statements"] = (*job.statements, statement.digest)
    return job.model_copy(update={"state": state, **changes})


def _blob(view: View, digest: str, purpose: str, statement: Statement) -> BlobRecord:
    old = view.get(BlobRecord, digest)
    references = (*(old.references if old else ()), (purpose, statement.digest))
    return BlobRecord(digest=digest, references=references)


def _party(view: View, statement: Statement) -> Changes:
    body = verify_party(statement)
    old = view.get(PartyRecord, statement.by)
    if old is not None:
        if body.sequence <= old.body.sequence:
            raise Stale("A newer description of this party stands already.", fix="Raise its sequence number.")
        if body.roles != old.body.roles:
            raise PolicyRefused("A party's roles were agreed at its invitation and stay.")
    return (PartyRecord(fingerprint=statement.by, statement=statement.digest, body=body),)


def _dataset(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = _body(statement, Dataset)
    if len(canonical_json(body.description)) > MAX_DESCRIPTION_BYTES:
        raise InvalidInput(
            "The dataset's description is larger than {limit} bytes.",
            fix="Describe fewer columns, or shorter.", limit=MAX_DESCRIPTION_BYTES,
        )  # fmt: skip
    author = view.get(PartyRecord, statement.by)
    assert author is not None
    if body.enclave not in {k.public for k in author.body.keys if k.use == "enclave"}:
        raise PolicyRefused("The dataset names an enclave that its source unit's root does not vouch for.")
    for other in view.all(DatasetRecord):
        if other.source_unit == statement.by and other.body.dataset == body.dataset:
            if other.body.version >= body.version:
                raise AlreadyExists(
                    "Version {version} of dataset {dataset} exists.",
                    fix="Use the next version number.", version=other.body.version, dataset=body.dataset,
                )  # fmt: skip
        elif other.body.manifest == body.manifest:
            raise AlreadyExists("Another dataset has this manifest.")
    record = DatasetRecord(
        statement=statement.digest, source_unit=statement.by, issued=statement.issued, body=body,
        state=states.advance(states.DATASET, "uploading", "dataset", "dataset"),
    )  # fmt: skip
    return (record, _blob(view, body.mock, "mock", statement))


def _dataset_withdrawn(view: View, statement: Statement, now: int, key: str) -> Changes:
    record = view.get(DatasetRecord, _body(statement, DatasetWithdrawn).dataset)
    if record is None or record.source_unit != statement.by:
        raise PermissionDenied("This dataset is not of {party}.", party=statement.by[:12])
    state = states.advance(states.DATASET, record.state, "dataset-withdrawn", "dataset")
    return (record.model_copy(update={"state": state}),)


def _new_job(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = _body(statement, Job)
    if body.developer != statement.by:
        raise PermissionDenied("A job is submitted by the developer that it names.")
    if not names_everyone_once(body):
        raise InvalidInput("The job's parties overlap: a source unit twice, or its developer among them.")
    if not now < body.expires <= now + MAX_JOB_SECONDS:
        raise InvalidInput("The job's field {field} must lie in the coming year.", field="expires_days")
    if "buyer" not in roles_of(view, body.buyer):
        raise InvalidInput("The job's field {field} names no buyer of this space.", field="parties.buyer")
    buyer = view.get(PartyRecord, body.buyer)
    assert buyer is not None
    if body.buyer_key not in {k.public for k in buyer.body.keys if k.use == "receive"}:
        raise InvalidInput("The job's buyer key is not a receiving key of that buyer.")
    if body.minimum_participants > len(body.source_units):
        raise InvalidInput(
            "The job's field {field} exceeds its source units.", field="terms.minimum_participants"
        )
    for use in body.datasets:
        dataset = view.get(DatasetRecord, use.dataset)
        if dataset is None or dataset.source_unit != use.source_unit:
            raise InvalidInput(
                "The job's field {field} names no dataset of that source unit.", field="datasets"
            )
        if dataset.state != "sealed":
            raise InvalidInput("A dataset that the job's field {field} names is withdrawn.", field="datasets")
    if {use.source_unit for use in body.datasets} != set(body.source_units):
        raise InvalidInput("The job's source units are not those of its datasets.")
    if len({use.dataset for use in body.datasets}) != len(body.datasets):
        raise InvalidInput("The job's field {field} names a dataset twice.", field="datasets")
    record = JobRecord(
        statement=statement.digest, state="submitted", issued=statement.issued, body=body,
        statements=(statement.digest,),
    )  # fmt: skip
    return (record, _blob(view, body.code, "code", statement)) if body.code else (record,)


def _countersignature(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = _body(statement, Countersignature)
    job = view.get(JobRecord, body.job)
    if job is None or job.body.buyer != statement.by:
        raise PermissionDenied("This job does not name {party} in that role.", party=statement.by[:12])
    _not_expired(job, now)
    if body.buyer_key != job.body.buyer_key:
        raise InvalidInput("The countersignature names another buyer key than the job.")
    if job.countersigned:
        raise AlreadyExists("The job is countersigned already.")
    job = _advance(job, "job-countersignature", statement, countersigned=statement.digest)
    return (_if_all_granted(job),)


def _if_all_granted(job: JobRecord) -> JobRecord:
    if job.countersigned and set(job.grants) == set(job.body.source_units):
        return _advance(job, "*all-granted", None)
    return job


def _grant(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = _body(statement, Grant)
    job = _job(view, statement, body.job)
    _not_expired(job, now)
    if statement.by in job.grants:
        raise AlreadyExists("This source unit has granted the job already.")
    own = {use.dataset for use in job.body.datasets if use.source_unit == statement.by}
    if set(body.datasets) != own:
        raise InvalidInput("A grant names exactly the datasets that the job asks of its source unit.")
    author = view.get(PartyRecord, statement.by)
    assert author is not None
    vouched = {(k.use, k.public) for k in author.body.keys}
    if ("enclave", body.enclave) not in vouched:
        raise PolicyRefused("The grant names an enclave that its source unit's root does not vouch for.")
    for dataset in (view.get(DatasetRecord, digest) for digest in body.datasets):
        if dataset is None or dataset.state != "sealed":
            raise PolicyRefused("A dataset of this job is withdrawn.")
        if dataset.body.enclave != body.enclave:
            raise PolicyRefused("The grant names another enclave than the one that holds the dataset.")
        if dataset.body.policy.custom_code == "refuse" and job.body.code:
            raise PolicyRefused("The dataset's policy refuses jobs with the developer's own code.")
    for reviewer in body.reviewers:
        if not {("review", reviewer.review), ("review-open", reviewer.review_open)} <= vouched:
            raise PolicyRefused(
                "The grant names a reviewer key that its source unit's root does not vouch for."
            )
    if len({r.review for r in body.reviewers}) != len(body.reviewers):
        raise InvalidInput("The grant names a reviewer twice.")
    if body.reviewer_threshold > len(body.reviewers):
        raise InvalidInput("The grant's reviewer threshold exceeds its reviewers.")
    if body.expires <= now:
        raise InvalidInput("The grant's field {field} lies in the past.", field="expires")
    job = _advance(job, "grant", statement, grants={**job.grants, statement.by: statement.digest})
    return (
        _if_all_granted(job),
        GrantRecord(statement=statement.digest, source_unit=statement.by, body=body),
    )


def _refusal(view: View, statement: Statement, now: int, key: str) -> Changes:
    job = _job(view, statement, _body(statement, Refusal).job)
    return (_advance(job, "refusal", statement, refused_by=statement.by),)


def _run_nonce(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = _body(statement, RunNonce)
    job = _job(view, statement, body.job)
    if view.get(ChallengeRecord, body.challenge) is not None:
        raise AlreadyExists("This challenge was given before.")
    enclaves = {g.body.enclave for g in (view.get(GrantRecord, d) for d in job.grants.values()) if g}
    if body.enclave not in enclaves:
        raise InvalidInput("The challenge is for an enclave that no grant of this job names.")
    record = ChallengeRecord(
        challenge=body.challenge, job=body.job, source_unit=statement.by, enclave=body.enclave
    )
    return (_advance(job, "run-nonce", statement), record)


def _run_offer(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = _body(statement, RunOffer)
    job = _job(view, statement, body.job)
    _not_expired(job, now)
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
    changed = _advance(job, "run-offer", statement, offers={**job.offers, statement.by: statement.digest})
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


def _key_release(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = _body(statement, KeyRelease)
    job = _job(view, statement, body.job)
    _not_expired(job, now)
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
    job = _advance(job, "key-release", statement)
    if _all_released(view, job, offer):
        job = _advance(job, "*all-released", None)
    return (job, offer, grant)


def _all_released(view: View, job: JobRecord, changed: OfferRecord) -> bool:
    for use in job.body.datasets:
        digest = job.offers.get(use.source_unit, "")
        offer = changed if digest == changed.statement else view.get(OfferRecord, digest)
        if offer is None or use.dataset not in offer.released:
            return False
    return True


def _run_failed(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = _body(statement, RunFailed)
    job = _job(view, statement, body.job)
    offer = view.get(OfferRecord, body.offer)
    if offer is None or offer.enclave != key or job.offers.get(statement.by) != body.offer:
        raise PermissionDenied("The failure is not of a run of this enclave.")
    # One member's failure ends the run for all: the others offer anew, with fresh keys.
    ended = [
        other.model_copy(update={"ended": True})
        for other in (view.get(OfferRecord, digest) for digest in job.offers.values())
        if other is not None
    ]
    job = _advance(job, "run-failed", statement, offers={})
    grants = [g for g in (view.get(GrantRecord, d) for d in job.grants.values()) if g is not None]
    if any(g.runs_used >= g.body.runs for g in grants):
        job = _advance(job, "*runs-used", None)
    return (job, *ended)


def _output(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = _body(statement, Output)
    job = _job(view, statement, body.job)
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
    blobs = [_blob(view, a.blob, "artifact", statement) for a in body.artifacts]
    blobs += [_blob(view, e.blob, "evidence", statement) for e in body.evidence]
    return (_advance(job, "output", statement, output=statement.digest), record, *blobs)


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


def _decision(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = _body(statement, Decision)
    job = _job(view, statement, body.job)
    _not_expired(job, now)
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
    evidence = next(e for e in output.body.evidence if e.source_unit == statement.by)
    if body.evidence != evidence.commitment:
        raise InvalidInput("The decision is on other evidence than the output's.")
    if body.verdict == "approve":
        _check_approval(output, body, statement.by, key, job)
    elif body.artifacts or body.shares or body.buyer_key:
        raise InvalidInput("A rejection hands nothing on.")
    decided = DecisionRecord(
        statement=statement.digest, source_unit=statement.by, reviewer=key, issued=statement.issued, body=body
    )
    output = output.model_copy(update={"decisions": {**output.decisions, key: statement.digest}})
    job = _advance(job, "decision", statement)
    verdict = standing(_Overlay(view, decided), job, output, now).verdict
    if verdict != "open":
        job = _advance(job, "*rejected" if verdict == "rejected" else "*quorum", None)
    return (job, output, decided)


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


def _release(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = _body(statement, Release)
    job = _job(view, statement, body.job, source_unit=False)
    output = view.get(OutputRecord, body.output)
    if output is None or job.output != body.output:
        raise InvalidInput("The release is not of this job's output.")
    state = standing(view, job, output, now)
    if state.verdict != "approved" or (body.artifacts, body.decisions) != (state.artifacts, state.decisions):
        raise PolicyRefused("The release is not what the source units approved, or an approval has expired.")
    return (_advance(job, "release", statement, release=statement.digest, released=body.artifacts),)


def _receipt(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = _body(statement, Receipt)
    job = view.get(JobRecord, body.job)
    if job is None or job.body.buyer != statement.by:
        raise PermissionDenied("This job does not name {party} in that role.", party=statement.by[:12])
    if job.release != body.release:
        raise InvalidInput("The receipt is not for this job's release.")
    if job.receipt:
        raise AlreadyExists("The buyer has given a receipt already.")
    return (_advance(job, "receipt", statement, receipt=statement.digest),)


_RULES: dict[str, Callable[[View, Statement, int, str], Changes]] = {
    Dataset.type: _dataset,
    DatasetWithdrawn.type: _dataset_withdrawn,
    Job.type: _new_job,
    Countersignature.type: _countersignature,
    Grant.type: _grant,
    Refusal.type: _refusal,
    RunNonce.type: _run_nonce,
    RunOffer.type: _run_offer,
    KeyRelease.type: _key_release,
    RunFailed.type: _run_failed,
    Output.type: _output,
    Decision.type: _decision,
    Release.type: _release,
    Receipt.type: _receipt,
}
