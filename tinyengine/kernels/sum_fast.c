/* SUB, and any ADD. */
#include "add_rows.h"

void te_run_sum_fast(const te_sum_fast *op, const int8_t *one, const int8_t *two, int8_t *output,
                     void *scratch) {
    (void)scratch;
    te_add_rows(op, one, two, output, 0);
}
