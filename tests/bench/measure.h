/* What the programs of load share: the clock, delays and their percentiles, CPU time of processes,
   the way out with a sentence. */
#ifndef MPSERVER_BENCH_MEASURE_H
#define MPSERVER_BENCH_MEASURE_H

#include <dirent.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#define SECOND_NS UINT64_C(1000000000)

static inline _Noreturn void stop(const char *format, ...) {
    va_list list;
    va_start(list, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    exit(1);
}

static inline void *zeroed(size_t count, size_t bytes) {
    void *memory = calloc(count, bytes);
    if (!memory) {
        stop("no memory");
    }
    return memory;
}

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

static uint32_t random_state = 2463534242; /* any but 0 */

static inline uint32_t random_next(void) {
    uint32_t x = random_state;
    x ^= x << 13;
    x ^= x >> 17;
    return random_state = x ^ x << 5;
}

/* As many files as the system lets the process have, which must be as many as it needs. */
static inline void files_raise(uint64_t needed) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_max < needed) {
        stop("%llu open files are needed, and the hard limit is %llu: raise it (ulimit -H -n)",
             (unsigned long long)needed, (unsigned long long)files.rlim_max);
    }
}

static uint32_t histogram[64 << 7]; /* of delays */

/* 128 steps for each power of two: a value is told apart from one that differs by 1 %. */
static inline uint32_t histogram_index(uint64_t ns) {
    uint32_t top = 63 - (uint32_t)__builtin_clzll(ns | 128), shift = top - 7;
    return (shift << 7) + (uint32_t)(ns >> shift);
}

static inline double percentile_us(double share) {
    uint64_t total = 0, seen = 0;
    for (uint32_t i = 0; i < sizeof histogram / sizeof *histogram; i++) {
        total += histogram[i];
    }
    for (uint32_t i = 0; i < sizeof histogram / sizeof *histogram; i++) {
        seen += histogram[i];
        if (total && (double)seen >= share * (double)total) {
            uint32_t shift = i >> 7 ? (i >> 7) - 1 : 0;
            return ((double)(i - (shift << 7)) + 0.5) * (double)(UINT64_C(1) << shift) / 1000;
        }
    }
    return 0;
}

static inline uint64_t file_number(const char *path, int which) {
    unsigned long long numbers[2] = {0, 0};
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%llu %llu", &numbers[0], &numbers[1]) != 2) {
        stop("cannot read %s", path);
    }
    fclose(file);
    return numbers[which];
}

/* CPU time that threads have had, and how long they stood in line for it behind others. */
struct usage {
    uint64_t cpu_ns, wait_ns;
};

/* All threads of a process; read here, so that it fits the window. */
static inline struct usage usage_take(const char *process) {
    char path[300];
    struct usage sum = {0, 0};
    snprintf(path, sizeof path, "/proc/%s/task", process);
    DIR *directory = opendir(path);
    if (!directory) {
        stop("no process %s", process);
    }
    for (const struct dirent *e = readdir(directory); e; e = readdir(directory)) {
        if (e->d_name[0] != '.') {
            snprintf(path, sizeof path, "/proc/%s/task/%s/schedstat", process, e->d_name);
            sum.cpu_ns += file_number(path, 0);
            sum.wait_ns += file_number(path, 1);
        }
    }
    closedir(directory);
    return sum;
}

static inline struct usage usage_of(uint32_t pid) {
    char process[16];
    snprintf(process, sizeof process, "%u", pid);
    return usage_take(process);
}

static inline void print_usage(const char *who, struct usage before, struct usage after) {
    printf("\"%s_cpu_ns\":%llu,\"%s_wait_ns\":%llu,", who,
           (unsigned long long)(after.cpu_ns - before.cpu_ns), who,
           (unsigned long long)(after.wait_ns - before.wait_ns));
}

#endif
