"""Which scheme sums a job's numbers: from what the job needs, by rules that everybody can apply again.

Pairwise masks cost every member a key stream for each other one, and need everybody to the end; they are the
cheapest for a few. The lattice's cost does not grow with the members, and its short secret can be shared, so that a
sum survives the loss of some. Its larger set is the one that is chosen: it has bits of security to spare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trustspace.aggregation.lattice.parameters import L, S
from trustspace.errors import InvalidInput

Wish = Literal["auto", "pairwise-masks", "lattice-s", "lattice-l"]
# Up to here masks cost less processor time than the lattice (python -m benchmarks.aggregation).
FEW = 10
PAIRWISE_MASKS = "pairwise-masks-v1"
_NAMES = {"pairwise-masks": PAIRWISE_MASKS, "lattice-s": S.name, "lattice-l": L.name}
# Above, what the members of a lattice sum reveal no longer fits what they can be sent at once.
MOST_OF_LATTICE = 128


@dataclass(frozen=True)
class Selection:
    """``scheme`` by its signed name, and how many members' reveals open a sum; ``needed`` 0: everybody's."""

    scheme: str
    needed: int


def select(units: int, wish: Wish = "auto", dropouts: int = 0, cheats: int = 0) -> Selection:
    """The scheme for a job over so many source units that can do without ``dropouts`` of them in a round.

    ``cheats``: how many members may lie about whom they opened a sum for; with 0 and more dropouts than none, any two
    sums of one round still have an honest member in common. Raises InvalidInput, naming the field and a fix, where
    the wishes do not go together.
    """
    if dropouts and wish == "pairwise-masks":
        raise InvalidInput(
            "The field {field} asks for sums that survive the loss of source units, and pairwise masks do not.",
            fix='Leave out scheme, or choose "lattice-l".', field="sums.dropouts",
        )  # fmt: skip
    if cheats and not dropouts:
        raise InvalidInput(
            "The field {field} matters only where source units may be lost.",
            fix="Remove it: without dropouts every member must help to open a sum.", field="sums.cheats",
        )  # fmt: skip
    chosen = wish
    if wish == "auto":
        by_masks = not dropouts and (units <= FEW or units > MOST_OF_LATTICE)
        chosen = "pairwise-masks" if by_masks else "lattice-l"
    if chosen == "lattice-s" and units > S.max_participants:
        raise InvalidInput(
            "The field {field} names a scheme for at most {limit} source units.",
            fix='Choose "lattice-l".', field="sums.scheme", limit=S.max_participants,
        )  # fmt: skip
    if dropouts and units > MOST_OF_LATTICE:
        raise InvalidInput(
            "The field {field} is for sums of at most {limit} source units.",
            fix="Remove it: with more, every member must help to open a sum.",
            field="sums.dropouts", limit=MOST_OF_LATTICE,
        )  # fmt: skip
    if chosen != "pairwise-masks" and units > MOST_OF_LATTICE:
        raise InvalidInput(
            "The field {field} names a scheme for at most {limit} source units.",
            fix='Choose "pairwise-masks".', field="sums.scheme", limit=MOST_OF_LATTICE,
        )  # fmt: skip
    if not dropouts:
        return Selection(_NAMES[chosen], 0)
    # As many as can still be there: every reveal more makes it harder to open what must stay closed. Of two groups of
    # that size one honest member must be in both, since it reveals for one set of members only.
    needed = units - dropouts
    if 2 * needed <= units + cheats:
        raise InvalidInput(
            "The field {field} would let two groups of source units open sums over different sets.",
            fix="Of {units} source units, {most} at most may be lost with so many cheats.",
            field="sums.dropouts", units=units, most=max((units - cheats - 1) // 2, 0),
        )  # fmt: skip
    return Selection(_NAMES[chosen], needed)
