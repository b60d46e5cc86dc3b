"""The losses of single rows, as programs hand them to the enclave: written in a sandbox, read strictly outside it.

They never leave the enclave process: what comes of them is measures over patients, for the reviewers of their domain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustspace.errors import VerificationFailed
from trustspace.jobs.metrics import LARGEST_LOSS
from trustspace.jobs.tensors import read_tensors

LOSSES_ARTIFACT = "losses.safetensors"
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def spread(loss: Floats, used: Flags) -> Floats:
    """The losses of the used rows, [..., used rows], among all rows of the table: 0 where a row was left out."""
    everywhere: Floats = np.zeros((*loss.shape[:-1], len(used)))
    everywhere[..., used] = loss
    return everywhere


def read_losses(data: bytes, sides: Mapping[str, int]) -> dict[str, tuple[Floats, Flags]]:
    """Of each side, named with its number of rows, the losses [rows] and which rows were used; what ``evaluate`` wrote.

    A developer's code may have run where these bytes were written. Raises VerificationFailed unless they are exactly
    that: these tensors and no other, losses from 0 to LARGEST_LOSS, and 0 where a row was not used.
    """
    tensors = _exactly(data, {f"{side}.{part}" for side in sides for part in ("loss", "used")})
    return {
        side: _checked(tensors[f"{side}.loss"], tensors[f"{side}.used"], (rows,), rows)
        for side, rows in sides.items()
    }


def read_reference_losses(data: bytes, trainings: int, rows: int) -> tuple[Floats, Flags]:
    """Losses [trainings, rows] and which rows were used [rows], as ``references`` wrote them; as strict."""
    tensors = _exactly(data, {"loss", "used"})
    return _checked(tensors["loss"], tensors["used"], (trainings, rows), rows)


def _exactly(data: bytes, names: set[str]) -> dict[str, NDArray[Any]]:
    tensors = read_tensors(data)
    if set(tensors) != names:
        raise VerificationFailed("The losses are not those of these rows.")
    return tensors


def _checked(
    loss: NDArray[Any], used: NDArray[Any], shape: tuple[int, ...], rows: int
) -> tuple[Floats, Flags]:
    sound = (
        (loss.dtype, loss.shape) == (np.dtype(np.float64), shape)
        and (used.dtype, used.shape) == (np.dtype(np.uint8), (rows,))
        and bool((used <= 1).all())
        and bool(((loss >= 0.0) & (loss <= LARGEST_LOSS)).all())
        and not bool(loss[..., used == 0].any())
    )
    if not sound:
        raise VerificationFailed("The losses are not those of these rows.")
    return loss, used == 1
