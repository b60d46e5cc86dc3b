"""Blobs under their SHA-256: ciphertext, open code bundles and mock samples; bounded, swept, never half there."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from trustspace.errors import BudgetExhausted, InvalidInput, NotFound, Unavailable, VerificationFailed
from trustspace.storage.files import fsync_dir

CHUNK_BYTES = 1 << 20
ORPHAN_SECONDS = 24 * 3600


class BlobStore:
    """A directory of files named by their digest."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _path(self, digest: str) -> Path:
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise InvalidInput("A blob is named by 64 hexadecimal digits.")
        return self._directory / digest

    def has(self, digest: str) -> bool:
        """Whether the blob is here, whole."""
        return self._path(digest).exists()

    def put(self, digest: str, total_bytes: int, pieces: Iterable[bytes]) -> None:
        """Store a blob durably, or nothing. One that is here already is checked all the same: who sends it has it.

        Raises:
            BudgetExhausted: it is larger than this space takes.
            VerificationFailed: the bytes are not those that the digest and size announce.
            Unavailable: the disk refuses.

        """
        target = self._path(digest)
        if total_bytes > self._max_bytes:
            raise BudgetExhausted("This space takes blobs of up to {limit} bytes.", limit=self._max_bytes)
        temporary = self._directory / f"incoming-{secrets.token_hex(8)}"
        try:
            with temporary.open("xb") as file:
                os.chmod(file.fileno(), 0o600)
                total, hashed = 0, hashlib.sha256()
                for piece in pieces:
                    total += len(piece)
                    if total > total_bytes:
                        raise VerificationFailed("The blob is longer than announced.")
                    hashed.update(piece)
                    file.write(piece)
                if total != total_bytes or hashed.hexdigest() != digest:
                    raise VerificationFailed("The blob is not what was announced.", fix="Send it again.")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
            fsync_dir(self._directory)
        except OSError as error:
            raise Unavailable("The space cannot store a blob now.", fix="Is its disk full?") from error
        finally:
            temporary.unlink(missing_ok=True)

    def read(self, digest: str) -> Iterator[bytes]:
        """The blob in chunks."""
        try:
            file = self._path(digest).open("rb")
        except FileNotFoundError:
            raise NotFound("There is no such blob.") from None
        with file:
            while piece := file.read(CHUNK_BYTES):
                yield piece

    def sweep(self, referenced: Callable[[str], bool]) -> int:
        """Delete what a crash or an abandoned submission left behind; returns how many files."""
        swept = 0
        for path in self._directory.iterdir():
            old = time.time() - path.stat().st_mtime > ORPHAN_SECONDS
            if path.name.startswith("incoming-") or (old and not referenced(path.name)):
                path.unlink(missing_ok=True)
                swept += 1
        return swept
