"""Which scheme sums a job's numbers: what is chosen, and what is said where the wishes do not go together."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustspace.aggregation.lattice.scheme import LatticeSum
from trustspace.aggregation.masks import PairwiseMasks
from trustspace.aggregation.recovery import Sharing, threshold_for
from trustspace.aggregation.schemes import scheme_of
from trustspace.aggregation.selection import FEW, MOST_OF_LATTICE, Selection, select
from trustspace.errors import InvalidInput

MASKS, SMALL, LARGE = "pairwise-masks-v1", "lattice-sum-s-v1", "lattice-sum-l-v1"


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ((2,), (MASKS, 0)),
        ((FEW,), (MASKS, 0)),
        ((FEW + 1,), (LARGE, 0)),
        ((MOST_OF_LATTICE,), (LARGE, 0)),
        ((MOST_OF_LATTICE + 1,), (MASKS, 0)),
        ((3, "auto", 1), (LARGE, 2)),
        ((5, "lattice-s", 2), (SMALL, 3)),
        ((10, "lattice-s"), (SMALL, 0)),
        ((100, "pairwise-masks"), (MASKS, 0)),
        ((7, "auto", 2, 2), (LARGE, 5)),
        ((MOST_OF_LATTICE, "auto", 63), (LARGE, 65)),
    ],
)
def test_what_is_chosen(asked, chosen):
    assert select(*asked) == Selection(*chosen)


@pytest.mark.parametrize(
    ("asked", "field", "message", "fix"),
    [
        ((4, "pairwise-masks", 1), "sums.dropouts", "pairwise masks do not", 'choose "lattice-l"'),
        ((4, "auto", 0, 1), "sums.cheats", "only where source units may be lost", "Remove it"),
        ((11, "lattice-s"), "sums.scheme", "at most 10 source units", 'Choose "lattice-l"'),
        ((11, "lattice-s", 1), "sums.scheme", "at most 10 source units", 'Choose "lattice-l"'),
        ((129, "lattice-l"), "sums.scheme", "at most 128 source units", 'Choose "pairwise-masks"'),
        ((129, "auto", 1), "sums.dropouts", "at most 128 source units", "Remove it"),
        ((2, "auto", 1), "sums.dropouts", "sums over different sets", "Of 2 source units, 0 at most"),
        ((4, "auto", 2), "sums.dropouts", "sums over different sets", "Of 4 source units, 1 at most"),
        ((4, "lattice-l", 4), "sums.dropouts", "sums over different sets", "Of 4 source units, 1 at most"),
        ((5, "auto", 2, 1), "sums.dropouts", "sums over different sets", "Of 5 source units, 1 at most"),
        ((3, "auto", 1, 5), "sums.dropouts", "sums over different sets", "Of 3 source units, 0 at most"),
    ],
)
def test_wishes_that_do_not_go_together(asked, field, message, fix):
    with pytest.raises(InvalidInput) as refused:
        select(*asked)
    assert refused.value.details["field"] == field
    assert field in refused.value.public_message
    assert message in refused.value.public_message
    assert fix in refused.value.public_message


@settings(max_examples=200, deadline=None, derandomize=True)
@given(units=st.integers(2, 130), dropouts=st.integers(0, 70), cheats=st.integers(0, 5))
def test_whatever_is_chosen_is_safe_and_can_be_done(units, dropouts, cheats):
    try:
        chosen = select(units, "auto", dropouts, cheats)
    except InvalidInput:
        possible = dropouts and units <= MOST_OF_LATTICE and 2 * (units - dropouts) > units + cheats
        assert not possible
        assert dropouts or cheats
        return
    scheme = scheme_of(chosen.scheme, chosen.needed)
    assert scheme.needed(units) == (chosen.needed or units)
    if chosen.needed:
        # Two groups that open have more members in common than may cheat; and those who are left can open.
        assert 2 * chosen.needed - units > cheats
        assert chosen.needed == units - dropouts
        assert chosen.needed >= threshold_for(units, dropouts, cheats)
        assert Sharing((257, 65537), 4, chosen.needed, tuple(range(units)), b"c").cheats >= cheats


def test_schemes_by_name():
    assert isinstance(scheme_of(MASKS), PairwiseMasks)
    for name in (SMALL, LARGE):
        scheme = scheme_of(name, 3)
        assert isinstance(scheme, LatticeSum)
        assert (scheme.name, scheme.needed(5), scheme_of(name).needed(5)) == (name, 3, 5)
    with pytest.raises(InvalidInput, match="without any of their members"):
        scheme_of(MASKS, 2)
    for name in ("lattice-sum-l-v2", "", "pairwise-masks"):
        with pytest.raises(InvalidInput, match="no scheme for sums of that name"):
            scheme_of(name)
