"""Counts of people in files that a developer's own code wrote: recognised by their names, or by what they look like.

Code can call a count anything, or hide it in a sentence. What is found here is what an honest developer leaves in by
mistake, which is most of what output checkers send back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trustspace.jobs.artifacts import parse_csv, parse_json
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.json_tables import tables_in

_COUNT = re.compile(
    r"(.*[\s_.-])?(n|nr|no|num|number|counts?|freq(uency)?|patients?|persons?|people|subjects?|cases?|deaths?|rows)"
    r"([\s_.-](of[\s_.-])?(patients?|persons?|people|subjects?|cases?|deaths?|rows))?|.*(人数|例数|计数|频数|患者数|病例数|行数)",
    re.IGNORECASE,
)
MOST_CELLS = 20_000


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
        return tuple(place for place in self.counts if 0 < int(self.rows[place[0]][place[1]]) < minimum)


def count_tables(artifacts: Sequence[RawArtifact], rows: int) -> tuple[CountTable, ...]:
    """Every table of counts in CSV and JSON files made from ``rows`` records.

    A column counts people where its name says so and its cells are whole numbers of at most ``rows``. Where no name
    does, a table of whole numbers alone (beside text) whose every column adds up to at most ``rows`` may be one.
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
        for table in tables_in(parse_json(raw.data), raw.name):
            if not table.names or table.values.size > MOST_CELLS:
                continue
            body = [[_text(cell) for cell in line] for line in table.values]
            found = _counted(raw.name, list(table.names), body, rows)
            # Of a JSON value, any list of numbers would look like one: only a name counts.
            if found is not None and found.named:
                yield found


def _counted(file: str, header: list[str], body: list[list[str]], rows: int) -> CountTable | None:
    if not body or len(header) * len(body) > MOST_CELLS:
        return None
    whole = [at for at in range(len(header)) if all(_is_count(line[at], rows) for line in body)]
    named = [at for at in whole if _COUNT.fullmatch(header[at].strip())]
    chosen = named or _looks_counted(header, body, whole, rows)
    places = tuple((at, column) for at in range(len(body)) for column in chosen if body[at][column])
    if not places:
        return None
    return CountTable(file, tuple(header), tuple(map(tuple, body)), places, bool(named))


def _looks_counted(header: list[str], body: list[list[str]], whole: list[int], rows: int) -> list[int]:
    others = [at for at in range(len(header)) if at not in whole]
    texts = all(not any(character.isdecimal() for character in line[at]) for line in body for at in others)
    if not whole or not others or not texts:
        return []
    sums = [sum(int(line[at] or 0) for line in body) for at in whole]
    return whole if max(sums) <= rows else []


def _is_count(cell: str, rows: int) -> bool:
    return not cell or (len(cell) < 16 and cell.isdecimal() and cell.isascii() and int(cell) <= rows)


def _text(value: float) -> str:
    return "" if np.isnan(value) else str(int(value)) if float(value).is_integer() else str(value)
