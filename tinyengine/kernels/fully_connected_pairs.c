/* FULLY_CONNECTED with the weights of two outputs in a halfword, as conv_2d_pairs.c explains, four
 * outputs at a time. The input is expanded to int16 once. */

#include "fast.h"
#include "simd.h"

/* To words of two int16: of each four bytes, 0 and 2, then 1 and 3; zeros at the end. */
static void expand(const int8_t *input, int32_t count, uint32_t *words, const uint32_t *end) {
    uint32_t four;

    for (; count >= 4; input += 4, count -= 4) {
        four = te_load(input);
        te_store_two(&words, te_sxtb16(four), te_sxtb16_ror8(four));
    }
    if (count) {
        four = te_load_part(input, count);
        te_store_two(&words, te_sxtb16(four), te_sxtb16_ror8(four));
    }
    while (words != end)
        *words++ = 0;
}

/* parameters: shift, multiplier, addend, right shift */
static inline int8_t requantise(uint32_t acc, const uint32_t *parameters, te_rounding rounding) {
    if (rounding == TE_RELU)
        return (int8_t)te_ssat8_asr12(te_smmla(acc, parameters[1], parameters[2]));
    acc = te_smmlar(acc, parameters[1], parameters[2] + te_asr(acc, 31));
    return (int8_t)te_ssat8(te_asr(acc, parameters[3]));
}

/* The sums of both outputs of a pair, and of the low one, to two bytes. */
static inline void store_pair(uint32_t both, uint32_t low, const uint32_t *parameters,
                              int8_t *output, te_rounding rounding) {
    output[1] = requantise(te_asr(both - low, parameters[0]), parameters, rounding);
    output[0] = requantise(low << parameters[4], parameters + 4, rounding);
}

/* Two inputs and four outputs. */
#define STEP(activations)                                                                          \
    do {                                                                                           \
        te_load_two(&record, &w01, &w23);                                                          \
        a01 = te_smlad(w01, activations, a01), a23 = te_smlad(w23, activations, a23);              \
        a0 = te_smlad(te_sxtb16(w01), activations, a0);                                            \
        a2 = te_smlad(te_sxtb16(w23), activations, a2);                                            \
    } while (0)

static void multiply(const te_fully_connected_pairs *op, const uint32_t *columns,
                     const uint32_t *end, int8_t *output) {
    const uint32_t *record = op->records, *x;
    uint32_t a01, a0, a23, a2, w01, w23, x0, x1;
    int32_t outputs, i;
    int8_t last[4], *to;

    for (outputs = op->outputs; outputs > 0; outputs -= 4, output += 4, record += 16) {
        te_load_two(&record, &a01, &a0);
        te_load_two(&record, &a23, &a2);
        for (x = columns; x != end;) {
            te_load_two(&x, &x0, &x1);
            STEP(x0);
            STEP(x1);
            te_load_two(&x, &x0, &x1);
            STEP(x0);
            STEP(x1);
        }
        to = outputs < 4 ? last : output;
        if (op->rounding == TE_RELU) {
            store_pair(a01, a0, record, to, TE_RELU);
            store_pair(a23, a2, record + 8, to + 2, TE_RELU);
        } else {
            store_pair(a01, a0, record, to, TE_SIGNED);
            store_pair(a23, a2, record + 8, to + 2, TE_SIGNED);
        }
    }
    for (i = 0; i < outputs + 4 && outputs < 0; i++)
        output[i - 4] = last[i];
}

void te_run_fully_connected_pairs(const te_fully_connected_pairs *op, const int8_t *input,
                                  int8_t *output, void *scratch) {
    const uint32_t *end = (uint32_t *)scratch + (op->inputs + 7) / 8 * 4;
    int32_t row;

    for (row = 0; row < op->rows; row++) {
        expand(input + row * op->inputs, op->inputs, scratch, end);
        multiply(op, scratch, end, output + row * op->outputs);
    }
}
