/* PAD that the compiler could not fold into the operator that reads it. */
#include "axes.h"

void te_run_pad(const te_pad *op, const int8_t *input, int8_t *output, void *scratch) {
    te_axis inside[TE_RANK]; /* the input's axes, with the output's strides */
    int32_t size = 1, offset = 0, index[TE_RANK] = {0};
    (void)scratch;
    for (int axis = TE_RANK - 1; axis >= 0; axis--) {
        const te_padded_axis *padded = &op->axes[axis];
        inside[axis].size = padded->size;
        inside[axis].stride = size;
        offset += padded->before * size;
        size *= padded->before + padded->size + padded->after;
    }
    for (int32_t i = 0; i < size; i++)
        output[i] = op->value;
    int32_t copied = te_count(inside);
    for (int32_t i = 0; i < copied; i++) {
        output[offset] = input[i];
        offset = te_next(inside, index, offset);
    }
}
