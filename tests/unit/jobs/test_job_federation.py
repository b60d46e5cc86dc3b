from __future__ import annotations

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_runs import parameters, patients, run
from session_runs import joint_parameters
from test_job_images import pictures

from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs.artifacts import check_artifact, encode_json
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.federation import (
    EarlyStop,
    RoundMetrics,
    bulk_length,
    layout_check,
    measure,
    measure_length,
    measured,
    metrics_json,
    model_file,
    platform_from_sums,
    prepare_length,
    prepared,
    read_sums,
    write_sums,
)
from trustspace.jobs.metrics import Quality, quality, score_bins
from trustspace.jobs.precision import leaving
from trustspace.jobs.tensors import read_tensors
from trustspace.jobs.training import prepare, read_rows

MIXED = ("age", "sex", "size", "flat", "empty")


def mixed(rows: int, seed: int) -> pa.Table:
    """Numbers with gaps, a category with gaps and an undeclared value, a constant column, an empty one."""
    draw = np.random.default_rng(seed)
    sex = np.array(["f", "m", "x", None], dtype=object)[draw.integers(0, 4, rows)]
    return pa.table(
        {
            "age": pa.array(draw.normal(50 + 9 * seed, 12, rows), mask=draw.random(rows) < 0.2),
            "sex": pa.array(sex.tolist(), pa.string()),
            "size": pa.array(draw.lognormal(1, 1 + seed / 4, rows)),
            "flat": pa.array(np.full(rows, 0.1)),
            "empty": pa.array([None] * rows, pa.float64()),
            "outcome": pa.array(
                np.where(draw.random(rows) < 0.4, "M", "B").tolist(), mask=draw.random(rows) < 0.1
            ),
            "grade": pa.array(draw.normal(seed, 2, rows), mask=draw.random(rows) < 0.1),
        }
    )


def sums_of(job, tables):
    numbers = []
    for table in tables:
        rows = read_rows(table, job)
        numbers.append(prepared(job, rows.features, rows.target, rows.left_out))
    return sum(numbers)


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize(
    "target", [{"positive": "M"}, {"target": "grade", "loss": "mean_squared_error"}], ids=["class", "number"]
)
def test_sums_of_parts_prepare_as_the_pooled_table_does(standardise, target):
    job = joint_parameters(MIXED, categories={"sex": ["f", "m"]}, standardise=standardise, **target)
    parts = [mixed(rows, seed) for seed, rows in enumerate((40, 7, 90))]
    pooled = prepare(read_rows(pa.concat_tables(parts), job), job)
    summed = platform_from_sums(job, sums_of(job, parts))
    assert set(summed) == set(pooled)
    for name, expected in pooled.items():
        assert summed[name].dtype == np.float32
        assert summed[name] == pytest.approx(expected, rel=1e-6, abs=1e-9), name
    if standardise:
        assert summed["input.scale"][0] > 5
        # sex (two), flat, empty: nothing to bring to deviation 1
        assert summed["input.scale"][[1, 2, 4, 5]].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("standardise", [True, False])
def test_sums_of_parts_prepare_images_as_the_pooled_table_does(standardise):
    job = joint_parameters(
        ("image",), units=2, model="small_cnn", image_size=8, channels=3, standardise=standardise
    )
    parts = [pictures(9, seed=1), pictures(14, seed=2)]
    pooled = prepare(read_rows(pa.concat_tables(parts), job), job)
    summed = platform_from_sums(job, sums_of(job, parts))
    assert set(summed) == set(pooled) == {"input.mean", "input.scale"}
    for name, expected in pooled.items():
        assert summed[name] == pytest.approx(expected, rel=1e-6), name
    assert bool(summed["input.scale"][0] < 0.5) is standardise


@pytest.mark.parametrize("value", [0.1, 1e9 + 0.1, -3e-7, 1e13])
def test_a_constant_column_is_seen_as_constant_whatever_its_size(value):
    job = joint_parameters(("age",))
    tables = [pa.table({"age": np.full(rows, value), "outcome": ["M"] * rows}) for rows in (1000, 37, 2, 5)]
    platform = platform_from_sums(job, sums_of(job, tables))
    assert platform["input.scale"].tolist() == [1.0]
    assert platform["input.mean"] == pytest.approx(np.float32([value]))


def test_a_large_mean_loses_no_spread_that_a_model_could_use():
    draw = np.random.default_rng(1)
    tables = [pa.table({"age": 1e6 + draw.normal(0, 3, 500), "outcome": ["M"] * 500}) for _ in range(3)]
    job = joint_parameters(("age",))
    pooled = prepare(read_rows(pa.concat_tables(tables), job), job)
    summed = platform_from_sums(job, sums_of(job, tables))
    assert summed["input.scale"] == pytest.approx(pooled["input.scale"], rel=1e-3)


def test_only_what_is_needed_is_counted():
    assert prepare_length(joint_parameters(MIXED, categories={"sex": ["f", "m"]})) == 2 + 4 * 3
    assert (
        prepare_length(joint_parameters(MIXED, categories={"sex": ["f", "m"]}, standardise=False))
        == 2 + 4 * 2
    )
    images = {"columns": ("image",), "model": "small_cnn", "image_size": 8}
    assert prepare_length(joint_parameters(**images)) == 2 + 256
    assert prepare_length(joint_parameters(**images, standardise=False)) == 2
    assert prepare_length(joint_parameters(("age",), loss="mean_squared_error")) == 2 + 2 + 3


def test_numbers_too_large_to_be_added_are_refused():
    job = joint_parameters(("age",))
    for value in (1e16, 1e200):
        with pytest.raises(InvalidInput, match="too large"):
            sums_of(job, [pa.table({"age": [value] * 3, "outcome": ["M"] * 3})])


def test_sums_that_no_rows_give_are_refused():
    job = joint_parameters(("age",))
    good = [100.0, 3.0, 90.0, 4500.0, 230000.0]
    assert platform_from_sums(job, good)["input.mean"] == pytest.approx([50.0])
    for at, value in ((0, -1.0), (0, 1.5), (0, math.nan), (2, -1.0), (2, 0.5), (3, math.inf), (4, math.nan)):
        with pytest.raises(VerificationFailed):
            platform_from_sums(job, [value if i == at else x for i, x in enumerate(good)])
    for other in ([], good[:-1], [*good, 0.0]):
        with pytest.raises(VerificationFailed):
            platform_from_sums(job, other)
    with pytest.raises(InvalidInput, match="Fewer than two rows"):
        platform_from_sums(job, [1.0, 3.0, 1.0, 50.0, 2500.0])
    picture = joint_parameters(("image",), model="small_cnn", image_size=8)
    with pytest.raises(VerificationFailed):
        platform_from_sums(picture, [5.0, 0.0] + [0.0] * 256)
    with pytest.raises(VerificationFailed):
        platform_from_sums(picture, [5.0, 0.0, -1.0] + [2.0] * 255)


def answers(task: str, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    if task == "regression":
        target = draw.normal(0.3, 1.2, rows)
        return (target + draw.normal(0, 0.7, rows))[:, None], target
    outputs = 1 if task == "binary" else 3
    target = draw.integers(0, max(2, outputs), rows).astype(np.float64)
    logits = draw.normal(0, 6, (rows, outputs))
    for k in range(outputs):
        logits[:, k] += 3 * (target == (1 if task == "binary" else k))
    return logits, target


TASKS = {
    "binary": joint_parameters(),
    "multiclass": joint_parameters(classes=["A", "B", "C"]),
    "regression": joint_parameters(loss="mean_squared_error"),
}


@pytest.mark.parametrize("task", TASKS)
def test_metrics_of_summed_parts_are_those_of_the_pool(task):
    job = TASKS[task]
    parts = [answers(task, rows, seed) for seed, rows in enumerate((300, 41, 1, 0, 500))]
    numbers = [measure(job, *part) for part in parts]
    assert {len(one) for one in numbers} == {measure_length(job)}
    summed = measured(job, sum(numbers))
    pool = quality(task, *(np.concatenate(side) for side in zip(*parts, strict=True)))
    assert summed.rows == pool.rows == 842
    assert summed.loss == pytest.approx(pool.loss, rel=1e-12)
    if task == "regression":
        assert summed.r2 == pytest.approx(pool.r2, rel=1e-9)
        assert 0.5 < summed.r2 < 0.9
        return
    assert summed.accuracy == pytest.approx(pool.accuracy, abs=1e-12)
    # What rounding scores to bins can change: half of the pairs that fall into one bin.
    histograms = sum(numbers)[3:].reshape(-1, 2, score_bins(job.training().outputs))
    shares = [(own * other).sum() / (own.sum() * other.sum()) for own, other in histograms]
    assert abs(summed.auc - pool.auc) <= np.mean(shares) / 2
    assert np.mean(shares) / 2 < 0.0005
    assert 0.6 < summed.auc < 0.9


def test_scores_far_out_keep_their_order():
    job = TASKS["binary"]
    logits = np.array([-400.0, -30.0, -9.0, 9.0, 30.0, 400.0])[:, None]
    target = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    assert measured(job, measure(job, logits, target)).auc == 1.0
    assert measured(job, measure(job, -logits, target)).auc == 0.0
    rare = np.array([0.0, 0.0, 1.0, 0.0, 1.0, 1.0])
    found = measured(job, measure(job, logits - 12, rare)).auc
    assert found == pytest.approx(quality("binary", logits, rare).auc)


@pytest.mark.parametrize(("spread", "most"), [(0.2, 0.002), (1, 0.0005), (10, 0.0005), (40, 0.0005)])
@pytest.mark.parametrize("middle", [-8, -3, 0, 5])
def test_the_area_under_the_curve_is_near_wherever_the_scores_lie(middle, spread, most):
    job, draw = TASKS["binary"], np.random.default_rng(11)
    target = (draw.random(3000) < 0.3).astype(np.float64)
    logits = (draw.normal(middle, spread, 3000) + 0.8 * spread * target)[:, None]
    found = measured(job, measure(job, logits, target)).auc
    assert found == pytest.approx(quality("binary", logits, target).auc, abs=most)


@pytest.mark.parametrize("task", TASKS)
def test_nothing_to_measure_is_said_so(task):
    job = TASKS[task]
    empty = measured(job, [0.0] * measure_length(job))
    assert empty == Quality(task, 0)
    one_class = measure(job, answers(task, 5, 1)[0], np.ones(5))
    assert measured(job, one_class).auc is None


def test_many_classes_do_not_make_too_many_numbers():
    job = joint_parameters(classes=[str(n) for n in range(256)])
    assert measure_length(job) == 3 + 256 * 2 * 64
    assert len(write_sums([1234567.0] * measure_length(job))) < 1 << 20
    draw = np.random.default_rng(3)
    found = measured(job, measure(job, draw.normal(0, 1, (400, 256)), draw.integers(0, 256, 400) * 1.0))
    assert found.auc == pytest.approx(0.5, abs=0.05)


def test_measured_sums_that_no_rows_give_are_refused():
    job = TASKS["binary"]
    good = measure(job, *answers("binary", 50, 1))
    assert measured(job, good).rows == 50
    for at, value in (
        (0, -1),
        (0, 49),
        (0, 2.5),
        (1, math.nan),
        (1, -1),
        (2, 51),
        (2, 0.5),
        (3, -1),
        (9, 2.0**60),
    ):
        spoilt = good.copy()
        spoilt[at] = value
        with pytest.raises(VerificationFailed):
            measured(job, spoilt)
    with pytest.raises(VerificationFailed):
        measured(job, good[:-1])
    for spoilt in ([5, math.inf, 0, 1], [5, 1, math.nan, 1], [0.5, 1, 1, 1], [5, -1, 0, 1], [5, 1, 1]):
        with pytest.raises(VerificationFailed):
            measured(TASKS["regression"], spoilt)


@given(st.lists(st.floats(-1e30, 1e30, allow_nan=False), max_size=20))
def test_sums_read_back_exactly(numbers):
    data = write_sums(numbers)
    assert list(read_sums(data, len(numbers))) == numbers
    assert write_sums(read_sums(data, len(numbers))) == data


@pytest.mark.parametrize(
    "numbers",
    [
        ["nan"], ["inf"], ["-inf"], ["1e400"], ["1.0"], ["01"], ["+1"], [" 1"], ["1_0"], ["0x1"], ["-0"], ["1e31"],
        [""], ["0.10"], ["1" * 41], ["\u0661"], [1], [1.5], [None], [["1"]], [True], [], ["1", "1"], "1", {}, None,
    ],
)  # fmt: skip
def test_a_worker_s_sums_are_read_strictly(numbers):
    with pytest.raises(VerificationFailed):
        read_sums(encode_json({"format": "trustspace-sums-v1", "numbers": numbers}), 1)


@pytest.mark.parametrize(
    "value",
    [
        {"format": "trustspace-sums-v2", "numbers": ["1"]}, {"numbers": ["1"]}, ["1"], None,
        {"format": "trustspace-sums-v1", "numbers": ["1"], "note": "x"},
    ],
)  # fmt: skip
def test_a_file_that_is_not_of_sums_is_refused(value):
    assert read_sums(encode_json({"format": "trustspace-sums-v1", "numbers": ["1"]}), 1) == (1.0,)
    with pytest.raises(VerificationFailed):
        read_sums(encode_json(value), 1)


LINEAR = [["model.bias", [1]], ["model.weight", [1, 3]]]


def test_a_worker_s_layout_is_that_of_the_declared_model():
    job = joint_parameters()
    assert layout_check(job, LINEAR) == (("model.bias", (1,)), ("model.weight", (1, 3)))
    assert bulk_length(job) == 4
    wrong = [
        None, {}, "model.bias", [], LINEAR[:1], LINEAR[::-1], [*LINEAR, ["model.x", [1]]], [LINEAR[0], *LINEAR],
        [["model.bias", [1]], ["model.weight", [3, 1]]], [["model.bias", [1]], ["model.weight", [1, 3, 1]]],
        [["model.bias", [True]], ["model.weight", [1, 3]]], [["model.bias", [1.0]], ["model.weight", [1, 3]]],
        [["model.bias", "1"], ["model.weight", [1, 3]]], [["model.bias"], ["model.weight", [1, 3]]],
        [["input.mean", [3]], *LINEAR],
    ]  # fmt: skip
    for layout in wrong:
        with pytest.raises(VerificationFailed):
            layout_check(job, layout)


def test_a_custom_model_s_layout_is_bounded():
    job = joint_parameters(model="custom", max_parameters=10)
    assert bulk_length(job) == 10
    assert layout_check(job, [["model.a", [5]], ["model.b", [5, 1]], ["model.c", []][:2]][:2])
    wrong = [
        [["model.a", [11]]], [["model.a", [6]], ["model.b", [5]]], [["model.a", [0]]], [["model.a", [-5, -1]]],
        [["a", [1]]], [["model.\n", [1]]], [["model.\u00e9", [1]]], [["model." + "a" * 200, [1]]],
        [["model.a", [1] * 9]], [["model.a", [1 << 40, 0]]], [[f"model.{n:05}", [0]] for n in range(4096)],
    ]  # fmt: skip
    for layout in wrong:
        with pytest.raises(VerificationFailed):
            layout_check(job, layout)


def test_the_model_file_is_the_vector_cut_up():
    platform = {f"input.{part}": np.ones(3, np.float32) for part in ("fill", "mean", "scale")}
    layout = layout_check(joint_parameters(), LINEAR)
    data = model_file(layout, platform, np.arange(4, dtype=np.float32))
    tensors = read_tensors(data)
    assert tensors["model.bias"].tolist() == [0.0]
    assert tensors["model.weight"].tolist() == [[1.0, 2.0, 3.0]]
    job = joint_parameters()
    left = leaving([RawArtifact("model.safetensors", "application/x-safetensors", data)], job)
    check_artifact(left[0], job)
    as_handed = joint_parameters(precision="float32")
    check_artifact(RawArtifact("model.safetensors", "application/x-safetensors", data), as_handed)
    for vector in (np.arange(5, dtype=np.float32), np.arange(4.0), np.array([0, 1, 2, np.nan], np.float32)):
        with pytest.raises(InvalidInput):
            model_file(layout, platform, vector)


def rounds_of(*losses: str) -> list[RoundMetrics]:
    return [RoundMetrics(2, "0.500000", loss) for loss in losses]


def test_rounds_end_when_validation_gets_no_better():
    watch = EarlyStop(2)
    for metrics in rounds_of("0.9", "0.800000", "0.800000", "0.700000", "0.710000"):
        watch.seen(metrics)
        assert not watch.over
    watch.seen(rounds_of("0.700000")[0])
    assert watch.over
    for patience, over in ((None, False), (3, True), (4, False)):
        blind = EarlyStop(patience)
        for metrics in rounds_of(*["not measurable"] * 3):
            blind.seen(metrics)
        assert blind.over is over
    entry = rounds_of("0.800000")[0]
    assert RoundMetrics(**entry.to_json()) == entry


JOINT = {"rounds": 3, "validation_percent": 10, "patience": 2}
HISTORY = [RoundMetrics(n, "0.500000", "0.600000") for n in (3, 2, 3)]


def joint_metrics(job, history=HISTORY):
    return metrics_json(job, history, 190, Quality(job.training().task, 40, 0.5, 0.75, 0.7, 0.3))


def check(data, job):
    check_artifact(RawArtifact("metrics.json", "application/json", data), job)


def test_joint_metrics_say_nothing_of_any_one_source_unit():
    job = joint_parameters(terms={"minimum_participants": 2}, federated=JOINT)
    data = joint_metrics(job)
    check(data, job)
    assert json.loads(data) == {
        "format": "trustspace-federated-v1",
        "model": "logistic_regression",
        "strategy": "fedavg",
        "rounds": 3,
        "participants_per_round": [3, 2, 3],
        "rows": 190,
        "loss_per_round": ["0.500000"] * 3,
        "validation_loss_per_round": ["0.600000"] * 3,
        "withheld": {"rows": 40, "loss": "0.500000", "auc": "0.750000", "accuracy": "0.700000"},
    }
    check(joint_metrics(job, HISTORY[:1]), job)
    number = joint_parameters(
        loss="mean_squared_error", terms={"minimum_participants": 2}, federated={"rounds": 3}
    )
    shown = json.loads(joint_metrics(number))
    assert shown["withheld"] == {"rows": 40, "loss": "0.500000", "r2": "0.300000"}
    assert shown["validation_loss_per_round"] == []
    check(joint_metrics(number), number)


def test_joint_metrics_are_held_to_what_was_declared():
    job = joint_parameters(terms={"minimum_participants": 2}, federated=JOINT)
    value = json.loads(joint_metrics(job))
    changes = [
        {"format": "trustspace-training-v1"}, {"model": "mlp"}, {"strategy": "fedprox"}, {"rounds": 4},
        {"rounds": 0}, {"rounds": True}, {"rounds": "3"}, {"rows": -1}, {"rows": 1.0}, {"rows": 1 << 53},
        {"participants_per_round": [3, 1, 3]}, {"participants_per_round": [3, 4, 3]},
        {"participants_per_round": [3, 3]}, {"participants_per_round": [3, "2", 3]},
        {"participants_per_round": [3, True, 3]}, {"loss_per_round": ["0.5"] * 3}, {"loss_per_round": []},
        {"loss_per_round": "0.5"}, {"validation_loss_per_round": []}, {"withheld": None}, {"withheld": {}},
        {"withheld": {**value["withheld"], "north": "0.1"}}, {"withheld": {**value["withheld"], "auc": 0.7}},
        {"withheld": {**value["withheld"], "rows": -1}}, {"note": "x"},
    ]  # fmt: skip
    for change in changes:
        with pytest.raises(VerificationFailed):
            check(encode_json({**value, **change}), job)
    for missing in value:
        with pytest.raises(VerificationFailed):
            check(encode_json({k: v for k, v in value.items() if k != missing}), job)
    for other in (None, [], "x"):
        with pytest.raises(VerificationFailed):
            check(encode_json(other), job)
    strict = joint_parameters(terms={"minimum_participants": 2}, federated={"rounds": 3})
    with pytest.raises(VerificationFailed):
        check(joint_metrics(strict, HISTORY[:2]), strict)  # only patience ends the rounds early


def test_single_and_joint_metrics_do_not_pass_for_each_other():
    job = joint_parameters(terms={"minimum_participants": 2}, federated=JOINT)
    single = parameters()
    made = run("train", single, patients(30))["metrics.json"]
    check_artifact(made, single)
    with pytest.raises(VerificationFailed):
        check_artifact(made, job)
    with pytest.raises(VerificationFailed):
        check(joint_metrics(job), single)
