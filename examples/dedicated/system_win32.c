/* system_win32.c: memory, files and standard error for the dedicated server on Windows; see
   system.h.  SPDX: MIT-0

   THE LOG. A pipe that nobody reads, and a console in which somebody has marked text, make writing
   wait, and neither can be asked beforehand. So a thread writes: lines go into a ring that it
   empties, and while the ring has no room they are lost, as on other systems. At the end it gets
   LOG_LAST_MS for what is left. */
#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0602
#endif
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif

#include "system.h"

#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <string.h>
#include <windows.h>

#define RING_BYTES 65536
#define LINES_BYTES 8192 /* a line, and the one before it that tells of lost ones */
#define WRITE_BYTES 4096 /* at once */
#define LOG_LAST_MS 1000
#define ARGUMENTS_MAX 64 /* more than there are options, with their values */
#define ARGUMENTS_BYTES 65536
#define VARIABLE_CHARACTERS 8192
#define NAME_BYTES 4096

int wmain(int argc, wchar_t **wide); /* the system's, as main; no header has it */

/* == memory, files, environment == */

void *system_memory(size_t bytes) {
    return VirtualAlloc(NULL, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

void system_memory_free(void *memory, size_t bytes) {
    (void)bytes;
    VirtualFree(memory, 0, MEM_RELEASE);
}

static const char *file_problem(DWORD code, DWORD attributes) {
    if (attributes != INVALID_FILE_ATTRIBUTES && attributes & FILE_ATTRIBUTE_DIRECTORY) {
        return "it is a directory";
    }
    switch (code) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_NAME:
    case ERROR_BAD_NETPATH:
        return "there is no such file";
    case ERROR_ACCESS_DENIED:
        return "this user may not read it";
    case ERROR_SHARING_VIOLATION:
    case ERROR_LOCK_VIOLATION:
        return "another program has it open for itself";
    default:
        return "it cannot be read";
    }
}

/* Files of a disk alone: reading a console or a pipe could wait for ever. */
static DWORD file_take(HANDLE file, char *bytes, size_t capacity, size_t *count) {
    DWORD got = 1;
    if (GetFileType(file) != FILE_TYPE_DISK) {
        return ERROR_BAD_FILE_TYPE;
    }
    while (got > 0 && *count < capacity) {
        if (!ReadFile(file, bytes + *count, (DWORD)(capacity - *count), &got, NULL)) {
            return GetLastError();
        }
        *count += got;
    }
    return ERROR_SUCCESS;
}

/* In `wide` is its name as the system wants it, empty when it is none. */
static bool name_widen(const char *name, WCHAR wide[NAME_BYTES]) {
    wide[0] = 0;
    SetLastError(ERROR_INVALID_NAME);
    return MultiByteToWideChar(CP_UTF8, 0, name, -1, wide, NAME_BYTES) > 0;
}

static HANDLE file_open(const char *name, WCHAR wide[NAME_BYTES]) {
    DWORD share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    return name_widen(name, wide)
               ? CreateFileW(wide, GENERIC_READ, share, NULL, OPEN_EXISTING, 0, NULL)
               : INVALID_HANDLE_VALUE;
}

const char *system_file_read(const char *name, char *bytes, size_t capacity, size_t *count,
                             int *code) {
    WCHAR wide[NAME_BYTES];
    HANDLE file = file_open(name, wide);
    DWORD found = file == INVALID_HANDLE_VALUE ? GetLastError() : ERROR_SUCCESS;
    *count = 0;
    if (file != INVALID_HANDLE_VALUE) {
        found = file_take(file, bytes, capacity, count);
        CloseHandle(file);
    }
    *code = (int)found;
    return found == ERROR_SUCCESS ? NULL : file_problem(found, GetFileAttributesW(wide));
}

/* Who may read it is inherited from the folder. */
intptr_t system_file_make(const char *name, int *code) {
    WCHAR wide[NAME_BYTES];
    HANDLE file = name_widen(name, wide)
                      ? CreateFileW(wide, GENERIC_WRITE, FILE_SHARE_READ, NULL, CREATE_NEW, 0, NULL)
                      : INVALID_HANDLE_VALUE;
    DWORD found = GetLastError();
    *code = file == INVALID_HANDLE_VALUE && found != ERROR_FILE_EXISTS ? (int)found : 0;
    return (intptr_t)file;
}

bool system_file_write(intptr_t file, const void *bytes, size_t count) {
    DWORD written = 0;
    return count <= MAXDWORD && WriteFile((HANDLE)file, bytes, (DWORD)count, &written, NULL) &&
           written == count;
}

void system_file_close(intptr_t file) {
    CloseHandle((HANDLE)file);
}

void system_file_remove(const char *name) {
    WCHAR wide[NAME_BYTES];
    if (name_widen(name, wide)) {
        DeleteFileW(wide);
    }
}

const void *system_file_map(const char *name, size_t *bytes) {
    WCHAR wide[NAME_BYTES];
    LARGE_INTEGER size;
    const void *at = NULL;
    HANDLE file = file_open(name, wide);
    if (file != INVALID_HANDLE_VALUE && GetFileSizeEx(file, &size) && size.QuadPart > 0) {
        HANDLE map = CreateFileMappingW(file, NULL, PAGE_READONLY, 0, 0, NULL);
        *bytes = (size_t)size.QuadPart;
        at = map ? MapViewOfFile(map, FILE_MAP_READ, 0, 0, 0) : NULL;
    }
    return at; /* the handles are the process's until its end, as the bytes are */
}

static void (*crash_last)(void);

static LONG WINAPI crash_take(EXCEPTION_POINTERS *unused) {
    (void)unused;
    crash_last();
    return EXCEPTION_CONTINUE_SEARCH;
}

void system_on_crash(void (*last)(void)) {
    crash_last = last;
    SetUnhandledExceptionFilter(crash_take);
}

const char *system_variable(const char *name) {
    static char text[VARIABLE_CHARACTERS * 3];
    WCHAR wide_name[64], wide[VARIABLE_CHARACTERS];
    MultiByteToWideChar(CP_UTF8, 0, name, -1, wide_name, 64);
    DWORD count = GetEnvironmentVariableW(wide_name, wide, VARIABLE_CHARACTERS);
    if (count == 0 || count >= VARIABLE_CHARACTERS) {
        return NULL;
    }
    return WideCharToMultiByte(CP_UTF8, 0, wide, -1, text, sizeof text, NULL, NULL) ? text : NULL;
}

/* Sockets are not counted here. */
bool system_files_want(uint32_t count) {
    (void)count;
    return true;
}

/* == output == */

static void write_all(DWORD which, const char *text, size_t bytes) {
    DWORD written = 1;
    for (size_t at = 0; at < bytes && written > 0; at += written) {
        if (!WriteFile(GetStdHandle(which), text + at, (DWORD)(bytes - at), &written, NULL)) {
            return;
        }
    }
}

void system_print(const char *text, size_t bytes) {
    write_all(STD_OUTPUT_HANDLE, text, bytes);
}

/* What the thread writes, between two counts that only grow. */
static struct lines {
    SRWLOCK lock;
    CONDITION_VARIABLE filled, emptied;
    uint64_t put, taken;
    HANDLE thread;
    char ring[RING_BYTES];
} lines = {
    .lock = SRWLOCK_INIT, .filled = CONDITION_VARIABLE_INIT, .emptied = CONDITION_VARIABLE_INIT};

/* Counts as taken only when it is written: whoever waits for the end waits for that. */
static DWORD WINAPI log_run(void *unused) {
    char bytes[WRITE_BYTES];
    (void)unused;
    AcquireSRWLockExclusive(&lines.lock);
    for (;;) {
        while (lines.put == lines.taken) {
            SleepConditionVariableSRW(&lines.filled, &lines.lock, INFINITE, 0);
        }
        size_t count = 0;
        for (; lines.taken + count < lines.put && count < sizeof bytes; count++) {
            bytes[count] = lines.ring[(lines.taken + count) % RING_BYTES];
        }
        ReleaseSRWLockExclusive(&lines.lock);
        write_all(STD_ERROR_HANDLE, bytes, count);
        AcquireSRWLockExclusive(&lines.lock);
        lines.taken += count;
        WakeAllConditionVariable(&lines.emptied);
    }
    return 0; /* some compilers miss that it never comes here */
}

bool system_log_ready(void) {
    AcquireSRWLockExclusive(&lines.lock);
    bool ready = RING_BYTES - (lines.put - lines.taken) >= LINES_BYTES;
    ReleaseSRWLockExclusive(&lines.lock);
    return ready;
}

/* The thread begins with the first line: most of what the program can be asked to do has none. */
void system_log(const char *line, size_t bytes) {
    AcquireSRWLockExclusive(&lines.lock);
    if (!lines.thread) {
        lines.thread = CreateThread(NULL, WRITE_BYTES * 16, log_run, NULL, 0, NULL);
    }
    for (size_t i = 0; i < bytes; i++) {
        lines.ring[lines.put++ % RING_BYTES] = line[i];
    }
    ReleaseSRWLockExclusive(&lines.lock);
    WakeConditionVariable(&lines.filled);
}

/* Once more than the writer needs, as long as it gets on. */
static void log_end(void) {
    ULONGLONG end = GetTickCount64() + LOG_LAST_MS, now = 0;
    AcquireSRWLockExclusive(&lines.lock);
    while (lines.thread && lines.put != lines.taken && (now = GetTickCount64()) < end) {
        SleepConditionVariableSRW(&lines.emptied, &lines.lock, (DWORD)(end - now), 0);
    }
    ReleaseSRWLockExclusive(&lines.lock);
}

/* == start, end == */

/* The same bytes as on other systems: no carriage returns, and UTF-8 also on a console, which is
   given back as it was. Gives what it was. */
static UINT output_begin(void) {
    UINT before = GetConsoleOutputCP();
    _setmode(_fileno(stdout), _O_BINARY);
    _setmode(_fileno(stderr), _O_BINARY);
    SetConsoleOutputCP(CP_UTF8);
    return before;
}

/* The arguments come as UTF-16. */
int wmain(int argc, wchar_t **wide) {
    static char text[ARGUMENTS_BYTES];
    static char *argv[ARGUMENTS_MAX + 1];
    UINT before = output_begin();
    int at = 0, count = 0, status = 2;
    for (; count < argc && count < ARGUMENTS_MAX; count++) {
        int bytes = WideCharToMultiByte(CP_UTF8, 0, wide[count], -1, text + at,
                                        ARGUMENTS_BYTES - at, NULL, NULL);
        if (bytes == 0) {
            break;
        }
        argv[count] = text + at;
        at += bytes;
    }
    if (count == argc) {
        status = mpserver_main(argc, argv);
    } else {
        fputs("mpserver: the command line is too long\n", stderr);
    }
    fflush(stdout);
    log_end();
    if (before) {
        SetConsoleOutputCP(before);
    }
    return status;
}
