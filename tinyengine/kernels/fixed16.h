/* Sigmoid and tanh in fixed point of 16 bits, by gemmlowp's series: what the gates of an LSTM are
 * made of. "Qa" has a integer bits (the sign apart) and 15 - a fractional ones; the product of Qa
 * and Qb, through te_multiply_16, is of Q(a + b). Values are int16, in int32. */
#ifndef TINYENGINE_FIXED16_H
#define TINYENGINE_FIXED16_H

#include "requantise.h"

enum { TE_ONE_16 = INT16_MAX }; /* as Q0 */

static inline int32_t te_saturate_16(int32_t x) {
    return x < INT16_MIN ? INT16_MIN : x > INT16_MAX ? INT16_MAX : x;
}

/* a * b * 2^-15, halves round up; not of -1 and -1, Q0. */
static inline int32_t te_multiply_16(int32_t a, int32_t b) { return (a * b + (1 << 14)) >> 15; }

/* x * 2^-shift, halves round away from zero. shift: 1 to 30; |x| <= 2^30. */
static inline int32_t te_rounding_shift_16(int32_t x, int32_t shift) {
    return (x + (1 << (shift - 1)) - (x < 0)) >> shift;
}

/* e^x, Q0, of x <= 0, Qbits: the fraction by the series of softmax, then a factor for each bit
 * above it. bits: 1 to 7. */
static inline int32_t te_exponential_16(int32_t x, int32_t bits) {
    /* e^-(2^k) of k = -2 .. 4, Q0 */
    static const int16_t factors[] = {25520, 19875, 12055, 4435, 600, 11, 0};
    const int32_t e_to_minus_eighth = 28918, third = 10923, quarter = 1 << (13 - bits);
    int32_t fraction = (x & (quarter - 1)) - quarter, rest = fraction - x;
    int32_t t = fraction * (1 << bits) + (1 << 12); /* x = t - 1/8 */
    int32_t t2 = te_multiply_16(t, t), t3 = te_multiply_16(t2, t), t4 = te_multiply_16(t2, t2);
    int32_t tail = te_multiply_16(te_rounding_shift_16(t4, 2) + t3, third) + t2;
    int32_t series = t + te_rounding_shift_16(tail, 1);
    int32_t result = te_saturate_16(e_to_minus_eighth + te_multiply_16(e_to_minus_eighth, series));
    if (x == 0)
        return TE_ONE_16;
    if (bits > 5 && x < -(1 << (20 - bits))) /* -32 */
        return 0;
    rest >>= 13 - bits;
    for (const int16_t *factor = factors; rest; rest >>= 1, factor++)
        if (rest & 1)
            result = te_multiply_16(result, *factor);
    return result;
}

/* 2 / (1 + x), Q2, of x from 0 to 1, Q0: Newton's method for d = (1 + x) / 2, from the best
 * straight line, 48/17 - 32/17 * d. */
static inline int32_t te_reciprocal_16(int32_t x) {
    const int32_t one = 1 << 13, start = 23130, slope = -15420;
    int32_t half = (x + TE_ONE_16 + 1) / 2, guess = start + te_multiply_16(half, slope);
    for (int step = 0; step < 3; step++) {
        int32_t error = one - te_multiply_16(half, guess);
        guess += te_multiply_16(guess, error) * 4; /* an error below 1/16 */
    }
    return guess;
}

/* 1 / (1 + e^-x), Q0, of x, Q3. A function of its own, as tanh: its values take all registers. */
static __attribute__((noinline)) int32_t te_sigmoid_16(int32_t x) {
    int32_t positive = te_reciprocal_16(te_exponential_16(x > 0 ? -x : x, 3)) * 2;
    positive = te_saturate_16(positive);
    return x == 0 ? 1 << 14 : x > 0 ? positive : TE_ONE_16 - positive;
}

/* tanh(x), Q0, of x, Qbits: (1 - e^-2x) / (1 + e^-2x) of x > 0. bits: 0 to 6. */
static __attribute__((noinline)) int32_t te_tanh_16(int32_t x, int32_t bits) {
    int32_t exponential = te_exponential_16(x > 0 ? -x : x, bits + 1);
    int32_t positive = te_saturate_16((te_reciprocal_16(exponential) - (1 << 13)) * 4);
    return x == 0 ? 0 : x > 0 ? positive : -positive;
}

#endif
