"""What the whole thing was for, in numbers: everything is measured on the buyer's own patients, nothing is quoted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trustspace.demo.data import Cohort, Rows
from trustspace.jobs.metrics import auc

Scores = NDArray[np.float64]
# Every sensible model of this table is far above chance: from 0.5 on, bars would look alike.
BAR_FROM = 0.9
_BAR_CELLS = 32
_PLOT_LINES = 4
_EIGHTHS = " ▁▂▃▄▅▆▇"
_LEFT_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True)
class Auc:
    """Area under the ROC curve on the buyer's patients.

    ``own``: each hospital's own model; ``local``: their mean; ``federated``: the released model; ``pooled``:
    one model on all hospitals' rows in one place, which nobody is allowed to make.
    """

    own: tuple[float, ...]
    local: float
    federated: float
    pooled: float

    def to_json(self) -> dict[str, float]:
        """As the report has it."""
        return {"local": self.local, "federated": self.federated, "pooled": self.pooled}


def measure(cohort: Cohort, released: Scores) -> Auc:
    """Compare the released model's scores, [buyer's patients], with what else could have been done."""
    own = [_area(cohort.buyer, _scikit_learn(rows, cohort.buyer)) for rows in cohort.hospitals]
    everything = Rows(
        np.concatenate([rows.values for rows in cohort.hospitals]),
        np.concatenate([rows.malignant for rows in cohort.hospitals]),
    )
    pooled = _area(cohort.buyer, _scikit_learn(everything, cohort.buyer))
    local = round(float(np.mean(own)), 6)
    return Auc(tuple(own), local=local, federated=_area(cohort.buyer, released), pooled=pooled)


def _area(rows: Rows, scores: Scores) -> float:
    found = auc(rows.malignant.astype(np.float64), scores)
    assert found is not None
    return round(found, 6)


def _scikit_learn(train: Rows, test: Rows) -> Scores:
    """scikit-learn's own logistic regression, in the clear: scores for ``test``, float64 [patients]."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(
        train.values, train.malignant
    )
    scores: Scores = model.predict_proba(test.values)[:, 1]
    return scores


def bar(value: float) -> str:
    """An area as a bar from BAR_FROM to 1, in eighths of a cell."""
    share = max(0.0, min(1.0, (value - BAR_FROM) / (1 - BAR_FROM)))
    whole, rest = divmod(round(share * _BAR_CELLS * 8), 8)
    return ("█" * whole + (_LEFT_EIGHTHS[rest] if rest else "")).ljust(_BAR_CELLS, "·")


def plot(values: Sequence[float]) -> list[str]:
    """A curve of positive numbers, one column of blocks each, from 0 at the foot; top line first."""
    top = max(values)
    heights = [round(value / top * _PLOT_LINES * 8) for value in values]
    lines = []
    for line in reversed(range(_PLOT_LINES)):
        eighths = [max(0, min(8, height - 8 * line)) for height in heights]
        cells = "  ".join("██" if e == 8 else _EIGHTHS[e] * 2 for e in eighths)
        label = top if line == _PLOT_LINES - 1 else 0.0 if line == 0 else None
        lines.append((f"{label:.2f} " if label is not None else " " * 5) + cells)
    return [*lines, " " * 5 + "  ".join(f"{number:<2}" for number in range(1, len(values) + 1))]
