"""Estimate what it costs to break the lattice sum's parameter sets. Needs Python and NumPy, nothing of this project.

Three attacks on learning with errors (LWE), each optimised over block size and number of samples:

- ``primal``: BKZ until the error is the unique shortest vector (Alkim, Ducas, Pöppelmann, Schwabe, "NewHope",
  USENIX Security 2016; Albrecht, Göpfert, Virdia, Wunderer, ASIACRYPT 2017), with Bai and Galbraith's embedding;
- ``two steps``: BKZ with a smaller block, then one search in a larger projected lattice ("bdd" in the
  lattice-estimator of Albrecht, Player and Scott, J. Math. Cryptol. 9(3), 2015);
- ``dual``: short vectors of the dual lattice as a distinguisher, as many as one sieve gives for nothing.

A secret that is uniform modulo q costs n samples and then is distributed as the error is (Applebaum, Cash,
Peikert, Sahai, CRYPTO 2009); as many samples as wanted are there. Bases have geometric profiles with the root
Hermite factor of Chen's thesis (2013).

Cost models, for block size b in dimension d:

- ``classical``: 2^(0.292 b + 16.4) * 8 d, as for the tables of the Homomorphic Encryption Standard (Albrecht et
  al., 2018; the sieve of Becker, Ducas, Gama, Laarhoven, SODA 2016);
- ``quantum``: the same with 0.265 (Laarhoven's thesis, 2015);
- ``core``, ``core-quantum``: one search alone, 2^(0.292 b) and 2^(0.265 b), as in NewHope and Kyber;
- ``gates``: gates of a sieve with dimensions for free (Ducas, EUROCRYPT 2018; Albrecht, Gheorghiu, Postlethwaite,
  Schanck, ASIACRYPT 2020, with the list decoding of MATZOV, 2022): what the lattice-estimator takes unless told.

Not modelled: attacks that guess a part of the secret (it has a deviation of 3 and more after the first step: no
gain), the FFT variant of the dual attack (MATZOV; Ducas and Pulles, CRYPTO 2023, dispute its analysis), Arora-Ge
and BKW (far out of reach with 40 and more values of noise and moduli of 55 bits), and anything that would use
the ring: none is known for power-of-two cyclotomics and errors of this kind.

Without options: a table. ``--json`` prints what docs/lattice-estimate.json holds; ``--check`` compares with it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

KEPT = Path(__file__).resolve().parent.parent / "docs" / "lattice-estimate.json"
# name, n, primes, words of a vector for each coefficient, as in aggregation/lattice/parameters.py
SETS = (
    ("S", 2048, (4294955009, 11272193), 2),
    ("L", 4096, (40961, 67084289, 67043329, 66994177), 3),
)
NOISE_BITS = 80  # of one member's centred binomial noise
LARGEST_VECTOR = 1 << 30  # words
KINDS = ("primal", "two steps", "dual")
MODELS = ("classical", "quantum", "core", "core-quantum", "gates")
_SLOPES = {"classical": 0.292, "quantum": 0.265, "core": 0.292, "core-quantum": 0.265}
_SIEVE = 16.4
# What progressive sieving adds, and gates of a sieve by dimension (a fit up to 1024 by the lattice-estimator).
_PROGRESSIVE = math.log2(5.46)
_GATES = (0.29613500308205365, 20.387885985467914)
_BLOCKS = range(60, 1200)
_LARGEST_SEARCH = 1200
# How finely the two-step attack is searched: in block size below the primal attack's, and in dimension.
_BELOW, _DIMENSIONS, _STEP = 60, 900, 20


@dataclass(frozen=True)
class Problem:
    """LWE: dimension, log2 of the modulus, deviation of the error, of a small secret (0: as the error), samples."""

    n: int
    log2_q: float
    sigma: float
    secret: float = 0.0
    samples: int = 0  # 0: as many as wanted

    @property
    def scale(self) -> float:
        """What a secret's coordinate is multiplied by to be as large as an error's."""
        return self.sigma / self.secret if 0 < self.secret < self.sigma else 1.0

    @property
    def log_q(self) -> float:
        return self.log2_q * math.log(2)


@dataclass(frozen=True)
class Attack:
    """One attack at its cheapest in one model: log2 of its cost, block size, last search, lattice dimension."""

    kind: str
    model: str
    bits: float
    block: int
    search: int
    dimension: int


def estimate(problem: Problem, models: Iterable[str] = MODELS, kinds: Iterable[str] = KINDS) -> list[Attack]:
    """These attacks in these models, each at its cheapest."""
    kinds, shortest = tuple(kinds), _primal_shape(problem)
    steps = list(_two_step_shapes(problem, shortest[0])) if "two steps" in kinds else []
    duals = list(_dual_shapes(problem)) if "dual" in kinds else []
    found = []
    for model in models:
        if "primal" in kinds:
            block, dimension = shortest
            bits = _reduction(model, block, dimension)
            found.append(Attack("primal", model, bits, block, block, dimension))
        if steps:
            costs = [_sum(_reduction(model, b, d), _search(model, s)) for b, s, d in steps]
            best = int(np.argmin(costs))
            found.append(Attack("two steps", model, costs[best], *steps[best]))
        if duals:
            costs = [_reduction(model, b, d) + max(0.0, more - 0.2075 * b) for b, d, more in duals]
            best = int(np.argmin(costs))
            block, dimension, _ = duals[best]
            found.append(Attack("dual", model, costs[best], block, block, dimension))
    return found


def _primal_shape(problem: Problem) -> tuple[int, int]:
    """The smallest block size for which the error is found, and with it the smallest dimension."""
    dimensions = np.arange(problem.n + 2, 4 * problem.n + 2)
    if problem.samples:
        dimensions = dimensions[dimensions - problem.n - 1 <= problem.samples]
    volumes = (
        (dimensions - problem.n - 1) * problem.log_q
        + problem.n * math.log(problem.scale)
        + math.log(problem.sigma)
    )
    for block in _BLOCKS:
        projected = math.log(problem.sigma) + 0.5 * math.log(block)
        reduced = _log_delta(block) * (2 * block - dimensions - 1) + volumes / dimensions
        fits = np.flatnonzero(projected <= reduced)
        if len(fits):
            return block, int(dimensions[fits[0]])
    raise ValueError("no block size breaks this")


def _two_step_shapes(problem: Problem, largest: int) -> Iterator[tuple[int, int, int]]:
    """Block size, dimension of the last search, dimension of the lattice."""
    projected = np.arange(2, _LARGEST_SEARCH)
    norms = math.log(problem.sigma) + 0.5 * np.log(projected + 1.0)
    balls = _log_balls()[projected + 1]
    for block in range(max(_BLOCKS[0], largest - _BELOW), largest + 1):
        slope = _log_delta(block)
        best = int(math.sqrt(problem.n * problem.log_q / slope))
        if problem.samples:
            best = min(best, problem.samples + problem.n)
        for dimension in range(max(problem.n + 2, best - _DIMENSIONS), best + 1, _STEP):
            volume = (dimension - problem.n) * problem.log_q + problem.n * math.log(problem.scale)
            last = projected * (volume / dimension) - (dimension - projected) * projected * slope
            shortest = (last + math.log(problem.sigma) - balls) / (projected + 1)
            fits = np.flatnonzero((shortest >= norms) & (projected < dimension))
            if len(fits):
                yield block, int(projected[fits[0]]) + 1, dimension


def _dual_shapes(problem: Problem) -> Iterator[tuple[int, int, float]]:
    """Block size, dimension, log2 of how many short dual vectors tell the samples from uniform ones."""
    secret = problem.sigma / problem.scale
    ratio = math.log(secret) + problem.log_q - math.log(problem.sigma)
    for block in range(_BLOCKS[0], 900):
        slope = _log_delta(block)
        dimension = round(math.sqrt(problem.n * ratio / slope))
        if problem.samples:
            dimension = min(dimension, problem.samples + problem.n)
        width = (
            0.5 * math.log(4 / 3)  # a sieve's vectors are this much longer than the shortest
            + dimension * slope
            + math.log(secret)
            - (dimension - problem.n) / dimension * ratio
        )
        if width < 3:
            yield block, dimension, 2 + 4 * math.pi**2 * math.exp(2 * width) / math.log(2)


def _log_delta(block: int) -> float:
    return math.log(block / (2 * math.pi * math.e) * (math.pi * block) ** (1 / block)) / (2 * (block - 1))


def _reduction(model: str, block: int, dimension: int) -> float:
    """log2 of the cost of BKZ with this block size."""
    if model == "gates":
        return _search(model, block) + _PROGRESSIVE + math.log2(max(dimension - block, 1))
    calls = 0.0 if model.startswith("core") else math.log2(8 * dimension)
    return _search(model, block) + calls


def _search(model: str, dimension: int) -> float:
    """log2 of the cost of one shortest vector."""
    if model == "gates":
        free = max(0.0, dimension * math.log(4 / 3) / math.log(dimension / (2 * math.pi * math.e)))
        return _PROGRESSIVE + _GATES[0] * (dimension - free) + _GATES[1]
    return _SLOPES[model] * dimension + (0.0 if model.startswith("core") else _SIEVE)


def _sum(left: float, right: float) -> float:
    return float(np.logaddexp2(left, right))


@cache
def _log_balls() -> NDArray[np.float64]:
    """The logarithms of the unit balls' volumes, by dimension."""
    return np.array([d / 2 * math.log(math.pi) - math.lgamma(d / 2 + 1) for d in range(_LARGEST_SEARCH + 2)])


def chosen_sigma(samples: int, coefficients: int) -> float:
    """The noise's deviation for whoever sees the sum of two members' noise and takes the samples it tells most of.

    Given the sum t of two centred binomials of NOISE_BITS each, one of them is hypergeometric with variance
    (4 NOISE_BITS^2 - 4 t^2) / (16 (2 NOISE_BITS - 1)): the larger the sum, the smaller. Of so many coefficients
    the best are taken; the root of their mean variance.
    """
    bits = 2 * NOISE_BITS
    left, total = float(samples), 0.0
    for t in range(NOISE_BITS, -1, -1):
        expected = coefficients * math.comb(bits, NOISE_BITS + t) / 2**bits * (2 if t else 1)
        taken = min(left, expected)
        total += taken * (bits * bits - 4 * t * t) / (16 * (bits - 1))
        left -= taken
    return math.sqrt(total / samples)


def noises(n: int, slots: int) -> dict[str, float]:
    """The deviations to look at: what is known of the noise, and to whom."""
    one = NOISE_BITS / 4
    return {
        "fresh": math.sqrt(one),  # the space, which sees no sum of noise
        "hint": math.sqrt(one / 2),  # members: of two honest ones they know the sum
        "chosen": chosen_sigma(2 * n, LARGEST_VECTOR // slots),  # the same, at the samples that are worst
        "theorem": math.sqrt(one / 4),  # what the reduction for Gaussians leaves (Kim et al., CRYPTO 2023)
    }


def figures() -> list[dict[str, object]]:
    """A row for each set, noise and attack: what docs/lattice-estimate.json holds.

    Block size, last search and dimension are those of the classical model; the others' hardly differ.
    """
    rows: list[dict[str, object]] = []
    for name, n, primes, slots in SETS:
        log2_q = math.log2(math.prod(primes))
        for noise, sigma in noises(n, slots).items():
            attacks = estimate(Problem(n, log2_q, sigma))
            for kind in KINDS:
                mine = {attack.model: attack for attack in attacks if attack.kind == kind}
                shape = mine["classical"]
                row = {
                    "set": name,
                    "n": n,
                    "log2_q": round(log2_q, 2),
                    "noise": noise,
                    "sigma": round(sigma, 3),
                }
                row |= {
                    "attack": kind,
                    "block": shape.block,
                    "search": shape.search,
                    "dimension": shape.dimension,
                }
                rows.append(row | {"bits": {model: round(mine[model].bits, 1) for model in MODELS}})
    return rows


def as_json(rows: list[dict[str, object]]) -> str:
    """JSON with a line for each row."""
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]"


def as_table(rows: list[dict[str, object]]) -> str:
    """A line for each set, noise and attack, a column for each model."""
    lines = [f"{'set':4}{'noise':9}{'sigma':>6}  {'attack':10}" + "".join(f"{m:>14}" for m in MODELS)]
    for row in rows:
        bits = row["bits"]
        assert isinstance(bits, dict)
        lines.append(
            f"{row['set']:4}{row['noise']:9}{row['sigma']:>6}  {row['attack']:10}"
            + "".join(f"{bits[model]:>14}" for model in MODELS)
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Estimate the cost of breaking the lattice sum.")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--json", action="store_true", help="print everything as JSON")
    choice.add_argument("--check", action="store_true", help="compare with docs/lattice-estimate.json")
    arguments = parser.parse_args()
    found = figures()
    if arguments.json:
        print(as_json(found))
        return 0
    if arguments.check:
        if json.loads(KEPT.read_text()) == found:
            return 0
        print(f"{KEPT.name} is not what this program finds; write it anew with --json.", file=sys.stderr)
        return 1
    print(as_table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
