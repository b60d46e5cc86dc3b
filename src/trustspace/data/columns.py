"""The few column types a dataset may have, and how others become one of them.

Plain types are int64, float64, string, date32, timestamp[ms] and binary (PNG or JPEG). Booleans become
the integers 0 and 1, so that a table, its mock sample and a job agree on what a label looks like.
Missing is always null: never NaN, never an empty string.
"""

from __future__ import annotations

import unicodedata

import pyarrow as pa
import pyarrow.compute as pc

from trustspace.data.images import read_image_header
from trustspace.errors import InvalidInput

MAX_COLUMNS = 4096
MAX_NAME_CHARACTERS = 128


def plain_names(names: list[str], *, file: str) -> list[str]:
    """Trimmed, NFC-normalised column names.

    Raises InvalidInput for an empty, duplicate, over-long or unprintable name, or more than 4096 of
    them. Positions are given rather than names, because a file without a header would put values there.
    """
    if not names:
        raise InvalidInput("File {file} has no columns.", fix="Give a file with a line of names.", file=file)
    if len(names) > MAX_COLUMNS:
        raise InvalidInput(
            "File {file} has {count} columns; at most {limit} are accepted.",
            fix="Split it, or leave columns out.",
            file=file,
            count=len(names),
            limit=MAX_COLUMNS,
        )
    seen: dict[str, int] = {}
    plain = []
    for position, raw in enumerate(names, start=1):
        name = unicodedata.normalize("NFC", raw).strip()
        if not name:
            raise InvalidInput(
                "Column {position} of {file} has no name.",
                fix="Name it in the first line.",
                position=position,
                file=file,
            )
        if len(name) > MAX_NAME_CHARACTERS:
            raise InvalidInput(
                "The name of column {position} of {file} is longer than {limit} characters.",
                fix="Shorten it.",
                position=position,
                file=file,
                limit=MAX_NAME_CHARACTERS,
            )
        if not is_printable(name):
            raise InvalidInput(
                "The name of column {position} of {file} holds control or invisible characters.",
                fix="Rename it.",
                position=position,
                file=file,
            )
        if name in seen:
            raise InvalidInput(
                "Columns {first} and {second} of {file} have the same name.",
                fix="Rename one of them.",
                first=seen[name],
                second=position,
                file=file,
            )
        seen[name] = position
        plain.append(name)
    return plain


def is_printable(text: str) -> bool:
    """No control, format (bidirectional, zero-width), surrogate, private or line-separator characters."""
    return all(unicodedata.category(character) not in _UNPRINTABLE for character in text)


_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def plain_table(table: pa.Table, *, file: str = "table") -> pa.Table:
    """The same rows with plain types and no metadata (pandas and its like write authors' details there).

    Raises InvalidInput naming the column and its type where there is no plain form.
    """
    names = plain_names(list(table.column_names), file=file)
    columns = [plain_column(table.column(i), name=name, file=file) for i, name in enumerate(names)]
    return pa.table(columns, names=names)


def plain_column(column: pa.ChunkedArray, *, name: str, file: str) -> pa.ChunkedArray:
    """One column in one of the plain types; raises InvalidInput naming it where that cannot be."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return plain_column(column.cast(kind.value_type), name=name, file=file)
    if pa.types.is_null(kind):
        return column.cast(pa.float64())
    if pa.types.is_boolean(kind):
        return column.cast(pa.int64())
    if pa.types.is_integer(kind):
        return _whole_numbers(column, name=name, file=file)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _decimal_numbers(column, name=name, file=file)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _texts(column.cast(pa.string()))
    if pa.types.is_date(kind):
        return column.cast(pa.date32())
    if pa.types.is_timestamp(kind):
        return pc.cast(column, pa.timestamp("ms", kind.tz), safe=False).cast(pa.timestamp("ms"))
    if _is_bytes(kind):
        return _images(column.cast(pa.binary()), name=name, file=file)
    raise InvalidInput(
        "Column {column} of {file} has the type {type}, which a dataset cannot hold.",
        fix="Use numbers, text, dates, or PNG or JPEG bytes; lists and nested values are separate columns.",
        column=name,
        file=file,
        type=str(kind),
    )


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def _whole_numbers(column: pa.ChunkedArray, *, name: str, file: str) -> pa.ChunkedArray:
    if pa.types.is_uint64(column.type) and (pc.max(column).as_py() or 0) >= 2**63:
        raise InvalidInput(
            "Column {column} of {file} holds whole numbers above 2^63-1.",
            fix="Store identifiers as text.",
            column=name,
            file=file,
        )
    return column.cast(pa.int64())


def _decimal_numbers(column: pa.ChunkedArray, *, name: str, file: str) -> pa.ChunkedArray:
    numbers = column.cast(pa.float64())
    numbers = pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)
    if pc.any(pc.is_inf(numbers)).as_py():
        raise InvalidInput(
            "Column {column} of {file} holds infinite numbers.",
            fix="Leave the cell empty where there is no value.",
            column=name,
            file=file,
        )
    return numbers


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    empty = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(column)), 0)
    return pc.if_else(empty, pa.scalar(None, pa.string()), column)


def _images(column: pa.ChunkedArray, *, name: str, file: str) -> pa.ChunkedArray:
    row = 0
    for chunk in column.chunks:
        for cell in chunk:
            row += 1
            if cell.is_valid and read_image_header(cell.as_buffer()) is None:
                raise InvalidInput(
                    "Row {row} of column {column} in {file} is neither a PNG nor a JPEG image.",
                    fix="Store images as PNG or JPEG, and everything else as text or numbers.",
                    row=row,
                    column=name,
                    file=file,
                )
    return column
