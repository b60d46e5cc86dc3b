"""What leads up to a run: parties, datasets, jobs, countersignatures and grants; refusals and cancellations."""

from __future__ import annotations

from trustspace.crypto.canonical import canonical_json
from trustspace.domain import budget, states
from trustspace.domain.bodies import (
    FEWEST_WITHOUT_WORDS,
    Countersignature,
    Dataset,
    DatasetWithdrawn,
    Grant,
    Job,
    JobCancellation,
    Refusal,
    recovery_words,
)
from trustspace.domain.permissions import names_everyone_once, roles_of, verify_party
from trustspace.domain.records import DatasetRecord, GrantRecord, JobRecord, PartyRecord, View
from trustspace.domain.rules_common import (
    Changes,
    advanced,
    blob_reference,
    body_of,
    ended_offers,
    job_for,
    not_expired,
    without_run,
)
from trustspace.domain.statements import Statement
from trustspace.errors import (
    AlreadyExists,
    BudgetExhausted,
    InvalidInput,
    InvalidTransition,
    PermissionDenied,
    PolicyRefused,
    Stale,
)

MAX_JOB_SECONDS = 366 * 86400
MAX_DESCRIPTION_BYTES = 256 << 10


def party(view: View, statement: Statement) -> Changes:
    body = verify_party(statement)
    old = view.get(PartyRecord, statement.by)
    if old is not None:
        if body.sequence <= old.body.sequence:
            raise Stale("A newer description of this party stands already.", fix="Raise its sequence number.")
        if body.roles != old.body.roles:
            raise PolicyRefused("A party's roles were agreed at its invitation and stay.")
    return (PartyRecord(fingerprint=statement.by, statement=statement.digest, body=body),)


def dataset(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = body_of(statement, Dataset)
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
    return (record, blob_reference(view, body.mock, "mock", statement.digest))


def dataset_withdrawn(view: View, statement: Statement, now: int, key: str) -> Changes:
    record = view.get(DatasetRecord, body_of(statement, DatasetWithdrawn).dataset)
    if record is None or record.source_unit != statement.by:
        raise PermissionDenied("This dataset is not of {party}.", party=statement.by[:12])
    state = states.advance(states.DATASET, record.state, "dataset-withdrawn", "dataset")
    return (record.model_copy(update={"state": state}),)


def job(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = body_of(statement, Job)
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
    if body.is_joint:
        _check_joint(body)
    _check_blind(body)
    answered = view.get(JobRecord, body.supersedes)
    if answered is not None and answered.body.developer != statement.by:
        raise PermissionDenied("The job answers another one that is not its developer's.")
    if body.kind == "score" and (not body.code or body.blind is not None):
        raise InvalidInput("A job that scores brings an encrypted model, and no code.")
    record = JobRecord(
        statement=statement.digest, state="submitted", issued=statement.issued, body=body,
        statements=(statement.digest,),
    )  # fmt: skip
    return (record, blob_reference(view, body.code, "code", statement.digest)) if body.code else (record,)


def _check_blind(body: Job) -> None:
    if body.blind is None:
        return
    if not body.code:
        raise InvalidInput("The job says that its code is blind, and has none.")
    if body.evidence_kind == "software" and not body.blind.host_can_read:
        raise PolicyRefused(
            "The job's code is blind, and the host of an enclave with software evidence could read it.",
            fix="Write host_can_read = true under [code] if that is acceptable, or demand hardware evidence.",
        )


def _check_joint(body: Job) -> None:
    units, sums = len(body.source_units), body.sums
    if sums is None:
        raise InvalidInput(
            "The job does not say how its sums are protected.", fix="Submit it with this version."
        )
    if sums.needed and not units < 2 * sums.needed < 2 * units:
        raise InvalidInput(
            "The job's field {field} must be more than half of its source units, and fewer than all.",
            field="sums.needed",
        )  # fmt: skip
    if body.minimum_participants < 2:
        raise InvalidInput(
            "The job's field {field} must be at least 2: the result of one source unit is no sum.",
            field="terms.minimum_participants",
        )
    if len(body.datasets) > len({use.source_unit for use in body.datasets}):
        raise InvalidInput(
            "The job's field {field} names two datasets of one source unit.",
            fix="Name one of each.", field="datasets",
        )  # fmt: skip


def countersignature(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = body_of(statement, Countersignature)
    job = view.get(JobRecord, body.job)
    if job is None or job.body.buyer != statement.by:
        raise PermissionDenied("This job does not name {party} in that role.", party=statement.by[:12])
    not_expired(job, now)
    if body.buyer_key != job.body.buyer_key:
        raise InvalidInput("The countersignature names another buyer key than the job.")
    if job.countersigned:
        raise AlreadyExists("The job is countersigned already.")
    job = advanced(job, "job-countersignature", statement, countersigned=statement.digest)
    return (_if_all_granted(job),)


def _if_all_granted(job: JobRecord) -> JobRecord:
    if job.countersigned and set(job.grants) == set(job.body.source_units):
        return advanced(job, "*all-granted", None)
    return job


def grant(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = body_of(statement, Grant)
    job = job_for(view, statement, body.job)
    not_expired(job, now)
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
        if dataset.body.policy.custom_code == "refuse" and job.body.has_own_code:
            raise PolicyRefused("The dataset's policy refuses jobs with the developer's own code.")
        if dataset.body.policy.blind_code == "refuse" and job.body.blind is not None:
            raise PolicyRefused("The dataset's policy refuses blind code.")
        if body.reviewer_threshold < dataset.body.policy.reviewers:
            raise PolicyRefused(
                "The dataset's policy demands that {count} reviewers approve.",
                fix="Grant it with --threshold {count}.", count=dataset.body.policy.reviewers,
            )  # fmt: skip
    for reviewer in body.reviewers:
        if not {("review", reviewer.review), ("review-open", reviewer.review_open)} <= vouched:
            raise PolicyRefused(
                "The grant names a reviewer key that its source unit's root does not vouch for."
            )
    _require_others(view, job, body)
    if len({r.review for r in body.reviewers}) != len(body.reviewers):
        raise InvalidInput("The grant names a reviewer twice.")
    if body.reviewer_threshold > len(body.reviewers):
        raise InvalidInput("The grant's reviewer threshold exceeds its reviewers.")
    if body.expires <= now:
        raise InvalidInput("The grant's field {field} lies in the past.", field="expires")
    if needs_small_sums(job.body) and not body.small_sums:
        raise PolicyRefused(
            "The job's sums may be of two source units alone, and the grant's field {field} does not say so.",
            fix="Grant it with those words, or ask for a job with a minimum of three.", field="small_sums",
        )  # fmt: skip
    if body.recovery != recovery_words(job.body):
        raise PolicyRefused(
            "The job's sums can be opened without some source units, and the grant's field {field} does not say so.",
            fix="Grant it with those words, or ask for a job without sums.dropouts.", field="recovery",
        )  # fmt: skip
    cost = budget.privacy_price(view, job, statement.by, ((statement.by, body.runs),))
    if body.privacy_millis < cost or (body.privacy_millis and not cost):
        raise PolicyRefused(
            "The job could spend a differential privacy of epsilon {cost}, and the grant allows {allowed}.",
            fix="Grant it with --privacy {cost}, or allow fewer runs.",
            cost=budget.in_bits(cost), allowed=budget.in_bits(body.privacy_millis),
        )  # fmt: skip
    _check_budgets(view, job, statement.by, body.runs)
    job = advanced(job, "grant", statement, grants={**job.grants, statement.by: statement.digest})
    return (
        _if_all_granted(job),
        GrantRecord(statement=statement.digest, source_unit=statement.by, body=body),
    )


def _require_others(view: View, job: JobRecord, body: Grant) -> None:
    """Who submitted the job reviews none of it: not as a source unit, and not as a person whom both vouch for."""
    developer = view.get(PartyRecord, job.body.developer)
    assert developer is not None
    theirs = {developer.body.root, *(k.public for k in developer.body.keys)}
    if any(theirs & {reviewer.review, reviewer.review_open} for reviewer in body.reviewers):
        raise PolicyRefused("The grant names a reviewer with a key of the job's own developer.")


def _check_budgets(view: View, job: JobRecord, by: str, runs: int) -> None:
    """What cannot run is not granted, be it for the limit of another source unit."""
    for used in (view.get(DatasetRecord, use.dataset) for use in job.body.datasets):
        try:
            if used is not None:
                budget.require(view, job, used, ((by, runs),))
        except BudgetExhausted:
            if used is None or used.source_unit == by:
                raise
            # What a developer's jobs have spent elsewhere is between it and that source unit.
            raise BudgetExhausted(
                "The job could tell its developer more than it may still learn about another source unit's dataset.",
                fix="Allow fewer runs; or let the developer ask for less.",
            ) from None


def needs_small_sums(job: Job) -> bool:
    """Whether a grant of the job must say in words that two source units can compute each other's part."""
    return job.is_joint and job.minimum_participants < FEWEST_WITHOUT_WORDS


def refusal(view: View, statement: Statement, now: int, key: str) -> Changes:
    job = job_for(view, statement, body_of(statement, Refusal).job)
    refused = advanced(job, "refusal", statement, refused_by=statement.by)
    return (without_run(refused), *ended_offers(view, job))


def cancellation(view: View, statement: Statement, now: int, key: str) -> Changes:
    job = view.get(JobRecord, body_of(statement, JobCancellation).job)
    if job is None or job.body.developer != statement.by:
        raise PermissionDenied("This job does not name {party} in that role.", party=statement.by[:12])
    not_expired(job, now)
    if (job.state, statement.type) not in states.JOB:
        # Not the state itself, as elsewhere: a developer is told how a job ended coarsely, and later.
        raise InvalidTransition("The job has ended: there is nothing left to cancel.")
    cancelled = advanced(job, "job-cancellation", statement)
    if job.state in ("in-review", "approved"):
        return (cancelled,)
    return (without_run(cancelled), *ended_offers(view, job))
