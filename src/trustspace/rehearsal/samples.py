"""The made-up rows that a rehearsal runs on: a dataset's published mock sample, or a file that the developer has."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from trustspace.client.datasets import DEFAULT_POLICY, describe, resolve
from trustspace.data.parquet import read_parquet
from trustspace.domain.bodies import Dataset
from trustspace.errors import InvalidInput, NotFound
from trustspace.jobs.sections import DatasetUse
from trustspace.jobs.spec import Parameters

if TYPE_CHECKING:
    from trustspace.client.home import PartyHome


@dataclass(frozen=True)
class Sample:
    """One dataset of the job with the rows that stand in for it.

    ``name`` is the source unit's, "" where the job file gives none and no space was asked. Without a space
    ``is_published`` is False: then policy and patient column are assumed, not the source unit's own.
    """

    unit: str
    name: str
    statement: str
    body: Dataset
    table: pa.Table
    is_published: bool

    @property
    def patient_column(self) -> str:
        """The column that tells patients apart, "" where every row is one."""
        column = str(self.body.description.get("patient_column", ""))
        return column if column in self.table.column_names else ""

    @property
    def real_rows(self) -> int:
        """At least so many rows has the real dataset; 0 where that is not known or is below 20."""
        return int(self.body.description.get("rows_bucket", 0))


def read_given(parameters: Parameters, given: Mapping[str, Path]) -> dict[int, pa.Table]:
    """The tables that the developer gives, by place of the dataset in the job.

    A dataset is named by its id, or as ``source-unit/id`` where several have one id.

    Raises:
        NotFound, InvalidInput: there is no such file or dataset, or the name stands for several.

    """
    tables: dict[int, pa.Table] = {}
    for name, path in given.items():
        places = [
            place for place, use in enumerate(parameters.datasets) if name in (use.id, f"{use.source_unit}/{use.id}")
        ]  # fmt: skip
        if not places:
            raise NotFound(
                "The job names no dataset {name}.", fix="Name it as the job file does.", name=name[:64]
            )
        if len(places) > 1:
            raise InvalidInput(
                "Several source units have a dataset {name}.", fix="Write source-unit/{name}.", name=name[:64]
            )
        try:
            content = path.read_bytes()
        except OSError:
            raise NotFound("There is no file {file}.", fix="Check the path.", file=str(path)) from None
        tables[places[0]] = read_parquet(content, what="mock sample")
    return tables


def gather(home: PartyHome | None, parameters: Parameters, tables: Mapping[int, pa.Table]) -> list[Sample]:
    """A sample of every dataset of the job: the table given, else the one that its source unit published.

    ``home`` None asks no space, and every table must be given.

    Raises:
        NotFound, InvalidInput, VerificationFailed: as submitting the job would.

    """
    samples = []
    for place, use in enumerate(parameters.datasets):
        sample = (
            _made_up(place, use, tables[place], parameters)
            if home is None
            else _published(home, use, tables.get(place))
        )
        _check_columns(sample, parameters.columns_of(place))
        samples.append(sample)
    if len({sample.unit for sample in samples}) < len(samples):
        raise InvalidInput(
            "The job's field {field} names two datasets of one source unit.",
            fix="Name one of each.", field="datasets",
        )  # fmt: skip
    return samples


def _published(home: PartyHome, use: DatasetUse, table: pa.Table | None) -> Sample:
    named = f"{use.source_unit}/{use.id}" if use.source_unit and len(use.id) != 64 else use.id
    record, mock = describe(home, resolve(home, named, use.version).statement)
    known = {party.fingerprint: party.name for party in home.trust().parties}
    return Sample(
        record.source_unit, known.get(record.source_unit, ""), record.statement, record.body,
        mock if table is None else table, True,
    )  # fmt: skip


def _made_up(place: int, use: DatasetUse, table: pa.Table, parameters: Parameters) -> Sample:
    digest = digest_of(f"source unit {use.source_unit or place}")
    # Of a dataset's own policy nothing is known here: blind code is foretold no refusal that nobody has spoken.
    policy = DEFAULT_POLICY.model_copy(update={"blind_code": "accept"})
    body = Dataset(
        dataset=use.id, version=use.version, manifest=digest_of("manifest"), description=_assumed(parameters),
        mock=digest_of("mock"), policy=policy, custody="own", enclave=digest_of("enclave"),
    )  # fmt: skip
    return Sample(digest, use.source_unit or "", digest_of(f"dataset {place}"), body, table, False)


def _assumed(parameters: Parameters) -> dict[str, Any]:
    """A description that shows the ranges and categories which a job says are shown."""
    score, privacy = parameters.score, parameters.privacy
    ranges = score.features if score is not None else privacy.ranges if privacy is not None else {}
    if not ranges:
        return {}
    columns: list[dict[str, Any]] = [
        {"name": name, "low": low, "high": high} for name, (low, high) in ranges.items()
    ]
    if score is not None and score.group is not None:
        columns.append({"name": score.group, "categories": list(score.groups)})
    return {"columns": columns}


def _check_columns(sample: Sample, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in sample.table.column_names:
            raise InvalidInput(
                "The job's field {field} names the column {column}, which the dataset does not have.",
                fix="See `trustspace dataset show`.", field="datasets.columns", column=column,
            )  # fmt: skip


def digest_of(what: str) -> str:
    """A digest that stands for something which a rehearsal does not have."""
    return hashlib.sha256(f"trustspace rehearsal/{what}".encode()).hexdigest()
