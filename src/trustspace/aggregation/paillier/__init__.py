"""Packed Paillier: exact sums and encrypted linear scores on integers of 2048 or 3072 bits.

``keys`` encrypts, adds and decrypts; ``packing`` puts many numbers into one plaintext; ``proofs`` shows a stranger
that a key and encrypted weights are what they are said to be (of parts: ``shortness``, ``norm`` and ``squares``);
``scoring`` evaluates encrypted weights on plain rows. ``trustspace.aggregation.paillier.phe_adapter`` converts to and
from the library phe, where that is installed.

The conservative choice for short vectors: thousands of times slower than a lattice sum, no threat model but
factoring. Arithmetic is GMP's where gmpy2 is installed (the extra ``paillier``) and Python's otherwise, with the
same results. Neither takes constant time: see ``keys``.
"""
