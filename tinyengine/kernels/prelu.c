/* PRELU: what is negative is multiplied by alpha, the other operand. */
#include "operands.h"

void te_run_prelu(const te_prelu *op, const int8_t *input, const int8_t *other, int8_t *output,
                  void *scratch) {
    const te_pair_axis row = op->axes[TE_RANK - 1];
    int32_t index[TE_RANK] = {0};
    (void)scratch;
    do {
        for (int32_t i = 0; i < row.size; i++) {
            int32_t value = *input - op->input_zero_point;
            te_scale scale = value < 0 ? op->negative_scale : op->positive_scale;
            if (value < 0)
                value *= *other - op->other_zero_point;
            value = te_scaled(value, scale.multiplier, scale.shift) + op->output_zero_point;
            *output++ = te_clamp(value, INT8_MIN, INT8_MAX);
            input += row.input_stride;
            other += row.other_stride;
        }
    } while (te_next_row(op->axes, index, &input, &other));
}
