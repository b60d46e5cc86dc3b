"""The part of a dataset that a run may see, handed over in memory that nobody can change.

Sealed memory: memfd_create(2) and F_ADD_SEALS, fcntl(2). Once sealed, neither the worker nor the enclave
can write, grow or shrink it, and the seals cannot be taken off.
"""

from __future__ import annotations

import fcntl
import hmac
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trustspace.data.parquet import map_descriptor
from trustspace.errors import InvalidInput

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
MIN_SPLIT_KEY_BYTES = 16
MOST_WITHHELD_PERCENT = 50
# Of the audited patients: at least half of them stay as they are, to say what the model gives away of such.
MOST_CANARIES_PERCENT = 50
# Of fewer, coins could withhold all or none.
FEWEST_TO_WITHHOLD_FROM = 8


def drawn(patients: Sequence[str], percent: int, key: bytes) -> npt.NDArray[np.bool_]:
    """``percent`` of the patients, rounded up, bool [patients]: those first in the order of HMAC-SHA256(key, patient).

    Raises InvalidInput when ``percent`` is not 0 to 90, the key is shorter than 16 bytes, or none would be left.
    """
    if not 0 <= percent <= 90:
        raise InvalidInput("{percent} percent cannot be withheld.", fix="Choose 0 to 90.", percent=percent)
    _require_key(key)
    count = -(-len(patients) * percent // 100)
    if count >= len(patients):
        raise _too_few(len(patients), percent)
    tags = [hmac.digest(key, patient.encode(), "sha256") for patient in patients]
    chosen = np.zeros(len(patients), dtype=bool)
    chosen[sorted(range(len(patients)), key=tags.__getitem__)[:count]] = True
    return chosen


def _require_key(key: bytes) -> None:
    if len(key) < MIN_SPLIT_KEY_BYTES:
        raise InvalidInput("The key of the split is too short.", fix="Use at least 16 random bytes.")


def _too_few(patients: int, percent: int) -> InvalidInput:
    return InvalidInput(
        "{patients} patients are too few to withhold {percent} percent of them.",
        fix="Withhold nothing, or give more patients.",
        patients=patients,
        percent=percent,
    )


@dataclass(frozen=True)
class Draw:
    """Which patients were withheld, bool [patients], and of which of all patients a fair coin decided."""

    withheld: npt.NDArray[np.bool_]
    audited: npt.NDArray[np.bool_]


def draw_withheld(patients: Sequence[str], percent: int, key: bytes) -> Draw:
    """Draw the patients that a job never sees, so that afterwards nobody can say that they were chosen.

    Twice ``percent`` of the patients, at random, are audited: each of these is in or out by a fair coin of its own,
    which is what auditing by one run rests on (Steinke, Nasr and Jagielski 2023, "Privacy Auditing with One (1)
    Training Run"). A few more, who are not audited, are withheld whatever the coins say: one deviation of the coins'
    number, so that they seldom leave fewer than ``percent``. Order and coins are HMAC-SHA256(key, patient).
    Raises InvalidInput when ``percent`` is not 0 to 50, the key is shorter than 16 bytes, or the patients are fewer
    than FEWEST_TO_WITHHOLD_FROM, or so few that the coins leave none.
    """
    if not 0 <= percent <= MOST_WITHHELD_PERCENT:
        raise InvalidInput("{percent} percent cannot be withheld.", fix="Choose 0 to 50.", percent=percent)
    _require_key(key)
    audited, withheld = np.zeros(len(patients), dtype=bool), np.zeros(len(patients), dtype=bool)
    if percent == 0:
        return Draw(withheld, audited)
    if len(patients) < FEWEST_TO_WITHHOLD_FROM:
        raise _too_few(len(patients), percent)
    tags = [hmac.digest(key, patient.encode(), "sha256") for patient in patients]
    # The first half of a tag is the place in the order, the last bit the coin.
    order = sorted(range(len(patients)), key=lambda place: tags[place][:16])
    tossed, wanted = -(-len(patients) * percent // 50), -(-len(patients) * percent // 100)
    audited[order[:tossed]] = True
    withheld[order[:tossed]] = [bool(tags[place][-1] & 1) for place in order[:tossed]]
    # Of 2 n coins the number of heads deviates by the root of n / 2.
    more = math.ceil(math.sqrt(wanted / 2))
    withheld[order[tossed : tossed + more]] = True
    if bool(withheld.all()):
        raise _too_few(len(patients), percent)
    return Draw(withheld, audited)


def draw_canaries(
    patients: Sequence[str], audited: npt.NDArray[np.bool_], percent: int, classes: int, key: bytes
) -> npt.NDArray[np.int64]:
    """By how many classes the label of each patient is moved on, [patients]: 0 for whoever is no canary.

    ``percent`` of the audited patients, rounded up, are canaries, drawn under a key of its own so that no coin has a
    part in it: who is one is as often in as out, and the coins of the others stay as fair as they were. Each is moved
    by 1 to ``classes`` - 1, all as likely. Audit by mislabelled records: Aerni, Zhang and Tramèr 2024, "Evaluations
    of Machine Learning Privacy Defenses are Misleading", section 4. Nobody is one where there is but one class.
    Raises InvalidInput when ``percent`` is not 0 to 50 or the key is shorter than 16 bytes.
    """
    if not 0 <= percent <= MOST_CANARIES_PERCENT:
        raise InvalidInput(
            "{percent} percent of the audited patients cannot be canaries.",
            fix="Choose 0 to 50.",
            percent=percent,
        )
    _require_key(key)
    shifts = np.zeros(len(patients), dtype=np.int64)
    if percent == 0 or classes < 2:
        return shifts
    places = [int(place) for place in np.flatnonzero(audited)]
    tags = {place: hmac.digest(key, patients[place].encode(), "sha256") for place in places}
    # The first half of a tag is the place in the order, the rest says by how much.
    order = sorted(tags, key=lambda place: tags[place][:16])
    for place in order[: -(-len(order) * percent // 100)]:
        shifts[place] = 1 + int.from_bytes(tags[place][16:]) % (classes - 1)
    return shifts


def to_memfd(table: pa.Table, name: str) -> int:
    """A sealed memfd with the table as an Arrow IPC stream; the caller closes it. ``name`` shows in /proc."""
    plain = table.replace_schema_metadata(None)
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with (
            os.fdopen(os.dup(descriptor), "wb", buffering=1 << 20) as sink,
            pa.ipc.new_stream(sink, plain.schema) as writer,
        ):
            writer.write_table(plain)
        os.lseek(descriptor, 0, os.SEEK_SET)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def from_fd(descriptor: int) -> pa.Table:
    """The table in a sealed memfd, without a copy; the descriptor may be closed afterwards.

    Raises InvalidInput when the descriptor is not sealed (its content could change while it is read) or
    holds no Arrow IPC stream.
    """
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:
        seals = 0
    if seals & SEALS != SEALS:
        raise InvalidInput("The memory handed in is not sealed.", fix="Hand it in with to_memfd.")
    return from_buffer(map_descriptor(descriptor))


def from_buffer(data: bytes | memoryview | pa.Buffer) -> pa.Table:
    """The table in an Arrow IPC stream, without a copy. Raises InvalidInput when it is none."""
    table = None
    try:
        with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError):
        table = None
    if table is None:
        raise InvalidInput("The data handed in is not an Arrow stream.", fix="Hand it in with to_memfd.")
    return table
