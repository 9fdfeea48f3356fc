/* How deep the stack goes: memory that is free for it is painted, and looked at later. */
#ifndef STACK_H
#define STACK_H

#include <stdint.h>

#define PAINT 0xa5a5a5a5u

extern uint32_t __bss_end, __stack_top;

/* Paints all that is free: no handler uses the stack here. */
static inline void paint_stack(void) {
    volatile uint32_t *word = &__bss_end;
    uint32_t *sp;

    __asm__ volatile("mov %0, sp" : "=r"(sp));
    while (word < sp)
        *word++ = PAINT;
}

/* Bytes from the top of memory to the deepest word that was written since. */
static inline uint32_t stack_used(void) {
    const volatile uint32_t *word = &__bss_end;

    while (word < &__stack_top && *word == PAINT)
        word++;
    return (uint32_t)((uintptr_t)&__stack_top - (uintptr_t)word);
}

#endif
