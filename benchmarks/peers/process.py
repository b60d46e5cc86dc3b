"""A peer that runs for the whole benchmark and takes its turn when it is told."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.peers.environments import HERE, Peer, Unavailable, interpreter

START_SECONDS = 120
TURN_SECONDS = 1800


@dataclass(frozen=True)
class Turn:
    """What one turn cost, in nanoseconds for each parameter, by step; and bytes on the wire for each."""

    processor: dict[str, float]
    wall: dict[str, float]
    wire: float
    checked: bool


class Driven:
    """One peer's process. It computes only while a turn lasts; its end is the end of its standard input."""

    def __init__(self, peer: Peer, cache: Path) -> None:
        self.peer = peer
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        # One thread: what the peers do in a step, they do in one, whatever is allowed.
        single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._child = subprocess.Popen(
            [interpreter(peer.lock, cache), "-s", HERE / peer.driver, *peer.arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | single,
        )  # fmt: skip
        # Better that one peer finds no memory than that the kernel ends something else.
        limit = _available_bytes() * 3 // 4
        resource.prlimit(self._child.pid, resource.RLIMIT_AS, (limit, limit))
        try:
            self.versions: dict[str, str] = self._answer(START_SECONDS)["versions"]
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def turn(self, params: int, clients: int, bits: int, *, check: bool, seed: int) -> Turn:
        """Encrypt, add and decrypt once; with ``check``, all clients' sum is held against the exact one.

        Raises RuntimeError where the sum is not the exact one, and Unavailable where the peer does not answer.
        """
        asked = {
            "params": self.peer.sample or params,
            "clients": clients,
            "precision": bits,
            "check": check,
            "seed": seed,
        }
        told = self.ask(asked)
        if told["wrong"]:
            raise RuntimeError(f"{self.peer.scheme} does not give the exact sum: {told['wrong']}")
        return Turn(told["processor"], told["wall"], told["wire"], check)

    def ask(self, asked: Mapping[str, Any]) -> Any:
        """One line to the driver, and its answer. Raises Unavailable where there is none."""
        child = self._child
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps(asked).encode() + b"\n")
            child.stdin.flush()
        except BrokenPipeError:
            raise Unavailable(self._why()) from None
        return self._answer(TURN_SECONDS)

    def close(self) -> None:
        """End the process."""
        for pipe in (self._child.stdin, self._child.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        try:
            self._child.wait(5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._errors.close()

    def _answer(self, seconds: float) -> Any:
        stream = self._child.stdout
        assert stream is not None
        with selectors.DefaultSelector() as waiting:
            waiting.register(stream, selectors.EVENT_READ)
            line = stream.readline() if waiting.select(seconds) else b""
        if not line:
            raise Unavailable(self._why())
        return json.loads(line)

    def _why(self) -> str:
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        return f"{self.peer.scheme} does not answer: {last or 'it said nothing'}"


def _available_bytes() -> int:
    content = Path("/proc/meminfo").read_text(encoding="ascii")
    return int(content.split("MemAvailable:")[1].split()[0]) * 1024
