"""Who is one patient: the one rule by which rows are counted, described and split."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trustspace.errors import InvalidInput


def patient_keys(table: pa.Table, patient_column: str | None) -> tuple[npt.NDArray[np.int64], list[str]]:
    """For each row the number of its patient, shape (rows,), and the text that stands for each patient.

    Spellings that differ only in case, surrounding space or width (NFKC) are one patient, so that a
    slip of the keyboard cannot put a patient on two sides. Without a patient column every row is one.
    Raises InvalidInput when the column is missing, is no text or number, or is empty in some row.
    """
    if patient_column is None:
        return np.arange(table.num_rows), [str(row) for row in range(table.num_rows)]
    if patient_column not in table.column_names:
        raise InvalidInput(
            "There is no column {column} to tell patients apart.",
            fix="Name a column of the table, or none.",
            column=patient_column,
        )
    column = table.column(patient_column)
    if not (_is_number(column.type) or pa.types.is_string(column.type)):
        raise InvalidInput(
            "Column {column} holds {type} and cannot tell patients apart.",
            fix="Name the column with the patients' numbers.",
            column=patient_column,
            type=str(column.type),
        )
    texts = _as_text(column)
    texts = pc.utf8_lower(pc.utf8_trim_whitespace(pc.utf8_normalize(texts, form="NFKC")))
    empty = texts.null_count + pc.sum(pc.equal(pc.utf8_length(texts), 0)).as_py() if len(texts) else 0
    if empty:
        raise InvalidInput(
            "Column {column} names no patient in {rows} rows.",
            fix="Fill it, or leave those rows out.",
            column=patient_column,
            rows=empty,
        )
    encoded = texts.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary.to_pylist()


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_floating(column.type):
        whole = pc.equal(pc.floor(column), column)
        if pc.all(whole).as_py() and (pc.max(pc.abs(column)).as_py() or 0) < 2**53:
            column = column.cast(pa.int64())
    return column.cast(pa.string())
