"""Where the time of a round goes: the product's own functions, timed in the process that runs them.

    python -m benchmarks.spans FILE ARGUMENT…      an enclave (`trustspace ARGUMENT…`) that writes its rounds to FILE

Nothing is replaced: a function's beginning and end are noted around it, on the machine's one monotonic clock. At a
round's end a line of JSON goes to the file: the spans, the bytes said to and heard from the space, peak memory.
"""

from __future__ import annotations

import functools
import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

# Imported before the sandbox's launcher is forked: so nothing of ours beyond the standard library up here.

Span = tuple[str, float, float]
COMPUTE = "client compute"
ROUND = "everything else"
LABELS = (
    "commit to the model", "join: exchange", "agree: keys and signatures", "agree: exchange",
    "agree: shares", "clip: norm of the update", "protect and send", "contribution: exchange", "sum: fetch and hash",
    "check: add again", "check: exchange", "reveal: seal and open seeds", "reveal: durable note",
    "reveal: exchange", "open: put the key together", "open: unmask", "open: judge the sum", "step", "checkpoint",
    ROUND,
)  # fmt: skip
_PHASE = {
    "join": "join: exchange", "agree": "agree: exchange", "contribution": "contribution: exchange",
    "check": "check: exchange", "reveal": "reveal: exchange",
}  # fmt: skip


@dataclass
class Round:
    """One member's round: its spans, and the bytes of messages up to and down from the space."""

    number: int
    spans: list[Span]
    up: int
    down: int
    peak_kib: int = 0
    other: dict[str, float] = field(default_factory=dict)

    @property
    def begin(self) -> float:
        """When it began, on the machine's monotonic clock."""
        return min(span[1] for span in self.spans)

    @property
    def end(self) -> float:
        """When its checkpoint was durable."""
        return max(span[2] for span in self.spans)

    @property
    def compute(self) -> tuple[float, float]:
        """From when to when its worker computed."""
        found = [span for span in self.spans if span[0] == COMPUTE]
        return found[-1][1:]

    def to_json(self) -> dict[str, Any]:
        """As a line of the file."""
        return self.__dict__


class Recorder:
    """Collects one process's spans; a member is a thread that runs rounds."""

    def __init__(self, sink: Callable[[Round], None]) -> None:
        self._sink = sink
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._elsewhere: dict[str, float] = defaultdict(float)

    def around(self, owner: Any, name: str, label: str | Callable[[tuple[Any, ...]], str]) -> None:
        """Note every call of ``owner.name``; a label may depend on the arguments."""
        found = owner.__dict__[name]
        inner = found.__func__ if isinstance(found, classmethod) else found

        @functools.wraps(inner)
        def noted(*given: Any, **named: Any) -> Any:
            begin = time.monotonic()
            try:
                return inner(*given, **named)
            finally:
                self._note(label if isinstance(label, str) else label(given), begin, time.monotonic())

        setattr(owner, name, classmethod(noted) if isinstance(found, classmethod) else noted)

    def _note(self, label: str, begin: float, end: float) -> None:
        spans = getattr(self._mine, "spans", None)
        if spans is not None:
            spans.append((label, begin, end))
            return
        with self._lock:
            self._elsewhere[label] += end - begin

    def count(self, up: int, down: int) -> None:
        """Bytes of messages, of the member whose thread this is."""
        if getattr(self._mine, "spans", None) is not None:
            self._mine.up += up
            self._mine.down += down

    def install(self, training: Any, worker: Any) -> None:
        """Note the rounds of every member in this process from now on."""
        from trustspace.aggregation.lattice.scheme import LatticeVector
        from trustspace.aggregation.masks import MaskedVector
        from trustspace.enclave.journal import Journal
        from trustspace.enclave.meeting import Meeting
        from trustspace.enclave.rounds import Rounds
        from trustspace.enclave.vectors import Update, UpdateSum
        from trustspace.space.rounds import LocalRounds
        from trustspace.transport.rounds import RoundsLink

        self.around(worker, "round", COMPUTE)
        self.around(training, "commitment", "commit to the model")
        self.around(training, "_step", "step")
        self.around(Meeting, "_exchange", lambda given: _PHASE[given[2]])
        self.around(Rounds, "_agree", "agree: keys and signatures")
        self.around(Rounds, "_contribute", "protect and send")
        self.around(Rounds, "_deal", "agree: shares")
        self.around(Rounds, "_sum", "sum: fetch and hash")
        self.around(Rounds, "_checked", "check: add again")
        self.around(Rounds, "_reveal", "reveal: seal and open seeds")
        self.around(Journal, "note", "reveal: durable note")
        for protection in (MaskedVector, LatticeVector):
            self.around(protection, "open", "open: unmask")
            self.around(protection, "unlock", "open: put the key together")
            self.around(protection, "protect", "protect and send")
        self.around(Update, "__post_init__", "clip: norm of the update")
        self.around(UpdateSum, "of", "open: judge the sum")
        self._rounds(training)
        for link in (RoundsLink, LocalRounds):
            self._bytes(link)

    def _rounds(self, training: Any) -> None:
        one, keep = training._round, training._keep

        def round_(driver: Any, progress: Any) -> None:
            self._mine.spans, self._mine.up, self._mine.down = [], 0, 0
            begin = time.monotonic()
            one(driver, progress)
            self._note(ROUND, begin, time.monotonic())

        def kept(driver: Any, progress: Any) -> None:
            begin = time.monotonic()
            keep(driver, progress)
            if getattr(self._mine, "spans", None):
                self._note("checkpoint", begin, time.monotonic())
                with self._lock:
                    other, self._elsewhere = dict(self._elsewhere), defaultdict(float)
                self._sink(
                    Round(progress.round, self._mine.spans, self._mine.up, self._mine.down, peak_kib(), other)
                )
                self._mine.spans = None

        training._round, training._keep = round_, kept

    def _bytes(self, link: Any) -> None:
        exchange, contribute, total, all_of = link.exchange, link.contribute, link.sum, link.contributions
        deal, shares = link.deal, link.shares

        def exchanged(
            relay: Any, place: Any, phase: Any, envelope: bytes, data: bytes = b"", **more: Any
        ) -> Any:
            found = exchange(relay, place, phase, envelope, data, **more)
            self.count(len(envelope) + len(data), len(found.data) + sum(len(e) for e in found.envelopes))
            return found

        def contributed(relay: Any, place: Any, envelope: bytes, total_bytes: int, pieces: Any) -> None:
            contribute(relay, place, envelope, total_bytes, pieces)
            self.count(len(envelope) + total_bytes, 0)

        def dealt(relay: Any, place: Any, total_bytes: int, pieces: Any) -> None:
            deal(relay, place, total_bytes, pieces)
            self.count(total_bytes, 0)

        def shared(relay: Any, place: Any) -> Iterator[tuple[int, bytes]]:
            for member, piece in shares(relay, place):
                self.count(0, len(piece))
                yield member, piece

        def summed(relay: Any, place: Any) -> Iterator[bytes]:
            for piece in total(relay, place):
                self.count(0, len(piece))
                yield piece

        def everybody(relay: Any, place: Any) -> Iterator[tuple[int, bytes]]:
            for member, piece in all_of(relay, place):
                self.count(0, len(piece))
                yield member, piece

        link.deal, link.shares = dealt, shared
        link.exchange, link.contribute, link.sum, link.contributions = (
            exchanged,
            contributed,
            summed,
            everybody,
        )


def peak_kib(pid: int | str = "self", field_: str = "VmHWM") -> int:
    """The largest resident memory of a process since its peak was last reset (proc(5)), 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0
    return int(status.split(field_ + ":")[1].split()[0]) if field_ + ":" in status else 0


def load(file: Path) -> list[Round]:
    """The rounds that a process has written so far."""
    if not file.exists():
        return []
    lines = file.read_text(encoding="ascii").splitlines(keepends=True)
    found = (json.loads(line) for line in lines if line.endswith("\n"))
    return [Round(**{**entry, "spans": [tuple(span) for span in entry["spans"]]}) for entry in found]


@dataclass(frozen=True)
class Timed:
    """One round over all members, in seconds: median member's wall, the slowest member's compute, parts of the rest."""

    wall: float
    compute: float
    overhead: float
    parts: dict[str, float]


def timed(members: Sequence[Round]) -> Timed:
    """One round, seen by all of its members.

    The overhead is what a round takes beyond the longest computing of any member. The parts leave out all the time
    in which any member computed, so what they lack of the overhead is how far apart the members computed.
    """
    begin, end = min(m.compute[0] for m in members), max(m.compute[1] for m in members)
    longest = max(m.compute[1] - m.compute[0] for m in members)
    parts: dict[str, float] = {}
    found = [_parts(m.spans, begin, end) for m in members]
    for label in LABELS:
        parts[label] = sum(f.get(label, 0.0) for f in found) / len(found)
    wall = median(m.end - m.begin for m in members)
    return Timed(wall, longest, wall - longest, parts)


def _parts(spans: Sequence[Span], begin: float, end: float) -> dict[str, float]:
    """Seconds for which each label was the innermost, outside begin..end."""
    found: dict[str, float] = defaultdict(float)
    moments = sorted({moment for _, a, b in spans for moment in (a, b)} | {begin, end})
    for left, right in pairwise(moments):
        if begin <= left < end:
            continue
        inside = [span for span in spans if span[1] <= left and span[2] >= right]
        if inside:
            found[min(inside, key=lambda span: span[2] - span[1])[0]] += right - left
    return found


def _enclave(file: Path, arguments: list[str]) -> None:
    from trustspace.enclave import server

    start = server.EnclaveServer._start

    def started(own: Any, *given: Any) -> None:
        # The launcher is forked by now; what is imported from here on it never sees.
        from trustspace.enclave.federated import JointTraining
        from trustspace.enclave.worker import TrainingWorker

        def write(found: Round) -> None:
            with file.open("a", encoding="ascii") as out:
                out.write(json.dumps(found.to_json()) + "\n")

        Recorder(write).install(JointTraining, TrainingWorker)
        start(own, *given)

    server.EnclaveServer._start = started  # type: ignore[method-assign]
    from trustspace.cli.main import main as command_line

    sys.argv = ["trustspace", *arguments]
    command_line()


if __name__ == "__main__":
    _enclave(Path(sys.argv[1]), sys.argv[2:])
