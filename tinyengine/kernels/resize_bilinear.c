/* RESIZE_BILINEAR. Positions have ten fractional bits, so that a sum of products has twenty. */
#include "tinyengine.h"

enum { FRACTION = 10, ONE = 1 << FRACTION };

/* Where along an axis of `size` pixels the output's pixel with this index lies. */
static int32_t position(const te_resized_axis *axis, int32_t index, int32_t size) {
    int32_t at = index * axis->step + axis->start, last = (size - 1) * ONE;
    return at < 0 ? 0 : at > last ? last : at;
}

/* x * 2^-20, halves round away from zero. */
static int8_t rounded(int32_t x) {
    return (int8_t)((x + (1 << (2 * FRACTION - 1)) - (x < 0)) >> (2 * FRACTION));
}

void te_run_resize_bilinear(const te_resize_bilinear *op, const int8_t *input, int8_t *output,
                            void *scratch) {
    int32_t channels = op->input.channels, row = op->input.width * channels;
    (void)scratch;
    for (int32_t y = 0; y < op->output.height; y++) {
        int32_t at_y = position(&op->y, y, op->input.height);
        int32_t lower = at_y & (ONE - 1), upper = ONE - lower; /* weights */
        for (int32_t x = 0; x < op->output.width; x++) {
            int32_t at_x = position(&op->x, x, op->input.width);
            int32_t right = at_x & (ONE - 1), left = ONE - right;
            const int8_t *pixel = input + (at_y >> FRACTION) * row + (at_x >> FRACTION) * channels;
            /* nothing is behind the last pixel, but then its weight is 0 */
            int32_t below = lower ? row : 0, beside = right ? channels : 0;
            for (int32_t channel = 0; channel < channels; channel++, pixel++)
                *output++ = rounded(pixel[0] * (upper * left) + pixel[beside] * (upper * right) +
                                    pixel[below] * (lower * left) +
                                    pixel[below + beside] * (lower * right));
        }
    }
}
