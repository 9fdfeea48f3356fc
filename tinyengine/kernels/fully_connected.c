/* FULLY_CONNECTED, rounding twice as TensorFlow Lite Micro does. */
#include "requantise.h"

void te_run_fully_connected(const te_fully_connected *op, const int8_t *input, int8_t *output,
                            void *scratch) {
    (void)scratch;
    for (int32_t row = 0; row < op->rows; row++, input += op->inputs) {
        const int8_t *weights = op->weights;
        for (int32_t channel = 0; channel < op->outputs; channel++, weights += op->inputs) {
            int32_t sum = 0;
            for (int32_t i = 0; i < op->inputs; i++)
                sum += weights[i] * (input[i] - op->input_zero_point);
            *output++ = te_requantised(&op->requantise, op->bias[channel] + sum, channel);
        }
    }
}
