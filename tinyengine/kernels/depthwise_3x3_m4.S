/* A strip of depthwise_conv_2d_3x3.c, two rows by two columns of the output at a time; strip_3x3()
 * there is its meaning in C.
 *
 *     void te_strip_3x3_1(const te_strip_3x3 *strip);         1: the stride; and 2
 *     void te_expand_3x3_1(te_next_rows *next);               expand() there; and 2
 *
 * r0 columns, r1 staged outputs, r4-r9 weights (stride 2: r4-r8), r10 r11 sums of a column of the output,
 * upper and lower, r12 lr those of the next one, r2 r3 (r9) columns of the input.
 */

#include "depthwise_shift.h"

#if defined __ARM_FEATURE_DSP && defined __thumb2__ /* as in simd.h */
    .syntax unified
    .thumb
    .text

/* te_strip_3x3, copied to the stack; then a channel's requantisation, and where its columns end */
    .equ    COLUMNS, 0
    .equ    STAGED, 4
    .equ    LENGTH, 8
    .equ    ODD, 12
    .equ    RECORD, 16
    .equ    RECORDS_END, 20
    .equ    STEP, 24
    .equ    PIXELS, 28
    .equ    OUTPUT, 32
    .equ    PIXEL, 36
    .equ    LOWER, 40
    .equ    LANES, 44
    .equ    BIAS, 48
    .equ    MULTIPLIER, 52
    .equ    ADDEND, 56
    .equ    RIGHT, 60
    .equ    END, 64
    .equ    WEIGHTS, 68             /* a copy of r9, where it is needed for more */
    .equ    LOCALS, 72
    .equ    SAVED, 9 * 4            /* r4-r11 lr */

/* a column of the input, as of which a column of the output has a tap */
    .macro  tap_1 upper, lower, first, second, u, v, upper_in, lower_in
    smlad   \upper, \first, \u, \upper_in
    smlatb  \lower, \first, \u, \lower_in
    smlabt  \upper, \second, \v, \upper
    smlad   \lower, \second, \v, \lower
    .endm

    .macro  tap_2 upper, lower, u, half, w, upper_in, lower_in
    smlad   \upper, r2, \u, \upper_in
    smlad   \lower, r3, \u, \lower_in
    smlab\half \upper, r3, \w, \upper
    smlab\half \lower, r9, \w, \lower
    .endm

    .macro  load_1 column           /* of r0's as it was moved on by two */
    ldr     r2, [r0, #32 * \column - 64]
    ldr     r3, [r0, #32 * \column - 60]
    .endm

    .macro  load_2 column           /* likewise, by four */
    ldr     r2, [r0, #48 * \column - 192]
    ldr     r3, [r0, #48 * \column - 188]
    ldr     r9, [r0, #48 * \column - 184]
    .endm

    .macro  sums_1 columns, once
    ldr     r11, [r0], #64
    ldr     r12, [r0, #-60]
    load_1  1
    ldr     lr, [sp, #BIAS]
    tap_1   r10, r11, r11, r12, r4, r5, lr, lr
    .if     \columns == 2
    tap_1   r12, lr, r2, r3, r4, r5, lr, lr
    .endif
    tap_1   r10, r11, r2, r3, r6, r7, r10, r11
    load_1  2
    .if     \once == 0
    ldr     r9, [sp, #WEIGHTS]
    .endif
    .if     \columns == 2
    tap_1   r12, lr, r2, r3, r6, r7, r12, lr
    .endif
    tap_1   r10, r11, r2, r3, r8, r9, r10, r11
    .if     \columns == 2
    load_1  3
    tap_1   r12, lr, r2, r3, r8, r9, r12, lr
    .endif
    .endm

    .macro  sums_2 columns, once
    ldr     r2, [r0], #192
    ldr     r3, [r0, #-188]
    ldr     r9, [r0, #-184]
    ldr     lr, [sp, #BIAS]
    tap_2   r10, r11, r4, b, r7, lr, lr
    load_2  1
    tap_2   r10, r11, r5, t, r7, r10, r11
    load_2  2
    tap_2   r10, r11, r6, b, r8, r10, r11
    .if     \columns == 2
    tap_2   r12, lr, r4, b, r7, lr, lr
    load_2  3
    tap_2   r12, lr, r5, t, r7, r12, lr
    load_2  4
    tap_2   r12, lr, r6, b, r8, r12, lr
    .endif
    .endm

    .macro  product acc, once
    .if     \once
    smmla   \acc, \acc, r2, r3
    .else
    add     r9, r3, \acc, asr #31   /* ties away from zero */
    smmlar  \acc, \acc, r2, r9
    .endif
    .endm

    .macro  saturated acc, once
    .if     \once
    ssat    \acc, #8, \acc, asr #TE_DEPTHWISE_SHIFT
    .else
    asr     \acc, \acc, r9
    ssat    \acc, #8, \acc
    .endif
    .endm

    .macro  outputs columns, once
    ldr     r2, [sp, #MULTIPLIER]
    ldr     r3, [sp, #ADDEND]
    product r10, \once
    product r11, \once
    .if     \columns == 2
    product r12, \once
    product lr, \once
    .endif
    .if     \once == 0
    ldr     r9, [sp, #RIGHT]
    .endif
    saturated r10, \once
    saturated r11, \once
    .if     \columns == 2
    saturated r12, \once
    saturated lr, \once
    strb    r12, [r1, #8]
    strb    lr, [r1, #12]
    .endif
    strb    r11, [r1, #4]
    strb    r10, [r1], #16
    .endm

/* void te_expand_3x3_1(te_next_rows *next) */
    .macro  expand_3x3 name, pairs
    .globl  \name
    .thumb_func
    .type   \name, %function
\name:
    push    {r4-r11, lr}
    ldm     r0, {r4-r12, lr}
    mov     r2, r12                 /* count */
    mov     r3, lr                  /* offset */
    add     r12, r5, r8, lsl #1
    add     lr, r6, #2
    str     r12, [r0, #4]
    str     lr, [r0, #8]
    mov     r1, r11
    add     r11, r11, #4
    add     r4, r4, r5
    add     r5, r4, r8
    str     r11, [r0, #28]
    adds    r0, r6, #1
    cmp     r6, r7                  /* as unsigned numbers, those in front of the first are large */
    mov     r6, r9
    itt     hs
    movhs   r4, r10
    movhs   r6, #0
    cmp     r0, r7
    mov     r7, r9
    itt     hs
    movhs   r5, r10
    movhs   r7, #0
    subs    r2, #4
    blt     2f
1:  expand_two_columns 0, \pairs
    subs    r2, #4
    expand_two_columns 32 * \pairs, \pairs
    add     r1, r1, #64 * \pairs
    bge     1b
2:  adds    r2, #2
    blt     3f
    expand_two_columns 0, \pairs
    adds    r1, #32 * \pairs
    subs    r2, #2
3:  adds    r2, #1
    blt     4f
    ldr     r8, [r4]
    ldr     r9, [r5]
    expand_column 0, r8, r9, \pairs
4:  pop     {r4-r11, pc}
    .size   \name, . - \name
    .set    frame.\name, SAVED
    .endm

    .macro  expand_two_columns at, pairs
    ldr     r8, [r4]
    ldr     r9, [r5]
    ldr     r10, [r4, r6]
    ldr     r11, [r5, r7]
    add     r4, r4, r6, lsl #1
    add     r5, r5, r7, lsl #1
    expand_column \at, r8, r9, \pairs
    expand_column \at + 16 * \pairs, r10, r11, \pairs
    .endm

    .macro  expand_column at, upper, lower, pairs
    pkhbt   r12, \upper, \lower, lsl #16
    pkhtb   \lower, \lower, \upper, asr #16
    sxtab16 r0, r3, r12
    sxtab16 lr, r3, r12, ror #8
    str     r0, [r1, #\at]
    str     lr, [r1, #\at + 4 * \pairs]
    sxtab16 r0, r3, \lower
    sxtab16 lr, r3, \lower, ror #8
    str     r0, [r1, #\at + 8 * \pairs]
    str     lr, [r1, #\at + 12 * \pairs]
    .endm

    .macro  strip_3x3 name, stride
    .globl  \name
    .thumb_func
    .type   \name, %function
\name:
    push    {r4-r11, lr}
    sub     sp, #LOCALS
    ldm     r0, {r1-r12}
    stm     sp, {r1-r12}
    ldr     r0, [sp, #COLUMNS]
    ldr     r1, [sp, #STAGED]
    ldr     r3, [sp, #RECORD]
1:  ldr     r2, [sp, #LENGTH]
    add     r2, r2, r0
    str     r2, [sp, #END]
    .if     \stride == 1
    ldm     r3!, {r4-r9}
    .else
    ldm     r3!, {r4-r8}
    .endif
    ldm     r3!, {r10-r12, lr}
    str     r10, [sp, #BIAS]
    str     r11, [sp, #MULTIPLIER]
    str     r12, [sp, #ADDEND]
    str     r3, [sp, #RECORD]
    cmp     lr, #0                  /* N: rounded once */
    blt     4f
    str     lr, [sp, #RIGHT]
    .if     \stride == 1
    str     r9, [sp, #WEIGHTS]
    .endif
    cmp     r0, r2
    beq     3f
2:  sums_\stride 2, 0
    outputs 2, 0
    ldr     r2, [sp, #END]
    cmp     r0, r2
    bne     2b
3:  ldr     r2, [sp, #ODD]
    cmp     r2, #0
    beq     6f
    sums_\stride 1, 0
    outputs 1, 0
    b       6f
4:  cmp     r0, r2
    beq     5f
    .if     \stride == 1            /* two tiles in a loop, the first left out of an odd number */
    subs    r3, r2, r0
    tst     r3, #64
    bne     8f
7:  sums_1  2, 1
    outputs 2, 1
8:
    .else
7:
    .endif
    sums_\stride 2, 1
    outputs 2, 1
    ldr     r2, [sp, #END]
    cmp     r0, r2
    bne     7b
5:  ldr     r2, [sp, #ODD]
    cmp     r2, #0
    beq     6f
    sums_\stride 1, 1
    outputs 1, 1
6:  ldr     r0, [sp, #COLUMNS]      /* the next channel */
    ldr     r1, [sp, #STAGED]
    ldr     r3, [sp, #RECORD]
    ldr     r2, [sp, #RECORDS_END]
    ldr     r4, [sp, #STEP]
    add     r0, r0, r4
    adds    r1, r1, #1
    str     r0, [sp, #COLUMNS]
    str     r1, [sp, #STAGED]
    cmp     r3, r2
    bne     1b
    b       te_bring_out_3x3
    .size   \name, . - \name
    .set    frame.\name, SAVED + LOCALS
    .endm

    expand_3x3 te_expand_3x3_1, 2
    expand_3x3 te_expand_3x3_2, 3
/* Halfwords or bytes of all staged pixels of two rows, from r1 on. */
    .macro  bring size
    ldr     r8, [sp, #PIXELS]
1:  ldr\size r5, [r1, #4]
    ldr\size r4, [r1], #8
    subs    r8, #1
    str\size r5, [r9, r11]
    str\size r4, [r9]
    add     r9, r9, r10
    bne     1b
    .endm

    strip_3x3 te_strip_3x3_1, 1
    strip_3x3 te_strip_3x3_2, 2

/* What both end with: the channels of each pixel are brought to the output, the lower row first,
 * for where there is none it has the upper one's place. */
    .thumb_func
    .type   te_bring_out_3x3, %function
te_bring_out_3x3:
    add     r8, sp, #PIXELS
    ldm     r8, {r8-r12}            /* their number, output, to the next and to the one below */
    subs    r1, r1, r12
    cmp     r12, #4
    beq     2f
    mov     r6, r1
    mov     r7, r9
    lsrs    r12, r12, #1            /* C: of an odd number of channels the last */
    bcc     3f
    add     r1, r1, r12, lsl #1
    add     r9, r9, r12, lsl #1
    bring   b
    cmp     r12, #0
    beq     5f
    mov     r1, r6
    mov     r9, r7
3:  bring   h
    b       5f
2:  subs    r8, #2
    blt     4f
1:  ldm     r1!, {r4-r7}
    str     r5, [r9, r11]
    str     r4, [r9]
    add     r9, r9, r10
    subs    r8, #2
    str     r7, [r9, r11]
    str     r6, [r9]
    add     r9, r9, r10
    bge     1b
4:  adds    r8, #1
    bne     5f
    ldm     r1, {r4, r5}
    str     r5, [r9, r11]
    str     r4, [r9]
5:  add     sp, #LOCALS
    pop     {r4-r11, pc}
    .size   te_bring_out_3x3, . - te_bring_out_3x3
    .set    frame.te_bring_out_3x3, 0
#endif
