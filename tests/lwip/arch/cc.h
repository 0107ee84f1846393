/* cc.h: lwIP's view of the compiler, on a host.  SPDX: MIT-0 */
#ifndef MPSERVER_TESTS_CC_H
#define MPSERVER_TESTS_CC_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

typedef unsigned sys_prot_t;

#define LWIP_PLATFORM_DIAG(x) \
    do {                      \
        printf x;             \
    } while (0)
#define LWIP_PLATFORM_ASSERT(x)                                      \
    do {                                                             \
        fprintf(stderr, "lwIP: %s, %s:%d\n", x, __FILE__, __LINE__); \
        abort();                                                     \
    } while (0)

#endif
