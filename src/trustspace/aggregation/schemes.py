"""The schemes by name, as a signed job calls them."""

from __future__ import annotations

from trustspace.aggregation.lattice.parameters import PARAMETERS
from trustspace.aggregation.lattice.scheme import LatticeSum
from trustspace.aggregation.masks import PairwiseMasks
from trustspace.aggregation.scheme import Scheme
from trustspace.aggregation.selection import PAIRWISE_MASKS
from trustspace.errors import InvalidInput


def scheme_of(name: str, needed: int = 0) -> Scheme:
    """The scheme of this name; ``needed``: how many members' reveals open a sum, 0 for all.

    Raises InvalidInput for a name that this version does not know, and for a scheme that cannot do without some.
    """
    if name == PAIRWISE_MASKS:
        if needed:
            raise InvalidInput("Sums under pairwise masks cannot do without any of their members.")
        return PairwiseMasks()
    for parameters in PARAMETERS:
        if name == parameters.name:
            return LatticeSum(parameters, needed)
    raise InvalidInput("There is no scheme for sums of that name.", fix="Update this software.")
