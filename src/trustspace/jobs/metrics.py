"""How good a model's answers are, in NumPy; and how a number becomes text that can be signed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trustspace.errors import VerificationFailed
from trustspace.jobs.sections import Task

NOT_MEASURABLE = "not measurable"
METRICS_FORMAT = "trustspace-training-v1"
EVALUATION_FORMAT = "trustspace-evaluation-v1"
FEDERATED_FORMAT = "trustspace-federated-v1"
# Of one row. A loss that means anything is far below.
LARGEST_LOSS = 1e6
# A score of 4 lies in the middle of its half of the bins: of 4096, 512 lie in each unit at 0, and 14 at 20.
_SCORE_SCALE = 4.0
_MOST_BINS, _FEWEST_BINS, _ALL_BINS = 4096, 64, 16_384
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


def per_row_loss(task: Task, logits: Floats, target: Floats) -> Floats:
    """The loss of each row, float64 [rows], from 0 to LARGEST_LOSS: nats or, for a number, squared error.

    Arguments as :func:`quality` has them. What is no number at all counts as the largest loss.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        if task == "binary":
            loss = np.logaddexp(0.0, np.where(target > 0.5, -logits[:, 0], logits[:, 0]))
        elif task == "multiclass":
            shifted = logits - logits.max(axis=1, keepdims=True)
            own = shifted[np.arange(len(target)), target.astype(np.int64)]
            loss = np.log(np.exp(shifted).sum(axis=1)) - own
        else:
            loss = (logits[:, 0] - target) ** 2
    capped: Floats = np.clip(np.nan_to_num(loss, nan=LARGEST_LOSS), 0.0, LARGEST_LOSS)
    return capped


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


def score_bins(outputs: int) -> int:
    """How many parts the range of scores is divided into: fewer with many classes, to keep the numbers few."""
    return min(_MOST_BINS, max(_FEWEST_BINS, _ALL_BINS // outputs))


def additive_length(task: Task, outputs: int) -> int:
    """How many numbers :func:`additive` gives."""
    return 4 if task == "regression" else 3 + 2 * outputs * score_bins(outputs)


def additive(task: Task, outputs: int, logits: Floats, target: Floats) -> Floats:
    """Numbers whose sums over disjoint sets of rows give the metrics of all rows, float64 [additive_length].

    For classes: rows, sum of losses, right answers, then for each output a histogram of the scores of the
    rows that are of its class and one of those that are not. For a number: rows, sum of squared errors, sum
    of targets, sum of their squares. Arguments as :func:`quality` has them.
    """
    rows = len(target)
    measured = quality(task, logits, target)
    loss_sum = (measured.loss or 0.0) * rows
    if task == "regression":
        return np.array([rows, loss_sum, target.sum(), (target**2).sum()], dtype=np.float64)
    right = float(round((measured.accuracy or 0.0) * rows))
    parts = [np.array([rows, loss_sum, right], dtype=np.float64)]
    for k in range(outputs):
        score = logits[:, 0] if task == "binary" else logits[:, k] - _log_sum_others(logits, k)
        own = target > 0.5 if task == "binary" else target.astype(np.int64) == k
        place = _bin_of(score, score_bins(outputs))
        counts = [np.bincount(place[chosen], minlength=score_bins(outputs)) for chosen in (own, ~own)]
        parts.append(np.concatenate(counts).astype(np.float64))
    return np.concatenate(parts)


def from_additive(task: Task, outputs: int, sums: Sequence[float] | Floats) -> Quality:
    """The metrics of all rows from the sum of what :func:`additive` gave for disjoint sets of them.

    The AUC is that of scores rounded to their bins: off by at most half the share of pairs of a positive and
    a negative row that fall into one bin. Raises VerificationFailed for numbers that no rows can give.
    """
    numbers = np.array(sums, dtype=np.float64)
    counts = numbers[[0]] if task == "regression" else np.delete(numbers, 1)
    if (
        numbers.shape != (additive_length(task, outputs),)
        or not bool(np.isfinite(numbers).all())
        or bool(((counts < 0) | (counts != np.floor(counts)) | (counts >= 2.0**53)).any())
        or numbers[1] < 0
    ):
        raise VerificationFailed("The measured sums are not those of any rows.")
    rows = int(numbers[0])
    if rows == 0:
        return Quality(task, 0)
    loss = float(numbers[1]) / rows
    if task == "regression":
        # In deviations of the training target, so that the difference of squares loses no digits.
        spread = float(numbers[3]) / rows - (float(numbers[2]) / rows) ** 2
        return Quality(task, rows, loss, r2=None if spread <= 1e-12 else 1.0 - loss / spread)
    histograms = numbers[3:].reshape(outputs, 2, score_bins(outputs))
    if numbers[2] > rows or bool((histograms.sum(axis=(1, 2)) != rows).any()):
        raise VerificationFailed("The measured sums are not those of any rows.")
    each = [_auc_of_histograms(own, others) for own, others in histograms]
    known = [value for value in each if value is not None]
    return Quality(task, rows, loss, float(np.mean(known)) if known else None, float(numbers[2]) / rows)


def _bin_of(score: Floats, bins: int) -> NDArray[np.int64]:
    """The bin of each score: all real numbers, finest around 0, in an order-preserving way."""
    share = 0.5 + 0.5 * score / (_SCORE_SCALE + np.abs(score))
    place: NDArray[np.int64] = np.clip(np.floor(share * bins), 0, bins - 1).astype(np.int64)
    return place


def _auc_of_histograms(positive: Floats, negative: Floats) -> float | None:
    pairs = float(positive.sum()) * float(negative.sum())
    if pairs == 0.0:
        return None
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2.0)).sum()) / pairs
