"""What one training run shows at least: a lower bound of the epsilon of differential privacy, in nats.

Steinke, Nasr and Jagielski, "Privacy Auditing with One (1) Training Run" (NeurIPS 2023): each audited patient was in
or out by an independent fair coin; whoever sees the model guesses some of the coins and abstains from the rest. Under
(epsilon, delta)-differential privacy so many right guesses are unlikely (theorem 5.2), and the smallest epsilon that
makes them likely enough is the bound. A bound of 0 says that this audit found nothing, not that nothing is there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trustspace.errors import InvalidInput

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Side = Literal["both", "in", "out"]

CONFIDENCE = 0.95
# Fewer guesses than the smallest could not show an epsilon of 1 after the correction, were they all right.
_FEWEST_GUESSES = 16
_LARGEST_EPSILON = 64.0
_BISECTIONS = 40
# Ties are broken by it, and not by where a patient stands: members usually stand first.
_TIE_SEED = 20230515


@dataclass(frozen=True)
class Bound:
    """An epsilon that is exceeded with the audit's confidence, and the guesses that show it (0: none do)."""

    epsilon: float
    guesses: int
    right: int


def epsilon_lower_bound(
    guesses: int, right: int, delta: float = 0.0, confidence: float = CONFIDENCE, audited: int | None = None
) -> float:
    """The largest epsilon that ``right`` of ``guesses`` right guesses rule out, 0 where they rule out none.

    ``audited``: all patients whose coin was tossed, guessed or not (left out: ``guesses``); it matters with ``delta``.
    Raises InvalidInput for counts that cannot be.
    """
    everyone = guesses if audited is None else audited
    if not 0 <= right <= guesses <= everyone or not 0.0 <= delta < 1.0 or not 0.0 < confidence < 1.0:
        raise InvalidInput("These are not the counts of an audit.")
    low, high = 0.0, _LARGEST_EPSILON
    if p_value(guesses, right, low, delta, everyone) >= 1.0 - confidence:
        return 0.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        if p_value(guesses, right, middle, delta, everyone) < 1.0 - confidence:
            low = middle
        else:
            high = middle
    return low


def p_value(guesses: int, right: int, epsilon: float, delta: float, audited: int) -> float:
    """How likely so many right guesses are at most, under (epsilon, delta)-differential privacy (theorem 5.2).

    P[B >= v] + 2 m delta max_i P[v > B >= v - i] / i, where B is Binomial(r, e^epsilon / (1 + e^epsilon)).
    """
    counts = np.arange(guesses + 1, dtype=np.float64)
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, guesses + 1)))])
    choices = log_factorials[-1] - log_factorials - log_factorials[::-1]
    log_right, log_wrong = -math.log1p(math.exp(-epsilon)), -epsilon - math.log1p(math.exp(-epsilon))
    likely = np.exp(choices + counts * log_right + (guesses - counts) * log_wrong)
    value = float(likely[right:].sum())
    if delta > 0.0 and right > 0:
        below = np.cumsum(likely[:right][::-1]) / np.arange(1, right + 1)
        value += 2.0 * audited * delta * float(below.max())
    return min(value, 1.0)


def budgets(audited: int) -> tuple[tuple[Side, int], ...]:
    """The guesses that are tried, fixed by nothing but how many patients are audited: which end, and how many.

    16, 32, 64 and so on: half of them in and half out of the data, all in, or all out (which of the three a model
    gives away varies: one that has its rows by heart is sure of who was out).
    """
    found: list[tuple[Side, int]] = []
    count = _FEWEST_GUESSES
    while count <= audited:
        found.append(("both", count))
        if 2 * count <= audited:
            found += [("in", count), ("out", count)]
        count *= 2
    return tuple(found)


def best_bound(scores: Floats, is_member: Flags, delta: float = 0.0, confidence: float = CONFIDENCE) -> Bound:
    """The largest bound over all :func:`budgets`, each at the confidence that they leave it (Bonferroni).

    ``scores``: [audited], higher is less like a member; ``is_member``: what each patient's coin said. Whoever was not
    in or out by its own fair coin must not be among them.
    """
    audited = len(scores)
    tried = budgets(audited)
    best = Bound(0.0, 0, 0)
    if not tried:
        return best
    shuffled = np.random.default_rng(_TIE_SEED).permutation(audited)
    inside = is_member[shuffled][np.argsort(scores[shuffled], kind="stable")]
    alpha = (1.0 - confidence) / len(tried)
    for side, count in tried:
        first = count // 2 if side == "both" else count if side == "in" else 0
        last = count - first
        right = int(inside[:first].sum()) + int((~inside[audited - last :]).sum())
        if p_value(count, right, best.epsilon, delta, audited) < alpha:
            found = epsilon_lower_bound(count, right, delta, 1.0 - alpha, audited)
            best = Bound(found, count, right)
    return best
