/* MEAN over any axes. */
#include "axes.h"
#include "requantise.h"

void te_run_mean(const te_mean *op, const int8_t *input, int8_t *output, void *scratch) {
    int32_t means = te_count(op->kept), runs = te_count(op->reduced);
    int32_t kept_index[TE_RANK] = {0}, start = 0;
    (void)scratch;
    for (int32_t i = 0; i < means; i++) {
        int32_t index[TE_RANK] = {0}, offset = start;
        int32_t sum = -op->run.size * runs * op->input_zero_point;
        for (int32_t j = 0;;) {
            for (int32_t k = 0; k < op->run.size; k++)
                sum += input[offset + k * op->run.stride];
            if (++j == runs)
                break;
            offset = te_next(op->reduced, index, offset);
        }
        int32_t scaled = te_scaled(sum, op->scale.multiplier, op->scale.shift);
        output[i] = te_clamp(scaled + op->output_zero_point, INT8_MIN, INT8_MAX);
        start = te_next(op->kept, kept_index, start);
    }
}
