/* The tiles of pairs.h for cores with the DSP extension; multiply() there is their meaning in
 * C. By hand, for they need 14 registers at once and GCC moves values to the stack and back.
 *
 *     void te_pairs_two(const te_pairs_tile *tile);       of two pixels, two words of weights
 *     void te_pairs_three(const te_pairs_tile *tile);     of two pixels, three words of weights
 *     void te_pairs_one(const te_pairs_tile *tile);       of one pixel, two words of weights
 *     uint32_t *te_pairs_expand_two(uint32_t *columns, const te_pairs_windows *windows);
 *     uint32_t *te_pairs_expand_three(uint32_t *columns, const te_pairs_windows *windows);
 *     uint32_t *te_pairs_expand_one(uint32_t *columns, const te_pairs_windows *windows);
 *
 * In the tiles: r0 activations, r1 record, r11 mask; r4-r6 sums E1 E2 E3 of a pixel, as
 * pairs.h has them. The last three are expand() there, for runs of at least four bytes.
 */

#include "linear_shift.h"

#if defined __ARM_FEATURE_DSP && defined __thumb2__ /* as in simd.h */
    .syntax unified
    .thumb
    .text

/* Fields of te_pairs_tile, of which r4-r11 are loaded, and how they lie on the stack. */
    .equ    RECORD, 0               /* the current one; an LDM has this and the next three */
    .equ    SKIPPED, 4              /* bytes of columns that the first pass leaves out, less 8 */
    .equ    BYTES, 8                /* of a tile in the columns */
    .equ    WEIGHTS, 12             /* bytes of weights that the first pass leaves out, less 8 */
    .equ    ENTRY, 16               /* the step with which the first pass begins */
    .equ    OUTPUT, 20              /* of the current tile; an LDRD has this and the next */
    .equ    STRIDE, 24
    .equ    COLUMNS, 28             /* an STRD has this and the next */
    .equ    COLUMNS_END, 32
    .equ    FIRST, 36               /* output of the first tile */
    .equ    RECORDS_END, 40
    .equ    ROUNDING, 44
    .equ    LOCALS, 48
    .equ    SAVED, 9 * 4            /* r4-r11 lr */

    .macro  prologue
    push    {r4-r11, lr}
    sub     sp, #LOCALS
    ldm     r0, {r4-r11}
    strd    r4, r5, [sp, #COLUMNS]
    str     r6, [sp, #RECORD]
    strd    r8, r7, [sp, #FIRST]
    str     r9, [sp, #STRIDE]
    str     r11, [sp, #ROUNDING]
    mov     r11, #0xff00ff00
    .endm

/* From E1 E2 E3 to 2^8 times the sums of four channels. */
    .macro  separate s0, s1, s2, s3
    sub     \s0, \s1, \s2, lsl #8
    add     \s0, \s0, \s3, lsl #16
    lsl     \s0, \s0, #8
    sub     \s1, \s1, \s0, asr #8
    sub     \s2, \s2, \s1, asr #8
    sub     \s3, \s3, \s2, asr #8
    .endm

/* 2^8 times a sum to -128 .. 127, halves away from zero. */
    .macro  round_twice sum, multiplier, addend, right, temporary
    add     \temporary, \addend, \sum, asr #31
    asr     \sum, \sum, #7
    smmlar  \sum, \sum, \multiplier, \temporary
    asr     \sum, \sum, \right
    ssat    \sum, #8, \sum
    .endm

/* The same of a channel of two pixels. */
    .macro  round_both one, two
    round_twice \one, r10, r11, r12, lr
    round_twice \two, r10, r11, r12, lr
    .endm

/* Two inputs, four channels, two pixels; every instruction four bytes, for ENTRY. r2 r3 activations,
 * r7-r9 sums of the second pixel, r12 lr weights, and r11 where there are three words. x, w: of the
 * first activation and the last word of weights; behind_x, behind_w: the same once they are loaded;
 * update: ! where the pointers move on. */
    .equ    STEPS, 16
    .macro  step_of words, x, w, behind_x, behind_w, update
    ldr.w   r2, [r0, #\x]\update
    ldr.w   r3, [r0, #\behind_x + 4]
    ldr.w   lr, [r1, #\w]\update
    ldr.w   r12, [r1, #\behind_w + 4 - 4 * \words]
    .if     \words == 3
    ldr.w   r11, [r1, #\behind_w - 4]
    .endif
    smlad   r4, r12, r2, r4
    smlad   r7, r12, r3, r7
    smlad   r6, lr, r2, r6
    smlad   r9, lr, r3, r9
    .if     \words == 3
    smlad   r5, r11, r2, r5
    smlad   r8, r11, r3, r8
    .else
    and.w   lr, r11, lr, lsl #8
    sxtab16 lr, lr, r12, ror #8
    smlad   r5, lr, r2, r5
    smlad   r8, lr, r3, r8
    .endif
    .endm

    .macro  tiles name, words
    .section .text.\name, "ax", %progbits      /* for the linker to leave out */
    .globl  \name
    .thumb_func
    .type   \name, %function
\name:
    prologue
    rsb     r2, r10, #0             /* the first pass leaves out -steps mod STEPS */
    and     r2, r2, #STEPS - 1
    lsls    r3, r2, #3
    subs    r3, #8
    lsls    r4, r10, #3
    adds    r4, #8
    movs    r5, #4 * \words
    mul     r5, r5, r2
    subs    r5, #8
    strd    r3, r4, [sp, #SKIPPED]  /* and BYTES */
    str     r5, [sp, #WEIGHTS]
    ldrd    r3, r4, [sp, #COLUMNS]
    subs    r3, #8
    subs    r4, #8
    strd    r3, r4, [sp, #COLUMNS]
    movs    r3, #56 - 4 * \words    /* bytes of a step */
    mul     r2, r2, r3
    adr.w   r3, 3f + 1
    add     r2, r2, r3
    str     r2, [sp, #ENTRY]
1:  ldr     r0, [sp, #COLUMNS]
    ldr     r2, [sp, #FIRST]
    str     r2, [sp, #OUTPUT]
2:  ldm     sp, {r1-r3, r12}        /* RECORD, SKIPPED, BYTES, WEIGHTS */
    add     r10, r0, r3
    ldm     r1, {r4-r6}             /* the sums' first values */
    sub     r1, r1, r12
    .if     \words == 3
    mov     r7, r4
    .else
    ldrd    r12, lr, [r0, #8]       /* what is in E1 of both pixels but in no sum */
    add     r7, r4, lr
    add     r4, r4, r12
    .endif
    subs    r0, r0, r2
    mov     r8, r5
    mov     r9, r6
    ldr     pc, [sp, #ENTRY]
    .balign 4
3:  .set    step, 1
    .rept   STEPS - 1
    step_of \words, 8 * step, 4 * \words * step, 8 * step, 4 * \words * step
    .set    step, step + 1
    .endr
    step_of \words, 8 * STEPS, 4 * \words * STEPS, 0, 0, !
    cmp     r0, r10
    bne.w   3b
    ldr     r2, [sp, #ROUNDING]
    adds    r1, #4
    cmp     r2, #0
    bne.w   4f
    separate r2, r4, r5, r6
    separate r3, r7, r8, r9
    ldm     r1!, {r10, r11, r12, lr}        /* multiplier and addend of two channels */
    smmla   r2, r2, r10, r11
    smmla   r3, r3, r10, r11
    smmla   r4, r4, r12, lr
    smmla   r7, r7, r12, lr
    ldm     r1!, {r10, r11, r12, lr}
    smmla   r5, r5, r10, r11
    smmla   r8, r8, r10, r11
    smmla   r6, r6, r12, lr
    smmla   r9, r9, r12, lr
    .irp    sum, r2, r3, r4, r5, r6, r7, r8, r9
    ssat    \sum, #8, \sum, asr #TE_LINEAR_SHIFT
    .endr
5:  ldrd    r10, r12, [sp, #OUTPUT] /* and STRIDE */
    .if     \words == 2
    mov     r11, #0xff00ff00
    .endif
    add     lr, r10, r12
    strb    r2, [r10]
    strb    r4, [r10, #1]
    strb    r5, [r10, #2]
    strb    r6, [r10, #3]
    strb    r3, [lr]
    strb    r7, [lr, #1]
    strb    r8, [lr, #2]
    strb    r9, [lr, #3]
    add     lr, lr, r12
    str     lr, [sp, #OUTPUT]
    ldr     r2, [sp, #COLUMNS_END]
    cmp     r0, r2
    bne.w   2b
    ldrd    r2, r3, [sp, #FIRST]    /* and RECORDS_END */
    adds    r2, #4
    str     r2, [sp, #FIRST]
    str     r1, [sp, #RECORD]
    cmp     r1, r3
    bne.w   1b
    add     sp, #LOCALS
    pop     {r4-r11, pc}
4:  separate r2, r4, r5, r6
    separate r3, r7, r8, r9
    .irp    sums, "r2, r3", "r4, r7", "r5, r8", "r6, r9"
    ldm     r1!, {r10-r12}
    round_both \sums
    .endr
    b       5b
    .size   \name, . - \name
    .set    frame.\name, SAVED + LOCALS
    .endm

    tiles   te_pairs_two, 2
    tiles   te_pairs_three, 3

/* Eight inputs, four channels, one pixel; every instruction four bytes, for ENTRY. r7-r10
 * activations, r2 r3 r12 lr weights. */
    .equ    UNITS, 16
    .equ    UNIT_BYTES, 23 * 4
    .macro  unit
    ldm.w   r0!, {r7-r10}
    ldm.w   r1!, {r2, r3, r12, lr}
    step_one r7, r2, r3
    step_one r8, r12, lr
    ldm.w   r1!, {r2, r3, r12, lr}
    step_one r9, r2, r3
    step_one r10, r12, lr
    .endm

    .macro  step_one x, first, second
    smlad   r4, \first, \x, r4
    smlad   r6, \second, \x, r6
    and.w   \second, r11, \second, lsl #8
    sxtab16 \second, \second, \first, ror #8
    smlad   r5, \second, \x, r5
    .endm

    .section .text.te_pairs_one, "ax", %progbits      /* for the linker to leave out */
    .globl  te_pairs_one
    .thumb_func
    .type   te_pairs_one, %function
te_pairs_one:
    prologue
    mov     r1, r6
    ldr     r6, [r4], #4            /* what is in E1 but in no sum */
    lsr     r2, r10, #2             /* the first pass leaves out -units mod UNITS */
    rsb     r2, r2, #0
    and     r2, r2, #UNITS - 1
    movs    r3, #UNIT_BYTES
    mul     r2, r2, r3
    adr.w   r5, 3f + 1
    adds    r5, r5, r2
    stm     sp, {r4-r6}
1:  ldm     sp, {r0, r2, r3}
    ldm     r1!, {r4-r6}
    adds    r4, r4, r3
    bx      r2
    .balign 4
3:  .rept   UNITS
    unit
    .endr
    ldr     r2, [sp, #COLUMNS_END]
    cmp     r0, r2
    bne.w   3b
    separate r2, r4, r5, r6
    ldr     r7, [sp, #ROUNDING]
    ldr     r3, [sp, #FIRST]
    cbnz    r7, 4f
    ldm     r1!, {r7-r10}           /* multiplier and addend of two channels */
    smmla   r2, r2, r7, r8
    smmla   r4, r4, r9, r10
    ldm     r1!, {r7-r10}
    smmla   r5, r5, r7, r8
    smmla   r6, r6, r9, r10
    .irp    sum, r2, r4, r5, r6
    ssat    \sum, #8, \sum, asr #TE_LINEAR_SHIFT
    .endr
5:  strb    r2, [r3], #1
    strb    r4, [r3], #1
    strb    r5, [r3], #1
    strb    r6, [r3], #1
6:  ldr     r2, [sp, #RECORDS_END]
    str     r3, [sp, #FIRST]
    cmp     r1, r2
    bne.w   1b
    add     sp, #LOCALS
    pop     {r4-r11, pc}
4:  cmp     r7, #1
    bne     7f
    .irp    sum, r2, r4, r5, r6
    ldm     r1!, {r7-r9}
    round_twice \sum, r7, r8, r9, r10
    .endr
    b       5b
7:  ldm     r3, {r7-r10}            /* sums of other parts */
    add     r2, r7, r2, asr #8
    add     r4, r8, r4, asr #8
    add     r5, r9, r5, asr #8
    add     r6, r10, r6, asr #8
    stm     r3!, {r2, r4, r5, r6}
    b       6b
    .size   te_pairs_one, . - te_pairs_one
    .set    frame.te_pairs_one, SAVED + LOCALS

/* Fields of te_pairs_windows, as an LDM stores them, then others */
    .equ    SOURCES, 0
    .equ    TO_NEXT, 8              /* from the end of a run's words to the next run */
    .equ    WHOLE, 12               /* bytes of a run in words */
    .equ    ROWS, 16
    .equ    STEP, 20
    .equ    TILES, 24
    .equ    STARTS, 28
    .equ    REST, 32                /* bytes of a run behind the words */
    .equ    EXPAND_LOCALS, 36

/* Bytes 0 and 2, then 1 and 3, of a word of each lane, to the columns. Through r9 (r10). */
    .macro  extend_word one, two, lanes, words
    extend  \one, \two, \lanes, \words
    put     r9, r10, \lanes
    extend  \one, \two, \lanes, \words, ", ror #8"
    put     r9, r10, \lanes
    .endm

    .macro  extend one, two, lanes, words, rotated
    sxtb16  r9, \one \rotated
    subtract r4, r9, \words
    .if     \lanes == 2
    sxtb16  r10, \two \rotated
    subtract r5, r10, \words
    .endif
    .endm

    .macro  subtract start, x, words
    .if     \words == 2
    smlad   \start, \x, r6, \start
    .endif
    .endm

    .macro  put one, two, lanes
    str     \one, [r0], #4
    .if     \lanes == 2
    str     \two, [r0], #4
    .endif
    .endm

/* r0 columns, r1 (r2) sources, r3 where their words end, lr rows left. With two words of weights r4
 * (r5) starts, r6 their factors; with three r4 WHOLE, r5 REST, r6 TO_NEXT. */
    .macro  expand name, lanes, words
    .section .text.\name, "ax", %progbits
    .globl  \name
    .thumb_func
    .type   \name, %function
\name:
    push    {r4-r11, lr}
    sub     sp, #EXPAND_LOCALS
    ldm     r1, {r1-r8}             /* sources, pitch, run, rows, step, tiles, starts */
    and     r9, r4, #3
    bic     r4, r4, #3
    subs    r3, r3, r4
    stm     sp, {r1-r9}
    .if     \words == 3
    mov     r5, r9
    mov     r6, r3
    .else
    ldr     r4, [r8]
    .if     \lanes == 2
    ldr     r5, [r8, #4]
    .endif
    mvn     r6, #127                /* halves of -128 */
    pkhbt   r6, r6, r6, lsl #16
    .endif
1:  ldr     lr, [sp, #ROWS]
2:  .if     \words == 3
    adds    r3, r1, r4
    tst     r4, #4
    .else
    ldr     r7, [sp, #WHOLE]
    adds    r3, r1, r7
    tst     r7, #4
    .endif
    beq     3f
    ldr     r7, [r1], #4
    .if     \lanes == 2
    ldr     r8, [r2], #4
    .endif
    extend_word r7, r8, \lanes, \words
    cmp     r1, r3
    beq     4f
3:  ldr     r7, [r1], #8
    ldr     r11, [r1, #-4]
    .if     \lanes == 2
    ldr     r8, [r2], #8
    ldr     r12, [r2, #-4]
    .endif
    extend_word r7, r8, \lanes, \words
    extend_word r11, r12, \lanes, \words
    cmp     r1, r3
    bne     3b
4:  .if     \words == 3
    cmp     r5, #1
    .else
    ldr     r3, [sp, #REST]
    cmp     r3, #1
    .endif
    blo     6f
    bhi     5f
    ldrsb   r9, [r1]                /* one byte */
    .if     \lanes == 2
    ldrsb   r10, [r2]
    uxth    r10, r10
    subtract r5, r10, \words
    .endif
    uxth    r9, r9
    subtract r4, r9, \words
    put     r9, r10, \lanes
    b       6f
5:  .if     \words == 3             /* a word that ends where the run does */
    subs    r7, r5, #4
    .else
    subs    r7, r3, #4
    .endif
    rsb     r3, r7, #0
    lsl     r3, r3, #3
    .if     \lanes == 2
    ldr     r8, [r2, r7]
    lsr     r8, r8, r3
    .endif
    ldr     r7, [r1, r7]
    lsr     r7, r7, r3
    cmp     r3, #8                  /* bits that are not of the run: of three bytes */
    beq     7f
    extend  r7, r8, \lanes, \words
    mov     r11, r9
    mov     r12, r10
    extend  r7, r8, \lanes, \words, ", ror #8"
    pkhbt   r9, r11, r9, lsl #16    /* two bytes are one step */
    pkhbt   r10, r12, r10, lsl #16
    put     r9, r10, \lanes
    b       6f
7:  extend_word r7, r8, \lanes, \words
6:  .if     \words == 3
    add     r1, r1, r6
    add     r2, r2, r6
    .else
    ldr     r3, [sp, #TO_NEXT]
    add     r1, r1, r3
    add     r2, r2, r3
    .endif
    subs    lr, lr, #1
    bne     2b
    .if     \words == 2
    ldr     r3, [sp, #STARTS]
    str     r4, [r3]
    .if     \lanes == 2
    str     r5, [r3, #4]
    .endif
    .endif
    ldr     r7, [sp, #TILES]
    subs    r7, r7, #1
    beq     8f
    str     r7, [sp, #TILES]
    ldm     sp, {r1, r2}            /* SOURCES */
    ldr     r3, [sp, #STEP]
    .if     \words == 2
    movs    r4, #0
    movs    r5, #0
    str     r0, [sp, #STARTS]
    .endif
    add     r0, r0, #4 * \lanes
    add     r1, r1, r3
    add     r2, r2, r3
    strd    r1, r2, [sp, #SOURCES]
    b       1b
8:  add     sp, #EXPAND_LOCALS
    pop     {r4-r11, pc}
    .size   \name, . - \name
    .set    frame.\name, SAVED + EXPAND_LOCALS
    .endm

    expand  te_pairs_expand_two, 2, 2
    expand  te_pairs_expand_three, 2, 3
    expand  te_pairs_expand_one, 1, 2
#endif
