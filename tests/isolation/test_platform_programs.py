"""The platform's own programs, in a sandbox as the enclave starts them: no door for tests is open here."""

import contextlib
import os

import numpy as np
import pyarrow as pa
import pytest

from trustspace.aggregation.paillier.keys import PrivateKey
from trustspace.aggregation.paillier.scoring import open_scores
from trustspace.crypto.canonical import canonical_json
from trustspace.jobs.artifacts import check_artifacts, parse_json
from trustspace.jobs.bundle import make_bundle
from trustspace.jobs.container import RawArtifact, unpack
from trustspace.jobs.encrypted_model import encrypt_model
from trustspace.jobs.losses import read_reference_losses
from trustspace.jobs.png import parse_png
from trustspace.jobs.scores import read_scores
from trustspace.jobs.spec import Parameters
from trustspace.jobs.tensors import write_tensors
from trustspace.sandbox import memory
from trustspace.sandbox.config import MIB, Limits, SandboxConfig
from trustspace.sandbox.doctor import probe
from trustspace.sandbox.launcher import Launcher, Task

pytestmark = pytest.mark.isolation
JOB_ONE = b"job one".ljust(32)
LIMITS = Limits(wall_seconds=120, cpu_seconds=120, memory_bytes=1024 * MIB, output_bytes=4 * MIB)


# As in a container: where no control group counts, limits of each process must leave room for what jobs need.
WAYS = {
    "namespaces": {"backend": "namespaces"},
    "landlock": {"backend": "landlock"},
    "landlock uncounted": {"backend": "landlock", "cgroups": False},
    "gvisor": {"backend": "gvisor"},
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(way, marks=pytest.mark.slow) if way in ("gvisor", "landlock uncounted") else way
        for way in WAYS
    ],
)
def launcher(request):
    config = SandboxConfig(**WAYS[request.param])
    report = probe(config)
    if report.tier is None:
        pytest.skip(f"not here: {report.reasons('en')}")
    with Launcher.start(config, allow_threads=True) as launcher:
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
    assert set(judged) == {"metrics.json", "losses.safetensors"}
    halves = write_tensors({"inside": np.arange(2 * 64).reshape(2, 64).astype(np.uint8) % 2})
    anew = run(launcher, "references", training, data=patients(64), halves=halves)
    loss, used = read_reference_losses(anew["losses.safetensors"], 2, 64)
    assert used.all()
    assert (loss > 0).all()


def test_the_developer_s_own_computation(launcher):
    outputs = [{"name": "count.json", "media_type": "application/json", "max_bytes": 1000}]
    counting = job(
        kind="compute", compute={"outputs": outputs, "arguments": {}}, terms={"withheld_percent": 0}
    )
    code = {"main.py": "def run(inputs, outputs):\n    outputs.json('count.json', inputs.table().num_rows)\n"}
    assert run(launcher, "compute", counting, data=patients(50), code=make_bundle(code)) == {
        "count.json": b"50"
    }


def test_every_form_of_output_leaves_as_declared(launcher):
    """A picture, and outputs of which the job says what stands in them, checked again outside."""
    count = {"type": "integer", "minimum": 0, "maximum": 1000}
    outputs = [
        {"name": "a.json", "media_type": "application/json", "json_schema": count},
        {"name": "t.csv", "media_type": "text/csv", "columns": ["n"], "max_rows": 2},
        {
            "name": "w.safetensors",
            "media_type": "application/x-safetensors",
            "tensors": {"w": {"dtype": "F32", "shape": [2]}},
        },
        {"name": "p.png", "media_type": "image/png"},
    ]
    drawing = job(
        kind="compute",
        compute={"outputs": [{**output, "max_bytes": 4000} for output in outputs]},
        terms={"withheld_percent": 0},
    )
    main = (
        "import numpy as np\n"
        "def run(inputs, outputs):\n"
        "    outputs.json('a.json', inputs.table().num_rows)\n"
        "    outputs.csv('t.csv', {'n': [1, None]})\n"
        "    outputs.tensors('w.safetensors', {'w': np.ones(2, np.float32)})\n"
        "    outputs.png('p.png', np.arange(6, dtype=np.uint8).reshape(2, 3))\n"
    )
    found = run(launcher, "compute", drawing, data=patients(50), code=make_bundle({"main.py": main}))
    kinds = {output["name"]: output["media_type"] for output in outputs}
    check_artifacts([RawArtifact(name, kinds[name], data) for name, data in found.items()], drawing)
    assert parse_png(found["p.png"]).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.slow
def test_scoring_by_an_encrypted_model(launcher):
    """With the runtime's own libraries: neither gmpy2 nor cryptography is there."""
    key = PrivateKey.generate(2048)
    scoring = job(
        kind="score", terms={"withheld_percent": 0}, score={"model": "linear", "features": {"size": [0, 1]}}
    )
    model = encrypt_model(key, (100,), scoring.scoring(), JOB_ONE)
    given = {"data": patients(60), "code": model, "minimum": b"10"}
    found = run(launcher, "score", scoring, context=JOB_ONE, **given)
    scores = read_scores(parse_json(found["scores.json"]), scoring)
    steps = sum(round(number / 60 * 255) for number in range(60))
    assert open_scores(key, scores.slots, scores.ciphertexts, 1) == [100 * steps]
    with pytest.raises(AssertionError, match="proof of a Paillier modulus"):
        run(launcher, "score", scoring, context=JOB_ONE[::-1], **given)
