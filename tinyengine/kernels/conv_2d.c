/* CONV_2D. */
#include "requantise.h"

/* The sum of a window; input: from the first channel of a group on; y, x: where the first tap is.
 */
static int32_t window_sum(const te_conv_2d *op, const int8_t *input, const int8_t *weights,
                          int32_t channels, int32_t y, int32_t x) {
    const te_window *window = &op->window;
    int32_t sum = 0;
    for (int32_t row = 0; row < window->height; row++) {
        int32_t in_y = y + row * window->dilation_y;
        for (int32_t column = 0; column < window->width; column++) {
            int32_t in_x = x + column * window->dilation_x;
            if (in_y >= 0 && in_y < op->input.height && in_x >= 0 && in_x < op->input.width) {
                const int8_t *from = input + (in_y * op->input.width + in_x) * op->input.channels;
                for (int32_t channel = 0; channel < channels; channel++)
                    sum += weights[channel] * (from[channel] - op->input_zero_point);
            }
            weights += channels;
        }
    }
    return sum;
}

void te_run_conv_2d(const te_conv_2d *op, const int8_t *input, int8_t *output, void *scratch) {
    const te_window *window = &op->window;
    int32_t channels = op->input.channels / op->groups, outputs = op->output.channels / op->groups;
    int32_t filter_size = window->height * window->width * channels;
    (void)scratch;
    for (int32_t y = 0; y < op->output.height; y++) {
        int32_t top = y * window->stride_y - window->pad_top;
        for (int32_t x = 0; x < op->output.width; x++) {
            int32_t left = x * window->stride_x - window->pad_left, channel = 0;
            const int8_t *weights = op->weights;
            for (int32_t group = 0; group < op->groups; group++) {
                const int8_t *from = input + group * channels;
                for (int32_t i = 0; i < outputs; i++, channel++, weights += filter_size) {
                    int32_t sum = window_sum(op, from, weights, channels, top, left);
                    *output++ = te_requantised(&op->requantise, op->bias[channel] + sum, channel);
                }
            }
        }
    }
}
