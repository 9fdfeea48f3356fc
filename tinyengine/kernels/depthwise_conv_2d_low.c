/* DEPTHWISE_CONV_2D of a window of 3x3 with stride 1 and padding all around, of images three to six
 * rows high, and at least four channels. All rows are expanded in pairs (depthwise.h), a column of
 * zeros on either side; of an odd number, the last two are a pair, too. The outputs of a whole
 * column are computed at once, with a channel's weights in registers: nothing is multiplied by the
 * padding above and below, and a channel is set up once.
 *
 * Four channels are written when they have been expanded, so the output may take the place of the
 * input. The zero point is taken off when a pixel is expanded, so that padding is 0. */

#include <stddef.h>

#include "clip.h"
#include "depthwise.h"
#include "fast.h"

/* A channel's record: as with stride 1 in depthwise_conv_2d_3x3.c. */
enum { WEIGHTS = 6, RECORD = WEIGHTS + REQUANTISATION };

/* Columns of the output, of the channels in the records. columns: of the first channel, from the
 * zeros on; row: from one of the output to the one below; next: from the lowest pixel of a column
 * to the highest of the next one; length: of columns, in bytes. depthwise_low_m4.S knows it. */
typedef struct {
    const uint32_t *columns;
    int8_t *output;
    int32_t row, next, length;
    const uint32_t *records, *records_end;
} te_low_columns;

#if TE_DSP
void te_low_3(const te_low_columns *low);
void te_low_4(const te_low_columns *low);
void te_low_5(const te_low_columns *low);
void te_low_6(const te_low_columns *low);
#else
/* The pixels `row` and those behind it, of two rows: in the last pair from the second on. */
static uint32_t pixels(const uint32_t *column, int32_t row, int32_t height) {
    const int32_t last = row == height - 1 && row % 2 == 0;
    const uint32_t word = column[4 * (row / 2)];

    return last || row % 2 ? te_halves(te_high(word), 0) : word;
}

static void run_low(const te_low_columns *low, int32_t height) {
    const int32_t pitch = 4 * ((height + 1) / 2), columns = low->length / (4 * pitch);
    const int32_t pixel = low->next + (height - 1) * low->row;
    int32_t lane = 0;

    for (const uint32_t *w = low->records; w != low->records_end; w += RECORD, lane++)
        for (int32_t i = 0; i < columns * height; i++) {
            const int32_t x = i / height, y = i % height;
            uint32_t sum = w[WEIGHTS + BIAS];

            for (int32_t c = 0; c < 3; c++) {
                const uint32_t *column = low->columns + (x + c) * pitch + lane;

                for (int32_t row = te_larger(y - 1, 0); row <= te_smaller(y + 1, height - 1); row++)
                    sum = te_smlad(te_halves(te_low(pixels(column, row, height)), 0),
                                   te_halves(row < y    ? te_low(w[2 * c])
                                             : row == y ? te_high(w[2 * c])
                                                        : te_high(w[2 * c + 1]),
                                             0),
                                   sum);
            }
            low->output[x * pixel + y * low->row + lane] =
                te_requantise_depthwise(sum, w + WEIGHTS);
        }
}
static void te_low_3(const te_low_columns *low) { run_low(low, 3); }
static void te_low_4(const te_low_columns *low) { run_low(low, 4); }
static void te_low_5(const te_low_columns *low) { run_low(low, 5); }
static void te_low_6(const te_low_columns *low) { run_low(low, 6); }
#endif

void te_run_depthwise_conv_2d_low(const te_depthwise_conv_2d_low *op, const int8_t *input,
                                  int8_t *output, void *scratch) {
    const int32_t height = op->shape.height, width = op->shape.width, last = op->shape.channels - 4;
    /* From a pixel to the next one, and to the one below; rows of an exchanged image are columns.
     */
    const int32_t pixel = (op->exchanged ? height : 1) * op->shape.channels;
    const int32_t row = (op->exchanged ? 1 : width) * op->shape.channels;
    const int32_t pairs = (height + 1) / 2, column = 4 * pairs; /* words */
    uint32_t *const words = scratch, *const behind = words + (width + 1) * column;
    te_two_rows rows[3];
    const te_pairs all = {rows,       words + column,
                          pairs,      width,
                          4 * column, te_halves(-op->input_zero_point, -op->input_zero_point),
                          NULL};
    te_low_columns low = {.row = row,
                          .next = pixel - (height - 1) * row,
                          .length = 4 * width * column,
                          .records_end = op->records};

    for (int32_t i = 0; i < pairs; i++) {
        rows[i].upper = te_smaller(2 * i, height - 2) * row;
        rows[i].lower = rows[i].upper + row;
        rows[i].upper_step = rows[i].lower_step = pixel;
    }
    for (int32_t i = 0; i < column; i++)
        words[i] = behind[i] = 0;
    for (int32_t channel = 0; channel < op->shape.channels; channel += 4) {
        /* Of the last channels, some are expanded again, as four are read at a time. */
        const int32_t first = te_smaller(channel, last);

        te_expand_pairs(&all, input + first);
        low.columns = words + (channel - first);
        low.output = output + channel;
        low.records = low.records_end;
        low.records_end += (4 - (channel - first)) * RECORD;
        if (height == 3)
            te_low_3(&low);
        else if (height == 4)
            te_low_4(&low);
        else if (height == 5)
            te_low_5(&low);
        else
            te_low_6(&low);
    }
    te_clamp_all(output, height * width * op->shape.channels, op->lowest, op->highest);
}
