/* SOFTMAX in fixed point, to int8 or, if wide, to int16. */
#ifndef TINYENGINE_SOFTMAX_ROWS_H
#define TINYENGINE_SOFTMAX_ROWS_H

#include "exponential.h"

static inline void te_softmax_rows(const te_softmax *op, const int8_t *input, void *output,
                                   int wide) {
    const int32_t bits = wide ? 16 : 8, lowest = wide ? INT16_MIN : INT8_MIN;
    const int32_t highest = wide ? INT16_MAX : INT8_MAX;
    for (int32_t row = 0, at = 0; row < op->rows; row++, input += op->size) {
        int32_t largest = te_largest(input, op->size);
        int32_t sum = te_sum_of_exponentials(op, input, largest);
        /* sum = (1 + x) * 2^doublings with x from 0 to 1 */
        int32_t zeros = te_leading_zeros(sum), doublings = 31 - SUM_BITS - zeros;
        uint32_t x = ((uint32_t)sum << zeros) - ((uint32_t)1 << 31);
        int32_t factor = te_reciprocal_of_one_plus((int32_t)x);

        for (int32_t i = 0; i < op->size; i++, at++) {
            int32_t difference = input[i] - largest, share = 0;
            if (difference >= op->lowest_difference) {
                int32_t exponent =
                    te_scaled(difference, op->input_scale.multiplier, op->input_scale.shift);
                share = te_doubling_high_multiply(factor, te_exponential(exponent));
                share = te_rounding_shift(share, doublings + 31 - bits);
            }
            share += lowest;
            share = share > highest ? highest : share;
            if (wide)
                ((int16_t *)output)[at] = (int16_t)share;
            else
                ((int8_t *)output)[at] = (int8_t)share;
        }
    }
}

#endif
