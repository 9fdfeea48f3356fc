/* ADD and SUB as one linear function of both values, with 16 bits behind the point. */
#include "fast.h"
#include "outputs.h"

/* Of `size` values and others. */
static inline void of_each(const te_sum_linear *op, const int8_t *input, const int8_t *other,
                           int8_t *output) {
    const uint32_t factor = op->factor, other_factor = op->other_factor, offset = op->offset;
    const int8_t *const end = output + op->size, *const fours = output + (op->size & ~3);

    for (; output != fours; input += 4, other += 4, output += 4) {
        const uint32_t word = te_load(input), of_other = te_load(other);
        const uint32_t even = word << 8 & TE_HIGH_BYTES, odd = word & TE_HIGH_BYTES;
        const uint32_t other_even = of_other << 8 & TE_HIGH_BYTES;
        const uint32_t other_odd = of_other & TE_HIGH_BYTES;
        const uint32_t a = te_smlawb(factor, even, te_smlawb(other_factor, other_even, offset));
        const uint32_t b = te_smlawb(factor, odd, te_smlawb(other_factor, other_odd, offset));
        const uint32_t c = te_smlawt(factor, even, te_smlawt(other_factor, other_even, offset));
        const uint32_t d = te_smlawt(factor, odd, te_smlawt(other_factor, other_odd, offset));

        te_store_bytes(output, te_four_outputs(a, b, c, d));
    }
    for (; output != end; input++, other++, output++) {
        const uint32_t sum = te_smlawb(other_factor, (uint32_t)(*other * 256), offset);

        *output = te_one_output(te_smlawb(factor, (uint32_t)(*input * 256), sum));
    }
}

/* Of `size` values and one other. */
static inline void of_one(const te_sum_linear *op, const int8_t *input, const int8_t *other,
                          int8_t *output) {
    const uint32_t factor = op->factor;
    const uint32_t sum = te_smlawb(op->other_factor, (uint32_t)(*other * 256), op->offset);
    const int8_t *const end = output + op->size, *const fours = output + (op->size & ~3);

    for (; output != fours; input += 4, output += 4) {
        const uint32_t word = te_load(input);
        const uint32_t even = word << 8 & TE_HIGH_BYTES, odd = word & TE_HIGH_BYTES;

        te_store_bytes(output,
                       te_four_outputs(te_smlawb(factor, even, sum), te_smlawb(factor, odd, sum),
                                       te_smlawt(factor, even, sum), te_smlawt(factor, odd, sum)));
    }
    for (; output != end; input++, output++)
        *output = te_one_output(te_smlawb(factor, (uint32_t)(*input * 256), sum));
}

void te_run_sum_linear(const te_sum_linear *op, const int8_t *one, const int8_t *two,
                       int8_t *output, void *scratch) {
    const int8_t *input = op->swapped ? two : one, *other = op->swapped ? one : two;
    int8_t *const start = output;
    int32_t row;

    (void)scratch;
    for (row = op->rows; row; row--, output += op->size) {
        if (op->other_fixed)
            of_one(op, input, other, output);
        else
            of_each(op, input, other, output);
        input += op->size + op->input_jump;
        other += (op->other_fixed ? 0 : op->size) + op->other_jump;
    }
    te_clamp_all(start, op->rows * op->size, op->lowest, op->highest);
}
