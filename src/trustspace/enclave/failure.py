"""How a run ends without output, and how a person or the ledger ends it in its course."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trustspace.sandbox.launcher import Launcher, Result, Task


class RunError(Exception):
    """A run that ends without output: the coarse reason for the ledger, and the log for the source unit alone."""

    def __init__(self, reason: str, log: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.log = log


class RoundFailed(Exception):
    """This member's part in the run is over; ``reason`` is one of the ledger's words, ``log`` for its own people."""

    def __init__(self, reason: str, log: str) -> None:
        super().__init__(log)
        self.reason = reason
        self.log = log


def failure_of(result: Result) -> RunError:
    """The failure that a task's end stands for, with its log."""
    limits = result.status in ("timed_out", "output_too_large") or result.reason in ("memory", "cpu-time")
    reason = "stopped" if result.reason == "cancelled" else "limits" if limits else "job-failed"
    return RunError(reason, result.log + f"\n[{result.status}: {result.reason}]\n".encode())


class Control:
    """The handle by which a run can be stopped at once, whatever it is waiting for."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._cancels: list[Callable[[], object]] = []

    def stop(self) -> None:
        """End whatever runs for it, and let nothing else begin. May be called again."""
        self.stopped.set()
        with self._lock:
            cancels = list(self._cancels)
        for cancel in cancels:
            cancel()

    def check(self) -> None:
        """Raise RunError when the run has been stopped."""
        if self.stopped.is_set():
            raise RunError("stopped")

    @contextmanager
    def holding(self, cancel: Callable[[], object]) -> Iterator[None]:
        """While this lasts, stopping also calls ``cancel``."""
        with self._lock:
            self._cancels.append(cancel)
        try:
            if self.stopped.is_set():
                cancel()
            yield
        finally:
            with self._lock:
                self._cancels.remove(cancel)

    def run(self, launcher: Launcher, task: Task) -> Result:
        """Run one task to its end, or until the run is stopped."""
        self.check()
        running = launcher.submit(task)
        with self.holding(running.cancel):
            return running.result()
