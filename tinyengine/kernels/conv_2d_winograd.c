/* CONV_2D of 3x3 windows with stride 1 by Winograd's F(4x4, 3x3), in exact integers.
 *
 * A tile of 4x4 outputs needs 36 products for each input and output channel, not 144 (Lavin and
 * Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308). Here all matrices
 * have integers: V = B^T d B of the tile's 6x6 inputs, U = G g G^T of the weights, both in int16,
 * their products summed up over the channels, and A^T M A = 576 y. Everything behind the products
 * is modulo 2^32, so it may wrap: 9 has an inverse there, which leaves 64 y. The 64 is spread: the
 * rows of A^T are divided by 1, 2, 4, 4, and so are the outputs' rows and columns.
 *
 * Position p = 6 j + i is in column j, row i of V and U. A word has two input channels, of each
 * four 0 and 2, then 1 and 3, as SXTAB16 takes them from four bytes. Four tiles are computed at a
 * time: V is [position][pair of channels][tile], U [position][pair of channels][two outputs], and M
 * [position][two outputs][tile]. */

#include "fast.h"
#include "simd.h"

enum { SIDE = 6, COLUMN = 12, POSITIONS = 36, TILES = 4, LANES = 8 };

/* Where a tile's outputs go: its first one; bytes from a pixel to the next, and to the next row.
 * conv_2d_winograd_m4.S knows it. */
typedef struct {
    int8_t *output;
    int32_t pixel, row;
} te_winograd_place;

#if TE_DSP
enum { LONGEST = 17 }; /* pairs of channels; of more, the product is te_winograd_product_long */

/* conv_2d_winograd_m4.S */
void te_winograd_columns(const int8_t *source, int32_t pixel, int32_t row, uint32_t *columns,
                         const uint32_t *end);
void te_winograd_rows(const uint32_t *columns, uint32_t *v, int32_t bytes);
void te_winograd_weights(const uint32_t *taps, uint32_t *u, int32_t bytes, const uint32_t *u_end);
void te_winograd_product(const uint32_t *v, const uint32_t *u, uint32_t *m, int32_t pairs);
void te_winograd_product_long(const uint32_t *v, const uint32_t *u, uint32_t *m, int32_t pairs);
void te_winograd_output_signed(const uint32_t *m, const uint32_t *record, te_winograd_place *places,
                               const te_winograd_place *end);
void te_winograd_output_relu(const uint32_t *m, const uint32_t *record, te_winograd_place *places,
                             const te_winograd_place *end);

static void product(const uint32_t *v, const uint32_t *u, uint32_t *m, int32_t pairs) {
    if (pairs <= LONGEST)
        te_winograd_product(v, u, m, pairs);
    else
        te_winograd_product_long(v, u, m, pairs);
}

static void finish(const uint32_t *m, const uint32_t *record, te_winograd_place *places,
                   const te_winograd_place *end, te_rounding rounding) {
    if (rounding == TE_RELU)
        te_winograd_output_relu(m, record, places, end);
    else
        te_winograd_output_signed(m, record, places, end);
}
#else
/* B^T d, of six words that lie `step` apart. */
static void transform_input(uint32_t *d, int32_t step) {
    const uint32_t d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step],
                   d5 = d[5 * step];

    d[0] = 4 * (d0 - d2) + (d4 - d2);
    d[step] = (d4 - 4 * d2) + (d3 - 4 * d1);
    d[2 * step] = (d4 - 4 * d2) - (d3 - 4 * d1);
    d[3 * step] = (d4 - d2) + 2 * (d3 - d1);
    d[4 * step] = (d4 - d2) - 2 * (d3 - d1);
    d[5 * step] = (d5 - d3) - 4 * (d3 - d1);
}

/* B^T d of each column of six values of four channels + 128: for each pair of channels six words.
 * A word is the sum 2^16 high + low, of which additions and shifts are those of both halves. */
static void te_winograd_columns(const int8_t *source, int32_t pixel, int32_t row, uint32_t *columns,
                                const uint32_t *end) {
    uint32_t four;
    int32_t i;

    for (; columns != end; source += pixel, columns += COLUMN) {
        for (i = 0; i < SIDE; i++) {
            four = te_load(source + i * row);
            columns[i] = te_sxtab16(0x00800080, four);
            columns[SIDE + i] = te_sxtab16_ror8(0x00800080, four);
        }
        transform_input(columns, 1);
        transform_input(columns + SIDE, 1);
    }
}

/* V of a tile and of four channels, from six columns. bytes: from a position to the next. With 2^15
 * added to a low half, it is positive, and the high half what it should be. */
static void te_winograd_rows(const uint32_t *columns, uint32_t *v, int32_t bytes) {
    uint32_t d[SIDE];
    int32_t i, j;

    for (i = 0; i < COLUMN; i++) {
        for (j = 0; j < SIDE; j++)
            d[j] = columns[COLUMN * j + i];
        transform_input(d, 1);
        for (j = 0; j < SIDE; j++)
            v[(SIDE * j + i % SIDE) * bytes / 4 + i / SIDE * TILES] = (d[j] + 0x8000) ^ 0x8000;
    }
}

/* Of both halves, as SADD16 and SSUB16. */
static uint32_t add(uint32_t a, uint32_t b) {
    return te_halves(te_low(a) + te_low(b), te_high(a) + te_high(b));
}
static uint32_t subtract(uint32_t a, uint32_t b) {
    return te_halves(te_low(a) - te_low(b), te_high(a) - te_high(b));
}

/* G g of three taps: to six words that lie `step` apart. */
static void transform_weights(const uint32_t *taps, int32_t tap, uint32_t *u, int32_t step) {
    const uint32_t g0 = taps[0], g1 = taps[tap], g2 = taps[2 * tap];
    const uint32_t even = add(g0, g2), twice = add(g2, g2);
    const uint32_t wide = add(g0, add(twice, twice)), odd = add(g1, g1);

    u[0] = g0;
    u[step] = add(even, g1);
    u[2 * step] = subtract(even, g1);
    u[3 * step] = add(wide, odd);
    u[4 * step] = subtract(wide, odd);
    u[5 * step] = g2;
}

/* U of two output channels, from words of nine taps each. bytes: from a position to the next. */
static void te_winograd_weights(const uint32_t *taps, uint32_t *u, int32_t bytes,
                                const uint32_t *u_end) {
    uint32_t g[9], rows[3 * SIDE];
    int32_t output, i;

    for (; u != u_end; u += 2, taps += 9)
        for (output = 0; output < 2; output++) {
            for (i = 0; i < 9; i++)
                g[i] = output ? te_sxtb16_ror8(taps[i]) : te_sxtb16(taps[i]);
            for (i = 0; i < 3; i++)
                transform_weights(g + 3 * i, 1, rows + SIDE * i, 1);
            for (i = 0; i < SIDE; i++)
                transform_weights(rows + i, SIDE, u + SIDE * i * bytes / 4 + output, bytes / 4);
        }
}

static void product(const uint32_t *v, const uint32_t *u, uint32_t *m, int32_t pairs) {
    int32_t position, lane, pair;

    for (position = 0; position < POSITIONS; position++, v += TILES * pairs, u += 2 * pairs)
        for (lane = 0; lane < LANES; lane++, m++)
            for (*m = 0, pair = 0; pair < pairs; pair++)
                *m = te_smlad(u[2 * pair + lane / TILES], v[TILES * pair + lane % TILES], *m);
}

/* A^T m, of six words that lie `step` apart, divided by 1, 2, 4, 4. */
static void transform_output(uint32_t *m, int32_t step) {
    const uint32_t s1 = m[step] + m[2 * step], d1 = m[step] - m[2 * step];
    const uint32_t s2 = m[3 * step] + m[4 * step], d2 = m[3 * step] - m[4 * step];

    m[0] = 6 * m[0] + s2 - 4 * s1;
    m[step] = d2 - 2 * d1;
    m[2 * step] = s2 - s1;
    m[3 * step] = 6 * m[5 * step] + 2 * d2 - d1;
}

/* `value` is the sum times 9 * 2^(6 - divided). record: as in fast.h. */
static int8_t requantise(uint32_t value, uint32_t divided, const uint32_t *record,
                         te_rounding rounding) {
    value *= record[1];
    if (rounding == TE_RELU) {
        value = te_smmla(te_asr(value, 4 - divided), record[2], record[3]);
        return (int8_t)te_ssat8(te_asr(value, TE_RELU_SHIFT));
    }
    value = te_rounded(te_asr(value, 5 - divided), record[2], record[3], record[4]);
    return (int8_t)te_ssat8(value);
}

/* The outputs of a channel of tiles; each place moves on to the next channel. */
static void finish(const uint32_t *m, const uint32_t *record, te_winograd_place *places,
                   const te_winograd_place *end, te_rounding rounding) {
    static const uint32_t divided[] = {0, 1, 2, 2};
    uint32_t values[POSITIONS];
    int32_t i, j;

    for (; places != end; places++, m++) {
        for (i = 0; i < POSITIONS; i++)
            values[i] = m[LANES * i];
        values[SIDE + 1] += record[0]; /* adds to all outputs alike */
        for (j = 0; j < SIDE; j++)
            transform_output(values + SIDE * j, 1);
        for (i = 0; i < 4; i++) {
            transform_output(values + i, SIDE);
            for (j = 0; j < 4; j++)
                places->output[i * places->row + j * places->pixel] =
                    requantise(values[SIDE * j + i], divided[i] + divided[j], record, rounding);
        }
        places->output++;
    }
}
#endif

/* Words of up to four channels from pixels that lie `row` bytes apart. */
static void gather(const int8_t *source, int32_t row, int32_t channels, uint32_t *pixels,
                   const uint32_t *end) {
    if (channels >= 4)
        for (; pixels != end; source += row)
            *pixels++ = te_load(source);
    else
        for (; pixels != end; source += row)
            *pixels++ = te_load_part(source, channels);
}

/* V of tiles side by side, the first of which reads from row y, column x on. They share columns. */
static void transform_tiles(const te_conv_2d_winograd *op, const int8_t *input, int32_t y,
                            int32_t x, uint32_t *columns, uint32_t *v, int32_t tiles,
                            int32_t pairs) {
    const int32_t channels = op->input.channels, width = op->input.width;
    const int32_t count = 4 * tiles + 2, first = x < 0 ? -x : 0;
    const int32_t last = width - x < count ? width - x : count;
    const uint32_t padding = (uint32_t)(-6 * (op->input_zero_point + 128)) * 0x00010001u;
    const int32_t top = y < 0 ? -y : 0, left = op->input.height - y;
    const int32_t end = left < SIDE ? left : SIDE, row = width * channels;
    uint32_t pixels[SIDE];
    const int8_t *source;
    int32_t channel, i;

    for (i = 0; i < SIDE; i++)
        pixels[i] = 0x01010101u * (uint8_t)op->input_zero_point;
    for (i = 0; i < count; i++)
        if (i < first || i >= last) {
            memset(columns + COLUMN * i, 0, 4 * COLUMN);
            columns[COLUMN * i + 1] = columns[COLUMN * i + SIDE + 1] = padding;
        }
    for (channel = 0; channel < channels; channel += 4, v += 2 * TILES) {
        source = input + (y + top) * row + (x + first) * channels + channel;
        /* of the last pixel's last channels, four bytes would lead behind the input */
        if (top == 0 && (left > SIDE || (left == SIDE && channel + 4 <= channels)))
            te_winograd_columns(source, channels, row, columns + COLUMN * first,
                                columns + COLUMN * last);
        else
            for (i = first; i < last; i++, source += channels) {
                gather(source, row, channels - channel, pixels + top, pixels + end);
                te_winograd_columns((const int8_t *)pixels, 0, 4, columns + COLUMN * i,
                                    columns + COLUMN * (i + 1));
            }
        for (i = 0; i < tiles; i++)
            te_winograd_rows(columns + 4 * COLUMN * i, v + i, 4 * TILES * pairs);
    }
}

/* What of a tile lies in the output, if a part of it does not: from `tile` [4][4][channels]. */
static void copy_part(const te_conv_2d_winograd *op, const int8_t *tile, int32_t y, int32_t x,
                      int8_t *output) {
    const int32_t channels = op->output.channels, left = op->output.width - x;
    const uint32_t bytes = (uint32_t)((left < 4 ? left : 4) * channels);
    const int32_t end = op->output.height < y + 4 ? op->output.height : y + 4;

    for (; y < end; y++, tile += 4 * channels)
        memcpy(output + (y * op->output.width + x) * channels, tile, bytes);
}

/* All outputs of the tiles whose inputs are in v. */
static void multiply_all(const te_conv_2d_winograd *op, const uint32_t *v, uint32_t *m,
                         uint32_t *own, te_winograd_place *places, const te_winograd_place *end,
                         int32_t pairs) {
    const uint32_t *weights = op->weights, *record = op->records, *u;
    int32_t channel;

    for (channel = 0; channel < op->output.channels; channel += 2, record += 10) {
        u = weights;
        if (op->transformed) {
            weights += POSITIONS * 2 * pairs;
        } else {
            te_winograd_weights(weights, own, 8 * pairs, own + 2 * pairs);
            weights += 9 * pairs;
            u = own;
        }
        product(v, u, m, pairs);
        finish(m, record, places, end, op->rounding);
        if (channel + 1 < op->output.channels)
            finish(m + TILES, record + 5, places, end, op->rounding);
    }
}

void te_run_conv_2d_winograd(const te_conv_2d_winograd *op, const int8_t *input, int8_t *output,
                             void *scratch) {
    const int32_t width = op->output.width, channels = op->output.channels;
    const int32_t pairs = (op->input.channels + 3) / 4 * 2;
    uint32_t *const m = scratch, *const v = m + POSITIONS * LANES;
    uint32_t *const own = v + POSITIONS * TILES * pairs;
    int8_t *const cut = (int8_t *)(own + (op->transformed ? 0 : POSITIONS * 2 * pairs));
    te_winograd_place places[TILES];
    int32_t y[TILES], x[TILES], tile, end, count, next_y = 0, next_x = 0;

    while (next_y < op->output.height) {
        for (count = 0; count < TILES && next_y < op->output.height; count++) {
            y[count] = next_y, x[count] = next_x;
            next_x += 4;
            if (next_x >= width)
                next_x = 0, next_y += 4;
        }
        for (tile = 0; tile < count; tile = end) {
            for (end = tile + 1; end < count && y[end] == y[tile];)
                end++;
            transform_tiles(op, input, y[tile] - op->pad_top, x[tile] - op->pad_left, m, v + tile,
                            end - tile, pairs);
        }
        for (tile = 0; tile < count; tile++) {
            places[tile].pixel = channels;
            if (y[tile] + 4 <= op->output.height && x[tile] + 4 <= width) {
                places[tile].output = output + (y[tile] * width + x[tile]) * channels;
                places[tile].row = width * channels;
            } else {
                places[tile].output = cut + 16 * tile * channels;
                places[tile].row = 4 * channels;
            }
        }
        multiply_all(op, v, m, own, places, places + count, pairs);
        for (tile = 0; tile < count; tile++)
            if (y[tile] + 4 > op->output.height || x[tile] + 4 > width)
                copy_part(op, cut + 16 * tile * channels, y[tile], x[tile], output);
    }
    te_clamp_all(output, op->output.height * width * channels, op->lowest, op->highest);
}
