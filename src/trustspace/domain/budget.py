"""What jobs together may tell about one dataset: before release, in sums that nobody can read, and in private models.

A source unit's policy limits it (``quiet_millibits_per_developer``). A job is priced by leakage.py and counts from
the first data key that is released to it, whole, under what its grants allow, however many runs it comes to. Versions
of a dataset are one dataset: what one told of a patient, the next one would tell again. Limits are those of the
version that a job uses.

Sums of scores (``score_sums_per_developer``) are counted beside it in the same way: a developer chooses hidden weights,
and who reviews sees ciphertext, so that their number is what bounds them. A job costs the sums that it may decrypt at
most, once: a second run of it gives the same.

Differential privacy (``privacy_millis``, thousandths of epsilon) is spent by all jobs on a dataset together, whoever
their developers are: what they were told, they can put together. Epsilons add up (Dwork and Roth 2014, theorem 3.16),
and so do deltas. A job costs its claim for each run that its grant allows, since every run draws noise of its own.

Whoever has only a job's own statements before them sees only what that job spends. The space and auditors see all
jobs; a source unit's broker counts for itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

from trustspace.domain import leakage
from trustspace.domain.bodies import Job, Policy
from trustspace.domain.records import DatasetRecord, GrantRecord, JobRecord, View
from trustspace.errors import BudgetExhausted

_EPSILON = re.compile(r"[0-9]{1,6}(\.[0-9]{1,12})?", re.ASCII)
# Beside the declared groups there are two: any other category, and none.
UNDECLARED_GROUPS: Final = 2
_MOST_SUMS: Final = 2**53 - 1


def price(view: View, job: JobRecord, granting: Sequence[tuple[str, int]] = ()) -> leakage.Leakage:
    """What a job can tell under the grants that stand; ``granting`` are (source unit, runs) that would.

    A source unit that has not granted yet counts with one run, the fewest that it can.
    """
    runs = dict.fromkeys(job.body.source_units, 1)
    for digest in job.grants.values():
        grant = view.get(GrantRecord, digest)
        if grant is not None:
            runs[grant.source_unit] = grant.body.runs
    runs.update(granting)
    return leakage.of_job(job.body, tuple(runs.values()))


def spent(view: View, source_unit: str, dataset: str, developer: str) -> dict[str, int]:
    """Millibits by job: those jobs of a developer to which a key of this dataset, in any version, was released."""
    return {
        job.statement: price(view, job).told_millibits
        for job in _opened(view, source_unit, dataset, developer)
    }


def sums_spent(view: View, source_unit: str, dataset: str, developer: str) -> dict[str, int]:
    """Sums of scores by job, of the same jobs."""
    jobs = _opened(view, source_unit, dataset, developer)
    return {job.statement: sums for job in jobs if (sums := sums_of(job.body))}


def sums_of(job: Job) -> int:
    """How many sums of scores a job may get of each of its datasets, as its parameters state it."""
    if job.kind != "score":
        return 0
    score = job.parameters.get("score")
    groups = score.get("groups") if isinstance(score, dict) else None
    if not isinstance(score, dict) or not isinstance(groups, list):
        return _MOST_SUMS
    if score.get("result") == "rows":
        return 0  # the developer decrypts uniform noise
    return len(groups) + UNDECLARED_GROUPS if groups else 1


def privacy_of(job: Job) -> int:
    """The differential privacy that one run of a job claims, in thousandths of epsilon, rounded up; 0 for none."""
    claim = job.parameters.get("privacy")
    if claim is None:
        return 0
    epsilon = claim.get("epsilon") if isinstance(claim, dict) else None
    if not isinstance(epsilon, str) or not _EPSILON.fullmatch(epsilon):
        return _MOST_SUMS
    return math.ceil(Decimal(epsilon) * 1000)


def privacy_price(
    view: View, job: JobRecord, source_unit: str, granting: Sequence[tuple[str, int]] = ()
) -> int:
    """Thousandths of epsilon that a job may spend of a source unit's dataset, under its grant; one run before that."""
    grant = view.get(GrantRecord, job.grants.get(source_unit, ""))
    runs = dict(granting).get(source_unit, grant.body.runs if grant is not None else 1)
    return min(privacy_of(job.body) * runs, _MOST_SUMS)


def privacy_spent(view: View, source_unit: str, dataset: str) -> dict[str, int]:
    """Thousandths of epsilon by job: all jobs to which a key of this dataset, in any version, was released."""
    jobs = _opened(view, source_unit, dataset, None)
    return {job.statement: cost for job in jobs if (cost := privacy_price(view, job, source_unit))}


def _opened(view: View, source_unit: str, dataset: str, developer: str | None) -> Iterator[JobRecord]:
    for job in view.all(JobRecord):
        if developer is not None and job.body.developer != developer:
            continue
        grant = view.get(GrantRecord, job.grants.get(source_unit, ""))
        if grant is not None and grant.runs_used and uses(view, job.body, source_unit, dataset):
            yield job


def uses(view: View, job: Job, source_unit: str, dataset: str) -> bool:
    """Whether a job names a version of this dataset."""
    named = (view.get(DatasetRecord, use.dataset) for use in job.datasets if use.source_unit == source_unit)
    return any(record is not None and record.body.dataset == dataset for record in named)


def require(
    view: View, job: JobRecord, dataset: DatasetRecord, granting: Sequence[tuple[str, int]] = ()
) -> None:
    """Check that a job may tell what it can, beside what its developer's other jobs have.

    Raises:
        BudgetExhausted: together it is more than the dataset's policy allows.

    """
    of = (dataset.source_unit, dataset.body.dataset, job.body.developer)
    before, sums = spent(view, *of), sums_spent(view, *of)
    before.pop(job.statement, None)
    sums.pop(job.statement, None)
    require_within(
        dataset.body.policy, sum(before.values()), price(view, job, granting).told_millibits,
        developer=job.body.developer, dataset=dataset.body.dataset,
    )  # fmt: skip
    require_sums_within(
        dataset.body.policy, sum(sums.values()), sums_of(job.body),
        developer=job.body.developer, dataset=dataset.body.dataset,
    )  # fmt: skip
    private = privacy_spent(view, dataset.source_unit, dataset.body.dataset)
    private.pop(job.statement, None)
    require_privacy_within(
        dataset.body.policy, sum(private.values()), privacy_price(view, job, dataset.source_unit, granting),
        dataset=dataset.body.dataset,
    )  # fmt: skip


def require_within(policy: Policy, before: int, told: int, *, developer: str, dataset: str) -> None:
    """Check a job's millibits against those that are spent and the policy's limit.

    Raises:
        BudgetExhausted: they do not fit.

    """
    limit = policy.quiet_millibits_per_developer
    if before + told > limit:
        raise BudgetExhausted(
            "Jobs of developer {developer} may tell at most {limit} bits about dataset {dataset} before release: "
            "{spent} are spent, and this job could tell {told}.",
            fix="Allow fewer runs, ask for a shorter limits.wall_seconds, or raise the budget in the dataset's next "
            "version.",
            developer=developer[:12], dataset=dataset, limit=in_bits(limit), spent=in_bits(before), told=in_bits(told),
        )  # fmt: skip


def require_sums_within(policy: Policy, before: int, sums: int, *, developer: str, dataset: str) -> None:
    """Check a job's sums of scores against those that are spent and the policy's limit.

    Raises:
        BudgetExhausted: they do not fit.

    """
    limit = policy.score_sums_per_developer
    if sums and before + sums > limit:
        raise BudgetExhausted(
            "Jobs of developer {developer} may get at most {limit} sums of scores of dataset {dataset}: {spent} are "
            "spent, and this job would get {sums}.",
            fix="Ask for fewer groups, or raise the budget in the dataset's next version.",
            developer=developer[:12], dataset=dataset, limit=limit, spent=before, sums=sums,
        )  # fmt: skip


def require_privacy_within(policy: Policy, before: int, cost: int, *, dataset: str) -> None:
    """Check what a job spends of the differential privacy of a dataset against what is spent, and the policy's limit.

    Raises:
        BudgetExhausted: they do not fit.

    """
    limit = policy.privacy_millis
    if cost and before + cost > limit:
        raise BudgetExhausted(
            "All jobs together may spend a differential privacy of epsilon {limit} on dataset {dataset}: {spent} is "
            "spent, and this job could spend {cost}.",
            fix="Ask for a smaller privacy.epsilon, allow fewer runs, or raise the budget in the dataset's next "
            "version.",
            dataset=dataset, limit=in_bits(limit), spent=in_bits(before), cost=in_bits(cost),
        )  # fmt: skip


def in_bits(millibits: int) -> str:
    """Millibits as bits for people, and thousandths of epsilon as epsilon: ``3.17``."""
    return f"{millibits // 1000}.{millibits % 1000:03}".rstrip("0").rstrip(".")
