"""How members put the sum of their lattice secrets together: all of them, or enough of them.

A secret is uint32 [rows, n], residues in the transform domain, and so is the sum of secrets.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from trustspace.aggregation.lattice.parameters import KEY_BYTES, LatticeParameters
from trustspace.aggregation.lattice.reference import uniform
from trustspace.aggregation.recovery import Sharing
from trustspace.aggregation.scheme import Words, commitment_of
from trustspace.errors import InvalidInput, VerificationFailed

_REVEAL = b"trustspace lattice reveal v1"


class Keys(Protocol):
    """How the members come to the sum of their secrets, and to no secret."""

    own: int
    sample_blocks: int  # how much of a sum tells the right key from one that was made for it

    def commitment(self) -> bytes:
        """As ``Protection.commitment``."""

    def shares(self) -> Mapping[int, bytes]:
        """As ``Protection.shares``."""

    def reveal(self, among: frozenset[int], shares: Mapping[int, bytes]) -> bytes:
        """As ``Protection.reveal``."""

    def combine(
        self, reveals: Mapping[int, bytes], opens: Callable[[Words], bool]
    ) -> tuple[Words, tuple[int, ...]]:
        """The sum of the secrets, uint32 [rows, n], which ``opens``, and who is known to have revealed falsely.

        Raises VerificationFailed where there is none.
        """


class AllTogether:
    """n of n: a reveal is the secret under pairwise masks, which cancel in the sum of all reveals."""

    sample_blocks = 1

    def __init__(
        self,
        parameters: LatticeParameters,
        own: int,
        secrets: Mapping[int, bytes],
        context: bytes,
        secret: Words,
    ) -> None:
        self.own = own
        self._parameters = parameters
        self._all = frozenset({own, *secrets})
        digest = hashlib.sha256(context).digest()
        self._primes = np.array(parameters.primes, np.uint64)[:, None]
        masked = secret.astype(np.uint64)
        for other, shared in sorted(secrets.items()):
            low, high = min(own, other), max(own, other)
            info = _REVEAL + digest + low.to_bytes(2) + high.to_bytes(2)
            key = HKDF(SHA256(), 32, salt=None, info=info).derive(shared)[:KEY_BYTES]
            mask = np.stack([uniform(parameters, key, row, 0, 1)[:, 0] for row in range(parameters.rows)])
            masked = (masked + (mask if own == low else self._primes - mask)) % self._primes
        self._reveal = masked.astype("<u4").tobytes()
        self._commitment = commitment_of(context, own, self._reveal)

    def commitment(self) -> bytes:
        return self._commitment

    def shares(self) -> Mapping[int, bytes]:
        return {}

    def reveal(self, among: frozenset[int], shares: Mapping[int, bytes]) -> bytes:
        if among != self._all or shares:
            raise InvalidInput(
                "A sum that all open together is of all members, who share nothing beforehand."
            )
        return self._reveal

    def combine(
        self, reveals: Mapping[int, bytes], opens: Callable[[Words], bool]
    ) -> tuple[Words, tuple[int, ...]]:
        if set(reveals) != self._all:
            raise VerificationFailed(
                "A sum opens with the reveals of all {count} members.", count=len(self._all)
            )
        total = np.zeros((self._parameters.rows, self._parameters.n), np.uint64)
        for position, revealed in sorted(reveals.items()):
            rows = np.frombuffer(revealed, "<u4") if len(revealed) == 4 * total.size else None
            if rows is None or bool((rows.reshape(total.shape) >= self._primes).any()):
                raise VerificationFailed(
                    "What the member at position {position} revealed is no row of residues for each prime.",
                    position=position,
                )
            total = (total + rows.reshape(total.shape)) % self._primes
        secret = total.astype(np.uint32)
        if not opens(secret):
            raise VerificationFailed(
                "The sum does not open with what its members revealed.",
                fix="Begin anew; which of them revealed falsely cannot be told where all open together.",
            )
        return secret, ()


class AnyEnough:
    """t of n: each member shares its secret out to all; a reveal is the sum of the shares of those in the sum.

    Which of the reveals are false is judged by which key opens the sample. One block could be opened by a key
    that was made for it; two cannot.
    """

    sample_blocks = 2

    def __init__(
        self,
        parameters: LatticeParameters,
        threshold: int,
        own: int,
        members: int,
        context: bytes,
        secret: Words,
    ) -> None:
        self.own = own
        self._sharing = Sharing(
            primes=parameters.primes,
            length=parameters.n,
            threshold=threshold,
            holders=tuple(range(members)),
            context=context,
        )
        dealt = self._sharing.deal(secret, own)
        self._shares = {position: dealt.common + share for position, share in dealt.shares.items()}

    def commitment(self) -> bytes:
        return b""

    def shares(self) -> Mapping[int, bytes]:
        return dict(self._shares)

    def reveal(self, among: frozenset[int], shares: Mapping[int, bytes]) -> bytes:
        if set(shares) != among:
            raise InvalidInput("A reveal takes the shares that each member of the sum gave, and no others.")
        if len(among) < self._sharing.threshold:
            raise InvalidInput(
                "A sum that {count} members can open is not of fewer.", count=self._sharing.threshold
            )
        if self.own in among and not hmac.compare_digest(shares[self.own], self._shares[self.own]):
            raise VerificationFailed("What is given as this member's own share is another.")
        size = self._sharing.common_bytes
        checked = (
            self._sharing.check(dealer, self.own, share[:size], share[size:])
            for dealer, share in sorted(shares.items())
        )
        return self._sharing.add(self.own, checked)

    def combine(
        self, reveals: Mapping[int, bytes], opens: Callable[[Words], bool]
    ) -> tuple[Words, tuple[int, ...]]:
        combined = self._sharing.combine(reveals, opens)
        return combined.rows, combined.false
