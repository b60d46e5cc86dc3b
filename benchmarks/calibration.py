"""Where the membership measures' limits come from: models known to be sound or overfitted, at several sizes.

    python -m benchmarks.calibration [--json FILE] [--turns 30] [--models FILE]

Every model is trained by the platform's own loop, judged on patients withheld by the platform's rule (fair coins) and
compared with four reference trainings. Tables are drawn anew for each turn, from seeds and data that no test uses:
synthetic tables, and scikit-learn's wine, diabetes and digits. Of synthetic tables and digits there are further
patients whom nothing has seen: with them the true area under the curve is known, and a verdict can be called wrong.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets

from benchmarks.common import Result, Row, Table, arguments, finish, workspace
from trustspace.data.handin import draw_withheld
from trustspace.domain.bodies import Policy
from trustspace.jobs.metrics import per_row_loss
from trustspace.jobs.models import build
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.references import fit_registered, reference_parameters
from trustspace.jobs.training import Rows, Trained, answers_of, scaled_target, set_up
from trustspace.privacy.intervals import clopper_pearson
from trustspace.privacy.membership import Estimate, Limits, Membership, judge, measure, verdict
from trustspace.privacy.references import measure_references, random_halves

# Rule and limits were chosen on the models of 7,300,000 and after; what is reported is of seeds apart from those.
FIRST_SEED = 7_900_000
TRAININGS = 4
WITHHELD_PERCENT = 20
SIZES = (100, 140, 200, 500, 2000)
FEATURES, UNSEEN, NOISY_LABELS = 12, 4000, 0.25
MEASURED = ("fit", "references")
WORDS = {"fit": "fit alone", "references": "with references"}
# What of a measurement is only for pictures.
EMPTY = ("roc", "edges", "members_histogram", "others_histogram")
Floats = NDArray[np.float64]
# Each kind of model: whether it is meant to be sound, and its [train] section.
MODELS: Mapping[str, tuple[bool, Mapping[str, Any]]] = {
    "linear": (True, {"model": "logistic_regression", "epochs": 15, "weight_decay": "0.01"}),
    "small network": (
        True,
        {"model": "mlp", "hidden": [8], "epochs": 10, "weight_decay": "0.01", "learning_rate": "0.005"},
    ),
    "overfitted": (False, {"model": "mlp", "hidden": [128, 64], "epochs": 100, "learning_rate": "0.005"}),
    "in between": (False, {"model": "mlp", "hidden": [16], "epochs": 30, "learning_rate": "0.005"}),
}  # fmt: skip
NOTES = (
    (
        "Sound: few, penalised weights and few passes. Overfitted: 10,000 weights and more, 100 passes, no penalty, a "
        "quarter of the labels (of a number: as much noise as signal) drawn at random."
    ),
    (
        "True area: the loss of the patients trained on against that of thousands whom nothing has seen. Mean area: "
        "over all models of a kind, of the better reference score where there are two; each is unbiased, so it is the "
        "truth of the kind. Below the warned limit a kind is called sound, at the failed one leaking; false red, false "
        "amber (with not measurable) and missed (passed) are counted of those, with exact 95 % intervals. A model of a "
        "sound kind may itself leak more than its kind: some of the false reds are true."
    ),
    (
        "By the area: without what the tail says. With fewer than about 40 withheld patients a tail of 1 % cannot be "
        "measured, and the verdict is warned at best; a hospital of 140 patients that withholds a fifth is such a one. "
        "There the area alone would pass most sound models, and here and there one that leaks."
    ),
)


@dataclass(frozen=True)
class Case:
    """One table: its rows, and further rows of the same kind, to know the truth from (none: not known)."""

    name: str
    train: Mapping[str, Any]
    features: Floats
    target: Floats
    unseen_features: Floats
    unseen_target: Floats


@dataclass(frozen=True)
class Judged:
    """One model's figures: what its fit tells, what references tell, and the true area of its fit where it is known."""

    table: str
    patients: int
    model: str
    true_area: float | None
    fit: Membership
    references: Membership
    # The areas of both reference scores: before one is chosen, their mean over turns is the truth of their kind.
    areas: tuple[float, ...]
    seconds: float
    reference_seconds: float

    def to_json(self) -> dict[str, Any]:
        """As it is kept, so that other limits can be tried on it."""
        return asdict(self) | {name: _short(getattr(self, name)) for name in MEASURED}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Judged:
        """What :meth:`to_json` wrote."""
        kept = {name: _long(value[name]) for name in MEASURED}
        return cls(**{**value, **kept, "areas": tuple(value["areas"])})


def synthetic(patients: int, seed: int, *, noisy: bool) -> Case:
    """Two classes of a table of correlated numbers; one in ten labels, noisy one in four more, is anybody's guess."""
    draw = np.random.default_rng(seed)
    weights, mixing = draw.normal(size=FEATURES), draw.normal(size=(FEATURES, FEATURES)) / 3
    features = draw.normal(size=(patients + UNSEEN, FEATURES)) @ (np.eye(FEATURES) + mixing)
    score = features @ weights
    target = (score + 0.8 * score.std() * draw.normal(size=len(score)) > 0).astype(np.float64)
    random = draw.random(len(target)) < (NOISY_LABELS if noisy else 0.0)
    target = np.where(random, draw.integers(0, 2, len(target)), target).astype(np.float64)
    return Case("synthetic", {"positive": "1"}, *_cut(features, target, patients))


def real(name: str, seed: int, *, noisy: bool) -> Case:
    """One of scikit-learn's tables in a new order; of digits 600, the others are unseen."""
    draw = np.random.default_rng(seed)
    found = {"wine": datasets.load_wine, "diabetes": datasets.load_diabetes, "digits": datasets.load_digits}[
        name
    ]()
    order = draw.permutation(len(found.target))
    features, target = found.data[order].astype(np.float64), found.target[order].astype(np.float64)
    train: dict[str, Any] = {"loss": "mean_squared_error"}
    if name == "diabetes":
        target += (target.std() if noisy else 0.0) * draw.normal(size=len(target))
    else:
        classes = np.unique(found.target)
        train = {"classes": [str(label) for label in classes]}
        random = draw.random(len(target)) < (NOISY_LABELS if noisy else 0.0)
        target = np.where(random, draw.integers(0, len(classes), len(target)), target).astype(np.float64)
    kept = 600 if name == "digits" else len(target)
    return Case(name, train, *_cut(features, target, kept))


def _cut(features: Floats, target: Floats, kept: int) -> tuple[Floats, Floats, Floats, Floats]:
    return features[:kept], target[:kept], features[kept:], target[kept:]


def judged(case: Case, model: str, seed: int) -> Judged:
    """Train, judge and compare one model."""
    _, section = MODELS[model]
    columns = [f"column {place}" for place in range(case.features.shape[1])]
    parameters = Parameters.model_validate(
        {
            "kind": "train",
            "datasets": [{"id": "table", "version": 1, "columns": columns}],
            "train": {"target": "target", "batch_size": 32, "seed": seed % 2**32, **case.train, **section},
            "terms": {"withheld_percent": WITHHELD_PERCENT},
        }
    )
    if parameters.training().task == "regression":
        parameters = parameters.model_copy(
            update={"train": parameters.training().model_copy(update={"learning_rate": "0.003"})}
        )
    patients = len(case.target)
    coins = draw_withheld(
        [str(place) for place in range(patients)], WITHHELD_PERCENT, seed.to_bytes(32, "big")
    )
    members = ~coins.withheld
    task = parameters.training().task

    def losses(train_on: NDArray[np.bool_], used: Parameters, *others: tuple[Floats, Floats]) -> list[Floats]:
        rows = _rows(case.features[train_on], case.target[train_on])
        with contextlib.redirect_stdout(io.StringIO()):
            set_up(used)
            module = build(used, None)
            trained: Trained = fit_registered(module, rows, used)
        asked = [_rows(*pair) for pair in ((case.features, case.target), *others)]
        return [
            per_row_loss(
                task, answers_of(module, one, trained.platform, used), scaled_target(one, trained.platform)
            )
            for one in asked
        ]

    started = time.perf_counter()
    own, unseen = losses(members, parameters, (case.unseen_features, case.unseen_target))
    trained_at = time.perf_counter()
    first = measure(own[members], own[~members], coins.audited[members], coins.audited[~members])
    halves = random_halves(patients, TRAININGS, np.random.default_rng(seed + 1))
    anew = np.stack(
        [
            losses(half, reference_parameters(parameters, number, int(half.sum())))[0]
            for number, half in enumerate(halves)
        ]
    )
    compared = measure_references(own, anew, halves, members, coins.audited, squared=task == "regression")
    truth = measure(own[members], unseen).auc.value if len(unseen) else None
    return Judged(
        case.name, patients, model, truth, first, compared.best, tuple(m.auc.value for _, m in compared.each),
        trained_at - started, time.perf_counter() - trained_at,
    )  # fmt: skip


def _rows(features: Floats, target: Floats) -> Rows:
    return Rows(features, target, 0, np.ones(len(target), dtype=bool))


def cases(turn: int) -> Iterator[tuple[Case, str, int]]:
    """Every table with every kind of model, once."""
    seed = FIRST_SEED + 1000 * turn
    for model, (sound, _) in MODELS.items():
        for size in SIZES:
            seed += 7
            if size < 2000 or turn % 4 == 0:
                yield synthetic(size, seed, noisy=not sound), model, seed
        for name in ("wine", "diabetes", "digits"):
            seed += 7
            if name != "digits" or turn % 4 == 0:
                yield real(name, seed, noisy=not sound), model, seed


def summary(found: Sequence[Judged], limits: Limits) -> list[Table]:
    """Distributions of the measures, and what the rule says of them."""
    spreads: list[tuple[str, ...]] = []
    verdicts: list[tuple[str, ...]] = []
    keys = {(list(MODELS).index(one.model), one.table, one.patients): None for one in found}
    for number, table, patients in sorted(keys):
        model = list(MODELS)[number]
        of = [one for one in found if (one.table, one.patients, one.model) == (table, patients, model)]
        label = f"{model}, {table} {patients}"
        truths = [one.true_area for one in of if one.true_area is not None]
        spreads.append(
            (label, str(len(of)), _three(truths), *(
                _three([pick(getattr(one, which)) for one in of])
                for which in MEASURED
                for pick in (lambda m: m.auc.value, lambda m: m.tail.value, lambda m: m.epsilon)
            ))
        )  # fmt: skip
        for which in MEASURED:
            said = [verdict(getattr(one, which), limits) for one in of]
            counts = [said.count(word) for word in ("passed", "warned", "failed", "could_not_run")]
            areas = _areas(of, which, limits)
            counts += [areas.count("passed"), areas.count("failed")]
            verdicts.append(
                (
                    label,
                    WORDS[which],
                    f"{_truth(of, which):.3f}",
                    *(f"{100 * c / len(of):.0f} %" for c in counts),
                )
            )
    measures = tuple(f"{m} {WORDS[w]}" for w in MEASURED for m in ("area", "tail", "epsilon"))
    head = (
        "model and table", "measured", "mean area", "passed", "warned", "failed", "not measurable",
        "area passed", "area failed",
    )  # fmt: skip
    return [
        Table(("model and table", "models", "true area", *measures), tuple(spreads)),
        Table(head, tuple(verdicts)),
        Table(
            (
                "patients",
                "measured",
                "sound models",
                "false red",
                "false amber",
                "by the area",
                "leaking models",
                "red",
                "missed",
                "missed by the area",
            ),
            tuple(_errors(found, limits)),
        ),
    ]


def _truth(of: Sequence[Judged], which: str) -> float:
    """The mean area of one kind of model: each is unbiased, so it is the truth of the kind."""
    if which == "fit":
        return float(np.mean([one.fit.auc.value for one in of]))
    return float(np.max(np.mean([one.areas for one in of], axis=0)))


def _errors(found: Sequence[Judged], limits: Limits) -> Iterator[tuple[str, ...]]:
    """By size, over kinds of model whose mean area says what they are: below the warned limit, at the failed one."""
    kinds: dict[tuple[str, int, str], list[Judged]] = {}
    for one in found:
        kinds.setdefault((one.table, one.patients, one.model), []).append(one)
    bands = ((0, 120), (120, 180), (180, 450), (450, 1000), (1000, 10**9))
    for low, high in bands:
        for which in MEASURED:
            of = [o for (_, n, _), o in kinds.items() if low <= n < high]
            sound = [o for each in of if _truth(each, which) < limits.auc_warned for o in each]
            leaking = [o for each in of if _truth(each, which) >= limits.auc_failed for o in each]
            sizes = sorted({o.patients for each in of for o in each})
            if sizes:
                of_sound, of_leaking = _said(sound, which, limits), _said(leaking, which, limits)
                yield (
                    " and ".join(str(n) for n in sizes), WORDS[which],
                    str(len(sound)), _share(of_sound, "failed"), _share(of_sound, "warned", "could_not_run"),
                    _share(_areas(sound, which, limits), "warned", "could_not_run"),
                    str(len(leaking)), _share(of_leaking, "failed"), _share(of_leaking, "passed"),
                    _share(_areas(leaking, which, limits), "passed"),
                )  # fmt: skip


def _said(of: Sequence[Judged], which: str, limits: Limits) -> list[str]:
    return [verdict(getattr(one, which), limits) for one in of]


def _areas(of: Sequence[Judged], which: str, limits: Limits) -> list[str]:
    return [judge(getattr(one, which).auc, limits.auc_warned, limits.auc_failed) for one in of]


def _share(said: Sequence[str], *words: str) -> str:
    if not said:
        return "-"
    count = sum(said.count(word) for word in words)
    low, high = clopper_pearson(count, len(said))
    return f"{100 * count / len(said):.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def _three(values: Sequence[float]) -> str:
    """Median, and the range that all but a tenth lie in."""
    if not values:
        return "-"
    middle, low, high = np.quantile(values, (0.5, 0.05, 0.95))
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def _short(found: Membership) -> dict[str, Any]:
    kept = {name: value for name, value in asdict(found).items() if name not in EMPTY}
    return {
        name: {key: round(v, 5) for key, v in value.items()} if isinstance(value, dict) else value
        for name, value in kept.items()
    }


def _long(value: Mapping[str, Any]) -> Membership:
    estimates = {name: Estimate(**value[name]) for name in ("auc", "tail", "tpr")}
    return Membership(**{**value, **estimates, **dict.fromkeys(EMPTY, ())})


def main() -> int:
    """Measure, print and write."""
    parser = arguments("Calibrate the membership measures.", turns=30)
    parser.add_argument("--models", type=Path, metavar="FILE", help="keep every model's figures in this file")
    parser.add_argument(
        "--again", type=Path, metavar="FILE", help="judge the models of such a file by today's limits"
    )
    given = parser.parse_args()
    result = Result(
        "calibration",
        {
            "turns": given.turns,
            "trainings": TRAININGS,
            "withheld": f"{WITHHELD_PERCENT} %",
            "first seed": FIRST_SEED,
        },
    )
    found: list[Judged] = []
    if given.again is not None:
        found = [Judged.from_json(one) for one in json.loads(given.again.read_bytes())]
    for turn in range(given.turns if given.again is None else 0):
        found += [judged(case, model, seed) for case, model, seed in cases(turn)]
        print(f"turn {turn + 1}/{given.turns}: {len(found)} models", file=sys.stderr, flush=True)
    limits = limits_of(Policy())
    result.tables = summary(found, limits)
    largest = max(one.patients for one in found)
    of_largest = [one for one in found if one.patients == largest]
    result.rows = [
        Row.of(f"training, {largest} patients", "s", [one.seconds for one in of_largest]),
        Row.of(
            f"{TRAININGS} reference trainings, {largest} patients",
            "s",
            [one.reference_seconds for one in of_largest],
        ),
    ]
    result.facts = {name.replace("_", " "): value for name, value in asdict(limits).items()}
    result.settings["models"] = len(found)
    result.notes = list(NOTES)
    if given.again is not None:
        del result.settings["turns"]
        result.notes.append(
            "Judged from kept figures: the load, and the seconds in all, are of judging and not of training."
        )
    with workspace(given.work) as work:
        finish(result, work, given.json)
    if given.models is not None:
        given.models.write_text(json.dumps([one.to_json() for one in found]) + "\n", encoding="utf-8")
    return 0


def limits_of(policy: Policy) -> Limits:
    """A policy's limits of what can be told about membership."""
    return Limits(
        policy.auc_warned_permille / 1000, policy.auc_failed_permille / 1000,
        policy.tail_warned_permille / 1000, policy.tail_failed_permille / 1000,
        policy.audit_warned_millis / 1000, policy.audit_failed_millis / 1000,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
