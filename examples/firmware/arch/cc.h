/* cc.h: lwIP's view of the compiler, on a board without a C library.  SPDX: MIT-0 */
#ifndef FIRMWARE_CC_H
#define FIRMWARE_CC_H

_Noreturn void board_fatal(const char *why);

/* The heap and the pools lie where the core's block does. */
#define LWIP_DECLARE_MEMORY_ALIGNED(name, bytes) \
    __attribute__((aligned(MEM_ALIGNMENT), section(BLOCK_SECTION))) u8_t name[bytes]

#define LWIP_NO_UNISTD_H 1
#define LWIP_NO_CTYPE_H 1
#define LWIP_PLATFORM_DIAG(x) ((void)0)
#define LWIP_PLATFORM_ASSERT(x) board_fatal("lwIP: " x)

#endif
