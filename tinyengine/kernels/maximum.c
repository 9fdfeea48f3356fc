/* MAXIMUM of two tensors. */
#include "operands.h"

void te_run_maximum(const te_maximum *op, const int8_t *input, const int8_t *other, int8_t *output,
                    void *scratch) {
    const te_pair_axis row = op->axes[TE_RANK - 1];
    int32_t index[TE_RANK] = {0};
    (void)scratch;
    do {
        for (int32_t i = 0; i < row.size; i++) {
            *output++ = *input > *other ? *input : *other;
            input += row.input_stride;
            other += row.other_stride;
        }
    } while (te_next_row(op->axes, index, &input, &other));
}
