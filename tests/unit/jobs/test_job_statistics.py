"""Statistics of one and of many source units, against NumPy on all rows together."""

from __future__ import annotations

import copy
import json

import numpy as np
import pyarrow as pa
import pytest
from job_runs import run
from statistics_runs import Outsider, statistics_parameters, sums

from trustspace.aggregation.fixedpoint import decode_reals, encode_reals
from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs.artifacts import check_artifact, encode_json
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.disclosure import disclosure
from trustspace.jobs.federation import read_sums
from trustspace.jobs.statistics import HIDDEN, check_statistics, numbers_length, result, rounded

COLUMNS = ["age", "size", "sex", "diagnosis"]
SECTION = {
    "numeric": ["age", "size"],
    "bounds": {"age": [0, 120]},
    "quantiles": ["0.1", "0.5", "0.9"],
    "tables": [["sex", "diagnosis"], ["sex"]],
    "categories": {"sex": ["female", "male"], "diagnosis": ["B", "M"]},
}
JOB = statistics_parameters(COLUMNS, units=3, **SECTION)


def ward(rows, seed):
    draw = np.random.default_rng(seed)
    age = np.clip(draw.normal(55, 15, rows), 1, 119).round()
    return pa.table(
        {
            "age": pa.array(age, mask=draw.random(rows) < 0.1),
            "size": pa.array(draw.normal(0.02, 0.004, rows)),
            "sex": pa.array(draw.choice(["female", "male", "x"], rows, p=[0.5, 0.4, 0.1])),
            "diagnosis": pa.array(draw.choice(["B", "M"], rows), mask=draw.random(rows) < 0.2),
        }
    )


WARDS = [ward(400, 1), ward(250, 2), ward(13, 3)]
ALL = pa.concat_tables(WARDS)


def made(minimum=10, *tables, job=JOB):
    return json.loads(result(job, sums(job, *(tables or WARDS)), 3, minimum))


def test_the_sum_over_hospitals_is_what_one_would_have_counted():
    assert sums(JOB, *WARDS) == pytest.approx(sums(JOB, ALL), rel=1e-12)
    assert made() == made(10, ALL)


def test_an_exact_secure_sum_gives_the_same_file():
    words = sum(encode_reals(sums(JOB, table)).astype(np.uint64) for table in WARDS)
    opened = decode_reals((words % 2**32).astype(np.uint32), 3)
    assert result(JOB, opened, 3, 10) == result(JOB, sums(JOB, *WARDS), 3, 10)


def test_the_numbers_are_those_of_all_rows():
    value = made()
    assert (value["rows"], value["source_units"], value["minimum_cell_count"]) == (663, 3, 10)
    for item, name in zip(value["numeric"], ["age", "size"], strict=True):
        raw = np.array([x for x in ALL[name].to_pylist() if x is not None])
        assert (item["count"], item["missing"]) == (len(raw), 663 - len(raw))
        error = raw.std(ddof=1) / np.sqrt(len(raw))
        assert float(item["mean"]) == pytest.approx(raw.mean(), abs=error / 10)
        assert float(item["mean"]) != raw.mean(), "no digits beyond what the rows can say"
        assert float(item["variance"]) == pytest.approx(raw.var(ddof=1), rel=0.01)
    age = np.array([x for x in ALL["age"].to_pylist() if x is not None])
    for part, text in value["numeric"][0]["quantiles"]:
        assert float(text) == pytest.approx(np.quantile(age, float(part)), abs=120 / 64)
    table = value["tables"][0]
    assert table["categories"] == [["female", "male", "other", "missing"], ["B", "M", "other", "missing"]]
    rows = ALL.to_pylist()
    for i, sex in enumerate(["female", "male", "x"]):
        for j, diagnosis in ((0, "B"), (1, "M"), (3, None)):
            count = sum(row["sex"] == sex and row["diagnosis"] == diagnosis for row in rows)
            assert table["counts"][i][j] in (count, HIDDEN)
    assert table["counts"][0][:2] == [
        sum(row["sex"] == "female" and row["diagnosis"] == value for row in rows) for value in "BM"
    ]
    assert value["tables"][1]["totals"][0] == table["totals"][0]


def test_the_program_reports_the_numbers_and_the_file_is_declared():
    raw = run("statistics", JOB, ALL)["sums.json"].data
    assert list(read_sums(raw, numbers_length(JOB))) == sums(JOB, ALL)
    data = result(JOB, read_sums(raw, numbers_length(JOB)), 3, 10)
    assert encode_json(json.loads(data)) == data
    check_artifact(RawArtifact("statistics.json", "application/json", data), JOB)
    with pytest.raises(VerificationFailed):
        check_artifact(RawArtifact("statistics.json", "application/json", encode_json({})), JOB)


def one_column(values, minimum=10, **bounds):
    job = statistics_parameters(["x"], numeric=["x"], **bounds)
    return json.loads(result(job, sums(job, pa.table({"x": values})), 1, minimum))["numeric"][0]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.0] * 500 + [1.0] * 10, True),
        ([0.0] * 500 + [1.0] * 9, False),  # the mean would be 9 / 509
        ([1.0] * 500 + [0.0] * 9, False),
        ([7.0] * 500, False),  # everybody has 7
        ([0.0] * 500 + [float(i) for i in range(1, 10)], False),  # nine differ
        ([0.0] * 500 + [float(i) for i in range(1, 11)], True),
        ([0.0] * 100 + [1.0] * 50 + [2.0], False),  # with so few values, the moments are the counts
        ([0.5] * 100 + [1.5] * 50 + [2.5] * 9, False),
        ([float(i) for i in range(9)], False),
        ([float(i) for i in range(11)], True),
        ([None] * 100 + [float(i) for i in range(9)], False),
    ],
)
def test_a_mean_that_gives_few_rows_away_is_hidden(values, shown):
    item = one_column(pa.array(values, pa.float64()))
    assert (item["mean"] != HIDDEN, item["variance"] != HIDDEN) == (shown, shown)


def test_few_missing_values_hide_the_count_too():
    value = made(
        10, pa.concat_tables([ALL.drop(["size"])]).append_column("size", pa.array([None] * 3 + [1.0] * 660))
    )
    assert (value["numeric"][1]["count"], value["numeric"][1]["missing"]) == (HIDDEN, HIDDEN)
    low, high = Outsider(value).range_of(("size", "missing"))
    assert low < high


def test_the_digits_of_a_mean_do_not_tell_how_many_there_are():
    # Nine counts are possible; with all digits of the mean of whole numbers only one of them would be.
    draw = np.random.default_rng(4)
    for count in (40, 200, 3000):
        values = draw.integers(20, 90, count).astype(float)
        text = one_column(pa.array([*values, None, None, None]))["mean"]
        step = 10.0 ** -len(text.partition(".")[2])
        fits = [
            n
            for n in range(count - 6, count + 3)
            if abs(round(float(text) * n) / n - float(text)) <= step / 2
        ]
        assert len(fits) == 9


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.arange(0, 100), [9.9, 49.5, 89.1]),
        # Fewer than ten rows lie below the first and above the last.
        (np.arange(0, 60), [HIDDEN, 30, HIDDEN]),
        # Values outside the range are counted at its ends.
        (
            np.concatenate([np.full(30, -5.0), np.arange(40), np.full(30, 500.0)]),
            ["below the range", 20, "above the range"],
        ),
        (np.full(9, 3.0), [HIDDEN] * 3),
    ],
)
def test_quantiles(values, expected):
    item = one_column(
        pa.array(values.astype(float)), bounds={"x": [0, 100]}, quantiles=["0.1", "0.5", "0.9"], bins=50
    )
    for (_, text), want in zip(item["quantiles"], expected, strict=True):
        assert text == want if isinstance(want, str) else float(text) == pytest.approx(want, abs=2)


def test_a_quantile_is_read_from_no_fewer_rows_than_the_minimum():
    # The median lies alone in its part of the range: from that part alone it would be seen to a tenth.
    values = np.concatenate([np.full(20, 10.0), [68.3], np.full(20, 90.0)])
    item = one_column(pa.array(values), bounds={"x": [0, 100]}, quantiles=["0.5"], bins=1000)
    assert abs(float(item["quantiles"][0][1]) - 68.3) > 5
    again = np.concatenate([np.full(20, 10.0), [52.7], np.full(20, 90.0)])
    assert (
        item["quantiles"]
        == one_column(pa.array(again), bounds={"x": [0, 100]}, quantiles=["0.5"], bins=1000)["quantiles"]
    ), "wherever it lies"
    assert item["outside"] == 0


def test_values_outside_the_range_are_said():
    values = np.concatenate([np.arange(50.0), np.full(12, 200.0)])
    assert one_column(pa.array(values), bounds={"x": [0, 100]})["outside"] == 12
    values = np.concatenate([np.arange(50.0), np.full(3, 200.0)])
    assert one_column(pa.array(values), bounds={"x": [0, 100]})["outside"] == HIDDEN


@pytest.mark.parametrize("rows", [0, 1, 9])
def test_of_too_few_rows_nothing_is_shown(rows):
    value = made(10, ALL.slice(0, rows))
    text = json.dumps(
        [
            value["rows"],
            [t["counts"] for t in value["tables"] if "counts" in t],
            [t["totals"] for t in value["tables"]],
            [
                [i[k] for k in ("count", "missing", "mean", "variance", "outside") if k in i]
                for i in value["numeric"]
            ],
        ]
    )
    assert set(text) <= set('"hiden, []'), "nothing but the word hidden"
    check_statistics(value, JOB)


def test_without_a_minimum_everything_is_shown():
    assert HIDDEN not in json.dumps(made(0)["tables"])


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (5.23456, 0.3, "5.23"),
        (-0.0001, 0.3, "0.00"),
        (123456.0, 5000.0, "123500"),
        (0.1, 0.0, "0.100000"),
        (0.0, 0.0, "0"),
    ],
)
def test_rounding(value, error, text):
    assert rounded(value, error) == text


def test_huge_numbers_are_refused_by_the_column():
    job = statistics_parameters(["x"], numeric=["x"])
    with pytest.raises(InvalidInput, match="too large") as caught:
        sums(job, pa.table({"x": [1e300, 2.0]}))
    assert "1e" not in caught.value.public_message


def test_squares_far_from_zero_keep_their_digits_with_a_range():
    values = np.random.default_rng(3).normal(1.7e9, 1.0, 1000)
    item = one_column(pa.array(values), bounds={"x": [1_699_999_000, 1_700_001_000]})
    assert float(item["variance"]) == pytest.approx(values.var(ddof=1), rel=0.01)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda n: n.__setitem__(0, n[0] + 0.5),
        lambda n: n.__setitem__(0, -1.0),
        lambda n: n.__setitem__(0, n[0] - 1),
        lambda n: n.__setitem__(1, n[0] + 1),
        lambda n: n.__setitem__(-1, n[-1] + 1),
        lambda n: n.append(0.0),
        lambda n: n.__setitem__(2, float("nan")),
    ],
)
def test_sums_of_no_tables_are_refused(spoil):
    numbers = sums(JOB, *WARDS)
    result(JOB, numbers, 3, 10)
    spoil(numbers)
    with pytest.raises(VerificationFailed):
        result(JOB, numbers, 3, 10)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.update(extra=1),
        lambda v: v.pop("rows"),
        lambda v: v.update(format="trustspace-statistics-v2"),
        lambda v: v.update(source_units=4),
        lambda v: v.update(source_units=0),
        lambda v: v.update(rows=5),
        lambda v: v.update(rows=-12),
        lambda v: v.update(rows=True),
        lambda v: v.update(minimum_cell_count="10"),
        lambda v: v["numeric"].pop(),
        lambda v: v["numeric"][0].update(column="size"),
        lambda v: v["numeric"][0].update(mean=51.2),
        lambda v: v["numeric"][0].update(mean="5.1e1"),
        lambda v: v["numeric"][0].update(mean="051.2"),
        lambda v: v["numeric"][0].update(mean="-0.0"),
        lambda v: v["numeric"][0].update(variance="patient 7"),
        lambda v: v["numeric"][0].update(missing=3),
        lambda v: v["numeric"][0]["quantiles"].reverse(),
        lambda v: v["numeric"][0]["quantiles"][0].append("1"),
        lambda v: v["numeric"][0].update(range=["0", "121"]),
        lambda v: v["numeric"][1].update(outside=0),
        lambda v: v["tables"][0]["counts"][0].__setitem__(0, 3),
        lambda v: v["tables"][0]["counts"][0].append(0),
        lambda v: v["tables"][0]["counts"].pop(),
        lambda v: v["tables"][0]["totals"].pop(),
        lambda v: v["tables"][0]["categories"][0].__setitem__(0, "Female"),
        lambda v: v["tables"][1].update(counts=[]),
    ],
)
def test_only_the_exact_form_may_leave(change):
    value = made()
    check_statistics(copy.deepcopy(value), JOB)
    change(value)
    with pytest.raises(VerificationFailed):
        check_statistics(value, JOB)


def test_groups_that_share_one_value_are_counted():
    job = statistics_parameters(
        ["sex", "diagnosis"], tables=[["sex", "diagnosis"]], categories=SECTION["categories"]
    )

    def alike(*rows):
        people = [row for row, times in rows for _ in range(times)]
        table = pa.table({"sex": [sex for sex, _ in people], "diagnosis": [d for _, d in people]})
        return disclosure(json.loads(result(job, sums(job, table), 1, 10)), job).alike

    assert alike((("female", "B"), 50), (("female", "M"), 50), (("male", "B"), 40), (("male", "M"), 40)) == 0
    assert alike((("female", "M"), 50), (("male", "B"), 40), (("male", "M"), 40)) == 2, "women M; B all men"
    assert alike((("female", "M"), 50), (("male", "M"), 40)) == 3, "everybody, the women, the men"
    assert alike((("female", None), 50), (("male", "B"), 40), (("male", "M"), 40)) == 2, "B and M all men"
