"""What a person reads when a job file is wrong: the field by its path, what it must be, and an example.

pydantic finds the errors; the words are ours. A message never repeats a value that stands in the file, and
a field's name only if it looks like one.
"""

from __future__ import annotations

import difflib
import json
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from trustspace.errors import InvalidInput

_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}", re.ASCII)
_KINDS = {
    "int_type": "a whole number",
    "string_type": "text in quotes",
    "bool_type": "true or false",
    "decimal_type": "a decimal number",
    "tuple_type": "a list in square brackets",
    "list_type": "a list in square brackets",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}
_ODD_NAME = "?"
# Nobody reads more, and a file of nothing but errors has a hundred thousand of them.
MAX_PROBLEMS = 20
_WITH_EXAMPLE = "For example: {example}"


class InvalidJobFile(InvalidInput):
    """A job file with one or more problems, each an :class:`InvalidInput` with field and fix."""

    def __init__(self, problems: Sequence[InvalidInput]) -> None:
        lines = "\n".join(f"  - {problem.public_message}" for problem in problems)
        if len(problems) == 1:
            super().__init__("The job file has a problem: {problem}", problem=problems[0].public_message)
        elif len(problems) == MAX_PROBLEMS:
            super().__init__(
                "The job file has {count} problems, or more:\n{lines}", count=len(problems), lines=lines
            )
        else:
            super().__init__("The job file has {count} problems:\n{lines}", count=len(problems), lines=lines)
        self.problems = tuple(problems)


class _Place(NamedTuple):
    path: str
    field: FieldInfo | None
    section: type[BaseModel]


def problems_of(error: ValidationError, model: type[BaseModel]) -> tuple[InvalidInput, ...]:
    """One readable problem for each of the first fields that ``error`` of validating ``model`` complains about."""
    found: dict[str, InvalidInput] = {}
    for detail in error.errors(include_url=False, include_input=True):
        place = _locate(model, detail["loc"])
        problem = _problem(detail, place)
        found.setdefault(str(problem.details.get("field", place.path)), problem)
        if len(found) == MAX_PROBLEMS:
            break
    return tuple(found.values())


def _problem(detail: ErrorDetails, place: _Place) -> InvalidInput:
    kind, context = detail["type"], detail.get("ctx", {})
    example = _example(place)
    details: dict[str, str | int] = {"field": place.path}
    if example:
        details["example"] = example
    shown = _WITH_EXAMPLE if example else ""
    if kind == "job_rule":
        extra = {k: v for k, v in context.items() if k not in {"field", "message", "fix"}}
        section = f"{place.path}." if place.path else ""
        return InvalidInput(
            context["message"], fix=context["fix"], **{**extra, "field": section + context["field"]}
        )
    if kind == "missing" and place.field is not None and _model_in(place.field.annotation) is not None:
        return InvalidInput("The section [{field}] is missing.", fix="Add it.", field=place.path)
    if kind == "missing":
        return InvalidInput("{field} is missing.", fix="Add it. " + shown if shown else "Add it.", **details)
    if kind == "extra_forbidden":
        return _unknown(place)
    if kind == "model_type" and place.path:
        return InvalidInput(
            "{field} must be a table.", fix="Write it as a section, [{field}].", field=place.path
        )
    if kind in _KINDS:
        return InvalidInput("{field} must be {kind}.", fix=shown, kind=_KINDS[kind], **details)
    if kind == "literal_error":
        return _not_a_choice(detail, place)
    if kind in {"union_tag_invalid", "union_tag_not_found"} and place.field is not None:
        choices = ", ".join(_arms(place.field.annotation))
        return InvalidInput("{field} must be one of: {choices}.", field=f"{place.path}.type", choices=choices)
    if kind in {"greater_than_equal", "less_than_equal", "decimal_range"}:
        return _range_problem(place, context, shown, details)
    if kind == "string_too_short" or (kind == "too_short" and context["min_length"] == 1):
        return InvalidInput("{field} must not be empty.", fix=shown, **details)
    if kind == "too_short":
        details["limit"] = context["min_length"]
        return InvalidInput("{field} must have at least {limit} entries.", fix=shown, **details)
    if kind == "too_long":
        details["limit"] = context["max_length"]
        return InvalidInput("{field} must have at most {limit} entries.", fix="Leave some out.", **details)
    if kind == "string_too_long":
        return InvalidInput(
            "{field} must be at most {limit} characters long.",
            fix="Shorten it.",
            **{**details, "limit": context["max_length"]},
        )
    if kind == "string_pattern_mismatch":
        if "a-z0-9" in str(context.get("pattern", "")):
            fix = "Use 1 to 64 lower-case letters, digits, dots, dashes and underscores. " + shown
        else:
            fix = "Remove line breaks and invisible characters."
        return InvalidInput("{field} has characters that are not allowed.", fix=fix, **details)
    return InvalidInput("{field} cannot be used as it is.", fix=shown, **details)


def _unknown(place: _Place) -> InvalidInput:
    parent, _, name = place.path.rpartition(".")
    known = list(place.section.model_fields)
    prefix = f"{parent}." if parent else ""
    if name == _ODD_NAME:
        return InvalidInput(
            "{field} holds an unknown field.",
            fix="Its fields are: {known}.",
            field=parent or "The job file",
            known=", ".join(known),
        )
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return InvalidInput(
            "{field} is not a field of a job file.",
            fix="Did you mean {suggestion}?",
            field=place.path,
            suggestion=prefix + close[0],
        )
    return InvalidInput(
        "{field} is not a field of a job file.",
        fix="Remove it; the fields here are: {known}.",
        field=place.path,
        known=", ".join(known),
    )


def _not_a_choice(detail: ErrorDetails, place: _Place) -> InvalidInput:
    choices = _choices(place.field)
    given = detail.get("input")
    close = difflib.get_close_matches(given, choices, n=1) if isinstance(given, str) else []
    if close:
        return InvalidInput(
            "{field} must be one of: {choices}.",
            fix="Did you mean {suggestion}?",
            field=place.path,
            choices=", ".join(choices),
            suggestion=close[0],
        )
    return InvalidInput("{field} must be one of: {choices}.", field=place.path, choices=", ".join(choices))


def _locate(model: type[BaseModel], location: tuple[int | str, ...]) -> _Place:
    """Follow pydantic's location through the models; steps that are no field (union arms) are dropped."""
    path, section, field = "", model, None
    inside_field = at_key = False
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
            continue
        if at_key:  # a key of a table of sections
            path += f".{step if _PLAIN_NAME.fullmatch(step) else _ODD_NAME}"
            at_key = False
            continue
        if field is not None and step in (arms := _arms(field.annotation)):
            section, field = arms[step], None
            continue
        if inside_field:  # a key of a free table, or the name of an arm of a union
            continue
        field = section.model_fields.get(step)
        shown = step if field is not None or _PLAIN_NAME.fullmatch(step) else _ODD_NAME
        path += f".{shown}" if path else shown
        child = _model_in(field.annotation) if field is not None else None
        if child is None:
            inside_field = True
        else:
            section, at_key = child, field is not None and _is_table(field.annotation)
    return _Place(path, field, section)


def _is_table(annotation: Any) -> bool:
    """Whether it is a table from names to sections."""
    inner = [argument for argument in typing.get_args(annotation) if argument is not type(None)]
    return typing.get_origin(annotation) is dict or any(
        typing.get_origin(argument) is dict for argument in inner
    )


def _arms(annotation: Any) -> dict[str, type[BaseModel]]:
    """The sections of a union that are told apart by their field ``type``, by what stands there."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        kind = annotation.model_fields.get("type")
        return dict.fromkeys(_choices(kind), annotation)
    return {k: v for argument in typing.get_args(annotation) for k, v in _arms(argument).items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in typing.get_args(annotation):
        if (found := _model_in(argument)) is not None:
            return found
    return None


def _choices(field: FieldInfo | None) -> list[str]:
    def walk(annotation: Any) -> list[str]:
        if typing.get_origin(annotation) is typing.Literal:
            return [str(value) for value in typing.get_args(annotation)]
        if typing.get_origin(annotation) in {typing.Union, types.UnionType, typing.Annotated}:
            return [choice for argument in typing.get_args(annotation) for choice in walk(argument)]
        return []

    return walk(field.annotation) if field is not None else []


def _range_problem(
    place: _Place, context: Mapping[str, Any], shown: str, details: Mapping[str, str | int]
) -> InvalidInput:
    low, high = context.get("low", context.get("ge")), context.get("high", context.get("le"))
    for mark in place.field.metadata if place.field is not None else ():
        low = getattr(mark, "ge", None) if low is None else low
        high = getattr(mark, "le", None) if high is None else high
    if low is not None and high is not None:
        return InvalidInput(
            "{field} must be from {low} to {high}.", fix=shown, low=str(low), high=str(high), **details
        )
    if low is not None:
        return InvalidInput("{field} must be at least {low}.", fix=shown, low=str(low), **details)
    return InvalidInput("{field} must be at most {high}.", fix=shown, high=str(high), **details)


def _example(place: _Place) -> str:
    if place.field is None or not place.field.examples:
        return ""
    name = place.path.rpartition(".")[2].partition("[")[0]
    return f"{name} = {_toml(place.field.examples[0])}"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
