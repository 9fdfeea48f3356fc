/* SOFTMAX. */
#include "softmax_rows.h"

void te_run_softmax(const te_softmax *op, const int8_t *input, int8_t *output, void *scratch) {
    (void)scratch;
    te_softmax_rows(op, input, output, 0);
}
