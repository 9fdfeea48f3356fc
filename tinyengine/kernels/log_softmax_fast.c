/* LOG_SOFTMAX from a table of exponentials; all else is that of log_softmax.c. */
#include "fast.h"
#include "logarithm.h"
#include "table_sum.h"

void te_run_log_softmax_fast(const te_log_softmax_fast *op, const int8_t *input, int8_t *output,
                             void *scratch) {
    const int32_t size = op->log.softmax.size;
    int32_t row;

    (void)scratch;
    for (row = 0; row < op->log.softmax.rows; row++, input += size, output += size) {
        int32_t largest = te_largest(input, size);
        int32_t sum = te_table_sum(op->exponentials, op->entries, input, size, largest);

        te_log_shares(&op->log, input, largest, te_logarithm(sum), output);
    }
}
