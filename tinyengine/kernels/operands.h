/* Two operands, element by element. */
#ifndef TINYENGINE_OPERANDS_H
#define TINYENGINE_OPERANDS_H

#include "requantise.h"

/* Moves both operands from behind a row, which is all of the last axis, to the next row; returns 0
 * after the last one. index: which row, starts as zeros. */
static inline int te_next_row(const te_pair_axis *axes, int32_t *index, const int8_t **input,
                              const int8_t **other) {
    for (int axis = TE_RANK - 1; axis > 0; axis--) {
        *input += axes[axis - 1].input_stride - axes[axis].size * axes[axis].input_stride;
        *other += axes[axis - 1].other_stride - axes[axis].size * axes[axis].other_stride;
        if (++index[axis - 1] < axes[axis - 1].size)
            return 1;
        index[axis - 1] = 0;
    }
    return 0;
}

/* A value of an operand on the scale that both get. */
static inline int32_t te_addend(const te_add *op, te_scale scale, int32_t value) {
    /* a multiplication, for a negative number has no defined left shift */
    int32_t shifted = value * ((int32_t)1 << op->left_shift);
    return te_scaled(shifted, scale.multiplier, scale.shift);
}

/* An output from what was made of addends. */
static inline int8_t te_of_addends(const te_add *op, int32_t accumulator) {
    int32_t scaled = te_scaled(accumulator, op->output_scale.multiplier, op->output_scale.shift);
    return te_clamp(scaled + op->output_zero_point, op->lowest, op->highest);
}

#endif
