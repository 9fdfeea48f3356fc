/* The lists of planes.c and riscv/planes.S. lowbit/layouts.py reads these numbers, too. */

#define LISTED 38         /* inputs other than 0 that are added in one go */
#define MOST_INPUTS 16384 /* the assembly lists an input by its byte in a column, in 16 bits */
