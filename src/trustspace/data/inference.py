"""Which type the cells of a CSV column have, decided over the whole column and without losing a digit.

A column becomes a number only if every cell that is not missing is one. Leading zeros and more digits
than a number can hold keep it text: such cells are identifiers.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

MISSING = ("", "NA", "N/A", "n/a", "na", "NaN", "nan", "NULL", "Null", "null", "?", "-", "--", ".", "缺失")
_DATE = (
    r"^(?P<year>1[89]\d{2}|2[01]\d{2})[-/.年](?P<month>\d{1,2})[-/.月](?P<day>\d{1,2})日?"
    r"(?:[ T](?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?(?:\.0+)?)?$"
)


def infer_column(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Strings as int64, float64, date32, timestamp[ms] or (trimmed) string; missing as null.

    "true" and "false" in any case become 1 and 0; a column with no value at all becomes float64.
    """
    trimmed = pc.utf8_trim_whitespace(cells)
    missing = pc.is_in(trimmed, value_set=pa.array(MISSING))
    texts = pc.if_else(missing, pa.scalar(None, pa.string()), trimmed)
    if texts.null_count == len(texts):
        return texts.cast(pa.float64())
    for attempt in (_whole_numbers, _decimal_numbers, _booleans, _dates):
        typed = attempt(texts)
        if typed is not None:
            return typed
    return texts


def _whole_numbers(texts: pa.ChunkedArray) -> pa.ChunkedArray | None:
    numbers = _try_cast(texts, pa.int64())
    if numbers is None or _any_match(texts, r"^[+-]?0[0-9xX]"):
        return None
    return numbers


def _decimal_numbers(texts: pa.ChunkedArray) -> pa.ChunkedArray | None:
    numbers = _try_cast(texts, pa.float64())
    if numbers is None or not pc.all(pc.is_finite(numbers)).as_py():
        return None
    if _any_match(texts, r"^[+-]?(0[0-9]|\d{16})"):
        return None
    # "63.0" in one hospital's file is "63" in another's: whole values are whole numbers.
    exact = pc.and_(pc.equal(pc.floor(numbers), numbers), pc.less(pc.abs(numbers), float(2**53)))
    return numbers.cast(pa.int64()) if pc.all(exact).as_py() else numbers


def _booleans(texts: pa.ChunkedArray) -> pa.ChunkedArray | None:
    lowered = pc.utf8_lower(texts)
    if not pc.all(pc.is_in(lowered, value_set=pa.array(["true", "false", None]))).as_py():
        return None
    return pc.equal(lowered, "true").cast(pa.int64())


def _dates(texts: pa.ChunkedArray) -> pa.ChunkedArray | None:
    parts = pc.extract_regex(texts, _DATE)
    if parts.null_count != texts.null_count:
        return None
    year, month, day, hour, minute, second = (pc.struct_field(parts, [i]) for i in range(6))
    iso = pc.binary_join_element_wise(year, _two_digits(month), _two_digits(day), "-")
    dates = _try_cast(iso, pa.date32())
    if dates is None or not pc.any(pc.greater(pc.binary_length(hour), 0)).as_py():
        return dates
    clock = pc.binary_join_element_wise(_two_digits(hour), _two_digits(minute), _two_digits(second), ":")
    return _try_cast(pc.binary_join_element_wise(iso, clock, " "), pa.timestamp("ms"))


def _two_digits(part: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_lpad(part, 2, "0")


def _any_match(texts: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(texts, pattern)).as_py())


def _try_cast(texts: pa.ChunkedArray, to: pa.DataType) -> pa.ChunkedArray | None:
    # Arrow's message would quote the cell, so it is dropped here.
    try:
        return texts.cast(to)
    except pa.ArrowInvalid:
        return None
