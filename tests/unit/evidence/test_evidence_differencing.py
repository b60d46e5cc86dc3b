"""What the officer is told of small groups that follow from several outputs, and of sums that give one patient away."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from evidence_facts import MODEL, NOTHING, counted, sound

from trustspace.domain.bodies import Policy
from trustspace.evidence.figures import Words
from trustspace.evidence.released import MAX_TABLES, Drawn, drawn, shown_tables
from trustspace.evidence.report import NOT_APPLICABLE_BY_DEFAULT, Report, build_report
from trustspace.jobs.artifacts import ArtifactFacts
from trustspace.jobs.counting import count_table
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.shown import EVERYBODY, MISSING, OUTSIDE, PRESENT, amounts_of
from trustspace.jobs.statistics import HIDDEN, result
from trustspace.jobs.tensors import TensorInfo
from trustspace.privacy.overlap import Comparison, Difference, Earlier
from trustspace.privacy.tables import Amounts

MAY = Earlier("d" * 64, "Counts of spring", 1_777_766_400)  # 3 May 2026, UTC
JOB = Parameters.model_validate(
    {
        "kind": "statistics",
        "datasets": [{"id": "ward", "version": 1, "columns": ["cost", "sex", "site"]}],
        "statistics": {
            "numeric": ["cost"],
            "tables": [["sex"], ["site", "sex"]],
            "categories": {"sex": ["female", "male"], "site": ["arm", "leg"]},
        },
        "terms": {"withheld_percent": 0},
    }
)


def ward(costs=None, rows=120) -> pa.Table:
    draw = np.random.default_rng(5)
    return pa.table(
        {
            "cost": pa.array(draw.normal(50, 9, rows) if costs is None else np.array(costs, dtype=float)),
            "sex": pa.array(draw.choice(["female", "male"], rows)),
            "site": pa.array(draw.choice(["arm", "leg", "toe"], rows, p=[0.55, 0.4, 0.05])),
        }
    )


def released(table: pa.Table, minimum: int = 10) -> dict:
    return json.loads(result(JOB, count_table(table, JOB).tolist(), 1, minimum))


def checked(found: Comparison | None, policy: Policy | None = None, **changes):
    facts = counted(**changes) if changes else sound()
    return build_report(replace(facts, differencing=found), policy)


# -- differencing


def test_a_group_is_told_with_the_output_that_gives_it_away():
    value = released(ward())
    group = Difference(4, (MAY,), ((0, (0,)), (2, (1,))))
    report = checked(Comparison(earlier=2, groups=(group,)), released=value, parts=())
    check = report.check("differencing")
    assert (check.status, report.verdict) == ("failed", "red")
    assert "2026-05-03 «Counts of spring»" in check.summary.en
    assert "a group of 4 patients" in check.summary.en
    assert "4 名患者" in check.summary.zh
    assert check.facts["told_by_groups"] == [
        {"patients": 4, "outputs": [{"output": MAY.job, "title": MAY.title, "made": "2026-05-03"}]}
    ]
    marked = {
        (figure.title.en, figure.rows[row][column])
        for figure in check.figures
        for row, column in figure.marked
    }
    assert marked == {("Rows and numbers", "120"), ("sex", str(value["tables"][0]["totals"][0][1]))}
    assert Report.from_bytes(report.to_bytes()) == report


@pytest.mark.parametrize(
    ("found", "status", "words"),
    [
        (Comparison(), "passed", "before"),
        (Comparison(earlier=2, same=(MAY,)), "passed", "fewer than 10 patients"),
        (Comparison(earlier=1, sets=(Difference(1, (MAY,)),)), "failed", "1 are in one of the two only"),
        (Comparison(earlier=1, units=(Difference(2, (MAY,)),)), "failed", "2 source units"),
        (Comparison(earlier=1, unlike=(MAY,)), "warned", "a model and a table"),
        (Comparison(earlier=9, too_many=True), "could_not_run", "too many"),
        (None, "could_not_run", "not known"),
    ],
)  # fmt: skip
def test_what_is_said_of_earlier_outputs(found, status, words):
    check = checked(found).check("differencing")
    assert check.status == status
    assert words in check.summary.en
    assert check.summary.zh != check.summary.en


def test_what_is_told_is_not_softened_by_what_could_not_be_compared():
    sets, units = (Difference(1, (MAY,)),), (Difference(2, (MAY,)),)
    worst = Comparison(
        earlier=3, unlike=(MAY,), too_many=True, groups=(Difference(3, (MAY,)),), sets=sets, units=units
    )
    check = checked(worst).check("differencing")
    assert check.status == "failed"
    assert "a group of 3 patients" in check.summary.en
    assert set(check.facts) >= {"told_by_groups", "told_by_sets", "told_by_units", "not_compared"}


def test_many_outputs_are_named_in_a_few_words():
    many = tuple(replace(MAY, title=f"output {n}") for n in range(80))
    check = checked(Comparison(earlier=80, unlike=many)).check("differencing")
    assert "(+77)" in check.summary.en
    assert len(check.facts["not_compared"]) == 50


# -- dominance


def with_costs(costs, policy=None, *, joint=False, patients=None):
    table = ward(costs, len(costs))
    owners = np.arange(len(costs)) if patients is None else np.array(patients)
    facts = counted(released=released(table), parts=amounts_of(table, owners, JOB), joint=joint)
    return build_report(replace(facts, participants=None), policy).check("dominance")


def test_a_mean_of_many_is_nobodys():
    found = with_costs(np.random.default_rng(1).normal(50, 9, 120))
    assert (found.status, found.facts["sums_shown"], found.figures) == ("passed", 1, ())


def test_a_mean_that_is_one_patients_is_marked_in_the_table():
    """The attack: the mean times the rows is, but for small change, what the one patient cost."""
    costs = [*np.linspace(1, 2, 60), 90_000.0]
    value = released(ward(costs, 61))["numeric"][0]
    assert float(value["mean"]) * value["count"] == pytest.approx(90_000, rel=0.2)
    found = with_costs(costs)
    assert found.status == "failed"
    assert found.facts["dominated"] == ["cost"]
    (figure,) = found.figures
    assert [figure.rows[row][column] for row, column in figure.marked] == [value["mean"]]


def test_many_rows_of_one_patient_are_one_part():
    costs = [100.0 + n / 10 for n in range(60)] + [0.5 + n / 100 for n in range(40)]
    assert with_costs(costs).status == "passed"
    assert with_costs(costs, patients=[0] * 60 + list(range(1, 41))).status == "failed"


def test_beside_other_units_a_large_part_asks_for_a_look():
    costs = [*np.linspace(1, 2, 60), 80.0]
    assert with_costs(costs).status == "passed"
    assert with_costs(costs, joint=True).status == "warned"


def test_values_below_zero_are_not_judged_and_it_is_said():
    found = with_costs(np.random.default_rng(1).normal(0, 9, 120))
    assert (found.status, found.facts["below_zero"]) == ("passed", ["cost"])
    # One value below 0 is enough: what a sum of others' gains and losses is, its largest part does not tell.
    one = with_costs([*np.linspace(1, 2, 60), 90_000.0, -1.0])
    assert (one.status, one.facts["below_zero"]) == ("passed", ["cost"])
    # Beside other units, the sum of all may be below 0 where no part of one's own is.
    together = means(Amounts("cost", 5.0, 4.0), mean="-3.00", joint=True)
    assert (together.status, together.facts["below_zero"]) == ("passed", ["cost"])


def means(*parts, mean="1.00", joint=False, policy=None, **changes):
    """The check of a table of 100 rows with a mean, and the largest parts of its sum, for each column."""
    numeric = [
        {"column": part.column, "count": 100, "missing": 0, "mean": mean, "variance": "1.0", **changes}
        for part in parts
    ]
    value = {"minimum_cell_count": 10, "source_units": 1, "rows": 100, "numeric": numeric, "tables": []}
    facts = replace(counted(released=value, parts=parts, joint=joint), participants=None)
    return build_report(facts, policy).check("dominance")


@pytest.mark.parametrize(
    ("largest", "second", "status"),
    [
        (50.0, 44.9, "passed"),  # 94.9 % of 100, and 5.1 is left: more than a tenth of 50
        (50.0, 45.0, "failed"),  # 95 %
        (60.0, 34.0, "passed"),  # 6 is left: a tenth of 60
        (60.0, 34.1, "failed"),  # 5.9 is left
    ],
)
def test_either_rule_is_enough(largest, second, status):
    """At 95 %, the second can know the largest to within a tenth though the two are not that much together."""
    assert means(Amounts("cost", largest, second), policy=Policy(dominance_percent=95)).status == status


def test_what_failed_is_named_before_what_may_have():
    failed, doubtful = Amounts("cost", 95.0, 1.0), Amounts("age", 48.0, 1.0)
    for both in ((failed, doubtful), (doubtful, failed)):
        check = means(*both, joint=True)
        assert check.status == "failed"
        assert (check.facts["dominated"], check.facts["perhaps_dominated"]) == (["cost"], ["age"])
        assert "cost" in check.summary.en
        assert "age" not in check.summary.en
    assert means(doubtful, joint=True).status == "warned"


def test_few_degrees_fail_also_beside_what_may_be_dominated():
    policy = Policy(minimum_degrees_of_freedom=100)
    check = means(Amounts("age", 48.0, 1.0), joint=True, policy=policy)
    assert (check.status, check.facts["few_degrees"]) == ("failed", ["age"])
    assert means(Amounts("age", 8.0, 1.0), policy=policy, variance=HIDDEN).status == "passed", "none is shown"


def test_a_hidden_mean_is_no_sum():
    found = with_costs([5.0] * 5)
    assert (found.status, found.facts["sums_shown"]) == ("passed", 0)


def test_a_variance_of_too_few_rows():
    policy = Policy(minimum_degrees_of_freedom=60, not_applicable=NOT_APPLICABLE_BY_DEFAULT)
    costs = np.random.default_rng(1).normal(50, 9, 60)
    assert with_costs(costs, policy).status == "failed"
    assert with_costs(costs, policy).facts["few_degrees"] == ["cost"]
    assert with_costs(np.append(costs, 50.0), policy).status == "passed"


def test_a_hidden_number_of_rows_counts_as_the_fewest_that_it_can_be():
    """Three costs are missing, so that neither they nor the rest are counted; the mean is shown all the same."""
    costs = [*np.random.default_rng(1).normal(50, 9, 60), np.nan, np.nan, np.nan]
    assert released(ward(costs, 63))["numeric"][0]["count"] == HIDDEN
    policy = Policy(minimum_degrees_of_freedom=53, not_applicable=NOT_APPLICABLE_BY_DEFAULT)
    assert with_costs(costs, policy).status == "passed"
    assert with_costs(costs, policy.model_copy(update={"minimum_degrees_of_freedom": 54})).status == "failed"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"patients": 41}, "passed"), ({"patients": 40}, "failed"), ({"patients": 40, "joint": True}, "warned"),
        ({"model": "mlp"}, "not_applicable"), ({"kind": "compute", "model": ""}, "not_applicable"),
    ],
)  # fmt: skip
def test_a_regression_leaves_enough_patients_free(changes, status):
    """The sound model has 31 fitted numbers; ten patients more is what the policy asks for."""
    assert build_report(sound(**changes)).check("dominance").status == status


def test_the_preparation_is_not_fitted_to_the_target():
    extra = ArtifactFacts(
        MODEL, "application/x-safetensors", 800, (TensorInfo("input.mean", "F32", (9999,)),)
    )
    facts = sound(observed=(*sound().observed, extra), patients=41)
    assert build_report(facts).check("dominance").status == "passed"


def test_without_the_parts_nothing_is_said():
    assert build_report(replace(counted(), parts=None)).check("dominance").status == "could_not_run"


# -- the tables


def test_hidden_counts_are_marked_in_the_tables_that_are_released():
    value = released(ward())
    figures = build_report(counted(released=value)).check("small_cells").figures
    assert [figure.title.en for figure in figures] == ["Rows and numbers", "sex", "site by sex"]
    cross = figures[2]
    assert cross.marked
    assert all(cross.rows[row][column] == HIDDEN for row, column in cross.marked)
    hidden = sum(row.count(HIDDEN) for row in cross.rows)
    assert len(cross.marked) == hidden


def test_counts_below_the_policy_are_marked_too():
    value = released(ward(), minimum=3)
    strict = Policy(minimum_cell_count=30, not_applicable=NOT_APPLICABLE_BY_DEFAULT)
    figures = build_report(counted(released=value), strict).check("small_cells").figures
    shown = [figure.rows[row][column] for figure in figures for row, column in figure.marked]
    assert any(text.isdecimal() and 0 < int(text) < 30 for text in shown)
    assert all(text == HIDDEN or 0 < int(text) < 30 for text in shown)
    smallest = min(int(text) for text in shown if text.isdecimal())
    exact = Policy(minimum_cell_count=smallest, not_applicable=NOT_APPLICABLE_BY_DEFAULT)
    left = build_report(counted(released=value), exact).check("small_cells").figures
    texts = [figure.rows[row][column] for figure in left for row, column in figure.marked]
    assert str(smallest) not in texts, "as many as it takes are enough"


def test_every_count_stands_where_it_says():
    value = released(ward(), minimum=0)
    table = drawn(value)[2]
    item = value["tables"][1]
    assert table.columns == ("site / sex", "female", "male", "other", "missing", "total 合计")
    for (line, cells), (row, column) in table.places.items():
        assert line == 3
        if len(cells) == 1:
            want = item["counts"][cells[0] // 4][cells[0] % 4]
        else:
            want = item["totals"][0][row] if column == 5 else item["totals"][1][column - 1]
        assert table.rows[row][column] == str(want)


def test_every_count_of_a_column_of_numbers_stands_where_it_says():
    item = {"column": "cost", "count": 88, "missing": 7, "mean": "1.5", "variance": "2.5", "outside": 4}
    table, *_ = drawn({**NOTHING, "rows": 95, "numeric": [item]})
    texts = {count: table.rows[row][column] for count, (row, column) in table.places.items()}
    assert texts == {(0, EVERYBODY): "95", (1, PRESENT): "88", (1, (MISSING,)): "7", (1, (OUTSIDE,)): "4"}


def test_a_label_that_says_hidden_is_no_hidden_count():
    table = Drawn(Words(en="t", zh="t"), (HIDDEN, "n"), ((HIDDEN, "4"), ("b", HIDDEN)), {})
    assert table.hidden == ((1, 1),)


def test_so_many_tables_of_such_a_size_and_no_more():
    def sized(rows, columns):
        return Drawn(Words(en="t", zh="t"), ("c",) * columns, (("1",) * columns,) * rows, {})

    fitting = [(200, 20), (20, 200)]
    assert [sized(*size).fits for size in (*fitting, (201, 1), (1, 201), (100, 41))] == [True] * 2 + [
        False
    ] * 3
    assert len(shown_tables([sized(2, 2)] * 9, dict.fromkeys(range(9), ()))) == MAX_TABLES


def test_parts_of_nothing():
    assert Amounts("cost", 0.0, 0.0) == amounts_of(ward([np.nan], 1), np.array([0]), JOB)[0]
