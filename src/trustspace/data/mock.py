"""Made-up rows that look like a dataset, from its public description alone.

No row of the dataset is an argument here, so none can slip through. Draws come from SHAKE-256 over the
seed, the column and its place, so that the same description and seed give the same table everywhere.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trustspace.data.description import OTHER, ColumnDescription, DatasetDescription
from trustspace.data.images import write_png
from trustspace.errors import InvalidInput

MAX_MOCK_ROWS = 100_000
MAX_MOCK_IMAGE_PIXELS = 1 << 24
_STEPS = 1000
_DEFAULT_SIDE_PIXELS = 64
_TYPES = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "category": pa.string(),
    "text": pa.string(),
    "date": pa.date32(),
    "datetime": pa.timestamp("ms"),
    "image": pa.binary(),
}


def mock_sample(description: DatasetDescription, rows: int = 100, *, seed: bytes) -> pa.Table:
    """A table of ``rows`` rows with the described names, kinds, ranges, categories and missing share.

    Columns are independent of each other: relations between columns are not public. Raises InvalidInput
    when ``rows`` is not 1 to 100,000 or ``seed`` is empty.
    """
    if not 1 <= rows <= MAX_MOCK_ROWS:
        raise InvalidInput("A mock sample has 1 to {limit} rows.", fix="Choose fewer.", limit=MAX_MOCK_ROWS)
    if not seed:
        raise InvalidInput("A mock sample needs a seed.", fix="Give at least one byte.")
    columns = []
    for position, column in enumerate(description.columns):
        stream = f"trustspace mock v1/{position}/{column.name}".encode()
        if column.name == description.patient_column:
            values = _patients(column, rows)
        else:
            values = _values(column, seed, stream, rows)
        missing = _draw(seed, stream + b"/missing", rows) % 100 < column.missing_percent_bucket
        columns.append(pa.array(values, _TYPES[column.kind], mask=missing, from_pandas=False))
    return pa.table(columns, names=[column.name for column in description.columns])


def _draw(seed: bytes, stream: bytes, count: int) -> npt.NDArray[np.uint64]:
    """``count`` uniform 64-bit numbers, shape (count,)."""
    return np.frombuffer(_expand(seed, stream, 8 * count), dtype="<u8")


def _expand(seed: bytes, stream: bytes, size: int) -> bytes:
    # The length before the seed keeps (seed, stream) apart from any other cut of the same bytes.
    return hashlib.shake_256(len(seed).to_bytes(8, "big") + seed + stream).digest(size)


def _patients(column: ColumnDescription, rows: int) -> list[object] | npt.NDArray[np.generic]:
    if column.kind == "integer":
        return np.arange(1, rows + 1)
    if column.kind == "number":
        return np.arange(1, rows + 1).astype(np.float64)
    return [f"mock-{row:06d}" for row in range(1, rows + 1)]


def _values(
    column: ColumnDescription, seed: bytes, stream: bytes, rows: int
) -> list[object] | npt.NDArray[np.generic]:
    draws = _draw(seed, stream + b"/value", rows)
    if column.kind == "number":
        return _between_decimals(draws, Decimal(column.low or "0"), Decimal(column.high or "1"))
    if column.kind == "integer":
        return _between(draws, int(column.low or "0"), int(column.high or "1"))
    if column.kind in ("date", "datetime"):
        first = np.datetime64(f"{int(column.low or '2000'):04d}-01-01", "D")
        last = np.datetime64(f"{int(column.high or column.low or '2000'):04d}-12-31", "D")
        days = _between(draws, int(first.astype(np.int64)), int(last.astype(np.int64))).astype(
            "datetime64[D]"
        )
        return days if column.kind == "date" else days.astype("datetime64[ms]")
    if column.kind == "category":
        values = column.categories or (OTHER,)
        return [values[int(draw) % len(values)] for draw in draws]
    if column.kind == "image":
        return _images(column, seed, stream, rows)
    return [f"mock text {row}" for row in range(1, rows + 1)]


def _between_decimals(draws: npt.NDArray[np.uint64], low: Decimal, high: Decimal) -> npt.NDArray[np.float64]:
    """A thousand even steps from low to high, without digits that floating point would invent."""
    step = (high - low) / _STEPS
    decimals = max(0, -int(step.normalize().as_tuple().exponent)) if step else 12
    steps = (draws % (_STEPS + 1)).astype(np.float64)
    return np.round(float(low) + float(high - low) * steps / _STEPS, decimals)


def _between(draws: npt.NDArray[np.uint64], low: int, high: int) -> npt.NDArray[np.int64]:
    return (draws % np.uint64(high - low + 1)).astype(np.int64) + int(low)


def _images(column: ColumnDescription, seed: bytes, stream: bytes, rows: int) -> list[object]:
    """Noise of the described size, written as PNG whatever the original encoding."""
    width = column.width or _DEFAULT_SIDE_PIXELS
    height = column.height or _DEFAULT_SIDE_PIXELS
    if width * height * rows > MAX_MOCK_IMAGE_PIXELS:
        scale = (MAX_MOCK_IMAGE_PIXELS / (width * height * rows)) ** 0.5
        width, height = max(1, int(width * scale)), max(1, int(height * scale))
    mode = "RGB" if column.mode in ("RGB", "RGBA", "CMYK", "P") else "L"
    size = width * height * (3 if mode == "RGB" else 1)
    return [
        write_png(width, height, mode, _expand(seed, stream + b"/image/%d" % row, size))
        for row in range(rows)
    ]
