/* The lists of planes.c and riscv/planes.S. lowbit/layouts.py reads these numbers, too. */

#include "BitNetMCU_inference.h"

#if BITNETMCU_BITS < 5
#define LISTED 64 /* inputs other than 0 that are added in one go */
#else
#define LISTED 38
#endif
#define MOST_INPUTS 16384 /* the assembly lists an input by its byte in a column, in 16 bits */
