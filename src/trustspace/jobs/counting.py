"""The program ``statistics``: counts one source unit's table, as numbers that can be added up."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustspace.data.handin import from_buffer
from trustspace.errors import InvalidInput
from trustspace.jobs.features import column_of, mapped, numbers
from trustspace.jobs.federation import SUMS_ARTIFACT, write_sums
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.programs import Emit, Inputs
from trustspace.jobs.statistics import GROUPS, NumericPlace, TablePlace, layout

Floats = NDArray[np.float64]
# Far below what an exact sum over 256 source units can hold, 2**100.
_LARGEST = 2.0**90
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def run(inputs: Inputs, emit: Emit) -> None:
    """The program ``statistics``: see :func:`trustspace.jobs.programs.statistics`."""
    parameters = Parameters.from_json(json.loads(bytes(inputs["parameters"])))
    table = from_buffer(inputs["data"])
    emit(SUMS_ARTIFACT, "application/json", write_sums(count_table(table, parameters)))
    print(f"counted {table.num_rows} rows", flush=True)


def count_table(table: pa.Table, parameters: Parameters) -> Floats:
    """The additive numbers of one table, laid out as :func:`trustspace.jobs.statistics.layout` says.

    Raises InvalidInput for a column that is missing, does not hold numbers, or holds too large ones.
    """
    places = layout(parameters)
    vector: Floats = np.zeros(places.length)
    vector[0] = table.num_rows
    for place in places.numeric:
        vector[place.start : place.start + place.length] = _column(
            numbers(column_of(table, place.column), place.column), place
        )
    for spot in places.tables:
        vector[spot.start : spot.start + math.prod(spot.shape)] = _cells(table, spot)
    return vector


def _column(raw: Floats, place: NumericPlace) -> Floats:
    """``raw``: [rows], NaN where missing."""
    values = raw[~np.isnan(raw)]
    with np.errstate(over="ignore"):
        scaled = (values - place.centre) / place.scale
        squares = scaled**2
    if not (np.abs(squares) < _LARGEST / max(len(values), 1)).all():
        raise InvalidInput(
            "Column {column} holds numbers that are too large to be added up.",
            fix="Leave it out, or give its range in [statistics.bounds].",
            column=place.column,
        )
    counted: list[Any] = [[len(values), math.fsum(scaled), math.fsum(squares)], _groups(values)]
    if place.bins:
        inside = values[(values >= place.low) & (values <= place.high)]
        part = np.floor((inside - place.low) / (place.high - place.low) * place.bins).astype(np.int64)
        counted += [
            [int((values < place.low).sum()), int((values > place.high).sum())],
            # The upper end of the range belongs to its last part.
            np.bincount(np.minimum(part, place.bins - 1), minlength=place.bins),
        ]
    return np.concatenate([np.asarray(piece, dtype=np.float64) for piece in counted])


def _groups(values: Floats) -> NDArray[np.int64]:
    """How many values fall into each of :data:`GROUPS` groups, equal ones always into the same.

    Whole numbers that are near each other never share a group; others are mixed by their bits (Fibonacci
    hashing), so that two of them seldom do.
    """
    values = values + 0.0  # -0.0 is 0.0
    bits = (values.view(np.uint64) * _MULTIPLIER) >> np.uint64(56)
    whole = (values == np.floor(values)) & (np.abs(values) < 2.0**53)
    last_digits = np.where(whole, values, 0.0).astype(np.int64) & (GROUPS - 1)
    group = np.where(whole, last_digits, bits.astype(np.int64))
    return np.bincount(group, minlength=GROUPS)


def _cells(table: pa.Table, place: TablePlace) -> NDArray[np.int64]:
    """Counts of a table, row by row, [product of its shape]."""
    return np.bincount(cells_of(table, place), minlength=math.prod(place.shape))


def cells_of(table: pa.Table, place: TablePlace) -> NDArray[np.int64]:
    """For each row the number of its cell, row by row of the table's shape, [rows]."""
    cell = np.zeros(table.num_rows, dtype=np.int64)
    for name, labels in zip(place.columns, place.categories, strict=True):
        # The last two labels are the platform's own: any other value, and none.
        other, missing = len(labels) - 2, len(labels) - 1
        declared = {label: float(i) for i, label in enumerate(labels[:other])}
        found = mapped(column_of(table, name), declared, other=float(other))
        cell = cell * len(labels) + np.where(np.isnan(found), missing, found).astype(np.int64)
    return cell
