"""What the evidence benchmark found, for people: tables beside the goals, with the public tools' opinions."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.common import Ratio, Result, Row, Table
from trustspace.privacy.intervals import clopper_pearson

# Of the first look: so many seconds for a training shorter than that, a share of longer ones.
SHORT_SECONDS, MOST_SECONDS, MOST_SHARE = 100.0, 2.0, 0.02
STEPS = {
    "training": "training_seconds", "tier 0": "first_seconds", "the same again": "again_seconds",
    "trainings anew": "reference_seconds", "all evidence": "seconds",
}  # fmt: skip
NOTES = (
    (
        "Training, trainings anew and the same again: wall time of their sandboxes. The training finds a sandbox "
        "that waited for it; those that follow at once start anew, which is counted. Tier 0: everything else from "
        "the opened rows to the report, the evaluation's sandbox and its start included; of a table, all evidence "
        "but the same again."
    ),
    (
        "What verdict is expected stands in benchmarks/outputs.py with each case; the limits are a policy's "
        "defaults and were chosen on other models (see calibration). The interval is exact (Clopper and Pearson), "
        "over seeds that draw anew who is withheld, the start weights and the doubtful diagnoses, on one table of "
        "569 patients."
    ),
    (
        "None of these trainings takes 100 s; a longer one, of which 2 % is asked, is measured by itself (--long). "
        "Tier 0 passes every row through the exported model once, however often the training did."
    ),
)
TOOL_NOTES = (
    (
        "The tools are given the exported bytes' class probabilities for the same patients, trained on and "
        "withheld, and the true classes. Their seconds are of the attack alone, on one thread, without Python's "
        "start and the imports, and they are in no sandbox. They do without trainings anew, as tier 0 does."
    ),
    (
        "ART: a random forest on labels and outputs of half the records, asked about the other half; and the rule "
        "that whoever is answered rightly was a member. It gives no verdict; beyond chance is worked out here: an "
        "area above 0.5 at one-sided 5 %, so that one of twenty models that leak nothing is expected there."
    ),
    (
        "sacroml: the worst-case attack with its own settings and with each record's correctness, ten times. Its "
        "verdict is the recommendation of its own report."
    ),
    (
        "Small cells and differencing concern tables, of which neither tool has a notion. Rows hidden in weights "
        "on which the answers do not depend can be seen by no attack on answers: what a tool says of that model, "
        "it says of the model around them. It is amber here because a developer's own code made it."
    ),
)


def by_case(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of each case, in the order in which the cases came."""
    return {case: [r for r in rows if r["case"] == case] for case in dict.fromkeys(r["case"] for r in rows)}


def fill(result: Result, rows: Sequence[Mapping[str, Any]], missing: Mapping[str, str]) -> None:
    """Everything into one result; ``rows``: as the file has them, ``missing``: the tools that were not to be had."""
    cases = by_case(rows)
    measured: dict[str, list[float]] = {}
    for case, these in cases.items():
        for step, name in STEPS.items():
            values = [float(row[name]) for row in these]
            if any(values):
                measured[f"{case}: {step}"] = values
        for tool in dict.fromkeys(tool for row in these for tool in row["peers"]):
            measured[f"{case}: {tool}"] = [
                row["peers"][tool]["seconds"] for row in these if tool in row["peers"]
            ]
    result.rows += [Row.of(name, "s", values) for name, values in measured.items()]
    result.ratios += [
        Ratio.between(f"{case}: {step}", f"{case}: training", measured)
        for case in cases
        for step in ("tier 0", "trainings anew")
        if f"{case}: {step}" in measured
    ]
    result.tables += [detection(cases)]
    if any(row["peers"] for row in rows):
        result.tables += [tools(cases)]
        result.notes += TOOL_NOTES
    result.tables += [goals(cases)]
    result.facts |= {f"{name}, left out": why for name, why in missing.items()}
    result.notes[:0] = NOTES


def detection(cases: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """How often each case was told for what it is, and what else was said."""
    found = []
    for case, rows in cases.items():
        right = sum(row["verdict"] == row["expected"] for row in rows)
        low, high = clopper_pearson(right, len(rows))
        said = Counter(row["verdict"] for row in rows if row["verdict"] != row["expected"])
        asking = Counter(name for row in rows for name in row["decided_by"].split(", ") if name)
        found.append(
            (
                case, rows[0]["expected"], f"{right} of {len(rows)}", f"{low:.2f} to {high:.2f}",
                ", ".join(f"{verdict} {count}" for verdict, count in said.items()) or "-",
                _spread([row["right_of_100"] for row in rows], "{:.0f}") if rows[0]["areas"] else "-",
                ", ".join(f"{name} {count}" for name, count in asking.most_common()) or "-",
            )
        )  # fmt: skip
    head = (
        "output", "expected", "right", "95 % interval", "said instead", "right of 100 pairs", "checks that ask, times",
    )  # fmt: skip
    return Table(head, tuple(found))


def tools(cases: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """What each tool says of the same models."""
    found = []
    for case, rows in cases.items():
        asked = [row for row in rows if row["peers"]]
        if not asked:
            found.append((case, rows[0]["expected"], *["not seen"] * 8))
            continue
        ours = [
            f"{sum(row['verdict'] == colour for row in asked)} {colour}"
            for colour in ("red", "amber", "green")
            if any(row["verdict"] == colour for row in asked)
        ]
        art = [row["peers"]["art"] for row in asked if "art" in row["peers"]]
        sacroml = [row["peers"]["sacroml"] for row in asked if "sacroml" in row["peers"]]
        found.append(
            (
                case, asked[0]["expected"], ", ".join(ours),
                _spread([row["areas"]["membership"] for row in asked if "membership" in row["areas"]]),
                _spread([row["areas"]["references"] for row in asked if "references" in row["areas"]]),
                _spread([told["auc"] for told in art]),
                f"{sum(told['beyond_chance'] for told in art)} of {len(art)}",
                f"{_middle(art, 'rule_tpr')} / {_middle(art, 'rule_fpr')}",
                _spread([told["auc"] for told in sacroml]),
                f"{sum(told['verdict'] == 'against release' for told in sacroml)} of {len(sacroml)}",
            )
        )  # fmt: skip
    head = (
        "output", "expected", "here", "area of fit, here", "area against references, here", "ART forest: area",
        "ART: beyond chance", "ART rule: true / false positives", "sacroml: area", "sacroml: against release",
    )  # fmt: skip
    return Table(head, tuple(found))


def goals(cases: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """Each goal beside what was measured."""
    found = []
    for case, rows in cases.items():
        allowed = [
            MOST_SECONDS if row["training_seconds"] < SHORT_SECONDS else MOST_SHARE * row["training_seconds"]
            for row in rows
        ]
        within = sum(row["first_seconds"] < most for row, most in zip(rows, allowed, strict=True))
        share = statistics.median(row["first_seconds"] / row["training_seconds"] for row in rows)
        worst = max(row["first_seconds"] for row in rows)
        anew = [row["trainings"] for row in rows]
        cost = [
            row["reference_seconds"] / row["training_seconds"] / row["trainings"]
            for row in rows
            if row["trainings"]
        ]
        found.append(
            (
                case, f"{within} of {len(rows)}", f"{worst:.2f} s", f"{100 * share:,.0f} %", _spread(anew, "{:.0f}"),
                _spread(cost) if cost else "-",
            )
        )  # fmt: skip
    head = (
        "output", f"tier 0 under {MOST_SECONDS:g} s (trainings under {SHORT_SECONDS:g} s)", "slowest",
        "share of its training", "trainings anew", "each, in its training's time",
    )  # fmt: skip
    return Table(head, tuple(found))


def _spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    if not values:
        return "-"
    low, middle, high = (form.format(v) for v in (min(values), statistics.median(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


def _middle(told: Sequence[Mapping[str, Any]], name: str) -> str:
    return f"{statistics.median(one[name] for one in told):.2f}" if told else "-"
