"""Words of the public streams that are drawn again, on a graphics card: AES-128 by table, in Triton.

A word in some hundreds to thousands is rejected, so these are few and lie anywhere: each takes one thread, and
the bitsliced AES of ``gpu_streams`` would be slower. Imports Triton: import it in functions.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["first"])
def repair_kernel(
    table,
    keys,
    limits,
    words,
    rejected,
    found,
    first,
    n: tl.constexpr,
    rows: tl.constexpr,
    lanes: tl.constexpr,
):
    """Draws the words that ``uniform_kernel`` rejected again, in retries 1, 2, and so on.

    ``table`` has SubBytes and MixColumns of a byte in row 0, 256 words, ``keys`` the 44 words of the key
    schedule. Looking up by the state is harmless here: these streams are public.
    """
    count = tl.load(found)
    start = tl.program_id(0) * lanes
    while start < count:
        at = start + tl.arange(0, lanes)
        todo = at < count
        place = tl.load(rejected + at, todo, other=0)
        group = place // n
        row = group % rows
        limit = tl.load(limits + row)
        block = tl.cast(first, tl.int64) + group // rows
        unit = (place % n // 4).to(tl.uint32)
        word = place % 4
        high = (block >> 16).to(tl.uint32)
        low = ((block & 0xFFFF) << 16 | row << 8).to(tl.uint32)
        retry = 0
        while tl.max(todo.to(tl.int32)) > 0:
            retry += 1
            a, b, c, d = _encrypt_by_table(unit, unit * 0, low | retry, high, table, keys)
            drawn = tl.where(word < 2, tl.where(word == 0, a, b), tl.where(word == 2, c, d))
            to = words + group.to(tl.int64) * n + place % 128 * (n // 128) + place % n // 128
            tl.store(to, drawn, todo & (drawn < limit))
            todo = todo & (drawn >= limit)
        start += tl.num_programs(0) * lanes


@triton.jit
def _encrypt_by_table(a, b, c, d, table, keys):
    a = a ^ tl.load(keys)
    b = b ^ tl.load(keys + 1)
    c = c ^ tl.load(keys + 2)
    d = d ^ tl.load(keys + 3)
    for number in range(1, 10):
        key = keys + 4 * number
        p = _column(a, b, c, d, table) ^ tl.load(key)
        q = _column(b, c, d, a, table) ^ tl.load(key + 1)
        r = _column(c, d, a, b, table) ^ tl.load(key + 2)
        s = _column(d, a, b, c, table) ^ tl.load(key + 3)
        a, b, c, d = p, q, r, s
    p = _last_column(a, b, c, d, table) ^ tl.load(keys + 40)
    q = _last_column(b, c, d, a, table) ^ tl.load(keys + 41)
    r = _last_column(c, d, a, b, table) ^ tl.load(keys + 42)
    s = _last_column(d, a, b, c, table) ^ tl.load(keys + 43)
    return p, q, r, s


@triton.jit
def _column(a, b, c, d, table):
    second = tl.load(table + (b >> 8 & 255))
    third = tl.load(table + (c >> 16 & 255))
    fourth = tl.load(table + (d >> 24))
    moved = (second << 8 | second >> 24) ^ (third << 16 | third >> 16) ^ (fourth << 24 | fourth >> 8)
    return tl.load(table + (a & 255)) ^ moved


@triton.jit
def _last_column(a, b, c, d, table):
    # Bits 8 to 15 of an entry are SubBytes alone.
    first = tl.load(table + (a & 255)) >> 8 & 255
    second = tl.load(table + (b >> 8 & 255)) >> 8 & 255
    third = tl.load(table + (c >> 16 & 255)) >> 8 & 255
    fourth = tl.load(table + (d >> 24)) >> 8 & 255
    return first | second << 8 | third << 16 | fourth << 24
