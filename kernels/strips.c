/* Convolutions of 4-bit weights over windows that overlap, bit by bit of the map's values.
 *
 * Positions of a strip are numbered column by column: p = (x * rows + y) * channels + c. For each
 * bit there is a list of the positions whose value has that bit, in a byte each, as they ascend;
 * list b starts at lists + b * positions. A table behind the lists holds, for each x from 0 to
 * width, the low byte of where each list ends before column x. So the entries of a window are a
 * part of each list that the table bounds, and the row of weights of entry p is p - position.
 *
 * Sums over such a part are those of nibbles.c: eight outputs in a word, as nibbles q, four lanes
 * of 8 bits for the even ones, four for the odd ones. From the highest bit down they double what
 * the 16-bit lanes hold, and widen into them (Horner).
 *
 * Weights lie in blocks of 32 outputs: four words for each row, in the last block as many as its
 * outputs need. How many rows 8-bit lanes can sum is proven by lowbit/layouts.py. Where a part has
 * more, the window is summed in several passes, each of as many rows of each list.
 */

#include "strips.h"

#define BLOCK 32 /* outputs */
#define LOW_NIBBLES 0x0f0f0f0fu
#define EVEN_BYTES 0x00ff00ffu

/* How many lists there are; a constant where the compiler would multiply to skip them. */
static uint32_t lists_of(const BitNetMCU_strip *strip) { return STRIP_LISTS < 2 ? 1 : strip->bits; }

uint32_t BitNetMCU_list_columns(const int8_t *map, const BitNetMCU_strip *strip, uint32_t columns,
                                uint32_t sure, uint32_t room, uint8_t *lists) {
    uint8_t *ends[STRIP_LISTS], *const begin = lists, *table = lists + strip->entries;
    uint32_t bits = lists_of(strip), position = 0, x, y, b = 0;
    const uint32_t largest = ((uint32_t)1 << bits) - 1; /* else it would write elsewhere */

    do {
        ends[b] = lists;
        lists += strip->positions;
    } while (++b < bits);
    for (x = 0; x < columns; x++, map += strip->channels) {
        const int8_t *row = map;

        if (x >= sure) {
            const uint8_t *last = begin + room;

            for (b = 0; b < bits && ends[b] <= last; b++)
                last += strip->positions;
            if (b < bits)
                break;
        }
        for (b = 0; b < bits; b++)
            table[b] = (uint8_t)((uintptr_t)ends[b] & 255);
        table += STRIP_LISTS;
        for (y = 0; y < strip->rows; y++, row += strip->row_bytes) {
            const int8_t *next = row, *end = row + strip->channels;

            for (; next != end; next++, position++) {
                uint32_t value = (uint32_t)*next & largest;

                for (b = 0; value; b++, value >>= 1)
                    if (value & 1)
                        *ends[b]++ = (uint8_t)position;
            }
        }
    }
    for (b = 0; b < bits; b++)
        table[b] = (uint8_t)((uintptr_t)ends[b] & 255);
    return x;
}

void BitNetMCU_scan_strip(const int8_t *map, const BitNetMCU_strip *strip, uint8_t *lists) {
    (void)BitNetMCU_list_columns(map, strip, strip->width, strip->width, 0, lists);
}

static uint32_t in_both_halves(uint32_t x) { return x + (x << 16); }

/* Doubles four words of 16-bit lanes and adds 8-bit lanes to them. The first and third word also
 * take what lies above the even bytes, which unpack() takes off again. */
static inline void widen(uint32_t *lanes, uint32_t even, uint32_t odd) {
    even -= odd << 4;
    lanes[0] += lanes[0] + even;
    lanes[1] += lanes[1] + (even >> 8 & EVEN_BYTES);
    lanes[2] += lanes[2] + odd;
    lanes[3] += lanes[3] + (odd >> 8 & EVEN_BYTES);
}

/* Adds `count` rows to the lanes of two words of a block, whose rows are 1 << shift bytes apart.
 * start: what each byte starts from. Most of the time goes here, so it has a name by which a linker
 * script can place it in fast memory. */
void BitNetMCU_inner_strips(const uint8_t *rows, uint32_t shift, const uint8_t *entry,
                            uint32_t count, uint32_t start, uint32_t *lanes);

void BitNetMCU_inner_strips(const uint8_t *rows, uint32_t shift, const uint8_t *entry,
                            uint32_t count, uint32_t start, uint32_t *lanes) {
    uint32_t odd0 = in_both_halves(start + (start << 8)), odd1 = odd0;
    uint32_t even0 = odd0 + (odd0 << 4), even1 = even0;
    const uint8_t *end = entry + count;

    while (entry != end) {
        const uint32_t *row =
            (const uint32_t *)(const void *)(rows + ((uint32_t)*entry++ << shift));
        uint32_t word = *row++;

        even0 += word;
        odd0 += word >> 4 & LOW_NIBBLES;
        word = *row;
        even1 += word;
        odd1 += word >> 4 & LOW_NIBBLES;
    }
    widen(lanes, even0, odd0);
    widen(lanes + 4, even1, odd1);
}

/* Where a row of so many words begins, from the first one. */
static uint32_t row_bytes(uint32_t row, uint32_t words) {
    const uint32_t shift = words < 2 ? 2 : words < 4 ? 3 : 4;

    return (row << shift) + (words == 3 ? row << 2 : 0);
}

/* The same for rows of one word or three; second: that of the two, 0 if there is one. */
static void sum_odd_rows(const uint8_t *rows, uint32_t words, uint32_t second, const uint8_t *entry,
                         uint32_t count, uint32_t start, uint32_t *lanes) {
    uint32_t odd0 = in_both_halves(start + (start << 8)), odd1 = odd0;
    uint32_t even0 = odd0 + (odd0 << 4), even1 = even0;

    for (; count > 0; count--) {
        const uint32_t *row = (const uint32_t *)(const void *)(rows + row_bytes(*entry++, words));
        uint32_t word = *row;

        even0 += word;
        odd0 += word >> 4 & LOW_NIBBLES;
        word = row[second];
        even1 += word;
        odd1 += word >> 4 & LOW_NIBBLES;
    }
    widen(lanes, even0, odd0);
    widen(lanes + 4, even1, odd1);
}

void BitNetMCU_sum_columns(const uint8_t *lists, const BitNetMCU_strip *strip, uint32_t first,
                           uint32_t position, uint32_t columns, uint32_t added,
                           int32_t *accumulators) {
    uint32_t most = strip->most, doubled = strip->doubled, outputs = strip->outputs, x, b;
    uint32_t lacking;
    const uint8_t *table = lists + strip->entries, *block = (const uint8_t *)strip->weights;
    const uint8_t *entries[STRIP_LISTS];
    uint32_t counts[STRIP_LISTS], bits = lists_of(strip);

    for (x = 0; x < first; x++)
        table += STRIP_LISTS;
    b = 0;
    do {
        const uint8_t *last = table + b;

        entries[b] = lists + ((*last - (uint32_t)((uintptr_t)lists & 255)) & 255);
        counts[b] = *last;
        for (x = 0; x < columns; x++)
            last += STRIP_LISTS;
        counts[b] = (*last - counts[b]) & 255;
        lists += strip->positions;
    } while (++b < bits);
    lacking = strip->lacking - in_both_halves(strip->list_bias << bits);
    for (;;) { /* a block */
        uint32_t some = outputs < BLOCK ? outputs : BLOCK;
        uint32_t words = (some + 7) >> 3, done = 0, left;
        uint32_t shift = words > 2 ? 4 : 3;

        do { /* a pass: entries `done` .. done + most - 1 of each list */
            const uint8_t *column = block - (int32_t)row_bytes(position, words);
            int32_t *next = accumulators;
            uint32_t pair;

            left = 0;
            for (pair = 0; pair < some; pair += 16, column += 8) {
                uint32_t lanes[8], values = 0, i, start, word = 0;
                int32_t more = strip->more;

                for (i = 0; i < 8; i++)
                    lanes[i] = 0;
                for (b = bits; b-- > 0;) {
                    uint32_t count = done < counts[b] ? counts[b] - done : 0;

                    if (count > most) {
                        count = most;
                        left = 1;
                    }
                    values += values + count;
                    start = strip->list_bias - (count << 3);
                    if (words & 1)
                        sum_odd_rows(column, words, some > pair + 8, entries[b] + done, count,
                                     start, lanes);
                    else
                        BitNetMCU_inner_strips(column, shift, entries[b] + done, count, start,
                                               lanes);
                }
                if (doubled)
                    more += (int32_t)values;
                for (i = pair; i < some && i < pair + 16; i++, next++) {
                    uint32_t lane = lanes[word] + lacking;

                    if ((word & 1) == 0)
                        lane -= lanes[word + 1] << 8;
                    if (i & 1) {
                        lane >>= 16;
                        word++;
                    }
                    *next =
                        (done || added ? *next : 0) + (int32_t)((lane & 0xffff) << doubled) + more;
                }
            }
            done += most;
        } while (left);
        if (outputs == some)
            break;
        block += strip->inputs << 4;
        accumulators += BLOCK;
        outputs -= BLOCK;
    }
}

void BitNetMCU_window_nibbles(const uint8_t *lists, const BitNetMCU_strip *strip, uint32_t first,
                              uint32_t position, int32_t *accumulators) {
    BitNetMCU_sum_columns(lists, strip, first, position, strip->columns, 0, accumulators);
}
