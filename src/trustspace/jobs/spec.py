"""The job file that a developer writes, and the parameters that are signed from it.

A :class:`JobFile` is TOML that people read and write. :class:`Parameters` is the part that decides what runs:
it stands in the signed ``job`` statement as canonical JSON (integers, strings, booleans; decimals as text),
and is all that an enclave and a worker know of the job.
"""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError, model_validator

from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs.bundle import build_bundle, parse_bundle, require_entry
from trustspace.jobs.messages import InvalidJobFile, problems_of
from trustspace.jobs.registry import model_bytes
from trustspace.jobs.sections import (
    METRICS_ARTIFACT,
    MIB,
    MODEL_ARTIFACT,
    Compute,
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

FORMAT = "trustspace-parameters-v1"
MAX_FILE_BYTES = 256 << 10
Kind = Literal["train", "compute"]
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


class Parameters(Section):
    """Everything that decides what a run does, apart from data and code."""

    format: Literal["trustspace-parameters-v1"] = "trustspace-parameters-v1"
    kind: Kind
    datasets: Annotated[
        tuple[DatasetUse, ...], Field(min_length=1, max_length=256), BeforeValidator(to_tuple)
    ]
    train: Train | None = None
    compute: Compute | None = None
    terms: Terms = Terms()
    limits: Limits = Limits()

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that a model is trained on, in the order of its inputs."""
        return self.datasets[0].columns

    @property
    def runs_custom_code(self) -> bool:
        """Whether code of the developer's meets the data."""
        return self.train is None or self.train.model == "custom"

    @property
    def entry(self) -> tuple[str, str] | None:
        """File and function that the code bundle must define, or None when there is no code."""
        if not self.runs_custom_code:
            return None
        return ("model.py", "build") if self.train is not None else ("main.py", "run")

    def columns_of(self, dataset: str) -> tuple[str, ...]:
        """The columns of ``dataset`` that a run may see: those named and, in training, the target."""
        for use in self.datasets:
            if use.id == dataset:
                return use.columns if self.train is None else (*use.columns, self.train.target)
        raise InvalidInput("The job does not use dataset {dataset}.", dataset=dataset)

    def training(self) -> Train:
        """The [train] section; raises InvalidInput for a job that trains nothing."""
        if self.train is None:
            raise InvalidInput("This job does not train a model.")
        return self.train

    def computing(self) -> Compute:
        """The [compute] section; raises InvalidInput for a job of another kind."""
        if self.compute is None:
            raise InvalidInput("This job does not compute with the developer's code.")
        return self.compute

    def to_json(self) -> dict[str, Any]:
        """As it is signed: JSON values without floats or nulls, every default written out."""
        value: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        return value

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The parameters of a signed statement; VerificationFailed unless they are in their one form."""
        try:
            parameters = cls.model_validate(value)
        except ValidationError as error:
            raise VerificationFailed(
                "The job's parameters break a rule: {reason}",
                reason=problems_of(error, cls)[0].public_message,
            ) from None
        if parameters.to_json() != value:
            raise VerificationFailed("The job's parameters are not written out in full.")
        return parameters

    @model_validator(mode="after")
    def _rules(self) -> Self:
        check_sections(self.kind, self.train, self.compute)
        identities = [(use.id, use.version) for use in self.datasets]
        if len({name for name, _ in identities}) != len(identities):
            raise rule(
                "datasets", "{field} names a dataset twice.", "Name each dataset once, in one version."
            )
        if self.terms.minimum_participants > len(self.datasets):
            raise rule(
                "terms.minimum_participants",
                "{field} is larger than the number of datasets.",
                "Lower it or add a dataset.",
            )
        if self.train is not None:
            self._training_rules(self.train)
        if self.compute is not None:
            declared = sum(output.max_bytes for output in self.compute.outputs)
            if declared > self.limits.output_mib * MIB:
                raise rule(
                    "limits.output_mib",
                    "{field} is smaller than all declared outputs together.",
                    "Raise it to {needed}, or lower max_bytes.",
                    needed=-(-declared // MIB),
                )
        return self

    def _training_rules(self, train: Train) -> None:
        if any(use.columns != self.features for use in self.datasets):
            raise rule(
                "datasets",
                "{field} name different columns.",
                "A model is trained on the same columns, in the same order, of every dataset.",
            )
        if train.target in self.features:
            raise rule(
                "train.target",
                "{field} is also among the columns.",
                "Take it out of datasets.columns: a model must not see what it predicts.",
            )
        if any(name not in self.features for name in train.categories):
            raise rule(
                "train.categories",
                "{field} names a column that is not among the columns.",
                "Add it to datasets.columns or remove it.",
            )
        if train.is_image and len(self.features) != 1:
            raise rule(
                "datasets",
                "{field} must name exactly one column for a model of images.",
                "Name the image column only.",
            )
        needed = model_bytes(train, self.features) + MIB
        if needed > self.limits.output_mib * MIB:
            raise rule(
                "limits.output_mib",
                "{field} is smaller than the model.",
                "Raise it to {needed}, or make the model smaller.",
                needed=-(-needed // MIB),
            )
        if self.terms.withheld_percent < 5:
            raise rule(
                "terms.withheld_percent",
                "{field} must be from 5 to 50 for training.",
                "Without patients that training never sees, nobody can judge the model.",
            )


def check_sections(kind: Kind, train: Train | None, compute: Compute | None) -> None:
    """Raise the rule's error unless exactly the section of this kind of job is there."""
    for name, section in (("train", train), ("compute", compute)):
        if (section is None) == (name == kind):
            if section is None:
                raise rule(
                    name, "The section [{field}] is missing.", "A job of kind {kind} needs it.", kind=kind
                )
            raise rule(
                name,
                "The section [{field}] does not belong to a job of kind {kind}.",
                "Remove it.",
                kind=kind,
            )


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
    compute: Compute | None = None
    code: Code | None = None
    terms: Terms = Terms()
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _rules(self) -> Self:
        check_sections(self.job.kind, self.train, self.compute)
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
        # A compute job draws no withheld part by itself: there is no model to judge by it.
        terms = self.terms
        if self.job.kind == "compute" and "withheld_percent" not in terms.model_fields_set:
            terms = terms.model_copy(update={"withheld_percent": 0})
        return Parameters(
            kind=self.job.kind,
            datasets=self.datasets,
            train=self.train,
            compute=self.compute,
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
    except (tomllib.TOMLDecodeError, RecursionError) as error:
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
    "Identifier",
    "JobFile",
    "JobSection",
    "Limits",
    "Parameters",
    "Parties",
    "Terms",
    "Train",
    "job_schema",
    "load_job_file",
    "parse_job_file",
    "read_code",
]
