"""The launcher's own process: keyless, single-threaded, unprivileged, and the parent of every sandbox.

It is started as a fresh program with an empty environment and one descriptor, so it never shares memory
with keys. It takes tasks from the enclave over a packet socket, makes a sandbox for each, watches them all
in one loop, and hands back sealed memory. When the socket closes or the enclave dies, it kills everything
and ends.

A task is over when the *whole* tree is dead: bubblewrap's outer process has ended, and so has the first
process of the sandbox's pid namespace, after which the kernel has no process in it left. As subreaper the
launcher inherits that first process and can wait for it. Only then is the output sealed and looked at.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trustspace.sandbox import bubblewrap, cgroup, inside, layout, limits, memory, protocol
from trustspace.sandbox.config import LOG_BYTES, Limits
from trustspace.sandbox.runtime import Runtime

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38
# How long after the last process's end its memory may still be held by the kernel.
SEAL_SECONDS = 2.0
# How long a dying tree may take before it is killed again.
KILL_AGAIN_SECONDS = 0.5


@dataclass
class _Job:
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


class Service:
    """The loop over all running sandboxes."""

    def __init__(self, control: socket.socket, orders: dict[str, Any], seccomp: int) -> None:
        self._control = control
        self._seccomp = seccomp
        self._landlock = bool(orders["landlock"])
        self._plan = _plan_from(orders)
        self._bwrap = str(orders["bwrap"])
        self._base = cgroup.Base.from_message(orders["cgroup"]) if orders["cgroup"] else None
        self._copies = {path: memory.sealed("copy", text) for path in layout.COPIED if (text := _read(path))}
        self._selector = selectors.DefaultSelector()
        self._jobs: dict[int, _Job] = {}
        self._open = True

    def run(self) -> None:
        """Serve until the enclave is gone."""
        self._selector.register(self._control, selectors.EVENT_READ, ("request", None))
        while self._open or self._jobs:
            for key, _ in self._selector.select(self._patience()):
                kind, job = key.data
                getattr(self, f"_on_{kind}")(job)
            self._look_at_clock()
            for job in [job for job in self._jobs.values() if self._is_over(job)]:
                self._finish(job)

    # -- requests

    def _on_request(self, _: None) -> None:
        try:
            received = protocol.receive(self._control)
        except (OSError, ValueError):
            received = None
        if received is None:
            self._selector.unregister(self._control)
            self._open = False
            for job in self._jobs.values():
                self._kill(job, "cancelled")
            return
        message, descriptors = received
        if message.get("op") == "cancel":
            wanted = self._jobs.get(int(message["id"]))
            if wanted is not None:
                self._kill(wanted, "cancelled")
        elif message.get("op") == "run":
            self._start(message, descriptors)

    def _start(self, message: dict[str, Any], descriptors: list[int]) -> None:
        number = int(message["id"])
        try:
            job = self._spawn(number, message, descriptors)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self._answer({"id": number, "status": "failed", "reason": "did-not-start", "error": str(error)})
            return
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._jobs[number] = job
        for thing, kind in (
            (job.log_pipe, "log"),
            (job.status_pipe, "status"),
            (job.control, "control"),
            (job.outer, "outer"),
        ):
            self._selector.register(thing, selectors.EVENT_READ, (kind, job))

    def _spawn(self, number: int, message: dict[str, Any], descriptors: list[int]) -> _Job:
        allowed = Limits(**message["limits"])
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as mine:
            # mine: descriptors that only the child needs; undo: what is thrown away if this fails.
            def keep(descriptor: int, stack: contextlib.ExitStack) -> int:
                stack.callback(os.close, descriptor)
                return descriptor

            output = keep(memory.create("output", allowed.output_bytes), undo)
            memory.forbid_growth(output)
            inputs = [keep(memory.reopen(descriptor), mine) for descriptor in descriptors]
            input_bytes = sum(os.fstat(descriptor).st_size for descriptor in inputs)
            ours, theirs = protocol.pair()
            undo.callback(ours.close)
            mine.callback(theirs.close)
            log_read, log_write = os.pipe2(os.O_CLOEXEC)
            keep(log_read, undo), keep(log_write, mine)
            status_read, status_write = os.pipe2(os.O_CLOEXEC)
            keep(status_read, undo), keep(status_write, mine)
            os.set_blocking(log_read, False)
            os.set_blocking(status_read, False)
            copies = {
                path: keep(memory.reopen(descriptor), mine) for path, descriptor in self._copies.items()
            }
            seccomp = keep(memory.reopen(self._seccomp), mine)
            options = bubblewrap.options(self._plan, seccomp=seccomp, status=status_write, copies=copies)
            arguments = keep(memory.sealed("arguments", "\0".join(options).encode() + b"\0"), mine)
            group = cgroup.Group(self._base, f"task-{number}", allowed) if self._base else None
            if group is not None:
                undo.callback(group.remove)
            wanted = limits.limits_for(
                allowed,
                scratch_bytes=self._plan.tmp_bytes + self._plan.shm_bytes,
                input_bytes=input_bytes,
                counted=group is not None,
            )
            parent = os.getpid()

            def before_exec() -> None:
                _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != parent:
                    os._exit(1)
                if group is not None:
                    group.enter()
                limits.apply(wanted)

            orders = {
                "program": message["program"],
                "inputs": message["inputs"],
                "output_bytes": allowed.output_bytes,
                "processes": allowed.processes,
                "landlock": self._landlock,
                "test_programs": self._plan.test_programs is not None,
            }
            protocol.send(ours, orders, [output, *inputs])
            started = time.monotonic()
            process = subprocess.Popen(
                [self._bwrap, "--args", str(arguments), "--", *bubblewrap.worker_command(self._plan, theirs.fileno())],
                stdin=subprocess.DEVNULL, stdout=log_write, stderr=log_write, env={}, cwd="/", close_fds=True,
                pass_fds=(arguments, seccomp, status_write, theirs.fileno(), *copies.values()),
                preexec_fn=before_exec,  # noqa: PLW1509 - this process has one thread
            )  # fmt: skip
            outer = os.pidfd_open(process.pid)
            undo.pop_all()
        return _Job(
            number=number, limits=allowed, output=output, log_pipe=log_read, status_pipe=status_read, control=ours,
            process=process, outer=outer, group=group, started=started, deadline=started + allowed.wall_seconds,
        )  # fmt: skip

    # -- what sandboxes say

    def _on_log(self, job: _Job) -> None:
        """Drain the log; what is over the cap is read and thrown away, so that the job never waits for us."""
        for _ in range(16):
            try:
                piece = os.read(job.log_pipe, 1 << 16)
            except BlockingIOError:
                return
            if not piece:
                self._selector.unregister(job.log_pipe)
                return
            job.log_bytes += len(piece)
            job.log += piece[: LOG_BYTES - len(job.log)]

    def _on_status(self, job: _Job) -> None:
        """Bubblewrap says which process is the first of the new pid namespace."""
        try:
            piece = os.read(job.status_pipe, 4096)
        except BlockingIOError:
            return
        if not piece:
            self._selector.unregister(job.status_pipe)
            return
        job.status_text += piece
        if job.inner_pid is None and b"\n" in job.status_text:
            with contextlib.suppress(ValueError, KeyError, OSError):
                job.inner_pid = int(json.loads(job.status_text.split(b"\n", 1)[0])["child-pid"])
                job.inner = os.pidfd_open(job.inner_pid)
                self._selector.register(job.inner, selectors.EVENT_READ, ("inner", job))
            if job.verdict:
                self._kill(job, job.verdict)

    def _on_control(self, job: _Job) -> None:
        """The worker says that it is about to run the program: the only thing it is ever asked."""
        try:
            received = protocol.receive(job.control)
        except (OSError, ValueError):
            received = None
        if received is None:
            self._selector.unregister(job.control)
            return
        message, descriptors = received
        for descriptor in descriptors:
            os.close(descriptor)
        if job.first_row is None and message.get("event") == "started":
            job.first_row = time.monotonic()
            job.landlock = int(message.get("landlock") or 0)

    def _on_outer(self, job: _Job) -> None:
        self._selector.unregister(job.outer)
        job.exit_code = job.process.wait()
        # Whatever the job left behind ends now.
        self._signal(job)
        job.killed_at = time.monotonic()

    def _on_inner(self, job: _Job) -> None:
        if job.inner is not None:
            self._selector.unregister(job.inner)
        job.inner_ended = True
        self._reap_inner(job)

    @staticmethod
    def _reap_inner(job: _Job) -> None:
        """Its outer process reaps it, unless that died first: then it is ours."""
        if job.inner_pid is not None:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(job.inner_pid, os.WNOHANG)

    # -- ends

    def _patience(self) -> float | None:
        now = time.monotonic()
        moments = [job.deadline for job in self._jobs.values() if not job.verdict]
        moments += [
            job.killed_at + KILL_AGAIN_SECONDS for job in self._jobs.values() if job.killed_at is not None
        ]
        return max(0.0, min(moments) - now) if moments else None

    def _look_at_clock(self) -> None:
        now = time.monotonic()
        for job in self._jobs.values():
            if not job.verdict and job.exit_code is None and now >= job.deadline:
                self._kill(job, "timed_out")
            elif job.killed_at is not None and now >= job.killed_at + KILL_AGAIN_SECONDS:
                self._signal(job)
                job.killed_at = now

    def _kill(self, job: _Job, verdict: str) -> None:
        job.verdict = job.verdict or verdict
        job.killed_at = time.monotonic()
        self._signal(job)

    @staticmethod
    def _signal(job: _Job) -> None:
        """Kill the namespace's first process, which takes everything in it along, then the rest."""
        for descriptor in (job.inner, job.outer):
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        if job.group is not None:
            job.group.kill()

    def _is_over(self, job: _Job) -> bool:
        if job.exit_code is None:
            return False
        if job.inner is None:
            # It ended, or was killed, before there was a namespace: whoever is ours and unknown is its child.
            if job.status_pipe in self._selector.get_map():
                self._on_status(job)
            return job.inner is None and self._reap_strangers()
        return job.inner_ended

    def _reap_strangers(self) -> bool:
        """Kill and reap children that belong to no job (orphans of an outer process that was killed)."""
        known = {job.process.pid for job in self._jobs.values()} | {
            job.inner_pid for job in self._jobs.values()
        }
        strangers = [pid for pid in _children() if pid not in known]
        for pid in strangers:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        return not strangers

    def _finish(self, job: _Job) -> None:
        ended = time.monotonic()
        del self._jobs[job.number]
        self._reap_inner(job)
        self._last_words(job)
        status, reason = self._verdict(job)
        output = -1
        if status == "finished":
            output = self._sealed_output(job)
            if output < 0:
                status, reason = "failed", "output-still-open"
        log = memory.sealed("log", bytes(job.log))
        message = {
            "id": job.number,
            "status": status,
            "reason": reason,
            "wall_ms": round((ended - job.started) * 1000),
            "first_row_ms": round((job.first_row - job.started) * 1000) if job.first_row is not None else -1,
            "log_bytes": job.log_bytes,
            "peak_bytes": job.group.peak_bytes() if job.group is not None else 0,
            "landlock": job.landlock,
            "output": output >= 0,
        }
        self._answer(message, [log, *([output] if output >= 0 else [])])
        os.close(log)
        for thing in (job.control, job.log_pipe, job.status_pipe, job.outer, job.inner, job.output):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(thing)  # type: ignore[arg-type]
        job.control.close()
        for descriptor in (job.log_pipe, job.status_pipe, job.outer, job.inner, job.output, output):
            if descriptor is not None and descriptor >= 0:
                os.close(descriptor)
        if job.group is not None:
            job.group.remove()

    def _last_words(self, job: _Job) -> None:
        """What is still in the pipes of a dead tree."""
        with contextlib.suppress(OSError):
            while piece := os.read(job.log_pipe, 1 << 16):
                job.log_bytes += len(piece)
                job.log += piece[: LOG_BYTES - len(job.log)]
        if job.first_row is None and job.control in {
            key.fileobj for key in self._selector.get_map().values()
        }:
            job.control.setblocking(False)
            self._on_control(job)

    @staticmethod
    def _verdict(job: _Job) -> tuple[str, str]:
        code = job.exit_code if job.exit_code is not None else -1
        if job.verdict == "timed_out":
            return "timed_out", "wall-clock"
        if job.verdict:
            return "killed", job.verdict
        if job.group is not None and job.group.out_of_memory():
            return "killed", "memory"
        if job.first_row is None:
            return "failed", "did-not-start"
        if code == 0:
            return "finished", ""
        if code == inside.EXIT_OUTPUT_TOO_LARGE:
            return "output_too_large", "output"
        if code == 128 + signal.SIGXCPU:
            return "killed", "cpu-time"
        if code == 128 + signal.SIGSYS:
            return "killed", "forbidden-call"
        if code < 0 or code > 128:
            return "killed", "signal"
        return "failed", "exit-status"

    @staticmethod
    def _sealed_output(job: _Job) -> int:
        """The output, sealed and reopened read-only; -1 when somebody can still write to it."""
        give_up = time.monotonic() + SEAL_SECONDS
        while True:
            try:
                memory.seal(job.output)
                return memory.reopen(job.output)
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() >= give_up:
                    return -1
            time.sleep(0.005)

    def _answer(self, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
        if not self._open:
            return
        with contextlib.suppress(OSError):
            protocol.send(self._control, message, descriptors or [])


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


def _children() -> list[int]:
    with contextlib.suppress(OSError):
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
        return [int(pid) for pid in text.split()]
    return []


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def refuse_privileges() -> None:
    """Raise RuntimeError unless this process is an ordinary, single-threaded one without extra groups."""
    if 0 in os.getresuid() or 0 in os.getresgid():
        raise RuntimeError("the launcher must not be root")
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    fields = {
        line.split(":", 1)[0]: line.split(":", 1)[1].split() for line in status.splitlines() if ":" in line
    }
    if any(int(fields[name][0], 16) for name in ("CapEff", "CapPrm", "CapAmb")):
        raise RuntimeError("the launcher must not have capabilities")
    if fields["Threads"] != ["1"]:
        raise RuntimeError("the launcher must have one thread")


def main(control_descriptor: int, parent: int) -> None:
    """The launcher's process: check ourselves, say hello, serve. Never returns."""
    control = socket.socket(fileno=control_descriptor)
    control.set_inheritable(False)
    try:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _prctl(_PR_SET_DUMPABLE, 0)
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        refuse_privileges()
        received = protocol.receive(control)
        if received is None:
            os._exit(0)
        orders, descriptors = received
        service = Service(control, orders, descriptors[0])
        protocol.send(control, {"event": "ready", "pid": os.getpid(), "uid": os.getuid()})
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        with contextlib.suppress(OSError):
            protocol.send(control, {"event": "fatal", "error": f"{type(error).__name__}: {error}"})
        sys.exit(1)
    service.run()
    os._exit(0)
