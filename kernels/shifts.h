/* What shifts.c and riscv/shifts.S have in common. */

#define MASK 0x17171717 /* the codes of four outputs in a word */
#define GROUP_SUM 511   /* of inputs, at most: 511 * 128 < 2^16 */
#define GROUP_INPUTS 16
