/* Columns of the output of depthwise_conv_2d_low.c; run_low() there is their meaning in C.
 *
 *     void te_low_3(const te_low_columns *low);         3: the height; and 4, 5, 6
 *
 * r0 columns, r4-r9 weights, r1 r3 r10 r11 r12 lr as many as needed sums of a column of the output,
 * from the highest on; r2 and others columns of the input.
 */

#include "depthwise_shift.h"

#if defined __ARM_FEATURE_DSP && defined __thumb2__ /* as in simd.h */
    .syntax unified
    .thumb

/* te_low_columns, copied to the stack; then a channel's requantisation, two of its weights, where its
 * columns end, the next output */
    .equ    COLUMNS, 0
    .equ    OUTPUT, 4
    .equ    ROW, 8
    .equ    NEXT, 12
    .equ    LENGTH, 16
    .equ    RECORD, 20
    .equ    RECORDS_END, 24
    .equ    BIAS, 28
    .equ    MULTIPLIER, 32
    .equ    ADDEND, 36
    .equ    RIGHT, 40
    .equ    WEIGHTS, 44
    .equ    END, 52
    .equ    AT, 56
    .equ    LOCALS, 60
    .equ    SAVED, 9 * 4            /* r4-r11 lr */

/* What a word of two rows has for the outputs: the one above them, theirs, the one below. u, v:
 * weights 0, 1 and 1, 2 of the column; bias: in the first column, where sums begin. */
    .macro  pair word, u, v, above, upper, lower, below, bias
    .ifnb   \above
    smlabt  \above, \word, \v, \above
    .endif
    .ifb    \bias
    smlad   \upper, \word, \v, \upper
    .ifnb   \below
    smlatb  \below, \word, \u, \below
    .endif
    smlad   \lower, \word, \u, \lower
    .else
    .ifb    \above
    smlad   \upper, \word, \v, \bias
    .else
    smlad   \upper, \word, \v, \upper
    .endif
    .ifnb   \below
    smlatb  \below, \word, \u, \bias
    .endif
    smlad   \lower, \word, \u, \bias
    .endif
    .endm

/* of an odd number of rows the last two, of which the first was in the pair before */
    .macro  last_pair word, u, v, above, lower
    smlatt  \above, \word, \v, \above
    smlad   \lower, \word, \u, \lower
    .endm

    .macro  sums_3
    ldr     r2, [r0], #32
    ldr     r11, [r0, #-16]
    ldr     r12, [r0]
    ldr     lr, [r0, #16]
    ldr     r10, [sp, #BIAS]
    pair    r2, r4, r5, , r1, r3, , r10
    last_pair r11, r4, r5, r3, r10
    ldr     r2, [r0, #32]
    ldr     r11, [r0, #48]
    pair    r12, r6, r7, , r1, r3
    last_pair lr, r6, r7, r3, r10
    pair    r2, r8, r9, , r1, r3
    last_pair r11, r8, r9, r3, r10
    .endm

    .macro  sums_4
    ldr     r2, [r0], #32
    ldr     r12, [r0, #-16]
    ldr     lr, [r0]
    ldr     r11, [sp, #BIAS]
    pair    r2, r4, r5, , r1, r3, r10, r11
    pair    r12, r4, r5, r3, r10, r11, , r11
    pair    lr, r6, r7, , r1, r3, r10
    ldr     r2, [r0, #16]
    ldr     r12, [r0, #32]
    ldr     lr, [r0, #48]
    pair    r2, r6, r7, r3, r10, r11
    pair    r12, r8, r9, , r1, r3, r10
    pair    lr, r8, r9, r3, r10, r11
    .endm

    .macro  sums_5
    ldr     r2, [r0], #48
    ldr     lr, [r0, #-32]
    ldr     r12, [sp, #BIAS]
    pair    r2, r4, r5, , r1, r3, r10, r12
    pair    lr, r4, r5, r3, r10, r11, , r12
    ldr     r2, [r0, #-16]
    ldr     lr, [r0]
    last_pair r2, r4, r5, r11, r12
    pair    lr, r6, r7, , r1, r3, r10
    ldr     r2, [r0, #16]
    ldr     lr, [r0, #32]
    pair    r2, r6, r7, r3, r10, r11
    last_pair lr, r6, r7, r11, r12
    ldr     r2, [r0, #48]
    ldr     lr, [r0, #64]
    pair    r2, r8, r9, , r1, r3, r10
    pair    lr, r8, r9, r3, r10, r11
    ldr     r2, [r0, #80]
    last_pair r2, r8, r9, r11, r12
    .endm

    .macro  sums_6                  /* r11 is a word of the input before it is a sum */
    ldr     r2, [r0], #48
    ldr     r11, [r0, #-32]
    ldr     lr, [sp, #BIAS]
    pair    r2, r4, r5, , r1, r3, r10, lr
    ldr     r2, [r0, #-16]
    pair    r11, r4, r5, r3, r10, r11, r12, lr
    pair    r2, r4, r5, r11, r12, lr, , lr
    ldr     r2, [r0]
    pair    r2, r6, r7, , r1, r3, r10
    ldr     r2, [r0, #16]
    pair    r2, r6, r7, r3, r10, r11, r12
    ldr     r2, [r0, #32]
    pair    r2, r6, r7, r11, r12, lr
    ldr     r2, [r0, #48]
    pair    r2, r8, r9, , r1, r3, r10
    ldr     r2, [r0, #64]
    pair    r2, r8, r9, r3, r10, r11, r12
    ldr     r2, [r0, #80]
    pair    r2, r8, r9, r11, r12, lr
    .endm

    .macro  product sum, once, addend, spare
    .if     \once
    smmla   \sum, \sum, r2, \addend
    .else
    add     \spare, \addend, \sum, asr #31  /* ties away from zero */
    smmlar  \sum, \sum, r2, \spare
    .endif
    .endm

    .macro  output sum, once, row, right, last
    .if     \once
    ssat    \sum, #8, \sum, asr #TE_DEPTHWISE_SHIFT
    .else
    asr     \sum, \sum, \right
    ssat    \sum, #8, \sum
    .endif
    strb    \sum, [r2]
    .ifb    \last
    add     r2, r2, \row
    .endif
    .endm

/* r2, one and other: registers besides the sums */
    .macro  outputs once, one, other, sums:vararg
    ldr     r2, [sp, #MULTIPLIER]
    ldr     \one, [sp, #ADDEND]
    .irp    sum, \sums
    product \sum, \once, \one, \other
    .endr
    ldr     r2, [sp, #AT]
    ldr     \one, [sp, #ROW]
    .if     \once == 0
    ldr     \other, [sp, #RIGHT]
    .endif
    .endm

    .macro  column rows, once
    sums_\rows
    .if     \rows == 3
    outputs \once, r11, r12, r1, r3, r10
    output  r1, \once, r11, r12
    output  r3, \once, r11, r12
    output  r10, \once, r11, r12, last
    .endif
    .if     \rows == 4
    outputs \once, r12, lr, r1, r3, r10, r11
    output  r1, \once, r12, lr
    output  r3, \once, r12, lr
    output  r10, \once, r12, lr
    output  r11, \once, r12, lr, last
    .endif
    .if     \rows == 5
    outputs \once, lr, r9, r1, r3, r10, r11, r12
    output  r1, \once, lr, r9
    output  r3, \once, lr, r9
    output  r10, \once, lr, r9
    output  r11, \once, lr, r9
    output  r12, \once, lr, r9, last
    .endif
    .if     \rows == 6
    outputs \once, r9, r8, r1, r3, r10, r11, r12, lr
    output  r1, \once, r9, r8
    output  r3, \once, r9, r8
    output  r10, \once, r9, r8
    output  r11, \once, r9, r8
    output  r12, \once, r9, r8
    output  lr, \once, r9, r8, last
    .endif
    ldr     r1, [sp, #NEXT]
    ldr     r3, [sp, #END]
    .if     \rows == 6 && \once == 0
    ldr     r8, [sp, #WEIGHTS]
    .endif
    .if     \rows == 6 || \rows == 5 && \once == 0
    ldr     r9, [sp, #WEIGHTS + 4]
    .endif
    add     r2, r2, r1
    cmp     r0, r3
    str     r2, [sp, #AT]
    .endm

    .macro  low rows
    .section .text.te_low_\rows, "ax"
    .globl  te_low_\rows
    .thumb_func
    .type   te_low_\rows, %function
te_low_\rows:
    push    {r4-r11, lr}
    sub     sp, #LOCALS
    ldm     r0, {r1-r7}
    stm     sp, {r1-r7}
1:  ldr     r0, [sp, #COLUMNS]
    ldr     r1, [sp, #OUTPUT]
    ldr     r2, [sp, #LENGTH]
    ldr     r3, [sp, #RECORD]
    str     r1, [sp, #AT]
    add     r2, r2, r0
    ldm     r3!, {r4-r9}
    str     r2, [sp, #END]
    ldm     r3!, {r10-r12, lr}
    str     r3, [sp, #RECORD]
    add     r3, sp, #BIAS
    cmp     lr, #0                  /* N: rounded once */
    stm     r3, {r10-r12, lr}
    .if     \rows > 4
    str     r8, [sp, #WEIGHTS]
    str     r9, [sp, #WEIGHTS + 4]
    .endif
    blt     3f
2:  column  \rows, 0
    bne     2b
    b       4f
3:  column  \rows, 1
    bne     3b
4:  ldr     r0, [sp, #COLUMNS]      /* the next channel */
    ldr     r1, [sp, #OUTPUT]
    ldr     r2, [sp, #RECORD]
    ldr     r3, [sp, #RECORDS_END]
    adds    r0, #4
    adds    r1, #1
    cmp     r2, r3
    str     r0, [sp, #COLUMNS]
    str     r1, [sp, #OUTPUT]
    bne     1b
    add     sp, #LOCALS
    pop     {r4-r11, pc}
    .size   te_low_\rows, . - te_low_\rows
    .set    frame.te_low_\rows, SAVED + LOCALS
    .endm

    low     3
    low     4
    low     5
    low     6
#endif
