/* Convolutions of 4-bit weights over windows that overlap: strips.c and riscv/strips.S.
 *
 * A strip are the rows of a map that a row of windows sees. Lists of the bits that are set in it
 * are built once; each window reads its part of them. */
#ifndef BITNETMCU_STRIPS_H
#define BITNETMCU_STRIPS_H

#include "BitNetMCU_inference.h"

#if BITNETMCU_BITS < 8
#define STRIP_LISTS BITNETMCU_BITS /* at most; one for each bit */
#else
#define STRIP_LISTS 7 /* of values 0..127 */
#endif

/* The structures and functions are declared in BitNetMCU_inference.h. */

#endif
