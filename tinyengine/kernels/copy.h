/* Copies and fills by words, from and to any address: the memcpy() and memset() of small C
 * libraries go byte by byte. */
#ifndef TINYENGINE_COPY_H
#define TINYENGINE_COPY_H

#include <stdint.h>
#include <string.h>

#ifdef __GNUC__
#define TE_MOVE __builtin_memcpy /* -ffreestanding would call memcpy() */
#else
#define TE_MOVE memcpy
#endif

/* `bytes` that do not overlap. */
static inline void te_copy(int8_t *output, const int8_t *input, int32_t bytes) {
    for (const int8_t *end = input + (bytes & ~15); input != end; output += 16, input += 16)
        TE_MOVE(output, input, 16);
    if (bytes & 8) {
        TE_MOVE(output, input, 8);
        output += 8, input += 8;
    }
    if (bytes & 4) {
        TE_MOVE(output, input, 4);
        output += 4, input += 4;
    }
    if (bytes & 2) {
        TE_MOVE(output, input, 2);
        output += 2, input += 2;
    }
    if (bytes & 1)
        *output = *input;
}

/* `bytes` of one value. */
static inline void te_fill(int8_t *output, int8_t value, int32_t bytes) {
    uint32_t word = (uint8_t)value * 0x01010101u;

    for (int8_t *end = output + (bytes & ~3); output != end; output += 4)
        TE_MOVE(output, &word, 4);
    if (bytes & 2) {
        TE_MOVE(output, &word, 2);
        output += 2;
    }
    if (bytes & 1)
        *output = value;
}

#endif
