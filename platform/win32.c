/* win32.c: sockets, clock, entropy and console events for mpserver on Windows; see port.h.
   SPDX: MIT-0

   Windows 8 or later, any compiler of C11; link ws2_32 and bcrypt. The round and the connections
   are in socket_loop.h, which posix.c shares; what is of Windows alone is here and in

       win32_system.h      errors, the clock, calls on one socket
       win32_datagrams.h   messages
       socket_poll.h       waiting, with WSAPoll */
#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0602
#endif
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif

#include "port.h"
#include "win32_system.h"

#include "socket_events.h"
#include "win32_datagrams.h"

#include <bcrypt.h>

/* A peer's FIN is a hang-up here. */
#define POLL_HUP_IS_FIN 1

/* The list is never empty, which WSAPoll would refuse: the listener is in it. */
static int poll_call(struct pollfd *list, uint32_t count, int timeout_ms) {
    return WSAPoll(list, count, timeout_ms);
}

#include "socket_poll.h"

/* == clock, entropy == */

#define UNIX_EPOCH_MS 11644473600000 /* from the first of January 1601 */

uint64_t mps_port_now_us(void) {
    return clock_ns() / 1000;
}

int64_t mps_port_unix_ms(void) {
    FILETIME t; /* of 100 ns */
    GetSystemTimePreciseAsFileTime(&t);
    uint64_t count = (uint64_t)t.dwHighDateTime << 32 | t.dwLowDateTime;
    return (int64_t)(count / 10000) - UNIX_EPOCH_MS;
}

bool mps_port_entropy(uint8_t out[32]) {
    return BCryptGenRandom(NULL, out, 32, BCRYPT_USE_SYSTEM_PREFERRED_RNG) == 0;
}

/* == console events ==
   They come on a thread of their own, which sends what is asked for to a datagram socket of
   loopback that is connected to itself and that the round waits for with the others. The handler
   belongs to the process, not to a server, so what it needs is static: the only static variables
   of this file. */

static SRWLOCK signal_lock = SRWLOCK_INIT;
static SOCKET signal_socket = INVALID_SOCKET;
static bool signal_last; /* the process ends when the handler returns */

static void signal_send(enum asked asked, bool last) {
    char byte = (char)asked;
    AcquireSRWLockExclusive(&signal_lock);
    signal_last |= last;
    if (signal_socket != INVALID_SOCKET) {
        send(signal_socket, &byte, 1, 0); /* a full socket holds enough of them already */
    }
    ReleaseSRWLockExclusive(&signal_lock);
}

#define LAST_MS 4000 /* of the 5 s */

/* After CTRL_CLOSE and CTRL_SHUTDOWN the system ends the process when the handler returns or some
   5 s have passed: so it does not return, and the process ends by itself when it has drained, or
   stops just before. A service hears CTRL_LOGOFF of any user, which is nothing to it; others do not
   live to hear it. */
static BOOL WINAPI signal_arrived(DWORD event) {
    switch (event) {
    case CTRL_C_EVENT:
    case CTRL_BREAK_EVENT:
        signal_send(ASKED_END, false);
        return TRUE;
    case CTRL_LOGOFF_EVENT:
        return TRUE;
    default:
        signal_send(ASKED_END_SOON, true);
        Sleep(LAST_MS);
        signal_send(ASKED_END, true);
        Sleep(INFINITE);
        return TRUE;
    }
}

/* Connected, it hears nobody but itself. */
static SOCKET signal_socket_make(void) {
    union name name = {.in4 = {.sin_family = AF_INET}};
    name.in4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    SOCKET fd = socket_bound(SOCK_DGRAM, &name, 0);
    socklen_t bytes = sizeof name;
    if (fd != INVALID_SOCKET &&
        (getsockname(fd, &name.any, &bytes) != 0 || connect(fd, &name.any, sizeof name.in4) != 0)) {
        socket_close(fd);
        fd = INVALID_SOCKET;
    }
    return fd;
}

bool mps_port_signals(struct mps_port *p) {
    p->signals[0] = signal_socket_make();
    if (p->signals[0] == SOCKET_NONE || !backend_add(p, p->signals[0], ID_SIGNALS, WANT_READ)) {
        snprintf(p->error, sizeof p->error, "cannot watch for console events: Windows error %d",
                 system_error());
        return false;
    }
    signal_socket = p->signals[0];
    SetConsoleCtrlHandler(signal_arrived, TRUE);
    p->signals_set = true;
    return true;
}

static size_t signals_take(struct mps_port *p, unsigned char *asked, size_t count) {
    size_t got = 0;
    while (got < count && recv(p->signals[0], (char *)asked + got, 1, 0) == 1) {
        got++;
    }
    return got;
}

/* While the last handler sleeps it may hold the lock that removing it waits for. */
static void signals_restore(struct mps_port *p) {
    if (!p->signals_set) {
        return;
    }
    AcquireSRWLockExclusive(&signal_lock);
    signal_socket = INVALID_SOCKET;
    bool last = signal_last;
    ReleaseSRWLockExclusive(&signal_lock);
    if (!last) {
        SetConsoleCtrlHandler(signal_arrived, FALSE);
    }
    p->signals_set = false;
}

/* == life == */

#include "socket_loop.h"

/* Waiting ends with a tick of the system, every 15.6 ms unless somebody asks for more. Asked for by
   name: kernel32 has it in newer versions, and winmm brings user32 with it, for which a process
   pays by not being told of a shutdown. */
static void resolution_set(const char *function) {
    FARPROC found = GetProcAddress(GetModuleHandleW(L"kernel32.dll"), function);
    if (!found) {
        HMODULE winmm = LoadLibraryExW(L"winmm.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32);
        found = winmm ? GetProcAddress(winmm, function) : NULL;
    }
    if (found) {
        ((UINT(WINAPI *)(UINT))(void (*)(void))found)(1);
    }
}

mps_port_state mps_port_run(struct mps_port *p, mps_server *server) {
    resolution_set("timeBeginPeriod");
    mps_port_state state = rounds_run(p, server);
    resolution_set("timeEndPeriod");
    return state;
}
