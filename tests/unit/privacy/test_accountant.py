"""The privacy accountant against Opacus, against figures of dp-accounting, and against what is known exactly."""

from __future__ import annotations

import math

import pytest
from scipy.stats import norm

from trustspace.privacy.accountant import LEAST_NOISE, ORDERS, epsilon_of, noise_for, renyi

# (noise, rate, steps, delta, epsilon by Renyi divergence, epsilon by privacy loss distribution): dp-accounting 0.6.0,
# RdpAccountant and PLDAccountant with their defaults, of
# SelfComposedDpEvent(PoissonSampledDpEvent(rate, GaussianDpEvent(noise)), steps).
DP_ACCOUNTING = [
    (1.1, 0.01, 1000, 1e-5, 1.71177, 1.51537),
    (0.8, 0.02, 500, 1e-5, 5.37186, 4.66801),
    (2.0, 0.1, 300, 1e-4, 3.99189, 3.59654),
    (1.0, 0.1, 100, 1e-3, 5.65505, 4.78435),
    (4.0, 1.0, 20, 1e-5, 5.37773, 4.98331),
    (1.3, 0.0625, 640, 1e-4, 6.70746, 6.05194),
    (0.6, 0.005, 2000, 1e-6, 7.40230, 6.35258),
    (8.0, 0.05, 4000, 1e-5, 1.68573, 1.54669),
    (1.0, 256 / 60000, 14063, 1e-5, 3.07879, 2.82273),
]


@pytest.mark.parametrize(("noise", "rate", "steps", "delta", "by_renyi", "by_loss"), DP_ACCOUNTING)
def test_it_agrees_with_dp_accounting(noise, rate, steps, delta, by_renyi, by_loss) -> None:
    ours = epsilon_of(noise, rate, steps, delta)
    # Their orders are also fractions: ours is never below, and at most 3 % above.
    assert by_renyi * (1 - 1e-5) <= ours <= by_renyi * 1.03
    # It is an upper bound of the (all but) exact one.
    assert by_loss < ours < by_loss * 1.25


@pytest.mark.parametrize(("noise", "rate"), [(0.6, 0.005), (1.1, 0.01), (2.0, 0.1), (5.0, 0.5), (3.0, 1.0)])
def test_one_step_is_the_integral_of_its_definition(noise, rate) -> None:
    """Renyi divergence of the mixture from the Gaussian (Mironov et al. 2019, definition 4), summed up on a grid."""
    for order in (2, 3, 7, 20):
        step = noise / 400
        grid = [step * k for k in range(int(-20 * noise / step), int((20 * noise + 2 * order) / step))]
        total = 0.0
        for x in grid:
            ratio = (1 - rate) + rate * math.exp(min(600.0, (2 * x - 1) / (2 * noise**2)))
            total += math.exp(order * math.log(ratio) - x * x / (2 * noise**2)) * step
        total /= noise * math.sqrt(2 * math.pi)
        assert renyi(noise, rate, order) == pytest.approx(math.log(total) / (order - 1), rel=1e-6, abs=1e-12)


def test_the_bound_holds_for_the_gaussian_mechanism() -> None:
    """Without sampling, epsilon is known exactly (Balle and Wang 2018, theorem 8)."""

    def exact_delta(epsilon: float, noise: float) -> float:
        a, b = 1 / (2 * noise), epsilon * noise
        return float(norm.cdf(a - b) - math.exp(epsilon) * norm.cdf(-a - b))

    for noise in (0.7, 1.0, 2.0, 6.0):
        for delta in (1e-3, 1e-5, 1e-8):
            found = epsilon_of(noise, 1.0, 1, delta)
            assert exact_delta(found, noise) <= delta
            # And it is not far off: with a fifth less, the bound would be wrong.
            assert exact_delta(found * 0.8, noise) > delta


def test_more_steps_more_chances_and_less_noise_cost_more() -> None:
    base = epsilon_of(1.0, 0.02, 400, 1e-5)
    assert epsilon_of(1.0, 0.02, 401, 1e-5) > base
    assert epsilon_of(1.0, 0.021, 400, 1e-5) > base
    assert epsilon_of(0.99, 0.02, 400, 1e-5) > base
    assert epsilon_of(1.0, 0.02, 400, 0.9e-5) > base


def test_nothing_done_costs_nothing_and_no_noise_everything() -> None:
    assert epsilon_of(1.0, 0.02, 0, 1e-5) == 0.0
    assert epsilon_of(1.0, 0.0, 10, 1e-5) == 0.0
    assert epsilon_of(0.0, 0.02, 1, 1e-5) == math.inf
    assert renyi(1.0, 0.0, 2) == 0.0
    assert epsilon_of(1000.0, 0.01, 1, 0.5) == 0.0
    assert noise_for(100.0, 0.01, 1, 0.01) == LEAST_NOISE
    assert min(ORDERS) == 2


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0, 8.0])
@pytest.mark.parametrize(
    ("rate", "steps", "delta"), [(1.0, 20, 1e-4), (0.05, 400, 1e-3), (0.004, 2500, 1e-5)]
)
def test_the_noise_for_an_epsilon_is_enough_and_no_more(epsilon, rate, steps, delta) -> None:
    noise = noise_for(epsilon, rate, steps, delta)
    assert noise is not None
    assert epsilon_of(noise, rate, steps, delta) <= epsilon < epsilon_of(noise - 1e-4, rate, steps, delta)
    assert noise == round(noise, 4)


def test_an_epsilon_that_no_noise_gives_is_said() -> None:
    assert noise_for(1e-9, 1.0, 10**9, 1e-6) is None
