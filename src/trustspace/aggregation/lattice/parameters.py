"""The two parameter sets of the lattice sum: ring, primes, slots and what follows from them.

The ring is Z[x]/(x^n+1) modulo the product of the primes, kept as one row of residues for each prime. A
participant's vector is cut into blocks of ``n * slots`` words; word ``s * n + j`` of a block is slot s of
coefficient j. Row 0 carries the noise, so that opening can read it off and take it from the other rows:

- ``S``: row 0 carries noise + 409 * m_0, row 1 carries noise + m_1. Slot s travels as the residue of row s.
- ``L``: row 0 carries noise alone, row s + 1 carries noise + m_s. Slot s travels as the residue of row s + 1
  in 26 bits, with bits 6 s to 6 s + 5 of row 0's residue above it.

So a word of the vector is one word of 32 bits on the wire, in both sets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from trustspace.errors import InvalidInput

# Centred binomial noise of 80 bits: at most 40 in magnitude, variance 20.
NOISE_LIMIT = 40
NOISE_VARIANCE = 20
# How many standard deviations a sum's noise may reach; beyond lie fewer than 2^-88 of all sums.
_DEVIATIONS = 11
KEY_BYTES = 16


@dataclass(frozen=True)
class LatticeParameters:
    """One parameter set; its numbers are checked against each other in the tests."""

    name: str
    n: int  # coefficients of a ring element, a power of two
    primes: tuple[int, ...]  # row 0 first; each is 1 mod 2n and below 2^32
    psis: tuple[int, ...]  # a primitive 2n-th root of unity for each prime
    scale: int  # what row 0 multiplies the words of slot 0 by; 0: it carries noise alone
    slots: int  # words for each coefficient
    residue_bits: int  # of a travelling word; what is above it holds a piece of row 0's residue
    noise_bits: int  # length of such a piece; 0: row 0 travels as slot 0
    # The largest magnitude of a sum's word. It leaves residues in every row that carries words to which no sum
    # opens: so a wrong secret shows in whatever row it is wrong, row 0 by its noise and the others by these.
    largest: int
    max_participants: int

    @property
    def rows(self) -> int:
        """How many primes, and so residues of each coefficient, there are."""
        return len(self.primes)

    @property
    def block(self) -> int:
        """Words of a vector in one ring element."""
        return self.n * self.slots

    def row(self, slot: int) -> int:
        """The row that carries the words of this slot."""
        return slot + self.rows - self.slots

    def rejection_limit(self, row: int) -> int:
        """The largest multiple of the row's prime up to 2^32: words from there on are drawn again."""
        prime = self.primes[row]
        return (1 << 32) // prime * prime

    def noise_bound(self, participants: int) -> int:
        """The largest magnitude of the noise in a sum of so many vectors that opening accepts.

        Raises InvalidInput for participants outside 1..max_participants.
        """
        self.check_participants(participants)
        # Rounded up: the smallest integer whose square is at least 121 variances.
        tail = math.isqrt(_DEVIATIONS**2 * NOISE_VARIANCE * participants - 1) + 1
        return min(NOISE_LIMIT * participants, tail)

    def check_participants(self, participants: int) -> None:
        """Raises InvalidInput unless so many vectors may be summed."""
        if not 1 <= participants <= self.max_participants:
            raise InvalidInput(
                "A sum of this kind has between 1 and {limit} participants.", limit=self.max_participants
            )


# The roots are g^((q-1)/2n) for the smallest generator g of each prime's multiplicative group.
S = LatticeParameters(
    name="lattice-sum-s-v1",
    n=2048,
    primes=(4294955009, 11272193),
    psis=(3199275160, 9218813),
    scale=409,
    slots=2,
    residue_bits=32,
    noise_bits=0,
    largest=5242880,
    max_participants=10,
)
L = LatticeParameters(
    name="lattice-sum-l-v1",
    n=4096,
    primes=(40961, 67084289, 67043329, 66994177),
    psis=(243, 14362246, 54277638, 41178354),
    scale=0,
    slots=3,
    residue_bits=26,
    noise_bits=6,
    largest=32768000,
    max_participants=1000,
)
PARAMETERS = (S, L)
