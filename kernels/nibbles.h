/* The lists of nibbles.c and riscv/nibbles.S. lowbit/layouts.py reads these numbers, too. */

#include "BitNetMCU_inference.h"

#if BITNETMCU_BITS < 8
#define LISTS BITNETMCU_BITS /* one for each bit */
#else
#define LISTS 7 /* bit 7 counts as bit 6 twice */
#endif
#define LIST_ROWS 24 /* rows in a list, at most */
#define ANY_ROWS 17  /* of any weights, in any number of copies: 17 * 15 = 255 */
