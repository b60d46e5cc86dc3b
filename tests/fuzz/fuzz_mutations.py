"""Sound inputs, spoilt in ways that know their structure, and the one rule that every parser here keeps.

A mutation begins with a corpus of valid inputs: bits flipped, pieces cut, doubled and spliced, length fields and
numbers overwritten, or nodes of a JSON tree replaced, moved and renamed. Random bytes alone never get past a magic.
"""

from __future__ import annotations

import copy
import json
import re
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from trustspace.crypto.canonical import canonical_json
from trustspace.errors import InvalidInput, TrustspaceError, VerificationFailed

DOCUMENTED = (VerificationFailed, InvalidInput)
REFUSED = object()
# A parser may build objects of what it reads; it may not build far more than it was given.
BYTES_PER_BYTE = 150
SPARE_BYTES = 32 << 20
NUMBERS = (
    0,
    1,
    2,
    7,
    8,
    127,
    128,
    255,
    256,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**53,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
NUMBER_TEXTS = (
    b"0", b"-1", b"00", b"-0", b"1.0", b"1e5", b"1e400", b"1e99999999999999999999", b"NaN", b"-Infinity", b"true", b"null",
    b'"1"', b"[]", b"{}", b"9" * 19, b"9" * 40, b"9" * 5000, b"0x" + b"f" * 5000, b"[" * 2000, b"2020-13-45",
)  # fmt: skip
TEXTS = (
    "", " ", "0", "a" * 300, "a" * 9000, "\x00", "\x1b[31m", "\u202e", "\ud800", "é", "١", "../x", "=1+1", "{0.__class__}", "{", "%s",
    "f" * 64, "F" * 64, "f" * 63 + "\n", "1e999", "nan", "<b>", "__metadata__", "\U0010ffff", "a\nb",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**53, 2**63, 2**64, 10**30, 0.5, 1e300, float("nan"), float("inf"), [], {}, [[]], [{}], {"a": 1},
    *TEXTS,
)  # fmt: skip
_DIGITS = re.compile(rb"[0-9]+(?:\.[0-9]+)?")
_QUOTED = re.compile(rb'"[^"]{0,200}"')


@st.composite
def spoilt_bytes(draw: Any, corpus: Sequence[bytes], most: int = 4) -> bytes:
    """One of ``corpus`` with one to ``most`` changes."""
    data = draw(st.sampled_from(corpus))
    for _ in range(draw(st.integers(1, most))):
        data = _spoil(draw, data, corpus)
    return data


def _spoil(draw: Any, data: bytes, corpus: Sequence[bytes]) -> bytes:
    kind = draw(st.sampled_from(_KINDS))
    at = draw(st.integers(0, max(0, len(data) - 1)))
    if kind == "flip" and data:
        return data[:at] + bytes([data[at] ^ 1 << draw(st.integers(0, 7))]) + data[at + 1 :]
    if kind == "cut":
        return data[:at] + data[at + draw(st.integers(1, 64)) :]
    if kind == "truncate":
        return data[:at]
    if kind == "extend":
        return data + draw(st.sampled_from([b"\0", b"\n", b" ", b"PK\x03\x04", b"\xff" * 8, data[-16:]]))
    if kind == "insert":
        return data[:at] + draw(st.binary(min_size=1, max_size=12)) + data[at:]
    if kind == "double":
        piece = data[at : at + draw(st.integers(1, 200))]
        return data[:at] + piece * draw(st.integers(2, 50)) + data[at + len(piece) :]
    if kind == "swap":
        size = draw(st.integers(1, 64))
        return data[:at] + data[at + size : at + 2 * size] + data[at : at + size] + data[at + 2 * size :]
    if kind == "splice":
        other = draw(st.sampled_from(corpus))
        return data[:at] + other[draw(st.integers(0, len(other))) :]
    if kind == "length":
        width = draw(st.sampled_from([1, 2, 4, 8]))
        near = (len(data), len(data) - at, max(0, len(data) - at - width))
        value = draw(st.sampled_from((*NUMBERS, *near))) % (1 << 8 * width)
        order: Any = draw(st.sampled_from(["big", "little"]))
        return data[:at] + value.to_bytes(width, order) + data[at + width :]
    found = list((_QUOTED if kind == "text" else _DIGITS).finditer(data[:20_000]))
    if not found:
        return data + b"0"
    place = found[draw(st.integers(0, len(found) - 1))]
    if kind == "text":
        new = json.dumps(draw(st.sampled_from(TEXTS)), ensure_ascii=draw(st.booleans())).encode(
            "utf-8", "surrogatepass"
        )
    else:
        new = draw(st.sampled_from(NUMBER_TEXTS))
    return data[: place.start()] + new + data[place.end() :]


_KINDS = (
    "flip",
    "cut",
    "truncate",
    "extend",
    "insert",
    "double",
    "swap",
    "splice",
    "length",
    "number",
    "number",
    "text",
)


@st.composite
def spoilt_json(draw: Any, corpus: Sequence[Any], most: int = 3) -> Any:
    """A JSON value of ``corpus`` with one to ``most`` of its nodes changed."""
    tree = copy.deepcopy(draw(st.sampled_from(corpus)))
    for _ in range(draw(st.integers(1, most))):
        tree = _spoil_tree(draw, tree)
    return tree


def _spoil_tree(draw: Any, tree: Any) -> Any:
    places = _places(tree)
    if not places:
        return copy.deepcopy(draw(st.sampled_from(VALUES)))
    holder, key = places[draw(st.integers(0, len(places) - 1))]
    other_holder, other_key = places[draw(st.integers(0, len(places) - 1))]
    other = copy.deepcopy(other_holder[other_key])
    kind = draw(
        st.sampled_from(["replace", "replace", "drop", "rename", "copy", "wrap", "add", "many", "near"])
    )
    if kind == "replace":
        holder[key] = copy.deepcopy(draw(st.sampled_from(VALUES)))
    elif kind == "drop":
        del holder[key]
    elif kind == "rename" and isinstance(holder, dict):
        holder[draw(st.sampled_from(TEXTS))] = holder.pop(key)
    elif kind == "copy":
        holder[key] = other
    elif kind == "wrap":
        holder[key] = draw(st.sampled_from([[holder[key]], {"a": holder[key]}]))
    elif kind == "add" and isinstance(holder, dict):
        holder[draw(st.sampled_from(TEXTS))] = other
    elif kind == "many" and isinstance(holder, list):
        holder.extend([other] * draw(st.sampled_from([1, 300, 5000])))
    elif type(holder[key]) is int:
        holder[key] += draw(st.sampled_from([-1, 1, 2**32, -(2**53)]))
    elif isinstance(holder[key], str) and holder[key]:
        text, at = holder[key], draw(st.integers(0, len(holder[key]) - 1))
        holder[key] = text[:at] + draw(st.sampled_from(["", "0", "a", "é", text[at:] * 2])) + text[at + 1 :]
    return tree


@st.composite
def spoilt_in_type(draw: Any, corpus: Sequence[Any], pool: Sequence[str], most: int = 3) -> Any:
    """A JSON value of ``corpus`` with nodes changed into others of their type and, for texts of ``pool``, their length.

    What a parser of fields lets through: another party's key, a list twice as long, a number one off.
    """
    tree = copy.deepcopy(draw(st.sampled_from(corpus)))
    for _ in range(draw(st.integers(1, most))):
        places = _places(tree)
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        node = holder[key]
        if isinstance(node, bool):
            holder[key] = not node
        elif isinstance(node, int):
            holder[key] = draw(st.sampled_from([0, 1, 2, node + 1, max(0, node - 1), 2**31, 2**53 - 1]))
        elif isinstance(node, str):
            alike = [text for text in pool if len(text) == len(node)] or [node]
            holder[key] = draw(
                st.sampled_from([*alike, ""]) if len(node) >= 32 else st.sampled_from([*pool[-40:], "", "a"])
            )
        elif isinstance(node, list) and node:
            holder[key] = draw(
                st.sampled_from([[], node[:1], node[::-1], node + node, node[1:], [*node, node[0]]])
            )
        elif isinstance(node, dict) and node:
            first = next(iter(node))
            holder[key] = draw(st.sampled_from([{}, {first: node[first]}, dict.fromkeys(node, node[first])]))
    return tree


def texts_of(*trees: Any) -> list[str]:
    """Every text in JSON values, once, the longest first."""
    found = {item for tree in trees for holder, key in _places(tree) if isinstance(item := holder[key], str)}
    return sorted(found, key=lambda text: (-len(text), text))


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every node but the root, as (holder, key); bounded, as trees may have become large."""
    found: list[tuple[Any, Any]] = []
    todo = [tree]
    while todo and len(found) < 2000:
        node = todo.pop()
        pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, item in pairs:
            found.append((node, key))
            todo.append(item)
    return found


def canonical(tree: Any) -> bytes:
    """A tree in its canonical form where it has one, else as close to it as JSON can say."""
    try:
        return canonical_json(tree)
    except (TrustspaceError, RecursionError):
        text = json.dumps(tree, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return text.encode("utf-8", "surrogatepass")


def refused(parse: Callable[..., Any], *given: Any, errors: tuple[type[Exception], ...] = DOCUMENTED) -> Any:
    """What ``parse`` makes of what it is given, or REFUSED.

    Only a documented error may leave it, one that can be shown; and it may not take memory out of all proportion.
    """
    size = sum(len(item) for item in given if isinstance(item, (bytes, str)))
    said, found = "", REFUSED
    tracemalloc.start()
    try:
        found = parse(*given)
    except errors as error:
        said = f"{type(error).__name__}: {error}"
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert not said.startswith("TrustspaceError"), (
        "the root of all errors says that something else went wrong"
    )
    assert peak <= BYTES_PER_BYTE * size + SPARE_BYTES, f"{peak} bytes for an input of {size}"
    return found
