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

/* The outputs of up to four channels of a strip, `lanes`, from the columns of the first one in the
 * records. staged: where they are until all are there: a word for each pixel of the upper row, and
 * one for that below it, of which each channel has a byte. length: of the columns where two outputs
 * start, in bytes; odd: whether one more comes; step: to the columns of the next channel, in bytes.
 * pixels: of a row; pixel, lower: from one in the output to its right neighbour, and to the one
 * below, 0 if there is none. depthwise_3x3_m4.S knows it. */
typedef struct {
    const uint32_t *columns;
    int8_t *staged;
    int32_t length, odd;
    const uint32_t *records, *records_end;
    int32_t step, pixels;
    int8_t *output;
    int32_t pixel, lower, lanes;
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
            int8_t *output = strip->staged + 8 * x + lane;
            uint32_t sums[2] = {to[BIAS], to[BIAS]};

            for (int32_t c = 0; c < 3; c++)
                if (stride == 1)
                    add_column_1(columns + c * step, w + 2 * c, sums);
                else
                    add_column_2(columns + c * step, w[c],
                                 c % 2 ? te_high(w[3 + c / 2]) : te_low(w[3 + c / 2]), sums);
            output[4] = te_requantise_depthwise(sums[1], to);
            *output = te_requantise_depthwise(sums[0], to);
        }
    }
    for (int32_t x = 0; x < outputs; x++)
        for (int32_t lane = 0; lane < strip->lanes; lane++) {
            int8_t *output = strip->output + x * strip->pixel + lane;

            /* the lower one first, for where there is none it has the upper one's place */
            output[strip->lower] = strip->staged[8 * x + 4 + lane];
            *output = strip->staged[8 * x + lane];
        }
}
static void te_strip_3x3_1(const te_strip_3x3 *strip) { strip_3x3(strip, 1); }
static void te_strip_3x3_2(const te_strip_3x3 *strip) { strip_3x3(strip, 2); }
#endif

/* The next two rows of four channels, and where they are expanded to. at: of the upper one in the
 * input; y: its number, of `height`, those outside are padding; row, pixel: from one to the next;
 * count: of columns; offset: the zero point, negated, in both halves. depthwise_3x3_m4.S knows it.
 */
typedef struct {
    const int8_t *input;
    int32_t at, y, height, row, pixel;
    const int8_t *padding;
    int16_t *words;
    int32_t count;
    uint32_t offset;
} te_next_rows;

/* pairs: of rows in a column. */
static void expand(te_next_rows *next, int32_t pairs, int32_t channels) {
    const int8_t *rows[2] = {next->padding, next->padding};
    int32_t steps[2] = {0, 0};

    for (int32_t i = 0; i < 2; i++)
        if (next->y + i >= 0 && next->y + i < next->height)
            rows[i] = next->input + next->at + i * next->row, steps[i] = next->pixel;
    for (int32_t i = 0; i < next->count; i++)
        te_expand_two(next->words + 8 * pairs * i, 2 * pairs,
                      te_load_part(rows[0] + i * steps[0], channels),
                      te_load_part(rows[1] + i * steps[1], channels), next->offset);
    next->at += 2 * next->row, next->y += 2, next->words += 2;
}

#if TE_DSP
void te_expand_3x3_1(te_next_rows *next);
void te_expand_3x3_2(te_next_rows *next);
#else
static void te_expand_3x3_1(te_next_rows *next) { expand(next, 2, 4); }
static void te_expand_3x3_2(te_next_rows *next) { expand(next, 3, 4); }
#endif

static void run_strip(const te_strip_3x3 *strip, int32_t stride) {
    if (stride == 1)
        te_strip_3x3_1(strip);
    else
        te_strip_3x3_2(strip);
}

/* Of `lanes` channels of the input, each with several outputs, four at a time. words: of a record.
 */
static void run_several(te_strip_3x3 strip, int32_t stride, int32_t lanes, int32_t multiplier,
                        int32_t words) {
    strip.step = 0;
    for (; lanes; lanes--, strip.columns += stride + 1)
        for (int32_t left = multiplier; left > 0; left -= 4) {
            strip.lanes = te_smaller(left, 4);
            strip.records_end = strip.records + strip.lanes * words;
            run_strip(&strip, stride);
            strip.records = strip.records_end, strip.output += strip.lanes;
        }
}

void te_run_depthwise_conv_2d_3x3(const te_depthwise_conv_2d_3x3 *op, const int8_t *input,
                                  int8_t *output, void *scratch) {
    const te_shape *in = &op->input, *out = &op->output;
    const int32_t stride = op->window.stride_x, pairs = stride + 1, column = 4 * pairs;
    const int32_t left = op->window.pad_left, top = op->window.pad_top;
    const int32_t channels = in->channels;
    /* Rows of an exchanged image are columns. */
    const int32_t lower = op->exchanged ? out->channels : out->width * out->channels;
    const int32_t words = op->multiplier * ((stride == 1 ? 6 : 5) + REQUANTISATION);
    const int32_t count = te_smaller(in->width, stride * (out->width - 1) + 3 - left);
    const int8_t zero = (int8_t)op->input_zero_point, padding[4] = {zero, zero, zero, zero};
    uint32_t *const staged = scratch, *const planes = staged + 2 * out->width + pairs;
    uint32_t *const end = planes + op->plane_words;
    te_next_rows next = {.height = in->height,
                         .row = op->exchanged ? channels : in->width * channels,
                         .pixel = op->exchanged ? in->height * channels : channels,
                         .padding = padding,
                         .count = count,
                         .offset = te_halves(-op->input_zero_point, -op->input_zero_point)};
    /* where the lower one of two rows may begin, of whose pixels four bytes are read */
    const int32_t readable = in->height * in->width * channels - (in->width - 1) * next.pixel - 4;
    te_strip_3x3 strip = {.staged = (int8_t *)staged,
                          .length = out->width / 2 * 8 * stride * column,
                          .odd = out->width % 2,
                          .records_end = op->records,
                          .step = 4 * pairs,
                          .pixels = out->width,
                          .pixel = op->exchanged ? out->height * out->channels : out->channels};

    for (uint32_t *word = planes - pairs; word != planes + left * column; word++)
        *word = 0;
    for (int32_t channel = 0; channel < channels; channel += 4) {
        /* Of the last channels, some are expanded again, as four are read at a time. */
        const int32_t first = te_larger(te_smaller(channel, channels - 4), 0);
        const int32_t lanes = te_smaller(channels - channel, 4);
        uint32_t *pair = planes + left * column;
        int32_t pairs_left = pairs;

        for (uint32_t *word = pair + count * column; word != end; word++)
            *word = 0;
        next.input = input + first;
        next.y = -top, next.at = -top * next.row;
        next.words = (int16_t *)pair;
        strip.lanes = lanes;
        strip.records = strip.records_end, strip.records_end += lanes * words;
        strip.columns = planes + (channel - first) * pairs;
        strip.output = output + channel * op->multiplier;
        for (int32_t row = out->height; row > 0; row -= 2, pairs_left = stride) {
            for (; pairs_left; pairs_left--, pair++) {
                pair[-pairs] = 0; /* padding again, where a pixel was */
                if (channels < 4 && next.at + next.row > readable)
                    expand(&next, pairs, channels);
                else if (stride == 1)
                    te_expand_3x3_1(&next);
                else
                    te_expand_3x3_2(&next);
            }
            strip.lower = row > 1 ? lower : 0;
            if (op->multiplier > 1)
                run_several(strip, stride, lanes, op->multiplier, words / op->multiplier);
            else
                run_strip(&strip, stride);
            strip.columns += stride, strip.output += 2 * lower;
        }
    }
    te_clamp_all(output, out->height * out->width * out->channels, op->lowest, op->highest);
}
