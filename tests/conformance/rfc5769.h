/* STUN: the sample messages of RFC 5769, and what RFC 8489 says of messages and attributes. */
#ifndef CONFORMANCE_RFC5769_H
#define CONFORMANCE_RFC5769_H

#include "conformance.h"

#define STUN_ID "b7e7a701bc34d686fa87dfae"
#define STUN_SOFTWARE "8022000b7465737420766563746f7220"
#define STUN_MAPPED_V4 "002000080001a147e112a643"
#define STUN_MAPPED_V6 "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"

/* A message, the type it has, the password it is signed with. */
static const struct stun_vector {
    struct conformance about;
    const char *hex;
    u32 type;
    const char *password;
} stun_vectors[] = {
    {{"RFC 5769, 2.1",
      "a request: its SOFTWARE, PRIORITY, ICE-CONTROLLED and USERNAME are known or optional"},
     "00010058"
     "2112a442" STUN_ID "80220010"
     "5354554e207465737420636c69656e74"
     "00240004"
     "6e0001ff"
     "80290008"
     "932ff9b151263b36"
     "00060009"
     "6576746a3a68367659202020"
     "00080014"
     "9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
     "80280004"
     "e57a3bcf",
     STUN_BINDING_REQUEST,
     "VOkJxbRl1RmTxUk/WvJxBt"},
    {{"RFC 5769, 2.2", "a response over IPv4"},
     "0101003c"
     "2112a442" STUN_ID STUN_SOFTWARE STUN_MAPPED_V4 "00080014"
     "2b91f599fd9e90c38c7489f92af9ba53f06be7d7"
     "80280004"
     "c07d4c96",
     STUN_BINDING_SUCCESS,
     "VOkJxbRl1RmTxUk/WvJxBt"},
    {{"RFC 5769, 2.3", "a response over IPv6"},
     "01010048"
     "2112a442" STUN_ID STUN_SOFTWARE STUN_MAPPED_V6 "00080014"
     "a382954e4be67bf11784c97c8292c275bfe3ed41"
     "80280004"
     "c8fb0b4c",
     STUN_BINDING_SUCCESS,
     "VOkJxbRl1RmTxUk/WvJxBt"},
    {{"RFC 5769, 2.4", "a request with long-term credentials, not signed again here"},
     "00010060"
     "2112a442"
     "78ad3433c6ad72c029da412e"
     "00060012"
     "e3839ee38388e383aae38383e382afe382b90000"
     "0015001c"
     "662f2f3439396b393534643"
     "64f4c33346f4c394653547679363473"
     "4100140"
     "00b6578616d706c652e6f726700"
     "00080014"
     "f67024656dd64a3e02b8e0712e85c9a28ca89666",
     STUN_BINDING_REQUEST,
     NULL},
};

/* Whether it is a message at all. */
static const struct stun_length_row {
    struct conformance about;
    const char *hex;
    bool good;
} stun_length_rows[] = {
    {{"RFC 8489, 5", "no attributes"}, "000100002112a442" STUN_ID, true},
    {{"RFC 8489, 5", "the length is more than there is"}, "000100042112a442" STUN_ID, false},
    {{"RFC 8489, 5", "the length is less than there is"},
     "000100002112a442" STUN_ID "80220000",
     false},
    {{"RFC 8489, 14", "an empty attribute"}, "000100042112a442" STUN_ID "80220000", true},
    {{"RFC 8489, 14", "an attribute whose value is missing"},
     "000100042112a442" STUN_ID "80220001",
     false},
    {{"RFC 8489, 14", "an attribute is padded to 4 bytes"},
     "000100082112a442" STUN_ID "8022000161000000",
     true},
    {{"RFC 8489, 5", "a length beyond the end"},
     "0001000c2112a442" STUN_ID "8028000400000000",
     false},
    {{"RFC 8489, 14.7", "a wrong FINGERPRINT"},
     "000100082112a442" STUN_ID "8028000400000000",
     false},
    {{"RFC 8489, 5", "another magic cookie"}, "000100082112a443" STUN_ID "8022000161000000", false},
    {{"RFC 8489, 5", "the first two bits are zero"}, "400100002112a442" STUN_ID, false},
    {{"RFC 8489, 5", "a length that is no multiple of 4"},
     "000100062112a442" STUN_ID "800200010000",
     false},
    {{"RFC 8489, 14", "an attribute far beyond the end"},
     "000100082112a442" STUN_ID "8022ffff61000000",
     false},
};

/* The address a request came from, port 32853, and the answer's beginning: the attribute is that of
   the samples, byte for byte. */
static const struct stun_success_row {
    struct conformance about;
    const char *ip, *mapped, *head;
} stun_success_rows[] = {
    {{"RFC 8489, 14.2", "XOR-MAPPED-ADDRESS of IPv4"},
     "192.0.2.1",
     STUN_MAPPED_V4,
     "010100142112a442" STUN_ID},
    {{"RFC 8489, 14.2", "XOR-MAPPED-ADDRESS of IPv6"},
     "2001:db8:1234:5678:11:2233:4455:6677",
     STUN_MAPPED_V6,
     "010100202112a442" STUN_ID},
};

/* A request's attributes, and those of the answer 420 in front of its FINGERPRINT. */
static const struct stun_unknown_row {
    struct conformance about;
    const char *attributes, *answer;
    u32 count;
} stun_unknown_rows[] = {
    {{"RFC 8489, 6.3.1", "one required attribute that is not known"},
     "7fff0000",
     "0009000400000414"
     "000a0002"
     "7fff0000",
     1},
    {{"RFC 8489, 6.3.1", "two; CHANGE-REQUEST of RFC 3489 is not known either"},
     "7fff0000"
     "00030004"
     "00000000",
     "0009000400000414"
     "000a0004"
     "7fff0003",
     2},
    {{"RFC 8489, 14", "optional ones are ignored"},
     "8fff0000"
     "00240000",
     "",
     0},
    {{"RFC 8489, 14.13", "five, of which four are named"},
     "7ff10000"
     "7ff20000"
     "7ff30000"
     "7ff40000"
     "7ff50000",
     "0009000400000414"
     "000a0008"
     "7ff17ff27ff37ff4",
     4},
};

#endif
