/* input.h: what every target makes of its bytes. Choices that are no part of the format under test,
   such as where to cut, follow from a hash of all the bytes: so a corpus is made of plain texts,
   and each change of a byte tries another cut. */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

struct input {
    const u8 *at;
    size_t bytes;
    u64 hash;
};

static struct input input_of(const u8 *at, size_t bytes) {
    struct siphash_key key = {1, 2};
    return (struct input){at, bytes, siphash(&key, bytes ? at : (const u8 *)"", bytes)};
}

/* A number below `limit` (which is not 0), another for each `use`. */
static size_t input_pick(const struct input *in, u32 use, size_t limit) {
    u64 mixed = (in->hash ^ use * UINT64_C(0x9E3779B97F4A7C15)) * UINT64_C(0xBF58476D1CE4E5B9);
    return (size_t)((mixed ^ mixed >> 31) % limit);
}

/* A copy that ends where its memory ends, so that reading a byte too many is found. The caller
   frees it. */
static void *exact_copy(const void *bytes, size_t count) {
    void *copy = malloc(count ? count : 1);
    FUZZ_CHECK(copy);
    if (count) {
        memcpy(copy, bytes, count);
    }
    return count ? copy : (char *)memset(copy, 0, 1);
}

/* Room for a text that is written, freed by the caller. */
static struct text exact_text(size_t capacity) {
    char *at = malloc(capacity ? capacity : 1);
    FUZZ_CHECK(at);
    return text_on(at, capacity);
}

/* Where the `round`th piece that starts at `from` ends: short inputs come byte by byte, others in
   up to four pieces. */
static size_t input_cut(const struct input *in, size_t from, u32 round) {
    if (in->bytes <= 200) {
        return from + 1;
    }
    return round >= 3 ? in->bytes : from + 1 + input_pick(in, 100 + round, in->bytes - from);
}

#endif
