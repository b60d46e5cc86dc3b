"""A run: challenges, offers, released keys and failures. What it hands in is rules_output.py's business."""

from __future__ import annotations

from trustspace.domain import budget, leakage, states
from trustspace.domain.binding import run_name
from trustspace.domain.bodies import CodeRelease, Evidence, KeyRelease, RunFailed, RunNonce, RunOffer
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
from trustspace.domain.rules_common import (
    Changes,
    advanced,
    body_of,
    ended_offers,
    job_for,
    not_expired,
    without_run,
)
from trustspace.domain.statements import Statement
from trustspace.domain.tiers import tier_satisfies
from trustspace.errors import (
    AlreadyExists,
    InvalidInput,
    InvalidTransition,
    PermissionDenied,
    PolicyRefused,
    Stale,
)

OVERDUE_SECONDS = leakage.OVERDUE_SECONDS


def run_nonce(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = body_of(statement, RunNonce)
    job = job_for(view, statement, body.job, source_unit=False)
    if statement.by not in job.body.key_holders:
        raise PermissionDenied("This job does not name {party} in that role.", party=statement.by[:12])
    if view.get(ChallengeRecord, body.challenge) is not None:
        raise AlreadyExists("This challenge was given before.")
    every = (view.get(GrantRecord, digest) for digest in job.grants.values())
    grants = [grant for grant in every if grant is not None and grant.body.enclave == body.enclave]
    if not grants:
        raise InvalidInput("The challenge is for an enclave that no grant of this job names.")
    record = ChallengeRecord(
        challenge=body.challenge, job=body.job, key_holder=statement.by, enclave=body.enclave
    )
    if statement.by == job.body.developer:
        return (_developers_challenge(view, job, statement, body), record)
    _only_who_returns(job, [grant.source_unit for grant in grants], "run-nonce")
    if all(grant.used_up for grant in grants):
        # Nothing comes of it, and the developer of blind code would see by it when the last run failed.
        raise PolicyRefused("The grant's {runs} runs are used up.", runs=grants[0].body.runs)
    return (advanced(job, "run-nonce", statement), record)


def _developers_challenge(view: View, job: JobRecord, statement: Statement, body: RunNonce) -> JobRecord:
    """The job with one more challenge of its developer's, in any state: a refusal would tell when a run ends.

    What bounds their number is what the developer sees anyway: whether an offer has answered the last one.
    """
    last = view.get(ChallengeRecord, job.code_challenges.get(body.enclave, ""))
    if last is not None and not last.used:
        raise AlreadyExists("The enclave has a challenge of the developer's to answer already.")
    given = {**job.code_challenges, body.enclave: body.challenge}
    statements = (*job.statements, statement.digest)
    return job.model_copy(update={"statements": statements, "code_challenges": given})


def _only_who_returns(job: JobRecord, units: list[str], event: str) -> None:
    """While a run is on, only a source unit that has dropped out of it begins anew."""
    if job.state == "running" and all(unit in job.offers for unit in units):
        raise InvalidTransition(
            "This {what} is in state {state}: {event} cannot happen now.",
            what="job", state=job.state, event=event,
        )  # fmt: skip


def run_offer(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = body_of(statement, RunOffer)
    job = job_for(view, statement, body.job)
    not_expired(job, now)
    grant = view.get(GrantRecord, job.grants.get(statement.by, ""))
    if grant is None or grant.body.enclave != key:
        raise PermissionDenied("The run offer is not signed by the enclave that the grant names.")
    _only_who_returns(job, [statement.by], "run-offer")
    if grant.used_up:
        raise PolicyRefused("The grant's {runs} runs are used up.", runs=grant.body.runs)
    _check_evidence(view, job, statement.by, body.evidence)
    if {c.key_holder for c in body.challenges} != set(job.body.key_holders):
        raise InvalidInput("A run offer answers one challenge of every key holder.")
    used: list[Record] = []
    for answered in body.challenges:
        challenge = view.get(ChallengeRecord, answered.challenge)
        if challenge is None or (challenge.job, challenge.key_holder, challenge.enclave) != (
            body.job, answered.key_holder, key,
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


def code_release(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = body_of(statement, CodeRelease)
    job = job_for(view, statement, body.job, source_unit=False)
    if statement.by != job.body.developer:
        raise PermissionDenied("This job does not name {party} in that role.", party=statement.by[:12])
    if job.body.blind is None:
        raise InvalidInput("The job's code is not blind: it has no key.")
    not_expired(job, now)
    if set(job.grants) != set(job.body.source_units):
        raise PolicyRefused("The key of blind code is released once every source unit has granted the job.")
    offer = view.get(OfferRecord, body.offer)
    if offer is None or offer.body.job != body.job:
        raise Stale("The code release is for a run that is not on.")
    # Before anything that a run's end changes: whoever asks again is told the same, and learns nothing by it.
    if offer.code_released:
        raise AlreadyExists("The key of the code was released to this run already.")
    kind = offer.body.evidence.kind
    if job.body.evidence_kind not in ("software", kind):
        raise PolicyRefused("The run offer's platform evidence is weaker than the job demands.")
    if kind == "software" and not job.body.blind.host_can_read:
        raise PolicyRefused("The job does not say that the host of an enclave can read its code.")
    # In the same words whatever has become of it: a state's name would tell more, and sooner, than a slot does.
    over = (job.state, statement.type) not in states.JOB
    if over or job.offers.get(offer.source_unit) != body.offer or offer.ended:
        raise Stale("The code release is for a run that is not on.")
    grant = view.get(GrantRecord, job.grants[offer.source_unit])
    assert grant is not None
    # As for the data key that is to follow: without it the enclave would have the code for nothing.
    if now > grant.body.expires:
        raise PolicyRefused("The grant has expired.")
    for dataset in (view.get(DatasetRecord, digest) for digest in grant.body.datasets):
        if dataset is None or dataset.state != "sealed":
            raise PolicyRefused("A dataset of this job is withdrawn.")
    return (
        advanced(job, "code-release", statement),
        offer.model_copy(update={"code_released": statement.digest}),
        grant.model_copy(update={"code_releases": grant.code_releases + 1}),
    )


def key_release(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = body_of(statement, KeyRelease)
    job = job_for(view, statement, body.job)
    not_expired(job, now)
    offer = view.get(OfferRecord, body.offer)
    grant = view.get(GrantRecord, body.grant)
    if job.offers.get(statement.by) != body.offer or offer is None or offer.ended:
        raise Stale("The key release is for a run that is not on.")
    if job.body.blind is not None and not offer.code_released:
        raise PolicyRefused("The developer has not released its code to this run yet.")
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
    if not grant.runs_used:
        # Once for all datasets and runs of the grant: what is paid for is not refused later.
        for own in (view.get(DatasetRecord, digest) for digest in grant.body.datasets):
            assert own is not None
            budget.require(view, job, own)
    offer = offer.model_copy(update={"released": {**offer.released, body.dataset: statement.digest}})
    grant = grant.model_copy(update={"runs_used": body.run_number})
    job = advanced(job, "key-release", statement)
    if job.state == "granted" and _all_released(view, job, offer):
        job = advanced(job, "*all-released", None, run=run_name(job.statement, job.offers.values()))
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
    output = view.get(OutputRecord, job.output)
    others = {unit: digest for unit, digest in job.offers.items() if unit != statement.by}
    changed = advanced(job, "run-failed", statement, offers=others)
    overdue = output is not None and now - output.issued > OVERDUE_SECONDS and body.reason == "members"
    if output is not None and statement.by in output.signers and not overdue:
        raise AlreadyExists("This enclave has handed in its output of the run already.")
    ended = [offer.model_copy(update={"ended": True, "reason": body.reason})]
    # Who found too few members for a sum speaks for all: for nobody else are there more.
    too_few = body.reason == "members"
    if changed.state == "running" and (too_few or not _goes_on(view, changed, output, statement.by)):
        # The others offer anew as well, with fresh keys.
        ended += ended_offers(view, changed)
        changed = without_run(advanced(changed, "*run-ended", None))
    if changed.state == "granted" and _runs_used(view, changed):
        ended += ended_offers(view, changed)
        changed = without_run(advanced(changed, "*runs-used", None))
    return (changed, *ended)


def _goes_on(view: View, job: JobRecord, output: OutputRecord | None, lost: str) -> bool:
    """Whether a run goes on without ``lost``: enough are in it, and no output waits for its signature."""
    if not job.body.is_joint or (output is not None and lost in output.body.members):
        return False
    return len(in_run(view, job)) >= job.body.minimum_participants


def in_run(view: View, job: JobRecord) -> frozenset[str]:
    """The source units whose data the run that is on can open: their offer stands and holds every key."""
    found = set()
    for unit, digest in job.offers.items():
        offer = view.get(OfferRecord, digest)
        needed = {use.dataset for use in job.body.datasets if use.source_unit == unit}
        if offer is not None and needed <= set(offer.released):
            found.add(unit)
    return frozenset(found)


def _runs_used(view: View, job: JobRecord) -> bool:
    """Whether a source unit that would have to offer anew has no run left to release keys for."""
    grants = [view.get(GrantRecord, digest) for unit, digest in job.grants.items() if unit not in job.offers]
    return any(grant is not None and grant.used_up for grant in grants)
