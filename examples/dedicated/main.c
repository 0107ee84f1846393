/* main.c: mpserver, the dedicated server: the core and a port with sockets.  SPDX: MIT-0

   One block of memory, taken before the ready line, holds everything: the core, the port, and the
   text of the configuration file when it is read again. After the ready line nothing allocates.

   Standard output carries the ready line and what was asked to be printed; the log goes to
   standard error, one write per line, and a reader who stops reading it loses lines, not the
   server. */
#include "../../platform/port.h"
#include "options.h"
#include "recording.h"
#include "system.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HTTP_PORT 8080
#define UDP_PORT 8081
#define FILE_BYTES_MAX 65536 /* of the configuration file */
#define LINE_BYTES 4096      /* of a log line: what a pipe takes whole */
#define PRINT_BYTES 65536
#define ROWS_MAX 10000
#define SECRET_BYTES_GOOD 32 /* RFC 7518, 3.2: as long as the hash */
#define FILES_SPARE 32       /* beside the connections */

/* Scripts tell by these whether starting again may help (1) or someone has to change something
   (2). */
enum { EXIT_RUNTIME = 1, EXIT_USAGE = 2 };

/* All there is of the program. It is static in main and handed to hooks as `user`. */
struct app {
    struct options options;
    struct mps_port port;
    mps_server *server;
    char *file_text;                /* FILE_BYTES_MAX, see the top */
    uint16_t asked_http, asked_udp; /* the ports as configured, 0 for picked ones */
    uint64_t log_lost, started_us;
    mps_level log_level;
    struct recording recording;
};

/* == log =========================================================================================
   A record becomes one line and one write. A pipe that is full costs lines, never time. */

/* In one write, so that lines of several processes on one pipe do not mix. */
static void log_write(struct app *app, const mps_log_record *record) {
    char line[LINE_BYTES];
    bool json = app->options.log_json == 1;
    size_t bytes = (json ? mps_log_json : mps_log_text)(record, line, sizeof line - 1);
    line[bytes++] = '\n';
    system_log(line, bytes);
}

/* Runs inside calls into the core: it must not wait, and calls nothing of the core that changes it.
   The lines that were lost are told of before the first that is not. */
static void log_hook(void *user, const mps_log_record *record) {
    struct app *app = user;
    if (!system_log_ready()) {
        app->log_lost++;
        return;
    }
    if (app->log_lost) {
        mps_log_record lost = {.level = MPS_LOG_WARN,
                               .item = "log_lost",
                               .text = "standard error was not read; log lines are lost",
                               .unix_ms = record->unix_ms,
                               .uptime_us = record->uptime_us,
                               .fields_count = 1};
        lost.fields[0] = (mps_log_field){.name = "lines", .number = (int64_t)app->log_lost};
        app->log_lost = 0;
        log_write(app, &lost);
    }
    log_write(app, record);
}

/* A line of our own, with one field unless `name` is NULL. `value` NULL: `number` counts. */
static void log_say(struct app *app, mps_level level, const char *item, const char *text,
                    const char *name, const char *value, int64_t number) {
    mps_log_record record = {.level = level,
                             .item = item,
                             .text = text,
                             .unix_ms = mps_port_unix_ms(),
                             .uptime_us = mps_port_now_us() - app->started_us,
                             .fields_count = name ? 1 : 0};
    mps_level least = app->log_level == MPS_LOG_DEFAULT ? MPS_LOG_INFO : app->log_level;
    record.fields[0] = (mps_log_field){name, value, value ? strlen(value) : 0, number};
    if (level >= least) {
        log_hook(app, &record);
    }
}

/* == configuration ===============================================================================
   Each source overrides the ones before: defaults, preset, file, environment, flags. */

#define WHY_BYTES 512

/* Into app->file_text, which the core may change while it reads, so it is read afresh each time. A
   file as large as the buffer may be cut, so that size is already too much. */
static bool file_read(struct app *app, size_t *bytes, char *why) {
    const char *name = app->options.config;
    int code;
    const char *problem = system_file_read(name, app->file_text, FILE_BYTES_MAX, bytes, &code);
    if (problem) {
        snprintf(why, WHY_BYTES, "%s: %s (error %d)", name, problem, code);
        return false;
    }
    if (*bytes == FILE_BYTES_MAX) {
        snprintf(why, WHY_BYTES, "%s: larger than %d bytes", name, FILE_BYTES_MAX - 1);
        return false;
    }
    return true;
}

/* FILE:LINE: key: text, as compilers say it; without a line the fault is not the file's. */
static void fault_text(const char *file, const mps_fault *fault, char *why) {
    const char *colon = fault->key[0] ? ": " : "";
    if (fault->line && file) {
        snprintf(why, WHY_BYTES, "%s:%u: %s%s%s", file, fault->line, fault->key, colon,
                 fault->text);
    } else {
        snprintf(why, WHY_BYTES, "%s%s%s%s%s", file ? file : "", file ? ": " : "", fault->key,
                 colon, fault->text);
    }
}

/* An empty variable counts as not set: an empty secret would sign for everybody. */
static void config_environment(mps_config *config) {
    const char *secret = system_variable("MPSERVER_JWT_SECRET");
    if (secret && *secret) {
        config->jwt_secret = secret;
        config->jwt_secret_bytes = strlen(secret);
    }
}

/* Last of the sources, so a flag wins. Ports that nobody named get the usual ones; 0 on the command
   line stays 0 and asks for a free port. */
static void config_flags(const struct options *options, mps_config *config) {
    if (options->preset != NOT_GIVEN) {
        config->preset = (mps_preset)options->preset;
    }
    if (options->http_port != NOT_GIVEN) {
        config->http_port = (uint16_t)options->http_port;
    } else if (config->http_port == 0) {
        config->http_port = HTTP_PORT;
    }
    if (options->udp_port != NOT_GIVEN) {
        config->udp_port = (uint16_t)options->udp_port;
    } else if (config->udp_port == 0) {
        config->udp_port = UDP_PORT;
    }
    if (options->public_host) {
        config->public_host = options->public_host;
    }
    if (options->log_level != NOT_GIVEN) {
        config->log_level = (mps_level)options->log_level;
    }
    config->dev |= options->dev;
}

/* POST /admin/reload: inside a core call, so only noted. The port then calls on_reload. A reload
   reconfigures the server, which a hook must not do while a call is under way. */
static void on_reload_asked(void *user) {
    struct app *app = user;
    mps_port_reload_soon(&app->port);
}

static void on_record_asked(void *user) {
    struct app *app = user;
    recording_ask(&app->recording);
}

static void recording_tell(struct app *app) {
    enum recording_news news = recording_news(&app->recording);
    if (news == RECORDING_WRITTEN) {
        log_say(app, MPS_LOG_INFO, "recording_written", "the recording is in the file", "file",
                app->recording.name, 0);
    } else if (news == RECORDING_FAILED) {
        log_say(app, MPS_LOG_ERROR, "recording_failed", "the recording cannot be written", "file",
                app->recording.name, 0);
    } else if (news == RECORDING_NAMES_TAKEN) {
        log_say(app, MPS_LOG_ERROR, "recording_failed",
                "every name for a recording is taken; move the files away", "last",
                app->recording.name, 0);
    }
}

static void on_call(void *user, const mps_call *call) {
    struct app *app = user;
    if (recording_call(&app->recording, call)) {
        recording_tell(app);
    }
}

/* Reads everything anew. False: `why` says what is wrong and where. The members of `config` that
   are text point into file_text, the environment and argv. */
static bool config_build(struct app *app, mps_config *config, char *why) {
    mps_fault fault = {.error = MPS_OK};
    size_t bytes;
    *config = (mps_config){.preset = MPS_PRESET_SMALL};
    if (app->options.config) {
        if (!file_read(app, &bytes, why)) {
            return false;
        }
        if (mps_config_read(config, app->file_text, bytes, &fault) != MPS_OK) {
            fault_text(app->options.config, &fault, why);
            return false;
        }
        /* Without a file there is nothing to read again, and the route says so. */
        config->hooks.reload = on_reload_asked;
    }
    config_environment(config);
    config_flags(&app->options, config);
    config->hooks.user = app;
    config->hooks.log = log_hook;
    if (app->options.record || app->options.flight) {
        config->hooks.call = on_call;
        config->hooks.record = on_record_asked;
    }
    if (mps_config_check(config, &fault) != MPS_OK) {
        fault_text(app->options.config, &fault, why);
        return false;
    }
    return true;
}

/* Also for SIGHUP. A file with a fault is reported and changes nothing. The port calls it between
   calls into the core. Only what the core calls live is taken over. */
static void on_reload(void *user) {
    struct app *app = user;
    mps_config config;
    char why[WHY_BYTES];
    if (!app->options.config) {
        log_say(app, MPS_LOG_INFO, "reload_nothing", "there is no configuration file to reload",
                NULL, NULL, 0);
        return;
    }
    if (!config_build(app, &config, why)) {
        log_say(app, MPS_LOG_ERROR, "reload_failed", "the configuration stays as it was", "fault",
                why, 0);
        return;
    }
    /* A port that was asked for in the same words is the one we have. */
    if (config.http_port == app->asked_http) {
        config.http_port = app->port.http.port;
    }
    if (config.udp_port == app->asked_udp) {
        config.udp_port = app->port.udp.port;
    }
    int waiting = mps_reconfigure(app->server, &config);
    if (waiting < 0) {
        log_say(app, MPS_LOG_ERROR, "reload_failed", "the configuration stays as it was", "fault",
                mps_error_text((mps_error)waiting), 0);
        return;
    }
    app->log_level = config.log_level;
    log_say(app, MPS_LOG_INFO, "reloaded", "configuration reloaded", "waiting_for_restart", NULL,
            waiting);
}

/* == printing ====================================================================================
   What is printed on request, before anything is opened. Standard output may be a full disk. */

static int complain(int status, const char *why) {
    fprintf(stderr, "mpserver: %s\n", why);
    return status;
}

/* What could not be written (a full disk) must not look printed. */
static int print_done(void) {
    return fflush(stdout) == 0 ? 0 : complain(EXIT_RUNTIME, "cannot write to standard output");
}

/* The table ends where the core gives 0 bytes; the bound is only there to have one. */
static int print_rows(mps_doc table) {
    char line[1024];
    if (mps_doc_row(MPS_DOC_CONFIG, 0, line, sizeof line) == 0) {
        return complain(EXIT_USAGE, "this build has no such texts (MPS_NO_DOCS); the same version "
                                    "built without that switch prints them");
    }
    for (uint32_t row = 0; row < ROWS_MAX; row++) {
        size_t bytes = mps_doc_row(table, row, line, sizeof line);
        if (bytes == 0) {
            break;
        }
        printf("%.*s\n", (int)bytes, line);
    }
    return print_done();
}

/* JSON that --config takes back. Secrets are left out by the core. */
static int print_config(const mps_config *config) {
    char json[PRINT_BYTES];
    size_t bytes = mps_config_print(config, json, sizeof json);
    printf("%.*s\n", (int)(bytes < sizeof json ? bytes : sizeof json), json);
    return print_done();
}

/* What follows in the block starts aligned, as the core and the port demand. */
static size_t aligned(size_t bytes) {
    return (bytes + 15) & ~(size_t)15;
}

/* The one block: the core, the port, the recorder, the text of the configuration file. */
struct block {
    size_t core, port, recorder, file, bytes;
};

/* The file's text gets its place only when there is a file to read again. */
static struct block block_of(const struct app *app, const mps_config *config) {
    struct block b;
    b.core = aligned(mps_memory_needed(config));
    b.port = aligned(mps_port_memory_needed(mps_connections_max(config)));
    b.file = app->options.config ? FILE_BYTES_MAX : 0;
    b.recorder = aligned(recording_memory_needed(&app->options, b.core));
    b.bytes = b.core + b.port + b.recorder + b.file;
    return b;
}

/* From the function that serving lays its block out with, so the two cannot disagree. */
static int print_memory(const struct app *app, const mps_config *config) {
    struct block b = block_of(app, config);
    mps_memory_row row;
    printf("%-28s %10s %10s %12s\n", "table", "items", "bytes each", "bytes");
    for (uint32_t i = 0; i < ROWS_MAX && mps_memory_report(config, i, &row); i++) {
        printf("%-28s %10zu %10zu %12zu\n", row.table, row.items, row.item_bytes, row.bytes);
    }
    printf("%-28s %10s %10s %12zu\n", "core", "", "", b.core);
    printf("%-28s %10s %10s %12zu\n", "port: sockets, buffers", "", "", b.port);
    printf("%-28s %10s %10s %12zu\n", "recorder", "", "", b.recorder);
    printf("%-28s %10s %10s %12zu\n", "configuration file", "", "", b.file);
    printf("%-28s %10s %10s %12zu\n", "total", "", "", b.bytes);
    return print_done();
}

/* Needs the same secret, issuer and audience as the server that will check it, hence the whole
   configuration. */
static int mint_token(const struct options *options, const mps_config *config) {
    char token[2048];
    mps_identity who = {.role = MPS_ROLE_PLAYER};
    memcpy(who.id, options->sub, strlen(options->sub)); /* options_parse has measured it */
    if (options->role != NOT_GIVEN) {
        who.role = (mps_role)options->role;
    }
    if (!config->jwt_secret) {
        return complain(EXIT_USAGE, "--mint-token needs the server's secret: set "
                                    "MPSERVER_JWT_SECRET, or `jwt_secret` in --config");
    }
    mps_token_claims claims = {.who = &who,
                               .issuer = config->jwt_issuer,
                               .audience = config->jwt_audience,
                               .unix_s = mps_port_unix_ms() / 1000,
                               .ttl_s = options->ttl == NOT_GIVEN ? 3600 : (uint32_t)options->ttl};
    size_t bytes = config->jwt_secret_bytes ? config->jwt_secret_bytes : strlen(config->jwt_secret);
    if (mps_token_mint(&claims, config->jwt_secret, bytes, token, sizeof token) == 0) {
        return complain(EXIT_USAGE, "no server would take this --sub: give UTF-8 text without "
                                    "control characters");
    }
    puts(token);
    return print_done();
}

/* == serving =====================================================================================
   From the sockets to the exit status. What goes wrong before the ready line is said in a sentence
   on standard error; after it, in the log. */

/* Every connection is an open file on most systems. With too few the server runs on, and the port
   pauses accepting when they are used up. */
static void files_want(struct app *app, uint32_t connections) {
    uint32_t needed = connections + FILES_SPARE;
    if (!system_files_want(needed)) {
        log_say(app, MPS_LOG_WARN, "open_files_low",
                "too few open files are allowed for `connections`; raise the limit (ulimit -n)",
                "needed", NULL, (int64_t)needed);
    }
}

/* 127.0.0.0/8, which comes mapped into IPv6, and ::1. */
static bool is_loopback(const mps_address *address) {
    static const uint8_t in4[13] = {[10] = 0xff, [11] = 0xff, [12] = 127};
    static const uint8_t in6[16] = {[15] = 1};
    return memcmp(address->ip, in4, sizeof in4) == 0 || memcmp(address->ip, in6, sizeof in6) == 0;
}

/* What is allowed but should not stay that way. */
static void warn(struct app *app, const mps_config *config) {
    size_t secret = config->jwt_secret_bytes ? config->jwt_secret_bytes
                    : config->jwt_secret     ? strlen(config->jwt_secret)
                                             : 0;
    if (config->dev && !is_loopback(&app->port.http)) {
        log_say(app, MPS_LOG_WARN, "dev_exposed",
                "--dev opens the server to anyone who reaches it; bind to 127.0.0.1, or leave it "
                "out",
                NULL, NULL, 0);
    }
    if (config->jwt_secret && secret < SECRET_BYTES_GOOD) {
        log_say(app, MPS_LOG_WARN, "jwt_secret_short",
                "a secret under 32 bytes can be guessed; make one with `openssl rand -hex 32`",
                "bytes", NULL, (int64_t)secret);
    }
}

/* Makes the server in one fresh block. The core may be
   created only after the port has its sockets, because lobbies tell the port number that was really
   given. The first text of the file is let go when the core has copied it; reloads read into the
   block. */
static int server_make(struct app *app, const mps_config *config) {
    struct block b = block_of(app, config);
    uint32_t connections = mps_connections_max(config);
    uint8_t entropy[32];
    char why[RECORDING_WHY_BYTES];
    char *block = system_memory(b.bytes);
    if (!block) {
        return complain(EXIT_RUNTIME, "there is not enough memory; see --print-memory, and choose "
                                      "a smaller --preset");
    }
    if (!mps_port_attach(&app->port, block + b.core, b.port, connections) ||
        !mps_port_signals(&app->port)) {
        return complain(EXIT_RUNTIME, app->port.error);
    }
    if (!mps_port_entropy(entropy)) {
        return complain(EXIT_RUNTIME, "the system gives no random bytes");
    }
    if (!recording_begin(&app->recording, &app->options, config, entropy, block + b.core + b.port,
                         mps_memory_needed(config), why)) {
        return complain(EXIT_USAGE, why);
    }
    mps_error error = mps_create(&app->server, config, block, b.core, entropy);
    if (error != MPS_OK) {
        return complain(error == MPS_E_CONFIG ? EXIT_USAGE : EXIT_RUNTIME, mps_error_text(error));
    }
    recording_attach(&app->recording, app->server);
    warn(app, config);
    system_memory_free(app->file_text, FILE_BYTES_MAX); /* the core has copied what it needs */
    app->file_text = block + b.core + b.port + b.recorder;
    files_want(app, connections);
    return 0;
}

/* Scripts wait for this line and read the ports from it. In one write, past stdio's buffer, which a
   pipe would only get at exit. */
static void ready_say(const struct app *app) {
    char http[MPS_PORT_ADDRESS_BYTES], udp[MPS_PORT_ADDRESS_BYTES], line[256];
    mps_port_address_text(&app->port.http, http);
    mps_port_address_text(&app->port.udp, udp);
    int bytes =
        snprintf(line, sizeof line, "mpserver %s ready http=%s udp=%s\n", MPS_VERSION, http, udp);
    system_print(line, (size_t)bytes);
}

/* A server that nobody gave a secret signs with one made up at the start, and every restart would
   sign all players out: that is for --dev alone. */
static int serve(struct app *app, mps_config *config) {
    struct mps_port_options options = {.bind = app->options.bind,
                                       .http_port = config->http_port,
                                       .udp_port = config->udp_port,
                                       .user = app,
                                       .on_reload = on_reload};
    if (!config->dev && !config->jwt_secret) {
        return complain(EXIT_USAGE, "set MPSERVER_JWT_SECRET, or `jwt_secret` in --config, to the "
                                    "secret that tokens are signed with; or use --dev");
    }
    if (!options.bind && config->dev) {
        options.bind = "127.0.0.1";
    }
    if (!mps_port_open(&app->port, &options)) {
        return complain(app->port.bind_invalid ? EXIT_USAGE : EXIT_RUNTIME, app->port.error);
    }
    /* The words of the configuration are kept for comparing at a reload; from here on the server
       knows the ports that it really has. */
    app->asked_http = config->http_port;
    app->asked_udp = config->udp_port;
    config->http_port = app->port.http.port;
    config->udp_port = app->port.udp.port;
    int status = server_make(app, config);
    if (status != 0) {
        return status;
    }
    ready_say(app);
    mps_port_state state = mps_port_run(&app->port, app->server);
    if (state == MPS_PORT_FAILED) {
        log_say(app, MPS_LOG_ERROR, "failed", app->port.error, NULL, NULL, 0);
    }
    mps_port_close(&app->port);
    recording_end(&app->recording);
    recording_tell(app);
    return state == MPS_PORT_FAILED ? EXIT_RUNTIME : 0;
}

/* What needs no configuration; -1 for everything else. */
static int print(const struct options *options) {
    switch (options->action) {
    case ACTION_HELP_CONFIG:
        return print_rows(MPS_DOC_CONFIG);
    case ACTION_HELP_ROUTES:
        if (print_rows(MPS_DOC_ROUTES) == EXIT_USAGE) {
            return EXIT_USAGE;
        }
        print_rows(MPS_DOC_MESSAGES);
        return print_rows(MPS_DOC_DATAGRAMS);
    case ACTION_VERSION:
        puts("mpserver " MPS_VERSION);
        return print_done();
    case ACTION_HELP:
        fputs(options_help, stdout);
        return print_done();
    default:
        return -1;
    }
}

static void log_again(void *user, const mps_log_record *record) {
    const struct app *app = user;
    if (record->level >= app->log_level) {
        log_hook(user, record);
    }
}

/* The log is shown when it is asked for: most replays look for something else. */
static int replay(struct app *app) {
    mps_hooks hooks = {.user = app, .log = log_again};
    app->log_level =
        app->options.log_level == NOT_GIVEN ? MPS_LOG_OFF : (mps_level)app->options.log_level;
    return recording_replay(&app->options, &hooks);
}

/* Flags first, since they name the file; what needs no configuration is printed before one is read,
   so that --help works with a broken file. */
int mpserver_main(int argc, char **argv) {
    static struct app app;
    app.started_us = mps_port_now_us();
    mps_config config;
    char why[WHY_BYTES];
    if (!options_parse(&app.options, argc, argv, why, sizeof why)) {
        return complain(EXIT_USAGE, why);
    }
    int status = print(&app.options);
    if (status >= 0) {
        return status;
    }
    if (app.options.replay) {
        return replay(&app);
    }
    app.file_text = system_memory(FILE_BYTES_MAX);
    if (!app.file_text) {
        return complain(EXIT_RUNTIME, "there is not enough memory");
    }
    if (!config_build(&app, &config, why)) {
        return complain(EXIT_USAGE, why);
    }
    app.log_level = config.log_level;
    switch (app.options.action) {
    case ACTION_PRINT_CONFIG:
        return print_config(&config);
    case ACTION_PRINT_MEMORY:
        return print_memory(&app, &config);
    case ACTION_MINT_TOKEN:
        return mint_token(&app.options, &config);
    default:
        return serve(&app, &config);
    }
}
