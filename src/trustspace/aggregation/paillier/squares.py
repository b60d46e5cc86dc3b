"""A number as a sum of three squares: what makes "not negative" an equation.

Every n = 1 (mod 4) is one (Legendre). Rabin and Shallit, "Randomized algorithms in number theory" (Comm. Pure Appl.
Math. 39, 1986): subtract random even squares until a prime remains, which is 1 modulo 4 and therefore a sum of two.
"""

from __future__ import annotations

import math

from trustspace.aggregation.paillier.arithmetic import below, is_prime, power

# Below this some numbers leave no prime, and all can be tried.
_SMALL = 1 << 16


def three_squares(n: int) -> tuple[int, int, int]:
    """a, b, c >= 0 with a^2 + b^2 + c^2 = n, for n = 1 (mod 4) that is not negative."""
    assert n >= 0
    assert n % 4 == 1
    if n < _SMALL:
        return _by_trial(n)
    while True:
        a = 2 * below(math.isqrt(n) // 2 + 1)
        rest = n - a * a
        if rest > 2 and is_prime(rest):
            return a, *_two_squares(rest)


def _by_trial(n: int) -> tuple[int, int, int]:
    root = math.isqrt(n)
    for a in range(root + 1):
        for b in range(math.isqrt(n - a * a) + 1):
            c = math.isqrt(n - a * a - b * b)
            if a * a + b * b + c * c == n:
                return a, b, c
    raise AssertionError  # Legendre's theorem


def _two_squares(p: int) -> tuple[int, int]:
    """A prime p = 1 (mod 4) by Euclid's algorithm on p and a root of -1 (Hermite; Brillhart 1972)."""
    base = 2
    while (root := power(base, (p - 1) // 4, p)) * root % p != p - 1:
        base += 1
    a, b = p, int(root)
    while b * b > p:
        a, b = b, a % b
    return b, math.isqrt(p - b * b)
