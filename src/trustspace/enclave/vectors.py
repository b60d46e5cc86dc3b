"""What an enclave adds to a sum: exact numbers, and the clipped, weighted update of a model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trustspace.aggregation.clip import clip_factor, squared_norm
from trustspace.aggregation.fixedpoint import WORDS_PER_REAL, FixedPoint, decode_reals, encode_reals
from trustspace.enclave.chunks import PIECE_WORDS
from trustspace.enclave.failure import RoundFailed
from trustspace.enclave.sums import Opened
from trustspace.errors import InvalidInput
from trustspace.jobs.federation import Layout

Words = NDArray[np.uint32]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Reals:
    """Real numbers, summed exactly."""

    values: Sequence[float]

    @property
    def words(self) -> int:
        return len(self.values) * WORDS_PER_REAL

    def pieces(self) -> Iterator[Words]:
        yield encode_reals(self.values)


@dataclass(frozen=True)
class Update:
    """A model update as the worker left it, in parts that are clipped each on its own, then exact numbers.

    ``source`` is memory that the worker can still write to: every piece is copied before it is looked at, and
    what was encoded must have the norm that it was clipped by.
    """

    source: Floats
    parts: int
    fixed: FixedPoint
    clip: float
    weight: float
    extras: Sequence[float]
    layout: Layout = ()
    factors: tuple[float, ...] = field(init=False)
    norms: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        squares = [sum(self._square(part, start) for start in _starts(part)) for part in self._split()]
        norms = tuple(math.sqrt(square) for square in squares)
        object.__setattr__(self, "norms", norms)
        object.__setattr__(self, "factors", tuple(clip_factor(norm, self.clip) for norm in norms))

    @property
    def words(self) -> int:
        return len(self.source) + len(self.extras) * WORDS_PER_REAL

    def pieces(self) -> Iterator[Words]:
        for part, factor, norm in zip(self._split(), self.factors, self.norms, strict=True):
            square = 0.0
            for start in _starts(part):
                piece = _copied(part, start)
                try:
                    square += squared_norm(piece)
                    words = self.fixed.encode(piece, factor * self.weight)
                except InvalidInput as error:
                    raise RoundFailed("job-failed", error.public_message) from None
                yield words
            if math.sqrt(square) > norm * (1 + 1e-9):
                raise RoundFailed("job-failed", "The worker changed its update after it was measured.")
        yield encode_reals(self.extras)

    def _split(self) -> list[Floats]:
        return list(np.split(self.source, self.parts))

    def _square(self, part: Floats, start: int) -> float:
        """The square of a piece's norm. Raises InvalidInput naming the tensor that holds what is no number."""
        piece = _copied(part, start)
        try:
            return squared_norm(piece)
        except InvalidInput:
            place = start + int(np.flatnonzero(~np.isfinite(piece))[0])
            raise InvalidInput(
                "The update of tensor {tensor} holds a number that is not finite.",
                fix="Lower the learning rate.", tensor=self._tensor(place),
            ) from None  # fmt: skip

    def _tensor(self, place: int) -> str:
        for name, shape in self.layout:
            place -= math.prod(shape)
            if place < 0:
                return name
        return "?"


def _starts(values: Floats) -> range:
    return range(0, len(values), PIECE_WORDS)


def _copied(values: Floats, start: int) -> Floats:
    return np.array(values[start : start + PIECE_WORDS])


@dataclass(frozen=True)
class UpdateSum:
    """The opened sum of updates: means by piece, and the exact numbers."""

    words: Words | Opened
    count: int
    parts: int
    fixed: FixedPoint
    clip: float
    extras: tuple[float, ...]

    @classmethod
    def of(
        cls, words: Words | Opened, count: int, parts: int, fixed: FixedPoint, clip: float, participants: int
    ) -> UpdateSum:
        """Raises RoundFailed when the sum holds more than clipped updates of these weights can add up to.

        ``count`` numbers in each of ``parts``; the first of the exact numbers is the sum of the weights.
        """
        bulk = count * parts
        extras = tuple(decode_reals(words[bulk:], participants))
        found = cls(words, count, parts, fixed, clip, extras)
        weights = extras[0]
        if not 0 < weights <= participants:
            raise RoundFailed("disagreement", "The members' weights add up to more than they can.")
        limit = _largest_norm(clip * weights, participants, fixed, count)
        for part in range(parts):
            square = sum(
                float(
                    np.einsum("i,i", values, values)
                )  # np.dot would wait for BLAS threads: see squared_norm
                for values in (found.values(part, start) for start in range(0, count, PIECE_WORDS))
            )
            if math.sqrt(square) > limit * (1 + 1e-6):
                raise RoundFailed("disagreement", "The sum is beyond what clipped updates can add up to.")
        return found

    def values(self, part: int, start: int) -> NDArray[np.float64]:
        """The weighted sum of one piece."""
        at = part * self.count + start
        return self.fixed.decode(self.words[at : min(at + PIECE_WORDS, (part + 1) * self.count)])

    def mean(self, part: int, start: int) -> NDArray[np.float64]:
        """The weighted mean of one piece."""
        return self.values(part, start) / self.extras[0]


def _largest_norm(clipped: float, participants: int, fixed: FixedPoint, count: int) -> float:
    """What a part's sum can be long at most: ``clipped``, and half a step of rounding for each word of each member."""
    return clipped + participants / (2 * fixed.scale) * math.sqrt(count)
