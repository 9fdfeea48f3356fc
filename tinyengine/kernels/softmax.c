/* SOFTMAX in fixed point, by gemmlowp's exponential and reciprocal. "Qa.b" has a integer bits (the
 * sign apart) and b = 31 - a fractional ones; the product of Qa and Qb, through
 * te_doubling_high_multiply, is of Q(a + b). */
#include "requantise.h"

enum { INPUT_BITS = 26, SUM_BITS = 19 }; /* fractional bits of Q5.26 and Q12.19 */

static int32_t multiply(int32_t a, int32_t b) { return te_doubling_high_multiply(a, b); }

/* x * 2^bits, saturating. */
static int32_t saturating_left_shift(int32_t x, int bits) {
    int64_t shifted = x * ((int64_t)1 << bits);
    return (int32_t)(shifted > INT32_MAX ? INT32_MAX : shifted < INT32_MIN ? INT32_MIN : shifted);
}

/* e^x, Q0.31, of x from -1/4 up to but not including 0, Q0.31: of x = t - 1/8 it is
 * e^(-1/8) * (1 + t + t^2/2 + t^3/6 + t^4/24). */
static int32_t exponential_of_a_quarter(int32_t x) {
    const int32_t e_to_minus_eighth = 1895147668, third = 715827883;
    int32_t t = x + ((int32_t)1 << 28);
    int32_t t2 = multiply(t, t), t3 = multiply(t2, t), t4 = multiply(t2, t2);
    int32_t tail = multiply(te_rounding_shift(t4, 2) + t3, third) + t2; /* t4/12 + t3/3 + t2 */
    return e_to_minus_eighth + multiply(e_to_minus_eighth, t + te_rounding_shift(tail, 1));
}

/* e^x, Q0.31, of x <= 0, Q5.26: the fraction by the series, then a factor for each bit above. */
static int32_t exponential(int32_t x) {
    /* e^-(2^k) of k = -2 .. 4, Q0.31 */
    static const int32_t factors[] = {1672461947, 1302514674, 790015084, 290630308,
                                      39332535,   720401,     242};
    const int32_t quarter = (int32_t)1 << (INPUT_BITS - 2);
    int32_t fraction = (x & (quarter - 1)) - quarter;
    int32_t rest = fraction - x; /* a multiple of a quarter */
    int32_t result = exponential_of_a_quarter(saturating_left_shift(fraction, 31 - INPUT_BITS));
    for (int k = 0; k < 7; k++)
        if (rest & (quarter << k))
            result = multiply(result, factors[k]);
    return x == 0 ? INT32_MAX : result;
}

/* 1 / (1 + x), Q0.31, of x from 0 to 1, Q0.31: Newton's method for d = (1 + x) / 2, from the best
 * straight line, 48/17 - 32/17 * d; values in between are Q2.29. */
static int32_t reciprocal_of_one_plus(int32_t x) {
    const int32_t one = (int32_t)1 << 29, start = 1515870810, slope = -1010580540;
    int32_t half = (int32_t)(((int64_t)x + INT32_MAX + 1) / 2);
    int32_t guess = start + multiply(half, slope);
    for (int step = 0; step < 3; step++) {
        int32_t error = one - multiply(half, guess);
        guess += saturating_left_shift(multiply(guess, error), 2);
    }
    return saturating_left_shift(guess, 1); /* Q2.29 of 1/d is Q1.30 of 1/(2d) */
}

/* Q5.26, of a difference that is not below the lowest one. */
static int32_t exponential_of(const te_softmax *op, int32_t difference) {
    return exponential(te_scaled(difference, op->input_scale.multiplier, op->input_scale.shift));
}

void te_run_softmax(const te_softmax *op, const int8_t *input, int8_t *output, void *scratch) {
    (void)scratch;
    for (int32_t row = 0; row < op->rows; row++, input += op->size, output += op->size) {
        int32_t largest = INT8_MIN;
        for (int32_t i = 0; i < op->size; i++)
            largest = input[i] > largest ? input[i] : largest;

        int32_t sum = 0; /* Q12.19; at least 1 */
        for (int32_t i = 0; i < op->size; i++)
            if (input[i] - largest >= op->lowest_difference)
                sum += te_rounding_shift(exponential_of(op, input[i] - largest), 31 - SUM_BITS);

        int32_t doublings = 0; /* sum = (1 + x) * 2^doublings with x from 0 to 1 */
        while (sum >> (doublings + SUM_BITS + 1))
            doublings++;
        uint32_t one_plus = (uint32_t)sum << (31 - SUM_BITS - doublings);
        int32_t factor = reciprocal_of_one_plus((int32_t)(one_plus - ((uint32_t)1 << 31)));

        for (int32_t i = 0; i < op->size; i++) {
            int32_t share = 0;
            if (input[i] - largest >= op->lowest_difference)
                share = te_rounding_shift(multiply(factor, exponential_of(op, input[i] - largest)),
                                          doublings + 31 - 8);
            output[i] = te_clamp(share + INT8_MIN, INT8_MIN, INT8_MAX);
        }
    }
}
