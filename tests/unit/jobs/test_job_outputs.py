"""What a compute job says of its outputs' content, and that nothing else leaves."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from job_runs import compute_parameters
from pydantic import ValidationError

from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs import json_schema
from trustspace.jobs.artifacts import check_artifact, declared_artifacts, encode_csv, encode_json
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.messages import InvalidJobFile, problems_of
from trustspace.jobs.spec import Parameters, parse_job_file
from trustspace.jobs.tensors import write_tensors

COUNT = {"type": "integer", "minimum": 0, "maximum": 100}
FORM = {
    "type": "object",
    "properties": {
        "groups": COUNT,
        "means": {
            "type": "array",
            "max_items": 3,
            "items": {"type": "number", "minimum": "-1.5", "maximum": "1.5"},
        },
        "level": {"type": "string", "enum": ["low", "high"]},
        "sure": {"type": "boolean"},
        "note": {"type": "null"},
    },
}
GOOD = {"groups": 3, "means": [0.5, -1, 1.5], "level": "low", "sure": True, "note": None}


def output(name: str, media_type: str, **form):
    return {"name": name, "media_type": media_type, "max_bytes": 1 << 20, **form}


def json_job(schema):
    return compute_parameters([output("a.json", "application/json", json_schema=schema)])


def check_json(value, schema) -> None:
    check_artifact(RawArtifact("a.json", "application/json", encode_json(value)), json_job(schema))


def test_json_as_its_schema_says_leaves():
    check_json(GOOD, FORM)
    check_json({**GOOD, "means": []}, FORM)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"groups": 101}, r"\$\.groups"), ({"groups": -1}, "groups"), ({"groups": 3.0}, "groups"),
        ({"groups": True}, "groups"), ({"groups": "3"}, "groups"), ({"groups": None}, "groups"),
        ({"means": [0, 0, 0, 0]}, "means"), ({"means": [1.6]}, r"means\[\]"), ({"means": [True]}, "means"),
        ({"means": [1.5000000000000002]}, "means"), ({"means": ["1"]}, "means"), ({"means": {}}, "means"),
        ({"level": "patient 1"}, "level"), ({"level": ""}, "level"), ({"level": 1}, "level"),
        ({"sure": 1}, "sure"), ({"sure": "true"}, "sure"), ({"note": "x"}, "note"), ({"note": False}, "note"),
        ({"more": 1}, r"\$"),
    ],
)  # fmt: skip
def test_json_that_is_anything_else_does_not(change, place):
    check_json(GOOD, FORM)
    with pytest.raises(VerificationFailed, match=rf"a\.json is not what its json_schema says, at .*{place}"):
        check_json({**GOOD, **change}, FORM)


def test_every_property_is_required():
    for name in GOOD:
        with pytest.raises(VerificationFailed, match="json_schema"):
            check_json({key: value for key, value in GOOD.items() if key != name}, FORM)


def test_the_message_never_repeats_the_content():
    with pytest.raises(VerificationFailed) as caught:
        check_json({**GOOD, "level": "Zhang San"}, FORM)
    assert "Zhang" not in caught.value.public_message


def test_without_a_schema_json_may_hold_anything():
    """The control of the tests above."""
    job = compute_parameters([output("a.json", "application/json")])
    check_artifact(RawArtifact("a.json", "application/json", encode_json({"level": "patient 1"})), job)


@pytest.mark.parametrize(
    "schema",
    [
        {}, {"type": "pattern"}, {"type": "string"}, {"type": "string", "max_length": 3, "enum": ["a"]},
        {"type": "string", "max_length": 3, "pattern": "(a+)+$"}, {"type": "integer"}, {"type": "number", "minimum": 0},
        {"type": "array", "items": COUNT}, {"type": "object", "properties": {}}, {"type": "string", "enum": []},
        {"type": "object", "properties": {"a": COUNT}, "required": []}, {"$ref": "#"}, {"type": "integer", "minimum": 0.5, "maximum": 1},
    ],
)  # fmt: skip
def test_a_schema_outside_the_language_is_refused(schema):
    with pytest.raises(ValidationError):
        json_job(schema)


def _nested(depth: int):
    schema: dict = COUNT
    for _ in range(depth - 1):
        schema = {"type": "array", "max_items": 1, "items": schema}
    return schema


def test_a_schema_is_bounded():
    json_job(_nested(16))
    with pytest.raises(ValidationError):
        json_job(_nested(17))
    wide = {
        "type": "object",
        "properties": {
            f"p{n}": {"type": "object", "properties": {f"q{m}": COUNT for m in range(255)}} for n in range(4)
        },
    }
    with pytest.raises(ValidationError):
        json_job(wide)


def test_many_choices_are_looked_up_and_not_walked(monkeypatch):
    """A list of choices is made into a set once, not once for each of many texts."""
    choices = [f"choice {n:03}" for n in range(256)]
    schema = {"type": "array", "max_items": 50_000, "items": {"type": "string", "enum": choices}}
    job = json_job(schema).computing().outputs[0].json_schema
    made: list[int] = []

    def counted(values):
        made.append(1)
        return set(values)

    monkeypatch.setattr(json_schema, "frozenset", counted, raising=False)
    json_schema.check_value(["choice 255"] * 50_000, job, name="a.json")
    assert len(made) == 1


TABLE = output("t.csv", "text/csv", columns=["group", "mean"], text_columns=["group"], max_rows=2)


def check_csv(rows, declared=TABLE) -> None:
    check_artifact(RawArtifact("t.csv", "text/csv", encode_csv(rows)), compute_parameters([declared]))


def test_a_table_as_declared_leaves():
    check_csv([["group", "mean"]])
    check_csv([["group", "mean"], ["patient 1", "-1.5e-05"], ["b", ""]])
    check_csv([["group", "mean"], ["b", "true"], ["b", "1E+2"]])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["mean", "group"]], "exactly the declared columns"),
        ([["group"]], "exactly the declared columns"),
        ([["group", "mean", "id"]], "exactly the declared columns"),
        ([["group", "mean"], *[["a", "1"]] * 3], "more than the declared 2 rows"),
        ([["group", "mean"], ["a", "patient 1"]], "has text"),
        ([["group", "mean"], ["a", "nan"]], "has text"),
        ([["group", "mean"], ["a", " 1"]], "has text"),
        ([["group", "mean"], ["a", "\u0661"]], "has text"),
        ([["group", "mean"], ["a", "1" * 200]], "has text"),
        ([["group", "mean"], ["a", "1_0"]], "has text"),
    ],
)
def test_a_table_that_is_anything_else_does_not(rows, message):
    with pytest.raises(VerificationFailed, match=message):
        check_csv(rows)
    check_csv(rows, output("t.csv", "text/csv"))


WEIGHTS = output(
    "w.safetensors", "application/x-safetensors", tensors={"w": {"dtype": "F32", "shape": [3, 4]}}
)


@pytest.mark.parametrize(
    "tensors",
    [
        {"w": np.zeros((4, 3), np.float32)},
        {"w": np.zeros((3, 4), np.float64)},
        {"v": np.zeros((3, 4), np.float32)},
        {"w": np.zeros((3, 4), np.float32), "patients": np.zeros(9, np.float32)},
        {},
    ],
)
def test_tensors_are_exactly_those_declared(tensors):
    def check(found, declared):
        raw = RawArtifact("w.safetensors", "application/x-safetensors", write_tensors(found))
        check_artifact(raw, compute_parameters([declared]))

    check({"w": np.ones((3, 4), np.float32)}, WEIGHTS)
    check(tensors, output("w.safetensors", "application/x-safetensors"))
    with pytest.raises(VerificationFailed, match="exactly the declared tensors"):
        check(tensors, WEIGHTS)


@pytest.mark.parametrize(
    ("declared", "exact"),
    [
        (output("a.json", "application/json"), False),
        (output("a.json", "application/json", json_schema=FORM), True),
        (output("a.json", "application/json", json_schema={"type": "string", "max_length": 9}), False),
        (output("a.json", "application/json", json_schema={"type": "array", "max_items": 1, "items": {"type": "string", "max_length": 9}}), False),
        (output("t.csv", "text/csv"), False),
        (TABLE, False),
        (output("t.csv", "text/csv", columns=["a"], max_rows=1), True),
        (output("w.safetensors", "application/x-safetensors"), False),
        (WEIGHTS, True),
        (output("p.png", "image/png"), False),
    ],
)  # fmt: skip
def test_what_may_hold_free_text_is_not_called_exact(declared, exact):
    assert [a.is_exact for a in declared_artifacts(compute_parameters([declared]))] == [exact]


def test_the_shapes_of_declared_tensors_reach_the_evidence():
    assert declared_artifacts(compute_parameters([WEIGHTS]))[0].tensors == (("w", (3, 4)),)


@pytest.mark.parametrize(
    "declared",
    [
        output("a.json", "application/json", columns=["a"], max_rows=1),
        output("a.json", "application/json", tensors={"a": {"dtype": "F32", "shape": []}}),
        output("t.csv", "text/csv", json_schema=COUNT),
        output("t.csv", "text/csv", columns=["a"]),
        output("t.csv", "text/csv", max_rows=1),
        output("t.csv", "text/csv", columns=["a", "a"], max_rows=1),
        output("t.csv", "text/csv", columns=["a"], text_columns=["b"], max_rows=1),
        output("t.csv", "text/csv", text_columns=["b"]),
        output("w.safetensors", "application/x-safetensors", tensors={"a": {"dtype": "F16", "shape": []}}),
        output("w.safetensors", "application/x-safetensors", tensors={"a": {"dtype": "F32", "shape": [-1]}}),
        output("p.png", "image/png", json_schema=COUNT),
        output("p.jpg", "image/png"),
    ],
)
def test_a_form_that_does_not_fit_is_refused(declared):
    with pytest.raises(ValidationError):
        compute_parameters([declared])


def test_what_is_signed_says_the_form_and_comes_back():
    job = compute_parameters([output("a.json", "application/json", json_schema=FORM), TABLE, WEIGHTS])
    signed = job.to_json()
    assert Parameters.from_json(json.loads(json.dumps(signed))) == job
    number = signed["compute"]["outputs"][0]["json_schema"]["properties"]["means"]["items"]
    assert number == {"type": "number", "minimum": "-1.5", "maximum": "1.5"}, "decimals as text: no floats"
    assert set(signed["compute"]["outputs"][1]) == {
        "name",
        "media_type",
        "max_bytes",
        "columns",
        "text_columns",
        "max_rows",
    }


def test_a_wrong_schema_is_named_by_its_place():
    bad = {
        "type": "object",
        "properties": {"a b": COUNT, "rows": {"type": "integer", "minimum": 0, "maximum": "x"}},
    }
    with pytest.raises(ValidationError) as caught:
        json_job(bad)
    first = problems_of(caught.value, Parameters)[0]
    assert first.details["field"] == "compute.outputs[0].json_schema.properties.rows.maximum"
    with pytest.raises(ValidationError) as caught:
        json_job({"type": "object", "properties": {"a b": {"type": "integre"}}})
    problem = problems_of(caught.value, Parameters)[0]
    assert problem.details["field"] == "compute.outputs[0].json_schema.properties.?.type"
    assert "object, array, string" in problem.public_message


def test_a_job_file_of_deep_schemas_is_refused_in_words():
    text = "x = " + "{a=" * 3000 + "1" + "}" * 3000
    with pytest.raises(InvalidInput):
        parse_job_file(text)
    assert issubclass(InvalidJobFile, InvalidInput)


def test_a_checked_value_takes_no_memory_of_its_size():
    value = [1] * 200_000
    job = json_job({"type": "array", "max_items": 200_000, "items": COUNT})
    schema = job.computing().outputs[0].json_schema
    tracemalloc.start()
    try:
        json_schema.check_value(value, schema, name="a.json")
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
