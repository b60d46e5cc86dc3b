"""Models and files that keep rows are recognised, as a sandbox would hand them over; others are not."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from job_runs import NUMBERS, compute_parameters, parameters, patients, run
from test_job_images import pictures

from trustspace.jobs import stored
from trustspace.jobs.artifacts import encode_csv, encode_json
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.json_tables import small_leaf, stores_by_name
from trustspace.jobs.stored import StoredRows, stored_rows
from trustspace.jobs.tensors import write_tensors

TABLE = patients(240, missing=0.05)
NEIGHBOURS = """
import torch
from torch import nn

class Neighbours(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("memory", torch.zeros(SIZE))
        self.at = 0

    def forward(self, rows):
        kept = self.memory.reshape(-1, rows.shape[1])
        if self.training and self.at < len(kept):
            for row in rows[: len(kept) - self.at]:
                kept[self.at] = row
                self.at += 1
        return self.scale * -torch.cdist(rows, kept).min(dim=1, keepdim=True).values

def build(known):
    return Neighbours(known["input_shape"][0])
"""
PLAIN = """
from torch import nn
def build(known):
    return nn.Sequential(nn.Linear(known["input_shape"][0], WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))
"""


def looked(job, table, code=None) -> StoredRows:
    made = run("train", job, table, code=code)
    found = stored_rows(job, list(made.values()), table.select(list(job.columns_of(0))), table.num_rows)
    assert found is not None
    return found


# -- models


@pytest.mark.parametrize("size", ["100, 3", "300"])
@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_nearest_neighbours_in_a_network_are_found(size, precision):
    """The attack: a buffer that the loop fills as rows pass by, as a matrix or flat. The scores are those of 1-NN."""
    job = parameters(model="custom", epochs=1, precision=precision)
    found = looked(job, TABLE, {"model.py": NEIGHBOURS.replace("SIZE", size)})
    assert found.compared == "yes"
    assert [name for name, _ in found.found] == ["model.memory"]
    assert found.found[0][1] >= 95, "a few rows have too many gaps to be told from others"


def test_the_same_shapes_without_rows_are_not():
    job = parameters(model="custom", epochs=2)
    assert looked(job, TABLE, {"model.py": PLAIN.replace("WIDTH", "100")}) == StoredRows("yes")
    assert looked(parameters(model="mlp", hidden=[240], epochs=2), TABLE) == StoredRows("yes")


@pytest.mark.parametrize(
    "turn", [np.transpose, np.ravel, lambda a: np.hstack([a, a[:, :1]]), lambda a: np.hstack([a[:, :2], a])]
)
def test_rows_are_found_however_they_lie(turn):
    job = parameters(model="custom", epochs=1)
    raw = np.stack([TABLE[name].drop_null().to_numpy()[:150] for name in NUMBERS], axis=1)
    complete = pa.table(
        {**{name: raw[:, place] for place, name in enumerate(NUMBERS)}, "outcome": ["M", "B"] * 75}
    )
    platform = {
        f"input.{part}": np.full(3, part == "scale", np.float32) for part in ("fill", "mean", "scale")
    }
    kept = np.ascontiguousarray(turn(raw.astype(np.float32)))
    file = RawArtifact(
        "model.safetensors", "application/x-safetensors", write_tensors({**platform, "model.a": kept})
    )
    found = stored_rows(job, [file], complete, 150)
    assert found is not None
    assert dict(found.found).get("model.a", 0) >= 148


def test_what_has_a_place_for_every_patient_is_named():
    job = parameters(model="custom", epochs=1)
    code = {"model.py": PLAIN.replace("WIDTH", "240")}
    assert looked(job, TABLE, code).shaped == ("model.0.bias", "model.0.weight", "model.2.weight")
    small = TABLE.slice(0, 16)
    assert looked(job, small, {"model.py": PLAIN.replace("WIDTH", "16")}).shaped == (), "16 is a usual size"


def test_a_tensor_that_says_what_it_keeps_is_taken_at_its_word():
    job = parameters(model="custom", epochs=1)
    code = NEIGHBOURS.replace("SIZE", "9, 3")
    assert looked(job, TABLE, {"model.py": code}).named == ()
    assert looked(job, TABLE, {"model.py": code.replace("memory", "X_train_")}).named == ("model.X_train_",)


def test_pictures_are_not_compared_and_that_is_said():
    job = parameters(("image",), model="small_cnn", image_size=16, epochs=1)
    assert looked(job, pictures(30)).compared == "pictures"


def test_more_than_may_be_compared_is_said(monkeypatch):
    monkeypatch.setattr(stored, "MOST_NUMBERS", 3)
    custom = parameters(model="custom", epochs=1)
    assert looked(custom, TABLE, {"model.py": PLAIN.replace("WIDTH", "8")}).compared == "too_large"
    assert filed([[1, 2, 3]]).compared == "too_large"
    monkeypatch.undo()
    for limit in ("MOST_TABLES", "MOST_WORK", "MOST_COLUMNS"):
        with monkeypatch.context() as patched:
            patched.setattr(stored, limit, 1)
            assert filed([[*ROWS[0]], {"a": 1, "b": 2, "c": 3, "d": 4}]).compared == "too_large", limit
    monkeypatch.setattr(stored, "MOST_IN_OWN", 3)
    assert looked(parameters(epochs=1), TABLE).compared == "not_needed", (
        "the platform's own loop keeps no rows"
    )


@pytest.mark.parametrize("seed", range(5))
def test_trained_networks_of_coarse_tables_are_not_taken_for_rows(seed):
    """Yes and no, and categories: rows coincide, and weights near 0 and 1 do too."""
    draw = np.random.default_rng(seed)
    columns = {f"c{n}": draw.integers(0, 2, 200) for n in range(6)}
    table = pa.table(
        {**columns, "sex": draw.choice(["f", "m"], 200), "outcome": draw.choice(["M", "B"], 200)}
    )
    job = parameters(
        (*columns, "sex"), model="mlp", hidden=[64], epochs=3, seed=seed, categories={"sex": ["f", "m"]}
    )
    assert looked(job, table).found == ()


# -- files of a compute job

COMPLETE = pa.table({name: TABLE[name].fill_null(7.0) for name in NUMBERS} | {"note": ["x"] * TABLE.num_rows})
ROWS = list(zip(*(COMPLETE[name].to_pylist() for name in NUMBERS), strict=True))
OUTPUTS = [
    {"name": "a.json", "media_type": "application/json", "max_bytes": 1 << 20},
    {"name": "a.csv", "media_type": "text/csv", "max_bytes": 1 << 20},
    {"name": "a.safetensors", "media_type": "application/x-safetensors", "max_bytes": 1 << 20},
]


def filed(value) -> StoredRows:
    """What is seen in one file: JSON for a value, a table for lists of cells, tensors for arrays."""
    if isinstance(value, dict) and all(isinstance(array, np.ndarray) for array in value.values()):
        raw = RawArtifact("a.safetensors", "application/x-safetensors", write_tensors(value))
    elif isinstance(value, list) and isinstance(value[0], list) and isinstance(value[0][0], str):
        raw = RawArtifact("a.csv", "text/csv", encode_csv(value))
    else:
        raw = RawArtifact("a.json", "application/json", encode_json(value))
    found = stored_rows(compute_parameters(OUTPUTS), [raw], COMPLETE, 240)
    assert found is not None
    return found


def named(rows):
    return [dict(zip(NUMBERS, row, strict=True)) for row in rows]


@pytest.mark.parametrize(
    "value",
    [
        [list(row) for row in ROWS[:30]],
        named(ROWS[:30]),
        {"patients": {str(n): one for n, one in enumerate(named(ROWS[:30]))}},
        {name: [row[place] for row in ROWS[:30]] for place, name in enumerate(NUMBERS)},
        [[row[place] for row in ROWS[:30]] for place in range(3)],
        [[f"{cell:.5f}" for cell in row] for row in ROWS[:30]] + [["x", "y", "z"]],
        [["b", "who", "c", "a"]] + [[repr(row[1]), "p", repr(row[2]), repr(row[0])] for row in ROWS[:30]],
        {"w": np.array(ROWS[:30])},
        {"w": np.array(ROWS[:30], np.float32).T},
        {"w": np.array(ROWS[:30]).ravel()},
    ],
    ids=["lists", "records", "keyed", "columns", "across", "text", "shuffled-csv", "f64", "f32-turned", "flat"],
)  # fmt: skip
def test_rows_in_files_are_found_however_they_are_written(value):
    assert sum(count for _, count in filed(value).found) >= 29


@pytest.mark.parametrize(
    "value",
    [
        {"mean": {name: float(np.mean(COMPLETE[name])) for name in NUMBERS}, "rows": 240},
        {name: np.histogram(COMPLETE[name], 12)[0].tolist() for name in NUMBERS},
        {name: np.quantile(COMPLETE[name], np.linspace(0.1, 0.9, 9)).tolist() for name in NUMBERS},
        [["group", "n", "mean"], ["a", "120", "49.5"], ["b", "120", "50.25"]],
        {"w": np.random.default_rng(1).normal(size=(64, 3))},
        {"w": np.random.default_rng(2).normal([50, 10, 0.1], [12, 2, 0.02], size=(500, 3))},
    ],
    ids=["means", "histograms", "quantiles", "groups", "weights", "made-up-rows"],
)
def test_summaries_are_not_taken_for_rows(value):
    assert filed(value) == StoredRows("yes")


@pytest.mark.parametrize("kind", ["csv", "f32"])
def test_columns_that_look_alike_are_told_apart(kind):
    """Standard normal all, so many that every rounded value occurs in every column; and nothing is called by its name."""
    values = np.random.default_rng(3).normal(size=(20_000, 6))
    table = pa.table({f"m{place}": values[:, place] for place in range(6)})
    kept = values[:100, [4, 0, 5, 2]]
    raw = (
        RawArtifact(
            "a.csv", "text/csv", encode_csv([list("abcd"), *([repr(float(c)) for c in row] for row in kept)])
        )
        if kind == "csv"
        else RawArtifact(
            "a.safetensors", "application/x-safetensors", write_tensors({"w": kept.astype(np.float32)})
        )
    )
    found = stored_rows(compute_parameters(OUTPUTS), [raw], table, 20_000)
    assert found is not None
    assert dict(found.found) in ({"a.csv": 100}, {"a.safetensors: w": 100})


def test_one_line_for_every_record_is_named():
    scores = [["score"], *([f"0.{n:03}"] for n in range(240))]
    assert filed(scores).shaped == ("a.csv",)
    assert filed(scores[:-1]).shaped == ()


def test_where_no_row_can_be_told_from_chance_that_is_said():
    narrow = COMPLETE.select(["age", "note"])
    raw = RawArtifact("a.json", "application/json", encode_json([1, 2, 3]))
    assert stored_rows(compute_parameters(OUTPUTS), [raw], narrow, 240) == StoredRows("narrow")


# -- what names and sizes say

SKLEARN = {
    "feature": 3, "threshold": 0.5, "n_node_samples": 100,
    "left": {"n_node_samples": 96, "value": [50, 46]}, "right": {"n_node_samples": 4, "value": [0, 4]},
}  # fmt: skip
SKLEARN_COLUMNS = {
    "children_left": [1, -1, -1], "children_right": [2, -1, -1], "threshold": [0.5, -2, -2],
    "n_node_samples": [100, 97, 3],
}  # fmt: skip
XGBOOST = {
    "nodeid": 0, "split": "f3", "split_condition": 1.5, "yes": 1, "no": 2, "cover": 100,
    "children": [{"nodeid": 1, "leaf": 0.2, "cover": 95.5}, {"nodeid": 2, "leaf": -0.1, "cover": 4.5}],
}  # fmt: skip
LIGHTGBM = {
    "tree_info": [{"tree_structure": {
        "split_feature": 1, "threshold": 2.0, "internal_count": 100,
        "left_child": {"leaf_index": 0, "leaf_count": 92}, "right_child": {"leaf_index": 1, "leaf_count": 8},
    }}]
}  # fmt: skip


@pytest.mark.parametrize(
    ("tree", "smallest"), [(SKLEARN, 4), (SKLEARN_COLUMNS, 3), ([XGBOOST], 4), (LIGHTGBM, 8)]
)
def test_the_smallest_leaf_of_a_tree_is_seen(tree, smallest):
    assert filed({"model": tree}).leaves == (("a.json", smallest),)
    text = json.dumps(tree).replace("cover", "weight").replace("count", "w").replace("samples", "w")
    assert small_leaf(json.loads(text)) is None, "the control: without the counts it is no such tree"


def test_tables_of_counts_are_not_trees():
    assert small_leaf({"left": {"count": 3}, "right": {"count": 90}}) is None
    assert small_leaf({"groups": [{"samples": 3, "mean": 1.5}]}) is None


@pytest.mark.parametrize(
    "name",
    ["support_vectors_", "model.support_vectors", "dual_coef_", "X_train", "_fit_X", "X_train_", "neighbors", "SV",
     "sv_coef", "training_data", "prototypes"],
)  # fmt: skip
def test_what_keeps_rows_by_its_name_is_seen(name):
    assert stores_by_name(name)
    assert filed({"svm": {name.rpartition(".")[2]: [[0.5]], "intercept": 1}}).named
    assert not filed({"svm": {name.rpartition(".")[2]: [], "intercept": 1}}).named, "nothing is kept there"


@pytest.mark.parametrize(
    "name", ["weight", "layers.0.weight", "train_loss", "training", "neighbourhood_mean", "svg"]
)
def test_other_names_say_nothing(name):
    assert not stores_by_name(name)
