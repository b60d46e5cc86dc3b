"""An update of many parameters through a whole round: what passes, how fast, and what it takes of memory and disk.

Every member is a process, the space another, over loopback behind mutual TLS; nothing is left out of a round. The
update is made as it is sent, so that memory shows what the round itself holds. Every piece of the opened sum is held
against the exact one. The limit is the same bytes, from the same processes at the same time, by plain gRPC into one
file, each over the others' there.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.aggregation.schemes import BOUND, integers, vector
from benchmarks.common import PeakMemory, Row
from benchmarks.doors import Door, connect, identities, plain_stream
from benchmarks.hospitals import _unnamed_kib
from benchmarks.members import WAIT_SECONDS, _Ledger, agreed, scheme_in
from benchmarks.spans import peak_kib
from trustspace.aggregation.fixedpoint import FixedPoint
from trustspace.demo.processes import Processes
from trustspace.domain.statements import LogReference
from trustspace.enclave.chunks import PIECE_WORDS
from trustspace.enclave.journal import Journal
from trustspace.enclave.meeting import Roster, Terms
from trustspace.enclave.rounds import Rounds

MEMBERS = (2, 3)
PARAMS = 1_000_000_000
DAY = 86_400.0
# What a job may declare at most; the rounds themselves take longer vectors.
_DECLARED = 250_000_000
_GB = 1e9
_LOG = LogReference(origin="benchmark", size=1, root="0" * 64)
_PHASES = ("protect and send", "sum at the space", "sum to the member", "check", "reveal", "open")


def needed_gib(members: int, params: int) -> float:
    """Disk at the peak: the space's vectors and sum, and every member's sum; then the plain copies, one a member."""
    return 4 * params * (2 * members + 1) / (1 << 30)


def rows(params: int, work: Path, members: tuple[int, ...] = MEMBERS, sums: str = "") -> list[Row]:
    """One round for each number of members, and what limits it. ``sums``: lines of the job's [sums].

    Raises RuntimeError where the disk has no room for it, and where a sum is not the exact one.
    """
    found: dict[str, tuple[str, float]] = {}
    for count in members:
        need, free = needed_gib(count, params), shutil.disk_usage(work).free / (1 << 30)
        if free < need * 1.1:
            raise RuntimeError(f"{count} members need {need:.1f} GiB of disk, and {free:.1f} are free.")
        folder = work / f"stream-{count}"
        folder.mkdir()
        try:
            found |= _round(folder, count, params, sums)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    found["a file, copied"] = ("GB/s", _copied(work, 4 * params))
    return [Row.of(name, unit, [value]) for name, (unit, value) in found.items()]


def _round(work: Path, members: int, params: int, sums: str) -> dict[str, tuple[str, float]]:
    ledger = _Ledger(work, members, agreed(members, min(params, _DECLARED), 1, sums))
    with ExitStack() as stack:
        # Forked before there is any channel, which no child could go on with.
        crowd = [stack.enter_context(_Member(ledger, number, params, work)) for number in range(members)]
        identities(work)
        plain = Door("plain", work)
        stack.callback(plain.close)
        child = stack.enter_context(Processes(work / "logs", "en")).start(
            "space", work / "space", "space", "serve"
        )
        address = str(child.wait_ready()["listen"])
        idle = peak_kib(child.pid, "VmRSS")
        disk = stack.enter_context(_Disk([child.pid, *(member.pid for member in crowd)]))
        done = _all(crowd, ("sum", address))
        space = peak_kib(child.pid)
        plainly = max(one["seconds"] for one in _all(crowd, ("plain", plain.listens["mtls"])))
    sent, name = 4 * params * members, f"{members} members, {params:,} parameters"
    found: dict[str, tuple[str, float]] = {}
    for phase in _PHASES:
        found[f"{name}: {phase}"] = ("s", max(one["phases"][phase] for one in done))
    found[f"{name}: the whole round"] = ("s", max(one["seconds"] for one in done))
    up = max(one["phases"]["protect and send"] + one["phases"]["sum at the space"] for one in done)
    found[f"{name}: protected, sent and added"] = ("GB/s", sent / up / _GB)
    found[f"{name}: plain gRPC, mutual TLS, to a file"] = ("GB/s", sent / plainly / _GB)
    found[f"{name}: opened"] = ("GB/s", 4 * params / found[f"{name}: open"][1] / _GB)
    found[f"{name}: member, peak memory beyond idle"] = (
        "MiB",
        max(one["peak"] - one["idle"] for one in done),
    )
    found[f"{name}: member, peak memory"] = ("MiB", max(one["peak"] for one in done))
    found[f"{name}: space, peak memory beyond idle"] = ("MiB", (space - idle) / 1024)
    found[f"{name}: space, peak memory"] = ("MiB", space / 1024)
    found[f"{name}: space, peak disk"] = ("MiB", disk.peaks[child.pid] / 1024)
    found[f"{name}: member, peak disk"] = ("MiB", max(disk.peaks[member.pid] for member in crowd) / 1024)
    return found


def _all(crowd: list[_Member], what: tuple[str, str]) -> list[dict[str, Any]]:
    """What every member answers to the same request, made to all at once."""
    for member in crowd:
        member.ask(what)
    return [member.answer() for member in crowd]


def _copied(work: Path, size: int) -> float:
    """GB/s of a plain copy of a file, in pieces of 1 MiB, to where the round's files were."""
    piece = os.urandom(1 << 20)
    with tempfile.TemporaryFile(dir=work) as source, tempfile.TemporaryFile(dir=work) as target:
        for start in range(0, size, len(piece)):
            source.write(piece[: size - start])
        source.seek(0)
        begin = time.perf_counter()
        while data := source.read(len(piece)):
            target.write(data)
        target.flush()
        return size / (time.perf_counter() - begin) / _GB


@dataclass
class _Disk:
    """The most that files without a name take of the disk, by process: looked at a few times a second."""

    pids: list[int]
    peaks: dict[int, int] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            for pid in self.pids:
                self.peaks[pid] = max(self.peaks.get(pid, 0), _unnamed_kib(pid))


# -- a member, in a process of its own


@dataclass(frozen=True)
class _Synthetic:
    """A member's update: the same numbers in every piece, each piece turned further, so that no two change places."""

    member: int
    params: int
    fixed: FixedPoint

    @property
    def words(self) -> int:
        return self.params

    def pieces(self) -> Iterator[NDArray[np.uint32]]:
        numbers = vector(self.member, PIECE_WORDS)
        for number, start in enumerate(range(0, self.params, PIECE_WORDS)):
            yield self.fixed.encode(_turned(numbers, number)[: self.params - start], 1.0)


def _turned(values: NDArray[Any], number: int) -> NDArray[Any]:
    return np.roll(values, 7 * number)


class _Timed(Rounds):
    """A member's rounds, with the seconds of each phase."""

    def phases(self) -> dict[str, float]:
        """Begin to count; what is returned is filled as the round goes on."""
        self._seconds = dict.fromkeys(_PHASES, 0.0)
        return self._seconds

    def _timed(self, phase: str, call: Callable[..., Any], *given: Any, **named: Any) -> Any:
        begin = time.perf_counter()
        try:
            return call(*given, **named)
        finally:
            self._seconds[phase] += time.perf_counter() - begin

    def _contribute(self, *given: Any) -> Any:
        return self._timed("protect and send", super()._contribute, *given)

    def _exchange(self, place: Any, phase: Any, *given: Any, **named: Any) -> Any:
        if phase != "contribution":
            return super()._exchange(place, phase, *given, **named)
        return self._timed("sum at the space", super()._exchange, place, phase, *given, **named)

    def _sum(self, *given: Any) -> Any:
        return self._timed("sum to the member", super()._sum, *given)

    def _checked(self, *given: Any) -> Any:
        return self._timed("check", super()._checked, *given)

    def _reveal(self, *given: Any) -> Any:
        return self._timed("reveal", super()._reveal, *given)


class _Member:
    """One member's process, asked over a pipe."""

    def __init__(self, ledger: _Ledger, number: int, params: int, work: Path) -> None:
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, ledger, number, params, work), daemon=True
        )
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def ask(self, what: tuple[str, str]) -> None:
        """``sum`` at the address of a space, or ``plain`` bytes to a door."""
        self._pipe.send(what)

    def answer(self) -> dict[str, Any]:
        """Raises RuntimeError where the process has failed."""
        try:
            found: dict[str, Any] = self._pipe.recv()
        except EOFError:
            raise RuntimeError("A member's process has ended.") from None
        return found


def _serve(pipe: Connection, ledger: _Ledger, number: int, params: int, work: Path) -> None:
    while True:
        try:
            what, where = pipe.recv()
        except EOFError:
            return
        pipe.send(
            _part(ledger, number, params, work, where) if what == "sum" else _plain(params, work, where)
        )


def _plain(params: int, work: Path, address: str) -> dict[str, Any]:
    piece = bytes(4 * PIECE_WORDS)
    begin = time.perf_counter()
    with connect(work, address) as channel:
        size = 4 * params
        if plain_stream(channel, "file", (piece[: size - at] for at in range(0, size, len(piece)))) != size:
            raise RuntimeError("The plain door took another number of bytes.")
    return {"seconds": time.perf_counter() - begin}


def _part(ledger: _Ledger, number: int, params: int, work: Path, address: str) -> dict[str, Any]:
    """One member's round, and the piece by piece opening of its sum."""
    with ExitStack() as stack:
        meeting = ledger.meeting(address, stack)
        seats = meeting.seats
        seat, members = seats[number], len(seats)
        scheme = scheme_in(meeting.parameters)
        fixed = FixedPoint(members, BOUND, scheme.largest)
        roster = Roster({s.identity.source_unit: (s.identity.offer, s.identity.public) for s in seats})
        rounds = _Timed(
            seat.relay, seat.identity, Terms(meeting.job, meeting.run, 2, WAIT_SECONDS, time.monotonic() + DAY),
            lambda fresh: roster, Journal(work / f"notes-{number}-{secrets.token_hex(4)}", meeting.job), scheme,
            lambda: _LOG, lambda other: None, threading.Event(),
        )  # fmt: skip
        exact = sum(integers(vector(member, PIECE_WORDS), fixed.scale) for member in range(members))
        memory, phases = PeakMemory(), rounds.phases()
        memory.reset()
        idle, begin, elsewhere = memory.mib(), time.perf_counter(), 0.0
        with rounds.sum(0, "", lambda: _Synthetic(number, params, fixed)) as found:
            for turn, start in enumerate(range(0, params, PIECE_WORDS)):
                before = time.perf_counter()
                words = found.content[start : start + PIECE_WORDS]
                after = time.perf_counter()
                if not np.array_equal(words.view(np.int32), _turned(exact, turn)[: len(words)]):
                    raise RuntimeError("The opened sum is not the exact one.")
                phases["open"] += after - before
                elsewhere += time.perf_counter() - after
        seconds = time.perf_counter() - begin - elsewhere
        return {"phases": phases, "seconds": seconds, "idle": idle, "peak": memory.mib()}
