/* UNIDIRECTIONAL_SEQUENCE_LSTM: cells that keep a value, and gates that say how much of it stays,
 * what is added to it, and how much of it is the output, which the gates see in the next step. */
#include "fixed16.h"

#include <string.h>

enum { GATE_BITS = 3 }; /* integer ones of sums, of 16 */

static int32_t sum_of(const int8_t *weights, const int8_t *values, int32_t count) {
    int32_t sum = 0;
    for (int32_t i = 0; i < count; i++)
        sum += weights[i] * values[i];
    return sum;
}

/* What a gate makes of an input and of the last output, for one of the cells; Q3. */
static int32_t gated(const te_lstm_gate *gate, const te_unidirectional_sequence_lstm *op,
                     int32_t cell, const int8_t *input, const int8_t *last) {
    int32_t of_input = sum_of(gate->input_weights + cell * op->inputs, input, op->inputs);
    int32_t of_state = sum_of(gate->state_weights + cell * op->cells, last, op->cells);
    of_input = te_scaled(gate->input_bias[cell] + of_input, gate->input_scale.multiplier,
                         gate->input_scale.shift);
    of_state = te_scaled(gate->state_bias[cell] + of_state, gate->state_scale.multiplier,
                         gate->state_scale.shift);
    return te_saturate_16(te_saturate_16(of_input) + of_state);
}

void te_run_unidirectional_sequence_lstm(const te_unidirectional_sequence_lstm *op,
                                         const int8_t *input, int8_t *state, int16_t *cells,
                                         int8_t *output, void *scratch) {
    const int8_t *last = state;
    const int32_t limit = op->cell_limit;
    (void)scratch;
    for (int32_t step = 0; step < op->steps; step++) {
        for (int32_t i = 0; i < op->cells; i++) {
            int32_t forget = te_sigmoid_16(gated(&op->forget_gate, op, i, input, last));
            int32_t share = op->coupled ? TE_ONE_16 - forget
                                        : te_sigmoid_16(gated(&op->input_gate, op, i, input, last));
            int32_t added = te_tanh_16(gated(&op->cell_gate, op, i, input, last), GATE_BITS);
            int32_t shown = te_sigmoid_16(gated(&op->output_gate, op, i, input, last));
            int32_t cell = te_rounding_shift_16(forget * cells[i], 15) +
                           te_rounding_shift_16(share * added, 15 + op->cell_bits);
            cell = te_saturate_16(cell);
            cell = cell < -limit ? -limit : cell > limit ? limit : cell;
            cells[i] = (int16_t)cell;
            shown = te_scaled(shown * te_tanh_16(cell, op->cell_bits), op->output_scale.multiplier,
                              op->output_scale.shift);
            output[i] = te_clamp(shown + op->output_zero_point, INT8_MIN, INT8_MAX);
        }
        last = output;
        input += op->inputs, output += op->cells;
    }
    memcpy(state, last, (uint32_t)op->cells);
}
