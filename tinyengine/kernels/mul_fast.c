/* MUL. Sums are doubled, for SMMLAR to be the doubling high multiply. */
#include "fast.h"
#include "simd.h"

#define ONE(doubled) (*output++ = (int8_t)te_ssat8(te_rounded(doubled, multiplier, addend, right)))

void te_run_mul_fast(const te_mul_fast *op, const int8_t *one, const int8_t *two, int8_t *output,
                     void *scratch) {
    const int8_t *input = op->swapped ? two : one, *other = op->swapped ? one : two;
    const int32_t input_zero = op->input_zero_point, other_zero = op->other_zero_point;
    const uint32_t input_zeros = te_halves(-2 * input_zero, -2 * input_zero);
    const uint32_t other_zeros = te_halves(-other_zero, -other_zero);
    const uint32_t multiplier = op->multiplier, addend = op->addend, right = op->right;
    int8_t *const start = output;

    (void)scratch;
    for (int32_t row = op->rows; row; row--) {
        const int8_t *const end = output + op->size, *const fours = output + (op->size & ~3);

        if (op->other_fixed) {
            const uint32_t factor = 2 * (uint32_t)(*other - other_zero);
            const uint32_t offset = factor * (uint32_t)-input_zero;

            while (output != fours) {
                ONE((uint32_t)*input++ * factor + offset);
                ONE((uint32_t)*input++ * factor + offset);
                ONE((uint32_t)*input++ * factor + offset);
                ONE((uint32_t)*input++ * factor + offset);
            }
            while (output != end)
                ONE((uint32_t)*input++ * factor + offset);
        } else {
            while (output != fours) {
                const uint32_t a = te_load(input), b = te_load(other);
                const uint32_t a02 = te_sxtab16(te_sxtab16(input_zeros, a), a);
                const uint32_t a13 = te_sxtab16_ror8(te_sxtab16_ror8(input_zeros, a), a);
                const uint32_t b02 = te_sxtab16(other_zeros, b);
                const uint32_t b13 = te_sxtab16_ror8(other_zeros, b);

                ONE((uint32_t)(te_low(a02) * te_low(b02)));
                ONE((uint32_t)(te_low(a13) * te_low(b13)));
                ONE((uint32_t)(te_high(a02) * te_high(b02)));
                ONE((uint32_t)(te_high(a13) * te_high(b13)));
                input += 4;
                other += 4;
            }
            while (output != end)
                ONE((uint32_t)(2 * (*input++ - input_zero) * (*other++ - other_zero)));
        }
        input += op->input_jump;
        other += op->other_jump;
    }
    te_clamp_all(start, op->rows * op->size, op->lowest, op->highest);
}
