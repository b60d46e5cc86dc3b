"""The groups of rows that a training job names by itself: the classes of its target, and its columns' categories."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustspace.jobs.features import column_of, mapped
from trustspace.jobs.parameters import Parameters

MOST_NAMED = 64


def groups_of(table: pa.Table, parameters: Parameters) -> dict[str, NDArray[np.bool_]]:
    """Which rows are in each group, bool [rows], by a name such as ``sex = female``; at most MOST_NAMED.

    A target of two classes gives the positive one and the others; a numeric one gives none. Raises InvalidInput for a
    column that is missing.
    """
    train = parameters.training()
    labels = {name: train.categories[name] for name in parameters.features if name in train.categories}
    found: dict[str, NDArray[np.bool_]] = {}
    if train.positive is not None:
        positive = _rows(table, train.target, train.positive)
        found = {
            f"{train.target} = {train.positive}": positive,
            f"{train.target} ≠ {train.positive}": ~positive,
        }
    elif train.classes is not None:
        labels = {train.target: train.classes} | labels
    for column, each in labels.items():
        for label in each:
            if len(found) == MOST_NAMED:
                return found
            found[f"{column} = {label}"] = _rows(table, column, label)
    return found


def _rows(table: pa.Table, column: str, label: str) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = mapped(column_of(table, column), {label: 1.0}, other=0.0) == 1.0
    return inside
