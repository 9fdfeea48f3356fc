/* MAX_POOL_2D. Input and output share their scale and zero point. */
#include "clip.h"
#include "requantise.h"

void te_run_max_pool_2d(const te_max_pool_2d *op, const int8_t *input, int8_t *output,
                        void *scratch) {
    const te_window *window = &op->window;
    int32_t channels = op->input.channels;
    (void)scratch;
    for (int32_t y = 0; y < op->output.height; y++) {
        int32_t above = y * window->stride_y - window->pad_top;
        int32_t top = te_larger(above, 0),
                bottom = te_smaller(above + window->height, op->input.height);
        for (int32_t x = 0; x < op->output.width; x++) {
            int32_t before = x * window->stride_x - window->pad_left;
            int32_t left = te_larger(before, 0),
                    right = te_smaller(before + window->width, op->input.width);
            for (int32_t channel = 0; channel < channels; channel++) {
                int32_t largest = INT8_MIN;
                for (int32_t in_y = top; in_y < bottom; in_y++)
                    for (int32_t in_x = left; in_x < right; in_x++)
                        largest = te_larger(
                            input[(in_y * op->input.width + in_x) * channels + channel], largest);
                *output++ = te_clamp(largest, op->lowest, op->highest);
            }
        }
    }
}
