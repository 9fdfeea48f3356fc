/* MAX_POOL_2D, four channels at a time. Where they are no multiple of 4, the last four overlap the
 * four before: what is computed twice may read its own output, in place, which is the largest, too.
 */
#include "clip.h"
#include "fast.h"
#include "simd.h"

/* Of pixels that are `step` bytes apart, and rows that are `row` bytes apart. */
static inline uint32_t of_1x2(const int8_t *at, int32_t step) {
    return te_larger_bytes(te_load(at), te_load(at + step));
}

static inline uint32_t of_1x3(const int8_t *at, int32_t step) {
    return te_larger_bytes(of_1x2(at, step), te_load(at + 2 * step));
}

static inline uint32_t of_2x2(const int8_t *at, int32_t step, int32_t row) {
    return te_larger_bytes(of_1x2(at, step), of_1x2(at + row, step));
}

static inline uint32_t of_3x3(const int8_t *at, int32_t step, int32_t row) {
    uint32_t largest = te_larger_bytes(of_1x3(at, step), of_1x3(at + row, step));

    return te_larger_bytes(largest, of_1x3(at + 2 * row, step));
}

static inline uint32_t of_any(const int8_t *at, int32_t step, int32_t row, int32_t height,
                              int32_t width) {
    uint32_t largest = te_load(at);
    const int8_t *pixel, *end;

    for (; height; height--, at += row)
        for (pixel = at, end = at + width * step; pixel != end; pixel += step)
            largest = te_larger_bytes(largest, te_load(pixel));
    return largest;
}

/* All channels of an output: LARGEST of the window that begins at `from`. */
#define PIXEL(LARGEST)                                                                             \
    for (from = window, to = output, last = window + channels - 4;;) {                             \
        te_store_bytes(to, LARGEST);                                                               \
        if (from == last)                                                                          \
            break;                                                                                 \
        from += 4, to += 4;                                                                        \
        if (from > last)                                                                           \
            to -= from - last, from = last;                                                        \
    }

void te_run_max_pool_2d_fast(const te_max_pool_2d *op, const int8_t *input, int8_t *output,
                             void *scratch) {
    const int32_t channels = op->input.channels, row = op->input.width * channels;
    int8_t *const start = output, *to;
    const int8_t *window, *from, *last;
    int32_t y, x, above, before, top, left, rows, height, width, step;

    (void)scratch;
    for (y = 0; y < op->output.height; y++) {
        above = y * op->window.stride_y - op->window.pad_top;
        top = te_larger(above, 0);
        rows = te_smaller(above + op->window.height, op->input.height) - top;
        for (x = 0; x < op->output.width; x++, output += channels) {
            before = x * op->window.stride_x - op->window.pad_left;
            left = te_larger(before, 0);
            width = te_smaller(before + op->window.width, op->input.width) - left;
            window = input + top * row + left * channels;
            height = rows, step = channels;
            if (width == 1) /* a column is a row of other steps */
                width = height, height = 1, step = row;
            if (height == 2 && width == 2)
                PIXEL(of_2x2(from, step, row))
            else if (height == 3 && width == 3)
                PIXEL(of_3x3(from, step, row))
            else if (height == 1 && width == 2)
                PIXEL(of_1x2(from, step))
            else if (height == 1 && width == 3)
                PIXEL(of_1x3(from, step))
            else
                PIXEL(of_any(from, step, row, height, width))
        }
    }
    te_clamp_all(start, op->output.height * op->output.width * channels, op->lowest, op->highest);
}
