/* The peripherals that the firmware uses, as far as it uses them. An access to any other register
 * traps, as does one to a peripheral whose clock is off, which the chip would silently ignore. */

#include "machine.h"

#include <string.h>

#define USART1 0x40013800u
#define RCC 0x40021000u
#define FLASH_ACTLR 0x40022000u
#define DMDATA0 0xe00000f4u
#define DMDATA1 0xe00000f8u
#define PFIC_CFGR 0xe000e048u
#define PFIC_SCTLR 0xe000ed10u
#define SYSTICK 0xe000f000u

#define RCC_HSION (1u << 0)
#define RCC_HSIRDY (1u << 1)
#define RCC_PLLON (1u << 24)
#define RCC_PLLRDY (1u << 25)
#define RCC_SW_PLL 2u
#define USART_ENABLED (1u << 13 | 1u << 3) /* UE, TE */
#define USART_IDLE (1u << 7 | 1u << 6)     /* TXE, TC: sending takes no time here */

static const uint32_t gpio_base[3] = {0x40010800, 0x40011000, 0x40011400};
static const uint32_t gpio_clock[3] = {1u << 2, 1u << 4, 1u << 5};
static const char gpio_name[3] = {'A', 'C', 'D'};
#define USART_CLOCK (1u << 14)

void io_reset(Machine *m) {
    int port;

    memset(&m->io, 0, sizeof m->io);
    m->io.rcc_ctlr = 0x10 << 3 | RCC_HSION | RCC_HSIRDY;
    m->io.rcc_cfgr0 = 0x20; /* HPRE: divided by 3 */
    m->io.rcc_ahbpcenr = 0x14;
    for (port = 0; port < 3; port++)
        m->io.gpio_cfglr[port] = 0x44444444;
    m->io.dmdata[0] = 0;
}

/* SysTick counts HCLK, or HCLK / 8. */
static uint32_t systick_now(const Machine *m) {
    uint32_t ctlr = m->io.systick_ctlr;
    uint32_t ticks = (uint32_t)(ctlr & 4 ? m->cycles : m->cycles / 8);

    return ctlr & 1 ? ticks - m->io.systick_offset : m->io.systick_offset;
}

static void systick_set(Machine *m, uint32_t ctlr, uint32_t count) {
    m->io.systick_ctlr = ctlr;
    m->io.systick_offset = count;
    if (ctlr & 1) {
        m->io.systick_offset = 0;
        m->io.systick_offset = systick_now(m) - count;
    }
}

static bool from_pll(const Machine *m) { return (m->io.rcc_cfgr0 & 3) == RCC_SW_PLL; }

uint32_t machine_mhz(const Machine *m) { return from_pll(m) ? 48 : 24; }

/* Traps if the core's clock is off, or too fast for the flash wait states: these are 0 up to 25
 * MHz and 1 above on V2A cores; 0 up to 15, 1 up to 25 and 2 above on V2C cores, which have mul. */
static void check_clock(Machine *m) {
    bool divided = m->io.rcc_cfgr0 & 0xf0;
    uint32_t mhz = machine_mhz(m), needed = (mhz > 25) + (m->has_mul ? 1 : 0);

    if (from_pll(m) && !(m->io.rcc_ctlr & RCC_PLLRDY))
        machine_trap(m, "RCC: runs from the PLL, which is not ready");
    else if (!(m->io.rcc_ctlr & RCC_HSIRDY))
        machine_trap(m, "RCC: the internal oscillator is off");
    else if (!divided && machine_wait_states(m) < needed)
        machine_trap(m, "RCC: %u MHz with %u flash wait states", mhz, machine_wait_states(m));
}

static uint32_t rcc_access(Machine *m, uint32_t offset, bool write, uint32_t value) {
    uint32_t *plain;

    switch (offset) {
    case 0x00:
        if (write) {
            m->io.rcc_ctlr = value & ~(RCC_HSIRDY | RCC_PLLRDY);
            m->io.rcc_ctlr |= value & RCC_HSION ? RCC_HSIRDY : 0;
            m->io.rcc_ctlr |= value & RCC_PLLON ? RCC_PLLRDY : 0;
            check_clock(m);
        }
        return m->io.rcc_ctlr;
    case 0x04:
        if (write) {
            m->io.rcc_cfgr0 = (value & ~0xcu) | (value & 3) << 2; /* SWS follows SW */
            check_clock(m);
        }
        return m->io.rcc_cfgr0;
    case 0x08: /* interrupt flags: written ones clear, none is ever set */
        return 0;
    case 0x14:
        plain = &m->io.rcc_ahbpcenr;
        break;
    case 0x18:
        plain = &m->io.rcc_apb2pcenr;
        break;
    case 0x1c:
        plain = &m->io.rcc_apb1pcenr;
        break;
    case 0x24:
        plain = &m->io.rcc_rstsckr;
        break;
    default:
        return machine_trap(m, "RCC register at offset 0x%02x is not modelled", offset);
    }
    if (write)
        *plain = value;
    return *plain;
}

/* The four bits of a pin in CFGLR. */
static uint32_t pin_mode(const Machine *m, int port, int pin) {
    return m->io.gpio_cfglr[port] >> 4 * pin & 15;
}

static void gpio_output(Machine *m, int port, uint32_t outdr) {
    uint32_t changed = (m->io.gpio_outdr[port] ^ outdr) & 0xff;
    int pin;

    m->io.gpio_outdr[port] = outdr & 0xff;
    for (pin = 0; pin < 8; pin++) {
        if (!(changed >> pin & 1))
            continue;
        if (pin_mode(m, port, pin) != 1 && pin_mode(m, port, pin) != 3)
            machine_trap(m, "P%c%d is driven but is not a push-pull output", gpio_name[port], pin);
        else if (m->pin)
            m->pin(m, gpio_name[port], pin, outdr >> pin & 1);
    }
}

static uint32_t gpio_access(Machine *m, int port, uint32_t offset, bool write, uint32_t value) {
    uint32_t outdr = m->io.gpio_outdr[port];

    if (!(m->io.rcc_apb2pcenr & gpio_clock[port]))
        return machine_trap(m, "GPIO%c accessed while its clock is off", gpio_name[port]);
    switch (offset) {
    case 0x00:
        if (write)
            m->io.gpio_cfglr[port] = value;
        return m->io.gpio_cfglr[port];
    case 0x08: /* pins read back what drives them */
        return write ? machine_trap(m, "store to GPIO INDR") : outdr;
    case 0x0c:
        if (write)
            gpio_output(m, port, value);
        return m->io.gpio_outdr[port];
    case 0x10: /* low half sets, high half clears; setting wins */
        if (write)
            gpio_output(m, port, (outdr & ~(value >> 16)) | (value & 0xffff));
        return 0;
    case 0x14:
        if (write)
            gpio_output(m, port, outdr & ~value);
        return 0;
    }
    return machine_trap(m, "GPIO register at offset 0x%02x is not modelled", offset);
}

static uint32_t usart_access(Machine *m, uint32_t offset, bool write, uint32_t value) {
    if (!(m->io.rcc_apb2pcenr & USART_CLOCK))
        return machine_trap(m, "USART1 accessed while its clock is off");
    switch (offset) {
    case 0x00:
        return USART_IDLE;
    case 0x04:
        if (!write)
            return machine_trap(m, "USART1: receiving is not modelled");
        if ((m->io.usart_ctlr[0] & USART_ENABLED) != USART_ENABLED || m->io.usart_brr == 0)
            return machine_trap(m, "USART1 sends before it is set up");
        if ((pin_mode(m, 2, 5) & 0xd) != 9)
            return machine_trap(m, "USART1 sends, but PD5 is not its push-pull output");
        if (m->console)
            m->console(m, (char)value);
        return 0;
    case 0x08:
        if (write)
            m->io.usart_brr = value;
        return m->io.usart_brr;
    case 0x0c:
    case 0x10:
    case 0x14:
        if (write)
            m->io.usart_ctlr[(offset - 0x0c) / 4] = value;
        return m->io.usart_ctlr[(offset - 0x0c) / 4];
    }
    return machine_trap(m, "USART1 register at offset 0x%02x is not modelled", offset);
}

static uint32_t systick_access(Machine *m, uint32_t offset, bool write, uint32_t value) {
    switch (offset) {
    case 0x00:
        if (write)
            systick_set(m, value, systick_now(m));
        return m->io.systick_ctlr;
    case 0x04:
        if (write)
            m->io.systick_sr = value;
        return m->io.systick_sr;
    case 0x08:
        if (write)
            systick_set(m, m->io.systick_ctlr, value);
        return systick_now(m);
    case 0x10:
        if (write)
            m->io.systick_cmp = value;
        return m->io.systick_cmp;
    }
    return machine_trap(m, "SysTick register at offset 0x%02x is not modelled", offset);
}

/* The debug link's mailbox: the chip offers up to 7 characters with bit 7 set, the host takes them
 * and clears it. */
static uint32_t mailbox_access(Machine *m, int word, bool write, uint32_t value) {
    uint32_t status, i;

    if (!write)
        return m->io.dmdata[word];
    m->io.dmdata[word] = value;
    status = value & 0xff;
    if (word == 0 && status & 0x80 && m->host_listens) {
        for (i = 0; (status & 0x7f) > 4 && i < (status & 0x7f) - 4 && i < 7; i++) {
            uint32_t bytes =
                i < 3 ? m->io.dmdata[0] >> 8 * (i + 1) : m->io.dmdata[1] >> 8 * (i - 3);

            if (m->console)
                m->console(m, (char)bytes);
        }
        m->io.dmdata[0] = 0;
    }
    return 0;
}

static uint32_t io_access(Machine *m, uint32_t address, bool write, uint32_t value) {
    int port;

    if (address - RCC < 0x40)
        return rcc_access(m, address - RCC, write, value);
    for (port = 0; port < 3; port++)
        if (address - gpio_base[port] < 0x20)
            return gpio_access(m, port, address - gpio_base[port], write, value);
    if (address - USART1 < 0x20)
        return usart_access(m, address - USART1, write, value);
    if (address - SYSTICK < 0x20)
        return systick_access(m, address - SYSTICK, write, value);
    switch (address) {
    case FLASH_ACTLR:
        if (write) {
            m->io.flash_actlr = value & 3;
            machine_forget_decoded(m);
            check_clock(m);
        }
        return m->io.flash_actlr;
    case PFIC_SCTLR:
        if (write)
            m->io.pfic_sctlr = value;
        return m->io.pfic_sctlr;
    case PFIC_CFGR:
        return machine_trap(m, "PFIC CFGR: the firmware asks for a reset");
    case DMDATA0:
    case DMDATA1:
        return mailbox_access(m, address == DMDATA1, write, value);
    }
    return machine_trap(m, "peripheral register 0x%08x is not modelled", address);
}

uint32_t io_load(Machine *m, uint32_t address) { return io_access(m, address, false, 0); }

void io_store(Machine *m, uint32_t address, uint32_t value) { io_access(m, address, true, value); }
