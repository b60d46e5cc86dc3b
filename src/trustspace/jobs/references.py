"""Trains the job's model anew on random halves of the rows, to see what each row's loss is with and without it.

The trainer is the registered one, with the job's own settings: only the rows and the seed differ. Who was in the real
training is not known here, and neither is whose rows they are.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from trustspace.errors import InvalidInput
from trustspace.jobs.losses import LOSSES_ARTIFACT, spread
from trustspace.jobs.metrics import per_row_loss
from trustspace.jobs.models import build
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.participants import Participants
from trustspace.jobs.programs import Emit, Inputs
from trustspace.jobs.tensors import read_tensors, write_tensors
from trustspace.jobs.training import (
    Rows,
    Trained,
    answers_of,
    code_of,
    fit_agreed,
    parameters_of,
    participants_of,
    read_rows,
    scaled_target,
    set_up,
    table_of,
    training_device,
)

_MOST_TRAININGS = 64


def run(inputs: Inputs, emit: Emit) -> None:
    """The program ``references``: see :func:`trustspace.jobs.programs.references`."""
    parameters = parameters_of(inputs)
    train = parameters.training()
    table = table_of(inputs)
    inside = _halves(bytes(inputs["halves"]), table.num_rows)
    rows = read_rows(table, parameters)
    code, private = code_of(inputs), participants_of(inputs, rows, parameters)
    losses = np.zeros((len(inside), len(rows.target)))
    for number, half in enumerate(inside[:, rows.used]):
        count = int(half.sum())
        if count < 2:
            raise InvalidInput(
                "Fewer than two rows have a usable value in column {column}.", column=train.target
            )
        print(f"reference {number + 1}/{len(inside)} on {count} rows", flush=True)
        anew = reference_parameters(parameters, number, count)
        set_up(anew)
        module = build(anew, code).to(training_device(anew))
        part = Rows(rows.features[half], rows.target[half], 0, np.ones(count, dtype=bool))
        again = private.part(half, number) if private is not None else None
        platform = fit_registered(module, part, anew, again).platform
        logits = answers_of(module, rows, platform, anew)
        losses[number] = per_row_loss(train.task, logits, scaled_target(rows, platform))
    found: dict[str, NDArray[Any]] = {"loss": spread(losses, rows.used), "used": rows.used.astype(np.uint8)}
    emit(LOSSES_ARTIFACT, "application/x-safetensors", write_tensors(found))


def fit_registered(
    module: nn.Module, rows: Rows, parameters: Parameters, private: Participants | None = None
) -> Trained:
    """Train as the job would: the one place that says which of the platform's loops that is."""
    return fit_agreed(module, rows, parameters, private)


def reference_seed(seed: int, number: int) -> int:
    """The seed of a reference training, 32 bits, from the job's own and the reference's number."""
    return int.from_bytes(hashlib.sha256(f"trustspace reference {seed} {number}".encode()).digest()[:4])


def reference_parameters(parameters: Parameters, number: int, rows: int) -> Parameters:
    """The job's parameters for one reference training on ``rows`` rows: its own seed and, of a joint job, its length.

    A joint training is imitated by this domain alone: as many passes as its rounds make, without the common step.
    """
    train, federated = parameters.training(), parameters.federated
    epochs = train.epochs
    if parameters.privacy is not None:
        # What is claimed is over all rounds: the plan counts them itself.
        pass
    elif federated is not None and federated.local_steps is not None:
        steps = -(-rows // train.batch_size)
        epochs = max(1, -(-federated.rounds * federated.local_steps // steps))
    elif federated is not None:
        epochs = federated.rounds * train.epochs
    changed = train.model_copy(update={"seed": reference_seed(train.seed, number), "epochs": epochs})
    return parameters.model_copy(update={"train": changed})


def _halves(data: bytes, rows: int) -> NDArray[np.bool_]:
    """Which rows are in which training, bool [trainings, rows]."""
    inside = read_tensors(data).get("inside")
    if (
        inside is None
        or inside.dtype != np.uint8
        or inside.ndim != 2
        or inside.shape[1] != rows
        or not 1 <= len(inside) <= _MOST_TRAININGS
    ):
        raise InvalidInput("The halves do not fit the rows.")
    flags: NDArray[np.bool_] = inside != 0
    return flags
