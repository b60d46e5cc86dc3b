"""Flower's SecAgg+ with its own helpers: quantisation, masks from shared seeds, arithmetic on arrays.

Ten clients, each a neighbour of every other, and a private mask, as ``secaggplus_mod`` does it; nobody drops out, so
the server removes every private mask. Its masks come from numpy's Mersenne twister, seeded with 32 bits.
"""

from __future__ import annotations

import secrets
from typing import Any

from flwr.common.secure_aggregation import ndarrays_arithmetic as arithmetic
from flwr.common.secure_aggregation import quantization
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
from loop import serve

MODULUS = 1 << 32
CLIP = 1.0


class Flower:
    """One client's helpers after another's; ``encrypt`` is called in the clients' order."""

    packages = ("flwr", "numpy")

    def begin(self, clients: int, bits: int) -> None:
        self._clients, self._range, self._next = clients, 1 << bits, 0
        self._private = [secrets.token_bytes(32) for _ in range(clients)]
        self._shared = {(a, b): secrets.token_bytes(32) for b in range(clients) for a in range(b)}

    def encrypt(self, values: Any) -> Any:
        own, self._next = self._next, self._next + 1
        vector = quantization.quantize([values], CLIP, self._range)
        shape = [vector[0].shape]
        vector = arithmetic.parameters_addition(vector, pseudo_rand_gen(self._private[own], MODULUS, shape))
        for other in range(self._clients):
            if other == own:
                continue
            seed = self._shared[min(own, other), max(own, other)]
            mask = pseudo_rand_gen(seed, MODULUS, shape)
            if own > other:
                vector = arithmetic.parameters_addition(vector, mask)
            else:
                vector = arithmetic.parameters_subtraction(vector, mask)
        return arithmetic.parameters_mod(vector, MODULUS)

    def start(self, cipher: Any) -> Any:
        return [cipher[0].copy()]

    def add(self, total: Any, cipher: Any) -> Any:
        return arithmetic.parameters_addition(total, cipher)

    def decrypt(self, total: Any, count: int) -> Any:
        total = arithmetic.parameters_mod(total, MODULUS)
        for seed in self._private:
            total = arithmetic.parameters_subtraction(total, pseudo_rand_gen(seed, MODULUS, [total[0].shape]))
        total = arithmetic.parameters_mod(total, MODULUS)
        # Each client's quantisation adds CLIP so that its integers are not negative; dequantize takes it off once.
        return quantization.dequantize(total, CLIP, self._range)[0] - (self._clients - 1) * CLIP

    def size(self, cipher: Any) -> int:
        return sum(part.nbytes for part in cipher)


if __name__ == "__main__":
    serve(Flower())
