"""A dataset at rest: Parquet without traces of who wrote it, read from memory without a file.

Written without statistics (they are the extremes of each column), without an embedded schema and
without file metadata, the same table always giving the same bytes.
"""

from __future__ import annotations

import io
import mmap
import os
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trustspace.errors import InvalidInput

PARQUET_MAGIC = b"PAR1"
ROW_GROUP_BYTES = 64 << 20
ROW_GROUP_ROWS = 100_000
ROW_GROUP_IMAGES = 1_000


def to_parquet(table: pa.Table) -> bytes:
    """The whole table as one Parquet file."""
    return b"".join(iter_parquet(table))


def iter_parquet(table: pa.Table) -> Iterator[bytes]:
    """The same bytes piece by piece, at most one row group (64 MiB, 1,000 rows with images) at a time."""
    sink = _Pieces()
    writer = pq.ParquetWriter(
        pa.PythonFile(sink, mode="w"),
        table.schema,
        compression="zstd",
        write_statistics=False,
        store_schema=False,  # and with it the table's metadata
    )
    for group in row_groups(table):
        writer.write_table(group, row_group_size=max(1, group.num_rows))
        yield sink.take()
    writer.close()
    yield sink.take()


def row_groups(table: pa.Table, max_bytes: int = ROW_GROUP_BYTES) -> Iterator[pa.Table]:
    """Slices of at most 1,000 rows with images, 100,000 without; of ``max_bytes`` unless a row is larger."""
    images = any(pa.types.is_binary(kind) for kind in table.schema.types)
    start = 0
    while start < table.num_rows:
        rows = min(ROW_GROUP_IMAGES if images else ROW_GROUP_ROWS, table.num_rows - start)
        while rows > 1 and table.slice(start, rows).nbytes > max_bytes:
            rows //= 2
        yield table.slice(start, rows)
        start += rows


def read_parquet(
    source: int | bytes | memoryview | mmap.mmap | pa.Buffer,
    columns: Sequence[str] | None = None,
    *,
    what: str = "dataset",
) -> pa.Table:
    """The table (or the named columns, in that order) from a file descriptor or a buffer.

    A descriptor is mapped, not consumed, and stays open. Raises InvalidInput when the bytes are no
    Parquet or a column is missing; Arrow's message is dropped because it may quote content.
    """
    buffer = map_descriptor(source) if isinstance(source, int) else pa.py_buffer(source)
    table = _read(buffer, columns)
    if table is None:
        raise InvalidInput("The {what} is not a readable Parquet file.", fix="Write it again.", what=what)
    if isinstance(table, str):
        raise InvalidInput(
            "Column {column} is not in the {what}.", fix="Check its name.", column=table, what=what
        )
    return table


def _read(buffer: pa.Buffer, columns: Sequence[str] | None) -> pa.Table | str | None:
    """The table; the name of the first column that is not there; or None when it is no Parquet."""
    try:
        file = pq.ParquetFile(pa.BufferReader(buffer))
        if columns is None:
            table = file.read()
        else:
            present = set(file.schema_arrow.names)
            for name in columns:
                if name not in present:
                    return name
            table = file.read(columns=list(columns)).select(list(columns))
        # A damaged file can hold text that is no UTF-8, which would only fail, with a quote, when shown.
        table.validate(full=True)
        return table.replace_schema_metadata(None)
    except (pa.ArrowException, OSError, ValueError):
        return None


def map_descriptor(descriptor: int) -> pa.Buffer:
    """The bytes behind a descriptor, mapped privately and read-only (also where writing is sealed)."""
    size = os.fstat(descriptor).st_size
    if not size:
        return pa.py_buffer(b"")
    return pa.py_buffer(mmap.mmap(descriptor, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ))


class _Pieces(io.RawIOBase):
    """A write-only sink that forgets what was taken from it."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
