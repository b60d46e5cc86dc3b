"""The safetensors format, read and written in its one canonical form (github.com/huggingface/safetensors).

A file is a u64 little-endian header length, a JSON header and the tensors' bytes. The format leaves room that
could carry a message (order of tensors, spaces, holes, metadata); here tensors stand in the order of their
names, without holes, the header is compact JSON padded with spaces to 8 bytes, and nothing else is accepted.

NumPy has no bfloat16 (the upper 16 bits of a float32: sign, 8 bits of exponent, 7 of mantissa). Such numbers stand in
memory as the float32 that they are, and go into a file only where they are that exactly: see :func:`round_bf16`.
"""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustspace.errors import InvalidInput, VerificationFailed

MAX_HEADER_BYTES = 1 << 20
MAX_TENSORS = 4096
MAX_DIMENSIONS = 8
BF16 = "BF16"
# What lies in a file, in the order in which the format's own library lays tensors out.
DTYPES: dict[str, np.dtype[Any]] = {
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "I32": np.dtype("<i4"),
    BF16: np.dtype("<u2"),
    "U8": np.dtype("u1"),
}
_RANK = {name: rank for rank, name in enumerate(DTYPES)}
_BY_DTYPE = {dtype: name for name, dtype in DTYPES.items() if name != BF16}
_PIECE = 1 << 20


@dataclass(frozen=True)
class TensorInfo:
    """A tensor's name, type (such as ``F32``) and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


def write_tensors(tensors: Mapping[str, NDArray[Any]], narrow: Collection[str] = ()) -> bytes:
    """The canonical file of ``tensors``; those named in ``narrow``, float32, are written as bfloat16.

    Raises InvalidInput for a type, name or value that may not go in, and for a number in ``narrow`` that is not a
    bfloat16 already: to round is a decision, made by :func:`round_bf16`.
    """
    header: dict[str, Any] = {}
    offset = 0
    kinds = {name: _kind(name, array, name in narrow) for name, array in tensors.items()}
    names = sorted(tensors, key=lambda n: (_RANK[kinds[n]], n))
    for name in names:
        size = tensors[name].size * DTYPES[kinds[name]].itemsize
        header[name] = _described(kinds[name], tensors[name].shape, offset, offset + size)
        offset += size
    # Written piece after piece: a large model is in memory once more, and not twice.
    file = io.BytesIO()
    file.write(_encode_header(header))
    for name in names:
        if kinds[name] == BF16:
            file.writelines(_upper_halves(name, tensors[name]))
        else:
            file.write(np.ascontiguousarray(tensors[name], dtype=DTYPES[kinds[name]]).data)
    data = file.getvalue()
    try:
        for _ in _arrays(data):
            pass
    except VerificationFailed as error:
        raise InvalidInput(
            "These tensors may not be exported: {reason}", reason=error.public_message
        ) from None
    return data


def round_bf16(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """The nearest bfloat16 of every number, as float32; of two that are as near, the one whose last bit is 0.

    What torch.Tensor.to(torch.bfloat16) gives (IEEE 754 roundTiesToEven). What is too large becomes infinite, and NaN
    stays: a file takes neither.
    """
    given = np.ascontiguousarray(array, dtype="<f4")
    bits = given.view("<u4")
    # Half a unit less one, and one more where the last bit that stays is 1; of NaN the carry could leave a number.
    nearest = (bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) & np.uint32(0xFFFF0000)
    kept: NDArray[np.float32] = np.where(np.isnan(given), given, nearest.view("<f4")).reshape(array.shape)
    return kept


def _upper_halves(name: str, array: NDArray[Any]) -> Iterator[memoryview]:
    flat = np.ascontiguousarray(array, dtype="<f4").reshape(-1)
    for start in range(0, len(flat), _PIECE):
        bits = flat[start : start + _PIECE].view("<u4")
        if bool((bits & np.uint32(0xFFFF)).any()):
            raise InvalidInput("Tensor {name} holds a number that is not a bfloat16.", name=name)
        yield (bits >> np.uint32(16)).astype("<u2").data


def _kind(name: str, array: NDArray[Any], is_narrow: bool) -> str:
    dtype = array.dtype.newbyteorder("<") if array.dtype.itemsize > 1 else array.dtype
    if dtype not in _BY_DTYPE or (is_narrow and dtype != np.dtype("<f4")):
        raise InvalidInput(
            "Tensor {name} has a type that may not be exported.",
            fix="Use one of: {kinds}.",
            name=name,
            kinds=", ".join(_BY_DTYPE.values()),
        )
    return BF16 if is_narrow else _BY_DTYPE[dtype]


def read_tensors(data: bytes) -> dict[str, NDArray[Any]]:
    """Every tensor of a canonical file, as read-only arrays over ``data``; a bfloat16 as the float32 that it is.

    Raises VerificationFailed for anything that :func:`write_tensors` would not have written, and for a value that
    is not a finite number.
    """
    return dict(_arrays(data))


def _arrays(data: bytes) -> Iterator[tuple[str, NDArray[Any]]]:
    for info, start, stop in _entries(data):
        array: NDArray[Any] = np.frombuffer(
            data, DTYPES[info.dtype], offset=start, count=math.prod(info.shape)
        ).reshape(info.shape)
        if stop - start != array.nbytes:
            raise VerificationFailed("Tensor {name} does not have the size of its shape.", name=info.name)
        if info.dtype == BF16:
            wide = array.astype("<u4")
            wide <<= np.uint32(16)
            array = wide.view("<f4")
            array.flags.writeable = False
        if array.dtype.kind == "f" and not bool(np.isfinite(array).all()):
            raise VerificationFailed("Tensor {name} holds a value that is not a number.", name=info.name)
        yield info.name, array


def narrow_tensors(data: bytes) -> frozenset[str]:
    """The names of a canonical file's tensors that are bfloat16."""
    return frozenset(info.name for info, _, _ in _entries(data) if info.dtype == BF16)


def tensor_infos(data: bytes) -> tuple[TensorInfo, ...]:
    """What is in a canonical file; checked as :func:`read_tensors` does, apart from the values."""
    return tuple(info for info, _, _ in _entries(data))


def _entries(data: bytes) -> list[tuple[TensorInfo, int, int]]:
    if len(data) < 8:
        raise VerificationFailed("The tensor file is cut short.")
    (header_bytes,) = struct.unpack_from("<Q", data)
    if not 2 <= header_bytes <= min(MAX_HEADER_BYTES, len(data) - 8):
        raise VerificationFailed("The tensor file's header has a size that cannot be.")
    raw = data[8 : 8 + header_bytes]
    try:
        header = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique, parse_float=_refuse, parse_constant=_refuse
        )
    except (ValueError, RecursionError):
        raise VerificationFailed("The tensor file's header is not valid JSON.") from None
    if not isinstance(header, dict) or len(header) > MAX_TENSORS:
        raise VerificationFailed(
            "The tensor file's header is not a table of at most {limit} tensors.", limit=MAX_TENSORS
        )
    if "__metadata__" in header:
        raise VerificationFailed("The tensor file carries metadata.")
    entries: list[tuple[TensorInfo, int, int]] = []
    rebuilt: dict[str, Any] = {}
    offset = 0
    for name, value in header.items():
        info, begin, end = _entry(name, value)
        if begin != offset or end - begin != math.prod(info.shape) * DTYPES[info.dtype].itemsize:
            raise VerificationFailed("The tensors do not lie one after the other.")
        offset = end
        entries.append((info, 8 + header_bytes + begin, 8 + header_bytes + end))
        rebuilt[name] = _described(info.dtype, info.shape, begin, end)
    # Built anew, and not the parsed header written again: the order of keys in an entry is a message too.
    if data[: 8 + header_bytes] != _encode_header(rebuilt):
        raise VerificationFailed("The tensor file's header is not in its one form.")
    order = [(_RANK[info.dtype], info.name) for info, _, _ in entries]
    if order != sorted(order) or 8 + header_bytes + offset != len(data):
        raise VerificationFailed("The tensors are not in their order, or bytes follow them.")
    return entries


def _entry(name: str, value: Any) -> tuple[TensorInfo, int, int]:
    match value:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(begin), int(end)], **rest} if (
            not rest
        ):
            numbers = [*shape, begin, end]
        case _:
            raise VerificationFailed("The tensor file's header has an entry that is not a tensor.")
    if not 1 <= len(name) <= 200 or not name.isascii() or not name.isprintable():
        raise VerificationFailed("A tensor has a name that is not allowed.")
    if dtype not in DTYPES:
        raise VerificationFailed("Tensor {name} has a type that may not be exported.", name=name)
    sound = len(shape) <= MAX_DIMENSIONS and all(type(n) is int and 0 <= n < 1 << 40 for n in numbers)
    # An array without elements can have sizes that no library holds.
    if not sound or math.prod(n for n in shape if n) >= 1 << 40:
        raise VerificationFailed("Tensor {name} has a shape that cannot be.", name=name)
    return TensorInfo(name, dtype, tuple(shape)), begin, end


def _described(dtype: str, shape: Sequence[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def _encode_header(header: Mapping[str, Any]) -> bytes:
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name twice")
    return value


def _refuse(text: str) -> Any:
    raise ValueError(text)
