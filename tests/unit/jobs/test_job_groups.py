"""Which groups a training job names, and which rows are in them."""

from __future__ import annotations

import pyarrow as pa

from trustspace.jobs.groups import MOST_NAMED, groups_of
from trustspace.jobs.parameters import Parameters

TABLE = pa.table(
    {
        "sex": ["f", "m", None, "x"],
        "age": [1.0, 2.0, 3.0, 4.0],
        "weight": [1.0, 2.0, 3.0, 4.0],
        "finding": ["M", "B", "M", None],
        "grade": ["1", "2", "3", "9"],
    }
)


def parameters(**train):
    return Parameters.model_validate(
        {
            "kind": "train",
            "datasets": [{"id": "ward", "version": 1, "columns": ["sex", "age"]}],
            "train": {
                "model": "logistic_regression",
                "epochs": 1,
                "categories": {"sex": ["f", "m"]},
                **train,
            },
        }
    )


def shown(job):
    return {name: rows.tolist() for name, rows in groups_of(TABLE, job).items()}


def test_two_classes_and_the_categories():
    assert shown(parameters(target="finding", positive="M")) == {
        "finding = M": [True, False, True, False],
        "finding ≠ M": [False, True, False, True],
        "sex = f": [True, False, False, False],
        "sex = m": [False, True, False, False],
    }


def test_several_classes():
    found = shown(parameters(target="grade", classes=["1", "2", "3"]))
    assert list(found)[:3] == ["grade = 1", "grade = 2", "grade = 3"]
    assert found["grade = 2"] == [False, True, False, False]


def test_a_numeric_target_names_no_group():
    assert set(shown(parameters(target="weight", loss="mean_squared_error"))) == {"sex = f", "sex = m"}


def test_so_many_and_no_more():
    labels = [str(number) for number in range(200)]
    assert len(shown(parameters(target="grade", classes=labels))) == MOST_NAMED
