/* NF4: weights that are one of 16 levels, one input after the other.
 *
 * A table of the products of an input and all levels is made by adding; each weight then takes its
 * product from there. */

#include "BitNetMCU_inference.h"

/* The products of x and the levels of NF4 (times_NF4 of BitNetMCU_inference.c), in their order. */
static void multiply_levels(int32_t x, int16_t *products) {
    const int32_t x4 = (int32_t)((uint32_t)x << 2), x8 = x4 + x4;
    const int32_t x32 = (int32_t)((uint32_t)x << 5), x64 = x32 + x32;
    const int32_t x10 = x8 + x + x, x20 = x10 + x10, x12 = x8 + x4, x31 = x32 - x, x23 = x31 - x8;
    const int32_t x36 = x32 + x4, x46 = x23 + x23, x56 = x64 - x8, x127 = x64 + x64 - x;

    products[0] = (int16_t)-x127;
    products[1] = (int16_t)-(x56 + x32);
    products[2] = (int16_t)-(x36 + x31);
    products[3] = (int16_t)-(x20 + x20 + x10);
    products[4] = (int16_t)-x36;
    products[5] = (int16_t)-x23;
    products[6] = (int16_t)-x12;
    products[7] = 0;
    products[8] = (int16_t)x10;
    products[9] = (int16_t)x20;
    products[10] = (int16_t)x31;
    products[11] = (int16_t)(x31 + x12);
    products[12] = (int16_t)x56;
    products[13] = (int16_t)(x36 + x36 - x);
    products[14] = (int16_t)(x46 + x46);
    products[15] = (int16_t)x127;
}

/* Adds the products that the codes of a row name. Most of the time goes here, so it has a name by
 * which a linker script can place it in fast memory. */
void BitNetMCU_inner_table(const int16_t *p, const uint32_t *row, uint32_t left, int32_t *sum);

void BitNetMCU_inner_table(const int16_t *p, const uint32_t *row, uint32_t left, int32_t *sum) {
    for (; left >= 8; left -= 8, sum += 8) {
        uint32_t word = *row++;

        sum[0] += p[word & 15];
        sum[1] += p[word >> 4 & 15];
        sum[2] += p[word >> 8 & 15];
        sum[3] += p[word >> 12 & 15];
        sum[4] += p[word >> 16 & 15];
        sum[5] += p[word >> 20 & 15];
        sum[6] += p[word >> 24 & 15];
        sum[7] += p[word >> 28];
    }
    if (left > 0) {
        uint32_t word = *row;

        for (; left > 0; left--, word >>= 4)
            *sum++ += p[word & 15];
    }
}

void BitNetMCU_fc_table(const int8_t *activations, int32_t offset, const uint32_t *rows,
                        uint32_t inputs, uint32_t outputs, int32_t *accumulators) {
    const uint32_t words = (outputs + 7) >> 3;
    int16_t products[16];
    uint32_t i;

    if (BITNETMCU_BITS < 8)
        offset = 0;
    for (i = 0; i < outputs; i++)
        accumulators[i] = 0;
    for (; inputs > 0; inputs--, rows += words) {
        int32_t x = *activations++ + offset;

        if (x == 0)
            continue;
        multiply_levels(x, products);
        BitNetMCU_inner_table(products, rows, outputs, accumulators);
    }
}
