/* The larger, or the smaller, of each of four bytes: MAXIMUM, MINIMUM, REDUCE_MAX, REDUCE_MIN.
 * largest: which of both, a constant where these are inlined. */
#ifndef TINYENGINE_EXTREMES_H
#define TINYENGINE_EXTREMES_H

#include "fast.h"
#include "simd.h"

static inline uint32_t te_extremes(uint32_t a, uint32_t b, int largest) {
    return largest ? te_larger_bytes(a, b) : te_smaller_bytes(a, b);
}

static inline int8_t te_extreme(int8_t a, int8_t b, int largest) {
    return (a > b) == largest ? a : b;
}

/* Of two operands. */
static inline void te_extreme_rows(const te_maximum_fast *op, const int8_t *one, const int8_t *two,
                                   int8_t *output, int largest) {
    const te_maximum_fast is = *op; /* as far as C knows, output could be op */
    const int8_t *input = is.swapped ? two : one, *other = is.swapped ? one : two;
    const int32_t other_step = !is.other_fixed;

    for (int32_t row = is.rows; row; row--) {
        const int8_t *const end = output + is.size, *const fours = output + (is.size & ~3);

        if (is.other_fixed) {
            const uint32_t others = (uint8_t)*other * 0x01010101u;

            for (; output != fours; output += 4, input += 4)
                te_store_bytes(output, te_extremes(te_load(input), others, largest));
        } else
            for (; output != fours; output += 4, input += 4, other += 4)
                te_store_bytes(output, te_extremes(te_load(input), te_load(other), largest));
        for (; output != end; output++, input++, other += other_step)
            *output = te_extreme(*input, *other, largest);
        input += is.input_jump;
        other += is.other_jump;
    }
}

/* Of all pixels of a row, at least four channels. The last four overlap the four before where they
 * are no multiple of 4. */
static inline void te_extreme_pixels(const te_reduce_max_fast *op, const int8_t *input,
                                     int8_t *output, int largest) {
    const te_reduce_max_fast is = *op;
    const int32_t step = is.channels, last = step - 4;

    for (int32_t row = is.rows; row; row--, input += is.pixels * step, output += step)
        for (int32_t channel = 0;;) {
            const int8_t *pixel = input + channel;
            uint32_t found = te_load(pixel);
            int32_t count = is.pixels;

            for (; count >= 4; count -= 4) {
                found = te_extremes(found, te_load(pixel), largest), pixel += step;
                found = te_extremes(found, te_load(pixel), largest), pixel += step;
                found = te_extremes(found, te_load(pixel), largest), pixel += step;
                found = te_extremes(found, te_load(pixel), largest), pixel += step;
            }
            for (; count; count--, pixel += step)
                found = te_extremes(found, te_load(pixel), largest);
            te_store_bytes(output + channel, found);
            if (channel == last)
                break;
            channel = channel + 4 < last ? channel + 4 : last;
        }
}

#endif
