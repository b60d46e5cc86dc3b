"""The section [compute] of a job file: everything that the developer's own ``run(inputs, outputs)`` may hand out.

An output may say exactly what stands in it (``json_schema``, ``columns`` and ``max_rows``, ``tensors``). One that
does not may hold anything of its media type, and the reviewers' report says so.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from trustspace.jobs.json_schema import JsonSchema, check_bounds, has_free_text
from trustspace.jobs.sections import MEDIA_TYPES, MIB, Identifier, Line, Section, rule, to_tuple

# What says exactly what stands in an output, by the media type that it belongs to.
FORMS = {
    "json_schema": "application/json",
    "columns": "text/csv",
    "max_rows": "text/csv",
    "text_columns": "text/csv",
    "tensors": "application/x-safetensors",
}


class TensorSpec(Section):
    """A tensor's type and shape."""

    dtype: Annotated[
        Literal["F32", "F64", "I32", "I64", "U8"], Field(description="Type of its numbers.", examples=["F32"])
    ]
    shape: Annotated[
        tuple[Annotated[int, Field(ge=0, le=1 << 30)], ...],
        Field(max_length=8, description="Its sizes; an empty list is one number.", examples=[[3, 4]]),
        BeforeValidator(to_tuple),
    ]


class OutputSpec(Section):
    """One thing that a compute job may hand out."""

    name: Annotated[Identifier, Field(description="File name of the output.", examples=["summary.json"])]
    media_type: Annotated[
        Literal["application/json", "text/csv", "image/png", "application/x-safetensors"],
        Field(description="What it is.", examples=["application/json"]),
    ]
    max_bytes: Annotated[int, Field(ge=1, le=1 << 30, description="Its largest size.", examples=[65536])]
    json_schema: Annotated[
        JsonSchema | None,
        Field(
            description="JSON only: what it holds, as [described](#what-a-json-output-may-hold).",
            examples=[{"type": "integer", "minimum": 0, "maximum": 100}],
        ),
    ] = None
    columns: Annotated[
        tuple[Line, ...] | None,
        Field(
            min_length=1,
            max_length=1024,
            description="CSV only, with max_rows: its header.",
            examples=[["group", "mean"]],
        ),
        BeforeValidator(to_tuple),
    ] = None
    max_rows: Annotated[
        int | None,
        Field(
            ge=0, le=10**9, description="CSV only, with columns: most rows below the header.", examples=[20]
        ),
    ] = None
    text_columns: Annotated[
        tuple[Line, ...] | None,
        Field(
            min_length=1,
            max_length=1024,
            description="CSV only: which of the columns hold text; the others hold numbers, true, false or nothing.",
            examples=[["group"]],
        ),
        BeforeValidator(to_tuple),
    ] = None
    tensors: Annotated[
        dict[Line, TensorSpec] | None,
        Field(
            min_length=1,
            max_length=4096,
            description="Safetensors only: exactly these tensors.",
            examples=[{"weight": {"dtype": "F32", "shape": [3, 4]}}],
        ),
    ] = None

    @property
    def says_form(self) -> bool:
        """Whether the job says anything of its content."""
        return any(getattr(self, form) is not None for form in FORMS)

    @property
    def is_exact(self) -> bool:
        """Whether the job says what stands in it, without room for free text; nothing says that of a picture."""
        if self.json_schema is not None:
            return not has_free_text(self.json_schema)
        return self.tensors is not None or (self.columns is not None and self.text_columns is None)

    @model_validator(mode="after")
    def _rules(self) -> Self:
        suffix = next((s for s, kind in MEDIA_TYPES.items() if kind == self.media_type), "")
        if self.media_type == "application/json" and self.max_bytes > MIB:
            raise rule(
                "max_bytes", "{field} is too large for JSON.", "Use at most {limit}, or a CSV.", limit=MIB
            )
        if not self.name.endswith(suffix):
            raise rule(
                "name",
                "{field} does not end as its media type does.",
                "Let it end with {suffix}.",
                suffix=suffix,
            )
        for form, kind in FORMS.items():
            if getattr(self, form) is not None and self.media_type != kind:
                raise rule(form, "{field} belongs to outputs of type {kind} only.", "Remove it.", kind=kind)
        if (self.columns is None) != (self.max_rows is None):
            missing, other = ("columns", "max_rows") if self.columns is None else ("max_rows", "columns")
            raise rule(missing, "{field} is missing.", "{other} needs it.", other=other)
        for form, names in (("columns", self.columns), ("text_columns", self.text_columns)):
            if names is not None and len(set(names)) != len(names):
                raise rule(form, "{field} names a column twice.", "Name each column once.")
        if self.text_columns is not None and not set(self.text_columns) <= set(self.columns or ()):
            raise rule(
                "text_columns",
                "{field} names a column that is not among the columns.",
                "Add it to {other} or remove it.",
                other="columns",
            )
        if self.json_schema is not None:
            check_bounds(self.json_schema)
        return self


class Compute(Section):
    """The developer's own ``run(inputs, outputs)`` in main.py."""

    outputs: Annotated[
        tuple[OutputSpec, ...],
        Field(
            min_length=1,
            max_length=32,
            description="Everything that may come out.",
            examples=[[{"name": "summary.json", "media_type": "application/json", "max_bytes": 65536}]],
        ),
        BeforeValidator(to_tuple),
    ]
    arguments: Annotated[
        dict[Identifier, Line | Annotated[int, Field(ge=-(2**53) + 1, le=2**53 - 1)] | bool],
        Field(
            max_length=64, description="Handed to run() as inputs.arguments.", examples=[{"group_by": "sex"}]
        ),
    ] = {}  # noqa: RUF012 - pydantic copies a default

    @model_validator(mode="after")
    def _rules(self) -> Self:
        names = [output.name for output in self.outputs]
        if len(set(names)) != len(names):
            raise rule("outputs", "{field} names an output twice.", "Name each output once.")
        return self
