"""Numbers in tables and JSON values, however they are nested, and what names and sizes say of a model in them."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FEWEST = 3
# scikit-learn's attributes (support_vectors_, dual_coef_, _fit_X, X_train_), libsvm's file (SV, sv_coef), plain words.
_STORES = re.compile(
    r"(support_?vectors?|dual_?coefs?|sv_?coefs?|svs?|(x|y)_?(train|fit)|fit_?(x|y)|train(ing)?_?(x|y|rows|data|set)"
    r"|neighbou?rs|prototypes|exemplars|medoids|inducing_?points)",
    re.ASCII,
)
# How many rows a node of a tree holds: scikit-learn, LightGBM, XGBoost (cover: of squared error the rows, else fewer).
_COUNTS = ("n_node_samples", "samples", "n_samples", "leaf_count", "cover", "count")
_CHILDREN = frozenset(
    {"children", "left", "right", "left_child", "right_child", "children_left", "children_right", "yes", "no"}
)
_SPLITS = frozenset({"threshold", "split", "split_feature", "split_condition", "feature", "split_index"})


@dataclass(frozen=True)
class Numbers:
    """A table of numbers [rows, columns], NaN where a cell is none; ``names`` of its columns where it has some."""

    name: str
    values: NDArray[np.floating[Any]]
    names: tuple[str, ...] = ()


def numbers_of(name: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Numbers:
    """The columns of a CSV table that hold numbers, at least in half of their cells."""
    values = np.array([[_number(cell) for cell in row] for row in rows], dtype=np.float64)
    values = values.reshape(len(rows), len(header))
    kept = np.isfinite(values).sum(axis=0) * 2 >= max(1, len(rows))
    return Numbers(
        name, values[:, kept], tuple(one for one, stays in zip(header, kept, strict=True) if stays)
    )


def tables_in(value: Any, name: str) -> list[Numbers]:
    """Every list and table of three numbers or more in a JSON value, those of one length or with the same keys as one.

    Text that is a number counts as one. A table of lists is read along and across.
    """
    lists: dict[int, list[list[float]]] = defaultdict(list)
    keyed: dict[tuple[str, ...], list[list[float]]] = defaultdict(list)
    across: list[Numbers] = []
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            todo += item.values()
            plain = {key: number for key, inner in item.items() if math.isfinite(number := _number(inner))}
            if len(plain) >= _FEWEST:
                keyed[tuple(plain)].append(list(plain.values()))
            across += _columns(item, name)
        elif isinstance(item, list):
            todo += [inner for inner in item if isinstance(inner, dict | list)]
            row = [_number(inner) for inner in item]
            if sum(map(math.isfinite, row)) >= _FEWEST:
                lists[len(row)].append(row)
            if item and all(isinstance(inner, list) for inner in item):
                across += _columns(dict(enumerate(item)), name)
    found = [Numbers(name, np.array(rows)) for rows in lists.values()]
    return found + [Numbers(name, np.array(rows), keys) for keys, rows in keyed.items()] + across


def _columns(item: dict[Any, Any], name: str) -> Iterator[Numbers]:
    """Lists of one length under several keys: the columns of a table."""
    by_length: dict[int, dict[Any, list[float]]] = defaultdict(dict)
    for key, inner in item.items():
        if isinstance(inner, list):
            numbers = [_number(cell) for cell in inner]
            if any(map(math.isfinite, numbers)):
                by_length[len(numbers)][key] = numbers
    for columns in by_length.values():
        if len(columns) >= _FEWEST:
            names = tuple(columns) if all(isinstance(key, str) for key in columns) else ()
            yield Numbers(name, np.array(list(columns.values())).T, names)


def stores_by_name(name: str) -> bool:
    """Whether a tensor's or a key's name says that it keeps rows: support vectors, neighbours, training data."""
    last = name.rpartition(".")[2].strip("_").lower()
    return _STORES.fullmatch(last) is not None


def small_leaf(value: Any) -> int | None:
    """The fewest rows in a leaf of any tree in a JSON value; None where there is no tree that says so."""
    smallest: list[float] = []
    # Each item with whether a node around it splits.
    todo: list[tuple[Any, bool]] = [(value, False)]
    while todo:
        item, inside = todo.pop()
        if isinstance(item, list):
            todo += [(inner, inside) for inner in item]
        if not isinstance(item, dict):
            continue
        keys = {str(key).lower() for key in item}
        splits = bool(keys & _CHILDREN) and bool(keys & _SPLITS)
        counts = [item[key] for key in item if str(key).lower() in _COUNTS]
        for count in counts:
            if isinstance(count, list) and splits:
                smallest += _of_leaves(count, item)
            elif math.isfinite(number := _number(count)) and inside and not keys & _CHILDREN:
                smallest.append(number)
        todo += [(inner, inside or splits) for inner in item.values()]
    return math.floor(min(smallest)) if smallest else None


def _of_leaves(counts: list[Any], item: dict[str, Any]) -> list[float]:
    """Of a tree in columns: the counts of the nodes without children (-1 or null), of all where that is not said."""
    numbers = [_number(count) for count in counts]
    left = next(
        (item[key] for key in item if str(key).lower() in {"children_left", "left", "left_child"}), None
    )
    if isinstance(left, list) and len(left) == len(numbers):
        numbers = [n for n, child in zip(numbers, left, strict=True) if child is None or _number(child) < 0]
    return [number for number in numbers if math.isfinite(number)]


def _number(value: Any) -> float:
    """A JSON number, or text that is one; NaN otherwise."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return math.nan
    if isinstance(value, str) and len(value) <= 40:
        if value in ("true", "false"):
            return float(value == "true")
        try:
            return float(value) if "_" not in value else math.nan
        except ValueError:
            return math.nan
    return math.nan
