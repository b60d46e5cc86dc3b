/*
 * Products a * s and noise with AVX-512 (IFMA, VPOPCNTDQ) and VAES.
 *
 * Eight coefficients are in one register, 64 bits each, of which the lower 52 count. A product x w costs three
 * instructions, as Shoup's: with w' = floor(w 2^52 / q), x w - high(x w') q lies between 0 and q (1 + x / 2^52).
 * Neither it nor sums are reduced further: all x stay positive and below 2^40, because the numbers start with
 * multiples of q added to them. Butterflies are Cooley and Tukey's.
 *
 * Where w is secret, so that w' would cost a division, or the result must lie between -q and q, a product is
 * Montgomery's, with R = 2^52: with w' = w / q mod 2^52 it is high(x w) - high(low(x w') q), which is x w / 2^52
 * modulo q.
 *
 * Lane l of vector r is entry l n/8 + r of the transform, so that all but the last three levels work between
 * vectors and have the same constant for all lanes. (The AES counters are what puts them there.) Then vectors
 * are transposed, eight by eight, and lanes become neighbouring coefficients.
 */

typedef struct {
    __m512i q, minus_q, zero;
} modulus;

INLINE modulus modulus_of(uint32_t q)
{
    const modulus m = {_mm512_set1_epi64(q), _mm512_set1_epi64((long long)(MASK52 + 1 - q)), _mm512_setzero_si512()};
    return m;
}

/* acc + x w / 2^52 modulo q, more than acc - q and less than acc + q. */
INLINE __m512i multiply_secret(__m512i acc, __m512i x, __m512i w, __m512i w_low, const modulus *m)
{
    __m512i low = _mm512_madd52lo_epu64(m->zero, x, w_low);
    __m512i high = _mm512_madd52hi_epu64(acc, x, w);
    return _mm512_sub_epi64(high, _mm512_madd52hi_epu64(m->zero, low, m->q));
}

/* acc + x w modulo q, from acc on, modulo 2^52. */
INLINE __m512i multiply(__m512i acc, __m512i x, __m512i w, __m512i quotient, const modulus *m)
{
    __m512i times = _mm512_madd52hi_epu64(m->zero, x, quotient);
    return _mm512_madd52lo_epu64(_mm512_madd52lo_epu64(acc, x, w), times, m->minus_q);
}

/* (a, b) becomes (a + w b, a - w b). */
INLINE void butterfly(__m512i *a, __m512i *b, const uint64_t *w, const modulus *m)
{
    __m512i twice = _mm512_add_epi64(*a, *a);
    *a = multiply(*a, *b, _mm512_set1_epi64((long long)w[0]), _mm512_set1_epi64((long long)w[1]), m);
    *b = _mm512_sub_epi64(twice, *a);
}

INLINE void butterfly_by_one(__m512i *a, __m512i *b)
{
    __m512i sum = _mm512_add_epi64(*a, *b);
    *b = _mm512_sub_epi64(*a, *b);
    *a = sum;
}

/* -- AES ------------------------------------------------------------------------------------------------------ */

INLINE void encrypt_zmm(__m512i *x, int count, const __m128i *keys)
{
    for (int i = 0; i < count; i++)
        x[i] = _mm512_xor_si512(x[i], _mm512_broadcast_i32x4(keys[0]));
#pragma GCC unroll 9
    for (int round = 1; round < 10; round++) {
        __m512i key = _mm512_broadcast_i32x4(keys[round]);
#pragma GCC unroll 16
        for (int i = 0; i < count; i++)
            x[i] = _mm512_aesenc_epi128(x[i], key);
    }
    for (int i = 0; i < count; i++)
        x[i] = _mm512_aesenclast_epi128(x[i], _mm512_broadcast_i32x4(keys[10]));
}

/* The counters of units u, u + step, u + 2 step and u + 3 step. */
INLINE __m512i counters(uint64_t high, uint64_t u, uint64_t step)
{
    return _mm512_set_epi64((long long)high, (long long)(u + 3 * step), (long long)high, (long long)(u + 2 * step),
                            (long long)high, (long long)(u + step), (long long)high, (long long)u);
}

/* Draws the words of *x again that are rejected; its units are as ``counters`` has it. Rare, and public. */
static __attribute__((noinline)) void redraw(__m512i *x, uint32_t limit, const __m128i *keys, uint64_t high,
                                             uint64_t u, uint64_t step)
{
    uint32_t words[16];
    _mm512_storeu_si512(words, *x);
    for (unsigned i = 0; i < 16; i++)
        if (words[i] >= limit)
            words[i] = aes_retry(keys, high, u + i / 4 * step, i % 4, limit);
    *x = _mm512_loadu_si512(words);
}

/* The counters of the units that are ``more`` units further on. */
INLINE __m512i further(__m512i x, uint64_t more)
{
    return _mm512_add_epi64(x, _mm512_maskz_set1_epi64(0x55, (long long)more));
}

/* -- Noise ---------------------------------------------------------------------------------------------------- */

static void noise_avx512(uint32_t n, const __m128i *keys, uint64_t block, int32_t *noise)
{
    const __m512i start = counters(block << 16, 0, 1);
    const __m512i forty = _mm512_set1_epi32(40), half = _mm512_set1_epi32(0xffff);
    for (uint32_t j = 0; j < n / 2; j += 32) {
        __m512i x[10];
        for (uint32_t i = 0; i < 2; i++) {
            uint32_t u = (j + 16 * i) / 4;
            for (uint32_t part = 0; part < 5; part++) /* words j, j + n/2, j + n, j + 3n/2, j + 2n */
                x[5 * i + part] = further(start, u + part * (n / 8));
        }
        encrypt_zmm(x, 10, keys);
        for (uint32_t i = 0; i < 2; i++) {
            const __m512i *w = x + 5 * i;
            __m512i low = _mm512_popcnt_epi32(_mm512_and_si512(w[4], half));
            __m512i top = _mm512_popcnt_epi32(_mm512_srli_epi32(w[4], 16));
            low = _mm512_add_epi32(low, _mm512_add_epi32(_mm512_popcnt_epi32(w[0]), _mm512_popcnt_epi32(w[2])));
            top = _mm512_add_epi32(top, _mm512_add_epi32(_mm512_popcnt_epi32(w[1]), _mm512_popcnt_epi32(w[3])));
            _mm512_storeu_si512(noise + j + 16 * i, _mm512_sub_epi32(low, forty));
            _mm512_storeu_si512(noise + j + 16 * i + n / 2, _mm512_sub_epi32(top, forty));
        }
    }
}

/* -- Product -------------------------------------------------------------------------------------------------- */

INLINE void transpose(__m512i *x)
{
    __m512i y[8];
    for (int i = 0; i < 8; i += 2) {
        y[i] = _mm512_unpacklo_epi64(x[i], x[i + 1]);
        y[i + 1] = _mm512_unpackhi_epi64(x[i], x[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            x[i + j] = _mm512_shuffle_i64x2(y[i + j], y[i + j + 2], 0x88);
            x[i + j + 2] = _mm512_shuffle_i64x2(y[i + j], y[i + j + 2], 0xdd);
        }
    for (int j = 0; j < 4; j++) {
        __m512i a = x[j], b = x[j + 4];
        x[j] = _mm512_shuffle_i64x2(a, b, 0x88);
        x[j + 4] = _mm512_shuffle_i64x2(a, b, 0xdd);
    }
}

/* The secret's rows, in the order of vectors and lanes, as pairs of vectors s and s / q mod 2^52. */
static void prepare_avx512(const parameters *p, const tables *t, const uint32_t *secret, void *prepared)
{
    const uint32_t vectors = p->n / 8;
    __m512i *to = prepared;
    for (uint32_t row = 0; row < p->rows; row++, secret += p->n) {
        const __m512i inverse = _mm512_set1_epi64((long long)t->row[row].inverse52);
        for (uint32_t r = 0; r < vectors; r += 8, to += 16) {
            __m512i x[8];
            for (uint32_t l = 0; l < 8; l++)
                x[l] = _mm512_cvtepu32_epi64(_mm256_loadu_si256((const __m256i *)(secret + l * vectors + r)));
            transpose(x);
            for (uint32_t i = 0; i < 8; i++) {
                to[2 * i] = x[i];
                to[2 * i + 1] = _mm512_madd52lo_epu64(_mm512_setzero_si512(), x[i], inverse);
            }
        }
    }
}

/* Draws 16 vectors from 16 g on, multiplies them with the secret and does the first four levels. */
INLINE void first_levels(uint32_t n, const row_tables *t, const __m128i *keys, uint64_t high,
                         const __m512i *start, uint32_t g, const __m512i *secret, __m512i *v, const modulus *m)
{
    const uint64_t step = n / 32; /* units between neighbouring lanes */
    const __m512i limit = _mm512_set1_epi32((int)t->limit), low = _mm512_set1_epi64(0xffffffff);
    __m512i x[8], y[16];
    x[0] = further(start[0], 4 * g), x[1] = further(start[1], 4 * g);
    for (uint32_t i = 2; i < 8; i++)
        x[i] = further(x[i % 2], i / 2);
    encrypt_zmm(x, 8, keys);
    __mmask16 rejected = 0;
    for (uint32_t i = 0; i < 8; i++)
        rejected |= _mm512_cmpge_epu32_mask(x[i], limit);
    if (__builtin_expect(rejected != 0, 0))
        for (uint32_t i = 0; i < 8; i++)
            redraw(&x[i], t->limit, keys, high, 4 * g + i / 2 + (i % 2) * step, 2 * step);
    for (uint32_t i = 0; i < 4; i++) {
        __m512i front = _mm512_unpacklo_epi64(x[2 * i], x[2 * i + 1]);
        __m512i back = _mm512_unpackhi_epi64(x[2 * i], x[2 * i + 1]);
        y[4 * i] = _mm512_and_si512(front, low);
        y[4 * i + 1] = _mm512_srli_epi64(front, 32);
        y[4 * i + 2] = _mm512_and_si512(back, low);
        y[4 * i + 3] = _mm512_srli_epi64(back, 32);
    }
    /* In multiples of q, after this y[0..3] are 64, 0, 8, 0; after the two levels all lie between 50 and 80. */
    const __m512i much = _mm512_slli_epi64(m->q, 6), little = _mm512_slli_epi64(m->q, 3);
    secret += 32 * g;
#pragma GCC unroll 16
    for (uint32_t i = 0; i < 16; i++)
        y[i] = multiply_secret(i % 4 == 0 ? much : i % 4 == 2 ? little : m->zero, y[i], secret[2 * i],
                               secret[2 * i + 1], m);
#pragma GCC unroll 4
    for (uint32_t i = 0; i < 16; i += 4) {
        butterfly_by_one(&y[i], &y[i + 1]);
        butterfly_by_one(&y[i + 2], &y[i + 3]);
        butterfly_by_one(&y[i], &y[i + 2]);
        butterfly(&y[i + 1], &y[i + 3], t->power52[3], m);
    }
#pragma GCC unroll 2
    for (uint32_t i = 0; i < 16; i += 8)
#pragma GCC unroll 4
        for (uint32_t j = 0; j < 4; j++)
            butterfly(&y[i + j], &y[i + j + 4], t->power52[4 + j], m);
#pragma GCC unroll 8
    for (uint32_t j = 0; j < 8; j++) {
        butterfly(&y[j], &y[j + 8], t->power52[8 + j], m);
        v[16 * g + j] = y[j];
        v[16 * g + j + 8] = y[j + 8];
    }
}

/* Two levels: of h and of 2 h vectors between those taken together. */
INLINE void two_levels(uint32_t vectors, uint32_t h, const row_tables *t, __m512i *v, const modulus *m)
{
    for (uint32_t base = 0; base < vectors; base += 4 * h)
        for (uint32_t j = 0; j < h; j++) {
            __m512i *at = v + base + j;
            __m512i a = at[0], b = at[h], c = at[2 * h], d = at[3 * h];
            butterfly(&a, &b, t->power52[h + j], m);
            butterfly(&c, &d, t->power52[h + j], m);
            butterfly(&a, &c, t->power52[2 * h + j], m);
            butterfly(&b, &d, t->power52[3 * h + j], m);
            at[0] = a, at[h] = b, at[2 * h] = c, at[3 * h] = d;
        }
}

INLINE void one_level(uint32_t vectors, uint32_t h, const row_tables *t, __m512i *v, const modulus *m)
{
    for (uint32_t base = 0; base < vectors; base += 2 * h)
        for (uint32_t j = 0; j < h; j++)
            butterfly(v + base + j, v + base + j + h, t->power52[h + j], m);
}

/*
 * The last three levels of eight columns from c on, as a transform of eight numbers in each column: high and low
 * are what the residues are the differences of, modulo q.
 */
INLINE void last_levels(const row_tables *t, const __m512i *v, uint32_t c, __m512i *high, __m512i *low,
                        const modulus *m)
{
    __m512i x[8];
    for (uint32_t l = 0; l < 8; l++)
        x[l] = v[c + l];
    transpose(x);
    /* Multiples of q that keep all positive: 128, 0, 16, 0, 32, 0, 8, 0; then between 20 and 200. */
    const __m512i add[8] = {_mm512_slli_epi64(m->q, 7), m->zero, _mm512_slli_epi64(m->q, 4), m->zero,
                            _mm512_slli_epi64(m->q, 5), m->zero, _mm512_slli_epi64(m->q, 3), m->zero};
    const __m512i *twist = (const __m512i *)t->twist52 + 2 * c;
#pragma GCC unroll 8
    for (uint32_t l = 0; l < 8; l++)
        x[l] = multiply(add[l], x[l], twist[2 * l], twist[2 * l + 1], m);
#pragma GCC unroll 2
    for (uint32_t i = 0; i < 8; i += 4) {
        butterfly_by_one(&x[i], &x[i + 1]);
        butterfly_by_one(&x[i + 2], &x[i + 3]);
        butterfly_by_one(&x[i], &x[i + 2]);
        butterfly(&x[i + 1], &x[i + 3], t->power52[3], m);
    }
    butterfly_by_one(&x[0], &x[4]);
#pragma GCC unroll 3
    for (uint32_t j = 1; j < 4; j++)
        butterfly(&x[j], &x[j + 4], t->power52[4 + j], m);
#pragma GCC unroll 8
    for (uint32_t o = 0; o < 8; o++) {
        __m512i w = _mm512_set1_epi64((long long)t->turn52[o][0]);
        __m512i w_low = _mm512_set1_epi64((long long)t->turn52[o][1]);
        low[o] = _mm512_madd52hi_epu64(m->zero, _mm512_madd52lo_epu64(m->zero, x[o], w_low), m->q);
        high[o] = _mm512_madd52hi_epu64(m->zero, x[o], w);
    }
}

/*
 * A row of a block of a * s, below q, in natural order. v: room for n numbers of 64 bits. to, from: n words of
 * memory that are soon written and read, fetched meanwhile.
 */
INLINE void product_of(uint32_t n, const row_tables *t, const __m128i *keys, uint64_t block, uint32_t row,
                       const __m512i *secret, __m512i *v, uint32_t *out, const uint32_t *to,
                       const uint32_t *from)
{
    const uint32_t vectors = n / 8;
    const modulus m = modulus_of(t->q);
    const uint64_t step = n / 32, stream = block << 16 | row << 8;
    const __m512i start[2] = {counters(stream, 0, 2 * step), counters(stream, step, 2 * step)};
    for (uint32_t g = 0; g < vectors / 16; g++) {
        for (uint32_t line = 128 * g; line < 128 * (g + 1); line += 16) {
            __builtin_prefetch(to + line, 1);
            __builtin_prefetch(from + line, 0);
        }
        first_levels(n, t, keys, stream, start, g, secret, v, &m);
    }
    uint32_t h = 16;
    for (; 4 * h <= vectors; h *= 4)
        two_levels(vectors, h, t, v, &m);
    if (h < vectors)
        one_level(vectors, h, t, v, &m);
    const __m512i q = _mm512_set1_epi32((int)t->q);
    const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    for (uint32_t c = 0; c < vectors; c += 16) {
        __m512i high[2][8], low[2][8];
        last_levels(t, v, c, high[0], low[0], &m);
        last_levels(t, v, c + 8, high[1], low[1], &m);
#pragma GCC unroll 8
        for (uint32_t o = 0; o < 8; o++) {
            __m512i a = _mm512_permutex2var_epi32(high[0][o], even, high[1][o]);
            __m512i b = _mm512_permutex2var_epi32(low[0][o], even, low[1][o]);
            __m512i d = _mm512_sub_epi32(a, b);
            d = _mm512_mask_add_epi32(d, _mm512_cmplt_epu32_mask(a, b), d, q);
            _mm512_store_si512(out + o * vectors + c, d);
        }
    }
}

static void product_avx512(const parameters *p, const row_tables *t, const __m128i *keys, uint64_t block,
                           uint32_t row, const void *prepared, void *v, uint32_t *out, const uint32_t *to, const uint32_t *from)
{
    const __m512i *secret = (const __m512i *)prepared + (size_t)row * (p->n / 4);
    if (p->n == 2048) /* the two sizes in use, known to the compiler */
        product_of(2048, t, keys, block, row, secret, v, out, to, from);
    else
        product_of(4096, t, keys, block, row, secret, v, out, to, from);
}

/* As encode_portable. The numbers are read ahead: they mostly come from memory, the words mostly stay in a cache. */
static int encode_avx512(size_t count, const float *values, double factor, double bound, double scale, int32_t *out)
{
    const __m512d f = _mm512_set1_pd(factor), s = _mm512_set1_pd(scale);
    const __m512d top = _mm512_set1_pd(bound), bottom = _mm512_set1_pd(-bound);
    __m512d wrong = _mm512_setzero_pd();
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        _mm_prefetch((const char *)(values + i) + 1024, _MM_HINT_T0);
        __m512d x = _mm512_mul_pd(_mm512_cvtps_pd(_mm256_loadu_ps(values + i)), f);
        wrong = _mm512_add_pd(wrong, _mm512_sub_pd(x, x));
        x = _mm512_mul_pd(_mm512_min_pd(_mm512_max_pd(x, bottom), top), s);
        _mm256_storeu_si256((__m256i *)(out + i), _mm512_cvtpd_epi32(x));
    }
    return _mm512_cmp_pd_mask(wrong, wrong, _CMP_UNORD_Q) == 0 &&
           encode_portable(count - i, values + i, factor, bound, scale, out + i);
}
