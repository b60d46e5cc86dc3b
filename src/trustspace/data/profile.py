"""What the officer sees of a table before anything is public.

A profile holds exact values. It stays in the memory of the officer's program: it has no serialised form,
cannot be pickled, and its values do not print. Only ``description.propose_description`` reads from it, and
takes the coarse part: what at least ten patients share.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trustspace.data import imageset
from trustspace.data.columns import plain_table
from trustspace.data.identifying import looks_identifying
from trustspace.data.imageset import ImageSummary
from trustspace.data.patients import patient_keys
from trustspace.data.shared import MIN_PATIENTS, Codes, Numbers, patients_by_value, shared_bounds
from trustspace.data.signs import Sign
from trustspace.errors import InvalidInput

Kind = Literal["number", "integer", "category", "text", "date", "datetime", "image"]

MAX_CATEGORIES = 64
MAX_CATEGORY_CHARACTERS = 64

# The declared patient column is there to tell patients apart, so a different text in every row is expected
# of it. A name, a phone or the hospital's own record number is not: a pseudonym would do.
_EXPECTED_OF_PATIENTS = frozenset({Sign.UNIQUE_TEXT})
_NUMBER_LIKE = r"^\s*[+-]?(\d+\.?\d*|\.\d+)\s*$"


@dataclass(frozen=True)
class ColumnProfile:
    """One column; counts are of rows unless they say patients.

    ``low`` and ``high`` are the values that at least max(10, 5 %) patients lie at or beyond (dates: years),
    None where there are too few patients for both. ``categories`` pairs each distinct value with its number
    of patients; empty unless the kind is category. ``number_like`` counts texts that read as numbers.
    """

    name: str
    kind: Kind
    rows: int
    missing: int
    distinct: int
    signs: tuple[Sign, ...]
    low: float | None = field(repr=False, default=None)
    high: float | None = field(repr=False, default=None)
    categories: tuple[tuple[str, int], ...] = field(repr=False, default=())
    zeros: int = 0
    zeros_stand_apart: bool = False
    negatives: int = 0
    number_like: int = 0
    images: ImageSummary | None = None


@dataclass(frozen=True)
class Profile:
    """A table as its officer sees it."""

    rows: int
    patients: int
    patient_column: str | None
    repeated_rows: int
    columns: tuple[ColumnProfile, ...] = field(repr=False)

    def __reduce__(self) -> NoReturn:
        raise TypeError("A profile does not leave the program that made it.")

    @property
    def identifying(self) -> dict[str, tuple[Sign, ...]]:
        """Columns that carry signs of who somebody is."""
        return {column.name: column.signs for column in self.columns if column.signs}


def profile(table: pa.Table, *, patient_column: str | None) -> Profile:
    """Profile every column. Raises InvalidInput when the table is empty or ``patient_column`` unusable."""
    table = plain_table(table)
    if not table.num_rows:
        raise InvalidInput("The table has no rows.", fix="Give a table with rows.")
    codes, patients = patient_keys(table, patient_column)
    # Images are large and compared only for equality: their digests stand for them.
    comparable = [imageset.digests(c) if pa.types.is_binary(c.type) else c for c in table.columns]
    columns = []
    for name, values, compared in zip(table.column_names, table.columns, comparable, strict=True):
        distinct = int(pc.count_distinct(compared).as_py())
        column = _profile_column(name, values, codes, distinct)
        columns.append(_as_patient_column(column) if name == patient_column else column)
    return Profile(
        rows=table.num_rows,
        patients=len(patients),
        patient_column=patient_column,
        repeated_rows=_repeated_rows(comparable),
        columns=tuple(columns),
    )


def _profile_column(name: str, column: pa.ChunkedArray, codes: Codes, distinct: int) -> ColumnProfile:
    values = pc.drop_null(column)
    codes = codes[column.is_valid().to_numpy()]
    common: dict[str, Any] = {
        "name": name,
        "rows": len(column),
        "missing": column.null_count,
        "distinct": distinct,
        "signs": looks_identifying(name, column),
    }
    if pa.types.is_binary(column.type):
        return ColumnProfile(kind="image", images=imageset.summarise(values, codes, distinct), **common)
    if pa.types.is_string(column.type):
        categories = patients_by_value(values, codes)
        number_like = int(pc.sum(pc.match_substring_regex(values, _NUMBER_LIKE)).as_py() or 0)
        if not _are_categories(categories, values):
            return ColumnProfile(kind="text", number_like=number_like, **common)
        return ColumnProfile(kind="category", categories=categories, number_like=number_like, **common)
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        low, high = shared_bounds(pc.year(values).to_numpy().astype(np.float64), codes)
        kind: Kind = "date" if pa.types.is_date(column.type) else "datetime"
        return ColumnProfile(kind=kind, low=low, high=high, **common)
    numbers = pc.cast(values, pa.float64(), safe=False).to_numpy()
    low, high = shared_bounds(numbers, codes)
    return ColumnProfile(
        kind="integer" if pa.types.is_integer(column.type) else "number",
        low=low,
        high=high,
        zeros=int((numbers == 0).sum()),
        zeros_stand_apart=_zeros_stand_apart(numbers),
        negatives=int((numbers < 0).sum()),
        **common,
    )


def _as_patient_column(column: ColumnProfile) -> ColumnProfile:
    """Nothing of its content is described, and signs that any patient number shows are dropped."""
    return ColumnProfile(
        name=column.name,
        kind=column.kind if column.kind in ("integer", "number") else "text",
        rows=column.rows,
        missing=column.missing,
        distinct=column.distinct,
        signs=tuple(sign for sign in column.signs if sign not in _EXPECTED_OF_PATIENTS),
    )


def _are_categories(categories: tuple[tuple[str, int], ...], values: pa.ChunkedArray) -> bool:
    """Few distinct values, or few that together stand in most rows; none of them a paragraph."""
    if len(categories) <= MAX_CATEGORIES:
        return all(len(value) <= MAX_CATEGORY_CHARACTERS for value, _ in categories)
    shared = [value for value, patients in categories if patients >= MIN_PATIENTS]
    if not 1 <= len(shared) <= MAX_CATEGORIES or max(map(len, shared)) > MAX_CATEGORY_CHARACTERS:
        return False
    covered = pc.sum(pc.is_in(values, value_set=pa.array(shared))).as_py()
    return bool(2 * covered >= len(values))


def _zeros_stand_apart(numbers: Numbers) -> bool:
    """Zero where every other value is well above it, as when 0 was typed for an unmeasured cholesterol."""
    others = numbers[numbers != 0]
    if len(others) in (0, len(numbers)) or len(np.unique(others)) < 10:
        return False
    return bool(others.min() > 0.2 * np.median(others) > 0)


def _repeated_rows(columns: list[pa.ChunkedArray]) -> int:
    """Rows that are equal to an earlier one in every column."""
    codes = pa.table(
        {
            str(i): column.combine_chunks().dictionary_encode(null_encoding="encode").indices
            for i, column in enumerate(columns)
        }
    )
    return int(codes.num_rows - codes.group_by(codes.column_names, use_threads=False).aggregate([]).num_rows)
