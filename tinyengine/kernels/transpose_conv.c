/* TRANSPOSE_CONV. */
#include "requantise.h"

/* The sum of the taps that reach a pixel of the output; y, x: where it lies, padding included. */
static int32_t window_sum(const te_transpose_conv *op, const int8_t *input, const int8_t *weights,
                          int32_t y, int32_t x) {
    const te_window *window = &op->window;
    int32_t channels = op->input.channels, sum = 0;
    int32_t last_y = y / window->stride_y, last_x = x / window->stride_x;
    for (int32_t in_y = last_y; in_y >= 0; in_y--) {
        int32_t row = y - in_y * window->stride_y;
        if (row >= window->height)
            break;
        for (int32_t in_x = last_x; in_x >= 0; in_x--) {
            int32_t column = x - in_x * window->stride_x;
            if (column >= window->width)
                break;
            if (in_y < op->input.height && in_x < op->input.width) {
                const int8_t *from = input + (in_y * op->input.width + in_x) * channels;
                const int8_t *tap = weights + (row * window->width + column) * channels;
                for (int32_t channel = 0; channel < channels; channel++)
                    sum += tap[channel] * (from[channel] - op->input_zero_point);
            }
        }
    }
    return sum;
}

void te_run_transpose_conv(const te_transpose_conv *op, const int8_t *input, int8_t *output,
                           void *scratch) {
    const te_window *window = &op->window;
    int32_t filter_size = window->height * window->width * op->input.channels;
    (void)scratch;
    for (int32_t y = 0; y < op->output.height; y++)
        for (int32_t x = 0; x < op->output.width; x++)
            for (int32_t channel = 0; channel < op->output.channels; channel++) {
                const int8_t *weights = op->weights + channel * filter_size;
                int32_t sum =
                    window_sum(op, input, weights, y + window->pad_top, x + window->pad_left);
                *output++ = te_requantised(&op->requantise, op->bias[channel] + sum, channel);
            }
}
