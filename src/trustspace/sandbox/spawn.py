"""Making one sandbox: its memory, pipes and limits, and the bubblewrap process that builds it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trustspace.sandbox import bubblewrap, cgroup, layout, limits, memory, protocol
from trustspace.sandbox.config import Limits
from trustspace.sandbox.runtime import Runtime

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38


@dataclass
class Sandbox:
    """One running task: its processes, the ends of its pipes, and what is known of it so far."""

    number: int
    limits: Limits
    output: int
    log_pipe: int
    status_pipe: int
    control: socket.socket
    process: subprocess.Popen[bytes]
    outer: int
    group: cgroup.Group | None
    started: float
    deadline: float
    log: bytearray = field(default_factory=bytearray)
    log_bytes: int = 0
    status_text: bytearray = field(default_factory=bytearray)
    inner_pid: int | None = None
    inner: int | None = None
    first_row: float | None = None
    landlock: int = 0
    exit_code: int | None = None
    verdict: str = ""
    killed_at: float | None = None
    inner_ended: bool = False


class Maker:
    """Makes sandboxes after the orders that the launcher was started with."""

    def __init__(self, orders: dict[str, Any], seccomp: int) -> None:
        """Raises KeyError or TypeError when something is missing from the orders."""
        self._seccomp = seccomp
        self._landlock = bool(orders["landlock"])
        self._plan = _plan_from(orders)
        self._bwrap = str(orders["bwrap"])
        self._base = cgroup.Base.from_message(orders["cgroup"]) if orders["cgroup"] else None
        self._copies = {path: memory.sealed("copy", text) for path in layout.COPIED if (text := _read(path))}

    def make(self, number: int, message: dict[str, Any], descriptors: list[int]) -> Sandbox:
        """Start a sandbox for one task and give its worker its orders.

        Raises OSError, ValueError or SubprocessError; nothing is left then.
        """
        allowed = Limits(**message["limits"])
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as mine:
            # mine: descriptors that only the child needs; undo: what is thrown away if this fails.
            def keep(descriptor: int, stack: contextlib.ExitStack) -> int:
                stack.callback(os.close, descriptor)
                return descriptor

            output = keep(memory.create("output", allowed.output_bytes), undo)
            memory.forbid_growth(output)
            count = len(message["inputs"])
            inputs = [keep(memory.reopen(descriptor), mine) for descriptor in descriptors[:count]]
            conversation: list[int] = []
            shared_bytes = 0
            if message["session"]:
                # A socket cannot be opened anew; ours is closed as soon as the worker has its own.
                talk, down, up = descriptors[count:]
                shared_bytes = os.fstat(up).st_size
                conversation = [
                    talk,
                    keep(memory.reopen(down), mine),
                    keep(memory.reopen(up, writable=True), mine),
                ]
            ours, theirs = protocol.pair()
            undo.callback(ours.close)
            mine.callback(theirs.close)
            log_read, log_write = os.pipe2(os.O_CLOEXEC)
            status_read, status_write = os.pipe2(os.O_CLOEXEC)
            for read, write in ((log_read, log_write), (status_read, status_write)):
                keep(read, undo)
                keep(write, mine)
                os.set_blocking(read, False)
            copies = {
                path: keep(memory.reopen(descriptor), mine) for path, descriptor in self._copies.items()
            }
            seccomp = keep(memory.reopen(self._seccomp), mine)
            options = bubblewrap.options(self._plan, seccomp=seccomp, status=status_write, copies=copies)
            arguments = keep(memory.sealed("arguments", "\0".join(options).encode() + b"\0"), mine)
            group = cgroup.Group(self._base, f"task-{number}", allowed, shared_bytes) if self._base else None
            if group is not None:
                undo.callback(group.remove)
            wanted = limits.limits_for(
                allowed,
                scratch_bytes=self._plan.tmp_bytes + self._plan.shm_bytes,
                counted=group is not None,
            )
            parent = os.getpid()

            def before_exec() -> None:
                prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != parent:
                    os._exit(1)
                if group is not None:
                    group.enter()
                limits.apply(wanted)

            orders = {
                "program": message["program"],
                "inputs": message["inputs"],
                "session": message["session"],
                "output_bytes": allowed.output_bytes,
                "processes": allowed.processes,
                "landlock": self._landlock,
                "test_programs": self._plan.test_programs is not None,
            }
            protocol.send(ours, orders, [output, *inputs, *conversation])
            worker = bubblewrap.worker_command(self._plan, theirs.fileno())
            started = time.monotonic()
            process = subprocess.Popen(
                [self._bwrap, "--args", str(arguments), "--", *worker],
                stdin=subprocess.DEVNULL, stdout=log_write, stderr=log_write, env={}, cwd="/", close_fds=True,
                pass_fds=(arguments, seccomp, status_write, theirs.fileno(), *copies.values()),
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
            number=number, limits=allowed, output=output, log_pipe=log_read, status_pipe=status_read, control=ours,
            process=process, outer=outer, group=group, started=started, deadline=started + allowed.wall_seconds,
        )  # fmt: skip


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


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(4 << 20)
    except OSError:
        return b""


def prctl(option: int, value: int) -> None:
    """Set one option of this process. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
