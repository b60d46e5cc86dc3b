"""What rounds are measured against: the same vectors added as plain floats, and carried by plain gRPC.

The door, in a process of its own behind mutual TLS, takes every member's float32 vector in pieces of 1 MiB, adds
them, and streams the sum back to each: no signature, no mask, no agreement, no check, nothing kept.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
from numpy.typing import NDArray

from benchmarks.common import timed
from benchmarks.doors import connect, identities, identity
from trustspace.transport import channel

METHOD = "/trustspace.benchmark.Sums/Add"
PIECE_BYTES = 1 << 20
Floats = NDArray[np.float32]


def vectors(members: int, count: int) -> list[Floats]:
    """One for each member."""
    return [np.random.default_rng(n).standard_normal(count, np.float32) for n in range(members)]


def float_sum(given: Sequence[Floats]) -> float:
    """Seconds to add them up in memory."""

    def add() -> None:
        total = given[0].copy()
        for vector in given[1:]:
            total += vector

    return timed(add)


class Door:
    """The other process, and a channel to it for each of so many members."""

    def __init__(self, directory: Path, members: int) -> None:
        directory.mkdir()
        identities(directory)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.plain", directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, cwd=Path(__file__).parents[1],
        )  # fmt: skip
        assert self._process.stdout is not None
        address = json.loads(self._process.stdout.readline())
        self._channels = [connect(directory, address) for _ in range(members)]

    def round(self, given: Sequence[Floats]) -> float:
        """Seconds until every member, each in a thread, has sent its vector and holds the sum."""
        head = json.dumps([len(given), given[0].nbytes]).encode()

        def member(number: int) -> int:
            def pieces() -> Iterator[bytes]:
                yield head
                raw = given[number].view(np.uint8).data
                for start in range(0, len(raw), PIECE_BYTES):
                    yield bytes(raw[start : start + PIECE_BYTES])

            call = self._channels[number].stream_stream(METHOD)
            total, at = np.empty_like(given[number]), 0
            raw = total.view(np.uint8).data
            for piece in call(pieces()):
                raw[at : at + len(piece)] = piece
                at += len(piece)
            return at

        def everybody() -> None:
            with ThreadPoolExecutor(len(given)) as pool:
                if set(pool.map(member, range(len(given)))) != {given[0].nbytes}:
                    raise RuntimeError("The plain sum came back short.")

        return timed(everybody)

    def close(self) -> None:
        """End it."""
        for one in self._channels:
            one.close()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


class _Sums:
    """Adds the vectors of one round after another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total: Floats | None = None
        self._barrier: threading.Barrier | None = None

    def add(self, pieces: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        members, size = json.loads(next(pieces))
        mine, at = np.empty(size // 4, np.float32), 0
        for piece in pieces:
            mine.view(np.uint8)[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at += len(piece)
        with self._lock:
            if self._total is None or self._barrier is None:
                self._total, self._barrier = mine, threading.Barrier(members, self._over)
            else:
                self._total += mine
            total, barrier = self._total, self._barrier
        barrier.wait(300)
        raw = total.view(np.uint8).data
        for start in range(0, len(raw), PIECE_BYTES):
            yield bytes(raw[start : start + PIECE_BYTES])

    def _over(self) -> None:
        self._total = self._barrier = None


def main() -> None:
    """Serve until the end of the input."""
    directory, sums = Path(sys.argv[1]), _Sums()

    def register(server: grpc.Server) -> None:
        handler = grpc.stream_stream_rpc_method_handler(sums.add)
        service, _, name = METHOD[1:].partition("/")
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))

    server, address = channel.serve(
        "127.0.0.1:0", identity(directory, "door"), (directory / "client.pem").read_bytes(), register,
        services=(), threads=64,
    )  # fmt: skip
    print(json.dumps(address), flush=True)
    sys.stdin.read()
    server.stop(grace=0.5).wait()


if __name__ == "__main__":
    main()
