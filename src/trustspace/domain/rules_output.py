"""What a run hands in: every enclave signs its own output, and together they are the one that is reviewed.

A joint artifact is the same in every output but for the sealed shares: the HPKE seals are randomised, so each
member's enclave seals those of its own reviewers, and the first of the members those of the source units that
dropped out. What is one source unit's own (its logs, its results of a compute job) comes from its enclave alone.
"""

from __future__ import annotations

from trustspace.domain.bodies import MAX_OWN_ARTIFACTS, Artifact, Output
from trustspace.domain.records import GrantRecord, JobRecord, OfferRecord, OutputRecord, View
from trustspace.domain.rules_common import Changes, advanced, blob_reference, body_of, job_for
from trustspace.domain.rules_run import in_run
from trustspace.domain.statements import Statement
from trustspace.domain.tiers import weaker
from trustspace.errors import AlreadyExists, InvalidInput, PermissionDenied, PolicyRefused, Stale


def output(view: View, statement: Statement, now: int, key: str) -> Changes:
    body = body_of(statement, Output)
    job = job_for(view, statement, body.job)
    offer = view.get(OfferRecord, body.offer)
    if offer is None or offer.enclave != key or job.offers.get(statement.by) != body.offer:
        raise PermissionDenied("The output is not of a run of this enclave.")
    before = view.get(OutputRecord, job.output)
    if before is not None and statement.by in before.signers:
        raise AlreadyExists("This enclave has handed in its output of the run already.")
    changed = advanced(job, "output", statement, output=job.output or statement.digest)
    if body.run != job.run:
        raise Stale("The output is of another run than the one that is on.")
    _check(view, job, body, statement.by)
    if before is None:
        mine = body.model_copy(update={"artifacts": _only_sealed_by(job, body, statement.by)})
        record = OutputRecord(
            statement=statement.digest, issued=statement.issued, body=mine,
            signers={statement.by: statement.digest},
        )  # fmt: skip
        artifacts = body.artifacts
    else:
        record = _merged(job, before, body, statement)
        # The joint ones are there: who came first has uploaded them.
        artifacts = tuple(a for a in body.artifacts if is_own(job, a))
    blobs = [blob_reference(view, a.blob, "artifact", record.statement) for a in artifacts]
    blobs += [blob_reference(view, e.blob, "evidence", record.statement) for e in body.evidence]
    # Without a joint result every enclave of the run is waited for, and none of them has dropped out.
    if set(body.members or job.offers) <= set(record.signers):
        changed = advanced(changed, "*all-handed-in", None)
    return (changed, record, *blobs)


def is_own(job: JobRecord, artifact: Artifact) -> bool:
    """Whether an artifact is of one source unit alone; any other is joint and concerns all."""
    return artifact.role in ("log", "own") or job.body.kind in ("compute", "score")


def _sealed_for(job: JobRecord, body: Output, by: str) -> frozenset[str]:
    """Whose reviewers the output of ``by`` holds evidence and sealed shares for.

    Its own and, if it is the first of the members, those of every source unit that is none.
    """
    dropped = set(job.body.source_units) - set(body.members) if body.members[:1] == (by,) else set()
    return frozenset({by, *dropped})


def _check(view: View, job: JobRecord, body: Output, by: str) -> None:
    if set(body.grants) != set(job.grants.values()):
        raise InvalidInput("The output does not name the grants that it was made under.")
    _check_members(view, job, body, by)
    names = [artifact.name for artifact in body.artifacts]
    if len(set(names)) != len(names):
        raise InvalidInput("The output names an artifact twice.")
    if len(names) > MAX_OWN_ARTIFACTS:
        raise InvalidInput("The output has more than {limit} artifacts.", limit=MAX_OWN_ARTIFACTS)
    sealed_for = _sealed_for(job, body, by)
    if {e.source_unit for e in body.evidence} != sealed_for or len(body.evidence) != len(sealed_for):
        raise InvalidInput("The output lacks evidence for a source unit, or has some that is not its own.")
    for artifact in body.artifacts:
        _check_shares(view, job, artifact, by, sealed_for)


def _check_members(view: View, job: JobRecord, body: Output, by: str) -> None:
    members = body.members
    if not job.body.is_joint:
        if members:
            raise InvalidInput("The output names members, and the job has no joint result.")
        return
    if list(members) != sorted(set(members)):
        raise InvalidInput("The output names its members twice or out of order.")
    if by not in members:
        raise PermissionDenied("The output is by an enclave that is not among its members.")
    if not set(members) <= in_run(view, job):
        raise PolicyRefused("The output names a member that is not in this run.")
    if len(members) < job.body.minimum_participants:
        raise PolicyRefused(
            "The output is of {members} source units, and the job demands {minimum}.",
            members=len(members), minimum=job.body.minimum_participants,
        )  # fmt: skip


def _check_shares(
    view: View, job: JobRecord, artifact: Artifact, by: str, sealed_for: frozenset[str]
) -> None:
    named = {unit.source_unit for unit in artifact.units}
    # A joint artifact concerns every source unit, also one that dropped out; what is a unit's own only itself.
    if named != ({by} if is_own(job, artifact) else set(job.body.source_units)):
        raise PolicyRefused("The output leaves a source unit without its share, or gives one to another.")
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
        if unit.source_unit in sealed_for and not all(share.sealed for share in unit.shares):
            raise PolicyRefused("The output leaves out a sealed share that is its enclave's to give.")


def _with_sealed(artifact: Artifact, source: Artifact, units: frozenset[str]) -> Artifact:
    """The artifact with the sealed shares of ``source`` for these units, and as they are for the others."""
    parts = zip(artifact.units, source.units, strict=True)
    return artifact.model_copy(
        update={"units": tuple(theirs if theirs.source_unit in units else ours for ours, theirs in parts)}
    )


def _blank(artifact: Artifact) -> Artifact:
    """The artifact without any sealed share: all that enclaves must agree on."""
    units = tuple(
        unit.model_copy(update={"shares": tuple(s.model_copy(update={"sealed": ""}) for s in unit.shares)})
        for unit in artifact.units
    )
    return artifact.model_copy(update={"units": units})


def _only_sealed_by(job: JobRecord, body: Output, by: str) -> tuple[Artifact, ...]:
    """The artifacts with those sealed shares alone that are this enclave's to give."""
    units = _sealed_for(job, body, by)
    return tuple(_with_sealed(_blank(artifact), artifact, units) for artifact in body.artifacts)


def _merged(job: JobRecord, before: OutputRecord, body: Output, statement: Statement) -> OutputRecord:
    """The output with one more enclave's part in it."""
    ours = [a for a in before.body.artifacts if not is_own(job, a)]
    theirs = [a for a in body.artifacts if not is_own(job, a)]
    if body.members != before.body.members or [_blank(a) for a in ours] != [_blank(a) for a in theirs]:
        raise PolicyRefused(
            "The enclaves disagree: this output's joint artifacts or members are not those of the first one."
        )
    own = [a for a in body.artifacts if is_own(job, a)]
    if {a.name for a in own} & {a.name for a in before.body.artifacts}:
        raise InvalidInput("The output names an artifact twice.")
    units = _sealed_for(job, body, statement.by)
    sealed = iter([_with_sealed(a, b, units) for a, b in zip(ours, theirs, strict=True)])
    kept = [a if is_own(job, a) else next(sealed) for a in before.body.artifacts]
    order = job.body.source_units.index
    merged = before.body.model_copy(
        update={
            "artifacts": (*kept, *own),
            "evidence": tuple(
                sorted((*before.body.evidence, *body.evidence), key=lambda e: order(e.source_unit))
            ),
            "sandbox_tier": weaker(before.body.sandbox_tier, body.sandbox_tier),
        }
    )
    signers = {**before.signers, statement.by: statement.digest}
    return before.model_copy(update={"body": merged, "signers": signers})
