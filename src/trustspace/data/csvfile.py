"""CSV text into a table of strings.

Arrow parses; Python's csv reader names the header and, when Arrow refuses, finds the line. Arrow's own
message is never passed on: it quotes the row.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from trustspace.data.columns import plain_names
from trustspace.data.value_signs import text_signs
from trustspace.errors import InvalidInput

DELIMITERS = ",\t;"
_LOOKS_LIKE_VALUE = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|\d{4}[-/.年]\d{1,2}[-/.月]\d{1,2}.*|\?"
)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Above the longest possible line of names: 4,096 of 128 characters each.
_HEADER_CHARACTERS = 1 << 20


def read_csv(data: bytes, *, file: str, column_names: Sequence[str] | None = None) -> pa.Table:
    """All cells as strings, untouched; shape (rows, columns).

    The text is UTF-8, UTF-16 with a byte order mark, or else GB18030; separated by commas, tabs or
    semicolons. ``column_names`` says that the file has no line of names. Raises InvalidInput naming the
    file and, where there is one, the line; never what the line holds.
    """
    text, utf8 = _decode(data, file=file)
    if not text.strip():
        raise InvalidInput("File {file} is empty.", fix="Give a file with names and rows.", file=file)
    if "\0" in text:
        raise InvalidInput(
            "File {file} is not text: it holds zero bytes.", fix="Save it as CSV in UTF-8.", file=file
        )
    delimiter = _delimiter(text)
    if column_names is None:
        header, header_lines = _header(text, delimiter, file=file)
    else:
        header, header_lines = list(column_names), 0
    names = plain_names(header, file=file)
    table = _parse(utf8, names, delimiter, header_lines)
    if table is None or (
        b'"' in utf8 and _holds_line_breaks(table) and not _strictly_quoted(text, delimiter)
    ):
        raise _broken(text, delimiter, len(names), header_lines, file=file)
    if not table.num_rows:
        raise _no_rows(file)
    return table


def _decode(data: bytes, *, file: str) -> tuple[str, bytes]:
    """The text, and the same in UTF-8."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            text = _try_decode(data[len(mark) :], encoding)
            break
    else:
        text = _try_decode(data, "utf-8")
        if text is not None:
            return text, data
        text = _try_decode(data, "gb18030")
    if text is None:
        raise InvalidInput(
            "File {file} is neither UTF-8 nor GB18030 text.", fix="Save it as CSV in UTF-8.", file=file
        )
    return text, text.encode()


def _try_decode(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _delimiter(text: str) -> str:
    """The separator most frequent in the first line that is not blank, outside quotes."""
    first = next(line for line in text[:_HEADER_CHARACTERS].splitlines() if line.strip())
    unquoted = re.sub(r'"[^"]*"', "", first)
    return max(DELIMITERS, key=unquoted.count)


def _header(text: str, delimiter: str, *, file: str) -> tuple[list[str], int]:
    """The cells of the first line that is not blank, and the number of lines up to its end."""
    rows = csv.reader(io.StringIO(text[:_HEADER_CHARACTERS], newline=""), delimiter=delimiter)
    header: list[str] = []
    malformed = False
    try:
        header = next(row for row in rows if any(cell.strip() for cell in row))
    except (csv.Error, StopIteration):
        malformed = True
    if malformed:
        raise InvalidInput("The first line of {file} cannot be read.", fix="Give column names.", file=file)
    telling = bool(text_signs(*header))
    for position, cell in enumerate(header, start=1):
        if _LOOKS_LIKE_VALUE.fullmatch(cell.strip()) or (telling and text_signs(cell)):
            raise InvalidInput(
                "The first line of {file} must hold column names; its column {position} looks like a value.",
                fix="Add a line with the names of the columns.",
                file=file,
                position=position,
            )
    return header, rows.line_num


def _parse(data: bytes, names: list[str], delimiter: str, header_lines: int) -> pa.Table | None:
    try:
        return pyarrow.csv.read_csv(
            pa.BufferReader(data),
            # By this thread alone: those of Arrow's can still be at work when a file is refused, and save little.
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False,
                column_names=names,
                skip_rows=header_lines,
                block_size=max(1 << 20, min(len(data), 1 << 25)),
            ),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowException:
        return None


def _no_rows(file: str) -> InvalidInput:
    return InvalidInput("File {file} has column names and no rows.", fix="Add rows.", file=file)


def _broken(text: str, delimiter: str, width: int, header_lines: int, *, file: str) -> InvalidInput:
    """Where the text stops being a table; called only once Arrow has refused it."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    with contextlib.suppress(csv.Error):
        for row in rows:
            if line > header_lines and row and len(row) != width:
                return InvalidInput(
                    "Line {line} of {file} has {cells} cells where the table has {width} columns.",
                    fix="Correct the line; put quotes around cells that hold the separator.",
                    line=line,
                    file=file,
                    cells=len(row),
                    width=width,
                )
            line = rows.line_num + 1
        if line <= header_lines + 1:
            return _no_rows(file)
    return InvalidInput(
        "File {file} cannot be read as a table near line {line}.",
        fix="Look there for an unclosed quote or a very long cell.",
        file=file,
        line=line,
    )


def _holds_line_breaks(table: pa.Table) -> bool:
    return any(pc.any(pc.match_substring_regex(c, r"[\r\n]")).as_py() for c in table.columns)


def _strictly_quoted(text: str, delimiter: str) -> bool:
    """Whether every quote is closed before a separator; an unclosed one would swallow whole rows unseen."""
    try:
        for _ in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            pass
    except csv.Error:
        return False
    return True
