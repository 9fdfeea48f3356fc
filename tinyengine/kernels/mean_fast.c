/* MEAN over the pixels of each row of an image, four channels at a time. */
#include "fast.h"
#include "sums.h"

enum { PIXELS = 256 }; /* whose sums fit int16 */

/* As te_rounded; without a shift ties are no others. */
static inline int8_t mean(const te_mean_fast *op, int32_t sum) {
    const uint32_t doubled = 2 * (uint32_t)(sum - op->offset);
    const uint32_t addend = op->addend + (op->ties & te_asr(doubled, 31));

    return (int8_t)te_ssat8(te_asr(te_smmlar(doubled, op->multiplier, addend), op->right));
}

/* The means of a row. */
static void row(const te_mean_fast *op, const int8_t *input, int8_t *output) {
    const te_mean_fast is = *op; /* as far as C knows, output could be op */
    const int32_t channels = is.channels, stride = is.stride;
    const int8_t *const end = input + channels, *const fours = input + (channels & ~3), *pixel;
    int32_t left, part;

    for (; input != fours; input += 4) {
        int32_t a = 0, b = 0, c = 0, d = 0;

        for (pixel = input, left = is.pixels; left; left -= part, pixel += part * channels) {
            part = left > PIXELS ? PIXELS : left;

            const te_sums sums = te_sum_all(te_sum_of(pixel), pixel + channels, channels, part - 1);

            a += te_low(sums.even), b += te_low(sums.odd);
            c += te_high(sums.even), d += te_high(sums.odd);
        }
        *output = mean(&is, a), output += stride;
        *output = mean(&is, b), output += stride;
        *output = mean(&is, c), output += stride;
        *output = mean(&is, d), output += stride;
    }
    for (; input != end; input++, output += stride) {
        int32_t sum = 0;

        pixel = input, left = is.pixels;
        for (; channels == 1 && left >= 4; left -= part, pixel += part) { /* as if four of them */
            part = left > 4 * PIXELS ? 4 * PIXELS : left & ~3;

            const te_sums sums = te_sum_all(te_sum_of(pixel), pixel + 4, 4, part / 4 - 1);

            sum += te_low(sums.even) + te_low(sums.odd) + te_high(sums.even) + te_high(sums.odd);
        }
        for (; left; left--, pixel += channels)
            sum += *pixel;
        *output = mean(&is, sum);
    }
}

void te_run_mean_fast(const te_mean_fast *op, const int8_t *input, int8_t *output, void *scratch) {
    int32_t i;

    (void)scratch;
    for (i = 0; i < op->rows; i++, input += op->pixels * op->channels, output += op->row_stride)
        row(op, input, output);
}
