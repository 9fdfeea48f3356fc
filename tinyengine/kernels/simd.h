/* The instructions of Cortex-M4's DSP extension that the fast kernels use, each with its meaning in
 * portable C, so that the same kernels run on any computer. Words of two int16 hold the first in
 * the low half. Sums are modulo 2^32, hence the unsigned types. */
#ifndef TE_SIMD_H
#define TE_SIMD_H

#include <stdint.h>
#include <string.h>

#if defined __ARM_FEATURE_DSP && defined __thumb2__
#define TE_DSP 1
#else
#define TE_DSP 0
#endif

/* Four bytes from any address, the first in the lowest byte. */
static inline uint32_t te_load(const void *address) {
#if TE_DSP
    uint32_t word;

    __builtin_memcpy(&word, address, 4); /* -ffreestanding would call memcpy() */
    return word;
#else
    const uint8_t *byte = address;

    return byte[0] | (uint32_t)byte[1] << 8 | (uint32_t)byte[2] << 16 | (uint32_t)byte[3] << 24;
#endif
}

/* Up to four bytes, none behind the last. */
static inline uint32_t te_load_part(const int8_t *source, int32_t bytes) {
    uint32_t word = 0;

    while (bytes--)
        word = word << 8 | (uint8_t)source[bytes];
    return word;
}

/* Two int16 to any even address. */
static inline void te_store(int16_t *address, uint32_t word) {
#if TE_DSP
    __builtin_memcpy(address, &word, 4);
#else
    address[0] = (int16_t)(word & 0xffff);
    address[1] = (int16_t)(word >> 16);
#endif
}

/* Four bytes to any address. */
static inline void te_store_bytes(int8_t *address, uint32_t word) {
#if TE_DSP
    __builtin_memcpy(address, &word, 4);
#else
    int byte;

    for (byte = 0; byte < 4; byte++, word >>= 8)
        address[byte] = (int8_t)(word & 0xff);
#endif
}

/* Two words in one instruction; *address moves on. GCC would take two. */
static inline void te_load_two(const uint32_t **address, uint32_t *first, uint32_t *second) {
#if TE_DSP
    __asm__("ldrd %0, %1, [%2], #8"
            : "=r"(*first), "=r"(*second), "+r"(*address)
            : "m"(*(const uint32_t (*)[2]) * address));
#else
    *first = (*address)[0];
    *second = (*address)[1];
    *address += 2;
#endif
}

static inline void te_store_two(uint32_t **address, uint32_t first, uint32_t second) {
#if TE_DSP
    __asm__ volatile("strd %1, %2, [%0], #8" : "+r"(*address) : "r"(first), "r"(second) : "memory");
#else
    (*address)[0] = first;
    (*address)[1] = second;
    *address += 2;
#endif
}

static inline uint32_t te_halves(int32_t low, int32_t high) {
    return ((uint32_t)low & 0xffff) | (uint32_t)high << 16;
}
static inline int32_t te_low(uint32_t word) { return (int16_t)(word & 0xffff); }
static inline int32_t te_high(uint32_t word) { return (int16_t)(word >> 16); }

/* Shift right with the sign; `a >> shift` of a negative int32_t is only what compilers agree on. */
static inline uint32_t te_asr(uint32_t a, uint32_t shift) {
    return (uint32_t)((int32_t)a >> shift);
}

#if TE_DSP
#define TE_INSTRUCTION_1(name, text)                                                               \
    static inline uint32_t name(uint32_t a) {                                                      \
        uint32_t result;                                                                           \
        __asm__(text : "=r"(result) : "r"(a));                                                     \
        return result;                                                                             \
    }
#define TE_INSTRUCTION_2(name, text)                                                               \
    static inline uint32_t name(uint32_t a, uint32_t b) {                                          \
        uint32_t result;                                                                           \
        __asm__(text : "=r"(result) : "r"(a), "r"(b));                                             \
        return result;                                                                             \
    }
#define TE_INSTRUCTION_3(name, text)                                                               \
    static inline uint32_t name(uint32_t a, uint32_t b, uint32_t c) {                              \
        uint32_t result;                                                                           \
        __asm__(text : "=r"(result) : "r"(a), "r"(b), "r"(c));                                     \
        return result;                                                                             \
    }
#else
#define TE_INSTRUCTION_1(name, text)
#define TE_INSTRUCTION_2(name, text)
#define TE_INSTRUCTION_3(name, text)
#endif

TE_INSTRUCTION_1(te_sxtb16, "sxtb16 %0, %1")
TE_INSTRUCTION_1(te_sxtb16_ror8, "sxtb16 %0, %1, ror #8")
TE_INSTRUCTION_2(te_sxtab16, "sxtab16 %0, %1, %2")
TE_INSTRUCTION_2(te_sxtab16_ror8, "sxtab16 %0, %1, %2, ror #8")
TE_INSTRUCTION_2(te_shsub16, "shsub16 %0, %1, %2")
TE_INSTRUCTION_2(te_pkhbt, "pkhbt %0, %1, %2, lsl #16")
TE_INSTRUCTION_2(te_pkhtb, "pkhtb %0, %1, %2, asr #16")
TE_INSTRUCTION_1(te_ssat8, "ssat %0, #8, %1")
TE_INSTRUCTION_1(te_ssat16, "ssat %0, #16, %1")
TE_INSTRUCTION_1(te_usat8_16, "usat16 %0, #8, %1")
TE_INSTRUCTION_3(te_smlad, "smlad %0, %1, %2, %3")
TE_INSTRUCTION_3(te_smlabt, "smlabt %0, %1, %2, %3")
TE_INSTRUCTION_3(te_smlatb, "smlatb %0, %1, %2, %3")
TE_INSTRUCTION_3(te_smlawb, "smlawb %0, %1, %2, %3")
TE_INSTRUCTION_3(te_smlawt, "smlawt %0, %1, %2, %3")
TE_INSTRUCTION_3(te_smmla, "smmla %0, %1, %2, %3")
TE_INSTRUCTION_3(te_smmlar, "smmlar %0, %1, %2, %3")

#if !TE_DSP
/* Bytes 0 and 2, as two int16. */
static inline uint32_t te_sxtb16(uint32_t a) {
    return te_halves((int8_t)(a & 0xff), (int8_t)(a >> 16 & 0xff));
}
/* Bytes 1 and 3, as two int16. */
static inline uint32_t te_sxtb16_ror8(uint32_t a) { return te_sxtb16(a >> 8 | a << 24); }
/* The same of b, added to the int16 in a. */
static inline uint32_t te_sxtab16(uint32_t a, uint32_t b) {
    return te_halves(te_low(a) + (int8_t)(b & 0xff), te_high(a) + (int8_t)(b >> 16 & 0xff));
}
static inline uint32_t te_sxtab16_ror8(uint32_t a, uint32_t b) {
    return te_sxtab16(a, b >> 8 | b << 24);
}
/* Half of the differences of both int16, rounded down. */
static inline uint32_t te_shsub16(uint32_t a, uint32_t b) {
    return te_halves((te_low(a) - te_low(b)) >> 1, (te_high(a) - te_high(b)) >> 1);
}
/* The low halves of a and b. */
static inline uint32_t te_pkhbt(uint32_t a, uint32_t b) { return (a & 0xffff) | b << 16; }
/* The high halves of b and a: b's comes low. */
static inline uint32_t te_pkhtb(uint32_t a, uint32_t b) { return (a & 0xffff0000) | b >> 16; }
/* c + a.low * b.low + a.high * b.high */
static inline uint32_t te_smlad(uint32_t a, uint32_t b, uint32_t c) {
    return c + (uint32_t)(te_low(a) * te_low(b)) + (uint32_t)(te_high(a) * te_high(b));
}
static inline uint32_t te_smlabt(uint32_t a, uint32_t b, uint32_t c) {
    return c + (uint32_t)(te_low(a) * te_high(b));
}
static inline uint32_t te_smlatb(uint32_t a, uint32_t b, uint32_t c) {
    return c + (uint32_t)(te_high(a) * te_low(b));
}
/* c + floor(a * b.low / 2^16) */
static inline uint32_t te_smlawb(uint32_t a, uint32_t b, uint32_t c) {
    return c + (uint32_t)((uint64_t)((int64_t)(int32_t)a * te_low(b)) >> 16);
}
static inline uint32_t te_smlawt(uint32_t a, uint32_t b, uint32_t c) {
    return c + (uint32_t)((uint64_t)((int64_t)(int32_t)a * te_high(b)) >> 16);
}
/* c + floor(a * b / 2^32) */
static inline uint32_t te_smmla(uint32_t a, uint32_t b, uint32_t c) {
    return c + (uint32_t)((uint64_t)((int64_t)(int32_t)a * (int32_t)b) >> 32);
}
/* c + floor(a * b / 2^32 + 1/2) */
static inline uint32_t te_smmlar(uint32_t a, uint32_t b, uint32_t c) {
    return c + (uint32_t)(((uint64_t)((int64_t)(int32_t)a * (int32_t)b) + 0x80000000u) >> 32);
}
/* clamp(a, -128, 127) */
static inline uint32_t te_ssat8(uint32_t a) {
    int32_t value = (int32_t)a;

    return (uint32_t)(value < -128 ? -128 : value > 127 ? 127 : value);
}
/* clamp(a, -32768, 32767) */
static inline uint32_t te_ssat16(uint32_t a) {
    int32_t value = (int32_t)a;

    return (uint32_t)(value < INT16_MIN ? INT16_MIN : value > INT16_MAX ? INT16_MAX : value);
}
/* clamp(each int16, 0, 255) */
static inline uint32_t te_usat8_16(uint32_t a) {
    int32_t low = te_low(a), high = te_high(a);

    return te_halves(low < 0 ? 0 : low > 255 ? 255 : low, high < 0 ? 0 : high > 255 ? 255 : high);
}
#endif

/* a * multiplier * 2^(-31 - right) with both roundings of gemmlowp. doubled: twice a; addend: half
 * of 2^right, with which a zero point can be. */
static inline uint32_t te_rounded(uint32_t doubled, uint32_t multiplier, uint32_t addend,
                                  uint32_t right) {
    return te_asr(te_smmlar(doubled, multiplier, addend + te_asr(doubled, 31)), right);
}

/* Of each of four int8 the larger one, and the smaller one. */
#if TE_DSP
static inline uint32_t te_larger_bytes(uint32_t a, uint32_t b) {
    uint32_t result;

    __asm__("ssub8 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(result) : "r"(a), "r"(b) : "cc");
    return result;
}
static inline uint32_t te_smaller_bytes(uint32_t a, uint32_t b) {
    uint32_t result;

    __asm__("ssub8 %0, %1, %2\n\tsel %0, %2, %1" : "=&r"(result) : "r"(a), "r"(b) : "cc");
    return result;
}
#else
static inline uint32_t te_larger_bytes(uint32_t a, uint32_t b) {
    uint32_t result = 0;
    int byte;

    for (byte = 24; byte >= 0; byte -= 8) {
        int8_t of_a = (int8_t)(a >> byte & 0xff), of_b = (int8_t)(b >> byte & 0xff);

        result = result << 8 | (uint8_t)(of_a > of_b ? of_a : of_b);
    }
    return result;
}
static inline uint32_t te_smaller_bytes(uint32_t a, uint32_t b) { return ~te_larger_bytes(~a, ~b); }
#endif

/* clamp(each of `size` values, lowest, highest), in place, unless that is what int8 does */
static inline void te_clamp_all(int8_t *values, int32_t size, int32_t lowest, int32_t highest) {
    const int8_t *const end = values + size, *const fours = values + (size & ~3);
    const uint32_t low = (uint8_t)lowest * 0x01010101u, high = (uint8_t)highest * 0x01010101u;

    if (lowest == INT8_MIN && highest == INT8_MAX)
        return;
    for (; values != fours; values += 4)
        te_store_bytes(values, te_smaller_bytes(te_larger_bytes(te_load(values), low), high));
    for (; values != end; values++)
        *values = (int8_t)(*values < lowest ? lowest : *values > highest ? highest : *values);
}

#endif
