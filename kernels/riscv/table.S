/* BitNetMCU_fc_table of ../table.c for RV32EC: the same products, several inputs at once.
 *
 * A few inputs get their tables; then, one column of words (eight outputs) after the other, eight
 * sums in registers take the products of all these inputs, so that accumulators meet memory once a
 * group.
 *
 * Borrows: gp and tp, which interrupt handlers must not rely on meanwhile. Stack: FRAME bytes; the
 * inner routine uses those of its caller. */

#include "BitNetMCU_inference.h"

#define GROUP_INPUTS 8
#define ENTRY 36                    /* bytes: 16 products, int16; the address of the row */
#define ENTRY_ROW 32

/* The frame. */
#define PART 0                      /* accumulators of the last column, if it is incomplete */
#define NEXT (PART + COLUMN)        /* where scanning goes on; 0 at the end */
#define ROW (NEXT + 4)
#define ACTIVATIONS_END (ROW + 4)
#define OFFSET (ACTIVATIONS_END + 4)
#define STRIDE (OFFSET + 4)         /* bytes of a row */
#define SUMS (STRIDE + 4)           /* accumulators of this column */
#define STOP (SUMS + 4)             /* SUMS at which there is more to do than to count on */
#define BASE (STOP + 4)             /* SUMS of the first column */
#define FULL (BASE + 4)             /* SUMS after the last complete column */
#define LAST (FULL + 4)             /* SUMS after the last column */
#define INNER_RA (LAST + 4)
#define FLUSHED (INNER_RA + 4)      /* 0: nothing is summed yet */
#define OUTPUTS (FLUSHED + 4)
#define SAVED (OUTPUTS + 4)         /* ra, s0, s1, gp, tp */
#define LIST_STOP (SAVED + 20)      /* the end of the list */
#define COLUMN_AT (LIST_STOP + 4)   /* bytes of a row before the column */
#define LIST (COLUMN_AT + 4)
#define LIST_END (LIST + ENTRY * GROUP_INPUTS)
#define FRAME LIST_END

#include "columns.inc"

    /* sum += the product that bits 1 to 4 of a0 name, a3 being the table */
.macro product sum
    andi    a2, a0, 30
    add     a2, a2, a3
    lh      a2, 0(a2)
    add     \sum, \sum, a2
.endm
.macro flush sum, at, first
    add_to  \sum, \at, \first, a1
.endm

    .section .text.BitNetMCU_inner_table, "ax"
    .balign 4
    .globl  BitNetMCU_inner_table
    .type   BitNetMCU_inner_table, @function
BitNetMCU_inner_table:              /* at least one input is in the list */
    sw      ra, INNER_RA(sp)
    first_column
.Lcolumn:
    addi    a3, sp, LIST
    lw      ra, LIST_STOP(sp)
    lw      gp, COLUMN_AT(sp)
    .irp    sum, s0, s1, a4, a5, t0, t1, t2, tp
    li      \sum, 0
    .endr
.Lrow:
    lw      a0, ENTRY_ROW(a3)
    add     a0, a0, gp
    lw      a1, 0(a0)
    slli    a0, a1, 1               /* bits 1 to 4: the code, twice, to address a halfword */
    product s0
    srli    a0, a1, 3
    product s1
    srli    a0, a1, 7
    product a4
    srli    a0, a1, 11
    product a5
    srli    a0, a1, 15
    product t0
    srli    a0, a1, 19
    product t1
    srli    a0, a1, 23
    product t2
    srli    a0, a1, 27
    product tp
    addi    a3, a3, ENTRY
    bne     a3, ra, .Lrow
    lw      a0, SUMS(sp)
    if_first .Lfirst
    flush_eight 0
.Lflushed:
    next_column
    lw      ra, INNER_RA(sp)
    ret
.Lfirst:
    flush_eight 1
    j       .Lflushed
    .size   BitNetMCU_inner_table, . - BitNetMCU_inner_table
    .set    frame.BitNetMCU_inner_table, 0

    .section .text.BitNetMCU_fc_table, "ax"
    .globl  BitNetMCU_fc_table
    .type   BitNetMCU_fc_table, @function
BitNetMCU_fc_table:                 /* activations, offset, rows, inputs, outputs, accumulators */
    addi    sp, sp, -FRAME
    save_registers
    sw      a0, NEXT(sp)
    sw      a1, OFFSET(sp)
    sw      a4, OUTPUTS(sp)
    sw      a5, BASE(sp)
    add     a3, a3, a0
    sw      a3, ACTIVATIONS_END(sp)
    addi    a1, a4, 7
    srli    a1, a1, 3
    slli    a1, a1, 2
    sw      a1, STRIDE(sp)
    sub     a2, a2, a1
    sw      a2, ROW(sp)

    start_columns
.Lgroup:
    lw      a0, NEXT(sp)
    lw      t1, ROW(sp)
    lw      a4, ACTIVATIONS_END(sp)
#if BITNETMCU_BITS > 7
    lw      s0, OFFSET(sp)
#endif
    lw      s1, STRIDE(sp)
    addi    a1, sp, LIST
    addi    t0, sp, LIST_END
    .balign 4
.Lscan:
    beq     a0, a4, .Lend
    lb      a5, 0(a0)
    addi    a0, a0, 1
    add     t1, t1, s1
#if BITNETMCU_BITS > 7
    add     a5, a5, s0
#endif
    beqz    a5, .Lscan
    sw      t1, ENTRY_ROW(a1)       /* the products of x = a5 */
    sh      zero, 14(a1)
    slli    a2, a5, 2
    slli    t2, a5, 3
    add     a3, a2, t2              /* 12 */
    sub     tp, zero, a3
    sh      tp, 12(a1)
    add     gp, t2, a5
    add     gp, gp, a5              /* 10 */
    sh      gp, 16(a1)
    slli    tp, gp, 1               /* 20 */
    sh      tp, 18(a1)
    slli    tp, tp, 1
    add     tp, tp, gp              /* 50 */
    neg     tp, tp
    sh      tp, 6(a1)
    slli    gp, a5, 5               /* 32 */
    sub     tp, gp, a5              /* 31 */
    sh      tp, 20(a1)
    add     a3, a3, tp              /* 43 */
    sh      a3, 22(a1)
    add     a2, a2, gp              /* 36 */
    neg     a3, a2
    sh      a3, 8(a1)
    add     a3, a2, tp              /* 67 */
    neg     a3, a3
    sh      a3, 4(a1)
    slli    a2, a2, 1
    sub     a2, a2, a5              /* 71 */
    sh      a2, 26(a1)
    sub     a2, tp, t2              /* 23 */
    slli    a3, a2, 2               /* 92 */
    sh      a3, 28(a1)
    neg     a2, a2
    sh      a2, 10(a1)
    slli    a2, gp, 1
    sub     a2, a2, t2              /* 56 */
    sh      a2, 24(a1)
    add     a2, a2, gp              /* 88 */
    neg     a2, a2
    sh      a2, 2(a1)
    slli    a2, a5, 7
    sub     a2, a2, a5              /* 127 */
    sh      a2, 30(a1)
    neg     a2, a2
    sh      a2, 0(a1)
    addi    a1, a1, ENTRY
    bne     a1, t0, .Lscan
.Lend:
    sw      a0, NEXT(sp)
    sw      t1, ROW(sp)
    sw      a1, LIST_STOP(sp)
    addi    a0, sp, LIST
    beq     a0, a1, .Lcopy
    call    BitNetMCU_inner_table
    j       .Lgroup
.Lcopy:
    finish_columns
    restore_registers
    addi    sp, sp, FRAME
    ret
    .size   BitNetMCU_fc_table, . - BitNetMCU_fc_table
    .set    frame.BitNetMCU_fc_table, FRAME
