"""The developer's side of encrypted scoring: real weights as integers of a declared size, and integers back as scores.

A feature v of a range [low, high] counts as x = round((v - low) / (high - low) * largest), 0 to 2^bits - 1, so

    intercept + sum_j w_j v_j  =  offset + step * sum_j W_j x_j,    W_j = round(w_j (high_j - low_j) / (largest * step))

with offset = intercept + sum_j w_j low_j and step such that the largest |W_j| has all of its bits. Only the W_j leave
the developer's machine, encrypted; the offset is added after decryption, times the rows of a sum.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from trustspace.errors import InvalidInput
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.sections_score import Score

MAX_WEIGHTS_BYTES = 1 << 20


@dataclass(frozen=True)
class Weights:
    """A linear model: a weight for each column of numbers, and what is added to all."""

    by_column: Mapping[str, float]
    intercept: float


@dataclass(frozen=True)
class Quantised:
    """Integer weights in the order of the features, and what turns their sums into scores again."""

    integers: tuple[int, ...]
    step: float
    offset: float

    def score(self, total: int, rows: int = 1) -> float:
        """The mean score of ``rows`` rows whose integer scores add up to ``total``."""
        return self.offset + self.step * total / rows


def read_weights(data: bytes, score: Score) -> Weights:
    """The weights in a file like ``{"weights": {"age": 0.03}, "intercept": -1.2}``.

    Raises InvalidInput unless it names exactly the features, each with a finite number.
    """
    try:
        value = json.loads(data.decode("utf-8")) if len(data) <= MAX_WEIGHTS_BYTES else None
    except (ValueError, RecursionError):
        value = None
    given = value.get("weights") if isinstance(value, dict) else None
    if (
        not isinstance(value, dict)
        or not isinstance(given, dict)
        or not set(value) <= {"weights", "intercept"}
    ):
        raise InvalidInput(
            "The file of weights is not of the form that is needed.",
            fix="Write {example}",
            example='{"weights": {"age": 0.03}, "intercept": -1.2}',
        )
    for name in sorted(set(given) ^ set(score.features)):
        raise InvalidInput(
            "The file of weights and the features differ in {column}.",
            fix="Give a weight for exactly the columns in score.features.",
            column=name[:200],
        )
    by_column = {name: _number(weight) for name, weight in given.items()}
    return Weights(by_column, _number(value.get("intercept", 0)))


def read_model(job_path: Path, weights: str, parameters: Parameters) -> Quantised:
    """The weights in the file that the job file at ``job_path`` names, as integers.

    Raises InvalidInput when it cannot be read, or does not fit the job's features.
    """
    try:
        with (job_path.parent / weights).open("rb") as file:
            data = file.read(MAX_WEIGHTS_BYTES + 1)
    except OSError:
        raise InvalidInput(
            "The file of weights {name} cannot be read.", fix="Check the path.", name=weights
        ) from None
    score = parameters.scoring()
    return quantise(score, parameters.weighed, read_weights(data, score))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput("A weight is not a number.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidInput("A weight is not a finite number.")
    return number


def quantise(score: Score, columns: tuple[str, ...], weights: Weights) -> Quantised:
    """The weights as integers below 2^(weight_bits - 1), in the order of ``columns``."""
    spans, lows = {}, {}
    for name, (low, high) in score.features.items():
        spans[name], lows[name] = float(Decimal(high) - Decimal(low)), float(Decimal(low))
    steps = {name: weights.by_column[name] * spans[name] / score.largest_feature for name in columns}
    most = max(abs(step) for step in steps.values())
    largest = (1 << (score.weight_bits - 1)) - 1
    step = most / largest if most else 1.0
    offset = weights.intercept + math.fsum(weights.by_column[name] * lows[name] for name in columns)
    if not (math.isfinite(most) and math.isfinite(offset) and step):
        raise InvalidInput("The weights are too large or too small for the ranges of their features.")
    integers = tuple(max(-largest, min(largest, round(steps[name] / step))) for name in columns)
    return Quantised(integers, step, offset)


def sigmoid(log_odds: float) -> float:
    """A logistic regression's probability, also for large arguments."""
    if log_odds >= 0:
        return 1 / (1 + math.exp(-log_odds))
    grown = math.exp(log_odds)
    return grown / (1 + grown)
