r"""The one file that a sandbox worker hands out: a few named artifacts, one after the other.

Layout: magic ``TSOUT1\n\0`` (8 bytes), u32 little-endian length of the index, the index as canonical JSON
``[{"bytes": n, "media_type": "...", "name": "..."}, ...]``, then the artifacts' bytes in that order and
nothing after them. What unpacks packs to the same bytes: there is no room to hide anything in between.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from trustspace.crypto.canonical import canonical_json, parse_canonical
from trustspace.errors import InvalidInput, TrustspaceError, VerificationFailed

MAGIC = b"TSOUT1\n\0"
MAX_ARTIFACTS = 64
MAX_INDEX_BYTES = 64 << 10
_HEAD = struct.Struct("<8sI")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,62}/[a-z0-9][a-z0-9.+-]{0,62}", re.ASCII)


@dataclass(frozen=True)
class RawArtifact:
    """Bytes under a name, as a worker wrote them: nothing in here has been judged yet."""

    name: str
    media_type: str
    data: bytes


def check_name(name: str) -> None:
    """Raise :class:`InvalidInput` unless ``name`` may name an artifact."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            "An artifact's name is not allowed.",
            fix="Use 1 to 64 lower-case letters, digits, dots, dashes and underscores, such as table.csv.",
        )


def pack(artifacts: Sequence[RawArtifact]) -> bytes:
    """The container of ``artifacts``, in their order.

    Raises InvalidInput: a name or media type that is not allowed, a name used twice, too many artifacts.
    """
    if len(artifacts) > MAX_ARTIFACTS:
        raise InvalidInput("A job may hand out at most {limit} artifacts.", limit=MAX_ARTIFACTS)
    for artifact in artifacts:
        check_name(artifact.name)
        if not _MEDIA_TYPE.fullmatch(artifact.media_type):
            raise InvalidInput("The media type of artifact {name} is not allowed.", name=artifact.name)
    if len({a.name for a in artifacts}) != len(artifacts):
        raise InvalidInput("Two artifacts have the same name.", fix="Write each name once.")
    index = canonical_json(
        [{"name": a.name, "media_type": a.media_type, "bytes": len(a.data)} for a in artifacts]
    )
    return b"".join([_HEAD.pack(MAGIC, len(index)), index, *(a.data for a in artifacts)])


def unpack(
    data: bytes | bytearray | memoryview, *, max_artifacts: int = MAX_ARTIFACTS, max_bytes: int
) -> tuple[RawArtifact, ...]:
    """The artifacts of a container that an untrusted worker wrote.

    ``max_bytes`` bounds the whole container. Raises VerificationFailed for anything that :func:`pack` would
    not have written.
    """
    view = memoryview(data).cast("B")
    if len(view) > max_bytes:
        raise VerificationFailed("The worker's output is larger than {limit} bytes.", limit=max_bytes)
    if len(view) < _HEAD.size:
        raise VerificationFailed("The worker's output is cut short.")
    magic, index_bytes = _HEAD.unpack_from(view)
    if magic != MAGIC or index_bytes > MAX_INDEX_BYTES or len(view) < _HEAD.size + index_bytes:
        raise VerificationFailed("The worker's output is not a container.")
    start = _HEAD.size + index_bytes
    index = parse_canonical(
        bytes(view[_HEAD.size : start]), what="index of the worker's output", max_bytes=MAX_INDEX_BYTES
    )
    if not isinstance(index, list) or len(index) > max_artifacts:
        raise VerificationFailed(
            "The worker's output holds more than {limit} artifacts.", limit=max_artifacts
        )
    artifacts: list[RawArtifact] = []
    for entry in index:
        match entry:
            case {"name": str(name), "media_type": str(media_type), "bytes": int(size), **rest} if not rest:
                pass
            case _:
                raise VerificationFailed("The index of the worker's output has an entry that is not one.")
        if isinstance(size, bool) or not 0 <= size <= len(view) - start:
            raise VerificationFailed("An artifact's size does not fit the worker's output.")
        artifacts.append(RawArtifact(name, media_type, bytes(view[start : start + size])))
        start += size
    if start != len(view):
        raise VerificationFailed("The worker's output has bytes that belong to no artifact.")
    try:
        repacked = pack(artifacts)
    except TrustspaceError as error:
        raise VerificationFailed(
            "The worker's output breaks a rule: {reason}", reason=error.public_message
        ) from None
    if repacked[: _HEAD.size + index_bytes] != bytes(view[: _HEAD.size + index_bytes]):
        raise VerificationFailed("The worker's output is not in its one form.")
    return tuple(artifacts)
