"""Child processes and folders that never outlive the tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

_CHILDREN: list[subprocess.Popen[str]] = []
_FOLDERS: list[Path] = []
_SPACE = (
    "import sys; from pathlib import Path; from trustspace.space.server import run; "
    "run(Path(sys.argv[1]), lambda *where: print(*where, flush=True))"
)
_ENCLAVE = (
    "import sys; from pathlib import Path; from trustspace.enclave.server import run; "
    "run(Path(sys.argv[1]), '', None, lambda *where: print(*where, flush=True))"
)


def folder(prefix: str = "trustspace-test-") -> Path:
    """A folder that is gone when the tests are."""
    path = Path(tempfile.mkdtemp(prefix=prefix))
    _FOLDERS.append(path)
    return path


def remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(ValueError):
        _FOLDERS.remove(path)


class Child:
    """A server as a process of its own; ``said`` is its ready line, split."""

    def __init__(self, program: str, home: Path, seconds: float = 60.0) -> None:
        # A group of its own, so that what it started ends with it even when it is killed.
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, str(home)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        _CHILDREN.append(self.process)
        self._told: list[str] = []
        listening = threading.Thread(target=self._drain, daemon=True)
        listening.start()
        timer = threading.Timer(seconds, self.process.kill)
        timer.start()
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().split()
        timer.cancel()
        if not self.said:
            self.end()
            raise AssertionError(f"the server did not start:\n{self.log}")

    def _drain(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._told.append(line)

    @property
    def log(self) -> str:
        """What it wrote to standard error."""
        return "".join(self._told)

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """As a power cut would: no handler runs."""
        _signal(self.process, signal.SIGKILL)
        self.process.wait(20)

    def end(self) -> int:
        """Ask it to stop; returns its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(20)
        finally:
            _signal(self.process, signal.SIGKILL)
            for stream in (self.process.stdout, self.process.stderr):
                if stream is not None and stream is self.process.stdout:
                    stream.close()


def space(home: Path) -> Child:
    """A space's process; it says where it listens, and where one enrols."""
    return Child(_SPACE, home)


def enclave(home: Path) -> Child:
    """An enclave's process with real sandboxes; it says where it listens, and its tier."""
    return Child(_ENCLAVE, home)


@contextlib.contextmanager
def running(child: Child) -> Iterator[Child]:
    try:
        yield child
    finally:
        child.end()


def _signal(process: subprocess.Popen[str], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def end_all() -> None:
    """Kill and remove what is left."""
    for process in _CHILDREN:
        if process.poll() is None:
            _signal(process, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
    _CHILDREN.clear()
    while _FOLDERS:
        shutil.rmtree(_FOLDERS.pop(), ignore_errors=True)
