"""Rules for numbers in tables that one or two people make up, or that too few people hold up.

Dominance and the p% rule are those of Hundepool et al., Statistical Disclosure Control (Wiley 2012), section 4.2.2, and
of the ACRO tool (Smith et al., SACRO: Semi-Automated Checking of Research Outputs, 2023), as are the degrees of freedom
that a regression must leave. They concern sums of amounts that are not negative, and so means as well: who knows a
total and one large part of it knows the rest to within what remains. What counts is a patient's part, all rows added.

A source unit knows the parts of its own patients only. Where several units add up, the two largest can be in different
ones: then at least one of them has a patient so large that :func:`may_dominate` says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Amounts:
    """The two largest parts that patients of one source unit have in a column's sum.

    ``negative``: whether some of the unit's values are below 0, where the rules say nothing.
    """

    column: str
    largest: float
    second: float
    negative: bool = False


def amounts(column: str, values: NDArray[np.float64], patients: NDArray[np.int64]) -> Amounts:
    """Of ``values`` [rows], NaN where missing, of ``patients`` [rows]."""
    present = ~np.isnan(values)
    values = values[present]
    if not len(values):
        return Amounts(column, 0.0, 0.0)
    _, owner = np.unique(patients[present], return_inverse=True)
    parts = np.sort(np.bincount(owner, weights=values))
    second = float(parts[-2]) if len(parts) > 1 else 0.0
    return Amounts(column, float(parts[-1]), second, bool((values < 0).any()))


def dominates(parts: Amounts, total: float, percent: int) -> bool:
    """Whether the two largest make up at least so many percent of a total above 0."""
    return total > 0 and 100 * (parts.largest + parts.second) >= percent * total


def is_known_too_well(parts: Amounts, total: float, percent: int) -> bool:
    """Whether the second largest, who knows its own part, knows the largest to within less than so many percent."""
    return total > 0 and 100 * (total - parts.largest - parts.second) < percent * parts.largest


def may_dominate(parts: Amounts, total: float, percent: int, p: int) -> bool:
    """Whether one of these with an equal or smaller one elsewhere could break one of the two rules.

    Of x1 + x2 >= k T the larger one is at least k T / 2; of T - x1 - x2 < p x1, it is above T / (2 + p).
    """
    return total > 0 and parts.largest >= min(percent / 200, 1 / (2 + p / 100)) * total


def degrees_of_freedom(observations: int, parameters: int) -> int:
    """Observations that the fitted parameters leave free, below 0 where there are more parameters."""
    return observations - parameters
