/* The yardstick: output by output, weight by weight, one test for each bit of a weight.
 *
 * This is how BitNetMCU by cpldcpu works by its description, written anew to measure against: a
 * weight is stored as sign and magnitude, the first one in the highest bits. Rows are whole words:
 * the exporter refuses it where the inputs do not fill them. */

#include "BitNetMCU_inference.h"

/* A target that fetches whole words takes longer to jump into the middle of one: where the linker
 * puts a function of a yardstick must not change what it measures. */
#ifdef __GNUC__
#define WORD_ALIGNED __attribute__((aligned(4)))
#else
#define WORD_ALIGNED
#endif

/* The bit that is due, the highest; then the next one is. */
#define BIT() (word >= 0x80000000u)
#define NEXT() (word <<= 1)

/* x * 2^shift, for negative x as well. */
static int32_t scaled(int32_t x, uint32_t shift) { return (int32_t)((uint32_t)x << shift); }

/* BITS of a weight. ADD adds x times its magnitude, in the BITS - 1 that are due, to `sum`, and
 * goes past them. */
#define FC_BITTEST(FUNCTION, BITS, ADD)                                                            \
    WORD_ALIGNED                                                                                   \
    void FUNCTION(const int8_t *activations, const uint32_t *weights, uint32_t inputs,             \
                  uint32_t outputs, int32_t *accumulators) {                                       \
        for (; outputs > 0; outputs--) {                                                           \
            const int8_t *end = activations + inputs, *activation = activations;                   \
            int32_t sum = 0;                                                                       \
                                                                                                   \
            while (activation < end) {                                                             \
                uint32_t word = *weights++, left;                                                  \
                                                                                                   \
                for (left = 32 / BITS; left > 0; left--) {                                         \
                    int32_t x = *activation++;                                                     \
                                                                                                   \
                    if (BIT())                                                                     \
                        x = -x;                                                                    \
                    NEXT();                                                                        \
                    ADD;                                                                           \
                }                                                                                  \
            }                                                                                      \
            *accumulators++ = sum;                                                                 \
        }                                                                                          \
    }

FC_BITTEST(BitNetMCU_fc_Binary_bittest, 1, sum += x)
FC_BITTEST(BitNetMCU_fc_2bitsym_bittest, 2, {
    sum += x;
    if (BIT())
        sum += scaled(x, 1);
    NEXT();
})
FC_BITTEST(BitNetMCU_fc_4bitsym_bittest, 4, {
    sum += x;
    if (BIT())
        sum += scaled(x, 3);
    NEXT();
    if (BIT())
        sum += scaled(x, 2);
    NEXT();
    if (BIT())
        sum += scaled(x, 1);
    NEXT();
})
FC_BITTEST(BitNetMCU_fc_FP130_bittest, 4, {
    sum += scaled(x, word >> 29);
    word <<= 3;
})
