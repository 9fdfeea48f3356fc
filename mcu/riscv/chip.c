/* CH32V003 and CH32V00x: 48 MHz from the internal oscillator, SysTick as cycle counter, the
 * console over the debug link or USART1 (PD5, 115200 baud), an LED pin. */

#include "chip.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define RCC_CTLR REGISTER(0x40021000)
#define RCC_CFGR0 REGISTER(0x40021004)
#define RCC_INTR REGISTER(0x40021008)
#define RCC_APB2PCENR REGISTER(0x40021018)
#define FLASH_ACTLR REGISTER(0x40022000)
#define GPIO(port) (0x40010800 + ((port) - 'A') * 0x400)
#define GPIO_CFGLR(port) REGISTER(GPIO(port))
#define GPIO_BSHR(port) REGISTER(GPIO(port) + 0x10)
#define USART_STATR REGISTER(0x40013800)
#define USART_DATAR REGISTER(0x40013804)
#define USART_BRR REGISTER(0x40013808)
#define USART_CTLR1 REGISTER(0x4001380c)
#define SYSTICK_CTLR REGISTER(0xe000f000)
#define SYSTICK_CNT REGISTER(0xe000f008)
#define DMDATA0 REGISTER(0xe00000f4)
#define DMDATA1 REGISTER(0xe00000f8)

#define PLLON (1u << 24)
#define PLLRDY (1u << 25)
#define SW_PLL 2u
#define SWS_PLL 8u
#define CLOCK_GPIO(port) (4u << ((port) - 'A'))
#define CLOCK_USART1 (1u << 14)
#define CYCLES_PER_MS 48000u

/* 4 bits of CFGLR for a pin; 1: push-pull, 10 MHz; 0xb: alternate function, push-pull, 50 MHz */
static void configure_pin(volatile uint32_t *cfglr, uint32_t pin, uint32_t mode) {
    *cfglr = (*cfglr & ~(15u << (pin << 2))) | mode << (pin << 2);
}

static void start_clock(void) {
    FLASH_ACTLR = WAIT_STATES; /* before the clock is faster than flash */
    RCC_CFGR0 = 0;             /* HCLK undivided, PLL fed by HSI */
    RCC_CTLR |= PLLON;
    RCC_INTR = 0x009f0000;
    while (!(RCC_CTLR & PLLRDY))
        ;
    RCC_CFGR0 = SW_PLL;
    while ((RCC_CFGR0 & 12) != SWS_PLL)
        ;
}

uint32_t chip_cycles(void) { return SYSTICK_CNT; }

void chip_wait(uint32_t ms) {
    for (; ms > 0; ms--) {
        uint32_t start = chip_cycles();

        while (chip_cycles() - start < CYCLES_PER_MS)
            ;
    }
}

#ifdef CONSOLE_USART

static void start_console(void) {
    RCC_APB2PCENR |= CLOCK_GPIO('D') | CLOCK_USART1;
    configure_pin(&GPIO_CFGLR('D'), 5, 0xb);
    USART_BRR = 417;                  /* 48 MHz / 115200 */
    USART_CTLR1 = 1u << 13 | 1u << 3; /* on, transmitter on */
}

void chip_put(char c) {
    while (!(USART_STATR & 1u << 7))
        ;
    USART_DATAR = (uint8_t)c;
}

#else

#define FULL 0x80u        /* the host has not taken the last characters */
#define DEAF 0xc0u        /* nobody listens; set by us */
#define PATIENCE 5760000u /* cycles: 120 ms */

static void start_console(void) {
    DMDATA1 = 0;
    DMDATA0 = FULL;
}

/* One character at a time: there are 7 places, but a buffer would cost more than it saves. */
void chip_put(char c) {
    uint32_t start = chip_cycles();

    while (DMDATA0 & FULL) {
        if ((DMDATA0 & 0xff) == DEAF)
            return;
        if (chip_cycles() - start > PATIENCE) {
            DMDATA0 = DEAF;
            return;
        }
    }
    DMDATA0 = FULL | (1 + 4) | (uint32_t)(uint8_t)c << 8;
}

#endif

void chip_led(uint32_t on) { GPIO_BSHR(LED_PORT) = 1u << (on ? LED_BIT : LED_BIT + 16); }

void chip_init(void) {
    start_clock();
    SYSTICK_CNT = 0;
    SYSTICK_CTLR = 1 | 1u << 2; /* on, counting HCLK */
    RCC_APB2PCENR |= CLOCK_GPIO(LED_PORT);
    configure_pin(&GPIO_CFGLR(LED_PORT), LED_BIT, 1);
    start_console();
}

void chip_sleep(void) { __asm__ volatile("wfi"); }
