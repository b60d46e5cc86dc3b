"""Small jobs and synthetic tables for these tests; programs run here in this process, without a sandbox."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from trustspace.crypto.canonical import canonical_json
from trustspace.jobs.bundle import make_bundle
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.precision import leaving
from trustspace.jobs.programs import PROGRAMS
from trustspace.jobs.spec import Parameters

NUMBERS = ("age", "size", "texture")


def parameters(
    columns: tuple[str, ...] = NUMBERS, *, limits: dict[str, Any] | None = None, **train: Any
) -> Parameters:
    """Parameters of a training job; a logistic regression of ``outcome`` unless told otherwise."""
    section = {"model": "logistic_regression", "target": "outcome", "epochs": 5, **train}
    if not {"positive", "classes", "loss"} & set(section):
        section["positive"] = "M"
    value = {
        "kind": "train",
        "datasets": [{"id": "ward-a", "version": 1, "columns": list(columns)}],
        "train": section,
        "limits": limits or {},
    }
    return Parameters.model_validate(value)


def compute_parameters(outputs: list[dict[str, Any]], **arguments: Any) -> Parameters:
    value = {
        "kind": "compute",
        "datasets": [{"id": "ward-a", "version": 1, "columns": list(NUMBERS)}],
        "compute": {"outputs": outputs, "arguments": arguments},
        "terms": {"withheld_percent": 0},
    }
    return Parameters.model_validate(value)


def patients(rows: int, seed: int = 7, *, missing: float = 0.0) -> pa.Table:
    """Three numbers that say something about ``outcome`` ("M" or "B"), some of them missing."""
    draw = np.random.default_rng(seed)
    ill = draw.random(rows) < 0.4
    values = {
        "age": draw.normal(50, 12, rows) + 6 * ill,
        "size": draw.normal(10, 2, rows) + 3 * ill,
        "texture": draw.normal(0.1, 0.02, rows),
    }
    columns = {name: pa.array(x, mask=draw.random(rows) < missing) for name, x in values.items()}
    return pa.table({**columns, "outcome": pa.array(np.where(ill, "M", "B"))})


def stream(table: pa.Table) -> memoryview:
    """A table as the enclave hands it in."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return memoryview(sink.getvalue())


def run(
    program: str,
    job: Parameters,
    table: pa.Table,
    *,
    code: dict[str, str] | bytes | None = None,
    **inputs: Any,
) -> dict[str, RawArtifact]:
    """What leaves after a program of the worker, as the enclave makes it; ``inputs`` are further tables or bytes."""
    given = {"parameters": memoryview(canonical_json(job.to_json())), "data": stream(table)}
    if code is not None:
        given["code"] = memoryview(code if isinstance(code, bytes) else make_bundle(code))
    for name, value in inputs.items():
        given[name] = stream(value) if isinstance(value, pa.Table) else memoryview(value)
    artifacts: dict[str, RawArtifact] = {}

    def emit(name: str, media_type: str, data: bytes) -> None:
        artifacts[name] = RawArtifact(name, media_type, data)

    PROGRAMS[program](given, emit)
    if program != "train":
        return artifacts
    return {raw.name: raw for raw in leaving(list(artifacts.values()), job)}
