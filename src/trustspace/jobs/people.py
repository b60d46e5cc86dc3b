"""Counts of people in files that a developer's own code wrote: recognised by their names, or by what they look like.

Code can call a count anything, or hide it in a sentence. What is found here is what an honest developer leaves in by
mistake, which is most of what output checkers send back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trustspace.jobs.artifacts import parse_csv, parse_json
from trustspace.jobs.container import RawArtifact

_PEOPLE = r"patients?|persons?|people|subjects?|cases?|deaths?|rows"
_OF_PEOPLE = rf"([\s_.-](of[\s_.-])?({_PEOPLE}))?"
# What counts by its own name, and what does because there are so many of them.
_TALLY = re.compile(
    rf"(.*[\s_.-])?(n|nr|no|num|number|counts?|freq(uency)?){_OF_PEOPLE}|.*(人数|例数|计数|频数|患者数|病例数|行数)",
    re.IGNORECASE,
)
_MANY = re.compile(rf"(.*[\s_.-])?({_PEOPLE}){_OF_PEOPLE}", re.IGNORECASE)
# The lines of a table are numbered under such names too.
_NUMBERING = re.compile(r"(.*[\s_.-])?(nr|no|num|number)", re.IGNORECASE)
_FEWEST_NUMBERED = 3
# Where some cells are empty, whole numbers are often written with a point.
_WHOLE = re.compile(r"([0-9]{1,15})(\.0{1,9})?", re.ASCII)
MOST_CELLS = 20_000
_JSON_COLUMNS = ("where 位置", "count 计数")
_PLACE_CHARACTERS = 100
_Said = Literal["", "people", "tally"]


@dataclass(frozen=True)
class CountTable:
    """A table with counts of people: its text, and which cells (row, column) are counts. ``named``: by a name."""

    file: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    counts: tuple[tuple[int, int], ...]
    named: bool

    def small(self, minimum: int) -> tuple[tuple[int, int], ...]:
        """The counts above none and below ``minimum``."""
        return tuple(
            place
            for place in self.counts
            if (count := _count(self.rows[place[0]][place[1]], minimum - 1)) is not None and count > 0
        )


def count_tables(artifacts: Sequence[RawArtifact], rows: int) -> tuple[CountTable, ...]:
    """Every table of counts in CSV and JSON files made from ``rows`` records.

    A column counts people where its name says so and its cells are whole numbers of at most ``rows``. Where no name
    does, a table of whole numbers alone (beside text) whose every column adds up to at most ``rows`` may be one. Of a
    JSON value any list of numbers would look like one: there only a name counts, of a number or of a table of them.
    Raises VerificationFailed for a file whose form is not sound.
    """
    return tuple(table for raw in artifacts for table in _tables(raw, rows))


def _tables(raw: RawArtifact, rows: int) -> Iterator[CountTable]:
    if raw.media_type == "text/csv":
        header, *body = parse_csv(raw.data)
        found = _counted(raw.name, header, body, rows)
        if found is not None:
            yield found
    elif raw.media_type == "application/json":
        counts = list(_counts_in(parse_json(raw.data), rows))
        if 2 * len(counts) > MOST_CELLS:
            counts = sorted(counts, key=lambda one: one[1])[: MOST_CELLS // 2]
        if counts:
            lines = tuple((place, str(count)) for place, count in counts)
            places = tuple((line, 1) for line in range(len(lines)))
            yield CountTable(raw.name, _JSON_COLUMNS, lines, places, named=True)


def _counts_in(value: Any, rows: int, said: _Said = "", place: str = "") -> Iterator[tuple[str, int]]:
    """Each count in a JSON value that stands under a name which says so, and where.

    ``said``: what the name says that ``value`` stands under, or the one around a table of nothing but counts.
    """
    if isinstance(value, dict):
        around: _Said = said if said == "tally" and _are_counts(value.values(), rows) else ""
        for key, inner in value.items():
            yield from _counts_in(inner, rows, _said(key) or around, _below(place, f".{key}"))
    elif isinstance(value, list):
        around = said if _are_counts(value, rows) else ""
        for at, inner in enumerate(value):
            yield from _counts_in(inner, rows, around, _below(place, f"[{at}]"))
    elif said and (count := _count(value, rows)) is not None:
        yield place, count


def _said(name: str) -> _Said:
    if _TALLY.fullmatch(name.strip()):
        return "tally"
    return "people" if _MANY.fullmatch(name.strip()) else ""


def _are_counts(values: Iterable[Any], rows: int) -> bool:
    return all(isinstance(value, dict | list) or _count(value, rows) is not None for value in values)


def _below(place: str, step: str) -> str:
    """Where an item stands, its end: under a long key each of many items would carry a copy of it."""
    return (place + step[:_PLACE_CHARACTERS])[-_PLACE_CHARACTERS:]


def _counted(file: str, header: list[str], body: list[list[str]], rows: int) -> CountTable | None:
    if not body or len(header) * len(body) > MOST_CELLS:
        return None
    columns = [[_count(line[at], rows) if line[at] else 0 for line in body] for at in range(len(header))]
    whole = {
        at: [n for n in column if n is not None] for at, column in enumerate(columns) if None not in column
    }
    named = [at for at in whole if _said(header[at]) and not _numbers(header[at].strip(), whole[at])]
    chosen = named or _looks_counted(body, whole, rows)
    places = tuple((at, column) for at in range(len(body)) for column in chosen if body[at][column])
    if not places:
        return None
    return CountTable(file, tuple(header), tuple(map(tuple, body)), places, bool(named))


def _looks_counted(body: list[list[str]], whole: dict[int, list[int]], rows: int) -> list[int]:
    others = [at for at in range(len(body[0])) if at not in whole]
    texts = all(not any(character.isdecimal() for character in line[at]) for line in body for at in others)
    if not whole or not others or not texts or max(map(sum, whole.values())) > rows:
        return []
    return list(whole)


def _numbers(name: str, column: list[int]) -> bool:
    """Whether a column numbers the lines of its table."""
    running = column == list(range(column[0], column[0] + len(column)))
    return (
        running
        and len(column) >= _FEWEST_NUMBERED
        and column[0] < 2
        and _NUMBERING.fullmatch(name) is not None
    )


def _count(value: Any, most: int) -> int | None:
    """A whole number from 0 to ``most``, or text that is one; None for anything else."""
    if isinstance(value, str):
        found = _WHOLE.fullmatch(value)
        value = int(found[1]) if found else None
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= most else None
