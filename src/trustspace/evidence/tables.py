"""Checks of numbers about groups: what follows from them together with earlier outputs, and whom a sum gives away.

What is computed, and where it comes from, is in ``privacy.overlap``, ``privacy.differencing`` and ``privacy.tables``.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from typing import Any

from trustspace.domain.bodies import Policy
from trustspace.evidence.facts import RunFacts
from trustspace.evidence.figures import Figure
from trustspace.evidence.finding import Finding, Status
from trustspace.evidence.released import MEAN, VARIANCE, Place, drawn, marks, shown_tables
from trustspace.evidence.words import say
from trustspace.jobs.statistics import HIDDEN
from trustspace.privacy.overlap import Comparison, Difference, Earlier
from trustspace.privacy.tables import (
    Amounts,
    degrees_of_freedom,
    dominates,
    is_known_too_well,
    may_dominate,
)

# How many earlier outputs a sentence names, and the facts list.
NAMED, LISTED = 3, 50
# Models that are fitted as a regression is; of others the number of parameters says little.
REGRESSIONS = ("logistic_regression",)
_PARAMETERS = "model."


def differencing(facts: RunFacts, policy: Policy) -> Finding:
    """No small group, and no few source units, follow from the output together with earlier ones."""
    found = facts.differencing
    if found is None:
        return Finding("could_not_run", say("differencing.could_not_run"))
    seen: dict[str, Any] = {
        "minimum_block": policy.minimum_block,
        "earlier_outputs": found.earlier,
        "same_patients": [_listed(output) for output in found.same[:LISTED]],
    }
    told: list[tuple[str, Difference]] = []
    for case, differences in (("group", found.groups), ("set", found.sets), ("unit", found.units)):
        told += [(case, one) for one in differences]
        if differences:
            size = "units" if case == "unit" else "patients"
            seen[f"told_by_{case}s"] = [
                {size: one.size, "outputs": [_listed(output) for output in one.outputs[:NAMED]]}
                for one in differences[:LISTED]
            ]
    if found.unlike:
        seen["not_compared"] = [_listed(output) for output in found.unlike[:LISTED]]
    if told:
        case, first = told[0]
        words = say(f"differencing.{case}", size=first.size, more=len(told) - 1, which=_named(first.outputs))
        return Finding("failed", words, seen, _group_tables(facts, found.groups))
    return _nothing_told(found, seen, policy)


def _nothing_told(found: Comparison, seen: dict[str, Any], policy: Policy) -> Finding:
    if found.too_many:
        return Finding("could_not_run", say("differencing.too_many", count=found.earlier), seen)
    if found.unlike:
        words = say("differencing.unlike", count=len(found.unlike), which=_named(found.unlike))
        return Finding("warned", words, seen)
    if not found.earlier:
        return Finding("passed", say("differencing.first"), seen)
    words = say("differencing.passed", count=found.earlier, block=policy.minimum_block)
    return Finding("passed", words, seen)


def _group_tables(facts: RunFacts, groups: Sequence[Difference]) -> tuple[Figure, ...]:
    if facts.released is None or not groups:
        return ()
    tables = drawn(facts.released)
    return shown_tables(tables, marks(tables, {count for one in groups for count in one.counts}))


def cell_tables(facts: RunFacts, policy: Policy) -> tuple[Figure, ...]:
    """The released tables with the counts marked that are hidden or smaller than the policy wants."""
    if facts.released is None:
        return ()
    tables = drawn(facts.released)
    marked: dict[int, list[Place]] = {}
    for number, table in enumerate(tables):
        small = (
            place
            for place in table.places.values()
            if (text := table.rows[place[0]][place[1]]).isdecimal()
            and 0 < int(text) < policy.minimum_cell_count
        )
        marked[number] = [*table.hidden, *small]
    return shown_tables(tables, marked)


def dominance(facts: RunFacts, policy: Policy) -> Finding:
    """No sum or mean is that of one or two patients, and what was estimated rests on enough of them."""
    if facts.kind == "train":
        return _fitted(facts, policy)
    if facts.kind != "statistics":
        return Finding("could_not_run", say("dominance.other"))
    if facts.released is None or facts.parts is None:
        return Finding("could_not_run", say("dominance.could_not_run"))
    parts = {one.column: one for one in facts.parts}
    failed, doubtful, thin, negative, shown = [], [], [], [], 0
    for row, item in enumerate(facts.released["numeric"], start=1):
        if item["mean"] == HIDDEN:
            continue
        shown += 1
        count = _count(item, facts.released)
        own, total = parts.get(item["column"], Amounts(item["column"], 0, 0)), float(item["mean"]) * count
        if own.negative or total < 0:
            negative.append(item["column"])
        elif dominates(own, total, policy.dominance_percent) or is_known_too_well(
            own, total, policy.p_percent
        ):
            failed.append((row, MEAN))
        elif facts.joint and may_dominate(own, total, policy.dominance_percent, policy.p_percent):
            doubtful.append((row, MEAN))
        if item["variance"] != HIDDEN and degrees_of_freedom(count, 1) < policy.minimum_degrees_of_freedom:
            thin.append((row, VARIANCE))
    seen: dict[str, Any] = {
        "sums_shown": shown,
        "dominance_percent": policy.dominance_percent,
        "p_percent": policy.p_percent,
        "minimum_degrees_of_freedom": policy.minimum_degrees_of_freedom,
    }
    names = [item["column"] for item in facts.released["numeric"]]
    for fact, cells in (("dominated", failed), ("perhaps_dominated", doubtful), ("few_degrees", thin)):
        if cells:
            seen[fact] = [names[row - 1] for row, _ in cells]
    if negative:
        seen["below_zero"] = negative
    found = failed or thin or doubtful
    figures = shown_tables(drawn(facts.released)[:1], {0: [*failed, *thin, *doubtful]}) if found else ()
    if not found:
        return Finding("passed", say("dominance.passed" if shown else "dominance.none", count=shown), seen)
    case = "failed" if failed else "thin" if thin else "doubtful"
    status: Status = "warned" if case == "doubtful" else "failed"
    columns = ", ".join(names[row - 1] for row, _ in found)
    words = say(
        f"dominance.{case}", columns=columns, percent=policy.dominance_percent, p=policy.p_percent,
        minimum=policy.minimum_degrees_of_freedom,
    )  # fmt: skip
    return Finding(status, words, seen, figures)


def _count(item: dict[str, Any], released: Any) -> int:
    """How many rows a shown mean is of; where that is hidden, at least how many."""
    if item["count"] != HIDDEN:
        return int(item["count"])
    # Its mean is shown, so that what is too few to show are the missing rows beside it.
    return int(released["rows"]) - int(released["minimum_cell_count"]) + 1


def _fitted(facts: RunFacts, policy: Policy) -> Finding:
    """The degrees of freedom that a regression leaves: patients less parameters."""
    tensors = [info for artifact in facts.observed for info in artifact.tensors]
    fitted = sum(math.prod(info.shape) for info in tensors if info.name.startswith(_PARAMETERS))
    if facts.model not in REGRESSIONS or not fitted:
        return Finding("could_not_run", say("dominance.other"))
    left = degrees_of_freedom(facts.patients, fitted)
    minimum = policy.minimum_degrees_of_freedom
    seen = {
        "patients": facts.patients, "parameters": fitted, "degrees_of_freedom": left,
        "minimum_degrees_of_freedom": minimum,
    }  # fmt: skip
    details: dict[str, str | int] = {"patients": facts.patients, "parameters": fitted, "minimum": minimum}
    if left >= minimum:
        return Finding("passed", say("dominance.fitted", **details), seen)
    if facts.joint:  # others' patients hold it up too, and how many they are is theirs to say
        return Finding("warned", say("dominance.fitted_together", **details), seen)
    return Finding("failed", say("dominance.overfitted", **details), seen)


def _named(outputs: Sequence[Earlier]) -> str:
    """The outputs by day and title, in words that need no language."""
    rest = len(outputs) - NAMED
    named = ", ".join(f"{_day(one)} «{one.title}»" for one in outputs[:NAMED])
    return named + (f" (+{rest})" if rest > 0 else "")


def _day(output: Earlier) -> str:
    return f"{datetime.datetime.fromtimestamp(output.made, datetime.UTC):%Y-%m-%d}"


def _listed(output: Earlier) -> dict[str, str]:
    return {"output": output.job, "title": output.title, "made": _day(output)}
