"""A small closed language in which a job says what a JSON output may hold, and the check that it does.

A subset of JSON Schema (2020-12) with other defaults: every property is required and no other is allowed, every
array, text and number is bounded. No regular expressions and no references: a developer writes the schema, an
enclave runs it, and its cost must be the size of the value. The check walks each value once.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, model_validator

from trustspace.errors import VerificationFailed
from trustspace.jobs.sections import Between, DecimalText, Line, Section, rule, to_tuple

MAX_SCHEMA_PARTS = 1024
MAX_SCHEMA_DEPTH = 16
_KIND = Field(description="What stands there.")
_Whole = Annotated[int, Field(ge=-(2**53) + 1, le=2**53 - 1)]
_Decimal = Annotated[DecimalText, Between("-1000000000000000", "1000000000000000")]


class JsonObject(Section):
    """An object with exactly these properties."""

    type: Annotated[Literal["object"], _KIND]
    properties: Annotated[
        dict[Line, JsonSchema],
        Field(min_length=1, max_length=256, description="Exactly these, each with its form."),
    ]


class JsonArray(Section):
    """A list of at most so many items, all of one form."""

    type: Annotated[Literal["array"], _KIND]
    items: Annotated[JsonSchema, Field(description="The form of every item.")]
    max_items: Annotated[int, Field(ge=0, le=1 << 20, description="Most items.", examples=[20])]


class JsonString(Section):
    """Text: one of a list, or at most so many characters."""

    type: Annotated[Literal["string"], _KIND]
    max_length: Annotated[
        int | None, Field(ge=0, le=1 << 20, description="Most characters of free text.", examples=[40])
    ] = None
    enum: Annotated[
        tuple[Line, ...] | None,
        Field(
            min_length=1, max_length=256, description="Every text that it may be.", examples=[["low", "high"]]
        ),
        BeforeValidator(to_tuple),
    ] = None

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if (self.max_length is None) == (self.enum is None):
            raise rule(
                "max_length",
                "{field} and {other} exclude each other, and one of them is needed.",
                "Keep one of them.",
                other="enum",
            )
        return self


class JsonInteger(Section):
    """A whole number within bounds."""

    type: Annotated[Literal["integer"], _KIND]
    minimum: Annotated[_Whole, Field(description="Smallest value.", examples=[0])]
    maximum: Annotated[_Whole, Field(description="Largest value.", examples=[100])]


class JsonNumber(Section):
    """A number within bounds."""

    type: Annotated[Literal["number"], _KIND]
    minimum: Annotated[_Decimal, Field(description="Smallest value.", examples=[0])]
    maximum: Annotated[_Decimal, Field(description="Largest value.", examples=[100])]


class JsonBoolean(Section):
    """true or false."""

    type: Annotated[Literal["boolean"], _KIND]


class JsonNull(Section):
    """null."""

    type: Annotated[Literal["null"], _KIND]


JsonSchema: TypeAlias = Annotated[
    JsonObject | JsonArray | JsonString | JsonInteger | JsonNumber | JsonBoolean | JsonNull,
    Discriminator("type"),
]


def check_bounds(schema: JsonSchema) -> None:
    """Raise the rule's error for a schema that is too deep or too large."""
    for count, (_, depth) in enumerate(_parts(schema), start=1):
        if count > MAX_SCHEMA_PARTS or depth > MAX_SCHEMA_DEPTH:
            raise rule(
                "json_schema",
                "{field} has more than {parts} parts, or is nested deeper than {depth}.",
                "Make it smaller.",
                parts=MAX_SCHEMA_PARTS,
                depth=MAX_SCHEMA_DEPTH,
            )


def has_free_text(schema: JsonSchema) -> bool:
    """Whether it allows text that is not one of a list."""
    return any(isinstance(part, JsonString) and part.max_length for part, _ in _parts(schema))


def _parts(schema: JsonSchema) -> Iterator[tuple[JsonSchema, int]]:
    todo: list[tuple[JsonSchema, int]] = [(schema, 1)]
    while todo:
        part, depth = todo.pop()
        yield part, depth
        if isinstance(part, JsonObject):
            todo.extend((inner, depth + 1) for inner in part.properties.values())
        elif isinstance(part, JsonArray):
            todo.append((part.items, depth + 1))


def check_value(value: Any, schema: JsonSchema, *, name: str) -> None:
    """Raise VerificationFailed unless ``value``, parsed from JSON, is what ``schema`` says.

    ``name`` is the artifact's. The message says where in the schema, never what stands there.
    """
    _check(value, schema, name, "$", {})


def _check(value: Any, schema: JsonSchema, name: str, place: str, choices: dict[int, frozenset[str]]) -> None:
    match schema:
        case JsonObject():
            sound = isinstance(value, dict) and value.keys() == schema.properties.keys()
        case JsonArray():
            sound = isinstance(value, list) and len(value) <= schema.max_items
        case JsonString(enum=None):
            sound = isinstance(value, str) and len(value) <= (schema.max_length or 0)
        case JsonString():
            # Made once for a schema: a long list of choices must not be walked for every text.
            if id(schema) not in choices:
                choices[id(schema)] = frozenset(schema.enum or ())
            sound = isinstance(value, str) and value in choices[id(schema)]
        case JsonInteger():
            sound = type(value) is int and schema.minimum <= value <= schema.maximum
        case JsonNumber():
            sound = type(value) in (int, float) and Decimal(schema.minimum) <= value <= Decimal(
                schema.maximum
            )
        case JsonBoolean():
            sound = isinstance(value, bool)
        case JsonNull():
            sound = value is None
    if not sound:
        raise VerificationFailed(
            "Artifact {name} is not what its json_schema says, at {place}.", name=name, place=place[:200]
        )
    if isinstance(schema, JsonObject):
        for key, inner in schema.properties.items():
            _check(value[key], inner, name, f"{place}.{key}", choices)
    elif isinstance(schema, JsonArray):
        inside = f"{place}[]"
        for item in value:
            _check(item, schema.items, name, inside, choices)


# The two that hold others name them before they exist.
JsonObject.model_rebuild()
JsonArray.model_rebuild()
