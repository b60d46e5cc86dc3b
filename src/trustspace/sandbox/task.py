"""One task for a sandbox, and how it ended."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from trustspace.errors import InvalidInput
from trustspace.sandbox import memory
from trustspace.sandbox.config import LOG_BYTES, Limits, Status

MAX_INPUTS = 16


@dataclass(frozen=True)
class Task:
    """One program to run once: its name, its inputs as sealed memfds, what it may use.

    The descriptors stay the caller's; the launcher opens them anew, read-only.
    """

    program: str
    inputs: Mapping[str, int]
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Channel:
    """The memory of a conversation: two memory files whose size nobody can change (``memory.fixed``).

    The worker can read ``down`` and write ``up``; both stay the caller's, who may map them as it likes. What
    is in ``up`` the worker can change at any time, also while it is read: copy first, then check the copy.
    """

    down: int
    up: int


@dataclass
class Result:
    """How a task ended. ``output`` is a sealed memfd, only when finished; close() it after use.

    ``reason`` refines the status for the source unit: "", "wall-clock", "memory", "cpu-time", "signal",
    "forbidden-call", "exit-status", "output", "cancelled", "did-not-start", "output-still-open", in a
    conversation also "bad-reply".
    ``first_row_ms`` is the time from spawn to the mapped inputs, None when it never came that far;
    ``log_bytes`` counts what was written, of which ``log`` keeps the first 256 KiB. ``warm`` says that the
    sandbox had waited for the task with everything imported.
    """

    status: Status
    reason: str
    output: int | None
    log: bytes
    log_bytes: int
    wall_ms: int
    first_row_ms: int | None
    peak_bytes: int
    warm: bool = False

    def read_output(self, limit: int) -> bytes:
        """The output's bytes, at most ``limit``. Raises InvalidInput when there is none."""
        if self.output is None:
            raise InvalidInput("The task {status} and left no output.", status=self.status)
        return memory.read(self.output, limit)

    def close(self) -> None:
        """Give the output's memory back."""
        if self.output is not None:
            os.close(self.output)
            self.output = None

    def __del__(self) -> None:
        # An output can be large: it goes back even when nobody closed it.
        with contextlib.suppress(AttributeError, OSError):
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_task(task: Task) -> None:
    """Raise InvalidInput for too many inputs, and for one that is not sealed memory."""
    if len(task.inputs) > MAX_INPUTS:
        raise InvalidInput("A task may have at most {limit} inputs.", limit=MAX_INPUTS)
    for name, descriptor in task.inputs.items():
        memory.check_sealed(descriptor, name)


def check_channel(channel: Channel) -> None:
    """Raise InvalidInput unless both halves are writable memory of a fixed size."""
    memory.check_fixed(channel.down, "down")
    memory.check_fixed(channel.up, "up")


def read_result(message: dict[str, Any], descriptors: list[int]) -> Result:
    """The launcher's message as a result; it owns the output's descriptor."""
    log = b""
    output: int | None = None
    if descriptors:
        log = memory.read(descriptors[0], LOG_BYTES)
        os.close(descriptors[0])
        output = descriptors[1] if message.get("output") else None
    return Result(
        status=message["status"],
        reason=message["reason"],
        output=output,
        log=log or str(message.get("error", "")).encode(),
        log_bytes=int(message.get("log_bytes", 0)),
        wall_ms=int(message.get("wall_ms", 0)),
        first_row_ms=message["first_row_ms"] if message.get("first_row_ms", -1) >= 0 else None,
        peak_bytes=int(message.get("peak_bytes", 0)),
        warm=bool(message.get("warm", False)),
    )
