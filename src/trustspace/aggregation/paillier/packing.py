"""Many signed numbers in one Paillier plaintext, with room for a declared number of additions.

Slot i of a plaintext is worth 2^(i * width); a plaintext is the signed sum of its slots, so negative numbers borrow
from their neighbours and come back exactly. Slots are whole bytes, which makes packing a matter of joining bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trustspace.aggregation.paillier.keys import PrivateKey, PublicKey
from trustspace.errors import InvalidInput, VerificationFailed

_HEAD = 8  # bytes before a packed vector's ciphertexts: its length and its terms, 4 bytes each
_LARGEST = (1 << 32) - 1


@dataclass(frozen=True)
class Slots:
    """``count`` slots of ``width`` bits in each plaintext, for values of which |v| < 2^(width-1)."""

    width: int
    count: int

    @classmethod
    def fitting(cls, key: PublicKey, bits: int) -> Slots:
        """The most slots for values |v| < 2^(bits-1), after all additions; InvalidInput where not one fits.

        count * width <= key bits - 1 keeps every plaintext below 2^(key bits - 2) <= n/2 in magnitude.
        """
        width = -(-bits // 8) * 8
        count = (key.bits - 1) // width if bits > 1 else 0
        if not count:
            raise InvalidInput("A number of {bits} bits does not fit into a Paillier plaintext.", bits=bits)
        return cls(width, count)

    @property
    def _half(self) -> int:
        return 1 << (self.width - 1)

    @property
    def _offset(self) -> int:
        # Half a slot in every slot: makes all of them positive.
        return ((1 << self.width * self.count) - 1) // ((1 << self.width) - 1) * self._half

    def ciphertexts(self, length: int) -> int:
        """How many plaintexts hold ``length`` values."""
        return -(-length // self.count)

    def pack(self, values: Sequence[int]) -> list[int]:
        """Plaintexts of ``count`` values each, the last one filled up with zeros; InvalidInput beyond a slot."""
        half, size, offset = self._half, self.width // 8, self._offset
        if any(not -half < value < half for value in values):
            raise InvalidInput("A number is too large for its slot of {width} bits.", width=self.width)
        packed = []
        for at in range(0, len(values), self.count):
            part = [value + half for value in values[at : at + self.count]]
            part += [half] * (self.count - len(part))
            packed.append(
                int.from_bytes(b"".join(value.to_bytes(size, "little") for value in part), "little") - offset
            )
        return packed

    def unpack(self, plaintexts: Sequence[int], length: int) -> list[int]:
        """The first ``length`` values; raises VerificationFailed where plaintexts are not packed like this."""
        if length < 0 or len(plaintexts) != self.ciphertexts(length):
            raise VerificationFailed("There are not as many plaintexts as the values need.")
        half, size, total = self._half, self.width // 8, self.width // 8 * self.count
        values: list[int] = []
        for plaintext in plaintexts:
            shifted = plaintext + self._offset
            if not 0 <= shifted < 1 << (8 * total):
                raise VerificationFailed("A plaintext holds more than its slots.")
            data = shifted.to_bytes(total, "little")
            values += [int.from_bytes(data[at : at + size], "little") - half for at in range(0, total, size)]
        if any(values[length:]):
            raise VerificationFailed("A plaintext holds more than its slots.")
        return values[:length]


@dataclass(frozen=True)
class PackedVector:
    """``length`` numbers under encryption, the sum of ``terms`` encrypted vectors."""

    ciphertexts: tuple[int, ...]
    length: int
    terms: int

    def to_bytes(self, key: PublicKey) -> bytes:
        """Length and terms, 4 bytes each, then the ciphertexts."""
        return self.length.to_bytes(4) + self.terms.to_bytes(4) + key.encode(self.ciphertexts)

    @classmethod
    def from_bytes(cls, key: PublicKey, data: bytes) -> PackedVector:
        """What ``to_bytes`` wrote; raises VerificationFailed for what is not ciphertexts of this key."""
        if len(data) < _HEAD:
            raise VerificationFailed("The bytes are not those of an encrypted vector.")
        length, terms = int.from_bytes(data[:4]), int.from_bytes(data[4:_HEAD])
        return cls(tuple(key.decode(data[_HEAD:])), length, terms)


class PackedSum:
    """Exact sums of up to ``participants`` vectors of ``length`` integers |v| < 2^(bits-1) under one public key.

    Nobody without the private key sees any vector or the sum; its owner could open every single vector, so it is
    for sums that one party may know all of, where the vectors reach that party only as a sum.
    """

    def __init__(self, key: PublicKey, length: int, participants: int, bits: int = 20) -> None:
        """Raises InvalidInput for sizes below 1 (2 for bits) and for values that no plaintext holds."""
        if not (1 <= length <= _LARGEST and 1 <= participants <= _LARGEST and bits >= 2):
            raise InvalidInput("An encrypted sum has at least one number, one participant and two bits.")
        self.key, self.length, self.participants, self.bits = key, length, participants, bits
        # A sum of n values below 2^(bits-1) is below 2^(bits-1+log2 n).
        self.slots = Slots.fitting(key, bits + (participants - 1).bit_length())

    def encrypt(self, values: Sequence[int]) -> PackedVector:
        """One participant's vector; raises InvalidInput for another length and for a number beyond the bits."""
        if len(values) != self.length:
            raise InvalidInput("The vector of an encrypted sum has {length} numbers.", length=self.length)
        limit = 1 << (self.bits - 1)
        if any(not -limit < value < limit for value in values):
            raise InvalidInput("A number to be summed has more than {bits} bits.", bits=self.bits)
        packed = self.slots.pack(values)
        return PackedVector(tuple(self.key.encrypt(plaintext) for plaintext in packed), self.length, 1)

    def add(self, *vectors: PackedVector) -> PackedVector:
        """Their sum; raises InvalidInput where the vectors do not fit or their terms exceed the participants."""
        for vector in vectors:
            self._check(vector)
        terms = sum(vector.terms for vector in vectors)
        if not 1 <= terms <= self.participants:
            raise InvalidInput("An encrypted sum has room for {limit} vectors.", limit=self.participants)
        columns = zip(*(vector.ciphertexts for vector in vectors), strict=True)
        return PackedVector(tuple(self.key.add(*column) for column in columns), self.length, terms)

    def decrypt(self, private: PrivateKey, total: PackedVector) -> list[int]:
        """The exact sums; raises VerificationFailed where a plaintext is not one, InvalidInput for another key."""
        self._check(total)
        if private.public != self.key:
            raise InvalidInput("The private key is not the one of this sum.")
        return self.slots.unpack(private.decrypt_many(total.ciphertexts), self.length)

    def encode_reals(self, values: Sequence[float], bound: float) -> list[int]:
        """Reals clipped to -bound..bound as integers of ``bits`` bits; InvalidInput for what is not finite."""
        scale = self._scale(bound)
        if any(not math.isfinite(value) for value in values):
            raise InvalidInput("A vector to be summed holds a number that is not finite.")
        return [round(max(-bound, min(bound, value)) * scale) for value in values]

    def decode_reals(self, sums: Sequence[int], bound: float) -> list[float]:
        """The sums of the reals that ``encode_reals`` encoded, each off by at most terms / (2 * scale)."""
        scale = self._scale(bound)
        return [value / scale for value in sums]

    def _scale(self, bound: float) -> float:
        if not (math.isfinite(bound) and bound > 0):
            raise InvalidInput("The bound of a fixed point number is a finite number above zero.")
        return ((1 << (self.bits - 1)) - 1) / bound

    def _check(self, vector: PackedVector) -> None:
        whole = len(vector.ciphertexts) == self.slots.ciphertexts(self.length)
        if vector.length != self.length or not whole or vector.terms < 1:
            raise InvalidInput("An encrypted vector does not belong to this sum.")
