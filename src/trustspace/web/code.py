"""A developer's code, and what has changed in it since the last that was approved."""

from __future__ import annotations

import difflib
import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

MOST_LINES = 5000
CONTEXT = 3
# Pairs of lines looked at in one comparison: about two seconds. It can take the cube of the lines, and the developer
# has chosen them.
_MOST_WORK = 20_000_000

Mark = Literal["same", "added", "removed", "gap"]


@dataclass(frozen=True)
class Line:
    """One line of a file: its number before and after (0: it is not there), and its text."""

    mark: Mark
    before: int
    after: int
    text: str


@dataclass(frozen=True)
class ChangedFile:
    """One file, compared: ``is_new`` and ``is_gone`` where it stands on one side only."""

    name: str
    lines: tuple[Line, ...]
    is_new: bool = False
    is_gone: bool = False

    @property
    def added(self) -> int:
        """Lines that were not there before."""
        return sum(line.mark == "added" for line in self.lines)

    @property
    def removed(self) -> int:
        """Lines that are not there any more."""
        return sum(line.mark == "removed" for line in self.lines)


def compare(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[ChangedFile, ...]:
    """The files that changed, with a few lines around each change; none where all are the same.

    A line ends at a line feed and nowhere else, so that no character of a text hides another one's change. Where
    it would take too long to find all that stayed, what was not found is shown as taken away and added.
    """
    found = []
    work = _Work(_MOST_WORK)
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old != new:
            found.append(
                ChangedFile(
                    name, _changes(_split(old), _split(new), work), is_new=old is None, is_gone=new is None
                )
            )
    return tuple(found)


def whole(code: Mapping[str, str]) -> tuple[ChangedFile, ...]:
    """Every file as it is."""
    return tuple(
        ChangedFile(name, tuple(Line("same", 0, n, line) for n, line in enumerate(_split(text), start=1)))
        for name, text in sorted(code.items())
    )


def cut(files: tuple[ChangedFile, ...], most: int = MOST_LINES) -> tuple[tuple[ChangedFile, ...], bool]:
    """As many lines as a page bears, and whether something was left out."""
    kept: list[ChangedFile] = []
    left = most
    for file in files:
        if left <= 0:
            return tuple(kept), True
        kept.append(ChangedFile(file.name, file.lines[:left], file.is_new, file.is_gone))
        left -= len(file.lines)
    return tuple(kept), left < 0


def _split(text: str | None) -> list[str]:
    if not text:
        return []
    return text.removesuffix("\n").split("\n")


def _changes(old: list[str], new: list[str], work: _Work) -> tuple[Line, ...]:
    lines: list[Line] = []
    end = 0
    for group in _Matcher(old, new, work).get_grouped_opcodes(CONTEXT):
        if group[0][3] > end or (lines and group[0][1]):
            lines.append(Line("gap", 0, 0, ""))
        for kind, first, last, start, stop in group:
            if kind == "equal":
                lines += [
                    Line("same", first + n + 1, start + n + 1, old[first + n]) for n in range(last - first)
                ]
                continue
            lines += [Line("removed", n + 1, 0, old[n]) for n in range(first, last)]
            lines += [Line("added", 0, n + 1, new[n]) for n in range(start, stop)]
        end = group[-1][4]
    return tuple(lines)


@dataclass
class _Work:
    """How many pairs of lines may still be looked at."""

    left: int


class _Matcher(difflib.SequenceMatcher[str]):
    """Finds what stayed; once the work is used up, nothing more."""

    def __init__(self, old: list[str], new: list[str], work: _Work) -> None:
        super().__init__(None, old, new, autojunk=False)
        alike = Counter(new)
        self._upto = list(itertools.accumulate((1 + alike[line] for line in old), initial=0))
        self._work = work

    def find_longest_match(
        self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None
    ) -> difflib.Match:
        takes = self._upto[-1 if ahi is None else ahi] - self._upto[alo]
        if takes > self._work.left:
            return difflib.Match(alo, blo, 0)
        self._work.left -= takes
        return super().find_longest_match(alo, ahi, blo, bhi)
