/* AVX2: AES-128 with AES-NI (FIPS 197; Gueron, "Intel Advanced Encryption Standard Instructions", 2010). */

#define EXPAND(i, constant)                                                                      \
    do {                                                                                         \
        __m128i x = keys[(i) - 1];                                                               \
        x = _mm_xor_si128(x, _mm_slli_si128(x, 4));                                              \
        x = _mm_xor_si128(x, _mm_slli_si128(x, 8));                                              \
        __m128i y = _mm_aeskeygenassist_si128(keys[(i) - 1], constant);                          \
        keys[i] = _mm_xor_si128(x, _mm_shuffle_epi32(y, 0xff));                                  \
    } while (0)

static void expand_key(const unsigned char *key, __m128i *keys)
{
    keys[0] = _mm_loadu_si128((const __m128i *)key);
    EXPAND(1, 0x01);
    EXPAND(2, 0x02);
    EXPAND(3, 0x04);
    EXPAND(4, 0x08);
    EXPAND(5, 0x10);
    EXPAND(6, 0x20);
    EXPAND(7, 0x40);
    EXPAND(8, 0x80);
    EXPAND(9, 0x1b);
    EXPAND(10, 0x36);
}

/* The first ``count`` words of a stream, a multiple of 32. */
static void draw(const __m128i *keys, uint64_t high, uint32_t count, uint32_t *words)
{
    for (uint32_t u = 0; u < count / 4; u += 8) {
        __m128i x[8];
        for (uint32_t i = 0; i < 8; i++)
            x[i] = _mm_xor_si128(_mm_set_epi64x((long long)high, (long long)(u + i)), keys[0]);
#pragma GCC unroll 9
        for (int round = 1; round < 10; round++)
#pragma GCC unroll 8
            for (uint32_t i = 0; i < 8; i++)
                x[i] = _mm_aesenc_si128(x[i], keys[round]);
        for (uint32_t i = 0; i < 8; i++)
            _mm_storeu_si128((__m128i *)words + u + i, _mm_aesenclast_si128(x[i], keys[10]));
    }
}

/* The first n words of a row of a, those drawn again that are rejected. */
static void draw_below(const __m128i *keys, uint64_t high, uint32_t n, uint32_t limit, uint32_t *words)
{
    draw(keys, high, n, words);
    for (uint32_t j = 0; j < n; j += 32) {
        uint32_t rejected = 0;
        for (uint32_t i = 0; i < 32; i++)
            rejected |= words[j + i] >= limit;
        if (__builtin_expect(rejected != 0, 0))
            for (uint32_t i = j; i < j + 32; i++)
                if (words[i] >= limit)
                    words[i] = aes_retry(keys, high, i / 4, i % 4, limit);
    }
}

/* As encode_portable. */
static int encode_avx2(size_t count, const float *values, double factor, double bound, double scale, int32_t *out)
{
    const __m256d f = _mm256_set1_pd(factor), s = _mm256_set1_pd(scale);
    const __m256d top = _mm256_set1_pd(bound), bottom = _mm256_set1_pd(-bound);
    __m256d wrong = _mm256_setzero_pd();
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        _mm_prefetch((const char *)(values + i) + 1024, _MM_HINT_T0);
        __m256d x = _mm256_mul_pd(_mm256_cvtps_pd(_mm_loadu_ps(values + i)), f);
        wrong = _mm256_add_pd(wrong, _mm256_sub_pd(x, x));
        x = _mm256_mul_pd(_mm256_min_pd(_mm256_max_pd(x, bottom), top), s);
        _mm_storeu_si128((__m128i *)(out + i), _mm256_cvtpd_epi32(x));
    }
    return _mm256_movemask_pd(_mm256_cmp_pd(wrong, wrong, _CMP_UNORD_Q)) == 0 &&
           encode_portable(count - i, values + i, factor, bound, scale, out + i);
}

/* -- What kernel_generic.h is made of, on eight numbers of 32 bits ---------------------------------------------- */

#define VECTORS

/* q where a < b, without a sign; else 0. */
INLINE __m256i where_less(__m256i a, __m256i b, __m256i q)
{
    return _mm256_andnot_si256(_mm256_cmpeq_epi32(_mm256_max_epu32(a, b), a), q);
}

/* x w / 2^32 modulo q, for w below q and w_low = w / q mod 2^32. */
INLINE __m256i multiply8(__m256i x, __m256i w, __m256i w_low, __m256i q)
{
    __m256i m = _mm256_mullo_epi32(x, w_low);
    __m256i high = _mm256_blend_epi32(_mm256_srli_epi64(_mm256_mul_epu32(x, w), 32),
                                      _mm256_mul_epu32(_mm256_srli_epi64(x, 32), _mm256_srli_epi64(w, 32)), 0xaa);
    __m256i low = _mm256_blend_epi32(_mm256_srli_epi64(_mm256_mul_epu32(m, q), 32),
                                     _mm256_mul_epu32(_mm256_srli_epi64(m, 32), q), 0xaa);
    return _mm256_add_epi32(_mm256_sub_epi32(high, low), where_less(high, low, q));
}

INLINE __m256i load8(const uint32_t *from)
{
    return _mm256_loadu_si256((const __m256i *)from);
}

INLINE void store8(uint32_t *to, __m256i x)
{
    _mm256_storeu_si256((__m256i *)to, x);
}

INLINE void butterflies_avx2(uint32_t count, uint32_t *restrict a, uint32_t *restrict b, const uint32_t *w, uint32_t prime)
{
    const __m256i q = _mm256_set1_epi32((int)prime);
    const __m256i high = _mm256_set1_epi32((int)w[0]), low = _mm256_set1_epi32((int)w[1]);
    for (uint32_t i = 0; i < count; i += 8) {
        __m256i x = load8(a + i), y = multiply8(load8(b + i), high, low, q), rest = _mm256_sub_epi32(q, y);
        store8(a + i, _mm256_add_epi32(_mm256_sub_epi32(x, rest), where_less(x, rest, q)));
        store8(b + i, _mm256_add_epi32(_mm256_sub_epi32(x, y), where_less(x, y, q)));
    }
}

static void multiply_all_avx2(uint32_t n, const uint32_t *x, const uint32_t *w, const uint32_t *w_low, uint32_t prime,
                              uint32_t *out)
{
    const __m256i q = _mm256_set1_epi32((int)prime);
    for (uint32_t j = 0; j < n; j += 8)
        store8(out + j, multiply8(load8(x + j), load8(w + j), load8(w_low + j), q));
}

INLINE void multiply_by_avx2(uint32_t count, uint32_t *x, const uint32_t *w, uint32_t prime)
{
    const __m256i q = _mm256_set1_epi32((int)prime);
    const __m256i high = _mm256_set1_epi32((int)w[0]), low = _mm256_set1_epi32((int)w[1]);
    for (uint32_t i = 0; i < count; i += 8)
        store8(x + i, multiply8(load8(x + i), high, low, q));
}
