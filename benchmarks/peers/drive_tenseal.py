"""TenSEAL: CKKS with ring dimension 8192 and primes of 60, 40 and 60 bits, as its tutorials set it."""

from __future__ import annotations

from typing import Any

import numpy as np
import tenseal
from loop import serve

DIMENSION = 8192
SLOTS = DIMENSION // 2


class TenSeal:
    """Vectors of 4096 numbers under the public key."""

    packages = ("tenseal",)

    def __init__(self) -> None:
        self._context = tenseal.context(
            tenseal.SCHEME_TYPE.CKKS, poly_modulus_degree=DIMENSION, coeff_mod_bit_sizes=[60, 40, 60], n_threads=1
        )  # fmt: skip
        self._context.global_scale = 2**40

    def begin(self, clients: int, bits: int) -> None:
        """Nothing: CKKS takes floating point numbers."""

    def encrypt(self, values: Any) -> Any:
        doubles = values.astype(np.float64)
        return [
            tenseal.ckks_vector(self._context, doubles[at : at + SLOTS])
            for at in range(0, len(doubles), SLOTS)
        ]

    def start(self, cipher: Any) -> Any:
        # Its own copy() takes the whole context along, 8 MB for each vector.
        return [tenseal.ckks_vector_from(self._context, part.serialize()) for part in cipher]

    def add(self, total: Any, cipher: Any) -> Any:
        for part, other in zip(total, cipher, strict=True):
            part.add_(other)
        return total

    def decrypt(self, total: Any, count: int) -> Any:
        return np.concatenate([np.asarray(part.decrypt()) for part in total])

    def size(self, cipher: Any) -> int:
        return sum(len(part.serialize()) for part in cipher)


if __name__ == "__main__":
    serve(TenSeal())
