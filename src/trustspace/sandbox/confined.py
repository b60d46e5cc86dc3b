"""Sandboxes without namespaces, for hosts that give none (a container with Docker's default profile).

The worker is the runtime's interpreter, started directly, that walls itself in (``walls``): Landlock leaves it the
runtime, the package's copy and the host's C libraries to read and nothing to write, and a tighter filter than in
namespaces leaves it one process that can reach no other. There is no scratch space, because a private one cannot be
had without a mount and opened data must never reach a disk.

What namespaces give and this does not: the host's name, kernel and user number can be seen, and whether a path
exists, how large it is and when it changed (Landlock does not close stat(2) and readlink(2)).
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
from pathlib import Path
from typing import Any

from trustspace.sandbox import bubblewrap, layout, memory
from trustspace.sandbox.command import Command, worker_arguments

# The first version is enough: what came later (truncation, TCP, devices' ioctls, signals and abstract sockets),
# the filter forbids by itself.
OLDEST_LANDLOCK = 1
TRUNCATION_CLOSED_FROM = 3


class Confined:
    """Landlock and seccomp alone: one process, walled in by itself."""

    knows_inner = False
    own_bytes = 0
    own_processes = 0

    def __init__(self, orders: dict[str, Any], plan: bubblewrap.Plan, seccomp: int) -> None:
        self._plan = plan
        self._walls = walls(plan, memory.read(seccomp, 1 << 20))
        self._places = int(orders["concurrent"]) + int(orders["warm"]["wanted"])

    def command(
        self, control: int, status: int, preload: tuple[str, ...], keep: contextlib.ExitStack,
        gpu: int | None = None,
    ) -> Command:  # fmt: skip
        """The command for one more sandbox. ``status`` is not handed on: there is no process but the first."""
        ordered = json.dumps({"preload": preload, **self._walls})
        runtime = self._plan.runtime
        tests = [str(self._plan.test_programs)] if self._plan.test_programs is not None else []
        paths = [str(self._plan.app), str(runtime.path / "site-packages"), *tests]
        worker = worker_arguments(str(runtime.python), paths, control, ordered)
        return Command(worker, (control,), environment(self._plan))

    def process_limit(self, processes: int, *, counted: bool) -> int | None:
        """RLIMIT_NPROC for a task; None where a cgroup counts its threads.

        The limit is for all that this user runs on the host (setrlimit(2)), other tasks too: what runs now, and
        as many as every task may have. It keeps the host safe; a task's own number only a cgroup can hold.
        """
        return None if counted else _threads_of_this_user() + processes * self._places


def walls(plan: bubblewrap.Plan, program: bytes) -> dict[str, Any]:
    """What ``walls.shut`` is to build with this filter."""
    return {
        "landlock": [readable(plan), [], layout.WRITABLE_FILES],
        "filter": base64.b64encode(program).decode("ascii"),
    }


def trial_arguments(plan: bubblewrap.Plan, program: bytes) -> list[str]:
    """A command that walls itself in as a worker does, looks whether that holds, and ends."""
    code = (
        "import sys, json, os; sys.path.append(sys.argv[1]); from trustspace.sandbox.walls import shut\n"
        "shut(json.loads(sys.argv[2]))\n"
        "try: os.listdir('/')\n"
        "except PermissionError: os._exit(0)\n"
        "sys.exit('Landlock does not hold')"
    )
    python = str(plan.runtime.python)
    return [python, "-I", "-S", "-B", "-c", code, str(plan.app), json.dumps(walls(plan, program))]


def environment(plan: bubblewrap.Plan) -> dict[str, str]:
    """The whole environment of a worker; there is nowhere for temporary files.

    torch asks for a directory of its own when an optimizer is imported, and is content with one that is there.
    """
    made = bubblewrap.environment(plan, str(plan.runtime.path))
    del made["TMPDIR"]
    return {**made, "HOME": "/nonexistent", "TORCHINDUCTOR_CACHE_DIR": "/"}


def readable(plan: bubblewrap.Plan) -> list[str]:
    """Everything that a worker may read."""
    runtime = plan.runtime.path
    tests = [str(plan.test_programs)] if plan.test_programs is not None else []
    devices = [f"/dev/{name}" for name in layout.DEVICES]
    own = [str(runtime / "python"), str(runtime / "site-packages"), str(plan.app), *tests]
    return [*own, *bubblewrap.library_folders(), *devices, *layout.COPIED]


def _threads_of_this_user() -> int:
    """How many there are now, ours among them; processes that end meanwhile count or not."""
    threads = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, KeyError, ValueError):
            text = (folder / "status").read_text(encoding="utf-8", errors="replace")
            fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
            if int(fields["Uid"].split()[0]) == os.getuid():
                threads += int(fields["Threads"])
    return threads
