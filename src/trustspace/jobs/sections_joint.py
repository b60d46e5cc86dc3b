"""The sections of a job over several source units: [federated] for training, [statistics] for counts and tables.

As in ``sections``: strict, frozen, decimals as exact text, an example for every field.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from trustspace.aggregation.selection import Wish
from trustspace.jobs.sections import (
    Between,
    DecimalText,
    Label,
    Line,
    Section,
    Train,
    no_default,
    rule,
    to_tuple,
)

Strategy = Literal["fedavg", "fedprox", "fedadam", "fedyogi", "scaffold"]
ADAPTIVE = ("fedadam", "fedyogi")
MAX_TABLE_CELLS = 65_536
MAX_BINS = 32_768
# What a category that nobody declared, and an empty cell, are counted as.
RESERVED_CATEGORIES = ("other", "missing")

_Bound = Annotated[DecimalText, Between("-1000000000000", "1000000000000")]


class Federated(Section):
    """How several source units train one model together, in rounds whose sums alone are seen."""

    strategy: Annotated[
        Strategy, Field(description="How updates become the next model.", examples=["fedavg"])
    ] = "fedavg"
    rounds: Annotated[int, Field(ge=1, le=10_000, description="Most rounds.", examples=[20])] = 20
    local_steps: Annotated[
        int | None,
        Field(
            ge=1,
            le=1_000_000,
            description="Steps of the optimiser in a round; left out, train.epochs passes over the rows.",
            examples=[10],
        ),
    ] = None
    proximal: Annotated[
        Annotated[DecimalText, Between("0", "1000")] | None,
        Field(description="Pull towards the common model; fedprox only, there 0.01.", examples=[0.01]),
    ] = None
    server_learning_rate: Annotated[
        DecimalText,
        Between("0.0001", "100"),
        Field(
            description="Size of the common step; left out 1, with fedadam and fedyogi 0.1.",
            examples=[1],
            json_schema_extra=no_default,
        ),
    ] = "1"
    server_adaptivity: Annotated[
        Annotated[DecimalText, Between("0.000000001", "1")] | None,
        Field(description="fedadam and fedyogi only, there 0.001.", examples=[0.001]),
    ] = None
    clip: Annotated[
        DecimalText,
        Between("0.000001", "1000000"),
        Field(
            description="Largest L2 norm of one source unit's update; a larger one is shrunk.", examples=[10]
        ),
    ] = "10"
    weight_cap: Annotated[
        int,
        Field(
            ge=1,
            le=1_000_000_000,
            description="Rows above which a source unit counts no more; left out 10000, with [privacy] 1, where all "
            "count the same.",
            examples=[10_000],
            json_schema_extra=no_default,
        ),
    ] = 10_000
    validation_percent: Annotated[
        int,
        Field(
            ge=0, le=50, description="Share of the training patients that watches the rounds.", examples=[10]
        ),
    ] = 0
    patience: Annotated[
        int | None,
        Field(
            ge=1,
            le=10_000,
            description="Stop after so many rounds without a lower validation loss.",
            examples=[5],
        ),
    ] = None
    wait_seconds: Annotated[
        int,
        Field(
            ge=5,
            le=86_400,
            description="How long the others wait for a slow or lost source unit.",
            examples=[300],
        ),
    ] = 300

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        """Write what follows from the strategy out in full, so that what is signed says it."""
        if not isinstance(value, dict):
            return value
        filled = dict(value)
        if filled.get("strategy") == "fedprox":
            filled.setdefault("proximal", "0.01")
        if filled.get("strategy") in ADAPTIVE:
            filled.setdefault("server_learning_rate", "0.1")
            filled.setdefault("server_adaptivity", "0.001")
        return filled

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if self.proximal is not None and self.strategy != "fedprox":
            raise rule("proximal", '{field} belongs to strategy = "fedprox" only.', "Remove it.")
        if self.server_adaptivity is not None and self.strategy not in ADAPTIVE:
            raise rule("server_adaptivity", "{field} belongs to fedadam and fedyogi only.", "Remove it.")
        if self.patience is not None and self.validation_percent == 0:
            raise rule(
                "patience",
                "{field} needs patients that watch the rounds.",
                "Give validation_percent too, for example: validation_percent = 10",
            )
        return self


class Sums(Section):
    """How the sums of several source units are protected, and who can be missing when they are opened.

    A sum is opened by the enclaves of the source units that are in it, never by the space.
    """

    scheme: Annotated[
        Wish,
        Field(
            description="Left out, the platform chooses: masks for a few source units, else the lattice.",
            examples=["lattice-l"],
        ),
    ] = "auto"
    dropouts: Annotated[
        int,
        Field(
            ge=0,
            le=127,
            description="How many source units may be lost in the middle of a round. All the others together can "
            "then open every single update, and each grant must say so.",
            examples=[1],
        ),
    ] = 0
    cheats: Annotated[
        int,
        Field(
            ge=0,
            le=127,
            description="With dropouts: how many source units may lie about whom they open a sum for.",
            examples=[1],
        ),
    ] = 0
    opened_by: Annotated[
        Literal["members"],
        Field(description="Who learns a sum: its members' enclaves.", examples=["members"]),
    ] = "members"


class Statistics(Section):
    """Counts, means, quantiles and cross-tables, without a model."""

    numeric: Annotated[
        tuple[Line, ...],
        Field(
            max_length=256,
            description="Columns of numbers: count, missing, mean and variance of each.",
            examples=[["age", "size"]],
        ),
        BeforeValidator(to_tuple),
    ] = ()
    bounds: Annotated[
        dict[
            Line, Annotated[tuple[_Bound, ...], Field(min_length=2, max_length=2), BeforeValidator(to_tuple)]
        ],
        Field(
            max_length=256,
            description="Range of each column whose quantiles are wanted.",
            examples=[{"age": [0, 120]}],
        ),
    ] = {}  # noqa: RUF012 - pydantic copies a default
    quantiles: Annotated[
        tuple[Annotated[DecimalText, Between("0.01", "0.99")], ...],
        Field(
            max_length=32,
            description="Which quantiles; left out, the quartiles of every column that has bounds.",
            examples=[["0.25", "0.5", "0.75"]],
            json_schema_extra=no_default,
        ),
        BeforeValidator(to_tuple),
    ] = ()
    bins: Annotated[
        int,
        Field(ge=2, le=1024, description="Parts of a range, from which quantiles are read.", examples=[64]),
    ] = 64
    tables: Annotated[
        tuple[Annotated[tuple[Line, ...], Field(min_length=1, max_length=2), BeforeValidator(to_tuple)], ...],
        Field(
            max_length=64,
            description="Counts by one column of categories, or by two against each other.",
            examples=[[["sex", "diagnosis"]]],
        ),
        BeforeValidator(to_tuple),
    ] = ()
    categories: Annotated[
        dict[
            Line,
            Annotated[tuple[Label, ...], Field(min_length=1, max_length=256), BeforeValidator(to_tuple)],
        ],
        Field(
            max_length=256,
            description="Every category of the columns in tables; any other value counts as other.",
            examples=[{"sex": ["female", "male"]}],
        ),
    ] = {}  # noqa: RUF012 - pydantic copies a default

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        filled = dict(value)
        if filled.get("bounds"):
            filled.setdefault("quantiles", ["0.25", "0.5", "0.75"])
        return filled

    @property
    def used(self) -> frozenset[str]:
        """Every column that something is computed of."""
        return frozenset(self.numeric) | {name for table in self.tables for name in table}

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if not self.numeric and not self.tables:
            raise rule("numeric", "{field} and tables are both empty.", "Say what is to be computed.")
        if len(set(self.numeric)) != len(self.numeric):
            raise rule("numeric", "{field} names a column twice.", "Name each column once.")
        self._range_rules()
        self._table_rules()
        return self

    def _range_rules(self) -> None:
        if any(name not in self.numeric for name in self.bounds):
            raise rule("bounds", "{field} names a column that is not in numeric.", "Add it to numeric.")
        if any(Decimal(low) >= Decimal(high) for low, high in self.bounds.values()):
            raise rule("bounds", "{field} has a range whose end is not above its start.", "Swap the two.")
        if bool(self.quantiles) != bool(self.bounds):
            raise rule(
                "quantiles",
                "{field} and bounds belong together.",
                "Give the range of every column whose quantiles are wanted, or remove both.",
            )
        if len(self.bounds) * self.bins > MAX_BINS:
            raise rule(
                "bins",
                "{field} times the columns with bounds is more than {limit}.",
                "Use fewer bins or columns.",
                limit=MAX_BINS,
            )
        if len(set(self.quantiles)) != len(self.quantiles):
            raise rule("quantiles", "{field} names a quantile twice.", "Name each quantile once.")

    def _table_rules(self) -> None:
        wanted = {name for table in self.tables for name in table}
        if wanted != set(self.categories):
            raise rule(
                "categories",
                "{field} must name exactly the columns in tables.",
                "Give every category of each column in tables, and of no other column.",
            )
        if wanted & set(self.numeric):
            raise rule("tables", "{field} names a column of numbers.", "Take it out of numeric or of tables.")
        if any(len(set(table)) != len(table) for table in self.tables):
            raise rule("tables", "{field} names a column twice.", "Name two different columns.")
        if len({frozenset(table) for table in self.tables}) != len(self.tables):
            raise rule("tables", "{field} has a table twice.", "Name each table once.")
        if _has_ring(self.tables):
            raise rule(
                "tables",
                "{field} form a ring, such as a by b, b by c and c by a.",
                "Leave one of them out: together they could say more of a few people than each alone.",
            )
        for labels in self.categories.values():
            if len(set(labels)) != len(labels):
                raise rule(
                    "categories", "{field} names a category of a column twice.", "Name each category once."
                )
            if set(labels) & set(RESERVED_CATEGORIES):
                raise rule(
                    "categories",
                    "{field} names a category that the platform uses itself.",
                    "Leave out: {reserved}.",
                    reserved=", ".join(RESERVED_CATEGORIES),
                )
        cells = sum(
            math.prod(len(self.categories[name]) + len(RESERVED_CATEGORIES) for name in table)
            for table in self.tables
        )
        if cells > MAX_TABLE_CELLS:
            raise rule(
                "tables",
                "{field} have more than {limit} cells together.",
                "Ask for fewer tables or categories.",
                limit=MAX_TABLE_CELLS,
            )


def _has_ring(tables: tuple[tuple[str, ...], ...]) -> bool:
    """Whether the tables of two columns, as lines between columns, go round somewhere."""
    joined: dict[str, set[str]] = {}
    for table in tables:
        sides = [joined.get(name, {name}) for name in table]
        if len(sides) == 2 and sides[0] is sides[1]:
            return True
        together = set().union(*sides)
        joined |= dict.fromkeys(together, together)
    return False


def check_federated(federated: Federated, train: Train) -> None:
    """Raise the rule's error where the two sections do not go together."""
    if federated.strategy == "scaffold" and train.optimiser != "sgd":
        raise rule(
            "train.optimiser",
            '{field} must be "sgd" with strategy = "scaffold".',
            "Its correction is worked out for plain steps. Use sgd, or another strategy.",
        )


def all_alike(federated: Any) -> Any:
    """A section [federated] in which every source unit counts the same, unless it says otherwise."""
    if isinstance(federated, Federated) and "weight_cap" not in federated.model_fields_set:
        return federated.model_copy(update={"weight_cap": 1})
    return {"weight_cap": 1, **federated} if isinstance(federated, dict) else federated


def check_private(federated: Federated) -> None:
    """Raise the rule's error where rounds would tell more of the rows than what noise was added to."""
    if federated.strategy == "scaffold":
        raise rule(
            "federated.strategy",
            '{field} cannot be "scaffold" with a section [privacy].',
            "Its corrections would go up beside the model. Use fedavg, fedprox, fedadam or fedyogi.",
        )
    if federated.validation_percent:
        raise rule(
            "federated.validation_percent",
            "{field} must be 0 with a section [privacy].",
            "Remove it, and patience: losses on patients' rows would be told without noise.",
        )
    if federated.weight_cap != 1:
        raise rule(
            "federated.weight_cap",
            "{field} must be 1 with a section [privacy].",
            "Remove it: all source units count the same, since how many rows one has would tell of its patients.",
        )
