"""A new output of a source unit's data beside all earlier ones of the same buyer or developer.

Three things can be subtracted: published counts from each other (:mod:`trustspace.privacy.differencing`), the set of
patients behind one output from that behind another, and, where sums of several source units are published, the set of
units. A difference of fewer patients than the agreed block, or of fewer units than a sum must have, says too much of
them (Hundepool et al., Statistical Disclosure Control, 2012, section 2.5, on differencing). The set behind a model is
everybody whom the job could use, before any random withholding: who was withheld nobody outside can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trustspace.privacy.differencing import Cells, Counted, TooManyCounts, revealed

People = NDArray[np.uint64]
# Of how many source units a sum must be, unless they have agreed on another number.
MINIMUM_UNITS = 3
# With how many earlier outputs counts are compared one by one: each may take seconds.
MOST_SINGLE = 64
# Models of the same patients cannot be subtracted count by count.
_MODEL = "train"


@dataclass(frozen=True)
class Earlier:
    """An earlier output, as a person knows it. ``made``: seconds since 1970."""

    job: str
    title: str
    made: int


@dataclass(frozen=True)
class Counts:
    """Of which patients the published counts of an output are.

    ``owner``: int32 [rows], the place of each row's patient in the output's list of patients. ``cells``: int32 [lines,
    rows] and ``shown`` as in :class:`~trustspace.privacy.differencing.Counted`. ``keys``: what each line is of, the
    same text for the same table.
    """

    owner: NDArray[np.int32] = field(repr=False)
    cells: NDArray[np.int32] = field(repr=False)
    shown: tuple[tuple[Cells, ...], ...]
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Trace:
    """What an output is about.

    ``people``: uint64 [patients], a pseudonym of everybody whom the job could use, in the order of the dataset; None
    where it is not known. ``dataset`` is the dataset's name, ``version`` one version's digest. Where no column tells
    patients apart, ``by_rows`` holds and a row is a patient: the same one in another output of the same version; across
    versions rows are told by their ``contents`` [patients] in the ``columns`` used, so that outputs of other columns
    cannot be compared. ``counts``: None where no counts were published, or it is not known which.
    """

    output: Earlier
    kind: str
    units: tuple[str, ...]
    dataset: str
    version: str
    columns: tuple[str, ...]
    people: People | None = field(default=None, repr=False)
    by_rows: bool = False
    contents: People | None = field(default=None, repr=False)
    counts: Counts | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Difference:
    """So many patients or source units are told apart by the new output and ``outputs``.

    ``counts``: the new output's counts that take part, as line and cells.
    """

    size: int
    outputs: tuple[Earlier, ...]
    counts: tuple[tuple[int, Cells], ...] = ()


@dataclass(frozen=True)
class Comparison:
    """What a new output says together with earlier ones.

    ``earlier``: how many of them are of overlapping data. ``groups`` follow from counts, ``sets`` from the patients
    behind two outputs, ``units`` from the source units. ``unlike``: outputs that overlap and cannot be compared.
    ``same``: outputs of exactly the same patients. ``too_many``: not all could be done in bounded time.
    """

    earlier: int = 0
    groups: tuple[Difference, ...] = ()
    sets: tuple[Difference, ...] = ()
    units: tuple[Difference, ...] = ()
    unlike: tuple[Earlier, ...] = ()
    same: tuple[Earlier, ...] = ()
    too_many: bool = False


def compare(new: Trace, earlier: Sequence[Trace], block: int, minimum_units: int) -> Comparison:
    """``earlier``: every other output of the same source unit's data for this buyer or developer."""
    sets, units, unlike, same, overlapping = [], [], [], [], 0
    # By the names that the new output's patients have in the comparison: their own, or what their rows say.
    counted: dict[bool, list[tuple[Trace, Counted]]] = {}
    for old in earlier:
        people = _people(new, old)
        if people is None:
            if new.dataset == old.dataset:
                overlapping += 1
                unlike.append(old.output)
            continue
        if not len(np.intersect1d(*people)):
            continue
        overlapping += 1
        apart = len(np.setxor1d(*people))
        if not apart:
            same.append(old.output)
        other_units = len(set(new.units) ^ set(old.units))
        if new.counts is not None and old.counts is not None:
            counted.setdefault(people[0] is new.people, []).append((old, _counted(old, people[1])))
            if 0 < other_units < minimum_units and _same_tables(new.counts, old.counts):
                units.append(Difference(other_units, (old.output,)))
        elif 0 < apart < block:
            sets.append(Difference(apart, (old.output,)))
        elif other_units or not new.kind == old.kind == _MODEL:
            # Of tables that a developer's own code made, or that were too large to keep, nobody knows the counts.
            unlike.append(old.output)
    groups: list[Difference] = []
    too_many = False
    for own_names, traces in counted.items():
        names = new.people if own_names else new.contents
        assert names is not None
        found, unfinished = _groups(new, names, traces, block)
        groups, too_many = groups + found, too_many or unfinished
    return Comparison(
        overlapping, tuple(sorted(groups, key=lambda one: one.size)), tuple(sets), tuple(units), tuple(unlike),
        tuple(same), too_many,
    )  # fmt: skip


def _people(new: Trace, old: Trace) -> tuple[People, People] | None:
    """Both outputs' patients under names that mean the same in both; None where there are none."""
    if new.people is None or old.people is None or new.by_rows != old.by_rows:
        return None
    if new.by_rows and new.version != old.version:
        if new.dataset != old.dataset:
            return new.people, old.people  # rows of two datasets: nobody is in both
        if new.columns != old.columns or new.contents is None or old.contents is None:
            return None
        return new.contents, old.contents
    return new.people, old.people


def _counted(trace: Trace, people: People) -> Counted:
    assert trace.counts is not None
    return Counted(people[trace.counts.owner], trace.counts.cells, trace.counts.shown)


def _same_tables(new: Counts, old: Counts) -> bool:
    """Whether some count that both publish is the same count, over other source units."""
    published = {(key, count) for key, line in zip(old.keys, old.shown, strict=True) for count in line}
    return any(
        (key, count) in published for key, line in zip(new.keys, new.shown, strict=True) for count in line
    )


def _groups(
    new: Trace, people: People, earlier: Sequence[tuple[Trace, Counted]], block: int
) -> tuple[list[Difference], bool]:
    """What counts isolate: with all outputs together first, then with which single one, so that it can be named.

    ``earlier``: the oldest first. Of very many only the newest are named one by one.
    """
    assert new.counts is not None
    numbered = [(place, count) for place, line in enumerate(new.counts.shown) for count in line]
    mine, too_many = _counted(new, people), False

    def differences(old: Sequence[tuple[Trace, Counted]]) -> list[Difference]:
        outputs = tuple(trace.output for trace, _ in old)
        return [
            Difference(one.patients, outputs, tuple(numbered[count] for count in one.counts))
            for one in revealed(mine, [counted for _, counted in old], block)
        ]

    together: list[Difference] = []
    try:
        together = differences(earlier)
    except TooManyCounts:
        too_many = True
    if len(earlier) == 1 or not (together or too_many):
        return together, too_many
    found: list[Difference] = []
    for one in earlier[-MOST_SINGLE:]:
        try:
            found += differences([one])
        except TooManyCounts:
            too_many = True
    return found or together, too_many
