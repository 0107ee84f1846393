/* board.h: Arm MPS2 with the AN385 image (Cortex-M3), as far as the firmware needs it.  SPDX: MIT-0

   One thread runs everything. Interrupts do no more than move bytes of the log and end a sleep. */
#ifndef FIRMWARE_BOARD_H
#define FIRMWARE_BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void board_init(void);

/* Microseconds since board_init. To be asked once an hour at least, or it loses an hour. */
uint64_t board_now_us(void);

/* The seed that the host left at the end of the PSRAM, up to BOARD_SEED_BYTES; it is wiped, so it
   is given out once. False: there is none. */
#define BOARD_SEED_BYTES 64
bool board_entropy(void *user, uint8_t *out, size_t bytes);

/* Queues a line for the UART and returns at once. False: no room, and nothing of it was taken. */
bool board_say(const char *line, size_t bytes);

/* True once for any number of bytes that came in by the UART since it was asked last. */
bool board_asked(void);

/* Sleeps until `until_us`, an interrupt, or a byte on the UART. Not at all when `ready` says so,
   which also is to turn the interrupt of its device on. */
void board_sleep(uint64_t until_us, bool (*ready)(void));

#define BOARD_STACK_PAINT 0xa5a5a5a5u /* what start.c fills the stack with */

/* The most of the stack that was ever in use. */
size_t board_stack_used(void);

/* Say what is wrong, without the queue and behind all that is in it. The first resets the board,
   for what another start may heal; the second stops it, for what somebody has to change. */
_Noreturn void board_fatal(const char *why);
_Noreturn void board_stop(const char *why);

/* Interrupts, and handlers for the vector table. */
enum { BOARD_UART_RX = 0, BOARD_UART_TX = 1, BOARD_ETHERNET = 13 };
void board_interrupt_on(unsigned number);
_Noreturn void board_reset(void);
void board_uart_receive(void);
void board_uart_transmit(void);

/* One of the board's 32-bit registers. */
static inline volatile uint32_t *board_register(uintptr_t address) {
    return (volatile uint32_t *)address;
}

#endif
