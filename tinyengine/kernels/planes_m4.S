/* Rows of the output of depthwise_conv_2d_planes.c, for the channels in the records; there is its
 * meaning in C, too.
 *
 *     void te_planes_run(const te_planes_rows *rows);
 *
 * r0 columns, r1 weights, lr runs of taps, r4-r9 sums of six outputs (or of four, or five), others
 * columns, r2 r3 weights.
 */

#include "depthwise_shift.h"

#if defined __ARM_FEATURE_DSP && defined __thumb2__ /* as in simd.h */
    .syntax unified
    .thumb
    .text

/* te_planes_rows, copied to the stack; then what changes with the channel, the row, and along it */
    .equ    RUNS, 0
    .equ    PLANES, 4
    .equ    OUTPUT, 8
    .equ    ROWS, 12
    .equ    ROW, 16
    .equ    CHANNELS, 20
    .equ    WIDTH, 24
    .equ    PITCH, 28
    .equ    KIND, 32
    .equ    RECORD, 36
    .equ    RECORDS_END, 40
    .equ    RECORD_BYTES, 44
    .equ    BIAS, 48
    .equ    MULTIPLIER, 52          /* then addend, right shift */
    .equ    FIRST, 64               /* weights of all rows of the window */
    .equ    NEXT_RUNS, 68
    .equ    NEXT_OUTPUT, 72
    .equ    ROWS_LEFT, 76
    .equ    LIST, 80
    .equ    WEIGHTS, 84
    .equ    COLUMNS, 88
    .equ    PIXEL, 92
    .equ    LEFT, 96
    .equ    LOCALS, 100
    .equ    SAVED, 9 * 4            /* r4-r11 lr */

/* word number `step` of a run; with stride 1, outputs at odd columns have weights of their own */
    .macro  step_1 outputs, step, a, b, c
    .if     \outputs == 6
    ldr     \c, [r0, #4 * \step + 8]
    .else
    ldr     \b, [r0, #4 * \step + 4]
    .endif
    ldr     r2, [r1], #8
    ldr     r3, [r1, #-4]
    smlad   r4, \a, r2, r4
    smlad   r5, \a, r3, r5
    smlad   r6, \b, r2, r6
    smlad   r7, \b, r3, r7
    .if     \outputs == 6
    smlad   r8, \c, r2, r8
    smlad   r9, \c, r3, r9
    .endif
    .endm

    .macro  step_2 step, a, b, c, d, e
    ldr     \e, [r0, #4 * \step + 16]
    ldr     r2, [r1], #4
    smlad   r4, \a, r2, r4
    smlad   r5, \b, r2, r5
    smlad   r6, \c, r2, r6
    smlad   r7, \d, r2, r7
    smlad   r8, \e, r2, r8
    .endm

/* all runs of `words` words */
    .macro  next_run                /* N: there is none */
    ldr     r0, [lr], #4
    ldr     r2, [sp, #COLUMNS]
    adds    r0, r0, r2
    .endm

    .macro  runs_1 outputs, words
    next_run
    bmi     9f
1:  ldr     r10, [r0]
    .if     \outputs == 6
    ldr     r11, [r0, #4]
    step_1  6, 0, r10, r11, r12
    step_1  6, 1, r11, r12, r10
    .if     \words > 2
    step_1  6, 2, r12, r10, r11
    .endif
    .if     \words > 3
    step_1  6, 3, r10, r11, r12
    .endif
    .else
    step_1  4, 0, r10, r11
    step_1  4, 1, r11, r10
    .if     \words > 2
    step_1  4, 2, r10, r11
    .endif
    .if     \words > 3
    step_1  4, 3, r11, r10
    .endif
    .endif
    next_run
    bpl     1b
9:  movs    r2, #\outputs
    movs    r3, #2 * \outputs
    b       .Lfinish
    .endm

    .macro  runs_2 words
    next_run
    bmi     9f
1:  ldr     r9, [r0]
    ldr     r10, [r0, #4]
    ldr     r11, [r0, #8]
    ldr     r12, [r0, #12]
    step_2  0, r9, r10, r11, r12, r3
    step_2  1, r10, r11, r12, r3, r9
    .if     \words > 2
    step_2  2, r11, r12, r3, r9, r10
    .endif
    .if     \words > 3
    step_2  3, r12, r3, r9, r10, r11
    .endif
    next_run
    bpl     1b
9:  movs    r2, #5
    movs    r3, #20
    b       .Lfinish
    .endm

    .macro  twice acc
    add     r2, r11, \acc, asr #31  /* ties away from zero */
    smmlar  \acc, \acc, r10, r2
    asr     \acc, \acc, r12
    ssat    \acc, #8, \acc
    strb    \acc, [r0]
    subs    r0, r0, r1
    .endm

    .macro  once acc
    smmla   \acc, \acc, r10, r11
    ssat    \acc, #8, \acc, asr #TE_DEPTHWISE_SHIFT
    strb    \acc, [r0]
    subs    r0, r0, r1
    .endm

    .globl  te_planes_run
    .thumb_func
    .type   te_planes_run, %function
te_planes_run:
    push    {r4-r11, lr}
    sub     sp, #LOCALS
    ldm     r0, {r1-r12}
    stm     sp, {r1-r12}
.Lchannel:
    ldr     r0, [sp, #RECORD]
    ldr     r1, [sp, #RUNS]
    ldr     r2, [sp, #OUTPUT]
    ldr     r3, [sp, #ROWS]
    ldm     r0!, {r4-r7}
    add     r8, sp, #BIAS
    stm     r8!, {r4-r7}
    stm     r8, {r0-r3}
.Lrow:
    ldr     r0, [sp, #NEXT_RUNS]
    ldr     r1, [sp, #FIRST]
    ldr     r2, [sp, #PLANES]
    ldr     r3, [sp, #NEXT_OUTPUT]
    ldr     r4, [sp, #WIDTH]
    ldr     r5, [sp, #ROW]
    ldr     r6, [r0], #4            /* bytes of weights in front of the first run */
    add     r5, r5, r3
    add     r1, r1, r6
    str     r5, [sp, #NEXT_OUTPUT]
    add     r5, sp, #LIST
    stm     r5, {r0-r4}
.Lblock:
    ldr     r2, [sp, #LEFT]
    ldr     r3, [sp, #KIND]
    ldr     r4, [sp, #BIAS]
    ldr     r1, [sp, #WEIGHTS]
    ldr     lr, [sp, #LIST]
    mov     r5, r4
    mov     r6, r4
    mov     r7, r4
    mov     r8, r4
    mov     r9, r4
    cmp     r3, #3
    bge     1f
    cmp     r2, #4
    ble     1f
    adds    r3, #6                  /* six outputs in place of four */
1:  tbh     [pc, r3, lsl #1]
2:  .hword  (.Lkind_0 - 2b) / 2, (.Lkind_1 - 2b) / 2, (.Lkind_2 - 2b) / 2
    .hword  (.Lkind_3 - 2b) / 2, (.Lkind_4 - 2b) / 2, (.Lkind_5 - 2b) / 2
    .hword  (.Lkind_6 - 2b) / 2, (.Lkind_7 - 2b) / 2, (.Lkind_8 - 2b) / 2
.Lkind_0:
    runs_1  4, 2
.Lkind_1:
    runs_1  4, 3
.Lkind_2:
    runs_1  4, 4
.Lkind_3:
    runs_2  2
.Lkind_4:
    runs_2  3
.Lkind_5:
    runs_2  4
.Lkind_6:
    runs_1  6, 2
.Lkind_7:
    runs_1  6, 3
.Lkind_8:
    runs_1  6, 4

.Lfinish:                             /* r2 outputs, of r3 bytes of columns */
    ldr     r0, [sp, #PIXEL]
    ldr     r1, [sp, #CHANNELS]
    ldr     r10, [sp, #COLUMNS]
    ldr     r11, [sp, #LEFT]
    add     r10, r10, r3
    str     r10, [sp, #COLUMNS]
    mla     r12, r2, r1, r0
    str     r12, [sp, #PIXEL]
    subs    r3, r11, r2
    str     r3, [sp, #LEFT]
    it      lt
    movlt   r2, r11
    subs    r2, #1
    mla     r0, r2, r1, r0          /* the last one */
    ldr     r10, [sp, #MULTIPLIER]
    ldr     r11, [sp, #MULTIPLIER + 4]
    ldr     r12, [sp, #MULTIPLIER + 8]
    cmp     r12, #0
    blt     4f
    tbb     [pc, r2]
3:  .byte   (21f - 3b) / 2, (22f - 3b) / 2, (23f - 3b) / 2
    .byte   (24f - 3b) / 2, (25f - 3b) / 2, (26f - 3b) / 2
26: twice   r9
25: twice   r8
24: twice   r7
23: twice   r6
22: twice   r5
21: twice   r4
    b       6f
4:  tbb     [pc, r2]
5:  .byte   (31f - 5b) / 2, (32f - 5b) / 2, (33f - 5b) / 2
    .byte   (34f - 5b) / 2, (35f - 5b) / 2, (36f - 5b) / 2
36: once    r9
35: once    r8
34: once    r7
33: once    r6
32: once    r5
31: once    r4
6:  cmp     r3, #0
    bgt     .Lblock
    ldr     r0, [sp, #ROWS_LEFT]
    str     lr, [sp, #NEXT_RUNS]
    subs    r0, r0, #1
    str     r0, [sp, #ROWS_LEFT]
    bne     .Lrow
    ldr     r0, [sp, #PLANES]       /* the next channel */
    ldr     r1, [sp, #PITCH]
    ldr     r2, [sp, #OUTPUT]
    ldr     r3, [sp, #RECORD]
    ldr     r4, [sp, #RECORD_BYTES]
    ldr     r5, [sp, #RECORDS_END]
    add     r0, r0, r1
    adds    r2, #1
    add     r3, r3, r4
    str     r0, [sp, #PLANES]
    str     r2, [sp, #OUTPUT]
    str     r3, [sp, #RECORD]
    cmp     r3, r5
    bne     .Lchannel
    add     sp, #LOCALS
    pop     {r4-r11, pc}
    .size   te_planes_run, . - te_planes_run
    .set    frame.te_planes_run, SAVED + LOCALS
#endif
