"""Whose the rows of a private training are, and whose turn it is in a step. The enclave numbers the patients.

The worker sees a number for each row, by which nobody can be found: the patient column itself stays in the enclave.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from trustspace.errors import InvalidInput
from trustspace.jobs.chance import SEED_BYTES, Chance
from trustspace.jobs.programs import Inputs

PATIENTS_INPUT, NOISE_INPUT = "patients", "noise"
Owners = NDArray[np.int64]


@dataclass(frozen=True)
class Participants:
    """``owners``: whose each usable row is, below ``count``, int64 [rows]; ``noise``: the secret of all chance."""

    owners: Owners
    count: int
    noise: bytes = field(repr=False)

    @classmethod
    def of(cls, inputs: Inputs, used: NDArray[np.bool_]) -> Self:
        """From a run's inputs; ``used`` are the rows that can be trained on. Who has none of them counts all the same.

        Raises InvalidInput where they do not fit the rows.
        """
        missing = {PATIENTS_INPUT, NOISE_INPUT} - set(inputs)
        numbers = np.frombuffer(bytes(inputs[PATIENTS_INPUT]), dtype="<i4") if not missing else np.zeros(0)
        if missing or len(numbers) != len(used) or len(inputs[NOISE_INPUT]) != SEED_BYTES:
            raise InvalidInput("The patients' numbers are not those of these rows.")
        distinct, dense = np.unique(numbers, return_inverse=True)
        return cls(dense[used].astype(np.int64), len(distinct), bytes(inputs[NOISE_INPUT]))

    def part(self, inside: NDArray[np.bool_], number: int) -> Participants:
        """Those with a row ``inside``, for a further training; its secret tells nothing of this one's."""
        distinct, dense = np.unique(self.owners[inside], return_inverse=True)
        secret = hashlib.shake_256(b"trustspace further training v1" + self.noise + number.to_bytes(8))
        return Participants(dense.astype(np.int64), len(distinct), secret.digest(SEED_BYTES))

    def chance_of(self, number: int, model: bytes) -> Chance:
        """All chance of a round that goes on from ``model`` (its bytes): the same for both, and for nothing else.

        The model decides with it, so that no noise is ever added to the gradients of two models: whoever got both
        could take it away again.
        """
        block = (
            b"trustspace round chance v1" + self.noise + number.to_bytes(8) + hashlib.sha256(model).digest()
        )
        return Chance(hashlib.shake_256(block).digest(SEED_BYTES))


class Turns:
    """Which rows a step is made of: every patient with probability ``rate``, each with one row of theirs."""

    def __init__(self, participants: Participants, rate: float, chance: Chance) -> None:
        self._chance, self._count = chance, participants.count
        self._order = np.argsort(participants.owners, kind="stable")
        self._rows = np.bincount(participants.owners, minlength=participants.count)
        self._starts = np.cumsum(self._rows) - self._rows
        # A word below this: the rate to within 2^-53, never above it.
        self._below = np.uint64(min(int(rate * 2.0**53), 2**53 - 1) << 11)
        self._everybody = rate >= 1.0

    def rows_of(self, step: int) -> NDArray[np.int64]:
        """Rows of this step, at most one of each patient, in the order of patients' numbers."""
        drawn = self._chance.words("patients", step, self._count)
        taking = np.ones(self._count, dtype=bool) if self._everybody else drawn < self._below
        which = np.floor(self._chance.uniform("rows", step, self._count) * self._rows).astype(np.int64)
        taking &= self._rows > 0
        chosen: NDArray[np.int64] = self._order[(self._starts + which)[taking]]
        return chosen
