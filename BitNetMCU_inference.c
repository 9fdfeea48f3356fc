/* Plain kernels that read like the contract: what every faster kernel is compared with. */

#include "BitNetMCU_inference.h"

/* x * code for codes of 1, 2, 4 and 8 bits: the sum of x, doubled for each place, where there is a
 * bit. Doubling is an addition, so that negative x are no special case. */
static int32_t times_1(int32_t x, uint32_t code) { return code ? x : 0; }

static int32_t times_2(int32_t x, uint32_t code) {
    int32_t product = code & 1 ? x : 0;

    if (code & 2)
        product += x + x;
    return product;
}

static int32_t times_4(int32_t x, uint32_t code) {
    int32_t x2 = x + x, x4 = x2 + x2, product = 0;

    if (code & 1)
        product += x;
    if (code & 2)
        product += x2;
    if (code & 4)
        product += x4;
    if (code & 8)
        product += x4 + x4;
    return product;
}

static int32_t times_8(int32_t x, uint32_t code) {
    int32_t x2 = x + x, x4 = x2 + x2, x8 = x4 + x4;

    return times_4(x, code & 15) + times_4(x8 + x8, code >> 4);
}

/* x * weight for FP130: the code is sign and exponent. */
static int32_t times_FP130(int32_t x, uint32_t code) {
    int32_t magnitude = (int32_t)((uint32_t)(x < 0 ? -x : x) << (code & 7));

    return (x < 0) == (code >> 3) ? magnitude : -magnitude;
}

/* What is left to do with the sum of x * code and the sum of x, once per output: a code counts the
 * levels from the lowest upwards, so weight = step * code - lowest. */
static int32_t level_Binary(int32_t sum, int32_t x) { return sum + sum - x; }

static int32_t level_2bitsym(int32_t sum, int32_t x) { return sum + sum - times_2(x, 3); }

static int32_t level_4bitsym(int32_t sum, int32_t x) { return sum + sum - times_4(x, 15); }

static int32_t level_8bit(int32_t sum, int32_t x) { return sum - times_8(x, 128); }

static int32_t level_FP130(int32_t sum, int32_t x) {
    (void)x;
    return sum;
}

/* BITS divides 32, so codes never straddle two words. */
#define FC_KERNEL(FORMAT, BITS, TIMES)                                                             \
    void BitNetMCU_fc_##FORMAT(const int8_t *activations, const uint32_t *weights,                 \
                               uint32_t inputs, uint32_t outputs, int32_t *accumulators) {         \
        int32_t all = 0;                                                                           \
        uint32_t i, word = 0;                                                                      \
                                                                                                   \
        for (i = 0; i < inputs; i++)                                                               \
            all += activations[i];                                                                 \
        for (; outputs > 0; outputs--) {                                                           \
            int32_t sum = 0;                                                                       \
                                                                                                   \
            for (i = 0; i < inputs; i++) {                                                         \
                if ((i & (32 / BITS - 1)) == 0)                                                    \
                    word = *weights++;                                                             \
                sum += TIMES(activations[i], word & ((1u << BITS) - 1));                           \
                word >>= BITS;                                                                     \
            }                                                                                      \
            *accumulators++ = level_##FORMAT(sum, all);                                            \
        }                                                                                          \
    }

FC_KERNEL(Binary, 1, times_1)
FC_KERNEL(2bitsym, 2, times_2)
FC_KERNEL(4bitsym, 4, times_4)
FC_KERNEL(FP130, 4, times_FP130)
FC_KERNEL(8bit, 8, times_8)

uint32_t BitNetMCU_shiftnorm_relu(const int32_t *accumulators, uint32_t count,
                                  int8_t *activations) {
    int32_t largest = 0, half;
    uint32_t i, shift = 0;

    for (i = 0; i < count; i++)
        if (accumulators[i] > largest)
            largest = accumulators[i];
    while (largest >> shift > 127)
        shift++;
    half = ((int32_t)1 << shift) >> 1;
    for (i = 0; i < count; i++) {
        int32_t rounded = 0;

        if (accumulators[i] > 0)
            rounded = (accumulators[i] + half) >> shift;
        activations[i] = (int8_t)(rounded > 127 ? 127 : rounded);
    }
    return shift;
}

uint32_t BitNetMCU_argmax(const int32_t *logits, uint32_t count) {
    uint32_t i, best = 0;

    for (i = 1; i < count; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}
