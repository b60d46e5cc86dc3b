"""phe with gmpy2: Paillier, one number in each ciphertext. The argument is the modulus's bits."""

from __future__ import annotations

import sys
from typing import Any

import phe
from loop import serve
from phe import util


class Phe:
    """As its documentation shows: ``encrypt``, ``+``, ``decrypt``; numbers with a precision of 2^-20."""

    packages = ("phe", "gmpy2")

    def __init__(self, bits: int) -> None:
        if not util.HAVE_GMP:
            raise SystemExit("phe does not find gmpy2")
        self._bits = bits
        self._public, self._private = phe.generate_paillier_keypair(n_length=bits)

    def begin(self, clients: int, bits: int) -> None:
        self._precision = 2.0**-bits

    def encrypt(self, values: Any) -> Any:
        encode, public = phe.EncodedNumber.encode, self._public
        return [public.encrypt(encode(public, float(v), precision=self._precision)) for v in values]

    def start(self, cipher: Any) -> Any:
        return list(cipher)

    def add(self, total: Any, cipher: Any) -> Any:
        return [a + b for a, b in zip(total, cipher, strict=True)]

    def decrypt(self, total: Any, count: int) -> Any:
        return [self._private.decrypt(number) for number in total]

    def size(self, cipher: Any) -> int:
        return len(cipher) * self._bits // 4  # numbers modulo n^2


if __name__ == "__main__":
    serve(Phe(int(sys.argv[1])))
