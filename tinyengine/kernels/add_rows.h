/* What ADD, SUB and SQUARED_DIFFERENCE share on cores with DSP instructions. TensorFlow Lite scales
 * both inputs to half of the larger scale: the input that has it is only shifted, so one of the
 * three requantisations is none. */
#ifndef TINYENGINE_ADD_ROWS_H
#define TINYENGINE_ADD_ROWS_H

#include "fast.h"
#include "simd.h"

/* Sums are doubled, for SMMLAR to be the doubling high multiply; doubled squares have 32 bits. */
#define TE_ADD_ONE                                                                                 \
    do {                                                                                           \
        uint32_t sum = (uint32_t)*other * other_factor + other_offset;                             \
        sum = te_rounded(sum, other_multiplier, other_addend, other_right) * other_sign;           \
        sum = input_offset + 2 * (sum + (uint32_t)*input * input_factor);                          \
        if (squared)                                                                               \
            sum = sum * sum >> 1;                                                                  \
        *output++ = (int8_t)te_ssat8(te_rounded(sum, multiplier, addend, right));                  \
        input += input_step;                                                                       \
        other += other_step;                                                                       \
    } while (0)

/* As of te_sum_fast; squared: whether of the squares of sums. */
static inline void te_add_rows(const te_sum_fast *op, const int8_t *one, const int8_t *two,
                               int8_t *output, int squared) {
    const int32_t input_step = op->input_step, other_step = op->other_step;
    const uint32_t input_factor = op->input_factor, other_sign = op->other_sign;
    const int8_t *input = op->swapped ? two : one, *other = op->swapped ? one : two;
    const uint32_t other_factor = op->other_factor, other_offset = op->other_offset;
    const uint32_t other_multiplier = op->other_multiplier, other_addend = op->other_addend;
    const uint32_t other_right = op->other_right, input_offset = op->input_offset;
    const uint32_t multiplier = op->multiplier, addend = op->addend, right = op->right;
    int8_t *const start = output;

    for (int32_t row = op->rows; row; row--) {
        const int8_t *const end = output + op->size, *const fours = output + (op->size & ~3);

        while (output != fours) {
            TE_ADD_ONE;
            TE_ADD_ONE;
            TE_ADD_ONE;
            TE_ADD_ONE;
        }
        while (output != end)
            TE_ADD_ONE;
        input += op->input_jump;
        other += op->other_jump;
    }
    te_clamp_all(start, op->rows * op->size, op->lowest, op->highest);
}

#endif
