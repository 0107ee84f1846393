/* Sections 14 and 16: the generator and SipHash, hashes, HMAC, base64. Expected values are those of
   the standards named beside them, or were computed with openssl and Python's hashlib. */

static void crypto_check_hex(const u8 *got, size_t bytes, const char *want) {
    char hex[2 * 96 + 1];
    struct text t = text_on(hex, sizeof hex);
    text_hex(&t, got, bytes);
    CHECK(!t.cut);
    CHECK_TEXT(t.at, t.bytes, want);
}

static size_t crypto_from_hex(const char *hex, u8 *out) {
    size_t count = strlen(hex) / 2;
    for (size_t i = 0; i < count; i++) {
        out[i] = (u8)(hex_value((u8)hex[2 * i]) << 4 | hex_value((u8)hex[2 * i + 1]));
    }
    return count;
}

static void crypto_sha256_of(const void *bytes, size_t count, u8 out[SHA256_BYTES]) {
    struct sha256 h;
    sha256_start(&h);
    sha256_add(&h, bytes, count);
    sha256_finish(&h, out);
}

/* The vectors of the reference implementation: key 00..0f, message 00..(n - 1) for n below 64. */
static const u64 crypto_siphash_vectors[64] = {
    0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d,
    0xcf2794e0277187b7, 0x18765564cd99a68d, 0xcbc9466e58fee3ce, 0xab0200f58b01d137,
    0x93f5f5799a932462, 0x9e0082df0ba9e4b0, 0x7a5dbbc594ddb9f3, 0xf4b32f46226bada7,
    0x751e8fbc860ee5fb, 0x14ea5627c0843d90, 0xf723ca908e7af2ee, 0xa129ca6149be45e5,
    0x3f2acc7f57c29bdb, 0x699ae9f52cbe4794, 0x4bc1b3f0968dd39c, 0xbb6dc91da77961bd,
    0xbed65cf21aa2ee98, 0xd0f2cbb02e3b67c7, 0x93536795e3a33e88, 0xa80c038ccd5ccec8,
    0xb8ad50c6f649af94, 0xbce192de8a85b8ea, 0x17d835b85bbb15f3, 0x2f2e6163076bcfad,
    0xde4daaaca71dc9a5, 0xa6a2506687956571, 0xad87a3535c49ef28, 0x32d892fad841c342,
    0x7127512f72f27cce, 0xa7f32346f95978e3, 0x12e0b01abb051238, 0x15e034d40fa197ae,
    0x314dffbe0815a3b4, 0x027990f029623981, 0xcadcd4e59ef40c4d, 0x9abfd8766a33735c,
    0x0e3ea96b5304a7d0, 0xad0c42d6fc585992, 0x187306c89bc215a9, 0xd4a60abcf3792b95,
    0xf935451de4f21df2, 0xa9538f0419755787, 0xdb9acddff56ca510, 0xd06c98cd5c0975eb,
    0xe612a3cb9ecba951, 0xc766e62cfcadaf96, 0xee64435a9752fe72, 0xa192d576b245165a,
    0x0a8787bf8ecb74b2, 0x81b3e73d20b49b6f, 0x7fa8220ba3b2ecea, 0x245731c13ca42499,
    0xb78dbfaf3a8d83bd, 0xea1ad565322a1a0b, 0x60e61c23a3795013, 0x6606d7e446282b93,
    0x6ca4ecb15c5f91e1, 0x9f626da15c9625f3, 0xe51b38608ef25f57, 0x958a324ceb064572,
};

static void crypto_siphash(void) {
    struct siphash_key key = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    u8 message[65];
    for (size_t i = 0; i < 64; i++) {
        message[i + 1] = (u8)i; /* unaligned on purpose */
    }
    for (size_t i = 0; i < 64; i++) {
        CHECK(siphash(&key, message + 1, i) == crypto_siphash_vectors[i]);
    }
    CHECK(siphash(&key, NULL, 0) == crypto_siphash_vectors[0]);
    key.k1 ^= 1;
    CHECK(siphash(&key, message + 1, 15) != crypto_siphash_vectors[15]);
}

/* RFC 8439, 2.3.2. */
static void crypto_chacha20_block(void) {
    u32 input[CHACHA20_WORDS] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, 0x03020100,
                                 0x07060504, 0x0b0a0908, 0x0f0e0d0c, 0x13121110, 0x17161514,
                                 0x1b1a1918, 0x1f1e1d1c, 1,          0x09000000, 0x4a000000};
    u8 block[CHACHA20_BLOCK_BYTES];
    chacha20_block(input, block);
    crypto_check_hex(block, sizeof block,
                     "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
                     "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e");
}

static void crypto_random_seeded(struct random_state *r, u8 first) {
    u8 entropy[32];
    for (u32 i = 0; i < sizeof entropy; i++) {
        entropy[i] = (u8)(first + i);
    }
    random_seed(r, entropy);
}

/* Bytes 32..255 of the zero-nonce keystream, bytes 0..31 being the next key, and so on. */
static void crypto_random_stream(void) {
    struct random_state r;
    u8 out[600], hash[SHA256_BYTES];
    crypto_random_seeded(&r, 0);
    crypto_check_hex(r.key, sizeof r.key,
                     "39fd2b7dd9c5196a8dbd0377b8dc4a498a35d86fbcde6accb2cc7d4cd8ea2492");
    random_bytes(&r, out, 600);
    crypto_check_hex(out, 96,
                     "2b23cce7a26023ab3f0eef693ac87f64258235eab1f7a32dc22762a0485b410c"
                     "18b84231ade6a6d113615c61af434e27f8b1f3f5e1ad5b5cecf8fc122a35755c"
                     "7208086dd1ee3c5d9d815824640e003c9ba0f65ede5d59ce0d2a4a7f31955acd");
    crypto_check_hex(out + 192, 96,
                     "4df2f9bd5613d4b4ed952fd858cd1b984acbf8ff1fd1a7c806d81ca8e4ae3b2c"
                     "2d41a59c90e41a8e7a4dccaa1c46069983b1a333ce25719ec3437768ab57fa42"
                     "ba3d01218930e55e8ac959c0b44772f7057621c309f50535496828ea3b8cba1b");
    crypto_sha256_of(out, sizeof out, hash);
    crypto_check_hex(hash, sizeof hash,
                     "f7817727936a12d92ca44c73bf0a1d148666f0209e859e2cea4e0aa831204c46");
}

static void crypto_random_pieces_make_the_same_stream(void) {
    for (size_t piece = 1; piece <= 300; piece++) {
        struct random_state r;
        u8 whole[600], pieces[600];
        crypto_random_seeded(&r, 7);
        random_bytes(&r, whole, sizeof whole);
        crypto_random_seeded(&r, 7);
        for (size_t at = 0; at < sizeof pieces; at += piece) {
            random_bytes(&r, pieces + at, size_min(piece, sizeof pieces - at));
        }
        CHECK(memcmp(whole, pieces, sizeof whole) == 0);
    }
}

static void crypto_random_wipes_what_it_gave(void) {
    struct random_state r, other;
    u8 out[64], entropy[32], key[32];
    memset(entropy, 0x5a, sizeof entropy);
    random_seed(&r, entropy);
    CHECK(memcmp(r.key, entropy, sizeof entropy) != 0); /* not even the first key is kept */
    memcpy(key, r.key, sizeof key);
    random_bytes(&r, out, 50);
    CHECK_INT(r.used, 50);
    for (u32 i = 0; i < 50; i++) {
        CHECK_INT(r.pool[i], 0);
    }
    random_bytes(&r, out, sizeof out);
    while (r.used < RANDOM_POOL_BYTES) {
        random_bytes(&r, out, 1);
    }
    for (u32 i = 0; i < RANDOM_POOL_BYTES; i++) {
        CHECK_INT(r.pool[i], 0);
    }
    CHECK(memcmp(r.key, key, sizeof key) == 0);
    random_bytes(&r, out, 1);
    CHECK(memcmp(r.key, key, sizeof key) != 0); /* each refill replaces the key */
    CHECK_INT(r.used, 1);
    random_bytes(&r, out, 0);
    CHECK_INT(r.used, 1);
    crypto_random_seeded(&r, 0);
    crypto_random_seeded(&other, 1);
    CHECK(memcmp(&r, &other, sizeof r) != 0);
    CHECK(memcmp(r.pool, other.pool, sizeof r.pool) != 0);
}

static void crypto_random_below(void) {
    static const u32 of_six[] = {3, 5, 1, 2, 4, 5, 2, 0, 5, 1, 5, 5};
    static const u32 of_half[] = {576725930u, 838312748u, 1109877407u,
                                  770090704u}; /* about half the draws are refused */
    static const u32 bounds[] = {1, 2, 3, 255, 256, 65537, 0x7fffffff, 0x80000000, UINT32_MAX};
    struct random_state r;
    crypto_random_seeded(&r, 0);
    for (size_t i = 0; i < COUNT_OF(of_six); i++) {
        CHECK_INT(random_below(&r, 6), of_six[i]);
    }
    crypto_random_seeded(&r, 0);
    for (size_t i = 0; i < COUNT_OF(of_half); i++) {
        CHECK_INT(random_below(&r, 0x80000001), of_half[i]);
    }
    for (size_t i = 0; i < COUNT_OF(bounds); i++) {
        for (int n = 0; n < 500; n++) {
            CHECK(random_below(&r, bounds[i]) < bounds[i]);
        }
    }
}

/* 60,000 draws of ten: each about 6,000, five standard deviations being 367. */
static void crypto_random_is_even(void) {
    struct random_state r;
    u32 counts[10] = {0};
    crypto_random_seeded(&r, 99);
    for (int n = 0; n < 60000; n++) {
        counts[random_below(&r, 10)]++;
    }
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        CHECK(counts[i] > 6000 - 367 && counts[i] < 6000 + 367);
    }
}

static void crypto_random_uuid(void) {
    struct random_state r;
    char first[37], next[38];
    crypto_random_seeded(&r, 0);
    random_uuid(&r, first);
    CHECK_TEXT(first, strlen(first), "2b23cce7-a260-43ab-bf0e-ef693ac87f64");
    for (int n = 0; n < 1000; n++) {
        next[37] = '#';
        random_uuid(&r, next);
        CHECK_INT(next[36], 0);
        CHECK_INT(next[37], '#');
        CHECK(next[8] == '-' && next[13] == '-' && next[18] == '-' && next[23] == '-');
        CHECK_INT(next[14], '4');
        CHECK(strchr("89ab", next[19]) != NULL);
        CHECK(strspn(next, "0123456789abcdef-") == 36);
        CHECK(strcmp(first, next) != 0);
    }
}

struct crypto_hash_row {
    const char *message, *sha1, *sha256;
};

/* FIPS 180-2, appendices A and B. */
static const struct crypto_hash_row crypto_texts[] = {
    {"", "da39a3ee5e6b4b0d3255bfef95601890afd80709",
     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", "a9993e364706816aba3e25717850c26c9cd0d89d",
     "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
     "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopq"
     "klmnopqrlmnopqrsmnopqrstnopqrstu",
     "a49b2446a02c645bf419f995b67091253a04a259",
     "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
};

/* Byte messages in hexadecimal, among them NIST's shortest (SHAVS). */
static const struct crypto_hash_row crypto_hex_messages[] = {
    {"d3", "b34db2b72d63f33dbef80fb30e094cc0a91d6322",
     "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1"},
    {"11af", "c6f5fe0a72fedecd14df9a46b573463b6c409f24",
     "5ca7133fa735326081558ac312c620eeca9970d1e70a4b95533d956f072d1f98"},
    {"b4190e", "5950d4c8ffa0ef4809e55edb2457d736fd1b5ab3",
     "dff2e73091f6c05e528896c4c831b9448653dc2ff043528f6769437bc7b975c2"},
    {"36", "c1dfd96eea8cc2b62785275bca38ac261256e278",
     "e7f6c011776e8db7cd330b54174fd76f7d0216b612387a5ffcfb81e6f0919683"},
    {"195a", "0a1c2d555bbe431ad6288af5a54f93e0449c9232",
     "ad4133553a4612926d14113eeeba87e1362b408bc3b051255ae8a2d1c44c425a"},
    {"74ba2521", "0a4911ae8b672af88d62db1d6be571715c9e9d2a",
     "b16aa56be3880d18cd41e68384cf1ec8c17680c45a02b1575dc1518923ae8b0e"},
};

/* Messages of `bytes` bytes, byte i being 7 * i + bytes. */
static const struct {
    size_t bytes;
    const char *sha1, *sha256;
} crypto_lengths[] = {
    {1, "bf8b4530d8d246dd74ac53a13471bba17941dff7",
     "4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a"},
    {3, "4201de9f98cb0a9b8cf52398be7802b55d45266a",
     "6ab0dba1f4f1dfbb37b4f9eeb092c09fca4900ad32bdcd147d8dde35d6c87c35"},
    {31, "fa8eab37d81e63ebb5fa34279b4db0c337b17f79",
     "6c56c9f0cdd4759c04aa75b8583e11614c25b347c984ca4c6bcb1fdfb09fb268"},
    {32, "42e4282067b7d9f26b4a0de765d01994c3863346",
     "70b25e78a713fbc17ba3f5e9b25c16200202a776ddb67fffb745d54b9eee7f29"},
    {54, "7fe50979b12cf9232dda5ca196ac5d968090bc2c",
     "1ad616be707a2b269ecfe28bdea4a4284a4f78a221287d45b98004231f501c77"},
    {55, "63ac9708fb581dd150d3647549f9e0cb51dcf1df",
     "81afe5b788dc2ce138ff83d9b20164db75a94d75d2b2432eea4a0ef605088c72"},
    {56, "5a0c4d0eb2f15e05bbbff6b8dada9ae767fc03f0",
     "2aba54f0ac632420a2b502431408866e40e1d5e430df4cd822642c78ab2eb9c1"},
    {57, "4e77d3077d2ab5167db3434c31cac3d15a3afc12",
     "903284efbf9100e8ba1614ec65eacacad125e03f857cae7acbf8b73b23e0fdfe"},
    {63, "d94ff3ad53f9b9327704b812ee9c1f3abbba3d48",
     "733d3d4ee79ee67145bf73da13588f6f235d37414fc64b14a2f00f1762792f5e"},
    {64, "5f55a35e13f1865e7ffc22dca1275b1a49b0ff56",
     "79322907b3e9d013d7dc2c2f256674dbf733045cde01df3539271c6f5605feb8"},
    {65, "d7f8931010f8342a97383e1410a58c47d057708b",
     "d85c007c6eb440f085afa2b84f6f2bce4658b240e9f62cb1364bf0485a57e720"},
    {111, "6f3940d34dd76944c03f3ba2825a385c92d8300e",
     "b41ae5233b9ec35d8576a032034d2857b667a618c7038714d727d4dae3aa2525"},
    {112, "8968f10b24861960792c092aced440e6838b7c3a",
     "0949563bc78e5ccd85603fa20368a33ed3d2da0141c8284a3b1515fe4683cdd7"},
    {119, "774001b5ad1f46b40c48e1b94cb092c593ead25b",
     "6c87eedf096b345de205b702e5223b73b447a3207791ded3ea007ba15ed6736e"},
    {120, "6ebf3111dc761f11b13f29df0484848785385973",
     "42500cf6a1e3936d6b9e0bcfe296d654b63255e525487d3634d0b15fde591c4d"},
    {121, "467945c0e868aaff130a18a6ff44c3963010999f",
     "bfee8850f7dfa42874071a0040ef89a5ac8d70c919224c440bdb63adb65d35e8"},
    {127, "82d007f6e7e5672722c0717b6bea2ba6f17cd35c",
     "68f6ff710276900c0ffbbc57426f67e00c2e01f0750c7edc25ac06b8ce7a8095"},
    {128, "0a44ac02432f6ead67d86fcb70a4d8ce589e50ec",
     "489d55fea9a73af36b6dd0be7b4117d8e5683386d39544e8a44c99a87f368707"},
    {129, "461b146c523c63566b8bf8852dc8462116cf2e3f",
     "4e1556b2e9a50a3cc9478f3254727b01065f9ac5d2c3a8b4cd538ae7240bb87d"},
    {163, "84febff8bc707a448b21359de3591c7cbd70e8f4",
     "8c18ce05356e4aae82134b19142cdda4bfa9f1dbb8a2e7cef4da4723b84ac3d7"},
    {1000, "7461968a9edb9b418224f1acb305d2feeaa10ba5",
     "6b0df76627243d095b0c4400cb658b7e804dd03461cc03aee8fc8fe0bcada168"},
    {4095, "a3af274b4f0a6c2dcbb1b655e94ad3dece338416",
     "2a37c9cecea9397e269f15d981dfee1856c524402a5a9c2e5c363f0fdc164bce"},
    {6400, "e50315d388fa4d672102808e49eaaf212b534b88",
     "527f806af3841db69d0a391df8494d995d57e4fb3676fe5ffdc07de43ab67afc"},
};

static void crypto_fill(u8 *message, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        message[i] = (u8)(7 * i + bytes);
    }
}

static void crypto_check_hashes(const void *message, size_t bytes, const char *want_sha1,
                                const char *want_sha256) {
    u8 hash[SHA256_BYTES];
    sha1(message, bytes, hash);
    crypto_check_hex(hash, SHA1_BYTES, want_sha1);
    crypto_sha256_of(message, bytes, hash);
    crypto_check_hex(hash, SHA256_BYTES, want_sha256);
}

static void crypto_hashes(void) {
    u8 message[6400];
    for (size_t i = 0; i < COUNT_OF(crypto_texts); i++) {
        const struct crypto_hash_row *row = &crypto_texts[i];
        crypto_check_hashes(row->message, strlen(row->message), row->sha1, row->sha256);
    }
    for (size_t i = 0; i < COUNT_OF(crypto_hex_messages); i++) {
        const struct crypto_hash_row *row = &crypto_hex_messages[i];
        size_t bytes = crypto_from_hex(row->message, message);
        crypto_check_hashes(message, bytes, row->sha1, row->sha256);
    }
    for (size_t i = 0; i < COUNT_OF(crypto_lengths); i++) {
        crypto_fill(message, crypto_lengths[i].bytes);
        crypto_check_hashes(message, crypto_lengths[i].bytes, crypto_lengths[i].sha1,
                            crypto_lengths[i].sha256);
    }
    crypto_check_hashes(NULL, 0, crypto_texts[0].sha1, crypto_texts[0].sha256);
}

/* The SHA-1 of all hashes of lengths 0..300, one behind the other. */
static void crypto_hashes_of_every_length(void) {
    static u8 all[301 * SHA256_BYTES];
    u8 message[300] = {0}, hash[SHA1_BYTES];
    for (size_t i = 0; i <= sizeof message; i++) {
        crypto_fill(message, i);
        sha1(message, i, all + i * SHA1_BYTES);
    }
    sha1(all, (size_t)301 * SHA1_BYTES, hash);
    crypto_check_hex(hash, sizeof hash, "e570432b09ac39935ad256f819b381ba3900dbbd");
    for (size_t i = 0; i <= sizeof message; i++) {
        crypto_fill(message, i);
        crypto_sha256_of(message, i, all + i * SHA256_BYTES);
    }
    sha1(all, (size_t)301 * SHA256_BYTES, hash);
    crypto_check_hex(hash, sizeof hash, "fedd3745537ecef2ab1d9565d7a9184437c2def7");
}

static void crypto_million_a(void) {
    size_t bytes = 1000000;
    char *message = malloc(bytes);
    CHECK(message != NULL);
    if (message) {
        memset(message, 'a', bytes);
        crypto_check_hashes(message, bytes, "34aa973cd4c4daa4f61eeb2bdbad27316534016f",
                            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }
    free(message);
}

static void crypto_pieces_make_the_same_hash(void) {
    u8 message[331], want[SHA256_BYTES], got[SHA256_BYTES];
    crypto_fill(message, sizeof message);
    crypto_sha256_of(message, sizeof message, want);
    for (size_t piece = 1; piece <= sizeof message; piece++) {
        struct sha256 h;
        sha256_start(&h);
        for (size_t at = 0; at < sizeof message; at += piece) {
            sha256_add(&h, message + at, size_min(piece, sizeof message - at));
            sha256_add(&h, NULL, 0);
        }
        sha256_finish(&h, got);
        CHECK(memcmp(want, got, sizeof want) == 0);
    }
    for (size_t cut = 0; cut <= sizeof message; cut++) {
        struct sha256 h;
        sha256_start(&h);
        sha256_add(&h, message, cut);
        sha256_add(&h, message + cut, sizeof message - cut);
        sha256_finish(&h, got);
        CHECK(memcmp(want, got, sizeof want) == 0);
    }
}

static void crypto_finish_wipes(void) {
    struct sha256 h, zero;
    struct hmac256 m;
    u8 out[SHA256_BYTES];
    memset(&zero, 0, sizeof zero);
    sha256_start(&h);
    sha256_add(&h, "secret", 6);
    sha256_finish(&h, out);
    CHECK(memcmp(&h, &zero, sizeof h) == 0);
    hmac256_start(&m, "secret", 6);
    hmac256_finish(&m, out);
    CHECK(memcmp(&m.inner, &zero, sizeof zero) == 0);
    CHECK(memcmp(&m.outer, &zero, sizeof zero) == 0);
    crypto_wipe(out + 1, 30);
    CHECK(out[0] != 0 && out[31] != 0);
    CHECK(memcmp(out + 1, &zero, 30) == 0);
}

/* Key, message, code in hexadecimal. RFC 4231, 4.2 to 4.8 (test case 5 whole, the RFC shows its
   first 128 bits), then an empty key and message and keys around the block size. */
static const struct {
    const char *key, *message, *code;
} crypto_hmacs[] = {
    {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "4869205468657265",
     "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
    {"4a656665", "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
     "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
     "dddddddddddddddddddd",
     "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
    {"0102030405060708090a0b0c0d0e0f10111213141516171819",
     "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
     "cdcdcdcdcdcdcdcdcdcd",
     "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
    {"0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c", "546573742057697468205472756e636174696f6e",
     "a3b6167473100ee06e0c796c2955552bfa6f7c0a6a8aef8b93f860aab0cd20c5"},
    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaaaaaaaaaaaaaaaaa",
     "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a65204b6579202d20"
     "48617368204b6579204669727374",
     "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaaaaaaaaaaaaaaaaa",
     "5468697320697320612074657374207573696e672061206c6172676572207468616e20626c6f636b"
     "2d73697a65206b657920616e642061206c6172676572207468616e20626c6f636b2d73697a652064"
     "6174612e20546865206b6579206e6565647320746f20626520686173686564206265666f72652062"
     "65696e6720757365642062792074686520484d414320616c676f726974686d2e",
     "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
    {"", "", "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"},
    {"6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"
     "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b",
     "78", "2c8e6c72fe7045b7a0a70b952f1c70abaa3951a6580a297f175296cb07b905c7"},
    {"6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"
     "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b",
     "78", "f91c4c403625fb06910ef93999265bbd2d62baeaec6ff36455498cc124fe3e66"},
    {"6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"
     "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b",
     "78", "75092ca3ee2b307470c227697b42b3e65376aa3bae98fb5a1f7b7536daa9588a"},
};

static void crypto_hmac(void) {
    for (size_t i = 0; i < COUNT_OF(crypto_hmacs); i++) {
        u8 key[160], message[160], code[SHA256_BYTES];
        size_t key_bytes = crypto_from_hex(crypto_hmacs[i].key, key);
        size_t bytes = crypto_from_hex(crypto_hmacs[i].message, message);
        struct hmac256 prepared, h;
        hmac256_start(&prepared, key, key_bytes);
        for (size_t piece = 1; piece < 8; piece++) { /* one prepared, many copies */
            h = prepared;
            for (size_t at = 0; at < bytes; at += piece) {
                hmac256_add(&h, message + at, size_min(piece, bytes - at));
            }
            hmac256_finish(&h, code);
            crypto_check_hex(code, sizeof code, crypto_hmacs[i].code);
        }
    }
}

/* RFC 7515, A.1. */
static void crypto_jws_example(void) {
    static const char key_text[] =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    static const char signed_text[] =
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJ"
        "leHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp"
        "0cnVlfQ";
    u8 key[64], code[SHA256_BYTES];
    char signature[44];
    struct hmac256 h;
    CHECK_INT(base64url_read(SPAN(key_text), key, sizeof key), 64);
    hmac256_start(&h, key, sizeof key);
    hmac256_add(&h, signed_text, strlen(signed_text));
    hmac256_finish(&h, code);
    CHECK_TEXT(signature, base64url_write(code, sizeof code, signature),
               "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
}

/* RFC 6455, 1.3: what SHA-1 is here for. */
static void crypto_websocket_accept(void) {
    static const char text[] = "dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    u8 hash[SHA1_BYTES];
    char accept[28];
    sha1(text, sizeof text - 1, hash);
    CHECK_TEXT(accept, base64_write(hash, sizeof hash, accept), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

static void crypto_equal_compares(void) {
    u8 a[33], b[33];
    memset(a, 7, sizeof a);
    memset(b, 7, sizeof b);
    CHECK(crypto_equal(a, b, sizeof a));
    CHECK(crypto_equal(a, b, 0));
    for (size_t i = 0; i < sizeof a; i++) {
        for (u32 bit = 1; bit < 256; bit <<= 1) {
            b[i] = (u8)(7 ^ bit);
            CHECK(!crypto_equal(a, b, sizeof a));
            CHECK(crypto_equal(a, b, i));
        }
        b[i] = 7;
    }
}

/* RFC 4648, 10, and the two characters in which the alphabets differ. */
static const struct {
    const char *bytes, *standard, *url;
} crypto_base64_rows[] = {
    {"", "", ""},
    {"f", "Zg==", "Zg"},
    {"fo", "Zm8=", "Zm8"},
    {"foo", "Zm9v", "Zm9v"},
    {"foob", "Zm9vYg==", "Zm9vYg"},
    {"fooba", "Zm9vYmE=", "Zm9vYmE"},
    {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
    {"\xff\xff\xff", "////", "____"},
    {"\xfb\xef\xbe", "++++", "----"},
    {"\xff\xfe", "//4=", "__4"},
};

static void crypto_base64(void) {
    for (size_t i = 0; i < COUNT_OF(crypto_base64_rows); i++) {
        const char *bytes = crypto_base64_rows[i].bytes;
        const char *standard = crypto_base64_rows[i].standard, *url = crypto_base64_rows[i].url;
        size_t count = strlen(bytes);
        char text[16];
        u8 back[8];
        CHECK_TEXT(text, base64_write((const u8 *)bytes, count, text), standard);
        CHECK_TEXT(text, base64url_write((const u8 *)bytes, count, text), url);
        CHECK_INT(base64_read(span_z(standard), back, count), count);
        CHECK_TEXT((char *)back, count, bytes);
        CHECK_INT(base64url_read(span_z(url), back, count), count);
        CHECK_TEXT((char *)back, count, bytes);
        if (count) { /* one byte of room too few */
            CHECK_INT(base64_read(span_z(standard), back, count - 1), -1);
            CHECK_INT(base64url_read(span_z(url), back, count - 1), -1);
        }
    }
}

static void crypto_base64_round_trips(void) {
    struct random_state r;
    crypto_random_seeded(&r, 3);
    for (size_t count = 0; count < 100; count++) {
        u8 bytes[100], back[100];
        char text[136];
        random_bytes(&r, bytes, count);
        size_t written = base64_write(bytes, count, text);
        CHECK_INT(written, 4 * ((count + 2) / 3));
        CHECK_INT(base64_read(span_of(text, written), back, count), count);
        CHECK(memcmp(bytes, back, count) == 0);
        written = base64url_write(bytes, count, text);
        CHECK_INT(written, (4 * count + 2) / 3);
        CHECK_INT(base64url_read(span_of(text, written), back, count), count);
        CHECK(memcmp(bytes, back, count) == 0);
    }
}

static void crypto_base64_refuses(void) {
    static const char *const standard[] = {
        "Z",    "Zg",    "Zg=",    "Z===",     "====",   "=",       "==",    "Zm8",
        "Zh==", "Zm9=",  "Zm9v=",  "Zg==Zg==", "Zm=v",   "Z=g=",    "Zm9-",  "Zm9_",
        "Zm9 ", " Zm9v", "Zm9v\n", "Zm9\x80",  "Zm9vYg", "Zm9vYg=", "Zg===", "Zm9v====",
        "Zm8 ", "Zm9,",  "Zm9.",   "Zm9:",     "Zm9@",   "Zm9[",    "Zm9`",  "Zm9{"};
    static const char *const url[] = {
        "Z",    "Zg=",   "Zg==", "Zh", "Zm9", "Zm9vY", "Zm9vYn", "Zm+v",   "Zm/v",
        "Zm9 ", "Zm9\n", "Zm9=", "=",  "Z_",  "Zm9.",  "Zm9v.",  "Zm9\xff"};
    u8 out[64];
    for (size_t i = 0; i < COUNT_OF(standard); i++) {
        if (base64_read(span_z(standard[i]), out, sizeof out) != -1) {
            printf("base64 \"%s\"\n", standard[i]);
            CHECK(false);
        }
    }
    for (size_t i = 0; i < COUNT_OF(url); i++) {
        if (base64url_read(span_z(url[i]), out, sizeof out) != -1) {
            printf("base64url \"%s\"\n", url[i]);
            CHECK(false);
        }
    }
    CHECK_INT(base64url_read(span_of("Zm\0v", 4), out, sizeof out), -1);
    CHECK_INT(base64url_read(span_of(NULL, 0), out, 0), 0);
    CHECK_INT(base64_read(span_of(NULL, 0), NULL, 0), 0);
}

static const struct check_test crypto_tests[] = {
    {"siphash", crypto_siphash},
    {"chacha20_block", crypto_chacha20_block},
    {"random_stream", crypto_random_stream},
    {"random_pieces_make_the_same_stream", crypto_random_pieces_make_the_same_stream},
    {"random_wipes_what_it_gave", crypto_random_wipes_what_it_gave},
    {"random_below", crypto_random_below},
    {"random_is_even", crypto_random_is_even},
    {"random_uuid", crypto_random_uuid},
    {"hashes", crypto_hashes},
    {"hashes_of_every_length", crypto_hashes_of_every_length},
    {"million_a", crypto_million_a},
    {"pieces_make_the_same_hash", crypto_pieces_make_the_same_hash},
    {"finish_wipes", crypto_finish_wipes},
    {"hmac", crypto_hmac},
    {"jws_example", crypto_jws_example},
    {"websocket_accept", crypto_websocket_accept},
    {"equal_compares", crypto_equal_compares},
    {"base64", crypto_base64},
    {"base64_round_trips", crypto_base64_round_trips},
    {"base64_refuses", crypto_base64_refuses},
};
