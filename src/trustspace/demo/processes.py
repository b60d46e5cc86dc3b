"""The story's processes: started as a person would start them, watched until ready, stopped whatever happens."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from trustspace.demo.words import Language
from trustspace.errors import BY_CODE, Code, TrustspaceError, Unavailable

READY_SECONDS = 60.0
STOP_SECONDS = 10.0
# A parent's own settings would send a child to another home, or lock its keys.
_NOT_HANDED_ON = ("TRUSTSPACE_HOME", "TRUSTSPACE_PASSPHRASE")


class Child:
    """One running ``trustspace … serve``."""

    def __init__(self, name: str, log: Path, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.log = log
        self._process = process
        self._said = b""
        self.ready: dict[str, Any] = {}

    @property
    def pid(self) -> int:
        """The operating system's number for it."""
        return self._process.pid

    def wait_ready(self, seconds: float = READY_SECONDS) -> dict[str, Any]:
        """What the process says on its one ready line.

        Raises:
            TrustspaceError: it ended first; of the kind that it says itself, in its own words.
            Unavailable: it did not get ready in time.

        """
        assert self._process.stdout is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self._said:
            readable, _, _ = select.select(
                [self._process.stdout], [], [], max(0.0, deadline - time.monotonic())
            )
            if not readable:
                raise Unavailable("The {name} did not get ready in time.", fix="See {log}.", name=self.name,
                                  log=str(self.log))  # fmt: skip
            piece = os.read(self._process.stdout.fileno(), 65536)
            if not piece:
                raise self._ended()
            self._said += piece
        said: dict[str, Any] = json.loads(self._said.partition(b"\n")[0])
        if "error" in said:
            self._process.wait()
            kind = BY_CODE.get(Code(said["error"]["code"]), TrustspaceError)
            message, fix = str(said["error"]["message"]), str(said["error"]["fix"])
            raise kind("{said}", fix="{todo}" if fix else "", said=message, todo=fix)
        self.ready = said
        return said

    def _ended(self) -> TrustspaceError:
        status = self._process.wait()
        words = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-6:]
        return TrustspaceError(
            "The {name} ended before it was ready, with status {status}: {words}",
            name=self.name, status=status, words="\n".join(words),
        )  # fmt: skip

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold the process still, as if its host were busy, and let it go on afterwards."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def ask_to_stop(self) -> None:
        """Ask it to end, without waiting."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def stop(self) -> int:
        """Wait for its end after asking, and end it if it does not; returns its exit status."""
        self.ask_to_stop()
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            if self._process.stdout is not None:
                self._process.stdout.close()


class Processes:
    """All children of one play. As a context manager it leaves none behind."""

    def __init__(self, logs: Path, language: Language) -> None:
        self._logs = logs
        self._language = language
        self._children: list[Child] = []
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_all()

    def start(self, name: str, home: Path, *command: str) -> Child:
        """Start ``trustspace --home HOME --json COMMAND…`` without waiting for it to be ready."""
        log = self._logs / f"{name}.log"
        environment = {key: value for key, value in os.environ.items() if key not in _NOT_HANDED_ON}
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "trustspace", "--home", str(home), "--lang", self._language, "--json", *command],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=environment,
                # Ctrl-C is for the play; it then ends its children in order.
                start_new_session=True,
            )  # fmt: skip
        child = Child(name, log, process)
        self._children.append(child)
        return child

    @property
    def running(self) -> tuple[Child, ...]:
        """The children, in the order in which they were started."""
        return tuple(self._children)

    def stop_all(self) -> None:
        """End every child; if that is interrupted, at once."""
        try:
            for child in reversed(self._children):
                child.ask_to_stop()
            for child in self._children:
                child.stop()
            self._children.clear()
        finally:
            for child in self._children:
                child.kill()
