/* DEPTHWISE_CONV_2D of a window of 3x3 with stride 1 or 2, in strips of two rows of the output and
 * four channels. Rows of the input are expanded to int16 in pairs: a word of a column of a channel
 * has that pixel of two neighbouring rows, for SMLAD to multiply both at once. A strip needs two
 * pairs of rows with stride 1, and three with stride 2, of which the last is the next one's first.
 *
 * Columns lie side by side, in each the four channels, in each the pairs: all that two columns of
 * the output need is near one address. Strip by strip the first pair begins where the last one of
 * the strip before lies, a word (or two) further on, and the new ones take the place of what is no
 * longer needed, of the channel behind, or of the column behind.
 *
 * A strip is written when all rows above those that it needs have been read, so an output no higher
 * and no wider may take the place of the input. The zero point is taken off when a pixel is
 * expanded, so that padding is 0. */

#include "clip.h"
#include "depthwise.h"
#include "fast.h"

/* A channel's record begins with its weights (w[row][column]): with stride 1 the words w[0][c],
 * w[1][c] and w[1][c], w[2][c] of each column c; with stride 2 w[0][c], w[1][c] of all of them,
 * then w[2][0], w[2][1] and w[2][2], 0. Its requantisation follows. */

/* The outputs of a strip: from the columns of the first channel in the records. pixel, lower: from
 * one in the output to its right neighbour, and to the one below, 0 if there is none. length: of
 * the columns where two outputs start, in bytes; odd: whether one more comes; step: to the columns
 * of the next channel, in bytes. depthwise_3x3_m4.S knows it. */
typedef struct {
    const uint32_t *columns;
    int8_t *output;
    int32_t pixel, lower, length, odd;
    const uint32_t *records, *records_end;
    int32_t step;
} te_strip_3x3;

#if TE_DSP
void te_strip_3x3_1(const te_strip_3x3 *strip);
void te_strip_3x3_2(const te_strip_3x3 *strip);
#else
/* Adds the taps that a column of the input has in an upper and a lower output. */
static void add_column_1(const uint32_t *pairs, const uint32_t *w, uint32_t *sums) {
    sums[0] = te_smlabt(pairs[1], w[1], te_smlad(pairs[0], w[0], sums[0]));
    sums[1] = te_smlad(pairs[1], w[1], te_smlatb(pairs[0], w[0], sums[1]));
}

static void add_column_2(const uint32_t *pairs, uint32_t w, int32_t last, uint32_t *sums) {
    for (int32_t i = 0; i < 2; i++)
        sums[i] = te_smlad(pairs[i + 1], te_halves(last, 0), te_smlad(pairs[i], w, sums[i]));
}

static void strip_3x3(const te_strip_3x3 *strip, int32_t stride) {
    const int32_t step = 4 * (stride + 1),
                  words = stride == 1 ? 6 : 5; /* of a column, of weights */
    const int32_t outputs = strip->length / (4 * stride * step) + strip->odd;
    const uint32_t *w = strip->records;

    for (int32_t lane = 0; w != strip->records_end; lane++, w += words + REQUANTISATION) {
        const uint32_t *to = w + words, *columns = strip->columns + lane * (strip->step / 4);

        for (int32_t x = 0; x < outputs; x++, columns += stride * step) {
            int8_t *output = strip->output + x * strip->pixel + lane;
            uint32_t sums[2] = {to[BIAS], to[BIAS]};

            for (int32_t c = 0; c < 3; c++)
                if (stride == 1)
                    add_column_1(columns + c * step, w + 2 * c, sums);
                else
                    add_column_2(columns + c * step, w[c],
                                 c % 2 ? te_high(w[3 + c / 2]) : te_low(w[3 + c / 2]), sums);
            output[strip->lower] = te_requantise_depthwise(sums[1], to);
            *output = te_requantise_depthwise(sums[0], to);
        }
    }
}
static void te_strip_3x3_1(const te_strip_3x3 *strip) { strip_3x3(strip, 1); }
static void te_strip_3x3_2(const te_strip_3x3 *strip) { strip_3x3(strip, 2); }
#endif

/* Two rows of pixels; a row of padding is one pixel, with a step of 0. */
typedef struct {
    const int8_t *upper, *lower;
    int32_t upper_step, lower_step;
} te_two_rows;

/* Expands `count` columns of some channels. pairs: of rows in a column. */
static void expand(const te_two_rows *rows, int16_t *words, int32_t count, uint32_t offset,
                   int32_t pairs, int32_t channels) {
    const int8_t *upper = rows->upper, *lower = rows->lower;

    for (; count; count--, words += 8 * pairs) {
        te_expand_two(words, 2 * pairs, te_load_part(upper, channels),
                      te_load_part(lower, channels), offset);
        upper += rows->upper_step, lower += rows->lower_step;
    }
}

#if TE_DSP
void te_expand_3x3_1(const te_two_rows *rows, int16_t *words, int32_t count, uint32_t offset);
void te_expand_3x3_2(const te_two_rows *rows, int16_t *words, int32_t count, uint32_t offset);
#else
static void te_expand_3x3_1(const te_two_rows *rows, int16_t *words, int32_t count,
                            uint32_t offset) {
    expand(rows, words, count, offset, 2, 4);
}
static void te_expand_3x3_2(const te_two_rows *rows, int16_t *words, int32_t count,
                            uint32_t offset) {
    expand(rows, words, count, offset, 3, 4);
}
#endif

static void run_strip(const te_strip_3x3 *strip, int32_t stride) {
    if (stride == 1)
        te_strip_3x3_1(strip);
    else
        te_strip_3x3_2(strip);
}

/* Of `lanes` channels of the input, each with several outputs: `words` of records. */
static void run_several(te_strip_3x3 strip, int32_t stride, int32_t lanes, int32_t multiplier,
                        int32_t words) {
    for (strip.step = 0; lanes; lanes--) {
        strip.records_end = strip.records + words;
        run_strip(&strip, stride);
        strip.records = strip.records_end;
        strip.columns += stride + 1, strip.output += multiplier;
    }
}

void te_run_depthwise_conv_2d_3x3(const te_depthwise_conv_2d_3x3 *op, const int8_t *input,
                                  int8_t *output, void *scratch) {
    const te_shape *in = &op->input, *out = &op->output;
    const int32_t stride = op->window.stride_x, pairs = stride + 1, column = 4 * pairs;
    const int32_t left = op->window.pad_left, top = op->window.pad_top;
    const int32_t channels = in->channels;
    /* From a pixel to the next one, and to the one below; rows of an exchanged image are columns.
     */
    const int32_t in_pixel = op->exchanged ? in->height * channels : channels;
    const int32_t in_row = op->exchanged ? channels : in->width * channels;
    const int32_t out_pixel = op->exchanged ? out->height * out->channels : out->channels;
    const int32_t lower = op->exchanged ? out->channels : out->width * out->channels;
    const int32_t last_pixel = (in->width - 1) * in_pixel; /* of a row */
    const int32_t in_bytes = in->height * in->width * channels;
    const int32_t words = op->multiplier * ((stride == 1 ? 6 : 5) + REQUANTISATION);
    const int32_t count = te_smaller(in->width, stride * (out->width - 1) + 3 - left);
    const int8_t zero = (int8_t)op->input_zero_point, padding[4] = {zero, zero, zero, zero};
    const uint32_t offset = te_halves(-op->input_zero_point, -op->input_zero_point);
    uint32_t *const planes = (uint32_t *)scratch + pairs, *const end = planes + op->plane_words;
    te_strip_3x3 strip = {.pixel = out_pixel,
                          .length = out->width / 2 * 8 * stride * column,
                          .odd = out->width % 2,
                          .records_end = op->records,
                          .step = 4 * pairs};

    for (uint32_t *word = scratch; word != planes + left * column; word++)
        *word = 0;
    for (int32_t channel = 0; channel < channels; channel += 4) {
        /* Of the last channels, some are expanded again, as four are read at a time. */
        const int32_t first = te_larger(te_smaller(channel, channels - 4), 0);
        const int32_t lanes = te_smaller(channels - channel, 4);
        uint32_t *pair = planes;
        int32_t y = -top, row;

        for (uint32_t *word = planes + (left + count) * column; word != end; word++)
            *word = 0;
        strip.records = strip.records_end, strip.records_end += lanes * words;
        strip.output = output + channel * op->multiplier;
        strip.columns = planes + (channel - first) * pairs;
        for (row = 0; row < out->height; row += 2) {
            const int32_t both = row + 1 < out->height;

            for (; y <= stride * (row + both) + 2 - top; y += 2, pair++) {
                te_two_rows rows = {padding, padding, 0, 0};

                if (y >= 0 && y < in->height)
                    rows.upper = input + y * in_row + first, rows.upper_step = in_pixel;
                if (y + 1 >= 0 && y + 1 < in->height)
                    rows.lower = input + (y + 1) * in_row + first, rows.lower_step = in_pixel;
                pair[left * column - pairs] = 0; /* padding again, where a pixel was */
                if (channels < 4 && (y + 1) * in_row + last_pixel + 4 > in_bytes)
                    expand(&rows, (int16_t *)(pair + left * column), count, offset, pairs,
                           channels);
                else if (stride == 1)
                    te_expand_3x3_1(&rows, (int16_t *)(pair + left * column), count, offset);
                else
                    te_expand_3x3_2(&rows, (int16_t *)(pair + left * column), count, offset);
            }
            strip.lower = both ? lower : 0;
            if (op->multiplier == 1)
                run_strip(&strip, stride);
            else
                run_several(strip, stride, lanes, op->multiplier, words);
            strip.output += 2 * lower, strip.columns += stride;
        }
    }
    te_clamp_all(output, out->height * out->width * out->channels, op->lowest, op->highest);
}
