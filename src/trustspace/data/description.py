"""What the public may know of a dataset: what its officer confirmed, and nothing finer.

Every value in a description is shared by at least ten patients, or is coarser than any row, or was
written by the officer. Counts are rounded so that one patient more or less rarely shows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from trustspace.data.columns import MAX_COLUMNS, MAX_NAME_CHARACTERS, is_printable
from trustspace.data.imageset import ImageSummary
from trustspace.data.profile import (
    MAX_CATEGORIES,
    MAX_CATEGORY_CHARACTERS,
    ColumnProfile,
    Kind,
    Profile,
)
from trustspace.data.records import Record, one_line, paragraphs
from trustspace.data.shared import MIN_PATIENTS
from trustspace.data.signs import Sign
from trustspace.data.value_signs import text_signs
from trustspace.errors import InvalidInput, PolicyRefused

FORMAT: Final = "trustspace-description-v1"
OTHER = "other"
FEWER_THAN_20 = 0
_DECIMAL = r"^-?(0|[1-9]\d{0,15})(\.\d{1,12})?$"
_ROUNDING_LIMIT = 1e15

Line = Annotated[str, StringConstraints(max_length=200), AfterValidator(one_line)]
Name = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARACTERS), AfterValidator(one_line)
]
Text = Annotated[str, StringConstraints(max_length=4000), AfterValidator(paragraphs)]
DecimalText = Annotated[str, StringConstraints(pattern=_DECIMAL)] | Literal[""]
Category = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_CATEGORY_CHARACTERS), AfterValidator(one_line)
]


class ColumnDescription(Record):
    """One column in public.

    ``low`` and ``high`` are decimal text in ``unit`` (years for dates), both empty where no range is given.
    ``missing_percent_bucket`` is rounded up to a multiple of 5. ``categories`` are the values that at least
    ten patients share each, "other" standing for the rest. ``width`` and ``height`` (pixels) and ``mode``
    are of images, 0 and "" where they vary.
    """

    name: Name
    kind: Kind
    unit: Line = ""
    meaning: Line = ""
    missing_percent_bucket: Annotated[int, Field(ge=0, le=100, multiple_of=5)] = 0
    low: DecimalText = ""
    high: DecimalText = ""
    categories: Annotated[tuple[Category, ...], Field(max_length=MAX_CATEGORIES + 1)] = ()
    width: Annotated[int, Field(ge=0, le=65_535)] = 0
    height: Annotated[int, Field(ge=0, le=65_535)] = 0
    mode: Literal["", "L", "RGB", "P", "LA", "RGBA", "CMYK", "I;16"] = ""

    @model_validator(mode="after")
    def _parts_fit_the_kind(self) -> Self:
        ranged = self.kind in ("number", "integer", "date", "datetime")
        if bool(self.low) != bool(self.high) or (self.low and not ranged):
            raise ValueError("a range needs both ends and a kind that has one")
        if self.low and Decimal(self.low) > Decimal(self.high):
            raise ValueError("low is above high")
        if self.kind != "number" and "." in self.low + self.high:
            raise ValueError("the range of whole numbers is whole")
        if self.categories and self.kind != "category":
            raise ValueError("only a category has categories")
        if len(set(self.categories)) != len(self.categories):
            raise ValueError("a category is listed twice")
        if (
            self.low
            and self.kind in ("date", "datetime")
            and not 0 < int(self.low) <= int(self.high) < 10_000
        ):
            raise ValueError("the range of dates is of years")
        if (self.width or self.height or self.mode) and self.kind != "image":
            raise ValueError("only an image has a size")
        return self


class DatasetDescription(Record):
    """A dataset in public.

    ``rows_bucket`` is rounded down (see ``rows_bucket``), 0 below 20 rows; ``patient_column`` is empty where
    every row is a patient; ``language`` is a tag such as "en" or "zh".
    """

    format: Literal["trustspace-description-v1"] = FORMAT
    title: Annotated[Line, StringConstraints(min_length=1)]
    summary: Text = ""
    rows_bucket: Annotated[int, Field(ge=0)]
    columns: Annotated[tuple[ColumnDescription, ...], Field(min_length=1, max_length=MAX_COLUMNS)]
    patient_column: Annotated[Line, StringConstraints(max_length=MAX_NAME_CHARACTERS)] = ""
    licence: Line = ""
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] = "en"

    @model_validator(mode="after")
    def _columns_fit(self) -> Self:
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise ValueError("a column is listed twice")
        if self.patient_column and self.patient_column not in names:
            raise ValueError("the patient column is not among the columns")
        if self.rows_bucket != rows_bucket(self.rows_bucket):
            raise ValueError("the number of rows is not rounded")
        return self

    def column(self, name: str) -> ColumnDescription:
        """Raises InvalidInput when there is no such column."""
        for column in self.columns:
            if column.name == name:
                return column
        raise InvalidInput("The dataset has no column {column}.", fix="Check its name.", column=name)


@dataclass(frozen=True)
class Answers:
    """What the officer adds, by column name where it concerns one.

    ``ranges`` are the officer's own (low, high) as decimal text, two empty ones hiding the range;
    ``hidden_categories`` the columns whose categories stay out; ``allow`` the columns that look
    identifying and are meant to be there.
    """

    summary: str = ""
    licence: str = ""
    language: str = "en"
    units: Mapping[str, str] = field(default_factory=dict)
    meanings: Mapping[str, str] = field(default_factory=dict)
    ranges: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    hidden_categories: frozenset[str] = frozenset()
    allow: frozenset[str] = frozenset()


def propose_description(profile: Profile, title: str, answers: Answers | None = None) -> DatasetDescription:
    """The description the officer is asked to confirm.

    Raises PolicyRefused naming the columns that look identifying and are not in ``answers.allow``, or when
    the officer's own words hold an ID number; InvalidInput naming the answer that does not fit.
    """
    answers = answers or Answers()
    _check_columns_known(profile, answers)
    refused = [name for name in profile.identifying if name not in answers.allow]
    if refused:
        raise PolicyRefused(
            "These columns look as if they identify people: {columns}.",
            fix="Leave them out of the file, or allow each by name (--allow).",
            columns="; ".join(f"{name} ({', '.join(profile.identifying[name])})" for name in refused),
        )
    words = [title, answers.summary, answers.licence, *answers.units.values(), *answers.meanings.values()]
    if Sign.ID_NUMBER in text_signs(*words):
        raise PolicyRefused("The words for the public hold an ID number.", fix="Remove it.")
    return DatasetDescription.from_json(
        {
            "format": FORMAT,
            "title": title,
            "summary": answers.summary,
            "rows_bucket": rows_bucket(profile.rows),
            "columns": [_describe(column, answers).to_json() for column in profile.columns],
            "patient_column": profile.patient_column or "",
            "licence": answers.licence,
            "language": answers.language,
        }
    )


def _check_columns_known(profile: Profile, answers: Answers) -> None:
    known = {column.name for column in profile.columns}
    for answer in ("units", "meanings", "ranges", "hidden_categories", "allow"):
        for name in getattr(answers, answer):
            if name not in known:
                raise InvalidInput(
                    "{answer} names {column}, which is not a column of the table.",
                    fix="Check its name.",
                    answer=answer,
                    column=name,
                )


def _describe(column: ColumnProfile, answers: Answers) -> ColumnDescription:
    low, high = answers.ranges.get(column.name) or proposed_range(column)
    shown = column.kind == "category" and column.name not in answers.hidden_categories
    images = column.images or ImageSummary()
    proposal = {
        "name": column.name,
        "kind": column.kind,
        "unit": answers.units.get(column.name, ""),
        "meaning": answers.meanings.get(column.name, ""),
        "missing_percent_bucket": missing_percent_bucket(column.missing, column.rows),
        "low": low,
        "high": high,
        "categories": list(shared_categories(column)) if shown else [],
        "width": images.width or 0,
        "height": images.height or 0,
        "mode": images.mode or "",
    }
    try:
        return ColumnDescription.from_json(proposal)
    except InvalidInput as error:
        wrong = error.details["field"]
    raise InvalidInput(
        "What is to be said about column {column} is not valid ({field}).",
        fix="Units and meanings are a line of at most 200 characters, ranges two decimal numbers, low first.",
        column=column.name,
        field=wrong,
    )


def rows_bucket(rows: int) -> int:
    """Rounded down to two significant digits, and to tens below 100; 0 stands for fewer than 20."""
    if rows < 20:
        return FEWER_THAN_20
    unit = 10 ** max(1, len(str(rows)) - 2)
    return int(rows // unit * unit)


def missing_percent_bucket(missing: int, rows: int) -> int:
    """The share of missing rows in percent, rounded up to a multiple of 5."""
    return -(-20 * missing // rows) * 5


def shared_categories(column: ColumnProfile) -> tuple[str, ...]:
    """The categories of at least ten patients each, in code point order; "other" last for any others."""
    shared = [
        value
        for value, patients in column.categories
        if patients >= MIN_PATIENTS and is_printable(value) and not text_signs(value)
    ]
    if len(shared) < len(column.categories) and OTHER not in shared:
        shared.append(OTHER)
    return tuple(shared)


def proposed_range(column: ColumnProfile) -> tuple[str, str]:
    """The shared bounds rounded outward: years for dates, one significant digit otherwise."""
    if column.low is None or column.high is None:
        return "", ""
    if column.kind in ("date", "datetime"):
        low, high = int(column.low), int(column.high)
        return (str(low), str(high)) if low > 0 and high < 10_000 else ("", "")
    if max(abs(column.low), abs(column.high)) >= _ROUNDING_LIMIT:
        return "", ""
    return round_outward(column.low, up=False), round_outward(column.high, up=True)


def round_outward(value: float, *, up: bool) -> str:
    """Decimal text of ``value`` rounded to one significant digit (at most 12 decimals), up or down."""
    exact = Decimal(repr(value))
    if not exact:
        return "0"
    step = Decimal(1).scaleb(max(exact.adjusted(), -12))
    rounded = exact.quantize(step, rounding=ROUND_CEILING if up else ROUND_FLOOR)
    text = format(rounded, "f")
    return "0" if re.fullmatch(r"-?0(\.0+)?", text) else text
