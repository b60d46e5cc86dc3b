"""Differencing: what two outputs isolate together, and neither alone."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

from trustspace.privacy import differencing
from trustspace.privacy.differencing import Counted, TooManyCounts, revealed


def everybody(people, shown=True):
    """The number of rows of a list of people, published or not."""
    people = np.asarray(people, dtype=np.uint64)
    return Counted(people, np.zeros((1, len(people)), np.int32), (((0,),) if shown else (),))


def table(people, cells, shown=None, more=()):
    """A table with a published total and published cells."""
    people, cells = np.asarray(people, dtype=np.uint64), np.asarray(cells, dtype=np.int32)
    counts = tuple((int(cell),) for cell in np.unique(cells)) if shown is None else shown
    return Counted(people, np.stack([np.zeros(len(people), np.int32), cells]), (((0,),), (*counts, *more)))


# -- the attack, in plain fractions and without anything of the platform's


def solved(outputs):
    """What an outsider works out with a pencil: the reduced system [published numbers] -> (vector, value)."""
    people = sorted({int(p) for output in outputs for p in output.people})
    rows = []
    for output in outputs:
        for line, shown in zip(output.cells, output.shown, strict=True):
            for count in shown:
                members = [int(p) for p, cell in zip(output.people, line, strict=True) if int(cell) in count]
                rows.append([Fraction(members.count(p)) for p in people] + [Fraction(len(members))])
    at = 0
    for column in range(len(people)):
        pivot = next((i for i in range(at, len(rows)) if rows[i][column]), None)
        if pivot is None:
            continue
        rows[at], rows[pivot] = rows[pivot], rows[at]
        rows[at] = [value / rows[at][column] for value in rows[at]]
        for i, row in enumerate(rows):
            if i != at and row[column]:
                rows[i] = [a - row[column] * b for a, b in zip(row, rows[at], strict=True)]
        at += 1
    return people, rows[:at]


def reduced(vector, rows):
    """What is left of a vector [people] when what the reduced rows say is taken off."""
    rest = list(vector)
    for row in rows:
        pivot = next(i for i, value in enumerate(row[:-1]) if value)
        if rest[pivot]:
            rest = [a - rest[pivot] * b for a, b in zip(rest, row[:-1], strict=True)]
    return rest


def groups_of(outputs, below):
    """Every group of fewer than ``below`` people whose count the attacker has: it tries all of them."""
    people, rows = solved(outputs)
    return {
        frozenset(people[i] for i in group)
        for size in range(1, below)
        for group in combinations(range(len(people)), size)
        if not any(reduced([Fraction(i in group) for i in range(len(people))], rows))
    }


def test_an_attacker_recovers_the_group_from_two_tables_and_not_from_one():
    """The control: what is flagged is really known, and without the second output it is not."""
    first = table(range(12), [0] * 6 + [1] * 6)
    second = table(range(14), [0] * 6 + [1] * 6 + [0] * 2)  # two more people
    assert groups_of([first], 4) == groups_of([second], 4) == set()
    assert groups_of([first, second], 4) == {frozenset({12, 13})}
    (found,) = revealed(second, [first], 4)
    assert found.patients == 2
    assert found.counts == (0, 1)  # the total and the cell that grew


def test_what_is_refused_is_not_recovered():
    """After the refusal the attacker holds the first output alone: nothing follows."""
    first, second = table(range(12), [0] * 6 + [1] * 6), table(range(13), [0] * 6 + [1] * 7)
    assert revealed(second, [first], 4)
    released = [output for output in (first,) if not revealed(output, [], 4)]
    assert groups_of(released, 4) == set()


def test_a_block_of_the_minimum_is_no_small_group():
    assert revealed(everybody(range(110)), [everybody(range(100))], 10) == ()
    (found,) = revealed(everybody(range(109)), [everybody(range(100))], 10)
    assert found.patients == 9


def test_patients_who_are_gone_are_told_by_the_counts_that_lack_them():
    (found,) = revealed(table(range(97), [0] * 50 + [1] * 47), [table(range(100), [0] * 50 + [1] * 50)], 10)
    assert found.patients == 3
    assert found.counts
    assert 1 not in found.counts  # the cell that nobody has left


def test_one_patient_replaced_is_a_difference_of_two():
    """Neither of the two is isolated, their difference is: 0/1 counts tell whether the cell changed."""
    (found,) = revealed(everybody(range(1, 101)), [everybody(range(100))], 10)
    assert found.patients == 2


def test_the_same_counts_again_say_nothing_new():
    one = table(range(40), [0] * 20 + [1] * 17 + [2] * 3)
    assert revealed(one, [one, one], 10) == ()


def test_what_one_output_isolates_by_itself_is_judged_elsewhere():
    """A cell of three, shown by the new output alone, and another by the old one alone."""
    new = table(range(40), [0] * 37 + [1] * 3)
    old = table(range(40), [1] * 4 + [0] * 36)
    assert revealed(new, [everybody(range(40))], 10) == ()
    assert {one.patients for one in revealed(new, [old], 10)} == set()


def test_a_group_follows_from_three_outputs_and_from_no_two():
    people = np.arange(60)
    first = Counted(people[:30].astype(np.uint64), np.zeros((1, 30), np.int32), (((0,),),))
    second = Counted(people[30:57].astype(np.uint64), np.zeros((1, 27), np.int32), (((0,),),))
    third = everybody(people)
    assert revealed(third, [first], 10) == revealed(third, [second], 10) == ()
    (found,) = revealed(third, [first, second], 10)
    assert found.patients == 3


def test_a_hidden_count_is_no_count():
    """The same people with the totals and the one cell hidden: nothing follows."""
    first = table(range(40), [0] * 20 + [1] * 20)
    grown = [0] * 20 + [1] * 20 + [0]
    hidden = Counted(np.arange(41, dtype=np.uint64), np.array([[0] * 41, grown], np.int32), ((), ((1,),)))
    assert revealed(hidden, [first], 10) == ()
    assert revealed(table(range(41), grown), [first], 10)


def test_a_patient_of_several_rows_is_one_patient():
    """Three rows of one new patient make no three patients, and rows moved between cells are seen."""
    first = table([*range(30), 0, 0], [0] * 32)
    second = table([*range(30), 0, 0, 30, 30, 30], [0] * 35)
    (found,) = revealed(second, [first], 10)
    assert found.patients == 1


def test_two_partitions_that_overlap_badly_isolate_their_corner():
    """Young or old, and in a table that leaves out the old men: three of them follow."""
    age = np.array([0] * 50 + [1] * 50, np.int32)
    first = table(np.arange(100), age)
    without = np.arange(97)
    second = Counted(without.astype(np.uint64), np.zeros((1, 97), np.int32), (((0,),),))
    (found,) = revealed(second, [first], 10)
    assert found.patients == 3


def grown(seed):
    """Two tables of about 14 people: some have come, gone or changed their cell between them."""
    draw = np.random.default_rng(seed)
    cells = draw.integers(0, 3, 16)
    old = np.flatnonzero(draw.random(16) < 0.9)
    new = np.sort(np.append(old, np.setdiff1d(np.arange(16), old)[: seed % 2]))
    moved = cells.copy()
    moved[new[:1]] = draw.integers(0, 3)
    return table(new, moved[new]), table(old, cells[old])


@pytest.mark.parametrize("seed", range(16))
def test_single_patients_are_found_exactly_as_the_brute_force_finds_them(seed):
    """Whoever is isolated by both tables together and by neither is flagged, and nobody else."""
    new, old = grown(seed)
    fresh = groups_of([old, new], 2) - groups_of([old], 2) - groups_of([new], 2)
    assert len(revealed(new, [old], 2)) == len(fresh)


def test_the_random_tables_hold_both_cases():
    """The control of the test above: in some of them somebody is isolated, in some nobody."""
    assert {bool(revealed(new, [old], 2)) for new, old in map(grown, range(16))} == {True, False}


def of_many_rows(seed):
    """A table of twelve people with several rows each, and an earlier one in which some are missing."""
    draw = np.random.default_rng(seed)
    owners, cells, there = np.sort(draw.integers(0, 12, 18)), draw.integers(0, 3, 18), draw.random(12) < 0.85
    moved, kept = cells.copy(), there[owners]
    moved[draw.integers(0, 18)] = draw.integers(0, 3)
    return table(owners, moved), [table(owners[kept], cells[kept])]


def of_three(seed):
    """Three tables of most of fourteen people, one of whom each time stands in another cell."""
    draw = np.random.default_rng(seed)
    cells, made = draw.integers(0, 4, 14), []
    for _ in range(3):
        who, moved = np.flatnonzero(draw.random(14) < 0.8), cells.copy()
        moved[draw.integers(0, 14)] = draw.integers(0, 4)
        made.append(table(who, moved[who]))
    return made[0], made[1:]


@pytest.mark.parametrize("made", [of_many_rows, of_three])
@pytest.mark.parametrize("seed", range(8))
def test_with_several_rows_and_several_outputs_the_same_people_are_found(seed, made):
    """Also where an output by itself isolates others, and where a count differs by several rows."""
    new, earlier = made(seed)
    fresh = groups_of([*earlier, new], 2) - groups_of(earlier, 2) - groups_of([new], 2)
    found = revealed(new, earlier, 2)
    assert [one.patients for one in found] == [1] * len(fresh)


def test_the_larger_random_tables_hold_both_cases_too():
    """The control: somebody is isolated in some of them, and in some nobody; blocks of two are never taken for one."""
    for made in (of_many_rows, of_three):
        assert {bool(revealed(new, earlier, 2)) for new, earlier in map(made, range(8))} == {True, False}
    assert any(one.patients == 2 for seed in range(8) for one in revealed(*of_many_rows(seed), 3))


def test_a_small_group_is_found_beside_counts_that_cut_through_it():
    """Four follow from three totals; a fourth total counts two of them among many others."""
    new, first, second = everybody(range(61)), everybody(range(30)), everybody(range(30, 57))
    across = everybody([*range(100, 120), 57, 58])
    assert [one.patients for one in revealed(new, [first, second, across], 10)] == [4]
    assert revealed(new, [first, across], 10) == revealed(new, [second, across], 10) == ()


def test_somebody_of_several_rows_replaced_is_a_difference_of_two():
    """One with three rows is gone and another one is there: the counts differ by three for each, and not by one."""
    before, after = ([who] * 3 + list(range(100)) for who in (200, 201))
    (found,) = revealed(everybody(after), [everybody(before)], 10)
    assert found.patients == 2


def rows_by_patient(output, people):
    """Of each published count, how many rows of each of these people it counts."""
    for line, shown in zip(output.cells, output.shown, strict=True):
        for count in shown:
            owners = output.people[np.isin(line, count)].tolist()
            yield np.array([owners.count(who) for who in people])


def test_counts_that_differ_by_several_rows_of_a_few_are_subtracted_too():
    """Three people are all that two of these counts differ in, by more rows than three."""
    new, (old,) = of_many_rows(1)
    apart = [a - b for a in rows_by_patient(new, range(12)) for b in rows_by_patient(old, range(12))]
    assert any(np.count_nonzero(one) == 3 and (one**2).sum() >= 4 for one in apart)
    assert 3 in [one.patients for one in revealed(new, [old], 4)]


def test_a_block_of_people_with_many_rows_is_as_large_as_it_has_people():
    """Nine rows each: ten more people are ten, and nine are nine."""

    def rows(people):
        return [who for who in range(people) for _ in range(9)]

    assert revealed(everybody(rows(60)), [everybody(rows(50))], 10) == ()
    assert [one.patients for one in revealed(everybody(rows(59)), [everybody(rows(50))], 10)] == [9]


def test_small_cells_of_both_do_not_hide_what_their_difference_says():
    """Cells of eight in one unit's part of a sum: both are known alone, and one patient more is not."""
    one, other = table(range(40), np.arange(40) % 5), table(range(41), np.arange(41) % 5)
    assert min(found.patients for found in revealed(other, [one], 10)) == 1


def test_what_would_take_too_long_is_said(monkeypatch):
    one, other = table(range(40), np.arange(40) % 5), table(range(41), np.arange(41) % 5)
    assert revealed(other, [one], 10)
    for name in ("MAX_COUNTS", "MAX_ENTRIES", "MAX_WORK", "MAX_PAIRS"):
        with monkeypatch.context() as patch:
            patch.setattr(differencing, name, 0)
            with pytest.raises(TooManyCounts):
                revealed(other, [one], 10)
