"""SACRO-ML: its worst-case attack with its own settings, and the recommendation that its report makes of it.

Ten random forests, each taught with four fifths of members and others and asked about the rest; of a record they see
the sorted class probabilities and, since that makes the attack stronger, whether the answer was right. The
recommendation is the first part of its report: against release where more than a tenth of the areas are significant,
or where those that are have a mean above 0.65.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from typing import Any

import numpy as np
from loop import answer
from sacroml.attacks.attack_report_formatter import FinalRecommendationModule
from sacroml.attacks.target import Target
from sacroml.attacks.worst_case_attack import WorstCaseAttack
from sklearn.base import BaseEstimator


class Known(BaseEstimator):
    """A model as far as the attack looks: a record is its number, what is said of it is known already."""

    def __init__(self, outputs: Any = None) -> None:
        self.outputs = outputs

    def predict_proba(self, rows: Any) -> Any:
        return self.outputs[rows[:, 0].astype(np.int64)]

    def predict(self, rows: Any) -> Any:
        return self.predict_proba(rows).argmax(axis=1)


def judge(asked: dict[str, Any]) -> dict[str, Any]:
    """As the other driver's."""
    outputs, labels = np.asarray(asked["outputs"], np.float64), np.asarray(asked["labels"], np.int64)
    member = np.asarray(asked["members"], bool)
    rows = np.arange(len(outputs), dtype=np.float64)[:, None]
    started = time.perf_counter()
    np.random.seed(asked["seed"])  # noqa: NPY002 (its forests draw from there)
    with tempfile.TemporaryDirectory() as folder:
        attack = WorstCaseAttack(output_dir=folder, write_report=False, include_model_correct_feature=True)
        report = attack.attack(
            Target(
                model=Known(outputs), X_train=rows[member], y_train=labels[member], X_test=rows[~member],
                y_test=labels[~member],
            )
        )  # fmt: skip
    recommendation = FinalRecommendationModule({"worst case": report})
    recommendation.process_dict()
    reject_at_once, against, _ = recommendation.get_recommendation()
    took = time.perf_counter() - started
    turns = list(report["attack_experiment_logger"]["attack_instance_logger"].values())
    found = {
        name.lower(): statistics.fmean(float(turn[name]) for turn in turns) for name in ("AUC", "TPR", "FPR")
    }
    return {
        "seconds": took,
        **found,
        "judged": [int(turns[0]["n_pos_test_examples"]), int(turns[0]["n_neg_test_examples"])],
        "significant": int(report["metadata"]["global_metrics"]["n_sig_auc_p_vals_corrected"]),
        "turns": len(turns),
        "verdict": "against release" if reject_at_once or against else "for release",
    }


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    answer(("sacroml", "scikit-learn", "torch"), judge)
