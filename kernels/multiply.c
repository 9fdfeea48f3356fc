/* Weights of 4 bits on a core with a multiplier, one input after the other.
 *
 * A word holds the codes of eight outputs, 0 to 15. Two of them 16 bits apart are multiplied by an
 * input at once, and sums of such products stay 16 bits wide: inputs are taken in groups whose sum
 * is at most 4369, as 4369 * 15 < 2^16.
 *
 * A code counts the levels from the lowest upwards, so what is left to do for a group is to
 * subtract its sum of inputs times the lowest level, which is negative. */

#include "multiply.h"

#if BITNETMCU_MULTIPLIER

typedef struct {
    const uint32_t *row;
    uint32_t x;
} Input;

/* Adds to the accumulators of a column of words, of which `left` are, what the inputs before `end`
 * contribute: their sums of products, `doubled` or not, and `lowest`. Most of the time goes here,
 * so it has a name by which a linker script can place it in fast memory. */
void BitNetMCU_inner_multiply(const Input *input, const Input *end, uint32_t column, uint32_t left,
                              uint32_t doubled, int32_t lowest, int32_t *accumulators);

void BitNetMCU_inner_multiply(const Input *input, const Input *end, uint32_t column, uint32_t left,
                              uint32_t doubled, int32_t lowest, int32_t *accumulators) {
    uint32_t s04 = 0, s15 = 0, s26 = 0, s37 = 0;

    for (; input != end; input++) {
        uint32_t word = input->row[column], x = input->x;

        s04 += (word & PAIR) * x;
        s15 += (word >> 4 & PAIR) * x;
        s26 += (word >> 8 & PAIR) * x;
        s37 += (word >> 12 & PAIR) * x;
    }
    switch (left) {
    default:
        accumulators[7] += (int32_t)(s37 >> 16 << doubled) + lowest; /* fall through */
    case 7:
        accumulators[6] += (int32_t)(s26 >> 16 << doubled) + lowest; /* fall through */
    case 6:
        accumulators[5] += (int32_t)(s15 >> 16 << doubled) + lowest; /* fall through */
    case 5:
        accumulators[4] += (int32_t)(s04 >> 16 << doubled) + lowest; /* fall through */
    case 4:
        accumulators[3] += (int32_t)((s37 & 0xffff) << doubled) + lowest; /* fall through */
    case 3:
        accumulators[2] += (int32_t)((s26 & 0xffff) << doubled) + lowest; /* fall through */
    case 2:
        accumulators[1] += (int32_t)((s15 & 0xffff) << doubled) + lowest; /* fall through */
    case 1:
        accumulators[0] += (int32_t)((s04 & 0xffff) << doubled) + lowest;
    }
}

static void multiply(const int8_t *activations, int32_t offset, const uint32_t *rows,
                     uint32_t inputs, uint32_t outputs, int32_t *accumulators, uint32_t doubled,
                     int32_t lowest) {
    const uint32_t words = (outputs + 7) >> 3;
    Input group[GROUP_INPUTS];
    uint32_t i;

    if (BITNETMCU_BITS < 8)
        offset = 0;
    for (i = 0; i < outputs; i++)
        accumulators[i] = 0;
    while (inputs > 0) {
        Input *end = group;
        uint32_t sum = 0;

        for (; inputs > 0 && end != group + GROUP_INPUTS; inputs--, rows += words) {
            uint32_t x = (uint32_t)(*activations + offset);

            if (SUM_BOUNDS && sum + x > GROUP_SUM)
                break;
            activations++;
            if (x == 0)
                continue;
            sum += x;
            end->row = rows;
            end++->x = x;
        }
        for (i = 0; i < words; i++)
            BitNetMCU_inner_multiply(group, end, i, outputs - 8 * i, doubled, lowest * (int32_t)sum,
                                     accumulators + 8 * i);
    }
}

void BitNetMCU_fc_multiply_4bit(const int8_t *activations, int32_t offset, const uint32_t *rows,
                                uint32_t inputs, uint32_t outputs, int32_t *accumulators) {
    multiply(activations, offset, rows, inputs, outputs, accumulators, 0, -8);
}

void BitNetMCU_fc_multiply_4bitsym(const int8_t *activations, int32_t offset, const uint32_t *rows,
                                   uint32_t inputs, uint32_t outputs, int32_t *accumulators) {
    multiply(activations, offset, rows, inputs, outputs, accumulators, 1, -15);
}

#endif
