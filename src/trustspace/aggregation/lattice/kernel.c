/*
 * The arithmetic of the lattice sum, bit for bit as in reference.py, whose comments say what it computes.
 *
 * A shared library without ties to Python, loaded by native.py, which checks every length before a call. All
 * memory comes from the caller; nothing is kept between calls, and no thread is started. There are three paths:
 * 0 for any processor (the caller brings the AES streams), 1 with AVX2 and AES-NI, 2 with AVX-512 and VAES.
 * Time and addresses do not depend on secrets, noise or words. Only words of the public a are drawn again, which
 * shows in the time, and their values are public.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "words on the wire are little-endian"
#endif
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define X86 1
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define ALIGNED __attribute__((aligned(64)))
#define MAX_N 4096
#define MAX_ROWS 4
#define MASK52 ((1ull << 52) - 1)
/* 3 * 2^51: added to a number below 2^31 it leaves the nearest integer in the low bits, half to even. */
#define ROUNDER 6755399441055744.0

/* As LatticeParameters; native.py makes it. */
typedef struct {
    uint32_t n, rows, slots, scale, residue_bits, noise_bits, largest, unused;
    uint32_t primes[MAX_ROWS], psis[MAX_ROWS];
} parameters;

/*
 * Constants of one prime. With w = psi^-2, of order n: power[h + j] is w^(j n/2h), turn[o] is psi^-(o n/8), and
 * twist is psi^-((1 + 2 rev(l)) c) / n times R for column c and lane l, where rev reverses l's three bits. That R
 * takes back what multiplying with the secret took. Each is a pair: x R modulo q, and that by q modulo R, as
 * Montgomery's product needs it; but power52 and twist52 are x and floor(x R / q), as Shoup's does.
 */
typedef struct {
    uint32_t q, limit, inverse32, unused;
    uint64_t inverse52;
    uint64_t power52[MAX_N / 8][2];
    uint64_t turn52[8][2];
    uint32_t power32[MAX_N / 8][2];
    uint32_t turn32[8][2];
    uint64_t twist52[2 * MAX_N] ALIGNED; /* for 8 columns: lane 0's 8 pairs as two vectors, lane 1's, ... */
    uint32_t twist32[2][MAX_N] ALIGNED;  /* lane 0's columns, lane 1's, ... */
} row_tables;

typedef struct {
    row_tables row[MAX_ROWS];
} tables;

typedef struct {
    uint64_t vectors[MAX_N] ALIGNED;
    uint64_t prepared[MAX_ROWS][2 * MAX_N];
    uint32_t row[MAX_N], first[MAX_N], drawn[MAX_N / 2 * 5];
    int32_t noise[MAX_N];
    unsigned char public_keys[11][16], noise_keys[11][16];
} scratch;

/* The streams of AES where the processor does not make them: for each block a's rows and the noise's words. */
typedef struct {
    const uint32_t *a, *noise;
} streams;

/* -- Three times the same functions ---------------------------------------------------------------------------- */

INLINE int32_t low_word(double x)
{
    int64_t bits;
    memcpy(&bits, &x, 8);
    return (int32_t)bits;
}

#define JOIN(a, b) a##_##b
#define JOINED(a, b) JOIN(a, b)
#define PATH(name) JOINED(name, SUFFIX)

#define SUFFIX portable
#include "kernel_elementwise.h"
#include "kernel_generic.h"
#undef SUFFIX

/* rint(clip(values factor, -bound, bound) scale); 0 where a product is not finite. */
static int encode_portable(size_t count, const float *values, double factor, double bound, double scale, int32_t *out)
{
    double wrong = 0; /* x - x is 0, or not a number for infinities and what is none */
    for (size_t i = 0; i < count; i++) {
        double x = values[i] * factor;
        wrong += x - x;
        x = x < -bound ? -bound : x;
        x = x > bound ? bound : x;
        out[i] = low_word(x * scale + ROUNDER);
    }
    return wrong == 0;
}

#ifdef X86
/* AES-128 of one unit, for words that are drawn again: the word at place ``i`` of the first retry below limit. */
#pragma GCC push_options
#pragma GCC target("avx2,fma,aes,bmi,bmi2,popcnt")
static uint32_t aes_retry(const __m128i *keys, uint64_t high, uint64_t unit, uint32_t i, uint32_t limit)
{
    uint32_t words[4];
    do {
        __m128i x = _mm_xor_si128(_mm_set_epi64x((long long)++high, (long long)unit), keys[0]);
        for (int round = 1; round < 10; round++)
            x = _mm_aesenc_si128(x, keys[round]);
        _mm_storeu_si128((__m128i *)words, _mm_aesenclast_si128(x, keys[10]));
    } while (words[i] >= limit);
    return words[i];
}

#define SUFFIX avx2
#include "kernel_elementwise.h"
#include "kernel_avx2.h"
#include "kernel_generic.h"
#undef SUFFIX
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma,aes,bmi,bmi2,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512ifma,avx512vpopcntdq,vaes,prfchw")
#pragma GCC target("prefer-vector-width=512")
#define SUFFIX avx512
#include "kernel_elementwise.h"
#include "kernel_avx512.h"
#undef SUFFIX
#pragma GCC pop_options
#endif

/* -- Dispatch -------------------------------------------------------------------------------------------------- */

/*
 * product: a row of a block of a * s, below q, into scratch->row, while n words at ``to`` and ``from`` may be fetched;
 * noise: into scratch->noise.
 */
typedef struct {
    void (*prepare)(const parameters *, const tables *, const uint32_t *, void *);
    void (*product)(const parameters *, const tables *, scratch *, const streams *, uint64_t first, size_t block, uint32_t row,
                    const uint32_t *to, const uint32_t *from);
    void (*noise)(const parameters *, scratch *, const streams *, uint64_t first, size_t block);
    void (*add_noise)(uint32_t, const uint32_t *, const int32_t *, uint32_t, uint32_t *);
    uint32_t (*add_words)(uint32_t, const uint32_t *, const int32_t *, const uint32_t *, uint32_t, uint32_t, uint32_t, uint32_t *);
    void (*pack)(uint32_t, const uint32_t *, uint32_t, uint32_t, uint32_t, uint32_t *);
    uint32_t (*apply)(uint32_t, const uint32_t *, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t *);
    uint32_t (*add_slot)(uint32_t, uint32_t, uint32_t *, const uint32_t *);
    uint32_t (*add_packed)(const parameters *, uint32_t *restrict, uint32_t *restrict, uint32_t *restrict, const uint32_t *restrict);
    void (*unpack_noise)(uint32_t, const uint32_t *, uint32_t, uint32_t, uint32_t *);
    uint32_t (*open_noise)(uint32_t, const uint32_t *, const uint32_t *, uint32_t, uint32_t, int32_t *);
    uint32_t (*open_scaled)(uint32_t, const uint32_t *, const uint32_t *, uint32_t, uint32_t, uint32_t, uint32_t, int32_t *,
                            uint32_t *);
    uint32_t (*open_slot)(uint32_t, const uint32_t *, const uint32_t *, const int32_t *, uint32_t, uint32_t, uint32_t, uint32_t *);
    int (*encode)(size_t, const float *, double, double, double, int32_t *);
    void (*decode)(size_t, const uint32_t *, double, double *);
} path;

#define ELEMENTWISE(s)                                                                                                \
    add_noise_##s, add_words_##s, pack_##s, apply_##s, add_slot_##s, add_packed_##s, unpack_noise_##s, open_noise_##s, \
        open_scaled_##s, open_slot_##s, encode_##s, decode_##s

static void product_0(const parameters *p, const tables *t, scratch *s, const streams *given, uint64_t first, size_t block,
                      uint32_t row, const uint32_t *to, const uint32_t *from)
{
    (void)first, (void)to, (void)from;
    product_portable(p->n, &t->row[row], given->a + (block * p->rows + row) * p->n,
                     (uint32_t *)s->prepared + (size_t)2 * row * p->n, (uint32_t *)s->vectors, s->row);
}

static void noise_0(const parameters *p, scratch *s, const streams *given, uint64_t first, size_t block)
{
    (void)first;
    count_noise_portable(p->n, given->noise + block * (p->n / 2 * 5), s->noise);
}

#ifdef X86
static void product_1(const parameters *p, const tables *t, scratch *s, const streams *given, uint64_t first, size_t block,
                      uint32_t row, const uint32_t *to, const uint32_t *from)
{
    (void)given, (void)to, (void)from;
    draw_below((const __m128i *)s->public_keys, (first + block) << 16 | row << 8, p->n, t->row[row].limit, s->drawn);
    product_avx2(p->n, &t->row[row], s->drawn, (uint32_t *)s->prepared + (size_t)2 * row * p->n, (uint32_t *)s->vectors, s->row);
}

static void noise_1(const parameters *p, scratch *s, const streams *given, uint64_t first, size_t block)
{
    (void)given;
    draw((const __m128i *)s->noise_keys, (first + block) << 16, p->n / 2 * 5, s->drawn);
    count_noise_avx2(p->n, s->drawn, s->noise);
}

static void product_2(const parameters *p, const tables *t, scratch *s, const streams *given, uint64_t first, size_t block,
                      uint32_t row, const uint32_t *to, const uint32_t *from)
{
    (void)given;
    product_avx512(p, &t->row[row], (const __m128i *)s->public_keys, first + block, row, s->prepared, s->vectors, s->row, to, from);
}

static void noise_2(const parameters *p, scratch *s, const streams *given, uint64_t first, size_t block)
{
    (void)given;
    noise_avx512(p->n, (const __m128i *)s->noise_keys, first + block, s->noise);
}
#endif

static const path paths[] = {
    {prepare_portable, product_0, noise_0, ELEMENTWISE(portable)},
#ifdef X86
    {prepare_avx2, product_1, noise_1, ELEMENTWISE(avx2)},
    {prepare_avx512, product_2, noise_2, ELEMENTWISE(avx512)},
#endif
};

/* The best path of this processor. */
int lattice_best_path(void)
{
#ifdef X86
    __builtin_cpu_init();
    if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("aes") &&
          __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt")))
        return 0;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512ifma") &&
        __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("vaes"))
        return 2;
    return 1;
#else
    return 0;
#endif
}

/* -- Constants ------------------------------------------------------------------------------------------------- */

size_t lattice_tables_size(void)
{
    return sizeof(tables);
}

size_t lattice_scratch_size(void)
{
    return sizeof(scratch);
}

static uint64_t power(uint64_t base, uint64_t exponent, uint64_t q)
{
    uint64_t result = 1;
    for (; exponent; exponent >>= 1, base = base * base % q)
        if (exponent & 1)
            result = result * base % q;
    return result;
}

static void put52(const row_tables *t, uint64_t x, uint64_t *pair, uint64_t *low)
{
    *pair = x * ((1ull << 52) % t->q) % t->q;
    *low = *pair * t->inverse52 & MASK52;
}

static void put52_quotient(const row_tables *t, uint64_t x, uint64_t *pair, uint64_t *quotient)
{
    const uint64_t upper = x << 26;
    *pair = x;
    *quotient = (upper / t->q << 26) + (upper % t->q << 26) / t->q;
}

static void put32(const row_tables *t, uint64_t x, uint32_t *pair, uint32_t *low)
{
    *pair = (uint32_t)(x * ((1ull << 32) % t->q) % t->q);
    *low = *pair * t->inverse32;
}

/* Fills the tables, of lattice_tables_size() bytes from a multiple of 64 on. */
void lattice_make_tables(const parameters *p, tables *to)
{
    const uint32_t n = p->n, vectors = n / 8;
    for (uint32_t row = 0; row < p->rows; row++) {
        row_tables *t = &to->row[row];
        const uint64_t q = p->primes[row], root = power(p->psis[row], 2 * n - 1, q), shrink = power(n, q - 2, q);
        t->q = (uint32_t)q;
        t->limit = (uint32_t)((1ull << 32) / q * q);
        uint64_t inverse = q; /* right in the low 3 bits, and each step doubles them */
        for (int step = 0; step < 5; step++)
            inverse *= 2 - q * inverse;
        t->inverse52 = inverse & MASK52;
        t->inverse32 = (uint32_t)inverse;
        for (uint32_t h = 1; h < vectors; h *= 2)
            for (uint32_t j = 0; j < h; j++) {
                const uint64_t x = power(root, (uint64_t)j * (n / h), q);
                put52_quotient(t, x, &t->power52[h + j][0], &t->power52[h + j][1]);
                put32(t, x, &t->power32[h + j][0], &t->power32[h + j][1]);
            }
        for (uint32_t o = 0; o < 8; o++) {
            const uint64_t x = power(root, o * vectors, q);
            put52(t, x, &t->turn52[o][0], &t->turn52[o][1]);
            put32(t, x, &t->turn32[o][0], &t->turn32[o][1]);
        }
        for (uint32_t l = 0; l < 8; l++) {
            const uint32_t reversed = l >> 2 | (l & 2) | (l & 1) << 2;
            const uint64_t base = power(root, 1 + 2 * reversed, q);
            uint64_t x = shrink;
            for (uint32_t c = 0; c < vectors; c++, x = x * base % q) {
                uint64_t *pair = t->twist52 + c / 8 * 128 + l * 16 + c % 8;
                put52_quotient(t, x * ((1ull << 52) % q) % q, &pair[0], &pair[8]);
                put32(t, x * ((1ull << 32) % q) % q, &t->twist32[0][l * vectors + c], &t->twist32[1][l * vectors + c]);
            }
        }
    }
}

/* -- Blocks ---------------------------------------------------------------------------------------------------- */

static void begin(const path *f, const parameters *p, const tables *t, scratch *s, const unsigned char *public_key,
                  const uint32_t *secret, const unsigned char *noise_key)
{
#ifdef X86
    if (f != paths) {
        expand_key(public_key, (__m128i *)s->public_keys);
        if (noise_key)
            expand_key(noise_key, (__m128i *)s->noise_keys);
    }
#else
    (void)public_key, (void)noise_key;
#endif
    f->prepare(p, t, secret, s->prepared);
}

/* Leaves nothing of a secret or noise in memory. */
static void end(const parameters *p, scratch *s)
{
    memset(s->prepared, 0, (size_t)16 * p->n * p->rows);
    memset(s->vectors, 0, sizeof s->vectors);
    memset(s->row, 0, sizeof *s - offsetof(scratch, row));
    __asm__ volatile("" : : "r"(s) : "memory"); /* the compiler may not leave it out */
}

/* words may be NULL: masks. Not 0 where a word lies beyond the largest. */
int lattice_protect(int which, const parameters *p, const tables *t, scratch *s, const unsigned char *public_key,
                    const uint32_t *secret, const unsigned char *noise_key, const uint32_t *a, const uint32_t *noise,
                    uint64_t first, size_t blocks, const uint32_t *words, uint32_t *out)
{
    const path *f = &paths[which];
    const streams given = {a, noise};
    const uint32_t n = p->n, before = p->rows - p->slots;
    const size_t size = (size_t)n * p->slots;
    uint32_t wrong = 0;
    begin(f, p, t, s, public_key, secret, noise_key);
    for (size_t block = 0; block < blocks; block++, out += size, words = words ? words + size : NULL) {
        f->noise(p, s, &given, first, block);
        for (uint32_t row = 0; row < p->rows; row++) {
            const uint32_t q = p->primes[row], slot = row - before;
            const size_t place = row < before ? 0 : (size_t)slot * n; /* of the row's words in the block */
            f->product(p, t, s, &given, first, block, row, out + place, words ? words + place : out + place);
            if (row < before) {
                f->add_noise(n, s->row, s->noise, q, s->first);
                continue;
            }
            uint32_t *result = out + place;
            if (words)
                wrong |= f->add_words(n, s->row, s->noise, words + place,
                                      row || !p->scale ? 1 : p->scale, p->largest, q, result);
            else
                f->add_noise(n, s->row, s->noise, q, result);
            if (p->noise_bits)
                f->pack(n, s->first, slot * p->noise_bits, p->noise_bits, p->residue_bits, result);
        }
    }
    end(p, s);
    return wrong != 0;
}

/* Not 0 where noise or a word is beyond its bound, or what is opened is no residue. */
int lattice_open(int which, const parameters *p, const tables *t, scratch *s, const unsigned char *public_key,
                 const uint32_t *secret, const uint32_t *a, uint64_t first, size_t blocks, const uint32_t *total,
                 uint32_t bound, uint32_t *out)
{
    const path *f = &paths[which];
    const streams given = {a, NULL};
    const uint32_t n = p->n, before = p->rows - p->slots;
    const size_t size = (size_t)n * p->slots;
    const uint32_t low = p->residue_bits == 32 ? 0xffffffff : (1u << p->residue_bits) - 1;
    uint32_t wrong = 0;
    begin(f, p, t, s, public_key, secret, NULL);
    for (size_t block = 0; block < blocks; block++, total += size, out += size) {
        for (uint32_t row = 0; row < p->rows; row++) {
            const uint32_t q = p->primes[row], slot = row - before;
            const size_t place = row < before ? 0 : (size_t)slot * n; /* of the row's words in the block */
            f->product(p, t, s, &given, first, block, row, out + place, total + place);
            if (row < before) {
                f->unpack_noise(n, total, p->residue_bits, p->noise_bits, s->first);
                wrong |= f->open_noise(n, s->first, s->row, q, bound, s->noise);
            } else if (row == 0)
                wrong |= f->open_scaled(n, total, s->row, q, bound, p->scale, p->largest, s->noise, out);
            else
                wrong |= f->open_slot(n, total + place, s->row, s->noise, q, low, p->largest, out + place);
        }
    }
    end(p, s);
    return wrong != 0;
}

#define PIECE 256

/* Starts to fetch the piece of memory after next, which the processor would not do across pages. */
INLINE void fetch_ahead(const uint32_t *words)
{
    for (uint32_t line = 0; line < PIECE; line += 16)
        __builtin_prefetch(words + 2 * PIECE + line);
}

/* Not 0 where a word lies beyond the largest. */
int lattice_apply(int which, const parameters *p, size_t blocks, const uint32_t *words, uint32_t *masks)
{
    const path *f = &paths[which];
    const uint32_t n = p->n, before = p->rows - p->slots;
    uint32_t wrong = 0;
    for (size_t block = 0; block < blocks; block++)
        for (uint32_t slot = 0; slot < p->slots; slot++)
            for (uint32_t j = 0; j < n; j += PIECE, words += PIECE, masks += PIECE) {
                fetch_ahead(words);
                fetch_ahead(masks);
                wrong |= f->apply(PIECE, words, slot + before || !p->scale ? 1 : p->scale, p->largest,
                                  p->primes[slot + before], p->residue_bits, masks);
            }
    return wrong != 0;
}

/* Not 0 where the addend holds what is no residue. */
int lattice_add(int which, const parameters *p, size_t blocks, uint32_t *total, const uint32_t *addend)
{
    const path *f = &paths[which];
    const size_t block = (size_t)p->n * p->slots;
    uint32_t wrong = 0;
    for (size_t i = 0; i < blocks; i++, total += block, addend += block) {
        if (p->noise_bits)
            wrong |= f->add_packed(p, total, total + p->n, total + 2 * p->n, addend);
        else
            for (uint32_t slot = 0; slot < p->slots; slot++)
                wrong |= f->add_slot(p->n, p->primes[slot], total + (size_t)slot * p->n, addend + (size_t)slot * p->n);
    }
    return wrong != 0;
}

/* 0 where a product is not a finite number. */
int lattice_encode(int which, size_t count, const float *values, double factor, double bound, double scale, int32_t *out)
{
    return paths[which].encode(count, values, factor, bound, scale, out);
}

void lattice_decode(int which, size_t count, const uint32_t *words, double scale, double *out)
{
    paths[which].decode(count, words, scale, out);
}
