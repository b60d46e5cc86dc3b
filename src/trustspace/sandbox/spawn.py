"""Making one sandbox: its memory, pipes and limits, and the process that the backend walls in.

A sandbox is started before it has a task: its worker waits for orders. A task is then assigned to it, once;
started early it is *warm*, and has imported what most programs need.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trustspace.sandbox import backends, bubblewrap, cgroup, limits, memory, protocol
from trustspace.sandbox.config import Limits
from trustspace.sandbox.process import PR_SET_PDEATHSIG, prctl
from trustspace.sandbox.runtime import Runtime


@dataclass(eq=False)
class Sandbox:
    """One sandbox: its processes, the ends of its pipes, and what is known of its task so far.

    ``number`` and ``output`` are None until a task is assigned; it never gets a second one. ``early``: it was
    started without one; ``warm``: it had imported everything when it got one, or has and waits.
    """

    log_pipe: int
    status_pipe: int
    control: socket.socket
    process: subprocess.Popen[bytes]
    outer: int
    group: cgroup.Group | None
    knows_inner: bool
    started: float
    leftover: Path | None = None
    number: int | None = None
    output: int | None = None
    deadline: float = math.inf
    early: bool = False
    warm: bool = False
    log: bytearray = field(default_factory=bytearray)
    log_bytes: int = 0
    status_text: bytearray = field(default_factory=bytearray)
    inner_pid: int | None = None
    inner: int | None = None
    first_row: float | None = None
    exit_code: int | None = None
    verdict: str = ""
    killed_at: float | None = None
    inner_ended: bool = False


class Maker:
    """Makes sandboxes after the orders that the launcher was started with."""

    def __init__(self, orders: dict[str, Any], seccomp: int) -> None:
        """Raises KeyError or TypeError when something is missing from the orders."""
        self._plan = _plan_from(orders)
        self._backend = backends.of(orders, self._plan, seccomp)
        self._base = cgroup.Base.from_message(orders["cgroup"]) if orders["cgroup"] else None
        self._made = 0

    @property
    def threads(self) -> int:
        """How many threads a task's numerical libraries use."""
        return self._plan.threads

    def start(self, preload: tuple[str, ...] = (), gpu: int | None = None) -> Sandbox:
        """Start a sandbox whose worker, once it has imported ``preload``, waits for its orders; ``gpu`` is its own.

        Raises OSError, KeyError, ValueError or SubprocessError; nothing is left then.
        """
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as mine:
            # mine: descriptors that only the child needs; undo: what is thrown away if this fails.
            def keep(descriptor: int, stack: contextlib.ExitStack) -> int:
                stack.callback(os.close, descriptor)
                return descriptor

            ours, theirs = protocol.pair()
            undo.callback(ours.close)
            mine.callback(theirs.close)
            log_read, log_write = os.pipe2(os.O_CLOEXEC)
            status_read, status_write = os.pipe2(os.O_CLOEXEC)
            for read, write in ((log_read, log_write), (status_read, status_write)):
                keep(read, undo)
                keep(write, mine)
                os.set_blocking(read, False)
            self._made += 1
            group = None
            if self._base is not None:
                own = {"own_bytes": self._backend.own_bytes, "own_processes": self._backend.own_processes}
                group = cgroup.Group(self._base, f"task-{self._made}", **own)
                undo.callback(group.remove)
            command = self._backend.command(theirs.fileno(), status_write, preload, mine, gpu)
            if command.leftover is not None:
                undo.callback(shutil.rmtree, command.leftover, ignore_errors=True)
            wanted = limits.before_exec(command.open_files)
            parent = os.getpid()

            def before_exec() -> None:
                prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != parent:
                    os._exit(1)
                if group is not None:
                    group.enter()
                limits.apply(wanted)

            started = time.monotonic()
            process = subprocess.Popen(
                command.arguments,
                stdin=subprocess.DEVNULL if command.stdin is None else command.stdin,
                stdout=log_write, stderr=log_write, env=command.environment, cwd="/",
                close_fds=True, pass_fds=command.descriptors,
                preexec_fn=before_exec,  # noqa: PLW1509 - this process has one thread
            )  # fmt: skip
            try:
                outer = os.pidfd_open(process.pid)
            except OSError:
                process.kill()
                process.wait()
                raise
            undo.pop_all()
        return Sandbox(
            log_pipe=log_read, status_pipe=status_read, control=ours, process=process, outer=outer, group=group,
            knows_inner=self._backend.knows_inner, started=started, early=bool(preload),
            leftover=command.leftover,
        )  # fmt: skip

    def assign(self, sandbox: Sandbox, message: dict[str, Any], descriptors: list[int]) -> None:
        """Give a sandbox its one task: from here on its clock runs and its limits are the task's.

        Raises OSError (also when one that was started early has died), ValueError or TypeError; the sandbox is
        of no use then, and has nothing of the task.
        """
        allowed = Limits(**message["limits"])
        with contextlib.ExitStack() as mine:
            output = memory.create("output", allowed.output_bytes)
            sandbox.output = output
            memory.forbid_growth(output)

            def reopened(descriptor: int, *, writable: bool = False) -> int:
                copy = memory.reopen(descriptor, writable=writable)
                mine.callback(os.close, copy)
                return copy

            count = len(message["inputs"])
            inputs = [reopened(descriptor) for descriptor in descriptors[:count]]
            conversation: list[int] = []
            shared_bytes = 0
            if message["session"]:
                # A socket cannot be opened anew; ours is closed as soon as the worker has its own.
                talk, down, up = descriptors[count:]
                shared_bytes = os.fstat(up).st_size
                conversation = [talk, reopened(down), reopened(up, writable=True)]
            if sandbox.group is not None:
                # One more than numerical libraries use, for what they and the sandbox do besides.
                sandbox.group.limit(allowed, shared_bytes, processors=self._plan.threads + 1)
            orders = {
                "program": message["program"],
                "inputs": message["inputs"],
                "session": message["session"],
                "output_bytes": allowed.output_bytes,
                "limits": limits.in_worker(
                    allowed,
                    scratch_bytes=self._plan.tmp_bytes + self._plan.shm_bytes,
                    counted=sandbox.group is not None,
                    processes=self._backend.process_limit(
                        allowed.processes, counted=sandbox.group is not None
                    ),
                    mapped_bytes=sum(os.fstat(each).st_size for each in [*inputs, *conversation[1:]]),
                ),
                "cpu_seconds": allowed.cpu_seconds,
                "test_programs": self._plan.test_programs is not None,
            }
            try:
                protocol.send(sandbox.control, orders, [output, *inputs, *conversation])
            except (BrokenPipeError, ConnectionResetError):
                # One that could not start has its reason in its log, and says so by its end.
                if sandbox.early:
                    raise
        sandbox.number = int(message["id"])
        sandbox.started = time.monotonic()
        sandbox.deadline = sandbox.started + allowed.wall_seconds


def _plan_from(orders: dict[str, Any]) -> bubblewrap.Plan:
    given = orders["plan"]
    runtime = given["runtime"]
    return bubblewrap.Plan(
        runtime=Runtime(**{**runtime, "path": Path(runtime["path"])}),
        app=Path(given["app"]),
        test_programs=Path(given["test_programs"]) if given["test_programs"] else None,
        tmp_bytes=given["tmp_bytes"],
        shm_bytes=given["shm_bytes"],
        threads=given["threads"],
    )
