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
import errno
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from trustspace.sandbox import inside, memory, protocol
from trustspace.sandbox.config import LOG_BYTES
from trustspace.sandbox.spawn import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    Maker,
    Sandbox,
    prctl,
)

# How long after the last process's end its memory may still be held by the kernel.
SEAL_SECONDS = 2.0
# How long a dying tree may take before it is killed again.
KILL_AGAIN_SECONDS = 0.5
# What programs import before they look at a row: most of the time from a grant to the first row.
PRELOAD = (
    "torch",
    "pyarrow",
    "trustspace.jobs.training",
    "trustspace.jobs.evaluate",
    "trustspace.jobs.compute",
)


class Service:
    """The loop over all running sandboxes."""

    def __init__(self, control: socket.socket, orders: dict[str, Any], seccomp: int) -> None:
        self._control = control
        self._maker = Maker(orders, seccomp)
        self._selector = selectors.DefaultSelector()
        self._jobs: dict[int, Sandbox] = {}
        # Started early and waiting for a task, oldest first; each is used once.
        self._waiting: list[Sandbox] = []
        self._warm = int(orders["warm"])
        self._open = True

    def run(self) -> None:
        """Serve until the enclave is gone."""
        self._selector.register(self._control, selectors.EVENT_READ, ("request", None))
        while self._open or self._all():
            for key, _ in self._selector.select(self._patience()):
                kind, job = key.data
                getattr(self, f"_on_{kind}")(job)
            self._look_at_clock()
            for job in [job for job in self._all() if self._is_over(job)]:
                self._finish(job)
            self._fill()

    def _all(self) -> list[Sandbox]:
        return [*self._jobs.values(), *self._waiting]

    def _fill(self) -> None:
        """Start warm sandboxes while nothing runs that they would take time from."""
        if not self._open or self._jobs:
            return
        while len(self._waiting) < self._warm:
            try:
                self._waiting.append(self._watched(self._maker.start(PRELOAD)))
            except (OSError, ValueError, subprocess.SubprocessError):
                # A task makes its own, and its answer says what is wrong.
                self._warm = 0

    # -- requests

    def _on_request(self, _: None) -> None:
        try:
            received = protocol.receive(self._control)
        except (OSError, ValueError):
            received = None
        if received is None:
            self._selector.unregister(self._control)
            self._open = False
            for job in self._all():
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
            self._jobs[number] = self._assigned(message, descriptors)
        except (OSError, ValueError, TypeError, subprocess.SubprocessError) as error:
            self._answer({"id": number, "status": "failed", "reason": "did-not-start", "error": str(error)})
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _assigned(self, message: dict[str, Any], descriptors: list[int]) -> Sandbox:
        """A sandbox with this task: a warm one, or one made for it."""
        job = self._take()
        if job is not None:
            try:
                self._maker.assign(job, message, descriptors)
            except OSError:
                # What it has imported may be more than this task's memory.
                self._give_up(job)
            else:
                return job
        job = self._watched(self._maker.start())
        try:
            self._maker.assign(job, message, descriptors)
        except BaseException:
            self._give_up(job)
            raise
        return job

    def _give_up(self, job: Sandbox) -> None:
        """End a sandbox that got no task: nobody hears of it."""
        self._waiting.append(job)
        self._kill(job, "cancelled")

    def _take(self) -> Sandbox | None:
        """A warm sandbox that is ready and well, if there is one."""
        for job in self._waiting:
            if job.warm and not job.verdict and job.exit_code is None:
                self._waiting.remove(job)
                return job
        return None

    def _watched(self, job: Sandbox) -> Sandbox:
        for thing, kind in (
            (job.log_pipe, "log"),
            (job.status_pipe, "status"),
            (job.control, "control"),
            (job.outer, "outer"),
        ):
            self._selector.register(thing, selectors.EVENT_READ, (kind, job))
        return job

    # -- what sandboxes say

    def _on_log(self, job: Sandbox) -> None:
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

    def _on_status(self, job: Sandbox) -> None:
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
                pid = int(json.loads(job.status_text.split(b"\n", 1)[0])["child-pid"])
                job.inner = os.pidfd_open(pid)
                job.inner_pid = pid
                self._selector.register(job.inner, selectors.EVENT_READ, ("inner", job))
            if job.verdict:
                self._kill(job, job.verdict)

    def _on_control(self, job: Sandbox) -> None:
        """The worker says that it is ready for a task, and that it is about to run the program; no more."""
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
        if message.get("event") == "warm":
            job.warm = True
        elif job.first_row is None and message.get("event") == "started":
            job.first_row = time.monotonic()
            job.landlock = int(message.get("landlock") or 0)

    def _on_outer(self, job: Sandbox) -> None:
        self._selector.unregister(job.outer)
        job.exit_code = job.process.wait()
        # Whatever the job left behind ends now.
        self._signal(job)
        job.killed_at = time.monotonic()

    def _on_inner(self, job: Sandbox) -> None:
        if job.inner is not None:
            self._selector.unregister(job.inner)
        job.inner_ended = True
        self._reap_inner(job)

    @staticmethod
    def _reap_inner(job: Sandbox) -> None:
        """Its outer process reaps it, unless that died first: then it is ours."""
        if job.inner_pid is not None:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(job.inner_pid, os.WNOHANG)

    # -- ends

    def _patience(self) -> float | None:
        now = time.monotonic()
        moments = [job.deadline for job in self._jobs.values() if not job.verdict]
        moments += [job.killed_at + KILL_AGAIN_SECONDS for job in self._all() if job.killed_at is not None]
        return max(0.0, min(moments) - now) if moments else None

    def _look_at_clock(self) -> None:
        now = time.monotonic()
        for job in self._all():
            if not job.verdict and job.exit_code is None and now >= job.deadline:
                self._kill(job, "timed_out")
            elif job.killed_at is not None and now >= job.killed_at + KILL_AGAIN_SECONDS:
                self._signal(job)
                job.killed_at = now

    def _kill(self, job: Sandbox, verdict: str) -> None:
        job.verdict = job.verdict or verdict
        job.killed_at = time.monotonic()
        self._signal(job)

    @staticmethod
    def _signal(job: Sandbox) -> None:
        """Kill the namespace's first process, which takes everything in it along, then the rest."""
        for descriptor in (job.inner, job.outer):
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        if job.group is not None:
            job.group.kill()

    def _is_over(self, job: Sandbox) -> bool:
        if job.exit_code is None:
            return False
        if not job.knows_inner:
            return True
        if job.inner is None:
            # It ended, or was killed, before there was a namespace: whoever is ours and unknown is its child.
            if job.status_pipe in self._selector.get_map():
                self._on_status(job)
            return job.inner is None and self._reap_strangers()
        return job.inner_ended

    def _reap_strangers(self) -> bool:
        """Kill and reap children that belong to no job (orphans of an outer process that was killed)."""
        known = {job.process.pid for job in self._all()} | {job.inner_pid for job in self._all()}
        strangers = [pid for pid in _children() if pid not in known]
        for pid in strangers:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        return not strangers

    def _finish(self, job: Sandbox) -> None:
        ended = time.monotonic()
        self._reap_inner(job)
        if job.number is None:
            self._waiting.remove(job)
            if not job.verdict:
                # It should have waited: starting it again and again would not help.
                self._warm = 0
        else:
            del self._jobs[job.number]
            self._report(job, ended)
        for thing in (job.control, job.log_pipe, job.status_pipe, job.outer, job.inner):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(thing)  # type: ignore[arg-type]
        job.control.close()
        for descriptor in (job.log_pipe, job.status_pipe, job.outer, job.inner, job.output):
            if descriptor is not None:
                os.close(descriptor)
        if job.group is not None:
            job.group.remove()

    def _report(self, job: Sandbox, ended: float) -> None:
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
            "warm": job.warm,
            "output": output >= 0,
        }
        self._answer(message, [log, *([output] if output >= 0 else [])])
        os.close(log)
        if output >= 0:
            os.close(output)

    def _last_words(self, job: Sandbox) -> None:
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
    def _verdict(job: Sandbox) -> tuple[str, str]:
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
    def _sealed_output(job: Sandbox) -> int:
        """The output, sealed and reopened read-only; -1 when somebody can still write to it."""
        assert job.output is not None
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


def _children() -> list[int]:
    with contextlib.suppress(OSError):
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
        return [int(pid) for pid in text.split()]
    return []


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
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        prctl(PR_SET_DUMPABLE, 0)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
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
