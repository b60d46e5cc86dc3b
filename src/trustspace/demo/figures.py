"""What the whole thing was for, in numbers: everything is measured on the buyer's own patients, nothing is quoted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trustspace.demo.data import Cohort, Rows
from trustspace.jobs.metrics import auc

Scores = NDArray[np.float64]
_BAR_CELLS = 32


@dataclass(frozen=True)
class Auc:
    """Area under the ROC curve on the buyer's patients.

    ``local``: each hospital's own model, averaged over the hospitals; ``federated``: the released model;
    ``pooled``: one model on all hospitals' rows in one place, which nobody is allowed to make.
    """

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
    return Auc(local=float(np.mean(own)), federated=_area(cohort.buyer, released), pooled=pooled)


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
    """An area as a bar from 0.5 (chance) to 1."""
    filled = round(max(0.0, min(1.0, (value - 0.5) / 0.5)) * _BAR_CELLS)
    return "█" * filled + "·" * (_BAR_CELLS - filled)
