"""What an enclave has made of its data, for whom, and of which patients: kept for as long as the enclave is.

Every output is recorded before it is handed in, whatever becomes of it: what was rejected, or lost, may be known to
somebody all the same, and is compared with what comes after. Patients stand in it by pseudonyms (the first 8 bytes of
HMAC-SHA-256 of their key), each with the cell of every table that its rows fell into.

A record is one file, sealed under a key that lies beside it (HKDF-SHA-256, RFC 5869, of one random secret for each
purpose). That protects a record where it is found without that key: in a backup of the records, on a disk that was
partly copied, in a support file; and no record can be changed or renamed unseen. It does not protect against whoever
reads the enclave's whole home as its user, who can also delete records: such a person has the datasets' keys in reach
in the same way (docs/architecture.md). The key must stay as long as there are records, or nothing can be compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from trustspace.crypto.canonical import canonical_json, parse_canonical
from trustspace.crypto.seal import open_bytes, seal_bytes
from trustspace.domain.budget import sums_of
from trustspace.domain.records import DatasetRecord, JobRecord, View
from trustspace.enclave.opening import Order, Rows
from trustspace.errors import AlreadyExists, TrustspaceError, VerificationFailed
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.shown import cells_of_rows, keys_of_lines
from trustspace.privacy.overlap import Counts, Earlier, People, Trace
from trustspace.storage.files import write_atomic, write_new

FORMAT = "trustspace-history-v1"
# A record's rows times its tables: four bytes each before they are compressed.
MAX_CELLS = 1 << 25
_MAX_HEADER_BYTES = 8 << 20
_BATCH = 256
_KEY = "key"
_PSEUDONYM_BYTES = 8
_NAME = re.compile(r"[0-9a-f]{64}", re.ASCII)
_KINDS: dict[str, Any] = {"people": "<u8", "contents": "<u8", "owner": "<i4", "cells": "<i4"}


@dataclass(frozen=True)
class Record:
    """One output that was made or may have been: for whom, of which datasets (by name), and what it says of whom.

    ``bytes``: 0 while nothing is ready to be handed in. ``sums``: sums of scores in it.
    """

    job: str
    buyer: str
    developer: str
    title: str
    datasets: tuple[str, ...]
    bytes: int
    sums: int
    trace: Trace


def record_of(job: JobRecord, handed: int, trace: Trace) -> Record:
    """The record of what a job made, of which so many bytes are handed in."""
    body = job.body
    datasets = tuple(use.id for use in Parameters.from_json(body.parameters).datasets)
    return Record(
        job.statement, body.buyer, body.developer, body.title, datasets, handed, sums_of(body), trace
    )


class History:
    """The records of an enclave, in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        secret = self._secret()
        self._seal_key, self._name_key = (
            HKDF(SHA256(), 32, salt=None, info=b"trustspace history " + purpose + b" v1").derive(secret)
            for purpose in (b"seal", b"pseudonym")
        )

    def record(self, record: Record) -> None:
        """Remember durably; an older record of the same job gives way, but for what it tells of whom and more exactly.

        A run that is begun again knows no patients at first, and what the earlier one made may be known all the same.
        Raises Unavailable when the disk refuses, VerificationFailed as :meth:`records`.
        """
        path = self._directory / record.job
        if path.exists() and _exactness(older := self._read(path).trace) > _exactness(record.trace):
            record = replace(record, trace=older)
        write_atomic(path, seal_bytes(self._seal_key, _context(record.job), _packed(record)))

    def concerning(self, job: JobRecord, *, rows: bool = True) -> list[Record]:
        """What other jobs made for the same buyer or the same developer; the rest as :meth:`records`."""
        body = job.body
        return self.records(
            lambda record: (
                record.job != job.statement
                and (record.buyer == body.buyer or record.developer == body.developer)
            ),
            rows=rows,
        )

    def records(
        self, wanted: Callable[[Record], bool] = lambda _: True, *, rows: bool = True
    ) -> list[Record]:
        """Every record that is wanted, the oldest first; without ``rows``, nothing that is as long as the data.

        Raises:
            VerificationFailed: a record is damaged, or was not sealed by this enclave.

        """
        found = [record if rows else _without_rows(record) for record in self._all() if wanted(record)]
        return sorted(found, key=lambda record: (record.trace.output.made, record.job))

    def pseudonyms(self, texts: Sequence[str] | Sequence[bytes], purpose: str) -> People:
        """uint64 of each text; ``purpose`` keeps apart what must never be taken for one another."""
        prefix = purpose.encode() + b"\0"
        tags = (
            hmac.digest(self._name_key, prefix + (t if isinstance(t, bytes) else t.encode()), "sha256")
            for t in texts
        )
        return np.frombuffer(b"".join(tag[:_PSEUDONYM_BYTES] for tag in tags), dtype="<u8").astype(np.uint64)

    def _all(self) -> Iterator[Record]:
        for path in sorted(self._directory.iterdir()):
            if _NAME.fullmatch(path.name):
                yield self._read(path)

    def _read(self, path: Path) -> Record:
        try:
            return _unpacked(open_bytes(self._seal_key, _context(path.name), path.read_bytes()), path.name)
        except (TrustspaceError, ValueError, KeyError, TypeError, OSError, zlib.error):
            raise VerificationFailed(
                "The enclave's record {file} of an earlier output is damaged.",
                fix="Put the file back from a backup. Without it nobody can say what outputs tell together.",
                file=path.name,
            ) from None

    def _secret(self) -> bytes:
        """Drawn once. Without it records that are there could not be read, and are not forgotten silently."""
        path = self._directory / _KEY
        if not path.exists():
            if any(_NAME.fullmatch(entry.name) for entry in self._directory.iterdir()):
                raise _no_key()
            with contextlib.suppress(AlreadyExists):  # another process was first
                write_new(path, os.urandom(32))
        secret = path.read_bytes()
        if len(secret) != 32:
            raise _no_key()
        return secret


@dataclass(frozen=True)
class Past:
    """What one run is told of the past, and where it notes what it makes.

    ``known``: outputs to compare with besides those of the ``history`` for the same buyer or developer, but for the
    job's own: of one job no enclave helps to open two sums that differ (journal.py). ``start``: what is known before
    the data are open.
    """

    history: History = field(repr=False)
    known: tuple[Trace, ...] = field(repr=False)
    start: Trace = field(repr=False)
    job: JobRecord = field(repr=False)

    @classmethod
    def of(
        cls, history: History, records: Sequence[Record], view: View, job: JobRecord, unit: str, now: int
    ) -> Self:
        """Of a job that begins ``now``, seconds since 1970; ``records`` are compared with, whoever they were for."""
        start = started(view, job, unit, now)
        return cls(history, tuple(record.trace for record in records), start, job)

    def note(self, trace: Trace, handed: int = 0) -> None:
        """Remember that an output of this trace may come to be, or is handed in with so many bytes."""
        self.history.record(record_of(self.job, handed, trace))

    def earlier(self) -> tuple[Trace, ...]:
        """What is known by now, also of runs that began after this one.

        Asked after this run's own :meth:`note`: of two runs at one time at least one then sees the other.
        """
        traces = (*self.known, *(record.trace for record in self.history.concerning(self.job)))
        return tuple({trace.output.job: trace for trace in traces}.values())

    def trace(self, order: Order, rows: Rows) -> Trace:
        """Whose rows a job can use."""
        return traced(self.history, self.start, order, rows)


def started(view: View, job: JobRecord, unit: str, now: int) -> Trace:
    """What is known of an output of a job before a source unit's data are open. ``now``: seconds since 1970."""
    use = next(use for use in job.body.datasets if use.source_unit == unit)
    record = view.get(DatasetRecord, use.dataset)
    assert record is not None
    units = job.body.source_units if job.body.is_joint else (unit,)
    return Trace(
        Earlier(job.statement, job.body.title, now), job.body.kind, units, record.body.dataset, use.dataset,
        tuple(use.columns),
    )  # fmt: skip


def traced(history: History, start: Trace, order: Order, rows: Rows) -> Trace:
    """``start``, with the patients behind it.

    Patients stand under their key in the source's own column, the same in every dataset and version. Without such a
    column a row is a patient: its number means something in one version only, so that it is also known by its content
    in the columns used (and by how many rows before it say the same), which is all that an output of those can tell of.
    """
    record = order.dossier.view.get(DatasetRecord, start.version)
    assert record is not None
    by_rows = not record.body.description.get("patient_column")
    purpose = f"row of {start.version}" if by_rows else "patient"
    return replace(
        start, by_rows=by_rows, people=history.pseudonyms(rows.names, purpose),
        contents=_contents(history, rows, start.columns) if by_rows else None,
    )  # fmt: skip


def counted(trace: Trace, parameters: Parameters, rows: Rows) -> Trace:
    """``trace`` with the cells that rows which a job counted fall into, of tables or groups. No count is shown yet."""
    if parameters.kind not in ("statistics", "score"):
        return trace
    keys = keys_of_lines(parameters)
    if rows.train.num_rows * len(keys) > MAX_CELLS:
        return trace
    cells = cells_of_rows(rows.train, parameters)
    return replace(
        trace, counts=Counts(rows.training.patients.astype(np.int32), cells, ((),) * len(keys), keys)
    )


def _contents(history: History, rows: Rows, columns: tuple[str, ...]) -> People:
    """A pseudonym of what each row says, [rows of the dataset]: of the second such row another one."""
    texts = [b""] * len(rows.names)
    for side in rows.sides:
        # As the source unit has them: a canary is the same person under another job, with another label.
        for place, text in zip(side.patients, _texts(side.recorded, columns), strict=True):
            texts[place] = text
    seen: dict[bytes, int] = {}
    numbered = []
    for text in texts:
        seen[text] = seen.get(text, 0) + 1
        numbered.append(text + b" %d" % seen[text])
    return history.pseudonyms(numbered, "row")


def _texts(table: pa.Table, columns: tuple[str, ...]) -> Iterator[bytes]:
    """A digest of each row's values in these columns."""
    for batch in table.select(columns).to_batches(_BATCH):  # pictures must not all be in memory twice
        for row in batch.to_pylist():
            digest = hashlib.sha256()
            for name, value in row.items():
                content = value if isinstance(value, bytes) else repr(value).encode()
                digest.update(f"{name} {len(content)} ".encode() + content)
            yield digest.digest()


def _without_rows(record: Record) -> Record:
    return replace(record, trace=replace(record.trace, people=None, contents=None, counts=None))


def _exactness(trace: Trace) -> int:
    """How much a trace tells of whom an output is: nothing, which patients, also which of them each count counts."""
    shown = trace.counts is not None and any(trace.counts.shown)
    return (trace.people is not None) + shown


def _no_key() -> VerificationFailed:
    return VerificationFailed(
        "The key of the enclave's records of earlier outputs is missing or damaged.",
        fix="Put history/key back from a backup. Without it nobody can say what outputs tell together.",
    )


def _context(name: str) -> dict[str, str | int]:
    return {"purpose": "history", "record": name}


def _packed(record: Record) -> bytes:
    """Canonical JSON behind its length, then the arrays one after another, compressed."""
    trace, counts = record.trace, record.trace.counts
    arrays: dict[str, NDArray[Any] | None] = {
        "people": trace.people, "contents": trace.contents,
        "owner": counts.owner if counts is not None else None,
        "cells": counts.cells if counts is not None else None,
    }  # fmt: skip
    kept = {name: array for name, array in arrays.items() if array is not None}
    header = canonical_json({
        "format": FORMAT, "job": record.job, "buyer": record.buyer,
        "developer": record.developer, "title": record.title, "datasets": list(record.datasets),
        "bytes": record.bytes, "sums": record.sums, "made": trace.output.made, "kind": trace.kind,
        "units": list(trace.units), "dataset": trace.dataset, "version": trace.version,
        "columns": list(trace.columns), "by_rows": int(trace.by_rows),
        "keys": list(counts.keys) if counts is not None else [],
        "shown": [[list(cells) for cells in line] for line in counts.shown] if counts is not None else [],
        "arrays": {name: list(array.shape) for name, array in kept.items()},
    })  # fmt: skip
    body = b"".join(np.ascontiguousarray(array, dtype=_KINDS[name]).tobytes() for name, array in kept.items())
    return len(header).to_bytes(8) + header + zlib.compress(body, 1)


def _unpacked(data: bytes, name: str) -> Record:
    reader = io.BytesIO(data)
    header: Any = parse_canonical(
        reader.read(int.from_bytes(reader.read(8))), what="The record", max_bytes=_MAX_HEADER_BYTES
    )
    if header["format"] != FORMAT:
        raise ValueError(header["format"])
    body, at = zlib.decompress(reader.read()), 0
    arrays: dict[str, NDArray[Any]] = {}
    for label, name_of_kind in _KINDS.items():
        if label in header["arrays"]:
            shape = tuple(header["arrays"][label])
            kind = np.dtype(name_of_kind)
            count = int(np.prod(shape, dtype=np.int64))
            arrays[label] = np.frombuffer(body, kind, count, at).reshape(shape)
            at += count * kind.itemsize
    counts = None
    if "cells" in arrays:
        shown = tuple(tuple(tuple(cells) for cells in line) for line in header["shown"])
        counts = Counts(arrays["owner"], arrays["cells"], shown, tuple(header["keys"]))
    trace = Trace(
        Earlier(header["job"], header["title"], header["made"]), header["kind"], tuple(header["units"]),
        header["dataset"], header["version"], tuple(header["columns"]), arrays.get("people"),
        bool(header["by_rows"]), arrays.get("contents"), counts,
    )  # fmt: skip
    record = Record(
        header["job"], header["buyer"], header["developer"], header["title"],
        tuple(header["datasets"]), header["bytes"], header["sums"], trace,
    )  # fmt: skip
    if record.job != name:
        raise ValueError(name)
    return record
