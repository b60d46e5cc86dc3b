"""What computes the lattice sum here: one interface, several implementations, the same bits from all.

``reference.NumpyBackend`` is the specification. ``native`` and ``gpu`` have faster ones, where they work: each
module has a function ``backends()`` that gives those that work on this machine, fastest first, and none, rather
than an error, where it cannot work.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trustspace.aggregation.lattice.parameters import KEY_BYTES, LatticeParameters
from trustspace.errors import InvalidInput

Words = NDArray[np.uint32]
OVERRIDE = "TRUSTSPACE_LATTICE"


class Backend(Protocol):
    """The arithmetic of the lattice sum. Holds no state between calls but scratch memory.

    Arrays are contiguous. ``words``, ``masks``, ``total`` and ``out`` are uint32 [blocks * block], ``secret`` is
    uint32 [rows, n] with entries below their primes, in the transform domain, and ``public`` and ``noise`` are
    keys of 16 bytes. ``first`` is the number of the first block, from 0 up to 2^48. Everything raises
    InvalidInput for other shapes or types. Memory beyond the arguments is of constant size.
    """

    @property
    def name(self) -> str:
        """numpy, c, c-avx2, c-avx512, triton."""

    def mask(
        self,
        parameters: LatticeParameters,
        public: bytes,
        secret: Words,
        noise: bytes,
        first: int,
        out: Words,
    ) -> None:
        """Blocks ``first`` and on of a * s + e, packed as on the wire, into ``out``."""

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
        """``mask`` and ``apply`` at once; ``out`` may be ``words``.

        Raises InvalidInput for a word beyond ``largest``, and then leaves ``out`` in any state.
        """

    def apply(self, parameters: LatticeParameters, words: Words, masks: Words) -> None:
        """Adds the words, as signed integers, to masks, in place.

        Raises InvalidInput for a word beyond ``largest``, and then leaves ``masks`` in any state.
        """

    def add_into(self, parameters: LatticeParameters, total: Words, addend: Words) -> None:
        """Adds protected words to ``total``, in place.

        Raises InvalidInput where ``addend`` holds what is no residue, and then leaves ``total`` in any state:
        adding such words would not give the same bits everywhere. ``total`` must hold residues.
        """

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
        """The words of a sum, by the sum of the secrets; ``out`` may be ``total``.

        False where a coefficient's noise is beyond ``bound``, a word is beyond ``largest`` or ``total`` holds
        what is no residue: then the secret or the sum is wrong, and ``out`` is left in any state. Raises
        InvalidInput also for a negative bound.
        """

    def encode(
        self, values: NDArray[np.float32], factor: float, bound: float, scale: float, out: NDArray[np.int32]
    ) -> bool:
        """rint(clip(values * factor, -bound, bound) * scale), each step in float64, half to even.

        False where a product is not a finite number; ``out`` is then left in any state.
        """

    def decode(self, words: Words, scale: float, out: NDArray[np.float64]) -> None:
        """The words as signed integers, divided by ``scale``."""


def available_backends() -> tuple[Backend, ...]:
    """All that work here: the processor's, fastest first and the reference last, then the graphics card's."""
    from trustspace.aggregation.lattice import gpu

    return (*_of_the_processor(), *gpu.backends())


@cache
def best_backend() -> Backend:
    """The fastest that works on this machine's processor, or the one that TRUSTSPACE_LATTICE names.

    Chosen once. A graphics card pays only for tensors that live on it, and so is chosen by name only. Raises
    InvalidInput where the named one does not work here.
    """
    wanted = os.environ.get(OVERRIDE, "")
    if not wanted:
        return _of_the_processor()[0]
    found = available_backends()
    for backend in found:
        if wanted == backend.name:
            return backend
    raise InvalidInput(
        "The lattice backend that TRUSTSPACE_LATTICE names does not work here.",
        fix="Unset it, or name one of: {names}.",
        names=", ".join(backend.name for backend in found),
    )


def check_words(parameters: LatticeParameters, *arrays: Any) -> None:
    """Raises InvalidInput unless all are contiguous uint32 vectors of one length, in whole blocks."""
    for array in arrays:
        if (
            not isinstance(array, np.ndarray)
            or array.dtype != np.uint32
            or array.ndim != 1
            or not array.flags.c_contiguous
            or len(array) % parameters.block
            or len(array) != len(arrays[0])
        ):
            raise InvalidInput(
                "Protected words come as one contiguous row of uint32 numbers, in whole blocks of {size}.",
                size=parameters.block,
            )


def check_secret(parameters: LatticeParameters, secret: Words) -> None:
    """Raises InvalidInput unless ``secret`` is uint32 [rows, n] of residues."""
    primes = np.array(parameters.primes, np.uint64)[:, None]
    if (
        not isinstance(secret, np.ndarray)
        or secret.dtype != np.uint32
        or secret.shape != (parameters.rows, parameters.n)
        or not secret.flags.c_contiguous
        or bool((secret >= primes).any())
    ):
        raise InvalidInput("A secret of the lattice sum is a row of residues for each prime.")


def check_keys(*keys: bytes) -> None:
    """Raises InvalidInput unless each key has 16 bytes."""
    if any(len(key) != KEY_BYTES for key in keys):
        raise InvalidInput("A key of the lattice sum is {size} bytes long.", size=KEY_BYTES)


def check_first(first: int, blocks: int) -> None:
    """Raises InvalidInput unless ``blocks`` blocks from ``first`` on have numbers from 0 up to 2^48."""
    if not 0 <= first <= (1 << 48) - blocks:
        raise InvalidInput("A block's number lies between 0 and 2^48.")


def _of_the_processor() -> tuple[Backend, ...]:
    # The modules take the interface and the checks from here.
    from trustspace.aggregation.lattice import native, reference

    return (*native.backends(), *reference.backends())
