"""The part of a dataset that a run may see, handed over in memory that nobody can change.

Sealed memory: memfd_create(2) and F_ADD_SEALS, fcntl(2). Once sealed, neither the worker nor the enclave
can write, grow or shrink it, and the seals cannot be taken off.
"""

from __future__ import annotations

import fcntl
import hmac
import os

import numpy as np
import pyarrow as pa

from trustspace.data.parquet import map_descriptor
from trustspace.data.patients import patient_keys
from trustspace.errors import InvalidInput

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
MIN_SPLIT_KEY_BYTES = 16


def split_by_patient(
    table: pa.Table, patient_column: str | None, percent: int, key: bytes
) -> tuple[pa.Table, pa.Table]:
    """The rows a job trains on, and the rows withheld from it for evidence; row order is kept.

    Patients are ordered by HMAC-SHA256(key, patient) and the first ceil(percent) of them withheld, so that
    the split depends on nothing but the key and the patients, and all rows of a patient fall on one side.
    Raises InvalidInput when ``percent`` is not 0 to 90, the key is shorter than 16 bytes, or the patients
    are too few for both sides to have one.
    """
    if not 0 <= percent <= 90:
        raise InvalidInput("{percent} percent cannot be withheld.", fix="Choose 0 to 90.", percent=percent)
    if len(key) < MIN_SPLIT_KEY_BYTES:
        raise InvalidInput("The key of the split is too short.", fix="Use at least 16 random bytes.")
    codes, patients = patient_keys(table, patient_column)
    count = -(-len(patients) * percent // 100)
    if count >= len(patients):
        raise InvalidInput(
            "{patients} patients are too few to withhold {percent} percent of them.",
            fix="Withhold nothing, or give more patients.",
            patients=len(patients),
            percent=percent,
        )
    tags = [hmac.digest(key, patient.encode(), "sha256") for patient in patients]
    withheld_patients = np.zeros(len(patients), dtype=bool)
    withheld_patients[sorted(range(len(patients)), key=tags.__getitem__)[:count]] = True
    withheld = withheld_patients[codes]
    return table.filter(pa.array(~withheld)), table.filter(pa.array(withheld))


def to_memfd(table: pa.Table, name: str) -> int:
    """A sealed memfd with the table as an Arrow IPC stream; the caller closes it. ``name`` shows in /proc."""
    plain = table.replace_schema_metadata(None)
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with (
            os.fdopen(os.dup(descriptor), "wb", buffering=1 << 20) as sink,
            pa.ipc.new_stream(sink, plain.schema) as writer,
        ):
            writer.write_table(plain)
        os.lseek(descriptor, 0, os.SEEK_SET)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def from_fd(descriptor: int) -> pa.Table:
    """The table in a sealed memfd, without a copy; the descriptor may be closed afterwards.

    Raises InvalidInput when the descriptor is not sealed (its content could change while it is read) or
    holds no Arrow IPC stream.
    """
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:
        seals = 0
    if seals & SEALS != SEALS:
        raise InvalidInput("The memory handed in is not sealed.", fix="Hand it in with to_memfd.")
    return from_buffer(map_descriptor(descriptor))


def from_buffer(data: bytes | memoryview | pa.Buffer) -> pa.Table:
    """The table in an Arrow IPC stream, without a copy. Raises InvalidInput when it is none."""
    table = None
    try:
        with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError):
        table = None
    if table is None:
        raise InvalidInput("The data handed in is not an Arrow stream.", fix="Hand it in with to_memfd.")
    return table
