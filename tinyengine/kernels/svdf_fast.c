/* SVDF, four filters at a time. */
#include "dots.h"
#include "expand.h"
#include "sum_scale.h"

/* All but the first bytes of the state, one value in front of where they are. */
static void shift(int8_t *state, int32_t bytes, int32_t by) {
    int8_t *const end = state + bytes - by;

    for (; end - state >= 4; state += 4)
        te_store_bytes(state, te_load(state + by));
    for (; state != end; state++)
        *state = state[by];
}

/* What a filter adds: its weights of time by what it keeps. */
static inline uint32_t filtered(const int8_t *times, const int8_t *kept, int32_t memory) {
    uint32_t sum = 0;

    for (; memory >= 4; memory -= 4, times += 4, kept += 4) {
        uint32_t weights = te_load(times), values = te_load(kept);

        sum = te_smlad(te_sxtb16(weights), te_sxtb16(values), sum);
        sum = te_smlad(te_sxtb16_ror8(weights), te_sxtb16_ror8(values), sum);
    }
    for (; memory > 0; memory--)
        sum += (uint32_t)(*times++ * *kept++);
    return sum;
}

static inline uint32_t filtered_16(const int16_t *times, const int16_t *kept, int32_t memory) {
    uint32_t sum = 0;

    for (; memory >= 2; memory -= 2, times += 2, kept += 2)
        sum = te_smlad(te_load(times), te_load(kept), sum);
    return memory ? sum + (uint32_t)(*times * *kept) : sum;
}

static inline int8_t result(const te_svdf_fast *op, int32_t sum) {
    sum = sum > TE_SUMS ? TE_SUMS : sum < -TE_SUMS ? -TE_SUMS : sum;
    sum = te_scaled_sum((uint32_t)sum, &op->output_scale) + op->output_zero_point;
    return (int8_t)te_ssat8((uint32_t)sum);
}

static inline void run(const te_svdf_fast *op, const int8_t *input, void *state, int8_t *output,
                       uint32_t *scratch, int wide) {
    const int32_t filters = op->units * op->rank, memory = op->memory, size = wide ? 2 : 1;
    uint32_t *const end = scratch + (op->inputs + 3) / 4 * 2;
    const uint32_t *features = op->features;
    const int32_t *bias = op->bias; /* and a 0 behind them */
    int32_t filter, i, left = op->rank, at = 0;
    uint32_t sums[4], sum = (uint32_t)*bias;

    te_expand(input, op->inputs, scratch, end);
    shift(state, filters * memory * size, size);
    for (filter = 0; filter < filters; filter += 4) {
        for (i = 0; i < 4; i++)
            sums[i] = *features++;
        features = te_dots(features, scratch, end, sums);
        for (i = 0; i < 4 && filter + i < filters; i++, at += memory) {
            int32_t feature = te_scaled_sum(sums[i], &op->state_scale);

            if (wide) {
                ((int16_t *)state)[at + memory - 1] = (int16_t)te_ssat16((uint32_t)feature);
                sum += filtered_16((const int16_t *)op->times + at, (int16_t *)state + at, memory);
            } else { /* modulo 256, as in the reference */
                feature = (int32_t)te_ssat8((uint32_t)feature) + op->state_zero_point;
                ((int8_t *)state)[at + memory - 1] = (int8_t)feature;
                sum += filtered((const int8_t *)op->times + at, (int8_t *)state + at, memory);
            }
            if (--left == 0) {
                *output++ = result(op, (int32_t)sum);
                sum = (uint32_t)*++bias, left = op->rank;
            }
        }
    }
}

void te_run_svdf_fast(const te_svdf_fast *op, const int8_t *input, void *state, int8_t *output,
                      void *scratch) {
    if (op->wide)
        run(op, input, state, output, scratch, 1);
    else
        run(op, input, state, output, scratch, 0);
}
