"""The section [privacy] of a job file: training with differential privacy (DP-SGD), and how much of it.

Ranges are those that the dataset's description shows, to the digit, of several datasets from the lowest end to the
highest (``agreement``): a private training takes no number from the rows that its claim does not cover, so the ranges
of the columns come from what is public already.
"""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from trustspace.jobs.sections import Between, DecimalText, Line, Section, rule, to_tuple

_Bound = Annotated[DecimalText, Between("-1000000000000", "1000000000000")]


class Privacy(Section):
    """A promise about every patient: the model tells almost the same, whatever one patient's rows are."""

    epsilon: Annotated[
        DecimalText,
        Between("0.01", "100"),
        Field(
            description="How much at most; smaller is more private. Up to 8 passes, above that is looked at closely. "
            "Over several datasets it holds for the patients of each.",
            examples=[3],
        ),
    ]
    delta: Annotated[
        DecimalText,
        Between("0.0000000001", "0.1"),
        Field(
            description="The chance that the promise fails altogether; below 1 divided by the number of patients of "
            "any dataset.",
            examples=[0.0001],
        ),
    ]
    max_gradient_norm: Annotated[
        DecimalText,
        Between("0.001", "1000"),
        Field(
            description="What one patient may move the model in a step; noise grows with it.", examples=[1]
        ),
    ] = "1"
    ranges: Annotated[
        dict[
            Line, Annotated[tuple[_Bound, ...], Field(min_length=2, max_length=2), BeforeValidator(to_tuple)]
        ],
        Field(
            default_factory=dict,
            max_length=4096,
            description="For each column of numbers, the range that the dataset's description shows, of several the "
            "least around all of theirs; of a numeric target too. Values beyond it count as its end.",
            examples=[{"age": [0, 100]}],
        ),
    ]

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if any(Decimal(low) >= Decimal(high) for low, high in self.ranges.values()):
            raise rule("ranges", "{field} has a range whose end is not above its start.", "Swap the two.")
        return self


def check_ranges(privacy: Privacy, numbers: Collection[str]) -> None:
    """Raise the rule's error unless there is a range for exactly the columns of ``numbers``."""
    if set(privacy.ranges) != set(numbers):
        raise rule(
            "privacy.ranges",
            "{field} must give a range for exactly the columns of numbers.",
            "Missing or too many: {columns}.",
            columns=", ".join(sorted(set(privacy.ranges) ^ set(numbers)))[:200],
        )
