/* kernels/planes.c for RV32EC: fully connected layers on bit planes. The method, its sources and
 * the layout of the rows are told there.
 *
 * Contract: BitNetMCU_fc_by_input of BitNetMCU_inference.h, for up to MOST_INPUTS.
 * Borrows: gp and tp, restored on return; an interrupt handler must not rely on them.
 * Stack: FRAME bytes, all in the frame of BitNetMCU_fc_planes; the inner routines work in it too.
 *
 * A list holds, for one bit of the activations, the inputs that have it, as offsets into the words
 * of a plane, 16 bits each. It is filled downwards from its end, where a word then says how long it
 * is: minus its bytes. So the unrolled adder can be entered in the middle and always leaves at its
 * end. Lists lie by falling bits; below the last one is a positive word. */

#include "../planes.h"

#define LIST (2 * LISTED + 4)  /* bytes of a list, for as many as are listed in one go */

/* The frame: */
#define RA 0
#define S0 4
#define S1 8
#define GP 12
#define TP 16
#define ROWS 20
#define OUTPUTS 24
#define ACCUMULATORS 28
#define FIRST 32               /* activations */
#define NEXT 36                /* the first activation that is not in the lists */
#define LAST3 40               /* the end of the activations, less 3 */
#define ZERO 44                /* the activation that stands for 0: minus the offset */
#define TOTAL 48               /* of the activations listed, times -2 */
#define LIST7 52               /* how far the list of bit 7, if there is one, is filled */
#define INNER_RA 56
#define PLANES 60              /* of a weight */
#define STEP 64                /* planes of the sum between two planes of a weight */
#define DOUBLED 68             /* 4 if the levels lie two apart: plane 0 of a sum is empty */
#define GROUPS 72              /* planes side by side in the words of a narrow column */
#define LEFT 76                /* outputs */
#define WORDS_LEFT 80          /* planes to be added to the column */
#define COLUMN 84              /* its sum */
#define LESS 88                /* what the lowest level takes from each accumulator, negated */
#define INPUTS 92              /* times 4; also the positive word below the lists */
#define LISTS 96
#define NARROW (LISTS + BITNETMCU_BITS * LIST) /* the sum of the last column, where that is narrow */
#define FRAME (NARROW + 128)

    .macro  END_OF reg, bit
    addi    \reg, sp, LISTS + (BITNETMCU_BITS - \bit) * LIST - 4
    .endm

/* sum, a, b: the sum and, in b, the carry; a is spent. */
    .macro  full_add sum, a, b
    xor     \a, \a, \b
    xor     \sum, \sum, \a
    or      \b, \b, \a
    and     \a, \a, \sum
    xor     \b, \b, \a
    .endm

/* `operation` BIT, REGISTER for each list, while they are filled; that of bit 7 has none. */
    .macro  EACH_LIST operation
    IF_LIST \operation, 6, tp
    IF_LIST \operation, 5, gp
    IF_LIST \operation, 4, ra
    IF_LIST \operation, 3, t2
    IF_LIST \operation, 2, t1
    IF_LIST \operation, 1, t0
    IF_LIST \operation, 0, s0
    .endm

    .macro  IF_LIST operation, bit, end
    .if \bit < BITNETMCU_BITS
    \operation \bit, \end
    .endif
    .endm

    .macro  START bit, end
    END_OF  \end, \bit
    .endm

    .macro  APPEND_IF bit, end        /* the next bit of a5 is 1 */
    slli    a5, a5, .Lplaces
    .set    .Lplaces, 1
    bgez    a5, 5f
    addi    \end, \end, -2
    sh      a4, 0(\end)
5:
    .endm

    .macro  CLOSE bit, end
    END_OF  a4, \bit
    sub     \end, \end, a4
    sw      \end, 0(a4)
    slli    a5, a5, 1
    add     a5, a5, \end
    .endm

    .macro  IF_NOT_0 label
#if BITNETMCU_BITS > 7
    bne     a5, a2, \label
#else
    bnez    a5, \label
#endif
    .endm

    .option norelax

/* Adds the listed rows, one word of each, to a sum.
 * tp: the first plane it adds to; t2: words; a0: the end of the list of bit 0.
 * Keeps t2 and the frame; spends all else but sp, gp included. */
    .section .text.BitNetMCU_fc_planes_rows, "ax"
    .balign 4
    .globl  BitNetMCU_fc_planes_rows
    .type   BitNetMCU_fc_planes_rows, @function
BitNetMCU_fc_planes_rows:
    sw      ra, INNER_RA(sp)
    mv      ra, a0
    lw      s0, 0(tp)               /* ones */
    lw      s1, 4(tp)               /* twos */
    lw      a0, 8(tp)               /* fours */
    lw      a1, 12(tp)              /* eights */
    lw      gp, 16(tp)              /* sixteens */
    j       .Llevel

    .macro  FETCH reg, place
    lhu     \reg, 2 * \place(t1)
    add     \reg, \reg, t2
    lw      \reg, 0(\reg)
    .endm

.Lenter:                              /* by how many of the 16 are not there */
    j       0f
    j       1f
    j       2f
    j       3f
    j       4f
    j       5f
    j       6f
    j       7f
    j       8f
    j       9f
    j       10f
    j       11f
    j       12f
    j       13f
    j       14f
    j       15f

0:  FETCH   a4, 0
1:  FETCH   a2, 1
    full_add s0, a2, a4
2:  FETCH   a5, 2
3:  FETCH   a2, 3
    full_add s0, a2, a5
    full_add s1, a4, a5
4:  FETCH   a4, 4
5:  FETCH   a2, 5
    full_add s0, a2, a4
6:  FETCH   a3, 6
7:  FETCH   a2, 7
    full_add s0, a2, a3
    full_add s1, a4, a3
    full_add a0, a5, a3
    mv      t0, a3
8:  FETCH   a4, 8
9:  FETCH   a2, 9
    full_add s0, a2, a4
10: FETCH   a5, 10
11: FETCH   a2, 11
    full_add s0, a2, a5
    full_add s1, a4, a5
12: FETCH   a4, 12
13: FETCH   a2, 13
    full_add s0, a2, a4
14: FETCH   a3, 14
15: FETCH   a2, 15
    full_add s0, a2, a3
    full_add s1, a4, a3
    full_add a0, a5, a3
    mv      a2, t0
    full_add a1, a2, a3
    beqz    a3, 2f
    mv      a2, gp
    xor     gp, gp, a3
    and     a2, a2, a3
    beqz    a2, 2f
    mv      a4, tp
1:  lw      a3, 20(a4)              /* the carry ripples through the planes above */
    mv      a5, a3
    xor     a3, a3, a2
    and     a2, a2, a5
    sw      a3, 20(a4)
    addi    a4, a4, 4
    bnez    a2, 1b
2:  addi    t1, t1, 32
    bne     t1, ra, 0b
.Lnext:
    sw      s0, 0(tp)
    mv      s0, s1
    mv      s1, a0
    mv      a0, a1
    mv      a1, gp
    lw      gp, 20(tp)
    addi    tp, tp, 4
    addi    ra, ra, -LIST
.Llevel:
    lw      a2, 0(ra)
    bgez    a2, 2f
    andi    t1, a2, -32
    add     t1, t1, ra
    andi    a2, a2, 31
    li      a3, 0
    li      a4, 0
    li      a5, 0
1:  auipc   t0, %pcrel_hi(.Lenter)
    add     a2, a2, t0
    li      t0, 0
    jr      %pcrel_lo(1b)(a2)
2:  beqz    a2, .Lnext              /* the list is empty; else it was the last */
    sw      s0, 0(tp)
    sw      s1, 4(tp)
    sw      a0, 8(tp)
    sw      a1, 12(tp)
    sw      gp, 16(tp)
    lw      ra, INNER_RA(sp)
    ret
    .size   BitNetMCU_fc_planes_rows, . - BitNetMCU_fc_planes_rows
    .set    frame.BitNetMCU_fc_planes_rows, 0

/* Lists activations from the frame's NEXT on, until the lists are full or all are listed.
 * Spends all registers but sp. */
    .section .text.BitNetMCU_inner_planes, "ax"
    .balign 4
    .globl  BitNetMCU_inner_planes
    .type   BitNetMCU_inner_planes, @function
BitNetMCU_inner_planes:
    sw      ra, INNER_RA(sp)
    lw      a0, NEXT(sp)
    lw      s1, LAST3(sp)
#if BITNETMCU_BITS > 7
    lw      a2, ZERO(sp)
#endif
    lw      a3, FIRST(sp)
#if BITNETMCU_BITS > 7
    END_OF  a4, 7
    sw      a4, LIST7(sp)
#endif
    EACH_LIST START
    li      a1, LISTED
    j       2f

1:  lb      a5, 0(a0)
    IF_NOT_0 .Llist_0
    lb      a5, 1(a0)
    IF_NOT_0 .Llist_1
    lb      a5, 2(a0)
    IF_NOT_0 .Llist_2
    lb      a5, 3(a0)
    IF_NOT_0 .Llist_3
    addi    a0, a0, 4
2:  bltu    a0, s1, 1b
    addi    a4, s1, 3
3:  bgeu    a0, a4, .Llisted
    lb      a5, 0(a0)
    IF_NOT_0 .Llist_0
    addi    a0, a0, 1
    j       3b

#if BITNETMCU_BITS > 7
.Lbit_7:
    bltz    a5, 4f
    lw      a3, LIST7(sp)
    addi    a3, a3, -2
    sh      a4, 0(a3)
    sw      a3, LIST7(sp)
    lw      a3, FIRST(sp)
    j       4f
#endif

.Llist_3:
    addi    a0, a0, 1
.Llist_2:
    addi    a0, a0, 1
.Llist_1:
    addi    a0, a0, 1
.Llist_0:
    mv      a4, a0
    sub     a4, a4, a3
    slli    a4, a4, 2
    addi    a0, a0, 1
#if BITNETMCU_BITS > 7
    bnez    a2, .Lbit_7
4:  .set    .Lplaces, 25              /* an offset of 128 changes bit 7 only */
#else
    .set    .Lplaces, 32 - BITNETMCU_BITS
#endif
    EACH_LIST APPEND_IF
    addi    a1, a1, -1
    beqz    a1, .Llisted
    bltu    a0, s1, 1b
    j       2b

.Llisted:
    sw      a0, NEXT(sp)
    li      a5, 0
#if BITNETMCU_BITS > 7
    beqz    a2, 6f                  /* there is no bit 7; its list's word ends the lists */
    lw      a3, LIST7(sp)
    CLOSE   7, a3
6:
#endif
    EACH_LIST CLOSE
    lw      a4, TOTAL(sp)
    add     a4, a4, a5
    sw      a4, TOTAL(sp)
    lw      ra, INNER_RA(sp)
    ret
    .size   BitNetMCU_inner_planes, . - BitNetMCU_inner_planes
    .set    frame.BitNetMCU_inner_planes, 0

/* The entries: a format in t0. */
    .macro  ENTRY function, planes, step, doubled, odd, lowest
    .section .text.\function, "ax"
    .balign 4
    .globl  \function
    .type   \function, @function
\function:
    li      t0, \planes | \step << 4 | \doubled << 5 | \odd << 6 | \lowest << 7
    j       BitNetMCU_fc_planes
    .size   \function, . - \function
    .set    frame.\function, 0
    .endm

    ENTRY   BitNetMCU_fc_planes_Binary, 1, 1, 1, 1, 1
    ENTRY   BitNetMCU_fc_planes_Ternary, 2, 0, 0, 1, 1
    ENTRY   BitNetMCU_fc_planes_2bitsym, 2, 1, 1, 1, 2
    ENTRY   BitNetMCU_fc_planes_4bitsym, 4, 1, 1, 1, 4
    ENTRY   BitNetMCU_fc_planes_4bit, 4, 1, 0, 0, 3
    ENTRY   BitNetMCU_fc_planes_5bitsym, 5, 1, 1, 1, 5
    ENTRY   BitNetMCU_fc_planes_8bit, 8, 1, 0, 0, 7

    .section .text.BitNetMCU_fc_planes, "ax"
    .balign 4
    .globl  BitNetMCU_fc_planes
    .type   BitNetMCU_fc_planes, @function
BitNetMCU_fc_planes:
    addi    sp, sp, -FRAME
    sw      ra, RA(sp)
    sw      s0, S0(sp)
    sw      s1, S1(sp)
    sw      gp, GP(sp)
    sw      tp, TP(sp)
    sw      a2, ROWS(sp)
    sw      a4, OUTPUTS(sp)
    sw      a5, ACCUMULATORS(sp)
    sw      a0, FIRST(sp)
    sw      a0, NEXT(sp)
    add     a0, a0, a3
    addi    a0, a0, -3
    sw      a0, LAST3(sp)
    slli    a3, a3, 2
    sw      a3, INPUTS(sp)
    sw      zero, TOTAL(sp)
#if BITNETMCU_BITS > 7
    neg     a1, a1
    sw      a1, ZERO(sp)
    bnez    a1, 1f
    li      a1, 1
    END_OF  a2, 7
    sw      a1, 0(a2)
1:
#endif
    andi    s0, t0, 15
    sw      s0, PLANES(sp)
    srli    t0, t0, 4
    andi    a1, t0, 1
    sw      a1, STEP(sp)
    srli    t0, t0, 1
    andi    a1, t0, 1
    slli    a1, a1, 2
    sw      a1, DOUBLED(sp)
    srli    t0, t0, 1
    sw      t0, LESS(sp)            /* until the end: odd, lowest */

    andi    a0, a4, 31              /* outputs of a narrow column */
    li      a1, 16
    li      a2, 1
1:  bltu    a1, a0, 2f
    bgeu    a2, s0, 2f
    srli    a1, a1, 1
    slli    a2, a2, 1
    j       1b
2:  sw      a2, GROUPS(sp)

    sub     a4, a4, a0              /* clear the sums */
    slli    a4, a4, 2
    add     a4, a4, a5
    addi    a2, sp, NARROW
    addi    a3, a2, 128
    bnez    a0, 1f
    mv      a3, a2
1:  li      a1, 0
    j       3f
2:  sw      a1, 0(a5)
    sw      a1, 4(a5)
    sw      a1, 8(a5)
    sw      a1, 12(a5)
    sw      a1, 16(a5)
    sw      a1, 20(a5)
    sw      a1, 24(a5)
    sw      a1, 28(a5)
    addi    a5, a5, 32
3:  bne     a5, a4, 2b
    mv      a5, a2
    mv      a4, a3
    mv      a2, a3
    bne     a5, a4, 2b

.Lmore:
    call    BitNetMCU_inner_planes
    lw      t2, ROWS(sp)
    lw      a4, OUTPUTS(sp)
    lw      a5, ACCUMULATORS(sp)
.Lcolumn:
    sw      a4, LEFT(sp)
    sw      a5, COLUMN(sp)
    li      a3, 1
    addi    a2, a4, -32
    bgez    a2, 1f
    lw      a3, GROUPS(sp)
    addi    a5, sp, NARROW
1:  lw      a4, DOUBLED(sp)
    add     tp, a4, a5
    lw      a4, PLANES(sp)
.Lword:
    sub     a4, a4, a3
    sw      a4, WORDS_LEFT(sp)
    END_OF  a0, 0
    call    BitNetMCU_fc_planes_rows
    lw      a4, INPUTS(sp)
    add     t2, t2, a4
    lw      a4, WORDS_LEFT(sp)
    bgtz    a4, .Lanother
    lw      a4, LEFT(sp)
    lw      a5, COLUMN(sp)
    addi    a4, a4, -32
    addi    a5, a5, 128
    bgtz    a4, .Lcolumn
    lw      a4, NEXT(sp)
    lw      a5, LAST3(sp)
    addi    a5, a5, 3
    bltu    a4, a5, .Lmore
    j       .Lfinish_sums
.Lanother:                            /* tp has come up by the bits of the activations */
    lw      a3, LEFT(sp)
    lw      a5, COLUMN(sp)
    addi    a2, a3, -32
    li      a3, 1
    bgez    a2, 1f
    lw      a3, GROUPS(sp)
    addi    a5, sp, NARROW
1:  lw      a2, PLANES(sp)
    sub     a2, a2, a4              /* planes done */
    lw      a1, STEP(sp)
    slli    a2, a2, 2
    bnez    a1, 2f
    li      a2, 0
2:  lw      a1, DOUBLED(sp)
    add     a2, a2, a1
    add     a2, a2, a5
    mv      tp, a2
    j       .Lword

.Lfinish_sums:
    lw      a0, TOTAL(sp)
    srai    a0, a0, 1
    lw      a1, LESS(sp)
    srli    a2, a1, 1
    sll     a2, a0, a2
    andi    a1, a1, 1
    beqz    a1, 1f
    sub     a2, a2, a0
1:  sw      a2, LESS(sp)
    neg     a3, a2
    srli    a3, a3, 15
    sw      a3, INPUTS(sp)          /* not 0: sums may pass 16 bits */
    lw      a4, OUTPUTS(sp)
    lw      a5, ACCUMULATORS(sp)
1:  sw      a4, LEFT(sp)
    addi    a4, a4, -32
    bltz    a4, 2f
    mv      a0, a5
    mv      t0, a2
    call    to_integers
    lw      a2, LESS(sp)
    lw      a4, LEFT(sp)
    addi    a5, t2, 128
    addi    a4, a4, -32
    bgtz    a4, 1b
    j       .Lleave
2:  sw      a5, COLUMN(sp)
    addi    a0, sp, NARROW
    li      t0, 0
    call    to_integers
    lw      a0, COLUMN(sp)          /* add up the planes of each output */
    lw      a1, LEFT(sp)
    lw      t0, GROUPS(sp)
    li      a2, 128                 /* bytes of a plane's lanes */
    mv      a3, t0
3:  srli    a3, a3, 1
    beqz    a3, 4f
    srli    a2, a2, 1
    j       3b
4:  addi    t1, sp, NARROW + 128
    sub     t1, t1, a2
    lw      t2, STEP(sp)
5:  mv      s0, t0
    mv      s1, t1
    li      a3, 0
6:  lw      a4, 0(s1)
    sll     a3, a3, t2
    add     a3, a3, a4
    sub     s1, s1, a2
    addi    s0, s0, -1
    bnez    s0, 6b
    lw      a4, LESS(sp)
    add     a3, a3, a4
    sw      a3, 0(a0)
    addi    a0, a0, 4
    addi    t1, t1, 4
    addi    a1, a1, -1
    bnez    a1, 5b
.Lleave:
    lw      ra, RA(sp)
    lw      s0, S0(sp)
    lw      s1, S1(sp)
    lw      gp, GP(sp)
    lw      tp, TP(sp)
    addi    sp, sp, FRAME
    ret

#include "to_integers.inc"
    .size   BitNetMCU_fc_planes, . - BitNetMCU_fc_planes
    .set    frame.BitNetMCU_fc_planes, FRAME
