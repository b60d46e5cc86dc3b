"""Gathers the checks into one report with one verdict.

Red: a check failed or could not run. Amber: a check asks to look closely. Green: everything passed or, by
the source's own policy, does not apply. The policy can excuse a check that could not run; it can never hide
one that ran and failed.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trustspace.crypto.canonical import canonical_json, parse_canonical
from trustspace.domain.bodies import Policy
from trustspace.errors import VerificationFailed
from trustspace.evidence.checks import CHECKS, Finding, Status
from trustspace.evidence.facts import RunFacts
from trustspace.evidence.words import HEADLINES, LIMITS, TITLES, Language, say

FORMAT = "trustspace-report-v1"
MAX_BYTES = 1 << 20
Verdict = Literal["green", "amber", "red"]
NOT_APPLICABLE_BY_DEFAULT = (
    "withheld_metrics:compute", "withheld_metrics:statistics", "withheld_metrics:score",
)  # fmt: skip
"""What a source's policy should excuse unless it means to refuse such jobs: they train no model."""

Json = Any  # integers, strings and lists and tables of them


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Words(_Part):
    """The same sentence in both languages."""

    en: str
    zh: str

    def in_language(self, language: Language) -> str:
        """English or Chinese."""
        return self.zh if language == "zh" else self.en


class Check(_Part):
    """One check: what it found, in words and in numbers."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,39}$")]
    status: Status
    summary: Words
    facts: dict[str, Json]


class Report(_Part):
    """What a reviewer decides on."""

    format: Literal["trustspace-report-v1"]
    verdict: Verdict
    headline: Words
    checks: Annotated[tuple[Check, ...], Field(min_length=1, max_length=64)]
    limits: Words

    def to_json(self) -> dict[str, Any]:
        """As JSON values: integers, strings, lists and tables."""
        value: dict[str, Any] = self.model_dump(mode="json")
        return value

    def to_bytes(self) -> bytes:
        """As it is sealed and committed to: canonical JSON."""
        return canonical_json(self.to_json())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse canonical JSON. Raises VerificationFailed, also when the verdict does not follow."""
        value = parse_canonical(data, what="evidence report", max_bytes=MAX_BYTES)
        try:
            report = cls.model_validate_json(canonical_json(value))
        except ValidationError:
            raise VerificationFailed(
                "The evidence report is not of format {format}.", format=FORMAT
            ) from None
        if report.verdict != verdict_of([check.status for check in report.checks]):
            raise VerificationFailed("The evidence report's verdict does not follow from its checks.")
        return report

    def check(self, name: str) -> Check:
        """The check of that name. Raises VerificationFailed when the report has none."""
        for check in self.checks:
            if check.name == name:
                return check
        raise VerificationFailed("The evidence report has no check {name}.", name=name)


def build_report(facts: RunFacts, policy: Policy | None = None) -> Report:
    """The report on a run, under the source unit's policy."""
    rules = policy if policy is not None else Policy(not_applicable=NOT_APPLICABLE_BY_DEFAULT)
    checks = tuple(_excused(name, check(facts, rules), facts, rules) for name, check in CHECKS.items())
    verdict = verdict_of([check.status for check in checks])
    return Report(
        format="trustspace-report-v1",
        verdict=verdict,
        headline=_headline(verdict, checks),
        checks=checks,
        limits=Words(**LIMITS),
    )


def verdict_of(statuses: list[Status]) -> Verdict:
    """Red for a failure or a check that could not run, amber for a warning, green otherwise."""
    if any(status in {"failed", "could_not_run"} for status in statuses):
        return "red"
    return "amber" if "warned" in statuses else "green"


def _excused(name: str, finding: Finding, facts: RunFacts, policy: Policy) -> Check:
    if finding.status == "could_not_run" and {name, f"{name}:{facts.kind}"} & set(policy.not_applicable):
        return Check(
            name=name,
            status="not_applicable",
            summary=Words(**say(f"{name}.not_applicable")),
            facts=finding.facts,
        )
    return Check(name=name, status=finding.status, summary=Words(**finding.summary), facts=finding.facts)


def _headline(verdict: Verdict, checks: tuple[Check, ...]) -> Words:
    wanted = {"red": ("failed", "could_not_run"), "amber": ("warned",), "green": ()}[verdict]
    named = [TITLES[check.name] for check in checks if check.status in wanted]
    return Words(
        en=HEADLINES[verdict]["en"].format(titles="; ".join(title["en"] for title in named)),
        zh=HEADLINES[verdict]["zh"].format(titles="；".join(title["zh"] for title in named)),
    )


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a report, as published in docs/report.schema.json."""
    found = Report.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **found,
        "title": "trustspace evidence report",
    }
