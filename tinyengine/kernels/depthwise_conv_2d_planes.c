/* DEPTHWISE_CONV_2D, four channels at a time: rows of the input are expanded to int16, one plane
 * per channel, for SMLAD to multiply two neighbours at once. Only as many rows as the window is
 * high are kept. A row of the output is written when the rows above the next one that is needed
 * have been read, so an output no higher and no wider may take the place of the input. The
 * zero point is taken off when a row is expanded: padding is 0 and rows of it are left out. */

#include "clip.h"
#include "fast.h"
#include "simd.h"

#define FORCE_INLINE static inline __attribute__((always_inline))
/* GCC would merge all of it into te_run_, whose values would then go to the stack and back. */
#define OUT_OF_LINE static __attribute__((noinline))
#define HIGHEST_WINDOW 8

/* A channel's record: bias, multiplier, addend, right shift, then per row of the window its words
 * of weights for outputs at even columns of the plane; with stride 1 also those for odd columns,
 * word by word beside the even ones. A window of 3x3 has weights 0, 1 and 1, 2 of each row. */
enum { BIAS, MULTIPLIER, ADDEND, RIGHT, WEIGHTS };

/* Pixel a's channels and those of pixel b, its right neighbour, to their planes. */
static inline void store_pixels(int16_t *plane, int32_t pitch, uint32_t a, uint32_t b,
                                uint32_t offset) {
    uint32_t even_a = te_sxtab16(offset, a), even_b = te_sxtab16(offset, b);
    uint32_t odd_a = te_sxtab16_ror8(offset, a), odd_b = te_sxtab16_ror8(offset, b);

    te_store(plane, te_pkhbt(even_a, even_b)), plane += pitch;
    te_store(plane, te_pkhbt(odd_a, odd_b)), plane += pitch;
    te_store(plane, te_pkhtb(even_b, even_a)), plane += pitch;
    te_store(plane, te_pkhtb(odd_b, odd_a));
}

/* A row of `lanes` channels to four planes that are `pitch` apart. */
OUT_OF_LINE void expand_row(const te_depthwise_conv_2d_planes *op, const int8_t *row,
                            int16_t *plane, int32_t lanes) {
    const int32_t channels = op->input.channels, width = op->input.width;
    const int32_t pitch = 2 * op->plane_words, zero_point = op->input_zero_point;
    const uint32_t offset = te_halves(-zero_point, -zero_point);
    int32_t x;

    if (lanes == 4)
        for (x = 0; x + 1 < width; x += 2, row += 2 * channels, plane += 2)
            store_pixels(plane, pitch, te_load(row), te_load(row + channels), offset);
    else
        for (x = 0; x + 1 < width; x += 2, row += 2 * channels, plane += 2)
            store_pixels(plane, pitch, te_load_part(row, lanes),
                         te_load_part(row + channels, lanes), offset);
    if (width % 2) /* beside it, padding */
        store_pixels(plane, pitch, lanes == 4 ? te_load(row) : te_load_part(row, lanes),
                     (zero_point & 0xff) * 0x01010101u, offset);
}

FORCE_INLINE int8_t requantise(uint32_t acc, const uint32_t *record, te_rounding rounding) {
    uint32_t addend = record[ADDEND];

    if (rounding == TE_SIGNED)
        addend += te_asr(acc, 31);
    return (int8_t)te_ssat8(te_asr(te_smmlar(acc, record[MULTIPLIER], addend), record[RIGHT]));
}

/* A row of a 3x3 window: its three input rows, planes of the channels in the records, `pitch` bytes
 * apart; even_bytes: of the words where two outputs start; odd: whether one more comes. planes_m4.S
 * knows it. */
typedef struct {
    const uint32_t *rows[3];
    int8_t *output;
    int32_t channels, even_bytes, odd, pitch;
    const uint32_t *records, *records_end;
    int32_t stride;
} te_planes_row;

#if TE_DSP
void te_planes_1_signed(const te_planes_row *row);
void te_planes_1_relu(const te_planes_row *row);
void te_planes_2_signed(const te_planes_row *row);
void te_planes_2_relu(const te_planes_row *row);

static void row_3x3(const te_planes_row *row, te_rounding rounding) {
    if (rounding == TE_RELU && row->stride == 1)
        te_planes_1_relu(row);
    else if (rounding == TE_RELU)
        te_planes_2_relu(row);
    else if (row->stride == 1)
        te_planes_1_signed(row);
    else
        te_planes_2_signed(row);
}
#else
static void row_3x3(const te_planes_row *row, te_rounding rounding) {
    const int32_t outputs = row->even_bytes / 2 / row->stride + row->odd;
    const uint32_t *record, *w, *columns;
    uint32_t even, odd;
    int32_t lane, x, ky;

    for (lane = 0, record = row->records; record != row->records_end;
         lane++, record += WEIGHTS + 6) {
        for (x = 0; x < outputs; x += 2) {
            even = odd = record[BIAS];
            for (ky = 0, w = record + WEIGHTS; ky < 3; ky++, w += 2) {
                columns = row->rows[ky] + lane * (row->pitch / 4) + x / 2 * row->stride;
                even = te_smlabt(columns[1], w[1], te_smlad(columns[0], w[0], even));
                if (row->stride == 1)
                    odd = te_smlad(columns[1], w[1], te_smlatb(columns[0], w[0], odd));
                else
                    odd = te_smlabt(columns[2], w[1], te_smlad(columns[1], w[0], odd));
            }
            row->output[x * row->channels + lane] = requantise(even, record, rounding);
            if (x + 1 < outputs)
                row->output[(x + 1) * row->channels + lane] = requantise(odd, record, rounding);
        }
    }
}
#endif

/* Four outputs of stride 1, two of them at odd columns: a word of weights for each. */
#define STEP_1(now, next)                                                                          \
    do {                                                                                           \
        uint32_t even, odd;                                                                        \
        te_load_two(&w, &even, &odd);                                                              \
        next = *column++;                                                                          \
        a0 = te_smlad(now, even, a0), a1 = te_smlad(now, odd, a1);                                 \
        a2 = te_smlad(next, even, a2), a3 = te_smlad(next, odd, a3);                               \
    } while (0)

/* Four outputs of stride 2; the first word gives way to the one that the next step needs. */
#define STEP_2(x0, x1, x2, x3)                                                                     \
    do {                                                                                           \
        uint32_t weights = *w++;                                                                   \
        a0 = te_smlad(x0, weights, a0), a1 = te_smlad(x1, weights, a1);                            \
        a2 = te_smlad(x2, weights, a2), a3 = te_smlad(x3, weights, a3);                            \
        x0 = *column++;                                                                            \
    } while (0)

/* A row of any window, four outputs at a time, from word x of the rows; stride is 1 or 2, words
 * 2 .. 4. */
FORCE_INLINE void row_any(const uint32_t *const *rows, const uint32_t *const *end, int32_t x,
                          const uint32_t *record, const uint32_t *weights, int8_t *output,
                          int32_t width, int32_t channels, int32_t stride, int32_t words,
                          te_rounding rounding) {
    int32_t left;

    for (left = width; left > 0; x += 2 * stride, left -= 4) {
        uint32_t a0 = record[BIAS], a1 = a0, a2 = a0, a3 = a0, x0, x1, x2, x3;
        const uint32_t *w = weights;
        const uint32_t *const *row;

        for (row = rows; row != end; row++) {
            const uint32_t *column = *row + x;

            x0 = *column++;
            if (stride == 1) {
                STEP_1(x0, x1);
                STEP_1(x1, x0);
                if (words > 2)
                    STEP_1(x0, x1);
                if (words > 3)
                    STEP_1(x1, x0);
            } else {
                x1 = *column++, x2 = *column++, x3 = *column++;
                STEP_2(x0, x1, x2, x3);
                STEP_2(x1, x2, x3, x0);
                if (words > 2)
                    STEP_2(x2, x3, x0, x1);
                if (words > 3)
                    STEP_2(x3, x0, x1, x2);
            }
        }
        *output = requantise(a0, record, rounding), output += channels;
        if (left > 1)
            *output = requantise(a1, record, rounding), output += channels;
        if (left > 2)
            *output = requantise(a2, record, rounding), output += channels;
        if (left > 3)
            *output = requantise(a3, record, rounding), output += channels;
    }
}

#define ROW(stride, words)                                                                         \
    (op->rounding == TE_RELU ? row_any(rows + first, rows + last, x, record, weights, output,      \
                                       width, channels, stride, words, TE_RELU)                    \
                             : row_any(rows + first, rows + last, x, record, weights, output,      \
                                       width, channels, stride, words, TE_SIGNED))

/* A row of a channel, from the rows of the window that are not padding. x: the first word of its
 * planes. */
OUT_OF_LINE void row_of_channel(const te_depthwise_conv_2d_planes *op, const uint32_t *const *rows,
                                int32_t first, int32_t last, int32_t x, const uint32_t *record,
                                int8_t *output) {
    const int32_t width = op->output.width, channels = op->output.channels;
    const int32_t words = op->window_words, stride = op->window.stride_x;
    const uint32_t *weights = record + WEIGHTS + first * words * (3 - stride);

    if (stride == 1 && words == 2)
        ROW(1, 2);
    else if (stride == 1 && words == 3)
        ROW(1, 3);
    else if (stride == 1)
        ROW(1, 4);
    else if (words == 2)
        ROW(2, 2);
    else if (words == 3)
        ROW(2, 3);
    else
        ROW(2, 4);
}

void te_run_depthwise_conv_2d_planes(const te_depthwise_conv_2d_planes *op, const int8_t *input,
                                     int8_t *output, void *scratch) {
    const int32_t channels = op->input.channels, height = op->window.height;
    const int32_t stride = op->window.stride_x, width = op->output.width;
    const int32_t pitch = op->plane_words, slot = 4 * pitch;
    uint32_t *const planes = scratch, *const zeros = planes + height * slot;
    const uint32_t *ring[2 * HIGHEST_WINDOW]; /* twice the planes, for a window to start at any */
    const uint32_t *padded[HIGHEST_WINDOW], *const *rows;
    te_planes_row row = {.channels = channels,
                         .pitch = 4 * pitch,
                         .stride = stride,
                         .even_bytes = width / 2 * 4 * stride,
                         .odd = width % 2,
                         .records_end = op->records};
    int32_t channel, lanes, i, next, y, top, first, last;

    for (i = 0; i < (height + 1) * slot; i++)
        planes[i] = 0;
    for (i = 0; i < 2 * height; i++)
        ring[i] = planes + i % height * slot;
    for (channel = 0; channel < channels; channel += 4) {
        lanes = te_smaller(channels - channel, 4);
        row.records = row.records_end, row.records_end += lanes * op->record_words;
        row.output = output + channel;
        next = 0;
        for (y = 0; y < op->output.height; y++, row.output += width * channels) {
            top = y * op->window.stride_y - op->window.pad_top;
            next = next < top ? top : next;
            last = te_smaller(op->input.height - top, height);
            for (; next < top + last; next++)
                expand_row(op, input + next * op->input.width * channels + channel,
                           (int16_t *)(planes + next % height * slot) + op->window.pad_left, lanes);
            first = top < 0 ? te_smaller(-top, height) : 0;
            last = last < first ? first : last;
            if (last - first == height) {
                rows = ring + top % height;
            } else {
                for (i = 0; i < height; i++)
                    padded[i] = i < first || i >= last ? zeros : ring[(top + i) % height];
                rows = padded;
            }
            if (op->window.width == 3 && height == 3) {
                row.rows[0] = rows[0], row.rows[1] = rows[1], row.rows[2] = rows[2];
                row_3x3(&row, op->rounding);
            } else {
                for (i = 0; i < lanes; i++)
                    row_of_channel(op, rows, first, last, i * pitch,
                                   row.records + i * op->record_words, row.output + i);
            }
        }
    }
    te_clamp_all(output, op->output.height * op->output.width * channels, op->lowest, op->highest);
}
