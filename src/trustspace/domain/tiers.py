"""How strongly a sandbox isolates, in the words that grants, offers and certificates use.

The order is by what a job reaches when the outermost wall has a hole. Under gVisor that is a kernel of its own, in a
process that is walled in again. In namespaces it is the host's kernel, in an empty root where other processes, files
and networks do not exist; Landlock closes even that root once more. With Landlock and a filter alone everything of the
host is in sight of the kernel's own checks, and one wrong rule would be enough: that tier comes last, although its
filter lets fewer calls through than any other.
"""

from __future__ import annotations

from typing import Final

TIER_GVISOR: Final = "gvisor"
TIER_FULL: Final = "namespaces+landlock+seccomp"
TIER_WITHOUT_LANDLOCK: Final = "namespaces+seccomp"
TIER_WITHOUT_NAMESPACES: Final = "landlock+seccomp"
# Strongest first. A host that gives none is refused.
TIERS: Final = (TIER_GVISOR, TIER_FULL, TIER_WITHOUT_LANDLOCK, TIER_WITHOUT_NAMESPACES)
ANY_TIER: Final = "any"


def tier_satisfies(tier: str, demanded: str) -> bool:
    """Whether isolation at ``tier`` meets a demand (a tier or "any")."""
    if tier not in TIERS:
        return False
    return demanded == ANY_TIER or (demanded in TIERS and TIERS.index(tier) <= TIERS.index(demanded))


def weaker(first: str, second: str) -> str:
    """The weaker of two sandboxes: what can be said of both."""
    order = {tier: rank for rank, tier in enumerate(TIERS)}
    return max(first, second, key=lambda tier: order.get(tier, len(order)))


def stronger(first: str, second: str) -> str:
    """The stronger of two demands."""
    order = {tier: rank for rank, tier in enumerate(TIERS)}
    return min(first, second, key=lambda tier: order.get(tier, len(order)))
