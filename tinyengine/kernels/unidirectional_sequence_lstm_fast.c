/* UNIDIRECTIONAL_SEQUENCE_LSTM, all gates of a cell at a time. */
#include "dots.h"
#include "expand.h"
#include "fixed16.h"
#include "sum_scale.h"

enum { FORGET, CELL, OUTPUT, INPUT, GATES, GATE_BITS = 3 };

void te_run_unidirectional_sequence_lstm_fast(const te_unidirectional_sequence_lstm_fast *op,
                                              const int8_t *input, int8_t *state, int16_t *cells,
                                              int8_t *output, void *scratch) {
    uint32_t *const of_input = scratch, *const of_state = of_input + (op->inputs + 3) / 4 * 2;
    uint32_t *const end = of_state + (op->cells + 3) / 4 * 2;
    const int32_t limit = op->cell_limit;
    const int8_t *last = state;
    int32_t step, i, gate;

    for (step = 0; step < op->steps; step++, input += op->inputs, output += op->cells) {
        const uint32_t *weights = op->weights;

        te_expand(input, op->inputs, of_input, of_state);
        te_expand(last, op->cells, of_state, end);
        for (i = 0; i < op->cells; i++) {
            uint32_t input_sums[GATES], state_sums[GATES];
            int32_t sums[GATES], forget, share, cell, shown;

            for (gate = 0; gate < GATES; gate++)
                input_sums[gate] = *weights++;
            for (gate = 0; gate < GATES; gate++)
                state_sums[gate] = *weights++;
            weights = te_dots(weights, of_input, of_state, input_sums);
            weights = te_dots(weights, of_state, end, state_sums);
            for (gate = 0; gate < GATES; gate++) {
                sums[gate] =
                    te_saturate_16(te_scaled_sum(input_sums[gate], op->input_scales + gate));
                sums[gate] += te_scaled_sum(state_sums[gate], op->state_scales + gate);
                sums[gate] = te_saturate_16(sums[gate]);
            }
            forget = te_sigmoid_16(sums[FORGET]);
            share = op->coupled ? TE_ONE_16 - forget : te_sigmoid_16(sums[INPUT]);
            cell =
                te_rounding_shift_16(forget * cells[i], 15) +
                te_rounding_shift_16(share * te_tanh_16(sums[CELL], GATE_BITS), 15 + op->cell_bits);
            cell = te_saturate_16(cell);
            cell = cell < -limit ? -limit : cell > limit ? limit : cell;
            cells[i] = (int16_t)cell;
            shown = te_sigmoid_16(sums[OUTPUT]) * te_tanh_16(cell, op->cell_bits);
            shown = te_scaled_sum((uint32_t)shown, &op->output_scale) + op->output_zero_point;
            output[i] = (int8_t)te_ssat8((uint32_t)shown);
        }
        last = output;
    }
    for (i = 0; i < op->cells; i++)
        state[i] = last[i];
}
