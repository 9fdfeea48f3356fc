/* CONV_2D as a matrix product, three or four output pixels by two output channels at a time.
 *
 * The weights of two channels share a halfword, 256 * w1 + w0, and a word holds those of two
 * inputs: one SMLAD with two activations adds to 256 * S1 + S0, a second one with the word's even
 * bytes (SXTB16) to S0. Both sums are then known, for 256 * S1 fits an int32. So a load and an
 * SXTB16 bring four weights, for all pixels. The activations of the pixels are expanded to int16
 * beforehand, once for all channels, in the order in which the product reads them. */

#include "fast.h"
#include "simd.h"

/* One output pixel of a tile: where its window starts in the input, which may be outside. */
typedef struct {
    int32_t y, x;
} te_corner;

/* Pixels whose windows are expanded, for all pairs of channels in the records. pairs_m4.S knows it.
 */
typedef struct {
    const uint32_t *columns, *columns_end, *records, *records_end;
    int8_t *output;
    int32_t stride, steps;
} te_pairs_tile;

/* Expands `run` bytes of each of three or four pixels: for each four bytes, bytes 0 and 2 of all
 * pixels, then bytes 1 and 3. A single byte at the end makes one step. */
static uint32_t *expand(uint32_t *columns, const int8_t *const *source, int32_t run,
                        int32_t pixels) {
    const int8_t *s0 = source[0], *s1 = source[1], *s2 = source[2], *s3 = source[3];
    const int8_t *const end = s0 + (run & ~3);
    uint32_t w0, w1, w2, w3;
    int32_t i, step;

    if (pixels == 4)
        for (; s0 != end; s0 += 4, s1 += 4, s2 += 4, s3 += 4) {
            w0 = te_load(s0), w1 = te_load(s1), w2 = te_load(s2), w3 = te_load(s3);
            te_store_two(&columns, te_sxtb16(w0), te_sxtb16(w1));
            te_store_two(&columns, te_sxtb16(w2), te_sxtb16(w3));
            te_store_two(&columns, te_sxtb16_ror8(w0), te_sxtb16_ror8(w1));
            te_store_two(&columns, te_sxtb16_ror8(w2), te_sxtb16_ror8(w3));
        }
    else
        for (; s0 != end; s0 += 4, s1 += 4, s2 += 4) {
            w0 = te_load(s0), w1 = te_load(s1), w2 = te_load(s2);
            te_store_two(&columns, te_sxtb16(w0), te_sxtb16(w1));
            te_store_two(&columns, te_sxtb16(w2), te_sxtb16_ror8(w0));
            te_store_two(&columns, te_sxtb16_ror8(w1), te_sxtb16_ror8(w2));
        }
    if ((run & 3) == 1) { /* its neighbour in the word has weight 0 */
        for (i = 0; i < pixels; i++)
            *columns++ = (uint32_t)source[i][run - 1];
        return columns;
    }
    for (step = 0; step < 2 && step < (run & 3); step++)
        for (i = 0; i < pixels; i++)
            *columns++ = te_sxtb16(te_load_part(source[i] + (run & ~3), run & 3) >> 8 * step);
    return columns;
}

/* A row of a window that is partly in the padding, or dilated: copied together. */
static void gather(const te_conv_2d_pairs *op, const int8_t *row, int32_t x, int8_t *target) {
    int32_t kx, channels = op->input.channels;

    for (kx = 0; kx < op->window.width; kx++, x += op->window.dilation_x, target += channels)
        if (row && x >= 0 && x < op->input.width)
            memcpy(target, row + x * channels, (uint32_t)channels);
        else
            memset(target, op->input_zero_point, (uint32_t)channels);
}

/* The windows of a tile, expanded. rows: bytes for a gathered row of each pixel. */
static void expand_windows(const te_conv_2d_pairs *op, const int8_t *input, const te_corner *corner,
                           uint32_t *columns, int8_t *rows, int32_t pixels) {
    const int32_t channels = op->input.channels, run = op->window.width * channels;
    const int32_t last_x = op->input.width - op->window.width, pitch = (run + 3) & ~3;
    const int8_t *source[4], *row;
    int32_t ky, i, y;

    y = corner[0].y;
    if (y >= 0 && y + (op->window.height - 1) * op->window.dilation_y < op->input.height &&
        corner[pixels - 1].y == y && corner[0].x >= 0 && corner[pixels - 1].x <= last_x &&
        op->window.dilation_x == 1) { /* most tiles: side by side, no padding */
        row = input + (y * op->input.width + corner[0].x) * channels;
        for (ky = 0; ky < op->window.height; ky++) {
            source[0] = row, source[1] = source[0] + op->window.stride_x * channels;
            source[2] = source[1] + op->window.stride_x * channels;
            source[3] = pixels == 4 ? source[2] + op->window.stride_x * channels : NULL;
            columns = expand(columns, source, run, pixels);
            row += op->window.dilation_y * op->input.width * channels;
        }
        return;
    }
    for (ky = 0; ky < op->window.height; ky++) {
        for (i = 0; i < pixels; i++) {
            y = corner[i].y + ky * op->window.dilation_y;
            row = y >= 0 && y < op->input.height ? input + y * op->input.width * channels : NULL;
            if (row && corner[i].x >= 0 && corner[i].x <= last_x && op->window.dilation_x == 1) {
                source[i] = row + corner[i].x * channels;
            } else {
                source[i] = rows + i * pitch;
                gather(op, row, corner[i].x, rows + i * pitch);
            }
        }
        columns = expand(columns, source, run, pixels);
    }
}

#if TE_DSP
/* pairs_m4.S */
void te_pairs_three_signed(const te_pairs_tile *tile);
void te_pairs_three_relu(const te_pairs_tile *tile);
void te_pairs_four_signed(const te_pairs_tile *tile);
void te_pairs_four_relu(const te_pairs_tile *tile);

static void multiply(const te_pairs_tile *tile, int32_t pixels, te_rounding rounding) {
    if (rounding == TE_RELU && pixels == 4)
        te_pairs_four_relu(tile);
    else if (rounding == TE_RELU)
        te_pairs_three_relu(tile);
    else if (pixels == 4)
        te_pairs_four_signed(tile);
    else
        te_pairs_three_signed(tile);
}
#else
/* parameters: multiplier, addend, right shift */
static int8_t requantise(uint32_t acc, const uint32_t *parameters, te_rounding rounding) {
    if (rounding == TE_RELU)
        return (int8_t)te_ssat8(te_asr(te_smmla(acc, parameters[0], parameters[1]), TE_RELU_SHIFT));
    acc = te_smmlar(acc, parameters[0], parameters[1] + te_asr(acc, 31));
    return (int8_t)te_ssat8(te_asr(acc, parameters[2]));
}

static void multiply(const te_pairs_tile *tile, int32_t pixels, te_rounding rounding) {
    const uint32_t *record, *weights, *x;
    int8_t *output = tile->output;
    uint32_t both, low;
    int32_t i;

    for (record = tile->records; record != tile->records_end; record += 8, output += 2) {
        weights = record + 2;
        record = weights + tile->steps;
        for (i = 0; i < pixels; i++) {
            both = weights[-2], low = weights[-1];
            for (x = tile->columns + i; x < tile->columns_end; x += pixels, weights++) {
                both = te_smlad(*weights, *x, both);
                low = te_smlad(te_sxtb16(*weights), *x, low);
            }
            weights -= tile->steps;
            both = te_asr(both - low, record[0]);
            output[i * tile->stride + 1] = requantise(both, record + 1, rounding);
            output[i * tile->stride] = requantise(low << record[4], record + 5, rounding);
        }
    }
}
#endif

/* All channels of the output pixels from number `first` on, whose windows are in `columns`. */
static void multiply_all(const te_conv_2d_pairs *op, const uint32_t *columns, int8_t *output,
                         int32_t pixels) {
    const int32_t channels = op->output.channels, words = 2 + op->steps + 8;
    int8_t last[8];
    te_pairs_tile tile;
    int32_t i;

    tile.columns = columns, tile.columns_end = columns + op->steps * pixels;
    tile.records = op->records, tile.records_end = op->records + channels / 2 * words;
    tile.output = output, tile.stride = channels, tile.steps = op->steps;
    if (channels > 1)
        multiply(&tile, pixels, op->rounding);
    if (channels % 2) { /* its neighbour is not there */
        tile.records = tile.records_end, tile.records_end += words;
        tile.output = last, tile.stride = 2;
        multiply(&tile, pixels, op->rounding);
        for (i = 0; i < pixels; i++)
            output[i * channels + channels - 1] = last[2 * i];
    }
}

void te_run_conv_2d_pairs(const te_conv_2d_pairs *op, const int8_t *input, int8_t *output,
                          void *scratch) {
    const te_window *window = &op->window;
    const int32_t channels = op->input.channels, pixels = op->output.height * op->output.width;
    const int pointwise =
        window->height * window->width * window->stride_y * window->stride_x == 1 &&
        op->input.width == op->output.width && op->input.height == op->output.height;
    /* a product of three pixels takes fewer instructions for each; fours make fewer tiles */
    const int32_t most = op->steps * op->output.channels < 240 ? 4 : 3;
    uint32_t *columns = scratch;
    int8_t *rows = (int8_t *)(columns + 4 * op->steps);
    int32_t first, left, tile, i, y, x;
    const int8_t *source[4];
    te_corner corner[4];

    for (first = 0; first < pixels; first += tile) {
        left = pixels - first;
        if (left < 3) /* of five: one again */
            left = 3, first = pixels - 3;
        tile = left % most ? 7 - most : most;
        if (pointwise) {
            source[0] = input + first * channels;
            source[1] = source[0] + channels, source[2] = source[1] + channels;
            source[3] = tile == 4 ? source[2] + channels : source[2];
            expand(columns, source, channels, tile);
        } else {
            for (i = 0; i < tile; i++) {
                y = (first + i) / op->output.width;
                x = first + i - y * op->output.width;
                corner[i].y = y * window->stride_y - window->pad_top;
                corner[i].x = x * window->stride_x - window->pad_left;
            }
            expand_windows(op, input, corner, columns, rows, tile);
        }
        multiply_all(op, columns, output + first * op->output.channels, tile);
    }
    te_clamp_all(output, pixels * op->output.channels, op->lowest, op->highest);
}
