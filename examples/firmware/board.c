/* board.c: clock, UART, sleep and entropy of the MPS2 board; see board.h.  SPDX: MIT-0

   Addresses are those of Arm's application note AN385 and of the ARMv7-M manual. */
#include "board.h"

#include <string.h>

#define CLOCK_MHZ 25

/* FPGA system control: a counter that goes up each time a prescaler has run down. */
#define COUNTER 0x40028018
#define PRESCALE 0x4002801c
#define PRESCALE_COUNT 0x40028020

#define UART_DATA 0x40004000
#define UART_STATE 0x40004004
#define UART_CTRL 0x40004008
#define UART_INTERRUPTS 0x4000400c
#define UART_DIVIDER 0x40004010
#define UART_STATE_TX_FULL 1u
#define UART_STATE_RX_FULL 2u
#define UART_CTRL_ALL 15u /* both ways, with interrupts */
#define UART_INTERRUPT_TX 1u
#define UART_INTERRUPT_RX 2u
#define UART_BAUD 115200

#define SYSTICK_CTRL 0xe000e010
#define SYSTICK_LOAD 0xe000e014
#define SYSTICK_VALUE 0xe000e018
#define SYSTICK_ON 7u /* by the core's clock, with its exception */
#define SYSTICK_MAX 0xffffffu
#define NVIC_ENABLE 0xe000e100
#define NVIC_PEND 0xe000e200
#define SYSTEM_ICSR 0xe000ed04
#define ICSR_SYSTICK_CLEAR (1u << 25)
#define SYSTEM_AIRCR 0xe000ed0c
#define AIRCR_RESET 0x05fa0004u /* the key and SYSRESETREQ */

#define SEED 0x21ffff00

#define RING_BYTES 8192u /* a power of two */

extern uint32_t stack_start[], stack_end[]; /* of the linker script */

/* The counter's high half; only the thread reads the clock. */
static uint32_t clock_low, clock_high;

/* The thread adds at `in`, the interrupt takes at `out`; both only ever count up. */
static struct {
    char bytes[RING_BYTES];
    volatile uint32_t in, out;
    volatile bool asked;
} uart;

static uint32_t get(uintptr_t address) {
    return *board_register(address);
}

static void set(uintptr_t address, uint32_t value) {
    *board_register(address) = value;
}

void board_interrupt_on(unsigned number) {
    set(NVIC_ENABLE, 1u << number);
}

static void uart_on(void) {
    set(UART_DIVIDER, CLOCK_MHZ * 1000000 / UART_BAUD);
    set(UART_CTRL, UART_CTRL_ALL);
}

void board_init(void) {
    set(PRESCALE, CLOCK_MHZ - 1);
    set(PRESCALE_COUNT, CLOCK_MHZ - 1);
    set(COUNTER, 0);
    uart_on();
    board_interrupt_on(BOARD_UART_RX);
    board_interrupt_on(BOARD_UART_TX);
}

/* The counter goes round every 71 minutes. */
uint64_t board_now_us(void) {
    uint32_t low = get(COUNTER);
    if (low < clock_low) {
        clock_high++;
    }
    clock_low = low;
    return (uint64_t)clock_high << 32 | low;
}

/* A seed that was read must not be there at the next start, which would make the same secrets. Word
   by word: memory that the host wrote is not the compiler's to look through. */
bool board_entropy(void *user, uint8_t *out, size_t bytes) {
    uint32_t seen = 0;
    (void)user;
    if (bytes > BOARD_SEED_BYTES) {
        return false;
    }
    for (size_t at = 0; at < BOARD_SEED_BYTES; at += 4) {
        uint32_t word = get(SEED + at);
        set(SEED + at, 0);
        seen |= word;
        if (at < bytes) {
            memcpy(out + at, &word, bytes - at < 4 ? bytes - at : 4);
        }
    }
    return seen != 0;
}

/* Any byte that comes in is the question how things are. */
void board_uart_receive(void) {
    set(UART_INTERRUPTS, UART_INTERRUPT_RX);
    (void)get(UART_DATA);
    uart.asked = true;
}

/* The UART holds one byte and calls again when it has room. */
void board_uart_transmit(void) {
    set(UART_INTERRUPTS, UART_INTERRUPT_TX);
    while (uart.out != uart.in && !(get(UART_STATE) & UART_STATE_TX_FULL)) {
        set(UART_DATA, (uint8_t)uart.bytes[uart.out % RING_BYTES]);
        uart.out++;
    }
}

bool board_say(const char *line, size_t bytes) {
    if (bytes > RING_BYTES - (uart.in - uart.out)) {
        return false;
    }
    for (size_t i = 0; i < bytes; i++) {
        uart.bytes[(uart.in + i) % RING_BYTES] = line[i];
    }
    __asm__ volatile("" ::: "memory"); /* the bytes first, then the interrupt may see them */
    uart.in += (uint32_t)bytes;
    set(NVIC_PEND, 1u << BOARD_UART_TX);
    return true;
}

bool board_asked(void) {
    bool asked = uart.asked;
    uart.asked = false;
    return asked;
}

/* With interrupts off none is lost between looking and sleeping: one that comes then ends the sleep
   all the same, and is handled behind it. */
void board_sleep(uint64_t until_us, bool (*ready)(void)) {
    __asm__ volatile("cpsid i" ::: "memory");
    uint64_t now = board_now_us();
    if (!ready() && !uart.asked && until_us > now) {
        uint64_t us = until_us - now;
        set(SYSTICK_LOAD, us < SYSTICK_MAX / CLOCK_MHZ ? (uint32_t)us * CLOCK_MHZ : SYSTICK_MAX);
        set(SYSTICK_VALUE, 0);
        set(SYSTICK_CTRL, SYSTICK_ON);
        __asm__ volatile("dsb\n\twfi" ::: "memory");
        set(SYSTICK_CTRL, 0);
        set(SYSTEM_ICSR, ICSR_SYSTICK_CLEAR);
    }
    __asm__ volatile("cpsie i\n\tisb" ::: "memory");
}

size_t board_stack_used(void) {
    const uint32_t *word = stack_start;
    while (word < stack_end && *word == BOARD_STACK_PAINT) {
        word++;
    }
    return (size_t)(stack_end - word) * sizeof *word;
}

static void say_now(char c) {
    while (get(UART_STATE) & UART_STATE_TX_FULL) {
    }
    set(UART_DATA, (uint8_t)c);
}

_Noreturn static void end(const char *why, bool reset) {
    __asm__ volatile("cpsid i" ::: "memory");
    uart_on(); /* it may not be, yet */
    while (uart.out != uart.in) {
        say_now(uart.bytes[uart.out++ % RING_BYTES]);
    }
    for (const char *c = "mpserver: "; *c; c++) {
        say_now(*c);
    }
    while (*why) {
        say_now(*why++);
    }
    say_now('\n');
    while (get(UART_STATE) & UART_STATE_TX_FULL) {
    }
    if (reset) {
        __asm__ volatile("dsb" ::: "memory");
        set(SYSTEM_AIRCR, AIRCR_RESET);
    }
    for (;;) {
        __asm__ volatile("wfi");
    }
}

_Noreturn void board_fatal(const char *why) {
    end(why, true);
}

_Noreturn void board_stop(const char *why) {
    end(why, false);
}
