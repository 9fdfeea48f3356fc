/* MUL of two tensors. */
#include "operands.h"

void te_run_mul(const te_mul *op, const int8_t *input, const int8_t *other, int8_t *output,
                void *scratch) {
    const te_pair_axis row = op->axes[TE_RANK - 1];
    int32_t index[TE_RANK] = {0};
    (void)scratch;
    do {
        for (int32_t i = 0; i < row.size; i++) {
            int32_t product = (*input - op->input_zero_point) * (*other - op->other_zero_point);
            int32_t scaled = te_scaled(product, op->scale.multiplier, op->scale.shift);
            *output++ = te_clamp(scaled + op->output_zero_point, op->lowest, op->highest);
            input += row.input_stride;
            other += row.other_stride;
        }
    } while (te_next_row(op->axes, index, &input, &other));
}
