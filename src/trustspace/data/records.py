"""The base of the records that are signed: frozen, closed, and nothing but text and whole numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from trustspace.data.columns import is_printable
from trustspace.errors import InvalidInput


class Record(BaseModel):
    """A frozen record that refuses fields it does not know and values of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: objects, lists, text, whole numbers."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The record behind ``to_json``, and nothing that would come out different again.

        Raises InvalidInput naming the field, never its content.
        """
        problem = ""
        try:
            record = cls.model_validate(value, strict=False)
            if _text(record.to_json()) != _text(value):
                problem = "record"
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            problem = ".".join(str(part) for part in first["loc"]) or "record"
        except (TypeError, ValueError):
            problem = "record"
        if problem:
            raise InvalidInput(
                "Field {field} of the {record} is not valid.",
                fix="Correct it, or make the record again.",
                field=problem,
                record=cls.__name__,
            )
        return record


def _text(value: Any) -> str:
    # Python holds 1, 1.0 and True equal; as JSON text they differ.
    return json.dumps(value, sort_keys=True)


def one_line(text: str) -> str:
    """A pydantic validator: text without control or invisible characters."""
    if not is_printable(text):
        raise ValueError("control or invisible characters")
    return text


def paragraphs(text: str) -> str:
    """A pydantic validator: the same, with line breaks."""
    one_line(text.replace("\n", ""))
    return text
