/* SVDF: features of the input, one for each filter, go behind the last ones of their filter; each
 * unit sums up its filters' features of all that time. */
#include "requantise.h"

/* Values of int16 if wide, else of int8. */
static inline int32_t get(const void *values, int32_t i, int wide) {
    return wide ? ((const int16_t *)values)[i] : ((const int8_t *)values)[i];
}

static inline void put(void *values, int32_t i, int32_t value, int wide) {
    if (wide)
        ((int16_t *)values)[i] = (int16_t)value;
    else
        ((int8_t *)values)[i] = (int8_t)value;
}

/* What the features of a filter add, those of the input among them. */
static inline int32_t filtered(const te_svdf *op, int32_t filter, const int8_t *input, void *state,
                               int wide) {
    const int8_t *features = op->features + filter * op->inputs;
    const int32_t lowest = wide ? INT16_MIN : INT8_MIN, highest = wide ? INT16_MAX : INT8_MAX;
    int32_t at = filter * op->memory, last = at + op->memory - 1, sum = 0, feature = 0;
    for (int32_t i = 0; i < op->inputs; i++)
        feature += features[i] * (input[i] - op->input_zero_point);
    feature = te_scaled(feature, op->state_scale.multiplier, op->state_scale.shift);
    feature = feature < lowest ? lowest : feature > highest ? highest : feature;
    for (; at < last; at++) {
        int32_t kept = get(state, at + 1, wide);
        put(state, at, kept, wide);
        sum += get(op->times, at, wide) * (kept - op->state_zero_point);
    }
    put(state, last, feature + op->state_zero_point, wide); /* modulo 256, as in the reference */
    return sum + get(op->times, last, wide) * (get(state, last, wide) - op->state_zero_point);
}

static inline void run(const te_svdf *op, const int8_t *input, void *state, int8_t *output,
                       int wide) {
    for (int32_t unit = 0; unit < op->units; unit++) {
        int32_t sum = op->bias[unit];
        for (int32_t filter = unit * op->rank; filter < (unit + 1) * op->rank; filter++)
            sum += filtered(op, filter, input, state, wide);
        sum = te_scaled(sum, op->output_scale.multiplier, op->output_scale.shift);
        output[unit] = te_clamp(sum + op->output_zero_point, INT8_MIN, INT8_MAX);
    }
}

void te_run_svdf(const te_svdf *op, const int8_t *input, void *state, int8_t *output,
                 void *scratch) {
    (void)scratch;
    if (op->wide)
        run(op, input, state, output, 1);
    else
        run(op, input, state, output, 0);
}
