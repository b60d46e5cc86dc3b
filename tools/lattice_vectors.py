"""Write tests/vectors/lattice.json from the reference of the lattice sum. With --check, only compare.

The file fixes the bytes that every backend and every later version must give. Arrays stand in it as the SHA-256
of their little-endian 32-bit words and the first four of these; what goes in grows from seeds by the rules
that ``about`` states, so that the file stays small enough to read.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trustspace.aggregation.lattice import reference, scheme
from trustspace.aggregation.lattice.parameters import PARAMETERS, LatticeParameters

PATH = Path(__file__).resolve().parent.parent / "tests" / "vectors" / "lattice.json"
ABOUT = [
    "Arrays: sha256 of the little-endian 32-bit words, and the first four words.",
    "secret_seed: entry j of row i is bytes 8j to 8j+7 of SHAKE-256(seed, byte i), little-endian, mod the row's prime.",
    "words_seed: word w is bytes 8w to 8w+7 of SHAKE-256(seed), little-endian, mod 2B+1, less B, as signed 32 bits;",
    "B = largest // participants; but word w is B where w mod 16 is 0, and -B where it is 1.",
    "extremes: one participant, whose words are largest and -largest by turns.",
    "a: the row's public residues of all blocks, block after block; noise: the same of the noise, signed.",
    "retries: where the public stream's words of retry 0, 1, ... were refused; row_sha256 is of the block's whole row,",
    "mask of the first participant in this block.",
]
FIRST, BLOCKS = (1 << 32) - 1, 2  # the second block's number no longer fits 32 bits
PARTICIPANTS = {"lattice-sum-s-v1": 10, "lattice-sum-l-v1": 3}
# How often the word of one coefficient is to be refused, for each row: what a search of seconds finds.
RETRIES = {"lattice-sum-s-v1": (1, 1), "lattice-sum-l-v1": (1, 1, 2, 2)}


def array(values: np.ndarray[Any, Any]) -> dict[str, Any]:
    """How an array stands in the file."""
    words = np.ascontiguousarray(values).astype("<u4", casting="unsafe")
    return {"sha256": hashlib.sha256(words.tobytes()).hexdigest(), "words": words.reshape(-1)[:4].tolist()}


def shake(seed: bytes, count: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """``count`` numbers of 64 bits of a seed."""
    return np.frombuffer(hashlib.shake_256(seed).digest(8 * count), "<u8").astype(np.uint64)


def secret_of(parameters: LatticeParameters, seed: bytes) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """The secret of a seed, uint32 [rows, n]."""
    return np.stack(
        [
            (shake(seed + bytes([row]), parameters.n) % np.uint64(prime)).astype(np.uint32)
            for row, prime in enumerate(parameters.primes)
        ]
    )


def words_of(parameters: LatticeParameters, seed: bytes, participants: int) -> np.ndarray[Any, Any]:
    """The vector of a seed, uint32 [BLOCKS * block]."""
    bound = parameters.largest // participants
    numbers = shake(seed, BLOCKS * parameters.block) % np.uint64(2 * bound + 1)
    signed = numbers.astype(np.int64) - bound
    signed[0::16], signed[1::16] = bound, -bound
    return signed.astype(np.int32).view(np.uint32)


def retries(parameters: LatticeParameters, context: bytes, secret: Any, noise: bytes) -> list[dict[str, Any]]:
    """For each row the first block and coefficient whose word is refused often enough."""
    public = scheme.public_key(context)
    found = []
    for row, (prime, times) in enumerate(zip(parameters.primes, RETRIES[parameters.name], strict=True)):
        counters = np.arange(parameters.n // 4, dtype=np.uint64)
        block, refused = -1, np.zeros(0, np.intp)
        while not len(refused):
            block += 1
            tries = [
                reference.stream(public, counters, block, row, retry).reshape(-1) for retry in range(times)
            ]
            refused = np.flatnonzero(np.all(np.array(tries) >= parameters.rejection_limit(row), axis=0))
        at = int(refused[0])
        residues = reference.uniform(parameters, public, row, block, 1)[:, 0]
        word = int(reference.stream(public, counters, block, row, times).reshape(-1)[at])
        if word >= parameters.rejection_limit(row) or residues[at] != word % prime:
            raise AssertionError("the case was to end at this retry")
        mask = np.empty(parameters.block, np.uint32)
        reference.NumpyBackend().mask(parameters, public, secret, noise, block, mask)
        found.append(
            {
                "row": row,
                "block": block,
                "coefficient": at,
                "retries": times,
                "residue": int(residues[at]),
                "row_sha256": array(residues)["sha256"],
                "mask": array(mask),
            }
        )
    return found


def vectors(parameters: LatticeParameters) -> dict[str, Any]:
    """The cases of one parameter set."""
    backend = reference.NumpyBackend()
    participants = PARTICIPANTS[parameters.name]
    context = hashlib.sha256(parameters.name.encode()).digest()
    public = scheme.public_key(context)
    length = BLOCKS * parameters.block
    primes = np.array(parameters.primes, np.uint64)[:, None]
    secrets = np.zeros((parameters.rows, parameters.n), np.uint64)
    total = np.zeros(length, np.uint32)
    members = []
    for member in range(participants):
        secret_seed, words_seed = (f"{use} {member}".encode() for use in ("secret", "words"))
        noise = hashlib.sha256(f"noise {member}".encode()).digest()[:16]
        secret, words = (
            secret_of(parameters, secret_seed),
            words_of(parameters, words_seed, participants),
        )
        mask, protected = np.empty(length, np.uint32), np.empty(length, np.uint32)
        backend.mask(parameters, public, secret, noise, FIRST, mask)
        backend.protect(parameters, public, secret, noise, FIRST, words, protected)
        backend.add_into(parameters, total, protected)
        secrets = (secrets + secret) % primes
        members.append(
            {
                "secret_seed": secret_seed.hex(),
                "words_seed": words_seed.hex(),
                "noise_key": noise.hex(),
                "secret": array(secret),
                "words": array(words),
                "noise": array(reference.noise_of(parameters, noise, FIRST, BLOCKS).T),
                "mask": array(mask),
                "protected": array(protected),
            }
        )
    opened = np.empty(length, np.uint32)
    together = secrets.astype(np.uint32)
    if not backend.open(
        parameters, public, together, FIRST, total, parameters.noise_bound(participants), opened
    ):
        raise AssertionError("the sum does not open")
    extremes = np.tile(np.array([parameters.largest, -parameters.largest], np.int32), length // 2).view(
        np.uint32
    )
    extreme = np.empty(length, np.uint32)
    own = secret_of(parameters, b"secret 0")
    noise = bytes.fromhex(members[0]["noise_key"])
    backend.protect(parameters, public, own, noise, 0, extremes, extreme)
    return {
        "name": parameters.name,
        "context": context.hex(),
        "public": public.hex(),
        "first": FIRST,
        "blocks": BLOCKS,
        "a": [
            array(reference.uniform(parameters, public, row, FIRST, BLOCKS).T)
            for row in range(parameters.rows)
        ],
        "participants": members,
        "sum": array(total),
        "secret_sum": array(together),
        "bound": parameters.noise_bound(participants),
        "opened": array(opened),
        "extremes": {"first": 0, "protected": array(extreme), "opened": array(extremes)},
        "retries": retries(parameters, context, own, noise),
    }


def text() -> str:
    """What the file is to hold."""
    return json.dumps({"about": ABOUT, "sets": [vectors(p) for p in PARAMETERS]}, indent=1) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="only say whether the file is as the source makes it"
    )
    if parser.parse_args(arguments).check:
        if PATH.read_text(encoding="utf-8") == text():
            return 0
        print(f"{PATH.name} is not what the reference makes.", file=sys.stderr)
        return 1
    PATH.write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
