/* An interrupt that comes at any moment: counts itself and leaves its marks below the stack. */

#include <stdint.h>

volatile uint32_t interrupts;

__attribute__((interrupt)) void SysTick_Handler(void) {
    volatile uint32_t marks[16];
    uint32_t i;

    for (i = 0; i < 16; i++)
        marks[i] = 0xdeadbeefu;
    interrupts += marks[15] == marks[0];
}
