/* BitNetMCU_fc_pairs of ../pairs.c for RV32EC: the same method.
 *
 * The inner routine fills a chain, then visits it for one column of words (eight outputs) after the
 * other, running sums and totals in four registers each.
 *
 * Borrows: gp and tp, which interrupt handlers must not rely on meanwhile. Stack: FRAME bytes; the
 * inner routine uses those of its caller. */

#include "../pairs.h"

/* The frame. */
#define PART 0                      /* accumulators of the last column, if it is incomplete */
#define NEXT (PART + COLUMN)        /* where scanning goes on */
#define ROW (NEXT + 4)
#define ACTIVATIONS_END (ROW + 4)
#define STRIDE (ACTIVATIONS_END + 4) /* bytes of a row */
#define SUMS (STRIDE + 4)           /* accumulators of this column */
#define STOP (SUMS + 4)
#define BASE (STOP + 4)             /* SUMS of the first column */
#define FULL (BASE + 4)             /* SUMS after the last complete column */
#define LAST (FULL + 4)             /* SUMS after the last column */
#define INNER_RA (LAST + 4)
#define FLUSHED (INNER_RA + 4)      /* 0: nothing is summed yet */
#define OUTPUTS (FLUSHED + 4)
#define SAVED (OUTPUTS + 4)         /* ra, s0, s1, gp, tp */
#define COLUMN_AT (SAVED + 20)      /* bytes of a row before the column */
#define FIRST (COLUMN_AT + 4)       /* entry of the chain */
#define FALLS (FIRST + 4)           /* entries: the address of a row, or 0; of the next entry, or 0 */
#define ENTRY 8
#define ENTRIES (FALLS + ENTRY * (MOST_INPUT + 1))
#define ENTRIES_END (ENTRIES + ENTRY * GROUP_INPUTS)
#define FRAME ENTRIES_END

#include "columns.inc"

    .section .rodata.BitNetMCU_pairs, "a"
    .balign 4
pairs:
    .irp high, -127, -88, -67, -50, -36, -23, -12, 0, 10, 20, 31, 43, 56, 71, 92, 127
    .irp low, -127, -88, -67, -50, -36, -23, -12, 0, 10, 20, 31, 43, 56, 71, 92, 127
    .word   (\high << 16) + \low
    .endr
    .endr

    /* sum += the word of `pairs`, at ra, that bits 2 to 9 of a0 name */
.macro add_pair sum
    andi    a0, a0, 1020
    add     a0, a0, ra
    lw      a0, 0(a0)
    add     \sum, \sum, a0
.endm

    /* Running sums take the row of the entry a3, which becomes the next one. */
.macro visit
    lw      a0, 0(a3)
    lw      a3, 4(a3)
    beqz    a0, .Lfall
    add     a0, a0, gp
    lw      a1, 0(a0)
    slli    a0, a1, 2
    add_pair s0
    srli    a0, a1, 6
    add_pair s1
    srli    a0, a1, 14
    add_pair a4
    srli    a0, a1, 22
    add_pair a5
.endm

    /* \at(a0) and the next one += or, the first time, = the halves of a total. */
.macro flush_pair total, at, first
    slli    a1, \total, 16
    srai    a1, a1, 16
    sub     \total, \total, a1
    srai    \total, \total, 16
    add_to  a1, \at, \first, a2
    add_to  \total, \at + 4, \first, a2
.endm

.macro flush_all first
    flush_pair t0, 0, \first
    flush_pair t1, 8, \first
    flush_pair t2, 16, \first
    flush_pair tp, 24, \first
.endm

    .section .text.BitNetMCU_inner_pairs, "ax"
    .balign 4
    .globl  BitNetMCU_inner_pairs
    .type   BitNetMCU_inner_pairs, @function
BitNetMCU_inner_pairs:              /* a0: activations, the first of which is the next to scan */
    sw      ra, INNER_RA(sp)
.Lgroup:
    addi    gp, sp, FALLS
    mv      a1, gp
    addi    a2, gp, ENTRY * MOST_INPUT
    sw      zero, 4(a1)
1:  sw      a1, ENTRY + 4(a1)
    addi    a1, a1, ENTRY
    bne     a1, a2, 1b
    addi    a1, sp, ENTRIES
    addi    t0, sp, ENTRIES_END
    lw      a2, ROW(sp)
    lw      a4, ACTIVATIONS_END(sp)
    lw      s1, STRIDE(sp)
    li      a3, GROUP_SUM           /* what is left of it */
    li      t1, 0                   /* the largest input, times ENTRY */
    .balign 4
.Lscan:
    beq     a0, a4, .Lscanned
    lb      a5, 0(a0)
    addi    a0, a0, 1
    add     a2, a2, s1
    beqz    a5, .Lscan
    sub     a3, a3, a5
    bltz    a3, .Lover
    slli    a5, a5, 3
    bgeu    t1, a5, 2f
    mv      t1, a5
2:  add     a5, a5, gp
    lw      t2, 4(a5)
    sw      a2, 0(a1)
    sw      t2, 4(a1)
    sw      a1, 4(a5)
    addi    a1, a1, ENTRY
    bne     a1, t0, .Lscan
    j       .Lscanned
.Lover:
    addi    a0, a0, -1
    sub     a2, a2, s1
.Lscanned:
    sw      a0, NEXT(sp)
    sw      a2, ROW(sp)
    beqz    t1, .Ldone              /* nothing but zeros up to the end */
    add     t1, t1, gp
    lw      t1, 4(t1)
    sw      t1, FIRST(sp)
    first_column
.Lcolumn:
    lla     ra, pairs
    lw      a3, FIRST(sp)
    lw      gp, COLUMN_AT(sp)
    .irp    sum, s0, s1, a4, a5, t0, t1, t2, tp
    li      \sum, 0
    .endr
.Lvisit:
    visit
    visit
    j       .Lvisit
.Lfall:                             /* the value of inputs falls by one */
    add     t0, t0, s0
    add     t1, t1, s1
    add     t2, t2, a4
    add     tp, tp, a5
    bnez    a3, .Lvisit
    lw      a0, SUMS(sp)
    if_first .Lfirst
    flush_all 0
.Lflushed:
    next_column
    lw      a0, NEXT(sp)
    lw      a4, ACTIVATIONS_END(sp)
    bne     a0, a4, .Lgroup
.Ldone:
    lw      ra, INNER_RA(sp)
    ret
.Lfirst:
    flush_all 1
    j       .Lflushed
    .size   BitNetMCU_inner_pairs, . - BitNetMCU_inner_pairs
    .set    frame.BitNetMCU_inner_pairs, 0

    .section .text.BitNetMCU_fc_pairs, "ax"
    .globl  BitNetMCU_fc_pairs
    .type   BitNetMCU_fc_pairs, @function
BitNetMCU_fc_pairs:                 /* activations, offset, rows, inputs, outputs, accumulators */
    addi    sp, sp, -FRAME
    save_registers
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
    addi    a1, sp, FALLS
    addi    a2, a1, ENTRY * (MOST_INPUT + 1)
1:  sw      zero, 0(a1)
    addi    a1, a1, ENTRY
    bne     a1, a2, 1b

    start_columns
    call    BitNetMCU_inner_pairs
    finish_columns
    restore_registers
    addi    sp, sp, FRAME
    ret
    .size   BitNetMCU_fc_pairs, . - BitNetMCU_fc_pairs
    .set    frame.BitNetMCU_fc_pairs, FRAME
