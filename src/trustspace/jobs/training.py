"""The platform's own training loop. The developer says what and how long, never how rows are handled.

Deterministic: the same inputs and number of threads give the same bytes. Progress goes to standard output,
which is the run's sealed log.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from trustspace.data.handin import from_buffer
from trustspace.errors import InvalidInput
from trustspace.jobs.artifacts import encode_json
from trustspace.jobs.code import Files, files_of
from trustspace.jobs.features import Preparation, categorical_mask, column_of, read_features, read_target
from trustspace.jobs.images import read_images
from trustspace.jobs.metrics import METRICS_FORMAT, Quality, decimal_text, quality
from trustspace.jobs.models import build, to_arrays
from trustspace.jobs.optimise import Optimiser, make_optimiser
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.participants import Participants
from trustspace.jobs.programs import Emit, Inputs
from trustspace.jobs.sections import METRICS_ARTIFACT, MODEL_ARTIFACT
from trustspace.jobs.tensors import write_tensors

EVALUATION_BATCH_ROWS = 2048
LOG_LINES = 100


@dataclass(frozen=True)
class Rows:
    """What a model is trained or judged on: raw features (or pixels) and the target of the usable rows.

    ``used``: which rows of the table these are, bool [rows of the table].
    """

    features: NDArray[Any]
    target: NDArray[np.float64]
    left_out: int
    used: NDArray[np.bool_]


def run(inputs: Inputs, emit: Emit) -> None:
    """The program ``train``: see :func:`trustspace.jobs.programs.train`."""
    parameters = parameters_of(inputs)
    train = parameters.training()
    rows = read_rows(table_of(inputs), parameters)
    private = participants_of(inputs, rows, parameters)
    if private is None:
        if len(rows.target) < 2:
            raise InvalidInput(
                "Fewer than two rows have a usable value in column {column}.", column=train.target
            )
        print(f"training {train.model} on {len(rows.target)} rows, {rows.left_out} left out", flush=True)
    set_up(parameters)
    module = build(parameters, code_of(inputs)).to(training_device(parameters))
    trained = fit_agreed(module, rows, parameters, private)
    emit(
        MODEL_ARTIFACT, "application/x-safetensors", write_tensors({**trained.platform, **to_arrays(module)})
    )
    emit(METRICS_ARTIFACT, "application/json", encode_json(trained.metrics))


@dataclass(frozen=True)
class Trained:
    """The platform's own tensors of a trained model, and its metrics.json."""

    platform: dict[str, NDArray[Any]]
    metrics: dict[str, Any]


def participants_of(inputs: Inputs, rows: Rows, parameters: Parameters) -> Participants | None:
    """Whose the rows are, where the job is to be trained with differential privacy."""
    return None if parameters.privacy is None else Participants.of(inputs, rows.used)


def fit_agreed(
    module: nn.Module, rows: Rows, parameters: Parameters, private: Participants | None
) -> Trained:
    """Train as the job says: by the loop below or, with ``private``, by the one with differential privacy."""
    if private is None:
        return fit(module, rows, parameters)
    # Seconds, for Opacus and what it imports: only where it is used.
    from trustspace.jobs.private import fit as fit_privately

    return fit_privately(module, rows, parameters, private)


def fit(module: nn.Module, rows: Rows, parameters: Parameters) -> Trained:
    """Train ``module`` in place. Raises InvalidInput when the loss stops being a number."""
    train = parameters.training()
    platform = prepare(rows, parameters)
    inputs = model_inputs(rows, platform, parameters)
    target = loss_target(rows, platform, parameters)
    optimiser = make_optimiser(
        train.optimiser,
        module.parameters(),
        learning_rate=float(train.learning_rate),
        weight_decay=float(train.weight_decay),
    )
    order = torch.Generator().manual_seed(train.seed)
    losses: list[str] = []
    every = -(-train.epochs // LOG_LINES)
    for epoch in range(1, train.epochs + 1):
        done = one_pass(module, inputs, target, optimiser, order, parameters)
        value = done.loss_sum / done.rows
        if not np.isfinite(value):
            raise InvalidInput(
                "Training diverged in epoch {epoch}.",
                fix="Lower train.learning_rate or standardise.",
                epoch=epoch,
            )
        losses.append(decimal_text(value))
        if epoch % every == 0 or epoch == train.epochs:
            print(f"epoch {epoch}/{train.epochs} loss {value:.6f}", flush=True)
    result = assess(module, rows, platform, parameters)
    metrics = {
        "format": METRICS_FORMAT,
        "model": train.model,
        "left_out": rows.left_out,
        "epochs": train.epochs,
        "loss_per_epoch": losses,
        "threads": parameters.limits.threads,
        **result.to_json(),
    }
    return Trained(platform, metrics)


@dataclass(frozen=True)
class Pass:
    """What was done in one pass: the sum of the losses of the rows seen, how many they were, steps taken."""

    loss_sum: float
    rows: int
    steps: int


def one_pass(
    module: nn.Module,
    inputs: ModelInputs,
    target: torch.Tensor,
    optimiser: Optimiser,
    order: torch.Generator,
    parameters: Parameters,
    most_steps: int | None = None,
) -> Pass:
    """Take every row once, in an order drawn from ``order``, or stop after ``most_steps`` steps."""
    train = parameters.training()
    module.train()
    device = device_of(module)
    total = torch.zeros((), dtype=torch.float64, device=device)
    seen = steps = 0
    for batch in batches(torch.randperm(len(target), generator=order), train.batch_size):
        optimiser.zero_grad()
        loss = loss_of(train.task, module(inputs.take(batch).to(device)), target[batch].to(device))
        torch.autograd.backward(loss)
        optimiser.step()
        total += loss.detach() * len(batch)
        seen += len(batch)
        steps += 1
        if steps == most_steps:
            break
    return Pass(float(total), seen, steps)


class ModelInputs:
    """The model's inputs, whole for a table; images stay bytes until their batch is needed."""

    def __init__(
        self, whole: torch.Tensor, mean: torch.Tensor | None = None, scale: torch.Tensor | None = None
    ) -> None:
        self.whole, self.mean, self.scale = whole, mean, scale

    def __len__(self) -> int:
        return len(self.whole)

    def take(self, rows: torch.Tensor | slice) -> torch.Tensor:
        """Inputs of ``rows``, float32."""
        batch = self.whole[rows]
        if self.mean is None or self.scale is None:
            return batch
        return (batch.to(torch.float32) / 255.0 - self.mean) / self.scale


def prepare(rows: Rows, parameters: Parameters) -> dict[str, NDArray[Any]]:
    """The platform's tensors (``input.*``, ``output.*``), float32, from the training rows."""
    train = parameters.training()
    tensors: dict[str, NDArray[Any]]
    if train.is_image:
        pixels = rows.features.transpose(1, 0, 2, 3).reshape(rows.features.shape[1], -1)
        counts = np.stack([np.bincount(channel, minlength=256) for channel in pixels]).astype(np.float64)
        levels = np.arange(256) / 255.0
        mean = counts @ levels / counts.sum(axis=1)
        spread = np.sqrt(np.maximum(counts @ levels**2 / counts.sum(axis=1) - mean**2, 0.0))
        if not train.standardise:
            mean, spread = np.zeros_like(mean), np.ones_like(spread)
        tensors = {"input.mean": mean, "input.scale": np.where(spread < 1e-6, 1.0, spread)}
    else:
        fitted = Preparation.fit(rows.features, categorical_mask(parameters), standardise=train.standardise)
        tensors = {"input.fill": fitted.fill, "input.mean": fitted.mean, "input.scale": fitted.scale}
    if train.task == "regression":
        spread_of_target = float(rows.target.std())
        tensors["output.mean"] = np.array([rows.target.mean()])
        tensors["output.scale"] = np.array([spread_of_target if spread_of_target > 1e-12 else 1.0])
    return {name: array.astype(np.float32) for name, array in tensors.items()}


def model_inputs(rows: Rows, platform: Mapping[str, NDArray[Any]], parameters: Parameters) -> ModelInputs:
    """What the network sees of ``rows``."""
    if parameters.training().is_image:
        mean, scale = (
            torch.from_numpy(np.array(platform[name]))[:, None, None]
            for name in ("input.mean", "input.scale")
        )
        return ModelInputs(torch.from_numpy(rows.features), mean, scale)
    preparation = Preparation(platform["input.fill"], platform["input.mean"], platform["input.scale"])
    return ModelInputs(torch.from_numpy(preparation.apply(rows.features)))


def scaled_target(rows: Rows, platform: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """The target in the units of the loss: a number in training means and deviations, a class as it is."""
    if "output.mean" not in platform:
        return rows.target
    scaled: NDArray[np.float64] = (rows.target - float(platform["output.mean"][0])) / float(
        platform["output.scale"][0]
    )
    return scaled


def loss_target(rows: Rows, platform: Mapping[str, NDArray[Any]], parameters: Parameters) -> torch.Tensor:
    """The target as the loss wants it: float32 numbers, or int64 indexes of several classes."""
    if parameters.training().task == "multiclass":
        return torch.from_numpy(rows.target.astype(np.int64))
    return torch.from_numpy(scaled_target(rows, platform).astype(np.float32))


def assess(
    module: nn.Module, rows: Rows, platform: Mapping[str, NDArray[Any]], parameters: Parameters
) -> Quality:
    """How good ``module`` is on ``rows``."""
    logits = answers_of(module, rows, platform, parameters)
    return quality(parameters.training().task, logits, scaled_target(rows, platform))


def answers_of(
    module: nn.Module, rows: Rows, platform: Mapping[str, NDArray[Any]], parameters: Parameters
) -> NDArray[np.float64]:
    """What ``module`` says of ``rows``: its raw outputs, float64 [rows, outputs]."""
    module.eval()
    device = device_of(module)
    inputs = model_inputs(rows, platform, parameters)
    outputs = parameters.training().outputs
    parts: list[NDArray[Any]] = []
    with torch.no_grad():
        for start in range(0, len(inputs), EVALUATION_BATCH_ROWS):
            answers = module(inputs.take(slice(start, start + EVALUATION_BATCH_ROWS)).to(device))
            parts.append(check_shape(answers, outputs).cpu().numpy().astype(np.float64))
    return np.concatenate(parts) if parts else np.zeros((0, outputs))


def loss_of(task: str, answers: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean loss of raw model outputs [rows, outputs]."""
    if task == "multiclass":
        return functional.cross_entropy(answers, target)
    answers = check_shape(answers, 1)[:, 0]
    if task == "binary":
        return functional.binary_cross_entropy_with_logits(answers, target)
    return functional.mse_loss(answers, target)


def check_shape(answers: torch.Tensor, outputs: int) -> torch.Tensor:
    """Raise InvalidInput unless a (custom) model gave ``outputs`` numbers for each row."""
    if answers.ndim != 2 or answers.shape[1] != outputs:
        raise InvalidInput("The model must give {outputs} number(s) for each row.", outputs=outputs)
    return answers


def batches(order: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    """``order`` in pieces of ``size``; a single last row waits for another epoch (batch norm needs two)."""
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        if len(batch) > 1 or size == 1:
            yield batch


def training_device(parameters: Parameters) -> torch.device:
    """Where a model is trained: on the GPU that a job asked for, else on the processor.

    Raises InvalidInput when the job was promised one and there is none.
    """
    if not parameters.limits.gpu:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InvalidInput("The job asks for a GPU, and there is none in its sandbox.")
    return torch.device("cuda")


def device_of(module: nn.Module) -> torch.device:
    """Where a model is."""
    return next((tensor.device for tensor in module.parameters()), torch.device("cpu"))


def set_up(parameters: Parameters) -> None:
    """Seed torch and hold it to deterministic algorithms and the declared number of threads."""
    torch.manual_seed(parameters.training().seed)
    # use_deterministic_algorithms() says the same and imports the compiler: seconds, for nothing here.
    torch.set_deterministic_debug_mode("error")
    torch.set_num_threads(parameters.limits.threads)


def read_rows(table: pa.Table, parameters: Parameters) -> Rows:
    """Features and target of the rows that have a usable target and, for images, an image."""
    train = parameters.training()
    target, usable = read_target(table, train)
    name = parameters.features[0]
    if train.is_image:
        usable &= ~column_of(table, name).is_null().to_numpy()
    kept = table.filter(pa.array(usable))
    features: NDArray[Any]
    if train.is_image:
        features = read_images(
            column_of(kept, name), name, size=train.image_size or 0, channels=train.channels or 1
        )
    else:
        features = read_features(kept, parameters)
    return Rows(features, target[usable], int((~usable).sum()), usable)


def parameters_of(inputs: Inputs) -> Parameters:
    """The job's parameters, from their canonical JSON."""
    return Parameters.from_json(json.loads(bytes(inputs["parameters"])))


def table_of(inputs: Inputs, name: str = "data") -> pa.Table:
    """An Arrow IPC stream as a table, without copying it."""
    return from_buffer(inputs[name])


def code_of(inputs: Inputs) -> Files | None:
    """The files of the code bundle, when the run has one."""
    return files_of(inputs) if "code" in inputs else None
