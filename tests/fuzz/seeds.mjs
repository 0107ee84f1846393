// Writes the seeds and the dictionaries of the fuzzers: node tests/fuzz/seeds.mjs [DIRECTORY]
// Seeds are named seed-*; what fuzzing found stands beside them and is left alone. Words of the
// dictionaries come from the tables of mpserver.c, so they know every key, route and message.
import { createHmac } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const corpus = process.argv[2] ?? join(root, 'tests/corpus');
const core = readFileSync(join(root, 'mpserver.c'), 'utf8');
const CRLF = '\r\n';
const bytes = (...parts) => Buffer.concat(parts.map((part) =>
  (typeof part === 'number' ? Buffer.from([part]) : Buffer.from(part))));
const json = JSON.stringify;

// -- json --

const numbers = ['0', '-0', '1', '12', '-1.5e+3', '1E400', '-1e999', '1e-400', '5e-324', '4.9e-324',
  '2.2250738585072014e-308', '2.225073858507201e-308', '1.7976931348623157e308', '9007199254740993',
  '9223372036854775807', '-9223372036854775808', '9223372036854775808', '18446744073709551616',
  '123456789012345678901234567890', '0.1', '1e21', '1e-7', '100e-2', '0.000001', '3.4028235e38',
  '3.4028236e38', '1.17549435e-38', '7.0064923216240853e-46', '2.4703282292062327e-324',
  `0.${'0'.repeat(30)}1`, `1${'0'.repeat(40)}`, '9007199254740992.5', '0.30000000000000004',
  '8.98846567431158e307', '1.13832055e-8', '1.14714076e+24', '1.35461375e-36',
  '1.18653475e-17', '1.13632996e24', '1.22390075e-26', '1.29750985e26',
    '179769313486231580793728971405301e276', '4.35', '1e23', '-2.5e-9'];

const jsonSeeds = {
  object: '{"a":1,"b":[true,false,null],"c":{"d":"e"}}',
  escapes_in_names: '{"\\u0064ata":{"\\u00e9\\ud83d\\ude00":1},"\\u0000":2,"ty\\npe":3}',
  number_largest: `[17976931348623158079${'3'.repeat(60)}]`,
  number_rounds_up: '[1.7976931348623158079e308,1.7976931348623159e308,17976931348623158e292]',
  spaces: ' \t\r\n{ "a" : [ 1 , 2 ] , "" : { } , "x":[] } \n',
  escapes: '{"\\"\\\\\\/\\b\\f\\n\\r\\t":"\\u0041\\u00e9\\u20AC\\uD83D\\uDE00\\u0000"}',
  surrogate_alone: '{"a":"\\uD83Dx"}',
  surrogate_low: '"\\uDE00"',
  surrogate_twice: '"\\uD83D\\uD83D"',
  utf8: '["é€😀","\u007f\u0080\u07ff\u0800\uffff"]',
  utf8_overlong: bytes('"', Buffer.from([0xe0, 0x80, 0x80]), '"'),
  utf8_surrogate: bytes('"', Buffer.from([0xed, 0xa0, 0x80]), '"'),
  utf8_beyond: bytes('"', Buffer.from([0xf4, 0x90, 0x80, 0x80]), '"'),
  utf8_cut: bytes('"abcdefgh', Buffer.from([0xf0, 0x9f, 0x98])),
  utf8_text: 'zażółć 😀 plain text without any JSON, long enough for words',
  numbers: `[${numbers.join(',')}]`,
  number_halfway: `[0.${'0'.repeat(323)}24703282292062327208828439643411068618252990130716238221279,
    1.00000000000000011102230246251565404236316680908203125${'0'.repeat(800)}1]`,
  number_long: `[${'7'.repeat(900)},0.${'1234567890'.repeat(90)},${'9'.repeat(330)}e-320]`,
  leading_zero: '[01]',
  point_alone: '[1.]',
  exponent_alone: '[1e+]',
  minus_alone: '[-]',
  literal_wrong: '[trux]',
  depth_32: '['.repeat(32) + ']'.repeat(32),
  depth_33: '['.repeat(33) + ']'.repeat(33),
  depth_objects: '{"a":'.repeat(31) + '{}' + '}'.repeat(31),
  twins: '{"a":1,"b":2,"\\u0061":3}',
  twins_deep: '[{"x":[{"k":1,"l":"{\\"","k":2}]}]',
  type_data: '{"type":"chat","data":{"text":"hi","a":[1],"b":{}},"a":2}',
  data_many: '{"data":{"1":1,"2":2,"3":3,"4":4,"5":5,"6":6,"7":7,"8":8,"9":9,"10":10},"":0}',
  names_70: `{${Array.from({ length: 70 }, (_, i) => `"n${i}":${i}`).join(',')}}`,
  names_70_twin: `{${Array.from({ length: 70 }, (_, i) => `"n${i}":${i}`).join(',')},"n66":1}`,
  string_long: `"${'plain text '.repeat(20)}\\n${'é'.repeat(40)}"`,
  control: '"a\nb"',
  comma_missing: '{"a":1 "b":2}',
  colon_missing: '{"a" 1}',
  name_missing: '{1:2}',
  value_missing: '[,]',
  behind: '{} x',
  escape_unknown: '"\\x"',
  hex_wrong: '"\\u12G4"',
  empty: '',
  scalar: ' 42 ',
};

// -- http --

const head = (line, ...fields) => [line, ...fields, '', ''].join(CRLF);
const get = (target, ...fields) => head(`GET ${target} HTTP/1.1`, 'Host: game:8080', ...fields);
const chunked = (body) => head('POST /lobbies HTTP/1.1', 'Host: a',
  'Transfer-Encoding: chunked') + body;

const httpSeeds = {
  get: get('/healthz'),
  get_query: get('/lobbies?token=0123456789abcdefghij&limit=5&&a=%41+b&x'),
  get_secret_name: get('/x?t%6Fken=0123456789abcdefghij&TICKET=0123456789abcdefghij&a=%'),
  get_long_log: get(`/${'%ff\u00ff'.repeat(1)}${'a'.repeat(190)}%41`),
  all_fields: get('/ws', 'Connection: keep-alive, Upgrade', 'Upgrade: websocket',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Protocol: other, mpserver.v1', 'Origin: http://x', 'X-Request-Id: 7',
    'Authorization: Bearer a.b.c', 'X-Signature: 00', 'If-None-Match: "e"',
    'X-Forwarded-For: 1.2.3.4', 'X-Forwarded-For: 5.6.7.8, ::1', 'X-Forwarded-For: 9.9.9.9'),
  key_twice: get('/ws', 'Sec-WebSocket-Key: a', 'Sec-WebSocket-Key: b'),
  authorization_twice: get('/', 'Authorization: a', 'Authorization: b'),
  origin_twice: get('/', 'Origin: a', 'Origin: b'),
  field_long_name: get('/', `${'X'.repeat(40)}: 1`),
  length: head('POST /a HTTP/1.1', 'Host: a', 'Content-Length: 5') + 'hello',
  length_twice: head('POST /a HTTP/1.1', 'Host: a', 'Content-Length: 5', 'Content-Length: 5'),
  length_huge: head('POST /a HTTP/1.1', 'Host: a', 'Content-Length: 18446744073709551616'),
  length_and_chunked: head('POST /a HTTP/1.1', 'Host: a', 'Content-Length: 5',
    'Transfer-Encoding: chunked'),
  chunked: chunked(`5;x="y"${CRLF}hello${CRLF}6 ;z${CRLF} world${CRLF}0${CRLF}${CRLF}GET`),
  chunked_trailers: chunked(`3${CRLF}abc${CRLF}0${CRLF}X-Sum: 1${CRLF}Y:${CRLF}${CRLF}`),
  chunked_big_extension: chunked(`1;${'e'.repeat(4200)}${CRLF}a${CRLF}`),
  chunked_old: head('POST /a HTTP/1.0', 'Transfer-Encoding: chunked'),
  chunked_twice: head('POST /a HTTP/1.1', 'Host: a', 'Transfer-Encoding: chunked, chunked'),
  chunked_not_last: head('POST /a HTTP/1.1', 'Host: a', 'Transfer-Encoding: chunked, gzip'),
  chunked_gzip: head('POST /a HTTP/1.1', 'Host: a', 'Transfer-Encoding: gzip, chunked'),
  coding_bad: head('POST /a HTTP/1.1', 'Host: a', 'Transfer-Encoding: ch@nked'),
  chunks_only: `a${CRLF}0123456789${CRLF}0${CRLF}${CRLF}`,
  chunks_many: `${`1${CRLF}x${CRLF}`.repeat(40)}00${CRLF}${CRLF}`,
  chunk_size_long: `00000000000000001${CRLF}x${CRLF}`,
  chunk_size_large: `fffffffff${CRLF}x`,
  chunk_size_none: `;x${CRLF}`,
  chunk_blank_wrong: `1 x${CRLF}a`,
  chunk_no_cr: `1${CRLF}abc`,
  chunk_control: `1;\u0001${CRLF}`,
  trailer_wrong: `0${CRLF}a b${CRLF}${CRLF}`,
  trailer_control: `0${CRLF}a: \u0001${CRLF}${CRLF}`,
  expect: head('POST /a HTTP/1.1', 'Host: a', 'Expect: 100-continue', 'Content-Length: 1') + 'x',
  expect_other: head('POST /a HTTP/1.1', 'Host: a', 'Expect: magic'),
  coded: head('POST /a HTTP/1.1', 'Host: a', 'Content-Encoding: identity, gzip'),
  old: head('GET / HTTP/1.0'),
  old_keep_alive: head('GET / HTTP/1.0', 'Connection: keep-alive'),
  close: get('/', 'Connection: close'),
  minor_2: head('GET / HTTP/1.2', 'Host: a'),
  version_2: head('GET / HTTP/2.0', 'Host: a'),
  version_wrong: head('GET / HTTQ/1.1', 'Host: a'),
  absolute: head('GET http://example.org:80/a?b HTTP/1.1', 'Host: other'),
  absolute_https: head('GET HTTPS://example.org HTTP/1.1', 'Host: other'),
  absolute_empty_host: head('GET http://a HTTP/1.1', 'Host:'),
  absolute_options: head('OPTIONS http://example.org HTTP/1.1', 'Host: other'),
  absolute_bad: head('GET ftp://a/ HTTP/1.1', 'Host: a'),
  asterisk: head('OPTIONS * HTTP/1.1', 'Host: a'),
  asterisk_get: head('GET * HTTP/1.1', 'Host: a'),
  host_v6: head('GET / HTTP/1.1', 'Host: [2001:db8::1]:8080'),
  host_v6_open: head('GET / HTTP/1.1', 'Host: [::1'),
  host_escaped: head('GET / HTTP/1.1', 'Host: a%41b.example:1'),
  host_escaped_badly: head('GET / HTTP/1.1', 'Host: a%4'),
  host_port_large: head('GET / HTTP/1.1', 'Host: a:65536'),
  host_twice: head('GET / HTTP/1.1', 'Host: a', 'Host: a'),
  host_none: head('GET / HTTP/1.1'),
  empty_line_first: `${CRLF}${get('/')}`,
  bare_lf: 'GET / HTTP/1.1\nHost: a\n\n',
  bare_cr: 'GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n',
  folded: get('/', 'A: b', ' c'),
  blank_before_colon: get('/', 'A : b'),
  tab_value: get('/', 'A:\tb\t\tc\t', 'Long: 12345678\t90123456\u0001'),
  value_control: get('/', 'Long: 1234\u0001567890123456789'),
  value_delete: get('/', 'Long: 1234\t5678\u007f0123456789'),
  method_other: head('BREW / HTTP/1.1', 'Host: a'),
  method_long: head(`${'M'.repeat(40)} / HTTP/1.1`, 'Host: a'),
  method_none: ` / HTTP/1.1${CRLF}`,
  methods: ['HEAD', 'PUT', 'DELETE', 'PATCH', 'POST'].map((m) =>
    head(`${m} / HTTP/1.1`, 'Host: a')).join(''),
  target_fragment: head('GET /a#b HTTP/1.1', 'Host: a'),
  target_long: head(`GET /${'a'.repeat(100)} HTTP/1.1`, 'Host: a'),
  target_longer: head(`GET /${'a'.repeat(2100)} HTTP/1.1`, 'Host: a'),
  target_unfinished: `GET /${'a'.repeat(70)}`,
  head_large: get('/', ...Array.from({ length: 60 }, (_, i) => `X-${i}: ${'v'.repeat(120)}`)),
};

// -- websocket --

function frame(first, payload, { mask = [1, 2, 3, 4], length } = {}) {
  const body = Buffer.from(payload).map((b, i) => b ^ mask[i % 4]);
  const n = length ?? body.length;
  const size = n < 126 ? [n | 0x80] : n < 65536 ? [0xfe, n >> 8, n & 255]
    : [0xff, 0, 0, 0, 0, n >>> 24, n >> 16 & 255, n >> 8 & 255, n & 255];
  return bytes(first, Buffer.from(size), Buffer.from(mask), body);
}
const close = (code, reason = '') => frame(0x88, bytes(code >> 8, code & 255, reason));

const websocketSeeds = {
  text: frame(0x81, '{"type":"ping","data":{}}'),
  text_empty: frame(0x81, ''),
  text_126: frame(0x81, 'a'.repeat(126)),
  text_300_utf8: frame(0x81, 'é😀'.repeat(50)),
  text_65536: frame(0x81, 'abc', { length: 65536 }),
  length_64_top: bytes(0x81, 0xff, 0x80),
  length_not_shortest: bytes(0x81, 0xfe, 0, 5),
  length_64_not_shortest: bytes(0x81, 0xff, 0, 0, 0, 0, 0, 0, 0, 5),
  fragments: bytes(frame(0x01, 'ab€'), frame(0x89, 'ping'), frame(0x00, 'cd'), frame(0x80, 'ef')),
  fragments_utf8: bytes(frame(0x01, Buffer.from([0x61, 0xf0, 0x9f])),
    frame(0x8a, 'pong'), frame(0x80, Buffer.from([0x98, 0x80]))),
  utf8_e0: bytes(frame(0x01, Buffer.from([0xe0])), frame(0x80, Buffer.from([0xa0, 0x80]))),
  utf8_wrong: frame(0x81, Buffer.from([0x61, 0xff])),
  utf8_unfinished: frame(0x81, Buffer.from([0x61, 0xe2, 0x82])),
  close: close(1000, 'bye €'),
  close_empty: frame(0x88, ''),
  close_short: frame(0x88, 'x'),
  close_codes: bytes(close(1001), close(1012), close(3000), close(4999)),
  close_bad_code: close(1005),
  close_bad_reason: frame(0x88, Buffer.from([3, 232, 0xff])),
  control_long: frame(0x89, 'p'.repeat(126)),
  control_125: frame(0x89, 'p'.repeat(125)),
  control_fragment: frame(0x09, 'p'),
  binary: frame(0x82, 'b'),
  ping_long_key: `${'k'.repeat(200)}`,
  reserved: frame(0xc1, 'x'),
  reserved_2: frame(0xa1, 'x'),
  reserved_3: frame(0x91, 'x'),
  opcode_3: frame(0x83, 'x'),
  opcode_11: frame(0x8b, 'x'),
  continuation_alone: frame(0x80, 'x'),
  text_within: bytes(frame(0x01, 'a'), frame(0x81, 'b')),
  unmasked: bytes(0x81, 3, 'abc'),
  two_and_a_half: bytes(frame(0x81, 'one'), frame(0x81, 'two'), frame(0x81, 'three').subarray(0,
    8)),
  key: 'dGhlIHNhbXBsZSBub25jZQ==',
  key_short: 'dGhlIHNhbXBsZSBub25jZQ=',
  key_bits: 'dGhlIHNhbXBsZSBub25jZR==',
  key_plus: '++//++//++//++//++//++==',
};

// -- datagrams --

const f32 = (v) => { const b = Buffer.alloc(4); b.writeFloatLE(v); return b; };
const le = (v, n) => { const b = Buffer.alloc(n); b.writeUIntLE(v, 0, n); return b; };
const binary = (type, body, { seq = 7, id = 1, token = 'tokentok' } = {}) =>
  bytes(0xb1, type, le(seq, 2), le(id, 4), token, body);
const state = (x, angle = 100) => bytes(le(1234, 4), f32(x), f32(-1.5), f32(1e-3), le(angle, 2),
  le(0x8000, 2), le(0x7fff, 2), le(3, 2));

function crc32(data) {
  let crc = 0xffffffff;
  for (const b of data) {
    crc ^= b;
    for (let i = 0; i < 8; i++) crc = crc & 1 ? crc >>> 1 ^ 0xedb88320 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}
const be = (v, n) => { const b = Buffer.alloc(n); b.writeUIntBE(v, 0, n); return b; };
const attribute = (type, value) => bytes(be(type, 2), be(value.length, 2), value,
  Buffer.alloc(-value.length & 3));
const stun = (attributes, { print = false, type = 1 } = {}) => {
  const message = bytes(be(type, 2), be(attributes.length + (print ? 8 : 0), 2), be(0x2112a442, 4),
    'transaction!', attributes);
  return print ? bytes(message, attribute(0x8028, be((crc32(message) ^ 0x5354554e) >>> 0, 4)))
    : message;
};

const where = { position: { x: 1.5, y: -2.25, z: 1e-7 }, rotation: { x: 0, y: 3.14159, z: -1 } };
const datagramSeeds = {
  join: json({ type: 'join', lobby_code: 'TEST', player_id: 1, udp_token: '0'.repeat(31) + 'f',
    batch: true }),
  join_plain: json({ type: 'join', lobby_code: '', player_id: 4294967295 }),
  join_null_token: '{"type":"join","lobby_code":"A\\u00e9","player_id":2,"udp_token":null}',
  join_bad_token: '{"type":"join","lobby_code":"a","player_id":2,"udp_token":7}',
  position: json({ type: 'position_update', player_id: 1, ...where }),
  position_escaped: '{"type":"position_update","player_id":1,"position":{"\\u0078":1,"y":2,' +
    '"z":3},"rotation":{"x":1e2,"y":100000000,"z":0.1}}',
  position_more: '{"type":"position_update","player_id":1,"position":{"x":1,"y":2,"z":3,"w":4},' +
    '"rotation":{"x":1234567890,"y":3.4028234663852886e38,"z":1.1754943508222875e-38}}',
  position_digits: '{"type":"position_update","player_id":1,"position":{"x":0.12345678901234567,' +
    '"y":123456789.123,"z":1.401298464324817e-45},"rotation":{"x":1e16,"y":1e17,"z":7.5,"q":0}}',
  position_far: '{"type":"position_update","player_id":1,"position":{"x":1e39,"y":2,"z":3},' +
    '"rotation":{"x":1,"y":1,"z":0.1}}',
  position_short: '{"type":"position_update","player_id":1,"position":{"x":1,"y":2},"rotation":{}}',
  weapon: '{"type":"weapon_switch","lobby_code":"A","player_id":1,"weapon_id":"sword"}',
  weapon_number: '{"type":"weapon_switch","lobby_code":"A","player_id":1,"weapon_id":12.5}',
  leave: '{"type":"leave","lobby_code":"A","player_id":1}',
  ping: '{"type":"ping","t":12.25,"cookie":"0123456789abcdef"}',
  ping_plain: '{"type":"ping","t":"now"}',
  discover: json({ type: 'discover', nonce: 'n', pad: 'p'.repeat(200) }),
  unknown: '{"type":"dance","player_id":1}',
  id_zero: '{"type":"leave","lobby_code":"A","player_id":0}',
  no_object: '{"type":"leave"',
  binary_join: binary(1, bytes(4, 'TEST')),
  binary_join_long: binary(1, bytes(9, 'TEST')),
  binary_state: binary(2, state(1.5)),
  binary_state_turns: binary(2, state(1e30, 0x8000)),
  binary_state_nan: binary(2, state(NaN)),
  binary_leave: binary(3, ''),
  binary_leave_no_token: binary(3, '', { token: Buffer.alloc(8) }),
  binary_ping: binary(4, bytes(le(5, 4), 'cookie!!')),
  binary_ping_short: binary(4, 'x'),
  binary_unknown: binary(9, ''),
  binary_short: bytes(0xb1, 1, 2),
  stun: stun(Buffer.alloc(0)),
  stun_print: stun(attribute(0x0006, Buffer.from('user')), { print: true }),
  stun_print_wrong: stun(attribute(0x8028, Buffer.from('nope'))),
  stun_print_first: stun(bytes(attribute(0x8028, Buffer.from('nope')), attribute(6,
    Buffer.from('u')))),
  stun_unknown: stun(bytes(attribute(0x7001, Buffer.from('a')), attribute(0x0024, be(1, 4)),
    attribute(0x7002, Buffer.alloc(0)))),
  stun_unknown_many: stun(bytes(...[1, 2, 3, 4, 5].map((i) =>
    attribute(0x7000 + i, Buffer.alloc(0))))),
  stun_unknown_one: stun(attribute(0x7001, Buffer.from('four'))),
  stun_length_wrong: stun(bytes(be(6, 2), be(9, 2), 'abcd')),
  stun_indication: stun(attribute(0x8022, Buffer.from('software')), { type: 0x0011 }),
  stun_cut: stun(Buffer.alloc(0)).subarray(0, 12),
  other: 'hello',
};

// -- jwt --

const NOW = 1771070400;
const secret = "the fuzzers' secret of 32 bytes.";
const part = (value) => Buffer.from(typeof value === 'string' ? value : json(value))
  .toString('base64url');
const sign = (header, payload) => {
  const signed = `${part(header)}.${part(payload)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
};
const HS256 = { alg: 'HS256', typ: 'JWT' };
const claims = { iss: 'fuzz', aud: 'game', sub: 'a', username: 'Ada', role: 'player', iat: NOW,
  auth_time: NOW - 5, exp: NOW + 3600 };

const jwtSeeds = {
  token: sign(HS256, claims),
  token_none: sign({ alg: 'none' }, claims),
  token_crit: sign({ ...HS256, crit: ['exp'] }, claims),
  token_twin: sign('{"alg":"HS256","alg":"HS256"}', claims),
  token_payload_cut: sign(HS256, '{"sub":"a"'),
  token_three_dots: `${sign(HS256, claims)}.x`,
  token_signature_short: sign(HS256, claims).slice(0, -3),
  token_alphabet: `${sign(HS256, claims).slice(0, -1)}=`,
  header: json(HS256),
  header_escaped: '{"alg":"\\u0048S256","x":{"y":[1,{"z":2}]}}',
  header_crit: '{"alg":"HS256","crit":[]}',
  header_other: '{"alg":"RS256"}',
  claims: json(claims),
  claims_number: json({ userId: 7, exp: NOW + 1.5, nbf: NOW, aud: ['x', 'game'], iss: 'fuzz' }),
  claims_number_large: '{"userId":9007199254740993,"exp":1871070400}',
  claims_number_text: '{"userId":"7","exp":1871070400}',
  claims_late: json({ ...claims, exp: NOW - 60 }),
  claims_early: json({ ...claims, nbf: NOW + 61 }),
  claims_nbf_text: json({ ...claims, nbf: 'soon' }),
  claims_exp_none: json({ sub: 'a' }),
  claims_exp_large: '{"sub":"a","exp":1e16}',
  claims_no_dates: json({ sub: 'a', exp: NOW + 9 }),
  claims_boot: json({ sub: 'a', iss: 'mpserver', exp: 2000, boot: '0123456789abcdef' }),
  claims_boot_other: json({ sub: 'a', iss: 'mpserver', exp: 2000, boot: 'x' }),
  claims_boot_foreign: json({ sub: 'a', exp: 2000, boot: '0123456789abcdef' }),
  claims_name: '{"sub":"a","username":"\\u0000","name":"' + 'é'.repeat(40) + '","exp":1871070400}',
  claims_name_none: '{"sub":"' + '"\\"'.repeat(0) + 'quote\\"","exp":1871070400}',
  claims_sub_control: '{"sub":"a\\u0001","exp":1871070400}',
  claims_sub_long: json({ sub: 'i'.repeat(129), exp: NOW + 9 }),
  claims_sub_128: json({ sub: '"'.repeat(128), exp: NOW + 9 }),
  claims_roles: json({ ...claims, role: 'admin' }),
  claims_role_server: json({ ...claims, role: 'server' }),
  claims_role_other: json({ ...claims, role: 'king' }),
  claims_iss_number: json({ ...claims, iss: 5 }),
  claims_aud_other: json({ ...claims, aud: 'other' }),
  claims_aud_list: json({ ...claims, aud: [5, 'x'] }),
  claims_aud_number: json({ ...claims, aud: 5 }),
  claims_twin: '{"sub":"a","sub":"b","exp":1871070400}',
  claims_many: json(Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`c${i}`, i]))),
  claims_array: '[1]',
  identity: 'user-1\nAda "Countess" Lovelace',
  identity_names: bytes('id\n', Buffer.from([0xff, 0xfe])),
  identity_control: '\u0001\nx',
  identity_bytes: Buffer.from([0xc3]),
  identity_long: `${'"'.repeat(128)}\n${'\u0001'.repeat(32)}`,
  long: 'x'.repeat(4000),
};

// -- config --

const configSeeds = {
  empty: '{}',
  tiny: '{"preset":"tiny","dev":true}',
  large: '{"preset":"large"}',
  all: json({ preset: 'tiny', dev: false, connections: 8, guest_login: 'on', lan_discovery: false,
    udp_same_ip_join: true, jwt_secret: 'secret', jwt_issuer: 'me', jwt_audience: 'you',
    name: 'Zoë \u0001', public_host: 'example.org', http_port: 1, udp_port: 65535,
    cors_origin: 'https://x', trusted_proxies: ['10.0.0.0/8', '2001:db8::/32', '::1', '1.2.3.4'],
    metrics_allow: ['::ffff:10.0.0.0/104', 'fe80::/10', '1:2:3:4:5:6:1.2.3.4', '::'],
    player_speed_max: 0, log_level: 'debug', presence_public: true }, null, 1),
  ranges_bad: json({ trusted_proxies: ['10.0.0.1/8'] }),
  ranges_many: json({ metrics_allow: Array(17).fill('::1') }),
  ranges_16: json({ metrics_allow: Array(16).fill('1:20:300:4000:5:6:7:8'), chunks: 64 }),
  ranges_text: json({ metrics_allow: '::1' }),
  ranges_number: json({ metrics_allow: [1] }),
  ...Object.fromEntries(['1.2.3', '256.1.1.1', '01.2.3.4', ':1', '1::2::3', '1:2:3:4:5:6:7:8:9',
    '1:2:3', '::1.2.3.4.5', '1.2.3.4/33', '::/129', '12345::', '1:2:3:4:5:6:7:1.2.3.4', 'g::',
    '::1/x', '::%1', '1:2:3:4:5:6:7::', '::2:3:4:5:6:7:8', '0:0:0:0:0:0:0:0/0', '1.2.3.4 ',
    '1:2:3:4:5:6:7:']
    .map((text, i) => [`range_${i}`, json({ preset: 'tiny', trusted_proxies: [text] })])),
  ...Object.fromEntries(['1.2.3.4', '::', '::1', '1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7::', '::2:3:4',
    '::ffff:1.2.3.4', '1:2:3:4:5:6:1.2.3.4', 'abcd:EF01::', '1::2::3', '01.2.3.4', '::1.2.3.04',
    '1:2:3:4:5:6:7', '1.2.3', '12345::', '1:2:3:4:5:6:7:8:9', ':1', '1:', '1:::2']
    .map((text, i) => [`address_${i}`, text])),
  unknown: '{\n "dev": true,\n "conections": 5}',
  twice: '{"dev":true,\n\n"dev":false}',
  text_bad: '{"dev":true',
  not_object: ' [1]',
  level_wrong: '{"log_level":"loud"}',
  preset_wrong: '{"preset":"huge"}',
  switch_wrong: '{"guest_login":1}',
  bool_wrong: '{"dev":"yes"}',
  number_wrong: '{"connections":0}',
  number_text: '{"connections":"5"}',
  string_long: json({ name: 'n'.repeat(65) }),
  string_zero: '{"name":"a\\u0000b"}',
  string_space: '{"public_host":"a b"}',
  string_empty: '{"cors_origin":""}',
  secret_any: '{"jwt_secret":"\\n\\u0001 é"}',
  key_escaped: '{"\\u0064ev":true,"n\\u0061me":"\\u0061\\n"}',
  unfit_output: '{"preset":"tiny","output_bytes_max":4096,"lobby_players":1024}',
  unfit_chunks: '{"preset":"tiny","chunks":4}',
  unfit_ranges: '{"preset":"tiny","chunks":14,"chunk_bytes":1024,"metrics_allow":["::1"]}',
  unfit_held: '{"output_bytes_max":16777216}',
  unfit_target: '{"preset":"tiny","target_bytes_max":2048,"head_bytes_max":2048}',
  unfit_chunk: '{"preset":"tiny","chunk_bytes":65536}',
  unfit_input: '{"preset":"tiny","input_bytes":4096}',
  unfit_silence: '{"ping_after_ms":30000,"silence_timeout_ms":30000}',
};

// -- core: scripts, see core.c --

const OPS = ['open', 'send', 'ask', 'upgrade', 'text', 'frame', 'eof', 'closed', 'stall', 'take',
  'sent', 'advance', 'datagram', 'binary', 'stun', 'clock', 'config', 'hooks', 'drain', 'finish',
  'game', 'pump', 'piece'];
const op = Object.fromEntries(OPS.map((name, i) => [name, i]));
const [DEV, HOOKS, NO_SECRET, SLOW, PROXY, NO_CLOCK, MOVES, SMALL] = [1, 2, 4, 8, 16, 32, 64, 128];
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'OTHER'];
const [SAID_TOKEN, AUTH, CHUNKED, OLD, CLOSE, PROXIED] = [4, 8, 16, 32, 64, 128];
/* What the server said, to be said again. */
const [UDP_TOKEN, ROOM, RESUME, TOKEN, CODE, COOKIE, PLAYER, CURSOR] =
  ['\x01', '\x02', '\x03', '\x04', '\x05', '\x06', '\x07', '\x08'];
const said = (value) => (typeof value === 'string' ? value
  : json(value).replace(/\\u000([1-7])/g, (_, number) => String.fromCharCode(number)));
const short = (text) => bytes(Buffer.byteLength(text), text);
const long = (text) => bytes(le(Buffer.byteLength(text), 2), text);
const open = (...peers) => bytes(...peers.map((peer) => bytes(op.open, peer)));
const send = (link, text) => bytes(op.send, link, long(text));
const ask = (link, flags, method, target, body = '') => bytes(op.ask, link, flags,
  METHODS.indexOf(method), short(target), long(said(body)));
const upgrade = (link, flags = 0) => bytes(op.upgrade, link, flags);
const say = (link, type, data = {}) => bytes(op.text, link, long(said({ type, data })));
const advance = (...powers) => bytes(...powers.map((power) => bytes(op.advance, power)));
const udp = (from, text) => bytes(op.datagram, from,
  long(said(text)));
const bin = (from, type, seq, body = '') => bytes(op.binary, from, type, seq, bytes(body).length,
  body);
const game = (what, whom, peer, data = '{}') => bytes(op.game, what, whom, peer, short(data));
const config = (keys) => bytes(op.config, short(json(keys)));
const shake = (link) => say(link, 'handshake', { version: '1', name: `n${link}` });
const rest = (flags, ...ops) => bytes(flags, ...ops);

const twoInRoom = [open(1, 2, 3), upgrade(0, AUTH), upgrade(1, AUTH + 1), shake(0), shake(1),
  ask(2, AUTH, 'POST', '/api/rooms', { gamemode: 'ctf', mapName: 'm', maxPlayers: 4,
    version: '1' }),
  say(0, 'create_room'), say(1, 'join_room', { roomId: ROOM, version: '1', name: 'two' })];
const lobby = [open(1), ask(0, 0, 'POST', '/lobbies', { code: 'Abc', scene: 'cave',
  max_players: 4 }),
  ask(0, 0, 'POST', `/lobbies/${CODE}/join`, { player_name: 'Ada' })];
const joined = (from, batch = false) => udp(from,
  { type: 'join', lobby_code: CODE, player_id: 1, udp_token: UDP_TOKEN, batch });
const at = (from, x) => udp(from, { type: 'position_update', player_id: 1,
  position: { x, y: 0, z: 1 }, rotation: { x: 0, y: 1, z: 0 } });

const routes = ['/healthz', '/readyz', '/metrics', '/api/status', '/admin/log?since=0', '/lobbies',
  '/api/rooms', '/api/presence', '/', '/nothing', '/lobbies/TEST', '/api/rooms/x', '/ws'];
const coreSeeds = {
  health: rest(0, open(1), ask(0, 0, 'GET', '/healthz'), ask(0, CLOSE, 'HEAD', '/healthz')),
  routes: rest(DEV + HOOKS, open(0), ...routes.map((route) => ask(0, AUTH + 2, 'GET', route))),
  routes_anonymous: rest(0, open(1), ...routes.map((route) => ask(0, 0, 'GET', route))),
  routes_head: rest(MOVES, open(0), ...routes.map((route) => ask(0, AUTH + 2, 'HEAD', route))),
  routes_old: rest(0, ...routes.map((route, i) =>
    bytes(open(i), ask(i, AUTH + 2 + OLD + (i & 1 ? CLOSE : 0), 'GET', route)))),
  options: rest(0, open(1), ask(0, 0, 'OPTIONS', '/lobbies/A/join'), ask(0, 0, 'OPTIONS', '*'),
    ask(0, 0, 'PATCH', '/lobbies'), ask(0, 0, 'OTHER', '/'), ask(0, 0, 'DELETE', '/healthz')),
  admin: rest(HOOKS, open(1, 2), upgrade(1, AUTH), shake(1),
    ask(0, AUTH + 2, 'POST', '/admin/announce', { text: 'hello' }),
    ask(0, AUTH + 2, 'POST', '/admin/reload', {}), ask(0, AUTH + 2, 'POST', '/admin/record', {}),
    ask(0, AUTH, 'POST', '/admin/reload', {}), ask(0, AUTH + 2, 'GET', '/admin/log?since=1'),
    ask(0, AUTH + 2, 'POST', '/admin/drain', { grace_ms: 100 }), ask(0, 0, 'GET', '/readyz'),
    advance(17, 20, 22)),
  guest: rest(0, open(1), ask(0, 0, 'POST', '/auth/guest', { username: 'Ada' }),
    ask(0, AUTH + SAID_TOKEN, 'POST', '/auth/refresh', ''), bytes(op.clock, le(7000, 2)),
    ask(0, AUTH + SAID_TOKEN, 'POST', '/auth/refresh', '')),
  guest_no_clock: rest(NO_CLOCK + NO_SECRET, open(1), ask(0, 0, 'POST', '/auth/guest', {}),
    ask(0, AUTH + SAID_TOKEN, 'POST', '/auth/refresh', ''), ask(0, AUTH, 'GET', '/api/presence'),
    bytes(op.clock, le(3, 2)), ask(0, AUTH + SAID_TOKEN, 'POST', '/auth/refresh', '')),
  guest_off: rest(0, config({ guest_login: 'off' }), open(1), ask(0, 0, 'POST', '/auth/guest', {})),
  bodies_bad: rest(0, open(1, 1, 1), ask(0, 0, 'POST', '/lobbies', '[1]'),
    ask(0, 0, 'POST', '/lobbies', '{"code":5}'), ask(0, 0, 'POST', '/lobbies', '{"max_players":0}'),
    ask(0, 0, 'POST', '/lobbies', '{"code":"a b"}'), ask(0, 0, 'POST', '/lobbies', ''),
    ask(1, 0, 'POST', '/lobbies', 'x'.repeat(2000)),
    send(2, head('POST /lobbies HTTP/1.1', 'Host: a', 'Content-Length: 5000'))),
  chunked_body: rest(0, open(1, 1), ask(0, CHUNKED, 'POST', '/lobbies', { code: 'chunk' }),
    send(1, chunked(`8${CRLF}{"code":`)), advance(20), send(1,
    `3${CRLF}"x"${CRLF}1${CRLF}}${CRLF}`),
    send(1, `0${CRLF}${CRLF}`)),
  pipeline: rest(0, open(1), send(0, get('/healthz').repeat(40))),
  slow_head: rest(0, open(1, 2, 3), send(0, 'GET / HTTP/1.1\r\nHos'), advance(20),
    send(0, 't: a\r\n\r\n'), send(1,
    'POST /lobbies HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{'),
    send(2, 'GET'), advance(23, 24, 25)),
  big_head: rest(0, open(1, 2, 3), ...[0, 1, 2].map((link) => send(link,
    `GET / HTTP/1.1\r\nX: ${'y'.repeat(1500)}`)), advance(22, 22, 23)),
  big_body: rest(SMALL, open(1, 1, 1), ...[0, 1, 2].map((link) => send(link,
    head('POST /lobbies HTTP/1.1', 'Host: a', 'Content-Length: 4000') + ' '.repeat(1500))),
  advance(21, 22, 23), send(0, ' '.repeat(2500))),
  errors: rest(0, ...Object.values(httpSeeds).slice(0, 12).map((text, i) =>
    bytes(open(i), send(i, text), bytes(op.eof, i)))),
  errors_2: rest(0, ...['bare_lf', 'host_twice', 'length_and_chunked', 'chunked_gzip', 'version_2',
    'target_longer', 'head_large', 'expect_other', 'coded', 'chunk_control', 'method_long',
    'chunked_big_extension'].map((name, i) => bytes(open(i), send(i, httpSeeds[name]),
    advance(22)))),
  expect: rest(0, open(1), send(0, head('POST /lobbies HTTP/1.1', 'Host: a', 'Expect: 100-continue',
    'Content-Length: 2')), send(0, '{}')),
  request_ids: rest(HOOKS, open(1), send(0, get('/healthz', 'X-Request-Id: abc-1')
    + get('/healthz', 'X-Request-Id: !') + get('/x?token=abcdefghijklmnopqrst',
    'Origin: http://o'))),
  forwarded: rest(PROXY + HOOKS, open(6, 6), send(0, ['1.2.3.4', '1.2.3.4:80', '[2001:db8::1]:80',
    '2001:db8:0:0:1::1', 'unknown', '[1.2.3.4]', 'fe80::1%3', '10.1.1.1, 10.2.2.2',
    '::ffff:9.8.7.6',
    '5.5.5.5,, ',
    'fe80::1%0', '1.2.3.4:99999', '[::1', '1.2.3.4, x', '2001:0:0:1::, ::1']
    .map((list) => get('/metrics', `X-Forwarded-For: ${list}`)).join('')),
  send(1, get('/metrics', 'X-Forwarded-For: 1.1.1.1', 'X-Forwarded-For: 10.0.0.9',
    'X-Forwarded-For: 10.0.0.8'))),
  metrics_allowed: rest(PROXY, open(1, 2, 0x11), ask(0, 0, 'GET', '/metrics'),
    ask(1, 0, 'GET', '/api/status'), game(6, 0, 20), game(4, 0, 3), game(5, 0, 3), game(5, 0, 3)),
  lobby: rest(MOVES, ...lobby, joined(1), at(1, 1), advance(16, 16), at(1, 2), advance(16, 20, 20),
    ask(0, 0, 'GET', '/lobbies'), ask(0, 0, 'GET', `/lobbies/${CODE}`),
    ask(0, 0, 'POST', `/lobbies/${CODE}/leave`, `{"player_id":1,"udp_token":"${UDP_TOKEN}"}`),
    ask(0, 0, 'DELETE', `/lobbies/${CODE}`)),
  lobby_two: rest(HOOKS, ...lobby, joined(1), udp(1, `{"type":"ping","t":1,"cookie":"${COOKIE}"}`),
    ask(0, 0, 'POST', `/lobbies/${CODE}/join`, { player_name: 'Bob' }),
    bin(2, 1, 1, bytes(3, CODE)), bin(2, 4, 2, bytes(le(5, 4), 'cookie!!')), bin(2, 2, 3, state(3)),
    at(1, 1), advance(16), at(1, 2), bin(2, 2, 4, state(3)), advance(16, 16),
    udp(1, { type: 'weapon_switch', lobby_code: CODE, player_id: 1, weapon_id: 'bow' }),
    advance(16, 17, 20, 20), bin(2, 2, 3, state(3)), bin(2, 2, 5, state(1e9)), advance(17),
    at(1, 1e6), advance(17), udp(1, { type: 'leave', lobby_code: CODE, player_id: 1 }),
    bin(2, 3, 9), advance(17, 20)),
  lobby_same_ip: rest(DEV, open(0), ask(0, 0, 'POST', '/lobbies/TEST/join', { player_name: 'A' }),
    udp(0, { type: 'join', lobby_code: 'test', player_id: 1, batch: true }), advance(16, 16, 16),
    at(0, 0.1234567), advance(16, 20, 20), udp(0x08, { type: 'join', lobby_code: 'TEST',
      player_id: 1, udp_token: UDP_TOKEN }), advance(16, 24)),
  lobby_dummy_binary: rest(DEV, open(0), ask(0, 0, 'POST', '/lobbies/TEST/join',
    { player_name: 'A' }), bin(0, 1, 1, bytes(4, 'TEST')), advance(16, 16, 20), bin(0, 2, 2,
    state(1)),
  advance(16, 16)),
  lobby_full: rest(SMALL, open(1), ask(0, 0, 'POST', '/lobbies', { max_players: 2 }),
    ...['a', 'b', 'c'].map((name) => ask(0, 0, 'POST', `/lobbies/${CODE}/join`,
    { player_name: name })),
    ask(0, 0, 'POST', '/lobbies', {}), ask(0, 0, 'POST', `/lobbies/${CODE}/join`,
    { player_name: 'd' }),
    ask(0, 0, 'POST', `/lobbies/${CODE}/join`, { player_name: 'e' }),
    ask(0, 0, 'POST', '/lobbies', {}), ask(0, 0, 'DELETE', `/lobbies/${CODE}`),
    ask(0, AUTH + 2, 'DELETE', `/lobbies/${CODE}?force=true`),
    ask(0, 0, 'DELETE', `/lobbies/${CODE}?udp_token=${UDP_TOKEN}`)),
  lobby_errors: rest(0, ...lobby, udp(1, { type: 'join', lobby_code: 'none', player_id: 1 }),
    udp(1, { type: 'join', lobby_code: CODE, player_id: 1 }),
    udp(1, { type: 'join', lobby_code: CODE, player_id: 9, udp_token: UDP_TOKEN }),
    udp(1, { type: 'join', lobby_code: CODE, player_id: 1, udp_token: '0'.repeat(32) }), joined(1),
    udp(1, { type: 'leave', lobby_code: 'none', player_id: 1 }), at(2, 1), udp(1, 'noise'), udp(1,
    ''),
    udp(1, 'x'.repeat(1300)), bin(1, 1, 1, bytes(4, 'none')), bin(1, 2, 1, 'short'), bin(3, 4, 1),
    udp(1, { type: 'position_update', player_id: 2, ...where }),
    ask(0, 0, 'POST', `/lobbies/${CODE}/join`, { player_name: '' }),
    ask(0, 0, 'POST', `/lobbies/${CODE}/leave`, `{"player_id":1,"udp_token":"x"}`),
    ask(0, 0, 'POST', '/lobbies', { code: 'abc' }), ask(0, 0, 'GET', '/lobbies/%zz'),
    ask(0, 0, 'GET', '/lobbies/none')),
  lobby_delete: rest(0, ...lobby, open(2), ask(1, 0, 'DELETE', `/lobbies/${CODE}`),
    ask(1, 0, 'DELETE', `/lobbies/${CODE}`, { udp_token: UDP_TOKEN }),
    ask(1, 0, 'DELETE', `/lobbies/${CODE}`, { udp_token: 5 }),
    ask(1, 0, 'DELETE', `/lobbies/${CODE}`, '[]'), ask(1, AUTH + 2, 'DELETE', `/lobbies/${CODE}`),
    ask(1, AUTH + 2, 'DELETE', `/lobbies/${CODE}?force=true`), ask(1, 0, 'DELETE',
    '/lobbies/none')),
  lobby_permanent: rest(DEV, open(0), ask(0, AUTH + 2, 'DELETE', '/lobbies/TEST?force=true'),
    ask(0, 0, 'POST', '/lobbies', '{"scene":5}'), ask(0, 0, 'POST', '/lobbies', '{"is_public":5}'),
    ask(0, 0, 'POST', '/lobbies/TEST/leave', `{"player_id":9,"udp_token":"${'0'.repeat(32)}"}`),
    ask(0, 0, 'POST', '/lobbies/none/leave', `{"player_id":9,"udp_token":"${'0'.repeat(32)}"}`),
    ask(0, AUTH + 2, 'POST', '/admin/announce', '{"text":5}'),
    ask(0, AUTH + 2, 'POST', '/admin/announce', '{}'), ask(0, AUTH + 2, 'POST', '/admin/drain',
    '[]'),
    ask(0, AUTH + 2, 'POST', '/admin/record', {}), ask(0, AUTH + 2, 'POST', '/admin/reload', '[]'),
    ask(0, AUTH + 3, 'POST', '/auth/refresh'), ask(0, AUTH, 'POST', '/api/rooms',
      { gamemode: 'g', mapName: 5 }), ask(0, AUTH, 'POST', '/api/rooms', { gamemode: 'g',
      version: 5 })),
  lobby_list: rest(0, open(1), ...['a', 'b', 'c'].map((code) =>
    ask(0, 0, 'POST', '/lobbies', { code, scene: 's' })), ask(0, 0, 'GET', '/lobbies?limit=1'),
  ask(0, 0, 'GET', `/lobbies?limit=1&cursor=${CURSOR}`), ask(0, 0, 'GET',
    '/lobbies?scene=s&open=true'),
  ask(0, 0, 'GET', '/lobbies?limit=x'), ask(0, 0, 'GET', '/lobbies?cursor=-1'), advance(26)),
  discover: rest(DEV, udp(0, { type: 'discover', nonce: 'n', pad: 'p'.repeat(200) }),
    udp(6, { type: 'discover', nonce: 5, pad: 'p'.repeat(200) }), udp(1, datagramSeeds.discover),
    udp(7, { type: 'discover', nonce: 'short' })),
  stun: rest(SLOW, bytes(op.stun, 1, 0), bytes(op.stun, 4, 0), bytes(op.stun, 3, short(
    attribute(0x7001, Buffer.from('abcd')).toString('latin1')))),
  stun_flood: rest(SLOW, ...Array(14).fill(bytes(op.stun, 1, 0)), ...Array(70).fill(udp(2, '{}')),
    open(1), ...Array(60).fill(ask(0, 0, 'GET', '/healthz')), ...Array(14).fill(open(2))),
  room: rest(HOOKS, ...twoInRoom, say(0, 'chat', { text: 'hi' }), say(1, 'player_state', where),
    say(1, 'player_snapshot', { payload: { a: 1 } }),
    say(0, 'rpc_call', { targetPeer: 0, method: 'm', args: [1] }),
    say(0, 'rpc_call', { targetPeer: 2, method: 'm', args: [1] }), say(0, 'custom_type', { x: 1 }),
    say(0, 'kick', { peerId: 2 }), say(0, 'leave_room')),
  room_pieces: rest(0, bytes(op.piece, 1), ...twoInRoom, say(0, 'chat', { text: 'é😀' }),
    bytes(op.piece, 3), bytes(op.frame, 0, 0x01, short('{"type":"chat","da')),
    bytes(op.frame, 0, 0x89, short('ping')), bytes(op.frame, 0, 0x80, short('ta":{"text":"x"}}'))),
  lobby_pieces: rest(0, bytes(op.piece, 7), ...lobby, ask(0, CHUNKED, 'POST', '/lobbies', {})),
  room_http: rest(0, ...twoInRoom, ask(2, 0, 'GET', '/api/rooms'), ask(2, 0, 'GET',
    `/api/rooms/${ROOM}`),
    ask(2, 0, 'GET', '/api/rooms?gamemode=ctf&limit=1'), ask(2, AUTH, 'GET',
    '/api/presence?limit=1'),
    ask(2, AUTH, 'GET', `/api/presence?cursor=${CURSOR}`), ask(2, AUTH + 1, 'DELETE',
    `/api/rooms/${ROOM}`),
    ask(2, AUTH, 'POST', '/api/rooms', { gamemode: 'x' }), ask(2, AUTH + 1, 'POST', '/api/rooms',
    {}),
    ask(2, AUTH, 'DELETE', `/api/rooms/${ROOM}`), ask(2, 0, 'GET', '/api/rooms?dungeon_id=x')),
  room_resume: rest(MOVES, ...twoInRoom, bytes(op.closed, 1), open(4), upgrade(1, AUTH + 1),
    shake(1),
    say(1, 'join_room', { roomId: ROOM, version: '1', name: 'x', resumeToken: RESUME }), open(5),
    upgrade(3, AUTH + 1), shake(3),
    say(3, 'join_room', { roomId: ROOM, version: '1', name: 'x', resumeToken: RESUME }),
    bytes(op.closed, 0), advance(24, 25, 26)),
  room_ban: rest(SMALL, ...twoInRoom, say(0, 'ban', { peerId: 2 }),
    say(1, 'join_room', { roomId: ROOM, version: '1', name: 'x' }), say(0, 'ban',
    { ip: '203.0.113.2' }),
    say(0, 'ban', { ip: 'x' }), say(0, 'kick', { peerId: 1 }), say(0, 'ban', { ip: '1.2.3.4' }),
    say(0, 'ban', { ip: '1.2.3.5' })),
  room_quick: rest(0, open(1, 2, 3), upgrade(0, AUTH), upgrade(1, AUTH + 1), upgrade(2, AUTH + 2),
    shake(0), shake(1), say(0, 'quick_join', { gamemode: 'g', version: '1', name: 'a',
    maxPlayers: 2 }),
    say(1, 'quick_join', { gamemode: 'g', version: '1', name: 'b' }), shake(2),
    say(2, 'quick_join', { gamemode: 'g', mapName: 'm', version: '2', name: 'c' }),
    say(1, 'quick_join', { gamemode: 'g', version: '1', name: 'b' })),
  room_errors: rest(HOOKS, open(1), upgrade(0), say(0, 'chat', { text: 'x' }), say(0,
    'create_room'),
    say(0, 'nothing'), bytes(op.text, 0, long('{')), bytes(op.text, 0, long('{"type":1}')),
    say(0, 'handshake', { version: '', name: 'x' }), say(0, 'handshake',
      { version: '1', name: 'x', token: 'a.b.c' }), say(0, 'ping'), say(0, 'join_room',
      { roomId: 5 })),
  room_behind: rest(0, ...twoInRoom, bytes(op.stall, 1), ...Array.from({ length: 40 }, (_, i) =>
    say(0, i & 1 ? 'player_state' : 'rpc_call', i & 1 ? where
      : { targetPeer: 0, method: 'm', args: ['x'.repeat(300)] })), bytes(op.take, 1, 3, le(2000,
      2)),
  bytes(op.sent, 1, le(500, 2)), bytes(op.sent, 1, le(1500, 2)), bytes(op.stall, 1), advance(25)),
  room_messages_large: rest(0, ...twoInRoom, say(0, 'player_snapshot',
    { payload: 'x'.repeat(1500) }),
    say(0, 'rpc_call', { targetPeer: 0, method: 'm', args: 'y'.repeat(3000) }),
    bytes(op.text, 0, long('z'.repeat(5000)))),
  room_fragments: rest(0, ...twoInRoom, bytes(op.frame, 0, 0x01, short('{"type":"chat","da')),
    bytes(op.frame, 0, 0x89, short('ping')), bytes(op.frame, 0, 0x80, short('ta":{"text":"x"}}')),
    bytes(op.frame, 0, 0x01, short('{')), advance(23, 25), bytes(op.frame, 0, 0x8a, short(''))),
  socket_close: rest(0, open(1, 2, 3, 4), upgrade(0), upgrade(1, AUTH), upgrade(2), upgrade(3),
    bytes(op.frame, 0, 0x88, short('\x0f\xa0')), bytes(op.frame, 1, 0x82, short('b')),
    bytes(op.frame, 2, 0x81, bytes(1, 0xff)), bytes(op.frame, 3, 0x88, bytes(2, 3, 0xe8)),
    advance(22, 22)),
  socket_silent: rest(0, open(1), upgrade(0, AUTH), shake(0), advance(25), advance(25), advance(25,
    26)),
  socket_token: rest(0, open(1), upgrade(0), say(0, 'handshake',
    { version: '1', name: 'x', token: TOKEN }), ask(0, 0, 'POST', '/auth/guest', {}), open(2),
  ask(1, 0, 'POST', '/auth/guest', {}), open(3), upgrade(2),
  say(2, 'handshake', { version: '1', name: 'x', token: TOKEN })),
  socket_escaped: rest(HOOKS, ...twoInRoom, bytes(op.text, 0, long('{"ty\\u0070e":"chat",'
    + '"data":{"te\\u0078t":"\\u00e9"}}')), bytes(op.text, 0,
    long('{"\\ud83d\\ude00\\u00e9":1,"type":"a"}'))),
  socket_bad: rest(0, open(1, 2, 3), send(0, get('/ws', 'Upgrade: websocket',
    'Connection: Upgrade')),
    send(1, get('/ws', 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 8',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==')), send(2, get('/ws?token=x',
      'Upgrade: websocket',
      'Connection: Upgrade', 'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='))),
  socket_flood: rest(SLOW, open(1), upgrade(0, AUTH), shake(0),
    ...Array.from({ length: 90 }, () => say(0, 'ping'))),
  drain: rest(HOOKS, ...twoInRoom, bytes(op.drain, 5), open(4), ask(2, 0, 'POST', '/lobbies', {}),
    say(0, 'chat', { text: 'x' }), advance(17, 18, 20, 22)),
  hooks_later: rest(HOOKS, bytes(op.hooks, 2), open(1, 2), send(0, get('/api/presence',
    'Authorization: Bearer opaque')), bytes(op.finish, 1), send(0, get('/api/presence',
    'Authorization: Bearer opaque')), advance(24), upgrade(1), say(1, 'handshake',
    { version: '1', name: 'x', token: 'ticket' }), bytes(op.finish, 0), bytes(op.finish, 1)),
  hooks_later_refused: rest(HOOKS, bytes(op.hooks, 2), open(1, 2), upgrade(1), say(1, 'handshake',
    { version: '1', name: 'x', token: 'ticket' }), bytes(op.finish, 16), bytes(op.finish, 8),
  send(0, get('/ws', 'Upgrade: websocket', 'Connection: Upgrade', 'Authorization: Bearer opaque',
    'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==')), bytes(op.finish,
    4),
  send(0, get('/')), advance(24)),
  hooks_no: rest(HOOKS, bytes(op.hooks, 4 + 8 + 16 + 32 + 64), ...lobby, ...twoInRoom,
    send(0, get('/api/presence', 'Authorization: Bearer opaque'))),
  hooks_act: rest(HOOKS, bytes(op.hooks, 128 + 1), ...lobby, joined(1), ...twoInRoom,
    say(0, 'custom_type', [1]), send(0, get('/api/presence', 'Authorization: Bearer opaque'))),
  hooks_position: rest(HOOKS, ...lobby, joined(1), bytes(op.hooks, 16), at(1, 1), advance(17, 20)),
  game: rest(HOOKS, ...lobby, joined(1), game(2, 0, 0), ...twoInRoom, game(2, 0, 0), game(2, 0, 2),
    game(2, 0, 9), game(2, 64, 0), game(2, 0, 0, '{'), game(3, 0, 0), game(3, 1, 0, '[1]'), game(3,
    3, 0),
    game(10, 0, 1), game(1, 0, 2), game(1, 0, 9), game(0, 0, 1), game(8, 0, 1), game(7, 0, 3)),
  reconfigure: rest(HOOKS, ...lobby, config({ tick_hz: 5, log_level: 'warn', lobbies: 7,
    name: 'x' }),
    config({ player_timeout_ms: 100, requests_per_s: 1, jwt_secret: 'other',
    metrics_allow: ['::1'] }),
    advance(20), config({ bad: 1 }), ...Array(5).fill(ask(0, 0, 'GET', '/healthz'))),
  log_unsafe: rest(HOOKS, game(5, 0, 1, 'a\u0001\u007f\u0085\u2028\u202e\u2066\u20ac"=\\ é€'),
    game(5, 0, 2, 'plain'), game(5, 0, 3, 'x'.repeat(250)), ...Array(25).fill(game(5, 0, 4,
    'again')),
    advance(20, 20), game(5, 0, 5, 'again')),
  idle: rest(0, open(1, 2), ask(0, 0, 'GET', '/healthz'), bytes(op.stall, 1),
    ask(1, 0, 'GET', '/metrics'), advance(25, 25, 26, 27)),
  stalled_metrics: rest(SMALL, open(1, 2), bytes(op.stall, 0), ...Array(12).fill(
    ask(0, AUTH + 2, 'GET', '/metrics')), bytes(op.take, 0, 2, le(700, 2)),
  bytes(op.sent, 0, le(700, 2)), bytes(op.take, 0, 129, le(1, 2)), bytes(op.stall, 0),
  bytes(op.eof, 0)),
  stalled_pipeline: rest(0, open(1), bytes(op.stall, 0), ...Array(4).fill(send(0,
    get('/metrics').repeat(3))),
    send(0, get('/healthz')), bytes(op.take, 0, 3, le(60000, 2)), bytes(op.sent, 0, le(3000, 2)),
    bytes(op.sent, 0, le(60000, 2)), bytes(op.stall, 0), send(0, get('/healthz'))),
  crowd: rest(SMALL, ...[1, 2, 3, 4, 5, 6, 7, 0x11].map((peer) => open(peer)),
    ...[0, 1, 2, 3, 4, 5].map((link) => ask(link, CLOSE, 'GET', '/healthz')), advance(22)),
  no_pump: rest(0, bytes(op.open | 128, 1), bytes(op.ask | 128, 0, 0, 0, short('/healthz'), le(0,
    2)),
    bytes(op.ask | 128, 0, 0, 0, short('/metrics'), le(0, 2)), bytes(op.eof | 128, 0),
    bytes(op.pump)),
  clock_steps: rest(NO_CLOCK, ...lobby, ...twoInRoom, bytes(op.clock, le(5, 2)), bytes(op.clock,
    le(60000, 2)),
    bytes(op.clock, le(0, 2)), ask(0, 0, 'GET', '/lobbies')),
};

// -- dictionaries --

const table = (pattern) => [...new Set([...core.matchAll(pattern)].map((match) => match[1]))];
const quoted = (words) => words.map((word) => `"${word}"`);
const keys = table(/\b(?:CONFIG_)?(?:NUMBER|LIMIT|OTHER)\((\w+), /g)
  .filter((word) => /^[a-z]/.test(word));
const fields = table(/\{"([a-z0-9-]+)", HTTP_/g);
const paths = table(/PATH(?:_WITH)?\("([^"]+)"/g);
const messageTypes = table(/^ {4}\{"([a-z_]+)",\s*(?:NEEDS|$)/gm);
const packetKeys = core.match(/packet_keys\[KEYS\] = \{([^}]+)\}/)[1].match(/\w+(?=")/g);
const packetTypes = table(/\[PACKET_\w+\] = \{"(\w+)"/g);
const authMembers = core.match(/auth_members\[\] = \{([^}]+)\}/)[1].match(/\w+(?=")/g);

const jsonWords = ['{', '}', '[', ']', '":', '",', 'true', 'false', 'null', '\\u', '\\ud83d\\ude00',
  'e-', '0.', '1e', '-', '\\"', '9007199254740993', '2.2250738585072014e-308'];
const dictionaries = {
  json: [...jsonWords, '"type"', '"data"', '"a"', '""', '\u00e9', '\u20ac', '\u{1f600}'],
  http: [...METHODS, ' HTTP/1.1\r\n', ' HTTP/1.0\r\n', '\r\n', '\r\n\r\n', 'http://', '?token=',
    '%41',
    ...fields.map((field) => `${field}: `), 'chunked', 'close', 'keep-alive', 'upgrade', 'identity',
    'mpserver.v1', '100-continue', '0\r\n\r\n', '5\r\n'],
  websocket: ['\x81', '\x01', '\x80', '\x00', '\x88', '\x89', '\x8a', '\xfe', '\xff', '\x81\x80',
    '\x03\xe8', '\x0f\xa0', '\xf0\x9f\x98\x80'],
  datagrams: [...jsonWords, ...quoted(packetKeys), ...quoted(packetTypes), '\xb1\x01', '\xb1\x02',
    '\xb1\x04', '!\x12\xa4B', '\x00\x01\x00\x00!\x12\xa4B', '"x"', '"y"', '"z"', '\x80(\x00\x04'],
  jwt: [...jsonWords, ...quoted(authMembers), '"HS256"', '"alg"', '"crit"', '"mpserver"', '"fuzz"',
    '"game"',
    '"player"', '"admin"', '"server"', '1771070400', '.'],
  config: [...jsonWords, ...quoted(keys), '"tiny"', '"small"', '"large"', '"auto"', '"on"', '"off"',
    '"debug"', '10.0.0.0/8', '::', '/64', 'fe80::'],
  core: [...paths, ...quoted(messageTypes), ...quoted(packetTypes), ...quoted(packetKeys),
    ...table(/"([a-zA-Z]{3,}[A-Z][a-zA-Z]*)"/g).slice(0, 24).map((word) => `"${word}":`),
    UDP_TOKEN, ROOM, RESUME, TOKEN, CODE, COOKIE, PLAYER, CURSOR, '{"type":"', '","data":{'],
};

const sets = { json: jsonSeeds, http: httpSeeds, websocket: websocketSeeds,
  datagrams: datagramSeeds,
  jwt: jwtSeeds, config: configSeeds, core: coreSeeds };
const escaped = (word) => [...Buffer.from(word, /[^\x00-\xff]/.test(word) ? 'utf8' : 'latin1')]
  .map((b) => (b === 0x22 || b === 0x5c ? `\\${String.fromCharCode(b)}`
    : b >= 0x20 && b < 0x7f ? String.fromCharCode(b)
      : `\\x${b.toString(16).padStart(2, '0')}`)).join('');

for (const [target, seeds] of Object.entries(sets)) {
  const dir = join(corpus, target);
  mkdirSync(dir, { recursive: true });
  readdirSync(dir).filter((name) => name.startsWith('seed-')).forEach((name) => rmSync(join(dir,
    name)));
  for (const [name, content] of Object.entries(seeds)) writeFileSync(join(dir, `seed-${name}`),
    content);
  writeFileSync(join(corpus, `${target}.dict`), [...new Set(dictionaries[target])]
    .map((word) => `"${escaped(word)}"\n`).join(''));
}
