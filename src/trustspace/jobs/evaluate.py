"""Judges an exported model on rows that training never saw, in a sandbox of its own.

It starts from the exported bytes, not from the training process: what is measured is what would leave.
In a joint training it also gives the additive numbers of its withheld rows: their sum over all source units
measures the model on everybody's.
"""

from __future__ import annotations

from trustspace.errors import VerificationFailed
from trustspace.jobs.artifacts import encode_json
from trustspace.jobs.federation import SUMS_ARTIFACT, measure, write_sums
from trustspace.jobs.metrics import EVALUATION_FORMAT, quality
from trustspace.jobs.models import build, load_arrays
from trustspace.jobs.programs import Emit, Inputs
from trustspace.jobs.registry import expected_tensors
from trustspace.jobs.sections import METRICS_ARTIFACT
from trustspace.jobs.tensors import read_tensors
from trustspace.jobs.training import (
    answers_of,
    code_of,
    parameters_of,
    read_rows,
    scaled_target,
    set_up,
    table_of,
)


def run(inputs: Inputs, emit: Emit) -> None:
    """The program ``evaluate``: see :func:`trustspace.jobs.programs.evaluate`.

    metrics.json holds the metrics of ``withheld`` and, with ``members``, of ``training``.
    """
    parameters = parameters_of(inputs)
    tensors = read_tensors(bytes(inputs["model"]))
    expected = expected_tensors(parameters.training(), parameters.features)
    if any(name not in tensors or tensors[name].shape != shape for name, shape in expected.items()):
        raise VerificationFailed("The model file does not hold the tensors of the declared model.")
    set_up(parameters)
    module = build(parameters, code_of(inputs))
    load_arrays(module, tensors)
    metrics: dict[str, object] = {"format": EVALUATION_FORMAT}
    for part, name in (("withheld", "data"), ("training", "members")):
        if name in inputs:
            rows = read_rows(table_of(inputs, name), parameters)
            logits = answers_of(module, rows, tensors, parameters)
            target = scaled_target(rows, tensors)
            found = quality(parameters.training().task, logits, target)
            metrics[part] = found.to_json() | {"left_out": rows.left_out}
            if part == "withheld" and parameters.is_joint:
                emit(SUMS_ARTIFACT, "application/json", write_sums(measure(parameters, logits, target)))
            print(f"evaluated {len(rows.target)} {part} rows", flush=True)
    emit(METRICS_ARTIFACT, "application/json", encode_json(metrics))
