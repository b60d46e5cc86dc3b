"""A sandbox's end: its tree killed, a verdict from how its first process ended, and its output, sealed."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time

from trustspace.sandbox import inside, memory
from trustspace.sandbox.config import Status
from trustspace.sandbox.spawn import Sandbox

# How long after the last process's end its memory may still be held by the kernel.
SEAL_SECONDS = 2.0


def kill_tree(job: Sandbox) -> None:
    """Kill the namespace's first process, which takes everything in it along, then the rest."""
    for descriptor in (job.inner, job.outer):
        if descriptor is not None:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    if job.group is not None:
        job.group.kill()


def reap_inner(job: Sandbox) -> None:
    """Its outer process reaps it, unless that died first: then it is ours."""
    if job.inner_pid is not None:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(job.inner_pid, os.WNOHANG)


def verdict(job: Sandbox) -> tuple[Status, str]:
    """Status and reason (``task.Result``) of a sandbox whose whole tree is dead."""
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
    # Bubblewrap ends with 128 and the number of its child's signal; a worker that stands alone by the signal itself.
    if code in (128 + signal.SIGXCPU, -signal.SIGXCPU):
        return "killed", "cpu-time"
    if code in (128 + signal.SIGSYS, -signal.SIGSYS):
        return "killed", "forbidden-call"
    if code < 0 or code > 128:
        return "killed", "signal"
    return "failed", "exit-status"


def sealed_output(job: Sandbox) -> int:
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
