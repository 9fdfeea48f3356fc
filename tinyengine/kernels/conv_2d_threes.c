/* CONV_2D and FULLY_CONNECTED of many output pixels, with more weights in flash for fewer cycles.
 */

#define LANES 2
#define WORDS 3
#include "pairs.h"

void te_run_conv_2d_threes(const te_conv_2d_threes *op, const int8_t *input, int8_t *output,
                           void *scratch) {
    te_run_product(op, input, output, scratch);
}
