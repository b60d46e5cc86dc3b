/*
 * Products a * s for any processor, on 32 bits, for the compiler to vectorise: compiled once for each instruction set.
 *
 * The same transform as in kernel_avx512.h, in Montgomery's form with R = 2^32 and all numbers below q. Numbers are
 * kept eight by eight: number 8 r + l is entry l n/8 + r of the transform.
 */

#ifndef VECTORS /* which brings its own */
/* x w / 2^32 modulo q, for w below q and w_low = w / q mod 2^32. */
INLINE uint32_t PATH(multiply)(uint32_t x, uint32_t w, uint32_t w_low, uint32_t q)
{
    uint32_t high = (uint32_t)((uint64_t)x * w >> 32);
    uint32_t low = (uint32_t)((uint64_t)(x * w_low) * q >> 32);
    return high - low + (high < low ? q : 0);
}

/* count butterflies: (a, b) becomes (a + w b, a - w b). */
INLINE void PATH(butterflies)(uint32_t count, uint32_t *restrict a, uint32_t *restrict b, const uint32_t *w, uint32_t q)
{
    const uint32_t high = w[0], low = w[1];
    for (uint32_t i = 0; i < count; i++) {
        uint32_t x = a[i], y = PATH(multiply)(b[i], high, low, q);
        a[i] = PATH(add)(x, y, q);
        b[i] = PATH(subtract)(x, y, q);
    }
}

static void PATH(multiply_all)(uint32_t n, const uint32_t *x, const uint32_t *w, const uint32_t *w_low, uint32_t q,
                               uint32_t *out)
{
    for (size_t j = 0; j < n; j++)
        out[j] = PATH(multiply)(x[j], w[j], w_low[j], q);
}

/* count numbers by one constant. */
INLINE void PATH(multiply_by)(uint32_t count, uint32_t *x, const uint32_t *w, uint32_t q)
{
    const uint32_t high = w[0], low = w[1];
    for (uint32_t i = 0; i < count; i++)
        x[i] = PATH(multiply)(x[i], high, low, q);
}
#endif

/* The secret's rows, each followed by s / q mod 2^32. */
static void PATH(prepare)(const parameters *p, const tables *t, const uint32_t *secret, void *prepared)
{
    uint32_t *to = prepared;
    for (uint32_t row = 0; row < p->rows; row++, secret += p->n, to += 2 * p->n)
        for (size_t j = 0; j < p->n; j++) {
            to[j] = secret[j];
            to[p->n + j] = secret[j] * t->row[row].inverse32;
        }
}

/* A row of a block of a * s from the row's words of a. v, out: room for n words. */
static void PATH(product)(uint32_t n, const row_tables *t, const uint32_t *drawn, const uint32_t *secret,
                          uint32_t *restrict v, uint32_t *restrict out)
{
    const uint32_t q = t->q, vectors = n / 8;
    PATH(multiply_all)(n, drawn, secret, secret + n, q, out);
    for (uint32_t r = 0; r < vectors; r++)
        for (uint32_t l = 0; l < 8; l++)
            v[8 * r + l] = out[l * vectors + r];
    for (uint32_t h = 1; h < vectors; h *= 2)
        for (uint32_t base = 0; base < vectors; base += 2 * h)
            for (size_t j = 0; j < h; j++)
                PATH(butterflies)(8, v + 8 * (base + j), v + 8 * (base + j + h), t->power32[h + j], q);
    for (uint32_t l = 0; l < 8; l++)
        for (uint32_t c = 0; c < vectors; c++)
            out[l * vectors + c] = v[8 * c + l];
    PATH(multiply_all)(n, out, t->twist32[0], t->twist32[1], q, out);
    for (uint32_t h = 1; h < 8; h *= 2)
        for (uint32_t base = 0; base < 8; base += 2 * h)
            for (size_t j = 0; j < h; j++)
                PATH(butterflies)(vectors, out + (base + j) * vectors, out + (base + j + h) * vectors,
                                  t->power32[h + j], q);
    for (uint32_t o = 0; o < 8; o++)
        PATH(multiply_by)(vectors, out + o * vectors, t->turn32[o], q);
}
