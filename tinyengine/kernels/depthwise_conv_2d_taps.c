/* DEPTHWISE_CONV_2D tap by tap, four channels at a time: of any window, stride and dilation. */
#include "fast.h"
#include "requantise.h"
#include "simd.h"

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

/* Adds the sums of four channels from number `channel` on. offset: the zero point, negated, in both
 * halves. */
static void add_four(const te_taps *taps, int32_t channel, uint32_t offset, int32_t *sums) {
    const int8_t *row = taps->input + channel, *weights_row = taps->weights + channel;
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];

    for (int32_t i = 0; i < taps->rows; i++) {
        const int8_t *x = row, *w = weights_row;
        for (int32_t j = taps->columns; j; j--, x += taps->column_step, w += taps->channels) {
            uint32_t pixel = te_load(x), weights = te_load(w);
            uint32_t even = te_sxtab16(offset, pixel), odd = te_sxtab16_ror8(offset, pixel);
            uint32_t even_w = te_sxtb16(weights), odd_w = te_sxtb16_ror8(weights);
            a += te_low(even) * te_low(even_w);
            b += te_low(odd) * te_low(odd_w);
            c += te_high(even) * te_high(even_w);
            d += te_high(odd) * te_high(odd_w);
        }
        row += taps->row_step, weights_row += taps->weights_row;
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
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
                int32_t sums[4];
                for (int32_t i = 0; i < 4; i++)
                    sums[i] = op->bias[channel + i];
                add_four(&taps, channel, offset, sums);
                for (int32_t i = channel; i < channel + 4; i++)
                    output[i] = te_requantised(&op->requantise, sums[i - channel], i);
            }
        }
    }
}
