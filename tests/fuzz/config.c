/* config: a configuration file. What is read is printed and read again to the same; a fault stands
   where the text says; the memory that is asked for suffices and one byte less does not; a server
   made of it is sound and takes it over again. Addresses are those of the C library. */

static void check_fault(const struct input *in, mps_error error, const mps_fault *fault) {
    u32 line = 1, column = 1;
    FUZZ_CHECK(fault->error == error && fault->text[0] && fault->position <= in->bytes);
    FUZZ_CHECK(memchr(fault->text, 0, sizeof fault->text) && memchr(fault->key, 0, 64));
    for (size_t i = 0; i < fault->position; i++) {
        line += in->at[i] == '\n';
        column = in->at[i] == '\n' ? 1 : column + 1;
    }
    FUZZ_CHECK(fault->line == line && fault->column == column);
}

/* What goes into headers as it is holds nothing that could end one. */
static void check_string(const char *text) {
    for (size_t i = 0; text && text[i]; i++) {
        FUZZ_CHECK(text[i] > ' ' && text[i] < 0x7f && text[i] != '"' && text[i] != '\\');
    }
}

/* Numbers of the file are in their range, and are what the configuration has. */
static void check_values(const struct input *in, const mps_config *config) {
    const char *keys[COUNT_OF(config_keys)];
    struct json_value v[COUNT_OF(config_keys)];
    struct json_fault fault;
    i64 number;
    char *text = exact_copy(in->at, in->bytes);
    for (u32 i = 0; i < COUNT_OF(keys); i++) {
        keys[i] = config_keys[i].key;
    }
    FUZZ_CHECK(json_object(text, in->bytes, keys, COUNT_OF(keys), v, &fault));
    for (u32 i = 0; i < COUNT_OF(keys); i++) {
        const struct config_row *row = &config_keys[i];
        if (v[i].type == JSON_NUMBER) {
            FUZZ_CHECK(json_i64(v[i], row->min, row->max, &number));
            FUZZ_CHECK(config_choice(config, row) == (u32)number);
        }
    }
    free(text);
    check_string(config->jwt_issuer);
    check_string(config->jwt_audience);
    check_string(config->public_host);
    check_string(config->cors_origin);
}

/* The bytes as an address: one that the C library takes, too, and the same; written, it reads
   back. */
static void check_address(const struct input *in) {
    char text[64], written[ADDRESS_TEXT_MAX];
    u8 theirs[ADDRESS_BYTES];
    mps_address ours = {{0}, 0, 0}, again = ours;
    struct span rest = span_of(text, in->bytes);
    struct text t = text_on(written, sizeof written);
    bool v4 = false;
    if (!copy_z(text, sizeof text, span_of((const char *)in->at, in->bytes))) {
        return;
    }
    memcpy(theirs, address_v4_prefix, sizeof address_v4_prefix);
    bool taken =
        inet_pton(AF_INET, text, theirs + 12) == 1 || inet_pton(AF_INET6, text, theirs) == 1;
    bool read = address_read_ip(&rest, ours.ip, &v4) && rest.bytes == 0;
    FUZZ_CHECK(read == taken);
    if (read) {
        FUZZ_CHECK(memcmp(ours.ip, theirs, sizeof theirs) == 0);
        ours.port = (u16)in->hash;
        address_put(&t, &ours);
        FUZZ_CHECK(!t.cut && address_parse(text_span(&t), &again));
        FUZZ_CHECK(memcmp(&ours, &again, sizeof ours) == 0);
    }
}

#define PRINT_MAX 8192

/* Printed, read, printed: the same, and cut where there is no room. */
static void check_printed(const struct input *in, const mps_config *config) {
    char *first = malloc(PRINT_MAX), *second = malloc(PRINT_MAX);
    mps_config again = {0};
    mps_fault fault;
    size_t bytes = mps_config_print(config, first, PRINT_MAX);
    FUZZ_CHECK(bytes <= PRINT_MAX);
    size_t part = input_pick(in, 50, bytes + 1);
    char *cut = exact_copy(second, part);
    FUZZ_CHECK(mps_config_print(config, cut, part) == bytes && memcmp(cut, first, part) == 0);
    char *text = exact_copy(first, bytes);
    FUZZ_CHECK(mps_config_read(&again, text, bytes, &fault) == MPS_OK);
    FUZZ_CHECK(mps_config_print(&again, second, PRINT_MAX) == bytes);
    FUZZ_CHECK(memcmp(first, second, bytes) == 0);
    FUZZ_CHECK((mps_config_check(config, &fault) == MPS_OK) ==
               (mps_config_check(&again, NULL) == MPS_OK));
    free(text);
    free(cut);
    free(first);
    free(second);
}

#define CREATE_BYTES_MAX (1 << 20)

static void check_created(const mps_config *config, size_t bytes) {
    static const u8 entropy[32] = {5, 6, 7};
    mps_server *server;
    void *block = malloc(bytes);
    FUZZ_CHECK(mps_create(&server, config, block, bytes - 1, entropy) == MPS_E_MEMORY_SIZE);
    FUZZ_CHECK(mps_create(&server, config, block, bytes, entropy) == MPS_OK);
    FUZZ_CHECK(mps_check(server));
    FUZZ_CHECK(mps_reconfigure(server, config) == 0);
    mps_config plain = {.log_level = MPS_LOG_OFF};
    FUZZ_CHECK(mps_reconfigure(server, &plain) >= 0 && mps_check(server));
    free(block);
}

static void check_memory(const mps_config *config) {
    mps_memory_row row;
    size_t need = mps_memory_needed(config), sum = 0;
    bool valid = mps_config_check(config, NULL) == MPS_OK;
    FUZZ_CHECK((need > 0) == valid && (mps_connections_max(config) > 0) == valid);
    for (u32 i = 0; mps_memory_report(config, i, &row); i++) {
        sum += row.bytes;
    }
    FUZZ_CHECK(sum == need);
    if (need && need <= CREATE_BYTES_MAX) {
        check_created(config, need);
    }
}

/* The rows of one of the tables for --help-*; cut, each is its own beginning. */
static void check_doc(const struct input *in) {
    char whole[1024], part[16];
    mps_doc table = (mps_doc)input_pick(in, 51, MPS_DOC_DATAGRAMS + 1);
    size_t bytes, some;
    for (u32 row = 0; (bytes = mps_doc_row(table, row, whole, sizeof whole)) != 0; row++) {
        some = mps_doc_row(table, row, part, sizeof part);
        FUZZ_CHECK(bytes < sizeof whole && some <= bytes && memcmp(whole, part, some) == 0);
        FUZZ_CHECK(!span_has(span_of(whole, bytes), '\n'));
    }
}

static void fuzz_config(const struct input *in) {
    mps_config config = {0}, before = config;
    mps_fault fault;
    char *text = exact_copy(in->at, in->bytes);
    mps_error error = mps_config_read(&config, text, in->bytes, &fault);
    if (error) {
        check_fault(in, error, &fault);
        FUZZ_CHECK(memcmp(&config, &before, sizeof config) == 0);
    } else {
        check_values(in, &config);
        check_printed(in, &config);
        check_memory(&config);
    }
    check_address(in);
    check_doc(in);
    free(text);
}
