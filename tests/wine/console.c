/* console.c: starts a program as its console would, and passes console events on; for the tests.
   SPDX: MIT-0

   Usage: console.exe PROGRAM ARGUMENTS... Each line of standard input is the number of an event
   (CTRL_CLOSE_EVENT is 2). The program's handlers hear it the way the system tells them: a thread
   made in the process runs CtrlRoutine of kernel32. Half a second later `event N held` says that
   the handlers have not returned, `event N returned` that they have. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>
#include <windows.h>

#define HOLD_MS 500

int wmain(int argc, wchar_t **argv); /* the system's, as main; no header has it */

static void event_send(HANDLE program, DWORD event) {
    HMODULE kernel = GetModuleHandleW(L"kernel32.dll");
    FARPROC routine = GetProcAddress(kernel, "CtrlRoutine");
    LPTHREAD_START_ROUTINE start = (LPTHREAD_START_ROUTINE)(void (*)(void))routine;
    HANDLE thread = CreateRemoteThread(program, NULL, 0, start, (void *)(uintptr_t)event, 0, NULL);
    if (!routine || !thread) {
        fprintf(stderr, "console: no thread for event %lu\n", event);
        return;
    }
    bool held = WaitForSingleObject(thread, HOLD_MS) == WAIT_TIMEOUT;
    fprintf(stderr, "event %lu %s\n", event, held ? "held" : "returned");
    CloseHandle(thread);
}

static DWORD WINAPI events_read(void *program) {
    char line[16];
    while (fgets(line, sizeof line, stdin)) {
        event_send(program, strtoul(line, NULL, 10));
    }
    return 0;
}

/* The program's arguments are ours but for our name; those of the tests hold no quotes. */
int wmain(int argc, wchar_t **argv) {
    static wchar_t command[32768];
    STARTUPINFOW startup = {.cb = sizeof startup};
    PROCESS_INFORMATION program;
    DWORD status = 1;
    for (int i = 1; i < argc; i++) {
        wcscat(command, i > 1 ? L" \"" : L"\"");
        wcscat(command, argv[i]);
        wcscat(command, L"\"");
    }
    setvbuf(stderr, NULL, _IONBF, 0);
    if (!CreateProcessW(NULL, command, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &program)) {
        fprintf(stderr, "console: cannot start it, error %lu\n", GetLastError());
        return 1;
    }
    CreateThread(NULL, 0, events_read, program.hProcess, 0, NULL);
    WaitForSingleObject(program.hProcess, INFINITE);
    GetExitCodeProcess(program.hProcess, &status);
    return (int)status;
}
