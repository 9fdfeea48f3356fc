/* FULLY_CONNECTED with the weights of two outputs in a halfword, as conv_2d_pairs.c explains, four
 * outputs at a time. The input is expanded to int16 once. */

#include "expand.h"
#include "fast.h"

/* An input, expanded, for all fours of outputs in the records. fully_connected_m4.S knows it. */
typedef struct {
    const uint32_t *records, *columns, *columns_end, *records_end;
    int8_t *output;
} te_full_tile;

#if TE_DSP
/* fully_connected_m4.S */
void te_full_signed(const te_full_tile *tile);
void te_full_relu(const te_full_tile *tile);

static void multiply(const te_full_tile *tile, te_rounding rounding) {
    if (rounding == TE_RELU)
        te_full_relu(tile);
    else
        te_full_signed(tile);
}
#else
/* parameters: shift, multiplier, addend, right shift */
static int8_t requantise(uint32_t acc, const uint32_t *parameters, te_rounding rounding) {
    if (rounding == TE_RELU)
        return (int8_t)te_ssat8(te_asr(te_smmla(acc, parameters[1], parameters[2]), TE_RELU_SHIFT));
    acc = te_smmlar(acc, parameters[1], parameters[2] + te_asr(acc, 31));
    return (int8_t)te_ssat8(te_asr(acc, parameters[3]));
}

static void multiply(const te_full_tile *tile, te_rounding rounding) {
    const uint32_t *record, *weights, *x;
    int8_t *output = tile->output;
    uint32_t both, low;
    int32_t pair;

    for (record = tile->records; record != tile->records_end; record = weights + 16, output += 4)
        for (pair = 0; pair < 2; pair++) {
            both = record[2 * pair], low = record[2 * pair + 1];
            weights = record + 4;
            for (x = tile->columns; x != tile->columns_end; x++, weights += 2) {
                both = te_smlad(weights[pair], *x, both);
                low = te_smlad(te_sxtb16(weights[pair]), *x, low);
            }
            both = te_asr(both - low, weights[8 * pair]);
            output[2 * pair + 1] = requantise(both, weights + 8 * pair, rounding);
            low <<= weights[8 * pair + 4];
            output[2 * pair] = requantise(low, weights + 8 * pair + 4, rounding);
        }
}
#endif

void te_run_fully_connected_pairs(const te_fully_connected_pairs *op, const int8_t *input,
                                  int8_t *output, void *scratch) {
    const int32_t steps = (op->inputs + 7) / 8 * 4, words = 4 + 2 * steps + 16;
    const int32_t more = op->outputs % 4;
    te_full_tile tile;
    int8_t last[4];
    int32_t row, i;

    tile.columns = scratch, tile.columns_end = tile.columns + steps;
    for (row = 0; row < op->rows; row++, input += op->inputs, output += op->outputs) {
        te_expand(input, op->inputs, scratch, tile.columns_end);
        tile.records = op->records, tile.records_end = op->records + op->outputs / 4 * words;
        tile.output = output;
        if (op->outputs >= 4)
            multiply(&tile, op->rounding);
        if (more) { /* the others of these four are not there */
            tile.records = tile.records_end, tile.records_end += words;
            tile.output = last;
            multiply(&tile, op->rounding);
            for (i = 0; i < more; i++)
                output[op->outputs - more + i] = last[i];
        }
        te_clamp_all(output, op->outputs, op->lowest, op->highest);
    }
}
