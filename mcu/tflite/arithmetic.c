/* What GCC calls on ARMv6-M, which multiplies to 32 bits and does not divide: the functions of the
 * ARM run-time ABI (IHI 0043), in C, for their stack to be known. */

#include <stdint.h>

uint64_t __aeabi_lmul(uint64_t a, uint64_t b);
uint64_t __aeabi_uidivmod(uint32_t a, uint32_t b);
uint64_t __aeabi_idivmod(int32_t a, int32_t b);
uint32_t __aeabi_uidiv(uint32_t a, uint32_t b);
int32_t __aeabi_idiv(int32_t a, int32_t b);

static uint64_t words(uint32_t low, uint32_t high) { return (uint64_t)high << 32 | low; }

uint64_t __aeabi_lmul(uint64_t a, uint64_t b) {
    const uint32_t a_low = (uint32_t)a, b_low = (uint32_t)b;
    const uint32_t a0 = a_low & 0xffff, a1 = a_low >> 16, b0 = b_low & 0xffff, b1 = b_low >> 16;
    const uint32_t middle = a1 * b0 + (a0 * b0 >> 16), other = a0 * b1 + (middle & 0xffff);
    const uint32_t high = a1 * b1 + (middle >> 16) + (other >> 16);

    return words(a_low * b_low, high + (uint32_t)(a >> 32) * b_low + a_low * (uint32_t)(b >> 32));
}

/* The quotient in the low word, the remainder in the high one. */
uint64_t __aeabi_uidivmod(uint32_t a, uint32_t b) {
    uint32_t quotient = 0, bit = 1;

    while (b <= a >> 1)
        b <<= 1, bit <<= 1;
    for (; bit; b >>= 1, bit >>= 1)
        if (a >= b)
            a -= b, quotient |= bit;
    return words(quotient, a);
}

uint64_t __aeabi_idivmod(int32_t a, int32_t b) {
    const uint32_t size = a < 0 ? 0 - (uint32_t)a : (uint32_t)a;
    const uint64_t both = __aeabi_uidivmod(size, b < 0 ? 0 - (uint32_t)b : (uint32_t)b);
    const uint32_t quotient = (uint32_t)both, rest = (uint32_t)(both >> 32);

    return words((a < 0) != (b < 0) ? 0 - quotient : quotient, a < 0 ? 0 - rest : rest);
}

uint32_t __aeabi_uidiv(uint32_t a, uint32_t b) { return (uint32_t)__aeabi_uidivmod(a, b); }
int32_t __aeabi_idiv(int32_t a, int32_t b) { return (int32_t)(uint32_t)__aeabi_idivmod(a, b); }
