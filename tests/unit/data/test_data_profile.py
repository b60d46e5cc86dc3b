"""The profile: what kind each column is, and what is counted."""

from __future__ import annotations

import pyarrow as pa
import pytest
from data_tables import clinic

from trustspace.data.profile import Profile, profile
from trustspace.errors import InvalidInput

ROWS = 400


def kind(values: list) -> str:
    return profile(pa.table({"x": values}), patient_column=None).columns[0].kind


def common_and_rare(common: int) -> list[str]:
    """``common`` rows of two frequent findings, every other row a finding of its own."""
    return [("clear", "cloudy")[i % 2] for i in range(common)] + [
        f"finding {i}" for i in range(ROWS - common)
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, None], "integer"),
        ([True, False], "integer"),
        ([0.5, None], "number"),
        ([None, None], "number"),
        (["a", "b"] * 50, "category"),
        ([f"level {i % 64}" for i in range(ROWS)], "category"),
        ([f"level {i % 65}" for i in range(ROWS)], "text"),
        (common_and_rare(common=200), "category"),
        (common_and_rare(common=198), "text"),
        (["a" * 65, "b"] * 50, "text"),
        ([f"note {i}" for i in range(ROWS)], "text"),
    ],
)
def test_kinds(values, expected):
    assert kind(values) == expected


def test_counts():
    table = pa.table({"p": ["a", "a", "b"], "x": [0.0, None, -1.0], "c": ["u", "u", "v"]})
    found = profile(table, patient_column="p")
    assert (found.rows, found.patients, found.patient_column) == (3, 2, "p")
    _, x, c = found.columns
    assert (x.rows, x.missing, x.distinct, x.zeros, x.negatives) == (3, 1, 2, 1, 1)
    assert c.categories == (("u", 1), ("v", 1))


@pytest.mark.parametrize(
    ("values", "expected"), [(["a", "b"], "text"), ([1, 2], "integer"), ([1.5, 2.5], "number")]
)
def test_the_patient_column_keeps_its_type_and_nothing_else(values, expected):
    column = profile(pa.table({"p": values}), patient_column="p").columns[0]
    assert (column.kind, column.low, column.high, column.categories) == (expected, None, None, ())


def test_identifying_columns_by_name():
    table = clinic().rename_columns(["patient", "年龄", "肌酐", "诊断", "出生日期", "电话"])
    found = profile(table, patient_column="patient")
    assert {name: [str(sign) for sign in signs] for name, signs in found.identifying.items()} == {
        "出生日期": ["birth-date"],
        "电话": ["phone", "unique-text"],
    }


def test_chunks_make_no_difference():
    table = clinic()
    chunked = pa.concat_tables([table.slice(0, 7), table.slice(7, 0), table.slice(7)])
    assert profile(chunked, patient_column="patient") == profile(table, patient_column="patient")


@pytest.mark.parametrize(
    ("table", "patient_column", "message"),
    [
        (pa.table({"x": pa.array([], pa.int64())}), None, "no rows"),
        (pa.table({"x": [1]}), "y", "no column y"),
        (pa.table({"x": [1, None]}), "x", "names no patient in 1 rows"),
        (pa.table([[1], [2]], names=["x", "x"]), None, "same name"),
    ],
)
def test_refusals(table, patient_column, message):
    with pytest.raises(InvalidInput, match=message):
        profile(table, patient_column=patient_column)


def test_what_only_the_officer_sees_is_not_written_out():
    assert not [name for name in dir(Profile) if "json" in name or "dump" in name]
