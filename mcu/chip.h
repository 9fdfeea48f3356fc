/* What the demo needs of a chip; each family of targets implements it once. */
#ifndef CHIP_H
#define CHIP_H

#include <stdint.h>

/* Full clock speed, cycle counter, console and LED pin. */
void chip_init(void);

/* A counter of core clock cycles (of instructions on an emulated Cortex-M); wraps. */
uint32_t chip_cycles(void);

/* Sends one character to the console; does not wait for ever for somebody to read it. */
void chip_put(char c);

void chip_led(uint32_t on);

/* Does nothing for about `ms` milliseconds. */
void chip_wait(uint32_t ms);

/* Nothing more to do. */
void chip_sleep(void);

#endif
