"""Judges an exported model on rows that training never saw, in a sandbox of its own.

It starts from the exported bytes, not from the training process: what is measured is what would leave.
In a joint training it also gives the additive numbers of its withheld rows: their sum over all source units
measures the model on everybody's. The losses of single rows go to the enclave alone, which knows whose rows they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustspace.errors import VerificationFailed
from trustspace.jobs.artifacts import encode_json
from trustspace.jobs.federation import SUMS_ARTIFACT, measure, write_sums
from trustspace.jobs.losses import LOSSES_ARTIFACT, spread
from trustspace.jobs.metrics import EVALUATION_FORMAT, per_row_loss, quality
from trustspace.jobs.models import build, load_arrays
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.programs import Emit, Inputs
from trustspace.jobs.registry import expected_tensors
from trustspace.jobs.sections import METRICS_ARTIFACT
from trustspace.jobs.tensors import read_tensors, write_tensors
from trustspace.jobs.training import (
    answers_of,
    assess,
    code_of,
    parameters_of,
    read_rows,
    scaled_target,
    set_up,
    table_of,
)


def run(inputs: Inputs, emit: Emit) -> None:
    """The program ``evaluate``: see :func:`trustspace.jobs.programs.evaluate`.

    metrics.json holds the metrics of ``withheld`` and, with ``members``, of ``training``; losses.safetensors the loss
    of each of their rows and of ``canaries``, who stand in no metric, and whether it was used. With ``unrounded``, the
    model as it was before it was rounded for export, also that model's metrics of the withheld rows.
    """
    parameters = parameters_of(inputs)
    tensors = _read_model(inputs["model"], parameters)
    set_up(parameters)
    module = build(parameters, code_of(inputs))
    load_arrays(module, tensors)
    metrics: dict[str, object] = {"format": EVALUATION_FORMAT}
    losses: dict[str, NDArray[Any]] = {}
    for part, name in (("withheld", "data"), ("training", "members"), ("canaries", "canaries")):
        if name in inputs:
            rows = read_rows(table_of(inputs, name), parameters)
            logits = answers_of(module, rows, tensors, parameters)
            target = scaled_target(rows, tensors)
            task = parameters.training().task
            losses[f"{part}.loss"] = spread(per_row_loss(task, logits, target), rows.used)
            losses[f"{part}.used"] = rows.used.astype(np.uint8)
            if part != "canaries":
                metrics[part] = quality(task, logits, target).to_json() | {"left_out": rows.left_out}
            if part == "withheld" and parameters.is_joint:
                emit(SUMS_ARTIFACT, "application/json", write_sums(measure(parameters, logits, target)))
            print(f"evaluated {len(rows.target)} {part} rows", flush=True)
    if "unrounded" in inputs:
        # Last: what is measured of the model that leaves comes before anything of another one.
        before = _read_model(inputs["unrounded"], parameters)
        load_arrays(module, before)
        metrics["unrounded"] = assess(
            module, read_rows(table_of(inputs), parameters), before, parameters
        ).to_json()
    emit(LOSSES_ARTIFACT, "application/x-safetensors", write_tensors(losses))
    emit(METRICS_ARTIFACT, "application/json", encode_json(metrics))


def _read_model(data: memoryview, parameters: Parameters) -> dict[str, NDArray[Any]]:
    tensors = read_tensors(bytes(data))
    expected = expected_tensors(parameters.training(), parameters.features)
    if any(name not in tensors or tensors[name].shape != shape for name, shape in expected.items()):
        raise VerificationFailed("The model file does not hold the tensors of the declared model.")
    return tensors
