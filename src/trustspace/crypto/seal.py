r"""Sealed objects of any length, written and read chunk by chunk.

STREAM (Hoang, Reyhanitabar, Rogaway, Vizár: "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance", CRYPTO 2015) over AES-256-GCM with chunks of 1 MiB. On the wire::

    magic "TSSEAL1\n" | u32 length | header JSON | 32-byte key commitment | chunk, 16-byte tag | ...

The header JSON is canonical: {"chunk_bytes", "context", "prefix" 7 bytes hex, "salt" 32 bytes hex}. All of
it, the context too, is readable without a key. HKDF-SHA256(data key, salt, "trustspace seal v1" || d), with
d = SHA-256(header JSON), gives 32 bytes of file key and 32 of commitment; a chunk's nonce is prefix || u32
counter || last flag and its associated data d. The commitment is needed because GCM alone lets one ciphertext
open under two keys (Dodis, Grubbs, Ristenpart, Woodage, CRYPTO 2018): two reviewers could be shown different
contents of the same sealed bytes.

A plaintext has one sealed form per header: every chunk is full but the last, and only an empty plaintext has
an empty one. Each chunk is authentic when it opens; that nothing is missing is known only when the last has.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from trustspace.crypto.canonical import canonical_json, parse_canonical
from trustspace.errors import InvalidInput, InvalidTransition, VerificationFailed

if TYPE_CHECKING:
    from typing_extensions import Buffer

CHUNK_BYTES = 1 << 20
TAG_BYTES = 16
KEY_BYTES = 32
# 16 TiB. With 2**40 blocks under one key, GCM's distance from ideal stays below 2**-48.
MAX_CHUNKS = 1 << 24
_MAGIC = b"TSSEAL1\n"
_INFO = b"trustspace seal v1"
_SALT_BYTES = 32
_PREFIX_BYTES = 7
_COMMITMENT_BYTES = 32
_FIXED_BYTES = len(_MAGIC) + 4
HEADER_MAX_BYTES = 8192
_JSON_MAX_BYTES = HEADER_MAX_BYTES - _FIXED_BYTES - _COMMITMENT_BYTES

Context = Mapping[str, str | int]


@dataclass(frozen=True)
class SealHeader:
    """What stands before the chunks. Authentic only once an ``Opener`` accepted it."""

    context: Context
    salt: bytes
    prefix: bytes
    commitment: bytes
    digest: bytes
    """SHA-256 of the header JSON."""


def read_header(data: Buffer) -> tuple[SealHeader, int]:
    """The header at the start of ``data`` and how many bytes it takes (at most HEADER_MAX_BYTES).

    Raises VerificationFailed where there is no complete, canonical header.
    """
    view = _flat(data)[:HEADER_MAX_BYTES]
    if view[: len(_MAGIC)] != _MAGIC or len(view) < _FIXED_BYTES:
        raise VerificationFailed("The bytes do not start like a sealed object.")
    size = int.from_bytes(view[len(_MAGIC) : _FIXED_BYTES])
    end = _FIXED_BYTES + size + _COMMITMENT_BYTES
    if size > _JSON_MAX_BYTES or len(view) < end:
        raise VerificationFailed("The sealed object's header is cut off or too long.")
    text = bytes(view[_FIXED_BYTES : _FIXED_BYTES + size])
    fields = parse_canonical(text, what="The sealed object's header")
    if not isinstance(fields, dict) or sorted(fields) != ["chunk_bytes", "context", "prefix", "salt"]:
        raise VerificationFailed("The sealed object's header does not have the expected fields.")
    if fields["chunk_bytes"] != CHUNK_BYTES:
        raise VerificationFailed("The sealed object's chunks are not {size} bytes long.", size=CHUNK_BYTES)
    context = fields["context"]
    if not isinstance(context, dict):
        raise VerificationFailed("The sealed object's context is not an object.")
    header = SealHeader(
        context={key: _plain(value) for key, value in context.items()},
        salt=_hex(fields["salt"], _SALT_BYTES),
        prefix=_hex(fields["prefix"], _PREFIX_BYTES),
        commitment=bytes(view[end - _COMMITMENT_BYTES : end]),
        digest=hashlib.sha256(text).digest(),
    )
    return header, end


def sealed_size(plain_bytes: int, header_bytes: int) -> int:
    """How long ``plain_bytes`` are once sealed behind a header of ``header_bytes``."""
    chunks = max(1, -(-plain_bytes // CHUNK_BYTES))
    return header_bytes + plain_bytes + chunks * TAG_BYTES


class Sealer:
    """Seals one object under a 32-byte data key, bound to ``context``; used by one thread at a time.

    One data key may seal many objects: each has its own salt, hence its own file key.
    """

    def __init__(self, key: bytes, context: Context) -> None:
        self._start(key, context, os.urandom(_SALT_BYTES), os.urandom(_PREFIX_BYTES))

    @classmethod
    def _fixed(cls, key: bytes, context: Context, salt: bytes, prefix: bytes) -> Sealer:
        """With a given salt and prefix. The same pair twice under one key is safe only for the same bytes."""
        sealer = cls.__new__(cls)
        sealer._start(key, context, salt, prefix)
        return sealer

    def _start(self, key: bytes, context: Context, salt: bytes, prefix: bytes) -> None:
        text = canonical_json(
            {
                "chunk_bytes": CHUNK_BYTES,
                "context": _checked(context),
                "prefix": prefix.hex(),
                "salt": salt.hex(),
            }
        )
        if len(text) > _JSON_MAX_BYTES or len(salt) != _SALT_BYTES or len(prefix) != _PREFIX_BYTES:
            raise InvalidInput(
                "The sealed object's context is longer than {limit} bytes.", limit=_JSON_MAX_BYTES
            )
        self._digest = hashlib.sha256(text).digest()
        self._prefix = prefix
        file_key, commitment = _derive(key, salt, self._digest)
        self._aead = AESGCM(file_key)
        self._header = b"".join((_MAGIC, len(text).to_bytes(4), text, commitment))
        self._count = 0
        self._done = False

    @property
    def header(self) -> bytes:
        """The bytes that stand before the first chunk."""
        return self._header

    def seal(self, chunk: Buffer, *, last: bool) -> bytes:
        """The next chunk, 16 bytes longer; any contiguous buffer, CHUNK_BYTES of it unless ``last``.

        Raises InvalidInput for another length and InvalidTransition after the last chunk.
        """
        view = self._accept(chunk, last)
        sealed = self._aead.encrypt(_nonce(self._prefix, self._count, last), view, self._digest)
        self._advance(last)
        return sealed

    def seal_into(self, chunk: Buffer, out: Buffer, *, last: bool) -> int:
        """``seal`` into the start of a writable buffer, without a copy; returns the bytes written."""
        view = self._accept(chunk, last)
        target = _writable(out, view.nbytes + TAG_BYTES)
        nonce = _nonce(self._prefix, self._count, last)
        written = self._aead.encrypt_into(nonce, view, self._digest, target)
        self._advance(last)
        return written

    def _accept(self, chunk: Buffer, last: bool) -> memoryview:
        if self._done:
            raise InvalidTransition("The sealed object has had its last chunk.")
        view = _flat(chunk)
        full = view.nbytes == CHUNK_BYTES
        short = view.nbytes < CHUNK_BYTES and (view.nbytes > 0 or self._count == 0)
        if not (full or (last and short)):
            raise InvalidInput(
                "A chunk has {size} bytes, and only the last may have fewer and, in an empty object, none.",
                size=CHUNK_BYTES,
            )
        if self._count >= MAX_CHUNKS:
            raise InvalidInput("A sealed object has at most {limit} chunks.", limit=MAX_CHUNKS)
        return view

    def _advance(self, last: bool) -> None:
        self._count += 1
        self._done = last


class Opener:
    """Opens what a ``Sealer`` sealed, chunk by chunk; used by one thread at a time.

    ``header`` is exactly the header's bytes. Raises VerificationFailed when the key is not the one that
    sealed the object (the commitment is checked before any chunk) or its context is not ``context``.
    A chunk that fails leaves the opener as it was.
    """

    def __init__(self, key: bytes, header: Buffer, context: Context) -> None:
        self.header, used = read_header(header)
        if used != _flat(header).nbytes:
            raise VerificationFailed("Bytes follow the sealed object's header.")
        file_key, commitment = _derive(key, self.header.salt, self.header.digest)
        if not hmac.compare_digest(commitment, self.header.commitment):
            raise VerificationFailed(
                "The sealed object was not sealed with this key, or its header was changed."
            )
        if dict(self.header.context) != _checked(context):
            raise VerificationFailed("The sealed object was sealed for something else.")
        self._aead = AESGCM(file_key)
        self._count = 0
        self._done = False

    def open(self, chunk: Buffer, *, last: bool) -> bytes:
        """The next chunk's plaintext; raises VerificationFailed if it is not this object's next chunk."""
        view = self._accept(chunk, last)
        nonce = _nonce(self.header.prefix, self._count, last)
        try:
            plain = self._aead.decrypt(nonce, view, self.header.digest)
        except InvalidTag:
            raise _not_next() from None
        self._advance(last)
        return plain

    def open_into(self, chunk: Buffer, out: Buffer, *, last: bool) -> int:
        """``open`` into the start of a writable buffer, without a copy; returns the bytes written.

        On failure the bytes it would have written are zeros.
        """
        view = self._accept(chunk, last)
        target = _writable(out, view.nbytes - TAG_BYTES)
        nonce = _nonce(self.header.prefix, self._count, last)
        try:
            written = self._aead.decrypt_into(nonce, view, self.header.digest, target)
        except InvalidTag:
            # OpenSSL decrypts before it compares the tag; nobody may see what has not been verified.
            target[:] = bytes(target.nbytes)
            raise _not_next() from None
        self._advance(last)
        return written

    def finish(self) -> None:
        """Raises VerificationFailed unless the last chunk has been opened: the object may be cut off."""
        if not self._done:
            raise VerificationFailed("The sealed object is cut off.")

    def _accept(self, chunk: Buffer, last: bool) -> memoryview:
        if self._done:
            raise VerificationFailed("The sealed object goes on after its last chunk.")
        view = _flat(chunk)
        plain = view.nbytes - TAG_BYTES
        full = plain == CHUNK_BYTES
        short = 0 <= plain < CHUNK_BYTES and (plain > 0 or self._count == 0)
        if not (full or (last and short)) or self._count >= MAX_CHUNKS:
            raise _not_next()
        return view

    def _advance(self, last: bool) -> None:
        self._count += 1
        self._done = last


def iter_sealed(sealer: Sealer, read: Callable[[int], bytes]) -> Iterator[bytes]:
    """The whole sealed object: the header, then the chunks of what ``read(n)`` gives until its end."""
    yield sealer.header
    for chunk, last in _blocks(read, CHUNK_BYTES):
        yield sealer.seal(chunk, last=last)


def take_header(read: Callable[[int], bytes]) -> bytes:
    """The header's bytes from the start of a sealed stream; raises VerificationFailed if there is none."""
    fixed = _read_full(read, _FIXED_BYTES)
    if fixed[: len(_MAGIC)] != _MAGIC or len(fixed) < _FIXED_BYTES:
        raise VerificationFailed("The bytes do not start like a sealed object.")
    size = int.from_bytes(fixed[len(_MAGIC) :])
    if size > _JSON_MAX_BYTES:
        raise VerificationFailed("The sealed object's header is cut off or too long.")
    return fixed + _read_full(read, size + _COMMITMENT_BYTES)


def iter_opened(opener: Opener, read: Callable[[int], bytes]) -> Iterator[bytes]:
    """The plaintext chunks of a stream that stands just after its header.

    Act on the whole only when the iterator has ended: a cut-off object fails at its end, not before.
    """
    for chunk, last in _blocks(read, CHUNK_BYTES + TAG_BYTES):
        yield opener.open(chunk, last=last)


def seal_bytes(key: bytes, context: Context, plaintext: Buffer) -> bytes:
    """A whole small object, sealed."""
    return _seal_whole(Sealer(key, context), plaintext)


def seal_bytes_from(key: bytes, context: Context, plaintext: Buffer, *, salt: bytes, prefix: bytes) -> bytes:
    """``seal_bytes`` with a given 32-byte salt and 7-byte prefix, for those who must all seal the same bytes.

    The key must be used for these bytes alone: the same salt and prefix for others gives both away.
    """
    return _seal_whole(Sealer._fixed(key, context, salt, prefix), plaintext)


def open_bytes(key: bytes, context: Context, sealed: Buffer) -> bytes:
    """The whole plaintext of a small sealed object; raises VerificationFailed."""
    view = _flat(sealed)
    _, start = read_header(view)
    opener = Opener(key, view[:start], context)
    step = CHUNK_BYTES + TAG_BYTES
    parts = [
        opener.open(view[at : at + step], last=at + step >= len(view))
        for at in range(start, max(len(view), start + 1), step)
    ]
    opener.finish()
    return b"".join(parts)


def _seal_whole(sealer: Sealer, plaintext: Buffer) -> bytes:
    view = _flat(plaintext)
    # Not a list that is joined at the end: that would hold everything twice.
    sealed = io.BytesIO()
    sealed.write(sealer.header)
    for at in range(0, max(len(view), 1), CHUNK_BYTES):
        sealed.write(sealer.seal(view[at : at + CHUNK_BYTES], last=at + CHUNK_BYTES >= len(view)))
    return sealed.getvalue()


def _derive(key: bytes, salt: bytes, digest: bytes) -> tuple[bytes, bytes]:
    # A fixed length is part of the commitment: HMAC pads short keys, so two lengths could give one key.
    if len(key) != KEY_BYTES:
        raise InvalidInput("A data key has {expected} bytes.", expected=KEY_BYTES)
    material = HKDF(SHA256(), KEY_BYTES + _COMMITMENT_BYTES, salt=salt, info=_INFO + digest).derive(key)
    return material[:KEY_BYTES], material[KEY_BYTES:]


def _nonce(prefix: bytes, count: int, last: bool) -> bytes:
    return prefix + count.to_bytes(4) + (b"\x01" if last else b"\x00")


def _not_next() -> VerificationFailed:
    return VerificationFailed("A chunk is not the sealed object's next one, or was changed.")


def _flat(data: Buffer) -> memoryview:
    view = memoryview(data)
    if not view.c_contiguous:
        raise InvalidInput("A chunk lies in one piece of memory.")
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def _writable(out: Buffer, size: int) -> memoryview:
    view = _flat(out)
    if view.readonly or view.nbytes < size:
        raise InvalidInput("The output buffer is not writable or has fewer than {size} bytes.", size=size)
    return view[:size]


def _checked(context: Context) -> dict[str, str | int]:
    for value in context.values():
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise InvalidInput("A sealed object's context holds strings and integers only.")
    return dict(context)


def _plain(value: object) -> str | int:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise VerificationFailed("The sealed object's context holds more than strings and integers.")
    return value


def _hex(value: object, size: int) -> bytes:
    try:
        data = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        data = b""
    if len(data) != size or data.hex() != value:
        raise VerificationFailed("The sealed object's header does not have the expected fields.")
    return data


def _read_full(read: Callable[[int], bytes], size: int) -> bytes:
    first = read(size)
    if len(first) == size or not first:
        return first
    parts, have = [first], len(first)
    while have < size and (more := read(size - have)):
        parts.append(more)
        have += len(more)
    return b"".join(parts)


def _blocks(read: Callable[[int], bytes], size: int) -> Iterator[tuple[bytes, bool]]:
    """Full blocks and a last one, at least one in all; reads one ahead to know which is the last."""
    block = _read_full(read, size)
    while True:
        following = _read_full(read, size) if len(block) == size else b""
        yield block, not following
        if not following:
            return
        block = following
