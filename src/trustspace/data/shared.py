"""What at least ten patients share: the only values of a table that may become public.

The rule is k-anonymity applied to each published value (Samarati and Sweeney 1998, with k = 10), counted
over patients and not over rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

MIN_PATIENTS = 10
TAIL_PERCENT = 5

Numbers = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


def shared_bounds(numbers: Numbers, codes: Codes) -> tuple[float | None, float | None]:
    """The 5 % and 95 % quantiles over patients, never held by fewer than ten.

    Each patient counts once: by its lowest value for the low bound, by its highest for the high one, so
    that one patient with many rows cannot move either. With k = max(10, 5 % of patients), the low bound is
    the k-th lowest of the former and the high bound the k-th highest of the latter; (None, None) below 2k
    patients. ``numbers`` and ``codes`` (the patient of each) have one shape, (values,).
    """
    lowest, highest = _extremes_by_patient(numbers, codes)
    patients = len(lowest)
    beyond = max(MIN_PATIENTS, -(-patients * TAIL_PERCENT // 100))
    if patients < 2 * beyond:
        return None, None
    return (
        float(np.partition(lowest, beyond - 1)[beyond - 1]),
        float(np.partition(highest, patients - beyond)[patients - beyond]),
    )


def _extremes_by_patient(numbers: Numbers, codes: Codes) -> tuple[Numbers, Numbers]:
    if not len(numbers):
        return numbers, numbers
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    return np.minimum.reduceat(numbers[order], starts), np.maximum.reduceat(numbers[order], starts)


def patients_by_value(values: pa.ChunkedArray, codes: Codes) -> tuple[tuple[str, int], ...]:
    """Each distinct text and its number of patients, in code point order."""
    if not len(values):
        return ()
    encoded = values.combine_chunks().dictionary_encode()
    width = int(codes.max()) + 1
    pairs = np.unique(encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64) * width + codes)
    counts = np.bincount(pairs // width, minlength=len(encoded.dictionary))
    return tuple(sorted(zip(encoded.dictionary.to_pylist(), counts.tolist(), strict=True)))
