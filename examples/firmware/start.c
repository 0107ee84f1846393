/* start.c: from reset to main, and what happens when the program goes wrong.  SPDX: MIT-0

   The processor reads the vector table at 0 (firmware.ld puts it there): the first stack pointer,
   then where to go for reset, faults and interrupts. */
#include "board.h"
#include "lan9118.h"

#include <string.h>

int main(void);

/* Of the linker script. */
extern uint32_t data_start[], data_end[], data_load[], bss_start[], bss_end[];
extern uint32_t stack_start[], stack_paint_end[], stack_end[];

#define FAULT_CFSR 0xe000ed28
#define FAULT_HFSR 0xe000ed2c
#define FAULT_BFAR 0xe000ed38

/* What the core pushes when it takes an exception (ARMv7-M, B1.5.6). */
struct frame {
    uint32_t r0, r1, r2, r3, r12, lr, pc, psr;
};

static char *put(char *at, const char *text) {
    size_t bytes = strlen(text);
    memcpy(at, text, bytes + 1);
    return at + bytes;
}

static char *put_hex(char *at, const char *name, uint32_t value) {
    at = put(at, name);
    for (int shift = 28; shift >= 0; shift -= 4) {
        *at++ = "0123456789abcdef"[value >> shift & 15];
    }
    *at = 0;
    return at;
}

/* Assertions of the core are an undefined instruction, so they come by here too: `pc` says where.
   3 is the number of HardFault; another one is an exception that nobody asked for. */
__attribute__((used)) _Noreturn static void fault_report(const struct frame *frame) {
    char text[160];
    uint32_t number;
    const uint32_t *words = (const uint32_t *)(const void *)frame;
    bool pushed = words >= stack_start && words + 8 <= stack_end;
    __asm__ volatile("mrs %0, ipsr" : "=r"(number));
    char *at = put_hex(text, "fault, exception ", number);
    at = put_hex(at, " pc ", pushed ? frame->pc : 0);
    at = put_hex(at, " lr ", pushed ? frame->lr : 0);
    at = put_hex(at, " cfsr ", *board_register(FAULT_CFSR));
    at = put_hex(at, " hfsr ", *board_register(FAULT_HFSR));
    at = put_hex(at, " bfar ", *board_register(FAULT_BFAR));
    put(at, "; see arm-none-eabi-addr2line");
    board_fatal(text);
}

/* The fault may be the stack's own, so it is told of on another one. */
__attribute__((naked)) static void fault(void) {
    __asm__("mrs r0, msp\n\t"
            "ldr r1, =fault_stack_end\n\t"
            "mov sp, r1\n\t"
            "b fault_report");
}

/* In words: the linker script aligns the ends. */
_Noreturn void board_reset(void) {
    memcpy(data_start, data_load, (size_t)((char *)data_end - (char *)data_start));
    memset(bss_start, 0, (size_t)((char *)bss_end - (char *)bss_start));
    for (uint32_t *word = stack_start; word < stack_paint_end; word++) {
        *word = BOARD_STACK_PAINT;
    }
    main();
    board_fatal("main returned");
}

union vector {
    void *stack;
    void (*handler)(void);
};

/* Exceptions of the core by their numbers, then the board's interrupts; the others stay off. */
__attribute__((used, section(".vectors"))) static const union vector vectors[] = {
    {.stack = stack_end},
    {.handler = board_reset},
    {.handler = fault}, /* NMI */
    {.handler = fault}, /* HardFault; the next three come as one while they are off */
    {.handler = fault},
    {.handler = fault},
    {.handler = fault},
    [11] = {.handler = fault}, /* SVCall */
    [12] = {.handler = fault},
    [14] = {.handler = fault}, /* PendSV */
    [15] = {.handler = fault}, /* SysTick, which only ever ends a sleep */
    [16 + BOARD_UART_RX] = {.handler = board_uart_receive},
    [16 + BOARD_UART_TX] = {.handler = board_uart_transmit},
    [16 + BOARD_ETHERNET] = {.handler = lan9118_interrupt},
};
