"""The job file that a developer writes; :class:`Parameters` is the part of it that is signed and decides what runs."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError, model_validator

from trustspace.errors import InvalidInput
from trustspace.jobs.bundle import build_bundle, parse_bundle, require_entry
from trustspace.jobs.messages import InvalidJobFile, problems_of
from trustspace.jobs.parameters import FORMAT, Kind, Parameters
from trustspace.jobs.sections import (
    METRICS_ARTIFACT,
    MODEL_ARTIFACT,
    DatasetUse,
    Identifier,
    Limits,
    Line,
    Section,
    Terms,
    Train,
    rule,
    to_tuple,
)
from trustspace.jobs.sections_compute import Compute
from trustspace.jobs.sections_joint import Federated, Statistics, Sums
from trustspace.jobs.sections_private import Privacy
from trustspace.jobs.sections_score import AskedScore

MAX_FILE_BYTES = 256 << 10
_VISIBLE_LINES = r"^[^\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]*$"


class JobSection(Section):
    """What the job is called and what it is for; people read this before they decide."""

    title: Annotated[Line, Field(description="One line.", examples=["Malignancy from cytology"])]
    purpose: Annotated[
        str,
        StringConstraints(min_length=1, max_length=4000, pattern=_VISIBLE_LINES),
        Field(description="Why, in plain words.", examples=["A second opinion for the tumour board."]),
    ]
    kind: Annotated[Kind, Field(description="What is done with the data.", examples=["train"])]
    expires_days: Annotated[
        int, Field(ge=1, le=365, description="Days until the request lapses.", examples=[30])
    ] = 30


class Parties(Section):
    """Who else takes part; the source units follow from the datasets."""

    buyer: Annotated[
        Line, Field(description="Name in the trust file, or fingerprint.", examples=["city-clinic"])
    ]


class Code(Section):
    """Where the developer's code is, relative to the job file."""

    path: Annotated[Line, Field(description="A .py file or a folder.", examples=["model.py"])]
    blind: Annotated[
        bool,
        Field(
            description="Seal the code: nobody but the enclaves of a run opens it. Source units may refuse that.",
            examples=[True],
        ),
    ] = False
    host_can_read: Annotated[
        bool,
        Field(
            description="Say in the signed job that whoever runs the host of an enclave can read blind code. Without "
            "hardware evidence that is so, and must be said.",
            examples=[True],
        ),
    ] = False

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if self.host_can_read and not self.blind:
            raise rule(
                "host_can_read",
                "The field {field} is about blind code, and this code is open.",
                "Add blind = true, or remove it.",
            )
        return self


class JobFile(Section):
    """A job as its developer writes it."""

    job: JobSection
    parties: Parties
    datasets: Annotated[
        tuple[DatasetUse, ...],
        Field(min_length=1, max_length=256, description="One for every dataset to be used."),
        BeforeValidator(to_tuple),
    ]
    train: Train | None = None
    federated: Federated | None = None
    statistics: Statistics | None = None
    compute: Compute | None = None
    score: AskedScore | None = None
    sums: Sums | None = None
    privacy: Privacy | None = None
    code: Code | None = None
    terms: Terms = Terms()
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _rules(self) -> Self:
        names = [(use.source_unit, use.id) for use in self.datasets]
        if len(set(names)) != len(names):
            raise rule(
                "datasets",
                "{field} names a dataset twice.",
                "Name each dataset once, in one version; say source_unit where two have the same name.",
            )
        try:
            parameters = self.parameters()
        except ValidationError as error:
            first = error.errors()[0]
            raise rule(**first["ctx"]) if first["type"] == "job_rule" else error from None
        if parameters.runs_custom_code and self.code is None:
            what = 'model = "custom"' if self.train is not None else 'kind = "compute"'
            raise rule("code", "The section [{field}] is missing.", "{what} needs it.", what=what)
        if not parameters.runs_custom_code and self.code is not None:
            raise rule(
                "code",
                "The section [{field}] belongs to custom code only.",
                'Remove it, or use model = "custom".',
            )
        return self

    def parameters(self) -> Parameters:
        """What is signed of this file, typed."""
        # Only training draws a withheld part by itself: elsewhere there is no model to judge by it.
        terms = self.terms
        if self.job.kind != "train" and "withheld_percent" not in terms.model_fields_set:
            terms = terms.model_copy(update={"withheld_percent": 0})
        return Parameters(
            kind=self.job.kind,
            datasets=self.datasets,
            train=self.train,
            federated=self.federated,
            statistics=self.statistics,
            compute=self.compute,
            score=self.score.signed() if self.score is not None else None,
            sums=self.sums,
            privacy=self.privacy,
            terms=terms,
            limits=self.limits,
        )

    def to_parameters(self) -> dict[str, Any]:
        """What is signed of this file, as JSON values."""
        return self.parameters().to_json()


def load_job_file(path: Path) -> JobFile:
    """Read and check a job file.

    Raises InvalidInput for a file that cannot be read or is no TOML, and
    :class:`~trustspace.jobs.messages.InvalidJobFile` naming every field that is wrong.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidInput(
            "The job file {name} cannot be read.", fix="Check the path.", name=path.name
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise InvalidInput(
            "The job file {name} is larger than {limit} bytes.", name=path.name, limit=MAX_FILE_BYTES
        )
    try:
        return parse_job_file(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise InvalidInput(
            "The job file {name} is not UTF-8 text.", fix="Save it as UTF-8.", name=path.name
        ) from None


def read_code(job: JobFile, job_path: Path) -> bytes:
    """The code bundle that ``job``, read from ``job_path``, names; empty when it has no [code].

    Raises InvalidInput when the code is missing, no plain text, or lacks the function that will be called.
    """
    if job.code is None:
        return b""
    bundle = build_bundle(job_path.parent / job.code.path)
    entry = job.parameters().entry
    if entry is not None:
        require_entry(parse_bundle(bundle), *entry)
    return bundle


def parse_job_file(text: str) -> JobFile:
    """A job file from its text; errors as :func:`load_job_file` has them."""
    try:
        value = tomllib.loads(text, parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as error:
        # Beside TOMLDecodeError: a whole number of thousands of digits, and an exponent beyond Decimal's.
        raise InvalidInput(
            "The job file is not valid TOML: {reason}.",
            fix="Text needs quotes; lists need square brackets.",
            reason=_position(str(error)),
        ) from None
    try:
        return JobFile.model_validate(value)
    except ValidationError as error:
        raise InvalidJobFile(problems_of(error, JobFile)) from None


def _position(message: str) -> str:
    """``line 3, column 7`` of tomllib's message; the rest could repeat what stands in the file."""
    start = message.rfind("(at ")
    return message[start + 4 : -1] if start >= 0 else "see its end"


def job_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a job file, as published in docs/job.schema.json."""
    schema = _plain_schema(JobFile.model_json_schema())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "trustspace job file",
    }


def _plain_schema(value: Any) -> Any:
    """Without nulls, which TOML does not have, and without titles that repeat names."""
    if isinstance(value, list):
        return [_plain_schema(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {
        key: _plain_schema(item)
        for key, item in value.items()
        if not (key == "title" and isinstance(item, str)) and not (key == "default" and item is None)
    }
    arms = [arm for arm in kept.get("anyOf", []) if arm != {"type": "null"}]
    if len(arms) == 1:
        del kept["anyOf"]
        return {**arms[0], **kept}
    return {**kept, "anyOf": arms} if arms else kept


__all__ = [
    "FORMAT",
    "METRICS_ARTIFACT",
    "MODEL_ARTIFACT",
    "Code",
    "Compute",
    "DatasetUse",
    "Federated",
    "Identifier",
    "JobFile",
    "JobSection",
    "Limits",
    "Parameters",
    "Parties",
    "Statistics",
    "Terms",
    "Train",
    "job_schema",
    "load_job_file",
    "parse_job_file",
    "read_code",
]
