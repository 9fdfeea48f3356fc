/* Plain kernels that read like the contract: what every faster kernel is compared with. */

#include "BitNetMCU_inference.h"

/* x * factor by adding x, doubled bit by bit. */
static int32_t times(int32_t x, uint32_t factor) {
    int32_t product = 0;

    for (; factor != 0; factor >>= 1) {
        if (factor & 1)
            product += x;
        x += x;
    }
    return product;
}

/* x * weight for a weight code; FP130 stores sign and exponent, the others count from the lowest
 * level upwards. */
static int32_t product_Binary(int32_t x, uint32_t code) { return code ? x : -x; }

static int32_t product_2bitsym(int32_t x, uint32_t code) {
    return times(x, code + code) - times(x, 3);
}

static int32_t product_4bitsym(int32_t x, uint32_t code) {
    return times(x, code + code) - times(x, 15);
}

static int32_t product_FP130(int32_t x, uint32_t code) {
    int32_t magnitude = times(x, (uint32_t)1 << (code & 7));

    return code & 8 ? -magnitude : magnitude;
}

static int32_t product_8bit(int32_t x, uint32_t code) { return times(x, code) - times(x, 128); }

/* BITS divides 32, so codes never straddle two words. */
#define FC_KERNEL(FORMAT, BITS)                                                                    \
    void BitNetMCU_fc_##FORMAT(const int8_t *activations, const uint32_t *weights,                 \
                               uint32_t inputs, uint32_t outputs, int32_t *accumulators) {         \
        uint32_t i, word = 0;                                                                      \
                                                                                                   \
        for (; outputs > 0; outputs--) {                                                           \
            int32_t sum = 0;                                                                       \
                                                                                                   \
            for (i = 0; i < inputs; i++) {                                                         \
                if ((i & (32 / BITS - 1)) == 0)                                                    \
                    word = *weights++;                                                             \
                sum += product_##FORMAT(activations[i], word & ((1u << BITS) - 1));                \
                word >>= BITS;                                                                     \
            }                                                                                      \
            *accumulators++ = sum;                                                                 \
        }                                                                                          \
    }

FC_KERNEL(Binary, 1)
FC_KERNEL(2bitsym, 2)
FC_KERNEL(4bitsym, 4)
FC_KERNEL(FP130, 4)
FC_KERNEL(8bit, 8)

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
