"""The table: every scheme, step and size in one run, one after another in each turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.aggregation.cost import PLAIN, Cost, PlainAdd, Sample, Spent, spent
from benchmarks.aggregation.packed import KEY_BITS, Paillier
from benchmarks.aggregation.schemes import BITS, CLIENTS, Case, Room, cases
from benchmarks.common import Table
from benchmarks.peers.environments import Peer, Unavailable
from benchmarks.peers.process import Driven

# What one series of samples is about: scheme, backend, step, parameters, threads.
Key = tuple[str, str, str, int, int]
# Up to this size the peers' sum of all clients is checked, beyond it that of a few: TenSEAL takes minutes for all.
ALL_CHECKED, FEW = 1_000_000, 3
STEPS = ("encrypt", "encrypt_online", "add", "decrypt")


@dataclass(frozen=True)
class Plan:
    """What a run measures."""

    sizes: tuple[int, ...]
    turns: int
    threads: int
    peers: tuple[Peer, ...]
    cache: Path
    # Sizes of packed Paillier's keys. What is measured on a sample takes one turn for all sizes, with the largest.
    paillier: tuple[int, ...] = KEY_BITS
    # Peers take no turns beyond so many parameters.
    peers_up_to: int = 1 << 62


@dataclass
class Found:
    """What a run found: samples by what they are of, one for each turn; what could not be measured, and why."""

    samples: dict[Key, list[Sample]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def note(self, key: Key, sample: Sample) -> None:
        """Keep one turn's sample."""
        self.samples.setdefault(key, []).append(sample)

    def costs(self) -> list[Cost]:
        """One row for each series, in the order of sizes, schemes and steps."""
        order = {step: at for at, step in enumerate(STEPS)}
        schemes = {name: at for at, name in enumerate(dict.fromkeys(key[:2] for key in self.samples))}
        keys = sorted(self.samples, key=lambda k: (k[3], schemes[k[:2]], k[4], order[k[2]]))
        return [Cost.from_samples(*key, self.samples[key]) for key in keys]


class Size:
    """Everything of one size: its memory, its plain addition, its cases."""

    def __init__(self, params: int, plan: Plan) -> None:
        self.params = params
        self.room = Room(params)
        self.plain = PlainAdd(self.room.values)
        self.cases = [case for threads in sorted({1, plan.threads}) for case in cases(self.room, threads)]

    def beside(self, action: Callable[[], Spent]) -> tuple[Spent, Spent]:
        """What an action took, and the mean of a plain addition before and after it."""
        before, taken, after = self.plain.spent(), action(), self.plain.spent()
        mean = (before.processor + after.processor) / 2, (before.wall + after.wall) / 2
        return taken, Spent(*mean)


def measure(plan: Plan, told: Callable[[str], object] = lambda line: None) -> Found:
    """Play all turns. Raises RuntimeError where any scheme or peer does not give the exact sum."""
    found, sizes = Found(), [Size(params, plan) for params in plan.sizes]
    with ExitStack() as stack:
        driven = list(_driven(plan, found, stack))
        parts: list[Callable[[int], None]] = []
        for size in sizes:
            parts += [lambda turn, size=size: _plain(found, size, plan.threads)]
            own = size.cases + ([Paillier(bits) for bits in plan.paillier] if size is sizes[-1] else [])
            parts += [lambda turn, s=size, c=case: _case(found, s, c, turn) for case in own]
            parts += [
                lambda turn, size=size, peer=peer: _peer(found, size, peer, turn)
                for peer in driven
                if _fits(plan, peer.peer, size, sizes[-1])
            ]
        for turn in range(plan.turns):
            start = turn * len(parts) // plan.turns
            for part in parts[start:] + parts[:start]:
                part(turn)
            told(f"turn {turn + 1} of {plan.turns} is played")
    return found


def _fits(plan: Plan, peer: Peer, size: Size, largest: Size) -> bool:
    return size.params <= plan.peers_up_to if peer.sample is None else size is largest


def _driven(plan: Plan, found: Found, stack: ExitStack) -> Iterator[Driven]:
    for peer in plan.peers:
        try:
            driven = stack.enter_context(Driven(peer, plan.cache))
        except Unavailable as why:
            found.missing[peer.scheme] = str(why)
        else:
            found.versions |= driven.versions
            yield driven


def _plain(found: Found, size: Size, threads: int) -> None:
    taken, plain = size.beside(lambda: size.plain.spent(20_000_000))
    found.note((PLAIN, "numpy", "add", size.params, 1), Sample(taken, plain, 4.0))
    if threads > 1:
        taken, plain = size.beside(lambda: size.plain.spent_on(threads))
        found.note((PLAIN, "numpy", "add", size.params, threads), Sample(taken, plain, 4.0))


def _case(found: Found, size: Size, case: Case, turn: int) -> None:
    if turn == 0:
        case.check()
    for step, action in case.steps().items():
        taken, plain = size.beside(lambda action=action: spent(action).per(case.params))
        key = case.scheme, case.backend, step, case.params, case.threads
        found.note(key, Sample(taken, plain, case.wire))


def _peer(found: Found, size: Size, driven: Driven, turn: int) -> None:
    peer = driven.peer
    if peer.scheme in found.missing:
        return
    try:
        if turn == 0:  # not measured: clients in a row, and everything for the first time
            clients = CLIENTS if size.params <= ALL_CHECKED else FEW
            driven.turn(size.params, clients, BITS, check=True, seed=turn)
        before = size.plain.spent()
        played = driven.turn(size.params, CLIENTS, BITS, check=False, seed=turn)
    except Unavailable as why:
        found.missing[peer.scheme] = str(why)
        return
    after = size.plain.spent()
    plain = Spent((before.processor + after.processor) / 2, (before.wall + after.wall) / 2)
    for step, processor in played.processor.items():
        key = peer.scheme, peer.lock, step, peer.sample or size.params, 1
        found.note(key, Sample(Spent(processor, played.wall[step]), plain, played.wire))


def side_by_side(costs: Sequence[Cost]) -> list[Table]:
    """One table for each number of threads: a line for each scheme and size, a column for each step."""
    tables = []
    for threads in sorted({cost.threads for cost in costs}):
        lines: dict[tuple[str, str, int], dict[str, Cost]] = {}
        for cost in costs:
            if cost.threads == threads:
                lines.setdefault((cost.scheme, cost.backend, cost.params), {})[cost.step] = cost
        shown = "1 thread" if threads == 1 else f"{threads} threads (wall)"
        head = ("parameters", f"ns per parameter, {shown}", "encrypt", "online half", "add", "decrypt",
                "bytes", "encrypt / plain add", "add / plain add")  # fmt: skip
        rows = [
            (f"{params:,}", f"{scheme} ({backend})", *(_cell(steps.get(step), threads) for step in STEPS),
             _wire(steps), _ratio(steps.get("encrypt")), _ratio(steps.get("add")))
            for (scheme, backend, params), steps in lines.items()
        ]  # fmt: skip
        tables.append(Table(head, tuple(rows)))
    return tables


def _cell(cost: Cost | None, threads: int) -> str:
    if cost is None:
        return "-"
    value = _figure(cost.ns_per_param)
    return value if threads == 1 else f"{value} ({_figure(cost.wall_ns_per_param)})"


def _ratio(cost: Cost | None) -> str:
    return "-" if cost is None else _figure(cost.ratio_to_plain_add)


def _wire(steps: Mapping[str, Cost]) -> str:
    wire = next(iter(steps.values())).wire_bytes_per_param
    return "-" if wire is None else f"{wire:.4g}"


def _figure(value: float) -> str:
    return (
        f"{value:,.0f}" if value >= 1000 else np.format_float_positional(value, 3, fractional=False, trim="-")
    )
