/* options.c: the command line of the dedicated server.  SPDX: MIT-0

   One table says which options there are, what they take and where it goes. Both `--opt value` and
   `--opt=value` are read; given twice, the last one counts. */
#include "options.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

const char options_help[] =
    "usage: mpserver [options]\n"
    "  --bind ADDR         listen on this address (default: all; 127.0.0.1 with --dev)\n"
    "  --http-port N       TCP port of HTTP (default 8080; 0 picks a free one)\n"
    "  --udp-port N        UDP port (default 8081; 0 picks a free one)\n"
    "  --public-host H     what clients are told to connect to (default: as they reached it)\n"
    "  --config FILE.json  read settings (see --help-config); SIGHUP (not on Windows) or\n"
    "                      POST /admin/reload reads them again\n"
    "  --preset P          size: tiny, small or large (default small)\n"
    "  --dev               for development: guest login, TEST lobby, open metrics\n"
    "  --log-level L       debug, info, warn, error or off (default info)\n"
    "  --log-format F      text or json, on standard error (default text)\n"
    "  --print-config      print the effective settings, without secrets\n"
    "  --print-memory      print how much memory the server takes, table by table\n"
    "  --help-config       list the settings\n"
    "  --help-routes       list routes, WebSocket messages and datagrams\n"
    "  --version, --help   print the version, this text\n"
    "  --record FILE       write every call into the core to FILE, for --replay\n"
    "  --flight FILE       keep the last seconds in memory; they become FILE (FILE.1, ...) in a\n"
    "                      crash, or by POST /admin/record\n"
    "  --flight-seconds N  at least so many, unless it is too busy (default 30)\n"
    "  --replay FILE [--until T]\n"
    "                      make the calls of a recording again, as fast as it goes, and compare\n"
    "                      every byte sent; T: stop so many seconds in. With --log-level: the log\n"
    "  --mint-token --sub S [--role R] [--ttl T]\n"
    "                      print a token for user S; R: player (default), server or admin;\n"
    "                      T: seconds it is valid (default 3600)\n"
    "The secret of tokens comes from the environment, MPSERVER_JWT_SECRET, or from `jwt_secret`\n"
    "in the file; it is required without --dev. Settings: flags override the environment, that\n"
    "the file, that the preset. Exit status: 0, 1 failed while running, 2 usage or settings.\n";

/* What an option takes: nothing (ACTION, FLAG), text, a number, or one of a list of words. */
enum kind { KIND_ACTION, KIND_FLAG, KIND_TEXT, KIND_NUMBER, KIND_SECONDS, KIND_CHOICE };

/* For an action `at` is its value in enum action, and no member. */
struct row {
    const char *name;
    enum kind kind;
    size_t at; /* of the member that takes the value */
    int64_t low, high;
    const char *choices[6]; /* a choice's value is its index, plus `low` */
};

#define AT(member) offsetof(struct options, member)

/* Members of a number, of seconds or a choice are int64_t, of a text const char *, of a flag bool:
   row_set relies on it. A choice's first word stands for `low`, so the words keep the order of the
   enum. The most of --ttl is ten years. */
static const struct row rows[] = {
    {"bind", KIND_TEXT, AT(bind), 0, 0, {0}},
    {"http-port", KIND_NUMBER, AT(http_port), 0, 65535, {0}},
    {"udp-port", KIND_NUMBER, AT(udp_port), 0, 65535, {0}},
    {"public-host", KIND_TEXT, AT(public_host), 0, 0, {0}},
    {"config", KIND_TEXT, AT(config), 0, 0, {0}},
    {"preset", KIND_CHOICE, AT(preset), MPS_PRESET_SMALL, 0, {"small", "tiny", "large"}},
    {"dev", KIND_FLAG, AT(dev), 0, 0, {0}},
    {"log-level",
     KIND_CHOICE,
     AT(log_level),
     MPS_LOG_DEBUG,
     0,
     {"debug", "info", "warn", "error", "off"}},
    {"log-format", KIND_CHOICE, AT(log_json), 0, 0, {"text", "json"}},
    {"print-config", KIND_ACTION, ACTION_PRINT_CONFIG, 0, 0, {0}},
    {"print-memory", KIND_ACTION, ACTION_PRINT_MEMORY, 0, 0, {0}},
    {"help-config", KIND_ACTION, ACTION_HELP_CONFIG, 0, 0, {0}},
    {"help-routes", KIND_ACTION, ACTION_HELP_ROUTES, 0, 0, {0}},
    {"version", KIND_ACTION, ACTION_VERSION, 0, 0, {0}},
    {"help", KIND_ACTION, ACTION_HELP, 0, 0, {0}},
    {"record", KIND_TEXT, AT(record), 0, 0, {0}},
    {"flight", KIND_TEXT, AT(flight), 0, 0, {0}},
    {"flight-seconds", KIND_NUMBER, AT(flight_seconds), 1, 86400, {0}},
    {"replay", KIND_TEXT, AT(replay), 0, 0, {0}},
    {"until", KIND_SECONDS, AT(until_us), 0, 1000000000, {0}},
    {"mint-token", KIND_ACTION, ACTION_MINT_TOKEN, 0, 0, {0}},
    {"sub", KIND_TEXT, AT(sub), 0, 0, {0}},
    {"role", KIND_CHOICE, AT(role), MPS_ROLE_PLAYER, 0, {"player", "server", "admin"}},
    {"ttl", KIND_NUMBER, AT(ttl), 1, 315360000, {0}},
};

/* The row of `--name` or `--name=value`; `value` is set to the text behind `=`, or NULL. Names
   match whole: a prefix that is unique today may not be tomorrow. */
static const struct row *row_find(const char *argument, const char **value) {
    const char *equals = strchr(argument, '=');
    size_t bytes = equals ? (size_t)(equals - argument) : strlen(argument);
    *value = equals ? equals + 1 : NULL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strncmp(argument, "--", 2) == 0 && strlen(rows[i].name) + 2 == bytes &&
            memcmp(argument + 2, rows[i].name, bytes - 2) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

/* Decimal digits only: no sign, no blanks. -1 for anything else. Stops as soon as it is past
   `high`, long before 64 bits could overflow. -1 is below every `low`. */
static int64_t number_read(const char *text, int64_t high) {
    int64_t value = 0;
    for (const char *c = text; *c; c++) {
        if (*c < '0' || *c > '9' || value > high) {
            return -1;
        }
        value = value * 10 + (*c - '0');
    }
    return *text ? value : -1;
}

/* `why` is written only on failure, as by all that follow; `out` only on success. */
static bool number_set(const struct row *row, int64_t *out, const char *value, char *why,
                       size_t capacity) {
    int64_t number = number_read(value, row->high);
    if (number < row->low || number > row->high) {
        snprintf(why, capacity, "--%s takes a number from %lld to %lld, not `%s`", row->name,
                 (long long)row->low, (long long)row->high, value);
        return false;
    }
    *out = number;
    return true;
}

/* Into microseconds; what is behind the sixth decimal is nothing that could be told apart. */
static bool seconds_set(const struct row *row, int64_t *out, const char *value, char *why,
                        size_t capacity) {
    char whole[16] = {0};
    const char *point = strchr(value, '.');
    size_t bytes = point ? (size_t)(point - value) : strlen(value);
    int64_t scale = 1000000, fraction = 0;
    bool right = bytes < sizeof whole && (!point || point[1]);
    memcpy(whole, value, right ? bytes : 0);
    for (const char *c = point ? point + 1 : ""; *c && right; c++) {
        right = *c >= '0' && *c <= '9';
        scale /= 10;
        fraction += (*c - '0') * scale;
    }
    int64_t number = right ? number_read(whole, row->high) : -1;
    if (number < row->low || number > row->high) {
        snprintf(why, capacity, "--%s takes seconds, such as 12 or 12.5, not `%s`", row->name,
                 value);
        return false;
    }
    *out = number * 1000000 + fraction;
    return true;
}

/* The error lists the choices as a sentence: "a, b or c". snprintf tells what it would have
   written, so `at` may pass the capacity; then nothing more is added. */
static bool choice_set(const struct row *row, int64_t *out, const char *value, char *why,
                       size_t capacity) {
    size_t count = sizeof row->choices / sizeof row->choices[0];
    size_t at = 0;
    for (size_t i = 0; i < count && row->choices[i]; i++) {
        if (strcmp(row->choices[i], value) == 0) {
            *out = row->low + (int64_t)i;
            return true;
        }
    }
    at += (size_t)snprintf(why, capacity, "--%s takes", row->name);
    for (size_t i = 0; i < count && row->choices[i] && at < capacity; i++) {
        const char *comma = i == 0 ? "" : i + 1 < count && row->choices[i + 1] ? "," : " or";
        at += (size_t)snprintf(why + at, capacity - at, "%s %s", comma, row->choices[i]);
    }
    if (at < capacity) {
        snprintf(why + at, capacity - at, ", not `%s`", value);
    }
    return false;
}

/* Two outputs in one run would have to be told apart by whoever reads them. The same one twice is
   harmless. */
static bool action_set(struct options *options, enum action action, char *why, size_t capacity) {
    if (options->action != ACTION_SERVE && options->action != action) {
        snprintf(why, capacity, "give only one of the options that print something and exit");
        return false;
    }
    options->action = action;
    return true;
}

/* The kind says which type the member at `row->at` has. */
static bool row_set(struct options *options, const struct row *row, const char *value, char *why,
                    size_t capacity) {
    void *member = (char *)options + row->at;
    switch (row->kind) {
    case KIND_ACTION:
        return action_set(options, (enum action)row->at, why, capacity);
    case KIND_FLAG:
        *(bool *)member = true;
        return true;
    case KIND_TEXT:
        *(const char **)member = value;
        return true;
    case KIND_NUMBER:
        return number_set(row, member, value, why, capacity);
    case KIND_SECONDS:
        return seconds_set(row, member, value, why, capacity);
    case KIND_CHOICE:
        return choice_set(row, member, value, why, capacity);
    }
    return false;
}

static bool recording_fits(const struct options *options, char *why, size_t capacity) {
    bool serves = options->bind || options->public_host || options->config || options->dev ||
                  options->http_port != NOT_GIVEN || options->udp_port != NOT_GIVEN ||
                  options->preset != NOT_GIVEN || options->record || options->flight ||
                  options->action != ACTION_SERVE;
    const char *wrong = NULL;
    if (options->record && options->flight) {
        wrong = "--record keeps everything, --flight the last seconds: give one of them";
    } else if (options->flight_seconds != NOT_GIVEN && !options->flight) {
        wrong = "--flight-seconds belongs to --flight";
    } else if (options->until_us != NOT_GIVEN && !options->replay) {
        wrong = "--until belongs to --replay";
    } else if (options->replay && serves) {
        wrong = "--replay takes everything from the recording: give only --until, --log-level and "
                "--log-format with it";
    }
    if (wrong) {
        snprintf(why, capacity, "%s", wrong);
    }
    return !wrong;
}

/* What only shows when everything is read. */
static bool options_fit(struct options *options, char *why, size_t capacity) {
    bool mint = options->action == ACTION_MINT_TOKEN;
    if (mint && !options->sub) {
        snprintf(why, capacity, "--mint-token needs --sub, the user it is for");
        return false;
    }
    /* Measured here because the id is copied into a buffer of that size. */
    if (mint && strlen(options->sub) > MPS_ID_BYTES_MAX) {
        snprintf(why, capacity, "--sub takes at most %d bytes", MPS_ID_BYTES_MAX);
        return false;
    }
    if (!mint && (options->sub || options->role != NOT_GIVEN || options->ttl != NOT_GIVEN)) {
        snprintf(why, capacity, "--sub, --role and --ttl belong to --mint-token");
        return false;
    }
    return recording_fits(options, why, capacity);
}

/* The options keep pointers into argv. NOT_GIVEN and not 0, because 0 is a value of most: a port
   that is to be picked, the first choice. */
bool options_parse(struct options *options, int argc, char **argv, char *why, size_t capacity) {
    *options = (struct options){.action = ACTION_SERVE};
    options->http_port = options->udp_port = options->preset = NOT_GIVEN;
    options->role = options->ttl = options->log_level = options->log_json = NOT_GIVEN;
    options->flight_seconds = options->until_us = NOT_GIVEN;
    for (int i = 1; i < argc; i++) {
        const char *value;
        const struct row *row = row_find(argv[i], &value);
        if (!row) {
            snprintf(why, capacity, "there is no option `%s`; see --help", argv[i]);
            return false;
        }
        bool wants_value = row->kind != KIND_ACTION && row->kind != KIND_FLAG;
        if (!wants_value && value) {
            snprintf(why, capacity, "--%s takes no value", row->name);
            return false;
        }
        /* The next argument, unless it is an option itself: a value that was forgotten must not eat
           it. */
        if (wants_value && !value && i + 1 < argc && strncmp(argv[i + 1], "--", 2) != 0) {
            value = argv[++i];
        }
        if (wants_value && (!value || !*value)) {
            snprintf(why, capacity, "--%s needs a value", row->name);
            return false;
        }
        if (!row_set(options, row, value, why, capacity)) {
            return false;
        }
    }
    return options_fit(options, why, capacity);
}
