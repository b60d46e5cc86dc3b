"""The manifest: closed, consistent, one JSON form."""

from __future__ import annotations

import pyarrow as pa
import pytest
from data_tables import clinic

from trustspace.crypto.canonical import canonical_json, parse_canonical
from trustspace.crypto.seal import CHUNK_BYTES, Sealer, sealed_size
from trustspace.data.columns import plain_table
from trustspace.data.images import write_png
from trustspace.data.manifest import DatasetManifest, manifest_columns
from trustspace.errors import InvalidInput

HEX = "ab" * 32


def manifest(plain_bytes: int = 3 * CHUNK_BYTES + 5, header_bytes: int = 300) -> DatasetManifest:
    return DatasetManifest(
        dataset="chest-xrays",
        version=1,
        source_unit=HEX,
        columns=manifest_columns(plain_table(clinic())),
        plain_bytes=plain_bytes,
        sealed_bytes=sealed_size(plain_bytes, header_bytes),
        chunk_count=max(1, -(-plain_bytes // CHUNK_BYTES)),
        header_digest=HEX,
        ciphertext_digest=HEX,
    )


@pytest.mark.parametrize("plain_bytes", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 10 << 30])
def test_it_survives_canonical_json(plain_bytes):
    record = manifest(plain_bytes)
    data = canonical_json(record.to_json())
    assert DatasetManifest.from_json(parse_canonical(data, what="manifest")) == record


def test_it_fits_what_the_sealer_writes():
    header = Sealer(bytes(32), {"dataset": "chest-xrays", "version": 1}).header
    assert manifest(header_bytes=len(header)).sealed_bytes == sealed_size(3 * CHUNK_BYTES + 5, len(header))


def test_columns_of_every_plain_type():
    table = plain_table(
        clinic(4).append_column("x", pa.array([write_png(1, 1, "L", b"\0")] * 4)).append_column(
            "t", pa.array([0] * 4, pa.timestamp("ms"))
        )
    )  # fmt: skip
    assert [(column.name, column.type) for column in manifest_columns(table)] == [
        ("patient", "string"), ("age", "int64"), ("creatinine", "double"), ("诊断", "string"),
        ("visited", "date32[day]"), ("note", "string"), ("x", "binary"), ("t", "timestamp[ms]"),
    ]  # fmt: skip
    with pytest.raises(InvalidInput):
        manifest_columns(pa.table({"a": [[1]]}))


@pytest.mark.parametrize(
    "change",
    [
        {"plain_bytes": 5}, {"sealed_bytes": 5}, {"chunk_count": 3}, {"chunk_count": 0}, {"version": 0},
        {"version": "1"}, {"version": True}, {"dataset": "Chest X"}, {"dataset": ""},
        {"source_unit": "AB" * 32},
        {"header_digest": "ab"}, {"ciphertext_digest": ""}, {"columns": []}, {"format": "csv"}, {"extra": 1},
        {"columns": [{"name": "a", "type": "int64"}] * 2}, {"columns": [{"name": "a", "type": "list"}]},
        {"sealed_bytes": sealed_size(3 * CHUNK_BYTES + 5, 9000)}, {"rows_commitment": "yes"},
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(change):
    whole = manifest().to_json()
    assert DatasetManifest.from_json(whole) == manifest()
    with pytest.raises(InvalidInput):
        DatasetManifest.from_json({**whole, **change})
