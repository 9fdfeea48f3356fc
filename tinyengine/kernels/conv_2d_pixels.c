/* CONV_2D and FULLY_CONNECTED of one output pixel at a time, also of sums that leave 24 bits. */

#define LANES 1
#define WORDS 2
#include "pairs.h"

void te_run_conv_2d_pixels(const te_conv_2d_pixels *op, const int8_t *input, int8_t *output,
                           void *scratch) {
    te_run_product(op, input, output, scratch);
}
