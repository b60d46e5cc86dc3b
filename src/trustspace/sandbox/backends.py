"""What walls a sandbox in, and the command that starts one: chosen in the configuration, never fallen back to.

``namespaces``  bubblewrap: own namespaces, root and devices, and seccomp; Landlock from within, where there is one
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from typing import Any, Protocol

from trustspace.sandbox import bubblewrap, layout, memory


@dataclass(frozen=True)
class Command:
    """A program to start: its arguments, its whole environment, and the descriptors that it inherits."""

    arguments: list[str]
    descriptors: tuple[int, ...]
    environment: dict[str, str] = field(default_factory=dict)


class Backend(Protocol):
    """One way of making sandboxes. ``knows_inner``: it says on the status pipe which process is the first inside."""

    knows_inner: bool

    def command(
        self, control: int, status: int, preload: tuple[str, ...], keep: contextlib.ExitStack
    ) -> Command:
        """The command for one more sandbox whose worker listens on ``control``.

        Descriptors made for it are closed by ``keep`` once it is started. Raises OSError or ValueError.
        """


class Namespaces:
    """bubblewrap, as an unprivileged user (bwrap(1))."""

    knows_inner = True

    def __init__(self, orders: dict[str, Any], plan: bubblewrap.Plan, seccomp: int) -> None:
        self._plan = plan
        self._seccomp = seccomp
        self._bwrap = str(orders["bwrap"])
        self._landlock = bool(orders["landlock"])
        self._copies = {path: memory.sealed("copy", text) for path in layout.COPIED if (text := _read(path))}

    def command(
        self, control: int, status: int, preload: tuple[str, ...], keep: contextlib.ExitStack
    ) -> Command:
        copies = {path: _kept(memory.reopen(copy), keep) for path, copy in self._copies.items()}
        seccomp = _kept(memory.reopen(self._seccomp), keep)
        options = bubblewrap.options(self._plan, seccomp=seccomp, status=status, copies=copies)
        arguments = _kept(memory.sealed("arguments", "\0".join(options).encode() + b"\0"), keep)
        walls: dict[str, Any] = {"preload": preload}
        if self._landlock:
            walls["landlock"] = [layout.READABLE, layout.SCRATCH, layout.WRITABLE_FILES]
        worker = bubblewrap.worker_command(self._plan, control, json.dumps(walls))
        return Command(
            [self._bwrap, "--args", str(arguments), "--", *worker],
            (arguments, seccomp, status, control, *copies.values()),
        )


def of(orders: dict[str, Any], plan: bubblewrap.Plan, seccomp: int) -> Backend:
    """The backend that the orders name. Raises KeyError for one that does not exist."""
    return BACKENDS[orders["backend"]](orders, plan, seccomp)


BACKENDS: dict[str, type[Namespaces]] = {"namespaces": Namespaces}


def _kept(descriptor: int, keep: contextlib.ExitStack) -> int:
    keep.callback(os.close, descriptor)
    return descriptor


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(4 << 20)
    except OSError:
        return b""
