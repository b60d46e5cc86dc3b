"""What canaries tell and what they cost: sound, overfitted and private models, with and without changed labels.

    python -m benchmarks.canaries [--json FILE] [--turns 10]

Each table is drawn anew, with 4,000 further patients whom nothing has seen: by them it is known what a model is worth.
The same tables, coins and start weights are used without canaries and with a fifth and a half of the audited patients.
Models are trained by the platform's own loops, and the check is the report's under the default limits of a policy. The
noise of private models is drawn from the seed here: with it the figures come out the same again.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.calibration import FEATURES, MODELS, WITHHELD_PERCENT, Case, Floats, synthetic
from benchmarks.common import Result, Row, Table, arguments, finish, workspace
from trustspace.data.handin import draw_canaries, draw_withheld
from trustspace.domain.bodies import Policy
from trustspace.evidence.canaries import standing
from trustspace.jobs.metrics import per_row_loss
from trustspace.jobs.models import build
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.participants import Participants
from trustspace.jobs.references import fit_registered
from trustspace.jobs.training import Rows, answers_of, set_up
from trustspace.privacy.membership import Membership, measure

# Apart from those of the calibration and of all tests.
FIRST_SEED = 8_300_000
SIZES, AGREED = (500, 2000), (0, 20, 50)
EPSILON = "2"
PRIVATE = "overfitted, with noise"
KINDS: Mapping[str, Mapping[str, Any]] = {
    **{name: section for name, (_, section) in MODELS.items()},
    # The network of the overfitted ones, with the noise that keeps it from it.
    PRIVATE: {"model": "mlp", "hidden": [128, 64], "epochs": 30, "learning_rate": "0.005", "batch_size": 100},
}
NOISY = ("overfitted", "in between")
NOTES = (
    (
        "Accuracy: on 4,000 patients whom nothing has seen, with their own labels. Area of the others: of audited and "
        "withheld patients whose label is their own, by the model's fit alone, as the report's membership has it. Area "
        "and epsilon of canaries: median, and the range that all but a tenth lie in."
    ),
    (
        "Of overfitted models and those in between a quarter of all labels is anybody's guess to begin with "
        "(calibration says how tables are drawn); tables of the others, private models among them, have one in ten "
        "that is near to it."
    ),
)


@dataclass(frozen=True)
class Told:
    """One model: how good it is, what it tells of patients with their own label, and of canaries."""

    kind: str
    patients: int
    agreed: int
    accuracy: float
    others: Membership
    canaries: Membership | None
    status: str


def told(case: Case, kind: str, agreed: int, seed: int) -> Told:
    """Draw, exchange labels, train and judge one model as an enclave does."""
    sections: dict[str, Any] = {"privacy": _promise()} if kind == PRIVATE else {}
    columns = [f"column {place}" for place in range(FEATURES)]
    train = {"target": "target", "positive": "1", "batch_size": 32, "seed": seed % 2**32, **KINDS[kind]}
    parameters = Parameters.model_validate(
        {
            "kind": "train", "datasets": [{"id": "table", "version": 1, "columns": columns}], "train": train,
            "terms": {"withheld_percent": WITHHELD_PERCENT, "canaries": agreed}, **sections,
        }
    )  # fmt: skip
    names, key = [str(place) for place in range(len(case.target))], seed.to_bytes(31, "big")
    coins = draw_withheld(names, WITHHELD_PERCENT, key + b"s")
    shifts = draw_canaries(names, coins.audited, agreed, 2, key + b"c")
    target, chosen, members = (case.target + shifts) % 2, shifts > 0, ~coins.withheld
    count = int(members.sum())
    private = Participants(np.arange(count), count, key + b"n") if kind == PRIVATE else None
    with contextlib.redirect_stdout(io.StringIO()):
        set_up(parameters)
        module = build(parameters, None)
        platform = fit_registered(
            module, _rows(case.features[members], target[members]), parameters, private
        ).platform
    answers = answers_of(module, _rows(case.features, target), platform, parameters)
    loss = per_row_loss("binary", answers, target)
    unseen = answers_of(module, _rows(case.unseen_features, case.unseen_target), platform, parameters)
    accuracy = float(((unseen[:, 0] > 0) == (case.unseen_target == 1)).mean())
    plain, audited = ~chosen, coins.audited
    others = measure(
        loss[members & plain], loss[~members & plain], audited[members & plain], audited[~members & plain]
    )
    found = None
    if chosen.any():
        inside = chosen & members
        found = measure(loss[inside], loss[chosen & ~members], np.ones(int(inside.sum()), dtype=bool))
    claimed = float(EPSILON) if private is not None else None
    status = standing(found, Policy(), claimed)[0] if found is not None else "-"
    return Told(kind, len(names), agreed, accuracy, others, found, status)


def _promise() -> dict[str, Any]:
    ranges = {f"column {place}": ["-5", "5"] for place in range(FEATURES)}
    return {"epsilon": EPSILON, "delta": "0.0001", "ranges": ranges}


def _rows(features: Floats, target: Floats) -> Rows:
    return Rows(features, target, 0, np.ones(len(target), dtype=bool))


def models(turn: int) -> list[Told]:
    """Every kind of model on every size, without canaries and with each share of them."""
    found = []
    for place, kind in enumerate(KINDS):
        for size in SIZES:
            seed = FIRST_SEED + 1000 * turn + 10 * place + SIZES.index(size)
            case = synthetic(size, seed, noisy=kind in NOISY)
            found += [told(case, kind, agreed, seed) for agreed in AGREED]
    return found


def summary(found: Sequence[Told]) -> Table:
    """One line for each kind, size and share."""
    lines = []
    for kind in KINDS:
        for size in SIZES:
            for agreed in AGREED:
                of = [one for one in found if (one.kind, one.patients, one.agreed) == (kind, size, agreed)]
                if not of:
                    continue
                measured = [one.canaries for one in of if one.canaries is not None]
                said = [one.status for one in of]
                lines.append(
                    (
                        kind, str(size), f"{agreed} %",
                        f"{np.mean([m.members + m.others for m in measured]):.0f}" if measured else "0",
                        f"{100 * np.mean([one.accuracy for one in of]):.1f} %",
                        f"{np.median([one.others.auc.value for one in of]):.2f}",
                        _three([m.auc.value for m in measured]), _three([m.epsilon for m in measured]),
                        *(str(said.count(word)) if measured else "-" for word in ("passed", "warned", "failed")),
                    )
                )  # fmt: skip
    head = (
        "model", "patients", "agreed", "canaries", "accuracy", "area of the others", "area of canaries",
        "epsilon of canaries", "passed", "warned", "failed",
    )  # fmt: skip
    return Table(head, tuple(lines))


def _three(values: Sequence[float]) -> str:
    if not values:
        return "-"
    middle, low, high = np.quantile(values, (0.5, 0.05, 0.95))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> int:
    """Measure, print and write."""
    given = arguments("What canaries tell, and what they cost.", turns=10).parse_args()
    result = Result(
        "canaries",
        {
            "turns": given.turns, "withheld": f"{WITHHELD_PERCENT} %", "first seed": FIRST_SEED,
            "epsilon of private models": EPSILON,
        },
    )  # fmt: skip
    found: list[Told] = []
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as workers:
        for turn, of in enumerate(workers.map(models, range(given.turns))):
            found += of
            print(f"turn {turn + 1}/{given.turns}: {len(found)} models", file=sys.stderr, flush=True)
    result.tables = [summary(found)]
    result.rows = [
        Row.of("accuracy lost to half of the audited as canaries, sound models", "points", [
            100 * (plain.accuracy - changed.accuracy)
            for plain, changed in zip(*(
                [one for one in found if one.agreed == agreed and one.kind in ("linear", "small network")]
                for agreed in (0, 50)
            ), strict=True)
        ]),
    ]  # fmt: skip
    result.notes = list(NOTES)
    with workspace(given.work) as work:
        finish(result, work, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
