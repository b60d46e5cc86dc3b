"""Our own schemes, as cases that a benchmark takes its turns with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trustspace.aggregation.fixedpoint import FixedPoint
from trustspace.aggregation.lattice.backend import Backend, available_backends, best_backend
from trustspace.aggregation.lattice.native import NativeBackend
from trustspace.aggregation.lattice.parameters import KEY_BYTES, PARAMETERS, LatticeParameters
from trustspace.aggregation.lattice.reference import NumpyBackend
from trustspace.aggregation.lattice.scheme import draw_secret
from trustspace.aggregation.masks import PairwiseMasks
from trustspace.aggregation.scheme import SECRET_BYTES, Protection
from trustspace.aggregation.selection import PAIRWISE_MASKS

Words = NDArray[np.uint32]
# A whole number of blocks of every set; large enough for what a call costs not to be seen.
CHUNK_WORDS = 786_432
# Threads are started anew for each call: with several, chunks are so many times longer for each.
THREADED = 2
# What computes where the best does not work, and up to which size that is measured: it is slower.
REFERENCES = {"c-avx2": 1_000_000, "c": 1_000_000, "numpy": 100_000}
CLIENTS = 10
BITS = 20
BOUND = 1.0


def vector(client: int, count: int) -> NDArray[np.float32]:
    """One client's update, in (-1, 1)."""
    drawn = np.random.default_rng([7, client]).random(count, dtype=np.float32)
    drawn *= 2
    drawn -= 1
    drawn *= np.float32(0.999)
    return drawn


class Room:
    """Memory of one size that all cases share, as they take turns; padded to any scheme's whole chunks."""

    def __init__(self, params: int) -> None:
        most = max(parameters.block for parameters in PARAMETERS)
        padded = -(-params // most) * most
        self.params = params
        self.values = vector(0, params)
        self.protected = np.zeros(padded, np.uint32)
        self.total = np.zeros(padded, np.uint32)
        self.result = np.zeros(params, np.float64)


class Case(Protocol):
    """One scheme with one backend at one size."""

    scheme: str
    backend: str
    threads: int
    params: int

    @property
    def wire(self) -> float:
        """Bytes of one client's protected vector for each parameter."""

    def steps(self) -> Mapping[str, Callable[[], object]]:
        """What is measured. ``encrypt`` leaves a protected vector, ``add`` adds it, ``decrypt`` opens a sum."""

    def check(self) -> None:
        """Raises RuntimeError unless the sum of all clients' vectors is the exact one."""


class Masks:
    """Pairwise masks, as the product draws and applies them: one thread."""

    scheme = PAIRWISE_MASKS
    backend = "cryptography"
    threads = 1

    def __init__(self, room: Room) -> None:
        self._room, self.params, self._scheme = room, room.params, PairwiseMasks()
        self._fixed = FixedPoint(CLIENTS, BOUND)
        pairs = {(a, b): os.urandom(SECRET_BYTES) for b in range(CLIENTS) for a in range(b)}
        self._secrets = [
            {b: pairs[min(a, b), max(a, b)] for b in range(CLIENTS) if b != a} for a in range(CLIENTS)
        ]
        self._context = os.urandom(32)

    @property
    def wire(self) -> float:
        return 4.0

    def steps(self) -> Mapping[str, Callable[[], object]]:
        room, total = self._room, self._room.total[: self.params]
        protections = [self._begin(client) for client in range(CLIENTS)]
        everybody = range(CLIENTS)
        reveals = {client: p.reveal(everybody, {}) for client, p in enumerate(protections)}
        opener = protections[0]
        opener.unlock(everybody, reveals, total[:1])

        def encrypt() -> None:
            # In the middle: half of the masks are added, half are subtracted.
            self._protect(self._begin(CLIENTS // 2), room.values)

        def add() -> None:
            self._scheme.add_into(total, room.protected[: self.params])

        def decrypt() -> None:
            for piece in chunks(self.params):
                room.result[piece] = self._fixed.decode(opener.open(piece.start, total[piece]))

        return {"encrypt": encrypt, "add": add, "decrypt": decrypt}

    def check(self) -> None:
        room, total = self._room, self._room.total[: self.params]
        total[:] = 0
        exact = np.zeros(self.params, np.int64)
        protections = [self._begin(client) for client in range(CLIENTS)]
        for client, protection in enumerate(protections):
            values = vector(client, self.params)
            self._protect(protection, values)
            self._scheme.add_into(total, room.protected[: self.params])
            exact += integers(values, self._fixed.scale)
        everybody = range(CLIENTS)
        reveals = {client: p.reveal(everybody, {}) for client, p in enumerate(protections)}
        protections[0].unlock(everybody, reveals, total[:1])
        for piece in chunks(self.params):
            _same(protections[0].open(piece.start, total[piece]).view(np.int32), exact[piece], self.scheme)

    def _begin(self, client: int) -> Protection:
        return self._scheme.begin(client, self._secrets[client], self._context)

    def _protect(self, protection: Protection, values: NDArray[np.float32]) -> None:
        for piece in chunks(self.params):
            words = self._fixed.encode(values[piece], 1.0)
            self._room.protected[piece] = protection.protect(piece.start, words)


class Lattice:
    """A lattice sum through one backend, chunk by chunk. Each encryption draws a fresh secret and fresh noise."""

    def __init__(self, room: Room, parameters: LatticeParameters, backend: Backend, threads: int) -> None:
        self._room, self._parameters, self._backend = room, parameters, backend
        self.scheme, self.backend = parameters.name, backend.name
        self.threads, self.params = threads, room.params
        self._length = -(-room.params // parameters.block) * parameters.block
        self._fixed = FixedPoint(CLIENTS, BOUND, parameters.largest)
        self._public = os.urandom(KEY_BYTES)
        self._step = CHUNK_WORDS * (threads * THREADED if threads > 1 else 1)
        # The words behind the last one of the vector stay zero.
        self._scratch = np.zeros(min(self._step, self._length), np.uint32)

    @property
    def wire(self) -> float:
        return 4 * self._length / self.params

    def steps(self) -> Mapping[str, Callable[[], object]]:
        room = self._room
        total, masks = room.total[: self._length], np.zeros(self._length, np.uint32)
        secret = draw_secret(self._parameters)
        self._protect(secret, room.values)
        total[:] = room.protected[: self._length]
        self._backend.mask(self._parameters, self._public, secret, os.urandom(KEY_BYTES), 0, masks)
        sink = masks.copy()

        def encrypt() -> None:
            self._protect(draw_secret(self._parameters), room.values)

        def encrypt_online() -> None:
            for piece, words in self._encoded(room.values):
                self._backend.apply(self._parameters, words, masks[piece])

        def add() -> None:
            self._backend.add_into(self._parameters, sink, masks)

        def decrypt() -> None:
            self._open(secret, total, self._parameters.max_participants)

        return {"encrypt": encrypt, "encrypt_online": encrypt_online, "add": add, "decrypt": decrypt}

    def check(self) -> None:
        room, parameters = self._room, self._parameters
        total, protected = room.total[: self._length], room.protected[: self._length]
        exact = np.zeros(self.params, np.int64)
        summed = np.zeros((parameters.rows, parameters.n), np.uint64)
        total[:] = 0
        for client in range(CLIENTS):
            values, secret = vector(client, self.params), draw_secret(self._parameters)
            if client % 2:
                self._protect(secret, values)
            else:
                self._backend.mask(parameters, self._public, secret, os.urandom(KEY_BYTES), 0, protected)
                for piece, words in self._encoded(values):
                    self._backend.apply(parameters, words, protected[piece])
            self._backend.add_into(parameters, total, protected)
            exact += integers(values, self._fixed.scale)
            summed = (summed + secret) % np.array(parameters.primes, np.uint64)[:, None]
        opened = self._open(summed.astype(np.uint32), total, CLIENTS)
        _same(opened[: self.params].view(np.int32), exact, f"{self.scheme} on {self.backend}")
        for piece in chunks(self.params):
            _same(room.result[piece], exact[piece] / self._fixed.scale, f"{self.scheme} on {self.backend}")

    def _encoded(self, values: NDArray[np.float32]) -> Iterator[tuple[slice, Words]]:
        fixed = self._fixed
        for piece in chunks(self._length, self._step):
            words = self._scratch[: piece.stop - piece.start]
            given = values[piece]
            signed = words[: len(given)].view(np.int32)
            if not self._backend.encode(given, 1.0, fixed.bound, fixed.scale, signed):
                raise RuntimeError("Numbers that are finite were refused.")
            words[len(given) :] = 0
            yield piece, words

    def _protect(self, secret: Words, values: NDArray[np.float32]) -> None:
        noise, parameters = os.urandom(KEY_BYTES), self._parameters
        for piece, words in self._encoded(values):
            self._backend.protect(
                parameters, self._public, secret, noise, piece.start // parameters.block, words,
                self._room.protected[piece],
            )  # fmt: skip

    def _open(self, secret: Words, total: Words, participants: int) -> Words:
        """The numbers into the room, and the words into where the protected ones were."""
        parameters, bound = self._parameters, self._parameters.noise_bound(participants)
        opened = self._room.protected[: self._length]
        for piece in chunks(self._length, self._step):
            words = opened[piece]
            first = piece.start // parameters.block
            if not self._backend.open(parameters, self._public, secret, first, total[piece], bound, words):
                raise RuntimeError(f"{self.scheme} on {self.backend} does not open its own sum.")
            numbers = self._room.result[piece]
            self._backend.decode(words[: len(numbers)], self._fixed.scale, numbers)
        return opened


def integers(values: NDArray[np.float32], scale: float) -> NDArray[np.int64]:
    """The fixed point numbers that stand for ``values``, computed here and nowhere else."""
    return np.rint(np.clip(values.astype(np.float64), -BOUND, BOUND) * scale).astype(np.int64)


def chunks(length: int, step: int = CHUNK_WORDS) -> Iterator[slice]:
    """Slices of at most ``step`` words that cover 0..length in order."""
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def backend_with(threads: int, name: str = "") -> Backend:
    """The best backend with so many threads, or the one of this name."""
    name = name or best_backend().name
    return NumpyBackend(threads) if name == "numpy" else NativeBackend(threads, name)


def cases(room: Room, threads: int) -> list[Case]:
    """What is measured at one size, with one thread or with ``threads`` of them."""
    best = best_backend().name
    wanted = [best]
    found: list[Case] = []
    if threads == 1:
        found.append(Masks(room))
        others = (b.name for b in available_backends() if b.name in REFERENCES)
        wanted += [name for name in others if name != best and room.params <= REFERENCES[name]]
    for name in wanted:
        backend = backend_with(threads, name)
        found += [Lattice(room, parameters, backend, threads) for parameters in PARAMETERS]
    return found


def _same(found: NDArray[np.generic], exact: NDArray[np.generic], what: str) -> None:
    if not np.array_equal(found, exact):
        raise RuntimeError(f"{what} does not give the exact sum.")
