"""Job files, which a developer writes, and the parameters that everybody reads out of a signed job."""

from __future__ import annotations

import json
from pathlib import Path

from fuzz_mutations import NUMBER_TEXTS, REFUSED, refused, spoilt_bytes, spoilt_json
from hypothesis import strategies as st

from trustspace.jobs.json_schema import check_value
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.spec import JobFile, load_job_file, parse_job_file

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "jobs").glob("*.toml"))
FILES = [path.read_bytes() for path in EXAMPLES]
SIGNED = [load_job_file(path).to_parameters() for path in EXAMPLES]


def attack_file(data: bytes) -> None:
    text = data.decode("utf-8", "ignore")
    job = refused(parse_job_file, text)
    if job is not REFUSED:
        assert isinstance(job, JobFile)
        signed = job.to_parameters()
        assert Parameters.from_json(json.loads(json.dumps(signed))).to_json() == signed


def test_job_files(hunt):
    hunt(spoilt_bytes(FILES), attack_file, 500)


def test_job_files_with_odd_numbers_and_types(hunt):
    """Every value of a file replaced by something that TOML can say and a job file cannot."""
    odd = [
        *NUMBER_TEXTS,
        b"07:32:00",
        b"1979-05-27T00:32:00.999999-07:00",
        b"inf",
        b"-nan",
        b"{}",
        b"'''\n'''",
        b"1_000",
        b"{a={a={}}}",
    ]
    lines = [line for data in FILES for line in data.split(b"\n") if b" = " in line]

    def attack(drawn):
        data, line, value = drawn
        attack_file(data.replace(line, line.split(b" = ")[0] + b" = " + value))

    hunt(st.tuples(st.sampled_from(FILES), st.sampled_from(lines), st.sampled_from(odd)), attack, 400)


def test_parameters(hunt):
    def attack(value):
        found = refused(Parameters.from_json, value)
        assert found is REFUSED or found.to_json() == value

    hunt(spoilt_json(SIGNED), attack, 500)


def test_schemas_and_what_they_are_asked_about(hunt):
    """Whatever a schema says that is accepted as one, the check of a value ends with yes or no."""
    form = {
        "type": "object",
        "properties": {
            "a": {
                "type": "array",
                "max_items": 9,
                "items": {"type": "number", "minimum": "0", "maximum": "9"},
            },
            "b": {"type": "string", "enum": ["x"]},
            "c": {"type": "string", "max_length": 4},
            "d": {"type": "integer", "minimum": 0, "maximum": 5},
        },
    }
    job = next(value for value in SIGNED if "compute" in value)
    output = {"name": "a.json", "media_type": "application/json", "max_bytes": 9, "json_schema": form}
    whole = {**job, "compute": {**job["compute"], "outputs": [output]}}
    assert Parameters.from_json(whole)

    def attack(drawn):
        schema, value = drawn
        changed = {**whole, "compute": {**whole["compute"], "outputs": [{**output, "json_schema": schema}]}}
        found = refused(Parameters.from_json, changed)
        if found is not REFUSED:
            declared = found.computing().outputs[0].json_schema
            refused(lambda item: check_value(item, declared, name="a.json"), value)

    values = spoilt_json([{"a": [1, 2.5], "b": "x", "c": "four", "d": 5}])
    hunt(st.tuples(spoilt_json([form]), values), attack, 400)
