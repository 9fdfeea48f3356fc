/* The taps of kernels/depthwise.c, for C, assembly and the exporter. */
#ifndef BITNETMCU_DEPTHWISE_H
#define BITNETMCU_DEPTHWISE_H

/* Taps, as bytes: a column of three values adds a sum to each of the outputs of whose windows it is
 * the last, the middle and the first column, in this order. For a multiplier they lie there as they
 * are, int8, that of the upper row first of a column. For other cores a sum is a Horner scheme of
 * terms, from the highest power of two down,
 *     sum = 0, then for each term: sum = (sum +- value) << shift
 * and a term is a byte. Where all nine taps are powers of two, on any core their exponents and
 * signs are there instead, in 4 bits each, the first one lowest, in the order of the bytes. In
 * front are a byte, the shift of the channel, and what sums start from: 16 bits, or 32 where it is
 * WIDE. lowbit/taps.py packs them and proves them exact. */
#define DEPTHWISE_ROW 0x03 /* which value; 3: none, and this is the only term */
#define DEPTHWISE_SHIFT 2  /* bits 2 to 4: how far the sum is shifted then */
#define DEPTHWISE_SUBTRACT 0x20
#define DEPTHWISE_NEGATE 0x40 /* of a last term: it is the negative of the sum that is meant */
#define DEPTHWISE_LAST 0x80
#define DEPTHWISE_EXPONENT 0x07 /* of a power of two */
#define DEPTHWISE_NEGATIVE 0x08
#define DEPTHWISE_WIDE 0x80   /* of the channel's shift: sums do not fit 16 bits */
#define DEPTHWISE_POWERS 0x40 /* taps are powers of two */
#define DEPTHWISE_HALF 0x20   /* sums start from (1 << shift) >> 1, and this is not there */

/* Bytes of code besides four for each instruction that taps become. Terms: one for each that is not
 * the first of a sum, for each shift that is not 0, and for each sum. Powers: one for each, and for
 * each shift that is not 0. For a multiplier: three for each, one if it is -1, 0 or 1. */
#define DEPTHWISE_CODE 148

#endif
