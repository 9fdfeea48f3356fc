/* Sums of exponentials from a table: what the fast SOFTMAX and LOG_SOFTMAX share. */
#ifndef TINYENGINE_TABLE_SUM_H
#define TINYENGINE_TABLE_SUM_H

#include "exponential.h"

/* As te_sum_of_exponentials; exponentials, entries: as of te_softmax_fast. */
static inline int32_t te_table_sum(const int32_t *exponentials, int32_t entries, const int8_t *row,
                                   int32_t size, int32_t largest) {
    const uint32_t rounding = 1 << (30 - SUM_BITS);
    int32_t sum = 0, i;

    for (i = 0; i < size; i++) {
        uint32_t below = (uint32_t)(largest - row[i]);
        if (below < (uint32_t)entries) /* Q0.31 to Q12.19 */
            sum += (int32_t)(((uint32_t)exponentials[below] + rounding) >> (31 - SUM_BITS));
    }
    return sum;
}

#endif
