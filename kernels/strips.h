/* Convolutions of 4-bit weights over windows that overlap: strips.c and riscv/strips.S.
 *
 * A strip are the rows of a map that a row of windows sees. Lists of the bits that are set in it
 * are built once; each window reads its part of them. */
#ifndef BITNETMCU_STRIPS_H
#define BITNETMCU_STRIPS_H

#include "BitNetMCU_inference.h"

#define STRIP_LISTS BITNETMCU_STRIP_LISTS

/* The structures and functions are declared in BitNetMCU_inference.h. */

#endif
