"""What packed Paillier costs, beside phe: sums for each number, scores for each row, proofs for each key.

    python -m benchmarks.paillier [--bits 2048 3072] [--turns 5]

Sums and scores are checked against exact ones in every turn. Ours and phe's (where it is installed) take turns in one
process; times are of this process's processor, one thread, medians with the lowest and highest turn.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from trustspace.aggregation.paillier import arithmetic, proofs, scoring
from trustspace.aggregation.paillier.keys import PrivateKey
from trustspace.aggregation.paillier.packing import PackedSum

CLIENTS, VALUE_BITS = 10, 20
FEATURES, FEATURE_BITS, WEIGHT_BITS = 30, 15, 12
CONTEXT = b"benchmark"
Times = dict[str, list[float]]


def sums(bits: int = 3072, ciphertexts: int = 16, turns: int = 5) -> list[dict[str, Any]]:
    """Rows for encrypt, add and decrypt of our packed sums, unpacked ours and phe's, at one key size.

    One participant's encryption, one addition, one opening, divided by the numbers: packed they are as many as
    ``ciphertexts`` hold, else one to a ciphertext.
    """
    private = PrivateKey.generate(bits)
    packed = PackedSum(private.public, 1, CLIENTS, VALUE_BITS).slots.count * ciphertexts
    cases: list[tuple[str, int, _Scheme]] = [
        ("paillier-packed", packed, _Ours(private, packed)),
        ("paillier", ciphertexts, _Unpacked(private)),
    ]
    phe = _phe()
    if phe is not None:
        cases.append(("phe", ciphertexts, _Phe(phe, bits)))
    times: dict[str, Times] = {name: {"encrypt": [], "add": [], "decrypt": []} for name, _, _ in cases}
    sizes: dict[str, float] = {}
    for turn in range(turns + 1):  # the first one builds tables and is not counted
        for name, count, scheme in cases:
            values = [[_value() for _ in range(count)] for _ in range(2)]
            first, second = (_timed(times[name]["encrypt"], scheme.encrypt, vector) for vector in values)
            total = _timed(times[name]["add"], scheme.add, first, second)
            found = _timed(times[name]["decrypt"], scheme.decrypt, total)
            assert found == [a + b for a, b in zip(*values, strict=True)]
            sizes[name] = scheme.size(first) / count
            if not turn:
                times[name] = {step: [] for step in times[name]}
    return [
        {
            "scheme": f"{name}-{bits}",
            "step": step,
            "params": count,
            "threads": 1,
            "ns_per_param": statistics.median(taken) / count * 1e9,
            "ns_per_param_low": min(taken) / count * 1e9,
            "ns_per_param_high": max(taken) / count * 1e9,
            "wire_bytes_per_param": sizes[name],
        }
        for name, count, _ in cases
        for step, taken in times[name].items()
    ]


def scores(bits: int = 3072, rows: int = 2000, turns: int = 3) -> list[dict[str, Any]]:
    """Rows a second of encrypted scores, ours and phe's own dot product, whole numbers and 64-bit floats."""
    private = PrivateKey.generate(bits)
    weights = [secrets.randbelow(2 << WEIGHT_BITS) - (1 << WEIGHT_BITS) + 1 for _ in range(FEATURES)]
    weights = [max(min(weight, (1 << WEIGHT_BITS) - 1), 1 - (1 << WEIGHT_BITS)) for weight in weights]
    offered = proofs.encrypt_weights(private.public, weights, WEIGHT_BITS, CONTEXT)
    proven = proofs.verify_weights(private.public, offered, CONTEXT)
    limit = 1 << FEATURE_BITS
    phe = _phe()
    theirs = None
    if phe is not None:
        public, opener = phe.generate_paillier_keypair(n_length=bits)
        theirs = [public.encrypt(weight) for weight in weights]
    times: Times = {}
    for _ in range(turns):
        table = np.random.default_rng(secrets.randbits(64)).integers(1 - limit, limit, (rows, FEATURES))
        exact = (table @ np.array(weights)).tolist()
        # A fresh scorer each time: tables are part of what a job pays.
        scorer = scoring.Scorer(proven, FEATURE_BITS)
        found = _timed(times.setdefault("paillier-packed", []), scorer.score, table)
        opened = _timed(
            times.setdefault("opening", []), scoring.open_scores, private, scorer.slots, found, rows
        )
        assert opened == exact
        if theirs is not None:
            few = table[:8]
            for name, part in (("phe, whole numbers", few), ("phe, floats", few / limit)):
                dots = _timed(times.setdefault(name, []), _dots, part.tolist(), theirs)
                back = [float(opener.decrypt(dot)) for dot in dots]
                assert np.allclose(back, part @ np.array(weights, float))
    counts = {name: 8 if name.startswith("phe") else rows for name in times}
    return [
        {
            "scheme": f"{name}-{bits}",
            "rows": counts[name],
            "features": FEATURES,
            "rows_per_second": counts[name] / statistics.median(taken),
            "low": counts[name] / max(taken),
            "high": counts[name] / min(taken),
        }
        for name, taken in times.items()
    ]


def proving(bits: int = 3072, turns: int = 5) -> list[dict[str, Any]]:
    """Seconds and bytes of the two proofs, the weights' one for FEATURES weights of WEIGHT_BITS bits."""
    private = PrivateKey.generate(bits)
    public, times, sizes = private.public, {}, {}
    weights = [(1 << WEIGHT_BITS) - 1] * FEATURES
    for _ in range(turns):
        modulus = _timed(times.setdefault("modulus: prove", []), proofs.prove_modulus, private, CONTEXT)
        _timed(times.setdefault("modulus: verify", []), proofs.verify_modulus, public, modulus, CONTEXT)
        offered = _timed(
            times.setdefault("weights: encrypt and prove", []),
            proofs.encrypt_weights, public, weights, WEIGHT_BITS, CONTEXT,
        )  # fmt: skip
        _timed(times.setdefault("weights: verify", []), proofs.verify_weights, public, offered, CONTEXT)
        sizes = {"modulus": len(modulus), "weights": len(offered.proof)}
    return [
        {
            "scheme": f"{name}-{bits}",
            "seconds": statistics.median(taken),
            "low": min(taken),
            "high": max(taken),
            "bytes": sizes[name.split(":")[0]],
        }
        for name, taken in times.items()
    ]


class _Scheme:
    """Two vectors in, their sum out."""

    def encrypt(self, values: list[int]) -> Any:
        raise NotImplementedError

    def add(self, a: Any, b: Any) -> Any:
        raise NotImplementedError

    def decrypt(self, total: Any) -> list[int]:
        raise NotImplementedError

    def size(self, vector: Any) -> int:
        raise NotImplementedError


class _Ours(_Scheme):
    def __init__(self, private: PrivateKey, length: int) -> None:
        self.private = private
        self.sum = PackedSum(private.public, length, CLIENTS, VALUE_BITS)

    def encrypt(self, values: list[int]) -> Any:
        return self.sum.encrypt(values)

    def add(self, a: Any, b: Any) -> Any:
        return self.sum.add(a, b)

    def decrypt(self, total: Any) -> list[int]:
        return self.sum.decrypt(self.private, total)

    def size(self, vector: Any) -> int:
        return len(self.sum.key.encode(vector.ciphertexts))


class _Unpacked(_Scheme):
    def __init__(self, private: PrivateKey) -> None:
        self.private, self.key = private, private.public

    def encrypt(self, values: list[int]) -> Any:
        return [self.key.encrypt(value) for value in values]

    def add(self, a: Any, b: Any) -> Any:
        return [self.key.add(*pair) for pair in zip(a, b, strict=True)]

    def decrypt(self, total: Any) -> list[int]:
        return self.private.decrypt_many(total)

    def size(self, vector: Any) -> int:
        return len(self.key.encode(vector))


class _Phe(_Scheme):
    """One number to a ciphertext: phe has no packing."""

    def __init__(self, phe: Any, bits: int) -> None:
        self.public, self.private = phe.generate_paillier_keypair(n_length=bits)
        self.bits = bits

    def encrypt(self, values: list[int]) -> Any:
        return [self.public.encrypt(value) for value in values]

    def add(self, a: Any, b: Any) -> Any:
        return [x + y for x, y in zip(a, b, strict=True)]

    def decrypt(self, total: Any) -> list[int]:
        return [self.private.decrypt(number) for number in total]

    def size(self, vector: Any) -> int:
        return len(vector) * self.bits // 4


def _dots(rows: list[list[float]], weights: list[Any]) -> list[Any]:
    return [
        sum((w * x for w, x in zip(weights[1:], row[1:], strict=True)), weights[0] * row[0]) for row in rows
    ]


def _value() -> int:
    return secrets.randbelow((1 << VALUE_BITS) - 1) - (1 << (VALUE_BITS - 1)) + 1


def _timed(into: list[float], step: Callable[..., Any], *given: Any) -> Any:
    before = time.process_time()
    result = step(*given)
    into.append(time.process_time() - before)
    return result


def _phe() -> Any:
    try:
        import phe
    except ImportError:
        return None
    return phe


def _table(bits: int, turns: int) -> Iterator[str]:
    for row in sums(bits, turns=turns):
        spread = f"[{row['ns_per_param_low']:,.0f}-{row['ns_per_param_high']:,.0f}]"
        yield (
            f"{row['scheme']:24} {row['step']:8} {row['ns_per_param']:14,.0f} ns a number {spread:26}"
            f" {row['wire_bytes_per_param']:6.2f} bytes"
        )
    for row in scores(bits, turns=turns):
        yield f"{row['scheme']:28} {row['rows_per_second']:10,.1f} rows/s [{row['low']:,.1f}-{row['high']:,.1f}]"
    for row in proving(bits, turns=turns):
        yield (
            f"{row['scheme']:34} {row['seconds']:7.3f} s [{row['low']:.3f}-{row['high']:.3f}] {row['bytes']:7,} bytes"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What packed Paillier costs, beside phe.")
    parser.add_argument("--bits", type=int, nargs="+", default=[2048, 3072])
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    print("GMP" if arithmetic.accelerated() else "Python's integers")
    for bits in given.bits:
        for line in _table(bits, given.turns):
            print(line, flush=True)


if __name__ == "__main__":
    main()
