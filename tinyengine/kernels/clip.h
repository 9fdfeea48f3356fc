/* The larger and the smaller of two numbers, as where a window ends within an image. */
#ifndef TINYENGINE_CLIP_H
#define TINYENGINE_CLIP_H

#include <stdint.h>

static inline int32_t te_larger(int32_t a, int32_t b) { return a > b ? a : b; }
static inline int32_t te_smaller(int32_t a, int32_t b) { return a < b ? a : b; }

#endif
