/* The exported network, in a file of its own: BitNetMCU_infer is not inlined, so that the emulator
 * can call it. */

#include <stdint.h>

#ifdef TRACE_BUILD
/* The emulator stops here and reads the arguments. */
void BitNetMCU_trace(uint32_t layer, const int32_t *accumulators, uint32_t count, uint32_t shift);

__attribute__((noinline)) void BitNetMCU_trace(uint32_t layer, const int32_t *accumulators,
                                               uint32_t count, uint32_t shift) {
    __asm__ volatile("" : : "r"(layer), "r"(accumulators), "r"(count), "r"(shift) : "memory");
}
#define BITNETMCU_TRACE BitNetMCU_trace
#endif

#define BITNETMCU_MODEL_IMPLEMENTATION
#include "BitNetMCU_model.h"
