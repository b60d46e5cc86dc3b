"""Whether some group of patients is told apart where the average of all is not: an average hides a few.

The same area under the curve as for everybody, for each group by itself, with the interval widened for their number
(Bonferroni), so that no group stands out merely because many were looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trustspace.privacy.audit import CONFIDENCE
from trustspace.privacy.intervals import area, null_reach
from trustspace.privacy.membership import Estimate, turned

MOST_GROUPS = 16
# Of fewer on either side an interval says nothing whatever was measured.
FEWEST = 8


@dataclass(frozen=True)
class Group:
    """A group by name, how many of it were in the data and how many not, and how well they are told apart."""

    name: str
    members: int
    others: int
    auc: Estimate


def measure_groups(
    scores: NDArray[np.float64],
    members: NDArray[np.bool_],
    groups: Mapping[str, NDArray[np.bool_]],
    confidence: float = CONFIDENCE,
) -> tuple[Group, ...]:
    """The groups that are large enough to say something of, at most MOST_GROUPS, the one that stands out most first.

    ``scores``: [patients], lower the more like a member; ``members``: [patients]; ``groups``: who is in each, bool
    [patients]. All intervals hold together at ``confidence``.
    """
    large = {
        name: inside
        for name, inside in groups.items()
        if min(int((inside & members).sum()), int((inside & ~members).sum())) >= FEWEST
    }
    chosen = sorted(large, key=lambda name: -int((large[name] & ~members).sum()))[:MOST_GROUPS]
    each = 1.0 - (1.0 - confidence) / max(1, len(chosen))
    found = [_group(name, scores, members, large[name], each) for name in chosen]
    return tuple(sorted(found, key=lambda group: -turned(group.auc).value))


def _group(
    name: str,
    scores: NDArray[np.float64],
    members: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    confidence: float,
) -> Group:
    own, others = scores[inside & members], scores[inside & ~members]
    value, low, high = area(own, others, confidence)
    reach = null_reach(len(own), len(others), confidence)
    return Group(name, len(own), len(others), Estimate(value, low, high, 0.5, 0.5 + reach))
