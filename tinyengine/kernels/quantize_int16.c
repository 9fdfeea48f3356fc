/* QUANTIZE of int16: to int8, int16 or int32 of another scale and zero point. */
#include "requantise.h"

static int32_t quantised(const te_quantize_int16 *op, int32_t value) {
    int32_t scaled = te_scaled(value - op->input_zero_point, op->scale.multiplier, op->scale.shift);
    return scaled + op->output_zero_point;
}

void te_run_quantize_int16(const te_quantize_int16 *op, const int16_t *input, void *output,
                           void *scratch) {
    (void)scratch;
    if (op->output_bytes == 1)
        for (int32_t i = 0; i < op->size; i++)
            ((int8_t *)output)[i] = te_clamp(quantised(op, input[i]), INT8_MIN, INT8_MAX);
    else if (op->output_bytes == 2)
        for (int32_t i = 0; i < op->size; i++) {
            int32_t value = quantised(op, input[i]);
            value = value < INT16_MIN ? INT16_MIN : value > INT16_MAX ? INT16_MAX : value;
            ((int16_t *)output)[i] = (int16_t)value;
        }
    else
        for (int32_t i = 0; i < op->size; i++)
            ((int32_t *)output)[i] = quantised(op, input[i]);
}
