/* Runs the network in BitNetMCU_model.h on the inputs that come in on standard input, and writes
 * per image: the prediction, then each layer's accumulators and shift, as int32. */

#include <stdio.h>

#include "BitNetMCU_model.h"

void Bitnet_inf(const int8_t *inputs, uint32_t images, uint32_t *predictions, int32_t *trace);

int main(void) {
    int8_t input[BITNETMCU_INPUTS];
    uint32_t prediction;
    int32_t trace[BITNETMCU_TRACE_VALUES];

    while (fread(input, sizeof input, 1, stdin) == 1) {
        Bitnet_inf(input, 1, &prediction, trace);
        fwrite(&prediction, sizeof prediction, 1, stdout);
        fwrite(trace, sizeof trace, 1, stdout);
    }
    return 0;
}
