"""Parquet at rest: round trips, tells nothing extra, reads from memory."""

from __future__ import annotations

import io
import mmap
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_tables import clinic, everything_said
from hypothesis import given, settings
from hypothesis import strategies as st

from trustspace.data.columns import plain_table
from trustspace.data.images import write_png
from trustspace.data.parquet import iter_parquet, read_parquet, row_groups, to_parquet
from trustspace.errors import InvalidInput

SECRET = "Zhang-Wei-4711"


def pictures(count: int, side: int = 16) -> pa.Table:
    images = [write_png(side, side, "L", os.urandom(side * side)) for _ in range(count)]
    return pa.table({"id": range(count), "xray": pa.array(images, pa.binary())})


@pytest.mark.parametrize(
    "table", [clinic(), pictures(40), clinic().slice(0, 0)], ids=["clinic", "images", "empty"]
)
def test_round_trip(table):
    plain = plain_table(table)
    assert read_parquet(to_parquet(plain)).equals(plain)


def test_pieces_are_the_file_and_the_same_every_time():
    table = pictures(2500)
    pieces = list(iter_parquet(table))
    assert len(pieces) == 4  # three row groups of at most 1,000 images, and the footer
    assert b"".join(pieces) == to_parquet(table) == to_parquet(table)


def test_row_groups_are_bounded():
    table = pictures(2500)
    assert [group.num_rows for group in row_groups(table)] == [1000, 1000, 500]
    assert [group.num_rows for group in row_groups(plain_table(clinic(100_500)))] == [100_000, 500]
    sizes = [group.nbytes for group in row_groups(table, max_bytes=20_000)]
    assert max(sizes) <= 20_000
    assert sum(group.num_rows for group in row_groups(table, max_bytes=20_000)) == 2500


def test_a_single_row_above_the_bound_is_a_group_of_its_own():
    table = pictures(5, side=64)
    assert [group.num_rows for group in row_groups(table, max_bytes=100)] == [1] * 5


def test_the_file_tells_nothing_but_the_columns():
    table = clinic().replace_schema_metadata({"author": SECRET})
    careless = io.BytesIO()
    pq.write_table(table, careless)
    footer = pq.ParquetFile(careless).metadata
    assert SECRET.encode() in footer.metadata[b"author"], "control: Arrow's default keeps metadata"
    assert footer.row_group(0).column(1).statistics.max == 79, "control: and extremes"

    ours = pq.ParquetFile(io.BytesIO(to_parquet(table))).metadata
    assert ours.metadata is None
    assert SECRET.encode() not in to_parquet(table)
    for column in range(ours.num_columns):
        assert ours.row_group(0).column(column).statistics is None


def test_reads_from_every_kind_of_memory(tmp_path: Path):
    table = plain_table(clinic())
    content = to_parquet(table)
    mapped = mmap.mmap(-1, len(content))
    mapped[:] = content
    for source in (content, memoryview(content), bytearray(content), pa.py_buffer(content), mapped):
        assert read_parquet(source).equals(table)
    descriptor = os.memfd_create("test")
    os.write(descriptor, content)
    before = set(os.listdir("/proc/self/fd"))
    assert read_parquet(descriptor).equals(table)
    assert read_parquet(descriptor, ["age"]).equals(table.select(["age"])), "a descriptor is not consumed"
    assert set(os.listdir("/proc/self/fd")) == before
    os.close(descriptor)


def test_columns_in_the_order_asked():
    table = pa.table({"a": [1], "a.b": [2], "患者": [3]})
    content = to_parquet(table)
    assert read_parquet(content, ["患者", "a"]).to_pydict() == {"患者": [3], "a": [1]}
    assert read_parquet(content, ["a.b"]).to_pydict() == {"a.b": [2]}
    with pytest.raises(InvalidInput, match="Column b is not in the dataset"):
        read_parquet(content, ["a", "b"])


def test_bytes_that_are_no_parquet_are_refused_without_a_quote():
    whole = to_parquet(pa.table({"a": [SECRET] * 50}))
    empty = os.memfd_create("empty")
    for source in (b"", b"PAR1", whole[:-1], whole[1:], SECRET.encode() * 20, empty):
        with pytest.raises(InvalidInput, match="not a readable Parquet file") as caught:
            read_parquet(source)
        assert SECRET not in everything_said(caught.value)
    os.close(empty)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_damaged_file_never_crashes(position, flip):
    content = bytearray(to_parquet(pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]})))
    content[position % len(content)] ^= flip
    try:
        table = read_parquet(bytes(content))
    except InvalidInput:
        return
    assert len(str(table.to_pylist())) > 0


def test_text_that_is_no_utf8_is_refused_before_it_can_be_quoted():
    """Arrow writes and reads such text without a word; showing it would fail and quote the bytes."""
    broken = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\4\0\0\0"), pa.py_buffer(b"\xffabc"))
    content = to_parquet(pa.table({"a": broken}))
    with pytest.raises(UnicodeDecodeError):
        pq.read_table(io.BytesIO(content)).to_pylist()
    with pytest.raises(InvalidInput, match="not a readable Parquet file"):
        read_parquet(content)
