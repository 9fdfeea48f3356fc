/* SOFTMAX from a table of exponentials; all else is that of softmax.c. */
#include "fast.h"
#include "table_sum.h"

void te_run_softmax_fast(const te_softmax_fast *op, const int8_t *input, int8_t *output,
                         void *scratch) {
    const int32_t *exponentials = op->exponentials;
    const uint32_t entries = (uint32_t)op->entries;
    int32_t row, i;

    (void)scratch;
    for (row = 0; row < op->rows; row++, input += op->size, output += op->size) {
        int32_t largest = te_largest(input, op->size);
        int32_t sum = te_table_sum(exponentials, op->entries, input, op->size, largest);
        int32_t zeros = te_leading_zeros(sum), shift = (31 - SUM_BITS - zeros) + 31 - 8;
        uint32_t x = ((uint32_t)sum << zeros) - ((uint32_t)1 << 31);
        uint32_t factor = (uint32_t)te_reciprocal_of_one_plus((int32_t)x);

        if (shift > 31) /* of a sum of 512 and more no share is 1/512 */
            factor = 0, shift = 31;
        uint32_t half = (uint32_t)1 << (shift - 1);
        for (i = 0; i < op->size; i++) {
            uint32_t below = (uint32_t)(largest - input[i]), share = 0;
            if (below < entries) {
                uint64_t product = (uint64_t)factor * (uint32_t)exponentials[below];
                share = (uint32_t)((product + ((uint32_t)1 << 30)) >> 31);
                share = (share + half) >> shift;
            }
            output[i] = (int8_t)(share > UINT8_MAX ? INT8_MAX : (int32_t)share + INT8_MIN);
        }
    }
}
