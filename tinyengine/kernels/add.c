/* ADD of two tensors of the same shape. */
#include "requantise.h"

static int32_t addend(const te_add *op, te_scale scale, int32_t value) {
    /* a multiplication, for a negative number has no defined left shift */
    int32_t shifted = value * ((int32_t)1 << op->left_shift);
    return te_scaled(shifted, scale.multiplier, scale.shift);
}

void te_run_add(const te_add *op, const int8_t *input, const int8_t *other, int8_t *output,
                void *scratch) {
    (void)scratch;
    for (int32_t i = 0; i < op->size; i++) {
        int32_t sum = addend(op, op->input_scale, input[i] - op->input_zero_point) +
                      addend(op, op->other_scale, other[i] - op->other_zero_point);
        int32_t scaled = te_scaled(sum, op->output_scale.multiplier, op->output_scale.shift);
        output[i] = te_clamp(scaled + op->output_zero_point, op->lowest, op->highest);
    }
}
