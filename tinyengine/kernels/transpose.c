/* TRANSPOSE, and every other copy with strides. */
#include "axes.h"

void te_run_transpose(const te_transpose *op, const int8_t *input, int8_t *output, void *scratch) {
    int32_t size = te_count(op->axes), index[TE_RANK] = {0}, offset = 0;
    (void)scratch;
    for (int32_t i = 0; i < size; i++) {
        output[i] = input[offset];
        offset = te_next(op->axes, index, offset);
    }
}
