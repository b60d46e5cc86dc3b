"""Looks into what is about to leave for rows of the data: models and files that keep the cases they learnt from.

Nearest neighbours, kernel machines and trees with small leaves hold records by design (SACRO-ML refuses the first two
outright and asks for leaves of five or more). Here their traces are recognised in parsed arrays, in the enclave's own
process, where the rows are open: NumPy and Arrow, bounded work, no developer's code. What equals a row is decided in
:mod:`trustspace.privacy.stored_rows`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustspace.jobs.artifacts import parse_csv, parse_json
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.features import Preparation, numbers, read_features
from trustspace.jobs.json_tables import Numbers, numbers_of, small_leaf, stores_by_name, tables_in
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.registry import NETWORK
from trustspace.jobs.sections import MODEL_ARTIFACT
from trustspace.jobs.tensors import read_tensors
from trustspace.privacy.stored_rows import Reference, TooMuch, Work, codes

Floats = NDArray[np.floating[Any]]
MOST_NUMBERS = 1 << 27
# What the platform's own training made is compared where that takes no time worth counting: it cannot keep rows.
MOST_IN_OWN = 1 << 21
MOST_WORK = 1 << 28
MOST_TABLES = 512
MOST_COLUMNS = 256
# Columns of tables times columns of the data: each such pair takes up to half a millisecond.
MOST_COMPARED = 1 << 16
# A size that is a count of the data by chance is likely where the data are few.
FEWEST_ROWS = 20
_SAMPLED_CELLS = 1000
_CONTAINED = 0.5
_FEWEST_COLUMNS = 3


@dataclass(frozen=True)
class StoredRows:
    """What was seen of rows in the files that are to leave.

    ``compared``: whether their numbers were compared with the rows: ``pictures`` and ``too_large`` where they were not,
    ``narrow`` where no row could be told from chance, ``not_needed`` where only the platform's own code ran and the
    numbers are many.
    ``found``: where rows stand, and how many. ``shaped``: what has exactly as many entries as there are rows or
    patients. ``leaves``: files with a tree, and the fewest rows in one of its leaves. ``named``: what says by its name
    that it keeps rows.
    """

    compared: Literal["yes", "narrow", "pictures", "too_large", "not_needed"]
    found: tuple[tuple[str, int], ...] = ()
    shaped: tuple[str, ...] = ()
    leaves: tuple[tuple[str, int], ...] = ()
    named: tuple[str, ...] = ()


def stored_rows(
    parameters: Parameters, artifacts: Sequence[RawArtifact], table: pa.Table, patients: int
) -> StoredRows | None:
    """What ``artifacts``, already checked, hold of ``table``, the rows that the job saw, of so many ``patients``.

    None for what the platform's own counting made.
    """
    if parameters.train is not None:
        model = next(artifact.data for artifact in artifacts if artifact.name == MODEL_ARTIFACT)
        return _in_model(parameters, model, table, patients)
    if parameters.compute is None:
        return None
    return _in_files(artifacts, table, patients)


def _in_model(parameters: Parameters, model: bytes, table: pa.Table, patients: int) -> StoredRows:
    train = parameters.training()
    tensors = read_tensors(model)
    network = {name: array for name, array in tensors.items() if name.startswith(NETWORK)}
    shaped: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    if train.model == "custom":
        # A platform's own model has the sizes that its job declares before anybody has seen the data.
        shaped = tuple(_sized(network, table.num_rows, patients))
        named = tuple(name for name in network if stores_by_name(name))
    if train.is_image:
        return StoredRows("pictures", shaped=shaped, named=named)
    raw = read_features(table, parameters)
    prepared = Preparation(*(tensors[f"input.{part}"] for part in ("fill", "mean", "scale")))
    sizes = raw.size + sum(array.size for array in network.values())
    if train.model != "custom" and sizes > MOST_IN_OWN:
        return StoredRows("not_needed")
    try:
        if sizes > MOST_NUMBERS:
            raise TooMuch
        references = [r for r in (Reference.of(prepared.apply(raw)), Reference.of(raw)) if r is not None]
        width = raw.shape[1]
        readings = [(name, found) for name, array in network.items() for found in _readings(array, width)]
        most: dict[str, int] = {}
        work = Work()
        for name, candidates in readings:
            for reference in references:
                count = reference.found(candidates, len(readings) * len(references), work)
                most[name] = max(most.get(name, 0), count)
    except TooMuch:
        return StoredRows("too_large", shaped=shaped, named=named)
    found = tuple((name, count) for name, count in most.items() if count)
    return StoredRows("yes" if references else "narrow", found, shaped, named=named)


def _readings(array: NDArray[Any], width: int) -> Iterator[NDArray[Any]]:
    """The ways in which rows of ``width`` may lie in a tensor: along it, across it, with a column before or after."""
    if width < _FEWEST_COLUMNS or array.size < width:
        return
    if array.size % width == 0:
        yield array.reshape(-1, width)
        if array.ndim == 1 and array.size > width:
            yield array.reshape(width, -1).T
    if array.ndim < 2:
        return
    flat = {array.reshape(len(array), -1).shape: array.reshape(len(array), -1)}
    flat[array.reshape(-1, array.shape[-1]).shape] = array.reshape(-1, array.shape[-1])
    for matrix in flat.values():
        if matrix.shape[0] == width:
            yield matrix.T
        for turned in (matrix, matrix.T):
            if width < turned.shape[1] <= 2 * width:
                yield turned[:, :width]
                yield turned[:, -width:]


def _sized(tensors: dict[str, NDArray[Any]], rows: int, patients: int) -> Iterator[str]:
    counts = {count for count in (rows, patients) if count >= FEWEST_ROWS}
    for name, array in tensors.items():
        if counts & set(array.shape):
            yield name


def _in_files(artifacts: Sequence[RawArtifact], table: pa.Table, patients: int) -> StoredRows:
    data = _numeric(table)
    found: list[tuple[str, int]] = []
    shaped: list[str] = []
    leaves: list[tuple[str, int]] = []
    named: list[str] = []
    tables: list[Numbers] = []
    pictures = False
    counts = {count for count in (table.num_rows, patients) if count >= FEWEST_ROWS}
    for raw in artifacts:
        if raw.media_type == "application/json":
            value = parse_json(raw.data)
            tables += tables_in(value, raw.name)
            smallest = small_leaf(value)
            leaves += [(raw.name, smallest)] if smallest is not None else []
            named += [f"{raw.name}: {key}" for key in stores_by_name_in(value)]
        elif raw.media_type == "text/csv":
            header, *rows = parse_csv(raw.data)
            shaped += [raw.name] if len(rows) in counts else []
            tables.append(numbers_of(raw.name, header, rows))
        elif raw.media_type == "image/png":
            pictures = True
        else:
            tensors = read_tensors(raw.data)
            shaped += [f"{raw.name}: {name}" for name in _sized(tensors, table.num_rows, patients)]
            named += [f"{raw.name}: {name}" for name in tensors if stores_by_name(name)]
            tables += _tables_of(raw.name, tensors, len(data.names))
    try:
        if sum(one.values.size for one in tables) > MOST_NUMBERS or len(tables) > MOST_TABLES:
            raise TooMuch
        if sum(one.values.shape[1] for one in tables) * len(data.names) > MOST_COMPARED:
            raise TooMuch
        known = _values(data)
        pairs = [_assigned(one, data, known) for one in tables]
        # Many small tables cost as much as a large one: each is compared with all rows.
        if sum(len(data.values) * len(found_pairs) for found_pairs in pairs) > MOST_WORK:
            raise TooMuch
        work = Work()
        for one, assigned in zip(tables, pairs, strict=True):
            count = _found(one, data, assigned, 2 * len(tables), work)
            found += [(one.name, count)] if count else []
    except TooMuch:
        return StoredRows("too_large", (), tuple(shaped), tuple(leaves), tuple(named))
    told = len(data.names) >= _FEWEST_COLUMNS
    compared: Literal["yes", "narrow", "pictures"] = "pictures" if pictures else "yes" if told else "narrow"
    return StoredRows(compared, tuple(_merged(found)), tuple(shaped), tuple(leaves), tuple(named))


def stores_by_name_in(value: Any) -> list[str]:
    """The keys in a JSON value that name what keeps rows, each once."""
    keys: list[str] = []
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            keys += [key for key, inner in item.items() if inner and stores_by_name(key)]
            todo += item.values()
        elif isinstance(item, list):
            todo += item
    return sorted(set(keys))


def _merged(found: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    most: dict[str, int] = {}
    for name, count in found:
        most[name] = max(most.get(name, 0), count)
    yield from most.items()


def _numeric(table: pa.Table) -> Numbers:
    """The columns of numbers of the rows that a job saw."""
    kept = {
        name: numbers(table.column(place), name)
        for place, name in enumerate(table.column_names)
        if pa.types.is_integer(kind := table.schema.field(place).type)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    }
    values = np.stack(list(kept.values()), axis=1) if kept else np.zeros((table.num_rows, 0))
    return Numbers("", values, tuple(kept))


def _tables_of(name: str, tensors: dict[str, NDArray[Any]], width: int) -> Iterator[Numbers]:
    for tensor, array in tensors.items():
        told = f"{name}: {tensor}"
        if array.ndim >= 2 and array.size:
            matrix = array.reshape(len(array), -1)
            for turned in (matrix, matrix.T):
                if _FEWEST_COLUMNS <= turned.shape[1] <= MOST_COLUMNS:
                    yield Numbers(told, turned)
        elif array.ndim == 1 and width >= _FEWEST_COLUMNS:
            for reading in _readings(array, width):
                yield Numbers(told, reading)


def _found(one: Numbers, data: Numbers, pairs: list[tuple[int, int]], tests: int, work: Work) -> int:
    """How many rows of ``data`` stand in a table whose columns are those of the data by ``pairs``."""
    if len(pairs) < _FEWEST_COLUMNS:
        return 0
    reference = Reference.of(data.values[:, [place for _, place in pairs]])
    return reference.found(one.values[:, [column for column, _ in pairs]], tests, work) if reference else 0


@dataclass(frozen=True)
class _Column:
    """The values of a column, each once and in order: as float32 and as codes."""

    exact: NDArray[np.float32]
    near: NDArray[np.int32]

    @classmethod
    def of(cls, column: Floats) -> _Column:
        with np.errstate(over="ignore"):
            exact = np.unique(column.astype(np.float32))
        return cls(exact, np.unique(codes(exact)).astype(np.int32))

    def rank(self, cells: Floats, expected: bool, place: int) -> tuple[float, float, int, bool, int] | None:
        """How well it fits as the column that ``cells`` are from, the least best; None where it does not."""
        if not len(cells) or not len(self.near):
            return None
        with np.errstate(over="ignore"):
            rounded = cells.astype(np.float32)
        # Looked up one by one: the column is sorted once, not for each table that is compared with it.
        places = np.minimum(np.searchsorted(self.exact, rounded), len(self.exact) - 1)
        same = float((self.exact[places] == rounded).mean())
        coded = codes(cells).astype(np.int32)
        near = np.searchsorted(self.near, coded + 1, "right") > np.searchsorted(self.near, coded - 1, "left")
        if float(near.mean()) < _CONTAINED:
            return None
        return (
            -round(same, 1),
            -round(float(near.mean()), 1),
            len(self.near).bit_length(),
            not expected,
            place,
        )


def _values(data: Numbers) -> list[_Column]:
    """What is known of each column. Raises TooMuch for too many columns or cells."""
    if len(data.names) > MOST_COLUMNS or data.values.size > MOST_NUMBERS:
        raise TooMuch
    return [_Column.of(column) for column in data.values.T]


def _assigned(one: Numbers, data: Numbers, known: list[_Column]) -> list[tuple[int, int]]:
    """Which column of a table could be which of the data's: of the same name, else whose values it mostly holds.

    Of several, the one that holds most of them exactly; then one of fewer values; then the next in order.
    """
    if one.values.shape[1] > MOST_COLUMNS:
        raise TooMuch
    pairs: list[tuple[int, int]] = []
    left = dict.fromkeys(range(len(data.names)))
    step = -(-max(1, len(one.values)) // _SAMPLED_CELLS)
    for column in range(one.values.shape[1]):
        name = one.names[column] if one.names else ""
        best: int | None = data.names.index(name) if name in data.names else None
        if best not in left:
            cells = one.values[::step, column]
            last = pairs[-1][1] if pairs else -1
            ranks = [rank for place in left if (rank := known[place].rank(cells, place > last, place))]
            best = min(ranks)[-1] if ranks else None
        if best is not None:
            pairs.append((column, best))
            del left[best]
    return pairs
