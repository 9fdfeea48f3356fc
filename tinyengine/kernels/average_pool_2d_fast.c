/* AVERAGE_POOL_2D, four channels at a time, of windows of at most 256 values: their sums fit int16,
 * and a multiplication by 2^24 / count, rounded up, divides exactly. */
#include "clip.h"
#include "fast.h"
#include "simd.h"

typedef struct {
    int32_t bias, ties; /* ties: of negative sums, -1 where the count is even, else 0 */
    uint32_t factor;
} divisor;

/* Sums become positive by 128 * count, which is 128 in the mean. Half of the count rounds; ties of
 * negative sums round down. */
static inline divisor divisor_of(int32_t count) {
    divisor by = {128 * count + count / 2, count % 2 - 1, 0};

    by.factor = ((1u << 24) + (uint32_t)count - 1) / (uint32_t)count;
    return by;
}

/* 128 more than the mean, from 0 to 255. */
static inline uint32_t mean(int32_t sum, const divisor *by) {
    return ((uint32_t)(sum + by->bias) + (te_asr((uint32_t)sum, 31) & (uint32_t)by->ties)) *
               by->factor >>
           24;
}

/* The means of windows of pixels that are `step` bytes apart, and rows that are `row` apart. */
static inline uint32_t four(const int8_t *at, int32_t step, int32_t row, int32_t height,
                            int32_t width, const divisor *by) {
    uint32_t even = 0, odd = 0, word;
    const int8_t *pixel, *end;

    for (; height; height--, at += row)
        for (pixel = at, end = at + width * step; pixel != end; pixel += step) {
            word = te_load(pixel);
            even = te_sxtab16(even, word);
            odd = te_sxtab16_ror8(odd, word);
        }
    return (mean(te_low(even), by) | mean(te_low(odd), by) << 8 | mean(te_high(even), by) << 16 |
            mean(te_high(odd), by) << 24) ^
           0x80808080u;
}

static inline int8_t one(const int8_t *at, int32_t step, int32_t row, int32_t height, int32_t width,
                         const divisor *by) {
    const int8_t *pixel, *end;
    int32_t sum = 0;

    for (; height; height--, at += row)
        for (pixel = at, end = at + width * step; pixel != end; pixel += step)
            sum += *pixel;
    return (int8_t)((int32_t)mean(sum, by) - 128);
}

void te_run_average_pool_2d_fast(const te_average_pool_2d *op, const int8_t *input, int8_t *output,
                                 void *scratch) {
    const int32_t channels = op->input.channels, row = op->input.width * channels;
    int8_t *const start = output;
    const int8_t *from, *end, *fours;
    int32_t y, x, above, before, top, left, rows, height, width, step;

    (void)scratch;
    for (y = 0; y < op->output.height; y++) {
        above = y * op->window.stride_y - op->window.pad_top;
        top = te_larger(above, 0);
        rows = te_smaller(above + op->window.height, op->input.height) - top;
        for (x = 0; x < op->output.width; x++) {
            before = x * op->window.stride_x - op->window.pad_left;
            left = te_larger(before, 0);
            width = te_smaller(before + op->window.width, op->input.width) - left;

            const divisor by = divisor_of(rows * width);

            height = rows, step = channels;
            if (width == 1) /* a column is a row of other steps */
                width = height, height = 1, step = row;
            from = input + top * row + left * channels;
            end = from + channels, fours = from + (channels & ~3);
            for (; from != fours; from += 4, output += 4)
                te_store_bytes(output, four(from, step, row, height, width, &by));
            for (; from != end; from++)
                *output++ = one(from, step, row, height, width, &by);
        }
    }
    te_clamp_all(start, op->output.height * op->output.width * channels, op->lowest, op->highest);
}
