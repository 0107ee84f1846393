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

/* Makes a file that this user alone may read, and that was not there. Below 0: it cannot be made;
   then `code` is the system's, and 0 when there is one of that name. Writes on in it, all or
   nothing that counts. Both may be called when the process is about to die. */
intptr_t system_file_make(const char *name, int *code);
bool system_file_write(intptr_t file, const void *bytes, size_t count);
void system_file_close(intptr_t file);
void system_file_remove(const char *name);

/* The whole of a file, for the rest of the process; NULL: it cannot be had. */
const void *system_file_map(const char *name, size_t *bytes);

/* Calls `last` when the process is about to die of a failed assertion or a bad address. */
void system_on_crash(void (*last)(void));

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
