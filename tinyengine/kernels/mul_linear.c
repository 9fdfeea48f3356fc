/* MUL as a linear function of the product, with 16 bits behind the point. */
#include "fast.h"
#include "outputs.h"

/* 128 times bytes 1 and 3 of a word, less zero points, which come as 256 times theirs. */
static inline uint32_t centred(uint32_t word, uint32_t zeros) {
    return te_shsub16(word & TE_HIGH_BYTES, zeros);
}

static inline uint32_t one(const te_mul_linear *op, int32_t input, int32_t other) {
    const int32_t product = 128 * (input - op->input_zero_point) * other;

    return te_smmla((uint32_t)product, op->factor, op->offset);
}

static inline uint32_t four(uint32_t even, uint32_t odd, uint32_t other_even, uint32_t other_odd,
                            uint32_t factor, uint32_t offset) {
    const int32_t a = te_low(even) * te_low(other_even), b = te_low(odd) * te_low(other_odd);
    const int32_t c = te_high(even) * te_high(other_even), d = te_high(odd) * te_high(other_odd);

    return te_four_outputs(
        te_smmla((uint32_t)a, factor, offset), te_smmla((uint32_t)b, factor, offset),
        te_smmla((uint32_t)c, factor, offset), te_smmla((uint32_t)d, factor, offset));
}

void te_run_mul_linear(const te_mul_linear *op, const int8_t *first, const int8_t *two,
                       int8_t *output, void *scratch) {
    const te_mul_linear is = *op; /* as far as C knows, output could be op */
    const int8_t *input = is.swapped ? two : first, *other = is.swapped ? first : two;
    const uint32_t zeros = te_halves(256 * is.input_zero_point, 256 * is.input_zero_point);
    const uint32_t other_zeros = te_halves(256 * is.other_zero_point, 256 * is.other_zero_point);
    int8_t *const start = output;
    int32_t row;

    (void)scratch;
    for (row = is.rows; row; row--) {
        const int8_t *const end = output + is.size, *const fours = output + (is.size & ~3);

        if (is.other_fixed) {
            const int32_t factor = 128 * (*other - is.other_zero_point);
            const uint32_t factors = te_halves(factor, factor);

            for (; output != fours; input += 4, output += 4) {
                const uint32_t word = te_load(input);

                te_store_bytes(output, four(centred(word << 8, zeros), centred(word, zeros),
                                            factors, factors, is.factor, is.offset));
            }
            for (; output != end; input++, output++)
                *output = te_one_output(one(&is, *input, factor));
        } else {
            for (; output != fours; input += 4, other += 4, output += 4) {
                const uint32_t word = te_load(input), others = te_load(other);

                te_store_bytes(output, four(centred(word << 8, zeros), centred(word, zeros),
                                            centred(others << 8, other_zeros),
                                            centred(others, other_zeros), is.factor, is.offset));
            }
            for (; output != end; input++, other++, output++)
                *output = te_one_output(one(&is, *input, 128 * (*other - is.other_zero_point)));
        }
        input += is.input_jump;
        other += is.other_jump;
    }
    te_clamp_all(start, is.rows * is.size, is.lowest, is.highest);
}
