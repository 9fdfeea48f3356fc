/* Depthwise 3x3 convolutions of one channel, two rows of outputs at once.
 *
 * The sums of two rows are the halves of a word. For each column of a strip of four rows, three
 * words have the values for both: rows 0 and 1, 1 and 2, 2 and 3. What they add to three outputs,
 * as the last column, the middle and the first one of their windows, are three sums of shifted
 * words (`Taps`); they move on through `next` and `after` to the output that they complete.
 *
 * Halves are counted from 2^shift - 2^15 upwards, in which both the rounding half and the bias are
 * contained: their highest bit says whether an output is 1 or more. That all sums fit is proven by
 * who packs the taps; nothing but their end needs to, as words are sums modulo 2^32. Where they do
 * not fit, the rows of a strip are done one after the other, a value in each word.
 */

#include "depthwise.h"
#include "BitNetMCU_inference.h"

#define HIGHEST_BITS 0x80008000u

/* What the values of a column add to the outputs of which it is the last, the middle and the first
 * column: three sums. */
#define POWERS_BYTES 5

static uint32_t power(const uint8_t *powers, uint32_t index) {
    return (uint32_t)powers[index >> 1] >> (index & 1 ? 4 : 0);
}

#if BITNETMCU_MULTIPLIER
typedef struct {
    uint32_t weights[3][3];
} Taps;

static const uint8_t *decode_powers(const uint8_t *powers, Taps *taps) {
    uint32_t sum, row, index = 0;

    for (sum = 0; sum < 3; sum++)
        for (row = 0; row < 3; row++) {
            uint32_t code = power(powers, index++), one = 1u << (code & DEPTHWISE_EXPONENT);

            taps->weights[sum][row] = code & DEPTHWISE_NEGATIVE ? 0u - one : one;
        }
    return powers + POWERS_BYTES;
}

static const uint8_t *decode_bytes(const uint8_t *bytes, Taps *taps) {
    uint32_t sum, row;

    for (sum = 0; sum < 3; sum++)
        for (row = 0; row < 3; row++)
            taps->weights[sum][row] = (uint32_t)(int8_t)*bytes++;
    return bytes;
}

static const uint8_t *decode_terms(const uint8_t *terms, Taps *taps) {
    uint32_t sum;

    for (sum = 0; sum < 3; sum++) {
        uint32_t upper = 0, middle = 0, lower = 0, term, sign, shift;

        do {
            term = *terms++;
            sign = term & DEPTHWISE_SUBTRACT ? 0u - 1 : 1;
            shift = term >> DEPTHWISE_SHIFT & 7;
            if ((term & DEPTHWISE_ROW) == 0)
                upper += sign;
            else if ((term & DEPTHWISE_ROW) == 1)
                middle += sign;
            else if ((term & DEPTHWISE_ROW) == 2)
                lower += sign;
            upper <<= shift;
            middle <<= shift;
            lower <<= shift;
        } while (!(term & DEPTHWISE_LAST));
        sign = term & DEPTHWISE_NEGATE ? 0u - 1 : 1;
        taps->weights[sum][0] = upper * sign;
        taps->weights[sum][1] = middle * sign;
        taps->weights[sum][2] = lower * sign;
    }
    return terms;
}

/* bytes: 1 if taps that are no powers are bytes, 0 if they are terms. Returns where they end. */
static const uint8_t *decode(const uint8_t *packed, uint32_t flags, uint32_t bytes, Taps *taps) {
    if (flags & DEPTHWISE_POWERS)
        return decode_powers(packed, taps);
    return bytes ? decode_bytes(packed, taps) : decode_terms(packed, taps);
}

static inline uint32_t sum_of(const Taps *taps, uint32_t sum, const uint32_t *values) {
    const uint32_t *weights = taps->weights[sum];

    return values[0] * weights[0] + values[1] * weights[1] + values[2] * weights[2];
}
#else
typedef struct {
    const uint8_t *terms[3]; /* of each sum; or all where the powers are */
    uint32_t powers;         /* 0 where there are terms */
} Taps;

/* bytes: 0, as those are for a multiplier. Returns where the taps end. */
static const uint8_t *decode(const uint8_t *terms, uint32_t flags, uint32_t bytes, Taps *taps) {
    uint32_t sum;

    (void)bytes;
    taps->powers = flags & DEPTHWISE_POWERS;
    for (sum = 0; sum < 3; sum++) {
        taps->terms[sum] = terms;
        while (!taps->powers && !(*terms++ & DEPTHWISE_LAST))
            ;
    }
    return taps->powers ? terms + POWERS_BYTES : terms;
}

/* values: three, and 0 */
static inline uint32_t sum_of(const Taps *taps, uint32_t sum, const uint32_t *values) {
    const uint8_t *terms = taps->terms[sum];
    uint32_t total = 0, term, row;

    if (taps->powers) {
        for (row = 0; row < 3; row++) {
            uint32_t code = power(terms, sum + sum + sum + row);
            uint32_t value = values[row] << (code & DEPTHWISE_EXPONENT);

            total = code & DEPTHWISE_NEGATIVE ? total - value : total + value;
        }
        return total;
    }
    do {
        uint32_t value;

        term = *terms++;
        value = values[term & DEPTHWISE_ROW];
        total = term & DEPTHWISE_SUBTRACT ? total - value : total + value;
        total <<= term >> DEPTHWISE_SHIFT & 7;
    } while (!(term & DEPTHWISE_LAST));
    return term & DEPTHWISE_NEGATE ? 0u - total : total;
}
#endif

static uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

/* The largest of the halves of two words, in the upper half of one. */
static uint32_t largest_half(uint32_t a, uint32_t b) {
    return larger(larger(a, b), larger(a << 16, b << 16));
}

/* Halves, of which those from 2^15 upwards are 1 or more, to activations, both at once. */
static uint32_t requantise(uint32_t halves, uint32_t shift, uint32_t highest) {
    uint32_t above = halves & HIGHEST_BITS, one = above >> (15 - shift), over;

    if (!above)
        return 0;
    halves = ((halves & (above - one)) + one) >> shift;
    over = ((halves & ~highest) + ~HIGHEST_BITS) & HIGHEST_BITS; /* halves are 2^15 at most */
    return (halves | (over - (over >> 15))) & highest;
}

typedef struct {
    uint32_t columns, outputs; /* of the map, and of a strip; with a pool an even number */
    uint32_t highest, shift, start, pool;
} Strip;

/* Where a pooled row goes: to the lower halves of words, or the upper ones. */
static void store_pooled(uint32_t *to, uint32_t value, uint32_t upper) {
    *to = upper ? *to | value << 16 : value;
}

/* The outputs of a strip: two rows, or, with a pool, one. Most of the time goes here, so it has a
 * name by which a linker script can place it in fast memory. */
void BitNetMCU_inner_depthwise(const uint32_t *pairs, const Strip *strip, const Taps *taps,
                               uint32_t *to, uint32_t upper);

void BitNetMCU_inner_depthwise(const uint32_t *pairs, const Strip *strip, const Taps *taps,
                               uint32_t *to, uint32_t upper) {
    uint32_t x, next = 0, after = 0, even = 0;
    const uint32_t *below = pairs + strip->columns;
    const uint32_t highest = strip->highest + (strip->highest << 16);

    for (x = 0; x < strip->outputs + 2; x++) {
        uint32_t values[4], halves = next;

        values[0] = pairs[x];
        values[2] = below[x];
        next = after;
        after = strip->start;
        if (values[0] | values[2]) {
            values[1] = values[0] >> 16 | values[2] << 16;
            values[3] = 0;
            halves += sum_of(taps, 0, values);
            next += sum_of(taps, 1, values);
            after += sum_of(taps, 2, values);
        }
        if (x < 2)
            continue;
        if (!strip->pool)
            *to++ = requantise(halves, strip->shift, highest);
        else if (x & 1)
            store_pooled(to++, requantise(largest_half(even, halves), strip->shift, highest) >> 16,
                         upper);
        else
            even = halves;
    }
}

static uint32_t requantise_wide(uint32_t sum, const Strip *strip) {
    uint32_t value = sum >> 31 ? 0 : sum >> strip->shift;

    return value < strip->highest ? value : strip->highest;
}

/* The same of sums that do not fit halves. */
static void each_row(const uint32_t *pairs, const Strip *strip, const Taps *taps, uint32_t *to,
                     uint32_t upper) {
    uint32_t x, i, next[2] = {0, 0}, after[2] = {0, 0}, largest = 0;
    const uint32_t *below = pairs + strip->columns;

    for (x = 0; x < strip->outputs + 2; x++) {
        uint32_t values[5], outputs[2];

        values[0] = pairs[x] & 0xffff;
        values[1] = pairs[x] >> 16;
        values[2] = below[x] & 0xffff;
        values[3] = below[x] >> 16;
        values[4] = 0;
        for (i = 2; i-- > 0;) { /* the second row first, as a 0 is needed behind three values */
            outputs[i] = requantise_wide(next[i] + sum_of(taps, 0, values + i), strip);
            next[i] = after[i] + sum_of(taps, 1, values + i);
            after[i] = strip->start + sum_of(taps, 2, values + i);
            values[3] = 0;
        }
        if (x < 2)
            continue;
        if (!strip->pool) {
            *to++ = outputs[0] + (outputs[1] << 16);
            continue;
        }
        largest = larger(x & 1 ? largest : 0, larger(outputs[0], outputs[1]));
        if (x & 1)
            store_pooled(to++, largest, upper);
    }
}

/* The `Strip` of a stage and what is in front of its taps, behind which it returns. */
static const uint8_t *begin(const BitNetMCU_depthwise *stage, const uint8_t *taps, Strip *strip) {
    uint32_t flags = *taps++;

    strip->columns = stage->columns;
    strip->outputs = (stage->columns - 2) & ~stage->pool;
    strip->highest = stage->highest;
    strip->pool = stage->pool;
    strip->shift = flags & 31;
    if (flags & DEPTHWISE_HALF) {
        strip->start = (1u << 15) - (1u << strip->shift) + (1u << strip->shift >> 1);
    } else {
        strip->start = taps[0] + ((uint32_t)taps[1] << 8);
        taps += 2;
    }
    if (flags & DEPTHWISE_WIDE) {
        strip->start += ((uint32_t)taps[0] << 16) + ((uint32_t)taps[1] << 24);
        taps += 2;
    } else {
        strip->start += strip->start << 16;
    }
    return taps;
}

static const uint8_t *convolve(const uint32_t *pairs, const BitNetMCU_depthwise *stage,
                               const uint8_t *packed, uint32_t bytes, uint32_t *to) {
    uint32_t rows = (stage->rows - 2) & ~stage->pool, flags = *packed, upper = 0;
    Strip strip;
    Taps taps;

    packed = decode(begin(stage, packed, &strip), flags, bytes, &taps);
    for (; rows > 0; rows = rows > 2 ? rows - 2 : 0) {
        if (flags & DEPTHWISE_WIDE)
            each_row(pairs, &strip, &taps, to, upper);
        else
            BitNetMCU_inner_depthwise(pairs, &strip, &taps, to, upper);
        pairs += stage->columns;
        if (!stage->pool)
            to += strip.outputs;
        else if (upper)
            to += strip.outputs >> 1;
        upper ^= stage->pool;
    }
    return packed;
}

const uint8_t *BitNetMCU_depthwise_3x3(const uint32_t *pairs, const BitNetMCU_depthwise *stage,
                                       const uint8_t *taps, uint32_t *to, uint32_t *code) {
    (void)code;
    return convolve(pairs, stage, taps, 0, to);
}

#if BITNETMCU_MULTIPLIER
const uint8_t *BitNetMCU_multiply_3x3(const uint32_t *pairs, const BitNetMCU_depthwise *stage,
                                      const uint8_t *taps, uint32_t *to, uint32_t *code) {
    (void)code;
    return convolve(pairs, stage, taps, 1, to);
}
#endif

/* In both, one loop for all rows, as compilers would multiply to know where a row ends. */
void BitNetMCU_pair_rows(const int8_t *map, uint32_t rows, uint32_t columns, uint32_t pixel,
                         uint32_t *pairs) {
    uint32_t *end = pairs + columns, upper = 0;

    while (rows > 0) {
        uint32_t value = (uint8_t)*map;

        *pairs = upper ? *pairs | value << 16 : value;
        map += pixel;
        if (++pairs != end)
            continue;
        rows--;
        if (upper)
            end += columns;
        else
            pairs -= columns;
        upper ^= 1;
    }
}

void BitNetMCU_unpair_rows(const uint32_t *pairs, uint32_t rows, uint32_t columns, uint32_t pixel,
                           int8_t *map) {
    const uint32_t *end = pairs + columns;
    uint32_t upper = 0;

    while (rows > 0) {
        *map = (int8_t)(upper ? *pairs >> 16 : *pairs & 0xff);
        map += pixel;
        if (++pairs != end)
            continue;
        rows--;
        if (upper)
            end += columns;
        else
            pairs -= columns;
        upper ^= 1;
    }
}
