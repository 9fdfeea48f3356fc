/* PAD that the compiler could not fold into the operator that reads it. */
#include "copy.h"
#include "tinyengine.h"

/* Writes a row of the output, which has `copied` values of the input. */
static int8_t *padded_row(const te_padded_axis *row, int8_t value, const int8_t *input,
                          int32_t copied, int8_t *output) {
    int32_t after = row->size - copied + row->after;

    te_fill(output, value, row->before);
    output += row->before;
    te_copy(output, input, copied);
    output += copied;
    te_fill(output, value, after);
    return output + after;
}

void te_run_pad(const te_pad *op, const int8_t *input, int8_t *output, void *scratch) {
    enum { OUTER = TE_RANK - 2 };
    const te_padded_axis *rows = &op->axes[TE_RANK - 2];
    const te_padded_axis last = op->axes[TE_RANK - 1]; /* as far as C knows, output could be op */
    const int8_t value = op->value;
    int32_t index[OUTER], axis; /* in the input */
    (void)scratch;
    for (axis = 0; axis < OUTER; axis++)
        index[axis] = -op->axes[axis].before;
    do {
        int inside = 1;
        for (axis = 0; axis < OUTER; axis++)
            inside &= index[axis] >= 0 && index[axis] < op->axes[axis].size;
        for (int32_t row = -rows->before; row < rows->size + rows->after; row++) {
            int32_t copied = inside && row >= 0 && row < rows->size ? last.size : 0;
            output = padded_row(&last, value, input, copied, output);
            input += copied;
        }
        for (axis = OUTER - 1; axis >= 0; axis--) {
            if (++index[axis] < op->axes[axis].size + op->axes[axis].after)
                break;
            index[axis] = -op->axes[axis].before;
        }
    } while (axis >= 0);
}
