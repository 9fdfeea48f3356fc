/* BitNetMCU_scan_strip, BitNetMCU_window_nibbles and BitNetMCU_window_pieces for RV32EC. The method,
 * the lists and the header of weights are those of kernels/strips.c, the plain twin of this file.
 *
 *     void BitNetMCU_scan_strip(const int8_t *map, const BitNetMCU_strip *strip, uint8_t *lists);
 *     void BitNetMCU_window_nibbles(const uint8_t *lists, const BitNetMCU_strip *strip,
 *                                   uint32_t first, uint32_t position, int32_t *accumulators);
 *     void BitNetMCU_window_pieces(BitNetMCU_scanned *scanned, const BitNetMCU_pieces *pieces,
 *                                  uint8_t *lists, int32_t *accumulators);
 *
 * All borrow gp and tp (restored on return); sp keeps its meaning all the time, so that interrupts
 * may come.
 *
 * BitNetMCU_inner_strips takes most of the time and is worth SRAM. It is called by
 * BitNetMCU_window_nibbles alone, on its frame.
 *
 * A block of 32 outputs is summed in two steps. The first one goes through the lists and leaves the
 * 8-bit lanes of each, of all its columns of eight outputs, in the list's slot. The second one goes
 * through the columns: it widens the slots, from the highest bit down, into 16-bit lanes in
 * registers, and unpacks those to accumulators.
 */

#include "../strips.h"

/* BitNetMCU_strip */
#define ROW_BYTES 0
#define WIDTH 4
#define ROWS 8
#define CHANNELS 12
#define BITS 16
#define POSITIONS 20
#define ENTRIES 24
#define COLUMNS 28
#define OUTPUTS 32
#define INPUTS 36
#define WEIGHTS 40
#define MOST 44
#define LIST_BIAS 48
#define DOUBLED 52
#define LACKING 56
#define MORE 60
#define BYTES 64

/* BitNetMCU_pieces, which begins with a BitNetMCU_strip */
#define AT_ONCE 68
#define SURE 72
#define PIXELS 76
#define PIECE_POSITIONS 80
#define PIECE_BYTES 84
#define COLUMN_POSITIONS 88

/* BitNetMCU_scanned */
#define MAP 0
#define REST 4
#define SCANNED 8
#define FIRST 12
#define AT 16

    .macro if_list operation, list, end
    .if \list < STRIP_LISTS
    \operation \list, \end
    .endif
    .endm

/* `operation` LIST, REGISTER with the list's end, from the highest bit down; and from bit 0 up */
    .macro each_list_downwards operation
    if_list \operation, 6, t2
    if_list \operation, 5, t1
    if_list \operation, 4, a2
    if_list \operation, 3, a1
    if_list \operation, 2, a0
    if_list \operation, 1, s1
    if_list \operation, 0, s0
    .endm

    .macro each_list operation
    if_list \operation, 0, s0
    if_list \operation, 1, s1
    if_list \operation, 2, a0
    if_list \operation, 3, a1
    if_list \operation, 4, a2
    if_list \operation, 5, t1
    if_list \operation, 6, t2
    .endm

/* With so few lists the loop that fills them is worth SRAM, too. */
#define SCAN_IS_INNER (STRIP_LISTS < 6)

/* --- lists. Registers: a3 the value, its next bit on top; a4 its address; a5 spare; t0 its position;
 * ra that of the end of the run: values that are tp bytes apart; gp where the table goes on; and the
 * ends of the lists. A run is a column where a pixel is one value, else a pixel. */
#define SCAN_RUN 0        /* positions in a run */
#define SCAN_BACK 4       /* from behind a column to the next */
#define SCAN_STRIP 8
#define SCAN_ROW 12       /* address of the pixel, if that is a run */
#define SCAN_LEFT 16      /* pixels of the column */
#define SCAN_POSITIONS 20
#define SCAN_RA 24
#define SCAN_S0 28
#define SCAN_S1 32
#define SCAN_GP 36
#define SCAN_TP 40
#define SCAN_FRAME 44

/* Adds SCAN_RUN or SCAN_BACK, which are in t1 and t2 where there are no lists for them. */
    .macro add_kept to, at, register
#if STRIP_LISTS < 6
    add     \to, \to, \register
#else
    lw      a5, \at(sp)
    add     \to, \to, a5
#endif
    .endm

    .macro start list, end
    mv      \end, gp
    add     gp, gp, a5
    .endm

/* A list that is more than the strip has bits: what is out of range goes into the first one. */
    .macro fold list, end
    .if \list > 0
    mv      \end, s0
    addi    t0, t0, 1
    beqz    t0, .Lstarted
    .endif
    .endm

    .macro tabulate list, end
    sb      \end, \list(gp)
    .endm

    .macro test list, end
    slli    a3, a3, 1
    bgez    a3, 1f
    sb      t0, 0(\end)
    addi    \end, \end, 1
1:
    .endm

    .macro next
    add     a4, a4, tp
    addi    t0, t0, 1
    beq     t0, ra, .Lrun_end
    .endm

    .section .text.BitNetMCU_scan_strip, "ax"
    .globl  BitNetMCU_scan_strip
    .type   BitNetMCU_scan_strip, @function
    .balign 4
BitNetMCU_scan_strip:
    addi    sp, sp, -SCAN_FRAME
    sw      ra, SCAN_RA(sp)
    sw      s0, SCAN_S0(sp)
    sw      s1, SCAN_S1(sp)
    sw      gp, SCAN_GP(sp)
    sw      tp, SCAN_TP(sp)
    sw      a1, SCAN_STRIP(sp)
    mv      a4, a0
    lw      a5, POSITIONS(a1)
    sw      a5, SCAN_POSITIONS(sp)
    lw      tp, ROW_BYTES(a1)
    lw      ra, ROWS(a1)
    lw      a3, CHANNELS(a1)
    lw      t2, BYTES(a1)
    sub     t2, a3, t2
    addi    a3, a3, -1
    beqz    a3, 1f
    li      tp, 1
1:  addi    a3, tp, -1
    bnez    a3, 1f
    lw      ra, CHANNELS(a1)        /* a run is a pixel */
    lw      a3, ROWS(a1)
    sw      a3, SCAN_LEFT(sp)
    sw      a0, SCAN_ROW(sp)
1:  mv      t1, ra
#if STRIP_LISTS > 5
    sw      t1, SCAN_RUN(sp)
    sw      t2, SCAN_BACK(sp)
#endif
    lw      t0, BITS(a1)
    addi    t0, t0, -STRIP_LISTS
    lw      a3, ENTRIES(a1)
    mv      gp, a2
    add     a3, a3, a2
    each_list start
    bltz    t0, .Lfewer_bits
.Lstarted:
    mv      gp, a3
    each_list tabulate
    addi    gp, gp, STRIP_LISTS
    li      t0, 0
    lla     a5, .Lfirst
    jr      a5

.Lfewer_bits:
    each_list_downwards fold
.Lpixel_end:
    lw      a3, SCAN_STRIP(sp)
    lw      a4, SCAN_ROW(sp)
    lw      a5, ROW_BYTES(a3)
    add     a4, a4, a5
    lw      a5, SCAN_LEFT(sp)
    addi    a5, a5, -1
    beqz    a5, 1f
    sw      a5, SCAN_LEFT(sp)
    sw      a4, SCAN_ROW(sp)
    lla     a3, .Lrun
    jr      a3
1:  lw      a5, ROWS(a3)
    sw      a5, SCAN_LEFT(sp)
    mv      a3, a4
    add_kept a3, SCAN_BACK, t2
    sw      a3, SCAN_ROW(sp)
    lla     a3, .Lcolumn_end
    jr      a3

.Lscanned:
    lw      ra, SCAN_RA(sp)
    lw      s0, SCAN_S0(sp)
    lw      s1, SCAN_S1(sp)
    lw      gp, SCAN_GP(sp)
    lw      tp, SCAN_TP(sp)
    addi    sp, sp, SCAN_FRAME
    ret
    .size   BitNetMCU_scan_strip, . - BitNetMCU_scan_strip
    .set    frame.BitNetMCU_scan_strip, SCAN_FRAME

#if SCAN_IS_INNER
    .section .text.BitNetMCU_inner_scan, "ax"
#endif
    .type   BitNetMCU_scan_columns, @function
    .balign 4
BitNetMCU_scan_columns:
.Lwork:
    slli    a3, a3, 31 - STRIP_LISTS
    each_list_downwards test
.Lnext:
    next
.Lfirst:
    lb      a3, 0(a4)
    bnez    a3, .Lwork
    next
    lb      a3, 0(a4)
    beqz    a3, .Lnext
    j       .Lwork

.Lrun_end:
    addi    a5, tp, -1
    beqz    a5, .Lto_pixel_end
.Lcolumn_end:
    each_list tabulate
    lw      a5, SCAN_POSITIONS(sp)
    addi    gp, gp, STRIP_LISTS
    beq     t0, a5, .Lto_scanned
    add_kept a4, SCAN_BACK, t2
.Lrun:
    add_kept ra, SCAN_RUN, t1
    j       .Lfirst
.Lto_pixel_end:
    lla     a5, .Lpixel_end
    jr      a5
.Lto_scanned:
    lla     a5, .Lscanned
    jr      a5
    .size   BitNetMCU_scan_columns, . - BitNetMCU_scan_columns
    .set    frame.BitNetMCU_scan_columns, 0

/* --- windows. The frame: a slot for each list has the lanes of its columns, even and odd ones in
 * turns; before that START, END and ODD. Positions of the last lists come first: from them on, sums
 * double. */
#define START 0           /* of the list's part */
#define END 4
#define ODD 8             /* what sums over the odd nibbles start from */
#define SLOT (32 * STRIP_LISTS)
#define COLUMN SLOT              /* the same once there are no more lists */
#define SLOTS_END (SLOT + 4)
#define LISTS_END (SLOT + 8)
#define TABLE_FIRST (SLOT + 12)  /* ends of what the tables have for the window's first column */
#define TABLE_LAST (SLOT + 16)   /* and for its last one */
#define STRIP (SLOT + 20)
#define POSITION (SLOT + 24)
#define BLOCK (SLOT + 28)        /* its weights */
#define BLOCK_START (SLOT + 32)  /* its accumulators */
#define BLOCK_END (SLOT + 36)
#define ALL_END (SLOT + 40)
#define BASE (SLOT + 44)         /* weights of the block at position 0 */
#define WIDE (SLOT + 48)         /* 1: four columns, 0: two */
#define DONE (SLOT + 52)         /* entries of each list that earlier passes summed */
#define LEFT (SLOT + 56)         /* not 0: there are more */
#define SUM (SLOT + 60)          /* of values */
#define FAST_END (SLOT + 64)     /* of the columns that are unpacked as a whole */
#define RETURN FAST_END          /* before there are columns */
#define OLD_RA (SLOT + 68)
#define OLD_S0 (SLOT + 72)
#define OLD_S1 (SLOT + 76)
#define OLD_GP (SLOT + 80)
#define OLD_TP (SLOT + 84)
#define FRAME (SLOT + 88)

/* The sum of column `at` over a row: rows of 8 nibbles to two words of 8-bit lanes. */
    .macro add_word even, odd, at
    lw      a5, \at(a3)
    add     \even, \even, a5
    srli    a5, a5, 4
    and     a5, a5, a4
    add     \odd, \odd, a5
    .endm

/* Takes the odd nibbles off. */
    .macro less_odd even, odd
    slli    a5, \odd, 4
    sub     \even, \even, a5
    .endm

    .macro add_row_4 entry
    lbu     a3, \entry(ra)
    slli    a3, a3, 4
    add     a3, a3, tp
    add_word a0, a1, 0
    add_word a2, s0, 4
    add_word s1, t0, 8
    add_word t1, t2, 12
    .endm

    .macro add_row_2
    lbu     a3, 0(ra)
    slli    a3, a3, 3
    add     a3, a3, tp
    add_word a0, a1, 0
    add_word a2, s0, 4
    .endm

/* Sums all lists into their slots. a3: the first slot, a4: 0x0f0f0f0f, tp: BASE. Keeps sp only. */
    .section .text.BitNetMCU_inner_strips, "ax"
    .globl  BitNetMCU_inner_strips
    .type   BitNetMCU_inner_strips, @function
    .option push
    .option norelax                 /* else alignment leaves bytes of SRAM behind */
    .balign 4
BitNetMCU_inner_strips:
    sw      ra, RETURN(sp)
.Llist:
    sw      a3, SLOT(sp)
    lw      ra, START(a3)
    lw      gp, END(a3)
    lw      a1, ODD(a3)
    slli    a0, a1, 4
    add     a0, a0, a1
    mv      a2, a0
    mv      s0, a1
    mv      s1, a0
    mv      t0, a1
    mv      t1, a0
    mv      t2, a1
    sub     a5, gp, ra
    beqz    a5, .Lstore
    lw      a3, WIDE(sp)
    beqz    a3, .Lrows_2
    andi    a5, a5, 1
    beqz    a5, .Lrows_4
    addi    ra, ra, -1
    j       .Lodd
    .balign 4
.Lrows_4:
    add_row_4 0
.Lodd:
    add_row_4 1
    addi    ra, ra, 2
    bne     ra, gp, .Lrows_4
.Lstore:
    less_odd a0, a1
    less_odd a2, s0
    less_odd s1, t0
    less_odd t1, t2
    lw      a3, SLOT(sp)
    lw      a5, SLOTS_END(sp)
    sw      a0, 0(a3)
    sw      a1, 4(a3)
    sw      a2, 8(a3)
    sw      s0, 12(a3)
    sw      s1, 16(a3)
    sw      t0, 20(a3)
    sw      t1, 24(a3)
    sw      t2, 28(a3)
    addi    a3, a3, 32
    bne     a3, a5, .Llist
    lw      ra, RETURN(sp)
    ret

    .balign 4
.Lrows_2:
    add_row_2
    addi    ra, ra, 1
    bne     ra, gp, .Lrows_2
    j       .Lstore
    .option pop
    .size   BitNetMCU_inner_strips, . - BitNetMCU_inner_strips
    .set    frame.BitNetMCU_inner_strips, 0

    .macro times_lists to, from     /* one of them is a spare register afterwards */
    .if STRIP_LISTS == 1
    mv      \to, \from
    .elseif STRIP_LISTS == 2
    slli    \to, \from, 1
    .elseif STRIP_LISTS == 3
    slli    \to, \from, 1
    add     \to, \to, \from
    .elseif STRIP_LISTS == 4
    slli    \to, \from, 2
    .elseif STRIP_LISTS == 5
    slli    \to, \from, 2
    add     \to, \to, \from
    .elseif STRIP_LISTS == 6
    slli    \to, \from, 1
    add     \to, \to, \from
    slli    \to, \to, 1
    .else
    slli    \to, \from, 3
    sub     \to, \to, \from
    .endif
    .endm

    .section .text.BitNetMCU_window_nibbles, "ax"
    .globl  BitNetMCU_window_nibbles
    .type   BitNetMCU_window_nibbles, @function
    .balign 4
BitNetMCU_window_nibbles:
    addi    sp, sp, -FRAME
    sw      ra, OLD_RA(sp)
    sw      s0, OLD_S0(sp)
    sw      s1, OLD_S1(sp)
    sw      gp, OLD_GP(sp)
    sw      tp, OLD_TP(sp)
    mv      a5, a1
    sw      a5, STRIP(sp)
    sw      a3, POSITION(sp)
    lw      s0, ENTRIES(a5)
    add     a0, a0, s0
    sw      a0, LISTS_END(sp)
    times_lists s1, a2
    mv      t0, a0
    add     t0, t0, s1
    lw      s1, BITS(a5)
    add     t0, t0, s1
    sw      t0, TABLE_FIRST(sp)
    slli    s1, s1, 5
    add     s1, s1, sp
    sw      s1, SLOTS_END(sp)
    lw      a2, COLUMNS(a5)
    times_lists s1, a2
    mv      t1, t0
    add     t1, t1, s1
    sw      t1, TABLE_LAST(sp)
    lw      a1, OUTPUTS(a5)
    slli    a1, a1, 2
    add     a1, a1, a4
    sw      a1, ALL_END(sp)
    lw      a2, WEIGHTS(a5)
    sw      a2, BLOCK(sp)

/* A block of up to 32 outputs, from a4 on, and its passes, each over so many entries of each list as
 * 8-bit lanes can sum. Registers: a1 ALL_END, a2 BLOCK, a3 POSITION; a0 LISTS_END, t0 TABLE_FIRST,
 * t1 TABLE_LAST, a5 STRIP also for a pass; there s0: entries of a list that need no closer look. */
.Lblock:
    sw      a4, BLOCK_START(sp)
    sub     s0, a1, a4
    li      s1, 128
    bltu    s1, s0, .Lfull_block
.Lblock_end:
    sw      a1, BLOCK_END(sp)
    li      s1, 64
    sltu    s1, s1, s0
    sw      s1, WIDE(sp)
    slli    a3, a3, 3
    sll     a3, a3, s1
    sub     a2, a2, a3
    sw      a2, BASE(sp)
    sw      zero, DONE(sp)
    lw      s0, MOST(a5)
.Lpass:
    lw      a3, SLOTS_END(sp)
    lw      a4, POSITIONS(a5)
    lw      s1, LIST_BIAS(a5)
    li      ra, 0                   /* sum of values */
    sw      zero, LEFT(sp)
1:  addi    t0, t0, -1
    addi    t1, t1, -1
    addi    a3, a3, -32
    sub     a0, a0, a4
    lbu     a5, 0(t0)
    lbu     a1, 0(t1)
    sub     a1, a1, a5
    andi    a1, a1, 255             /* entries */
    sub     a5, a5, a0
    andi    a5, a5, 255
    add     a5, a5, a0
    bltu    s0, a1, .Lsome
.Lfits:
    sw      a5, START(a3)
    add     a5, a5, a1
    sw      a5, END(a3)
    slli    ra, ra, 1
    add     ra, ra, a1
    slli    a1, a1, 3
    mv      a2, s1
    sub     a2, a2, a1              /* bias - 8 * rows, in each byte */
    mv      a1, a2
    slli    a1, a1, 8
    add     a2, a2, a1
    mv      a1, a2
    slli    a1, a1, 16
    add     a2, a2, a1
    sw      a2, ODD(a3)
    bne     a3, sp, 1b
    sw      ra, SUM(sp)
    lw      tp, BASE(sp)
    li      a4, 0x0f0f0f0f
    call    BitNetMCU_inner_strips

/* Registers of the next loop: a0 to a3 16-bit lanes; a4 the column's lanes in bit 0's slot, t1 from
 * there to the highest bit's; ra where to widen the next bit's; a5: 0x00ff00ff; t0: what lanes lack;
 * gp where to unpack; t2: what else to add, once doubled; tp to where. */
    lw      a5, STRIP(sp)
    lw      a2, BITS(a5)
    lw      s0, DOUBLED(a5)
    lw      t0, LACKING(a5)
    lw      t2, MORE(a5)
    addi    a2, a2, -1
    slli    t1, a2, 5
    lla     ra, .Lwidened           /* 28 bytes for each bit but the highest, and 32 for bits 4 and 5 */
    slli    a3, a2, 2
    add     ra, ra, a3
    sub     ra, ra, t1
#if STRIP_LISTS > 5
    addi    a3, a3, -16
    blez    a3, 1f
    sub     ra, ra, a3
1:
#endif
    lla     gp, .Lplain
    beqz    s0, 1f
    lw      a3, SUM(sp)
    add     t2, t2, a3
    lla     gp, .Ldoubled
1:  lw      tp, BLOCK_START(sp)
    lw      a3, BLOCK_END(sp)
    sub     a3, a3, tp
    andi    a3, a3, -32
    lw      a2, DONE(sp)
    beqz    a2, 1f
    li      a3, 0
1:  add     a2, tp, a3
    sw      a2, FAST_END(sp)
    mv      a4, sp
    li      a5, 0x00ff00ff
    beqz    a3, .Lslow_column

/* The first and third word also take what lies above the even bytes. */
.Lcolumn:
    mv      s1, a4
    add     s1, s1, t1
    lw      a0, 0(s1)
    lw      a2, 4(s1)
    mv      a1, a0
    srli    a1, a1, 8
    and     a1, a1, a5
    mv      a3, a2
    srli    a3, a3, 8
    and     a3, a3, a5
    jr      ra

    .macro widen_list bit
    lw      s0, 32 * \bit(a4)
    lw      s1, 32 * \bit + 4(a4)
    slli    a0, a0, 1
    add     a0, a0, s0
    srli    s0, s0, 8
    and     s0, s0, a5
    slli    a1, a1, 1
    add     a1, a1, s0
    slli    a2, a2, 1
    add     a2, a2, s1
    srli    s1, s1, 8
    and     s1, s1, a5
    slli    a3, a3, 1
    add     a3, a3, s1
    .endm

.Lwiden:
    .irp    bit, 5, 4, 3, 2, 1, 0
    .if     \bit < STRIP_LISTS - 1
    widen_list \bit
    .endif
    .endr
.Lwidened:
    .if . - .Lwiden - 28 * (STRIP_LISTS - 1) - 4 * (STRIP_LISTS - 5) * -(STRIP_LISTS > 5)
    .error "a slot is not widened in 28 or 32 bytes"
    .endif
    slli    s0, a1, 8
    sub     a0, a0, s0
    slli    s0, a3, 8
    sub     a2, a2, s0
    add     a0, a0, t0
    add     a1, a1, t0
    add     a2, a2, t0
    add     a3, a3, t0
    mv      s1, tp
    jr      gp

    .macro unpack word, at, doubled
    mv      s0, \word
    slli    s0, s0, 16
    srli    s0, s0, 16 - \doubled
    add     s0, s0, t2
    sw      s0, \at(s1)
    srli    \word, \word, 16
    .if \doubled
    slli    \word, \word, 1
    .endif
    add     \word, \word, t2
    sw      \word, \at + 4(s1)
    .endm

    .macro unpack_all doubled
    unpack  a0, 0, \doubled
    unpack  a1, 8, \doubled
    unpack  a2, 16, \doubled
    unpack  a3, 24, \doubled
    addi    tp, tp, 32
    .endm

.Ldoubled:
    unpack_all 1
.Lunpacked:
    addi    a4, a4, 8
    lw      s0, FAST_END(sp)
    bltu    tp, s0, .Lcolumn
    lw      s0, BLOCK_END(sp)
    bltu    tp, s0, .Lslow_column
    lw      a0, LEFT(sp)
    bnez    a0, .Lnext_pass
    lw      a5, ALL_END(sp)
    bne     tp, a5, .Lnext_block
    lw      ra, OLD_RA(sp)
    lw      s0, OLD_S0(sp)
    lw      s1, OLD_S1(sp)
    lw      gp, OLD_GP(sp)
    lw      tp, OLD_TP(sp)
    addi    sp, sp, FRAME
    ret

.Lplain:
    unpack_all 0
    j       .Lunpacked

/* The last outputs, and later passes: one output at a time, added to what is there. */
.Lslow_column:
    lla     gp, .Lslow
    j       .Lcolumn
.Lslow:
    sw      a4, COLUMN(sp)
    mv      a4, tp
    addi    a5, a4, 32
    lw      s0, BLOCK_END(sp)
    bgeu    s0, a5, 1f
    mv      a5, s0
1:  lw      s0, DONE(sp)
    bnez    s0, 3f
2:  sw      zero, 0(s1)
    addi    s1, s1, 4
    bne     s1, a5, 2b
3:  lw      s0, STRIP(sp)
    lw      s0, DOUBLED(s0)
    li      t1, 16
    sub     t1, t1, s0
4:  mv      s0, a0
    slli    s0, s0, 16
    srl     s0, s0, t1
    add     s0, s0, t2
    lw      s1, 0(a4)
    add     s0, s0, s1
    sw      s0, 0(a4)
    addi    a4, a4, 4
    beq     a4, a5, 5f
    srli    a0, a0, 16
    slli    a0, a0, 16
    srl     a0, a0, t1
    add     a0, a0, t2
    lw      s1, 0(a4)
    add     a0, a0, s1
    sw      a0, 0(a4)
    addi    a4, a4, 4
    mv      a0, a1
    mv      a1, a2
    mv      a2, a3
    bne     a4, a5, 4b
5:  mv      tp, a4
    lw      a4, COLUMN(sp)
    lw      t1, SLOTS_END(sp)
    addi    t1, t1, -32
    sub     t1, t1, sp
    li      a5, 0x00ff00ff
    j       .Lunpacked

.Lfull_block:
    mv      s0, s1
    mv      a1, a4
    add     a1, a1, s1
    j       .Lblock_end

    .macro load_pass
    lw      a0, LISTS_END(sp)
    lw      t0, TABLE_FIRST(sp)
    lw      t1, TABLE_LAST(sp)
    lw      a5, STRIP(sp)
    .endm

.Lnext_block:
    load_pass
    lw      a2, BLOCK(sp)
    lw      a1, INPUTS(a5)
    slli    a1, a1, 4
    add     a2, a2, a1
    sw      a2, BLOCK(sp)
    lw      a1, ALL_END(sp)
    lw      a3, POSITION(sp)
    mv      a4, tp
    j       .Lblock

.Lnext_pass:
    load_pass
    lw      a2, MOST(a5)
    lw      a1, DONE(sp)
    add     a1, a1, a2
    sw      a1, DONE(sp)
    li      s0, 0
    j       .Lpass

/* Without the entries that earlier passes summed, and not more than this one can. */
.Lsome:
    lw      a2, DONE(sp)
    bltu    a2, a1, 1f
    mv      a1, a2
1:  sub     a1, a1, a2
    add     a5, a5, a2
    lw      a2, STRIP(sp)
    lw      a2, MOST(a2)
    bgeu    a2, a1, .Lfits
    mv      a1, a2
    sw      sp, LEFT(sp)
    j       .Lfits
    .size   BitNetMCU_window_nibbles, . - BitNetMCU_window_nibbles
    .set    frame.BitNetMCU_window_nibbles, FRAME

/* --- pieces. A piece is scanned in flash: it is read much more seldom than its windows are summed.
 *
 * Runs are as in BitNetMCU_scan_strip, but from address to address. Where pixels are whole words, so
 * is what is looked at. Registers: a4 what is next, ra the end of the run; a5 the word, or byte; a3
 * spare; t0 its position; gp what lies between addresses and positions in a run of words, else the
 * distance of bytes; tp what values are masked with, and less than 0 where it is bytes; and the
 * ends of the lists. */
#define PIECE_TABLE 0      /* where the table goes on */
#define PIECE_RUNS 4       /* left in the column */
#define PIECE_ROWS 8       /* runs in a column */
#define PIECE_RUN 12       /* from the beginning of a run to its end */
#define PIECE_STEP 16      /* from there to the next one */
#define PIECE_BACK 20      /* or to the next column */
#define PIECE_COUNT 24     /* columns before lists are looked at */
#define PIECE_MORE 28      /* and behind that */
#define PIECE_MOST 32      /* in all */
#define PIECE_BOUND 36     /* where a list may end before one more column */
#define PIECE_ROOM 40      /* of a list */
#define PIECE_RA 44
#define PIECE_S0 48
#define PIECE_S1 52
#define PIECE_GP 56
#define PIECE_TP 60
#define PIECE_FRAME 64

    .macro start_piece list, end
    mv      \end, t0
    add     t0, t0, ra
    .endm

    .macro tabulate_piece list, end
    sb      \end, \list(a3)
    .endm

    .macro look list, end
    bltu    a5, \end, .Lpiece_end
    add     a5, a5, a3
    .endm

/* a0: map, a1: strip, a2: columns, a3: lists. Returns how many columns the lists are of. */
    .macro value_of_word
    slli    a3, a5, 24
    beqz    a3, 7f
    and     a3, a5, tp
    slli    a3, a3, 31 - STRIP_LISTS
    each_list_downwards test
7:
    .endm

    .section .text.BitNetMCU_scan_piece, "ax"
    .type   BitNetMCU_scan_piece, @function
    .balign 4
BitNetMCU_scan_piece:
    addi    sp, sp, -PIECE_FRAME
    sw      ra, PIECE_RA(sp)
    sw      s0, PIECE_S0(sp)
    sw      s1, PIECE_S1(sp)
    sw      gp, PIECE_GP(sp)
    sw      tp, PIECE_TP(sp)
    lw      a5, AT_ONCE(a1)
    bgeu    a5, a2, 1f
    mv      a2, a5
1:  sw      a2, PIECE_MOST(sp)
    lw      a5, SURE(a1)
    bgeu    a2, a5, 1f
    mv      a5, a2
1:  sw      a5, PIECE_COUNT(sp)
    sub     a2, a2, a5
    sw      a2, PIECE_MORE(sp)
    lw      a5, ENTRIES(a1)
    add     a5, a5, a3
    sw      a5, PIECE_TABLE(sp)
    lw      a5, POSITIONS(a1)
    sw      a5, PIECE_ROOM(sp)
    mv      ra, a5
    mv      t0, a3
    add     a3, a3, a5
    lw      a5, COLUMN_POSITIONS(a1)
    sub     a3, a3, a5
    sw      a3, PIECE_BOUND(sp)

    lw      a5, BITS(a1)            /* what values are in: lists that are not there stay empty */
    li      tp, -1
    sll     tp, tp, a5
    not     tp, tp
    lw      a3, ROW_BYTES(a1)
    lw      a5, CHANNELS(a1)
    mv      a2, a3
    or      a2, a2, a5
    or      a2, a2, a0
    andi    a2, a2, 3
    beqz    a2, 1f
    lui     a2, 0x80000
    or      tp, tp, a2
1:  mv      a4, a0
    lw      a2, BYTES(a1)
    lw      a0, ROWS(a1)
    li      gp, 1
    bne     a5, gp, 1f
    mv      gp, a3                  /* one run a column */
    li      a0, 1
    sub     a5, a5, a2
    sw      a5, PIECE_BACK(sp)
    mv      a5, a2
    j       2f
1:  mv      a1, a3
    sub     a1, a1, a2
    sw      a1, PIECE_BACK(sp)
2:  sw      a0, PIECE_ROWS(sp)
    sw      a0, PIECE_RUNS(sp)
    sw      a5, PIECE_RUN(sp)
    sub     a3, a3, a5
    sw      a3, PIECE_STEP(sp)
    mv      a3, a5
    bltz    tp, 1f
    addi    gp, a4, 4
1:  each_list start_piece
    li      t0, 0
    mv      ra, a4
    add     ra, ra, a3
    lw      a3, PIECE_TABLE(sp)
    each_list tabulate_piece
    addi    a3, a3, STRIP_LISTS
    sw      a3, PIECE_TABLE(sp)
    bltz    tp, .Lbytes

    .balign 4
.Lwords:
    lw      a5, 0(a4)
    addi    a4, a4, 4
    bnez    a5, .Lword
    beq     a4, ra, .Lpiece_run_end
.Lnext_word:
    lw      a5, 0(a4)
    addi    a4, a4, 4
    bnez    a5, .Lword
    bne     a4, ra, .Lwords
    j       .Lpiece_run_end

.Lbytes:
    lbu     a5, 0(a4)
    add     a4, a4, gp
    bnez    a5, .Lvalue
    addi    t0, t0, 1
    bne     a4, ra, .Lbytes
    j       .Lpiece_run_end

.Lword:                             /* four values, of which some are not 0 */
    sub     t0, a4, gp
    value_of_word
    .rept   3
    srli    a5, a5, 8
    addi    t0, t0, 1
    value_of_word
    .endr
    bne     a4, ra, .Lnext_word
    j       .Lpiece_run_end

.Lvalue:                            /* the only one */
    and     a3, a5, tp
    beqz    a3, 1f
    slli    a3, a3, 31 - STRIP_LISTS
    each_list_downwards test
1:  addi    t0, t0, 1
    bne     a4, ra, .Lbytes
    j       .Lpiece_run_end

.Lpiece_run_end:
    lw      a5, PIECE_RUNS(sp)
    addi    a5, a5, -1
    beqz    a5, .Lpiece_column_end
    sw      a5, PIECE_RUNS(sp)
    lw      a5, PIECE_STEP(sp)
.Lrun_of_piece:
    lw      a3, PIECE_RUN(sp)
    add     a4, a4, a5
    mv      ra, a4
    add     ra, ra, a3
    bltz    tp, .Lbytes
    add     gp, gp, a5
    j       .Lwords

.Lpiece_column_end:
    lw      a3, PIECE_TABLE(sp)
    each_list tabulate_piece
    addi    a3, a3, STRIP_LISTS
    sw      a3, PIECE_TABLE(sp)
    lw      a3, PIECE_COUNT(sp)
    addi    a3, a3, -1
    beqz    a3, .Llook
.Lnext_of_piece:
    sw      a3, PIECE_COUNT(sp)
    lw      a5, PIECE_ROWS(sp)
    sw      a5, PIECE_RUNS(sp)
    lw      a5, PIECE_BACK(sp)
    j       .Lrun_of_piece

.Llook:
    lw      ra, PIECE_MORE(sp)
    beqz    ra, .Lpiece_end
    lw      a5, PIECE_BOUND(sp)
    lw      a3, PIECE_ROOM(sp)
    each_list look
    addi    ra, ra, -1
    sw      ra, PIECE_MORE(sp)
    li      a3, 1
    j       .Lnext_of_piece

.Lpiece_end:
    lw      a0, PIECE_MOST(sp)
    lw      a1, PIECE_MORE(sp)
    sub     a0, a0, a1
    lw      ra, PIECE_RA(sp)
    lw      s0, PIECE_S0(sp)
    lw      s1, PIECE_S1(sp)
    lw      gp, PIECE_GP(sp)
    lw      tp, PIECE_TP(sp)
    addi    sp, sp, PIECE_FRAME
    ret
    .size   BitNetMCU_scan_piece, . - BitNetMCU_scan_piece
    .set    frame.BitNetMCU_scan_piece, PIECE_FRAME

/* The sums of a window of a piece. Lists are summed from the highest bit down: so many rows as 8-bit
 * lanes hold are summed in registers, and those added to the 16-bit lanes of the frame, which double
 * in front of a list. A row has as many words as its outputs need. */
#define LANES 0            /* four words of each column of eight outputs */
#define W_LIST 64          /* the list */
#define W_FIRST 68         /* what the table has for it at the first column */
#define W_LAST 72          /* and behind the last one */
#define W_BITS 76          /* lists from there on */
#define W_NEXT 80          /* entries that are not summed, where they begin */
#define W_COUNT 84         /* and how many they are */
#define W_SHIFT 88         /* how often all is to double first */
#define W_VALUES 92        /* sum of values */
#define W_BIASES 96        /* sum of the biases of 8-bit lanes */
#define W_LOOP 100         /* for rows of the block's words */
#define W_BASE 104         /* weights of the block at position 0 */
#define W_BLOCK 108        /* its weights */
#define W_BLOCK_END 112    /* its accumulators */
#define W_START 116
#define W_ALL_END 120
#define W_STRIP 124
#define W_POSITION 128
#define W_ADDED 132        /* not 0: to what is there */
#define W_LISTS_END 136
#define W_TABLE_FIRST 140
#define W_TABLE_LAST 144
#define W_EVEN_BYTES 148
#define W_RA 152
#define W_S0 156
#define W_S1 160
#define W_GP 164
#define W_TP 168
#define W_FRAME 172

    .macro add_row_3 entry
    lbu     a3, \entry(ra)
    slli    a3, a3, 2
    mv      a5, a3
    add     a5, a5, tp
    slli    a3, a3, 1
    add     a3, a3, a5
    add_word a0, a1, 0
    add_word a2, s0, 4
    add_word s1, t0, 8
    .endm

/* Rows in twos. Registers: ra the next entry, gp the end, tp BASE; a4: 0x0f0f0f0f. */
    .macro rows words
    .balign 4
.Lrows_of_\words:
    sub     a5, gp, ra
    andi    a5, a5, 1
    beqz    a5, 1f
    addi    ra, ra, -1
    j       2f
    .balign 4
1:  add_row_\words 0
2:  add_row_\words 1
    addi    ra, ra, 2
    bne     ra, gp, 1b
    .endm

    .macro add_lane at, lanes
    lw      a3, LANES + \at(sp)
    sll     a3, a3, gp
    add     a3, a3, \lanes
    sw      a3, LANES + \at(sp)
    .endm

/* The first and third word also take what lies above the even bytes. */
    .macro flush even, odd, at
    less_odd \even, \odd
    add_lane \at, \even
    srli    \even, \even, 8
    and     \even, \even, a4
    add_lane \at + 4, \even
    add_lane \at + 8, \odd
    srli    \odd, \odd, 8
    and     \odd, \odd, a4
    add_lane \at + 12, \odd
    .endm

    .macro load_flush
    lw      gp, W_SHIFT(sp)
    lw      a4, W_EVEN_BYTES(sp)
    .endm

    .macro output value, name       /* and the next one, if there is one */
    bnez    a1, .Ladd_\name
.Lwrite_\name:
    sw      \value, 0(a4)
    addi    a4, a4, 4
    beq     a4, tp, .Lblock_of_piece_end
    .endm

    .macro outputs lanes, first, second
    add     \lanes, \lanes, s0
    mv      a3, \lanes
    slli    a3, a3, 16
    srl     a3, a3, t2
    add     a3, a3, a5
    output  a3, \first
    srli    \lanes, \lanes, 16
    sll     \lanes, \lanes, t1
    add     \lanes, \lanes, a5
    output  \lanes, \second
    .endm

    .macro add_output value, name
.Ladd_\name:
    lw      gp, 0(a4)
    add     \value, \value, gp
    j       .Lwrite_\name
    .endm

/* a0: lists, a1: strip, a2: first, a3: position, a4: accumulators, t0: columns, t1: 0, or not 0 if
 * the sums are to be added to what is there. */
    .section .text.BitNetMCU_window_piece, "ax"
    .type   BitNetMCU_window_piece, @function
    .balign 4
BitNetMCU_window_piece:
    addi    sp, sp, -W_FRAME
    sw      ra, W_RA(sp)
    sw      s0, W_S0(sp)
    sw      s1, W_S1(sp)
    sw      gp, W_GP(sp)
    sw      tp, W_TP(sp)
    sw      t1, W_ADDED(sp)
    sw      a1, W_STRIP(sp)
    sw      a3, W_POSITION(sp)
    mv      a5, a1
    lw      s0, ENTRIES(a5)
    add     a0, a0, s0
    sw      a0, W_LISTS_END(sp)
    times_lists s1, a2
    add     s1, s1, a0
    lw      a2, BITS(a5)
    add     s1, s1, a2
    sw      s1, W_TABLE_FIRST(sp)
    mv      a2, t0
    times_lists s0, a2
    add     s0, s0, s1
    sw      s0, W_TABLE_LAST(sp)
    li      a2, 0x00ff00ff
    sw      a2, W_EVEN_BYTES(sp)
    lw      a1, OUTPUTS(a5)
    slli    a1, a1, 2
    add     a1, a1, a4
    sw      a1, W_ALL_END(sp)
    lw      a2, WEIGHTS(a5)

.Lblock_of_piece:                   /* from a4 on, with weights from a2 on; a1 ALL_END, a5 STRIP */
    sw      a4, W_START(sp)
    sw      a2, W_BLOCK(sp)
    sub     s0, a1, a4
    li      s1, 128
    bgeu    s1, s0, 1f
    mv      s0, s1
1:  add     a4, a4, s0
    sw      a4, W_BLOCK_END(sp)
    addi    s0, s0, 28
    srli    s0, s0, 5               /* words of a row */
    lla     a4, .Lrows_of_4
    addi    a0, s0, -3
    bgtz    a0, 1f
    lla     a4, .Lrows_of_3
    beqz    a0, 1f
    lla     a4, .Lrows_of_2
    addi    a0, a0, 1
    beqz    a0, 1f
    lla     a4, .Lrows_of_1
1:  sw      a4, W_LOOP(sp)
    lw      a3, W_POSITION(sp)
    slli    a3, a3, 2
1:  sub     a2, a2, a3
    addi    s0, s0, -1
    bnez    s0, 1b
    sw      a2, W_BASE(sp)
    .irp    at, 0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60
    sw      zero, LANES + \at(sp)
    .endr
    sw      zero, W_SHIFT(sp)
    sw      zero, W_VALUES(sp)
    sw      zero, W_BIASES(sp)
    lw      a0, W_LISTS_END(sp)
    lw      a1, W_TABLE_FIRST(sp)
    lw      a2, W_TABLE_LAST(sp)
    lw      a3, BITS(a5)

.Llist_of_piece:
    sw      a3, W_BITS(sp)
    lw      a3, POSITIONS(a5)
    sub     a0, a0, a3
    addi    a1, a1, -1
    addi    a2, a2, -1
    sw      a0, W_LIST(sp)
    sw      a1, W_FIRST(sp)
    sw      a2, W_LAST(sp)
    lbu     s0, 0(a1)
    lbu     s1, 0(a2)
    sub     s1, s1, s0
    andi    s1, s1, 255             /* entries */
    beqz    s1, .Llist_of_piece_end
    sub     s0, s0, a0
    andi    s0, s0, 255
    add     s0, s0, a0
.Lsome_of_piece:                    /* of s1 entries from s0 on, a1 */
    lw      a1, MOST(a5)
    bgeu    s1, a1, 1f
    mv      a1, s1
1:  sub     s1, s1, a1
    sw      s1, W_COUNT(sp)
    lw      a2, W_SHIFT(sp)
    lw      a3, W_VALUES(sp)
    lw      a4, LIST_BIAS(a5)
    sll     a3, a3, a2
    add     a3, a3, a1
    sw      a3, W_VALUES(sp)
    lw      a3, W_BIASES(sp)
    sll     a3, a3, a2
    add     a3, a3, a4
    sw      a3, W_BIASES(sp)
    mv      ra, s0
    add     s0, s0, a1
    sw      s0, W_NEXT(sp)
    mv      gp, s0
    slli    a1, a1, 3
    sub     a4, a4, a1              /* bias - 8 * rows, in each byte */
    mv      a1, a4
    slli    a1, a1, 8
    add     a1, a1, a4
    mv      a4, a1
    slli    a4, a4, 16
    add     a1, a1, a4
    slli    a0, a1, 4
    add     a0, a0, a1
    mv      a2, a0
    mv      s0, a1
    mv      s1, a0
    mv      t0, a1
    mv      t1, a0
    mv      t2, a1
    lw      tp, W_BASE(sp)
    lw      a5, W_LOOP(sp)
    li      a4, 0x0f0f0f0f
    jr      a5

    rows    4
    load_flush
    flush   t1, t2, 48
    j       .Lflush_3

    rows    3
    load_flush
.Lflush_3:
    flush   s1, t0, 32
.Lflush_2:
    flush   a2, s0, 16
.Lflush_1:
    flush   a0, a1, 0
    sw      zero, W_SHIFT(sp)
    lw      a5, W_STRIP(sp)
    lw      s1, W_COUNT(sp)
    lw      s0, W_NEXT(sp)
    bnez    s1, .Lsome_of_piece
    lw      a0, W_LIST(sp)
    lw      a1, W_FIRST(sp)
    lw      a2, W_LAST(sp)
.Llist_of_piece_end:
    lw      a3, W_BITS(sp)
    addi    a3, a3, -1
    beqz    a3, .Lunpack_piece
    lw      a4, W_SHIFT(sp)
    addi    a4, a4, 1
    sw      a4, W_SHIFT(sp)
    j       .Llist_of_piece

    .balign 4
.Lrows_of_2:
    add_row_2
    addi    ra, ra, 1
    bne     ra, gp, .Lrows_of_2
    load_flush
    j       .Lflush_2

    .balign 4
.Lrows_of_1:
    lbu     a3, 0(ra)
    slli    a3, a3, 2
    add     a3, a3, tp
    add_word a0, a1, 0
    addi    ra, ra, 1
    bne     ra, gp, .Lrows_of_1
    load_flush
    j       .Lflush_1

/* Registers: a4 the next output, tp the end; a1 whether to add; a2 the next lanes; a5 what to add to
 * each output, s0 to each word of lanes before; t0 how often they double first; t1 whether outputs
 * do, t2 16 less that. */
.Lunpack_piece:
    lw      t0, W_SHIFT(sp)
    lw      t1, DOUBLED(a5)
    li      t2, 16
    sub     t2, t2, t1
    lw      a5, MORE(a5)
    neg     s0, a5
    srl     s0, s0, t1              /* the bias of 16-bit lanes */
    lw      a3, W_BIASES(sp)
    sll     a3, a3, t0
    sub     s0, s0, a3
    mv      a3, s0
    slli    a3, a3, 16
    add     s0, s0, a3
    beqz    t1, 1f
    lw      a3, W_VALUES(sp)
    sll     a3, a3, t0
    add     a5, a5, a3
1:  lw      a4, W_START(sp)
    lw      tp, W_BLOCK_END(sp)
    lw      a1, W_ADDED(sp)
    mv      a2, sp
.Lwords_of_lanes:
    lw      a0, LANES(a2)
    lw      s1, LANES + 4(a2)
    sll     a0, a0, t0
    sll     s1, s1, t0
    mv      a3, s1
    slli    a3, a3, 8
    sub     a0, a0, a3
    outputs a0, 0, 1
    outputs s1, 2, 3
    addi    a2, a2, 8
    j       .Lwords_of_lanes

    add_output a3, 0
    add_output a0, 1
    add_output a3, 2
    add_output s1, 3

.Lblock_of_piece_end:
    lw      a1, W_ALL_END(sp)
    beq     a4, a1, 1f
    lw      a5, W_STRIP(sp)
    lw      a2, W_BLOCK(sp)
    lw      a3, INPUTS(a5)
    slli    a3, a3, 4
    add     a2, a2, a3
    j       .Lblock_of_piece
1:  lw      ra, W_RA(sp)
    lw      s0, W_S0(sp)
    lw      s1, W_S1(sp)
    lw      gp, W_GP(sp)
    lw      tp, W_TP(sp)
    addi    sp, sp, W_FRAME
    ret
    .size   BitNetMCU_window_piece, . - BitNetMCU_window_piece
    .set    frame.BitNetMCU_window_piece, W_FRAME

/* Registers: s0 the BitNetMCU_scanned, s1 the BitNetMCU_pieces. */
#define WINDOW_LISTS 0
#define WINDOW_SUMS 4
#define WINDOW_MAP 8       /* where the next part begins */
#define WINDOW_AT 12       /* what row of weights has its first value, less than 0 */
#define WINDOW_LEFT 16     /* columns that are not summed */
#define WINDOW_RA 20
#define WINDOW_S0 24
#define WINDOW_S1 28
#define WINDOW_FRAME 32

    .section .text.BitNetMCU_window_pieces, "ax"
    .globl  BitNetMCU_window_pieces
    .type   BitNetMCU_window_pieces, @function
    .balign 4
BitNetMCU_window_pieces:
    addi    sp, sp, -WINDOW_FRAME
    sw      ra, WINDOW_RA(sp)
    sw      s0, WINDOW_S0(sp)
    sw      s1, WINDOW_S1(sp)
    sw      a2, WINDOW_LISTS(sp)
    sw      a3, WINDOW_SUMS(sp)
    mv      s0, a0
    mv      s1, a1
    lw      a2, FIRST(s0)
    lw      a5, COLUMNS(s1)
    add     a5, a5, a2
    lw      a4, SCANNED(s0)
    bgeu    a4, a5, 1f
    sw      zero, FIRST(s0)
    sw      zero, AT(s0)
    lw      a0, MAP(s0)
    lw      a2, REST(s0)
    lw      a3, WINDOW_LISTS(sp)
    call    BitNetMCU_scan_piece
    sw      a0, SCANNED(s0)
    lw      a5, COLUMNS(s1)
    bltu    a0, a5, .Lparts
    li      a2, 0
1:  lw      a0, WINDOW_LISTS(sp)
    mv      a1, s1
    lw      a3, AT(s0)
    lw      a4, WINDOW_SUMS(sp)
    lw      t0, COLUMNS(s1)
    li      t1, 0
    call    BitNetMCU_window_piece
.Lnext_window:
    lw      a0, FIRST(s0)
    lw      a1, AT(s0)
    lw      a2, MAP(s0)
    lw      a3, REST(s0)
    lw      a4, PIXELS(s1)
    lw      a5, PIECE_POSITIONS(s1)
    add     a0, a0, a4
    add     a1, a1, a5
    lw      a5, PIECE_BYTES(s1)
    sub     a3, a3, a4
    add     a2, a2, a5
    sw      a0, FIRST(s0)
    sw      a1, AT(s0)
    sw      a2, MAP(s0)
    sw      a3, REST(s0)
    lw      ra, WINDOW_RA(sp)
    lw      s0, WINDOW_S0(sp)
    lw      s1, WINDOW_S1(sp)
    addi    sp, sp, WINDOW_FRAME
    ret

/* Lists have no room for a window: part by part, a0 columns from where the lists begin. What they
 * are of is not there for the next window. */
.Lparts:
    sw      zero, SCANNED(s0)
    lw      a4, MAP(s0)
    li      a3, 0
    li      t1, 0
1:  sub     a5, a5, a0
    sw      a5, WINDOW_LEFT(sp)
    mv      t0, a0
    mv      a2, a3
    lw      a1, CHANNELS(s1)
    lw      a5, COLUMN_POSITIONS(s1)
2:  add     a4, a4, a1
    sub     a2, a2, a5
    addi    a0, a0, -1
    bnez    a0, 2b
    sw      a4, WINDOW_MAP(sp)
    sw      a2, WINDOW_AT(sp)
    lw      a0, WINDOW_LISTS(sp)
    mv      a1, s1
    li      a2, 0
    lw      a4, WINDOW_SUMS(sp)
    call    BitNetMCU_window_piece
    lw      a2, WINDOW_LEFT(sp)
    beqz    a2, .Lnext_window
    lw      a0, WINDOW_MAP(sp)
    mv      a1, s1
    lw      a3, WINDOW_LISTS(sp)
    call    BitNetMCU_scan_piece
    lw      a5, WINDOW_LEFT(sp)
    lw      a4, WINDOW_MAP(sp)
    lw      a3, WINDOW_AT(sp)
    li      t1, 1
    j       1b
    .size   BitNetMCU_window_pieces, . - BitNetMCU_window_pieces
    .set    frame.BitNetMCU_window_pieces, WINDOW_FRAME
