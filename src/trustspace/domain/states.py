"""The state machines, each as one table. docs/architecture.md's diagrams are drawn from these.

An event is the type of the statement that causes it, or one of the events marked ``*`` that follow
from several statements together (everybody granted, the quorum stands) or from the clock.
"""

from __future__ import annotations

from trustspace.errors import InvalidTransition

DATASET_STATES = ("described", "uploading", "sealed", "withdrawn")
DATASET: dict[tuple[str, str], str] = {
    ("described", "*upload-begun"): "uploading",
    ("uploading", "dataset"): "sealed",
    ("sealed", "dataset-withdrawn"): "withdrawn",
}

JOB_STATES = (
    "submitted", "granted", "refused", "expired", "running", "failed", "in-review", "approved", "released", "rejected",
    "changes-requested", "revoked", "cancelled",
)  # fmt: skip
JOB: dict[tuple[str, str], str] = {
    ("submitted", "job-countersignature"): "submitted",
    ("submitted", "grant"): "submitted",
    ("submitted", "*all-granted"): "granted",
    ("submitted", "refusal"): "refused",
    ("submitted", "job-cancellation"): "cancelled",
    ("submitted", "*expired"): "expired",
    ("granted", "run-nonce"): "granted",
    ("granted", "run-offer"): "granted",
    ("granted", "code-release"): "granted",
    ("granted", "key-release"): "granted",
    ("granted", "*all-released"): "running",
    ("granted", "refusal"): "refused",
    ("granted", "run-failed"): "granted",
    ("granted", "*runs-used"): "failed",
    ("granted", "job-cancellation"): "cancelled",
    ("granted", "*expired"): "expired",
    # One enclave's failure or return; the run goes on while enough of the others are in it.
    ("running", "run-failed"): "running",
    ("running", "run-nonce"): "running",
    ("running", "run-offer"): "running",
    ("running", "code-release"): "running",
    ("running", "key-release"): "running",
    ("running", "*run-ended"): "granted",
    ("running", "output"): "running",
    ("running", "*all-handed-in"): "in-review",
    ("running", "refusal"): "refused",
    ("running", "job-cancellation"): "cancelled",
    ("running", "*expired"): "expired",
    ("in-review", "decision"): "in-review",
    ("in-review", "*rejected"): "rejected",
    ("in-review", "*changes"): "changes-requested",
    ("in-review", "revocation"): "revoked",
    ("in-review", "*quorum"): "approved",
    ("in-review", "job-cancellation"): "cancelled",
    ("in-review", "*expired"): "expired",
    ("approved", "decision"): "in-review",
    ("approved", "revocation"): "revoked",
    ("approved", "job-cancellation"): "cancelled",
    ("approved", "*expired"): "expired",
    ("approved", "release"): "released",
    ("released", "receipt"): "released",
    # After a receipt a revocation is a notice; before it, it closes.
    ("released", "revocation"): "released",
    ("released", "*no-receipt"): "revoked",
}

# Who acts next in each state: nothing waits for nobody.
JOB_OWNER: dict[str, str] = {
    "submitted": "source units and buyer",
    "granted": "brokers and enclaves",
    "running": "enclaves",
    "in-review": "reviewers",
    "approved": "space",
    "released": "buyer",
    "refused": "", "expired": "", "failed": "", "rejected": "", "changes-requested": "", "revoked": "",
    "cancelled": "",
}  # fmt: skip

# What a developer sees, and nothing finer (trust model: quiet channels).
COARSE: dict[str, str] = {
    "submitted": "waiting", "granted": "waiting", "running": "running", "in-review": "in review",
    "approved": "in review", "released": "released",
    "refused": "not released", "expired": "not released", "failed": "not released", "rejected": "not released",
    "changes-requested": "changes requested", "revoked": "revoked", "cancelled": "not released",
}  # fmt: skip


def at(state: str, expires: int, now: int) -> str:
    """A job's state at a time: no statement says that a job has expired, so that a replay alone does not tell."""
    return JOB.get((state, "*expired"), state) if now > expires else state


def coarse_state(moves: tuple[tuple[int, str], ...], now: int, slot_seconds: int) -> str:
    """What a developer or buyer is told: the coarse state as of the last slot's beginning.

    ``moves`` are (seconds, coarse state) since submission, oldest first. A release is told at once, and what becomes
    of it: from then on there is nothing left to hide.
    """
    if any(state == "released" for _, state in moves):
        return moves[-1][1]
    boundary = now - now % slot_seconds if slot_seconds else now + 1
    told = "waiting"
    for at, state in moves:
        if at < boundary:
            told = state
    return told


def advance(table: dict[tuple[str, str], str], state: str, event: str, what: str) -> str:
    """The state after ``event``.

    Raises:
        InvalidTransition: naming the state that the thing is in.

    """
    after = table.get((state, event))
    if after is None:
        raise InvalidTransition(
            "This {what} is in state {state}: {event} cannot happen now.",
            what=what, state=state, event=event.lstrip("*"),
        )  # fmt: skip
    return after
