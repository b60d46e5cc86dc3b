"""Tables that the tests of the data room share."""

from __future__ import annotations

import traceback

import numpy as np
import pyarrow as pa

from trustspace.data.handin import drawn
from trustspace.data.patients import patient_keys


def clinic(patients: int = 300, visits: int = 1, seed: int = 7) -> pa.Table:
    """A made-up clinic: ``visits`` rows for each of ``patients``, with every kind but images."""
    rng = np.random.default_rng(seed)
    rows = patients * visits
    return pa.table(
        {
            "patient": [f"P{i:04d}" for i in np.repeat(np.arange(patients), visits)],
            "age": rng.integers(30, 80, rows),
            "creatinine": rng.normal(80, 15, rows).round(1),
            "诊断": rng.choice(["肺炎", "正常", "结节"], rows),
            "visited": pa.array(
                rng.integers(17_900, 18_900, rows).astype("datetime64[D]").tolist(), pa.date32()
            ),
            "note": [f"note {i} of this visit" for i in range(rows)],
        }
    )


def replaced(table: pa.Table, row: int, **values: object) -> pa.Table:
    """The same table with other values in one row."""
    columns = table.to_pydict()
    for name, value in values.items():
        columns[name][row] = value
    return pa.table({name: pa.array(columns[name], table.schema.field(name).type) for name in columns})


def everything_said(error: BaseException) -> str:
    """All text that could reach a log with an exception: message, details, causes, contexts, traceback."""
    parts = ["".join(traceback.format_exception(error))]
    seen: BaseException | None = error
    while seen is not None:
        parts += [str(seen), repr(seen), repr(seen.args), repr(getattr(seen, "details", ""))]
        seen = seen.__cause__ or seen.__context__
    return "\n".join(parts)


def split_by_patient(table, patient_column, percent, key):
    """The rows of the patients that are not drawn, and of those that are."""
    codes, names = patient_keys(table, patient_column)
    chosen = drawn(names, percent, key)[codes]
    return table.filter(pa.array(~chosen)), table.filter(pa.array(chosen))
