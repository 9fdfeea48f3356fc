/* DEPTHWISE_CONV_2D of four channels at a time, two taps of a row at once: of any window, stride
 * and dilation. */
#include "depthwise.h"
#include "fast.h"

/* The taps of a window that lie inside of the input: where they and their weights start, how many
 * there are, and how far apart. */
typedef struct {
    const int8_t *input, *weights;
    int32_t rows, columns, row_step, column_step, weights_row, channels;
} te_taps;

/* The first of `count` taps from `start` on, in steps, that is not in front of an input of `size`;
 * *count becomes how many from there on are not behind it. */
static int32_t first_inside(int32_t start, int32_t step, int32_t size, int32_t *count) {
    int32_t first = 0, end = *count;
    for (; first < end && start < 0; start += step)
        first++;
    for (start += (end - 1 - first) * step; end > first && start >= size; start -= step)
        end--;
    *count = end - first;
    return first;
}

typedef struct {
    uint32_t a, b, c, d;
} te_four;

/* Adds the products of two taps, of four channels each. offset: the zero point, negated, in both
 * halves. */
FORCE_INLINE void add_taps(te_four *sums, uint32_t x, uint32_t other_x, uint32_t w,
                           uint32_t other_w, uint32_t offset) {
    uint32_t low = te_pkhbt(x, other_x), high = te_pkhtb(other_x, x);
    uint32_t low_w = te_pkhbt(w, other_w), high_w = te_pkhtb(other_w, w);

    sums->a = te_smlad(te_sxtab16(offset, low), te_sxtb16(low_w), sums->a);
    sums->b = te_smlad(te_sxtab16_ror8(offset, low), te_sxtb16_ror8(low_w), sums->b);
    sums->c = te_smlad(te_sxtab16(offset, high), te_sxtb16(high_w), sums->c);
    sums->d = te_smlad(te_sxtab16_ror8(offset, high), te_sxtb16_ror8(high_w), sums->d);
}

/* Sums of the four channels from number `channel` on, two taps of a row at a time. */
static te_four four_sums(const te_taps *taps, int32_t channel, uint32_t offset) {
    const int8_t *row = taps->input + channel, *weights = taps->weights + channel;
    const int32_t step = taps->column_step, next = taps->channels;
    te_four sums = {0, 0, 0, 0};

    for (int32_t i = taps->rows; i > 0; i--, row += taps->row_step, weights += taps->weights_row) {
        const int8_t *x = row, *w = weights;
        int32_t left = taps->columns;

        for (; left > 1; left -= 2, x += 2 * step, w += 2 * next)
            add_taps(&sums, te_load(x), te_load(x + step), te_load(w), te_load(w + next), offset);
        if (left)
            add_taps(&sums, te_load(x), 0, te_load(w), 0, offset);
    }
    return sums;
}

static int8_t requantise(uint32_t sum, const uint32_t *to) {
    return (int8_t)te_ssat8(te_rounded(2 * sum + to[BIAS], to[MULTIPLIER], to[ADDEND], to[RIGHT]));
}

void te_run_depthwise_conv_2d_taps(const te_depthwise_conv_2d_taps *op, const int8_t *input,
                                   int8_t *output, void *scratch) {
    const te_window *window = &op->window;
    const int32_t channels = op->input.channels, last = channels - 4;
    const uint32_t offset = te_halves(-op->input_zero_point, -op->input_zero_point);
    te_taps taps;

    (void)scratch;
    taps.channels = channels;
    taps.column_step = window->dilation_x * channels;
    taps.row_step = window->dilation_y * op->input.width * channels;
    taps.weights_row = window->width * channels;
    for (int32_t y = 0; y < op->output.height; y++) {
        int32_t top = y * window->stride_y - window->pad_top;
        taps.rows = window->height;
        int32_t row = first_inside(top, window->dilation_y, op->input.height, &taps.rows);
        for (int32_t x = 0; x < op->output.width; x++, output += channels) {
            int32_t left = x * window->stride_x - window->pad_left;
            taps.columns = window->width;
            int32_t column = first_inside(left, window->dilation_x, op->input.width, &taps.columns);
            int32_t in_y = top + row * window->dilation_y,
                    in_x = left + column * window->dilation_x;
            taps.input = input + (in_y * op->input.width + in_x) * channels;
            taps.weights = op->weights + (row * window->width + column) * channels;
            for (int32_t channel = 0; channel < channels; channel += 4) {
                if (channel > last) /* the last ones: some of them again */
                    channel = last;
                const uint32_t *to = op->records + REQUANTISATION * channel;
                te_four sums = four_sums(&taps, channel, offset);

                output[channel] = requantise(sums.a, to);
                output[channel + 1] = requantise(sums.b, to + REQUANTISATION);
                output[channel + 2] = requantise(sums.c, to + 2 * REQUANTISATION);
                output[channel + 3] = requantise(sums.d, to + 3 * REQUANTISATION);
            }
        }
    }
    output -= op->output.height * op->output.width * channels;
    te_clamp_all(output, op->output.height * op->output.width * channels, op->lowest, op->highest);
}
