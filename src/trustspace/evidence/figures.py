"""Small pictures that a report carries as numbers, for whoever would rather look than read.

They are drawn where they are shown: as vector graphics by the review page, as text by the command line. What a
statement may hold are integers and text, so that numbers with a point stand in decimal text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from trustspace.evidence.words import Language

Decimal = Annotated[str, Field(pattern=r"^-?[0-9]{1,15}(\.[0-9]{1,9})?$")]
MAX_POINTS = 512
MAX_ROWS = 200
# Of a table.
MAX_CELLS = 4000


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Words(_Part):
    """The same sentence in both languages."""

    en: str
    zh: str

    def in_language(self, language: Language) -> str:
        """English or Chinese."""
        return self.zh if language == "zh" else self.en


class Series(_Part):
    """One set of counts of a histogram."""

    name: Words
    counts: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(max_length=MAX_POINTS)]


class Histogram(_Part):
    """How often values fall between ``edges``, for one or more groups."""

    kind: Literal["histogram"] = "histogram"
    title: Words
    x: Words
    edges: Annotated[tuple[Decimal, ...], Field(min_length=2, max_length=MAX_POINTS)]
    series: Annotated[tuple[Series, ...], Field(min_length=1, max_length=4)]


class Curve(_Part):
    """Points (x, y) joined by a line; ``chance``: "diagonal" where that is what guessing gives."""

    kind: Literal["curve"] = "curve"
    title: Words
    x: Words
    y: Words
    points: Annotated[tuple[tuple[Decimal, Decimal], ...], Field(max_length=MAX_POINTS)]
    chance: Literal["", "diagonal"] = ""


class Exposed(_Part):
    """One record, by its source's own key, and how far it stands out."""

    key: Annotated[str, Field(max_length=200)]
    value: Decimal


class Exposure(_Part):
    """The records that stand out most: for the reviewers of the source unit whose they are."""

    kind: Literal["exposure"] = "exposure"
    title: Words
    rows: Annotated[tuple[Exposed, ...], Field(max_length=MAX_ROWS)]


class Table(_Part):
    """A table as it would leave, with the cells that a check found ``marked`` as (row, column)."""

    kind: Literal["table"] = "table"
    title: Words
    columns: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_ROWS)]
    rows: Annotated[tuple[tuple[str, ...], ...], Field(max_length=MAX_ROWS)]
    marked: Annotated[tuple[tuple[int, int], ...], Field(max_length=MAX_CELLS)]


Figure = Annotated[Histogram | Curve | Exposure | Table, Field(discriminator="kind")]


def decimals(values: Iterable[float]) -> tuple[str, ...]:
    """Numbers as text with six digits after the point."""
    return tuple(decimal(value) for value in values)


def decimal(value: float) -> str:
    """A number as text with six digits after the point."""
    text = f"{value:.6f}"
    return "0.000000" if text == "-0.000000" else text
