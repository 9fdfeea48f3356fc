/* Weights that are signed powers of two, +-1, +-2 .. +-128, one input after the other.
 *
 * Products are left shifts. The code of a weight becomes its exponent plus 16 if it is negative;
 * x shifted by that much is x * |weight| in the low half of a word if the weight is positive, in
 * the high half if it is negative. So one addition sums both, and the difference of the halves is
 * the sum of products.
 *
 * A half holds 16 bits: inputs are taken in groups whose sum is at most 511, as 511 * 128 < 2^16.
 *
 * A word W holds eight codes: E = W & MASK has those of the outputs 0 to 3 in its bytes,
 * F = (W >> 5 ^ W << 1) & MASK those of the outputs 4 to 7. Bits of a byte that MASK does not keep
 * would only be noise above the five bits that a shift looks at, but for bit 3.
 *
 * Rows lie in blocks of eight, column by column: the same word of all eight side by side. A turn
 * visits one row in each block; there are as many blocks as give a turn an eighth of the inputs. */

#include "shifts.h"

typedef struct {
    const uint32_t *row[GROUP_INPUTS];
    uint32_t x[GROUP_INPUTS];
    uint32_t count;
} Group;

/* The sum of products in a sum of two halves. */
static int32_t difference(uint32_t sum) { return (int32_t)(sum & 0xffff) - (int32_t)(sum >> 16); }

/* Adds what the group contributes to the outputs first, first + 1 .. first + 3. Inlined, so that
 * `upper`, which of the codes of a word these are, is known. */
static inline void add_four(const Group *group, uint32_t first, int upper, uint32_t outputs,
                            int32_t *accumulators) {
    uint32_t a = 0, b = 0, c = 0, d = 0, i;

    for (i = 0; i < group->count; i++) {
        uint32_t word = group->row[i][first & ~7u], x = group->x[i];

        if (upper)
            word = word >> 5 ^ word << 1;
        word &= MASK;
        a += x << (word & 31);
        b += x << (word >> 8 & 31);
        c += x << (word >> 16 & 31);
        d += x << (word >> 24);
    }
    accumulators[first] += difference(a);
    if (first + 1 < outputs)
        accumulators[first + 1] += difference(b);
    if (first + 2 < outputs)
        accumulators[first + 2] += difference(c);
    if (first + 3 < outputs)
        accumulators[first + 3] += difference(d);
}

/* Adds what the group contributes. Most of the time goes here, so it has a name by which a linker
 * script can place it in fast memory. */
void BitNetMCU_inner_shifts(const Group *group, uint32_t outputs, int32_t *accumulators);

void BitNetMCU_inner_shifts(const Group *group, uint32_t outputs, int32_t *accumulators) {
    uint32_t at;

    for (at = 0; at < outputs; at += 8) {
        add_four(group, at, 0, outputs, accumulators);
        if (at + 4 < outputs)
            add_four(group, at + 4, 1, outputs, accumulators);
    }
}

void BitNetMCU_fc_shifts(const int8_t *activations, int32_t offset, const uint32_t *rows,
                         uint32_t inputs, uint32_t outputs, int32_t *accumulators) {
    const uint32_t stride = (outputs + 7) & ~7u, blocks = (inputs + 7) >> 3;
    uint32_t turn = blocks, row = 0, i;
    Group group;

    if (BITNETMCU_BITS < 8)
        offset = 0;
    for (i = 0; i < outputs; i++)
        accumulators[i] = 0;
    for (; inputs > 0; BitNetMCU_inner_shifts(&group, outputs, accumulators)) {
        uint32_t sum = 0;

        group.count = 0;
        for (; inputs > 0 && group.count < GROUP_INPUTS; inputs--, row += stride, turn--) {
            uint32_t x = (uint32_t)(*activations + offset);

            if (SUM_BOUNDS && sum + x > GROUP_SUM)
                break;
            activations++;
            if (turn == 0) {
                rows++;
                row = 0;
                turn = blocks;
            }
            if (x == 0)
                continue;
            sum += x;
            group.row[group.count] = rows + row;
            group.x[group.count++] = x;
        }
    }
}
