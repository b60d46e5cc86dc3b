"""Two outputs of nearly the same patients, over a real space: the second one's reviewer is told, whatever became of the first."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from support import scores
from support.enclaves import TRAIN, patients, publish
from support.hospitals import Joint
from support.story import Story
from support.world import World

from trustspace.client import review

COUNTING = """
[job]
title = "How many of each"
purpose = "Planning a study."
kind = "statistics"

[parties]
buyer = "City Clinic"

[[datasets]]
id = "cytology"
version = {version}
columns = ["size", "diagnosis"]

[statistics]
numeric = ["size"]
tables = [["diagnosis"]]
categories = {{ diagnosis = ["B", "M"] }}
"""


def one_more(table: pa.Table, count: int = 1) -> pa.Table:
    """The same patients and some that were not there before."""
    more = patients(count, seed=99).set_column(
        3, "patient", pa.array([f"newcomer-{n}" for n in range(count)])
    )
    return pa.concat_tables([table, more])


def counted(story: Story, version: int, **changes: str) -> dict:
    """A counting job on a version of the dataset, until its report is there; what it would release."""
    text = COUNTING.format(version=version)
    for old, new in changes.items():
        text = text.replace(old, new)
    story.until_review(text=text)
    return json.loads(review.open_artifact(story.hospital, story.case(), "statistics.json"))


def check(story: Story):
    return story.case().report.check("differencing")


@pytest.fixture
def story():
    made = Story(table=patients(60))
    yield made
    made.close()


def test_one_patient_more_is_seen_also_beside_a_rejected_output(story):
    first = counted(story, 1)
    assert check(story).status == "passed"
    assert story.reject() == "rejected"

    # The same table of the same patients again says nothing new.
    counted(story, 1)
    again = check(story)
    assert again.status == "passed"
    assert [item["title"] for item in again.facts["same_patients"]] == ["How many of each"]

    publish(story.hospital, story.world, one_more(story.table))
    second = counted(story, 2)
    # The attack: one table less the other is one patient and their diagnosis.
    assert second["rows"] - first["rows"] == 1
    gone = [
        b - a for a, b in zip(first["tables"][0]["totals"][0], second["tables"][0]["totals"][0], strict=True)
    ]
    assert sorted(gone) == [0, 0, 0, 1]

    found = check(story)
    assert found.status == "failed"
    assert story.case().report.verdict == "red"
    assert found.facts["told_by_groups"][0]["patients"] == 1
    assert "a group of 1 patients" in found.summary.en
    assert found.figures, "the table is shown"
    marked = {figure.rows[row][column] for figure in found.figures for row, column in figure.marked}
    assert str(second["rows"]) in marked

    # What the enclave keeps of it names nobody.
    home = story.enclave.path / "history"
    kept = b"".join(path.read_bytes() for path in home.iterdir())
    assert len(list(home.iterdir())) == 4
    assert b"patient-0" not in kept
    assert b"newcomer" not in kept


@pytest.mark.slow
def test_enough_new_patients_are_no_small_group_and_a_model_cannot_be_subtracted(story):
    counted(story, 1)
    publish(story.hospital, story.world, one_more(story.table, 40))
    counted(story, 2)
    assert check(story).status == "passed"
    assert check(story).facts["earlier_outputs"] == 1

    story.until_review(text=TRAIN.replace("version = 1", "version = 2"))
    beside = check(story)
    assert beside.status == "warned"
    assert len(beside.facts["not_compared"]) == 2

    # Another model of all but one of these patients is the difference that a model can show.
    publish(story.hospital, story.world, one_more(story.table, 41))
    story.until_review(text=TRAIN.replace("version = 1", "version = 3"))
    close = check(story)
    assert close.status == "failed"
    assert close.facts["told_by_sets"][0]["patients"] == 1


@pytest.mark.slow
def test_sums_of_hidden_scores_are_subtracted_like_counts(story, monkeypatch):
    """The groups of a score beside the counts of a table: who decrypts the sums can take one off the other."""
    scores.small_keys(monkeypatch)
    counted(story, 1)
    scores.until_review(story)
    beside = check(story)
    assert (beside.status, beside.facts["earlier_outputs"]) == ("passed", 1)

    publish(story.hospital, story.world, one_more(story.table))
    scores.until_review(story, scores.score_text(story).replace("version = 1", "version = 2"))
    found = check(story)
    assert found.status == "failed"
    assert {group["patients"] for group in found.facts["told_by_groups"]} == {1}


TOGETHER = """
[job]
title = "How many of each, together"
purpose = "Planning a study."
kind = "statistics"

[parties]
buyer = "City Clinic"

[statistics]
tables = [["diagnosis"]]
categories = { diagnosis = ["B", "M"] }

[terms]
minimum_participants = {minimum}
"""
EACH = """
[[datasets]]
id = "cytology"
version = 1
columns = ["diagnosis"]
source_unit = "{unit}"
"""


def test_the_same_table_without_one_source_unit_is_that_units_table():
    """The attack in a line, and what those who are in both tables are told; who is left out sees nothing of it."""
    joint = Joint(World(), 3, reviewers=1)
    try:
        shown = []
        joint.attend()
        for members, minimum in ((joint.hospitals, 3), (joint.hospitals[:2], 2)):
            joint.ask(TOGETHER, minimum=minimum, hospitals=members, use=EACH, threshold=1)
            joint.until("in-review")
            report = review.open_case(joint.hospitals[0].home, joint.job, "Dr A").report
            table = next(one for one in report.check("small_cells").figures if one.title.en == "diagnosis")
            shown.append({label: int(count) for label, count in table.rows})
        left_out = joint.hospitals[2].table.column("diagnosis").to_pylist()
        assert shown[0]["B"] - shown[1]["B"] == left_out.count("B")
        assert shown[0]["M"] - shown[1]["M"] == left_out.count("M")
        for hospital, doctor in zip(joint.hospitals[:2], ("Dr A", "Dr B"), strict=True):
            found = review.open_case(hospital.home, joint.job, doctor).report.check("differencing")
            assert found.status == "failed"
            assert found.facts["told_by_units"][0]["units"] == 1
            assert "told_by_groups" not in found.facts
    finally:
        joint.close()
