/* e^x, 1 / (1 + x) and sums of exponentials in fixed point, by gemmlowp's series: what SOFTMAX and
 * LOG_SOFTMAX share. "Qa.b" has a integer bits (the sign apart) and b = 31 - a fractional ones; the
 * product of Qa and Qb, through te_doubling_high_multiply, is of Q(a + b). */
#ifndef TINYENGINE_EXPONENTIAL_H
#define TINYENGINE_EXPONENTIAL_H

#include "requantise.h"

enum { INPUT_BITS = 26, SUM_BITS = 19 }; /* fractional bits of Q5.26 and Q12.19 */

/* x * 2^bits, saturating. */
static inline int32_t te_saturating_shift(int32_t x, int32_t bits) {
    int64_t shifted = x * ((int64_t)1 << bits);
    return (int32_t)(shifted > INT32_MAX ? INT32_MAX : shifted < INT32_MIN ? INT32_MIN : shifted);
}

/* e^x, Q0.31, of x from -1/4 up to but not including 0, Q0.31: of x = t - 1/8 it is
 * e^(-1/8) * (1 + t + t^2/2 + t^3/6 + t^4/24). */
static inline int32_t te_exponential_of_a_quarter(int32_t x) {
    const int32_t e_to_minus_eighth = 1895147668, third = 715827883;
    int32_t t = x + ((int32_t)1 << 28);
    int32_t t2 = te_doubling_high_multiply(t, t);
    int32_t t3 = te_doubling_high_multiply(t2, t), t4 = te_doubling_high_multiply(t2, t2);
    int32_t tail = te_rounding_shift(t4, 2) + t3;
    tail = te_doubling_high_multiply(tail, third) + t2; /* t4/12 + t3/3 + t2 */
    int32_t series = t + te_rounding_shift(tail, 1);
    return e_to_minus_eighth + te_doubling_high_multiply(e_to_minus_eighth, series);
}

/* e^x, Q0.31, of x <= 0, Q5.26: the fraction by the series, then a factor for each bit above. */
static inline int32_t te_exponential(int32_t x) {
    /* e^-(2^k) of k = -2 .. 4, Q0.31 */
    static const int32_t factors[] = {1672461947, 1302514674, 790015084, 290630308,
                                      39332535,   720401,     242};
    const int32_t quarter = (int32_t)1 << (INPUT_BITS - 2);
    int32_t fraction = (x & (quarter - 1)) - quarter;
    int32_t rest = fraction - x; /* a multiple of a quarter */
    int32_t result = te_exponential_of_a_quarter(te_saturating_shift(fraction, 31 - INPUT_BITS));
    for (int k = 0; k < 7; k++)
        if (rest & (quarter << k))
            result = te_doubling_high_multiply(result, factors[k]);
    return x == 0 ? INT32_MAX : result;
}

/* 1 / (1 + x), Q0.31, of x from 0 to 1, Q0.31: Newton's method for d = (1 + x) / 2, from the best
 * straight line, 48/17 - 32/17 * d; values in between are Q2.29. */
static inline int32_t te_reciprocal_of_one_plus(int32_t x) {
    const int32_t one = (int32_t)1 << 29, start = 1515870810, slope = -1010580540;
    int32_t half = (int32_t)(((int64_t)x + INT32_MAX + 1) / 2);
    int32_t guess = start + te_doubling_high_multiply(half, slope);
    for (int step = 0; step < 3; step++) {
        int32_t error = one - te_doubling_high_multiply(half, guess);
        guess += te_saturating_shift(te_doubling_high_multiply(guess, error), 2);
    }
    return te_saturating_shift(guess, 1); /* Q2.29 of 1/d is Q1.30 of 1/(2d) */
}

static inline int32_t te_largest(const int8_t *row, int32_t size) {
    int32_t largest = INT8_MIN;
    for (int32_t i = 0; i < size; i++)
        largest = row[i] > largest ? row[i] : largest;
    return largest;
}

/* The sum of e^(scale * (value - largest)) of a row, Q12.19: at least 1, as the largest adds 1, and
 * below 4096, as there are not more. Differences below the lowest one add nothing. */
static inline int32_t te_sum_of_exponentials(const te_softmax *op, const int8_t *row,
                                             int32_t largest) {
    int32_t sum = 0;
    for (int32_t i = 0; i < op->size; i++) {
        int32_t difference = row[i] - largest;
        if (difference >= op->lowest_difference) {
            int32_t x = te_scaled(difference, op->input_scale.multiplier, op->input_scale.shift);
            sum += te_rounding_shift(te_exponential(x), 31 - SUM_BITS);
        }
    }
    return sum;
}

/* How many zeros are in front of the highest bit of x > 0. */
static inline int32_t te_leading_zeros(int32_t x) {
    int32_t zeros = 1;
    while (x < (int32_t)1 << 30)
        x *= 2, zeros++;
    return zeros;
}

#endif
