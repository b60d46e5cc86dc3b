"""A source unit's own count of what its datasets' jobs may tell: durable, whatever the space shows.

``state.json`` holds it as ``quiet`` (dataset, developer, job, millibits before release), ``sums`` (the same, sums of
scores) and ``privacy`` (the same, thousandths of epsilon, which the jobs of all developers spend together). A version
is no new dataset, and what is counted is never given back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trustspace.client.acting import Acting
from trustspace.domain import budget
from trustspace.domain.bodies import Dataset
from trustspace.domain.records import DatasetRecord, JobRecord
from trustspace.transport.session import Dossier

_KIND, _SUMS, _PRIVACY = "quiet", "sums", "privacy"


def count(
    state: dict[str, Any],
    dataset: Dataset,
    developer: str,
    job: str,
    millibits: int,
    sums: int = 0,
    private: int = 0,
) -> None:
    """Count a job in a party's state, to be written down by the caller in one step with what else it counts.

    Raises:
        BudgetExhausted: it does not fit beside the developer's others; it is not counted.

    """
    jobs: dict[str, int] = (
        state.setdefault(_KIND, {}).setdefault(dataset.dataset, {}).setdefault(developer, {})
    )
    if job not in jobs:
        before = sum(jobs.values())
        budget.require_within(dataset.policy, before, millibits, developer=developer, dataset=dataset.dataset)
        jobs[job] = millibits
    if sums:
        got: dict[str, int] = (
            state.setdefault(_SUMS, {}).setdefault(dataset.dataset, {}).setdefault(developer, {})
        )
        if job not in got:
            budget.require_sums_within(
                dataset.policy, sum(got.values()), sums, developer=developer, dataset=dataset.dataset
            )
            got[job] = sums
    if private:
        all_jobs: dict[str, dict[str, int]] = state.setdefault(_PRIVACY, {}).setdefault(dataset.dataset, {})
        if job not in all_jobs.get(developer, {}):
            used = sum(sum(jobs.values()) for jobs in all_jobs.values())
            budget.require_privacy_within(dataset.policy, used, private, dataset=dataset.dataset)
            all_jobs.setdefault(developer, {})[job] = private


def spent(home: Acting, dataset: str) -> dict[str, int]:
    """Millibits by developer that this source unit has counted for a dataset of its own, most first."""
    found = {who: sum(jobs.values()) for who, jobs in (home.remembered(_KIND, dataset) or {}).items()}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def sums_spent(home: Acting, dataset: str) -> dict[str, int]:
    """Sums of scores by developer that this source unit has counted for a dataset of its own, most first."""
    found = {who: sum(jobs.values()) for who, jobs in (home.remembered(_SUMS, dataset) or {}).items()}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def privacy_spent(home: Acting, dataset: str) -> dict[str, int]:
    """Thousandths of epsilon by developer that this source unit has counted for a dataset of its own, most first."""
    found = {who: sum(jobs.values()) for who, jobs in (home.remembered(_PRIVACY, dataset) or {}).items()}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def granted(home: Acting, dataset: DatasetRecord) -> tuple[int, int, int]:
    """Millibits, sums and thousandths of epsilon that a developer's own jobs may have got at most: of all that were
    granted, run or not.

    A developer cannot see whether a key was released to them.
    """
    from trustspace.client.jobs import listing

    total = sums = private = 0
    for listed in listing(home):
        if listed["developer"] != home.fingerprint or dataset.source_unit not in listed["source_units"]:
            continue
        dossier = home.session.job(str(listed["statement"]))
        job = dossier.job(str(listed["statement"]))
        known = all(unit in job.grants for unit in job.body.source_units)
        if known and budget.uses(dossier.view, job.body, dataset.source_unit, dataset.body.dataset):
            total += budget.price(dossier.view, job).told_millibits
            sums += budget.sums_of(job.body)
            private += budget.privacy_price(dossier.view, job, dataset.source_unit)
    return total, sums, private


@dataclass(frozen=True)
class Account:
    """What a job's developer has spent of one dataset's budgets: ``spent`` of ``limit`` millibits, and sums of scores.

    ``privacy``: thousandths of epsilon, spent by the jobs of all developers; a developer sees its own alone.
    ``counted``: by the source unit's own broker. Else the developer's own upper bound, which counts this job as well
    once it is granted.
    """

    dataset: str
    source_unit: str
    spent: int
    limit: int
    sums: int
    sums_limit: int
    privacy: int
    privacy_limit: int
    counted: bool


def accounts(home: Acting, dossier: Dossier, job: JobRecord) -> list[Account]:
    """How the budgets stand that a job draws on: a source unit sees its own, a developer all, nobody else any."""
    found = []
    for record in (dossier.view.get(DatasetRecord, use.dataset) for use in job.body.datasets):
        if record is None:
            continue
        counted = record.source_unit == home.fingerprint and "source-unit" in home.roles
        if counted:
            told = spent(home, record.body.dataset).get(job.body.developer, 0)
            sums = sums_spent(home, record.body.dataset).get(job.body.developer, 0)
            private = sum(privacy_spent(home, record.body.dataset).values())
        elif job.body.developer == home.fingerprint and "developer" in home.roles:
            told, sums, private = granted(home, record)
        else:
            continue
        policy = record.body.policy
        found.append(
            Account(
                record.body.dataset, record.source_unit, told, policy.quiet_millibits_per_developer, sums,
                policy.score_sums_per_developer, private, policy.privacy_millis, counted,
            )
        )  # fmt: skip
    return found


def require(home: Acting, asked: DatasetRecord, job: JobRecord, millibits: int, private: int = 0) -> None:
    """Check a job against this source unit's own count, before anybody signs a grant.

    Raises:
        BudgetExhausted: the broker would release no key to it.

    """
    jobs = (home.remembered(_KIND, asked.body.dataset) or {}).get(job.body.developer, {})
    before = sum(told for digest, told in jobs.items() if digest != job.statement)
    of = {"developer": job.body.developer, "dataset": asked.body.dataset}
    budget.require_within(asked.body.policy, before, millibits, **of)
    got = (home.remembered(_SUMS, asked.body.dataset) or {}).get(job.body.developer, {})
    others = sum(sums for digest, sums in got.items() if digest != job.statement)
    budget.require_sums_within(asked.body.policy, others, budget.sums_of(job.body), **of)
    every = (home.remembered(_PRIVACY, asked.body.dataset) or {}).values()
    used = sum(cost for jobs in every for digest, cost in jobs.items() if digest != job.statement)
    budget.require_privacy_within(asked.body.policy, used, private, dataset=asked.body.dataset)
