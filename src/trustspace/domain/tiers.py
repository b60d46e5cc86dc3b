"""How strongly a sandbox isolates, in the words that grants, offers and certificates use."""

from __future__ import annotations

from typing import Final

TIER_FULL: Final = "namespaces+landlock+seccomp"
TIER_WITHOUT_LANDLOCK: Final = "namespaces+seccomp"
# Strongest first. A host that gives neither is refused.
TIERS: Final = (TIER_FULL, TIER_WITHOUT_LANDLOCK)
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
