/* REDUCE_MIN over any axes. */
#include "axes.h"

void te_run_reduce_min(const te_reduce_min *op, const int8_t *input, int8_t *output,
                       void *scratch) {
    int32_t outputs = te_count(op->kept), runs = te_count(op->reduced);
    int32_t kept_index[TE_RANK] = {0}, start = 0;
    (void)scratch;
    for (int32_t i = 0; i < outputs; i++) {
        int32_t index[TE_RANK] = {0}, offset = start;
        int8_t smallest = INT8_MAX;
        for (int32_t j = 0;;) {
            for (int32_t k = 0; k < op->run.size; k++) {
                int8_t value = input[offset + k * op->run.stride];
                smallest = value < smallest ? value : smallest;
            }
            if (++j == runs)
                break;
            offset = te_next(op->reduced, index, offset);
        }
        output[i] = smallest;
        start = te_next(op->kept, kept_index, start);
    }
}
