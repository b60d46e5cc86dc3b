"""When: what each statement needs before it may stand, and what follows from it.

``apply`` is the only writer of the projection. It is pure: records in, changed records out, the time as
an argument. The space runs it before it appends a statement, and again over the whole log to rebuild.
"""

from __future__ import annotations

from collections.abc import Callable

from trustspace.domain import rules_output, rules_request, rules_review, rules_run, states
from trustspace.domain.bodies import (
    CodeRelease,
    Countersignature,
    Dataset,
    DatasetWithdrawn,
    Decision,
    Grant,
    Job,
    JobCancellation,
    KeyRelease,
    Output,
    Receipt,
    Refusal,
    Release,
    Revocation,
    RunFailed,
    RunNonce,
    RunOffer,
)
from trustspace.domain.permissions import signing_key
from trustspace.domain.records import JobRecord, PartyRecord, Record, View
from trustspace.domain.rules_common import Changes
from trustspace.domain.statements import Statement
from trustspace.errors import (
    Stale,
    Unauthenticated,
)

CLOCK_SKEW_SECONDS = 300


def apply(view: View, statement: Statement, now: int) -> Changes:
    """Check a statement against what stands and return the records it changes.

    Raises:
        Unauthenticated: its author is no party of this space.
        PermissionDenied: its author may not; also when the thing does not exist.
        VerificationFailed: the signature or its key.
        InvalidInput, InvalidTransition, PolicyRefused, AlreadyExists, Stale: it may not stand now.

    """
    if abs(statement.issued - now) > CLOCK_SKEW_SECONDS:
        raise Stale(
            "The statement's time is more than {limit} seconds from the clock here.",
            fix="Check both clocks and sign again.", limit=CLOCK_SKEW_SECONDS,
        )  # fmt: skip
    if statement.type == "party":
        return rules_request.party(view, statement)
    author = view.get(PartyRecord, statement.by)
    if author is None:
        raise Unauthenticated(
            "The statement's author is not enrolled in this space.", fix="Ask for an invitation."
        )
    key = signing_key(author.body, statement).hex()
    return tuple(_noted(view, record, now) for record in _RULES[statement.type](view, statement, now, key))


def _noted(view: View, record: Record, now: int) -> Record:
    """A changed job remembers when its coarse state moved, so that it can be told later, and coarsely."""
    if not isinstance(record, JobRecord):
        return record
    old, told = view.get(JobRecord, record.statement), states.COARSE[record.state]
    if old is not None and states.COARSE[old.state] == told:
        return record
    return record.model_copy(update={"moves": (*record.moves, (now, told))})


_RULES: dict[str, Callable[[View, Statement, int, str], Changes]] = {
    Dataset.type: rules_request.dataset,
    DatasetWithdrawn.type: rules_request.dataset_withdrawn,
    Job.type: rules_request.job,
    Countersignature.type: rules_request.countersignature,
    JobCancellation.type: rules_request.cancellation,
    Grant.type: rules_request.grant,
    Refusal.type: rules_request.refusal,
    RunNonce.type: rules_run.run_nonce,
    RunOffer.type: rules_run.run_offer,
    CodeRelease.type: rules_run.code_release,
    KeyRelease.type: rules_run.key_release,
    RunFailed.type: rules_run.run_failed,
    Output.type: rules_output.output,
    Decision.type: rules_review.decision,
    Revocation.type: rules_review.revocation,
    Release.type: rules_review.release,
    Receipt.type: rules_review.receipt,
}
