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
import json
import math
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import Any

from trustspace.sandbox import ending, memory, protocol
from trustspace.sandbox.config import LOG_BYTES
from trustspace.sandbox.pool import Pool
from trustspace.sandbox.process import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    children,
    prctl,
    refuse_privileges,
)
from trustspace.sandbox.spawn import Maker, Sandbox

# How long a dying tree may take before it is killed again.
KILL_AGAIN_SECONDS = 0.5
COMPLAINT_CHARACTERS = 4000  # as JSON up to twelve bytes each


class Service:
    """The loop over all running sandboxes."""

    def __init__(self, control: socket.socket, orders: dict[str, Any], seccomp: int) -> None:
        self._control = control
        self._maker = Maker(orders, seccomp)
        self._selector = selectors.DefaultSelector()
        self._jobs: dict[int, Sandbox] = {}
        warm = orders["warm"]
        self._pool = Pool(
            int(warm["wanted"]), self._maker.threads, ready_seconds=float(warm["ready_seconds"])
        )
        self._preload = tuple(str(name) for name in warm["preload"])
        # A self-check that waits until there is a warm sandbox to look at.
        self._held: dict[str, Any] | None = None
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
            self._serve_held()
            self._fill()

    def _all(self) -> list[Sandbox]:
        return [*self._jobs.values(), *self._pool.all()]

    def _fill(self) -> None:
        """Start a warm sandbox when it is time for the next one."""
        if not self._open or not self._pool.due(time.monotonic(), len(self._jobs), arriving=self._arriving()):
            return
        try:
            self._pool.add(self._watched(self._maker.start(self._preload)))
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            # A task makes its own, and its answer says what is wrong.
            self._lost(str(error))

    def _arriving(self) -> bool:
        """Whether a task has not come to its first row yet: what else there is to start can wait for that."""
        return any(job.first_row is None for job in self._jobs.values())

    def _lost(self, said: str) -> None:
        self._pool.lost(time.monotonic())
        if self._held is not None:
            self._refuse(self._held, said)
            self._held = None

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
        try:
            if message["warm"]:
                self._held = message
                return
            self._jobs[int(message["id"])] = self._assigned(message, descriptors)
            self._pool.began(time.monotonic())
        except (OSError, KeyError, ValueError, TypeError, subprocess.SubprocessError) as error:
            self._refuse(message, str(error))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _refuse(self, message: dict[str, Any], said: str) -> None:
        said = said[-COMPLAINT_CHARACTERS:]
        answer = {"id": int(message["id"]), "status": "failed", "reason": "did-not-start", "error": said}
        self._answer(answer)

    def _assigned(self, message: dict[str, Any], descriptors: list[int]) -> Sandbox:
        """A sandbox with this task: one of the pool, or one made for it."""
        # Of those that wait none has a GPU.
        gpu = message["gpu"]
        job = self._pool.take(message["program"], message["limits"]) if gpu is None else None
        if job is not None:
            try:
                self._maker.assign(job, message, descriptors)
            except BaseException as error:
                # OSError: it has died meanwhile, or what it has imported is more than this task's memory.
                self._give_up(job)
                if not isinstance(error, OSError):
                    raise
            else:
                return job
        job = self._watched(self._maker.start(gpu=gpu))
        try:
            self._maker.assign(job, message, descriptors)
        except BaseException:
            self._give_up(job)
            raise
        return job

    def _give_up(self, job: Sandbox) -> None:
        """End a sandbox that got no task: nobody hears of it."""
        self._pool.add(job)
        self._kill(job, "cancelled")

    def _serve_held(self) -> None:
        job = self._pool.take_ready() if self._held is not None else None
        if job is None or self._held is None:
            return
        message, self._held = self._held, None
        try:
            self._maker.assign(job, message, [])
        except (OSError, KeyError, ValueError, TypeError) as error:
            self._give_up(job)
            self._refuse(message, str(error))
        else:
            self._jobs[int(message["id"])] = job

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
            # One that got its task while it was importing was not.
            job.warm = job.number is None
        elif job.first_row is None and message.get("event") == "started":
            job.first_row = time.monotonic()

    def _on_outer(self, job: Sandbox) -> None:
        self._selector.unregister(job.outer)
        job.exit_code = job.process.wait()
        # Whatever the job left behind ends now.
        ending.kill_tree(job)
        job.killed_at = time.monotonic()

    def _on_inner(self, job: Sandbox) -> None:
        if job.inner is not None:
            self._selector.unregister(job.inner)
        job.inner_ended = True
        ending.reap_inner(job)

    # -- ends

    def _patience(self) -> float | None:
        now = time.monotonic()
        moments = [job.deadline for job in self._jobs.values() if not job.verdict]
        moments += [job.killed_at + KILL_AGAIN_SECONDS for job in self._all() if job.killed_at is not None]
        if self._open:
            moments.append(self._pool.next_moment(len(self._jobs), arriving=self._arriving()))
        first = min(moments, default=math.inf)
        # Not longer than a timer can be set to.
        return None if first == math.inf else max(0.0, min(first - now, 3600.0))

    def _look_at_clock(self) -> None:
        now = time.monotonic()
        for job in self._all():
            if not job.verdict and job.exit_code is None and now >= job.deadline:
                self._kill(job, "timed_out")
            elif job.killed_at is not None and now >= job.killed_at + KILL_AGAIN_SECONDS:
                ending.kill_tree(job)
                job.killed_at = now
        for job in self._pool.overdue(now):
            self._kill(job, "overdue")

    def _kill(self, job: Sandbox, verdict: str) -> None:
        job.verdict = job.verdict or verdict
        job.killed_at = time.monotonic()
        ending.kill_tree(job)

    def _is_over(self, job: Sandbox) -> bool:
        if job.exit_code is None:
            return False
        if not job.knows_inner:
            # What its first process leaves behind has become ours.
            return self._reap_strangers()
        if job.inner is None:
            # It ended, or was killed, before there was a namespace: whoever is ours and unknown is its child.
            if job.status_pipe in self._selector.get_map():
                self._on_status(job)
            return job.inner is None and self._reap_strangers()
        return job.inner_ended

    def _reap_strangers(self) -> bool:
        """Kill and reap children that belong to no job (orphans of an outer process that was killed)."""
        known = {job.process.pid for job in self._all()} | {job.inner_pid for job in self._all()}
        # With each that dies its own children become ours.
        for _ in range(16):
            strangers = [pid for pid in children() if pid not in known]
            if not strangers:
                return True
            for pid in strangers:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
        return False

    def _finish(self, job: Sandbox) -> None:
        ended = time.monotonic()
        ending.reap_inner(job)
        if job.number is None:
            self._pool.remove(job)
            if job.verdict != "cancelled":
                self._last_words(job)
                self._lost(job.log.decode(errors="replace"))
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
        if job.leftover is not None:
            shutil.rmtree(job.leftover, ignore_errors=True)

    def _report(self, job: Sandbox, ended: float) -> None:
        self._last_words(job)
        status, reason = ending.verdict(job)
        output = -1
        if status == "finished":
            output = ending.sealed_output(job)
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

    def _answer(self, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
        if not self._open:
            return
        with contextlib.suppress(OSError):
            protocol.send(self._control, message, descriptors or [])


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
