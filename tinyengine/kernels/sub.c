/* SUB of two tensors. */
#include "operands.h"

void te_run_sub(const te_sub *op, const int8_t *input, const int8_t *other, int8_t *output,
                void *scratch) {
    const te_pair_axis row = op->axes[TE_RANK - 1];
    int32_t index[TE_RANK] = {0};
    (void)scratch;
    do {
        for (int32_t i = 0; i < row.size; i++) {
            int32_t one = te_addend(op, op->input_scale, *input - op->input_zero_point);
            int32_t two = te_addend(op, op->other_scale, *other - op->other_zero_point);
            *output++ = te_of_addends(op, one - two);
            input += row.input_stride;
            other += row.other_stride;
        }
    } while (te_next_row(op->axes, index, &input, &other));
}
