/* DEPTHWISE_CONV_2D. */
#include "requantise.h"

/* The sum of a window of one output channel; y, x: where its first tap lies. */
static int32_t window_sum(const te_depthwise_conv_2d *op, const int8_t *input, int32_t y, int32_t x,
                          int32_t in_channel, int32_t out_channel) {
    const te_window *window = &op->window;
    const int8_t *weights = op->weights + out_channel;
    int32_t sum = 0;
    for (int32_t row = 0; row < window->height; row++) {
        int32_t in_y = y + row * window->dilation_y;
        for (int32_t column = 0; column < window->width; column++) {
            int32_t in_x = x + column * window->dilation_x;
            if (in_y >= 0 && in_y < op->input.height && in_x >= 0 && in_x < op->input.width) {
                int32_t at = (in_y * op->input.width + in_x) * op->input.channels + in_channel;
                sum += *weights * (input[at] - op->input_zero_point);
            }
            weights += op->output.channels;
        }
    }
    return sum;
}

void te_run_depthwise_conv_2d(const te_depthwise_conv_2d *op, const int8_t *input, int8_t *output,
                              void *scratch) {
    const te_window *window = &op->window;
    (void)scratch;
    for (int32_t y = 0; y < op->output.height; y++) {
        int32_t top = y * window->stride_y - window->pad_top;
        for (int32_t x = 0; x < op->output.width; x++) {
            int32_t left = x * window->stride_x - window->pad_left;
            for (int32_t channel = 0; channel < op->output.channels; channel++) {
                int32_t sum = window_sum(op, input, top, left, channel / op->multiplier, channel);
                *output++ = te_requantised(&op->requantise, op->bias[channel] + sum, channel);
            }
        }
    }
}
