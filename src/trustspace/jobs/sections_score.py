"""The section [score] of a job file: a developer's encrypted linear model, evaluated on rows that stay plain.

Ranges and groups are those that the dataset's description shows, to the digit (``agreement``): whoever could choose
them could ask for thresholds and for groups cut anew, and take single people from the differences.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from trustspace.jobs.sections import Between, DecimalText, Label, Line, Section, rule, to_tuple
from trustspace.jobs.sections_joint import RESERVED_CATEGORIES

MAX_FEATURES = 256
MAX_GROUPS = 128
GROUP_SUMS, ROWS = "group-sums", "rows"

_Bound = Annotated[DecimalText, Between("-1000000000000", "1000000000000")]


class Score(Section):
    """Scores by a model whose weights nobody but its developer sees."""

    model: Annotated[
        Literal["linear", "logistic"],
        Field(
            description="What the score is: the weighted sum itself, or the log-odds of a logistic regression.",
            examples=["logistic"],
        ),
    ]
    features: Annotated[
        dict[
            Line, Annotated[tuple[_Bound, ...], Field(min_length=2, max_length=2), BeforeValidator(to_tuple)]
        ],
        Field(
            min_length=1,
            max_length=MAX_FEATURES,
            description="The columns that are weighed, each with the range that the dataset's description shows.",
            examples=[{"age": [0, 100]}],
        ),
    ]
    feature_bits: Annotated[
        int, Field(ge=1, le=16, description="Steps of a range, as a power of two.", examples=[8])
    ] = 8
    weight_bits: Annotated[
        int,
        Field(
            ge=2,
            le=24,
            description="Bits of a weight, its sign among them; the developer proves that no weight has more.",
            examples=[16],
        ),
    ] = 16
    group: Annotated[
        Line | None,
        Field(
            description="The column of categories by which scores are added up; left out, all rows are one group.",
            examples=["sex"],
        ),
    ] = None
    groups: Annotated[
        tuple[Label, ...],
        Field(
            max_length=MAX_GROUPS,
            description="With group: every category that the dataset's description shows; any other counts as other.",
            examples=[["female", "male"]],
        ),
        BeforeValidator(to_tuple),
    ] = ()
    result: Annotated[
        Literal["group-sums", "rows"],
        Field(
            description="What comes out: sums over groups, which the developer decrypts; or a score for each row, "
            "blinded, which the source unit alone can open.",
            examples=["group-sums"],
        ),
    ] = "group-sums"

    @property
    def used(self) -> frozenset[str]:
        """Every column that the scores are made of."""
        return frozenset(self.features) | ({self.group} if self.group is not None else frozenset())

    @property
    def labels(self) -> tuple[str, ...]:
        """What the groups are called; without a group, "all" alone."""
        return (*self.groups, *RESERVED_CATEGORIES) if self.group is not None else ("all",)

    @property
    def largest_feature(self) -> int:
        """The value of a feature at the upper end of its range; at the lower end it is 0."""
        return (1 << self.feature_bits) - 1

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if any(Decimal(low) >= Decimal(high) for low, high in self.features.values()):
            raise rule("features", "{field} has a range whose end is not above its start.", "Swap the two.")
        if self.group is not None and self.group in self.features:
            raise rule("group", "{field} is also among the features.", "Take it out of one of the two.")
        if self.group is not None and self.result == ROWS:
            raise rule("group", '{field} does not go with result = "rows".', "Remove it.")
        if bool(self.groups) != (self.group is not None):
            raise rule(
                "groups",
                "{field} and group belong together.",
                "Give every category of the column in group, or remove both.",
            )
        if len(set(self.groups)) != len(self.groups):
            raise rule("groups", "{field} names a category twice.", "Name each category once.")
        if set(self.groups) & set(RESERVED_CATEGORIES):
            raise rule(
                "groups",
                "{field} names a category that the platform uses itself.",
                "Leave out: {reserved}.",
                reserved=", ".join(RESERVED_CATEGORIES),
            )
        return self


class AskedScore(Score):
    """Scores by a model whose weights nobody but its developer sees; where they are is not part of what is signed."""

    weights: Annotated[
        Line,
        Field(
            description="A JSON file of the weights, relative to the job file. It is read on this machine only, and "
            "leaves it encrypted.",
            examples=["weights.json"],
        ),
    ]

    def signed(self) -> Score:
        """What stands in the job's parameters."""
        return Score(**{name: getattr(self, name) for name in Score.model_fields})
