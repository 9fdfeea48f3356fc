/* The lists of nibbles.c and riscv/nibbles.S. lowbit/layouts.py reads these numbers, too. */

#define LISTS 7      /* one for each bit; bit 7 counts as bit 6 twice */
#define LIST_ROWS 24 /* rows in a list, at most */
#define ANY_ROWS 17  /* of any weights, in any number of copies: 17 * 15 = 255 */
