#include <stdint.h>

/* Writes a layer's accumulators and shift to the results file. */
void host_trace(uint32_t layer, const int32_t *accumulators, uint32_t count, uint32_t shift);
