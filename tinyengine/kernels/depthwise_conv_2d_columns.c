/* DEPTHWISE_CONV_2D of windows four to seven rows high, of images at least three rows high that are
 * so small that four of their channels can be kept, all expanded in pairs of rows (depthwise.h),
 * from the first one that any window reads. Three to six outputs below each other are computed at
 * once, of one column of the window after the other: of those that lie on the image only.
 *
 * Four channels are written when they have been expanded, so an output no higher and no wider may
 * take the place of the input. The zero point is taken off when a pixel is expanded: padding is 0.
 * Its rows are written once. */

#include "clip.h"
#include "depthwise.h"
#include "fast.h"

/* What a pixel of the output reads: where columns and weights begin, in bytes from the first; how
 * many there are, less one, and in the low 16 bits from a column to the next one, in bytes. */
typedef struct {
    int32_t columns, weights, left;
} te_reads;

/* `rows` of the output, of the channels in the records. reads, reads_end: of the pixels of a row;
 * columns: of the first channel; output: of the last row; row: from one to the row below, pixel: to
 * the next one; kind: 8 times the stride, and 4 if the window is seven
 * rows high, not five; 0 for a stride of 1, if these are all rows of input and output, with padding
 * all around. A record is a requantisation, then words of weights for each column of
 * the window: with stride 1 w[0] and w[1]; w[2] and w[3], w[1] and w[2]; and so on up to the last
 * two; with stride 2 w[0] and w[1] and so on, the last one alone. depthwise_columns_m4.S knows it.
 */
typedef struct {
    const te_reads *reads, *reads_end;
    const uint32_t *columns;
    int8_t *output;
    int32_t row, pixel, kind, rows;
    const uint32_t *records, *records_end;
    int32_t record_bytes;
} te_columns;

enum { WORD = 4 }; /* from a pair of rows to the next one: four channels */

#if TE_DSP
void te_run_columns(const te_columns *of);
#else
static int32_t half(uint32_t word, int32_t high) { return high ? te_high(word) : te_low(word); }

/* Weight number k of the words of a column of the window. */
static int32_t weight(const uint32_t *words, int32_t k, int32_t kind) {
    const int32_t last = kind % 8 ? 6 : 4;

    if (kind >= 16)
        return half(words[k / 2], k % 2);
    return k == last ? te_high(words[last - 1]) : half(words[te_larger(k / 2 * 2 - 1, 0)], k % 2);
}

static uint32_t column_sum(const te_columns *of, const te_reads *reads, const uint32_t *weights,
                           int32_t lane, int32_t y) {
    const int32_t stride = of->kind < 16 ? 1 : 2, height = of->kind % 8 ? 7 : 5;
    const int32_t words = stride == 1 ? height - 1 : (height + 1) / 2;
    const uint32_t *column = of->columns + reads->columns / 4 + lane;
    uint32_t sum = 0;

    weights += reads->weights / 4;
    for (int32_t i = reads->left >> 16; i >= 0; i--) {
        for (int32_t k = 0; k < height; k++) {
            const int32_t row = y * stride + k, pixel = half(column[row / 2 * WORD], row % 2);

            sum += (uint32_t)(pixel * weight(weights, k, of->kind));
        }
        weights += words, column += (reads->left & 0xffff) / 4;
    }
    return sum;
}

static void te_run_columns(const te_columns *of) {
    const uint32_t *record = of->records;

    for (int32_t lane = 0; record != of->records_end; lane++, record += of->record_bytes / 4)
        for (const te_reads *reads = of->reads; reads != of->reads_end; reads++)
            for (int32_t y = 0; y < of->rows; y++)
                of->output[(reads - of->reads) * of->pixel + (y + 1 - of->rows) * of->row + lane] =
                    te_requantise_depthwise(
                        record[BIAS] + column_sum(of, reads, record + REQUANTISATION, lane, y),
                        record);
}
#endif

/* Rows at once, of so many that are left: three or more, and an even number if not the last. */
static int32_t rows_at_once(int32_t left, int32_t stride) {
    const int32_t most = stride == 1 ? 6 : 5;

    if (left <= most || left >= most + 3)
        return te_smaller(left, most);
    return stride == 1 ? 4 : left - 3;
}

/* For each pixel of a row of the output; words: of a column of the window. Returns the end. */
static te_reads *list_reads(const te_depthwise_conv_2d_columns *op, te_reads *reads, int32_t words,
                            int32_t pitch) {
    int32_t left = -op->window.pad_left;

    for (int32_t x = 0; x < op->output.width; x++, left += op->window.stride_x) {
        const int32_t first = te_larger(left, 0);
        const int32_t end = te_smaller(left + op->window.width, op->input.width);

        reads->columns = first * pitch;
        reads->weights = 4 * (first - left) * words;
        reads++->left = (end - first - 1) << 16 | pitch;
    }
    return reads;
}

void te_run_depthwise_conv_2d_columns(const te_depthwise_conv_2d_columns *op, const int8_t *input,
                                      int8_t *output, void *scratch) {
    const te_shape *in = &op->input, *out = &op->output;
    const int32_t stride = op->window.stride_y, half_height = op->window.height / 2;
    const int32_t whole = stride == 1 && in->height == out->height && in->height > half_height &&
                          in->height <= 8 - half_height && op->window.pad_top == half_height;
    const int32_t words = stride == 1 ? 2 * half_height : half_height + 1;
    const int32_t row_bytes = in->width * in->channels, column = WORD * op->pairs;
    const int8_t zero = (int8_t)op->input_zero_point, padding[4] = {zero, zero, zero, zero};
    te_reads *const reads = scratch, *const end = list_reads(op, reads, words, 4 * column);
    te_two_rows *const rows = (te_two_rows *)(void *)end;
    uint32_t *const planes = (uint32_t *)(void *)(rows + op->pairs);
    te_pairs all = {rows,      planes,     0,
                    in->width, 4 * column, te_halves(-op->input_zero_point, -op->input_zero_point),
                    padding};
    te_columns of = {.reads = reads,
                     .reads_end = end,
                     .row = out->width * out->channels,
                     .pixel = out->channels,
                     .kind = 8 * (whole ? 0 : stride) + 4 * (half_height - 2),
                     .records_end = op->records,
                     .record_bytes = 4 * (REQUANTISATION + op->window.width * words)};

    for (int32_t i = 0; i < column * in->width; i++)
        planes[i] = 0;
    for (int32_t pair = 0, y = -op->window.pad_top; pair < op->pairs; pair++, y += 2) {
        te_two_rows *two = rows + all.pairs;

        if (y + 1 < 0 || y >= in->height)
            continue;
        if (!all.pairs++)
            all.words = planes + WORD * pair;
        two->upper = y * row_bytes;
        two->lower = (y + 1) * row_bytes;
        two->upper_step = y < 0 ? 0 : in->channels;
        two->lower_step = y + 1 == in->height ? 0 : in->channels;
    }
    for (int32_t channel = 0; channel < in->channels; channel += 4) {
        /* Of the last channels, some are expanded again, as four are read at a time. */
        const int32_t first = te_smaller(channel, in->channels - 4);

        te_expand_pairs(&all, input + first);
        of.columns = planes + (channel - first);
        of.output = output + channel - of.row;
        of.records = of.records_end;
        of.records_end += (4 - (channel - first)) * (of.record_bytes / 4);
        for (int32_t y = 0; y < out->height; y += of.rows) {
            of.rows = rows_at_once(out->height - y, stride);
            of.output += of.rows * of.row;
            te_run_columns(&of);
            of.columns += of.rows * stride / 2 * WORD;
        }
    }
    te_clamp_all(output, out->height * out->width * out->channels, op->lowest, op->highest);
}
