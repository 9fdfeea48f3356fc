/* What pairs.c and riscv/pairs.S have in common. lowbit/layouts.py reads MOST_INPUT. */

#include "BitNetMCU_inference.h"

#define MOST_INPUT 15 /* the largest that an input may be */
#define GROUP_SUM 258 /* of inputs, at most: 258 * 127 < 2^15 */
#define GROUP_INPUTS 48
