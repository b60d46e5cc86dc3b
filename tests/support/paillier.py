"""Paillier keys for tests: published here, so nobody's; and textbook decryption, written another way."""

import functools
import json
import math
from pathlib import Path

from trustspace.aggregation.paillier.keys import PrivateKey

VECTORS = json.loads(
    (Path(__file__).resolve().parent.parent / "vectors" / "paillier.json").read_text(encoding="utf-8")
)


def number(text: str) -> int:
    """A number as the vectors write it."""
    return int(text, 16)


@functools.cache
def private_key(bits: int = 2048) -> PrivateKey:
    """The vectors' key."""
    known = VECTORS["keys"][str(bits)]
    return PrivateKey(number(known["p"]), number(known["q"]), number(known["h"]))


def textbook_decrypt(private: PrivateKey, ciphertext: int) -> int:
    """Paillier 1999, scheme 1: L(c^lambda mod n^2) / L(g^lambda mod n^2) modulo n, in 0..n-1."""
    p, q = private.factors()
    n, order = p * q, math.lcm(p - 1, q - 1)
    top = (pow(ciphertext, order, n * n) - 1) // n
    bottom = (pow(n + 1, order, n * n) - 1) // n
    return top * pow(bottom, -1, n) % n
