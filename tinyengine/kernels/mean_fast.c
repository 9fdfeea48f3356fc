/* MEAN over the pixels of each row of an image, four channels at a time. */
#include "fast.h"
#include "requantise.h"
#include "simd.h"

enum { PIXELS = 256 }; /* whose sums fit int16 */

static inline int8_t mean(const te_mean_fast *op, int32_t sum) {
    int32_t scaled = te_scaled(sum - op->offset, op->scale.multiplier, op->scale.shift);

    return te_clamp(scaled + op->output_zero_point, INT8_MIN, INT8_MAX);
}

/* The means of a row. */
static void row(const te_mean_fast *op, const int8_t *input, int8_t *output) {
    const int32_t channels = op->channels, all = op->pixels * channels;
    const int8_t *const end = input + channels, *const fours = input + (channels & ~3);
    const int8_t *pixel, *part, *last;
    uint32_t even, odd, word;

    for (; input != fours; input += 4, output += 4) {
        int32_t a = 0, b = 0, c = 0, d = 0;

        for (pixel = input, last = input + all; pixel != last;) {
            part = last - pixel > PIXELS * channels ? pixel + PIXELS * channels : last;
            for (even = odd = 0; pixel != part; pixel += channels) {
                word = te_load(pixel);
                even = te_sxtab16(even, word);
                odd = te_sxtab16_ror8(odd, word);
            }
            a += te_low(even), b += te_low(odd), c += te_high(even), d += te_high(odd);
        }
        output[0] = mean(op, a), output[1] = mean(op, b);
        output[2] = mean(op, c), output[3] = mean(op, d);
    }
    for (; input != end; input++) {
        int32_t sum = 0;

        for (pixel = input, last = input + all; pixel != last; pixel += channels)
            sum += *pixel;
        *output++ = mean(op, sum);
    }
}

void te_run_mean_fast(const te_mean_fast *op, const int8_t *input, int8_t *output, void *scratch) {
    int32_t i;

    (void)scratch;
    for (i = 0; i < op->rows; i++, input += op->pixels * op->channels, output += op->channels)
        row(op, input, output);
}
