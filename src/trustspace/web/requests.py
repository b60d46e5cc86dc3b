"""Requests for a source unit's data: those that wait, one of them in full, and the grant that would answer it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from trustspace.client import budgets, jobs, notices
from trustspace.client.acting import Acting
from trustspace.client.datasets import DEFAULT_POLICY
from trustspace.client.home import PartyHome
from trustspace.domain import states
from trustspace.domain.bodies import SMALL_SUMS, Grant, Refusal, recovery_words
from trustspace.domain.budget import in_bits, price, privacy_of, sums_of
from trustspace.domain.rules_request import needs_small_sums
from trustspace.domain.tiers import ANY_TIER, TIERS
from trustspace.errors import NotFound
from trustspace.evidence.words import Language
from trustspace.evidence.words_policy import PolicyRow, policy_rows
from trustspace.web.code import ChangedFile, cut, whole
from trustspace.web.drafts import FormError
from trustspace.web.words import words

TIER_CHOICES: Final = (ANY_TIER, *reversed(TIERS))
LIMITS: Final[Mapping[str, tuple[int, int]]] = {"threshold": (1, 32), "runs": (1, 1000), "days": (1, 366)}

_EPSILON: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?", re.ASCII)


@dataclass(frozen=True)
class ShownRequest:
    """Everything that a request's page shows; ``can_answer`` says whether this home has the key for it."""

    asked: jobs.Request
    can_answer: bool
    state: str
    is_answered: bool
    can_refuse: bool
    answers: notices.Answered | None
    reviewers: tuple[str, ...]
    fewest: int
    data: tuple[tuple[str, int, str, tuple[str, ...]], ...]
    parameters: tuple[tuple[str, str], ...]
    budget: tuple[str, ...]
    policies: tuple[tuple[str, int, tuple[PolicyRow, ...]], ...]
    files: tuple[ChangedFile, ...]
    was_cut: bool
    small_sums: str
    recovery: str
    privacy: str


def granting(home: Acting) -> PartyHome | None:
    """The home as one that grants; None where it has no key for that, as a reviewer's own has none."""
    if not isinstance(home, PartyHome) or "source-unit" not in home.roles:
        return None
    try:
        home.key_name("grant")
    except NotFound:
        return None
    return home


def waiting(home: Acting) -> list[dict[str, Any]]:
    """Jobs that wait for this source unit's grant, as the space lists them, oldest first."""
    found = [
        job
        for job in jobs.listing(home)
        if home.fingerprint in job["source_units"]
        and job["state"] == "submitted"
        and home.fingerprint not in job.get("granted_by", ())
    ]
    return sorted(found, key=lambda job: int(job["issued"]))


def show(home: Acting, job: str, language: Language) -> ShownRequest:
    """A request, proven."""
    asked = jobs.request(home, job)
    body, own = asked.job.body, asked.datasets
    unit, state = granting(home), states.at(asked.job.state, body.expires, home.session.now())
    files, was_cut = cut(whole(asked.code))
    return ShownRequest(
        asked=asked,
        can_answer=unit is not None,
        state=state,
        is_answered=home.fingerprint in asked.job.grants or state != "submitted",
        # A run that is on can be stopped.
        can_refuse=(state, Refusal.type) in states.JOB,
        answers=notices.answered(home, asked.job),
        reviewers=_reviewers(unit),
        fewest=max((record.body.policy.reviewers for record in own), default=1),
        data=data_of(asked),
        parameters=parameters_of(asked),
        budget=tuple(_budget(home, asked, language)),
        policies=tuple(
            (record.body.dataset, record.body.version, policy_rows(record.body.policy, DEFAULT_POLICY, language))
            for record in own
        ),
        files=files,
        was_cut=was_cut,
        small_sums=SMALL_SUMS if needs_small_sums(body) else "",
        recovery=recovery_words(body),
        privacy=in_bits(privacy_of(body)) if privacy_of(body) else "",
    )  # fmt: skip


def data_of(asked: jobs.Request) -> tuple[tuple[str, int, str, tuple[str, ...]], ...]:
    """Each dataset of a job: its name, version and source unit, and the columns that the job sees."""
    return tuple(
        (named.id, named.version or 0, use.source_unit, use.columns)
        for use, named in zip(asked.job.body.datasets, asked.parameters.datasets, strict=False)
    )


def parameters_of(asked: jobs.Request) -> tuple[tuple[str, str], ...]:
    """All else that a job's parameters say, as (dotted name, value)."""
    said = asked.parameters.model_dump(mode="json", exclude_none=True, exclude={"datasets"})
    return tuple(flat(said))


def _reviewers(home: PartyHome | None) -> tuple[str, ...]:
    if home is None:
        return ()
    return tuple(dict.fromkeys(key.holder for key in home.party.keys if key.use == "review"))


def flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, value); nothing for what is empty."""
    if isinstance(value, dict):
        return [
            row for key, item in value.items() for row in flat(item, f"{name}.{key}" if name else str(key))
        ]
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [row for n, item in enumerate(value, start=1) for row in flat(item, f"{name}[{n}]")]
    if isinstance(value, list):
        inner = (" × ".join(str(i) for i in item) if isinstance(item, list) else str(item) for item in value)
        text = ", ".join(inner)
        return [(name, text)] if text else []
    return [(name, str(value))] if value != "" else []


def _budget(home: Acting, asked: jobs.Request, language: Language) -> list[str]:
    """What the job can tell before release and what of the budgets is spent, in sentences."""
    here = ((home.fingerprint, 1),) if home.fingerprint not in asked.job.grants else ()
    told = price(asked.dossier.view, asked.job, here).told_millibits
    said = [words("grant_quiet", language, bits=in_bits(told))]
    sums = sums_of(asked.job.body)
    if sums:
        said.append(words("grant_sums", language, count=sums))
    private = privacy_of(asked.job.body)
    if private:
        said.append(words("grant_private", language, epsilon=in_bits(private)))
        if asked.job.body.is_joint:
            said.append(words("grant_private_joint", language))
    for account in budgets.accounts(home, asked.dossier, asked.job):
        said.append(
            words("grant_quiet_spent", language, name=account.dataset, spent=in_bits(account.spent),
                  limit=in_bits(account.limit))
        )  # fmt: skip
        if sums:
            said.append(
                words(
                    "grant_sums_spent",
                    language,
                    name=account.dataset,
                    spent=account.sums,
                    limit=account.sums_limit,
                )
            )
        if private:
            said.append(
                words("grant_private_spent", language, name=account.dataset, spent=in_bits(account.privacy),
                      limit=in_bits(account.privacy_limit))
            )  # fmt: skip
    return said


def draft(home: PartyHome, asked: jobs.Request, options: Mapping[str, Any]) -> Grant:
    """The grant that a form asks for, to be shown before anybody signs it; errors as the client has them."""
    return jobs.draft_grant(home, asked, **options)


def options(form: Mapping[str, str], reviewers: tuple[str, ...]) -> dict[str, Any]:
    """A form's terms of a grant. Raises FormError: a number is missing or out of its range."""
    found: dict[str, Any] = {"reviewers": reviewers}
    for name, (low, high) in LIMITS.items():
        text = form.get(name, "")
        if not (text.isascii() and text.isdecimal() and len(text) <= 4 and low <= int(text) <= high):
            raise FormError("error_number")
        found[name] = int(text)
    tier = form.get("tier", ANY_TIER)
    if tier not in TIER_CHOICES:
        raise FormError("error_number")
    found["sandbox_tier"] = tier
    epsilon = form.get("privacy", "").strip()
    if epsilon:
        if not _EPSILON.fullmatch(epsilon):
            raise FormError("error_number")
        whole_part, _, rest = epsilon.partition(".")
        found["privacy_millis"] = int(whole_part) * 1000 + int(rest.ljust(3, "0") or 0)
    found["small_sums"] = form.get("small_sums") == "yes"
    found["recovery"] = form.get("recovery") == "yes"
    return found
