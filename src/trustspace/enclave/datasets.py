"""The sealed datasets of one domain on disk, and the uploads on their way there.

An upload is a file that grows by acknowledged, durable pieces. It becomes a dataset in one rename, after
every byte was hashed again and found to be what the source unit signed; otherwise it is deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from trustspace.crypto.canonical import canonical_json, parse_canonical, sha256_hex
from trustspace.crypto.seal import HEADER_MAX_BYTES, read_header
from trustspace.crypto.statement import Envelope, verify_statement
from trustspace.data.manifest import DatasetManifest
from trustspace.errors import InvalidInput, InvalidTransition, NotFound, Unavailable, VerificationFailed
from trustspace.storage.files import fsync_dir, write_atomic

DURABLE_EVERY_BYTES = 32 << 20
_HEX = frozenset("0123456789abcdef")


def manifest_digest(manifest: DatasetManifest) -> str:
    """What names a manifest: SHA-256 of its canonical JSON."""
    return sha256_hex(canonical_json(manifest.to_json()))


@dataclass(frozen=True)
class Progress:
    """An upload: its name (the manifest's digest), its durable bytes, and whether it is a dataset now."""

    upload: str
    durable_bytes: int
    complete: bool


class DatasetStore:
    """Sealed files of one source unit; nothing here can open them."""

    def __init__(self, home: Path, owner: str) -> None:
        self._datasets = home / "datasets"
        self._uploads = home / "uploads"
        self._owner = owner
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def begin(self, envelope: bytes, keys: Iterable[bytes]) -> Progress:
        """Open or resume an upload.

        ``envelope`` holds the manifest, signed by one of the owner's acting ``keys``: the bytes that follow
        are bound to the source unit even if its connection is not its own.

        Raises:
            VerificationFailed: nobody who may signed the manifest.

        """
        manifest = _signed_manifest(envelope, keys)
        if manifest.source_unit != self._owner:
            raise VerificationFailed("The manifest names another source unit than this enclave's.")
        upload = manifest_digest(manifest)
        if self._sealed(upload).exists():
            return Progress(upload, manifest.sealed_bytes, complete=True)
        meta = self._uploads / f"{upload}.json"
        if not meta.exists():
            write_atomic(meta, canonical_json(manifest.to_json()))
        part = self._uploads / f"{upload}.part"
        return Progress(upload, part.stat().st_size if part.exists() else 0, complete=False)

    def append(self, upload: str, offset: int, pieces: Iterable[bytes]) -> Iterator[Progress]:
        """Write pieces from ``offset`` on; yields how far it is durable, the last time for all of it."""
        manifest = self._manifest(self._uploads, upload)
        with self._one_writer(upload):
            part = self._uploads / f"{upload}.part"
            try:
                # The disk works while the next bytes arrive; nothing is acknowledged before it is durable.
                with part.open("ab") as file, ThreadPoolExecutor(1, "durable") as disk:
                    os.chmod(file.fileno(), 0o600)
                    size = file.tell()
                    if offset != size:
                        raise InvalidTransition(
                            "The upload continues at byte {size}.", fix="Resume from there.", size=size
                        )
                    asked, flushing = size, disk.submit(os.fsync, file.fileno())
                    for piece in pieces:
                        size += len(piece)
                        if size > manifest.sealed_bytes:
                            raise VerificationFailed("The upload is longer than its manifest says.")
                        file.write(piece)
                        if size - asked >= DURABLE_EVERY_BYTES:
                            flushing.result()
                            yield Progress(upload, asked, complete=False)
                            file.flush()
                            asked, flushing = size, disk.submit(os.fsync, file.fileno())
                    flushing.result()
                    file.flush()
                    os.fsync(file.fileno())
                fsync_dir(self._uploads)
                yield Progress(upload, size, complete=False)
            except OSError as error:
                raise Unavailable(
                    "The enclave cannot store the upload now.", fix="Is its disk full?"
                ) from error
            except VerificationFailed:
                self._discard(upload)
                raise

    def commit(self, upload: str) -> Progress:
        """Verify every byte of an upload and keep it, or delete it.

        Raises:
            VerificationFailed: truncated, reordered, duplicated, spliced or altered; nothing is left.

        """
        if self._sealed(upload).exists():
            manifest = self._manifest(self._datasets, upload)
            return Progress(upload, manifest.sealed_bytes, complete=True)
        manifest = self._manifest(self._uploads, upload)
        with self._one_writer(upload):
            part = self._uploads / f"{upload}.part"
            if not part.exists() or part.stat().st_size < manifest.sealed_bytes:
                size = part.stat().st_size if part.exists() else 0
                raise InvalidTransition(
                    "Only {size} of {total} bytes were uploaded.",
                    fix="Resume the upload.", size=size, total=manifest.sealed_bytes,
                )  # fmt: skip
            try:
                _verify(part, manifest)
            except VerificationFailed:
                self._discard(upload)
                raise
            write_atomic(self._datasets / f"{upload}.json", canonical_json(manifest.to_json()))
            part.replace(self._sealed(upload))
            fsync_dir(self._datasets)
            (self._uploads / f"{upload}.json").unlink(missing_ok=True)
        return Progress(upload, manifest.sealed_bytes, complete=True)

    def abort(self, upload: str) -> Progress:
        """Delete an unfinished upload."""
        self._manifest(self._uploads, upload)
        with self._one_writer(upload):
            self._discard(upload)
        return Progress(upload, 0, complete=False)

    def withdraw(self, manifest: str) -> None:
        """Delete a dataset's ciphertext and manifest; it may be gone already."""
        self._sealed(manifest).unlink(missing_ok=True)
        (self._datasets / f"{_name(manifest)}.json").unlink(missing_ok=True)
        fsync_dir(self._datasets)

    def holdings(self) -> list[DatasetManifest]:
        """The manifests of all datasets held."""
        return [self._manifest(self._datasets, path.stem) for path in sorted(self._datasets.glob("*.sealed"))]

    def open(self, manifest: str) -> tuple[DatasetManifest, BinaryIO]:
        """A dataset's manifest and its sealed bytes."""
        content = self._manifest(self._datasets, manifest)
        if manifest_digest(content) != manifest:
            raise VerificationFailed("The manifest on the enclave's disk is not the one that was signed.")
        try:
            return content, self._sealed(manifest).open("rb")
        except FileNotFoundError:
            raise NotFound("This enclave does not hold the dataset.") from None

    def sweep(self) -> None:
        """Finish or forget what a crash left: a manifest without bytes, bytes without a manifest."""
        for part in self._uploads.glob("*.part"):
            if not part.with_suffix(".json").exists():
                part.unlink()
        for meta in self._datasets.glob("*.json"):
            if not meta.with_suffix(".sealed").exists():
                meta.unlink()
        for temporary in (*self._uploads.glob(".tmp-*"), *self._datasets.glob(".tmp-*")):
            temporary.unlink()

    def _sealed(self, upload: str) -> Path:
        return self._datasets / f"{_name(upload)}.sealed"

    def _manifest(self, where: Path, upload: str) -> DatasetManifest:
        try:
            content = json.loads((where / f"{_name(upload)}.json").read_bytes())
        except FileNotFoundError:
            raise NotFound("There is no such upload or dataset.", fix="Begin the upload again.") from None
        return DatasetManifest.from_json(content)

    def _discard(self, upload: str) -> None:
        (self._uploads / f"{upload}.part").unlink(missing_ok=True)
        (self._uploads / f"{upload}.json").unlink(missing_ok=True)

    @contextmanager
    def _one_writer(self, upload: str) -> Iterator[None]:
        with self._lock:
            if upload in self._busy:
                raise Unavailable(
                    "Another connection is writing this upload.", fix="Try again when it has ended."
                )
            self._busy.add(upload)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(upload)


def _name(upload: str) -> str:
    if len(upload) != 64 or not set(upload) <= _HEX:
        raise InvalidInput("An upload is named by 64 hexadecimal digits.")
    return upload


def _signed_manifest(envelope: bytes, keys: Iterable[bytes]) -> DatasetManifest:
    parsed = Envelope.parse(envelope)
    for key in keys:
        try:
            payload = verify_statement(parsed, key)
        except VerificationFailed:
            continue
        content = parse_canonical(payload, what="The signed manifest")
        if not isinstance(content, dict):
            raise VerificationFailed("The signed manifest is not a manifest.")
        manifest = DatasetManifest.from_json(content)
        if canonical_json(manifest.to_json()) != payload:
            raise VerificationFailed("The signed manifest leaves out fields that it must spell out.")
        return manifest
    raise VerificationFailed("The manifest is not signed by this enclave's source unit.")


def _verify(part: Path, manifest: DatasetManifest) -> None:
    hashed = hashlib.sha256()
    with part.open("rb") as file:
        _, header_bytes = read_header(file.read(HEADER_MAX_BYTES))
        file.seek(0)
        header = file.read(header_bytes)
        if sha256_hex(header) != manifest.header_digest:
            raise VerificationFailed("The upload's header is not the one of its manifest.")
        hashed.update(header)
        size = header_bytes
        while piece := file.read(1 << 20):
            hashed.update(piece)
            size += len(piece)
        # Durable as well as right: its last piece may have come over a connection that broke before it was.
        os.fsync(file.fileno())
    if size != manifest.sealed_bytes or hashed.hexdigest() != manifest.ciphertext_digest:
        raise VerificationFailed(
            "The uploaded bytes are not those of the manifest.", fix="Upload the dataset again."
        )
