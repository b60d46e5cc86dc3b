/*
 * What works on one word after the other, for the compiler to vectorise: compiled once for each instruction set,
 * with PATH(name) as the functions' names. Nothing branches on the data or indexes by it.
 */

/* a + b modulo q, for residues, where a sum may not fit 32 bits. */
INLINE uint32_t PATH(add)(uint32_t a, uint32_t b, uint32_t q)
{
    uint32_t rest = q - b;
    return a - rest + (a < rest ? q : 0);
}

/* The same where a sum fits: of the sum and the sum less q, which may wrap, the smaller one. */
INLINE uint32_t PATH(add_short)(uint32_t a, uint32_t b, uint32_t q)
{
    uint32_t sum = a + b, less = sum - q;
    return sum < less ? sum : less;
}

INLINE uint32_t PATH(subtract)(uint32_t a, uint32_t b, uint32_t q)
{
    return a - b + (a < b ? q : 0);
}

/* a + v modulo q, for a residue a and an integer v between -q and q. */
INLINE uint32_t PATH(add_signed)(uint32_t a, uint32_t v, uint32_t q)
{
    uint32_t rest = ((int32_t)v < 0 ? 0 : q) - v;
    return a - rest + (a < rest ? q : 0);
}

/* Between -(q-1)/2 and (q-1)/2. */
INLINE int32_t PATH(centred)(uint32_t a, uint32_t q)
{
    return (int32_t)(a - (a > q / 2 ? q : 0));
}

INLINE uint32_t PATH(beyond)(uint32_t word, uint32_t largest)
{
    return word + largest > 2 * largest;
}

/* 80 bits for each number: words j and n + j and half of word 2 n + (j mod n/2), the low half first. */
INLINE uint32_t PATH(ones)(uint32_t x)
{
    x -= x >> 1 & 0x55555555;
    x = (x & 0x33333333) + (x >> 2 & 0x33333333);
    x = (x + (x >> 4)) & 0x0f0f0f0f;
    x += x >> 8;
    return (x + (x >> 16)) & 0x3f;
}

static void PATH(count_noise)(uint32_t n, const uint32_t *drawn, int32_t *noise)
{
    const uint32_t *halves = drawn + 2 * n;
    for (size_t j = 0; j < n / 2; j++)
        noise[j] = (int32_t)(PATH(ones)(drawn[j]) + PATH(ones)(drawn[n + j]) + PATH(ones)(halves[j] & 0xffff)) - 40;
    for (size_t j = n / 2; j < n; j++)
        noise[j] = (int32_t)(PATH(ones)(drawn[j]) + PATH(ones)(drawn[n + j]) + PATH(ones)(halves[j - n / 2] >> 16)) - 40;
}

/* -- Protecting: rows of a * s, with noise, become words ------------------------------------------------------- */

static void PATH(add_noise)(uint32_t n, const uint32_t *row, const int32_t *noise, uint32_t q, uint32_t *out)
{
    for (size_t j = 0; j < n; j++)
        out[j] = PATH(add_signed)(row[j], (uint32_t)noise[j], q);
}

/* Not 0 where a word lies beyond ``largest``. ``out`` may be ``words``. */
static uint32_t PATH(add_words)(uint32_t n, const uint32_t *row, const int32_t *noise, const uint32_t *words,
                                uint32_t scale, uint32_t largest, uint32_t q, uint32_t *out)
{
    uint32_t wrong = 0;
    for (size_t j = 0; j < n; j++) {
        wrong |= PATH(beyond)(words[j], largest);
        out[j] = PATH(add_signed)(row[j], scale * words[j] + (uint32_t)noise[j], q);
    }
    return wrong;
}

/* Puts bits ``shift`` and on of the noise row's residues above those of out. */
static void PATH(pack)(uint32_t n, const uint32_t *first, uint32_t shift, uint32_t noise_bits, uint32_t residue_bits,
                       uint32_t *out)
{
    const uint32_t low = (1u << noise_bits) - 1;
    for (size_t j = 0; j < n; j++)
        out[j] |= (first[j] >> shift & low) << residue_bits;
}

/* The online half, for one slot. */
static uint32_t PATH(apply)(uint32_t n, const uint32_t *words, uint32_t scale, uint32_t largest, uint32_t q,
                            uint32_t residue_bits, uint32_t *masks)
{
    uint32_t wrong = 0;
    if (residue_bits == 32) {
        for (size_t j = 0; j < n; j++) {
            wrong |= PATH(beyond)(words[j], largest);
            masks[j] = PATH(add_signed)(masks[j], scale * words[j], q);
        }
        return wrong;
    }
    const uint32_t low = (1u << residue_bits) - 1;
    for (size_t j = 0; j < n; j++) {
        wrong |= PATH(beyond)(words[j], largest);
        masks[j] = (masks[j] & ~low) | PATH(add_signed)(masks[j] & low, words[j], q);
    }
    return wrong;
}

/* -- Adding: not 0 where the addend holds what is no residue --------------------------------------------------- */

static uint32_t PATH(add_slot)(uint32_t n, uint32_t q, uint32_t *total, const uint32_t *addend)
{
    uint32_t wrong = 0;
    for (size_t j = 0; j < n; j++) {
        wrong |= addend[j] >= q;
        total[j] = PATH(add)(total[j], addend[j], q);
    }
    return wrong;
}

/* Three slots of ``residue_bits`` with the noise row above them. */
static uint32_t PATH(add_packed)(const parameters *p, uint32_t *restrict total0, uint32_t *restrict total1,
                                 uint32_t *restrict total2, const uint32_t *restrict addend)
{
    const uint32_t n = p->n, bits = p->residue_bits, piece = p->noise_bits, low = (1u << bits) - 1;
    const uint32_t q0 = p->primes[0], q1 = p->primes[1], q2 = p->primes[2], q3 = p->primes[3];
    uint32_t wrong = 0;
    for (size_t j = 0; j < n; j++) {
        uint32_t a0 = total0[j], a1 = total1[j], a2 = total2[j];
        uint32_t b0 = addend[j], b1 = addend[n + j], b2 = addend[2 * n + j];
        uint32_t a = a0 >> bits | a1 >> bits << piece | a2 >> bits << 2 * piece;
        uint32_t b = b0 >> bits | b1 >> bits << piece | b2 >> bits << 2 * piece;
        b0 &= low, b1 &= low, b2 &= low;
        wrong |= (q0 - 1 - b) | (q1 - 1 - b0) | (q2 - 1 - b1) | (q3 - 1 - b2); /* negative: the top bit */
        a = PATH(add_short)(a, b, q0);
        /* What is above a piece falls off at the top. */
        total0[j] = PATH(add_short)(a0 & low, b0, q1) | a << bits;
        total1[j] = PATH(add_short)(a1 & low, b1, q2) | a >> piece << bits;
        total2[j] = PATH(add_short)(a2 & low, b2, q3) | a >> 2 * piece << bits;
    }
    return wrong >> 31;
}

/* -- Opening: not 0 where noise or a word is beyond its bound, or what is opened is no residue ------------------- */

static void PATH(unpack_noise)(uint32_t n, const uint32_t *total, uint32_t bits, uint32_t piece, uint32_t *first)
{
    for (size_t j = 0; j < n; j++)
        first[j] = total[j] >> bits | total[n + j] >> bits << piece | total[2 * n + j] >> bits << 2 * piece;
}

static uint32_t PATH(open_noise)(uint32_t n, const uint32_t *total, const uint32_t *row, uint32_t q, uint32_t bound,
                                 int32_t *noise)
{
    uint32_t wrong = 0;
    for (size_t j = 0; j < n; j++) {
        wrong |= total[j] >= q;
        noise[j] = PATH(centred)(PATH(subtract)(total[j], row[j], q), q);
        wrong |= PATH(beyond)((uint32_t)noise[j], bound);
    }
    return wrong;
}

/* The same where the row carries scale * word besides the noise. */
static uint32_t PATH(open_scaled)(uint32_t n, const uint32_t *total, const uint32_t *row, uint32_t q, uint32_t bound,
                                  uint32_t scale, uint32_t largest, int32_t *noise, uint32_t *out)
{
    const double inverse = 1.0 / scale;
    uint32_t wrong = 0;
    for (size_t j = 0; j < n; j++) {
        wrong |= total[j] >= q;
        int32_t sum = PATH(centred)(PATH(subtract)(total[j], row[j], q), q);
        /* The nearest integer, in the low bits of a double; never near a tie, as the scale is odd and small. */
        double nearest = sum * inverse + ROUNDER;
        int32_t word = low_word(nearest);
        noise[j] = sum - (int32_t)scale * word;
        wrong |= PATH(beyond)((uint32_t)noise[j], bound);
        wrong |= PATH(beyond)((uint32_t)word, largest);
        out[j] = (uint32_t)word;
    }
    return wrong;
}

static uint32_t PATH(open_slot)(uint32_t n, const uint32_t *total, const uint32_t *row, const int32_t *noise, uint32_t q,
                                uint32_t low, uint32_t largest, uint32_t *out)
{
    uint32_t wrong = 0;
    for (size_t j = 0; j < n; j++) {
        uint32_t residue = total[j] & low;
        wrong |= residue >= q;
        residue = PATH(add_signed)(PATH(subtract)(residue, row[j], q), 0u - (uint32_t)noise[j], q);
        uint32_t word = (uint32_t)PATH(centred)(residue, q);
        wrong |= PATH(beyond)(word, largest);
        out[j] = word;
    }
    return wrong;
}

/* -- Fixed point ----------------------------------------------------------------------------------------------- */

static void PATH(decode)(size_t count, const uint32_t *words, double scale, double *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (int32_t)words[i] / scale;
}
