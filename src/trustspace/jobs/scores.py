"""Encrypted scores as a file, and what can be told of it without the key that opens it.

``scores.json`` holds ciphertexts of the developer's Paillier key and, for sums, the number of rows of every group that
is shown. Its one form is checked in the enclave: as many ciphertexts as its sums need, and nothing beside them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from trustspace.aggregation.paillier.keys import PublicKey
from trustspace.aggregation.paillier.packing import Slots
from trustspace.aggregation.paillier.proofs import proven_bits
from trustspace.aggregation.paillier.scoring import column_sum_bits, score_slots
from trustspace.errors import TrustspaceError, VerificationFailed
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.sections_score import GROUP_SUMS, ROWS

SCORES_ARTIFACT, BLINDS_ARTIFACT = "scores.json", "blinds.json"
SCORES_FORMAT, BLINDS_FORMAT = "trustspace-scores-v1", "trustspace-blinds-v1"
HIDDEN = "hidden"
MAX_SCORES_BYTES = 8 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class Scores:
    """A scores.json: the key it is for, the rows of each group (None: hidden) or of all, and the ciphertexts.

    ``value_bits``: how many bits the features' values may have at most, of a row or of the sum over a group.
    ``context``: of which job it is, as hex; what the model's proofs were bound to.
    """

    key: PublicKey
    weight_bits: int
    value_bits: int
    features: int
    rows: tuple[int | None, ...]
    minimum: int
    ciphertexts: tuple[int, ...]
    result: str
    context: str = ""

    @property
    def slots(self) -> Slots:
        """How the scores lie in the ciphertexts."""
        return score_slots(self.key, self.features, self.weight_bits, self.value_bits)

    @property
    def length(self) -> int:
        """How many scores the ciphertexts hold."""
        if self.result == ROWS:
            return self.rows[0] or 0
        return sum(bool(rows) for rows in self.rows)

    def to_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """As it is released."""
        value: dict[str, Any] = {
            "format": SCORES_FORMAT,
            "result": self.result,
            "context": self.context,
            "key": _text(self.key.to_bytes()),
            "weight_bits": self.weight_bits,
            "value_bits": self.value_bits,
            "ciphertexts": _text(self.key.encode(self.ciphertexts)),
        }
        if self.result == ROWS:
            return value | {"rows": self.rows[0]}
        groups = [
            {"group": label, "rows": HIDDEN if rows is None else rows}
            for label, rows in zip(labels, self.rows, strict=True)
        ]
        return value | {"minimum_cell_count": self.minimum, "groups": groups}


@dataclass(frozen=True)
class Blinds:
    """What masks the scores of a unit's rows, one number for each ciphertext: for its source unit alone."""

    key: PublicKey
    weight_bits: int
    value_bits: int
    features: int
    rows: int
    numbers: tuple[int, ...]

    @classmethod
    def of(cls, scores: Scores, numbers: Sequence[int]) -> Self:
        """Those that blinded ``scores``."""
        return cls(
            scores.key, scores.weight_bits, scores.value_bits, scores.features, scores.length, tuple(numbers)
        )

    @property
    def slots(self) -> Slots:
        """How the scores lie in the plaintexts."""
        return score_slots(self.key, self.features, self.weight_bits, self.value_bits)

    def to_json(self) -> dict[str, Any]:
        """As it is sealed to the unit's own reviewers."""
        return {
            "format": BLINDS_FORMAT,
            "key": _text(self.key.to_bytes()),
            "weight_bits": self.weight_bits,
            "value_bits": self.value_bits,
            "features": self.features,
            "rows": self.rows,
            "blinds": _text(encode_numbers(self.key, self.numbers)),
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """From a parsed blinds.json; VerificationFailed unless it is one."""
        wanted = {"format", "key", "weight_bits", "value_bits", "features", "rows", "blinds"}
        if not isinstance(value, dict) or set(value) != wanted or value["format"] != BLINDS_FORMAT:
            raise _unsound(BLINDS_ARTIFACT)
        key = PublicKey.from_bytes(_bytes(value["key"]))
        weight, bits, features, rows = (
            _count(value[name]) for name in ("weight_bits", "value_bits", "features", "rows")
        )
        return cls(key, weight, bits, features, rows, decode_numbers(key, _bytes(value["blinds"])))


def encode_numbers(key: PublicKey, numbers: Sequence[int]) -> bytes:
    """Numbers below the modulus, big-endian, each as wide as it."""
    return b"".join(number.to_bytes(key.bits // 8, "big") for number in numbers)


def decode_numbers(key: PublicKey, data: bytes) -> tuple[int, ...]:
    """The inverse; VerificationFailed for a number that is not below the modulus, or part of one."""
    width = key.bits // 8
    numbers = tuple(
        int.from_bytes(data[start : start + width], "big") for start in range(0, len(data), width)
    )
    if len(data) % width or any(number >= key.n for number in numbers):
        raise VerificationFailed("A number does not fit the key's modulus.")
    return numbers


def read_scores(value: Any, parameters: Parameters) -> Scores:
    """The scores in a parsed scores.json; VerificationFailed unless it has exactly the form of :class:`Scores`."""
    score = parameters.scoring()
    features = len(score.features)
    wanted = {"format", "result", "context", "key", "weight_bits", "value_bits", "ciphertexts"}
    wanted |= {"rows"} if score.result == ROWS else {"minimum_cell_count", "groups"}
    if not isinstance(value, dict) or set(value) != wanted:
        raise _unsound()
    if (value["format"], value["result"]) != (SCORES_FORMAT, score.result):
        raise _unsound()
    context = value["context"]
    if not isinstance(context, str) or not _DIGEST.fullmatch(context):
        raise _unsound()
    try:
        key = PublicKey.from_bytes(_bytes(value["key"]))
        ciphertexts = tuple(key.decode(_bytes(value["ciphertexts"])))
    except TrustspaceError:
        raise _unsound() from None
    rows: tuple[int | None, ...]
    if score.result == ROWS:
        rows, minimum, value_bits = (_count(value["rows"]),), 0, score.feature_bits
    else:
        minimum = _count(value["minimum_cell_count"])
        rows = tuple(_rows_of(value["groups"], score.labels, minimum))
        value_bits = column_sum_bits(score.feature_bits, max([1, *(r for r in rows if r)]))
    weight_bits = proven_bits(score.weight_bits - 1, features)
    found = Scores(key, weight_bits, value_bits, features, rows, minimum, ciphertexts, score.result, context)
    said = (value["weight_bits"], value["value_bits"])
    if any(type(bits) is not int for bits in said) or said != (weight_bits, value_bits):
        raise _unsound()
    # As many as it takes: one more could hold what it likes.
    if len(ciphertexts) != -(-found.length // found.slots.count):
        raise _unsound()
    return found


def _rows_of(groups: Any, labels: Sequence[str], minimum: int) -> list[int | None]:
    if not isinstance(groups, list) or len(groups) != len(labels):
        raise _unsound()
    found: list[int | None] = []
    for item, label in zip(groups, labels, strict=True):
        if not isinstance(item, dict) or set(item) != {"group", "rows"} or item["group"] != label:
            raise _unsound()
        rows = None if item["rows"] == HIDDEN else _count(item["rows"])
        if rows is not None and 0 < rows < minimum:
            raise _unsound()
        found.append(rows)
    return found


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 40:
        raise _unsound()
    return value


def _unsound(name: str = SCORES_ARTIFACT) -> VerificationFailed:
    return VerificationFailed("Artifact {name} is not what scoring reports.", name=name)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(value: Any) -> bytes:
    """The bytes that base64 text in its one form stands for."""
    try:
        data = base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        data = None
    if data is None or _text(data) != value:
        raise _unsound()
    return data


@dataclass(frozen=True)
class Carried:
    """What a scores.json can tell whoever has its key, for the reviewer, who has not.

    ``key``: the key's digest, of ``key_bits``. ``weight_bits``: no hidden weight has more, as its developer proved.
    ``sums``: how many sums it holds, each of ``sum_bits`` at most and of at least ``smallest`` rows (0: of none).
    ``hidden``: groups that are not shown, ``minimum``: the fewest rows of one that is. ``rows``: of blinded scores,
    how many; then there are no sums.
    """

    key: str
    key_bits: int
    weight_bits: int
    sums: int
    sum_bits: int
    smallest: int
    hidden: int
    minimum: int
    rows: int


def carried(value: Any, parameters: Parameters) -> Carried:
    """What a parsed scores.json carries. Raises VerificationFailed for an unsound form."""
    found = read_scores(value, parameters)
    shown = [rows for rows in found.rows if rows] if found.result == GROUP_SUMS else []
    # Either sign. One weight may be larger than declared, all together are no longer than if none were (see proofs).
    weight = (1 << (parameters.scoring().weight_bits - 1)) - 1
    largest = found.features * ((1 << found.value_bits) - 1) * weight
    return Carried(
        key=found.key.digest(),
        key_bits=found.key.bits,
        weight_bits=found.weight_bits,
        sums=len(shown),
        sum_bits=(2 * largest + 1).bit_length() if shown else 0,
        smallest=min(shown, default=0),
        hidden=sum(rows is None for rows in found.rows),
        minimum=found.minimum,
        rows=found.length if found.result == ROWS else 0,
    )
