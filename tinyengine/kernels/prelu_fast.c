/* PRELU. What is not negative is looked up. */
#include "fast.h"
#include "simd.h"

#define ONE                                                                                        \
    do {                                                                                           \
        const int32_t value = *input++ - input_zero, factor = 2 * *alpha++ - twice_alpha_zero;     \
                                                                                                   \
        if (value < 0)                                                                             \
            *output = (int8_t)te_ssat8(                                                            \
                te_rounded((uint32_t)(value * factor), multiplier, addend, right));                \
        else                                                                                       \
            *output = positive[value];                                                             \
        output++;                                                                                  \
    } while (0)

void te_run_prelu_fast(const te_prelu_fast *op, const int8_t *input, const int8_t *alpha,
                       int8_t *output, void *scratch) {
    const int32_t input_zero = op->input_zero_point, twice_alpha_zero = 2 * op->alpha_zero_point;
    const uint32_t multiplier = op->multiplier, addend = op->addend, right = op->right;
    const int8_t *const positive = op->positive;

    (void)scratch;
    for (int32_t row = op->rows; row; row--) {
        const int8_t *const end = output + op->size, *const fours = output + (op->size & ~3);

        while (output != fours) {
            ONE;
            ONE;
            ONE;
            ONE;
        }
        while (output != end)
            ONE;
        alpha += op->alpha_jump;
    }
}
