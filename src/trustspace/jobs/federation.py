"""What an enclave does with a joint training's numbers: sums in, the common preparation, model and metrics out.

Run in the enclave, on what untrusted workers said: NumPy only, and everything is checked. The numbers of
several source units are additive, so that a secure sum of them says of all rows what one would have said of
its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs.artifacts import encode_json, parse_json
from trustspace.jobs.features import categorical_mask
from trustspace.jobs.metrics import (
    FEDERATED_FORMAT,
    Quality,
    additive,
    additive_length,
    from_additive,
    is_decimal_text,
)
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.published import described
from trustspace.jobs.registry import NETWORK, Shape, expected_tensors
from trustspace.jobs.tensors import MAX_DIMENSIONS, MAX_TENSORS, write_tensors

Floats = NDArray[np.float64]
# Name and shape of every tensor of a model vector, in the order in which they lie in it.
Layout = tuple[tuple[str, Shape], ...]
SUMS_ARTIFACT = "sums.json"
SUMS_FORMAT = "trustspace-sums-v1"
# What aggregation's exact sums can hold.
LARGEST_NUMBER = 2.0**100
# A number in sums.json, with its quotes and comma; two more are enough for what is around them.
_LONGEST_TEXT = 43
PREFIX = NETWORK
_LEVELS = 256
# Below this share of the mean, a spread worked out from sums of squares is rounding; so is it below the floor
# where small numbers were summed with 64 bits after the point. Such a column counts as constant.
_SMALLEST_SPREAD = 1e-7
_SPREAD_FLOOR = 1e-9
# What a member of a private training adds where others add what they counted: that it is there, and nothing else.
NOTHING_COUNTED = (0.0,)


def write_sums(numbers: Sequence[float] | Floats) -> bytes:
    """``sums.json``, in which a program reports additive numbers: shortest decimal texts that read back exactly."""
    return encode_json({"format": SUMS_FORMAT, "numbers": [_text(float(number)) for number in numbers]})


def read_sums(data: bytes, length: int) -> tuple[float, ...]:
    """The ``length`` numbers of a ``sums.json``.

    A developer's code may have run where it was written. Raises VerificationFailed unless it holds exactly
    so many finite numbers below 2**100, each in its one form.
    """
    value = parse_json(data, limit=_LONGEST_TEXT * (length + 2))
    if not isinstance(value, dict) or set(value) != {"format", "numbers"} or value["format"] != SUMS_FORMAT:
        raise VerificationFailed("The sums are not of format {format}.", format=SUMS_FORMAT)
    texts = value["numbers"]
    if not isinstance(texts, list) or len(texts) != length:
        raise VerificationFailed("The sums are not {count} numbers.", count=length)
    return tuple(_number(text) for text in texts)


def _text(number: float) -> str:
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)


def _number(text: object) -> float:
    if isinstance(text, str) and len(text) <= 40:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if abs(number) < LARGEST_NUMBER and _text(number) == text:
            return number
    raise VerificationFailed("The sums hold something that is not a number in its one form.")


def prepare_length(parameters: Parameters) -> int:
    """How many additive numbers a member reports of its rows in the round before training."""
    if parameters.privacy is not None:
        return len(NOTHING_COUNTED)
    train = parameters.training()
    width = 2 + (2 if train.task == "regression" else 0)
    if train.is_image:
        return width + ((train.channels or 1) * _LEVELS if train.standardise else 0)
    return width + int((~categorical_mask(parameters)).sum()) * (3 if train.standardise else 2)


def prepared(parameters: Parameters, features: NDArray[Any], target: Floats, left_out: int) -> Floats:
    """The additive numbers of one source unit's training rows, float64 [prepare_length].

    Rows, rows left out; for a number as target its sum and the sum of its squares; then of every numeric
    input its count, sum and, to standardise, sum of squares; of images how often each channel has each of
    its 256 levels. ``features``: raw, [rows, width], NaN where missing, or pixels uint8 [rows, channels,
    size, size]. Nothing is counted that the common preparation does not need.
    Raises InvalidInput for numbers too large to be added exactly.
    """
    train = parameters.training()
    parts = [np.array([len(target), left_out], dtype=np.float64)]
    if train.task == "regression":
        parts.append(_moments(target[:, None])[1:, 0])
    if train.is_image and train.standardise:
        levels = [np.bincount(features[:, c].ravel(), minlength=_LEVELS) for c in range(features.shape[1])]
        parts.append(np.concatenate(levels).astype(np.float64))
    elif not train.is_image:
        moments = _moments(features[:, ~categorical_mask(parameters)])
        parts.append(moments[: 3 if train.standardise else 2].T.ravel())
    numbers: Floats = np.concatenate(parts)
    if not bool((np.abs(numbers) < LARGEST_NUMBER).all()):
        raise InvalidInput(
            "The data holds numbers that are too large to be added exactly.",
            fix="Leave the column out of datasets.columns, or bring it to another unit.",
        )
    return numbers


def _moments(raw: Floats) -> Floats:
    """Count, sum and sum of squares of every column, [3, width]; gaps are left out.

    The squares are worked out around the column's own mean first: then only the last sum is rounded.
    """
    present = ~np.isnan(raw)
    count = present.sum(axis=0).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.where(present, raw, 0.0).sum(axis=0) / np.maximum(count, 1.0)
        around = (np.where(present, raw - mean, 0.0) ** 2).sum(axis=0)
        moments: Floats = np.stack([count, count * mean, around + count * mean**2])
    return moments


def platform_from_sums(
    parameters: Parameters, sums: Sequence[float] | Floats
) -> dict[str, NDArray[np.float32]]:
    """The platform's tensors of a model (``input.*``, ``output.*``) from the summed numbers of round 0.

    With differential privacy from the published ranges alone. Else what single-unit training works out of the pooled
    rows, within float32's rounding; a column whose spread is below 1e-7 of its mean, or below 1e-9, counts as constant.

    Raises:
        VerificationFailed: the sums are not those of any rows.
        InvalidInput: fewer than two rows altogether have a usable target.

    """
    train = parameters.training()
    numbers = np.array(sums, dtype=np.float64)
    if numbers.shape != (prepare_length(parameters),) or not bool(np.isfinite(numbers).all()):
        raise _not_sums()
    if parameters.privacy is not None:
        if numbers[0] != 0.0:
            raise _not_sums()
        return dict(sorted(described(parameters).items()))
    rows = float(numbers[0])
    if not (rows >= 0 and rows.is_integer()):
        raise _not_sums()
    if rows < 2:
        raise InvalidInput("Fewer than two rows have a usable value in column {column}.", column=train.target)
    at = 2
    tensors: dict[str, Floats] = {}
    if train.task == "regression":
        mean, spread = _spread(np.array([rows]), numbers[2:3], numbers[3:4])
        tensors = {"output.mean": mean, "output.scale": np.where(spread > 0.0, spread, 1.0)}
        at = 4
    tensors |= _image_input(parameters, numbers[at:]) if train.is_image else _input(parameters, numbers[at:])
    return {name: array.astype(np.float32) for name, array in sorted(tensors.items())}


def _input(parameters: Parameters, numbers: Floats) -> dict[str, Floats]:
    categorical = categorical_mask(parameters)
    standardise = parameters.training().standardise
    columns = numbers.reshape(int((~categorical).sum()), 3 if standardise else 2).T
    if bool(((columns[0] < 0) | (columns[0] != np.floor(columns[0]))).any()):
        raise _not_sums()
    mean, scale = np.zeros(len(categorical)), np.ones(len(categorical))
    if standardise:
        mean[~categorical], spread = _spread(*columns)
        scale[~categorical] = np.where(spread > 0.0, spread, 1.0)
    else:
        mean[~categorical] = columns[1] / np.maximum(columns[0], 1.0)
    return {
        "input.fill": mean,
        "input.mean": mean if standardise else np.zeros_like(mean),
        "input.scale": scale,
    }


def _image_input(parameters: Parameters, numbers: Floats) -> dict[str, Floats]:
    channels = parameters.training().channels or 1
    if not parameters.training().standardise:
        return {"input.mean": np.zeros(channels), "input.scale": np.ones(channels)}
    counts = numbers.reshape(channels, _LEVELS)
    if bool((counts < 0).any()) or bool((counts.sum(axis=1) < 1).any()):
        raise _not_sums()
    levels = np.arange(_LEVELS) / 255.0
    mean = counts @ levels / counts.sum(axis=1)
    spread = np.sqrt(np.maximum(counts @ levels**2 / counts.sum(axis=1) - mean**2, 0.0))
    return {"input.mean": mean, "input.scale": np.where(spread < 1e-6, 1.0, spread)}


def _spread(count: Floats, total: Floats, squares: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation from counts and sums; 0 where it is no more than rounding."""
    mean = total / np.maximum(count, 1.0)
    spread = np.sqrt(np.maximum(squares / np.maximum(count, 1.0) - mean**2, 0.0))
    smallest = np.maximum(_SMALLEST_SPREAD * np.abs(mean), _SPREAD_FLOOR)
    return mean, np.where(spread > smallest, spread, 0.0)


def _not_sums() -> VerificationFailed:
    return VerificationFailed("The sums of the preparation are not those of any rows.")


def bulk_length(parameters: Parameters) -> int:
    """Upper bound of the float32 numbers in a model vector; Scaffold's control variate has as many again."""
    train = parameters.training()
    known = expected_tensors(train, parameters.features).items()
    return sum(math.prod(shape) for name, shape in known if name.startswith(PREFIX)) + (
        train.max_parameters or 0
    )


def layout_check(parameters: Parameters, layout: object) -> Layout:
    """What a worker says of its model, ``[[name, [size, ...]], ...]``, once it is what the job declared.

    Raises VerificationFailed unless the names are in order, each once, and the tensors are exactly those of
    the declared model or, of a custom one, no more numbers than train.max_parameters.
    """
    train = parameters.training()
    if not isinstance(layout, list) or not 1 <= len(layout) <= MAX_TENSORS - 8:
        raise VerificationFailed("The worker's model is not a list of tensors.")
    found = tuple(_layout_entry(entry) for entry in layout)
    names = [name for name, _ in found]
    if names != sorted(set(names)):
        raise VerificationFailed("The worker's model does not name its tensors in order, each once.")
    expected = {n: s for n, s in expected_tensors(train, parameters.features).items() if n.startswith(PREFIX)}
    if train.model != "custom" and dict(found) != expected:
        raise VerificationFailed(
            "The worker's model does not hold exactly the tensors of the declared model."
        )
    if not 1 <= sum(math.prod(shape) for _, shape in found) <= bulk_length(parameters):
        raise VerificationFailed("The worker's model holds more numbers than the job declared, or none.")
    return found


def _layout_entry(entry: object) -> tuple[str, Shape]:
    match entry:
        case [str(name), list(shape)] if (
            name.startswith(PREFIX)
            and len(name) <= 200
            and name.isascii()
            and name.isprintable()
            and len(shape) <= MAX_DIMENSIONS
            and all(type(size) is int and 0 <= size < 1 << 40 for size in shape)
            # A tensor without elements can have sizes that no library holds.
            and math.prod(size for size in shape if size) < 1 << 40
        ):
            return name, tuple(shape)
    raise VerificationFailed("The worker's model has an entry that is not a tensor.")


def model_file(layout: Layout, platform: Mapping[str, NDArray[Any]], vector: NDArray[np.float32]) -> bytes:
    """The platform's tensors and the model vector cut into its own, float32; precision.py makes of it what leaves.

    Raises InvalidInput when the vector is not as long as the layout says or holds a value that is no number.
    """
    if vector.dtype != np.float32 or vector.shape != (sum(math.prod(shape) for _, shape in layout),):
        raise InvalidInput("The model vector does not have the length of its layout.")
    tensors: dict[str, NDArray[Any]] = dict(platform)
    start = 0
    for name, shape in layout:
        size = math.prod(shape)
        tensors[name] = vector[start : start + size].reshape(shape)
        start += size
    return write_tensors(tensors)


@dataclass(frozen=True)
class RoundMetrics:
    """What is known of a round: mean losses over the rows of all its members, as decimal texts.

    ``loss`` is of the training rows while they were trained on, ``validation_loss`` of the model that the
    round began with; "not measurable" where there are no rows.
    """

    participants: int
    loss: str
    validation_loss: str

    def to_json(self) -> dict[str, int | str]:
        """For a checkpoint; ``RoundMetrics(**value)`` reads it back."""
        return {"participants": self.participants, "loss": self.loss, "validation_loss": self.validation_loss}


class EarlyStop:
    """Says when the validation loss has not become lower for ``patience`` rounds; None: never.

    Fed with the rounds in their order, it says the same to every member, also after a restart.
    """

    def __init__(self, patience: int | None) -> None:
        self._patience = patience
        self._best = math.inf
        self._waited = 0

    def seen(self, metrics: RoundMetrics) -> None:
        """Take the next round."""
        loss = float(metrics.validation_loss) if is_decimal_text(metrics.validation_loss) else math.inf
        self._waited = 0 if loss < self._best else self._waited + 1
        self._best = min(self._best, loss)

    @property
    def over(self) -> bool:
        """Whether the rounds end here."""
        return self._patience is not None and self._waited >= self._patience


def metrics_json(
    parameters: Parameters, rounds: Sequence[RoundMetrics], rows: int, withheld: Quality
) -> bytes:
    """The joint ``metrics.json``: numbers of all source units together, and nothing of any one of them.

    ``rows``: training rows altogether; ``withheld``: the metrics of the withheld rows altogether. Every
    enclave makes the same bytes of the same sums.
    """
    federated = parameters.federation()
    watched = rounds if federated.validation_percent else ()
    return encode_json(
        {
            "format": FEDERATED_FORMAT,
            "model": parameters.training().model,
            "strategy": federated.strategy,
            "rounds": len(rounds),
            "participants_per_round": [one.participants for one in rounds],
            "rows": rows,
            "loss_per_round": [one.loss for one in rounds],
            "validation_loss_per_round": [one.validation_loss for one in watched],
            "withheld": withheld.to_json(),
        }
    )


def measure_length(parameters: Parameters) -> int:
    """How many additive numbers `evaluate` reports of the withheld rows of a joint training."""
    train = parameters.training()
    return additive_length(train.task, train.outputs)


def measure(parameters: Parameters, logits: Floats, target: Floats) -> Floats:
    """The additive numbers of one source unit's withheld rows, float64 [measure_length].

    ``logits``: raw outputs [rows, outputs]; ``target``: [rows], as training scales it.
    """
    train = parameters.training()
    return additive(train.task, train.outputs, logits, target)


def measured(parameters: Parameters, sums: Sequence[float] | Floats) -> Quality:
    """The metrics of all withheld rows from the summed numbers, or of one source unit's from its own.

    Raises VerificationFailed for numbers that no rows can give, so that an enclave checks its own worker's
    before it adds them.
    """
    train = parameters.training()
    return from_additive(train.task, train.outputs, sums)
