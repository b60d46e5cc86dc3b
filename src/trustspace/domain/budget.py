"""What one developer's jobs together may tell about one dataset before release: spent, and the limit on it.

A source unit's policy limits it (``quiet_millibits_per_developer``). A job is priced by leakage.py and counts from
the first data key that is released to it, whole, under what its grants allow, however many runs it comes to. Versions
of a dataset are one dataset: what one told of a patient, the next one would tell again. Limits are those of the
version that a job uses.

Whoever has only a job's own statements before them sees only what that job spends. The space and auditors see all
jobs; a source unit's broker counts for itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from trustspace.domain import leakage
from trustspace.domain.bodies import Job, Policy
from trustspace.domain.records import DatasetRecord, GrantRecord, JobRecord, View
from trustspace.errors import BudgetExhausted


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
    found = {}
    for job in view.all(JobRecord):
        if job.body.developer != developer:
            continue
        grant = view.get(GrantRecord, job.grants.get(source_unit, ""))
        if grant is not None and grant.runs_used and uses(view, job.body, source_unit, dataset):
            found[job.statement] = price(view, job).told_millibits
    return found


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
    before = spent(view, dataset.source_unit, dataset.body.dataset, job.body.developer)
    before.pop(job.statement, None)
    require_within(
        dataset.body.policy, sum(before.values()), price(view, job, granting).told_millibits,
        developer=job.body.developer, dataset=dataset.body.dataset,
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


def in_bits(millibits: int) -> str:
    """Millibits as bits for people: ``3.17``."""
    return f"{millibits // 1000}.{millibits % 1000:03}".rstrip("0").rstrip(".")
