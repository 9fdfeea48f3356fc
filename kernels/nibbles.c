/* Fully connected layers of 4-bit weights, bit by bit of the activations (bit-serial SWAR).
 *
 * A row holds the weights of one input: in each word eight nibbles q, one for each of eight
 * outputs. For each bit of the activations there is a short list of the rows whose activation has
 * that bit. Two sums run over a list, for each word column W:
 *
 *     a += W;  b += (W >> 4) & 0x0f0f0f0f;
 *
 * b holds four lanes of 8 bits, the odd nibbles; a - (b << 4) the four of the even ones: exactly,
 * modulo 2^32, whatever carried from lane to lane on the way. Lanes then move to 16 bits, shifted
 * by the bit, and the lists are empty again.
 *
 * The header, the first two words at `rows`, holds what lowbit/layouts.py proved:
 *     word 0: bits 0..7 rows that a list may hold, so that 8-bit lanes do not overflow;
 *             bits 8..15 bias: what makes a lane of such a list, of q - 8, unsigned;
 *             bits 16..31 bias of the 16-bit lanes
 *     word 1: bits 0..14 inputs that may be summed in 16-bit lanes if activations are 0..127;
 *             bit 15: weights are 2q - 15 (4bitsym), otherwise q - 8 (4bit);
 *             bits 16..31 as bits 0..14, if activations are 0..255
 */

#include "nibbles.h"

#define STRIP 8    /* word columns that are summed together */
#define OUTPUTS 64 /* the same in outputs */
#define LOW_NIBBLES 0x0f0f0f0fu
#define EVEN_BYTES 0x00ff00ffu

typedef struct {
    const uint8_t *column; /* the strip's first, in the row that has offset 0 */
    uint32_t columns;      /* of the strip; even */
    uint32_t list_rows, list_bias, bias, doubled; /* from the header */
    uint32_t biases, inputs; /* sums over the lists so far: list_bias << bit, rows << bit */
    uint32_t lanes[4 * STRIP];
    uint16_t *starts[LISTS];          /* a list grows downwards: from its offset list_rows ... */
    uint16_t lists[LISTS][LIST_ROWS]; /* ... to its first; offsets of rows, in bytes */
} State;

/* Adds the rows of the list for `bit` to the lanes, and empties it. Most of the time goes here, so
 * it has a name by which a linker script can place it in fast memory. */
void BitNetMCU_inner_nibbles(State *state, uint32_t bit, uint16_t *end);

static uint32_t in_both_halves(uint32_t x) { return x + (x << 16); }

/* Adds lanes of 8 bits to those of 16 in four words. The first and third word also take what lies
 * above the even bytes, which unpack() takes off again. */
static inline void widen(uint32_t *lanes, uint32_t even, uint32_t odd, uint32_t bit) {
    even -= odd << 4;
    lanes[0] += even << bit;
    lanes[1] += (even >> 8 & EVEN_BYTES) << bit;
    lanes[2] += odd << bit;
    lanes[3] += (odd >> 8 & EVEN_BYTES) << bit;
}

void BitNetMCU_inner_nibbles(State *state, uint32_t bit, uint16_t *end) {
    uint16_t *start = state->starts[bit];
    const uint8_t *column = state->column, *last = column + (state->columns << 2);
    uint32_t *lanes = state->lanes;
    uint32_t rows = (uint32_t)(end - start), even, odd;

    state->starts[bit] = end;
    state->biases += state->list_bias << bit;
    state->inputs += rows << bit;
    odd = state->list_bias - (rows << 3);
    odd = in_both_halves(odd + (odd << 8));
    even = odd + (odd << 4);
    for (; column != last; column += 8, lanes += 8) {
        const uint16_t *offset = start;
        uint32_t even0 = even, odd0 = odd, even1 = even, odd1 = odd;

        do {
            const uint32_t *row = (const uint32_t *)(const void *)(column + *offset++);
            uint32_t word = *row++;

            even0 += word;
            odd0 += word >> 4 & LOW_NIBBLES;
            word = *row;
            even1 += word;
            odd1 += word >> 4 & LOW_NIBBLES;
        } while (offset != end);
        widen(lanes, even0, odd0, bit);
        widen(lanes + 4, even1, odd1, bit);
    }
}

static void clear(State *state) {
    uint32_t *lane = state->lanes, *end = lane + (state->columns << 2);

    while (lane != end)
        *lane++ = 0;
    state->biases = state->inputs = 0;
}

/* Adds what is in lists and lanes to the accumulators. */
static void finish(State *state, int32_t *accumulators, uint32_t outputs) {
    const int32_t *end = accumulators + outputs;
    const uint32_t *word = state->lanes;
    uint32_t correction, bit, low = 0;
    int32_t more = -(int32_t)state->bias;

    for (bit = 0; bit < LISTS; bit++) {
        uint16_t *list_end = state->lists[bit] + state->list_rows;

        if (state->starts[bit] != list_end)
            BitNetMCU_inner_nibbles(state, bit, list_end);
    }
    correction = in_both_halves(state->bias - state->biases);
    if (state->doubled)
        more += more + (int32_t)state->inputs;
    for (; accumulators != end; word++, low ^= 1) {
        uint32_t lanes = *word + correction;

        if (low == 0)
            lanes -= word[1] << 8;
        *accumulators++ += (int32_t)((lanes & 0xffff) << state->doubled) + more;
        if (accumulators != end)
            *accumulators++ += (int32_t)((lanes >> 16) << state->doubled) + more;
    }
}

/* Puts the row at `offset` on the list for `bit`. */
#define APPEND(bit, offset)                                                                        \
    {                                                                                              \
        uint16_t *start = state.starts[bit] - 1;                                                   \
                                                                                                   \
        *start = (uint16_t)(offset);                                                               \
        state.starts[bit] = start;                                                                 \
        if (start == state.lists[bit])                                                             \
            BitNetMCU_inner_nibbles(&state, bit, start + state.list_rows);                         \
    }

#define APPEND_IF(u, bit, offset)                                                                  \
    if ((bit) < LISTS && (u) & 1u << (bit))                                                        \
    APPEND(bit, offset)

void BitNetMCU_fc_nibbles(const int8_t *activations, int32_t offset, const uint32_t *rows,
                          uint32_t inputs, uint32_t outputs, int32_t *accumulators) {
    State state;
    uint32_t row_bytes = (outputs + 15) >> 4 << 3, most, i;
    const uint8_t *columns = (const uint8_t *)(rows + 2);

    if (BITNETMCU_BITS < 8)
        offset = 0;
    most = offset ? rows[1] >> 16 : rows[1] & 0x7fff;
    state.list_rows = offset ? ANY_ROWS : rows[0] & 255;
    state.list_bias = offset ? ANY_ROWS << 3 : rows[0] >> 8 & 255;
    state.bias = rows[0] >> 16;
    state.doubled = rows[1] >> 15 & 1;
    for (i = 0; i < LISTS; i++)
        state.starts[i] = state.lists[i] + state.list_rows;
    for (i = 0; i < outputs; i++)
        accumulators[i] = 0;
    for (;; columns += 4 * STRIP, accumulators += OUTPUTS, outputs -= OUTPUTS) {
        const int8_t *next = activations, *end = activations + inputs;
        const int8_t *stop = inputs < most ? end : next + most;
        uint32_t strip = outputs < OUTPUTS ? outputs : OUTPUTS;
        uint32_t row = 0;

        state.column = columns;
        state.columns = (strip + 15) >> 4 << 1;
        clear(&state);
        for (;; row += row_bytes) {
            uint32_t u;

            if (next == stop) {
                finish(&state, accumulators, strip);
                if (stop == end)
                    break;
                clear(&state);
                state.column += row;
                row = 0;
                stop = (uint32_t)(end - next) < most ? end : next + most;
            }
            u = (uint32_t)(*next++ + offset);
            if (u == 0)
                continue;
            if (BITNETMCU_BITS > 7 && u & 128) { /* bit 7 is bit 6 twice */
                APPEND(LISTS - 1, row)
                APPEND(LISTS - 1, row)
            }
            APPEND_IF(u, 0, row)
            APPEND_IF(u, 1, row)
            APPEND_IF(u, 2, row)
            APPEND_IF(u, 3, row)
            APPEND_IF(u, 4, row)
            APPEND_IF(u, 5, row)
            APPEND_IF(u, 6, row)
        }
        if (outputs == strip)
            break;
    }
}
