"""A source unit's datasets: seal on its own machine, stream to its own enclave, say publicly what it confirmed."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from trustspace.client.acting import Acting
from trustspace.client.enclaves import enclave_link, own_enclave
from trustspace.client.home import PartyHome
from trustspace.crypto.canonical import canonical_json, sha256_hex
from trustspace.crypto.seal import CHUNK_BYTES, Sealer, iter_sealed
from trustspace.crypto.statement import sign_statement
from trustspace.data.description import Answers, DatasetDescription, propose_description
from trustspace.data.manifest import DatasetManifest, manifest_columns
from trustspace.data.mock import mock_sample
from trustspace.data.parquet import iter_parquet, to_parquet
from trustspace.data.profile import profile
from trustspace.data.quality import Problem, problems
from trustspace.data.reading import read_table
from trustspace.domain.binding import dataset_context
from trustspace.domain.bodies import Dataset, DatasetWithdrawn, Policy
from trustspace.domain.records import DatasetRecord
from trustspace.errors import InvalidInput, NotFound, Unavailable, VerificationFailed
from trustspace.evidence.report import NOT_APPLICABLE_BY_DEFAULT
from trustspace.storage.files import write_atomic
from trustspace.transport.links import EnclaveLink, Subject

Progress = Callable[[str, int, int], None]
DEFAULT_POLICY = Policy(not_applicable=NOT_APPLICABLE_BY_DEFAULT)
_IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Proposal:
    """What would become public, and what only the officer should know."""

    table: pa.Table
    description: DatasetDescription
    problems: tuple[Problem, ...]
    identifying: dict[str, tuple[str, ...]]
    source: str


def propose(
    path: Path, title: str, *, patient_column: str | None, answers: Answers | None = None
) -> Proposal:
    """Read and profile a table on the officer's own machine; nothing leaves it."""
    table = read_table(path)
    found = profile(table, patient_column=patient_column)
    identifying = {name: tuple(str(sign) for sign in signs) for name, signs in found.identifying.items()}
    with path.open("rb") as file:
        source = hashlib.file_digest(file, "sha256").hexdigest()
    return Proposal(
        table, propose_description(found, title, answers), tuple(problems(found)), identifying, source
    )


def submit(
    home: PartyHome,
    proposal: Proposal,
    *,
    dataset: str,
    policy: Policy = DEFAULT_POLICY,
    enclave: str | None = None,
    progress: Progress = lambda *_: None,
) -> str:
    """Seal, upload, publish; returns the dataset statement's digest. Called again after a break, it resumes.

    The officer has confirmed ``proposal.description``: that, and a mock sample drawn from it alone, is
    what becomes public.
    """
    if not _IDENTIFIER.fullmatch(dataset):
        raise InvalidInput(
            "The dataset's name {name} is not usable.",
            fix="Use a-z, 0-9, dot, dash and underscore.",
            name=dataset[:64],
        )
    spooled = _Spool(home, dataset)
    if spooled.is_of(proposal.source) and (published := _published(home, spooled)) is not None:
        spooled.clear()
        return published
    if not spooled.ready(proposal.source):
        spooled.clear()
        version = next_version(home, dataset)
        _seal(home, spooled, dataset, version, proposal, progress)
    manifest, envelope = spooled.manifest(), spooled.envelope()
    own = own_enclave(home, enclave)
    link = enclave_link(home, own)
    upload(link, envelope, manifest, spooled.file, progress)
    mock = to_parquet(mock_sample(proposal.description, 100, seed=bytes.fromhex(sha256_hex(envelope))))
    home.session.link.put_blob(mock, sha256_hex(mock), len(mock))
    body = Dataset(
        dataset=dataset,
        version=manifest.version,
        manifest=sha256_hex(canonical_json(manifest.to_json())),
        description=proposal.description.to_json(),
        mock=sha256_hex(mock),
        policy=policy,
        custody=own.custody,
        enclave=own.enclave_key,
    )
    statement = home.sign(body, "act")
    spooled.note_statement(statement.digest)
    home.session.append(statement)
    spooled.clear()
    return statement.digest


def _published(home: PartyHome, spooled: _Spool) -> str | None:
    """The dataset that was signed before a break, if the ledger has it: only the answer was lost then."""
    digest = spooled.statement()
    if digest is None:
        return None
    try:
        return home.session.dataset(digest).statement
    except NotFound:
        return None


def key_of(dataset: str, version: int) -> str:
    """The key store's name of a dataset version's data key."""
    return f"data-{dataset}-v{version}"


def next_version(home: PartyHome, dataset: str) -> int:
    """One more than any version that this source unit has sealed or the space lists.

    The space's list is not believed alone: a version that it hides must not be sealed, and its key lost, again.
    """
    versions = [int(home.remembered("versions", dataset) or 0)]
    versions += [
        int(d["version"])
        for d in home.session.link.view("datasets")
        if d["source_unit"] == home.fingerprint and d["dataset"] == dataset
    ]
    return max(versions, default=0) + 1


def _seal(
    home: PartyHome, spooled: _Spool, dataset: str, version: int, proposal: Proposal, progress: Progress
) -> None:
    table = proposal.table
    name = key_of(dataset, version)
    # Written down first: a version is used once, whatever becomes of it.
    home.remember("versions", dataset, version)
    home.keys.create_data_key(name)
    sealer = home.keys.sealer(name, dataset_context(home.fingerprint, dataset, version))
    pieces = _Reader(iter_parquet(table))
    total = table.nbytes
    try:
        sealed, digest = write_sealed(
            spooled.file, sealer, pieces.read, lambda: progress("seal", min(pieces.taken, total), total)
        )
    except OSError as error:
        spooled.clear()
        raise Unavailable("The sealed dataset cannot be written to {folder}.", fix="Is the disk full?",
                          folder=str(spooled.file.parent)) from error  # fmt: skip
    plain = pieces.taken
    manifest = DatasetManifest(
        dataset=dataset, version=version, source_unit=home.fingerprint, columns=manifest_columns(table),
        plain_bytes=plain, sealed_bytes=sealed, chunk_count=max(1, -(-plain // CHUNK_BYTES)),
        header_digest=sha256_hex(sealer.header), ciphertext_digest=digest,
    )  # fmt: skip
    act = home.key_name("act")
    signed = sign_statement(
        canonical_json(manifest.to_json()),
        home.keys.public(act),
        lambda message: home.keys.sign(act, message),
    )
    spooled.finish(signed.to_bytes(), proposal.source)


def write_sealed(
    file: Path, sealer: Sealer, read: Callable[[int], bytes], progress: Callable[[], object] = lambda: None
) -> tuple[int, str]:
    """Seal what ``read(n)`` gives into a file, durably; returns the sealed bytes and their SHA-256.

    Raises OSError.
    """
    sealed, hashed = 0, hashlib.sha256()
    # Hashing takes longer than sealing and writing together: one chunk is hashed while the next is sealed.
    with file.open("wb") as target, ThreadPoolExecutor(1, "hash") as other:
        os.chmod(target.fileno(), 0o600)
        hashing = other.submit(hashed.update, b"")
        for chunk in iter_sealed(sealer, read):
            hashing.result()
            hashing = other.submit(hashed.update, chunk)
            target.write(chunk)
            sealed += len(chunk)
            progress()
        hashing.result()
        target.flush()
        os.fsync(target.fileno())
    return sealed, hashed.hexdigest()


def upload(
    link: EnclaveLink,
    envelope: bytes,
    manifest: DatasetManifest,
    file: Path,
    progress: Progress = lambda *_: None,
) -> None:
    """Stream sealed bytes from the last durable one on, then have the enclave verify and keep them."""
    status = link.begin_upload(envelope)
    if not status.complete and status.durable_bytes < manifest.sealed_bytes:
        for acknowledged in link.upload(
            status.upload, status.durable_bytes, _from(file, status.durable_bytes)
        ):
            progress("upload", acknowledged.durable_bytes, manifest.sealed_bytes)
    if not status.complete:
        link.commit_upload(status.upload)
    progress("upload", manifest.sealed_bytes, manifest.sealed_bytes)


def withdraw(home: PartyHome, digest: str) -> None:
    """Withdraw a dataset version: destroy its key first, then tell the space, then have the ciphertext deleted.

    Called again after a break, it does what is left to do.
    """
    dossier = home.session.dossier(Subject("digest", digest))
    record = dossier.view.get(DatasetRecord, digest)
    if record is None or record.source_unit != home.fingerprint:
        raise NotFound("This source unit has no dataset {digest}.", digest=digest[:12])
    home.remember("withdrawn", digest)
    key = key_of(record.body.dataset, record.body.version)
    if key in home.keys.names():
        home.keys.destroy(key)
    said = (
        s for s in dossier.statements if isinstance(s.body, DatasetWithdrawn) and s.body.dataset == digest
    )
    statement = next(said, None) or home.submit(DatasetWithdrawn(dataset=digest), "act")
    link = enclave_link(home, own_enclave(home, None, key=record.body.enclave))
    link.withdraw(statement.envelope.to_bytes())


def listing(home: Acting) -> list[dict[str, Any]]:
    """All datasets that the space lists; descriptions are the source units' own (verify with :func:`describe`)."""
    found: list[dict[str, Any]] = home.session.link.view("datasets")
    return found


def describe(home: Acting, digest: str) -> tuple[DatasetRecord, pa.Table]:
    """A dataset's proven description and its mock sample."""
    from trustspace.data.parquet import read_parquet

    record = home.session.dataset(digest)
    mock = home.session.link.fetch(record.body.mock, 64 << 20)
    return record, read_parquet(mock, None)


def resolve(home: Acting, name: str, version: int | None = None) -> DatasetRecord:
    """The proven dataset behind a digest, or behind a name (``unit/name`` where two source units use one).

    Raises:
        NotFound: there is none, or the name stands for several.

    """
    if re.fullmatch(r"[0-9a-f]{64}", name):
        return home.session.dataset(name)
    unit, _, plain = name.rpartition("/")
    wanted = home.trust().resolve(unit) if unit else ""
    matching = [
        d
        for d in listing(home)
        if d["dataset"] == plain and wanted in ("", d["source_unit"]) and version in (None, d["version"])
    ]
    if not matching:
        raise NotFound("There is no dataset {name}.", fix="See `trustspace dataset list`.", name=name[:64])
    if len({d["source_unit"] for d in matching}) > 1:
        raise InvalidInput(
            "Several source units have a dataset {name}.", fix="Write source-unit/{name}.", name=plain[:64]
        )
    newest = max(matching, key=lambda d: int(d["version"]))
    record = home.session.dataset(str(newest["statement"]))
    if (record.body.dataset, record.body.version) != (plain, newest["version"]) or wanted not in (
        "", record.source_unit,
    ):  # fmt: skip
        raise VerificationFailed(
            "The space lists another dataset under this name than its source unit signed."
        )
    return record


class _Spool:
    """A sealed dataset on its way: ciphertext and signed manifest, kept until it is published."""

    def __init__(self, home: PartyHome, dataset: str) -> None:
        directory = home.path / "spool"
        directory.mkdir(mode=0o700, exist_ok=True)
        self.file = directory / f"{dataset}.sealed"
        self._envelope = directory / f"{dataset}.manifest"
        self._source = directory / f"{dataset}.source"
        self._statement = directory / f"{dataset}.statement"

    def ready(self, source: str) -> bool:
        """Whether what lies here was sealed, whole, from the file with this digest."""
        return self.file.exists() and self._envelope.exists() and self.is_of(source)

    def is_of(self, source: str) -> bool:
        """Whether what was begun here was begun with the file with this digest."""
        return self._source.exists() and self._source.read_text() == source

    def finish(self, envelope: bytes, source: str) -> None:
        write_atomic(self._source, source.encode())
        write_atomic(self._envelope, envelope)

    def note_statement(self, digest: str) -> None:
        write_atomic(self._statement, digest.encode())

    def statement(self) -> str | None:
        return self._statement.read_text() if self._statement.exists() else None

    def envelope(self) -> bytes:
        return self._envelope.read_bytes()

    def manifest(self) -> DatasetManifest:
        from trustspace.crypto.statement import Envelope

        return DatasetManifest.from_json(json.loads(Envelope.parse(self.envelope()).payload))

    def clear(self) -> None:
        # The statement goes before what it is of: what is left after a break is never taken for another file's.
        for path in (self._envelope, self._statement, self._source, self.file):
            path.unlink(missing_ok=True)


class _Reader:
    """Pieces of any size as a file-like ``read``."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = bytearray()
        self.taken = 0

    def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._rest += piece
        taken = bytes(self._rest[:size])
        del self._rest[:size]
        self.taken += len(taken)
        return taken


def _from(file: Path, offset: int) -> Iterator[bytes]:
    with file.open("rb") as source:
        source.seek(offset)
        while piece := source.read(1 << 20):
            yield piece
