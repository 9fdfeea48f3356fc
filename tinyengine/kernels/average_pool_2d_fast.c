/* AVERAGE_POOL_2D, four channels at a time, of windows of at most 256 values. Output pixels of a
 * row whose windows have the same size are a run: all of them for four channels, then the next
 * four. */
#include "clip.h"
#include "fast.h"
#include "sums.h"

#define ONES 0x00010001u

/* Windows that are `next` bytes apart, of pixels `step` bytes apart and rows `row` apart. Of fewer
 * than three pixels, each counts twice or four times, by steps of 0, in a window of 2x2. */
typedef struct {
    int32_t next, step, row, height, width;
    uint32_t even, factor, bias; /* of the division */
} windows;

static void set_count(windows *of, int32_t count) {
    const uint32_t half = 128 * (uint32_t)count + (uint32_t)(count - 1) / 2;

    of->even = count % 2 ? 0 : ONES;
    of->factor = UINT32_MAX / (uint32_t)count + 1; /* not of a power of 2 below 4 */
    of->bias = (half << 16) / (uint32_t)count + 3;
}

/* The mean of a sum in the high half, 128 more than it is. The bias makes it positive, and rounds:
 * ties go up, for which sums of an even count that are no less than 0 are one larger. */
static inline uint32_t means(te_sums sums, const windows *of) {
    const uint32_t factor = of->factor, bias = of->bias, ones = of->even;
    const uint32_t even = sums.even + (ones & ~(sums.even >> 15));
    const uint32_t odd = sums.odd + (ones & ~(sums.odd >> 15));
    const uint32_t evens = te_pkhtb(te_smlawt(factor, even, bias), te_smlawb(factor, even, bias));
    const uint32_t odds = te_pkhtb(te_smlawt(factor, odd, bias), te_smlawb(factor, odd, bias));

    return (evens | odds << 8) ^ 0x80808080u;
}

/* The same of four values, whose sums are OFFSET more: bit 10 says which are no less than 0. */
#define OFFSET 1025u

typedef struct {
    uint32_t ones, low, high;
} masks;

static inline masks set_masks(void) {
    masks in = {ONES, 0x00ff00ffu, 0xff00ff00u};
#if TE_DSP /* in registers, for AND to shift its other operand */
    __asm__("" : "+r"(in.ones), "+r"(in.low), "+r"(in.high));
#endif
    return in;
}

static inline uint32_t quarters(te_sums sums, masks in) {
    sums.even += in.ones & sums.even >> 10;
    sums.odd += in.ones & sums.odd >> 10;
    return (in.low & sums.even >> 2) | (in.high & sums.odd << 6);
}

static inline te_sums both(te_sums before, te_sums behind) {
    before.even += behind.even, before.odd += behind.odd;
    return before;
}

/* Two values of a column, added to sums. */
static inline te_sums column(te_sums sums, const int8_t *pixel, int32_t row) {
    return te_sum(te_sum(sums, pixel), pixel + row);
}

/* Inlined, these loops would lack registers. */
#define SEPARATE __attribute__((noinline))

/* Four channels of `pixels` windows of 2x2. */
static SEPARATE void run_2x2(const windows *of, const int8_t *from, int8_t *to, int32_t pixels,
                             int32_t channels) {
    const int32_t next = of->next, step = of->step, row = of->row;
    const te_sums start = {OFFSET * ONES, OFFSET * ONES};
    const masks in = set_masks();

    for (; pixels; pixels--, from += next, to += channels)
        te_store_bytes(to, quarters(column(column(start, from, row), from + step, row), in));
}

/* The same of neighbours, which share a column. Every other one begins with one more. */
static SEPARATE void run_2x2_by_1(const windows *of, const int8_t *from, int8_t *to, int32_t pixels,
                                  int32_t channels) {
    const int32_t step = of->step, row = of->row;
    const te_sums less = {OFFSET / 2 * ONES, OFFSET / 2 * ONES};
    const te_sums more = {less.even + ONES, less.odd + ONES};
    const masks in = set_masks();
    te_sums before = column(less, from, row), behind;

    for (; pixels > 1; pixels -= 2, to += channels) {
        behind = column(more, from += step, row);
        te_store_bytes(to, quarters(both(before, behind), in));
        before = column(less, from += step, row);
        te_store_bytes(to += channels, quarters(both(before, behind), in));
    }
    if (pixels)
        te_store_bytes(to, quarters(both(before, column(more, from + step, row)), in));
}

static inline te_sums of_3x3(const int8_t *at, int32_t step, int32_t row) {
    const int8_t *const middle = at + row, *const bottom = middle + row;
    te_sums sums = te_sum(te_sum(te_sum_of(at), at + step), at + 2 * step);

    sums = te_sum(te_sum(te_sum(sums, middle), middle + step), middle + 2 * step);
    return te_sum(te_sum(te_sum(sums, bottom), bottom + step), bottom + 2 * step);
}

static inline te_sums of_any(const int8_t *at, int32_t step, int32_t row, int32_t height,
                             int32_t width) {
    te_sums sums = {0, 0};

    for (; height; height--, at += row)
        sums = te_sum_all(sums, at, step, width);
    return sums;
}

static SEPARATE void run_any(const windows *of, const int8_t *from, int8_t *to, int32_t pixels,
                             int32_t channels) {
    const windows is = *of; /* as far as C knows, output could be it */

    if (is.height == 3 && is.width == 3)
        for (; pixels; pixels--, from += is.next, to += channels)
            te_store_bytes(to, means(of_3x3(from, is.step, is.row), &is));
    else
        for (; pixels; pixels--, from += is.next, to += channels)
            te_store_bytes(to, means(of_any(from, is.step, is.row, is.height, is.width), &is));
}

/* One channel. */
static SEPARATE void run_one(const windows *of, const int8_t *from, int8_t *to, int32_t pixels,
                             int32_t channels) {
    const int8_t *at, *pixel;
    te_sums sums = {0, 0};
    int32_t i, j, sum;

    for (; pixels; pixels--, from += of->next, to += channels) {
        sum = 0;
        for (at = from, i = of->height; i; i--, at += of->row)
            for (pixel = at, j = of->width; j; j--, pixel += of->step)
                sum += *pixel;
        sums.even = (uint32_t)sum & 0xffff;
        *to = (int8_t)te_low(means(sums, of) & 0xff);
    }
}

/* `pixels` of all channels. */
static void run(const windows *of, const int8_t *from, int8_t *to, int32_t pixels,
                int32_t channels) {
    const int is_2x2 = of->height == 2 && of->width == 2;
    const int8_t *const fours = from + (channels & ~3), *const end = from + channels;

    for (; from != fours; from += 4, to += 4)
        if (is_2x2 && of->next == of->step)
            run_2x2_by_1(of, from, to, pixels, channels);
        else if (is_2x2)
            run_2x2(of, from, to, pixels, channels);
        else
            run_any(of, from, to, pixels, channels);
    for (; from != end; from++, to++)
        run_one(of, from, to, pixels, channels);
}

/* The windows of `height` rows and `width` columns. */
static void set_windows(windows *of, const te_average_pool_2d_fast *op, int32_t height,
                        int32_t width) {
    const int32_t channels = op->input.channels;

    of->next = op->window.stride_x * channels;
    of->step = channels, of->row = op->input.width * channels;
    if (height == 1 && width <= 2)
        height = 2, of->row = 0;
    if (width == 1 && height <= 2)
        width = 2, of->step = 0;
    if (width == 1) /* a column is a row of other steps */
        width = height, height = 1, of->step = of->row;
    if (height > 2 && width * of->step == of->row) /* whole rows are one */
        width *= height, height = 1;
    of->height = height, of->width = width;
    set_count(of, height * width);
}

void te_run_average_pool_2d_fast(const te_average_pool_2d_fast *op, const int8_t *input,
                                 int8_t *output, void *scratch) {
    const te_window *const window = &op->window;
    const int32_t channels = op->input.channels, last = op->input.width - window->width;
    int8_t *const start = output;
    int32_t y, x, above, before, top, left, height, width, pixels;
    windows of;

    (void)scratch;
    for (y = 0; y < op->output.height; y++) {
        above = y * window->stride_y - window->pad_top;
        top = te_larger(above, 0);
        height = te_smaller(above + window->height, op->input.height) - top;
        for (x = 0; x < op->output.width; x += pixels, output += pixels * channels) {
            before = x * window->stride_x - window->pad_left;
            left = te_larger(before, 0);
            width = te_smaller(before + window->width, op->input.width) - left;
            pixels = 1;
            if (before >= 0 && before <= last)
                pixels = te_smaller((last - before) / window->stride_x + 1, op->output.width - x);
            set_windows(&of, op, height, width);
            run(&of, input + (top * op->input.width + left) * channels, output, pixels, channels);
        }
    }
    te_clamp_all(start, op->output.height * op->output.width * channels, op->lowest, op->highest);
}
