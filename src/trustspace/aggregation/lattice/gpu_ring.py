"""The ring arithmetic of the lattice sum on a graphics card, in Triton: everything but the streams.

Products modulo a prime q below 2^32 are Montgomery's, with R = 2^32: a factor w is kept as w R mod q, together with
w R / q mod R, so that a product takes three multiplications. A matrix [n / 64, 64] holds a ring element in one
program: the first six stages of the inverse transform run along its rows, the others along its columns, each
thread having a row or a column to itself. Imports Triton: import it in functions.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def multiply(a, factor, quotient, q):
    """The residue of a * w, for a word a; ``factor`` = w R mod q and ``quotient`` = factor / q mod R."""
    low = tl.umulhi(a * quotient, q)
    high = tl.umulhi(a, factor)
    return tl.where(high < low, high - low + q, high - low)


@triton.jit
def multiply_loosely(a, factor, quotient, q):
    """As ``multiply``, or q more than that, for a prime below 2^31."""
    return tl.umulhi(a, factor) + (q - tl.umulhi(a * quotient, q))


@triton.jit
def add(a, b, q):
    """The sum of residues: q may be so close to 2^32 that the sum would not fit."""
    gap = q - b
    return tl.where(a < gap, a + b, a - gap)


@triton.jit
def subtract(a, b, q):
    """The difference of residues."""
    return tl.where(a < b, a - b + q, a - b)


@triton.jit
def residue(number, q):
    """The residue of a signed integer, int32, smaller than q in magnitude."""
    return tl.where(number < 0, number.to(tl.uint32) + q, number.to(tl.uint32))


@triton.jit
def centred(a, q):
    """The integer from -(q-1)/2 to (q-1)/2 of a residue, as int32: there is none that does not fit."""
    return tl.where(a > q // 2, a - q, a).to(tl.int32)


@triton.jit
def _stage(
    x,
    roots,
    pairs: tl.constexpr,
    q,
    lines: tl.constexpr,
    length: tl.constexpr,
    own: tl.constexpr,
    grown: tl.constexpr,
    n: tl.constexpr,
):
    """One stage along the lines of [lines, length], which has ``pairs`` pairs of runs in the whole element.

    ``own``: each line has its own pairs; else all have the same. ``grown``: 0 for residues; else they are below
    2^grown q, for a prime below 2^26, and become less than twice that, or below 2 q where 64 q would be next.
    """
    mine: tl.constexpr = pairs // lines if own else pairs
    half: tl.constexpr = length // (2 * mine)
    low, high = tl.split(tl.permute(tl.reshape(x, (lines, mine, 2, half)), (0, 1, 3, 2)))
    at = pairs + tl.arange(0, mine)[None, :, None] * (lines if own else 1)
    if own:
        at += tl.arange(0, lines)[:, None, None]
    factor, quotient = tl.load(roots + at), tl.load(roots + n + at)
    if grown == 0:
        total = add(low, high, q)
        moved = multiply(subtract(low, high, q), factor, quotient, q)
    else:
        total = low + high
        moved = multiply_loosely(low + ((q << grown) - high), factor, quotient, q)
        if grown == 5:
            total = multiply_loosely(total, tl.load(roots), tl.load(roots + n), q)
    return tl.reshape(tl.permute(tl.join(total, moved), (0, 1, 3, 2)), (lines, length))


@triton.jit
def product(public, secret, roots, q, n: tl.constexpr, loose: tl.constexpr):
    """The ring element a * s, as [64, n / 64]: coefficient 64 j + i stands in row i, column j.

    ``public`` is [128, n / 128], as ``uniform_kernel`` makes it, and ``secret`` [2, 128, n / 128] is in the same
    order; ``roots`` is [2, n], as ``gpu_tables`` makes it. ``loose``: the prime is below 2^26.
    """
    lines: tl.constexpr = n // 64
    at = tl.arange(0, 128)[:, None] * (n // 128) + tl.arange(0, n // 128)[None, :]
    x, factor, quotient = tl.load(public + at), tl.load(secret + at), tl.load(secret + n + at)
    x = multiply_loosely(x, factor, quotient, q) if loose else multiply(x, factor, quotient, q)
    x = tl.reshape(tl.permute(tl.reshape(x, (2, 64, n // 128)), (2, 0, 1)), (lines, 64))
    for stage in tl.static_range(6):
        x = _stage(x, roots, n >> (stage + 1), q, lines, 64, True, (stage % 5 + 1) * loose, n)
    x = tl.permute(x, (1, 0))
    for stage in tl.static_range(6, 11):
        x = _stage(x, roots, n >> (stage + 1), q, 64, lines, False, (stage % 5 + 1) * loose, n)
    if n == 4096:
        x = _stage(x, roots, 1, q, 64, lines, False, 2 * loose, n)
    if loose:
        x = multiply(x, tl.load(roots), tl.load(roots + n), q)
    return x


@triton.jit
def _noise(counts, at, n: tl.constexpr):
    one = tl.load(counts + at).to(tl.int32)
    two = tl.load(counts + n + at).to(tl.int32)
    return one + two + tl.load(counts + 2 * n + at).to(tl.int32) - 40


@triton.jit
def protect_kernel(
    public,
    secret,
    roots,
    primes,
    counts,
    words,
    out,
    beyond,
    n: tl.constexpr,
    rows: tl.constexpr,
    slots: tl.constexpr,
    scale: tl.constexpr,
    residue_bits: tl.constexpr,
    noise_bits: tl.constexpr,
    largest: tl.constexpr,
    loose: tl.constexpr,
    mask_only: tl.constexpr,
):
    """One block of a * s + e and, unless ``mask_only``, the words; packed. A word too large sets ``beyond``.

    ``public`` is [blocks, rows, n], ``counts`` bytes [blocks, 3, n]; ``secret`` and ``roots`` are [rows, 2, n].
    """
    block = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, n // 64)[None, :] * 64 + tl.arange(0, 64)[:, None]
    public += block * (rows * n)
    counts += block * (3 * n)
    words += block * (slots * n)
    out += block * (slots * n)
    first = tl.zeros((64, n // 64), tl.uint32)
    for row in range(rows):
        q = tl.load(primes + row)
        x = product(public + row * n, secret + row * (2 * n), roots + row * (2 * n), q, n, loose)
        message = _noise(counts, at, n)
        slot = row + slots - rows
        if slot < 0:
            first = add(x, residue(message, q), q)
        else:
            if not mask_only:
                word = tl.load(words + slot * n + at).to(tl.int32)
                if tl.max(((word > largest) | (word < -largest)).to(tl.int32)) > 0:
                    tl.store(beyond, 1)
                if scale > 1:
                    message += word * tl.where(row == 0, scale, 1)
                else:
                    message += word
            x = add(x, residue(message, q), q)
            if noise_bits != 0:
                x |= (first >> (noise_bits * slot) & ((1 << noise_bits) - 1)) << residue_bits
            tl.store(out + slot * n + at, x)


@triton.jit
def open_kernel(
    public,
    secret,
    roots,
    primes,
    total,
    out,
    wrong,
    bound,
    n: tl.constexpr,
    rows: tl.constexpr,
    slots: tl.constexpr,
    scale: tl.constexpr,
    residue_bits: tl.constexpr,
    noise_bits: tl.constexpr,
    largest: tl.constexpr,
    loose: tl.constexpr,
    shift: tl.constexpr,
):
    """One block of the words of a sum; ``wrong`` is set where ``Backend.open`` is to give False.

    ``shift`` times ``scale`` makes what row 0 carries positive.
    """
    block = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, n // 64)[None, :] * 64 + tl.arange(0, 64)[:, None]
    public += block * (rows * n)
    total += block * (slots * n)
    out += block * (slots * n)
    noise = tl.zeros((64, n // 64), tl.int32)
    for row in range(rows):
        q = tl.load(primes + row)
        x = product(public + row * n, secret + row * (2 * n), roots + row * (2 * n), q, n, loose)
        slot = row + slots - rows
        sealed = tl.load(total + tl.maximum(slot, 0) * n + at)
        if noise_bits != 0:
            if slot < 0:
                sealed = _first_row(total, at, n, slots, residue_bits, noise_bits)
            else:
                sealed &= (1 << residue_bits) - 1
        bad = sealed >= q
        x = subtract(sealed, x, q)
        if row == 0:
            plain = centred(x, q)
            noise = plain
            if scale != 0:
                # To the nearest multiple of the scale; the sum below fits into 32 bits, unsigned.
                plain = ((plain + (scale // 2)).to(tl.uint32) + scale * shift) // scale
                plain = plain.to(tl.int32) - shift
                noise -= plain * scale
            bad |= (noise > bound) | (noise < -bound)
        else:
            plain = centred(subtract(x, residue(noise, q), q), q)
        if slot >= 0:
            bad |= (plain > largest) | (plain < -largest)
            tl.store(out + slot * n + at, plain.to(tl.uint32))
        if tl.max(bad.to(tl.int32)) > 0:
            tl.store(wrong, 1)


@triton.jit
def _first_row(
    words, at, n: tl.constexpr, slots: tl.constexpr, residue_bits: tl.constexpr, noise_bits: tl.constexpr
):
    """Row 0 of a block from its pieces above the other rows' residues."""
    first = tl.load(words + at) >> residue_bits
    for slot in tl.static_range(1, slots):
        first |= tl.load(words + slot * n + at) >> residue_bits << (noise_bits * slot)
    return first


@triton.jit
def add_kernel(
    total,
    addends,
    primes,
    wrong,
    coefficients,
    n: tl.constexpr,
    rows: tl.constexpr,
    slots: tl.constexpr,
    residue_bits: tl.constexpr,
    noise_bits: tl.constexpr,
    count: tl.constexpr,
    lanes: tl.constexpr,
):
    """Adds ``count`` protected vectors, whose addresses are ``addends``, to ``total``, in one pass.

    ``coefficients`` is blocks * n. What is no residue in an addend sets ``wrong``.
    """
    place = tl.program_id(0).to(tl.int64) * lanes + tl.arange(0, lanes)
    inside = place < coefficients
    at = place // n * (slots * n) + place % n
    low: tl.constexpr = (1 << residue_bits) - 1
    bad = at < 0
    first = at.to(tl.uint32) & 0
    sums = ()
    for slot in tl.static_range(slots):
        word = tl.load(total + slot * n + at, inside, other=0)
        sums = sums + (word & low,)
        if noise_bits != 0:
            first |= word >> residue_bits << (noise_bits * slot)
    for i in tl.static_range(count):
        addend = tl.multiple_of(tl.load(addends + i).to(tl.pointer_type(tl.uint32)), 16)
        more = first & 0
        after = ()
        for slot in tl.static_range(slots):
            q = tl.load(primes + slot + rows - slots)
            word = tl.load(addend + slot * n + at, inside, other=0)
            bad |= (word & low) >= q
            after = after + (add(sums[slot], word & low, q),)
            if noise_bits != 0:
                more |= word >> residue_bits << (noise_bits * slot)
        sums = after
        if noise_bits != 0:
            bad |= more >= tl.load(primes)
            first = add(first, more, tl.load(primes))
    for slot in tl.static_range(slots):
        word = sums[slot]
        if noise_bits != 0:
            word |= (first >> (noise_bits * slot) & ((1 << noise_bits) - 1)) << residue_bits
        tl.store(total + slot * n + at, word, inside)
    if tl.max(bad.to(tl.int32)) > 0:
        tl.store(wrong, 1)


@triton.jit
def apply_kernel(
    masks,
    words,
    primes,
    beyond,
    total_words,
    n: tl.constexpr,
    rows: tl.constexpr,
    slots: tl.constexpr,
    scale: tl.constexpr,
    residue_bits: tl.constexpr,
    noise_bits: tl.constexpr,
    largest: tl.constexpr,
    lanes: tl.constexpr,
):
    """Adds ``total_words`` words to masks. A word too large sets ``beyond``."""
    at = tl.program_id(0).to(tl.int64) * lanes + tl.arange(0, lanes)
    inside = at < total_words
    row = (at // n % slots).to(tl.int32) + rows - slots
    q = tl.load(primes + row)
    word = tl.load(words + at, inside, other=0).to(tl.int32)
    if tl.max(((word > largest) | (word < -largest)).to(tl.int32)) > 0:
        tl.store(beyond, 1)
    if scale > 1:
        word *= tl.where(row == 0, scale, 1)
    mask = tl.load(masks + at, inside, other=0)
    low: tl.constexpr = (1 << residue_bits) - 1
    sealed = add(mask & low, residue(word, q), q)
    if noise_bits != 0:
        sealed |= mask & (low ^ 0xFFFFFFFF)
    tl.store(masks + at, sealed, inside)


@triton.jit
def encode_kernel(values, out, wrong, total_words, numbers, lanes: tl.constexpr):
    """rint(clip(values * factor, -bound, bound) * scale), each step in float64. What is not finite sets ``wrong``.

    ``numbers`` are factor, bound and scale, in float64. Compile without fusing a product and a sum.
    """
    at = tl.program_id(0).to(tl.int64) * lanes + tl.arange(0, lanes)
    inside = at < total_words
    work = tl.load(values + at, inside, other=0.0).to(tl.float64) * tl.load(numbers)
    finite = tl.abs(work) < float("inf")
    if tl.min(finite.to(tl.int32)) == 0:
        tl.store(wrong, 1)
    work = tl.where(finite, work, 0.0)
    limit = tl.load(numbers + 1)
    work = tl.where(work > limit, limit, tl.where(work < -limit, -limit, work)) * tl.load(numbers + 2)
    # At 1.5 * 2^52 float64 has units of one, so that a sum with it rounds, half to even.
    work = (work + 6755399441055744.0) - 6755399441055744.0
    tl.store(out + at, work.to(tl.int32), inside)


@triton.jit
def decode_kernel(words, out, total_words, scale, lanes: tl.constexpr):
    """The words as signed integers divided by ``scale``, one float64."""
    at = tl.program_id(0).to(tl.int64) * lanes + tl.arange(0, lanes)
    inside = at < total_words
    word = tl.load(words + at, inside, other=0).to(tl.int32)
    tl.store(out + at, word.to(tl.float64) / tl.load(scale), inside)
