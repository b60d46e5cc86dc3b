"""A file on the officer's machine into a plain table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from trustspace.data.columns import plain_table
from trustspace.data.csvfile import read_csv
from trustspace.data.inference import infer_column
from trustspace.data.parquet import PARQUET_MAGIC, read_parquet
from trustspace.errors import InvalidInput, NotFound


def read_table(path: Path, *, column_names: Sequence[str] | None = None) -> pa.Table:
    """A CSV or Parquet file, told apart by content, as a table of plain columns (see ``columns``).

    ``column_names`` is for a CSV file that has no line of names. Raises NotFound, or InvalidInput naming
    the file and the column or line; a message never holds a cell's content.
    """
    file = path.name
    data = _read_bytes(path, file=file)
    if not data:
        raise InvalidInput("File {file} is empty.", fix="Give a file with names and rows.", file=file)
    if data.startswith(PARQUET_MAGIC):
        table = plain_table(read_parquet(data, what=file), file=file)
        if not table.num_rows:
            raise InvalidInput("File {file} has columns and no rows.", fix="Add rows.", file=file)
        return table
    cells = read_csv(data, file=file, column_names=column_names)
    return pa.table([infer_column(column) for column in cells.columns], names=cells.column_names)


def _read_bytes(path: Path, *, file: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        problem: NotFound | InvalidInput = NotFound(
            "There is no file {file}.", fix="Check the path.", file=file
        )
    except OSError as error:
        problem = InvalidInput(
            "File {file} cannot be read ({reason}).",
            fix="Check its permissions.",
            file=file,
            reason=error.strerror or "unknown reason",
        )
    raise problem
