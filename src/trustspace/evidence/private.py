"""The check of a claim of differential privacy: is it kept, by what was seen, and do the measured attacks agree?"""

from __future__ import annotations

import math
from typing import Any

from trustspace.domain.bodies import Policy
from trustspace.evidence.facts import RunFacts
from trustspace.evidence.finding import Finding
from trustspace.evidence.words import say
from trustspace.jobs.chance import GENERATOR
from trustspace.jobs.claim import PrivateTraining, second_error

# Up to here a claim passes. Ponomareva et al., "How to DP-fy ML" (2023), section 5.2, call epsilon up to 10 reasonable
# for machine learning and beyond that weak; 8 is the largest that published DP-SGD trainings usually report (Abadi et
# al. 2016; De et al. 2022). It is a choice: at 8 the bound on a single guess says little, and what protects is that no
# known attack comes near it, which the audit beside it measures.
PASSED_UP_TO = 8.0
# The second accountant is above the exact epsilon by its error at most twice, and ours is an upper bound as well: where
# it is above ours by more, one of them is wrong. The other way round our bound was up to 7 times too large, with few
# steps (docs/differential-privacy.md).
ROUNDING = 0.01
LARGEST_RATIO, LARGEST_GAP = 10.0, 1.0


def differential_privacy(facts: RunFacts, _: Policy) -> Finding:
    """Whether the privacy that a training claims follows from what was seen of it, and nothing measured breaks it."""
    found = facts.private
    if found is None:
        if facts.promised:
            # Not a gap that a policy may excuse: something was promised to its patients.
            return Finding("failed", say("differential_privacy.not_seen"))
        return Finding("could_not_run", say("differential_privacy.no_claim"))
    audited = max((bound for bound in _bounds(facts)), default=0.0)
    seen: dict[str, Any] = {
        "epsilon_claimed": _decimal(found.epsilon),
        "delta": f"{found.delta:.10f}".rstrip("0"),
        "unit": "patient",
        "patients": found.patients,
        "sample_rate": _decimal(found.rate),
        "steps": found.steps,
        "noise_multiplier": _decimal(found.noise),
        "epsilon_accounted": _decimal(found.accounted),
        "epsilon_second_accountant": _decimal(found.check),
        "epsilon_at_least": _decimal(audited),
        "generator": found.generator,
        "passed_up_to": _decimal(PASSED_UP_TO),
    }
    words: dict[str, str | int] = {
        "epsilon": _short(found.epsilon),
        "factor": factor(found.epsilon),
        "accounted": f"{found.accounted:.2f}",
        "check": f"{found.check:.2f}",
        "audited": f"{audited:.2f}",
        "patients": found.patients,
        "limit": _short(PASSED_UP_TO),
    }
    case = _broken(found, audited)
    if case:
        return Finding("failed", say(f"differential_privacy.{case}", **words), seen)
    if facts.custom_code:
        return Finding("warned", say("differential_privacy.own_code", **words), seen)
    if found.epsilon > PASSED_UP_TO:
        return Finding("warned", say("differential_privacy.weak", **words), seen)
    return Finding("passed", say("differential_privacy.passed", **words), seen)


def _broken(found: PrivateTraining, audited: float) -> str:
    """What is wrong with the claim, "" for nothing."""
    if found.generator != GENERATOR:
        return "generator"
    if found.delta * found.patients >= 1:
        return "delta"
    if found.patients != found.told_patients:
        return "patients"
    if not found.accounted <= found.epsilon:
        return "exceeded"
    if (
        not found.check <= found.accounted * (1 + ROUNDING) + 2 * second_error(found.epsilon, found.steps)
        or not found.accounted <= found.check * LARGEST_RATIO + LARGEST_GAP
    ):
        return "disagree"
    return "audit" if audited > found.epsilon else ""


def _bounds(facts: RunFacts) -> list[float]:
    """The least epsilon that the measured attacks allow, of each that was measured."""
    judged = facts.judged
    compared = judged.references.best if judged.references is not None else None
    each = [judged.membership, compared, judged.canaries]
    return [one.epsilon for one in each if one is not None]


def factor(epsilon: float) -> str:
    """e^epsilon for people, rounded up: one decimal below ten, whole numbers above."""
    value = math.exp(epsilon)
    if value < 10:
        return f"{math.ceil(value * 10) / 10:.1f}"
    return f"{math.ceil(value)}" if value < 1e6 else f"{value:.0e}"


def _decimal(value: float) -> str:
    return f"{value:.6f}" if abs(value) < 1e12 else "infinite"


def _short(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")
