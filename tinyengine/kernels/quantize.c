/* QUANTIZE from int8 to int8: to another scale and zero point. */
#include "requantise.h"

void te_run_quantize(const te_quantize *op, const int8_t *input, int8_t *output, void *scratch) {
    (void)scratch;
    for (int32_t i = 0; i < op->size; i++) {
        int32_t scaled =
            te_scaled(input[i] - op->input_zero_point, op->scale.multiplier, op->scale.shift);
        output[i] = te_clamp(scaled + op->output_zero_point, INT8_MIN, INT8_MAX);
    }
}
