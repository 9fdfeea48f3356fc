/* Has every step of a generated network recorded: included before it, with its BITNETMCU_TRACE. */
#ifndef RECORD_H
#define RECORD_H

#include <stdint.h>

/* Appends `bytes` bytes that `step` wrote to the record. */
void record(uint32_t step, const void *data, uint32_t bytes);

#define BITNETMCU_TRACE(step, data, bytes) record(step, data, bytes)

#endif
