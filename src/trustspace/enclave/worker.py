"""A warm sandbox that trains: one process for a whole joint run, asked round by round. What it says is checked."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trustspace.enclave.failure import RunError, failure_of
from trustspace.errors import InvalidTransition, TrustspaceError
from trustspace.jobs.claim import Part
from trustspace.jobs.federation import (
    LARGEST_NUMBER,
    NOTHING_COUNTED,
    Layout,
    bulk_length,
    layout_check,
    prepare_length,
)
from trustspace.jobs.metrics import is_decimal_text
from trustspace.jobs.spec import Parameters
from trustspace.jobs.tensors import write_tensors
from trustspace.sandbox import memory
from trustspace.sandbox.conversation import ConversationEnded
from trustspace.sandbox.launcher import Launcher, Limits, Result, Task
from trustspace.sandbox.task import Channel

_PLATFORM_BYTES = 1 << 20
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Trained:
    """A round's answer: rows trained on, mean loss over them, and (rows, mean loss) of the validation part.

    Of a private one ``private`` alone: what it did; the rest is 0.
    """

    rows: int = 0
    loss: float = 0.0
    validation_rows: int = 0
    validation_loss: float = 0.0
    private: Part | None = None


class TrainingWorker:
    """The worker of one run. ``model`` (and for Scaffold ``control`` behind it) is memory that it only reads."""

    def __init__(
        self, launcher: Launcher, parameters: Parameters, inputs: Mapping[str, int], limits: Limits, rows: int,
    ) -> None:  # fmt: skip
        self._parameters = parameters
        self._rows = rows
        self._deadline = time.monotonic() + limits.wall_seconds
        federated = parameters.federation()
        self.parts = 2 if federated.strategy == "scaffold" else 1
        bulk = 4 * bulk_length(parameters) * self.parts
        with ExitStack() as stack:
            # Of fixed size: what the worker maps cannot be pulled away under it, nor grown by it.
            down = _fixed(stack, "down", max(bulk, _PLATFORM_BYTES + bulk_length(parameters) // 8))
            up = _fixed(stack, "up", max(bulk, 8 * prepare_length(parameters), 4096))
            self._down: mmap.mmap | None = mmap.mmap(down, 0)
            self._up: mmap.mmap | None = mmap.mmap(up, 0, prot=mmap.PROT_READ)
            self._talk = launcher.open(Task("train_rounds", inputs, limits), Channel(down, up))
        self.layout: Layout = ()
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._talk.cancel()
        self._talk.close().close()

    def cancel(self) -> None:
        """End the worker now, from any thread."""
        self._talk.cancel()

    def finish(self) -> Result:
        """Let the worker end; returns how it did. What it handed up is gone then, ``model`` stays."""
        ended = self._talk.close()
        self._up = None
        return ended

    def forget(self) -> None:
        """Give the model's memory back as well."""
        self._down = None

    def prepare(self) -> list[float]:
        """What the worker found of its rows: the additive numbers of round 0. In a private training it is not asked."""
        if self._parameters.privacy is not None:
            return list(NOTHING_COUNTED)
        said = self._ask({"do": "prepare"})
        length = prepare_length(self._parameters)
        if said.get("numbers") != length:
            raise RunError("job-failed", b"The worker reported another number of sums than it must.\n")
        values = np.array(np.frombuffer(_there(self._up), np.float64, length))
        # NaN is below nothing.
        if not (np.abs(values) < LARGEST_NUMBER).all():
            raise RunError("job-failed", b"The worker's sums hold something that is not a number.\n")
        if not 0 <= values[0] <= self._rows:
            raise RunError("job-failed", b"The worker counts rows that it was not given.\n")
        return [float(v) for v in values]

    def start(self, platform: Mapping[str, NDArray[Any]]) -> Floats:
        """Hand over the platform's tensors; returns the start weights, to be copied: the worker can write there."""
        content = write_tensors(dict(platform))
        down = _there(self._down)
        if len(content) > len(down):
            raise RunError("job-failed", b"The platform's tensors are too large.\n")
        down[: len(content)] = content
        said = self._ask({"do": "start", "bytes": len(content)})
        try:
            self.layout = layout_check(self._parameters, said.get("layout"))
        except TrustspaceError as error:
            raise RunError("job-failed", error.public_message.encode() + b"\n") from None
        self.count = sum(int(np.prod(shape, dtype=np.int64)) for _, shape in self.layout)
        return np.frombuffer(_there(self._up), np.float32, self.count)

    @property
    def model(self) -> Floats:
        """The global model that the next round starts from, to be written by this process only."""
        return np.frombuffer(_there(self._down), np.float32, self.count)

    @property
    def control(self) -> Floats:
        """Scaffold's server control variate, behind the model."""
        return np.frombuffer(_there(self._down), np.float32, self.count, offset=4 * self.count)

    @property
    def update(self) -> Floats:
        """What the worker left of its last round; it may change while we look."""
        return np.frombuffer(_there(self._up), np.float32, self.count * self.parts)

    def round(self, number: int) -> Trained:
        """Train one round from ``model``; the update then lies in ``update``."""
        said = self._ask({"do": "round", "round": number})
        if self._parameters.privacy is not None:
            try:
                return Trained(private=Part.from_json(said.get("private")))
            except TrustspaceError as error:
                raise RunError("job-failed", error.public_message.encode() + b"\n") from None
        validation = said.get("validation", {"rows": 0, "loss": "0.000000"})
        if not isinstance(validation, dict):
            raise RunError("job-failed", b"The worker's answer to a round is malformed.\n")
        trained = Trained(
            _count(said.get("rows"), self._rows), _loss(said.get("loss")),
            _count(validation.get("rows"), self._rows), _loss(validation.get("loss")),
        )  # fmt: skip
        if trained.rows < 1:
            raise RunError("job-failed", b"The worker says that it trained on no row.\n")
        return trained

    def account(self, steps: int) -> float:
        """Epsilon of so many private steps by the second accountant, which works beside the training."""
        said = self._ask({"do": "account", "steps": steps}).get("epsilon")
        if not is_decimal_text(said):
            raise RunError("job-failed", b"The worker does not say what its steps come to.\n")
        return float(str(said))

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._talk.ask(message, self._deadline - time.monotonic())
        except ConversationEnded as ended:
            raise failure_of(ended.result) from None
        except TimeoutError:
            self._talk.cancel()
            raise RunError("limits", b"The worker took longer than the job allows.\n") from None


def _there(mapped: mmap.mmap | None) -> mmap.mmap:
    if mapped is None:
        raise InvalidTransition("The worker has ended.")
    return mapped


def _fixed(stack: ExitStack, name: str, size: int) -> int:
    descriptor = memory.fixed(name, size)
    stack.callback(os.close, descriptor)
    return descriptor


def _count(value: object, limit: int) -> int:
    if type(value) is not int or not 0 <= value <= limit:
        raise RunError("job-failed", b"The worker counts rows that it was not given.\n")
    return value


def _loss(value: object) -> float:
    if not is_decimal_text(value):
        raise RunError("job-failed", b"The worker's loss is not a number.\n")
    return float(str(value))
