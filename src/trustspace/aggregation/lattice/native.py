"""The lattice sum in C: the library of ``library``, as a backend.

It chooses among what the processor has: AVX-512 with vector AES, AVX2 with AES, or plain C, for which the
``cryptography`` package makes the AES streams. It allocates nothing and knows no lengths: they are checked here.
Large vectors are computed by several threads, started for one call, which leave Python's lock while they work.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustspace.aggregation.blocks import check_vector
from trustspace.aggregation.lattice import reference
from trustspace.aggregation.lattice.backend import (
    Backend,
    Words,
    check_first,
    check_keys,
    check_secret,
    check_words,
)
from trustspace.aggregation.lattice.library import PATHS, address, aligned, described, load, tables
from trustspace.aggregation.lattice.parameters import LatticeParameters
from trustspace.errors import InvalidInput

__all__ = ["NativeBackend", "backends", "load"]

# Fewer words for each thread than this are not worth starting one: for products, and for what only adds.
THREAD_WORDS = 1 << 18
THREAD_ADDITIONS = 1 << 21
# Blocks whose AES streams are made at a time where the processor has no instructions for it.
_STREAM_BLOCKS = 16


def backends() -> tuple[Backend, ...]:
    """As ``backend`` asks its modules."""
    kernel = load()
    if kernel.library is None:
        return ()
    return tuple(NativeBackend(path=path) for path in PATHS[kernel.best :: -1])


class NativeBackend:
    """As ``backend.Backend``. ``path`` is one of PATHS, by default the fastest that works here.

    ``threads`` is by default the number of processors that this process may use. Raises InvalidInput where
    there is no library or the processor lacks what the path needs.
    """

    def __init__(self, threads: int = 0, path: str = "") -> None:
        kernel = load()
        if kernel.library is None:
            raise InvalidInput(
                "The C kernel of the lattice sum is not installed.",
                fix="Install a C compiler (on Debian: gcc and libc6-dev), then install the package again.",
            )
        if path and path not in PATHS[: kernel.best + 1]:
            raise InvalidInput("This processor lacks instructions that the C kernel would use.")
        self._library = kernel.library
        self._path = PATHS.index(path) if path else kernel.best
        self._scratch: list[NDArray[np.uint8]] = []
        self.threads = threads or len(os.sched_getaffinity(0))

    @property
    def name(self) -> str:
        return PATHS[self._path]

    def mask(
        self,
        parameters: LatticeParameters,
        public: bytes,
        secret: Words,
        noise: bytes,
        first: int,
        out: Words,
    ) -> None:
        """As ``Backend.mask``."""
        self._protect(parameters, public, secret, noise, first, None, out)

    def protect(
        self,
        parameters: LatticeParameters,
        public: bytes,
        secret: Words,
        noise: bytes,
        first: int,
        words: Words,
        out: Words,
    ) -> None:
        """As ``Backend.protect``."""
        check_words(parameters, out, words)
        _check_aligned(out, words)
        if not _is(words, out) and np.may_share_memory(words, out):
            words = words.copy()
        self._protect(parameters, public, secret, noise, first, words, out)

    def apply(self, parameters: LatticeParameters, words: Words, masks: Words) -> None:
        """As ``Backend.apply``."""
        check_words(parameters, masks, words)
        _check_aligned(masks, words)
        if np.may_share_memory(words, masks):
            words = words.copy()
        struct, one, other = described(parameters), address(words), address(masks)

        def run(start: int, stop: int) -> bool:
            count = (stop - start) // parameters.block
            at = one + 4 * start, other + 4 * start
            return bool(self._library.lattice_apply(self._path, struct, count, *at))

        if any(self._shared(len(words), parameters.block, run, THREAD_ADDITIONS)):
            raise InvalidInput("A word to be summed lies beyond what the sum can hold.")

    def add_into(self, parameters: LatticeParameters, total: Words, addend: Words) -> None:
        """As ``Backend.add_into``."""
        check_words(parameters, total, addend)
        _check_aligned(total, addend)
        if np.may_share_memory(total, addend):
            addend = addend.copy()
        struct, one, other = described(parameters), address(total), address(addend)

        def run(start: int, stop: int) -> bool:
            count = (stop - start) // parameters.block
            at = one + 4 * start, other + 4 * start
            return bool(self._library.lattice_add(self._path, struct, count, *at))

        if any(self._shared(len(total), parameters.block, run, THREAD_ADDITIONS)):
            raise InvalidInput("A protected vector holds words that are no residues.")

    def open(
        self,
        parameters: LatticeParameters,
        public: bytes,
        secret: Words,
        first: int,
        total: Words,
        bound: int,
        out: Words,
    ) -> bool:
        """As ``Backend.open``."""
        check_words(parameters, total, out)
        check_secret(parameters, secret)
        _check_aligned(total, out, secret)
        check_keys(public)
        check_first(first, len(total) // parameters.block)
        if bound < 0:
            raise InvalidInput("The bound of the noise of a sum is not negative.")
        bound = min(bound, parameters.primes[0] // 2)  # all residues are within that
        if not _is(total, out) and np.may_share_memory(total, out):
            total = total.copy()
        struct, constants = described(parameters), tables(parameters)
        key, one, other = address(secret), address(total), address(out)

        def run(start: int, stop: int) -> bool:
            with self._borrowed() as scratch:
                for number, at, count in self._pieces(parameters, first, start, stop):
                    uniform = None if self._path else _uniform(parameters, public, number, count)
                    if self._library.lattice_open(
                        self._path,
                        struct,
                        address(constants),
                        scratch,
                        public,
                        key,
                        None if uniform is None else address(uniform),
                        number,
                        count,
                        one + 4 * at,
                        bound,
                        other + 4 * at,
                    ):
                        return True
            return False

        return not any(self._shared(len(total), parameters.block, run, THREAD_WORDS))

    def encode(
        self, values: NDArray[np.float32], factor: float, bound: float, scale: float, out: NDArray[np.int32]
    ) -> bool:
        """As ``Backend.encode``."""
        _check_pair(values, np.float32, out, np.int32)
        if not _is(values, out) and np.may_share_memory(values, out):
            values = values.copy()
        one, other = address(values), address(out)

        def run(start: int, stop: int) -> bool:
            return bool(
                self._library.lattice_encode(
                    self._path, stop - start, one + 4 * start, factor, bound, scale, other + 4 * start
                )
            )

        return all(self._shared(len(values), 1, run, THREAD_ADDITIONS))

    def decode(self, words: Words, scale: float, out: NDArray[np.float64]) -> None:
        """As ``Backend.decode``."""
        _check_pair(words, np.uint32, out, np.float64)
        if np.may_share_memory(words, out):
            words = words.copy()
        one, other = address(words), address(out)

        def run(start: int, stop: int) -> bool:
            self._library.lattice_decode(self._path, stop - start, one + 4 * start, scale, other + 8 * start)
            return True

        self._shared(len(words), 1, run, THREAD_ADDITIONS)

    def _protect(
        self,
        parameters: LatticeParameters,
        public: bytes,
        secret: Words,
        noise: bytes,
        first: int,
        words: Words | None,
        out: Words,
    ) -> None:
        check_words(parameters, out)
        check_secret(parameters, secret)
        _check_aligned(out, secret)
        check_keys(public, noise)
        check_first(first, len(out) // parameters.block)
        struct, constants = described(parameters), tables(parameters)
        key, other = address(secret), address(out)
        one = None if words is None else address(words)

        def run(start: int, stop: int) -> bool:
            wrong = False
            with self._borrowed() as scratch:
                for number, at, count in self._pieces(parameters, first, start, stop):
                    uniform = drawn = None
                    if self._path == 0:
                        uniform = _uniform(parameters, public, number, count)
                        drawn = _drawn(noise, number, count, 0, parameters.n // 2 * 5)
                    result = self._library.lattice_protect(
                        self._path,
                        struct,
                        address(constants),
                        scratch,
                        public,
                        key,
                        noise,
                        None if uniform is None else address(uniform),
                        None if drawn is None else address(drawn),
                        number,
                        count,
                        None if one is None else one + 4 * at,
                        other + 4 * at,
                    )
                    wrong |= result != 0
            return wrong

        if any(self._shared(len(out), parameters.block, run, THREAD_WORDS)):
            raise InvalidInput("A word to be summed lies beyond what the sum can hold.")

    def _shared(self, length: int, unit: int, run: Callable[[int, int], bool], least: int) -> list[bool]:
        """What ``run`` returns for ranges, in whole units, that threads share out: ``least`` words or more each."""
        if not length:
            return []
        units = length // unit
        threads = max(1, min(self.threads, length // least, units))
        if threads == 1:
            return [run(0, length)]
        edges = [units * i // threads * unit for i in range(threads + 1)]
        with ThreadPoolExecutor(threads - 1) as pool:
            others = [pool.submit(run, edges[i], edges[i + 1]) for i in range(1, threads)]
            own = run(edges[0], edges[1])
            return [own, *(other.result() for other in others)]

    def _pieces(
        self, parameters: LatticeParameters, first: int, start: int, stop: int
    ) -> Iterator[tuple[int, int, int]]:
        """The first block's number, the first word and the number of blocks of each call to the library.

        One call does it all, unless AES streams must be made for it.
        """
        step = _STREAM_BLOCKS * parameters.block if self._path == 0 else stop - start
        for at in range(start, stop, step):
            yield first + at // parameters.block, at, (min(at + step, stop) - at) // parameters.block

    @contextmanager
    def _borrowed(self) -> Iterator[int]:
        """The address of memory for one thread, kept for the next call; the library leaves no secrets in it."""
        try:
            scratch = self._scratch.pop()
        except IndexError:
            scratch = aligned(self._library.lattice_scratch_size())
        yield address(scratch)
        self._scratch.append(scratch)


def _uniform(parameters: LatticeParameters, key: bytes, first: int, count: int) -> Words:
    """The words of a, [count, rows, n], not yet modulo the primes."""
    words = np.empty((count, parameters.rows, parameters.n), np.uint32)
    for row in range(parameters.rows):
        words[:, row] = reference.uniform(parameters, key, row, first, count).T
    return words


def _drawn(key: bytes, first: int, count: int, row: int, length: int) -> Words:
    """The first ``length`` words of a stream of each block: [count, length]."""
    numbers = np.arange(first, first + count, dtype=np.uint64)[:, None]
    units = np.arange(length // reference.UNIT_WORDS, dtype=np.uint64)
    return reference.stream(key, units, numbers, row, 0).reshape(count, length)


def _is(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two arrays of one length and item size are the same memory."""
    return address(one) == address(other)


def _check_aligned(*arrays: NDArray[Any]) -> None:
    """C requires it, and only views of bytes at odd places lack it."""
    if not all(array.flags.aligned for array in arrays):
        raise InvalidInput("Numbers for the C kernel begin at a multiple of their size in memory.")


def _check_pair(
    values: NDArray[Any], dtype: type[np.generic], out: NDArray[Any], out_dtype: type[np.generic]
) -> None:
    check_vector(values, dtype)
    check_vector(out, out_dtype)
    _check_aligned(values, out)
    if len(values) != len(out):
        raise InvalidInput("Numbers and their words are rows of one length.")
