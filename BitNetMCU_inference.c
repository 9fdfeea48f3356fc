/* Plain kernels that read like the contract: what every faster kernel is compared with. */

#include "BitNetMCU_inference.h"

#if BITNETMCU_MULTIPLIER
#define times_1(x, code) ((x) * (int32_t)(code))
#define times_2 times_1
#define times_4 times_1
#define times_8 times_1
#else
/* x * code for codes of 1, 2, 4 and 8 bits: the sum of x, doubled for each place, where there is a
 * bit. Doubling is an addition, so that negative x are no special case. */
static int32_t times_1(int32_t x, uint32_t code) { return code ? x : 0; }

static int32_t times_2(int32_t x, uint32_t code) {
    int32_t product = code & 1 ? x : 0;

    if (code & 2)
        product += x + x;
    return product;
}

static int32_t times_4(int32_t x, uint32_t code) {
    int32_t x2 = x + x, x4 = x2 + x2, product = 0;

    if (code & 1)
        product += x;
    if (code & 2)
        product += x2;
    if (code & 4)
        product += x4;
    if (code & 8)
        product += x4 + x4;
    return product;
}

static int32_t times_8(int32_t x, uint32_t code) {
    int32_t x2 = x + x, x4 = x2 + x2, x8 = x4 + x4;

    return times_4(x, code & 15) + times_4(x8 + x8, code >> 4);
}
#endif

/* x * weight for FP130: the code is sign and exponent. */
static int32_t times_FP130(int32_t x, uint32_t code) {
    int32_t magnitude = (int32_t)((uint32_t)(x < 0 ? -x : x) << (code & 7));

    return (x < 0) == (code >> 3) ? magnitude : -magnitude;
}

/* x * (weight + 127) for NF4: the code is an index. */
static int32_t times_NF4(int32_t x, uint32_t code) {
    static const uint8_t levels[16] = {127 - 127, 127 - 88, 127 - 67, 127 - 50, 127 - 36, 127 - 23,
                                       127 - 12,  127,      127 + 10, 127 + 20, 127 + 31, 127 + 43,
                                       127 + 56,  127 + 71, 127 + 92, 127 + 127};

    return times_8(x, levels[code]);
}

/* What is left to do with the sum of x * code and the sum of x, once per output: a code counts the
 * levels from the lowest upwards, so weight = step * code + lowest. */
static int32_t level_Binary(int32_t sum, int32_t x) { return sum + sum - x; }

static int32_t level_Ternary(int32_t sum, int32_t x) { return sum - x; }

static int32_t level_2bitsym(int32_t sum, int32_t x) { return sum + sum - times_2(x, 3); }

static int32_t level_4bit(int32_t sum, int32_t x) { return sum - times_4(x, 8); }

static int32_t level_4bitsym(int32_t sum, int32_t x) { return sum + sum - times_4(x, 15); }

static int32_t level_5bitsym(int32_t sum, int32_t x) { return sum + sum - times_8(x, 31); }

static int32_t level_8bit(int32_t sum, int32_t x) { return sum - times_8(x, 128); }

static int32_t level_NF4(int32_t sum, int32_t x) { return sum + x - times_8(x, 128); }

static int32_t level_FP130(int32_t sum, int32_t x) {
    (void)x;
    return sum;
}

/* A word holds PER_WORD codes; FIRST is the one that is due, NEXT the word with the one after it
 * in its place. TIMES and LEVEL are functions of those above. */
#define FC_KERNEL(FUNCTION, PER_WORD, FIRST, NEXT, TIMES, LEVEL)                                   \
    void FUNCTION(const int8_t *activations, const uint32_t *weights, uint32_t inputs,             \
                  uint32_t outputs, int32_t *accumulators) {                                       \
        int32_t all = 0;                                                                           \
        uint32_t i;                                                                                \
                                                                                                   \
        for (i = 0; i < inputs; i++)                                                               \
            all += activations[i];                                                                 \
        for (; outputs > 0; outputs--) {                                                           \
            int32_t sum = 0;                                                                       \
            uint32_t word = 0, left = 0;                                                           \
                                                                                                   \
            for (i = 0; i < inputs; i++) {                                                         \
                if (left == 0) {                                                                   \
                    word = *weights++;                                                             \
                    left = PER_WORD;                                                               \
                }                                                                                  \
                sum += TIMES(activations[i], FIRST);                                               \
                word = NEXT;                                                                       \
                left--;                                                                            \
            }                                                                                      \
            *accumulators++ = LEVEL(sum, all);                                                     \
        }                                                                                          \
    }

FC_KERNEL(BitNetMCU_fc_Binary, 32, word & 1, word >> 1, times_1, level_Binary)
FC_KERNEL(BitNetMCU_fc_2bitsym, 16, word & 3, word >> 2, times_2, level_2bitsym)
FC_KERNEL(BitNetMCU_fc_4bit, 8, word & 15, word >> 4, times_4, level_4bit)
FC_KERNEL(BitNetMCU_fc_4bitsym, 8, word & 15, word >> 4, times_4, level_4bitsym)
FC_KERNEL(BitNetMCU_fc_FP130, 8, word & 15, word >> 4, times_FP130, level_FP130)
FC_KERNEL(BitNetMCU_fc_NF4, 8, word & 15, word >> 4, times_NF4, level_NF4)
FC_KERNEL(BitNetMCU_fc_5bitsym, 6, word & 31, word >> 5, times_8, level_5bitsym)
FC_KERNEL(BitNetMCU_fc_8bit, 4, word & 255, word >> 8, times_8, level_8bit)

/* A word is a fraction of 2^32 with 20 digits to base 3. Three times the fraction carries the first
 * digit over 2^32: 0 below a third, 2 above two thirds. */
FC_KERNEL(BitNetMCU_fc_Ternary, 20, (uint32_t)(word > 0x55555555u) + (word > 0xaaaaaaaau),
          word + word + word, times_2, level_Ternary)

/* Two words for 32 inputs: one bit for each weight of 1, then one for each of -1. */
void BitNetMCU_fc_TernaryPlanes(const int8_t *activations, const uint32_t *weights, uint32_t inputs,
                                uint32_t outputs, int32_t *accumulators) {
    for (; outputs > 0; outputs--) {
        int32_t sum = 0;
        uint32_t first;

        for (first = 0; first < inputs; first += 32) {
            const int8_t *x = activations + first;
            uint32_t plus = *weights++, minus = *weights++;

            for (; plus | minus; plus >>= 1, minus >>= 1, x++) {
                if (plus & 1)
                    sum += *x;
                if (minus & 1)
                    sum -= *x;
            }
        }
        *accumulators++ = sum;
    }
}

#if !BITNETMCU_ASSEMBLY
void BitNetMCU_gather(const int8_t *corner, uint32_t rows, uint32_t run, uint32_t row_bytes,
                      int8_t *window) {
    uint32_t i;

    for (;;) {
        for (i = 0; i < run; i++)
            *window++ = corner[i];
        if (--rows == 0)
            break;
        corner += row_bytes;
    }
}
#endif

void BitNetMCU_scatter(const int8_t *values, uint32_t count, int8_t *to, uint32_t apart) {
    for (; count > 0; count--, to += apart)
        *to = *values++;
}

void BitNetMCU_gather_pairs(const int8_t *first, const int8_t *second, uint32_t count,
                            uint32_t *pairs) {
    for (; count > 0; count--)
        *pairs++ = (uint32_t)*first++ + ((uint32_t)*second++ << 16);
}

#if !BITNETMCU_ASSEMBLY
const int8_t *BitNetMCU_next_columns(const int8_t *next, const BitNetMCU_columns *sees,
                                     uint32_t **columns, uint32_t fresh) {
    for (; fresh > 0; fresh--, next += sees->channels) {
        uint32_t *const last = columns[0], *words = last, any = 0, i;
        const int8_t *row = next;

        for (i = 1; i < sees->count; i++)
            columns[i - 1] = columns[i];
        columns[sees->count - 1] = last;
        for (i = sees->rows; i > 0; i--, row += sees->row_bytes, words += sees->channels)
            BitNetMCU_gather_pairs(row, row + sees->apart, sees->channels, words);
        for (i = 0; last + i != words; i++)
            any |= last[i];
        *words = any;
    }
    return next;
}
#endif

void BitNetMCU_gather_padded(const int8_t *map, const BitNetMCU_padded *padded, int32_t top,
                             int32_t left, int32_t place, int8_t *window) {
    const int32_t bottom = top + padded->rows, right = left + padded->columns;
    int32_t row, column, i;

    for (row = top; row < bottom; row++, place += padded->row_bytes) {
        int32_t at = place;

        for (column = left; column < right; column++) {
            const int inside =
                row >= 0 && row < padded->map_rows && column >= 0 && column < padded->map_columns;

            for (i = padded->channels; i > 0; i--, at++)
                *window++ = inside ? map[at] : 0;
        }
    }
}

void BitNetMCU_clear(int8_t *values, uint32_t count) {
    while (count-- > 0)
        *values++ = 0;
}

uint32_t BitNetMCU_roll(int8_t *kept, const BitNetMCU_rows *rows, int32_t next) {
    if (next == rows->first) {
        BitNetMCU_clear(kept, rows->bytes);
        return rows->height;
    }
    BitNetMCU_gather(kept + (rows->bytes - rows->stay), 1, rows->stay, 0, kept);
    return rows->advance;
}

void BitNetMCU_slide(int8_t *kept, uint32_t size, const int8_t *fresh, uint32_t count) {
    BitNetMCU_gather(kept + count, 1, size - count, 0, kept);
    BitNetMCU_gather(fresh, 1, count, 0, kept + (size - count));
}

/* FOUND begins as FIRST, and TAKE is what each value of a window does to it. */
#define POOL(FUNCTION, FROM, TO, FIRST, TAKE)                                                      \
    void FUNCTION(const FROM *map, const BitNetMCU_pool *pool, TO *to) {                           \
        uint32_t y, x, i, j, channel, line = 0;                                                    \
                                                                                                   \
        for (y = pool->rows; y > 0; y--, line += pool->down) {                                     \
            uint32_t corner = line;                                                                \
                                                                                                   \
            for (x = pool->columns; x > 0; x--, corner += pool->right) {                           \
                for (channel = 0; channel < pool->channels; channel++) {                           \
                    uint32_t row = corner + channel;                                               \
                    TO found = FIRST;                                                              \
                                                                                                   \
                    for (i = pool->kernel_rows; i > 0; i--, row += pool->row) {                    \
                        uint32_t at = row;                                                         \
                                                                                                   \
                        for (j = pool->kernel_columns; j > 0; j--, at += pool->channels)           \
                            TAKE;                                                                  \
                    }                                                                              \
                    *to++ = found;                                                                 \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

#define TAKE_LARGER                                                                                \
    if (map[at] > found)                                                                           \
    found = map[at]

POOL(BitNetMCU_max_pool, int8_t, int8_t, map[row], TAKE_LARGER)
POOL(BitNetMCU_max_pool_32, int32_t, int32_t, map[row], TAKE_LARGER)
POOL(BitNetMCU_sum_pool, int8_t, int32_t, 0, found += map[at])
POOL(BitNetMCU_sum_pool_32, int32_t, int32_t, 0, found += map[at])

void BitNetMCU_add(const int32_t *accumulators, uint32_t count, const int8_t *activations,
                   uint32_t shift, int32_t *to) {
    for (; count > 0; count--)
        *to++ = *accumulators++ + (int32_t)((uint32_t)*activations++ << shift);
}

void BitNetMCU_subtract(int32_t *accumulators, uint32_t count, const int32_t *surplus) {
    for (; count > 0; count--)
        *accumulators++ -= *surplus++;
}

void BitNetMCU_scale(int32_t *accumulators, uint32_t count, const uint8_t *factors) {
    for (; count > 0; count--, accumulators++, factors++) {
        uint32_t sum = (uint32_t)*accumulators;

        *accumulators = (int32_t)((sum << (*factors & 15)) + (sum << (*factors >> 4)));
    }
}

#if !BITNETMCU_ASSEMBLY
void BitNetMCU_fixed_shift_relu(const int32_t *accumulators, uint32_t count, int8_t *activations,
                                uint32_t shift, uint32_t highest) {
    const uint32_t half = ((uint32_t)1 << shift) >> 1;

    for (; count > 0; count--) {
        const int32_t sum = *accumulators++;
        const uint32_t rounded = ((uint32_t)sum + half) >> shift & ~(uint32_t)(sum >> 31);

        *activations++ = (int8_t)(rounded > highest ? highest : rounded);
    }
}

void BitNetMCU_fixed_shift_max(const int32_t *accumulators, uint32_t count, int8_t *activations,
                               uint32_t shift, uint32_t highest) {
    for (; count > 0; count--, activations++) {
        int8_t activation;

        BitNetMCU_fixed_shift_relu(accumulators++, 1, &activation, shift, highest);
        if (activation > *activations)
            *activations = activation;
    }
}

void BitNetMCU_fixed_shift_pairs(const int32_t *accumulators, uint32_t count, uint32_t *pairs,
                                 uint32_t shift, uint32_t highest, uint32_t half) {
    const uint32_t rounding = ((uint32_t)1 << shift) >> 1;

    for (; count > 0; count--, pairs++) {
        const int32_t sum = *accumulators++;
        uint32_t rounded = 0;

        if (sum > 0) {
            rounded = ((uint32_t)sum + rounding) >> shift;
            if (rounded > highest)
                rounded = highest;
        }
        *pairs = half ? *pairs + (rounded << 16) : rounded;
    }
}

uint32_t BitNetMCU_shiftnorm_relu(const int32_t *accumulators, uint32_t count, int8_t *activations,
                                  uint32_t highest) {
    uint32_t largest = 0, shift = 0, i;

    for (i = 0; i < count; i++)
        if (accumulators[i] > (int32_t)largest)
            largest = (uint32_t)accumulators[i];
    while (largest >> shift > highest)
        shift++;
    BitNetMCU_fixed_shift_relu(accumulators, count, activations, shift, highest);
    return shift;
}

void BitNetMCU_narrow(const int32_t *accumulators, uint32_t count, int16_t *narrow) {
    for (; count > 0; count--)
        *narrow++ = (int16_t)*accumulators++;
}

uint32_t BitNetMCU_shiftnorm_relu_16(const int16_t *accumulators, uint32_t count,
                                     int8_t *activations, uint32_t highest) {
    int32_t largest = 0;
    uint32_t shift = 0, i;

    for (i = 0; i < count; i++)
        if (accumulators[i] > largest)
            largest = accumulators[i];
    while ((uint32_t)largest >> shift > highest)
        shift++;
    for (i = 0; i < count; i++) {
        const int32_t sum = accumulators[i];

        BitNetMCU_fixed_shift_relu(&sum, 1, activations + i, shift, highest);
    }
    return shift;
}
#endif

#if !BITNETMCU_ASSEMBLY
void BitNetMCU_fixed_shift_lanes(const uint32_t *lanes, uint32_t count, int8_t *activations,
                                 uint32_t shift, uint32_t highest) {
    for (; count > 0; count--, lanes++) {
        const uint32_t low = *lanes & 0xffffu, high = *lanes >> 16;
        const int32_t sum = (int32_t)(low > high ? low : high) - 0x4000;

        BitNetMCU_fixed_shift_relu(&sum, 1, activations++, shift, highest);
    }
}
#endif

uint32_t BitNetMCU_margin(const int32_t *logits, uint32_t count) {
    int32_t largest = INT32_MIN, second = INT32_MIN;

    for (; count > 0; count--, logits++) {
        if (*logits > largest) {
            second = largest;
            largest = *logits;
        } else if (*logits > second) {
            second = *logits;
        }
    }
    return (uint32_t)largest - (uint32_t)second;
}

/* One raw value: a quotient of eight bits by subtraction, from the highest downwards. */
static int32_t map_value(int32_t raw, const BitNetMCU_channel *map) {
    uint32_t step = map->scale >> 8, shift = map->scale & 255, bit;
    uint32_t distance = (uint32_t)raw - (uint32_t)map->low;
    int32_t level = -127;

    if (step == 0)
        return 0;
    if (raw < map->low)
        return -127;
    if (distance > 0x7fffffffu >> shift)
        return 127;
    distance = (distance << shift) + (step >> 1);
    step <<= 7;
    for (bit = 128; bit > 0; bit >>= 1, step >>= 1) {
        if (distance >= step) {
            distance -= step;
            level += (int32_t)bit;
        }
    }
    return level > 127 ? 127 : level;
}

void BitNetMCU_map(const int32_t *raw, uint32_t count, const BitNetMCU_channel *map,
                   uint32_t channels, int8_t *inputs) {
    uint32_t left = channels;

    for (; count > 0; count--) {
        *inputs++ = (int8_t)map_value(*raw++, map++);
        if (--left == 0) {
            left = channels;
            map -= channels;
        }
    }
}

uint32_t BitNetMCU_argmax(const int32_t *logits, uint32_t count) {
    uint32_t i, best = 0;

    for (i = 1; i < count; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}
