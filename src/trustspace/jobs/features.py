"""From Arrow columns to the numbers that a model sees, the same in training, evaluation and use.

A number column gives one number, missing (null, NaN or infinite) as NaN; a category column gives one 0/1
number for each declared category, all 0 for a missing or undeclared one. NumPy and Arrow only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trustspace.errors import InvalidInput
from trustspace.jobs.sections import Train
from trustspace.jobs.spec import Parameters

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Preparation:
    """How raw features become model inputs: float32 arrays [width], as they stand in the model file."""

    fill: NDArray[np.float32]
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def fit(cls, raw: Floats, categorical: NDArray[np.bool_], *, standardise: bool) -> Preparation:
        """From the training rows: the mean fills gaps; a constant or empty column keeps scale 1."""
        width = raw.shape[1]
        present = ~np.isnan(raw)
        counts = present.sum(axis=0)
        mean = np.where(present, raw, 0.0).sum(axis=0) / np.maximum(counts, 1)
        fill = np.where(categorical, 0.0, mean).astype(np.float32)
        if not standardise:
            return cls(fill, np.zeros(width, np.float32), np.ones(width, np.float32))
        spread = np.sqrt((np.where(present, raw - mean, 0.0) ** 2).sum(axis=0) / np.maximum(counts, 1))
        constant = categorical | (spread <= 1e-12 * np.maximum(np.abs(mean), 1.0))
        scale = np.where(constant, 1.0, spread).astype(np.float32)
        return cls(fill, np.where(categorical, 0.0, mean).astype(np.float32), scale)

    def apply(self, raw: Floats) -> NDArray[np.float32]:
        """Model inputs, float32 [rows, width], of raw features."""
        filled = np.where(np.isnan(raw), self.fill.astype(np.float64), raw)
        inputs: NDArray[np.float32] = ((filled - self.mean) / self.scale.astype(np.float64)).astype(
            np.float32
        )
        return inputs


def read_features(table: pa.Table, parameters: Parameters) -> Floats:
    """Raw features, float64 [rows, width], NaN where missing. Raises InvalidInput naming the column."""
    categories = parameters.training().categories
    parts: list[Floats] = []
    for name in parameters.features:
        column = column_of(table, name)
        if name in categories:
            parts.append(_one_hot(column, categories[name]))
        else:
            parts.append(numbers(column, name)[:, None])
    return np.concatenate(parts, axis=1) if parts else np.zeros((table.num_rows, 0))


def categorical_mask(parameters: Parameters) -> NDArray[np.bool_]:
    """Which of the model's inputs are 0/1 numbers of a category, bool [width]."""
    categories = parameters.training().categories
    flags = [np.full(len(categories.get(n, ("",))), n in categories) for n in parameters.features]
    return np.concatenate(flags)


def read_target(table: pa.Table, train: Train) -> tuple[Floats, NDArray[np.bool_]]:
    """The target of each row, and which rows have a usable one.

    Binary: 1 for ``positive``, 0 for every other value. Several classes: the index in ``classes``; a value
    that is not declared makes the row unusable. Numeric: the number.
    """
    column = column_of(table, train.target)
    if train.task == "regression":
        values = numbers(column, train.target)
        return values, ~np.isnan(values)
    if train.positive is not None:
        values = mapped(column, {train.positive: 1.0}, other=0.0)
    else:
        values = mapped(column, {label: float(i) for i, label in enumerate(train.classes or ())})
    return values, ~np.isnan(values)


def numbers(column: pa.ChunkedArray, name: str) -> Floats:
    """A column as float64, NaN where it is missing or not finite. Raises InvalidInput for text and dates."""
    kind = column.type
    if pa.types.is_boolean(kind):
        column = pc.cast(column, pa.int8())
    elif not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
    ):
        raise InvalidInput(
            "Column {column} does not hold numbers.",
            fix="Declare its categories in [train.categories], or leave it out.",
            column=name,
        )
    values: Floats = np.array(pc.cast(column, pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    values[~np.isfinite(values)] = np.nan
    return values


def mapped(column: pa.ChunkedArray, numbers_of: Mapping[str, float], *, other: float = math.nan) -> Floats:
    """A column's labels as numbers: those in ``numbers_of``, ``other`` for the rest, NaN where missing.

    A label is written as job files write it: ``M``, ``1`` (also for 1.0 and true).
    """
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    encoded = column.combine_chunks().dictionary_encode()
    distinct = [_label(value) for value in encoded.dictionary.to_pylist()]
    table = np.array([math.nan if d is None else numbers_of.get(d, other) for d in distinct] + [math.nan])
    codes = encoded.indices.fill_null(len(distinct)).to_numpy(zero_copy_only=False)
    values: Floats = table[codes]
    return values


def _label(value: Any) -> str | None:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def _one_hot(column: pa.ChunkedArray, declared: tuple[str, ...]) -> Floats:
    place = mapped(column, {label: float(i) for i, label in enumerate(declared)})
    hot: Floats = (place[:, None] == np.arange(len(declared))).astype(np.float64)
    return hot


def column_of(table: pa.Table, name: str) -> pa.ChunkedArray:
    """The column of that name. Raises InvalidInput when there is none, or more than one."""
    if table.column_names.count(name) != 1:
        raise InvalidInput("Column {column} is missing from the data.", column=name)
    return table.column(name)


def as_table(columns: pa.Table | Mapping[str, Any]) -> pa.Table:
    """A table from a table or a mapping of column name to values."""
    if isinstance(columns, pa.Table):
        return columns
    return pa.table({name: pa.array(values) for name, values in columns.items()})
