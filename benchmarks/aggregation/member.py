"""One member's whole work for a sum, against how many members there are: where each scheme is the cheapest."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from benchmarks.aggregation.schemes import BOUND, chunks, integers, vector
from trustspace.aggregation.fixedpoint import FixedPoint
from trustspace.aggregation.lattice.parameters import PARAMETERS
from trustspace.aggregation.scheme import SECRET_BYTES, Protection, Scheme, Words
from trustspace.aggregation.schemes import scheme_of
from trustspace.aggregation.selection import PAIRWISE_MASKS

MEMBERS = (2, 3, 4, 6, 8, 10, 16, 32)
STEPS = ("begin", "protect", "unlock", "open", "whole")
T = TypeVar("T")


def schemes(members: int) -> list[Scheme]:
    """Those whose sums so many may have, all of whom open together."""
    fitting = (p.name for p in PARAMETERS if members <= p.max_participants)
    return [scheme_of(name) for name in (PAIRWISE_MASKS, *fitting)]


def round_of(scheme: Scheme, members: int, params: int) -> dict[str, float]:
    """Nanoseconds of processor time per parameter of the member in the middle, by step.

    Raises RuntimeError where the sum is not the exact one.
    """
    fixed = FixedPoint(members, BOUND, scheme.largest)
    context, own, everybody = os.urandom(32), members // 2, range(members)
    pairs = {(a, b): os.urandom(SECRET_BYTES) for b in everybody for a in range(b)}
    total = np.zeros(-(-params // scheme.block) * scheme.block, np.uint32)
    exact = np.zeros(params, np.int64)
    spent = dict.fromkeys(STEPS, 0.0)
    protections: list[Protection] = []
    for member in everybody:
        secrets = {o: pairs[min(o, member), max(o, member)] for o in everybody if o != member}
        values = vector(member, params)
        protection, begun = _timed(lambda m=member, s=secrets: scheme.begin(m, s, context))
        protected, worked = _timed(lambda p=protection, v=values: _protect(scheme, p, fixed, v))
        if member == own:
            spent |= {"begin": begun, "protect": worked}
        scheme.add_into(total, protected)
        protections.append(protection)
        exact += integers(values, fixed.scale)
    reveals = {member: p.reveal(everybody, {}) for member, p in enumerate(protections)}
    opener, sample = protections[own], total[: scheme.block]
    _, spent["unlock"] = _timed(lambda: opener.unlock(everybody, reveals, sample))
    opened, spent["open"] = _timed(lambda: _open(opener, fixed, total, params))
    if not np.array_equal(opened.view(np.int32), exact):
        raise RuntimeError(f"{scheme.name} does not give the exact sum.")
    spent["whole"] = sum(spent.values())
    return {step: nanoseconds / params for step, nanoseconds in spent.items()}


def _protect(scheme: Scheme, protection: Protection, fixed: FixedPoint, values: Any) -> Words:
    protected = np.empty(-(-len(values) // scheme.block) * scheme.block, np.uint32)
    for piece in chunks(len(protected)):
        words = fixed.encode(values[piece], 1.0)
        if len(words) < piece.stop - piece.start:
            words = np.concatenate((words, np.zeros(piece.stop - piece.start - len(words), np.uint32)))
        protected[piece] = protection.protect(piece.start, words)
    return protected


def _open(protection: Protection, fixed: FixedPoint, total: Words, params: int) -> Words:
    opened = np.empty(len(total), np.uint32)
    for piece in chunks(len(total)):
        opened[piece] = protection.open(piece.start, total[piece])
        fixed.decode(opened[piece])
    return opened[:params]


def _timed(action: Callable[[], T]) -> tuple[T, float]:
    started = time.process_time_ns()
    result = action()
    return result, float(time.process_time_ns() - started)
