"""The Adversarial Robustness Toolbox: two of its black-box membership inferences.

The rule: who is answered rightly was a member. The learned one: a random forest that sees one half of members and of
others, with their labels and outputs, and is asked about the other half, as the toolbox's own notebook has it. The
toolbox gives no verdict.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from art.attacks.inference.membership_inference import (
    MembershipInferenceBlackBox,
    MembershipInferenceBlackBoxRuleBased,
)
from art.estimators.classification import BlackBoxClassifier
from loop import answer
from sklearn.metrics import roc_auc_score


def judge(asked: dict[str, Any]) -> dict[str, Any]:
    """``{"seed", "outputs", "labels", "members"}``: class probabilities, true classes, whether trained on, by row."""
    outputs, labels = np.asarray(asked["outputs"], np.float32), np.asarray(asked["labels"], np.int64)
    member = np.asarray(asked["members"], bool)
    started = time.perf_counter()
    np.random.seed(asked["seed"])  # noqa: NPY002 (the toolbox's forest draws from there)
    draw = np.random.default_rng(asked["seed"])
    # A record is its number; what the model says of it is known already.
    rows = np.arange(len(outputs), dtype=np.float64)[:, None]
    model = BlackBoxClassifier(lambda x: outputs[x[:, 0].astype(np.int64)], (1,), outputs.shape[1])
    right = MembershipInferenceBlackBoxRuleBased(model).infer(rows, labels) == 1
    learner = MembershipInferenceBlackBox(model, attack_model_type="rf")
    seen = np.zeros(len(rows), dtype=bool)
    for side in (member, ~member):
        seen[draw.permutation(np.flatnonzero(side))[: side.sum() // 2]] = True
    inside, outside, asked_of = seen & member, seen & ~member, ~seen
    learner.fit(rows[inside], labels[inside], rows[outside], labels[outside])
    scores = np.asarray(learner.infer(rows[asked_of], labels[asked_of], probabilities=True))
    scores = scores[:, 1] if scores.ndim == 2 and scores.shape[1] == 2 else scores.ravel()
    guessed = scores > 0.5
    return {
        "seconds": time.perf_counter() - started,
        "auc": float(roc_auc_score(member[asked_of], scores)),
        "tpr": float(guessed[member[asked_of]].mean()),
        "fpr": float(guessed[~member[asked_of]].mean()),
        "judged": [int((member & asked_of).sum()), int((~member & asked_of).sum())],
        "rule_tpr": float(right[member].mean()),
        "rule_fpr": float(right[~member].mean()),
        "verdict": None,
    }


if __name__ == "__main__":
    answer(("adversarial-robustness-toolbox", "scikit-learn"), judge)
