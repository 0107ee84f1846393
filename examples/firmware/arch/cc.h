/* cc.h: what lwIP asks of the compiler: nothing that C11 lacks but a word about what is wrong. */
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
