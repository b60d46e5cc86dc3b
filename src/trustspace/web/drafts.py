"""What a reviewer is about to sign: made from a form, shown in words, signed once, or forgotten.

A draft stays in this process between the page that shows it and the one that signs it. So what is signed is what was
shown, and a form that is sent twice signs once.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from trustspace.client import review
from trustspace.client.acting import Acting
from trustspace.client.notices import LONGEST_NOTE_BYTES
from trustspace.domain.bodies import Grant
from trustspace.errors import Unavailable

MOST_COMMENT: Final = 2000
_MOST_DRAFTS: Final = 64

Choice = Literal["approve", "changes", "reject", "revoke"]
CHOICES: Final[tuple[Choice, ...]] = ("approve", "changes", "reject", "revoke")


class FormError(Exception):
    """A form that cannot be taken as it is; ``key`` names the words that say why."""

    def __init__(self, key: str, **details: int) -> None:
        super().__init__(key)
        self.key, self.details = key, details


@dataclass(frozen=True)
class Decision:
    """A decision on exact bytes, not signed yet."""

    choice: Choice
    job: str
    title: str
    buyer: str
    output: str
    evidence: str
    verdict: str
    files: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    comment: str = ""
    note: str = ""
    accept_red: bool = False
    days: int = review.DECISION_DAYS


@dataclass(frozen=True)
class Answer:
    """An answer to a request, not signed yet: a grant, or a refusal (None)."""

    job: str
    title: str
    grant: Grant | None


@dataclass(frozen=True)
class Receipt:
    """What was signed, and the digest of the statement."""

    draft: Decision | Answer
    statement: str


@dataclass
class Drafts:
    """Drafts and receipts by a number that nobody can guess; the oldest are forgotten first."""

    _drafts: OrderedDict[str, Decision | Answer] = field(default_factory=OrderedDict)
    _receipts: OrderedDict[str, Receipt] = field(default_factory=OrderedDict)
    signing: threading.Lock = field(default_factory=threading.Lock)

    def put(self, draft: Decision | Answer) -> str:
        """Keep a draft; returns its number."""
        number = secrets.token_urlsafe(16)
        with self.signing:
            _keep(self._drafts, number, draft)
        return number

    def take(self, number: str) -> Decision | Answer | None:
        """A draft, once."""
        return self._drafts.pop(number, None)

    def sign_once(self, number: str, sign: Callable[[Decision | Answer], str]) -> bool:
        """Sign a draft and keep the receipt; False where there is neither. What ``sign`` raises, this raises."""
        with self.signing:
            draft = self.take(number)
            if draft is None:
                return number in self._receipts
            try:
                statement = sign(draft)
            except Unavailable:
                # It may stand or not: sent again, it is signed, or somebody says that it was.
                _keep(self._drafts, number, draft)
                raise
            _keep(self._receipts, number, Receipt(draft, statement))
            return True

    def receipt(self, number: str) -> Receipt | None:
        """What came of a draft; None where it was not signed."""
        return self._receipts.get(number)


def _keep(kept: OrderedDict[str, Any], number: str, value: Any) -> None:
    kept[number] = value
    while len(kept) > _MOST_DRAFTS:
        kept.popitem(last=False)


def decided(
    case: review.SealedCase, form: Mapping[str, str], files: Sequence[str], reasons: Sequence[str]
) -> Decision:
    """What a form on an output's page decides. Raises FormError where it leaves out what it needs."""
    choice = next((known for known in CHOICES if known == form.get("choice")), None)
    if choice is None:
        raise FormError("error_choice")
    comment, note = (form.get(name, "").replace("\r\n", "\n").strip() for name in ("comment", "note"))
    if max(len(comment), len(note)) > MOST_COMMENT:
        raise FormError("error_comment", count=MOST_COMMENT)
    verdict = case.report.verdict if isinstance(case, review.Case) else ""
    body = case.job.body
    common = Decision(
        choice, case.job.statement, body.title, body.buyer, case.output.statement, case.evidence.commitment, verdict,
        comment=comment,
    )  # fmt: skip
    if choice == "approve":
        return _approved(common, case, form, files)
    if choice == "changes":
        chosen = tuple(reason for reason in review.REASONS if reason in reasons)
        if not chosen:
            raise FormError("error_reasons")
        if len(note.encode()) > LONGEST_NOTE_BYTES:
            raise FormError("error_note", count=LONGEST_NOTE_BYTES // 3)
        return _with(common, reasons=chosen, note=note)
    return common


def _approved(
    common: Decision, case: review.SealedCase, form: Mapping[str, str], files: Sequence[str]
) -> Decision:
    names = tuple(a.name for a in case.output.body.artifacts if a.name in files and a.role != "own")
    if not names or not isinstance(case, review.Case):
        raise FormError("error_files")
    accepts = form.get("accept_red") == "yes"
    if common.verdict == "red" and not (accepts and common.comment):
        raise FormError("error_reason")
    days = form.get("days", "")
    if not (days.isascii() and days.isdecimal() and len(days) <= 3
            and 1 <= int(days) <= review.LONGEST_DECISION_DAYS):  # fmt: skip
        raise FormError("error_number")
    return _with(common, files=names, accept_red=accepts and common.verdict == "red", days=int(days))


def _with(draft: Decision, **changes: object) -> Decision:
    return Decision(**{**vars(draft), **changes})


def sign(home: Acting, reviewer: str, draft: Decision) -> str:
    """Sign a decision, if the output is still the one that it was shown for; returns the statement's digest.

    Raises:
        FormError: output or evidence are not those that were confirmed.
        TrustspaceError: as the client has it.

    """
    if draft.choice == "approve":
        opened = review.open_case(home, draft.job, reviewer)
        _require_same(opened, draft)
        if opened.report.verdict != draft.verdict:
            raise FormError("error_changed")
        return review.approve(
            home,
            opened,
            draft.files,
            comment=draft.comment,
            accept_red=draft.accept_red,
            valid_days=draft.days,
        )
    case = review.sealed_case(home, draft.job, reviewer)
    _require_same(case, draft)
    if draft.choice == "changes":
        return review.request_changes(home, case, draft.reasons, draft.note, draft.comment)
    if draft.choice == "revoke":
        return review.revoke(home, draft.job, reviewer)
    return review.reject(home, case, comment=draft.comment)


def _require_same(case: review.SealedCase, draft: Decision) -> None:
    if (case.output.statement, case.evidence.commitment) != (draft.output, draft.evidence):
        raise FormError("error_changed")
