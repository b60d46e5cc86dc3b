"""Gathers the checks into one report with one verdict.

Red: a check failed or could not run. Amber: a check asks to look closely. Green: everything passed or, by
the source's own policy, does not apply. The policy can excuse a check that could not run; it can never hide
one that ran and failed.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trustspace.crypto.canonical import MAX_INTEGER, canonical_json, parse_canonical
from trustspace.domain.bodies import Policy
from trustspace.errors import VerificationFailed
from trustspace.evidence.checks import CHECKS
from trustspace.evidence.facts import RunFacts
from trustspace.evidence.figures import Figure, Words
from trustspace.evidence.finding import Finding, Status
from trustspace.evidence.membership import best_guess
from trustspace.evidence.words import HEADLINES, LIMITS, TITLES, Language, say

FORMAT = "trustspace-report-v2"
MAX_BYTES = 1 << 20
# Characters of a sentence and of a text among the facts, entries of a list: names are their authors' choice.
LONGEST_SENTENCE, LONGEST_TEXT, LONGEST_LIST = 4000, 400, 200
Verdict = Literal["green", "amber", "red"]
NOT_APPLICABLE_BY_DEFAULT = (
    "withheld_metrics:compute", "withheld_metrics:statistics", "withheld_metrics:score",
    "membership:compute", "membership:statistics", "membership:score",
    "references:compute", "references:statistics", "references:score", "reexecution:score",
    "dominance:train", "dominance:compute", "dominance:score",
    "canaries", "differential_privacy",
)  # fmt: skip
"""What a source's policy should excuse unless it means to refuse such jobs: what does not concern their kind."""

Json = Any  # integers, strings and lists and tables of them


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Check(_Part):
    """One check: what it found, in words, in numbers and in pictures."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,39}$")]
    status: Status
    summary: Words
    facts: dict[str, Json]
    figures: Annotated[tuple[Figure, ...], Field(max_length=8)] = ()


class Report(_Part):
    """What a reviewer decides on."""

    format: Literal["trustspace-report-v2"]
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
        """From canonical JSON. Raises VerificationFailed, also if the verdict does not follow or a field is missing."""
        value = parse_canonical(data, what="evidence report", max_bytes=MAX_BYTES)
        try:
            report = cls.model_validate_json(canonical_json(value))
        except ValidationError:
            raise VerificationFailed(
                "The evidence report is not of format {format}.", format=FORMAT
            ) from None
        if report.verdict != verdict_of([check.status for check in report.checks]):
            raise VerificationFailed("The evidence report's verdict does not follow from its checks.")
        if report.to_bytes() != data:
            # One form for one report: what has a usual value is written out all the same.
            raise VerificationFailed("The evidence report is not of format {format}.", format=FORMAT)
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
    report = Report(
        format="trustspace-report-v2",
        verdict=verdict,
        headline=_headline(verdict, checks, facts),
        checks=checks,
        limits=Words(**LIMITS),
    )
    return _with_room(report)


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
            facts=_cut(finding.facts),
            figures=finding.figures,
        )
    sentence: dict[Language, str] = {
        language: _cut_text(text, LONGEST_SENTENCE) for language, text in finding.summary.items()
    }
    return Check(
        name=name, status=finding.status, summary=Words(**sentence), facts=_cut(finding.facts),
        figures=finding.figures,
    )  # fmt: skip


def _cut(value: Json) -> Json:
    """A fact without the rest of what is very long: whoever named a file's parts must not make a report unreadable."""
    if isinstance(value, str):
        return _cut_text(value, LONGEST_TEXT)
    if isinstance(value, dict):
        return {_cut_text(key, LONGEST_TEXT): _cut(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cut(item) for item in value[:LONGEST_LIST]]
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        # A file may call anything a count: what no statement can hold is said to be that large, not left unsaid.
        return MAX_INTEGER if value > 0 else -MAX_INTEGER
    return value


def _cut_text(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _with_room(report: Report) -> Report:
    """The report without the last pictures of the checks with the largest, as many as it has no room for."""
    while len(report.to_bytes()) > MAX_BYTES:
        sizes = [len(canonical_json(check.model_dump(mode="json")["figures"])) for check in report.checks]
        largest = sizes.index(max(sizes))
        if not report.checks[largest].figures:
            break
        kept = [
            check.model_copy(update={"figures": check.figures[:-1]}) if place == largest else check
            for place, check in enumerate(report.checks)
        ]
        report = report.model_copy(update={"checks": tuple(kept)})
    return report


def _headline(verdict: Verdict, checks: tuple[Check, ...], facts: RunFacts) -> Words:
    """The verdict in a sentence: first how well someone could guess, of a model, then what stands out."""
    wanted = {"red": ("failed", "could_not_run"), "amber": ("warned",), "green": ()}[verdict]
    named = [TITLES[check.name] for check in checks if check.status in wanted]
    guess = best_guess(facts.judged)
    first: dict[Language, str] = {"en": "", "zh": ""}
    if facts.kind == "train":
        first = say("headline.no_guess") if guess is None else say("headline.guess", right=guess)
    return Words(
        en=first["en"]
        + HEADLINES[verdict]["en"].format(titles=", ".join(f"“{title['en']}”" for title in named)),
        zh=first["zh"]
        + HEADLINES[verdict]["zh"].format(titles="、".join(f"“{title['zh']}”" for title in named)),
    )


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a report, as published in docs/report.schema.json."""
    found = Report.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **found,
        "title": "trustspace evidence report",
    }
