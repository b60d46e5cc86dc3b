"""The check of canaries: audited patients whose label was exchanged on purpose, where the job agreed to some.

They are the worst case and not the typical patient (Aerni, Zhang and Tramèr 2024): that a model tells such people apart
does not say that it tells others. So their area asks to look closely at most. The audit's bound on epsilon is another
matter: it holds for everybody, whoever shows it, and so it fails as it does for patients as they are.
"""

from __future__ import annotations

from typing import Any

from trustspace.domain.bodies import Policy
from trustspace.evidence.facts import RunFacts
from trustspace.evidence.figures import decimal
from trustspace.evidence.finding import Finding, Status
from trustspace.evidence.membership import estimate_shown, fit, limits_of, near_zero, span
from trustspace.evidence.words import say
from trustspace.privacy.membership import (
    Membership,
    fewest_measurable,
    judge,
    judge_bound,
    right_of_100,
    turned,
)


def canaries(facts: RunFacts, policy: Policy) -> Finding:
    """How well the canaries that were in the data are told from those that were not, by the fit to their label."""
    if not facts.canaries_percent:
        return Finding("could_not_run", say("canaries.not_agreed"))
    needed = fewest_measurable(policy.auc_warned_permille / 1000, policy.auc_failed_permille / 1000)
    seen: dict[str, Any] = {"canaries_percent": facts.canaries_percent, "canaries_needed": needed}
    found = facts.judged.canaries
    if found is None:
        # What was agreed and not done is never excused as if nobody had asked.
        return Finding("warned", say("canaries.did_not_run", needed=needed), seen)
    seen |= {
        "patients_in": found.members,
        "patients_out": found.others,
        "right_of_100": right_of_100(found.auc.value),
        "area": estimate_shown(found.auc),
        "epsilon_at_least": decimal(found.epsilon),
        "guesses": found.guesses,
        "right": found.right,
        "limits": {
            "area": [policy.auc_warned_permille, policy.auc_failed_permille],
            "epsilon": [policy.audit_warned_millis, policy.audit_failed_millis],
        },
    }
    claimed = facts.private.epsilon if facts.private is not None else None
    if claimed is not None:
        seen["epsilon_claimed"] = decimal(claimed)
    status, case = standing(found, policy, claimed)
    low, high = span(found.auc)
    words = say(
        f"canaries.{case}", patients=found.members + found.others, needed=needed, low=low, high=high,
        right=right_of_100(found.auc.value), guesses=found.guesses, hits=found.right, epsilon=f"{found.epsilon:.2f}",
        claimed=f"{claimed:.2f}" if claimed is not None else "-",
    )  # fmt: skip
    return Finding(status, words, seen, (fit(found), near_zero(found)))


def standing(found: Membership, policy: Policy, claimed: float | None = None) -> tuple[Status, str]:
    """The status of the check, and which sentence says why. ``claimed``: an epsilon that the job promises."""
    limits = limits_of(policy)
    bound = judge_bound(found.epsilon, limits)
    if claimed is not None and found.epsilon > claimed:
        return "failed", "claim"
    if bound == "failed":
        return "failed", "failed"
    # For a warning it is enough that chance is ruled out: by what it takes to fail, an interval above the lower limit,
    # two of ten overfitted models passed that had 40 canaries (benchmarks/canaries.py).
    area = turned(found.auc)
    if bound == "warned" or (area.value >= limits.auc_failed and area.low > area.chance):
        return "warned", "warned"
    if judge(area, limits.auc_warned, limits.auc_failed) == "could_not_run":
        return "warned", "too_few"
    return "passed", "passed"
