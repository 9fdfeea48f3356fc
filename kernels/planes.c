/* Fully connected layers on bit planes: 32 one-bit weights in a word are added at once.
 *
 * A weight is a level counted from the lowest, written in planes of one bit. A word of a row holds
 * one plane of one input's weights to 32 outputs. Sums are kept in the same form, plane k for the
 * bits worth 2^k, and full adders on whole words add to them: Harley and Seal's trees of carry-save
 * adders (Warren, Hacker's Delight, chapter 5; Mula, Kurz and Lemire, arXiv 1611.07612). Rows whose
 * activation has bit k are added at 2^k, so a layer costs one row for each bit that is set.
 *
 * Fewer than 32 outputs are a narrow column: a word holds 2^fold planes side by side, which are
 * summed as integers in the end. Rows lie by column, word, input; `pack_columns` of
 * lowbit/layouts.py writes them. */

#include "planes.h"

#define LANES 32u
#define SUM_PLANES 32

typedef struct {
    uint8_t planes;
    uint8_t step;    /* each plane is worth 2^step times the one before it */
    uint8_t doubled; /* 1: levels lie two apart */
    uint8_t odd;     /* the lowest level is -(2^lowest - odd) */
    uint8_t lowest;
} Format;

typedef struct {
    uint16_t inputs[BITNETMCU_BITS * LISTED]; /* by bit: those whose activation has it */
    uint16_t *end[BITNETMCU_BITS];
    uint32_t total; /* of the activations listed so far */
} Lists;

/* sum, a, b: the sum and, in b, the carry; a is spent. */
#define ADD(sum, a, b)                                                                             \
    do {                                                                                           \
        a ^= b;                                                                                    \
        sum ^= a;                                                                                  \
        b |= a;                                                                                    \
        a &= sum;                                                                                  \
        b ^= a;                                                                                    \
    } while (0)

static void add_word(uint32_t *sum, uint32_t word) {
    for (; word; sum++) {
        uint32_t carry = *sum & word;

        *sum ^= word;
        word = carry;
    }
}

/* Adds a word of each listed input, eight in a round; the first round is entered where as many as
 * are over are left. Most of the time goes here, so it has a name by which a linker script can
 * place it in fast memory. */
void BitNetMCU_inner_planes(uint32_t *sum, const uint32_t *words, const uint16_t *list,
                            uint32_t count);

void BitNetMCU_inner_planes(uint32_t *sum, const uint32_t *words, const uint16_t *list,
                            uint32_t count) {
    uint32_t ones = sum[0], twos = sum[1], fours = sum[2], a, b = 0, c = 0, d = 0;
    uint32_t rounds = (count + 7) >> 3;

    if (count == 0)
        return;
    switch (count & 7) {
        do {
        case 0:
            b = words[*list++]; /* fall through */
        case 7:
            a = words[*list++];
            ADD(ones, a, b); /* fall through */
        case 6:
            c = words[*list++]; /* fall through */
        case 5:
            a = words[*list++];
            ADD(ones, a, c);
            ADD(twos, b, c); /* fall through */
        case 4:
            b = words[*list++]; /* fall through */
        case 3:
            a = words[*list++];
            ADD(ones, a, b); /* fall through */
        case 2:
            d = words[*list++]; /* fall through */
        default:
            a = words[*list++];
            ADD(ones, a, d);
            ADD(twos, b, d);
            ADD(fours, c, d);
            add_word(sum + 3, d);
        } while (--rounds > 0);
    }
    sum[0] = ones;
    sum[1] = twos;
    sum[2] = fours;
}

/* Lists inputs from `first` on until the lists are full; returns the first that is left. */
static uint32_t fill(Lists *lists, const int8_t *activations, int32_t offset, uint32_t first,
                     uint32_t inputs) {
    uint16_t *list = lists->inputs;
    uint32_t k, left = LISTED;

    for (k = 0; k < BITNETMCU_BITS; k++, list += LISTED)
        lists->end[k] = list;
    for (; first < inputs && left > 0; first++) {
        uint32_t x = (uint32_t)(activations[first] + offset);
        uint16_t **end = lists->end;

        lists->total += x;
        left -= x != 0;
        for (; x; x >>= 1, end++)
            if (x & 1)
                *(*end)++ = (uint16_t)first;
    }
    return first;
}

/* Turns the planes of a sum into 32 integers, in place: transposes a matrix of bits (Hacker's
 * Delight, chapter 7), all of it or, where sums are below 2^16, two of 16 x 16 side by side. */
static void to_integers(uint32_t *sum, uint32_t is_long) {
    uint32_t size = is_long ? 32 : 16, s = size / 2;
    uint32_t mask = is_long ? 0x0000ffff : 0x00ff00ff, k;

    for (; s; s >>= 1, mask ^= mask << s)
        for (k = 0; k < size; k = (k + s + 1) & ~s) {
            uint32_t swapped = (sum[k] >> s ^ sum[k + s]) & mask;

            sum[k] ^= swapped << s;
            sum[k + s] ^= swapped;
        }
    for (k = 0; k < 16 && !is_long; k++) {
        sum[k + 16] = sum[k] >> 16;
        sum[k] &= 0xffff;
    }
}

static uint32_t lowest_times(const Format *format, uint32_t x) {
    return (x << format->lowest) - (format->odd ? x : 0);
}

static void fc(const Format *format, const int8_t *activations, int32_t offset,
               const uint32_t *rows, uint32_t inputs, uint32_t outputs, int32_t *accumulators) {
    uint32_t narrow[SUM_PLANES]; /* the sum of the last column, where that is narrow */
    uint32_t *sums = (uint32_t *)accumulators;
    uint32_t whole = outputs & ~(LANES - 1), first = 0, at, i, k, fold = 0, less;
    Lists lists;

    if (BITNETMCU_BITS < 8)
        offset = 0;
    while (outputs - whole <= LANES >> (fold + 1) && 1u << fold < format->planes)
        fold++;
    for (i = 0; i < whole; i++)
        sums[i] = 0;
    for (i = 0; i < SUM_PLANES; i++)
        narrow[i] = 0;
    lists.total = 0;
    do {
        const uint32_t *words = rows;

        first = fill(&lists, activations, offset, first, inputs);
        for (at = 0; at < outputs; at += LANES) {
            uint32_t *sum = (at < whole ? sums + at : narrow) + format->doubled;
            uint32_t folded = at < whole ? 0 : fold;

            for (i = 0; i < format->planes; i += 1u << folded) {
                const uint16_t *list = lists.inputs;

                for (k = 0; k < BITNETMCU_BITS; k++, list += LISTED)
                    BitNetMCU_inner_planes(sum + k, words, list, (uint32_t)(lists.end[k] - list));
                sum += (uint32_t)format->step << folded;
                words += inputs;
            }
        }
    } while (first < inputs);

    less = lowest_times(format, lists.total);
    for (at = 0; at < outputs; at += LANES)
        to_integers(at < whole ? sums + at : narrow, less >> 15);
    for (i = 0; i < whole; i++)
        sums[i] -= less;
    for (; i < outputs; i++) {
        uint32_t sum = 0;

        for (k = LANES; k > 0;) {
            k -= LANES >> fold;
            sum = (sum << format->step) + narrow[k + i - whole];
        }
        sums[i] = sum - less;
    }
}

#define FC(FUNCTION, PLANES, STEP, DOUBLED, ODD, LOWEST)                                           \
    void FUNCTION(const int8_t *activations, int32_t offset, const uint32_t *rows,                 \
                  uint32_t inputs, uint32_t outputs, int32_t *accumulators) {                      \
        static const Format format = {PLANES, STEP, DOUBLED, ODD, LOWEST};                         \
                                                                                                   \
        fc(&format, activations, offset, rows, inputs, outputs, accumulators);                     \
    }

FC(BitNetMCU_fc_planes_Binary, 1, 1, 1, 1, 1)
FC(BitNetMCU_fc_planes_Ternary, 2, 0, 0, 1, 1) /* 0, 1 or both of two planes of the same worth */
FC(BitNetMCU_fc_planes_2bitsym, 2, 1, 1, 1, 2)
FC(BitNetMCU_fc_planes_4bitsym, 4, 1, 1, 1, 4)
FC(BitNetMCU_fc_planes_4bit, 4, 1, 0, 0, 3)
FC(BitNetMCU_fc_planes_5bitsym, 5, 1, 1, 1, 5)
FC(BitNetMCU_fc_planes_8bit, 8, 1, 0, 0, 7)
