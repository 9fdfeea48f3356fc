/* BitNetMCU inference kernels: ANSI C with C99 integer types.
 *
 * No division, no floating point, no dynamic memory, no libc beyond <stdint.h>,
 * and no multiplication where BITNETMCU_MULTIPLIER is 0.
 * The generated header BitNetMCU_model.h calls these functions in BitNetMCU_infer().
 *
 * The integer contract (docs/contract.md): a layer sums int8 activations times integer weights
 * into int32 accumulators; a shift and ReLU bring them back to int8 activations; the last layer's
 * accumulators are the logits.
 */
#ifndef BITNETMCU_INFERENCE_H
#define BITNETMCU_INFERENCE_H

/* The most bits that the inputs of any layer have once `offset` is added to them, 1 to 8: fewer
 * make lists, tests and frames of the fast kernels smaller. Below 8 no input is signed: `offset` is
 * 0. */
#ifndef BITNETMCU_BITS
#define BITNETMCU_BITS 8
#endif
#if BITNETMCU_BITS < 1 || BITNETMCU_BITS > 8
#error "BITNETMCU_BITS is 1 to 8"
#endif

/* The largest value that any BitNetMCU_strip holds, 1 to 127. */
#ifndef BITNETMCU_STRIP_HIGHEST
#if BITNETMCU_BITS < 8
#define BITNETMCU_STRIP_HIGHEST ((1 << BITNETMCU_BITS) - 1)
#else
#define BITNETMCU_STRIP_HIGHEST 127
#endif
#endif
#if BITNETMCU_STRIP_HIGHEST < 1 || BITNETMCU_STRIP_HIGHEST > 127
#error "BITNETMCU_STRIP_HIGHEST is 1 to 127"
#endif

/* Lists of a strip, at most: one for each bit. */
#if BITNETMCU_STRIP_HIGHEST < 2
#define BITNETMCU_STRIP_LISTS 1
#elif BITNETMCU_STRIP_HIGHEST < 4
#define BITNETMCU_STRIP_LISTS 2
#elif BITNETMCU_STRIP_HIGHEST < 8
#define BITNETMCU_STRIP_LISTS 3
#elif BITNETMCU_STRIP_HIGHEST < 16
#define BITNETMCU_STRIP_LISTS 4
#elif BITNETMCU_STRIP_HIGHEST < 32
#define BITNETMCU_STRIP_LISTS 5
#elif BITNETMCU_STRIP_HIGHEST < 64
#define BITNETMCU_STRIP_LISTS 6
#else
#define BITNETMCU_STRIP_LISTS 7
#endif

#ifndef __ASSEMBLER__ /* which takes no more than that */

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Whether the core multiplies in hardware, by the compiler's word. Define it as 0 to have the
 * multiplication-free kernels anywhere. */
#ifndef BITNETMCU_MULTIPLIER
#if (defined(__riscv) && !defined(__riscv_mul) && !defined(__riscv_zmmul)) ||                      \
    (defined(__AVR__) && !defined(__AVR_HAVE_MUL__))
#define BITNETMCU_MULTIPLIER 0
#else
#define BITNETMCU_MULTIPLIER 1
#endif
#endif

/* Whether the assembly of kernels/riscv is linked; its functions replace those of the same name. */
#ifndef BITNETMCU_ASSEMBLY
#define BITNETMCU_ASSEMBLY 0
#endif

/* Of a function: its stack is needed while it runs, not as long as its caller's. */
#ifdef __GNUC__
#define BITNETMCU_OWN_FRAME __attribute__((noinline))
#else
#define BITNETMCU_OWN_FRAME
#endif

/* Fully connected layers, by number format:
 *     accumulators[o] = sum over i of activations[i] * weight[o][i]
 * A row holds the codes of one output's weights, the first input in the lowest bits, padded to
 * whole words. Exact for any int8 activations while the accumulators fit int32, which the
 * exporter proves. */
typedef void BitNetMCU_fc(const int8_t *activations, const uint32_t *weights, uint32_t inputs,
                          uint32_t outputs, int32_t *accumulators);

BitNetMCU_fc BitNetMCU_fc_Binary;        /* 32 in a word: -1, 1 */
BitNetMCU_fc BitNetMCU_fc_Ternary;       /* 20 in a word, as digits to base 3: -1, 0, 1 */
BitNetMCU_fc BitNetMCU_fc_TernaryPlanes; /* 32 in two words, one bit for 1, one for -1 */
BitNetMCU_fc BitNetMCU_fc_2bitsym;       /* 16 in a word: -3, -1, 1, 3 */
BitNetMCU_fc BitNetMCU_fc_4bit;          /* 8 in a word: -8 .. 7 */
BitNetMCU_fc BitNetMCU_fc_4bitsym;       /* 8 in a word: -15, -13 .. 13, 15 */
BitNetMCU_fc BitNetMCU_fc_FP130;         /* 8 in a word, sign, exponent: +-1, +-2 .. +-128 */
BitNetMCU_fc BitNetMCU_fc_NF4;           /* 8 in a word: an index to 16 levels, -127 .. 127 */
BitNetMCU_fc BitNetMCU_fc_5bitsym;       /* 6 in a word: -31, -29 .. 29, 31 */
BitNetMCU_fc BitNetMCU_fc_8bit;          /* 4 in a word: -128 .. 127 */

/* The same with weights as sign and magnitude, to measure against (kernels/bittest.c). */
BitNetMCU_fc BitNetMCU_fc_Binary_bittest;
BitNetMCU_fc BitNetMCU_fc_2bitsym_bittest;
BitNetMCU_fc BitNetMCU_fc_4bitsym_bittest;
BitNetMCU_fc BitNetMCU_fc_FP130_bittest;

/* Fully connected layers whose rows are those of one input: faster, as inputs that are 0 cost
 * nothing. `offset` is added to each activation, to make it 0..255; the exporter proves that the
 * weights allow the kernel and subtracts what the offset adds. */
typedef void BitNetMCU_fc_by_input(const int8_t *activations, int32_t offset, const uint32_t *rows,
                                   uint32_t inputs, uint32_t outputs, int32_t *accumulators);

BitNetMCU_fc_by_input BitNetMCU_fc_planes_Binary; /* bit planes of 32 weights in a word */
BitNetMCU_fc_by_input BitNetMCU_fc_planes_Ternary;
BitNetMCU_fc_by_input BitNetMCU_fc_planes_2bitsym;
BitNetMCU_fc_by_input BitNetMCU_fc_planes_4bitsym;
BitNetMCU_fc_by_input BitNetMCU_fc_planes_4bit;
BitNetMCU_fc_by_input BitNetMCU_fc_planes_5bitsym;
BitNetMCU_fc_by_input BitNetMCU_fc_planes_8bit;
BitNetMCU_fc_by_input BitNetMCU_fc_nibbles; /* 8 in a word: 4bitsym and 4bit */
BitNetMCU_fc_by_input BitNetMCU_fc_shifts;  /* 8 in a word: FP130 */
BitNetMCU_fc_by_input BitNetMCU_fc_pairs;   /* 8 in a word: NF4, inputs of 0..15 */
BitNetMCU_fc_by_input BitNetMCU_fc_table;   /* 8 in a word: NF4 */
#if BITNETMCU_MULTIPLIER
BitNetMCU_fc_by_input BitNetMCU_fc_multiply_4bit; /* 8 in a word */
BitNetMCU_fc_by_input BitNetMCU_fc_multiply_4bitsym;
BitNetMCU_fc_by_input BitNetMCU_fc_halfwords; /* any format, 2 in a word: for computers */
#endif

/* Windows of maps, which lie in memory row by row, the channels of a position side by side.
 *
 * Brings the values of a window together whose first one is at `corner`: `rows` times `run` values
 * side by side, row_bytes from one row to the next. */
void BitNetMCU_gather(const int8_t *corner, uint32_t rows, uint32_t run, uint32_t row_bytes,
                      int8_t *window);

/* Brings `count` values to a map, `apart` from one to the next. */
void BitNetMCU_scatter(const int8_t *values, uint32_t count, int8_t *to, uint32_t apart);

/* Brings `count` activations of two positions together, 0 or more, one in each half of a word:
 *     pairs[i] = first[i] + second[i] * 2^16 */
void BitNetMCU_gather_pairs(const int8_t *first, const int8_t *second, uint32_t count,
                            uint32_t *pairs);

/* Two rows of windows of a map, one below the other: what they see, column by column. */
typedef struct {
    uint32_t rows, channels, row_bytes; /* of a window; from row to row of the map */
    uint32_t apart;                     /* bytes from a window to the one below it */
    uint32_t count;                     /* columns of a window */
} BitNetMCU_columns;

/* Takes the first column away, `fresh` times, and brings the next one of the map there behind the
 * others: rows * channels words as BitNetMCU_gather_pairs makes them, of the columns of both
 * windows, and one that is 0 if all those are. next: the first value of the upper one. Returns
 * where the one after all is. */
const int8_t *BitNetMCU_next_columns(const int8_t *next, const BitNetMCU_columns *sees,
                                     uint32_t **columns, uint32_t fresh);

/* A map, and windows of it that may reach over its edges, where there is 0. */
typedef struct {
    int32_t map_rows, map_columns, channels, row_bytes;
    int32_t rows, columns; /* of a window */
} BitNetMCU_padded;

/* The same for the window whose first row is `top` and whose first column is `left`. place: where
 * its first value would be in the map, top * row_bytes + left * channels. */
void BitNetMCU_gather_padded(const int8_t *map, const BitNetMCU_padded *padded, int32_t top,
                             int32_t left, int32_t place, int8_t *window);

/* Sets `count` values to 0. */
void BitNetMCU_clear(int8_t *values, uint32_t count);

/* Rows of a map that are kept, as many as a row of windows sees: the first ones leave, and as many
 * come. first: where the map begins, with its padding, in bytes that the map is read at. */
typedef struct {
    int32_t first;
    uint32_t height, advance; /* rows: all, and those that leave */
    uint32_t bytes, stay;     /* of all, of those that stay */
} BitNetMCU_rows;

/* Moves the rows that stay to the front, or, at `first`, sets all to 0. Returns how many rows are
 * to come, behind those that stay. */
uint32_t BitNetMCU_roll(int8_t *kept, const BitNetMCU_rows *rows, int32_t next);

/* Of `size` values that are kept from run to run the oldest `count` leave, and as many fresh ones
 * come behind the others; count <= size. */
void BitNetMCU_slide(int8_t *kept, uint32_t size, const int8_t *fresh, uint32_t count);

/* Windows of a map whose values become one, channel by channel. In values: row, from row to row of
 * the map; down, right: from a window to the next one below, beside it. */
typedef struct {
    uint32_t rows, columns, channels; /* of windows, and so of what is written */
    uint32_t kernel_rows, kernel_columns;
    uint32_t row, down, right;
} BitNetMCU_pool;

/* The largest value of each window. May write over the map. */
void BitNetMCU_max_pool(const int8_t *map, const BitNetMCU_pool *pool, int8_t *to);
void BitNetMCU_max_pool_32(const int32_t *map, const BitNetMCU_pool *pool, int32_t *to);

/* The sum of each window. May write over a map of the same type. */
void BitNetMCU_sum_pool(const int8_t *map, const BitNetMCU_pool *pool, int32_t *to);
void BitNetMCU_sum_pool_32(const int32_t *map, const BitNetMCU_pool *pool, int32_t *to);

/* to[i] = accumulators[i] + activations[i] * 2^shift. May write over the accumulators. */
void BitNetMCU_add(const int32_t *accumulators, uint32_t count, const int8_t *activations,
                   uint32_t shift, int32_t *to);

/* Windows of 4-bit weights that overlap (kernels/strips.c). A strip are the rows of a map that a
 * row of windows sees: lists of the bits that are set in it are built once, each window reads its
 * part of them.
 *
 * Geometry of a strip: `rows` rows of a map of values 0..2^bits - 1, and at most
 * BITNETMCU_STRIP_HIGHEST, `width` pixels in a row, `channels` values each. A map lies in memory
 * row by row, pixel by pixel, the channels of a pixel side by side; row_bytes from row to row. Its
 * windows are `columns` pixels of all rows. */
typedef struct {
    uint32_t row_bytes, width, rows, channels, bits;
    uint32_t positions; /* width * rows * channels, at most 255 */
    uint32_t entries;   /* bits * positions */
    uint32_t columns, outputs;
    uint32_t inputs;         /* columns * rows * channels */
    const uint32_t *weights; /* lowbit/layouts.py: pack_strips, strip_constants */
    uint32_t most;           /* rows that 8-bit lanes can sum */
    uint32_t list_bias;      /* what makes an 8-bit lane of so many rows unsigned */
    uint32_t doubled;        /* 1: weights are 2q - 15 (4bitsym), 0: q - 8 (4bit) */
    uint32_t lacking;        /* what makes 16-bit lanes, two in a word, unsigned, but for n lists:
                              * list_bias << n more than that */
    int32_t more;            /* and takes that off again */
    uint32_t bytes;          /* rows * row_bytes */
} BitNetMCU_strip;

/* Builds the lists of the strip at `map`. They take entries + BITNETMCU_STRIP_LISTS * (width + 1)
 * bytes. */
void BitNetMCU_scan_strip(const int8_t *map, const BitNetMCU_strip *strip, uint8_t *lists);

/* accumulators[o] = sum over the window's values, from pixel column `first` on, of value *
 * weight[o]. position: first * rows * channels. */
void BitNetMCU_window_nibbles(const uint8_t *lists, const BitNetMCU_strip *strip, uint32_t first,
                              uint32_t position, int32_t *accumulators);

/* A strip of more values than that, piece by piece (kernels/pieces.c): lists hold as many columns
 * as they have room for, and are built anew for the first window that is not in them. Where there
 * is no room for all of a window, its sums are those of its parts. */
typedef struct {
    BitNetMCU_strip strip;            /* positions: that a list has room for, at least `column` */
    uint32_t at_once;                 /* columns of a piece, at most: column * at_once <= 255 */
    uint32_t sure;                    /* of them, those that have room whatever their values */
    uint32_t pixels, positions, step; /* to the next window: columns, those times `column`, bytes */
    uint32_t column;                  /* rows * channels */
} BitNetMCU_pieces;

/* Where a row of windows is. Before the first one: map, where the strip begins; rest, its width;
 * scanned and first 0. */
typedef struct {
    const int8_t *map;        /* the next window */
    uint32_t rest;            /* columns of the strip from there on */
    uint32_t scanned;         /* columns that the lists hold */
    uint32_t first, position; /* the next window in them, for BitNetMCU_window_nibbles */
} BitNetMCU_scanned;

/* The sums of the next window of a row. Lists take entries + BITNETMCU_STRIP_LISTS * (at_once + 1)
 * bytes. */
void BitNetMCU_window_pieces(BitNetMCU_scanned *scanned, const BitNetMCU_pieces *pieces,
                             uint8_t *lists, int32_t *accumulators);

/* Depthwise 3x3 convolutions, a channel at a time (kernels/depthwise.c).
 *
 * A map of one channel lies in words of two values, a pair of rows in each row of words:
 *     pairs[(y / 2) * columns + x] = value[y][x] + value[y + 1][x] * 2^16        y even
 * Behind an odd last row is any value from 0 to the largest that the map may have. */
typedef struct {
    uint32_t rows, columns; /* of the map that is read: 3 to 255, with a pool 4 or more */
    uint32_t highest;       /* the largest activation that is written, 2^bits - 1 */
    uint32_t pool;          /* 0, or 1: of 2x2 outputs, the largest; an odd last one is dropped */
} BitNetMCU_depthwise;

/* Brings a map of a channel into pairs. pixel: bytes from a value to the next. */
void BitNetMCU_pair_rows(const int8_t *map, uint32_t rows, uint32_t columns, uint32_t pixel,
                         uint32_t *pairs);

/* And back. */
void BitNetMCU_unpair_rows(const uint32_t *pairs, uint32_t rows, uint32_t columns, uint32_t pixel,
                           int8_t *map);

/* A convolution, stride 1 and no padding, of a map of one channel; then, of each output,
 *     sum > 0 ? min(highest, (sum + ((1 << shift) >> 1)) >> shift) : 0
 * and, with a pool, of each 2x2 of them the largest. The map that is written may take the place of
 * the one that is read, from its first word on.
 *
 * taps: lowbit/taps.py. code: in SRAM, for the machine code that the assembly writes. Its first
 * word must be 0 before the first call; what a call leaves there saves work if the next one has the
 * same `pool`. The C leaves it alone.
 *
 * Returns the end of the taps, where those of the next stage or channel may begin. */
const uint8_t *BitNetMCU_depthwise_3x3(const uint32_t *pairs, const BitNetMCU_depthwise *stage,
                                       const uint8_t *taps, uint32_t *to, uint32_t *code);

/* The same, of taps that are packed for a multiplier. The assembly has this one or the other. */
#if BITNETMCU_MULTIPLIER
const uint8_t *BitNetMCU_multiply_3x3(const uint32_t *pairs, const BitNetMCU_depthwise *stage,
                                      const uint8_t *taps, uint32_t *to, uint32_t *code);
#endif

/* accumulators[o] -= surplus[o] */
void BitNetMCU_subtract(int32_t *accumulators, uint32_t count, const int32_t *surplus);

/* Multiplies each of `count` accumulators by its factor 2^a + 2^b: a in the low four bits, b in
 * the high. */
void BitNetMCU_scale(int32_t *accumulators, uint32_t count, const uint8_t *factors);

/* A constant shift, at most 31, and ReLU:
 *     activations[i] = min(highest, (accumulators[i] + ((1 << shift) >> 1)) >> shift),
 * or 0 if negative, for any int32 and highest <= 127. May write over the accumulators. */
void BitNetMCU_fixed_shift_relu(const int32_t *accumulators, uint32_t count, int8_t *activations,
                                uint32_t shift, uint32_t highest);

/* The same, and what is there if that is more: the largest of all that are brought to one place. */
void BitNetMCU_fixed_shift_max(const int32_t *accumulators, uint32_t count, int8_t *activations,
                               uint32_t shift, uint32_t highest);

/* The same to one half of `count` words: the low one, and 0 in the high one; or, where `half` is 1,
 * the high one of what is there. Sums that int32 still holds with half of 2^shift added. */
void BitNetMCU_fixed_shift_pairs(const int32_t *accumulators, uint32_t count, uint32_t *pairs,
                                 uint32_t shift, uint32_t highest, uint32_t half);

/* The same to the larger one of the two lanes of each of `count` words, of 15 bits, in which 2^14
 * stands for 0 and none is less. */
void BitNetMCU_fixed_shift_lanes(const uint32_t *lanes, uint32_t count, int8_t *activations,
                                 uint32_t shift, uint32_t highest);

/* The signed halves of an uint32_t that is high * 2^16 + low. */
#define BITNETMCU_LOW_HALF(sum) ((int32_t)(((sum) & 0xffffu) ^ 0x8000u) - 0x8000)
#define BITNETMCU_HIGH_HALF(sum) ((int32_t)((((sum) + 0x8000u) >> 16) ^ 0x8000u) - 0x8000)

/* ShiftNorm and ReLU: the same with
 *     shift = max(0, bit length of the largest accumulator - bits)
 * where highest = 2^bits - 1 is the largest activation. Returns the shift. */
uint32_t BitNetMCU_shiftnorm_relu(const int32_t *accumulators, uint32_t count, int8_t *activations,
                                  uint32_t highest);

/* Brings `count` accumulators that int16 holds there, to other memory. */
void BitNetMCU_narrow(const int32_t *accumulators, uint32_t count, int16_t *narrow);

/* ShiftNorm and ReLU of accumulators in int16. May write over them, too. */
uint32_t BitNetMCU_shiftnorm_relu_16(const int16_t *accumulators, uint32_t count,
                                     int8_t *activations, uint32_t highest);

/* How much the largest of `count` logits is above the second largest: how sure the network is. */
uint32_t BitNetMCU_margin(const int32_t *logits, uint32_t count);

/* The map of a channel from raw values, as a sensor gives them, to inputs. */
typedef struct {
    int32_t low;    /* the raw value that becomes -127 */
    uint32_t scale; /* raw units per level, in units of 2^-shift: step << 8 | shift; 0: no map */
} BitNetMCU_channel;

/* Brings `count` raw values, of `channels` channels in turn, to inputs -127..127, exactly:
 *     inputs[i] = min(254, floor((raw[i] - low) * 2^shift / step + 1/2)) - 127, at least -127;
 * or 0 where there is no map. */
void BitNetMCU_map(const int32_t *raw, uint32_t count, const BitNetMCU_channel *map,
                   uint32_t channels, int8_t *inputs);

/* The index of the first largest of `count` >= 1 logits. */
uint32_t BitNetMCU_argmax(const int32_t *logits, uint32_t count);

#ifdef __cplusplus
}
#endif

#endif
#endif
