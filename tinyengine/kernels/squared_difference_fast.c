/* SQUARED_DIFFERENCE. */
#include "add_rows.h"

void te_run_squared_difference_fast(const te_squared_difference_fast *op, const int8_t *one,
                                    const int8_t *two, int8_t *output, void *scratch) {
    (void)scratch;
    te_add_rows(op, one, two, output, 1);
}
