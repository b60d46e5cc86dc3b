"""Outputs before a reviewer: the list, one of them with all that a decision rests on, and verdicts seen so far."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from trustspace.client import jobs, notices, review, viewing
from trustspace.client.acting import Acting
from trustspace.client.datasets import DEFAULT_POLICY
from trustspace.client.standing import Standing
from trustspace.crypto.canonical import canonical_json, sha256_hex
from trustspace.domain.bodies import Artifact
from trustspace.domain.records import DatasetRecord
from trustspace.domain.statements import dump
from trustspace.errors import TrustspaceError, Unavailable
from trustspace.evidence.render import facts_in_words
from trustspace.evidence.words import STATUSES, TITLES, Language
from trustspace.evidence.words_policy import PolicyRow, policy_rows
from trustspace.web.code import ChangedFile, compare, cut, whole
from trustspace.web.drawing import Drawing, draw

PAGE: Final = 50
MOST_LOG_LINES: Final = 400
MOST_FACTS: Final = 400
_SEARCHED_JOBS: Final = 8
_APPROVED: Final = frozenset({"approved", "released"})
_ATTENTION: Final = ("failed", "could_not_run", "warned")
_REVOCABLE: Final = frozenset({"in-review", "approved", "released"})


@dataclass(frozen=True)
class Seen:
    """What was found when an output's evidence was opened here: its verdict ("" where it did not open)."""

    verdict: str
    required: int = 0
    approved: int | None = None


@dataclass(frozen=True)
class Waiting:
    """One line of the list, as the space tells it; ``seen`` is from proven evidence."""

    job: str
    title: str
    developer: str
    buyer: str
    since: int
    seen: Seen | None


@dataclass(frozen=True)
class ShownCheck:
    """One check of a report in one language."""

    name: str
    status: str
    title: str
    status_word: str
    summary: str
    facts: tuple[tuple[str, str], ...]
    drawings: tuple[Drawing, ...]

    @property
    def is_open(self) -> bool:
        """Whether a reader should see its details without asking."""
        return self.status in _ATTENTION


@dataclass(frozen=True)
class ShownCode:
    """The developer's code before a reader: what changed since ``since`` (a title, "" for nothing), and all of it."""

    changed: tuple[ChangedFile, ...]
    files: tuple[ChangedFile, ...]
    since: str
    is_same: bool
    was_cut: bool
    searched: int


@dataclass(frozen=True)
class ShownText:
    """A file of text that came out: its lines, or None where one person cannot open it, or where it is too large."""

    name: str
    is_log: bool
    is_large: bool
    lines: tuple[str, ...] | None


@dataclass(frozen=True)
class ShownPolicy:
    """A source unit's rules for one of its datasets."""

    dataset: str
    version: int
    rows: tuple[PolicyRow, ...]


@dataclass(frozen=True)
class Shown:
    """Everything that one output's page shows."""

    case: review.Case
    asked: jobs.Request
    standing: Standing
    checks: tuple[ShownCheck, ...]
    policies: tuple[ShownPolicy, ...]
    texts: tuple[ShownText, ...]
    code: ShownCode | None
    history: tuple[dict[str, Any], ...]
    answers: notices.Answered | None
    policy_digest: str
    viewed: viewing.Viewing

    @property
    def logs(self) -> tuple[ShownText, ...]:
        """What the run printed."""
        return tuple(text for text in self.texts if text.is_log)

    @property
    def contents(self) -> tuple[ShownText, ...]:
        """What stands in the other files of text."""
        return tuple(text for text in self.texts if not text.is_log)

    @property
    def attention(self) -> tuple[ShownCheck, ...]:
        """The checks that a reviewer has to look at: what failed, what could not run, what warns."""
        return tuple(check for status in _ATTENTION for check in self.checks if check.status == status)

    @property
    def calm(self) -> tuple[ShownCheck, ...]:
        """All others."""
        return tuple(check for check in self.checks if not check.is_open)

    @property
    def own_decision(self) -> str:
        """What this reviewer has decided, "" where nothing yet."""
        return next((p.decision for p in self.standing.people if p.name == self.case.reviewer), "")

    @property
    def can_decide(self) -> bool:
        """Whether a decision of this reviewer is still wanted."""
        return self.case.state in {"in-review", "approved"} and self.own_decision in {"", "lapsed"}

    @property
    def can_revoke(self) -> bool:
        """Whether there is something to stop."""
        return self.case.job.state in _REVOCABLE and not self.case.job.revoked

    @property
    def files(self) -> tuple[Any, ...]:
        """The artifacts that this source unit holds a share of."""
        return self.case.own_files

    @property
    def other_files(self) -> int:
        """How many are other source units' alone."""
        return len(self.case.output.body.artifacts) - len(self.files)


@dataclass
class Cases:
    """The outputs of one reviewer; remembers, in memory alone, the verdicts of those whose evidence was opened."""

    home: Acting
    reviewer: str
    clock: Callable[[], float] = time.monotonic
    _seen: dict[str, Seen] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def waiting(self, *, newest_first: bool = False) -> list[Waiting]:
        """The outputs that wait for this reviewer; nothing but the list itself is fetched."""
        found = review.queue(self.home, self.reviewer)
        with self._lock:
            lines = [
                Waiting(
                    str(job["statement"]), str(job["title"]), str(job["developer"]), str(job["buyer"]),
                    int(job.get("output_issued") or job["issued"]), self._seen.get(str(job["output"])),
                )
                for job in found
            ]  # fmt: skip
        return sorted(lines, key=lambda line: (line.since, line.job), reverse=newest_first)

    def read(self, lines: list[Waiting], seconds: float) -> int:
        """Open the evidence of those that were not opened yet, while time lasts; returns how many were opened."""
        until, count = self.clock() + seconds, 0
        for line in lines:
            if line.seen is None:
                if self.clock() >= until:
                    break
                try:
                    self.open(line.job)
                except Unavailable:
                    raise  # it is not the time that is over
                except TrustspaceError:
                    pass  # noted as evidence that does not open
                count += 1
        return count

    def open(self, job: str) -> review.Case:
        """An output with its evidence, proven; errors as :func:`review.open_case` has them."""
        try:
            case = review.open_case(self.home, job, self.reviewer)
        except Unavailable:
            raise  # which says nothing of the evidence
        except TrustspaceError:
            with contextlib.suppress(TrustspaceError):
                self._note(review.sealed_case(self.home, job, self.reviewer), "")
            raise
        self._note(case, case.report.verdict)
        return case

    def _note(self, case: review.SealedCase, verdict: str) -> None:
        standing = review.standing_for(case, self.reviewer)
        with self._lock:
            self._seen[case.output.statement] = Seen(verdict, standing.required, standing.approved)

    def show(self, job: str, language: Language) -> Shown:
        """All that one output's page shows."""
        case = self.open(job)
        asked = jobs.request(self.home, job, case.dossier)
        listed = jobs.listing(self.home)
        own = [record for record in asked.datasets if record.source_unit == self.home.fingerprint]
        return Shown(
            case=case,
            asked=asked,
            standing=review.standing_for(case, self.reviewer),
            checks=tuple(_check(check, language) for check in case.report.checks),
            policies=tuple(_policy(record, language) for record in own),
            texts=tuple(self._text(case, file) for file in case.own_files if _is_read(file)),
            code=self._code(asked, listed),
            history=tuple(_history(case, listed)),
            answers=notices.answered(self.home, case.job),
            policy_digest=sha256_hex(canonical_json(dump(own[0].body.policy))) if own else "",
            # The last thing before it is shown: what could not be put together was not shown.
            viewed=viewing.note(self.home, case),
        )

    def _text(self, case: review.Case, file: Artifact) -> ShownText:
        is_log = file.role == "log"
        is_large = not is_log and not viewing.is_short(file)
        text = None if is_large else viewing.text_of(self.home, case, file.name)
        lines = tuple(text.replace("\r\n", "\n").expandtabs(4).split("\n")) if text is not None else None
        return ShownText(file.name, is_log, is_large, lines)

    def _code(self, asked: jobs.Request, listed: list[dict[str, Any]]) -> ShownCode | None:
        """The code, compared with the last of this developer that was approved here; None where none can be read."""
        if not asked.code:
            return None
        since, before, searched = self._approved_code(asked, listed)
        files, all_cut = cut(whole(asked.code))
        changed, changes_cut = cut(compare(before, asked.code)) if since else ((), False)
        return ShownCode(
            changed, files, since, is_same=bool(since) and before == asked.code, was_cut=all_cut or changes_cut,
            searched=searched,
        )  # fmt: skip

    def _approved_code(
        self, asked: jobs.Request, listed: list[dict[str, Any]]
    ) -> tuple[str, dict[str, str], int]:
        """Title and code of the newest approved job of the same developer that has code, and how many were looked at.

        The space's list says where to look; what is found there is proven.
        """
        body = asked.job.body
        earlier = [
            job
            for job in listed
            if job["developer"] == body.developer
            and self.home.fingerprint in job["source_units"]
            and job["state"] in _APPROVED
            and job["statement"] != asked.job.statement
        ]
        earlier.sort(key=lambda job: int(job["issued"]), reverse=True)
        for job in earlier[:_SEARCHED_JOBS]:
            try:
                found = jobs.request(self.home, str(job["statement"]))
            except Unavailable:
                raise  # it would be said that there is none
            except TrustspaceError:
                continue  # what does not prove itself is nothing to compare with
            if found.code and found.job.state in _APPROVED and found.job.body.developer == body.developer:
                return found.job.body.title, found.code, 0
        return "", {}, len(earlier[:_SEARCHED_JOBS])


def _is_read(file: Artifact) -> bool:
    """Whether people read a file: what the run printed, and files of text that would leave."""
    return file.role == "log" or (file.role != "own" and viewing.is_text(file))


def _check(check: Any, language: Language) -> ShownCheck:
    return ShownCheck(
        name=check.name,
        status=check.status,
        title=TITLES.get(check.name, {}).get(language) or check.name,
        status_word=STATUSES[check.status][language],
        summary=check.summary.in_language(language),
        facts=tuple(itertools.islice(facts_in_words(check.facts, language), MOST_FACTS)),
        drawings=tuple(draw(figure, language) for figure in check.figures),
    )


def _policy(record: DatasetRecord, language: Language) -> ShownPolicy:
    return ShownPolicy(
        record.body.dataset, record.body.version, policy_rows(record.body.policy, DEFAULT_POLICY, language)
    )


def _history(case: review.Case, listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What this buyer has been released from data of this source unit, newest first, as the space lists it."""
    unit, job = case.evidence.source_unit, case.job
    found = [
        other
        for other in listed
        if other["buyer"] == job.body.buyer
        and unit in other["source_units"]
        and other["state"] == "released"
        and other["statement"] != job.statement
    ]
    return sorted(found, key=lambda other: int(other["issued"]), reverse=True)
