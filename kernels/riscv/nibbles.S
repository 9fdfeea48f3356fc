/* BitNetMCU_fc_nibbles for RV32EC: 4-bit weights, bit by bit of the activations. The method, the
 * header at `rows` and the lanes are those of kernels/nibbles.c, the plain twin of this file.
 *
 *     void BitNetMCU_fc_nibbles(const int8_t *activations, int32_t offset, const uint32_t *rows,
 *                               uint32_t inputs, uint32_t outputs, int32_t *accumulators);
 *
 * Borrows: tp (restored on return; gp and sp keep their meaning all the time, so that interrupts
 * may come). Stack: FRAME bytes and up to 60 to align them.
 *
 * BitNetMCU_inner_nibbles takes most of the time and is worth SRAM. It is called by
 * BitNetMCU_fc_nibbles alone, on its frame.
 */

#include "../nibbles.h"

/* The frame. Lists of 16-bit row offsets lie in blocks of 64 bytes and fill up to the block's end;
 * their first 16 bytes hold other variables, which lie behind the lists where there are no more. */
#if 16 + 2 * LIST_ROWS > 64
#error "lists of LIST_ROWS do not fit into their blocks"
#endif
#define ENDS 0            /* of each list */
#define BUILD 28          /* registers of the loop that fills lists, while one is emptied */
#define BASE 52           /* address of the strip in the row that has offset 0 */
#define COLUMN_BYTES 56   /* of the strip: 8 to 32 */
#define STARTS 60         /* where list 0 starts */
#define LIST_BIAS 64
#define BIASES 68         /* sum over lists of LIST_BIAS << bit */
#define INPUTS 72         /* sum over lists of 2 * rows << bit */
#define BIT 76
#define LIST_END 80
#define ODD 84            /* what sums over the odd nibbles start from */
#define EVEN 88
#define LIST_START 92
#define LIST_FIRST 96     /* where the first round of four rows would start if it were whole */
#define TARGET 100
#define COLUMN 104
#define COLUMN_END 108
#define LANE 112
#define RETURN 116
#define MOST 120          /* inputs that 16-bit lanes can sum */
#define ROW_BYTES 124     /* bit 31: signed inputs */
#define LEFT 128          /* inputs */
#define OUTPUTS 132       /* left, with this strip's */
#define ACCUMULATORS 136  /* of this strip */
#define ACTIVATIONS 140   /* of this chunk */
#define LANES 144
#define BLOCKS 256
#define OLD_SP (BLOCKS + 64)
#define OLD_RA (OLD_SP + 4)
#define OLD_S0 (OLD_SP + 8)
#define OLD_S1 (OLD_SP + 12)
#if LISTS > 1
#define OLD_TP (OLD_SP + 64)
#else
#define OLD_TP (OLD_SP + 16)
#endif
#define ALL_ACTIVATIONS (OLD_TP + 4)
#define ALL_INPUTS (OLD_TP + 8)
#define HEADER (OLD_TP + 12)
#if LISTS > 2
#define STRIP (OLD_TP + 64) /* address of the strip in the first row */
#else
#define STRIP (OLD_TP + 16)
#endif
#if LISTS > 3
#define FRAME (BLOCKS + 64 * LISTS)
#else
#define FRAME (STRIP + 4)
#endif

/* With so few lists the loop that fills them is beside the inner one, in SRAM: it takes hardly more
 * than the frame is smaller. */
#define SCAN_BESIDE_INNER (LISTS < 6)

/* The ends of the lists while they are filled: `operation` LIST, REGISTER, THE ONE BEFORE. */
    .macro each_list operation
    if_list \operation, 0, s0
    if_list \operation, 1, s1, s0
    if_list \operation, 2, a0, s1
    if_list \operation, 3, a1, a0
    if_list \operation, 4, a2, a1
    if_list \operation, 5, t1, a2
    if_list \operation, 6, t2, t1
    .endm

    .macro if_list operation, list, end, before
    .if \list < LISTS
    \operation \list, \end, \before
    .endif
    .endm

    .macro start list, end, before
    .if \list
    addi    \end, \before, 64
    .else
    lw      \end, STARTS(sp)
    .endif
    .endm

    .macro store_end list, end, before
    sw      \end, ENDS + 4 * \list(sp)
    .endm

    .macro load_end list, end, before
    lw      \end, ENDS + 4 * \list(sp)
    .endm

/* In the loop that fills lists. */
    .macro append end
    sh      t0, 0(\end)
    addi    \end, \end, 2
    andi    a5, \end, 63
    .endm

    .macro test list, end, before   /* 18 bytes */
    slli    a3, a3, 1
    bgez    a3, 1f
    append  \end
#if SCAN_BESIDE_INNER
    beqz    a5, .Lto_full
#else
    beqz    a5, .Lfull
#endif
1:
    .endm

    .macro next
    add     t0, t0, tp
    addi    a4, a4, 1
#if SCAN_BESIDE_INNER
    beq     a4, ra, .Lto_done
#else
    beq     a4, ra, .Ldone
#endif
    .endm

/* The sum of column `at` over a row: rows of 8 nibbles to two words of 8-bit lanes. */
    .macro add_word even, odd, at
    lw      a5, \at(a3)
    add     \even, \even, a5
    srli    a5, a5, 4
    and     a5, a5, a4
    add     \odd, \odd, a5
    .endm

    .macro add_row_4 entry
    lhu     a3, \entry(ra)
    add     a3, a3, tp
    add_word a0, a1, 0
    add_word a2, s0, 4
    add_word s1, t0, 8
    add_word t1, t2, 12
    .endm

/* Adds 8-bit lanes to 16-bit lanes at a3 + at: the first word takes the even bytes and what is above
 * them, the second one the odd bytes. ra: the bit, a4: 0x00ff00ff */
    .macro widen lanes, spare, at, shifted=a5
    sll     a5, \lanes, ra
    lw      \spare, \at(a3)
    add     \spare, \spare, a5
    sw      \spare, \at(a3)
    srli    \shifted, \lanes, 8
    and     \shifted, \shifted, a4
    sll     \shifted, \shifted, ra
    lw      \spare, \at + 4(a3)
    add     \spare, \spare, \shifted
    sw      \spare, \at + 4(a3)
    .endm

    .macro widen_column even, odd, spare, at
    slli    a5, \odd, 4
    sub     \even, \even, a5
    widen   \even, \spare, \at
    widen   \odd, \spare, \at + 8
    .endm

/* Adds the rows of a list to the lanes, as .Lflush has prepared it: tp and COLUMN_END bound the
 * columns, a5 is 16 less than their bytes. Keeps sp and gp only. */
    .section .text.BitNetMCU_inner_nibbles, "ax"
    .globl  BitNetMCU_inner_nibbles
    .type   BitNetMCU_inner_nibbles, @function
    .balign 4
BitNetMCU_inner_nibbles:
    bltz    a5, .Lpair
.Lfour:
    sw      tp, COLUMN(sp)
    lw      ra, LIST_FIRST(sp)
    lw      a3, TARGET(sp)
    li      a4, 0x0f0f0f0f
    lw      a0, EVEN(sp)
    lw      a1, ODD(sp)
    mv      a2, a0
    mv      s1, a0
    mv      t1, a0
    mv      s0, a1
    mv      t0, a1
    mv      t2, a1
    jr      a3
    .balign 4
.Lrows_4:
    add_row_4 0
    add_row_4 2
    add_row_4 4
    add_row_4 6
    addi    ra, ra, 8
    lw      a5, LIST_END(sp)
    bne     ra, a5, .Lrows_4
    lw      a3, LANE(sp)
    lw      ra, BIT(sp)
    li      a4, 0x00ff00ff
    widen_column a0, a1, tp, 0
    widen_column a2, s0, a0, 16
.Lwiden_pair:
    widen_column s1, t0, a0, 32
    widen_column t1, t2, a0, 48
    lw      a5, COLUMN_END(sp)
    lw      tp, COLUMN(sp)
    addi    a3, a3, 64
    sw      a3, LANE(sp)
    addi    tp, tp, 16
    sub     a5, a5, tp
    addi    a5, a5, -16
    bgez    a5, .Lfour
    addi    a5, a5, 8
    bgez    a5, .Lpair
    lw      ra, RETURN(sp)
    ret

.Lpair:
    sw      tp, COLUMN(sp)
    lw      ra, LIST_START(sp)
    lw      a0, LIST_END(sp)
    li      a4, 0x0f0f0f0f
    lw      s1, EVEN(sp)
    lw      t0, ODD(sp)
    mv      t1, s1
    mv      t2, t0
    .balign 4
.Lrows_2:
    lhu     a3, 0(ra)
    add     a3, a3, tp
    add_word s1, t0, 0
    add_word t1, t2, 4
    addi    ra, ra, 2
    bne     ra, a0, .Lrows_2
    lw      a3, LANE(sp)
    lw      ra, BIT(sp)
    li      a4, 0x00ff00ff
    addi    a3, a3, -32
    j       .Lwiden_pair
    .size   BitNetMCU_inner_nibbles, . - BitNetMCU_inner_nibbles
    .set    frame.BitNetMCU_inner_nibbles, 0

    .section .text.BitNetMCU_fc_nibbles, "ax"
    .globl  BitNetMCU_fc_nibbles
    .type   BitNetMCU_fc_nibbles, @function
    .balign 4
BitNetMCU_fc_nibbles:
    addi    t0, sp, -FRAME
    mv      t1, sp
    andi    sp, t0, -64
    sw      t1, OLD_SP(sp)
    sw      ra, OLD_RA(sp)
    sw      s0, OLD_S0(sp)
    sw      s1, OLD_S1(sp)
    sw      tp, OLD_TP(sp)
    sw      a0, ALL_ACTIVATIONS(sp)
    sw      a3, ALL_INPUTS(sp)
    sw      a2, HEADER(sp)
    sw      a4, OUTPUTS(sp)
    sw      a5, ACCUMULATORS(sp)
    addi    t2, a4, 15
    srli    t2, t2, 4
    slli    t2, t2, 3
    addi    t0, a2, 8
    sw      t0, STRIP(sp)
    lw      t0, 4(a2)
#if BITNETMCU_BITS > 7
    bnez    a1, 1f
#endif
    lbu     s0, 0(a2)               /* rows of a list, and its bias */
    lbu     s1, 1(a2)
    slli    t0, t0, 17
    srli    t0, t0, 17
#if BITNETMCU_BITS > 7
    j       2f
1:  li      s0, ANY_ROWS
    li      s1, 8 * ANY_ROWS
    srli    t0, t0, 16
    lui     t1, 0x80000
    add     t2, t2, t1
2:
#endif
    sw      t0, MOST(sp)
    sw      t2, ROW_BYTES(sp)
    sw      s1, LIST_BIAS(sp)
    addi    t0, sp, BLOCKS + 64
    slli    s0, s0, 1
    sub     t0, t0, s0
    sw      t0, STARTS(sp)

.Lstrip:                              /* of up to 64 outputs */
    lw      t0, OUTPUTS(sp)
    addi    t0, t0, 15
    srli    t0, t0, 4
    slli    t0, t0, 3
    li      t1, 32
    bltu    t0, t1, 1f
    mv      t0, t1
1:  sw      t0, COLUMN_BYTES(sp)
    lw      t0, STRIP(sp)
    sw      t0, BASE(sp)
    lw      t0, ALL_ACTIVATIONS(sp)
    sw      t0, ACTIVATIONS(sp)
    lw      t0, ALL_INPUTS(sp)
    sw      t0, LEFT(sp)

.Lchunk:                              /* of inputs, as many as the lanes can sum */
    sw      zero, BIASES(sp)
    sw      zero, INPUTS(sp)
    addi    a0, sp, LANES
    addi    a1, sp, LANES + 128
    li      a2, 0
1:  sw      a2, 0(a0)
    sw      a2, 4(a0)
    sw      a2, 8(a0)
    sw      a2, 12(a0)
    addi    a0, a0, 16
    bne     a0, a1, 1b
    lw      a4, ACTIVATIONS(sp)
    lw      t0, LEFT(sp)
    lw      t1, MOST(sp)
    bltu    t0, t1, 2f
    mv      t0, t1
2:  add     ra, a4, t0              /* end of the activations */
    lw      tp, ROW_BYTES(sp)
    li      t0, 0                   /* offset of the row */
    each_list start
#if BITNETMCU_BITS > 7
    bltz    tp, .Lfirst_signed
#endif
#if SCAN_BESIDE_INNER
    lla     a5, .Lfirst
    jr      a5
#else
    j       .Lfirst
#endif

/* Registers of the next loop: a3 the activation, its next bit on top; a4 its address; a5 spare; ra
 * the end of the activations; t0 the row's offset; and the ends of the lists. A list is emptied as
 * soon as it is full, which is when it ends at the end of its block. */
    .macro next_of_three            /* goes on behind it after two that are 0 */
.Lnext:
    next
.Lfirst:
    lb      a3, 0(a4)
    bnez    a3, .Lwork
    next
    lb      a3, 0(a4)
    bnez    a3, .Lwork
    next
    lb      a3, 0(a4)
    beqz    a3, .Lnext
    .endm

#if SCAN_BESIDE_INNER
    .section .text.BitNetMCU_inner_nibbles, "ax"
    .type   BitNetMCU_scan_nibbles, @function
    .balign 4
BitNetMCU_scan_nibbles:
    .set    frame.BitNetMCU_scan_nibbles, 0
#endif

#if BITNETMCU_BITS > 7
.Lnext_signed:
    next
.Lfirst_signed:
    lbu     a3, 0(a4)
    xori    a3, a3, 128             /* plus 128 */
    beqz    a3, .Lnext_signed
    slli    a3, a3, 24
    bgez    a3, .Ltests
    append  t2                      /* bit 7 is bit 6 twice */
    bnez    a5, 1f
    jal     a5, .Lfull_6
1:  append  t2
    bnez    a5, .Ltests
    jal     a5, .Lfull_6
    j       .Ltests

    next_of_three
#endif
.Lwork:
    slli    a3, a3, 31 - LISTS
.Ltests:
    if_list test, 6, t2
    if_list test, 5, t1
    if_list test, 4, a2
    if_list test, 3, a1
    if_list test, 2, a0
    if_list test, 1, s1
    if_list test, 0, s0
.Lafter_0:
#if BITNETMCU_BITS > 7
    bgez    tp, .Lnext
    j       .Lnext_signed
#else
    next_of_three
    j       .Lwork
#endif

#if SCAN_BESIDE_INNER
.Lto_full:
    lla     a5, .Lfull
    jr      a5
.Lto_done:
    lla     a5, .Ldone
    jr      a5
    .size   BitNetMCU_scan_nibbles, . - BitNetMCU_scan_nibbles

    .section .text.BitNetMCU_fc_nibbles, "ax"
#endif

#if BITNETMCU_BITS > 7
.Lfull_6:
    sw      a5, BUILD + 8(sp)       /* where to go on */
    each_list store_end
    li      a0, 6
    j       1f
#endif
.Lfull:
    each_list store_end
    lla     a1, .Lafter_0
    mv      a2, sp
    li      a0, -1
2:  addi    a0, a0, 1               /* the list that is full, and the address behind its test */
    lw      a5, ENDS(a2)
    addi    a2, a2, 4
    sw      a1, BUILD + 8(sp)
    addi    a1, a1, -18
    andi    a5, a5, 63
    bnez    a5, 2b
1:  sw      a3, BUILD(sp)
    sw      a4, BUILD + 4(sp)
    sw      t0, BUILD + 12(sp)
    sw      ra, BUILD + 16(sp)
    sw      tp, BUILD + 20(sp)
    jal     .Lflush
    each_list load_end
    lw      a3, BUILD(sp)
    lw      a4, BUILD + 4(sp)
    lw      a5, BUILD + 8(sp)
    lw      t0, BUILD + 12(sp)
    lw      ra, BUILD + 16(sp)
    lw      tp, BUILD + 20(sp)
    jr      a5

.Ldone:
    each_list store_end
    sw      a4, ACTIVATIONS(sp)
#if BITNETMCU_BITS > 7
    slli    t0, t0, 1               /* without what ROW_BYTES' bit 31 left there */
    srli    t0, t0, 1
#endif
    lw      a0, BASE(sp)
    add     a0, a0, t0
    sw      a0, BUILD(sp)           /* the next chunk's */
    li      a0, 0
1:  sw      a0, BUILD + 4(sp)
    jal     .Lflush
    lw      a0, BUILD + 4(sp)
    addi    a0, a0, 1
    li      a1, LISTS
    bne     a0, a1, 1b

/* Unpacks the lanes, a0 their address, to the accumulators, a3 to a4; `add`: to what is there. t2:
 * whether to double, t1: 16 less that; s0: minus the biases, for both halves of a word; s1: what
 * else to add, once doubled. */
    .macro unpack_lane at, add
    add     a5, a5, s1
    .if \add
    lw      a1, \at(a3)
    add     a5, a5, a1
    .endif
    sw      a5, \at(a3)
    .endm

    .macro unpack_first_lane word, at, add
    slli    a5, \word, 16
    srl     a5, a5, t1
    unpack_lane \at, \add
    .endm

    .macro unpack_second_lane word, at, add
    srli    a5, \word, 16
    sll     a5, a5, t2
    unpack_lane \at, \add
    .endm

    .macro next_lane
    addi    a3, a3, 4
    beq     a3, a4, .Lunpacked
    .endm

    .macro unpack add
1:  lw      a1, 0(a0)
    lw      a2, 4(a0)
    addi    a0, a0, 8
    slli    a5, a2, 8
    sub     a1, a1, a5
    add     t0, a1, s0
    add     a2, a2, s0
    .ifeq \add                      /* four at a time, as long as there are so many */
    addi    a5, a3, 16
    bltu    a4, a5, 2f
    unpack_first_lane t0, 0, 0
    unpack_second_lane t0, 4, 0
    unpack_first_lane a2, 8, 0
    unpack_second_lane a2, 12, 0
    addi    a3, a3, 16
    bne     a3, a4, 1b
    j       .Lunpacked
2:
    .endif
    unpack_first_lane t0, 0, \add
    next_lane
    unpack_second_lane t0, 0, \add
    next_lane
    unpack_first_lane a2, 0, \add
    next_lane
    .if \add
    unpack_second_lane a2, 0, \add
    next_lane
    j       1b
    .endif
    .endm

    lw      a1, HEADER(sp)
    lhu     a2, 2(a1)               /* bias of the lanes */
    lw      t2, 4(a1)
    srli    t2, t2, 15
    andi    t2, t2, 1
    lw      a3, BIASES(sp)
    sub     s0, a2, a3
    slli    a3, s0, 16
    add     s0, s0, a3
    sll     a2, a2, t2
    neg     s1, a2
    beqz    t2, 1f
    lw      a3, INPUTS(sp)
    srli    a3, a3, 1
    add     s1, s1, a3
1:  li      t1, 16
    sub     t1, t1, t2
    addi    a0, sp, LANES
    lw      a3, ACCUMULATORS(sp)
    lw      a4, OUTPUTS(sp)
    li      a5, 64
    bltu    a4, a5, 2f
    mv      a4, a5
2:  slli    a4, a4, 2
    add     a4, a4, a3
    lw      a1, BASE(sp)
    lw      a2, STRIP(sp)
    beq     a1, a2, .Lunpack_first
    unpack  1
.Lunpack_first:
    unpack  0

.Lunpacked:
    lw      a0, BUILD(sp)
    sw      a0, BASE(sp)
    lw      a0, ALL_ACTIVATIONS(sp)
    lw      a1, ALL_INPUTS(sp)
    lw      a2, ACTIVATIONS(sp)
    add     a0, a0, a1
    sub     a0, a0, a2
    sw      a0, LEFT(sp)
    beqz    a0, 1f
    j       .Lchunk
1:  sw      a4, ACCUMULATORS(sp)
    lw      a0, STRIP(sp)
    addi    a0, a0, 32
    sw      a0, STRIP(sp)
    lw      a0, OUTPUTS(sp)
    addi    a0, a0, -64
    sw      a0, OUTPUTS(sp)
    blez    a0, 2f
    j       .Lstrip
2:  lw      ra, OLD_RA(sp)
    lw      s0, OLD_S0(sp)
    lw      s1, OLD_S1(sp)
    lw      tp, OLD_TP(sp)
    lw      sp, OLD_SP(sp)
    ret

/* Adds the rows of the list for bit a0 to the lanes, and empties it. Keeps sp and gp only. */
.Lflush:
    slli    a1, a0, 2
    add     a1, a1, sp
    lw      a2, ENDS(a1)
    slli    a3, a0, 6
    lw      a4, STARTS(sp)
    add     a4, a4, a3
    bne     a2, a4, 1f
    ret
1:  sw      a4, ENDS(a1)
    sw      ra, RETURN(sp)
    sw      a0, BIT(sp)
    sw      a4, LIST_START(sp)
    sw      a2, LIST_END(sp)
    sub     a5, a2, a4              /* 2 * rows */
    lw      a1, INPUTS(sp)
    sll     a3, a5, a0
    add     a1, a1, a3
    sw      a1, INPUTS(sp)
    lw      a1, BIASES(sp)
    lw      a2, LIST_BIAS(sp)
    sll     a3, a2, a0
    add     a1, a1, a3
    sw      a1, BIASES(sp)
    slli    a3, a5, 2
    sub     a2, a2, a3              /* bias - 8 * rows, in each byte */
    slli    a3, a2, 8
    add     a2, a2, a3
    slli    a3, a2, 16
    add     a2, a2, a3
    sw      a2, ODD(sp)
    slli    a3, a2, 4
    add     a2, a2, a3
    sw      a2, EVEN(sp)
    neg     a5, a5
    andi    a5, a5, 6               /* twice the bodies that the first round leaves out */
    sub     a4, a4, a5
    sw      a4, LIST_FIRST(sp)
    slli    a3, a5, 3               /* 23 bytes for each one in a5: a body has 46 */
    sub     a2, a3, a5
    slli    a3, a3, 1
    add     a3, a3, a2
    lla     a2, .Lrows_4
    add     a2, a2, a3
    sw      a2, TARGET(sp)
    lw      tp, BASE(sp)
    lw      a5, COLUMN_BYTES(sp)
    add     a4, tp, a5
    sw      a4, COLUMN_END(sp)
    addi    a4, sp, LANES
    sw      a4, LANE(sp)
    addi    a5, a5, -16
    tail    BitNetMCU_inner_nibbles
    .size   BitNetMCU_fc_nibbles, . - BitNetMCU_fc_nibbles
    .set    frame.BitNetMCU_fc_nibbles, FRAME + 60  /* to align it */
