"""The parts of the benchmark: each measures, and says what it found as a result."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import gpu
from benchmarks.aggregation import ends, goals, growth, member, memory, opening, stream, table
from benchmarks.aggregation.cost import PLAIN, UNIT, Cost
from benchmarks.aggregation.packed import KEY_BITS
from benchmarks.aggregation.schemes import BITS, CLIENTS
from benchmarks.common import Ratio, Result, Row, Table
from benchmarks.peers.environments import PEERS
from benchmarks.spans import LABELS
from trustspace.aggregation.lattice import gpu_card

SIZES = (100_000, 1_000_000, 16_000_000)
QUICK_SIZES = (2_000, 20_000)
MEMORY_SIZES = (1_000_000, 16_000_000, 1_000_000_000)


def part_table(work: Path, given: argparse.Namespace) -> Result:
    """Every scheme, step and size."""
    plan = _plan(given, QUICK_SIZES if given.quick else SIZES, given.turns)
    result = Result("aggregation", _settings(plan))
    found = table.measure(plan, _told)
    costs = found.costs()
    result.rows += costs
    result.ratios += _ratios(costs)
    result.tables += [*table.side_by_side(costs), goals.table(costs, found.missing)]
    result.facts |= {f"{name} left out": why for name, why in found.missing.items()}
    result.facts |= {f"version of {name}": version for name, version in sorted(found.versions.items())}
    result.notes += (
        ("Encrypt is encoding float32 numbers in fixed point and protecting them, with a fresh secret each time; "
        "online half is the same with masks made before; add is one client's vector into the sum; decrypt opens the "
        "sum and decodes it to float64. What the members exchange to open a sum stands under recovery."),
        ("Every scheme and peer is held against the exact sum of all clients in its first turn, ours bit by bit; "
        f"peers beyond {table.ALL_CHECKED:,} parameters against that of {table.FEW}."),
        ("Ratios to a plain addition are to one thread's, of as many parameters, just before and after; for what is "
        "measured on a sample, to the plain addition of the largest size."),
        ("Paillier, phe's and ours, costs the same for each ciphertext: it is measured on as many numbers as the row "
        "says. Peers compute in one thread."),
        ("With several threads the first figure is the processor time of all together, the one in brackets the time "
        "on the wall."),
    )  # fmt: skip
    return result


def part_growth(work: Path, given: argparse.Namespace) -> Result:
    """Cost against size."""
    sizes = QUICK_SIZES if given.quick else growth.SIZES
    plan = _plan(given, sizes, min(given.turns, 3), threads=1, peers_up_to=1_000_000)
    result = Result("aggregation, growth", _settings(plan))
    found = table.measure(plan, _told)
    costs = found.costs()
    result.rows += costs
    result.ratios += _ratios([cost for cost in costs if cost.params == sizes[-1]])
    result.tables.append(growth.table(costs))
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        picture = given.json.with_name(f"{given.json.stem}-growth.svg")
        picture.write_text(growth.picture(costs), encoding="utf-8")
        result.facts["picture"] = f"![cost against size]({picture.name})"
    result.notes.append(
        "An exponent is the slope of a straight line through the logarithms; 1 is a cost that grows with the size."
    )
    return result


def part_members(work: Path, given: argparse.Namespace) -> Result:
    """One member's whole work against members."""
    params, many = (20_000, (2, 3)) if given.quick else (1_000_000, member.MEMBERS)
    turns = 1 if given.quick else given.turns
    result = Result("aggregation, members", {"turns": turns, "parameters": params})
    values: dict[str, list[float]] = {}
    for turn in range(turns):
        for members in many[turn % len(many) :] + many[: turn % len(many)]:
            for scheme in member.schemes(members):
                for step, taken in member.round_of(scheme, members, params).items():
                    values.setdefault(f"{members} members, {scheme.name}: {step}", []).append(taken)
    result.rows += [Row.of(name, UNIT, taken) for name, taken in values.items()]
    medians = {row.name: row.median for row in result.rows}
    lines = []
    for members in many:
        names = [scheme.name for scheme in member.schemes(members)]
        for name in names:
            cells = (f"{medians[f'{members} members, {name}: {step}']:.3g}" for step in member.STEPS)
            lines.append((str(members), name, *cells))
        masks, *lattices = (f"{members} members, {name}: whole" for name in names)
        result.ratios += [Ratio.between(lattice, masks, values) for lattice in lattices]
    result.tables.append(Table(("members", f"{UNIT}", *member.STEPS), tuple(lines)))
    result.notes.append(
        "Everything that one member computes for a sum of all, through the interface that the platform uses: its keys, "
        "encoding and protecting, what opens the sum, and opening and decoding it. The backend takes all threads."
    )
    return result


def part_rounds(work: Path, given: argparse.Namespace) -> Result:
    """Whole rounds, and rounds that lose a member."""
    members, count, turns = (4, 20_000, 1) if given.quick else (4, 1_000_000, given.turns)
    result = Result("aggregation, rounds", {"turns": turns, "members": members, "parameters": count})
    values: dict[str, list[float]] = {}
    parts: dict[str, list[dict[str, float]]] = {}
    became: dict[tuple[str, str], set[str]] = {}
    names = tuple(ends.SUMS)
    for turn in range(turns):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            folder = work / os.urandom(4).hex()
            found = ends.rounds(folder / "whole", name, members, count)
            values.setdefault(f"{name}: overhead", []).append(median(r.overhead for r in found))
            parts.setdefault(name, []).extend(r.parts for r in found)
            for phase in ends.PHASES:
                seconds, outcome = ends.losing(folder / phase, name, members, count, phase)
                became.setdefault((name, phase), set()).add(outcome)
                if seconds is not None:
                    values.setdefault(f"{name}, one lost in {phase}: overhead", []).append(seconds)
            shutil.rmtree(folder, ignore_errors=True)
    result.rows += [Row.of(name, "s", taken) for name, taken in values.items()]
    result.ratios += [
        Ratio.between(name, f"{names[0]}: overhead", values)
        for name in values
        if name != f"{names[0]}: overhead" and len(values[name]) == turns
    ]
    lines = [
        (label, *(f"{1000 * median(p[label] for p in parts[name]):.2f}" for name in names))
        for label in LABELS
    ]
    result.tables.append(Table(("part of a round, ms", *names), tuple(lines)))
    lines = [(phase, *(_outcome(values, became, name, phase) for name in names)) for phase in ends.PHASES]
    result.tables.append(Table(("a member is lost in", *names), tuple(lines)))
    result.notes += (
        ("Members are threads of one process whose workers answer at once; all their work shares the machine's cores. "
        "A round lasts until its durable checkpoint; its overhead is what it takes beyond computing."),
        ("Where a member is lost, the seconds are the others' overhead in that round without the time that the space "
        "waits for the lost one, which a job agrees on. Lost in check: it depends on whether it was the one to check."),
    )  # fmt: skip
    return result


def _outcome(
    values: Mapping[str, Sequence[float]], became: Mapping[tuple[str, str], set[str]], name: str, phase: str
) -> str:
    taken = values.get(f"{name}, one lost in {phase}: overhead")
    return " or ".join(sorted(became[name, phase])) + (f", {median(taken):.3g} s" if taken else "")


def part_gpu(work: Path, given: argparse.Namespace) -> Result | None:
    """The lattice on a graphics card; None, and a line that says so, where there is none."""
    if gpu_card.interpreted() or not gpu_card.available():
        _told("gpu is left out: there is no NVIDIA GPU that torch and Triton can use here")
        return None
    result = gpu.measured(QUICK_SIZES if given.quick else gpu.SIZES, given.turns)
    result.benchmark = "aggregation, gpu"
    result.tables.append(goals.on_card(result.ratios))
    return result


def part_recovery(work: Path, given: argparse.Namespace) -> Result:
    """Recovery against participants."""
    turns = 1 if given.quick else given.turns
    result = Result("aggregation, recovery", {"turns": turns})
    found: dict[str, opening.Way] = {}
    values: dict[str, list[float]] = {}
    for _ in range(turns):
        for way in opening.ways():
            found[way.name] = way
            for step, milliseconds in way.milliseconds.items():
                values.setdefault(f"{way.name}: {opening.STEPS[step]}", []).append(milliseconds)
    result.rows += [Row.of(name, "ms of processor time", taken) for name, taken in values.items()]
    medians = {row.name: row.median for row in result.rows}
    lines = []
    for way in found.values():
        times = {
            s: medians[f"{way.name}: {text}"] for s, text in opening.STEPS.items() if s in way.milliseconds
        }
        lines.append(opening.line(way, times))
        together = f"{way.parameters}, {way.participants} participants, all: combined"
        if way.who != "all":
            result.ratios.append(Ratio.between(f"{way.name}: combined", together, values))
    result.tables.append(Table(opening.HEAD, tuple(lines)))
    result.notes += (
        ("All: every member reveals its secret under masks that it shares with each other member; dealt is making "
        "them. Otherwise secrets are shared out, and the shares' sums of so many holders open; above 10 participants a "
        "committee holds the shares."),
        ("Checked and added are one holder's work for the shares of all participants; liars: as many holders reveal "
        "falsely as can be located and named."),
    )  # fmt: skip
    return result


def part_memory(work: Path, given: argparse.Namespace) -> Result:
    """Peak memory."""
    sizes = QUICK_SIZES if given.quick else MEMORY_SIZES
    result = Result("aggregation, memory", {"members": memory.MEMBERS, "turns": 1})
    lines = []
    values: dict[str, list[float]] = {}
    for params in sizes:
        whole = f"the numbers alone, {params:,} parameters"
        values[whole] = [4 * params / (1 << 20)]
        cells = []
        for scheme in memory.SCHEMES:
            name = f"{scheme}, {params:,} parameters"
            values[name] = [memory.peak_mib(scheme, params, work)]
            result.ratios.append(Ratio.between(name, whole, values))
            cells.append(f"{values[name][0]:.3g}")
        lines.append((f"{params:,}", f"{values[whole][0]:,.3g}", *cells))
    result.rows += [Row.of(name, "MiB", found) for name, found in values.items()]
    head = ("parameters", "float32 vector, MiB", *(f"{scheme}, MiB" for scheme in memory.SCHEMES))
    result.tables.append(Table(head, tuple(lines)))
    result.notes.append(
        "Resident memory beyond a process that has protected a short vector before, of two members in one process "
        "and whoever adds for them; the sum waits in a file. Every number of the sum is held against the exact one."
    )
    return result


def _plan(
    given: argparse.Namespace,
    sizes: Sequence[int],
    turns: int,
    *,
    threads: int = 0,
    peers_up_to: int = 1 << 62,
) -> table.Plan:
    peers = () if given.no_peers else PEERS
    threads = threads or len(os.sched_getaffinity(0))
    return table.Plan(tuple(sizes), turns, threads, peers, given.environments, peers_up_to=peers_up_to)


def _settings(plan: table.Plan) -> dict[str, Any]:
    return {"turns": plan.turns, "clients": CLIENTS, "bits": BITS, "threads": f"1 and {plan.threads}"}


def _ratios(costs: Sequence[Cost]) -> list[Ratio]:
    """One thread, turn by turn: the peers' and the masks' steps to ours of that size, ours to the plain addition."""
    values = {cost.name: cost.values for cost in costs}
    single = [cost for cost in costs if cost.threads == 1]
    ours = goals.ours(single)
    small, largest = goals.LATTICE[0], max(cost.params for cost in ours)
    found = []
    for cost in (cost for cost in single if cost.scheme not in goals.LATTICE):
        params = largest if cost.scheme in _SAMPLED else cost.params
        for own in (own for own in ours if own.params == params):
            if cost.scheme == PLAIN:
                found.append(Ratio.between(own.name, cost.name, values))
            elif own.scheme == small and own.step == cost.step:
                found.append(Ratio.between(cost.name, own.name, values))
    return found


_SAMPLED = {peer.scheme for peer in PEERS if peer.sample is not None} | {
    f"paillier-packed-{b}" for b in KEY_BITS
}


def _told(line: str) -> None:
    print(f"aggregation: {line}", file=sys.stderr, flush=True)


def part_stream(work: Path, given: argparse.Namespace) -> Result:
    """A whole round with a long vector, over the wire."""
    params = 1_000_000 if given.quick else given.params
    result = Result("aggregation, stream", {"params": params, "sums": given.sums})
    result.rows += stream.rows(params, work, sums=given.sums)
    result.notes += (
        ("One round each. Every piece is held against the exact sum. The plain streams carry the same bytes by gRPC "
        "into one file for all members, which is kinder to the disk than a file for each."),
    )  # fmt: skip
    return result
