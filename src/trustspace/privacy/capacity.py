"""How much a file can carry: the bits that survive, and those of them that can be set at will.

``most`` is a ceiling: every bit of the file, as if nothing in it were what it says that it is. Whoever trains can get
near it by capacity abuse or encodings that survive rounding (Song, Ristenpart, Shmatikov, "Machine Learning Models that
Remember Too Much", CCS 2017, sections 4.1 to 4.3), at some cost for what the file is for.

``easy`` is what costs nothing that anybody would measure. Of a floating-point weight it is the mantissa: overwritten
whole by a message, a network's area under the curve fell by no more than 0.002 (``python -m benchmarks.export``), and
no statistic of the bits tells (ibid., section 4.1). So bfloat16 leaves 7 bits where float32 leaves 23. Of a pixel it is
the lower half (Chan and Cheng, "Hiding data in images by simple LSB substitution", Pattern Recognition 37, 2004: four
of eight bits at acceptable quality). Of text and whole numbers it is all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Bits of a number, and its mantissa's, by the names of the safetensors format.
_BITS = {"BF16": 16, "F32": 32, "F64": 64, "I32": 32, "I64": 64, "U8": 8}
_EASY = _BITS | {"BF16": 7, "F32": 23, "F64": 52}
_EASY_OF_SAMPLE = 4


@dataclass(frozen=True)
class Room:
    """Bits that a file can carry: at ``most``, and such as can be set at will (``easy``)."""

    most: int
    easy: int

    def __add__(self, other: Room) -> Room:
        return Room(self.most + other.most, self.easy + other.easy)

    def records(self, record_bytes: int, rows: int) -> tuple[int, int]:
        """How many of ``rows`` records of ``record_bytes`` fit, at most and in what can be set at will.

        A record is counted as it lies in memory. Whoever hides rows can drop columns, digits or what others have in
        common: such a record is smaller, and more of them fit.
        """
        bits = 8 * record_bytes
        return min(self.most // bits, rows), min(self.easy // bits, rows)


def of_numbers(counts: Mapping[str, int], file_bytes: int) -> Room:
    """Of a tensor file: how many numbers of each type, by the format's name for it.

    Raises KeyError for a type that no exported file may have.
    """
    return Room(8 * file_bytes, sum(count * _EASY[kind] for kind, count in counts.items()))


def of_text(file_bytes: int) -> Room:
    """Of JSON, CSV or plain text: every byte may be chosen."""
    return Room(8 * file_bytes, 8 * file_bytes)


def of_picture(samples: int, file_bytes: int) -> Room:
    """Of a picture of ``samples`` bytes (width times height times channels), stored without compression."""
    return Room(8 * file_bytes, _EASY_OF_SAMPLE * samples)
