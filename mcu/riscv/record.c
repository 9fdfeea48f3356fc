/* What a trace build calls after each step: the emulator stops here and reads the arguments. */

#include "compiler/record.h"

__attribute__((noinline)) void record(uint32_t step, const void *data, uint32_t bytes) {
    __asm__ volatile("" : : "r"(step), "r"(data), "r"(bytes) : "memory");
}
