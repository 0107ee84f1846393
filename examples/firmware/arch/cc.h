/* cc.h: what lwIP asks of the compiler: nothing that C11 lacks but a word about what is wrong. */
#ifndef FIRMWARE_CC_H
#define FIRMWARE_CC_H

_Noreturn void board_fatal(const char *why);

#define LWIP_NO_UNISTD_H 1
#define LWIP_NO_CTYPE_H 1
#define LWIP_PLATFORM_DIAG(x) ((void)0)
#define LWIP_PLATFORM_ASSERT(x) board_fatal("lwIP: " x)

#endif
