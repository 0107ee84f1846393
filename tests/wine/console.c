/* console.c: starts a program as its console would, and passes console events on; for the tests.
   SPDX: MIT-0

   Usage: console.exe PROGRAM ARGUMENTS... Each line of standard input is the number of an event
   (CTRL_CLOSE_EVENT is 2). The program's handlers hear it the way the system tells them: a thread
   made in the process runs CtrlRoutine of kernel32. `event N held` says that half a second later
   the handlers have not returned, `event N returned` that they have. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>
#include <windows.h>

#define HOLD_MS 500

int wmain(int argc, wchar_t **argv); /* the system's, as main; no header has it */

static HANDLE program;

/* In one piece: the program writes to the same pipe. */
static void say(const char *format, DWORD number) {
    char line[80];
    DWORD written;
    int bytes = snprintf(line, sizeof line, format, number);
    WriteFile(GetStdHandle(STD_ERROR_HANDLE), line, (DWORD)bytes, &written, NULL);
}

/* In a thread of its own, as the next event does not wait for the handlers of this one. */
static DWORD WINAPI event_send(void *number) {
    DWORD event = (DWORD)(uintptr_t)number;
    HMODULE kernel = GetModuleHandleW(L"kernel32.dll");
    FARPROC routine = GetProcAddress(kernel, "CtrlRoutine");
    LPTHREAD_START_ROUTINE start = (LPTHREAD_START_ROUTINE)(void (*)(void))routine;
    HANDLE thread = CreateRemoteThread(program, NULL, 0, start, (void *)(uintptr_t)event, 0, NULL);
    if (!routine || !thread) {
        say("console: no thread for event %lu\n", event);
        return 1;
    }
    if (WaitForSingleObject(thread, HOLD_MS) == WAIT_TIMEOUT) {
        say("event %lu held\n", event);
        WaitForSingleObject(thread, INFINITE);
    }
    say("event %lu returned\n", event);
    CloseHandle(thread);
    return 0;
}

static void event_begin(DWORD event) {
    CreateThread(NULL, 0, event_send, (void *)(uintptr_t)event, 0, NULL);
}

static DWORD WINAPI events_read(void *unused) {
    char line[16];
    (void)unused;
    while (fgets(line, sizeof line, stdin)) {
        event_begin(strtoul(line, NULL, 10));
    }
    return 0;
}

/* A Ctrl-C to this program is one to the other: it must not end before it. */
static BOOL WINAPI event_arrived(DWORD event) {
    event_begin(event);
    return TRUE;
}

/* Whatever ends this program ends the other. */
static void program_tie(void) {
    HANDLE job = CreateJobObjectW(NULL, NULL);
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limit = {
        .BasicLimitInformation = {.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE}};
    SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limit, sizeof limit);
    AssignProcessToJobObject(job, program);
}

/* The program's arguments are ours but for our name; those of the tests hold no quotes. */
int wmain(int argc, wchar_t **argv) {
    static wchar_t command[32768];
    STARTUPINFOW startup = {.cb = sizeof startup};
    PROCESS_INFORMATION made;
    DWORD status = 1;
    for (int i = 1; i < argc; i++) {
        wcscat(command, i > 1 ? L" \"" : L"\"");
        wcscat(command, argv[i]);
        wcscat(command, L"\"");
    }
    if (!CreateProcessW(NULL, command, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &made)) {
        say("console: cannot start it, error %lu\n", GetLastError());
        return 1;
    }
    program = made.hProcess;
    program_tie();
    SetConsoleCtrlHandler(event_arrived, TRUE);
    CreateThread(NULL, 0, events_read, NULL, 0, NULL);
    WaitForSingleObject(program, INFINITE);
    GetExitCodeProcess(program, &status);
    return (int)status;
}
