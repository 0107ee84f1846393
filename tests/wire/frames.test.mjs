// Frames as RFC 6455 has them: every stream is answered alike however it is cut into packets, and
// whoever breaks the rules hears which one by the close code.
import assert from 'node:assert/strict';
import { Conn, metrics, shared, sleep, start, until, within } from './server.mjs';
import { BINARY_FRAME, CLOSE, Client, PING, PONG, Raw, TEXT, close, closing, enter, frame, message,
  minted, parseFrame, readClosing, test, text } from './socket.mjs';

const server = shared();
const CONTINUATION = 0;
const BYE = close(1000);
const HANDSHAKE = { type: 'handshake', data: { version: '1', name: 'Ünï 😀' } };
const SHAKEN = '{"type":"handshake_accepted",' +
  '"data":{"peer_id":0,"user_id":null,"username":"Ünï 😀"}}';
const THEN = '1'.repeat(13); // for every time of a pong
const MESSAGE_MAX = 65536;

/* A text message in as many fragments as `sizes`, and what is left over. */
function fragments(value, ...sizes) {
  const bytes = Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
  const frames = [];
  let at = 0;
  for (const size of sizes) {
    frames.push(frame(at ? CONTINUATION : TEXT, bytes.subarray(at, at + size), { fin: false }));
    at += size;
  }
  frames.push(frame(CONTINUATION, bytes.subarray(at)));
  return frames;
}

/* `pieces`, each in a segment of its own; then all that the server says until it ends. */
async function answered(s, pieces) {
  const raw = await Raw.open(s);
  for (const piece of pieces) {
    await raw.conn.write(piece);
    if (piece !== pieces.at(-1)) await sleep(1);
  }
  while (!raw.conn.ended) await within(raw.conn.more(), 'the end');
  raw.drop();
  return raw.conn.bytes.toString('latin1').replace(/"ts":\d{13}/g, `"ts":${THEN}`);
}

/* The frames in `bytes` as [opcode, text], a close frame as [8, code, reason]. */
function read(bytes) {
  const frames = [];
  for (let rest = Buffer.from(bytes, 'latin1'); rest.length > 0;) {
    const found = parseFrame(rest);
    assert.ok(found, 'a cut frame');
    const { code, reason } = found.opcode === CLOSE ? readClosing(found.payload) : {};
    frames.push(found.opcode === CLOSE ? [CLOSE, code, reason]
      : [found.opcode, found.payload.toString()]);
    rest = rest.subarray(found.end);
  }
  return frames;
}

const pong = (payload) => [PONG, payload];
const says = (payload) => [TEXT, payload];
const failed = (reason) => [TEXT, new RegExp(`^\\{"type":"error","data":\\{"reason":"${reason}",` +
  '"message":"[^"]+\\."')];
const ends = (code, reason = '') => [CLOSE, code, reason];
const any = (code) => [CLOSE, code, /^[ -~]{0,60}$/]; // a code with whatever reason

function matches(got, expected) {
  assert.equal(got.length, expected.length, JSON.stringify(got));
  expected.forEach((row, i) => row.forEach((value, j) => {
    if (value instanceof RegExp) assert.match(got[i][j], value);
    else assert.equal(got[i][j], value, `frame ${i} of ${JSON.stringify(got)}`);
  }));
}

/* What is sent, what comes back. All of them end the connection. */
const STREAMS = {
  'a ping': [[frame(PING, 'abc'), BYE], [pong('abc'), ends(1000)]],
  'empty pings and pongs': [
    [frame(PING), frame(PONG), frame(PONG, 'unasked'), frame(PING, ''), BYE],
    [pong(''), pong(''), ends(1000)],
  ],
  'a text': [[text(HANDSHAKE), BYE], [says(SHAKEN), ends(1000)]],
  'a text in fragments, cut inside characters': [
    [...fragments(HANDSHAKE, 51, 3, 0, 4, 1), BYE], [says(SHAKEN), ends(1000)],
  ],
  'pings between fragments': [
    [fragments(HANDSHAKE, 20, 20)[0], frame(PING, '1'), fragments(HANDSHAKE, 20, 20)[1],
      frame(PING, '2'), frame(PONG, '3'), fragments(HANDSHAKE, 20, 20)[2], BYE],
    [pong('1'), pong('2'), says(SHAKEN), ends(1000)],
  ],
  'several messages': [
    [text(HANDSHAKE), message('ping'), text('{"type":"nope"}'), text('[]'), message('ping'), BYE],
    [says(SHAKEN), says(`{"type":"pong","data":{"ts":${THEN}}}`), failed('unknown_type'),
      failed('bad_json'), says(`{"type":"pong","data":{"ts":${THEN}}}`), ends(1000)],
  ],
  'a text of 16-bit length': [
    [text(`{"type":"x","data":{"pad":"${'é'.repeat(60)}"}}`), BYE],
    [failed('unknown_type'), ends(1000)],
  ],
  'a close in the middle of a text': [
    [fragments(HANDSHAKE, 20)[0], close(3000, 'enough'), fragments(HANDSHAKE, 20)[1]],
    [ends(3000)],
  ],
  'a text that was never begun': [[frame(CONTINUATION, 'x')], [any(1002)]],
  'a text begun twice': [[frame(TEXT, '{', { fin: false }), text('{}')], [any(1002)]],
  'no mask': [[frame(PING, 'a'), frame(PING, 'b', { mask: null })], [pong('a'), any(1002)]],
  'a reserved bit': [[text(HANDSHAKE), text('{}', { rsv: 4 })], [says(SHAKEN), any(1002)]],
  'bad UTF-8 in the second fragment': [
    [frame(TEXT, '{"type":"Ä', { fin: false }),
      frame(CONTINUATION, Buffer.from([0x22, 0xff, 0x7d]))],
    [any(1007)],
  ],
  'UTF-8 cut by the end': [[text(HANDSHAKE), frame(TEXT, Buffer.from([0x22, 0xf0, 0x9f, 0x98]))],
    [says(SHAKEN), any(1007)]],
  'a binary message': [[frame(PING, 'a'), frame(BINARY_FRAME, 'abc'), frame(PING, 'b')],
    [pong('a'), any(1003)]],
  'a long ping': [[frame(PING, 'x'.repeat(126))], [any(1002)]],
  'too large a message': [[frame(PING), frame(TEXT, 'x'.repeat(20), { length: MESSAGE_MAX + 1 })],
    [pong(''), failed('message_too_large'), any(1009)]],
};

for (const [title, [frames, expected]] of Object.entries(STREAMS)) {
  test(`frames: ${title}, cut at every byte`, async () => {
    const s = await server();
    const bytes = Buffer.concat(frames);
    const whole = await answered(s, [bytes]);
    matches(read(whole), expected);
    const cuts = Array.from({ length: bytes.length - 1 }, (_, i) => i + 1);
    for (let at = 0; at < cuts.length; at += 16) {
      await Promise.all(cuts.slice(at, at + 16).map(async (cut) => {
        const got = await answered(s, [bytes.subarray(0, cut), bytes.subarray(cut)]);
        assert.equal(got, whole, `cut at ${cut}`);
      }));
    }
    assert.equal(await answered(s, [...bytes].map((byte) => Buffer.from([byte]))), whole);
  });
}

/* Many streams at once, each on a connection of its own: [title, frames, expected]. */
async function all(rows) {
  const s = await server();
  for (let at = 0; at < rows.length; at += 16) {
    await Promise.all(rows.slice(at, at + 16).map(async ([title, frames, expected]) => {
      const got = read(await answered(s, [Buffer.concat([frame(PING, title), ...frames])]));
      matches(got, [pong(title), ...expected]);
    }));
  }
}

test('frames: a close is answered with its code and no reason', async () => {
  const codes = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999,
    4000, 4001, 4999];
  const rows = codes.flatMap((code) => [
    [`${code}`, [close(code)], [ends(code)]],
    [`${code} why`, [close(code, 'why so: 😀')], [ends(code)]],
    [`${code} at length`, [close(code, 'x'.repeat(123)), frame(PING, 'ignored')], [ends(code)]],
  ]);
  rows.push(['none', [frame(CLOSE)], [[CLOSE, undefined, undefined]]]);
  await all(rows);
});

test('frames: a code that may not be sent is answered with 1002', async () => {
  const codes = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 9999, 65535];
  await all([...codes.map((code) => [`${code}`, [close(code, 'x')], [any(1002)]]),
    ['one byte', [frame(CLOSE, '\x03')], [any(1002)]]]);
});

test('frames: nothing is answered after a close', async () => {
  await all([['texts', [BYE, text(HANDSHAKE), message('ping'), BYE], [ends(1000)]],
    ['nonsense', [BYE, Buffer.from('ffffffffffff', 'hex')], [ends(1000)]],
    ['much', [BYE, Buffer.alloc(300000, 0x55)], [ends(1000)]],
    ['after a fault', [frame(3), message('ping'), BYE], [any(1002)]]]);
});

test('frames: what no client may send is closed with 1002', async () => {
  const rows = [];
  for (const opcode of [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]) {
    rows.push([`opcode ${opcode}`, [frame(opcode, 'x')], [any(1002)]]);
  }
  for (const rsv of [1, 2, 3, 4, 7]) {
    for (const opcode of [TEXT, PING, CLOSE]) {
      rows.push([`bits ${rsv} ${opcode}`, [frame(opcode, closing(1000), { rsv })], [any(1002)]]);
    }
    rows.push([`bits ${rsv} later`, [frame(TEXT, '{', { fin: false }),
      frame(CONTINUATION, '}', { rsv })], [any(1002)]]);
  }
  for (const opcode of [PING, PONG, CLOSE]) {
    rows.push([`cut ${opcode}`, [frame(opcode, closing(1000), { fin: false })], [any(1002)]]);
    rows.push([`long ${opcode}`, [frame(opcode, 'x'.repeat(126))], [any(1002)]]);
    rows.push([`wide ${opcode}`, [frame(opcode, closing(1000), { form: 16 })], [any(1002)]]);
    rows.push([`huge ${opcode}`, [frame(opcode, '', { length: 2 ** 40 })], [any(1002)]]);
    rows.push([`bare ${opcode}`, [frame(opcode, closing(1000), { mask: null })], [any(1002)]]);
  }
  for (const [length, form] of [[0, 16], [125, 16], [0, 64], [125, 64], [126, 64], [65535, 64]]) {
    const long = frame(TEXT, 'x'.repeat(length), { form });
    rows.push([`${length} in ${form} bits`, [long], [any(1002)]]);
  }
  rows.push(['top bit', [frame(TEXT, '', { length: 2n ** 63n, form: 64 })], [any(1002)]]);
  rows.push(['all bits', [frame(TEXT, '', { length: 2n ** 64n - 1n, form: 64 })], [any(1002)]]);
  rows.push(['unmasked', [text(HANDSHAKE, { mask: null })], [any(1002)]]);
  rows.push(['never begun', [frame(CONTINUATION, '', { fin: false })], [any(1002)]]);
  rows.push(['ended already', [...fragments(HANDSHAKE, 9), frame(CONTINUATION, 'x')],
    [says(SHAKEN), any(1002)]]);
  rows.push(['binary inside', [frame(TEXT, '{', { fin: false }), frame(BINARY_FRAME, 'x')],
    [any(1002)]]);
  await all(rows);
});

const BAD_UTF8 = {
  'a stray byte': '80', 'a stray pair': 'bfbf', 'never a byte': 'fe', 'nor this': 'ff',
  'two bytes for one': 'c080', c1: 'c1bf', 'three for two': 'e09fbf', 'four for three': 'f08fbfbf',
  surrogate: 'eda080', 'low surrogate': 'edbfbf', pair: 'eda0bdedb880', 'beyond 10ffff': 'f4908080',
  f5: 'f5808080', 'five bytes': 'f888808080', 'cut by ASCII': 'c341', 'cut by a lead': 'e282c3a9',
};

test('frames: text that is not UTF-8 is closed with 1007', async () => {
  const rows = [];
  for (const [title, hex] of Object.entries(BAD_UTF8)) {
    const bad = Buffer.concat([Buffer.from('{"a":"é'), Buffer.from(hex, 'hex'), Buffer.from('"}')]);
    rows.push([title, [frame(TEXT, bad)], [any(1007)]]);
    rows.push([`${title}, cut`, [...Array.from(bad.subarray(0, -1), (byte, i) =>
      frame(i ? CONTINUATION : TEXT, Buffer.from([byte]), { fin: false })),
    frame(CONTINUATION, '}')], [any(1007)]]);
    const why = Buffer.concat([closing(1000, 'é'), Buffer.from(hex, 'hex')]);
    rows.push([`${title}, closing`, [frame(CLOSE, why)], [any(1007)]]);
  }
  for (const cut of ['c3', 'e2', 'e282', 'f0', 'f09f', 'f09f98']) {
    rows.push([`${cut} at the end`, [frame(TEXT, Buffer.from(cut, 'hex'))], [any(1007)]]);
    rows.push([`${cut} at the end of a reason`,
      [frame(CLOSE, Buffer.concat([closing(1000), Buffer.from(cut, 'hex')]))], [any(1007)]]);
  }
  await all(rows);
});

test('frames: UTF-8 at its borders is text', async () => {
  const s = await server();
  const raw = await Raw.open(s);
  for (const name of ['\u0080\u07ff', '\u0800\ud7ff\ue000\uffff', '\u{10000}\u{10ffff}', '\ufeff',
    '\u007f']) {
    await raw.write(message('handshake', { version: '1', name }));
    assert.equal((await raw.next('handshake_accepted')).data.username, name);
  }
});

test('frames: a binary message is refused by its header', async () => {
  await all([['a header', [frame(BINARY_FRAME, '', { length: 100 })], [any(1003)]],
    ['empty', [frame(BINARY_FRAME)], [any(1003)]],
    ['a first fragment', [frame(BINARY_FRAME, '', { fin: false, length: 9 })], [any(1003)]]]);
});

test('frames: a message may have just so many bytes', async () => {
  const raw = await Raw.open(await server());
  const exact = `{"type":"${'x'.repeat(MESSAGE_MAX - 11)}"}`;
  assert.equal(exact.length, MESSAGE_MAX);
  await raw.write(text(exact));
  await raw.refused('unknown_type');
  await raw.write(...fragments(exact, 1000, 0, 64000));
  await raw.refused('unknown_type');
  await raw.write(...fragments(exact, 1), frame(PING, 'x'));
  await raw.refused('unknown_type');
  assert.equal((await raw.payload(PONG)).toString(), 'x');
  await raw.quiet();
});

test('frames: too large a message is refused by its header', async () => {
  const huge = [failed('message_too_large'), any(1009)];
  const begun = frame(TEXT, 'x'.repeat(40000), { fin: false });
  await all([
    ['one more', [frame(TEXT, '', { length: MESSAGE_MAX + 1 })], huge],
    ['much more', [frame(TEXT, '', { length: 2 ** 40 })], huge],
    ['as much as there is', [frame(TEXT, '', { length: 2n ** 63n - 1n })], huge],
    ['in a fragment', [frame(TEXT, '', { fin: false, length: MESSAGE_MAX + 1 })], huge],
    ['in two', [begun, frame(CONTINUATION, '', { length: MESSAGE_MAX - 40000 + 1 })], huge],
    ['in two, open', [begun, frame(CONTINUATION, '', { fin: false, length: 30000 })], huge],
  ]);
});

test('frames: message_bytes_max is a setting', async (t) => {
  const s = await start(t, { config: { message_bytes_max: 1024 } });
  const raw = await Raw.open(s);
  await raw.write(text(`{"type":"${'x'.repeat(1024 - 11)}"}`));
  await raw.refused('unknown_type');
  await raw.write(frame(TEXT, '', { length: 1025 }));
  await raw.refused('message_too_large');
  await raw.closed(1009);
});

test('frames: pings of every size, under every mask', async () => {
  const raw = await Raw.open(await server());
  const sent = Array.from({ length: 126 }, (_, i) => {
    const payload = Buffer.from(Array.from({ length: i }, (__, j) => (i * 7 + j * 31) & 255));
    const mask = [i, 255 - i, i * 3 & 255, i % 5 ? 0 : i];
    return { payload, bytes: frame(PING, payload, { mask }) };
  });
  await raw.write(...sent.map(({ bytes }) => bytes));
  for (const { payload } of sent) assert.deepEqual(await raw.payload(PONG), payload);
  await raw.write(BYE);
  await raw.closed(1000, '');
});

test('frames: a flood of pings is answered in full or closed, never in part', async () => {
  const raw = await Raw.open(await server());
  const COUNT = 20000;
  raw.write(...Array.from({ length: COUNT }, (_, i) => frame(PING, `${i}`)), BYE);
  for (let i = 0; i < COUNT; i++) assert.equal((await raw.payload(PONG)).toString(), `${i}`);
  await raw.closed(1000, '');
});

test('frames: a client that ends after its message is still served', async () => {
  const s = await server();
  for (const last of [[message('ping')], [text(HANDSHAKE), message('ping')],
    [...fragments({ type: 'ping' }, 3, 5)]]) {
    const raw = await Raw.open(s, { connect: { allowHalfOpen: true } });
    raw.conn.socket.end(Buffer.concat(last));
    if (last.length === 2) assert.equal((await raw.payload(TEXT)).toString(), SHAKEN);
    await raw.next('pong');
    const rest = await raw.frame();
    if (rest) assert.equal(rest.opcode, CLOSE);
    await raw.conn.end();
    raw.drop();
  }
});

/* Connections that end in the middle of something; `ending` does it. Their user goes offline. */
async function cutOff(t, ending) {
  const s = await start(t);
  const watcher = await enter(s, undefined, { skip: ['rooms_changed'] });
  const begun = [frame(PING, 'abc').subarray(0, 1), frame(PING, 'abc').subarray(0, 4),
    frame(PING, 'abc').subarray(0, 8), frame(TEXT, '{"type":', { fin: false }),
    text(HANDSHAKE).subarray(0, 40), frame(TEXT, 'x'.repeat(9000), { length: 60000 })];
  for (const bytes of begun) {
    const user = minted();
    const who = { user_id: user.user_id, username: user.username };
    const raw = await Raw.open(s, { target: `/ws?token=${user.token}`,
      connect: { allowHalfOpen: true } });
    await watcher.hears('user_online', who);
    await raw.write(frame(PING, 'here'), bytes);
    assert.equal((await raw.payload(PONG)).toString(), 'here');
    await ending(raw);
    await watcher.hears('user_offline', who);
    raw.drop();
  }
  await watcher.quiet();
}

test('frames: a FIN in the middle of a frame ends the socket', (t) => cutOff(t, async (raw) => {
  raw.conn.socket.end();
  const rest = await raw.frame();
  if (rest) assert.equal(rest.opcode, CLOSE);
  await raw.conn.end();
}));

test('frames: a RST in the middle of a frame ends the socket', (t) => cutOff(t, async (raw) => {
  raw.conn.socket.resetAndDestroy();
}));

test('frames: a client that does not end after a close is ended', async (t) => {
  const s = await start(t, { config: { linger_ms: 300 } });
  const raw = await Raw.open(s, { connect: { allowHalfOpen: true } });
  await raw.write(BYE);
  await raw.closed(1000, '');
  await until(() => metrics(s), (m) => m.get('mpserver_connections') === 1, 'one connection, ours');
});

test('frames: a message that is not completed in time is closed with 1008', async (t) => {
  const s = await start(t, { config: { message_timeout_ms: 500 } });
  const whole = await Raw.open(s);
  const begun = [frame(TEXT, '{', { fin: false }), frame(TEXT, '{"ty', { length: 20 }),
    frame(TEXT, 'x'.repeat(5000), { length: 60000 })];
  await Promise.all(begun.map(async (bytes) => {
    const raw = await Raw.open(s);
    const before = Date.now();
    await raw.write(bytes);
    await raw.refused('message_timeout');
    await raw.closed(1008);
    assert.ok(Date.now() - before >= 400, 'not before its time');
  }));
  await whole.quiet();
});

test('frames: neither trickling nor pings move the time of a message', async (t) => {
  const s = await start(t, { config: { message_timeout_ms: 1000 } });
  const trickles = [() => frame(CONTINUATION, 'x', { fin: false }), () => frame(PING, 'x')];
  await Promise.all(trickles.map(async (more) => {
    const raw = await Raw.open(s);
    await raw.write(frame(TEXT, '{', { fin: false }));
    const trickle = setInterval(() => raw.conn.socket.writable && raw.write(more()), 100);
    try {
      for (let got = await raw.frame(); ; got = await raw.frame()) {
        assert.ok(got);
        if (got.opcode === PONG) continue;
        if (got.opcode === TEXT) {
          assert.equal(JSON.parse(got.payload).data.reason, 'message_timeout');
          continue;
        }
        assert.equal(readClosing(got.payload).code, 1008);
        break;
      }
    } finally {
      clearInterval(trickle);
    }
  }));
});

test('frames: the silent are pinged, then closed; who answers stays', async (t) => {
  const config = { ping_after_ms: 1500, silence_timeout_ms: 3000, idle_timeout_ms: 500,
    head_timeout_ms: 500 };
  const s = await start(t, { config });
  const [mute, alive] = [await Raw.open(s), await Raw.open(s)];
  const library = await Client.open(s); // answers by itself
  assert.equal((await mute.payload(PING)).length, 0, 'the first word after idle_timeout_ms');
  assert.equal((await alive.payload(PING)).length, 0);
  await alive.write(frame(PONG));
  await mute.closed(1001, 'silent');
  await alive.write(message('ping'));
  for (let got = await alive.frame(); got.opcode !== TEXT; got = await alive.frame()) {
    assert.equal(got.opcode, PING);
  }
  await library.quiet();
});

test('frames: one who stops in the middle is closed as silent', async (t) => {
  const s = await start(t, { config: { ping_after_ms: 300, silence_timeout_ms: 800 } });
  const raw = await Raw.open(s);
  await raw.write(frame(TEXT, '{', { fin: false }));
  assert.equal((await raw.payload(PING)).length, 0);
  await raw.closed(1001, 'silent');
});

test('frames: bytes that are no frames close one connection only', async () => {
  const s = await server();
  const other = await enter(s);
  const conn = await Conn.open(s);
  const raw = await Raw.open(s);
  await raw.write('GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n');
  await raw.closed(1002);
  await other.quiet();
  conn.close();
});
