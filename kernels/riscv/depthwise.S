/* The functions of ../depthwise.c for RV32EC: the same method, the same taps.
 *
 *     const uint8_t *BitNetMCU_depthwise_3x3(const uint32_t *pairs, const BitNetMCU_depthwise *stage,
 *                                            const uint8_t *taps, uint32_t *to, uint32_t *code);
 *
 * or with Zmmul BitNetMCU_multiply_3x3 in its place, as each core needs but one.
 *
 * The loop over the columns of a strip is put together in `code`, in SRAM: a template, with what
 * differs from stage to stage filled in, and behind it the sums of the taps as instructions, three
 * operands each. They end in a jump to ra, which says what is done with the column: nothing with the
 * first two; with a pool, the sums of every second one are kept for the next. With sums that do not
 * fit 16 bits it is a loop over one row, done twice for each strip.
 *
 * Borrows: gp and tp, which interrupt handlers must not rely on meanwhile. Stack: FRAME bytes. */

#include "../depthwise.h"

#if defined(__riscv_mul) || defined(__riscv_zmmul)
#define MULTIPLIER
#define CONVOLVE BitNetMCU_multiply_3x3
#else
#define CONVOLVE BitNetMCU_depthwise_3x3
#endif

/* BitNetMCU_depthwise */
#define ROWS 0
#define COLUMNS 4
#define HIGHEST 8
#define POOL 12

/* The frame. */
#define STRIP 0        /* where it goes on behind a strip */
#define COLUMN 4       /* the code of a column */
#define LEFT 8         /* strips */
#define STEP 12        /* bytes of a row of words */
#define SKIPPED 16     /* of them those that no output needs */
#define BACK 20        /* from behind an upper row of a pool to its second half */
#define STAGE 24
#define CODE 28
#define SHIFT 32
#define TAPS 36        /* their end */
#define SATURATE 40    /* where it goes on with outputs that are too large */
#define OLD_RA 44
#define OLD_S0 48
#define OLD_S1 52
#define OLD_GP 56
#define OLD_TP 60
#define FLAGS SATURATE /* until there are sums: the first byte of the taps */
/* And for sums that do not fit 16 bits, some in place of what those do not need: */
#define FIRST STAGE    /* what is done with a first column */
#define WIDTH SHIFT    /* bytes of a row of words that outputs need */
#define AGAIN SATURATE /* from behind a first row back to where the second one goes */
#define SECOND 64      /* the instruction at ROW_STORED in second rows */
#define FRAME 68

    .macro wide instruction:vararg  /* 32 bits, so that what follows is aligned */
    .option push
    .option norvc
    \instruction
    .option pop
    .endm

/* --- templates. Registers: a0 to a2 the words of a column, a3 spare; a4, a5, s0 the sums of the
 * outputs of which it is the last, the middle and the first column; s1 what sums start from; t0 the
 * next column, t1 the next output, t2 the end of the strip, ra what is done with this column. What
 * is jumped to, or filled in, is aligned. */

    /* The next column; the instructions of its sums follow. */
    .macro column empty, values
    lw      a0, 0(t0)
    wide    lw a2, 0(t0)            /* + STEP */
    addi    t0, t0, 4
    or      a3, a0, a2
    beqz    a3, \empty
\values:
    srli    a1, a0, 16
    slli    a3, a2, 16
    wide    or a1, a1, a3
    .endm
#define BELOW 4 /* from its start to the instruction that lacks STEP */

    /* What is done with the first two columns. */
    .macro first_columns first, column
\first:
    addi    ra, ra, 4
    j       \column
    addi    ra, ra, 4
    j       \column
    .endm
#define FIRST_COLUMNS 8 /* bytes */

    .macro leave_strip
    lw      a0, STRIP(sp)
    jr      a0
    .endm

    .option norelax                 /* so that distances are known */
    .section .rodata.BitNetMCU_depthwise, "a"
    .balign 4

/* Where in the templates things are: the assembler, which knows it later, pads or refuses. */
#define WORDS_BELOW 24
#define WORDS_FIRST 64
#define WORDS_ONE 80
#define WORDS_SHIFT 92
#define WORDS_COLUMN 116
#define WORDS_STORE (WORDS_COLUMN - 12)
#define WORDS_END 144             /* a multiple of 48, and DEPTHWISE_CODE less 4 */
#define POOL_SECOND 8
#define POOL_SHIFT 56
#define POOL_FIRST 92
#define POOL_KEEP (POOL_FIRST + FIRST_COLUMNS)
#define POOL_COLUMN 108
#define POOL_END 136
#define ROW_KEEP 8
#define ROW_SECOND 16
#define ROW_FIRST 40
#define ROW_SHIFT 56
#define ROW_STORED 68
#define ROW_COLUMN 92
#define ROW_END 116

/* Outputs in both halves. gp: the highest bit of each half; tp: those that activations lack. */
.Lwords:
.Lwords_exit:
    leave_strip
.Lwords_saturate:
    lw      a1, SATURATE(sp)
    jr      a1
    .balign 4
.Lwords_zeros:                      /* columns without values behind two others: outputs are 0 */
    sw      a3, 0(t1)
    wide    addi t1, t1, 4
    beq     t0, t2, .Lwords_exit
    lw      a0, 0(t0)
    .org    .Lwords + WORDS_BELOW
    wide    lw a2, 0(t0)            /* + STEP */
    addi    t0, t0, 4
    or      a3, a0, a2
    beqz    a3, .Lwords_zeros
    j       .Lwords_values
.Lwords_empty:
    mv      a4, a5
    mv      a5, s0
    mv      s0, s1
    bne     a4, s1, 1f
    bne     a5, s1, 1f
    and     a3, s1, gp
    beqz    a3, .Lwords_zeros
1:  jr      ra
    .org    .Lwords + WORDS_FIRST
    first_columns .Lwords_first, .Lwords_column
    and     a3, a4, gp
    wide    beqz a3, .Lwords_store
    .org    .Lwords + WORDS_ONE
    srli    a0, a3, 0               /* + 15 - shift */
    sub     a3, a3, a0
    and     a3, a3, a4
    wide    add a3, a3, a0
    .org    .Lwords + WORDS_SHIFT
    wide    srli a3, a3, 0          /* + shift */
    and     a0, a3, tp
    wide    bnez a0, .Lwords_saturate
    .org    .Lwords + WORDS_STORE
.Lwords_store:
    sw      a3, 0(t1)
    wide    addi t1, t1, 4
    beq     t0, t2, .Lwords_exit
    .org    .Lwords + WORDS_COLUMN
.Lwords_column:
    column  .Lwords_empty, .Lwords_values
    .org    .Lwords + WORDS_END

/* The largest of 2x2 outputs in half a word. gp: sums of the first column of two; tp: the largest
 * activation. */
.Lpool:
.Lpool_empty:
    mv      a4, a5
    mv      a5, s0
    mv      s0, s1
    jr      ra
    .org    .Lpool + POOL_SECOND
    or      a0, a4, gp
    slli    a1, a0, 16
    or      a0, a0, a1
    li      a3, 0
    bgez    a0, .Lpool_store        /* none is 1 or more */
    slli    a0, a4, 16
    slli    a1, gp, 16
    wide    bgeu a0, a1, 1f
    wide    mv a0, a1
1:  bgeu    a4, gp, 2f
    wide    mv a4, gp
2:  bgeu    a4, a0, 3f
    mv      a4, a0
3:  slli    a4, a4, 1
    .org    .Lpool + POOL_SHIFT
    srli    a3, a4, 17              /* + shift */
    wide    addi a3, a3, 1
    bltu    tp, a3, .Lpool_saturate
.Lpool_store:
    sh      a3, 0(t1)
    addi    t1, t1, 4
    addi    ra, ra, POOL_KEEP - POOL_SECOND
    bne     t0, t2, .Lpool_column
    leave_strip
.Lpool_saturate:
    mv      a3, tp
    j       .Lpool_store
    .org    .Lpool + POOL_FIRST
    first_columns .Lpool_first, .Lpool_column
    .org    .Lpool + POOL_KEEP
    wide    mv gp, a4
    addi    ra, ra, POOL_SECOND - POOL_KEEP
    .org    .Lpool + POOL_COLUMN
.Lpool_column:
    column  .Lpool_empty, .Lpool_values
    .org    .Lpool + POOL_END

/* Outputs of one row, of sums of 32 bits. gp: of two columns of a pool, the sum of the first; tp:
 * the largest activation. */
.Lrow:
    first_columns .Lrow_pool_first, .Lrow_column
    .org    .Lrow + ROW_KEEP
    mv      gp, a4
    addi    ra, ra, ROW_SECOND - ROW_KEEP
    j       .Lrow_column
    .org    .Lrow + ROW_SECOND
    addi    ra, ra, ROW_KEEP - ROW_SECOND
    bge     a4, gp, .Lrow_output
    mv      a4, gp
    j       .Lrow_output
.Lrow_exit:
    leave_strip
.Lrow_empty:
    mv      a4, a5
    mv      a5, s0
    mv      s0, s1
    jr      ra
    .org    .Lrow + ROW_FIRST
    first_columns .Lrow_first, .Lrow_column
.Lrow_output:
    wide    li a0, 0
    bltz    a4, 1f
    .org    .Lrow + ROW_SHIFT
    srli    a0, a4, 0               /* + shift */
    bgeu    tp, a0, 1f
    wide    mv a0, tp
    .org    .Lrow + ROW_STORED
1:  wide    li a1, 0                /* in a second row of a pool lhu a1, 0(t1) */
    bgeu    a0, a1, 2f
    wide    mv a0, a1
2:  sh      a0, 0(t1)
    wide    addi t1, t1, 4
    beq     t0, t2, .Lrow_exit
    .org    .Lrow + ROW_COLUMN
.Lrow_column:
    lhu     a0, 0(t0)
    lhu     a1, 0(t0)               /* + 2, or STEP - 2 */
    lhu     a2, 0(t0)               /* + STEP */
    addi    t0, t0, 4
    mv      a3, a0
    or      a3, a3, a1
    or      a3, a3, a2
    wide    beqz a3, .Lrow_empty
    .org    .Lrow + ROW_END

/* The instructions that sums consist of. */
#define ADD(to, a) (0x33 + ((to) << 7) + ((a) << 15))
#define A0 10
#define A3 13
#define A4 14
#define A5 15
#define S0 8
#define S1 9
#ifndef MULTIPLIER
/* add, prev, cur without cur: what ends a sum; see .Lsums */
.Llast:
    .word   ADD(A4, A5), ADD(A5, S0), ADD(S0, S1), 0
#endif

/* add cur, prev, row, and add cur, cur, row with the other rows */
    .macro powers cur, prev
    .word   ADD(\cur, \prev) + (A0 << 20)
    .word   ADD(\cur, \cur) + ((A0 + 1) << 20), ADD(\cur, \cur) + ((A0 + 2) << 20)
    .endm
.Lpower_sums:
    powers  A4, A5
    powers  A5, S0
    powers  S0, S1
    .word   0

#define LI_A1 0x593       /* li a1, 0 */
#define LHU_A1_T0 0x2d583 /* lhu a1, 0(t0) */
#define LHU_A1_T1 0x35583

    .macro patch at, register       /* a1: the template */
    lw      a0, \at(a1)
    add     a0, a0, \register
    sw      a0, \at(a4)
    .endm

    .section .text.CONVOLVE, "ax"
    .globl  CONVOLVE
    .type   CONVOLVE, @function
    .balign 4
CONVOLVE:
    addi    sp, sp, -FRAME
    sw      ra, OLD_RA(sp)
    sw      s0, OLD_S0(sp)
    sw      s1, OLD_S1(sp)
    sw      gp, OLD_GP(sp)
    sw      tp, OLD_TP(sp)
    sw      a1, STAGE(sp)
    sw      a4, CODE(sp)
    mv      t0, a0
    mv      t1, a3
    lw      a5, COLUMNS(a1)
    slli    a5, a5, 2
    sw      a5, STEP(sp)
    lb      a3, 0(a2)
    addi    a2, a2, 1
    sw      a3, FLAGS(sp)
    mv      a5, a3
    andi    a5, a5, 31
    sw      a5, SHIFT(sp)
    mv      a0, a3
    andi    a0, a0, DEPTHWISE_HALF
    li      s1, 1
    sll     s1, s1, a5
    srli    a5, s1, 1
    sub     a5, a5, s1
    lui     s1, 8
    bnez    a0, 1f
    lbu     s1, 0(a2)
    lbu     a5, 1(a2)
    slli    a5, a5, 8
    addi    a2, a2, 2
1:  add     s1, s1, a5
    bltz    a3, .Lwide
    slli    a5, s1, 16
    add     s1, s1, a5
    lw      a0, POOL(a1)
    bnez    a0, .Lto_pool

    lla     a1, .Lwords
    jal     .Lcopy
    lw      a3, SHIFT(sp)
    slli    a3, a3, 20
    patch   WORDS_SHIFT, a3
    li      a5, 15 << 20
    sub     a5, a5, a3
    patch   WORDS_ONE, a5
    lw      a5, STEP(sp)
    slli    a5, a5, 20
    patch   WORDS_COLUMN + BELOW, a5
    patch   WORDS_BELOW, a5
    addi    t2, a4, WORDS_END
    jal     .Lsums
    lw      a4, CODE(sp)
    lw      a5, STEP(sp)
    add     t2, t0, a5
    lw      a1, STAGE(sp)
    lw      a0, HIGHEST(a1)
    slli    a5, a0, 16
    or      a0, a0, a5
    not     tp, a0
    lui     gp, 0x80008
    lw      a0, ROWS(a1)
    addi    a0, a0, -1
    srli    a0, a0, 1
    sw      a0, LEFT(sp)
    addi    ra, a4, WORDS_FIRST
    addi    a4, a4, WORDS_COLUMN
    sw      a4, COLUMN(sp)
    lla     a5, .Lwords_strip
    sw      a5, STRIP(sp)
    lla     a5, .Lwords_saturating
    sw      a5, SATURATE(sp)
    addi    s0, s1, 1
    jr      a4

.Lwords_strip:
    lw      a0, LEFT(sp)
    lw      a5, STEP(sp)
    addi    a0, a0, -1
    beqz    a0, .Ldone
    sw      a0, LEFT(sp)
    add     t2, t2, a5
    lw      a1, COLUMN(sp)
    addi    ra, ra, -FIRST_COLUMNS
    addi    s0, s1, 1               /* not zeros yet */
    jr      a1

.Lwords_saturating:                 /* halves of 2^15 at most; a0: their bits that are too high */
    not     a1, gp
    add     a0, a0, a1
    and     a0, a0, gp
    srli    a1, a0, 15
    sub     a0, a0, a1
    or      a3, a3, a0
    not     a1, tp
    and     a3, a3, a1
    lw      a1, COLUMN(sp)
    addi    a1, a1, WORDS_STORE - WORDS_COLUMN
    jr      a1

.Lto_pool:
    lla     a1, .Lpool
    jal     .Lcopy
    lw      a3, SHIFT(sp)
    slli    a3, a3, 20
    patch   POOL_SHIFT, a3
    lw      a3, STEP(sp)
    slli    a3, a3, 20
    patch   POOL_COLUMN + BELOW, a3
    addi    t2, a4, POOL_END
    jal     .Lsums
    lw      a4, CODE(sp)
    lw      a3, STEP(sp)
    srli    a5, a3, 3
    slli    a5, a5, 3               /* bytes that outputs need, if their number is even */
    add     t2, t0, a5
    sub     a3, a3, a5
    sw      a3, SKIPPED(sp)
    srli    a5, a5, 1
    addi    a5, a5, -4 - 2
    sw      a5, BACK(sp)
    lw      a1, STAGE(sp)
    lw      a0, HIGHEST(a1)
    mv      tp, a0
    lw      a0, ROWS(a1)
    addi    a0, a0, -2
    srli    a0, a0, 1
    sw      a0, LEFT(sp)
    addi    ra, a4, POOL_FIRST
    addi    a4, a4, POOL_COLUMN
    sw      a4, COLUMN(sp)
    lla     a5, .Lpool_strip
    sw      a5, STRIP(sp)
    jr      a4

.Lpool_strip:
    lw      a0, LEFT(sp)
    mv      a1, t1
    andi    a1, a1, 2
    bnez    a1, 1f
    lw      a1, BACK(sp)
1:  sub     t1, t1, a1              /* to the upper halves, or on */
    addi    a0, a0, -1
    beqz    a0, .Lpooled
    sw      a0, LEFT(sp)
    lw      a1, SKIPPED(sp)
    lw      a5, STEP(sp)
    add     t0, t0, a1
    add     t2, t2, a5
    lw      a1, COLUMN(sp)
    addi    ra, ra, -FIRST_COLUMNS
    jr      a1
.Lpooled:
    mv      a1, t1
    andi    a1, a1, 2
    beqz    a1, .Ldone
    lw      a0, BACK(sp)            /* upper halves without a row */
    add     a0, a0, t1
    addi    a0, a0, 2
1:  sh      zero, 0(t1)
    addi    t1, t1, 4
    bne     t1, a0, 1b
.Ldone:
    lw      a0, TAPS(sp)
    lw      ra, OLD_RA(sp)
    lw      s0, OLD_S0(sp)
    lw      s1, OLD_S1(sp)
    lw      gp, OLD_GP(sp)
    lw      tp, OLD_TP(sp)
    addi    sp, sp, FRAME
    ret

/* Copies the template at a1 to a4, if it is not there, and, if it is shorter than others, what lies
 * behind it, where the sums will be. Loses a0, a3, a5, s0, t2. */
    .macro copy_four at
    lw      a0, \at(a1)
    lw      a3, \at + 4(a1)
    lw      a5, \at + 8(a1)
    lw      s0, \at + 12(a1)
    sw      a0, \at(a4)
    sw      a3, \at + 4(a4)
    sw      a5, \at + 8(a4)
    sw      s0, \at + 12(a4)
    .endm
.Lcopy:
    lw      a0, 0(a1)
    lw      a3, 0(a4)
    beq     a0, a3, 2f
    addi    t2, a4, WORDS_END
    .balign 4
1:  copy_four 0
    copy_four 16
    copy_four 32
    addi    a1, a1, 48
    addi    a4, a4, 48
    bne     a4, t2, 1b
    addi    a1, a1, -WORDS_END
    addi    a4, a4, -WORDS_END
2:  ret

/* Writes the sums of the taps at a2 to t2, as instructions, and a return. Loses a0 to a5, s0, t2,
 * gp, tp. */
.Lsums:
    li      tp, 0x1013 + (A3 << 7)              /* slli a3, SUM, shift */
    lw      a0, FLAGS(sp)
    andi    a0, a0, DEPTHWISE_POWERS
    bnez    a0, .Lpowers
#ifdef MULTIPLIER
/* For each tap li a3, tap and mul a3, a3, row and add cur, prev, a3; for one from -1 to 1 the last
 * alone, with the row itself or zero. a3: the tap; a4: the instruction in .Lpower_sums that adds
 * the row; a1: the row as its second operand; a5: the instruction without it; a0: 3. */
    lla     a4, .Lpower_sums
    mv      s0, t2
    li      gp, 0x13 + (A3 << 7) - (1 << 20)
    li      tp, 0x02000033 + (A3 << 7) + (A3 << 15)
    lui     t2, A3 << 8
    li      a0, 3
    lw      a5, 0(a4)
    .balign 4
.Ltap:
    lb      a3, 0(a2)
    addi    a2, a2, 1
    mv      a1, a5
    srli    a1, a1, 20
    slli    a1, a1, 20
    sub     a5, a5, a1
    addi    a3, a3, 1
    bltu    a3, a0, .Lsmall
    slli    a3, a3, 20
    add     a3, a3, gp
    add     a1, a1, tp
    add     a5, a5, t2
    sw      a3, 0(s0)
    sw      a1, 4(s0)
.Ladd:
    sw      a5, 8(s0)
    addi    s0, s0, 12
    addi    a4, a4, 4
    lw      a5, 0(a4)
    bnez    a5, .Ltap
    mv      t2, s0
#else
/* Of terms. a3: a term; a5: where the sum is, as the first operand of an instruction: in a3 or, of
 * one term, in a register of a column; a4: the instruction in .Llast that ends the sum. */
    lla     a4, .Llast
    li      s0, A3 << 15
    li      gp, 0x33 + (A3 << 7) + (A0 << 20)   /* add a3, SUM, a0 + row */
.Lsum:
    lb      a3, 0(a2)
    addi    a2, a2, 1
    mv      a5, a3
    andi    a5, a5, DEPTHWISE_ROW
    addi    a5, a5, A0
    slli    a5, a5, 15
    bne     a5, s0, .Lshift
    li      a5, 0                   /* the register zero */
    j       .Lsum_end
    .balign 4
.Lterm:
    lb      a3, 0(a2)
    addi    a2, a2, 1
    mv      a0, a3
    andi    a0, a0, DEPTHWISE_ROW
    slli    a0, a0, 20
    add     a0, a0, a5
    add     a0, a0, gp
    andi    a1, a3, DEPTHWISE_SUBTRACT
    slli    a1, a1, 25              /* add to sub */
    add     a0, a0, a1
    sw      a0, 0(t2)
    addi    t2, t2, 4
    mv      a5, s0
.Lshift:
    mv      a0, a3
    andi    a0, a0, 7 << DEPTHWISE_SHIFT
    beqz    a0, 1f
    slli    a0, a0, 20 - DEPTHWISE_SHIFT
    add     a0, a0, a5
    add     a0, a0, tp
    sw      a0, 0(t2)
    addi    t2, t2, 4
    mv      a5, s0
1:  bgez    a3, .Lterm
.Lsum_end:
    lw      a0, 0(a4)
    slli    a5, a5, 5               /* the second operand */
    add     a0, a0, a5
    andi    a3, a3, DEPTHWISE_NEGATE
    slli    a3, a3, 24
    add     a0, a0, a3
    sw      a0, 0(t2)
    addi    t2, t2, 4
    addi    a4, a4, 4
    lw      a0, 0(a4)
    bnez    a0, .Lsum
#endif
.Lsums_end:
    sw      a2, TAPS(sp)
    li      a0, 0x8067              /* ret */
    sw      a0, 0(t2)
    ret
#ifdef MULTIPLIER
.Lsmall:
    addi    s0, s0, -8
    addi    a3, a3, -1
    beqz    a3, .Ladd
    add     a5, a5, a1
    srli    a3, a3, 31
    slli    a3, a3, 30              /* add to sub */
    add     a5, a5, a3
    j       .Ladd
#endif

/* The same of powers. a3: what is left of two codes below a 1; a4: the instruction in .Lpower_sums
 * that adds the next row; s0: a3 as an operand that is added. */
.Lpowers:
    lla     a4, .Lpower_sums
    li      s0, A3 << 20
    li      a3, 1
    lw      a5, 0(a4)
    .balign 4
.Lpower:
    srli    a0, a3, 1
    bnez    a0, 1f
    lbu     a3, 0(a2)
    addi    a2, a2, 1
    addi    a3, a3, 256
1:  mv      a0, a3
    andi    a0, a0, DEPTHWISE_EXPONENT
    beqz    a0, 2f
    srli    a1, a5, 20
    slli    a1, a1, 15
    slli    a0, a0, 20
    add     a0, a0, a1
    add     a0, a0, tp
    sw      a0, 0(t2)
    addi    t2, t2, 4
    slli    a5, a5, 12
    srli    a5, a5, 12
    add     a5, a5, s0
2:  mv      a0, a3
    andi    a0, a0, DEPTHWISE_NEGATIVE
    slli    a0, a0, 27              /* add to sub */
    add     a0, a0, a5
    sw      a0, 0(t2)
    addi    t2, t2, 4
    srli    a3, a3, 4
    addi    a4, a4, 4
    lw      a5, 0(a4)
    bnez    a5, .Lpower
    j       .Lsums_end

/* Sums of 32 bits. */
.Lwide:
    lbu     a5, 0(a2)
    slli    a5, a5, 16
    add     s1, s1, a5
    lbu     a5, 1(a2)
    slli    a5, a5, 24
    add     s1, s1, a5
    addi    a2, a2, 2
    lla     a1, .Lrow
    jal     .Lcopy
    lw      a3, SHIFT(sp)
    slli    a3, a3, 20
    patch   ROW_SHIFT, a3
    lw      a3, STEP(sp)
    slli    a3, a3, 20
    patch   ROW_COLUMN + 8, a3
    addi    t2, a4, ROW_END
    jal     .Lsums
    lw      a1, STAGE(sp)
    lw      a0, HIGHEST(a1)
    mv      tp, a0
    lw      a0, POOL(a1)
    lw      a5, ROWS(a1)
    sub     a5, a5, a0
    addi    a5, a5, -1              /* with an odd number of rows, one more */
    srli    a5, a5, 1
    sw      a5, LEFT(sp)
    lw      a3, CODE(sp)
    lw      a4, STEP(sp)
    addi    a1, a4, -8 - 2
    li      a2, LI_A1
    bnez    a0, 1f
    addi    a3, a3, ROW_FIRST
    j       2f
1:  srli    a4, a4, 3
    slli    a4, a4, 3
    srli    a1, a4, 1
    addi    a1, a1, -4 - 2
    li      a2, LHU_A1_T1
2:  sw      a1, BACK(sp)
    sw      a2, SECOND(sp)
    sw      a3, FIRST(sp)
    sw      a4, WIDTH(sp)
    slli    a0, a0, 1
    add     a1, a1, a0
    sw      a1, AGAIN(sp)
    lw      a5, STEP(sp)
    sub     a5, a5, a4
    addi    a5, a5, -2              /* second rows end 2 bytes later */
    sw      a5, SKIPPED(sp)
    lla     a5, .Lrow_strip         /* it returns there by way of .Lpool_strip */
    sw      a5, COLUMN(sp)
.Lrow_strip:                        /* t0: its first word */
    lla     a5, .Lrow_second
    li      a2, LI_A1
    li      a1, 2
.Lrow_begin:                        /* a1: bytes from a value to the one below */
    sw      a5, STRIP(sp)
    lw      a4, CODE(sp)
    sw      a2, ROW_STORED(a4)
    slli    a1, a1, 20
    li      a0, LHU_A1_T0
    add     a0, a0, a1
    sw      a0, ROW_COLUMN + 4(a4)
    lw      a5, WIDTH(sp)
    add     t2, t0, a5
    lw      ra, FIRST(sp)
    addi    a4, a4, ROW_COLUMN
    jr      a4
.Lrow_second:
    lw      a5, AGAIN(sp)
    sub     t1, t1, a5
    lw      a5, WIDTH(sp)
    sub     t0, t0, a5
    addi    t0, t0, 2
    lla     a5, .Lpool_strip
    lw      a2, SECOND(sp)
    lw      a1, STEP(sp)
    addi    a1, a1, -2
    j       .Lrow_begin
    .size   CONVOLVE, . - CONVOLVE
    .set    frame.CONVOLVE, FRAME

/* void BitNetMCU_pair_rows(const int8_t *map, uint32_t rows, uint32_t columns, uint32_t pixel,
 *                          uint32_t *pairs): t0 and a0 two rows, a5 the end of the words of both */
    .section .text.BitNetMCU_pair_rows, "ax"
    .globl  BitNetMCU_pair_rows
    .type   BitNetMCU_pair_rows, @function
    .balign 4
BitNetMCU_pair_rows:
    addi    sp, sp, -8
    sw      s0, 0(sp)
    sw      s1, 4(sp)
    li      s0, 0                   /* bytes of a row */
    mv      a5, a2
1:  add     s0, s0, a3
    addi    a5, a5, -1
    bnez    a5, 1b
    slli    a2, a2, 2
    addi    a1, a1, -1
    beqz    a1, .Lone_row
.Lpair:
    add     t0, a0, s0
    add     a5, a4, a2
1:  lbu     s1, 0(t0)
    lbu     t1, 0(a0)
    slli    s1, s1, 16
    add     s1, s1, t1
    add     a0, a0, a3
    add     t0, t0, a3
    sw      s1, 0(a4)
    addi    a4, a4, 4
    bne     a4, a5, 1b
    mv      a0, t0
    addi    a1, a1, -2
    bgtz    a1, .Lpair
    bltz    a1, .Lall_rows
.Lone_row:
    add     a5, a4, a2
1:  lbu     t1, 0(a0)
    add     a0, a0, a3
    sw      t1, 0(a4)
    addi    a4, a4, 4
    bne     a4, a5, 1b
.Lall_rows:
    lw      s0, 0(sp)
    lw      s1, 4(sp)
    addi    sp, sp, 8
    ret
    .size   BitNetMCU_pair_rows, . - BitNetMCU_pair_rows
    .set    frame.BitNetMCU_pair_rows, 8

/* void BitNetMCU_unpair_rows(const uint32_t *pairs, uint32_t rows, uint32_t columns, uint32_t pixel,
 *                            int8_t *map) */
    .section .text.BitNetMCU_unpair_rows, "ax"
    .globl  BitNetMCU_unpair_rows
    .type   BitNetMCU_unpair_rows, @function
    .balign 4
BitNetMCU_unpair_rows:
    slli    a2, a2, 2
.Lhalves:
    add     a5, a0, a2
1:  lw      t0, 0(a0)
    addi    a0, a0, 4
    sb      t0, 0(a4)
    add     a4, a4, a3
    bne     a0, a5, 1b
    addi    a1, a1, -1
    beqz    a1, 2f
    sub     a0, a0, a2
1:  lbu     t0, 2(a0)
    addi    a0, a0, 4
    sb      t0, 0(a4)
    add     a4, a4, a3
    bne     a0, a5, 1b
    addi    a1, a1, -1
    bnez    a1, .Lhalves
2:  ret
    .size   BitNetMCU_unpair_rows, . - BitNetMCU_unpair_rows
    .set    frame.BitNetMCU_unpair_rows, 0
