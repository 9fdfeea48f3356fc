/* QUANTIZE of int16, where nothing is lost to the left. */
#include "sum_scale.h"

void te_run_quantize_int16_fast(const te_quantize_int16_fast *op, const int16_t *input,
                                void *output, void *scratch) {
    const te_quantize_int16_fast own = *op; /* which the output cannot be */
    int32_t i;

    (void)scratch;
    for (i = 0; i < own.size; i++) {
        uint32_t centred = (uint32_t)(input[i] - own.input_zero_point);
        int32_t value = te_scaled_sum(centred, &own.scale) + own.output_zero_point;

        if (own.output_bytes == 1)
            ((int8_t *)output)[i] = (int8_t)te_ssat8((uint32_t)value);
        else if (own.output_bytes == 2)
            ((int16_t *)output)[i] = (int16_t)te_ssat16((uint32_t)value);
        else
            ((int32_t *)output)[i] = value;
    }
}
