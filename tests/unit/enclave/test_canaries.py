"""Canaries as an enclave makes them: who they are, which label they get, and that nothing else is judged by them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from support.judged import job_file, played, report_of
from support.simulated import SimulatedLauncher

from trustspace.data.handin import draw_canaries, draw_withheld
from trustspace.enclave.canaries import exchanged
from trustspace.enclave.history import History, traced
from trustspace.enclave.opening import divide
from trustspace.errors import InvalidInput
from trustspace.jobs.features import read_target
from trustspace.jobs.parameters import Parameters
from trustspace.privacy.overlap import Earlier, Trace

KEY, JOB = b"k" * 32, b"j" * 32
NAMES = [f"p{place}" for place in range(400)]
ALL = np.ones(400, dtype=bool)


def parameters(canaries=25, withheld=20, units=1, federated=None, **target):
    datasets = [{"id": f"ward-{place}", "version": 1, "columns": ["row"]} for place in range(units)]
    sections = {"federated": federated} if federated else {}
    train = {"model": "logistic_regression", "target": "label", "epochs": 1, **(target or {"positive": "M"})}
    terms = {"withheld_percent": withheld, "canaries": canaries}
    return Parameters.model_validate(
        {"kind": "train", "datasets": datasets, "train": train, "terms": terms, **sections}
    )


def table(labels, visits=1):
    count = len(labels)
    return pa.table(
        {
            "row": np.arange(float(count)), "label": labels,
            "patient": [f"p{place // visits}" for place in range(count)],
        }
    )  # fmt: skip


def letters(count):
    return ["M" if place % 3 else "B" for place in range(count)]


# -- who is one


@pytest.mark.parametrize(("percent", "count"), [(0, 0), (1, 2), (20, 32), (50, 80)])
def test_so_many_of_the_audited_are_canaries_and_nobody_else(percent, count):
    audited = draw_withheld(NAMES, 20, KEY).audited
    shifts = draw_canaries(NAMES, audited, percent, 4, KEY)
    assert (shifts > 0).sum() == count
    assert not shifts[~audited].any()
    assert set(shifts[shifts > 0].tolist()) <= {1, 2, 3}
    assert (draw_canaries(NAMES, audited, percent, 4, KEY) == shifts).all()
    other = draw_canaries(NAMES, audited, percent, 4, b"o" * 32)
    assert percent == 0 or (other != shifts).any(), "another key draws others"


def test_no_coin_has_a_part_in_who_is_a_canary_or_in_which_label_they_get():
    """Under the coins' own key the label would say which way the coin fell: the last bit decides both."""
    asked, labels = parameters(classes=["A", "B", "C"]), [("A", "B", "C")[place % 3] for place in range(400)]
    found, tied = np.zeros((2, 2)), np.zeros((2, 2))
    for turn in range(60):
        key = KEY + bytes([turn])
        rows = divide(table(labels), "patient", ["row", "label"], asked, key, JOB)
        people = rows.canaries.patients
        given, own = (
            np.searchsorted(["A", "B", "C"], t["label"].to_pylist())
            for t in (rows.canaries.table, rows.canaries.recorded)
        )
        np.add.at(found, ((given - own) % 3 - 1, np.isin(people, rows.training.patients).astype(int)), 1)
        draw = draw_withheld(NAMES, 20, key)
        shifts = draw_canaries(NAMES, draw.audited, 25, 3, key)
        people = np.flatnonzero(shifts)
        np.add.at(tied, (shifts[people] - 1, (~draw.withheld[people]).astype(int)), 1)
    # 2400 canaries: 600 of each kind, deviation 21.
    assert found.sum() == tied.sum() == 2400
    assert (abs(found - 600) < 100).all()
    assert tied[0, 0] == tied[1, 1] == 0


def test_nobody_is_one_where_there_is_but_one_class_or_no_coin():
    assert not draw_canaries(NAMES, ALL, 50, 1, KEY).any()
    assert not draw_canaries(NAMES, ~ALL, 50, 2, KEY).any()


@pytest.mark.parametrize(
    ("percent", "key", "message"),
    [(51, KEY, "51 percent"), (-1, KEY, "-1 percent"), (5, b"short", "too short")],
)
def test_draws_that_are_refused(percent, key, message):
    with pytest.raises(InvalidInput, match=message):
        draw_canaries(NAMES, ALL, percent, 2, key)


# -- which label they get


@pytest.mark.parametrize(
    ("labels", "target"),
    [
        (pa.array(["M", "B", "other", None] * 100), {"positive": "M"}),
        (pa.array([1, 0, 2, None] * 100), {"positive": "1"}),
        (pa.array([True, False, None, True] * 100), {"positive": "1"}),
        (pa.array([1.0, 0.0, float("nan"), 0.0] * 100), {"positive": "1"}),
        (pa.array(["A", "B", "C", "not declared"] * 100), {"classes": ["C", "B", "A"]}),
        (pa.array(["A", "B", "A", "B"] * 100), {"classes": ["A", "B", "C"]}),
        (pa.array(["A", "B", "C", None] * 100).dictionary_encode(), {"classes": ["A", "B", "C"]}),
        (pa.array([3, 1, 2, 9] * 100, pa.int8()), {"classes": ["1", "2", "3"]}),
    ],
)  # fmt: skip
def test_a_canary_has_another_class_that_the_job_declares_and_nothing_else_changes(labels, target):
    rows, asked = table(labels), parameters(50, **target)
    found = exchanged(rows, np.arange(400), NAMES, ALL, asked, KEY)
    assert found.canaries.sum() == 200
    assert found.table.schema == rows.schema
    assert found.table.drop_columns(["label"]).equals(rows.drop_columns(["label"]))
    (before, usable), (after, still) = (read_target(t, asked.training()) for t in (rows, found.table))
    assert (usable == still).all(), "what was no label is none"
    changed = before[usable] != after[usable]
    assert (changed == found.canaries[usable]).all()
    assert set(after[usable]) == set(range(3 if asked.training().classes else 2))


@pytest.mark.parametrize(
    ("labels", "alone", "target"),
    [
        (["A", "B"] * 200, "C", {"classes": ["A", "B", "C"]}),
        (pa.array([1, 2] * 200, pa.int8()).to_pylist(), 7, {"classes": ["1", "2", "7"]}),
        (["M"] * 400, "B", {"positive": "M"}),
        ([True] * 400, False, {"positive": "1"}),
        ([0] * 400, 1, {"positive": "0"}),
    ],
)  # fmt: skip
def test_no_label_of_others_hangs_on_the_only_patient_of_a_class(labels, alone, target):
    """Else one patient, withheld or not, would change many labels: what differential privacy claims would be wrong."""
    asked = parameters(50, **target)
    (rows, with_one) = (table(pa.array(given)) for given in (labels, [alone, *labels[1:]]))
    every = np.ones(400, dtype=bool)
    found, other = (exchanged(t, np.arange(400), NAMES, every, asked, KEY) for t in (rows, with_one))
    assert found.canaries.sum() == 200, "also where all rows are of one class"
    assert (found.canaries == other.canaries).all()
    first, second = (read_target(t.table, asked.training())[0] for t in (found, other))
    assert (first[1:] == second[1:]).all()


def test_categories_that_fill_their_one_byte_can_take_another_class():
    """As pandas writes a column of 127 categories, where nobody has the class that the job asks for."""
    labels = pa.array([str(place % 127) for place in range(400)])
    rows = table(labels.cast(pa.dictionary(pa.int8(), pa.string())))
    found = divide(rows, "", ["row", "label"], parameters(50), KEY, JOB)
    assert set(found.canaries.table["label"].to_pylist()) == {"M"}
    assert found.known.recorded["label"].to_pylist() == found.known.table["label"].to_pylist()
    assert found.canaries.recorded["label"].to_pylist() == [
        str(place % 127) for place in found.canaries.patients
    ]


def test_a_column_that_cannot_hold_a_second_class_has_no_canaries():
    rows = table(pa.array([1.5, 2.5] * 200))
    assert not exchanged(rows, np.arange(400), NAMES, ALL, parameters(50), KEY).canaries.any()


def test_all_rows_of_a_patient_are_moved_by_as_much():
    labels = ["A", "B", "C", "C", "A", "B"] * 100
    asked = parameters(50, classes=["A", "B", "C"])
    codes = np.arange(600) // 3
    found = exchanged(table(labels, 3), codes, NAMES[:200], ALL[:200], asked, KEY)
    before, after = (read_target(t, asked.training())[0] for t in (table(labels, 3), found.table))
    shifts = ((after - before) % 3).reshape(200, 3)
    assert (shifts == shifts[:, :1]).all()
    assert ((shifts[:, 0] > 0) == found.canaries).all()
    assert set(shifts[:, 0]) == {0, 1, 2}


def test_pictures_keep_their_bytes_and_get_another_label():
    train = {"model": "small_cnn", "image_size": 28, "target": "label", "positive": "M", "epochs": 1}
    asked = Parameters.model_validate(
        {
            "kind": "train", "datasets": [{"id": "ward-0", "version": 1, "columns": ["picture"]}], "train": train,
            "terms": {"canaries": 50},
        }
    )  # fmt: skip
    pictures = [bytes([place % 256]) * 9 for place in range(400)]
    rows = pa.table({"picture": pictures, "label": letters(400)})
    found = divide(rows, "", ["picture", "label"], asked, KEY, JOB)
    assert found.canaries.patient_count == 80
    assert found.canaries.table["picture"].to_pylist() == [
        pictures[place] for place in found.canaries.patients
    ]
    given, own = (t["label"].to_pylist() for t in (found.canaries.table, found.canaries.recorded))
    assert all(one != other for one, other in zip(given, own, strict=True))


def test_where_nothing_is_agreed_the_rows_stay_the_very_same():
    rows = table(letters(400))
    found = exchanged(rows, np.arange(400), NAMES, ALL, parameters(0), KEY)
    assert found.table is rows
    assert not found.canaries.any()


# -- the sides


def test_canaries_stand_on_a_side_of_their_own_and_train_with_the_other_label():
    rows = table(letters(800), 2)
    plain = divide(rows, "patient", ["row", "label"], parameters(0), KEY, JOB)
    found = divide(rows, "patient", ["row", "label"], parameters(50), KEY, JOB)
    assert plain.canaries is None
    assert plain.known is plain.training
    canaries = set(found.canaries.patients.tolist())
    assert len(canaries) == 80
    assert found.audited[list(canaries)].all()
    # The coins, and so who trains, are what they were.
    assert found.training.patients.tolist() == plain.training.patients.tolist()
    judged = set(plain.judging.patients.tolist())
    assert set(found.judging.patients.tolist()) == judged - canaries
    assert set(found.known.patients.tolist()) == set(plain.training.patients.tolist()) - canaries
    assert canaries & judged
    assert canaries - judged
    for side in (found.training, found.canaries):
        flipped = np.array(side.table["label"].to_pylist()) != np.array(side.recorded["label"].to_pylist())
        assert (flipped == np.isin(side.patients, list(canaries))).all()
        assert side.recorded.drop_columns(["label"]).equals(side.table.drop_columns(["label"]))
    assert found.training.recorded.equals(plain.train)
    assert found.known.recorded.equals(found.known.table)
    again = divide(rows, "patient", ["row", "label"], parameters(50), KEY, JOB)
    assert again.train.equals(found.train), "a run that is begun anew trains on the same labels"


def test_watchers_are_no_canaries_and_where_no_coin_counts_nobody_is():
    rows = table(letters(400))

    def watched(percent, withheld):
        federated = {"rounds": 2, "validation_percent": percent}
        asked = parameters(12, withheld, units=3, federated=federated, positive="M")
        return divide(rows, "patient", ["row", "label"], asked, KEY, JOB)

    found = watched(10, 20)
    assert len(found.canaries.patients) == 20
    assert not set(found.canaries.patients) & set(found.validation.patients)
    assert found.validation.recorded is found.validation.table
    # With half withheld everybody has a coin, and watchers are taken from among them: no coin counts.
    none = watched(40, 50)
    assert not none.audited.any()
    assert none.canaries is None


def test_what_an_enclave_remembers_of_a_patient_is_their_own_label(tmp_path):
    rows = table(letters(400))
    history = History(tmp_path / "history")
    start = Trace(Earlier("1" * 64, "t", 1), "train", ("A",), "ward-0", "f" * 64, ("row", "label"))
    record = SimpleNamespace(body=SimpleNamespace(description={}))
    order = SimpleNamespace(dossier=SimpleNamespace(view=SimpleNamespace(get=lambda *_: record)))
    plain, found = (divide(rows, "", ["row", "label"], parameters(c), KEY, JOB) for c in (0, 50))
    contents = traced(history, start, order, plain).contents
    assert (traced(history, start, order, found).contents == contents).all()
    # The control: by the labels that the job is given, the same people would be taken for others.
    shown = SimpleNamespace(names=found.names, sides=[SimpleNamespace(patients=s.patients, recorded=s.table) for s in found.sides])  # fmt: skip
    assert (traced(history, start, order, shown).contents != contents).sum() == 80


# -- what is judged


def test_no_figure_of_quality_has_a_canary_in_it(tmp_path):
    """A model that is always right is never right about a canary: with one of them in a figure it would show."""
    draw = np.random.default_rng(5)
    values = draw.normal(size=400)
    rows = pa.table({"value": values, "label": np.where(values > 0, "M", "B"), "patient": np.arange(400)})
    train = {
        "model": "logistic_regression", "target": "label", "positive": "M", "epochs": 30, "learning_rate": "0.1"
    }  # fmt: skip
    launcher = SimulatedLauncher()
    try:
        found = played(
            job_file(["value"], train=train, terms={"withheld_percent": 20, "canaries": 25}), [rows], tmp_path,
            patient_column="patient", launcher=launcher, reference_trainings=2, reference_trainings_on_amber=2,
        )  # fmt: skip
    finally:
        launcher.close()
    report = report_of(found)
    shown = report.check("withheld_metrics").facts
    assert float(shown["training"]["auc"]) == float(shown["withheld"]["auc"]) == 1.0
    seen = {
        program: given for program, given in launcher.seen if program in ("train", "evaluate", "references")
    }

    def wrong(table):
        return int(((table["value"].to_numpy() > 0) != (np.array(table["label"].to_pylist()) == "M")).sum())

    check = report.check("canaries").facts
    assert wrong(seen["train"]["data"]) == check["patients_in"] > 0
    evaluated = seen["evaluate"]
    assert [wrong(evaluated[name]) for name in ("data", "members")] == [0, 0]
    assert wrong(evaluated["canaries"]) == evaluated["canaries"].num_rows == 40
    assert (
        shown["training"]["rows"]
        == report.check("membership").facts["patients_in"]
        == evaluated["members"].num_rows
    )
    assert shown["withheld_patients"] == evaluated["data"].num_rows
    assert wrong(seen["references"]["data"]) == 0
    # Nobody who was made to stand out stands in the list of those who do.
    exposed = {row.key for check in report.checks for figure in check.figures if figure.kind == "exposure" for row in figure.rows}  # fmt: skip
    turned = {name for name, value in zip(map(str, range(400)), values, strict=True) if value in set(evaluated["canaries"]["value"].to_numpy())}  # fmt: skip
    assert exposed
    assert not exposed & turned


@pytest.mark.parametrize(("seed", "side"), [(245, "data"), (164, "members")])
def test_a_side_of_canaries_alone_ends_in_a_report_and_not_in_a_failure(tmp_path, monkeypatch, seed, side):
    """Of eight patients the coins can leave nobody but the canary withheld, or nobody else in."""
    monkeypatch.setattr("trustspace.rehearsal.play.FEWEST_PATIENTS", 8)
    values = np.arange(16.0) - 7.5
    rows = pa.table({"value": values, "label": np.where(values > 0, "M", "B"), "patient": np.arange(16) // 2})
    train = {"model": "logistic_regression", "target": "label", "positive": "M", "epochs": 1}
    launcher = SimulatedLauncher()
    try:
        found = played(
            job_file(["value"], train=train, terms={"withheld_percent": 50, "canaries": 12}), [rows], tmp_path,
            seed=seed, patient_column="patient", launcher=launcher, reference_trainings=0,
        )  # fmt: skip
    finally:
        launcher.close()
    report = report_of(found)
    seen = {program: given for program, given in launcher.seen if program in ("train", "evaluate")}
    if side == "members":
        assert seen["evaluate"]["members"].num_rows == 0
        assert seen["train"]["data"].num_rows == seen["evaluate"]["canaries"].num_rows == 2
    else:
        assert seen["train"]["data"].num_rows == 14
        assert "evaluate" not in seen
    assert report.verdict == "red"
    assert report.check("canaries").status == "warned"
    assert report.check("membership").status == "could_not_run"
