/* For computers: 16-bit weights by input, which compilers turn into vector instructions.
 *
 * A row is made of blocks of 16 outputs, 8 words each: word j has output j in its low half and
 * output j + 8 in its high half. */

#include "BitNetMCU_inference.h"

#if BITNETMCU_MULTIPLIER

enum { BLOCK = 16, WORDS = BLOCK / 2 };

static int32_t low(uint32_t word) { return (int32_t)(word << 16) >> 16; }

static int32_t high(uint32_t word) { return (int32_t)word >> 16; }

void BitNetMCU_fc_halfwords(const int8_t *activations, int32_t offset, const uint32_t *rows,
                            uint32_t inputs, uint32_t outputs, int32_t *accumulators) {
    const uint32_t whole = outputs / BLOCK * BLOCK, rest = outputs - whole;
    uint32_t i, o, j;

    for (o = 0; o < outputs; o++)
        accumulators[o] = 0;
    for (i = 0; i < inputs; i++) {
        const uint32_t *words = rows;
        const int32_t u = activations[i] + offset;

        rows += (outputs + BLOCK - 1) / BLOCK * WORDS;
        if (u == 0)
            continue;
        for (o = 0; o < whole; o += BLOCK, words += WORDS) {
            int32_t *block = accumulators + o;

            for (j = 0; j < WORDS; j++) {
                block[j] += u * low(words[j]);
                block[j + WORDS] += u * high(words[j]);
            }
        }
        for (j = 0; j < rest; j++)
            accumulators[whole + j] += u * (j < WORDS ? low(words[j]) : high(words[j - WORDS]));
    }
}

#endif
