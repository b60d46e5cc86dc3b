"""The secret of a lattice sum in shares, so that a sum opens although some of its members are gone.

Shamir's secret sharing (Communications of the ACM 22, 1979) modulo each prime of the secret's rows, packed as in
Franklin and Yung, "Communication complexity of secure computation" (STOC 1992): a polynomial of degree below
``threshold`` takes the values of ``packing`` coefficients at 0, -1, ... and holder p has its value at p + 1. So
``threshold`` holders open, ``threshold - packing`` together learn nothing, and a share is ``packing`` times shorter
than the secret. Without packing (1) nothing lies between the two. Shares are added like secrets: a holder reveals
only the sum of its shares over the members in the sum, once, for the one set that all signed.

That a dealer's shares are of one secret is proven by ``fingerprints``, for all holders that have the same common
part. They compare: reveals name all common parts by one digest. A holder that finds a bad share knows who dealt it; to
the others that is one's word against another's, since a share under seal is not signed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from trustspace.aggregation.fingerprints import DIGEST_BYTES, Tree, challenge, climbs, fingerprint, pads
from trustspace.aggregation.residues import (
    Residues,
    interpolation,
    pack,
    packed_bytes,
    product,
    reduced,
    uniform,
    unpack,
)
from trustspace.aggregation.reveals import Reveals, Rows
from trustspace.errors import InvalidInput, VerificationFailed

MAX_HOLDERS = 256
_SALT_BYTES = 16


def threshold_for(holders: int, dropouts: int, cheats: int, packing: int = 1) -> int:
    """The lowest safe threshold among ``holders`` of which ``dropouts`` may be gone and ``cheats`` help two sides.

    Two disjoint groups of honest holders that reveal for two sets, each together with the cheats, must not both be
    more than those that learn nothing: threshold - packing >= (holders + cheats) / 2, rounded down. For packing 1
    this is threshold > (holders + cheats) / 2. A higher threshold is safe too, and leaves less room to find false
    reveals. Raises InvalidInput where threshold > holders - dropouts.
    """
    if not 2 <= holders <= MAX_HOLDERS:
        raise InvalidInput("A secret is shared among 2 to {limit} holders.", limit=MAX_HOLDERS,
                           fix="Let a committee of the members hold the shares.")  # fmt: skip
    if dropouts < 0 or cheats < 0 or packing < 1:
        raise InvalidInput("The fields dropouts and cheats are not negative, and packing is at least 1.")
    threshold = (holders + cheats) // 2 + packing
    most = holders - threshold
    if most < 0:
        raise InvalidInput(
            "The fields cheats {cheats} and packing {packing} need more than {holders} holders.",
            fix="Lower cheats or packing, or take more holders.",
            cheats=cheats, packing=packing, holders=holders,
        )  # fmt: skip
    if dropouts > most:
        raise InvalidInput(
            "The field dropouts {dropouts} leaves fewer holders than the threshold {threshold} needs.",
            fix="Use dropouts of at most {most}, lower cheats or packing, or take more holders.",
            dropouts=dropouts, threshold=threshold, most=most,
        )  # fmt: skip
    return threshold


@dataclass(frozen=True)
class Dealt:
    """What a dealer sends: ``common`` to all holders alike, which tells nothing, and to each, sealed, its share."""

    common: bytes
    shares: dict[int, bytes] = field(repr=False)


@dataclass(frozen=True)
class Checked:
    """A share that was found to be its dealer's; made by ``Sharing.check`` alone."""

    dealer: int
    position: int
    terms: bytes
    common: bytes
    values: tuple[Residues, ...] = field(repr=False)


@dataclass(frozen=True)
class Combined:
    """An opened secret: rows uint32 [primes, length], and whose reveals did not fit.

    ``false`` revealed falsely, unless more holders collude than the threshold is safe for (``Sharing.cheats``) and than
    do not fit: so many could make others look false. Where they would suffice, those that do not fit are ``unsure``.
    ``apart`` revealed for other members or dealings than the sum's: they, or a dealer that dealt twice, are at fault.
    """

    rows: Rows = field(repr=False)
    false: tuple[int, ...] = ()
    unsure: tuple[int, ...] = ()
    apart: tuple[int, ...] = ()


@dataclass(frozen=True)
class Sharing:
    """What the members of an attempt agree on: how each one's secret, one row for each prime, is shared.

    ``holders`` are positions in the set, ascending: all members or a committee. ``context`` is the digest of the set.
    Raises InvalidInput for what cannot be.
    """

    primes: tuple[int, ...]
    length: int
    threshold: int
    holders: tuple[int, ...]
    context: bytes
    packing: int = 1

    def __post_init__(self) -> None:
        if not self.primes or not all(2 < prime < 1 << 32 for prime in self.primes):
            raise InvalidInput("The primes of a shared secret lie between 3 and 2^32.")
        holders = self.holders
        if not 2 <= len(holders) <= MAX_HOLDERS or list(holders) != sorted(set(holders)):
            raise InvalidInput("The holders of a secret are {limit} ascending positions at most, and two at least.",
                               limit=MAX_HOLDERS)  # fmt: skip
        if holders[0] < 0 or holders[-1] + 1 + self.packing > min(self.primes):
            raise InvalidInput("A holder's position does not fit the primes of the secret.")
        if self.packing < 1 or self.length < 1 or self.length % self.packing:
            raise InvalidInput(
                "The packing of a secret divides the {length} words of its rows.", length=self.length
            )
        least = threshold_for(len(holders), 0, 0, self.packing)
        if not least <= self.threshold <= len(holders):
            raise InvalidInput(
                "A threshold of {threshold} among {holders} holders is not safe or not possible.",
                fix="Use one from {least} to {holders}.",
                threshold=self.threshold, holders=len(holders), least=least,
            )  # fmt: skip

    @property
    def privacy(self) -> int:
        """How many holders together learn nothing."""
        return self.threshold - self.packing

    @property
    def cheats(self) -> int:
        """How many holders may reveal for two sets, for which ``threshold_for`` gives this threshold at most."""
        return 2 * self.privacy + 1 - len(self.holders)

    @property
    def common_bytes(self) -> int:
        return DIGEST_BYTES + sum(
            packed_bytes(self.threshold * self._pads(prime), prime) for prime in self.primes
        )

    @property
    def share_bytes(self) -> int:
        rows = sum(packed_bytes(self._columns + self._pads(prime), prime) for prime in self.primes)
        return _SALT_BYTES + DIGEST_BYTES * self._depth + rows

    @property
    def reveal_bytes(self) -> int:
        return DIGEST_BYTES + sum(packed_bytes(self._columns, prime) for prime in self.primes)

    def deal(self, rows: NDArray[np.uint32], dealer: int) -> Dealt:
        """Shares of ``rows`` [primes, length], residues of each prime, by the member at position ``dealer``."""
        if (
            rows.dtype != np.uint32
            or rows.shape != (len(self.primes), self.length)
            or any((row >= prime).any() for row, prime in zip(rows, self.primes, strict=True))
        ):
            raise InvalidInput(
                "A secret has one row of {length} residues for each prime.", length=self.length
            )
        coefficients = []
        for row, prime in zip(rows, self.primes, strict=True):
            drawn = uniform(self.threshold, self._columns + self._pads(prime), prime)
            drawn[: self.packing, : self._columns] = row.reshape(self.packing, self._columns)
            coefficients.append(drawn)
        return self._dealt(coefficients, dealer)

    def check(self, dealer: int, position: int, common: bytes, share: bytes) -> Checked:
        """The share that ``dealer`` dealt to the holder at ``position``, if it is one of its polynomial.

        Raises VerificationFailed, with the detail ``dealer``, otherwise.
        """
        at = self._holder(position)
        if len(common) != self.common_bytes or len(share) != self.share_bytes:
            _blame(dealer)
        root, body = common[:DIGEST_BYTES], share[_SALT_BYTES + DIGEST_BYTES * self._depth :]
        path = share[_SALT_BYTES : len(share) - len(body)]
        leaf = self._leaf(dealer, position, share[:_SALT_BYTES], body)
        if not climbs(leaf, at, path, root):
            _blame(dealer)
        words = self._challenge(dealer, root)
        published, values = common[DIGEST_BYTES:], []
        for prime in self.primes:
            repeats = self._pads(prime)
            count, width = self.threshold * repeats, self._columns + repeats
            size, body_size = packed_bytes(count, prime), packed_bytes(width, prime)
            try:
                polynomial = unpack(published[:size], count, prime).reshape(self.threshold, repeats)
                row = unpack(body[:body_size], width, prime)
            except VerificationFailed:
                _blame(dealer)
            published, body = published[size:], body[body_size:]
            expected = product(self._matrices[prime][at : at + 1], polynomial, prime)
            if not np.array_equal(fingerprint(row[None, :], self._columns, words, prime), expected):
                _blame(dealer)
            values.append(row[: self._columns])
        return Checked(dealer, position, self._terms, hashlib.sha256(common).digest(), tuple(values))

    def add(self, position: int, shares: Iterable[Checked]) -> bytes:
        """What the holder at ``position`` reveals: the sum of its shares over the members in the sum, each once.

        Whoever has two of a holder's reveals can subtract them: it must reveal for one set only.
        """
        self._holder(position)
        dealt: dict[int, bytes] = {}
        totals = [np.zeros(self._columns, np.uint64) for _ in self.primes]
        for share in shares:
            if (share.terms, share.position) != (self._terms, position) or share.dealer in dealt:
                raise InvalidInput("A share that is added is this holder's, and each dealer's comes once.")
            dealt[share.dealer] = share.common
            for total, values in zip(totals, share.values, strict=True):
                np.add(total, values, out=total)
        if not dealt:
            raise InvalidInput("A sum has at least one member.")
        agreement = hashlib.sha256(b"trustspace lattice agreement v1" + self._terms)
        for dealer, digest in sorted(dealt.items()):
            agreement.update(dealer.to_bytes(4) + digest)
        rows = (pack(reduced(t, prime), prime) for t, prime in zip(totals, self.primes, strict=True))
        return agreement.digest() + b"".join(rows)

    def combine(self, reveals: Mapping[int, bytes], test: Callable[[Rows], bool]) -> Combined:
        """The sum of the secrets from what holders revealed, by position; ``test`` says whether rows open the sum.

        More reveals than the threshold show false ones; see ``Combined``. Raises VerificationFailed where fewer than
        the threshold agree on what was dealt, or none that pass ``test`` are found with bounded work.
        """
        groups: dict[bytes, dict[int, tuple[Residues, ...]]] = {}
        malformed = []
        for position, data in sorted(reveals.items()):
            self._holder(position)
            try:
                values = self._read(data)
            except VerificationFailed:
                malformed.append(position)
                continue
            groups.setdefault(data[:DIGEST_BYTES], {})[position] = values
        group = max(groups.values(), key=len, default={})
        if len(group) < self.threshold:
            raise VerificationFailed(
                "{given} of the reveals belong together and {threshold} are needed.",
                given=len(group), threshold=self.threshold,
            )  # fmt: skip
        positions = tuple(group)
        code = Reveals(
            tuple(np.stack(rows) for rows in zip(*group.values(), strict=True)),
            tuple(position + 1 for position in positions), self.primes, self.threshold, self._secrets,
        )  # fmt: skip
        rows, wrong = code.open(test)
        named = tuple(positions[at] for at in wrong)
        # A polynomial with the true secret and one false value meets the true one in threshold - 1 - packing other
        # places at most. So whoever made the rest of those that fit would have to be false.
        framers = len(positions) - len(wrong) - (self.threshold - 1 - self.packing)
        certain = framers > max(self.cheats, len(wrong))
        return Combined(
            rows,
            tuple(sorted([*malformed, *(named if certain else ())])),
            () if certain else named,
            tuple(sorted(p for other in groups.values() if other is not group for p in other)),
        )

    def _dealt(self, coefficients: Sequence[Residues], dealer: int) -> Dealt:
        """``deal`` with given coefficients for each prime [threshold, columns + pads]: the secret comes first."""
        values = [
            product(self._matrices[prime], drawn, prime)
            for prime, drawn in zip(self.primes, coefficients, strict=True)
        ]
        return self._proven(values, coefficients, dealer)

    def _proven(self, values: Sequence[Residues], coefficients: Sequence[Residues], dealer: int) -> Dealt:
        """Share vectors for each prime [holders, columns + pads], and the proof that they have these coefficients."""
        salts = [os.urandom(_SALT_BYTES) for _ in self.holders]
        bodies = [
            b"".join(pack(row, prime) for row, prime in zip(rows, self.primes, strict=True))
            for rows in zip(*values, strict=True)
        ]
        tree = Tree([self._leaf(dealer, *of) for of in zip(self.holders, salts, bodies, strict=True)])
        words = self._challenge(dealer, tree.root)
        common = tree.root + b"".join(
            pack(fingerprint(drawn, self._columns, words, prime).reshape(-1), prime)
            for prime, drawn in zip(self.primes, coefficients, strict=True)
        )
        shares = {
            position: salts[at] + tree.path(at) + bodies[at] for at, position in enumerate(self.holders)
        }
        return Dealt(common, shares)

    @property
    def _columns(self) -> int:
        return self.length // self.packing

    @property
    def _depth(self) -> int:
        return (len(self.holders) - 1).bit_length()

    @property
    def _secrets(self) -> tuple[int, ...]:
        return tuple(range(0, -self.packing, -1))

    def _pads(self, prime: int) -> int:
        return pads(prime, len(self.primes), len(self.holders), self.threshold)

    @cached_property
    def _matrices(self) -> dict[int, Residues]:
        """For each prime [holders, threshold]: from the coefficients of a polynomial to its values.

        The first ``packing`` coefficients are its values at the secret's points, the others those of a polynomial
        that is multiplied with one that vanishes there.
        """
        points, found = [position + 1 for position in self.holders], {}
        for prime in self.primes:
            matrix = np.empty((len(points), self.threshold), np.uint64)
            matrix[:, : self.packing] = interpolation(self._secrets, points, prime)
            for row, point in zip(matrix, points, strict=True):
                power = 1
                for secret in self._secrets:
                    power = power * (point - secret) % prime
                for column in range(self.packing, self.threshold):
                    row[column] = power
                    power = power * point % prime
            found[prime] = matrix
        return found

    @cached_property
    def _terms(self) -> bytes:
        numbers = (*self.primes, self.length, self.threshold, self.packing, *self.holders)
        said = hashlib.sha256(b"trustspace lattice shares v1" + len(self.primes).to_bytes(4))
        said.update(b"".join(number.to_bytes(4) for number in numbers) + self.context)
        return said.digest()

    def _challenge(self, dealer: int, root: bytes) -> Residues:
        seed = self._terms + dealer.to_bytes(4) + root
        return challenge(seed, self._columns + max(self._pads(prime) for prime in self.primes) - 1)

    def _leaf(self, dealer: int, position: int, salt: bytes, body: bytes) -> bytes:
        if not 0 <= dealer < 1 << 16:
            raise InvalidInput("A dealer's position lies between 0 and 65535.")
        places = dealer.to_bytes(4) + position.to_bytes(4)
        return hashlib.sha256(b"\x00" + self._terms + places + salt + body).digest()

    def _holder(self, position: int) -> int:
        if position not in self.holders:
            raise InvalidInput("Position {position} holds no share of this secret.", position=position)
        return self.holders.index(position)

    def _read(self, data: bytes) -> tuple[Residues, ...]:
        if len(data) != self.reveal_bytes:
            raise VerificationFailed("The residues have another length than they must.")
        rows, at = [], DIGEST_BYTES
        for prime in self.primes:
            size = packed_bytes(self._columns, prime)
            rows.append(unpack(data[at : at + size], self._columns, prime))
            at += size
        return tuple(rows)


def _blame(dealer: int) -> NoReturn:
    raise VerificationFailed(
        "The share that member {dealer} dealt is not one of its secret's.",
        fix="Begin a new attempt without that member.",
        dealer=dealer,
    )
