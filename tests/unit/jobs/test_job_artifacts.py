from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_runs import NUMBERS, compute_parameters, parameters

from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs.artifacts import (
    check_artifact,
    check_artifacts,
    declared_artifacts,
    describe_artifact,
    encode_csv,
    encode_json,
    parse_csv,
    parse_json,
)
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.registry import expected_tensors, tensor_type
from trustspace.jobs.tensors import write_tensors

JOB = parameters(epochs=2)
METRICS = {
    "format": "trustspace-training-v1", "model": "logistic_regression", "rows": 9, "left_out": 0, "epochs": 2,
    "threads": 1, "loss": "0.500000", "auc": "0.900000", "accuracy": "not measurable",
    "loss_per_epoch": ["0.600000", "0.500000"],
}  # fmt: skip
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
cells = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=8)


def model(job=JOB, **changes) -> RawArtifact:
    train = job.training()
    tensors = {n: np.zeros(s, np.float32) for n, s in expected_tensors(train, job.features).items()}
    tensors.update(changes)
    kept = {name: array for name, array in tensors.items() if array is not None}
    narrow = [n for n, a in kept.items() if a.dtype == np.float32 and tensor_type(n, train) == "BF16"]
    return RawArtifact("model.safetensors", "application/x-safetensors", write_tensors(kept, narrow))


def metrics(**changes) -> RawArtifact:
    value = {name: item for name, item in {**METRICS, **changes}.items() if item != "drop"}
    return RawArtifact("metrics.json", "application/json", encode_json(value))


def test_what_training_hands_out_passes():
    check_artifacts([model(), metrics()], JOB)


@pytest.mark.parametrize(
    "changes",
    [
        {"model.weight": np.zeros((1, 4), np.float32)},
        {"model.weight": np.zeros((1, 3), np.float64)},
        {"model.weight": None},
        {"patients": np.zeros((100, 50), np.float32)},
        {"model.patients": np.zeros((100, 50), np.float32)},
        {"output.mean": np.zeros(1, np.float32)},
    ],
)
def test_a_model_of_another_shape_is_refused(changes):
    """notes: no scanner told a state with a 100 x 50 buffer of patients from a plain one; the shapes do."""
    check_artifact(model(), JOB)
    with pytest.raises(VerificationFailed, match=r"exactly the tensors|not of the declared type"):
        check_artifact(model(**changes), JOB)


def test_a_custom_model_is_bounded():
    job = parameters(model="custom", max_parameters=10)
    check_artifact(model(job, **{"model.a": np.zeros(10, np.float32)}), job)
    for changes, message in (
        ({"model.a": np.zeros(6, np.float32), "model.b": np.zeros(5, np.float32)}, "more numbers than"),
        ({"extra": np.zeros(1, np.float32)}, "outside the model"),
        (
            {"model.a": np.zeros(1, np.float32), "model.patient 1 is ill": np.zeros((3, 0), np.float32)},
            "without numbers",
        ),
        ({"model.a": np.zeros(1, np.int64)}, "not of the declared type"),
        ({"input.fill": None}, "exactly the tensors"),
    ):
        with pytest.raises(VerificationFailed, match=message):
            check_artifact(model(job, **changes), job)


@pytest.mark.parametrize(
    "changes",
    [
        {"note": "patient 1 is ill"},
        {"accuracy": "drop"},
        {"rows": "9"},
        {"rows": -1},
        {"rows": True},
        {"auc": 0.9},
        {"auc": "0.9"},
        {"auc": "Zhang San"},
        {"loss": "1e5"},
        {"loss_per_epoch": ["0.600000"]},
        {"loss_per_epoch": ["0.600000", "x"]},
        {"model": "mlp"},
        {"epochs": 3},
        {"r2": "0.100000"},
    ],
)
def test_training_metrics_carry_nothing_else(changes):
    check_artifact(metrics(), JOB)
    with pytest.raises(VerificationFailed, match="not what training reports"):
        check_artifact(metrics(**changes), JOB)


def test_only_declared_artifacts_leave():
    good = model()
    with pytest.raises(VerificationFailed, match="was not declared"):
        check_artifact(RawArtifact("notes.json", "application/json", b"{}"), JOB)
    with pytest.raises(VerificationFailed, match="media type"):
        check_artifact(RawArtifact(good.name, "application/json", good.data), JOB)
    with pytest.raises(VerificationFailed, match=r"metrics\.json is missing"):
        check_artifacts([good], JOB)
    with pytest.raises(VerificationFailed, match="there twice"):
        check_artifacts([good, good, metrics()], JOB)
    pickle = b"\x80\x04\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."
    with pytest.raises(VerificationFailed):
        check_artifact(RawArtifact(good.name, good.media_type, pickle), JOB)


def test_declared_sizes_hold():
    job = compute_parameters([{"name": "a.json", "media_type": "application/json", "max_bytes": 4}])
    check_artifact(RawArtifact("a.json", "application/json", b"1234"), job)
    with pytest.raises(VerificationFailed, match="declared 4 bytes"):
        check_artifact(RawArtifact("a.json", "application/json", b"12345"), job)


def test_what_a_training_declares():
    declared = {artifact.name: artifact for artifact in declared_artifacts(JOB)}
    assert set(declared) == {"metrics.json", "model.safetensors"}
    assert dict(declared["model.safetensors"].tensors or ())["model.weight"] == (1, len(NUMBERS))
    custom = {a.name: a for a in declared_artifacts(parameters(model="custom"))}
    assert custom["model.safetensors"].tensors is None


def test_facts_of_an_artifact():
    facts = describe_artifact(model())
    assert facts.numbers == 3 * 3 + 3 + 1
    assert facts.bytes == len(model().data)
    table = describe_artifact(RawArtifact("a.csv", "text/csv", b"a,b\n1,2\n3,4\n"))
    assert (table.rows, table.columns) == (2, 2)


@given(json_values)
def test_json_round_trip(value):
    data = encode_json(value)
    assert parse_json(data) == json.loads(data)
    assert encode_json(parse_json(data)) == data


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b' {"a":1}',
        b'{"a":1}\n',
        b'{"a":"\\u00e9"}',
        b'{"a":1,"a":1}',
        b'{"a":1.0e0}',
    ],
)
def test_json_with_room_for_a_message_is_refused(data):
    assert json.loads(data), "the control: another parser takes it"
    with pytest.raises(VerificationFailed, match="one form"):
        parse_json(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"NaN",
        b"[Infinity]",
        b"1e999",
        b'"\\ud800"',
        b"\xff",
        b"[" * 100_000,
        b"1" * 5000,
        b"{}" * 2,
    ],
)
def test_what_is_no_json_is_refused(data):
    with pytest.raises(VerificationFailed):
        parse_json(data)


def test_json_is_bounded():
    nested = b"[" * 32 + b"]" * 32
    assert parse_json(nested)
    with pytest.raises(VerificationFailed, match="nested deeper"):
        parse_json(b"[" + nested + b"]")
    with pytest.raises(VerificationFailed, match="larger than"):
        parse_json(b'"' + b"x" * (1 << 20) + b'"')
    for bad in (float("nan"), {1, 2}, b"x", np.float32(1)):
        with pytest.raises(InvalidInput):
            encode_json(bad)


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(cells, min_size=n, max_size=n), min_size=1, max_size=5)
    )
)
def test_csv_round_trip(rows):
    rows = [[f"c{i}" for i in range(len(rows[0]))], *rows]
    assert parse_csv(encode_csv(rows)) == rows


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a table"),
        (b"a,b\n1\n", "not a table"),
        (b"a,b\n\n1,2\n", "not a table"),
        (b"a,b\r\n1,2\r\n", "one form"),
        (b'"a",b\n1,2\n', "one form"),
        (b"a,b\n1,2", "one form"),
        (b"\xef\xbb\xbfa,b\n1,2\n", "control characters"),
        (b"a,a\n1,2\n", "name of its own"),
        (b"a,\n1,2\n", "name of its own"),
        (b"a\n\xff\n", "UTF-8"),
        (b'a\n"x\ny"\n', "control characters"),
        (b"a\n\x1b[31m\n", "control characters"),
        ("a\n\u202e\n".encode(), "control characters"),
        (b"a\n" + b"x" * 5000 + b"\n", "too much text"),
        (b'a\n=HYPERLINK("http://x")\n', "CSV"),
        (b"a\n=1+1\n", "formula"),
        (b"a\n@SUM(A1)\n", "formula"),
        (b"a\n+cmd|x\n", "formula"),
        (b"a\n-2+3\n", "formula"),
        ("a\n＝1+1\n".encode(), "formula"),
        ("a\n＠SUM(A1)\n".encode(), "formula"),
        ("a\n＋1\n".encode(), "formula"),
        ("a\n－1\n".encode(), "formula"),
        (b"a\nx;=1+1\n", "formula"),
        (b'a\n"x', "CSV"),
    ],
)
def test_csv_with_room_for_mischief_is_refused(data, message):
    with pytest.raises(VerificationFailed, match=message):
        parse_csv(data)


def test_numbers_may_have_signs_in_csv():
    assert parse_csv(b"a,b\n-1.5,+2e-3\n")[1] == ["-1.5", "+2e-3"]
