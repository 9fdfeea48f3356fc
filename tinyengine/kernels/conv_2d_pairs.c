/* CONV_2D as a matrix product, three or four output pixels by two output channels at a time.
 *
 * The weights of two channels share a halfword, 256 * w1 + w0, and a word holds those of two inputs:
 * one SMLAD with two activations adds to 256 * S1 + S0, a second one with the word's even bytes
 * (SXTB16) to S0. Both sums are then known, for 256 * S1 fits an int32. So a load and an SXTB16 bring
 * four weights, for all pixels. The activations of the pixels are expanded to int16 beforehand, once
 * for all channels, in the order in which the product reads them. */

#include "fast.h"
#include "simd.h"

/* One output pixel of a tile: where its window starts in the input, which may be outside. */
typedef struct {
    int32_t y, x;
} te_corner;

#define FORCE_INLINE static inline __attribute__((always_inline))

/* Up to four bytes, none behind the last. */
static uint32_t load_part(const int8_t *source, int32_t bytes) {
    uint32_t word = 0;

    while (bytes--)
        word = word << 8 | (uint8_t)source[bytes];
    return word;
}

FORCE_INLINE uint32_t *store_pixels(uint32_t *columns, const uint32_t *word, int four) {
    te_store_two(&columns, word[0], word[1]);
    if (four)
        te_store_two(&columns, word[2], word[3]);
    else
        *columns++ = word[2];
    return columns;
}

/* Expands `run` bytes of each pixel: for each word of four, bytes 0 and 2 of all pixels, then bytes
 * 1 and 3. A single byte at the end makes one step. */
FORCE_INLINE uint32_t *expand(uint32_t *columns, const int8_t *const *source, int32_t run,
                              int four) {
    const int8_t *s0 = source[0], *s1 = source[1], *s2 = source[2], *s3 = source[four ? 3 : 2];
    const int8_t *end = s0 + (run & ~3);
    uint32_t word[4], even[4], odd[4];
    int32_t rest = run & 3;

    while (s0 != end) {
        word[0] = te_load(s0), word[1] = te_load(s1), word[2] = te_load(s2);
        s0 += 4, s1 += 4, s2 += 4;
        even[0] = te_sxtb16(word[0]), even[1] = te_sxtb16(word[1]), even[2] = te_sxtb16(word[2]);
        odd[0] = te_sxtb16_ror8(word[0]), odd[1] = te_sxtb16_ror8(word[1]);
        odd[2] = te_sxtb16_ror8(word[2]);
        if (four) {
            word[3] = te_load(s3), s3 += 4;
            even[3] = te_sxtb16(word[3]), odd[3] = te_sxtb16_ror8(word[3]);
        }
        columns = store_pixels(columns, even, four);
        columns = store_pixels(columns, odd, four);
    }
    if (rest) {
        word[0] = load_part(s0, rest), word[1] = load_part(s1, rest);
        word[2] = load_part(s2, rest), word[3] = load_part(s3, rest);
        even[0] = te_sxtb16(word[0]), even[1] = te_sxtb16(word[1]);
        even[2] = te_sxtb16(word[2]), even[3] = te_sxtb16(word[3]);
        columns = store_pixels(columns, even, four);
        if (rest > 1) {
            odd[0] = te_sxtb16_ror8(word[0]), odd[1] = te_sxtb16_ror8(word[1]);
            odd[2] = te_sxtb16_ror8(word[2]), odd[3] = te_sxtb16_ror8(word[3]);
            columns = store_pixels(columns, odd, four);
        }
    }
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
FORCE_INLINE void expand_windows(const te_conv_2d_pairs *op, const int8_t *input,
                                 const te_corner *corner, uint32_t *columns, int8_t *rows,
                                 int four) {
    const int32_t channels = op->input.channels, run = op->window.width * channels;
    const int32_t last_x = op->input.width - op->window.width, pitch = (run + 3) & ~3;
    const int8_t *source[4], *row;
    int32_t ky, i, y;

    for (ky = 0; ky < op->window.height; ky++) {
        for (i = 0; i < 3 + four; i++) {
            y = corner[i].y + ky * op->window.dilation_y;
            row = y >= 0 && y < op->input.height ? input + y * op->input.width * channels : NULL;
            if (row && corner[i].x >= 0 && corner[i].x <= last_x && op->window.dilation_x == 1) {
                source[i] = row + corner[i].x * channels;
            } else {
                source[i] = rows + i * pitch;
                gather(op, row, corner[i].x, rows + i * pitch);
            }
        }
        columns = expand(columns, source, run, four);
    }
}

/* parameters: shift, multiplier, addend, right shift */
FORCE_INLINE int8_t requantise(uint32_t acc, uint32_t multiplier, uint32_t addend, uint32_t right,
                               te_rounding rounding) {
    if (rounding == TE_RELU)
        return (int8_t)te_ssat8_asr12(te_smmla(acc, multiplier, addend));
    return (int8_t)te_ssat8(
        te_asr(te_smmlar(acc, multiplier, addend + te_asr(acc, 31)), right));
}

/* One channel of a tile: `acc` of each pixel to bytes that are `stride` apart. */
FORCE_INLINE void store_tile(uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                             const uint32_t *parameters, int8_t *output, int32_t stride, int four,
                             te_rounding rounding) {
    const uint32_t multiplier = parameters[1], addend = parameters[2], right = parameters[3];

    *output = requantise(a0, multiplier, addend, right, rounding), output += stride;
    *output = requantise(a1, multiplier, addend, right, rounding), output += stride;
    *output = requantise(a2, multiplier, addend, right, rounding);
    if (four)
        output[stride] = requantise(a3, multiplier, addend, right, rounding);
}

#define STEP                                                                                       \
    do {                                                                                           \
        uint32_t both = *record++, low = te_sxtb16(both), x0, x1;                                  \
        te_load_two(&x, &x0, &x1);                                                                 \
        a0 = te_smlad(both, x0, a0), b0 = te_smlad(low, x0, b0);                                   \
        a1 = te_smlad(both, x1, a1), b1 = te_smlad(low, x1, b1);                                   \
        if (four) {                                                                                \
            te_load_two(&x, &x0, &x1);                                                             \
            a3 = te_smlad(both, x1, a3), b3 = te_smlad(low, x1, b3);                               \
        } else {                                                                                   \
            x0 = *x++;                                                                             \
        }                                                                                          \
        a2 = te_smlad(both, x0, a2), b2 = te_smlad(low, x0, b2);                                   \
    } while (0)

/* All channels of the pixels whose windows are in `columns`. */
FORCE_INLINE void multiply(const te_conv_2d_pairs *op, const uint32_t *columns, int8_t *output,
                           int four, te_rounding rounding) {
    const int32_t channels = op->output.channels, steps = op->steps;
    const uint32_t *record = op->records;
    const uint32_t *const end = columns + steps * (3 + four);
    uint32_t shift;
    int32_t channel;

    for (channel = 0; channel < channels; channel += 2, output += 2) {
        uint32_t a0 = record[0], a1 = a0, a2 = a0, a3 = a0;
        uint32_t b0 = record[1], b1 = b0, b2 = b0, b3 = b0;
        const uint32_t *x = columns;

        record += 2;
        switch (steps & 7) {
            do {
            case 0: STEP; /* fall through */
            case 7: STEP; /* fall through */
            case 6: STEP; /* fall through */
            case 5: STEP; /* fall through */
            case 4: STEP; /* fall through */
            case 3: STEP; /* fall through */
            case 2: STEP; /* fall through */
            case 1: STEP;
            } while (x != end);
        }
        if (channel + 1 < channels) {
            shift = record[4];
            store_tile(te_asr(a0 - b0, shift), te_asr(a1 - b1, shift), te_asr(a2 - b2, shift),
                       te_asr(a3 - b3, shift), record + 4, output + 1, channels, four, rounding);
        }
        shift = record[0];
        store_tile(b0 << shift, b1 << shift, b2 << shift, b3 << shift, record, output, channels,
                   four, rounding);
        record += 8;
    }
}

/* A tile of output pixels from number `first` on. */
FORCE_INLINE void run_tile(const te_conv_2d_pairs *op, const int8_t *input, int8_t *output,
                           uint32_t *columns, int32_t first, const te_corner *corner, int four) {
    const int32_t channels = op->input.channels;
    const int8_t *source[4];

    if (corner) {
        expand_windows(op, input, corner, columns, (int8_t *)(columns + 4 * op->steps), four);
    } else {
        source[0] = input + first * channels;
        source[1] = source[0] + channels, source[2] = source[1] + channels;
        source[3] = source[2] + channels;
        expand(columns, source, channels, four);
    }
    output += first * op->output.channels;
    if (op->rounding == TE_RELU)
        multiply(op, columns, output, four, TE_RELU);
    else
        multiply(op, columns, output, four, TE_SIGNED);
}

void te_run_conv_2d_pairs(const te_conv_2d_pairs *op, const int8_t *input, int8_t *output,
                          void *scratch) {
    const te_window *window = &op->window;
    const int32_t pixels = op->output.height * op->output.width;
    const int pointwise = window->height * window->width * window->stride_y * window->stride_x == 1 &&
                          op->input.width == op->output.width &&
                          op->input.height == op->output.height;
    int32_t first, tile, i, y, x;
    te_corner corner[4];

    for (first = 0; first < pixels; first += tile) {
        tile = (pixels - first) % 4 ? 3 : 4;
        if (pixels - first < 3) /* of five: the middle one again */
            first = pixels - 3;
        for (i = 0; i < tile && !pointwise; i++) {
            y = (first + i) / op->output.width;
            x = first + i - y * op->output.width;
            corner[i].y = y * window->stride_y - window->pad_top;
            corner[i].x = x * window->stride_x - window->pad_left;
        }
        if (tile == 4)
            run_tile(op, input, output, scratch, first, pointwise ? NULL : corner, 1);
        else
            run_tile(op, input, output, scratch, first, pointwise ? NULL : corner, 0);
    }
}
