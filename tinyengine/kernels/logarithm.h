/* What LOG_SOFTMAX is made of besides exponentials: logarithms, and the outputs of a row. */
#ifndef TINYENGINE_LOGARITHM_H
#define TINYENGINE_LOGARITHM_H

#include "exponential.h"

static inline int32_t te_multiply(int32_t a, int32_t b) { return te_doubling_high_multiply(a, b); }

/* log(x), Q5.26, of x >= 1, Q12.19. With x = r * 2^n, log(r) around c = sqrt(sqrt(1/2)) is a
 * rational function of q = 2 * (r - c); n has a fraction of 1/4 or 3/4, whichever brings r nearer
 * to c, and is Q6.25. */
static inline int32_t te_logarithm(int32_t x) {
    const int32_t sqrt_half = 1518500250, center = 1805811301, log_2 = 1488522236;
    const int32_t a3 = 117049297;                                  /* 11/240 / c */
    const int32_t b0 = 1057819769, b2 = 127690142, b1 = 638450708; /* 2c - 1/c, 1/20c, 1/4c */
    const int32_t one = (int32_t)1 << 25, quarter = one / 4;

    int32_t zeros = te_leading_zeros(x); /* x = r * 2^(12 - zeros), r from 1/2 to 1 */
    int32_t r = te_saturating_shift(te_multiply(x << (zeros - 1), sqrt_half), 1);
    int32_t n = (12 - zeros) * one + quarter;

    int32_t others = te_leading_zeros(te_multiply(x, sqrt_half)) - 1;
    int32_t other_r = te_saturating_shift(x, others);
    int32_t other_n = (12 - others) * one - quarter;
    r = other_r < r ? other_r : r;
    n = other_n > n ? other_n : n;

    int32_t q = 2 * (r - center), q2 = te_multiply(q, q);
    int32_t middle = (int32_t)(((int64_t)r + center + 1) / 2);
    int32_t numerator = te_multiply(q, r) + te_multiply(te_multiply(q, q2), a3);
    int32_t below = te_multiply(middle, b0 + q + te_multiply(b2, q2)) + te_multiply(b1, q);
    int32_t log_r = te_multiply(te_rounding_shift(numerator, 6), te_reciprocal_of_one_plus(below));
    return te_saturating_shift(te_multiply(n, log_2) + log_r, 1);
}

/* Each value of a row less log_sum, Q5.26. */
static inline void te_log_shares(const te_log_softmax *op, const int8_t *input, int32_t largest,
                                 int32_t log_sum, int8_t *output) {
    const te_softmax *softmax = &op->softmax;
    const te_scale *to = &softmax->input_scale, *back = &op->difference_scale;
    /* below this, x - log_sum leaves Q5.26 */
    int32_t lowest = te_scaled(INT32_MIN + log_sum, back->multiplier, back->shift);
    if (lowest < softmax->lowest_difference - 1)
        lowest = softmax->lowest_difference - 1;

    for (int32_t i = 0; i < softmax->size; i++) {
        int32_t difference = *input++ - largest, value = INT8_MIN;
        if (difference > lowest) {
            value = te_scaled(difference, to->multiplier, to->shift) - log_sum;
            value = te_rounding_shift(value, INPUT_BITS - 4) + INT8_MAX;
        }
        *output++ = te_clamp(value, INT8_MIN, INT8_MAX);
    }
}

#endif
