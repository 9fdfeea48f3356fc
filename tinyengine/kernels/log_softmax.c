/* LOG_SOFTMAX in fixed point: x - log(sum of e^x), of x less the largest one. */
#include "logarithm.h"

void te_run_log_softmax(const te_log_softmax *op, const int8_t *input, int8_t *output,
                        void *scratch) {
    const te_softmax *softmax = &op->softmax;
    (void)scratch;
    for (int32_t row = 0; row < softmax->rows; row++) {
        int32_t largest = te_largest(input, softmax->size);
        int32_t log_sum = te_logarithm(te_sum_of_exponentials(softmax, input, largest));
        te_log_shares(op, input, largest, log_sum, output);
        input += softmax->size, output += softmax->size;
    }
}
