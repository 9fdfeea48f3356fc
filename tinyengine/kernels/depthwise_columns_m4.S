/* Outputs of depthwise_conv_2d_columns.c, three to six below each other at a time; there is its
 * meaning in C, too.
 *
 *     void te_run_columns(const te_columns *of);
 *
 * r0 columns, r1 weights, lr how many are left (te_reads), r4-r9 sums of as many outputs as there
 * are, from the highest on, others columns and weights.
 */

#include "depthwise_shift.h"

#if defined __ARM_FEATURE_DSP && defined __thumb2__ /* as in simd.h */
    .syntax unified
    .thumb
    .text

/* te_columns, copied to the stack, with code in place of the kind; then a channel's requantisation,
 * and what changes along its rows */
    .equ    READS, 0
    .equ    READS_END, 4
    .equ    COLUMNS, 8
    .equ    OUTPUT, 12
    .equ    ROW, 16
    .equ    PIXEL, 20
    .equ    CODE, 24
    .equ    ROWS, 28
    .equ    RECORD, 32
    .equ    RECORDS_END, 36
    .equ    RECORD_BYTES, 40
    .equ    BIAS, 44
    .equ    MULTIPLIER, 48
    .equ    ADDEND, 52
    .equ    RIGHT, 56
    .equ    LIST, 60
    .equ    AT, 64
    .equ    WEIGHTS, 68
    .equ    STORE, 72               /* code for the outputs */
    .equ    LOCALS, 76
    .equ    SAVED, 9 * 4            /* r4-r11 lr */

/* A weight word with outputs 0, 2, 4 by rows a, b, c; and with 1, 3, 5. */
    .macro  even op, outputs, w, a, b, c
    \op     r4, \a, \w, r4
    \op     r6, \b, \w, r6
    .if     \outputs > 4
    \op     r8, \c, \w, r8
    .endif
    .endm

    .macro  odd op, outputs, w, a, b, c
    \op     r5, \a, \w, r5
    .if     \outputs > 3
    \op     r7, \b, \w, r7
    .endif
    .if     \outputs > 5
    \op     r9, \c, \w, r9
    .endif
    .endm

    .macro  begin outputs
    mov     r5, r4
    mov     r6, r4
    .if     \outputs > 3
    mov     r7, r4
    .endif
    .if     \outputs > 4
    mov     r8, r4
    .endif
    .if     \outputs > 5
    mov     r9, r4
    .endif
    .endm

/* A column of the window, `height` rows high, with stride 1: first the rows that output 0 begins
 * with, then two rows further down each time; outputs 1, 3, 5 begin and 0, 2, 4 end with one row of
 * a pair. Before each is a load of the next two rows, in place of the uppermost. */
    .macro  column_1 height, outputs
    ldr     r2, [r0]
    ldr     r3, [r0, #16]
    .if     \outputs > 4
    ldr     r10, [r0, #32]
    .endif
    ldr     r11, [r1], #4 * (\height - 1)
    even    smlad, \outputs, r11, r2, r3, r10
    odd     smlatb, \outputs, r11, r2, r3, r10
    .if     \outputs > 4
    ldr     r2, [r0, #48]
    .else
    ldr     r2, [r0, #32]
    .endif
    ldr     r11, [r1, #4 - 4 * (\height - 1)]
    ldr     r12, [r1, #8 - 4 * (\height - 1)]
    .if     \outputs > 4
    even    smlad, \outputs, r11, r3, r10, r2
    odd     smlad, \outputs, r12, r3, r10, r2
    ldr     r3, [r0, #64]
    .else
    even    smlad, \outputs, r11, r3, r2
    odd     smlad, \outputs, r12, r3, r2
    ldr     r3, [r0, #48]
    .endif
    .if     \height == 5
    ldr     r11, [r1, #-4]
    .if     \outputs > 4
    odd     smlad, \outputs, r11, r10, r2, r3
    even    smlabt, \outputs, r11, r10, r2, r3
    .else
    odd     smlad, \outputs, r11, r2, r3
    even    smlabt, \outputs, r11, r2, r3
    .endif
    .else
    ldr     r11, [r1, #-12]
    ldr     r12, [r1, #-8]
    .if     \outputs > 4
    even    smlad, \outputs, r11, r10, r2, r3
    odd     smlad, \outputs, r12, r10, r2, r3
    ldr     r10, [r0, #80]
    .else
    even    smlad, \outputs, r11, r2, r3
    odd     smlad, \outputs, r12, r2, r3
    ldr     r2, [r0, #64]
    .endif
    ldr     r11, [r1, #-4]
    .if     \outputs > 4
    odd     smlad, \outputs, r11, r2, r3, r10
    even    smlabt, \outputs, r11, r2, r3, r10
    .else
    odd     smlad, \outputs, r11, r3, r2
    even    smlabt, \outputs, r11, r3, r2
    .endif
    .endif
    .endm

/* The same of an image of as many rows as there are outputs, and padding all around: of pairs of
 * rows, those from number 1 on that lie on the image, in r2 r3 r10. */
    .macro  real op, sum, at, w, last
    .if     \at == 1
    \op     \sum, r2, \w, \sum
    .elseif \at == 2
    \op     \sum, r3, \w, \sum
    .elseif \at == 3 && \last > 2
    \op     \sum, r10, \w, \sum
    .endif
    .endm

    .macro  real_even op, outputs, w, at, last
    real    \op, r4, \at, \w, \last
    real    \op, r6, \at + 1, \w, \last
    .if     \outputs > 4
    real    \op, r8, \at + 2, \w, \last
    .endif
    .endm

    .macro  real_odd op, outputs, w, at, last
    real    \op, r5, \at, \w, \last
    .if     \outputs > 3
    real    \op, r7, \at + 1, \w, \last
    .endif
    .if     \outputs > 5
    real    \op, r9, \at + 2, \w, \last
    .endif
    .endm

    .macro  column_0 height, outputs
    whole   \height, \outputs, (\outputs - 1 + \height / 2) / 2
    .endm

    .macro  whole height, outputs, last
    ldr     r2, [r0, #16]
    ldr     r3, [r0, #32]
    .if     \last > 2
    ldr     r10, [r0, #48]
    .endif
    ldr     r12, [r1], #4 * (\height - 1)
    ldr     r11, [r1, #4 - 4 * (\height - 1)]
    real_even smlad, \outputs, r12, 0, \last
    real_odd smlatb, \outputs, r12, 0, \last
    real_even smlad, \outputs, r11, 1, \last
    ldr     r12, [r1, #8 - 4 * (\height - 1)]
    ldr     r11, [r1, #12 - 4 * (\height - 1)]
    real_odd smlad, \outputs, r12, 1, \last
    .if     \height == 7
    real_even smlad, \outputs, r11, 2, \last
    ldr     r12, [r1, #-8]
    ldr     r11, [r1, #-4]
    real_odd smlad, \outputs, r12, 2, \last
    .endif
    real_odd smlad, \outputs, r11, \height / 2, \last
    real_even smlabt, \outputs, r11, \height / 2, \last
    .endm

    .macro  each outputs, w, a, b, c, d, e
    smlad   r4, \a, \w, r4
    smlad   r5, \b, \w, r5
    smlad   r6, \c, \w, r6
    .if     \outputs > 3
    smlad   r7, \d, \w, r7
    .endif
    .if     \outputs > 4
    smlad   r8, \e, \w, r8
    .endif
    .endm

/* With stride 2: each output is two rows further down than the one before. */
    .macro  column_2 height, outputs
    ldr     r2, [r0]
    ldr     r3, [r0, #16]
    ldr     r10, [r0, #32]
    .if     \outputs > 3
    ldr     r11, [r0, #48]
    .endif
    .if     \outputs > 4
    ldr     r12, [r0, #64]
    .endif
    ldr     r9, [r1], #2 * (\height + 1)
    each    \outputs, r9, r2, r3, r10, r11, r12
    ldr     r2, [r0, #16 * \outputs]
    ldr     r9, [r1, #4 - 2 * (\height + 1)]
    .if     \outputs == 3
    each    3, r9, r3, r10, r2
    .elseif \outputs == 4
    each    4, r9, r3, r10, r11, r2
    .else
    each    5, r9, r3, r10, r11, r12, r2
    .endif
    ldr     r3, [r0, #16 * \outputs + 16]
    ldr     r9, [r1, #8 - 2 * (\height + 1)]
    .if     \height == 7
    .if     \outputs == 3
    each    3, r9, r10, r2, r3
    .elseif \outputs == 4
    each    4, r9, r10, r11, r2, r3
    .else
    each    5, r9, r10, r11, r12, r2, r3
    .endif
    ldr     r10, [r0, #16 * \outputs + 32]
    ldr     r9, [r1, #-4]
    .endif
    .if     \height == 5
    .if     \outputs == 3
    each    3, r9, r10, r2, r3
    .elseif \outputs == 4
    each    4, r9, r10, r11, r2, r3
    .else
    each    5, r9, r10, r11, r12, r2, r3
    .endif
    .elseif \outputs == 3
    each    3, r9, r2, r3, r10
    .elseif \outputs == 4
    each    4, r9, r11, r2, r3, r10
    .else
    each    5, r9, r11, r12, r2, r3, r10
    .endif
    .endm

    .macro  columns stride, height, outputs
.Lcolumns_\stride\height\outputs:
    begin   \outputs
1:  column_\stride \height, \outputs
    uxtah   r0, r0, lr
    subs    lr, #1 << 16
    bpl     1b
    b       .Lfinish
    .endm

    .macro  twice sum
    add     r2, r11, \sum, asr #31  /* ties away from zero */
    smmlar  \sum, \sum, r10, r2
    asr     \sum, \sum, r12
    ssat    \sum, #8, \sum
    strb    \sum, [r0]
    subs    r0, r0, r1
    .endm

    .macro  once sum
    smmla   \sum, \sum, r10, r11
    ssat    \sum, #8, \sum, asr #TE_DEPTHWISE_SHIFT
    strb    \sum, [r0]
    subs    r0, r0, r1
    .endm

    .balign 4
.Lcodes:                            /* of kinds, three to six outputs */
    .word   .Lcolumns_053 + 1, .Lcolumns_054 + 1, .Lcolumns_055 + 1, .Lcolumns_056 + 1
    .word   0, .Lcolumns_074 + 1, .Lcolumns_075 + 1, 0
    .word   .Lcolumns_153 + 1, .Lcolumns_154 + 1, .Lcolumns_155 + 1, .Lcolumns_156 + 1
    .word   .Lcolumns_173 + 1, .Lcolumns_174 + 1, .Lcolumns_175 + 1, .Lcolumns_176 + 1
    .word   .Lcolumns_253 + 1, .Lcolumns_254 + 1, .Lcolumns_255 + 1, 0
    .word   .Lcolumns_273 + 1, .Lcolumns_274 + 1, .Lcolumns_275 + 1
.Lstores:                           /* of three to six outputs: rounded twice, or once */
    .word   .Ltwice_3 + 1, .Lonce_3 + 1, .Ltwice_4 + 1, .Lonce_4 + 1
    .word   .Ltwice_5 + 1, .Lonce_5 + 1, .Ltwice_6 + 1, .Lonce_6 + 1

    .globl  te_run_columns
    .thumb_func
    .type   te_run_columns, %function
te_run_columns:
    push    {r4-r11, lr}
    sub     sp, #LOCALS
    ldm     r0, {r1-r11}
    stm     sp, {r1-r11}
    subs    r8, #3                  /* rows */
    adr     r1, .Lcodes
    add     r7, r7, r8              /* kind */
    ldr     r1, [r1, r7, lsl #2]
    str     r1, [sp, #CODE]
    adr     r1, .Lstores
    add     r1, r1, r8, lsl #3
    str     r1, [sp, #ROWS]
.Lchannel:
    ldr     r0, [sp, #RECORD]
    ldr     r1, [sp, #READS]
    ldr     r2, [sp, #OUTPUT]
    ldr     r3, [sp, #ROWS]
    ldm     r0!, {r4-r7}
    cmp     r7, #0
    it      lt
    addlt   r3, #4
    str     r1, [sp, #LIST]
    str     r2, [sp, #AT]
    ldr     r3, [r3]
    add     r8, sp, #BIAS
    str     r0, [sp, #WEIGHTS]
    stm     r8, {r4-r7}
    str     r3, [sp, #STORE]
    b       .Lpixel

    columns 0, 5, 3
    columns 0, 5, 4
    columns 0, 5, 5
    columns 0, 5, 6
    columns 0, 7, 4
    columns 0, 7, 5
    columns 1, 5, 3
    columns 1, 5, 4
    columns 1, 5, 5
    columns 1, 5, 6
    columns 1, 7, 3
    columns 1, 7, 4
    columns 1, 7, 5
    columns 1, 7, 6
    columns 2, 5, 3
    columns 2, 5, 4
    columns 2, 5, 5
    columns 2, 7, 3
    columns 2, 7, 4
    columns 2, 7, 5

.Lfinish:
    ldr     r0, [sp, #AT]
    ldr     r1, [sp, #ROW]
    ldr     r2, [sp, #PIXEL]
    ldr     r3, [sp, #STORE]
    ldr     r10, [sp, #MULTIPLIER]
    ldr     r11, [sp, #ADDEND]
    ldr     r12, [sp, #RIGHT]
    add     r2, r2, r0
    str     r2, [sp, #AT]
    bx      r3
.Ltwice_6:
    twice   r9
.Ltwice_5:
    twice   r8
.Ltwice_4:
    twice   r7
.Ltwice_3:
    twice   r6
    twice   r5
    twice   r4
    b       .Lpixel
.Lonce_6:
    once    r9
.Lonce_5:
    once    r8
.Lonce_4:
    once    r7
.Lonce_3:
    once    r6
    once    r5
    once    r4
.Lpixel:
    ldr     r10, [sp, #LIST]
    ldr     r0, [sp, #READS_END]
    ldr     r2, [sp, #COLUMNS]
    ldr     r3, [sp, #WEIGHTS]
    ldr     r4, [sp, #BIAS]
    ldr     r12, [sp, #CODE]
    cmp     r10, r0
    beq     .Lnext_channel
    ldm     r10!, {r0, r1, lr}
    str     r10, [sp, #LIST]
    add     r0, r0, r2
    add     r1, r1, r3
    bx      r12

.Lnext_channel:
    adds    r0, r2, #4              /* columns */
    ldr     r1, [sp, #OUTPUT]
    ldr     r2, [sp, #RECORD]
    ldr     r3, [sp, #RECORD_BYTES]
    ldr     r4, [sp, #RECORDS_END]
    adds    r1, #1
    add     r2, r2, r3
    str     r0, [sp, #COLUMNS]
    str     r1, [sp, #OUTPUT]
    cmp     r2, r4
    str     r2, [sp, #RECORD]
    bne     .Lchannel
    add     sp, #LOCALS
    pop     {r4-r11, pc}
    .size   te_run_columns, . - te_run_columns
    .set    frame.te_run_columns, SAVED + LOCALS
#endif
