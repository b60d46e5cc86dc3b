"""Packed Paillier as a case: measured on one sample, as each ciphertext costs what any other does."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.aggregation.schemes import BITS, BOUND, CLIENTS, vector
from trustspace.aggregation.paillier import arithmetic
from trustspace.aggregation.paillier.keys import PrivateKey
from trustspace.aggregation.paillier.packing import PackedSum, PackedVector

KEY_BITS = (2048, 3072)
CIPHERTEXTS = 8


class Paillier:
    """As many numbers as CIPHERTEXTS hold. The key and its tables are made before, as phe's are."""

    threads = 1

    def __init__(self, bits: int) -> None:
        self.scheme = f"paillier-packed-{bits}"
        self.backend = "gmpy2" if arithmetic.accelerated() else "python"
        self._private = PrivateKey.generate(bits)
        each = PackedSum(self._private.public, 1, CLIENTS, BITS).slots.count
        self.params = each * CIPHERTEXTS
        self._sum = PackedSum(self._private.public, self.params, CLIENTS, BITS)
        self._values = vector(0, self.params)
        self.wire = len(self._encrypt(0).to_bytes(self._private.public)) / self.params

    def steps(self) -> Mapping[str, Callable[[], object]]:
        first, second = self._encrypt(0), self._encrypt(1)
        return {
            "encrypt": lambda: self._encrypt(0),
            "add": lambda: self._sum.add(first, second),
            "decrypt": lambda: self._open(first),
        }

    def check(self) -> None:
        total = self._sum.add(*(self._encrypt(client) for client in range(CLIENTS)))
        exact = np.zeros(self.params, np.int64)
        for client in range(CLIENTS):
            exact += np.array(self._encode(client), np.int64)
        if self._sum.decrypt(self._private, total) != exact.tolist():
            raise RuntimeError(f"{self.scheme} does not give the exact sum.")

    def _encode(self, client: int) -> list[int]:
        values = vector(client, self.params) if client else self._values
        return self._sum.encode_reals(values.tolist(), BOUND)

    def _encrypt(self, client: int) -> PackedVector:
        return self._sum.encrypt(self._encode(client))

    def _open(self, total: PackedVector) -> list[float]:
        return self._sum.decode_reals(self._sum.decrypt(self._private, total), BOUND)
