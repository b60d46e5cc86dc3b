"""The library that ``kernel.c`` is built to when the package is installed: loading it, and its constants.

``native`` computes with it. Without a compiler the package installs without it, and ``load`` says why it is missing.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustspace.aggregation.lattice.parameters import LatticeParameters
from trustspace.errors import InvalidInput

# In the order of the library's numbers.
PATHS = ("c", "c-avx2", "c-avx512")
_ALIGNMENT = 64
_MAX_N = 4096
_MAX_ROWS = 4


class _Parameters(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("n", "rows", "slots", "scale", "residue_bits", "noise_bits")),
        ("largest", ctypes.c_uint32),
        ("unused", ctypes.c_uint32),
        ("primes", ctypes.c_uint32 * _MAX_ROWS),
        ("psis", ctypes.c_uint32 * _MAX_ROWS),
    )


@dataclass(frozen=True)
class Kernel:
    """The library, or ``reason``: why there is none. ``best`` is the place in PATHS of the fastest that works."""

    library: ctypes.CDLL | None
    best: int
    reason: str


@cache
def load() -> Kernel:
    """Loads the library that the package was installed with, once. Never raises."""
    return load_from(os.path.dirname(__file__))


def load_from(folder: str) -> Kernel:
    """The library among the files of ``folder``."""
    paths = [os.path.join(folder, f"kernel{suffix}") for suffix in EXTENSION_SUFFIXES]
    found = [path for path in paths if os.path.isfile(path)]
    if not found:
        return Kernel(None, 0, "it was not built: no C compiler was found when the package was installed")
    try:
        library = ctypes.CDLL(found[0])
        _declare(library)
        best = library.lattice_best_path()
    except (OSError, AttributeError):
        return Kernel(None, 0, "its library cannot be loaded; install the package again")
    return Kernel(library, best, "")


def _declare(library: ctypes.CDLL) -> None:
    """Tells ctypes the functions' types: kernel.c has them with names."""
    pointer, size, double = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_double
    blocks = (ctypes.c_uint64, size, pointer)
    for function, result, arguments in (
        (library.lattice_best_path, ctypes.c_int, ()),
        (library.lattice_tables_size, size, ()),
        (library.lattice_scratch_size, size, ()),
        (library.lattice_make_tables, None, (pointer, pointer)),
        (library.lattice_protect, ctypes.c_int, (ctypes.c_int, *(pointer,) * 8, *blocks, pointer)),
        (
            library.lattice_open,
            ctypes.c_int,
            (ctypes.c_int, *(pointer,) * 6, *blocks, ctypes.c_uint32, pointer),
        ),
        (library.lattice_apply, ctypes.c_int, (ctypes.c_int, pointer, size, pointer, pointer)),
        (library.lattice_add, ctypes.c_int, (ctypes.c_int, pointer, size, pointer, pointer)),
        (
            library.lattice_encode,
            ctypes.c_int,
            (ctypes.c_int, size, pointer, double, double, double, pointer),
        ),
        (library.lattice_decode, None, (ctypes.c_int, size, pointer, double, pointer)),
    ):
        function.restype, function.argtypes = result, arguments


@cache
def described(parameters: LatticeParameters) -> Any:
    """A pointer to the parameters as the library has them."""
    if parameters.n > _MAX_N or parameters.rows > _MAX_ROWS:
        raise InvalidInput("The C kernel does not know these parameters of the lattice sum.")
    fields = {
        name: getattr(parameters, name)
        for name in ("n", "rows", "slots", "scale", "residue_bits", "noise_bits", "largest")
    }
    array = ctypes.c_uint32 * _MAX_ROWS
    return ctypes.pointer(
        _Parameters(**fields, primes=array(*parameters.primes), psis=array(*parameters.psis))
    )


@cache
def tables(parameters: LatticeParameters) -> NDArray[np.uint8]:
    """The library's constants for these parameters; whoever passes their address on holds them meanwhile.

    Threads that ask for them first, at once, may each compute them: the cache keeps those of one.
    """
    library = load().library
    assert library is not None
    constants = aligned(library.lattice_tables_size())
    library.lattice_make_tables(described(parameters), address(constants))
    constants.flags.writeable = False
    return constants


def aligned(size: int) -> NDArray[np.uint8]:
    memory = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -address(memory) % _ALIGNMENT
    return memory[start : start + size]


def address(array: NDArray[Any]) -> int:
    # Four times as fast as array.ctypes.data.
    return int(array.__array_interface__["data"][0])


def main() -> None:
    """Says which path an installation computes with; for the Makefile."""
    kernel = load()
    if kernel.library is None:
        print(f"Note: lattice sums are computed by NumPy, more slowly: {kernel.reason}.")


if __name__ == "__main__":
    main()
