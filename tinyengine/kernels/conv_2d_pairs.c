/* CONV_2D and FULLY_CONNECTED, two output pixels at a time. */

#define LANES 2
#define WORDS 2
#include "pairs.h"

void te_run_conv_2d_pairs(const te_conv_2d_pairs *op, const int8_t *input, int8_t *output,
                          void *scratch) {
    te_run_product(op, input, output, scratch);
}
