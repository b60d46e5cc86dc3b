"""What walls a sandbox in, and the command that starts one: chosen in the configuration, never fallen back to.

``namespaces``  bubblewrap: own namespaces, root and devices, and seccomp; Landlock from within, where there is one
``landlock``    no namespaces: the worker shuts itself in with Landlock and a tighter filter (``confined``)
``gvisor``      runsc: a kernel of its own in user space (``gvisor``)
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
from collections.abc import Callable
from typing import Any

from trustspace.sandbox import bubblewrap, layout, memory
from trustspace.sandbox.command import Backend, Command
from trustspace.sandbox.confined import Confined
from trustspace.sandbox.gvisor import Gvisor


class Namespaces:
    """bubblewrap, as an unprivileged user (bwrap(1))."""

    knows_inner = True
    own_bytes = 0
    # bubblewrap's own two.
    own_processes = 2

    def __init__(self, orders: dict[str, Any], plan: bubblewrap.Plan, seccomp: int) -> None:
        self._plan = plan
        self._seccomp = seccomp
        self._bwrap = str(orders["bwrap"])
        self._landlock = bool(orders["landlock"])
        self._gpus = orders["gpus"]
        self._copies = {path: memory.sealed("copy", text) for path in layout.COPIED if (text := _read(path))}

    def command(
        self, control: int, status: int, preload: tuple[str, ...], keep: contextlib.ExitStack,
        gpu: int | None = None,
    ) -> Command:  # fmt: skip
        copies, more, variables = self._copies, [], {}
        readable: list[str] = [*layout.READABLE]
        devices: list[str] = []
        if gpu is None:
            seccomp = _kept(memory.reopen(self._seccomp), keep)
        else:
            # The driver needs what the copies stand in for.
            copies, given = {}, self._gpus["each"][str(gpu)]
            more, devices, variables = given["mounts"], given["devices"], self._gpus["environment"]
            readable += self._gpus["readable"]
            seccomp = _kept(memory.sealed("filter", base64.b64decode(self._gpus["filter"])), keep)
        copied = {path: _kept(memory.reopen(copy), keep) for path, copy in copies.items()}
        options = bubblewrap.options(
            self._plan, seccomp=seccomp, status=status, copies=copied, more=more, variables=variables
        )
        arguments = _kept(memory.sealed("arguments", "\0".join(options).encode() + b"\0"), keep)
        walls: dict[str, Any] = {"preload": preload}
        if self._landlock:
            walls["landlock"] = [readable, layout.SCRATCH, layout.WRITABLE_FILES, devices]
        worker = bubblewrap.worker_command(self._plan, control, json.dumps(walls))
        return Command(
            [self._bwrap, "--args", str(arguments), "--", *worker],
            (arguments, seccomp, status, control, *copied.values()),
        )

    def process_limit(self, processes: int, *, counted: bool) -> int | None:
        """The limit is for a user in a user namespace, and every sandbox has its own."""
        return processes


def of(orders: dict[str, Any], plan: bubblewrap.Plan, seccomp: int) -> Backend:
    """The backend that the orders name. Raises KeyError for one that does not exist."""
    return BACKENDS[orders["backend"]](orders, plan, seccomp)


BACKENDS: dict[str, Callable[[dict[str, Any], bubblewrap.Plan, int], Backend]] = {
    "namespaces": Namespaces,
    "landlock": Confined,
    "gvisor": Gvisor,
}


def _kept(descriptor: int, keep: contextlib.ExitStack) -> int:
    keep.callback(os.close, descriptor)
    return descriptor


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(4 << 20)
    except OSError:
        return b""
