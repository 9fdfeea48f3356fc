/* What multiply.c and riscv/multiply.S have in common. */

#include "BitNetMCU_inference.h"

#define PAIR 0x000f000f /* the codes of two outputs in a word */
#define GROUP_SUM 4369  /* of inputs, at most: 4369 * 15 < 2^16 */
#define GROUP_INPUTS 32
/* Whether fewer inputs than that may reach it. */
#define SUM_BOUNDS (GROUP_INPUTS * ((1 << BITNETMCU_BITS) - 1) > GROUP_SUM)
