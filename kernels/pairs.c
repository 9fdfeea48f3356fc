/* NF4 for inputs of few bits: two weights at a time, and no product at all.
 *
 * A byte of a row has the codes of two outputs. A table of all 256 has the levels of both, one
 * added to the lower half of a word, one to the upper: one addition sums two outputs. As long as
 * each sum fits into 16 bits, the lower one can be read from the word, and the upper one is what is
 * left without it; so inputs are taken in groups whose own sum is small.
 *
 * The inputs of a group are visited by falling value. Running sums take their rows; whenever the
 * value falls by one, the running sums are added to the totals. So the row of an input x is in a
 * total x times. */

#include <stddef.h>

#include "pairs.h"

#define LEVELS_16(PAIR, high)                                                                      \
    PAIR(high, -127), PAIR(high, -88), PAIR(high, -67), PAIR(high, -50), PAIR(high, -36),          \
        PAIR(high, -23), PAIR(high, -12), PAIR(high, 0), PAIR(high, 10), PAIR(high, 20),           \
        PAIR(high, 31), PAIR(high, 43), PAIR(high, 56), PAIR(high, 71), PAIR(high, 92),            \
        PAIR(high, 127)
#define LEVEL(high, low) ((uint32_t)(high) << 16) + (uint32_t)(low)

static const uint32_t pairs[256] = {
    LEVELS_16(LEVEL, -127), LEVELS_16(LEVEL, -88), LEVELS_16(LEVEL, -67), LEVELS_16(LEVEL, -50),
    LEVELS_16(LEVEL, -36),  LEVELS_16(LEVEL, -23), LEVELS_16(LEVEL, -12), LEVELS_16(LEVEL, 0),
    LEVELS_16(LEVEL, 10),   LEVELS_16(LEVEL, 20),  LEVELS_16(LEVEL, 31),  LEVELS_16(LEVEL, 43),
    LEVELS_16(LEVEL, 56),   LEVELS_16(LEVEL, 71),  LEVELS_16(LEVEL, 92),  LEVELS_16(LEVEL, 127),
};

/* Of a chain by falling value: an input, or where the value falls. */
typedef struct Entry {
    const uint32_t *row; /* NULL: the value falls by one */
    struct Entry *next;
} Entry;

static void add_pair(uint32_t total, int32_t *sums, uint32_t outputs) {
    int32_t low = (int16_t)(total & 0xffff);

    sums[0] += low;
    if (outputs > 1)
        sums[1] += (int16_t)((total - (uint32_t)low) >> 16);
}

/* Adds what the chain contributes to the outputs of one word, `outputs` of them, 8 at most. Most of
 * the time goes here, so it has a name by which a linker script can place it in fast memory. */
void BitNetMCU_inner_pairs(const Entry *entry, uint32_t word_at, uint32_t outputs, int32_t *sums);

void BitNetMCU_inner_pairs(const Entry *entry, uint32_t word_at, uint32_t outputs, int32_t *sums) {
    uint32_t a = 0, b = 0, c = 0, d = 0, total_a = 0, total_b = 0, total_c = 0, total_d = 0;

    for (; entry != NULL; entry = entry->next) {
        if (entry->row != NULL) {
            uint32_t word = entry->row[word_at];

            a += pairs[word & 255];
            b += pairs[word >> 8 & 255];
            c += pairs[word >> 16 & 255];
            d += pairs[word >> 24];
        } else {
            total_a += a;
            total_b += b;
            total_c += c;
            total_d += d;
        }
    }
    add_pair(total_a, sums, outputs);
    if (outputs > 2)
        add_pair(total_b, sums + 2, outputs - 2);
    if (outputs > 4)
        add_pair(total_c, sums + 4, outputs - 4);
    if (outputs > 6)
        add_pair(total_d, sums + 6, outputs - 6);
}

void BitNetMCU_fc_pairs(const int8_t *activations, int32_t offset, const uint32_t *rows,
                        uint32_t inputs, uint32_t outputs, int32_t *accumulators) {
    const uint32_t words = (outputs + 7) >> 3;
    Entry entries[GROUP_INPUTS], falls[MOST_INPUT + 1]; /* falls[v]: to the value v */
    uint32_t i;

    (void)offset; /* unsigned inputs need none */
    for (i = 0; i < outputs; i++)
        accumulators[i] = 0;
    while (inputs > 0) {
        uint32_t count = 0, sum = 0, largest = 0;

        for (i = 0; i <= MOST_INPUT; i++) {
            falls[i].row = NULL;
            falls[i].next = i > 0 ? &falls[i - 1] : NULL;
        }
        for (; inputs > 0 && count < GROUP_INPUTS; inputs--, rows += words) {
            uint32_t x = (uint32_t)*activations;

            if (sum + x > GROUP_SUM)
                break;
            activations++;
            if (x == 0)
                continue;
            sum += x;
            largest = x > largest ? x : largest;
            entries[count].row = rows;
            entries[count].next = falls[x].next;
            falls[x].next = &entries[count++];
        }
        for (i = 0; count > 0 && i < words; i++)
            BitNetMCU_inner_pairs(falls[largest].next, i, outputs - 8 * i, accumulators + 8 * i);
    }
}
