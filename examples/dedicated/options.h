/* options.h: the command line of the dedicated server.  SPDX: MIT-0 */
#ifndef MPSERVER_OPTIONS_H
#define MPSERVER_OPTIONS_H

#include "../../mpserver.h"

enum action {
    ACTION_SERVE,
    ACTION_PRINT_CONFIG,
    ACTION_PRINT_MEMORY,
    ACTION_HELP_CONFIG,
    ACTION_HELP_ROUTES,
    ACTION_VERSION,
    ACTION_HELP,
    ACTION_MINT_TOKEN
};

/* What was asked for. Strings are the caller's argv; NULL, NOT_GIVEN: not given. */
#define NOT_GIVEN (-1)

struct options {
    enum action action;
    const char *bind, *public_host, *config, *sub, *record, *flight, *replay;
    int64_t http_port, udp_port, preset, role, ttl, log_level, log_json, flight_seconds;
    int64_t until_us;
    bool dev;
};

extern const char options_help[];

/* False: `why` says in one sentence what is wrong. */
bool options_parse(struct options *options, int argc, char **argv, char *why, size_t capacity);

#endif
