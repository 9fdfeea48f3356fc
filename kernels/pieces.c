/* The windows of strips.c where a strip has more positions than a byte can name: in pieces.
 *
 * Lists are those of as many columns as have room, and positions count from the first of them. A
 * window that is not in them as a whole is summed by parts.
 */

#include "strips.h"

static uint32_t scan_piece(const int8_t *map, const BitNetMCU_pieces *pieces, uint32_t columns,
                           uint8_t *lists) {
    const uint32_t most = columns < pieces->at_once ? columns : pieces->at_once;

    return BitNetMCU_list_columns(map, &pieces->strip, most, pieces->sure,
                                  pieces->strip.positions - pieces->column, lists);
}

/* few * value. Of a loop of additions compilers make a multiplication, which not every core has. */
static uint32_t times(uint32_t few, uint32_t value) {
    uint32_t product = 0;

    for (; few > 0; few >>= 1, value <<= 1)
        if (few & 1)
            product += value;
    return product;
}

/* Sums a window by parts, each of which begins where the lists begin: first `some` columns that
 * they hold already. */
static void sum_parts(const int8_t *map, const BitNetMCU_pieces *pieces, uint32_t some,
                      uint8_t *lists, int32_t *accumulators) {
    uint32_t left = pieces->strip.columns, position = 0;

    for (;;) {
        BitNetMCU_sum_columns(lists, &pieces->strip, 0, position, some, position, accumulators);
        left -= some;
        if (left == 0)
            break;
        map += times(some, pieces->strip.channels);
        position -= times(some, pieces->column);
        some = scan_piece(map, pieces, left, lists);
    }
}

void BitNetMCU_window_pieces(BitNetMCU_scanned *scanned, const BitNetMCU_pieces *pieces,
                             uint8_t *lists, int32_t *accumulators) {
    if (scanned->scanned < scanned->first + pieces->strip.columns) {
        scanned->first = scanned->position = 0;
        scanned->scanned = scan_piece(scanned->map, pieces, scanned->rest, lists);
    }
    if (scanned->scanned < pieces->strip.columns) {
        sum_parts(scanned->map, pieces, scanned->scanned, lists, accumulators);
        scanned->scanned = 0;
    } else {
        BitNetMCU_sum_columns(lists, &pieces->strip, scanned->first, scanned->position,
                              pieces->strip.columns, 0, accumulators);
    }
    scanned->map += pieces->step;
    scanned->rest -= pieces->pixels;
    scanned->first += pieces->pixels;
    scanned->position += pieces->positions;
}
