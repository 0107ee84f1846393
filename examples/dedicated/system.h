/* system.h: what the dedicated server wants of the system beside the port.  SPDX: MIT-0

   system_posix.c and system_win32.c each have all of it, and the function that the system calls
   first; that one calls mpserver_main. */
#ifndef MPSERVER_SYSTEM_H
#define MPSERVER_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In main.c; the arguments are UTF-8 wherever the system knows about characters. */
int mpserver_main(int argc, char **argv);

/* Zeroed, 16-byte aligned; NULL: there is not enough. Pages that are never touched cost nothing. */
void *system_memory(size_t bytes);
void system_memory_free(void *memory, size_t bytes);

/* Reads at most `capacity` bytes of a file. NULL, or why it cannot be read; then `code` is the
   system's. Never waits for somebody to write one. */
const char *system_file_read(const char *name, char *bytes, size_t capacity, size_t *count,
                             int *code);

/* A variable of the environment, until the next call; NULL: not set. */
const char *system_variable(const char *name);

/* Asks for as many open files; false: fewer may be had. */
bool system_files_want(uint32_t count);

/* Standard output, past the buffer of stdio. */
void system_print(const char *text, size_t bytes);

/* Standard error: true when a line is taken now without waiting; takes one. */
bool system_log_ready(void);
void system_log(const char *line, size_t bytes);

#endif
