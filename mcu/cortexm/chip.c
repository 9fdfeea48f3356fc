/* The MPS2 board as QEMU emulates it: SysTick, UART0; no LED and no time to wait for. */

#include "chip.h"
#include "cortexm/semihosting.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define UART_DATA REGISTER(0x40004000)
#define UART_CTRL REGISTER(0x40004008)
#define UART_BAUDDIV REGISTER(0x40004010)
#define SYSTICK_CTRL REGISTER(0xe000e010)
#define SYSTICK_LOAD REGISTER(0xe000e014)
#define SYSTICK_VALUE REGISTER(0xe000e018)

void chip_init(void) {
    SYSTICK_LOAD = 0x00ffffff;
    SYSTICK_VALUE = 0;
    SYSTICK_CTRL = 5; /* on, core clock, no interrupt */
    UART_BAUDDIV = 16;
    UART_CTRL = 1;
}

/* SysTick counts down from 2^24 - 1. With -icount shift=0 a tick is 40 instructions. */
uint32_t chip_cycles(void) {
    uint32_t ticks = (0u - SYSTICK_VALUE) & 0x00ffffff; /* 0 until the first tick */

    return (ticks << 5) + (ticks << 3);
}

void chip_put(char c) { UART_DATA = (uint8_t)c; }

void chip_led(uint32_t on) { (void)on; }

void chip_wait(uint32_t ms) { (void)ms; }

void chip_sleep(void) { semihosting(SYS_EXIT, ADP_STOPPED_APPLICATION_EXIT); }
