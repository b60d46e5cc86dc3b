"""Microsoft SEAL through seal-python: BFV with ring dimension 4096, symmetric, 4096 integers in a ciphertext."""

from __future__ import annotations

from typing import Any

import numpy as np
import seal
from loop import serve

DIMENSION = 4096


class Seal:
    """The secret key encrypts, which is the cheaper of SEAL's two ways."""

    packages = ("seal-python",)

    def __init__(self) -> None:
        chosen = seal.EncryptionParameters(seal.scheme_type.bfv)
        chosen.set_poly_modulus_degree(DIMENSION)
        chosen.set_coeff_modulus(seal.CoeffModulus.Create(DIMENSION, [36, 36, 37]))
        # 25 bits hold the sum of 10 numbers of 20 bits, and its sign.
        chosen.set_plain_modulus(seal.PlainModulus.Batching(DIMENSION, 25))
        self._context = seal.SEALContext(chosen)
        keys = seal.KeyGenerator(self._context)
        secret = keys.secret_key()
        self._encryptor = seal.Encryptor(self._context, keys.create_public_key(), secret)
        self._evaluator = seal.Evaluator(self._context)
        self._decryptor = seal.Decryptor(self._context, secret)
        self._encoder = seal.BatchEncoder(self._context)
        self._modulus = self._context.key_context_data().parms().plain_modulus().value()

    def begin(self, clients: int, bits: int) -> None:
        self._scale = 1 << (bits - 1)

    def encrypt(self, values: Any) -> Any:
        words = np.clip(np.rint(values * np.float32(self._scale)), -self._scale, self._scale - 1).astype(
            np.int64
        )
        return [
            self._encryptor.encrypt_symmetric(self._encoder.encode(words[at : at + DIMENSION]))
            for at in range(0, len(words), DIMENSION)
        ]

    def start(self, cipher: Any) -> Any:
        return [seal.Ciphertext(part) for part in cipher]

    def add(self, total: Any, cipher: Any) -> Any:
        for part, other in zip(total, cipher, strict=True):
            self._evaluator.add_inplace(part, other)
        return total

    def decrypt(self, total: Any, count: int) -> Any:
        parts = [np.asarray(self._encoder.decode(self._decryptor.decrypt(part))) for part in total]
        words = np.concatenate(parts).astype(np.int64)
        return np.where(words > self._modulus // 2, words - self._modulus, words) / self._scale

    def size(self, cipher: Any) -> int:
        return sum(part.save_size() for part in cipher)


if __name__ == "__main__":
    serve(Seal())
