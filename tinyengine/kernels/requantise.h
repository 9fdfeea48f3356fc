/* Fixed-point arithmetic that all kernels share: what gemmlowp's and TensorFlow Lite's does.
 *
 * Sources: gemmlowp's doc/quantization.md, and TensorFlow Lite's quantisation specification. Right
 * shifts of negative numbers are arithmetic, as with every compiler of the targets.
 */
#ifndef TINYENGINE_REQUANTISE_H
#define TINYENGINE_REQUANTISE_H

#include "tinyengine.h"

/* a * b * 2^-31, halves round up. Only the square of -2^31 saturates. */
static inline int32_t te_doubling_high_multiply(int32_t a, int32_t b) {
    int64_t high = ((int64_t)a * b + ((int64_t)1 << 30)) >> 31;
    return high > INT32_MAX ? INT32_MAX : (int32_t)high;
}

/* x * 2^-shift, halves round away from zero. shift: 0 to 62. */
static inline int32_t te_rounding_shift(int32_t x, int32_t shift) {
    int64_t half = shift > 0 ? (int64_t)1 << (shift - 1) : 0;
    return (int32_t)((x + half - (x < 0 && shift > 0)) >> shift);
}

/* x * multiplier * 2^(shift - 31). What shifts out to the left is lost, as in the reference; of
 * accumulators the compiler has proven that nothing does. */
static inline int32_t te_scaled(int32_t x, int32_t multiplier, int32_t shift) {
    int32_t left = shift > 0 ? shift : 0;
    int32_t shifted = (int32_t)((uint32_t)x << left);
    return te_rounding_shift(te_doubling_high_multiply(shifted, multiplier), left - shift);
}

static inline int8_t te_clamp(int32_t value, int32_t lowest, int32_t highest) {
    return (int8_t)(value < lowest ? lowest : value > highest ? highest : value);
}

/* The int8 value of an accumulator of a channel. */
static inline int8_t te_requantised(const te_requantise *to, int32_t accumulator, int32_t channel) {
    int32_t scaled = te_scaled(accumulator, to->multipliers[channel], to->shifts[channel]);
    return te_clamp(scaled + to->zero_point, to->lowest, to->highest);
}

#endif
