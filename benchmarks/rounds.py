"""What a round of secure sums costs: beyond computing, in memory, with more hospitals, with larger models, in bytes.

    python -m benchmarks.rounds [--part a|b|c|d|e] [--quick] [--json FILE] [--turns 3]

a  a warm round beyond its members' computing: 61,241 parameters, 2 and 4 members; where the time goes
b  a model of 256 MB: time, memory, disk
c  growth with hospitals and with parameters, and how much the space holds
d  bytes up and down for each parameter, member and round
e  a model of 1 GB, once, where the machine has 16 GiB of memory free

In a, b and e the whole platform runs: space, brokers, enclaves with sandboxes, each a process, over mutual TLS. In
c and d members are threads of this process without sandboxes; the board is in this process, or in a space's own.
With --json only the parts that were run are replaced in the file.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import plain
from benchmarks.common import FORMAT, Ratio, Result, Row, Table, arguments, render, workspace
from benchmarks.hospitals import Hospitals, Watch, Work, large, lenet
from benchmarks.members import Remote, in_process
from benchmarks.spans import LABELS, Round, Timed, peak_kib, timed

MIB = 1 << 20
# Of the published figures, (lowest, highest): the round and the client's computing in it, seconds. Measured by us
# with two clients and 62,006 parameters on two shared cores, another day: so not turn by turn with ours.
PUBLISHED = (
    ("Flower 1.41, simulation", (0.7, 0.9), 0.2),
    ("Flower 1.41, deployment without TLS", (15.6, 15.6), 0.2),
    ("NVIDIA FLARE 2.9, simulation", (3.0, 3.0), 0.35),
    ("NVIDIA FLARE 2.9, mutual TLS", (3.1, 3.1), 0.55),
)
PUBLISHED_LARGE = (
    ("Flower 1.41", (14.0, 25.0), "server 0.96 GB, client 1.2 GB"),
    ("NVIDIA FLARE 2.9", (6.0, 10.0), "server 2.8 GB, client 1.5 GB"),
)
Found = list[list[Round]]


def warm(found: Found) -> list[Timed]:
    """Every round but the first, in which imports and connections are still cold."""
    return [timed(members) for members in (found[1:] or found)]


class Turns:
    """Values by case, one for each turn, and the rounds behind them."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}
        self.rounds: dict[str, list[Timed]] = {}

    def note(self, name: str, found: Found) -> None:
        """Keep a run's rounds: the median round, its computing, its overhead."""
        rounds = warm(found)
        self.rounds.setdefault(name, []).extend(rounds)
        self.value(f"{name}: round", median(r.wall for r in rounds))
        self.value(f"{name}: client compute", median(r.compute for r in rounds))
        self.value(f"{name}: overhead", median(r.overhead for r in rounds))

    def value(self, name: str, value: float) -> None:
        """Keep one turn's value."""
        self.values.setdefault(name, []).append(value)

    def into(self, result: Result, unit: str = "s") -> None:
        """All of it as rows."""
        result.rows += [Row.of(name, unit, values) for name, values in self.values.items()]


def where_the_time_goes(turns: Turns, names: Sequence[str]) -> Table:
    """Milliseconds of each part of a round: the median over all warm rounds of the members' mean."""
    lines = []
    for label in LABELS:
        cells = [median(r.parts[label] for r in turns.rounds[name]) for name in names]
        lines.append((label, *(f"{1000 * value:.2f}" for value in cells)))
    apart = [median(r.overhead - sum(r.parts.values()) for r in turns.rounds[name]) for name in names]
    lines.append(("members computing apart", *(f"{1000 * value:.2f}" for value in apart)))
    whole = [median(r.overhead for r in turns.rounds[name]) for name in names]
    lines.append(("overhead", *(f"{1000 * value:.2f}" for value in whole)))
    slowest = [max(r.overhead for r in turns.rounds[name]) for name in names]
    lines.append(("overhead of the slowest round", *(f"{1000 * value:.2f}" for value in slowest)))
    return Table(("part of a round, ms", *names), tuple(lines))


def part_a(work: Path, turns: int, quick: bool) -> Result:
    """A warm round beyond its members' computing."""
    rounds, images = (4, 80) if quick else (20, 400)
    sizes = (2,) if quick else (2, 4)
    count = 61_241
    result = Result(
        "rounds, a: a warm round", {"turns": turns, "rounds": rounds, "parameters": count, "images": images}
    )
    measured = Turns()
    door = plain.Door(work / "plain", max(sizes))
    try:
        with Hospitals(work, max(sizes)) as hospitals:
            task = lenet(images)
            hospitals.describe(task)
            result.facts["sandbox tier"] = hospitals.tier

            def platform(members: int) -> None:
                found = hospitals.run(task, members, rounds, seconds=240)
                measured.note(f"platform, {members} members", found)

            def protocol(members: int) -> None:
                folder = work / f"local-{os.urandom(4).hex()}"
                measured.note(f"in process, {members} members", in_process(folder, members, count, rounds))

            def bare(members: int) -> None:
                given = plain.vectors(members, count)
                door.round(given)
                carried = median(door.round(given) for _ in range(rounds))
                measured.value(f"plain gRPC, mutual TLS, {members} members", carried)
                added = median(plain.float_sum(given) for _ in range(rounds))
                measured.value(f"plain float sum, {members} members", added)

            cases = [(case, size) for size in sizes for case in (platform, protocol, bare)]
            for turn in range(turns):
                start = turn % len(cases)
                for case, size in cases[start:] + cases[:start]:
                    case(size)
    finally:
        door.close()
    measured.into(result)
    names = [f"{setting}, {size} members" for setting in ("platform", "in process") for size in sizes]
    result.tables += [where_the_time_goes(measured, names), _peers(measured)]
    for size in sizes:
        over, own = f"platform, {size} members: overhead", f"in process, {size} members: overhead"
        for to in (own, f"plain gRPC, mutual TLS, {size} members", f"plain float sum, {size} members"):
            result.ratios.append(Ratio.between(over, to, measured.values))
        result.ratios.append(Ratio.between(own, f"plain float sum, {size} members", measured.values))
    result.notes += (
        ("A round is from its beginning to its durable checkpoint, of the member in the middle; overhead is the round "
        "less the longest time that any member's worker took. The first round of a run is left out."),
        ("The parts are the mean member's, outside the time in which any member computed. An exchange waits for the "
        "other members: who is slow elsewhere is waited for there."),
        "Two members sum only because every grant says in words that they can compute each other's part.",
        "In process: threads over a board in one process, workers that answer at once, no TLS, no sandbox.",
        ("Plain gRPC: every member's float32 vector up and the sum down, the same bytes, behind mutual TLS; no "
        "signature, no mask, no check, nothing durable."),
    )  # fmt: skip
    return result


def _peers(measured: Turns) -> Table:
    ours = median(measured.values["platform, 2 members: overhead"])
    whole = median(measured.values["platform, 2 members: round"])
    lines = [("trustspace, this run", f"{whole:.3g}", f"{ours:.3g}", "1")]
    for name, (low, high), compute in PUBLISHED:
        least, most = low - compute, high - compute
        span, over = _span(low, high), _span(least, most)
        lines.append((f"{name} (measured elsewhere)", span, over, _span(least / ours, most / ours)))
    return Table(
        ("two clients, about 62,000 parameters", "round, s", "beyond compute, s", "times ours"), tuple(lines)
    )


def _span(low: float, high: float) -> str:
    return f"{low:.3g}" if math.isclose(low, high) else f"{low:.3g} to {high:.3g}"


def part_b(work: Path, turns: int, quick: bool) -> Result:
    """A large model: time, memory, disk."""
    megabytes, rounds = (8, 3) if quick else (256, 4)
    result = Result(
        "rounds, b: large models", {"turns": turns, "megabytes": megabytes, "members": 2, "rounds": rounds}
    )
    measured, memory = Turns(), Turns()
    _large(work / "first", megabytes, rounds, turns, True, measured, memory, result)
    count = megabytes * 1_000_000 // 4
    given = plain.vectors(2, count)
    door = plain.Door(work / "plain", 2)
    try:
        for _ in range(turns):
            measured.value(f"{megabytes} MB, plain gRPC, mutual TLS", door.round(given))
            measured.value(f"{megabytes} MB, plain float sum", plain.float_sum(given))
    finally:
        door.close()
    del given
    for to in (f"{megabytes} MB, plain gRPC, mutual TLS", f"{megabytes} MB, plain float sum"):
        result.ratios.append(Ratio.between(f"{megabytes} MB: overhead", to, measured.values))
    _tell_large(result, measured, memory)
    ours = median(measured.values[f"{megabytes} MB: round"])
    lines = [("trustspace, this run", f"{ours:.3g}", "1", "see below")]
    for name, (low, high), held in PUBLISHED_LARGE:
        lines.append((f"{name} (measured elsewhere)", _span(low, high), _span(low / ours, high / ours), held))
    result.tables.append(
        Table(
            (f"{megabytes} MB here, 256 MB elsewhere, two clients", "round, s", "times ours", "peak memory"),
            tuple(lines),
        )
    )
    return result


def part_e(work: Path, turns: int, quick: bool) -> Result:
    """A model of 1 GB, once."""
    megabytes, needed = (4, 1.0) if quick else (1000, 16.0)
    result = Result("rounds, e: 1 GB", {"turns": 1, "megabytes": megabytes, "members": 2, "rounds": 2})
    room, disk = _available_gib(), shutil.disk_usage(work).free / 2**30
    if room < needed or disk < needed:
        raise SystemExit(
            f"rounds: 1 GB needs {needed} GiB of memory and of disk; there are {room:.1f}, {disk:.1f}"
        )
    measured, memory = Turns(), Turns()
    _large(work / "first", megabytes, 2, 1, False, measured, memory, result)
    _tell_large(result, measured, memory)
    return result


def _tell_large(result: Result, measured: Turns, memory: Turns) -> None:
    measured.into(result)
    memory.into(result, "MiB")
    for name in memory.values:
        if "peak" in name:
            model = f"{name.split(':')[0]}: the model"
            result.ratios.append(Ratio.between(name, model, memory.values))
    result.tables.append(where_the_time_goes(measured, list(measured.rounds)))
    result.notes += (
        ("The network adds one mean over all its parameters to a linear layer: its computing, reported, is what "
        "moving so many numbers costs PyTorch. Round and overhead as in part a; the first round is left out."),
        ("Peaks are of resident memory (VmHWM), the code and libraries of an idle process included; idle is what was "
        "resident before the job. An enclave's includes the pages that it shares with its worker."),
        ("Disk: the space's vectors are files without a name, gone when nobody holds them; an enclave's two "
        "checkpoints and the one being written."),
    )  # fmt: skip


def _large(
    work: Path, megabytes: int, rounds: int, turns: int, whole: bool, measured: Turns, memory: Turns, result: Result
) -> None:  # fmt: skip
    name, count = f"{megabytes} MB", megabytes * 1_000_000 // 4
    task: Work = large(count)
    work.mkdir()
    for turn in range(turns):
        folder = work / str(turn)
        folder.mkdir()
        with Hospitals(folder, 2) as hospitals:
            hospitals.describe(task)
            idle = [peak_kib(child.pid, "VmRSS") for child in (hospitals.space, *hospitals.enclaves)]
            with Watch(hospitals, (0, 1)) as watch:
                found = hospitals.run(task, 2, rounds, seconds=600, whole=whole)
        measured.note(name, found)
        peaks = watch.usage.peaks
        memory.value(f"{name}: the model", 4 * count / MIB)
        memory.value(f"{name}: space, idle", idle[0] / 1024)
        memory.value(f"{name}: space, peak", peaks["space memory"] / 1024)
        memory.value(f"{name}: enclave, idle", max(idle[1:]) / 1024)
        memory.value(f"{name}: enclave, peak over the rounds", max(m.peak_kib for m in found[-1]) / 1024)
        if whole:
            memory.value(f"{name}: enclave, peak over the job", peaks["enclave memory"] / 1024)
        memory.value(f"{name}: sandbox, peak", peaks["sandbox memory"] / 1024)
        memory.value(f"{name}: space, peak disk for vectors", peaks["space disk"] / 1024)
        memory.value(f"{name}: enclave, peak disk for checkpoints", peaks["enclave disk"] / 1024)
        shutil.rmtree(folder, ignore_errors=True)


def _available_gib() -> float:
    content = Path("/proc/meminfo").read_text(encoding="ascii")
    return int(content.split("MemAvailable:")[1].split()[0]) / (1 << 20)


def part_c(work: Path, turns: int, quick: bool) -> Result:
    """Growth with hospitals and with parameters."""
    hospitals = (2, 3, 4) if quick else (2, 4, 8, 16, 32)
    sizes = (1_000, 10_000) if quick else (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
    base, heavy, few = (5_000, 20_000, 2) if quick else (62_000, 1_000_000, 4)
    rounds = 3
    settings = {
        "turns": turns,
        "rounds": rounds,
        "parameters for the first": base,
        "hospitals for the second": few,
    }
    result = Result("rounds, c: growth", settings)
    measured, held = Turns(), Turns()

    def local(name: str, members: int, count: int) -> None:
        folder = work / os.urandom(4).hex()
        measured.value(f"{name}, in process", _round_of(in_process(folder, members, count, rounds)))
        shutil.rmtree(folder, ignore_errors=True)

    def remote(name: str, members: int, count: int, keep: bool = True) -> None:
        folder = work / os.urandom(4).hex()
        folder.mkdir()
        space = Remote(folder, members, count, rounds)
        try:
            idle = peak_kib(space.pid, "VmRSS")
            found = space.train()
            held.value(f"{name}, space memory", peak_kib(space.pid) / 1024)
            held.value(f"{name}, space memory beyond idle", (peak_kib(space.pid) - idle) / 1024)
        finally:
            space.close()
            shutil.rmtree(folder, ignore_errors=True)
        if keep:
            measured.value(f"{name}, over the wire", _round_of(found))

    cases: list[Callable[[], None]] = []
    for members in hospitals:
        name = f"{members} hospitals"
        cases += [lambda n=name, m=members: local(n, m, base), lambda n=name, m=members: remote(n, m, base)]
        cases.append(lambda n=f"{name}, {heavy:,} parameters", m=members: remote(n, m, heavy))
    for count in sizes:
        name = f"{count:,} parameters"
        cases += [lambda n=name, c=count: local(n, few, c), lambda n=name, c=count: remote(n, few, c)]
    for turn in range(turns):
        for case in cases if turn % 2 == 0 else reversed(cases):
            case()
    measured.into(result)
    held.into(result, "MiB")
    both = {n: median(v) for n, v in (measured.values | held.values).items()}
    wide = f"hospitals, {heavy:,} parameters"
    columns = {
        "in process, s": "{} hospitals, in process", "over the wire, s": "{} hospitals, over the wire",
        f"{heavy:,} parameters, over the wire, s": f"{{}} {wide}, over the wire",
        "space memory, MiB": "{} hospitals, space memory",
        f"{heavy:,} parameters, space memory, MiB": f"{{}} {wide}, space memory",
        f"{heavy:,} parameters, beyond idle, MiB": f"{{}} {wide}, space memory beyond idle",
    }  # fmt: skip
    result.tables.append(_growth("hospitals", hospitals, columns, both))
    columns = {
        "in process, s": "{:,} parameters, in process", "over the wire, s": "{:,} parameters, over the wire",
        "space memory, MiB": "{:,} parameters, space memory",
        "beyond idle, MiB": "{:,} parameters, space memory beyond idle",
    }  # fmt: skip
    result.tables.append(_growth("parameters", sizes, columns, both))
    for case, other in (
        (f"{hospitals[-1]} hospitals, over the wire", f"{hospitals[0]} hospitals, over the wire"),
        (f"{hospitals[-1]} hospitals, in process", f"{hospitals[0]} hospitals, in process"),
        (f"{sizes[-1]:,} parameters, over the wire", f"{sizes[0]:,} parameters, over the wire"),
    ):
        result.ratios.append(Ratio.between(case, other, measured.values))
    result.ratios.append(
        Ratio.between(
            f"{hospitals[-1]} {wide}, space memory", f"{hospitals[0]} {wide}, space memory", held.values
        )
    )
    result.notes += (
        "Sandboxes are simulated: a worker answers at once, so the figures are rounds without computing.",
        ("All members are threads of one process and share its interpreter and the machine's cores: the work of all "
        "hospitals is added up here, which they would do side by side."),
        "An exponent is the slope of a straight line through the logarithms; (last step) is between the two largest.",
    )  # fmt: skip
    return result


def _round_of(found: Found) -> float:
    return median(r.overhead for r in warm(found))


def _growth(
    what: str, sizes: Sequence[int], columns: Mapping[str, str], values: Mapping[str, float]
) -> Table:
    """A series as a table, and below it the exponents of its growth."""
    lines = [
        (f"{size:,}", *(f"{values[form.format(size)]:.4g}" for form in columns.values())) for size in sizes
    ]
    fits, steps = [], []
    for form in columns.values():
        y = np.log([max(values[form.format(size)], 1e-9) for size in sizes])
        x = np.log(sizes)
        fits.append(f"{np.polyfit(x, y, 1)[0]:.2f}")
        steps.append(f"{(y[-1] - y[-2]) / (x[-1] - x[-2]):.2f}")
    return Table((what, *columns), (*lines, ("exponent", *fits), ("exponent (last step)", *steps)))


def part_d(work: Path, turns: int, quick: bool) -> Result:
    """Bytes up and down for each parameter, member and round."""
    sizes = (2, 3) if quick else (2, 4, 8, 16)
    counts = (20_000,) if quick else (62_000, 1_000_000)
    rounds = 3
    result = Result("rounds, d: bytes", {"turns": 1, "rounds": rounds})
    lines, values = [], Turns()
    for count in counts:
        values.value(f"{count:,} float32 up and down, plain", 8.0)
        for members in sizes:
            folder = work / os.urandom(4).hex()
            folder.mkdir()
            space = Remote(folder, members, count, rounds)
            try:
                found = [noted for round_ in space.train() for noted in round_]
            finally:
                space.close()
                shutil.rmtree(folder, ignore_errors=True)
            name = f"{count:,} parameters, {members} members"
            up = [noted.up / count for noted in found]
            down = sorted(noted.down / count for noted in found)
            plain_, checking = down[0], down[-1]
            values.value(f"{name}: up", sum(up) / len(up))
            values.value(f"{name}: down", sum(down) / len(down))
            values.value(f"{name}: up and down", (sum(up) + sum(down)) / len(up))
            lines.append((f"{count:,}", str(members), f"{sum(up) / len(up):.3f}", f"{plain_:.3f}", f"{checking:.3f}",
                          f"{sum(down) / len(down):.3f}"))  # fmt: skip
            result.ratios.append(
                Ratio.between(
                    f"{name}: up and down", f"{count:,} float32 up and down, plain", _one(values.values)
                )
            )
    values.into(result, "bytes a parameter")
    head = ("parameters", "members", "up", "down", "down, of the member that checks", "down, mean")
    result.tables.append(Table(head, tuple(lines)))
    result.notes += (
        ("Counted where members call the space: messages and vectors, without what gRPC and TLS put around them "
        "(below 1 % of a large vector). For each member and round."),
        ("One member in each round, picked by the set's digest, also reads every member's vector to add them up again: "
        "on average that is one more vector a member."),
    )  # fmt: skip
    return result


def _one(values: Mapping[str, list[float]]) -> dict[str, list[float]]:
    return {name: found[:1] for name, found in values.items()}


PARTS: dict[str, Callable[[Path, int, bool], Result]] = {
    "a": part_a, "b": part_b, "c": part_c, "d": part_d, "e": part_e
}  # fmt: skip


def merged(file: Path | None, parts: Mapping[str, Any]) -> dict[str, Any]:
    """The file's content with these parts in place of its own."""
    before = json.loads(file.read_bytes())["parts"] if file is not None and file.exists() else {}
    kept = before | dict(parts)
    return {"format": FORMAT, "benchmark": "rounds", "parts": {name: kept[name] for name in sorted(kept)}}


def main() -> None:
    """Run the benchmark, or parts of it."""
    parser: argparse.ArgumentParser = arguments("Rounds of secure sums.", turns=3)
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part (may be repeated)")
    parser.add_argument("--quick", action="store_true", help="tiny: to see that it runs")
    given = parser.parse_args()
    # Who is asked to stop takes its processes along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    found: dict[str, Any] = {}
    for part in given.part or PARTS:
        with workspace(given.work) as work:
            turns = 1 if given.quick else min(given.turns, 2) if part in "bc" else given.turns
            found[part] = PARTS[part](work, turns, given.quick).to_json(work)
        print(render(found[part]), flush=True)
        if given.json is not None:
            # After every part: what was measured is kept, whatever the next one does.
            given.json.parent.mkdir(parents=True, exist_ok=True)
            content = json.dumps(merged(given.json, found), indent=1, ensure_ascii=False)
            given.json.write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
