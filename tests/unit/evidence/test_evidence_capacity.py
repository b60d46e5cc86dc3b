"""The checks of a file as a channel: room in it, and rows that stand in it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from evidence_facts import MODEL, sound

from trustspace.domain.bodies import Policy
from trustspace.evidence.capacity import room_of, sizes, stored_rows
from trustspace.evidence.facts import PartMetrics
from trustspace.evidence.report import build_report
from trustspace.evidence.words_capacity import SENTENCES
from trustspace.jobs.artifacts import ArtifactFacts
from trustspace.jobs.stored import StoredRows
from trustspace.jobs.tensors import TensorInfo
from trustspace.privacy.capacity import Room

POLICY = Policy()


def filed(kind="F32", numbers=2500, **changes):
    tensors = (TensorInfo("model.weight", kind, (numbers,)),)
    size = numbers * (2 if kind == "BF16" else 4) + 200
    return sound(observed=(ArtifactFacts(MODEL, "application/x-safetensors", size, tensors),), **changes)


def test_the_room_of_each_kind_of_file():
    assert room_of(ArtifactFacts("a.csv", "text/csv", 100, rows=3, columns=4)) == Room(800, 800)
    weights = ArtifactFacts(
        MODEL, "application/x-safetensors", 500, (TensorInfo("model.w", "BF16", (10, 20)),)
    )
    assert room_of(weights) == Room(4000, 1400)
    two = replace(weights, tensors=(*weights.tensors, TensorInfo("model.v", "BF16", (50,))))
    assert room_of(two) == Room(4000, 1750), "all tensors of a type together"
    grey = ArtifactFacts("a.png", "image/png", 5150, width=100, height=50)
    assert room_of(grey) == Room(41_200, 20_000)
    assert room_of(replace(grey, bytes=15_150)) == Room(121_200, 60_000)


def test_rounding_halves_the_room_and_takes_more_of_what_nobody_would_notice():
    wide, narrow = (sizes(filed(kind), POLICY).facts for kind in ("F32", "BF16"))
    assert (wide["records_that_fit"], wide["records_that_fit_unnoticed"]) == (42, 29)
    assert (narrow["records_that_fit"], narrow["records_that_fit_unnoticed"]) == (21, 9)
    assert wide["bytes_allowed"] == 2 << 20


@pytest.mark.parametrize(
    ("percent", "expected"), [(9, "warned"), (10, "passed"), (100, "passed"), (0, "warned")]
)
def test_how_much_room_is_too_much_is_for_the_policy(percent, expected):
    found = sizes(filed("BF16", 5000), replace_policy(capacity_warned_percent=percent))
    assert (found.facts["records_that_fit"], found.status) == (42, expected)


def replace_policy(**changes):
    return Policy(**{**POLICY.model_dump(), **changes})


def test_weights_that_are_not_rounded_are_to_be_looked_at():
    for precision, expected in (("bf16", "passed"), ("float32", "warned"), ("", "passed")):
        found = sizes(sound(precision=precision), POLICY)
        assert found.status == expected
        said = {name: SENTENCES[f"sizes.{name}"]["en"] in found.summary["en"] for name in ("bf16", "float32")}
        assert said == {"bf16": precision == "bf16", "float32": precision == "float32"}
    blind = filed("F32", 50_000, precision="float32", custom_code=True, blind=True)
    assert sizes(blind, POLICY).status == "failed", "a warning does not soften it"


def test_what_rounding_cost_is_said_in_the_models_own_measure():
    found = sizes(sound(unrounded=PartMetrics(114, 0.1, 0.983, 0.96)), POLICY)
    assert "AUC 0.980 as it leaves, 0.983 before rounding" in found.summary["en"]
    assert "0.983" in found.summary["zh"]
    assert found.facts["as_exported"] == "0.980"
    numeric = PartMetrics(114, 0.5, r2=0.71)
    found = sizes(sound(withheld=numeric, unrounded=replace(numeric, r2=0.72)), POLICY)
    assert "R² 0.710 as it leaves, 0.720 before" in found.summary["en"]
    assert "before_rounding" not in sizes(sound(), POLICY).facts


# -- rows


@pytest.mark.parametrize(
    ("found", "expected", "sentence"),
    [
        (StoredRows("yes"), "passed", "passed"),
        (StoredRows("yes", found=(("model.a", 3), ("model.b", 40))), "failed", "found"),
        (StoredRows("yes", leaves=(("a.json", 9),)), "failed", "leaf"),
        (StoredRows("yes", leaves=(("a.json", 10),)), "passed", "passed"),
        (StoredRows("yes", named=("model.X_train",)), "failed", "named"),
        (StoredRows("yes", shaped=("model.a",)), "warned", "shaped"),
        (StoredRows("too_large", shaped=("model.a",)), "could_not_run", "too_large"),
        (StoredRows("pictures"), "warned", "pictures"),
        (StoredRows("narrow"), "warned", "narrow"),
        (None, "could_not_run", "did_not_run"),
    ],
)
def test_what_was_seen_of_rows_decides(found, expected, sentence):
    result = stored_rows(sound(stored=found, custom_code=True, model="custom"), POLICY)
    assert result.status == expected
    start = SENTENCES[f"stored_rows.{sentence}"]["en"].partition("{")[0]
    assert result.summary["en"].startswith(start)
    if sentence == "found":
        assert "40 of 455 were found in model.b" in result.summary["en"]


def test_the_leaf_that_is_too_small_is_for_the_policy():
    facts = sound(stored=StoredRows("yes", leaves=(("a.json", 6),)))
    assert stored_rows(facts, replace_policy(minimum_cell_count=5)).status == "passed"
    assert stored_rows(facts, replace_policy(minimum_cell_count=7)).status == "failed"
    several = sound(stored=StoredRows("yes", leaves=(("a.json", 6), ("b.json", 2), ("c.json", 90))))
    assert "b.json" in stored_rows(several, POLICY).summary["en"], "the smallest is named"


def test_a_model_of_the_platforms_own_keeps_no_rows():
    """Its loop is known, its shapes are declared before anybody has seen the data: what could not be compared is well."""
    for found in (StoredRows("yes"), StoredRows("pictures"), StoredRows("narrow")):
        assert stored_rows(sound(stored=found), POLICY).status == "passed"
    assert stored_rows(sound(stored=StoredRows("yes", found=(("model.w", 9),))), POLICY).status == "failed"


def test_counts_and_scores_keep_no_rows():
    for kind in ("statistics", "score"):
        assert stored_rows(sound(kind=kind, stored=None), POLICY).status == "passed"
    for kind in ("train", "compute"):
        assert stored_rows(sound(kind=kind, stored=None), POLICY).status == "could_not_run"


def test_a_report_with_stored_rows_is_red():
    seen = StoredRows("yes", found=(("model.memory", 200),), shaped=tuple(f"model.{n}" for n in range(40)))
    report = build_report(sound(custom_code=True, model="custom", stored=seen))
    assert report.verdict == "red"
    check = report.check("stored_rows")
    assert check.facts["rows_found"] == [{"where": "model.memory", "count": 200}]
    assert len(check.facts["as_many_as_rows"]) == 16
    assert "200" in check.summary.zh
