"""What a worker hands out, written by whoever the developer's code makes it."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from fuzz_mutations import REFUSED, canonical, refused, spoilt_bytes, spoilt_json
from hypothesis import strategies as st

from trustspace.evidence.facts import read_evaluation
from trustspace.evidence.render import render_text
from trustspace.evidence.report import Report
from trustspace.jobs.artifacts import (
    check_artifact,
    describe_artifact,
    encode_csv,
    encode_json,
    parse_csv,
    parse_json,
)
from trustspace.jobs.bundle import make_bundle, parse_bundle, require_entry
from trustspace.jobs.container import RawArtifact, pack, unpack
from trustspace.jobs.counting import count_table
from trustspace.jobs.federation import layout_check, model_file, read_sums, write_sums
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.png import encode_png, parse_png
from trustspace.jobs.statistics import result
from trustspace.jobs.tensors import narrow_tensors, read_tensors, write_tensors

DRAW = np.random.default_rng(1)
TENSORS = [
    write_tensors(
        {"w": np.ones((3, 4), np.float32), "b": np.zeros(3, np.int64), "s": np.float64(2).reshape(())}
    ),
    write_tensors({"n": np.ones((2, 3), np.float32), "w": np.ones(2, np.float32)}, ["n"]),
    write_tensors({"only": np.zeros((0, 5), np.float32)}),
    write_tensors({}),
]
PICTURES = [
    encode_png(DRAW.integers(0, 256, (7, 5), dtype=np.uint8)),
    encode_png(DRAW.integers(0, 256, (150, 160, 3), dtype=np.uint8)),
]
TABLES = [b"group,mean\na,1.5\nb,-2e-05\n", b'a\n"x,y"\n""\n', "é,b\nä,true\n".encode()]
VALUES = [{"a": [1, 2.5, None, True], "b": {"c": "text"}}, [], "x", [[[[1]]]]]
CONTAINERS = [
    pack(
        [
            RawArtifact("a.json", "application/json", b"{}"),
            RawArtifact("w.safetensors", "application/x-safetensors", TENSORS[0]),
        ]
    ),
    pack([]),
]
USE = [{"id": "ward-a", "version": 1, "columns": ["age", "size"]}]
TRAINED = {
    "kind": "train",
    "datasets": USE,
    "train": {"model": "mlp", "target": "y", "positive": "M", "epochs": 2},
}
CUSTOM = Parameters.model_validate(
    {
        "kind": "train",
        "datasets": USE,
        "train": {"model": "custom", "target": "y", "positive": "M", "epochs": 2, "max_parameters": 50},
    }
)
METRICS = {
    "format": "trustspace-training-v1", "model": "mlp", "rows": 9, "left_out": 0, "epochs": 2, "threads": 1, "loss": "0.500000",
    "auc": "0.900000", "accuracy": "not measurable", "loss_per_epoch": ["0.600000", "0.500000"],
}  # fmt: skip
JOINT = {**TRAINED, "datasets": [{**USE[0], "id": f"ward-{n}"} for n in "abc"], "federated": {"rounds": 2}}
JOINT_METRICS = {
    "format": "trustspace-federated-v1", "model": "mlp", "strategy": "fedavg", "rounds": 2, "participants_per_round": [3, 3],
    "rows": 90, "loss_per_round": ["0.600000", "0.500000"], "validation_loss_per_round": [],
    "withheld": {"rows": 9, "loss": "0.500000", "auc": "0.900000", "accuracy": "0.800000"},
}  # fmt: skip
SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": "array", "max_items": 9, "items": {"type": "number", "minimum": 0, "maximum": 9}},
        "b": {"type": "object", "properties": {"c": {"type": "string", "enum": ["text", "other"]}}},
    },
}
OUTPUTS = [
    {"name": "a.json", "media_type": "application/json", "max_bytes": 1 << 20, "json_schema": SCHEMA},
    {"name": "t.csv", "media_type": "text/csv", "max_bytes": 1 << 20, "columns": ["group", "mean"], "text_columns": ["group"], "max_rows": 3},
    {"name": "w.safetensors", "media_type": "application/x-safetensors", "max_bytes": 1 << 20,
     "tensors": {"w": {"dtype": "F32", "shape": [3, 4]}}},
    {"name": "p.png", "media_type": "image/png", "max_bytes": 1 << 20},
]  # fmt: skip
COMPUTE = Parameters.model_validate(
    {"kind": "compute", "datasets": USE, "compute": {"outputs": OUTPUTS}, "terms": {"withheld_percent": 0}}
)


def test_the_hunt_finds_a_parser_that_is_lax(hunt):
    """The control of all tests here: an undocumented error, another encoding, and memory out of proportion."""
    sound = [encode_json({"a": [1, 2, 3], "b": "text"})]

    def same(data):
        found = refused(json.loads, data, errors=(ValueError, RecursionError))
        assert found is REFUSED or encode_json(found) == data

    with pytest.raises(ValueError):
        hunt(spoilt_bytes(sound), lambda data: refused(json.loads, data), 200)
    with pytest.raises(AssertionError):
        hunt(spoilt_bytes(sound), same, 500)
    with pytest.raises(AssertionError, match="bytes for an input of"):
        refused(lambda data: bytearray(100 << 20), b"small")


def test_containers(hunt):
    def attack(data):
        found = refused(lambda d: unpack(d, max_bytes=1 << 24), data)
        assert found is REFUSED or pack(found) == data

    hunt(spoilt_bytes(CONTAINERS), attack)


def test_tensors(hunt):
    def attack(data):
        found = refused(read_tensors, data)
        assert found is REFUSED or write_tensors(found, narrow_tensors(data)) == data

    hunt(spoilt_bytes(TENSORS), attack, 1000)


def test_tensor_headers(hunt):
    """The header's JSON changed and put back before the same bytes, its length right."""
    headers = [json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]) for data in TENSORS]

    def attack(header):
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        text += b" " * (-len(text) % 8)
        data = len(text).to_bytes(8, "little") + text + TENSORS[0][-80:]
        for cut in (data, data[: 8 + len(text)]):
            found = refused(read_tensors, cut)
            assert found is REFUSED or write_tensors(found, narrow_tensors(cut)) == cut

    hunt(spoilt_json(headers), attack, 800)


def test_pictures(hunt):
    def attack(data):
        found = refused(parse_png, data)
        assert found is REFUSED or encode_png(found) == data

    hunt(spoilt_bytes(PICTURES), attack)


def test_tables(hunt):
    def attack(data):
        found = refused(parse_csv, data)
        assert found is REFUSED or encode_csv(found) == data

    hunt(spoilt_bytes(TABLES), attack, 1000)


def test_json(hunt):
    def attack(data):
        found = refused(parse_json, data)
        assert found is REFUSED or encode_json(found) == data

    hunt(spoilt_bytes([encode_json(value) for value in VALUES]), attack, 1000)


@pytest.mark.parametrize(
    ("job", "metrics"),
    [(TRAINED, METRICS), (JOINT, JOINT_METRICS)],
    ids=["alone", "joint"],
)
def test_metrics(hunt, job, metrics):
    """Only what the platform's loop reports: numbers may differ, nothing may be added."""
    parameters = Parameters.model_validate(job)
    raw = RawArtifact("metrics.json", "application/json", encode_json(metrics))
    check_artifact(raw, parameters)

    def attack(value):
        found = refused(check_artifact, RawArtifact(raw.name, raw.media_type, canonical(value)), parameters)
        assert found is REFUSED or set(value) == set(metrics)

    hunt(spoilt_json([metrics]), attack, 800)


def test_statistics(hunt):
    parameters = Parameters.model_validate(
        {
            "kind": "statistics",
            "datasets": [{**USE[0], "columns": ["age", "sex"]}],
            "statistics": {
                "numeric": ["age"],
                "bounds": {"age": [0, 100]},
                "quantiles": ["0.5"],
                "categories": {"sex": ["f", "m"]},
                "tables": [["sex"]],
            },
            "terms": {"withheld_percent": 0},
        }
    )
    table = pa.table({"age": [float(n) for n in range(10, 90)], "sex": ["f", "m"] * 40})
    sums = [float(number) for number in count_table(table, parameters)]
    sound = json.loads(result(parameters, sums, 1, 10))

    def attack(value):
        raw = RawArtifact("statistics.json", "application/json", canonical(value))
        found = refused(check_artifact, raw, parameters)
        assert found is REFUSED or set(value) == set(sound)

    hunt(spoilt_json([sound]), attack, 600)


@pytest.mark.parametrize("output", OUTPUTS, ids=[o["name"] for o in OUTPUTS])
def test_declared_outputs(hunt, output):
    sound = {
        "a.json": encode_json({"a": [1, 2.5], "b": {"c": "text"}}),
        "t.csv": TABLES[0],
        "w.safetensors": write_tensors({"w": np.ones((3, 4), np.float32)}),
        "p.png": PICTURES[0],
    }[output["name"]]
    check_artifact(RawArtifact(output["name"], output["media_type"], sound), COMPUTE)

    def attack(data):
        raw = RawArtifact(output["name"], output["media_type"], data)
        if refused(check_artifact, raw, COMPUTE) is not REFUSED:
            assert refused(describe_artifact, raw) is not REFUSED, "what may leave can be described"

    hunt(spoilt_bytes([sound]), attack)


def test_sums(hunt):
    sound = [write_sums([1.5, -2.0, 1e20]), write_sums([0.1, 2**52, -0.5])]

    def attack(data):
        found = refused(read_sums, data, 3)
        assert found is REFUSED or write_sums(found) == data

    hunt(spoilt_bytes(sound), attack, 600)
    hunt(spoilt_json([json.loads(data) for data in sound]), lambda value: attack(canonical(value)))


def test_layouts(hunt):
    """What passes can be cut out of a vector."""
    sound = [["model.a", [2, 3]], ["model.b", []], ["model.c", [0, 4]]]

    def attack(value):
        found = refused(layout_check, CUSTOM, value)
        if found is not REFUSED:
            words = sum(int(np.prod(shape, dtype=object)) for _, shape in found)
            refused(model_file, found, {}, np.ones(words, np.float32))

    hunt(spoilt_json([sound]), attack, 800)
    hunt(
        st.lists(
            st.tuples(st.just("model.a"), st.lists(st.sampled_from([0, 1, 2**39]), max_size=9)).map(list),
            max_size=2,
        ),
        attack,
    )


def test_evaluations(hunt):
    part = {"rows": 9, "loss": "0.500000", "auc": "0.900000", "accuracy": "not measurable"}
    sound = {"format": "trustspace-evaluation-v1", "training": part, "withheld": None}
    read_evaluation(encode_json(sound))
    hunt(spoilt_json([sound]), lambda value: refused(read_evaluation, canonical(value)))


def test_reports(hunt):
    words = {"en": "words", "zh": "文字"}
    check = {
        "name": "digests",
        "status": "passed",
        "summary": words,
        "facts": {"n": 1, "x": [{"y": "z"}, ["\u202e"]]},
        "figures": [
            {"kind": "exposure", "title": words, "rows": [{"key": "\u202e", "value": "0.5"}]},
            {
                "kind": "histogram", "title": words, "x": words, "edges": ["0", "1.5"],
                "series": [{"name": words, "counts": [3]}],
            },
            {"kind": "curve", "title": words, "x": words, "y": words, "points": [["0", "1"]], "chance": "diagonal"},
            {"kind": "table", "title": words, "columns": ["\u202e"], "rows": [["\x1b"]], "marked": [[0, 0]]},
        ],
    }  # fmt: skip
    sound = {
        "format": "trustspace-report-v2",
        "verdict": "green",
        "headline": words,
        "checks": [check],
        "limits": words,
    }
    assert Report.from_bytes(canonical(sound)).verdict == "green"
    left_out = {**sound, "checks": [{k: v for k, v in check.items() if k != "figures"}]}
    assert refused(Report.from_bytes, canonical(left_out)) is REFUSED, "a report has one form"

    def attack(value):
        data = canonical(value)
        found = refused(Report.from_bytes, data)
        if found is not REFUSED:
            assert found.to_bytes() == data
            shown = render_text(found, "zh")
            assert not {"\x1b", "\u202e", "\x00"} & set(shown)

    hunt(spoilt_json([sound]), attack, 800)


def test_bundles(hunt):
    sound = [
        make_bundle({"main.py": "def run(inputs, outputs):\n    pass\n", "a/b.json": "{}"}),
        make_bundle({"model.py": "def build(p):\n    return [1, 'x', (2)]\n"}),
    ]

    def attack(data):
        files = refused(parse_bundle, data)
        if files is not REFUSED:
            assert make_bundle(files) == data
            refused(lambda _: require_entry(files, "main.py", "run"), data)

    hunt(spoilt_bytes(sound), attack, 600)
    hunt(spoilt_json([json.loads(data) for data in sound]), lambda value: attack(canonical(value)))


def test_code_that_is_hard_to_parse(hunt):
    """Deep and long expressions: the reader of code says no, or reads it."""
    pieces = st.sampled_from(
        [
            "(",
            "[",
            "{",
            "-",
            "not ",
            "a.",
            "lambda: ",
            "f'{",
            "1+",
            "if a:\n ",
            "x[",
            "'",
            '"""',
            "\\\n",
            "await ",
            "9" * 5000,
        ]
    )

    def attack(drawn):
        piece, count = drawn
        files = {"main.py": piece * count}
        refused(lambda _: require_entry(files, "main.py", "run"), piece * count)

    hunt(st.tuples(pieces, st.sampled_from([1, 50, 1000, 20_000])), attack, 64)
