/* What shifts.c and riscv/shifts.S have in common. */

#include "BitNetMCU_inference.h"

#define MASK 0x17171717 /* the codes of four outputs in a word */
#define GROUP_SUM 511   /* of inputs, at most: 511 * 128 < 2^16 */
#if BITNETMCU_BITS < 5
#define GROUP_INPUTS 32
#else
#define GROUP_INPUTS 16
#endif
/* Whether fewer inputs than that may reach it. */
#define SUM_BOUNDS (GROUP_INPUTS * ((1 << BITNETMCU_BITS) - 1) > GROUP_SUM)
