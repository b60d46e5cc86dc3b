"""Counts of people in a developer's own files: found by their names, suspected by their looks."""

from __future__ import annotations

import pytest

from trustspace.jobs.artifacts import encode_csv, encode_json
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.people import count_tables


def csv(*rows: list[str]) -> RawArtifact:
    return RawArtifact("t.csv", "text/csv", encode_csv([list(row) for row in rows]))


@pytest.mark.parametrize(
    "name", ["n", "count", "N_patients", "number of cases", "deaths", "患者人数", "例数"]
)
def test_a_column_that_says_it_counts_people(name):
    [table] = count_tables([csv(["group", name], ["a", "12"], ["b", "3"], ["c", "0"])], 100)
    assert table.named
    assert table.small(10) == ((1, 1),), "none is no person, and twelve are enough"
    assert table.small(3) == (), "as many as it takes are enough"


@pytest.mark.parametrize("name", ["mean", "age", "dosage", "known", "notes_n_more"])
def test_other_columns_are_not_taken_for_counts_by_their_name(name):
    tables = count_tables([csv(["group", name], ["a", "412"], ["b", "403"])], 500)
    assert not any(table.named for table in tables)


def test_a_cross_table_without_such_a_name_is_suspected():
    [table] = count_tables([csv(["stage", "female", "male"], ["I", "40", "2"], ["II", "30", "25"])], 120)
    assert not table.named
    assert table.small(10) == ((0, 2),)


def test_numbers_beyond_all_records_or_with_a_point_are_no_counts():
    assert not count_tables([csv(["stage", "value"], ["I", "90"], ["II", "80"])], 120)
    assert not count_tables([csv(["stage", "value"], ["I", "1.5"], ["II", "2"])], 120)
    assert not count_tables([csv(["group", "n"], ["a", "1000"])], 120)


def test_counts_in_json_go_by_their_names():
    value = {"groups": [{"n": 4, "events": 1, "mean": 3}, {"n": 40, "events": 9, "mean": 4}]}
    [table] = count_tables([RawArtifact("g.json", "application/json", encode_json(value))], 100)
    assert [table.rows[row][column] for row, column in table.small(10)] == ["4"]
    nothing = {"weights": [{"a": 1, "b": 2, "c": 3}, {"a": 2, "b": 1, "c": 0}]}
    assert not count_tables([RawArtifact("g.json", "application/json", encode_json(nothing))], 100)
