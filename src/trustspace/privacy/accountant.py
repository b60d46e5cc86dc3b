"""The privacy accountant of DP-SGD: what the noise of a training is worth, as (epsilon, delta).

Whoever takes part in a step does so with probability ``rate``, independently (Poisson sampling); the clipped sum gets
Gaussian noise of ``noise`` times the clipping norm. Whether somebody's data are in or out (their part is left away)
changes the chance of any result by at most a factor e^epsilon, apart from delta.

Renyi differential privacy of that at integer orders: Mironov, Talwar and Zhang, "Renyi Differential Privacy of the
Sampled Gaussian Mechanism" (2019), section 3.3, equation 4. Conversion to epsilon: Canonne, Kamath and Steinke, "The
Discrete Gaussian for Differential Privacy" (2020), proposition 12 (also Balle et al. 2020, theorem 21). An upper
bound, by at most some tens of percent above what numerical composition gives.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Large orders matter for small epsilon, small ones for large epsilon; between these the bound hardly moves.
ORDERS = (*range(2, 65), *range(68, 129, 4), *range(136, 257, 8), 288, 320, 384, 448, 512, 768, 1024)
# Noise is found to four decimals, upwards, so that every machine comes to the same.
NOISE_STEPS = 10_000
LEAST_NOISE, MOST_NOISE = 0.3, 10_000.0
Floats = NDArray[np.float64]


@lru_cache(maxsize=4096)
def renyi(noise: float, rate: float, order: int) -> float:
    """Renyi divergence of one step at an integer ``order`` of at least 2, in nats.

    ``noise`` is above 0, in clipping norms; ``rate`` from 0 to 1.
    """
    if rate == 0.0:
        return 0.0
    if rate == 1.0:
        return order / (2 * noise * noise)
    k = np.arange(order + 1, dtype=np.float64)
    logarithms = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, order + 1, dtype=np.float64)))])
    ways = logarithms[-1] - logarithms - logarithms[::-1]
    terms = ways + k * math.log(rate) + (order - k) * math.log1p(-rate) + k * (k - 1) / (2 * noise * noise)
    top = float(terms.max())
    # The sum is at least 1, by Jensen's inequality: below that there is only rounding.
    summed = top + math.log(float(np.exp(terms - top).sum()))
    return max(0.0, summed) / (order - 1)


def epsilon_of(noise: float, rate: float, steps: int, delta: float) -> float:
    """The epsilon of ``steps`` steps, at ``delta`` between 0 and 1; infinite without noise."""
    if steps <= 0 or rate <= 0.0:
        return 0.0
    if not noise > 0.0:
        return math.inf
    found: list[float] = [
        steps * renyi(noise, rate, order)
        + math.log1p(-1 / order)
        - (math.log(delta) + math.log(order)) / (order - 1)
        for order in ORDERS
    ]
    return max(0.0, min(found))


def noise_for(epsilon: float, rate: float, steps: int, delta: float) -> float | None:
    """The least noise, to four decimals, whose epsilon is at most ``epsilon``; None where none up to 10,000 is."""

    def is_enough(units: int) -> bool:
        return epsilon_of(units / NOISE_STEPS, rate, steps, delta) <= epsilon

    low, high = round(LEAST_NOISE * NOISE_STEPS), round(MOST_NOISE * NOISE_STEPS)
    if not is_enough(high):
        return None
    if is_enough(low):
        return low / NOISE_STEPS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high / NOISE_STEPS
