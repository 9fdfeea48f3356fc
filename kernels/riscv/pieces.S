/* BitNetMCU_window_pieces for RV32EC. The method is that of kernels/pieces.c, the plain twin of this
 * file; windows are summed by BitNetMCU_sum_columns of strips.S.
 *
 *     void BitNetMCU_window_pieces(BitNetMCU_scanned *scanned, const BitNetMCU_pieces *pieces,
 *                                  uint8_t *lists, int32_t *accumulators);
 *
 * Borrows gp and tp (restored on return); sp keeps its meaning all the time, so that interrupts may
 * come.
 */

#include "lists.inc"

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

/* Runs are as in BitNetMCU_scan_strip, but from address to address. Where pixels are whole words, so
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

/* A value of a word is listed by code of its own, of 16 bytes, where there are few values. */
#define BY_VALUE (STRIP_LISTS < 5)

    .macro list_bit bit, end
    .if (rest & 1 << \bit) && stored < 2
    sb      t0, 0(\end)
    addi    \end, \end, 1
    .set    rest, rest - (1 << \bit)
    .set    stored, stored + 1
    .endif
    .endm

    .macro list_value value         /* two of its bits, and the others as those of another value */
    .balign 16
    .set    rest, \value
    .set    stored, 0
    each_list list_bit
    .if rest
    j       .Lvalues + 16 * rest
    .elseif stored > 1
    j       .Llisted
    .else
    next_value
    .endif
    .endm

    .macro next_value
    srli    a5, a5, 8
    addi    t0, t0, 1
    bnez    a5, .Lvalue_of_word
    j       .Lword_end
    .endm

    .macro test_value
    slli    a3, a5, 24
    beqz    a3, 7f
    and     a3, a5, tp
    slli    a3, a3, 31 - STRIP_LISTS
    each_list_downwards test
7:
    .endm

/* a0: map, a1: strip, a2: columns, a3: lists. Returns how many columns the lists are of. */
    .section .text.BitNetMCU_scan_piece, "ax"
    .type   BitNetMCU_scan_piece, @function
    .option push
    .option norelax                 /* else the code of values is not aligned */
    .balign 16
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
1:
#if BY_VALUE
    lla     a2, .Lvalues
#endif
    each_list start_piece
    li      t0, 0
    mv      ra, a4
    add     ra, ra, a3
    lw      a3, PIECE_TABLE(sp)
    each_list tabulate_piece
    addi    a3, a3, STRIP_LISTS
    sw      a3, PIECE_TABLE(sp)
    bltz    tp, .Lbytes

    .balignw 4, 0x0001              /* nop */
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
#if BY_VALUE
.Lvalue_of_word:
    and     a3, a5, tp
    slli    a3, a3, 4
    add     a3, a3, a2
    jr      a3
.Llisted:
    srli    a5, a5, 8
    addi    t0, t0, 1
    bnez    a5, .Lvalue_of_word
#else
    test_value
    .rept   3
    srli    a5, a5, 8
    addi    t0, t0, 1
    test_value
    .endr
#endif
.Lword_end:
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

#if BY_VALUE
    .balign 16
.Lvalues:                           /* 0 */
    next_value
    .irp    value, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    .if     \value < 1 << STRIP_LISTS
    list_value \value
    .endif
    .endr
#endif
    .option pop
    .size   BitNetMCU_scan_piece, . - BitNetMCU_scan_piece
    .set    frame.BitNetMCU_scan_piece, PIECE_FRAME

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
    lw      a5, COLUMNS(s1)
    li      t0, 0
    call    BitNetMCU_sum_columns
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
    li      t0, 0
1:  sub     a5, a5, a0
    sw      a5, WINDOW_LEFT(sp)
    mv      t1, a0
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
    mv      a5, t1
    call    BitNetMCU_sum_columns
    lw      a2, WINDOW_LEFT(sp)
    beqz    a2, .Lnext_window
    lw      a0, WINDOW_MAP(sp)
    mv      a1, s1
    lw      a3, WINDOW_LISTS(sp)
    call    BitNetMCU_scan_piece
    lw      a5, WINDOW_LEFT(sp)
    lw      a4, WINDOW_MAP(sp)
    lw      a3, WINDOW_AT(sp)
    li      t0, 1
    j       1b
    .size   BitNetMCU_window_pieces, . - BitNetMCU_window_pieces
    .set    frame.BitNetMCU_window_pieces, WINDOW_FRAME
