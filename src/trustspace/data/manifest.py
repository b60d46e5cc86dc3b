"""What was sealed: the facts an enclave checks an upload against."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import pyarrow as pa
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from trustspace.crypto.seal import CHUNK_BYTES, HEADER_MAX_BYTES, sealed_size
from trustspace.data.columns import MAX_COLUMNS, MAX_NAME_CHARACTERS
from trustspace.data.records import Record, one_line
from trustspace.domain.bodies import Count, Digest, Identifier


class ManifestColumn(Record):
    """A column's name and Arrow type, such as "int64" or "binary"."""

    name: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARACTERS), AfterValidator(one_line)
    ]
    type: Literal["int64", "double", "string", "date32[day]", "timestamp[ms]", "binary"]


class DatasetManifest(Record):
    """One sealed version of a dataset. Sizes in bytes; digests SHA-256 in hex, over the sealed file's header
    and the whole sealed file. ``source_unit`` is a fingerprint; ``rows_commitment`` a commitment to the
    number of rows, or empty.
    """

    format: Literal["parquet"] = "parquet"
    dataset: Identifier
    version: Annotated[int, Field(ge=1, le=2**31)]
    source_unit: Digest
    rows_commitment: Digest | Literal[""] = ""
    columns: Annotated[tuple[ManifestColumn, ...], Field(min_length=1, max_length=MAX_COLUMNS)]
    plain_bytes: Count
    sealed_bytes: Count
    chunk_count: Annotated[int, Field(ge=1, le=2**32)]
    header_digest: Digest
    ciphertext_digest: Digest

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        header_bytes = self.sealed_bytes - sealed_size(self.plain_bytes, 0)
        if not 0 < header_bytes <= HEADER_MAX_BYTES:
            raise ValueError("the sealed size does not follow from the plain size")
        if self.chunk_count != max(1, -(-self.plain_bytes // CHUNK_BYTES)):
            raise ValueError("the number of chunks does not follow from the plain size")
        if len({column.name for column in self.columns}) != len(self.columns):
            raise ValueError("a column is listed twice")
        return self


def manifest_columns(table: pa.Table) -> tuple[ManifestColumn, ...]:
    """The columns of a plain table as a manifest lists them."""
    return tuple(
        ManifestColumn.from_json({"name": field.name, "type": str(field.type)}) for field in table.schema
    )
