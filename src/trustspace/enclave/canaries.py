"""Canaries: audited patients whose label is exchanged on purpose, in the enclave, before anything of the job runs.

A model that has learnt what there is to learn gets them wrong, whether it was trained on them or not; one that knows
its patients by heart gets those right that it was trained on. They are the worst case of a patient, and so the most
telling (Aerni, Zhang and Tramèr 2024, "Evaluations of Machine Learning Privacy Defenses are Misleading").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustspace.data.handin import draw_canaries
from trustspace.jobs.features import column_of, read_target
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.sections import Train


@dataclass(frozen=True)
class Exchanged:
    """A table with the labels that a job is given, and who is a canary, bool [patients]."""

    table: pa.Table
    canaries: NDArray[np.bool_]


def exchanged(
    table: pa.Table, codes: NDArray[np.int64], names: Sequence[str], audited: NDArray[np.bool_],
    parameters: Parameters, key: bytes,
) -> Exchanged:  # fmt: skip
    """The table with the labels of the canaries' rows exchanged, as far as the job agrees to any.

    ``codes``: each row's patient, [rows]. All rows of a patient are moved on by as many classes, in the order of the
    classes that the job declares. Whether a row of a class is there has no part in it: were one patient the only one of
    a class, the labels of others would hang on them, withheld or not, and differential privacy counts on each for
    themselves. A row without a usable label stays as it is.
    """
    nobody = np.zeros(len(names), dtype=bool)
    if parameters.train is None or not parameters.terms.canaries:
        return Exchanged(table, nobody)
    labels, usable = read_target(table, parameters.train)
    column = column_of(table, parameters.train.target).combine_chunks()
    values = _values(column.type, parameters.train)
    for number in np.unique(labels[usable]).tolist():
        if number not in values:
            # A type that text cannot be turned into: then the first row of the class gives it.
            values[number] = column.slice(int(np.flatnonzero(usable & (labels == number))[0]), 1)
    classes = np.array(sorted(values))
    shifts = draw_canaries(names, audited, parameters.terms.canaries, len(classes), key)
    if not shifts.any():
        return Exchanged(table, nobody)
    moved = usable & (shifts[codes] > 0)
    places = np.arange(table.num_rows)
    rank = np.searchsorted(classes, labels[moved])
    # Behind the rows stands one value of each class.
    places[moved] = table.num_rows + (rank + shifts[codes][moved]) % len(classes)
    taken = _joined([column, *(values[number] for number in classes.tolist())]).take(pa.array(places))
    at = table.column_names.index(parameters.train.target)
    return Exchanged(table.set_column(at, parameters.train.target, taken), shifts > 0)


def _values(kind: pa.DataType, train: Train) -> dict[float, pa.Array]:
    """A value of each class, [1], by its number in :func:`read_target`, as far as such a column can have one.

    Of two classes, every other value than the positive one is the other.
    """
    texts = train.classes or (train.positive or "", "0", "1")
    found: dict[float, pa.Array] = {}
    for text in texts:
        try:
            value = pa.array([text]).cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
        labels, usable = read_target(pa.table({train.target: value}), train)
        # A class of another form, like 1.0 for what is read as 1, is none that a row could have.
        if usable[0]:
            found.setdefault(float(labels[0]), value)
    return found


def _joined(arrays: Sequence[pa.Array]) -> pa.Array:
    """One array; categories that are numbered in one byte, as pandas writes them, may be too many with another."""
    kind = arrays[0].type
    try:
        return pa.concat_arrays(arrays)
    except pa.ArrowInvalid:
        wider = pa.dictionary(pa.int32(), kind.value_type, kind.ordered)
        return pa.concat_arrays([array.cast(wider) for array in arrays])
