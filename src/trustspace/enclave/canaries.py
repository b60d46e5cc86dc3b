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
    classes that the dataset has: each of them has a row to take the label from, in the column's own type. Of two
    classes, every other value than the positive one is the other; the first such row gives it. A row without a
    usable label stays as it is.
    """
    nobody = np.zeros(len(names), dtype=bool)
    if parameters.train is None or not parameters.terms.canaries:
        return Exchanged(table, nobody)
    labels, usable = read_target(table, parameters.train)
    classes, first = np.unique(labels[usable], return_index=True)
    shifts = draw_canaries(names, audited, parameters.terms.canaries, len(classes), key)
    if not shifts.any():
        return Exchanged(table, nobody)
    sources = np.flatnonzero(usable)[first]
    moved = usable & (shifts[codes] > 0)
    places = np.arange(table.num_rows)
    rank = np.searchsorted(classes, labels[moved])
    places[moved] = sources[(rank + shifts[codes][moved]) % len(classes)]
    column = column_of(table, parameters.train.target).combine_chunks().take(pa.array(places))
    at = table.column_names.index(parameters.train.target)
    return Exchanged(table.set_column(at, table.schema.field(at), column), shifts > 0)
