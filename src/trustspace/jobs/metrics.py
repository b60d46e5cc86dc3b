"""How good a model's answers are, in NumPy; and how a number becomes text that can be signed."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trustspace.jobs.sections import Task

NOT_MEASURABLE = "not measurable"
METRICS_FORMAT = "trustspace-training-v1"
EVALUATION_FORMAT = "trustspace-evaluation-v1"
_DECIMAL = re.compile(r"-?[0-9]{1,12}\.[0-9]{6}", re.ASCII)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Quality:
    """Metrics of one set of rows; None where there is nothing to measure (no rows, one class only).

    ``loss`` is in nats or, for a numeric target, in variances of the training target.
    """

    task: Task
    rows: int
    loss: float | None = None
    auc: float | None = None
    accuracy: float | None = None
    r2: float | None = None

    def to_json(self) -> dict[str, int | str]:
        """As integers and decimal strings: ``auc`` and ``accuracy`` for classes, ``r2`` for numbers."""
        value: dict[str, int | str] = {"rows": self.rows, "loss": decimal_text(self.loss)}
        if self.task == "regression":
            return value | {"r2": decimal_text(self.r2)}
        return value | {"auc": decimal_text(self.auc), "accuracy": decimal_text(self.accuracy)}


def decimal_text(value: float | None) -> str:
    """Six decimals, or the words "not measurable"."""
    if value is None or not abs(value) < 1e12:
        return NOT_MEASURABLE
    text = f"{value:.6f}"
    return "0.000000" if text == "-0.000000" else text


def is_decimal_text(value: object) -> bool:
    """Whether ``value`` is a number as :func:`decimal_text` writes it."""
    return isinstance(value, str) and _DECIMAL.fullmatch(value) is not None


def quality(task: Task, logits: Floats, target: Floats) -> Quality:
    """Metrics of raw model outputs.

    ``logits``: [rows, outputs], for a numeric target in standardised units; ``target``: [rows], 0/1, class
    index or the standardised number.
    """
    rows = len(target)
    if rows == 0:
        return Quality(task, 0)
    if task == "binary":
        score = logits[:, 0]
        loss = float(np.mean(np.logaddexp(0.0, score) - target * score))
        return Quality(task, rows, loss, auc(target, score), float(np.mean((score > 0) == (target > 0.5))))
    if task == "multiclass":
        index = target.astype(np.int64)
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(shifted).sum(axis=1))
        loss = float(np.mean(log_sum - shifted[np.arange(rows), index]))
        each = [
            auc((index == k).astype(np.float64), logits[:, k] - _log_sum_others(logits, k))
            for k in range(logits.shape[1])
        ]
        known = [value for value in each if value is not None]
        mean_auc = float(np.mean(known)) if known else None
        return Quality(task, rows, loss, mean_auc, float(np.mean(logits.argmax(axis=1) == index)))
    errors = logits[:, 0] - target
    spread = float(np.mean((target - target.mean()) ** 2))
    r2 = None if spread == 0.0 else 1.0 - float(np.mean(errors**2)) / spread
    return Quality(task, rows, float(np.mean(errors**2)), r2=r2)


def auc(target: Floats, score: Floats) -> float | None:
    """Probability that a positive scores above a negative, ties half (Mann-Whitney); None with one class."""
    positive = target > 0.5
    count = int(positive.sum())
    other = len(target) - count
    if count == 0 or other == 0:
        return None
    _, inverse, sizes = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    ranks = (last - (sizes - 1) / 2.0)[inverse]
    return float((ranks[positive].sum() - count * (count + 1) / 2.0) / (count * other))


def _log_sum_others(logits: Floats, k: int) -> Floats:
    others = np.delete(logits, k, axis=1)
    top = others.max(axis=1)
    result: Floats = top + np.log(np.exp(others - top[:, None]).sum(axis=1))
    return result
