/* Convolutions of 4-bit weights over windows that overlap: strips.c, pieces.c, their assembly.
 *
 * A strip are the rows of a map that a row of windows sees. Lists of the bits that are set in it
 * are built once; each window reads its part of them. */
#ifndef BITNETMCU_STRIPS_H
#define BITNETMCU_STRIPS_H

#include "BitNetMCU_inference.h"

#define STRIP_LISTS BITNETMCU_STRIP_LISTS

#ifndef __ASSEMBLER__
/* The structures and functions are declared in BitNetMCU_inference.h; these are of strips.c, for
 * pieces.c. */

/* Builds the lists of `columns` columns; behind `sure` of them, of one more only while no list has
 * more than `room` entries. Returns of how many. */
uint32_t BitNetMCU_list_columns(const int8_t *map, const BitNetMCU_strip *strip, uint32_t columns,
                                uint32_t sure, uint32_t room, uint8_t *lists);

/* Sums `columns` columns of the lists from `first` on. position: less than 0 (modulo 2^32) where
 * the lists begin within a window. added: not 0 if the sums are added to what is there. */
void BitNetMCU_sum_columns(const uint8_t *lists, const BitNetMCU_strip *strip, uint32_t first,
                           uint32_t position, uint32_t columns, uint32_t added,
                           int32_t *accumulators);
#endif

#endif
