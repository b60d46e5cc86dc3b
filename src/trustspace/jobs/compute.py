"""Runs a developer's own ``run(inputs, outputs)`` and takes only what the job declared."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from trustspace.data.handin import from_buffer
from trustspace.errors import InvalidInput, TrustspaceError
from trustspace.jobs.artifacts import check_artifact, encode_csv, encode_json
from trustspace.jobs.code import files_of, load_entry
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.png import encode_png
from trustspace.jobs.programs import Emit
from trustspace.jobs.programs import Inputs as RawInputs
from trustspace.jobs.spec import Parameters
from trustspace.jobs.tensors import write_tensors


class Inputs:
    """What ``run`` may look at."""

    def __init__(self, table: pa.Table, parameters: Parameters, files: Mapping[str, str]) -> None:
        self._table = table
        self.parameters: Mapping[str, Any] = MappingProxyType(parameters.to_json())
        self.arguments: Mapping[str, Any] = MappingProxyType(dict(parameters.computing().arguments))
        self.files: Mapping[str, str] = MappingProxyType(dict(files))

    def table(self) -> pa.Table:
        """The rows, with the columns that the job named."""
        return self._table


class Outputs:
    """What ``run`` may hand out: each declared name once."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self.artifacts: dict[str, RawArtifact] = {}

    def json(self, name: str, value: Any) -> None:
        """Hand out a value of JSON types (tables, lists, text, finite numbers, true, false, None)."""
        self._take(name, "application/json", encode_json(value))

    def csv(self, name: str, table: pa.Table | Mapping[str, Sequence[Any]]) -> None:
        """Hand out a table: an Arrow table or column name to values. A missing value is an empty cell."""
        columns = (
            table.to_pydict()
            if isinstance(table, pa.Table)
            else {key: list(value) for key, value in table.items()}
        )
        if len({len(values) for values in columns.values()}) > 1:
            raise InvalidInput("The columns of {name} differ in length.", name=name)
        rows = [
            list(columns),
            *([_cell(value) for value in row] for row in zip(*columns.values(), strict=True)),
        ]
        self._take(name, "text/csv", encode_csv(rows))

    def tensors(self, name: str, tensors: Mapping[str, Any]) -> None:
        """Hand out arrays by name (NumPy arrays or torch tensors), as safetensors."""
        self._take(
            name,
            "application/x-safetensors",
            write_tensors({key: np.asarray(value) for key, value in tensors.items()}),
        )

    def png(self, name: str, picture: Any) -> None:
        """Hand out a picture: bytes (uint8) of shape (height, width) or (height, width, 3)."""
        self._take(name, "image/png", encode_png(np.asarray(picture)))

    def _take(self, name: str, media_type: str, data: bytes) -> None:
        if name in self.artifacts:
            raise InvalidInput("Output {name} was handed out already.", name=name)
        artifact = RawArtifact(name, media_type, data)
        try:
            check_artifact(artifact, self._parameters)
        except TrustspaceError as error:
            raise InvalidInput(
                "Output {name} is refused: {reason}", name=name, reason=error.public_message
            ) from None
        self.artifacts[name] = artifact


def run(inputs: RawInputs, emit: Emit) -> None:
    """The program ``compute``: see :func:`trustspace.jobs.programs.compute`."""
    parameters = Parameters.from_json(json.loads(bytes(inputs["parameters"])))
    files = files_of(inputs)
    table = from_buffer(inputs["data"])
    outputs = Outputs(parameters)
    load_entry(files, "main.py", "run")(Inputs(table, parameters, files), outputs)
    for declared in parameters.computing().outputs:
        if declared.name not in outputs.artifacts:
            raise InvalidInput(
                "run() did not hand out {name}.", fix="Hand out every declared output.", name=declared.name
            )
        artifact = outputs.artifacts[declared.name]
        emit(artifact.name, artifact.media_type, artifact.data)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    return str(value)
