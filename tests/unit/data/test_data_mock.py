"""The mock sample: typed like the real table, made from the description alone, the same everywhere."""

from __future__ import annotations

import hashlib
import inspect

import numpy as np
import pyarrow as pa
import pytest
from data_tables import clinic
from hypothesis import given, settings
from hypothesis import strategies as st

from trustspace.data import mock
from trustspace.data.columns import plain_table
from trustspace.data.description import Answers, ColumnDescription, DatasetDescription, propose_description
from trustspace.data.images import read_image_header, write_png
from trustspace.data.mock import mock_sample
from trustspace.data.parquet import read_parquet, to_parquet
from trustspace.data.profile import profile
from trustspace.errors import InvalidInput


def described(*columns: ColumnDescription, patient_column: str = "") -> DatasetDescription:
    return DatasetDescription(title="t", rows_bucket=100, columns=columns, patient_column=patient_column)


def test_it_has_the_types_of_the_real_table():
    pictures = [write_png(9, 7, "RGB", bytes(189)) for _ in range(300)]
    table = plain_table(clinic().append_column("xray", pa.array(pictures)))
    description = propose_description(
        profile(table, patient_column="patient"), "t", Answers(allow=frozenset({"note"}))
    )
    sample = mock_sample(description, 50, seed=b"s")
    assert sample.schema == table.schema
    header = read_image_header(sample.column("xray")[0].as_py())
    assert (header.width, header.height, header.mode) == (9, 7, "RGB")
    assert read_parquet(to_parquet(sample)).equals(sample)
    assert len(set(sample.column("patient").to_pylist())) == 50


def test_values_lie_in_what_is_described():
    sample = mock_sample(
        described(
            ColumnDescription(name="n", kind="number", low="0.07", high="0.2"),
            ColumnDescription(name="i", kind="integer", low="-3", high="4"),
            ColumnDescription(name="c", kind="category", categories=("B", "M")),
            ColumnDescription(name="d", kind="date", low="2019", high="2020"),
            ColumnDescription(name="m", kind="integer", low="0", high="9", missing_percent_bucket=35),
            ColumnDescription(name="e", kind="number", missing_percent_bucket=100),
        ),
        5000,
        seed=b"s",
    )
    numbers = np.array(sample.column("n").to_pylist())
    assert numbers.min() >= 0.07
    assert numbers.max() <= 0.2
    assert abs(numbers.mean() - 0.135) < 0.005
    assert set(sample.column("i").to_pylist()) == set(range(-3, 5))
    assert set(sample.column("c").to_pylist()) == {"B", "M"}
    assert {day.year for day in sample.column("d").to_pylist()} == {2019, 2020}
    assert 0.3 < sample.column("m").null_count / 5000 < 0.4
    assert sample.column("e").null_count == 5000


def test_what_is_not_described_is_bland():
    sample = mock_sample(
        described(
            ColumnDescription(name="n", kind="number"),
            ColumnDescription(name="i", kind="integer"),
            ColumnDescription(name="c", kind="category"),
            ColumnDescription(name="t", kind="text"),
            ColumnDescription(name="d", kind="datetime"),
            ColumnDescription(name="x", kind="image"),
        ),
        20,
        seed=b"s",
    )
    assert all(0 <= value <= 1 for value in sample.column("n").to_pylist())
    assert set(sample.column("i").to_pylist()) <= {0, 1}
    assert set(sample.column("c").to_pylist()) == {"other"}
    assert sample.column("t").to_pylist()[:2] == ["mock text 1", "mock text 2"]
    assert {moment.year for moment in sample.column("d").to_pylist()} == {2000}
    assert read_image_header(sample.column("x")[0].as_py()).width == 64


def test_numbers_have_no_digits_of_floating_point():
    sample = mock_sample(described(ColumnDescription(name="n", kind="number", low="9", high="30")), seed=b"s")
    assert max(len(repr(value)) for value in sample.column("n").to_pylist()) <= 6


def test_the_same_seed_gives_the_same_bytes_and_another_another():
    description = described(
        ColumnDescription(name="n", kind="number", low="0", high="10"),
        ColumnDescription(name="x", kind="image", width=4, height=4, mode="L"),
    )
    assert to_parquet(mock_sample(description, seed=b"a")) == to_parquet(mock_sample(description, seed=b"a"))
    first, second = (mock_sample(description, seed=seed) for seed in (b"a", b"b"))
    assert first.column("n") != second.column("n")
    assert first.column("x") != second.column("x")


def test_a_fixed_vector():
    """Another machine and another NumPy must give these values."""
    description = described(
        ColumnDescription(name="n", kind="number", low="0.5", high="2"),
        ColumnDescription(name="i", kind="integer", low="0", high="99", missing_percent_bucket=20),
        ColumnDescription(name="c", kind="category", categories=("a", "b", "other")),
    )
    assert mock_sample(description, 6, seed=b"vector").to_pydict() == VECTOR
    draws = hashlib.shake_256(b"\0" * 7 + b"\x06vector" + b"trustspace mock v1/1/i/value").digest(8)
    assert VECTOR["i"][0] == int.from_bytes(draws, "little") % 100


VECTOR = {
    "n": [1.0115, 1.685, 1.2305, 0.7925, 0.788, 1.331],
    "i": [0, 37, 66, 3, 63, 6],
    "c": ["a", "other", "other", "other", "other", "b"],
}


def test_columns_are_independent():
    sample = mock_sample(
        described(*(ColumnDescription(name=f"x{i}", kind="number", low="0", high="1") for i in range(2))),
        5000,
        seed=b"s",
    )
    first, second = (np.array(column.to_pylist()) for column in sample.columns)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05


def test_rows_cannot_be_given():
    """The function has no parameter that could carry a table, and its module imports none that reads one."""
    assert list(inspect.signature(mock_sample).parameters) == ["description", "rows", "seed"]
    source = inspect.getsource(mock)
    assert "profile" not in source
    assert "read_" not in source


@pytest.mark.parametrize(("rows", "seed"), [(0, b"s"), (-1, b"s"), (100_001, b"s"), (5, b"")])
def test_limits(rows, seed):
    with pytest.raises(InvalidInput, match="mock sample"):
        mock_sample(described(ColumnDescription(name="n", kind="number")), rows, seed=seed)


def test_huge_images_are_drawn_small():
    description = described(
        ColumnDescription(name="x", kind="image", width=65_535, height=65_535, mode="RGB")
    )
    sample = mock_sample(description, 10, seed=b"s")
    assert sample.nbytes < 3 * mock.MAX_MOCK_IMAGE_PIXELS + (1 << 20)


_NAMES = st.text("abc甲乙 ", min_size=1, max_size=6).filter(lambda name: name.strip() == name)
_COLUMNS = st.builds(
    lambda name, kind, bounds, missing, categories: ColumnDescription(
        name=name,
        kind=kind,
        low=str(min(bounds)) if kind in ("number", "integer") else "",
        high=str(max(bounds)) if kind in ("number", "integer") else "",
        missing_percent_bucket=5 * missing,
        categories=tuple(sorted(categories)) if kind == "category" else (),
    ),
    _NAMES,
    st.sampled_from(["number", "integer", "category", "text", "date", "datetime"]),
    st.tuples(st.integers(-(10**15), 10**15), st.integers(-(10**15), 10**15)),
    st.integers(0, 20),
    st.sets(_NAMES, max_size=4),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_COLUMNS, min_size=1, max_size=5, unique_by=lambda column: column.name), st.integers(1, 30))
def test_every_description_has_a_sample(columns, rows):
    sample = mock_sample(described(*columns), rows, seed=b"s")
    assert sample.num_rows == rows
    assert plain_table(sample).equals(sample)
    for column in columns:
        values = [value for value in sample.column(column.name).to_pylist() if value is not None]
        if column.low:
            assert all(int(column.low) <= value <= int(column.high) for value in values)
        if column.categories:
            assert set(values) <= set(column.categories)
