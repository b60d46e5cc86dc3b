"""Peak memory of a process that protects, adds and opens a vector chunk by chunk.

    python -m benchmarks.aggregation.memory SCHEME PARAMETERS FOLDER    one JSON line; the part ``memory`` runs it

Chunk by chunk is how the product does it: each chunk is encoded, protected and added into a file; when the members
have revealed, chunk by chunk is opened from there. So a vector of any length passes through the same memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.aggregation.schemes import BOUND, CHUNK_WORDS, chunks, integers, vector
from benchmarks.common import PeakMemory
from trustspace.aggregation.fixedpoint import FixedPoint
from trustspace.aggregation.lattice.parameters import PARAMETERS
from trustspace.aggregation.scheme import SECRET_BYTES, Scheme
from trustspace.aggregation.schemes import scheme_of
from trustspace.aggregation.selection import PAIRWISE_MASKS

ROOT = Path(__file__).resolve().parents[2]
SCHEMES = (PAIRWISE_MASKS, *(parameters.name for parameters in PARAMETERS))
MEMBERS = 2


def peak_mib(scheme: str, params: int, folder: Path) -> float:
    """MiB beyond what a process that has done nothing yet holds, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.aggregation.memory", scheme, str(params), str(folder)],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return float(json.loads(done.stdout)["mib"])


def through(scheme: Scheme, params: int, folder: Path) -> None:
    """Two members' vectors of so many numbers, protected and added into a file, then opened from it.

    Raises RuntimeError where the sum is not the exact one.
    """
    fixed = FixedPoint(MEMBERS, BOUND, scheme.largest)
    pair, context = os.urandom(SECRET_BYTES), os.urandom(32)
    members = [scheme.begin(own, {1 - own: pair}, context) for own in range(MEMBERS)]
    length = -(-params // scheme.block) * scheme.block
    # The same numbers come in every chunk: what they are does not matter here.
    numbers = [vector(member, min(CHUNK_WORDS, params)) for member in range(MEMBERS)]
    exact = sum(integers(values, fixed.scale) for values in numbers)
    with tempfile.TemporaryFile(dir=folder) as sums:
        for piece in chunks(length):
            total = np.zeros(piece.stop - piece.start, np.uint32)
            count = min(piece.stop, params) - piece.start
            for member, values in zip(members, numbers, strict=True):
                words = np.zeros(len(total), np.uint32)
                words[:count] = fixed.encode(values[:count], 1.0)
                scheme.add_into(total, member.protect(piece.start, words))
            sums.write(total)
        everybody = tuple(range(MEMBERS))
        reveals = {own: member.reveal(everybody, {}) for own, member in enumerate(members)}
        sums.seek(0)
        members[0].unlock(
            everybody, reveals, np.frombuffer(sums.read(4 * min(scheme.block, length)), np.uint32)
        )
        sums.seek(0)
        for piece in chunks(length):
            count = min(piece.stop, params) - piece.start
            total = np.frombuffer(sums.read(4 * (piece.stop - piece.start)), np.uint32)
            opened = members[0].open(piece.start, total)[:count]
            if not np.array_equal(opened.view(np.int32), exact[:count]):
                raise RuntimeError(f"{scheme.name} does not give the exact sum.")
            fixed.decode(opened)


def main() -> None:
    """Print what one scheme holds at one length."""
    name, params, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    scheme, memory = scheme_of(name), PeakMemory()
    through(scheme, 1_000, folder)  # what is loaded and set up once
    memory.reset()
    before = memory.mib()
    through(scheme, params, folder)
    print(json.dumps({"mib": memory.mib() - before}))


if __name__ == "__main__":
    main()
