/* BitNetMCU_gather, BitNetMCU_next_columns and BitNetMCU_fixed_shift_lanes for RV32EC. Their plain
 * twins are in BitNetMCU_inference.c.
 */

#include "BitNetMCU_inference.h"

    .macro function name
    .section .text.\name, "ax"
    .balign 4
    .globl  \name
    .type   \name, @function
\name:
    .endm

    .macro end name, bytes=0
    .size   \name, . - \name
    .set    frame.\name, \bytes
    .endm

/* Words where all is aligned. */
function BitNetMCU_gather /* a0: corner, a1: rows, a2: run, a3: row_bytes, a4: window */
    or      a5, a0, a2
    or      a5, a5, a3
    or      a5, a5, a4
    andi    a5, a5, 3
    sub     a3, a3, a2              /* from the end of a run to the next one */
    bnez    a5, .Lbytes
.Lwords:
    add     t0, a0, a2
    andi    a5, a2, 4               /* an odd word comes first */
    beqz    a5, 2f
    lw      a5, 0(a0)
    addi    a0, a0, 4
    sw      a5, 0(a4)
    addi    a4, a4, 4
    j       2f
    .balign 4
1:  lw      a5, 0(a0)
    lw      t1, 4(a0)
    sw      a5, 0(a4)
    sw      t1, 4(a4)
    addi    a0, a0, 8
    addi    a4, a4, 8
2:  bne     a0, t0, 1b
    addi    a1, a1, -1
    add     a0, a0, a3
    bnez    a1, .Lwords
    ret
.Lbytes:
    add     t0, a0, a2
    beq     a0, t0, 2f
1:  lbu     a5, 0(a0)
    addi    a0, a0, 1
    sb      a5, 0(a4)
    addi    a4, a4, 1
    bne     a0, t0, 1b
2:  addi    a1, a1, -1
    add     a0, a0, a3
    bnez    a1, .Lbytes
    ret
    end     BitNetMCU_gather

/* A word of one value of each window: the byte at `at` of those that a4 and a5 point to. */
    .macro both at
    lbu     a0, \at(a5)
    lbu     a1, \at(a4)
    slli    a0, a0, 16
    or      a0, a0, a1
    or      a3, a3, a0
    sw      a0, 4 * \at(s1)
    .endm

/* Stack: 0 next, 4 columns, 8 fresh, 12 .. 20 what a function must keep. */
function BitNetMCU_next_columns /* a0: next, a1: sees, a2: columns, a3: fresh */
    beqz    a3, .Lnone
    addi    sp, sp, -24
    sw      ra, 20(sp)
    sw      s0, 16(sp)
    sw      s1, 12(sp)
    mv      s0, a1
    sw      a2, 4(sp)
    sw      a3, 8(sp)
.Lcolumn:                           /* a2: columns */
    sw      a0, 0(sp)
    lw      s1, 0(a2)
    lw      a3, 16(s0)
    j       2f
1:  lw      a5, 4(a2)
    sw      a5, 0(a2)
    addi    a2, a2, 4
2:  addi    a3, a3, -1
    bnez    a3, 1b
    sw      s1, 0(a2)
    mv      a4, a0
    lw      a5, 12(s0)
    add     a5, a5, a4
    lw      a3, 4(s0)
    lw      t0, 8(s0)
    sub     t0, t0, a3              /* from the end of a row's values to those of the next */
    lw      t1, 0(s0)
    or      a0, a4, a5
    or      a0, a0, a3
    or      a0, a0, t0
    andi    t2, a0, 3               /* whether four values make a word */
    li      a3, 0
.Lrow:          /* a4, a5: values of both windows; s1: words; t1: rows left; a3: all words */
    lw      ra, 4(s0)
    add     ra, ra, a4
    bnez    t2, .Lsingle
.Lfour:
    lw      a0, 0(a4)
    lw      a1, 0(a5)
    or      a2, a0, a1
    beqz    a2, .Lnothing
    both    0
    both    1
    both    2
    both    3
.Lfour_next:
    addi    s1, s1, 16
    addi    a4, a4, 4
    addi    a5, a5, 4
    bne     a4, ra, .Lfour
.Lrow_next:
    add     a4, a4, t0
    add     a5, a5, t0
    addi    t1, t1, -1
    bnez    t1, .Lrow
    sw      a3, 0(s1)
    lw      a0, 0(sp)
    lw      a2, 4(sp)
    lw      a3, 4(s0)
    lw      a4, 8(sp)
    add     a0, a0, a3
    addi    a4, a4, -1
    sw      a4, 8(sp)
    bnez    a4, .Lcolumn
    lw      s1, 12(sp)
    lw      s0, 16(sp)
    lw      ra, 20(sp)
    addi    sp, sp, 24
.Lnone:
    ret
.Lnothing:
    sw      zero, 0(s1)
    sw      zero, 4(s1)
    sw      zero, 8(s1)
    sw      zero, 12(s1)
    j       .Lfour_next
.Lsingle:
    both    0
    addi    s1, s1, 4
    addi    a4, a4, 1
    addi    a5, a5, 1
    bne     a4, ra, .Lsingle
    j       .Lrow_next
    end     BitNetMCU_next_columns, 24

function BitNetMCU_fixed_shift_lanes /* a0: lanes, a1: count, a2: activations, a3: shift, a4: most */
    li      t0, 1
    sll     t0, t0, a3
    srli    t0, t0, 1
    li      a5, 0x4000
    sub     t0, t0, a5              /* half of what is shifted out, less what stands for 0 */
    li      t1, 0x40004000          /* 0 in both lanes */
    slli    a1, a1, 2
    add     a1, a1, a0
    j       3f
    .balign 4
1:  lw      a5, 0(a0)
    addi    a0, a0, 4
    sb      zero, 0(a2)             /* many are 0 */
    beq     a5, t1, 2f
    srli    t2, a5, 16
    slli    a5, a5, 16
    srli    a5, a5, 16
    bgeu    a5, t2, 4f
    mv      a5, t2
4:  add     a5, a5, t0
    srl     a5, a5, a3
    bltu    a4, a5, 5f
6:  sb      a5, 0(a2)
2:  addi    a2, a2, 1
3:  bne     a0, a1, 1b
    ret
5:  mv      a5, a4
    j       6b
    end     BitNetMCU_fixed_shift_lanes
