"""The platform's own programs, in a sandbox as the enclave starts them: no door for tests is open here."""

import contextlib
import os

import pyarrow as pa
import pytest

from trustspace.crypto.canonical import canonical_json
from trustspace.jobs.bundle import make_bundle
from trustspace.jobs.container import unpack
from trustspace.jobs.spec import Parameters
from trustspace.sandbox import memory
from trustspace.sandbox.config import MIB, Limits, SandboxConfig
from trustspace.sandbox.launcher import Launcher, Task

pytestmark = pytest.mark.isolation
LIMITS = Limits(wall_seconds=120, cpu_seconds=120, memory_bytes=1024 * MIB, output_bytes=4 * MIB)


@pytest.fixture(scope="module")
def launcher(report):
    with Launcher.start(SandboxConfig(), allow_threads=True) as launcher:
        yield launcher


def run(launcher, program, parameters, **inputs):
    given = {"parameters": canonical_json(parameters.to_json()), **inputs}
    with contextlib.ExitStack() as stack:
        descriptors = {name: memory.sealed(name, bytes(content)) for name, content in given.items()}
        for descriptor in descriptors.values():
            stack.callback(os.close, descriptor)
        result = stack.enter_context(launcher.run(Task(program, descriptors, LIMITS)))
        assert result.status == "finished", result.log.decode()
        artifacts = unpack(result.read_output(LIMITS.output_bytes), max_bytes=LIMITS.output_bytes)
    return {artifact.name: artifact.data for artifact in artifacts}


def patients(rows):
    sizes = [(7 * number) % rows / rows for number in range(rows)]
    table = pa.table({"size": sizes, "outcome": ["M" if size > 0.5 else "B" for size in sizes]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def job(**sections):
    dataset = {"id": "ward-a", "version": 1, "columns": ["size"]}
    return Parameters.model_validate({"datasets": [dataset], "limits": {}, **sections})


def test_training_and_evaluating(launcher):
    training = job(
        kind="train", train={"model": "mlp", "hidden": [4], "target": "outcome", "epochs": 3, "positive": "M"}
    )
    first = run(launcher, "train", training, data=patients(64))
    assert set(first) == {"model.safetensors", "metrics.json"}
    assert run(launcher, "train", training, data=patients(64)) == first, "equal inputs give equal outputs"
    judged = run(launcher, "evaluate", training, model=first["model.safetensors"], data=patients(32))
    assert set(judged) == {"metrics.json"}


def test_the_developer_s_own_computation(launcher):
    outputs = [{"name": "count.json", "media_type": "application/json", "max_bytes": 1000}]
    counting = job(
        kind="compute", compute={"outputs": outputs, "arguments": {}}, terms={"withheld_percent": 0}
    )
    code = {"main.py": "def run(inputs, outputs):\n    outputs.json('count.json', inputs.table().num_rows)\n"}
    assert run(launcher, "compute", counting, data=patients(50), code=make_bundle(code)) == {
        "count.json": b"50"
    }
