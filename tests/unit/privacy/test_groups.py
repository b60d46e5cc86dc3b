"""A group that is told apart where all together are not; and none that stands out merely because many were looked at."""

from __future__ import annotations

import numpy as np

from trustspace.privacy.groups import FEWEST, MOST_GROUPS, measure_groups
from trustspace.privacy.intervals import area, null_reach


def drawn(seed, patients=600):
    draw = np.random.default_rng(seed)
    return draw, draw.normal(size=patients), draw.random(patients) < 0.7


def test_the_average_hides_a_group_and_the_group_shows():
    draw, scores, members = drawn(1)
    few = np.zeros(600, dtype=bool)
    few[:60] = True
    scores[few & members] -= 3.0
    everybody = area(scores[members], scores[~members])
    assert everybody[0] < 0.6, "control: on average it looks harmless"
    first, second = measure_groups(scores, members, {"few": few, "rest": ~few})
    assert first.name == "few"
    assert first.auc.value > 0.9
    assert first.auc.low > 0.65
    assert second.auc.high < 0.6
    # Members of the group beside the others of the same group, at half of the error that two groups may make.
    value, low, high = area(scores[few & members], scores[few & ~members], 0.975)
    assert (first.auc.value, first.auc.low, first.auc.high) == (value, low, high)
    assert first.auc.detectable == 0.5 + null_reach(first.members, first.others, 0.975)
    assert (first.members, first.others) == (int((few & members).sum()), int((few & ~members).sum()))


def test_of_many_groups_hardly_one_stands_out_by_chance():
    alarms = 0
    for seed in range(60):
        draw, scores, members = drawn(seed)
        groups = {f"g{n}": draw.random(600) < 0.3 for n in range(MOST_GROUPS)}
        alarms += any(group.auc.low > 0.5 for group in measure_groups(scores, members, groups))
    assert alarms <= 6, "5 % of 60 are 3"


def test_small_groups_are_left_out_and_the_largest_come_first():
    _, scores, members = drawn(2)

    def of(inside, outside):
        group = np.zeros(600, dtype=bool)
        group[np.flatnonzero(members)[:inside]] = True
        group[np.flatnonzero(~members)[:outside]] = True
        return group

    sizes = {"enough": (FEWEST, FEWEST), "few in": (FEWEST - 1, 100), "few out": (100, FEWEST - 1)}
    assert [
        group.name for group in measure_groups(scores, members, {n: of(*s) for n, s in sizes.items()})
    ] == ["enough"]
    found = measure_groups(scores, members, {f"g{n}": of(300, 100 - n) for n in range(MOST_GROUPS + 5)})
    assert {group.name for group in found} == {f"g{n}" for n in range(MOST_GROUPS)}
    assert measure_groups(scores, members, {}) == ()
