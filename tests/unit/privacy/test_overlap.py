"""A new output beside earlier ones: counts, sets of patients, source units, and what cannot be compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trustspace.privacy import differencing, overlap
from trustspace.privacy.overlap import Counts, Earlier, Trace, compare

OLD, OLDER = Earlier("a" * 64, "the first", 0), Earlier("b" * 64, "the one before", 0)
NEW = Earlier("c" * 64, "the new one", 0)


def trace(people, output=OLD, units=("A",), **changes):
    made = Trace(output, "train", units, "cytology", "v1", ("size",), np.asarray(people, dtype=np.uint64))
    return replace(made, **changes)


def counts(cells, shown=None, key="sex"):
    cells = np.asarray(cells, dtype=np.int32)
    owner = np.arange(len(cells), dtype=np.int32)
    line = tuple((int(cell),) for cell in np.unique(cells)) if shown is None else shown
    return Counts(owner, np.stack([np.zeros_like(cells), cells]), (((0,),), line), ("rows", key))


def table(people, cells, output=OLD, **changes):
    return trace(people, output, kind="statistics", counts=counts(cells), **changes)


def test_alone_there_is_nothing_to_compare():
    assert compare(trace(range(50), NEW), [], 10, 3).earlier == 0
    elsewhere = trace(range(100, 150), dataset="radiographs", version="x")
    assert compare(trace(range(50), NEW), [elsewhere], 10, 3).earlier == 0


def test_two_models_of_nearly_the_same_patients():
    found = compare(trace(range(51), NEW), [trace(range(50))], 10, 3)
    assert [(one.size, one.outputs) for one in found.sets] == [(1, (OLD,))]
    assert (found.same, found.unlike) == ((), ())
    assert compare(trace(range(60), NEW), [trace(range(50))], 10, 3).sets == ()
    same = compare(trace(range(50), NEW), [trace(range(50))], 10, 3)
    assert (same.sets, same.same, same.unlike) == ((), (OLD,), ())


def test_patients_of_another_dataset_are_the_same_patients():
    """Two datasets of one source unit, one without a single patient of the other."""
    other = trace(range(50), dataset="all of them", version="w")
    assert compare(trace(range(49), NEW), [other], 10, 3).sets[0].size == 1


def test_a_table_and_a_model_are_not_subtracted_and_it_is_said():
    found = compare(table(range(50), [0, 1] * 25, NEW), [trace(range(50))], 10, 3)
    assert (found.unlike, found.groups, found.sets) == ((OLD,), (), ())
    near = compare(table(range(50), [0, 1] * 25, NEW), [trace(range(49))], 10, 3)
    assert near.sets[0].size == 1


def test_the_outputs_that_isolate_a_group_are_named():
    new = table(range(51), [0, 1] * 25 + [0], NEW)
    found = compare(new, [table(range(20), [0, 1] * 10, OLDER), table(range(50), [0, 1] * 25)], 10, 3)
    assert [(one.size, one.outputs) for one in found.groups] == [(1, (OLD,))]
    assert (1, (0,)) in found.groups[0].counts


def test_the_smallest_group_is_named_first():
    cells = [0] * 60
    older, old = table(range(57), cells[:57], OLDER), table(range(59), cells[:59])
    found = compare(table(range(60), cells, NEW), [older, old], 10, 3)
    assert [(one.size, one.outputs) for one in found.groups] == [(1, (OLD,)), (3, (OLDER,))]


def test_of_very_many_outputs_the_newest_are_named(monkeypatch):
    monkeypatch.setattr(overlap, "MOST_SINGLE", 1)
    cells = [0] * 60
    older, old = table(range(57), cells[:57], OLDER), table(range(59), cells[:59])
    found = compare(table(range(60), cells, NEW), [older, old], 10, 3)
    assert [(one.size, one.outputs) for one in found.groups] == [(1, (OLD,))]


def test_a_group_that_takes_several_outputs_names_all_of_them():
    first = trace(range(30), OLDER, kind="statistics", counts=counts([0] * 30))
    second = trace(range(30, 57), OLD, kind="statistics", counts=counts([0] * 27))
    (found,) = compare(table(range(60), [0] * 60, NEW), [first, second], 10, 3).groups
    assert (found.size, found.outputs) == (3, (OLDER, OLD))


def test_other_source_units_in_the_same_table():
    """A and B after A, B and C: the difference is what C counted. The control: other tables have none."""
    three = table(range(50), [0, 1] * 25, units=("A", "B", "C"))
    two = table(range(50), [0, 1] * 25, NEW, units=("A", "B"))
    assert [one.size for one in compare(two, [three], 10, 3).units] == [1]
    assert [
        one.size for one in compare(replace(three, output=NEW), [replace(two, output=OLD)], 10, 3).units
    ] == [1]
    assert compare(replace(two, units=("A", "B", "C")), [three], 10, 3).units == ()
    five = replace(three, units=("A", "B", "C", "D", "E"))
    assert compare(two, [five], 10, 3).units == ()
    other = counts([0, 1] * 25, key="diagnosis")
    unlike = replace(two, counts=replace(other, shown=((), other.shown[1])))
    assert compare(unlike, [three], 10, 3).units == ()


def test_models_of_other_source_units_cannot_be_compared():
    assert compare(trace(range(50), NEW, ("A", "B")), [trace(range(50), units=("A", "B", "C"))], 10, 3).unlike


def test_rows_without_patients():
    """By number in one version, by content across versions where the columns are the same, else not at all."""
    old = trace(range(50), by_rows=True, contents=np.arange(500, 550, dtype=np.uint64))
    again = replace(old, output=NEW)
    assert compare(again, [old], 10, 3).same == (OLD,)
    assert compare(replace(again, columns=("age",)), [old], 10, 3).same == (OLD,)
    # Version 2 has one row less, and so other numbers for most of them.
    later = replace(
        again,
        version="v2",
        people=np.arange(900, 949, dtype=np.uint64),
        contents=np.arange(501, 550, dtype=np.uint64),
    )
    assert compare(later, [old], 10, 3).sets[0].size == 1
    assert compare(replace(later, columns=("age",)), [old], 10, 3).unlike == (OLD,)
    assert compare(trace(range(50), NEW), [old], 10, 3).unlike == (OLD,)
    assert compare(replace(later, dataset="other"), [old], 10, 3).earlier == 0


def test_counts_of_rows_without_patients_are_compared_across_versions():
    """One row more in version 2, under other numbers: that it is one follows from what the rows say."""
    old = table(range(50), [0, 1] * 25, by_rows=True, contents=np.arange(500, 550, dtype=np.uint64))
    new = table(range(900, 951), [0, 1] * 25 + [0], NEW, by_rows=True, version="v2",
                contents=np.arange(500, 551, dtype=np.uint64))  # fmt: skip
    assert [(one.size, one.outputs) for one in compare(new, [old], 10, 3).groups] == [(1, (OLD,))]
    assert compare(replace(new, columns=("age",)), [old], 10, 3).groups == ()


def test_what_was_begun_and_never_finished_counts_as_made():
    begun = trace(range(50), kind="statistics", counts=None)
    assert compare(table(range(51), [0, 1] * 25 + [0], NEW), [begun], 10, 3).sets[0].size == 1
    unknown = replace(begun, people=None)
    assert compare(table(range(51), [0, 1] * 25 + [0], NEW), [unknown], 10, 3).unlike == (OLD,)


def test_too_many_counts_are_said(monkeypatch):
    monkeypatch.setattr(differencing, "MAX_COUNTS", 5)
    new, old = table(range(51), [0, 1] * 25 + [0], NEW), table(range(50), [0, 1] * 25)
    assert compare(new, [old], 10, 3).too_many
    assert compare(new, [old], 10, 3).groups == ()


def test_what_is_too_much_together_is_still_compared_one_by_one(monkeypatch):
    monkeypatch.setattr(differencing, "MAX_COUNTS", 7)
    new, old = table(range(51), [0, 1] * 25 + [0], NEW), table(range(50), [0, 1] * 25)
    far = table(range(10, 50), [0, 1] * 20, OLDER)
    found = compare(new, [far, old], 10, 3)
    assert found.too_many
    assert (1, (OLD,)) in [(one.size, one.outputs) for one in found.groups]


def test_too_much_under_one_name_is_not_forgotten_under_the_other(monkeypatch):
    """Rows go by number in one version and by content across versions: each is looked at by itself."""
    monkeypatch.setattr(differencing, "MAX_COUNTS", 7)
    rows = {"by_rows": True, "contents": np.arange(500, 550, dtype=np.uint64)}
    many = table(range(50), list(range(10)) * 5, OLDER, **rows)
    other = table(range(50), [0, 1] * 25, version="v2", **rows)
    new = table(range(50), [0, 1] * 25, NEW, **rows)
    assert compare(new, [other], 10, 3).too_many is False
    assert compare(new, [many, other], 10, 3).too_many
    assert compare(new, [other, many], 10, 3).too_many
