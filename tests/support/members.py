"""Members of a run's rounds in one process, and a space between them that a test may make hostile.

Everything is the product's own: each member's ``Rounds``, the board that the space keeps. A hostile space is a
``Space`` with some of its methods overridden; what it was given it remembers.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from trustspace.aggregation.masks import MaskedVector, PairwiseMasks
from trustspace.aggregation.scheme import Scheme
from trustspace.domain.statements import LogReference
from trustspace.enclave.chunks import PIECE_WORDS
from trustspace.enclave.failure import RoundFailed
from trustspace.enclave.journal import Journal
from trustspace.enclave.meeting import Identity, Roster, Terms
from trustspace.enclave.rounds import Rounds
from trustspace.space.attempt import Attempt
from trustspace.space.rounds import Board, LocalRounds
from trustspace.space.sums import Vector, VectorStore
from trustspace.transport.rounds import Exchanged, Phase, Place

JOB, RUN = "a" * 64, "b" * 64
WORDS = 300
# More than travels with its message: these go to the space and come from it in pieces.
MANY_WORDS = 300_000
LOG = LogReference(origin="space.example/ledger", size=1, root="0" * 64)


@dataclass(frozen=True)
class Given:
    """A vector just as it is given."""

    content: NDArray[np.uint32]

    @property
    def words(self) -> int:
        return len(self.content)

    def pieces(self) -> Iterator[NDArray[np.uint32]]:
        for start in range(0, len(self.content), PIECE_WORDS):
            yield self.content[start : start + PIECE_WORDS]


def some_words(seed: int, count: int = WORDS) -> NDArray[np.uint32]:
    """Words that nothing else has."""
    return np.random.default_rng(seed).integers(0, 1 << 32, count, dtype=np.uint32)


def added(vectors: Any) -> NDArray[np.uint32]:
    """The sum of words modulo 2^32."""
    total = np.zeros(len(vectors[0]), np.uint32)
    for vector in vectors:
        total += vector
    return total


def words_of(data: bytes) -> NDArray[np.uint32]:
    return np.frombuffer(data, "<u4")


# -- defences, taken away one by one


class _Nothing:
    """A mask that masks nothing."""

    def read(self, start: int, count: int) -> NDArray[np.uint32]:
        return np.zeros(count, np.uint32)


class _WithoutPrivateMask(MaskedVector):
    def _private_stream(self, member: int, seed: bytes) -> Any:
        return _Nothing()


class _WithoutMasks(MaskedVector):
    def _stream(self, secret: bytes, use: bytes, *positions: int) -> Any:
        return _Nothing()


class WithoutPrivateMasks(PairwiseMasks):
    """The scheme, its private masks taken away."""

    def begin(self, own: int, secrets: Mapping[int, bytes], context: bytes) -> MaskedVector:
        return _WithoutPrivateMask(own, secrets, context, bytes(32))


class WithoutMasks(PairwiseMasks):
    """The scheme with no mask at all."""

    def begin(self, own: int, secrets: Mapping[int, bytes], context: bytes) -> MaskedVector:
        return _WithoutMasks(own, secrets, context, bytes(32))


# -- the space


@dataclass(frozen=True)
class Heard:
    """What a member said to the space."""

    unit: str
    place: Place
    phase: Phase
    envelope: bytes
    data: bytes


class _Board(Board):
    """A board whose space may change what it was given, before it adds."""

    change: Callable[[dict[str, Vector]], None] = staticmethod(lambda vectors: None)

    def _add(self, found: Attempt, vectors: list[Vector]) -> None:
        with self._arrived:
            self._arrived.wait_for(lambda: found.included or found.fate or self._closed)
        if found.included and not found.fate:
            self.change(found.vectors)
            vectors = [found.vectors[member] for member in found.included]
        super()._add(found, vectors)


class Space:
    """The space as members meet it. It passes everything on, and keeps what it was given; override to lie."""

    # How the boards add; a circle sets it to what its members use. And how long they wait for who is silent.
    scheme: Scheme = PairwiseMasks()
    wait_seconds = 60.0

    def __init__(self, path: Path, offers: Mapping[str, str], minimum: int) -> None:
        self.path, self.offers, self.minimum = path, dict(offers), minimum
        self.heard: list[Heard] = []
        self.sums: dict[tuple[int, int], bytes] = {}
        self.lost: set[str] = set()
        self.boards: list[_Board] = []
        self.main = self.make_board(offers)

    def make_board(self, offers: Mapping[str, str], minimum: int | None = None) -> _Board:
        store = VectorStore(self.path / f"vectors-{len(self.boards)}")
        # Nobody is waited for by the clock if not asked for: who fails is said to have gone, as the ledger would say.
        board = _Board(store, offers, minimum or self.minimum, self.wait_seconds, scheme=self.scheme)
        self.boards.append(board)
        return self.boards[-1]

    def gone(self, unit: str) -> None:
        """A member's run has failed; in the ledger that ends the run, or it goes on without that member."""
        self.lost.add(unit)
        left = {u: o for u, o in self.offers.items() if u not in self.lost}
        for board in self.boards:
            if len(left) < self.minimum:
                board.end()
            else:
                board.stand(left)

    # What a hostile one may do otherwise.

    def board(self, unit: str, place: Place) -> _Board:
        return self.main

    def taken(
        self, unit: str, place: Place, phase: Phase, envelope: bytes, data: bytes
    ) -> tuple[bytes, bytes]:
        return envelope, data

    def answered(self, unit: str, place: Place, phase: Phase, found: Exchanged) -> Exchanged:
        return found

    def dealt(self, unit: str, place: Place, pieces: Any) -> Any:
        return pieces

    def shared(
        self, unit: str, place: Place, pieces: Iterator[tuple[int, bytes]]
    ) -> Iterator[tuple[int, bytes]]:
        return pieces

    def summed(self, unit: str, place: Place, pieces: Iterator[bytes]) -> Iterator[bytes]:
        return pieces

    def shown(
        self, unit: str, place: Place, pieces: Iterator[tuple[int, bytes]]
    ) -> Iterator[tuple[int, bytes]]:
        return pieces

    # What came of it.

    def said(self, phase: Phase, *units: str) -> list[Heard]:
        """What these (or all) members said in a phase, each once."""
        found = {
            (h.unit, h.place): h
            for h in self.heard
            if h.phase == phase and h.envelope and (not units or h.unit in units)
        }
        return list(found.values())


class Line:
    """A member's link to the space."""

    def __init__(self, space: Space, unit: str) -> None:
        self._space, self._unit = space, unit

    def _local(self, place: Place) -> LocalRounds:
        return LocalRounds(self._space.board(self._unit, place), self._unit)

    def exchange(
        self, place: Place, phase: Phase, envelope: bytes, data: bytes = b"", wait_seconds: float = 20.0
    ) -> Exchanged:
        space = self._space
        space.heard.append(Heard(self._unit, place, phase, envelope, data))
        envelope, data = space.taken(self._unit, place, phase, envelope, data)
        found = self._local(place).exchange(place, phase, envelope, data, wait_seconds)
        if phase == "contribution" and found.data:
            space.sums[place.round, place.attempt] = found.data
        return space.answered(self._unit, place, phase, found)

    def contribute(self, place: Place, envelope: bytes, total_bytes: int, pieces: Any) -> None:
        self._local(place).contribute(place, envelope, total_bytes, pieces)

    def deal(self, place: Place, total_bytes: int, pieces: Any) -> None:
        self._local(place).deal(place, total_bytes, self._space.dealt(self._unit, place, pieces))

    def shares(self, place: Place) -> Iterator[tuple[int, bytes]]:
        return self._space.shared(self._unit, place, self._local(place).shares(place))

    def sum(self, place: Place) -> Iterator[bytes]:
        return self._space.summed(self._unit, place, self._local(place).sum(place))

    def contributions(self, place: Place) -> Iterator[tuple[int, bytes]]:
        return self._space.shown(self._unit, place, self._local(place).contributions(place))


# -- the members


class Circle:
    """So many members, in the order in which they stand in every set: ``units[0]`` first."""

    def __init__(
        self, path: Path, count: int = 3, minimum: int = 3, *, space: type[Space] = Space,
        scheme: Scheme | None = None, wait_seconds: float = 60.0,
    ) -> None:  # fmt: skip
        self.path, self.minimum = path, minimum
        self.scheme = scheme or PairwiseMasks()
        self.units = tuple(f"{number:064x}" for number in range(1, count + 1))
        self.keys = {
            u: Ed25519PrivateKey.from_private_bytes(hashlib.sha256(u.encode()).digest()) for u in self.units
        }
        self.offers = {u: hashlib.sha256(b"offer" + u.encode()).hexdigest() for u in self.units}
        self.roster = Roster({u: (self.offers[u], self.public(u)) for u in self.units})
        self.stop = threading.Event()
        kind = type(space.__name__, (space,), {"scheme": self.scheme, "wait_seconds": wait_seconds})
        self.space = kind(path, self.offers, minimum)

    def public(self, unit: str) -> bytes:
        return self.keys[unit].public_key().public_bytes_raw()

    def identity(self, unit: str) -> Identity:
        return Identity(unit, self.offers[unit], self.public(unit), self.keys[unit].sign)

    def journal(self, unit: str) -> Journal:
        return Journal(self.path / f"notes-{unit[-4:]}", JOB)

    def rounds(self, unit: str, kind: type[Rounds] = Rounds, **changes: Any) -> Rounds:
        """A member's side; a test changes what it wants to be otherwise."""
        terms = Terms(
            JOB, changes.pop("run", RUN), changes.pop("minimum", self.minimum), 60.0, time.monotonic() + 120
        )
        values = {
            "relay": Line(self.space, unit), "identity": self.identity(unit), "terms": terms,
            "roster": lambda fresh: self.roster, "journal": self.journal(unit), "scheme": self.scheme,
            "log": lambda: LOG, "compare": lambda log: None, "stop": self.stop,
        }  # fmt: skip
        return kind(**{**values, **changes})

    def play(self, acts: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        """Let every member act in a thread of its own: what each got, or the RoundFailed that ended its part."""

        def one(unit: str) -> Any:
            try:
                return acts[unit]()
            except RoundFailed as failed:
                self.space.gone(unit)
                return failed
            except BaseException:
                # Whatever it is, the others must not wait for ever for it to be told.
                self.space.gone(unit)
                raise

        with ThreadPoolExecutor(len(acts)) as pool:
            return dict(zip(acts, pool.map(one, acts), strict=True))

    def sum(
        self, vectors: Mapping[str, NDArray[np.uint32]], number: int = 1, model: str = "", **changes: Any
    ) -> dict[str, Any]:
        """One sum over the members' vectors."""
        acts = {
            unit: lambda unit=unit, vector=vector: self.rounds(unit, **changes).sum(
                number, model, lambda: Given(vector)
            )
            for unit, vector in vectors.items()
        }
        return self.play(acts)

    def vectors(self, count: int = WORDS) -> dict[str, NDArray[np.uint32]]:
        """A vector for each member."""
        return {unit: some_words(number, count) for number, unit in enumerate(self.units, 1)}


def failed(results: Mapping[str, Any]) -> dict[str, str]:
    """By member, the reason that its part ended for."""
    return {unit: found.reason for unit, found in results.items() if isinstance(found, RoundFailed)}
