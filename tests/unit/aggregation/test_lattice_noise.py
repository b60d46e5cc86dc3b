"""The noise of a lattice sum, whose sum the members learn: what it must look like, and what another shape would cost.

The attacks run on the scheme itself in a ring of 32 coefficients, where linear algebra is quick; what they find
depends on the noise's shape, not on the ring's size.
"""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest

from trustspace.aggregation.lattice import reference, scheme
from trustspace.aggregation.lattice.parameters import NOISE_LIMIT, NOISE_VARIANCE, L, S

N = 32
SMALL = dataclasses.replace(
    L, n=N, psis=tuple(pow(psi, L.n // N, q) for psi, q in zip(L.psis, L.primes, strict=True))
)
PRIME = SMALL.primes[0]
PUBLIC = bytes(range(16))
BLOCKS = 200


def solved(equations, unknowns, prime):
    """The one solution of linear equations (coefficients and value last) modulo a prime; None where there is none."""
    rows = [[int(x) % prime for x in row] for row in equations]
    for column in range(unknowns):
        at = next((i for i in range(column, len(rows)) if rows[i][column]), None)
        if at is None:
            return None
        rows[column], rows[at] = rows[at], rows[column]
        scale = pow(rows[column][column], -1, prime)
        rows[column] = [x * scale % prime for x in rows[column]]
        for i, row in enumerate(rows):
            if i != column and row[column]:
                rows[i] = [(x - row[column] * y) % prime for x, y in zip(row, rows[column], strict=True)]
    return [row[unknowns] for row in rows[:unknowns]]


def sent_by_two(noises):
    """Row 0 of what two members send, whose words are zero, and their secrets there: with given noise."""
    secrets, rows = [], []
    for errors in noises:
        secret = scheme.draw_secret(SMALL)
        secrets.append(secret)
        transformed = reference.uniform(SMALL, PUBLIC, 0, 0, BLOCKS) * secret[0].astype(np.uint64)[:, None]
        product = reference.inverse_transform(SMALL, 0, transformed % np.uint64(PRIME))
        rows.append((product.astype(np.int64) + errors) % PRIME)
    return rows, secrets


def what_sums_at_the_edge_give_away(sent, told, edge):
    """A member's secret in row 0, from what it sent and the sum of both members' noise; None with too little told."""
    a = reference.inverse_transform(SMALL, 0, reference.uniform(SMALL, PUBLIC, 0, 0, BLOCKS)).astype(np.int64)
    equations = []
    for j, block in np.argwhere(np.abs(told) == 2 * edge):
        own = edge if told[j, block] > 0 else -edge
        # Coefficient j of a * s, for s unknown: a[j - i], with the sign that x^n = -1 gives.
        turned = [a[j - i, block] if i <= j else -a[N + j - i, block] for i in range(N)]
        equations.append([*turned, sent[j, block] - own])
    return solved(equations, N, PRIME) if len(equations) > N else None


def uniform_noise(seed, edge):
    draw = random.Random(seed)
    return np.array([[draw.randint(-edge, edge) for _ in range(BLOCKS)] for _ in range(N)], np.int64)


def test_uniform_noise_would_give_a_secret_away():
    """Positive control of the next test: two in 225 sums of noise say what both parts were."""
    noises = uniform_noise(1, 7), uniform_noise(2, 7)
    (sent, _), (secret, _) = sent_by_two(noises)
    found = what_sums_at_the_edge_give_away(sent, noises[0] + noises[1], 7)
    own = reference.inverse_transform(SMALL, 0, secret[0].astype(np.uint64)[:, None])[:, 0]
    assert found == own.tolist()


def test_binomial_noise_has_no_edge_that_is_ever_met():
    noises = [reference.noise_of(SMALL, bytes([seed]) * 16, 0, BLOCKS) for seed in (1, 2)]
    (sent, _), _ = sent_by_two(noises)
    told = noises[0] + noises[1]
    assert what_sums_at_the_edge_give_away(sent, told, NOISE_LIMIT) is None
    # One sum at the edge in 2^159; the largest vectors have 2^30 coefficients.
    edge = 2 / 2 ** (4 * NOISE_LIMIT)
    assert edge * 2**30 < 2**-128


@pytest.mark.parametrize("parameters", [S, L], ids=["S", "L"])
def test_what_is_left_of_one_members_noise_when_the_sum_of_two_is_known(parameters):
    """The estimate counts with a variance of (6400 - t^2) / 636 for the sum t, 10 on the whole; streams have it."""
    blocks = (1 << 18) // parameters.n
    first, second = (reference.noise_of(parameters, bytes([seed]) * 16, 0, blocks).ravel() for seed in (3, 4))
    sums = first + second
    assert np.var(first) == pytest.approx(NOISE_VARIANCE, rel=0.01)
    # The best guess at a part is half the sum.
    assert np.mean((first - sums / 2) ** 2) == pytest.approx(NOISE_VARIANCE / 2, rel=0.01)
    for t in (0, 4, 8, 12, -12):
        here = first[sums == t]
        assert np.var(here) == pytest.approx((6400 - t * t) / 636, rel=6 * math.sqrt(2 / len(here)))
