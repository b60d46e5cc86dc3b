"""The program that trains anew on random halves: what it hands out, that it repeats itself, and where it gives up."""

import numpy as np
import pytest
from job_runs import parameters, patients, run

from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs.losses import read_reference_losses
from trustspace.jobs.references import reference_parameters, reference_seed
from trustspace.jobs.tensors import read_tensors, write_tensors

ROWS = 60
JOB = parameters(model="mlp", hidden=[64], epochs=60, learning_rate="0.02")
TABLE = patients(ROWS, missing=0.1)


def halves(trainings=2, rows=ROWS, seed=1):
    inside = np.random.default_rng(seed).random((trainings, rows)) < 0.5
    return write_tensors({"inside": inside.astype(np.uint8)}), inside


def made_of(job=JOB, table=TABLE, inside=None, **more):
    given = halves()[0] if inside is None else write_tensors({"inside": np.array(inside, dtype=np.uint8)})
    return run("references", job, table, halves=given, **more)


@pytest.fixture(scope="module")
def made():
    return made_of()


def test_it_hands_out_losses_alone_and_says_how_far_it_is(made, capsys):
    assert set(made) == {"losses.safetensors"}
    loss, used = read_reference_losses(made["losses.safetensors"].data, 2, ROWS)
    assert used.all()
    assert loss.shape == (2, ROWS)
    assert (loss > 0).all()


def test_what_a_model_was_trained_on_it_fits_better(made):
    loss, _ = read_reference_losses(made["losses.safetensors"].data, 2, ROWS)
    for row, inside in zip(loss, halves()[1], strict=True):
        assert row[inside].mean() < 0.5 * row[~inside].mean()


def test_the_same_halves_give_the_same_bytes_and_each_training_its_own(made, capsys):
    assert made_of() == made
    assert capsys.readouterr().out.count("reference ") == 2
    _, inside = halves()
    alike, _ = read_reference_losses(
        made_of(inside=[inside[0], inside[0]])["losses.safetensors"].data, 2, ROWS
    )
    first, _ = read_reference_losses(made["losses.safetensors"].data, 2, ROWS)
    np.testing.assert_array_equal(alike[0], first[0])
    assert (alike[0] != alike[1]).any(), "another seed"
    assert len({reference_seed(1, number) for number in range(64)} | {reference_seed(2, 0), 1}) == 66


def test_rows_that_were_left_out_are_marked():
    table = TABLE.set_column(3, "outcome", [["M" if i % 2 else "B" if i % 3 else None for i in range(ROWS)]])
    loss, used = read_reference_losses(made_of(table=table)["losses.safetensors"].data, 2, ROWS)
    assert used.sum() == ROWS - 10
    assert not loss[:, ~used].any()


@pytest.mark.parametrize(
    "train",
    [
        {"target": "size", "loss": "mean_squared_error"},
        {"classes": ["B", "M", "X"]},
        {"model": "logistic_regression", "epochs": 2},
    ],
)
def test_every_kind_of_target_has_losses(train):
    columns = tuple(name for name in ("age", "size", "texture") if name != train.get("target"))
    job = parameters(columns, **{"epochs": 2, **train})
    loss, _ = read_reference_losses(made_of(job)["losses.safetensors"].data, 2, ROWS)
    assert np.isfinite(loss).all()
    assert len(np.unique(loss)) > ROWS


def test_a_half_of_one_class_still_trains():
    ill = np.array(TABLE["outcome"].to_pylist()) == "M"
    loss, _ = read_reference_losses(made_of(inside=[ill, ~ill])["losses.safetensors"].data, 2, ROWS)
    assert np.median(loss[0][ill]) < np.median(loss[0][~ill])


def test_a_half_of_one_row_is_refused():
    inside = np.zeros((1, ROWS))
    inside[0, 3] = 1
    with pytest.raises(InvalidInput, match="Fewer than two rows"):
        made_of(inside=inside)


@pytest.mark.parametrize(
    "tensors",
    [
        {"inside": np.ones((2, ROWS - 1), dtype=np.uint8)},
        {"inside": np.ones(ROWS, dtype=np.uint8)},
        {"inside": np.ones((2, ROWS))},
        {"inside": np.ones((65, ROWS), dtype=np.uint8)},
        {"inside": np.ones((0, ROWS), dtype=np.uint8)},
        {"outside": np.ones((2, ROWS), dtype=np.uint8)},
    ],
)
def test_halves_that_do_not_fit_are_refused(tensors):
    with pytest.raises(InvalidInput, match="halves"):
        run("references", JOB, TABLE, halves=write_tensors(tensors))


def test_a_custom_model_is_trained_anew_from_its_code():
    code = {"model.py": "from torch import nn\ndef build(p):\n    return nn.Linear(3, 1)\n"}
    job = parameters(model="custom", epochs=3)
    plain = parameters(model="logistic_regression", epochs=3)
    assert made_of(job, code=code) == made_of(plain)


def joint(**federated):
    value = parameters(epochs=2, batch_size=8).to_json()
    datasets = [{**value["datasets"][0], "id": f"ward-{name}"} for name in "abc"]
    terms = {**value["terms"], "minimum_participants": 3}
    changed = {**value, "datasets": datasets, "terms": terms, "federated": {"rounds": 5, **federated}}
    return type(JOB).model_validate(changed)


def test_a_joint_training_is_imitated_for_as_long_as_its_rounds_take():
    assert reference_parameters(joint(), 0, 30).training().epochs == 10
    # 5 rounds of 7 steps are 35; 30 rows in batches of 8 are 4 steps a pass.
    assert reference_parameters(joint(local_steps=7), 0, 30).training().epochs == 9
    assert reference_parameters(joint(local_steps=1), 0, 1000).training().epochs == 1
    assert set(made_of(joint())) == {"losses.safetensors"}


def test_losses_that_are_not_those_of_these_rows_are_refused(made):
    data = made["losses.safetensors"].data
    good = {name: np.array(array) for name, array in read_tensors(data).items()}
    wrong = [
        {"loss": good["loss"]},
        {**good, "more": good["used"]},
        {**good, "loss": good["loss"].astype(np.float32)},
        {**good, "used": good["used"] * 2},
        {**good, "used": good["used"] * 0},
        {**good, "loss": -good["loss"]},
        {**good, "loss": good["loss"] + 1e7},
    ]
    for tensors in wrong:
        with pytest.raises(VerificationFailed):
            read_reference_losses(write_tensors(tensors), 2, ROWS)
    for shape in ((1, ROWS), (2, ROWS + 1)):
        with pytest.raises(VerificationFailed):
            read_reference_losses(data, *shape)
