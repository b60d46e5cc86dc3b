"""Checks of a trained model: could someone tell who was in the data, and does the same work give the same bytes?

What the numbers mean, and where their limits come from, is in ``privacy.membership``, ``privacy.references`` and
``privacy.audit``; the limits themselves are the source unit's policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trustspace.domain.bodies import Policy
from trustspace.evidence.facts import Judgement, RunFacts
from trustspace.evidence.figures import (
    Curve,
    Exposed,
    Exposure,
    Figure,
    Histogram,
    Series,
    Words,
    decimal,
    decimals,
)
from trustspace.evidence.finding import Finding, Status
from trustspace.evidence.words import say
from trustspace.privacy.groups import Group
from trustspace.privacy.membership import (
    Estimate,
    Limits,
    Membership,
    judge,
    right_of_100,
    turned,
    verdict,
)


def membership(facts: RunFacts, policy: Policy) -> Finding:
    """How well the model's fit alone tells a patient it was trained on from one that it never saw."""
    seen: dict[str, Any] = {
        "withheld_patients": facts.withheld_patients,
        "minimum": policy.minimum_withheld_patients,
    }
    if facts.kind != "train":
        return Finding("could_not_run", say("membership.no_model"), seen)
    if facts.withheld_patients < policy.minimum_withheld_patients:
        few = say(
            "membership.too_few", patients=facts.withheld_patients, minimum=policy.minimum_withheld_patients
        )
        return Finding("could_not_run", few, seen)
    found = facts.judged.membership
    if found is None:
        return Finding("could_not_run", say("membership.did_not_run"), seen)
    return _judged("membership", found, facts, policy, seen, _pictures(found, facts.judged))


def references(facts: RunFacts, policy: Policy) -> Finding:
    """The same by comparison with models trained anew on random halves of the patients."""
    if facts.kind != "train":
        return Finding("could_not_run", say("membership.no_model"))
    if not policy.reference_trainings:
        return Finding("passed", say("references.not_asked"), {"trainings": 0})
    found = facts.judged.references
    if found is None:
        return Finding(
            "could_not_run", say("references.did_not_run"), {"trainings": policy.reference_trainings}
        )
    seen: dict[str, Any] = {
        "trainings": found.trainings,
        "method": found.name,
        "groups": [
            {
                "group": group.name[:200], "patients_in": group.members, "patients_out": group.others,
                "right_of_100": right_of_100(group.auc.value), "area": estimate_shown(group.auc),
            }
            for group in facts.judged.groups
        ],
    }  # fmt: skip
    whole = _judged("references", found.best, facts, policy, seen, (near_zero(found.best),))
    standing_out = _standing_out(facts.judged, policy)
    if standing_out is None or whole.status == "failed":
        return whole
    low, high = span(standing_out.auc)
    words = say(
        "references.group", trainings=found.trainings, group=standing_out.name[:200],
        right=right_of_100(standing_out.auc.value), low=low, high=high,
    )  # fmt: skip
    return replace(whole, status="failed", summary=words)


def _standing_out(judged: Judgement, policy: Policy) -> Group | None:
    """The group that is told apart most, where that fails by itself; small ones cannot be cleared, nor blamed."""
    warned, failed = policy.auc_warned_permille / 1000, policy.auc_failed_permille / 1000
    areas = ((group, turned(group.auc)) for group in judged.groups)
    return next((group for group, area in areas if judge(area, warned, failed) == "failed"), None)


def asks_for_more(judged: Judgement, policy: Policy) -> bool:
    """Whether a second look could tell: nothing failed, and not everything is clear."""
    found = [judged.membership, judged.references.best if judged.references is not None else None]
    each = {_status(one, policy) for one in found if one is not None}
    if _standing_out(judged, policy) is not None:
        each.add("failed")
    return "failed" not in each and bool(each - {"passed"})


def best_guess(judged: Judgement) -> int | None:
    """Of 100 pairs of a patient who was in the data and one who was not, how many the best attack gets right."""
    found = [judged.membership, judged.references.best if judged.references is not None else None]
    areas = [one.auc for one in found if one is not None]
    return max((right_of_100(area.value) for area in areas), default=None)


def reexecution(facts: RunFacts, policy: Policy) -> Finding:
    """Whether the same code on the same data gave the same bytes a second time."""
    seen = {"policy": policy.reexecution}
    repeated = facts.judged.repeated
    if facts.kind == "score":
        return Finding("could_not_run", say("reexecution.random"), seen)
    if policy.reexecution == "skip":
        return Finding("passed", say("reexecution.skipped"), seen)
    if repeated == "not_run":
        return Finding("could_not_run", say("reexecution.did_not_run"), seen)
    if repeated == "other":
        case = "own_code" if facts.custom_code else "failed"
        return Finding("warned" if facts.custom_code else "failed", say(f"reexecution.{case}"), seen)
    case = "round" if facts.joint and facts.kind == "train" else "passed"
    return Finding("passed", say(f"reexecution.{case}"), seen)


def _judged(
    name: str,
    found: Membership,
    facts: RunFacts,
    policy: Policy,
    seen: dict[str, Any],
    figures: Sequence[Figure],
) -> Finding:
    status = _status(found, policy)
    seen |= {
        "patients_in": found.members,
        "patients_out": found.others,
        "right_of_100": right_of_100(found.auc.value),
        "area": estimate_shown(found.auc),
        "tail": estimate_shown(found.tail),
        "true_positives": estimate_shown(found.tpr),
        "epsilon_at_least": decimal(found.epsilon),
        "guesses": found.guesses,
        "right": found.right,
        "limits": {
            "area": [policy.auc_warned_permille, policy.auc_failed_permille],
            "tail": [policy.tail_warned_permille, policy.tail_failed_permille],
            "epsilon": [policy.audit_warned_millis, policy.audit_failed_millis],
        },
    }
    words: dict[str, str | int] = {
        "right": right_of_100(found.auc.value),
        "low": span(found.auc)[0],
        "high": span(found.auc)[1],
        "guesses": found.guesses,
        "hits": found.right,
        "trainings": int(seen.get("trainings", 0)),
    }
    case: str = status
    if facts.custom_code and status == "passed":
        # The numbers come from a process in which the developer's own code ran.
        status, case = "warned", "own_code"
    return Finding(status, say(f"{name}.{case}", **words), seen, tuple(figures))


def _status(found: Membership, policy: Policy) -> Status:
    return verdict(found, limits_of(policy))


def limits_of(policy: Policy) -> Limits:
    """A policy's limits, as shares and nats."""
    return Limits(
        auc_warned=policy.auc_warned_permille / 1000,
        auc_failed=policy.auc_failed_permille / 1000,
        tail_warned=policy.tail_warned_permille / 1000,
        tail_failed=policy.tail_failed_permille / 1000,
        epsilon_warned=policy.audit_warned_millis / 1000,
        epsilon_failed=policy.audit_failed_millis / 1000,
    )


def span(area: Estimate) -> tuple[int, int]:
    """Both ends of an area's interval as right guesses of 100, turned round with it where it lies below chance."""
    ends = (area.low, area.high) if area.value >= area.chance else (1 - area.high, 1 - area.low)
    return round(100 * ends[0]), round(100 * ends[1])


def estimate_shown(found: Estimate) -> list[str]:
    """A figure and both ends of its interval, as decimals."""
    return [decimal(found.value), decimal(found.low), decimal(found.high)]


def fit(found: Membership) -> Histogram:
    """How well the model fits those who were in, and those who were not."""
    return Histogram(
        title=_words("figure.fit"), x=_words("figure.loss"), edges=decimals(found.edges),
        series=(
            Series(name=_words("figure.inside"), counts=found.members_histogram),
            Series(name=_words("figure.outside"), counts=found.others_histogram),
        ),
    )  # fmt: skip


def _pictures(found: Membership, judged: Judgement) -> tuple[Figure, ...]:
    pictures: list[Figure] = [fit(found), near_zero(found)]
    if judged.exposed:
        rows = tuple(Exposed(key=key[:200], value=decimal(share)) for key, share in judged.exposed)
        pictures.append(Exposure(title=_words("figure.exposed"), rows=rows))
    return tuple(pictures)


def near_zero(found: Membership) -> Curve:
    """How many are found where few are accused wrongly."""
    points = tuple((decimal(x), decimal(y)) for x, y in found.roc)
    return Curve(
        title=_words("figure.roc"),
        x=_words("figure.false"),
        y=_words("figure.true"),
        points=points,
        chance="diagonal",
    )


def _words(key: str) -> Words:
    return Words(**say(key))
