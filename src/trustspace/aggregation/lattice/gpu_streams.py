"""The streams of the lattice sum on a graphics card: AES-128 in counter mode, in Triton.

Bulk AES is bitsliced: bit i of a word belongs to unit i of 32, and 128 such words, the planes, hold the state,
eight for each byte, least significant first. So there are no tables to be looked up by secret values, and
ShiftRows is a renaming. The S-box is the circuit of Boyar and Peralta, "A New Combinational Logic
Minimization Technique with Applications to Cryptology" (SEA 2010), in its form of 113 gates, less its
negations: they are in the round keys (``gpu.planes_of_key``).

One lane computes 32 units, which are 128 consecutive words of a stream. Imports Triton: import it in functions.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def substitute(byte):
    """SubBytes of eight planes, without its four negations (bits 0, 1, 5, 6)."""
    x7, x6, x5, x4, x3, x2, x1, x0 = byte
    y14 = x3 ^ x5
    y13 = x0 ^ x6
    y9 = x0 ^ x3
    y8 = x0 ^ x5
    t0 = x1 ^ x2
    y1 = t0 ^ x7
    y4 = y1 ^ x3
    y12 = y13 ^ y14
    y2 = y1 ^ x0
    y5 = y1 ^ x6
    y3 = y5 ^ y8
    t1 = x4 ^ y12
    y15 = t1 ^ x5
    y20 = t1 ^ x1
    y6 = y15 ^ x7
    y10 = y15 ^ t0
    y11 = y20 ^ y9
    y7 = x7 ^ y11
    y17 = y10 ^ y11
    y19 = y10 ^ y8
    y16 = t0 ^ y11
    y21 = y13 ^ y16
    y18 = x0 ^ y16
    t2 = y12 & y15
    t3 = (y3 & y6) ^ t2
    t5 = (y4 & x7) ^ t2
    t7 = y13 & y16
    t8 = (y5 & y1) ^ t7
    t10 = (y2 & y7) ^ t7
    t12 = y9 & y11
    t13 = (y14 & y17) ^ t12
    t15 = (y8 & y10) ^ t12
    t21 = t3 ^ t13 ^ y20
    t22 = t5 ^ t15 ^ y19
    t23 = t8 ^ t13 ^ y21
    t24 = t10 ^ t15 ^ y18
    t25 = t21 ^ t22
    t26 = t21 & t23
    t27 = t24 ^ t26
    t29 = (t25 & t27) ^ t22
    t30 = t23 ^ t24
    t31 = t22 ^ t26
    t33 = (t31 & t30) ^ t24
    t34 = t23 ^ t33
    t35 = t27 ^ t33
    t36 = t24 & t35
    t37 = t36 ^ t34
    t38 = t27 ^ t36
    t40 = t25 ^ (t29 & t38)
    t41 = t40 ^ t37
    t42 = t29 ^ t33
    t43 = t29 ^ t40
    t44 = t33 ^ t37
    t45 = t42 ^ t41
    z0 = t44 & y15
    z1 = t37 & y6
    z2 = t33 & x7
    z3 = t43 & y16
    z4 = t40 & y1
    z5 = t29 & y7
    z6 = t42 & y11
    z7 = t45 & y17
    z8 = t41 & y10
    z9 = t44 & y12
    z10 = t37 & y3
    z11 = t33 & y4
    z12 = t43 & y13
    z13 = t40 & y5
    z14 = t29 & y2
    z15 = t42 & y9
    z16 = t45 & y14
    z17 = t41 & y8
    u1 = z15 ^ z16
    u2 = z10 ^ u1
    u3 = z9 ^ u2
    u4 = z0 ^ z2
    u5 = z1 ^ z0
    u6 = z3 ^ z4
    u7 = z12 ^ u4
    u8 = z7 ^ u6
    u9 = z8 ^ u7
    u10 = u8 ^ u9
    u14 = u4 ^ z3 ^ z5
    s3 = u3 ^ u6 ^ u5
    u16 = z6 ^ u8
    u17 = z14 ^ u10
    u18 = z13 ^ u1 ^ u14
    u20 = z15 ^ u16
    u21 = u2 ^ z11
    return (z12 ^ u18, u10 ^ u18, u21 ^ u17, u14 ^ s3, s3, u17 ^ u20 ^ z17, s3 ^ u16, u3 ^ u16)


@triton.jit
def mix(a, b, c, d, key):
    """One byte of MixColumns with the round key's: 2 a + 3 b + c + d + key, of eight planes each."""
    high = a[7] ^ b[7]
    byte = (high ^ b[0] ^ c[0] ^ d[0] ^ tl.load(key),)
    for k in tl.static_range(1, 8):
        bit = a[k - 1] ^ b[k - 1] ^ b[k] ^ c[k] ^ d[k] ^ tl.load(key + k)
        if k == 1 or k == 3 or k == 4:
            bit = bit ^ high
        byte = byte + (bit,)
    return byte


@triton.jit
def encrypt(state, keys):
    """AES-128 after its first AddRoundKey: 16 bytes of eight planes each in, and out. ``keys``: [11 * 128]."""
    for number in range(1, 10):
        key = keys + number * 128
        after = ()
        for column in tl.static_range(4):
            a = substitute(state[4 * column])
            b = substitute(state[(4 * column + 5) % 16])
            c = substitute(state[(4 * column + 10) % 16])
            d = substitute(state[(4 * column + 15) % 16])
            at = key + 32 * column
            after = after + (mix(a, b, c, d, at), mix(b, c, d, a, at + 8))
            after = after + (mix(c, d, a, b, at + 16), mix(d, a, b, c, at + 24))
        state = after
    last = ()
    for i in tl.static_range(16):
        planes = substitute(state[5 * i % 16])
        byte = ()
        for k in tl.static_range(8):
            byte = byte + (planes[k] ^ tl.load(keys + 1280 + 8 * i + k),)
        last = last + (byte,)
    return last


@triton.jit
def counters(unit, block, row, keys):
    """The state that ``encrypt`` starts from, of units ``unit`` to ``unit + 31``, in retry 0.

    ``unit``, uint32 [lanes], is a multiple of 32 below 2^14; ``block`` is int64 and ``row`` int32.
    """
    low = ((block & 0xFFFF) << 16 | row << 8).to(tl.uint32)
    high = (block >> 16).to(tl.uint32)
    state = ()
    for i in tl.static_range(16):
        byte = ()
        for k in tl.static_range(8):
            key = tl.load(keys + 8 * i + k)
            if i == 0 and k < 5:
                # Bit k of 0..31, as a constant of 32 bits.
                plane = (0xFFFFFFFF // ((1 << (1 << k)) + 1) << (1 << k)) ^ key ^ (unit & 0)
            elif 8 * i + k < 14:
                plane = _spread(unit, 8 * i + k) ^ key
            elif i < 8:
                plane = (unit & 0) ^ key
            elif i < 12:
                plane = _spread(low, 8 * i + k - 64) ^ key
            else:
                plane = _spread(high, 8 * i + k - 96) ^ key
            byte = byte + (plane,)
        state = state + (byte,)
    return state


@triton.jit
def _spread(word, k):
    """Bit k of a word in all 32 bits."""
    return ((word << (31 - k)).to(tl.int32) >> 31).to(tl.uint32)


@triton.jit
def transpose(rows):
    """The 32 x 32 matrix of bits, bit t of row b becoming bit b of row t (Hacker's Delight, 7-3)."""
    rows = _exchange(rows, 16, 0x0000FFFF)
    rows = _exchange(rows, 8, 0x00FF00FF)
    rows = _exchange(rows, 4, 0x0F0F0F0F)
    rows = _exchange(rows, 2, 0x33333333)
    return _exchange(rows, 1, 0x55555555)


@triton.jit
def _exchange(rows, step: tl.constexpr, mask: tl.constexpr):
    after = ()
    for k in tl.static_range(32):
        if k & step == 0:
            row = (rows[k] & mask) | ((rows[k + step] & mask) << step)
        else:
            row = ((rows[k - step] >> step) & mask) | (rows[k] & (mask << step))
        after = after + (row,)
    return after


@triton.jit
def stack(rows, count: tl.constexpr, lanes: tl.constexpr):
    """``count`` vectors of ``lanes``, 32 or 128 of them, as one matrix [count, lanes].

    The lanes stay the fastest axis: so each thread keeps what it has.
    """
    rows = _joined(_joined(_joined(_joined(rows, lanes), lanes), lanes), lanes)
    if count == 128:
        rows = _joined(_joined(rows, lanes), lanes)
    return _joined(rows, lanes)[0]


@triton.jit
def _joined(rows, lanes: tl.constexpr):
    """Every two neighbouring matrices as one."""
    pairs = ()
    for i in tl.static_range(0, len(rows), 2):
        pair = tl.permute(tl.join(rows[i], rows[i + 1]), (1, 0) if len(rows[i].shape) == 1 else (2, 0, 1))
        pairs = pairs + (tl.reshape(pair, (pair.numel // lanes, lanes)),)
    return pairs


@triton.jit
def _word_planes(state, word: tl.constexpr):
    """The 32 planes of one of the four words of a unit."""
    return state[4 * word] + state[4 * word + 1] + state[4 * word + 2] + state[4 * word + 3]


# Were ``words`` known to be aligned, the compiler would regroup the lanes for wider stores, at more than these save.
@triton.jit(do_not_specialize=["first", "total_lanes"], do_not_specialize_on_alignment=["words"])
def uniform_kernel(
    keys,
    limits,
    words,
    rejected,
    found,
    first,
    total_lanes,
    n: tl.constexpr,
    rows: tl.constexpr,
    lanes: tl.constexpr,
):
    """Retry 0 of the public streams, and the numbers of those words that are to be drawn again.

    ``words`` is [blocks, rows, 128, n / 128]: coefficient 128 l + i stands in line i, column l. ``total_lanes`` is
    blocks * rows * n / 128; ``limits`` are the rows' limits. ``rejected`` gets the numbers of words, coefficient by
    coefficient, and ``found`` how many there are.
    """
    lane = tl.program_id(0).to(tl.int64) * lanes + tl.arange(0, lanes)
    inside = lane < total_lanes
    group = lane // (n // 128)
    row = (group % rows).to(tl.int32)
    unit = (lane % (n // 128) * 32).to(tl.uint32)
    state = encrypt(counters(unit, tl.cast(first, tl.int64) + group // rows, row, keys), keys)
    w0 = transpose(_word_planes(state, 0))
    w1 = transpose(_word_planes(state, 1))
    w2 = transpose(_word_planes(state, 2))
    w3 = transpose(_word_planes(state, 3))
    mixed = ()
    for t in tl.static_range(32):
        mixed = mixed + (w0[t], w1[t], w2[t], w3[t])
    drawn = stack(mixed, 128, lanes)
    i = tl.arange(0, 128)[:, None]
    tl.store(words + group * n + lane % (n // 128) + i * (n // 128), drawn, inside[None, :])
    # One word of each lane at a time: few lanes have any, and fewer two.
    again = (drawn >= tl.load(limits + row)[None, :]) & inside[None, :]
    found_at = tl.min(tl.where(again, i, 128), 0)
    while tl.min(found_at) < 128:
        ticket = tl.atomic_add(found + row * 0, 1, found_at < 128)
        tl.store(rejected + ticket, (lane * 128).to(tl.int32) + found_at, found_at < 128)
        found_at = tl.min(tl.where(again & (i > found_at[None, :]), i, 128), 0)


@triton.jit(do_not_specialize=["first", "total_lanes"])
def noise_kernel(keys, counts, first, total_lanes, n: tl.constexpr, lanes: tl.constexpr):
    """How many ones there are in each of the three parts of a coefficient's 80 bits, as bytes [blocks, 3, n].

    ``counts`` is the memory of these bytes as uint32; ``total_lanes`` is blocks * 5 n / 256.
    """
    lane = tl.program_id(0).to(tl.int64) * lanes + tl.arange(0, lanes)
    inside = lane < total_lanes
    block = lane // (5 * n // 256)
    piece = (lane % (5 * n // 256)).to(tl.int32)
    halves = piece >= n // 64  # words from 2n on, of which each half counts by itself
    row = piece * 0
    unit = (piece * 32).to(tl.uint32)
    state = encrypt(counters(unit, tl.cast(first, tl.int64) + block, row, keys), keys)
    whole = tl.where(halves, row, row - 1).to(tl.uint32)
    one = ()
    two = ()
    for word in tl.static_range(4):
        low = _ones_of_16(state[4 * word] + state[4 * word + 1])
        high = _ones_of_16(state[4 * word + 2] + state[4 * word + 3])
        carry = whole & 0
        two = two + high + (carry, carry, carry)
        for k in tl.static_range(5):
            addend = high[k] & whole
            one = one + (low[k] ^ addend ^ carry,)
            carry = _majority(low[k], addend, carry)
        one = one + (carry, whole & 0, whole & 0)
    at = (block * (3 * n) + piece * 128) // 4
    place = at[None, :] + tl.arange(0, 32)[:, None]
    tl.store(counts + place, stack(transpose(one), 32, lanes), inside[None, :])
    tl.store(counts + n // 8 + place, stack(transpose(two), 32, lanes), (inside & halves)[None, :])


@triton.jit
def _majority(a, b, c):
    return (a & b) | (c & (a ^ b))


@triton.jit
def _ones_of_16(bits):
    """The number of ones in each position of 16 planes, as five planes."""
    a0, a1, a2 = _ones_of_7(bits, 0)
    b0, b1, b2 = _ones_of_7(bits, 7)
    s0 = a0 ^ b0 ^ bits[14]
    k0 = _majority(a0, b0, bits[14])
    s1 = a1 ^ b1 ^ k0
    k1 = _majority(a1, b1, k0)
    s2 = a2 ^ b2 ^ k1
    s3 = _majority(a2, b2, k1)
    k0 = s0 & bits[15]
    k1 = s1 & k0
    k2 = s2 & k1
    return (s0 ^ bits[15], s1 ^ k0, s2 ^ k1, s3 ^ k2, s3 & k2)


@triton.jit
def _ones_of_7(bits, at: tl.constexpr):
    s = bits[at] ^ bits[at + 1] ^ bits[at + 2]
    p = _majority(bits[at], bits[at + 1], bits[at + 2])
    t = bits[at + 3] ^ bits[at + 4] ^ bits[at + 5]
    q = _majority(bits[at + 3], bits[at + 4], bits[at + 5])
    r = _majority(s, t, bits[at + 6])
    return s ^ t ^ bits[at + 6], p ^ q ^ r, _majority(p, q, r)
