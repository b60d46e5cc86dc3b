"""Exact and near-exact intervals for shares and areas: what a figure of few patients can and cannot say.

NumPy and ``math`` only. Every interval here is two-sided at ``confidence``, and none has width 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_FRACTION_TERMS = 400
_GRID = 128
# To a millionth and less, as far as anybody reads a share.
_BISECTIONS = 22


def normal_quantile(probability: float) -> float:
    """The standard normal's quantile (Wichura 1988, algorithm AS 241, as in :mod:`statistics`)."""
    return NormalDist().inv_cdf(probability)


def regularised_beta(a: float, b: float, x: Floats) -> Floats:
    """I_x(a, b), the Beta(a, b) distribution's CDF, elementwise; ``a``, ``b`` > 0, ``x`` in [0, 1].

    Lentz's continued fraction (Press et al., Numerical Recipes, 6.4; NIST DLMF 8.17.22).
    """
    x = np.clip(np.asarray(x, dtype=np.float64), 0.0, 1.0)
    swapped = x > (a + 1.0) / (a + b + 2.0)
    # The fraction converges fast on this side of the mean only.
    y = np.where(swapped, 1.0 - x, x)
    p = np.where(swapped, b, a)
    q = np.where(swapped, a, b)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    with np.errstate(divide="ignore"):
        log_front = front + p * np.log(y) + q * np.log1p(-y) - np.log(p)
    tiny = 1e-300
    c = np.ones_like(y)
    d = 1.0 - (p + q) * y / (p + 1.0)
    d = 1.0 / np.where(np.abs(d) < tiny, tiny, d)
    value = d.copy()
    for term in range(1, _FRACTION_TERMS):
        even = term * (q - term) * y / ((p + 2 * term - 1.0) * (p + 2 * term))
        odd = -(p + term) * (p + q + term) * y / ((p + 2 * term) * (p + 2 * term + 1.0))
        for step in (even, odd):
            d = 1.0 + step * d
            d = 1.0 / np.where(np.abs(d) < tiny, tiny, d)
            c = 1.0 + step / c
            c = np.where(np.abs(c) < tiny, tiny, c)
            value *= c * d
        if bool((np.abs(c * d - 1.0) < 1e-13).all()):
            break
    result = np.exp(log_front) * value
    clipped: Floats = np.clip(np.where(swapped, 1.0 - result, result), 0.0, 1.0)
    return clipped


def binomial_at_least(count: int, trials: int, share: Floats | float) -> Floats:
    """P[Binomial(trials, share) >= count], elementwise over ``share``."""
    shares = np.asarray(share, dtype=np.float64)
    if count <= 0:
        return np.ones_like(shares)
    if count > trials:
        return np.zeros_like(shares)
    return regularised_beta(float(count), float(trials - count + 1), shares)


def clopper_pearson(count: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share of which ``count`` of ``trials`` were seen (Clopper and Pearson 1934)."""
    half = (1.0 - confidence) / 2.0
    low = 0.0 if count == 0 else _solve(lambda p: float(binomial_at_least(count, trials, p)) - half)
    high = 1.0
    if count < trials:
        high = _solve(lambda p: float(binomial_at_least(count + 1, trials, p)) - (1.0 - half))
    return low, high


def beyond(
    count: int, tested: int, allowed: int, compared: int, confidence: float = 0.95
) -> tuple[float, float]:
    """The interval of a share beyond an order statistic, with the uncertainty of where that lies.

    ``count`` of ``tested`` values lie beyond the one that ``allowed`` of ``compared`` others lie beyond. If all came
    from one distribution, the share c = (allowed + 1) / (compared + 1) would be expected, and the number beyond would
    be negative hypergeometric whatever that distribution is. Away from that, the two samples are taken to be Lehmann
    alternatives (Lehmann 1953, "The power of rank tests"; as ROC curves, Goenen and Heller 2010): a point that a share
    u of the compared population lies beyond, a share u ** g of the tested one does. U is Beta(allowed + 1, compared -
    allowed); the interval is that of c ** g, by inverting the distribution of ``count`` for g. So the test against
    chance (g = 1) is exact for every sample size, and only the other end leans on the shape of the curve.
    """
    low = 0.0
    if count:
        half = (1.0 - confidence) / 2.0
        at_least = _at_least(count, tested, allowed, compared)
        low = _solve(lambda share: at_least(share) - half)
    return low, beyond_at_most(count, tested, allowed, compared, confidence)


def beyond_at_most(count: int, tested: int, allowed: int, compared: int, confidence: float = 0.95) -> float:
    """The upper end of :func:`beyond`."""
    if count == tested:
        return 1.0
    rest = (1.0 + confidence) / 2.0
    at_least = _at_least(count + 1, tested, allowed, compared)
    return _solve(lambda share: at_least(share) - rest)


def _at_least(count: int, tested: int, allowed: int, compared: int) -> Callable[[float], float]:
    """P[at least ``count`` of ``tested`` lie beyond], for the share that does at the chance level of the others."""
    a, b = allowed + 1.0, float(compared - allowed)
    middle, spread = math.log(a / b), math.sqrt(1.0 / a + 1.0 / b)
    # Of few allowed, the distribution is skew to the left.
    logits = np.linspace(middle - (8.0 + 6.0 / a) * spread, middle + 8.0 * spread, _GRID)
    log_u = -np.logaddexp(0.0, -logits)
    density = a * log_u - b * np.logaddexp(0.0, logits)
    weights = np.exp(density - density.max())
    weights /= weights.sum()
    log_chance = math.log((allowed + 1) / (compared + 1))
    return lambda share: float(
        weights @ binomial_at_least(count, tested, np.exp(math.log(share) / log_chance * log_u))
    )


def area(members: Floats, others: Floats, confidence: float = 0.95) -> tuple[float, float, float]:
    """P(a member's value < another's), ties half, with an interval: (value, low, high).

    The variance is DeLong, DeLong and Clarke-Pearson's (1988), by midranks (Sun and Xu 2014, in O(n log n)); the
    interval is symmetric in the logit (Pepe 2003, section 5.2.5), where it cannot leave [0, 1]. Where that variance
    says nothing (0, or fewer than two values on a side) the interval is one that always holds: the smaller side's
    number of disjoint pairs are independent trials, so Clopper-Pearson of them for 0 and 1, and for anything between
    Hoeffding's bound for U-statistics (1963, section 5b).
    """
    n, m = len(members), len(others)
    together = midranks(np.concatenate([members, others]))
    # Of each member the share of the others above it, and of each of the others the share of members below it.
    above = 1.0 - (together[:n] - midranks(members)) / m
    below = (together[n:] - midranks(others)) / n
    value = float(np.clip(above.mean(), 0.0, 1.0))
    pairs = min(n, m)
    variance = 0.0
    if pairs >= 2:
        variance = float(above.var(ddof=1)) / n + float(below.var(ddof=1)) / m
    if variance > 1e-15 and 0.0 < value < 1.0:
        reach = normal_quantile(0.5 + confidence / 2.0) * math.sqrt(variance) / (value * (1.0 - value))
        middle = math.log(value / (1.0 - value))
        return value, _expit(middle - reach), _expit(middle + reach)
    if value in {0.0, 1.0}:
        low, high = clopper_pearson(pairs if value == 1.0 else 0, pairs, confidence)
        return value, low, high
    reach = math.sqrt(math.log(2.0 / (1.0 - confidence)) / (2.0 * pairs))
    return value, max(0.0, value - reach), min(1.0, value + reach)


def null_reach(members: int, others: int, confidence: float = 0.95) -> float:
    """Half the width of the interval of an area of 0.5 between equal distributions (Mann and Whitney 1947)."""
    variance = (members + others + 1.0) / (12.0 * members * others)
    return min(0.5, normal_quantile(0.5 + confidence / 2.0) * math.sqrt(variance))


def midranks(values: Floats) -> Floats:
    """The rank of each value, from 1, ties sharing the mean of theirs."""
    _, inverse, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    ranks: Floats = (last - (sizes - 1) / 2.0)[inverse]
    return ranks


def _expit(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value)) if value > -700.0 else 0.0


def _solve(rising: Callable[[float], float]) -> float:
    """Where a function that rises over (0, 1) crosses 0, by bisection."""
    low, high = 1e-12, 1.0 - 1e-12
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        low, high = (low, middle) if rising(middle) >= 0.0 else (middle, high)
    return (low + high) / 2.0
