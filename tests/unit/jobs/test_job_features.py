from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from job_runs import parameters

from trustspace.errors import InvalidInput
from trustspace.jobs.features import (
    Preparation,
    as_table,
    categorical_mask,
    mapped,
    read_features,
    read_target,
)
from trustspace.jobs.registry import input_width

NAN = float("nan")


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, None, 3]), [1, NAN, 3]),
        (pa.array([1.5, NAN, float("inf")]), [1.5, NAN, NAN]),
        (pa.array([True, False, None]), [1, 0, NAN]),
        (pa.array([Decimal("1.5"), None]), [1.5, NAN]),
        (pa.array([None, None]), [NAN, NAN]),
        (pa.chunked_array([[1], [2, None]]), [1, 2, NAN]),
    ],
)
def test_numbers(column, expected):
    raw = read_features(pa.table({"x": column}), parameters(("x",)))
    np.testing.assert_array_equal(raw[:, 0], expected)


@pytest.mark.parametrize("values", [["a", "b"], [b"x"], [[1]]])
def test_what_is_no_number_is_named_by_column(values):
    with pytest.raises(InvalidInput, match="Column x does not hold numbers") as caught:
        read_features(pa.table({"x": values}), parameters(("x",)))
    assert "categories" in str(caught.value)


def test_a_missing_column_is_named():
    with pytest.raises(InvalidInput, match="Column age is missing"):
        read_features(pa.table({"size": [1.0]}), parameters(("age",)))


def test_categories_become_numbers_in_declared_order():
    job = parameters(("sex", "age", "grade"), categories={"sex": ["f", "m"], "grade": [1, 2, 3]})
    table = pa.table({"sex": ["m", None, "x"], "age": [1.0, 2.0, 3.0], "grade": pa.array([3.0, 1.0, None])})
    raw = read_features(table, job)
    assert raw.tolist() == [[0, 1, 1, 0, 0, 1], [0, 0, 2, 1, 0, 0], [0, 0, 3, 0, 0, 0]]
    assert input_width(job.training(), job.features) == raw.shape[1]
    assert categorical_mask(job).tolist() == [True, True, False, True, True, True]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["1", "0", None]),
        pa.array([1, 0, None]),
        pa.array([1.0, 0.0, NAN]),
        pa.array([True, False, None]),
        pa.array(["1", "0", None]).dictionary_encode(),
        pa.chunked_array([["1"], ["0", None]]),
    ],
)
def test_a_label_is_the_same_in_every_type(column):
    table = pa.table({"y": column})
    np.testing.assert_array_equal(mapped(table.column("y"), {"1": 5.0, "0": 6.0}), [5, 6, NAN])


def test_the_target():
    table = pa.table({"outcome": ["M", "B", None, "C", "M"]})
    values, usable = read_target(table, parameters(positive="M").training())
    assert usable.tolist() == [True, True, False, True, True]
    assert values[usable].tolist() == [1, 0, 0, 1]
    values, usable = read_target(table, parameters(classes=["B", "M"]).training())
    assert usable.tolist() == [True, True, False, False, True]
    assert values[usable].tolist() == [1, 0, 1]
    numeric = pa.table({"outcome": pa.array([1.5, None, 2.5])})
    values, usable = read_target(numeric, parameters(loss="mean_squared_error").training())
    assert values[usable].tolist() == [1.5, 2.5]
    with pytest.raises(InvalidInput, match="outcome"):
        read_target(table, parameters(loss="mean_squared_error").training())


def test_a_gap_is_filled_with_the_training_mean():
    raw = np.array([[1.0, 5.0, NAN], [3.0, NAN, NAN], [NAN, 5.0, NAN]])
    fitted = Preparation.fit(raw, np.zeros(3, bool), standardise=True)
    assert fitted.fill.tolist() == [2, 5, 0]
    assert fitted.mean.tolist() == [2, 5, 0]
    assert fitted.scale.tolist() == [1, 1, 1]  # the second is constant, the third empty
    assert fitted.apply(np.array([[4.0, NAN, 7.0], [NAN, 6.0, NAN]])).tolist() == [[2, 0, 7], [0, 1, 0]]
    plain = Preparation.fit(raw, np.zeros(3, bool), standardise=False)
    assert plain.apply(np.array([[NAN, 6.0, NAN]])).tolist() == [[2, 6, 0]]


def test_categories_are_not_standardised():
    raw = np.array([[1.0, 10.0], [0.0, 30.0], [0.0, 20.0]])
    fitted = Preparation.fit(raw, np.array([True, False]), standardise=True)
    assert fitted.apply(raw)[:, 0].tolist() == [1, 0, 0]
    assert abs(fitted.apply(raw)[:, 1].std() - 1) < 1e-6


def test_large_offsets_keep_their_differences():
    """Years or laboratory numbers far from zero must not drown in float32."""
    raw = np.array([[1e8], [1e8 + 1], [1e8 + 2], [1e8 + 3]])
    prepared = Preparation.fit(raw, np.zeros(1, bool), standardise=True).apply(raw)
    assert len(set(prepared[:, 0].tolist())) == 4


def test_a_mapping_of_arrays_is_a_table():
    assert as_table({"x": np.arange(3), "s": ["a", "b", "c"]}).column_names == ["x", "s"]
