/* DEPTHWISE_CONV_2D, four channels at a time: rows of the input are expanded to int16, one plane per
 * channel, for SMLAD to multiply two neighbours at once. Only as many rows as the window is high
 * are kept. A row of the output is written when the rows above the next one that is needed have
 * been read, so with stride 1 and equal shapes the output may take the place of the input. */

#include "fast.h"
#include "simd.h"

#define FORCE_INLINE static inline __attribute__((always_inline))
#define HIGHEST_WINDOW 8

/* A channel's record: bias, multiplier, addend, right shift, then per row of the window its words of
 * weights for outputs at even columns of the plane; with stride 1 also those for odd columns, word
 * by word beside the even ones. */
enum { BIAS, MULTIPLIER, ADDEND, RIGHT, WEIGHTS };

/* Pixel a's channels and those of pixel b, its right neighbour, to their planes. */
static inline void store_pixels(int16_t *plane, int32_t pitch, uint32_t a, uint32_t b) {
    uint32_t even_a = te_sxtb16(a), even_b = te_sxtb16(b);
    uint32_t odd_a = te_sxtb16_ror8(a), odd_b = te_sxtb16_ror8(b);

    te_store(plane, te_pkhbt(even_a, even_b)), plane += pitch;
    te_store(plane, te_pkhbt(odd_a, odd_b)), plane += pitch;
    te_store(plane, te_pkhtb(even_b, even_a)), plane += pitch;
    te_store(plane, te_pkhtb(odd_b, odd_a));
}

/* A row of `lanes` channels to four planes that are `pitch` apart. */
static void expand_row(const int8_t *row, int16_t *plane, int32_t pitch, int32_t width,
                       int32_t channels, int32_t lanes) {
    int32_t x;

    if (lanes == 4)
        for (x = 0; x + 1 < width; x += 2, row += 2 * channels, plane += 2)
            store_pixels(plane, pitch, te_load(row), te_load(row + channels));
    else
        for (x = 0; x + 1 < width; x += 2, row += 2 * channels, plane += 2)
            store_pixels(plane, pitch, te_load_part(row, lanes),
                         te_load_part(row + channels, lanes));
    for (x = 0; x < lanes && width % 2; x++, plane += pitch)
        *plane = row[x];
}

FORCE_INLINE int8_t requantise(uint32_t acc, const uint32_t *record, te_rounding rounding) {
    uint32_t addend = record[ADDEND];

    if (rounding == TE_SIGNED)
        addend += te_asr(acc, 31);
    return (int8_t)te_ssat8(te_asr(te_smmlar(acc, record[MULTIPLIER], addend), record[RIGHT]));
}

/* Two outputs from the words `a` and `b` = four columns of a row; w01, w12: its weights in pairs */
#define ROW_OF_3(row, w01, w12)                                                                    \
    do {                                                                                           \
        uint32_t a, b;                                                                             \
        te_load_two_overlapping(&row, &a, &b);                                                     \
        even = te_smlad(a, w01, even), odd = te_smlatb(a, w01, odd);                               \
        even = te_smlabt(b, w12, even), odd = te_smlad(b, w12, odd);                               \
    } while (0)

/* A row of a 3x3 window with stride 1. */
FORCE_INLINE void row_3x3(const uint32_t *const *rows, const uint32_t *record, int8_t *output,
                          int32_t width, int32_t channels, te_rounding rounding) {
    const uint32_t *row0 = rows[0], *row1 = rows[1], *row2 = rows[2], *const w = record + WEIGHTS;
    const uint32_t w01_0 = w[0], w12_0 = w[3], w01_1 = w[4], w12_1 = w[7], w01_2 = w[8];
    const uint32_t w12_2 = w[11];
    const uint32_t *const end = row0 + width / 2;
    uint32_t even, odd;

    while (row0 != end) {
        even = odd = record[BIAS];
        ROW_OF_3(row0, w01_0, w12_0);
        ROW_OF_3(row1, w01_1, w12_1);
        ROW_OF_3(row2, w01_2, w12_2);
        output[0] = requantise(even, record, rounding);
        output[channels] = requantise(odd, record, rounding);
        output += 2 * channels;
    }
    if (width % 2) {
        even = odd = record[BIAS];
        ROW_OF_3(row0, w01_0, w12_0);
        ROW_OF_3(row1, w01_1, w12_1);
        ROW_OF_3(row2, w01_2, w12_2);
        output[0] = requantise(even, record, rounding);
        (void)odd;
    }
}

/* A row of any window, four outputs at a time; stride 1 or 2. */
FORCE_INLINE void row_any(const uint32_t *const *rows, int32_t height, int32_t window_words,
                          const uint32_t *record, int8_t *output, int32_t width,
                          int32_t channels, int32_t stride, te_rounding rounding) {
    int32_t x, ky, i;

    for (x = 0; x < width; x += 4) {
        uint32_t a0 = record[BIAS], a1 = a0, a2 = a0, a3 = a0;
        const uint32_t *w = record + WEIGHTS;

        for (ky = 0; ky < height; ky++) {
            const uint32_t *column = rows[ky] + (x >> 1) * stride;

            if (stride == 1) {
                uint32_t now = *column++, next, even, odd;

                for (i = 0; i < window_words; i++, now = next) {
                    te_load_two(&w, &even, &odd);
                    next = *column++;
                    a0 = te_smlad(now, even, a0), a1 = te_smlad(now, odd, a1);
                    a2 = te_smlad(next, even, a2), a3 = te_smlad(next, odd, a3);
                }
            } else {
                for (i = 0; i < window_words; i++, column++) {
                    uint32_t weights = *w++;

                    a0 = te_smlad(column[0], weights, a0), a1 = te_smlad(column[1], weights, a1);
                    a2 = te_smlad(column[2], weights, a2), a3 = te_smlad(column[3], weights, a3);
                }
            }
        }
        *output = requantise(a0, record, rounding), output += channels;
        if (x + 1 < width)
            *output = requantise(a1, record, rounding), output += channels;
        if (x + 2 < width)
            *output = requantise(a2, record, rounding), output += channels;
        if (x + 3 < width)
            *output = requantise(a3, record, rounding), output += channels;
    }
}

FORCE_INLINE void row_of_channel(const te_depthwise_conv_2d_planes *op,
                                 const uint32_t *const *rows, const uint32_t *record,
                                 int8_t *output, te_rounding rounding) {
    const te_window *window = &op->window;

    if (window->stride_x == 2)
        row_any(rows, window->height, op->window_words, record, output, op->output.width,
                op->output.channels, 2, rounding);
    else if (window->width == 3 && window->height == 3)
        row_3x3(rows, record, output, op->output.width, op->output.channels, rounding);
    else
        row_any(rows, window->height, op->window_words, record, output, op->output.width,
                op->output.channels, 1, rounding);
}

static void fill(uint32_t *words, int32_t count, int32_t value) {
    while (count--)
        *words++ = te_halves(value, value);
}

void te_run_depthwise_conv_2d_planes(const te_depthwise_conv_2d_planes *op, const int8_t *input,
                                     int8_t *output, void *scratch) {
    const te_window *window = &op->window;
    const int32_t channels = op->input.channels, pitch = op->plane_words, height = window->height;
    const int32_t in_row = op->input.width * channels, out_row = op->output.width * channels;
    const uint32_t *record = op->records, *rows[HIGHEST_WINDOW];
    uint32_t *const planes = scratch, *slot;
    int32_t channel, lanes, lane, next, y, ky, top;

    for (channel = 0; channel < channels; channel += 4) {
        lanes = channels - channel < 4 ? channels - channel : 4;
        fill(planes, height * 4 * pitch, op->input_zero_point);
        next = -window->pad_top;
        for (y = 0; y < op->output.height; y++) {
            top = y * window->stride_y - window->pad_top;
            for (; next < top + height; next++) {
                slot = planes + (next + window->pad_top) % height * 4 * pitch;
                if (next >= op->input.height)
                    fill(slot, 4 * pitch, op->input_zero_point);
                else if (next >= 0)
                    expand_row(input + next * in_row + channel, (int16_t *)slot + window->pad_left,
                               2 * pitch, op->input.width, channels, lanes);
            }
            for (ky = 0; ky < height; ky++)
                rows[ky] = planes + (top + ky + window->pad_top) % height * 4 * pitch;
            for (lane = 0; lane < lanes; lane++) {
                if (op->rounding == TE_RELU)
                    row_of_channel(op, rows, record + lane * op->record_words,
                                   output + y * out_row + channel + lane, TE_RELU);
                else
                    row_of_channel(op, rows, record + lane * op->record_words,
                                   output + y * out_row + channel + lane, TE_SIGNED);
                for (ky = 0; ky < height; ky++)
                    rows[ky] += pitch;
            }
        }
        record += lanes * op->record_words;
    }
}
