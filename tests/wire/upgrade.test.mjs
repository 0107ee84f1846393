// From HTTP to WebSocket: what an upgrade asks for, what it is told, what it is refused for.
import assert from 'node:assert/strict';
import { Conn, get, metrics, post, refused, request, requestText, seconds, shared, start, token,
  until } from './server.mjs';
import { Client, PING, PONG, Raw, TEXT, acceptOf, asUser, enter, frame, message, minted, stranger,
  test, upgradeText } from './socket.mjs';

const server = shared();
const TAIL = 'the rest of a request that holds up the end of the server';

/* What an upgrade is answered, whatever it is. */
async function ask(s, options) {
  const conn = await Conn.open(s);
  const answer = await conn.ask(upgradeText(options), options?.method);
  conn.close();
  return answer;
}

const takes = async (headers, options = {}) => {
  const answer = await ask(await server(), { headers, ...options });
  assert.equal(answer?.status, 101, answer?.text);
  return answer.headers;
};

test('upgrade: the answer is that of RFC 6455', async () => {
  for (const target of ['/ws', '/', '/ws?x=1', '/?x=1', 'http://localhost/ws', '/%77s']) {
    const headers = await takes({}, { target });
    assert.equal(headers['sec-websocket-accept'], 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=', target);
    assert.equal(headers.upgrade.toLowerCase(), 'websocket');
    assert.equal(headers.connection.toLowerCase(), 'upgrade');
    assert.ok(!('sec-websocket-protocol' in headers));
    assert.ok(!('sec-websocket-extensions' in headers));
    assert.ok(!('transfer-encoding' in headers));
  }
});

test('upgrade: names and tokens of headers are read without case, in lists', async () => {
  const rows = [
    { Upgrade: 'WebSocket' }, { Upgrade: 'WEBSOCKET', Connection: 'UPGRADE' },
    { Connection: 'keep-alive, Upgrade' }, { Connection: 'Upgrade , keep-alive' },
    { Connection: ['keep-alive', 'upgrade'] }, { Upgrade: 'h2c, websocket' },
    { Upgrade: null, upgrade: 'websocket', Connection: null, cOnNeCtIoN: 'upgrade' },
    { 'Sec-WebSocket-Version': null, 'sec-websocket-version': '13' },
    { Origin: 'https://elsewhere.example', Cookie: 'a=b', 'User-Agent': 'x'.repeat(1000),
      Pragma: 'no-cache', 'Cache-Control': 'no-cache', 'Accept-Encoding': 'gzip, deflate, br' },
  ];
  for (const row of rows) await takes(row);
});

test('upgrade: every key has its own accept value', async () => {
  const keys = ['AAAAAAAAAAAAAAAAAAAAAA==', '/////////////////////w==', 'x3JJHMbDL1EzLkh9GBhXDw=='];
  for (const key of keys) {
    const headers = await takes({ 'Sec-WebSocket-Key': key });
    assert.equal(headers['sec-websocket-accept'], acceptOf(key));
  }
});

test('upgrade: the subprotocol is selected only when it is offered', async () => {
  const offered = ['mpserver.v1', 'chat, mpserver.v1', 'mpserver.v1,chat', 'a , mpserver.v1 ,b',
    ['chat', 'mpserver.v1']];
  for (const value of offered) {
    const headers = await takes({ 'Sec-WebSocket-Protocol': value });
    assert.equal(headers['sec-websocket-protocol'], 'mpserver.v1', String(value));
  }
  const others = ['chat', 'mpserver.v2', 'mpserver.v10', 'mpserver', 'xmpserver.v1', 'MPSERVER.V1'];
  for (const value of others) {
    const headers = await takes({ 'Sec-WebSocket-Protocol': value });
    assert.ok(!('sec-websocket-protocol' in headers), value);
  }
});

test('upgrade: extensions are declined', async () => {
  for (const value of ['permessage-deflate', 'permessage-deflate; client_max_window_bits, x',
    ['x-webkit-deflate-frame', 'bbf-usp-protocol']]) {
    const headers = await takes({ 'Sec-WebSocket-Extensions': value });
    assert.ok(!('sec-websocket-extensions' in headers));
  }
});

test('upgrade: a client library that offers both gets the one', async () => {
  const client = await Client.open(await server(), { protocol: 'mpserver.v1' });
  assert.equal(client.ws.protocol, 'mpserver.v1');
  assert.equal(client.ws.extensions, '');
  await client.quiet();
  const plain = await Client.open(await server(), { path: '/' });
  assert.equal(plain.ws.protocol, '');
  await plain.quiet();
});

test('upgrade: another version is told which one is spoken', async () => {
  for (const version of [null, '8', '12', '14', '0', '130', '013', '13.0', 'x', '-13']) {
    for (const target of ['/ws', '/']) {
      const headers = { 'Sec-WebSocket-Version': version };
      const answer = refused(await ask(await server(), { target, headers }), 426,
        'websocket_version');
      assert.equal(answer.headers['sec-websocket-version'], '13');
    }
  }
});

test('upgrade: /ws without an upgrade is 426, / is not there', async () => {
  const s = await server();
  const rows = [{ Upgrade: null, Connection: null }, { Upgrade: null }, { Connection: null },
    { Connection: 'keep-alive' }, { Upgrade: 'h2c' }, { Upgrade: 'websocket2' }];
  for (const headers of rows) {
    const answer = refused(await ask(s, { headers }), 426, 'upgrade_required');
    assert.equal(answer.headers.upgrade.toLowerCase(), 'websocket');
    refused(await ask(s, { target: '/', headers }), 404, 'not_found');
  }
  const plain = refused(await get(s, '/ws'), 426, 'upgrade_required');
  assert.equal(plain.headers.upgrade.toLowerCase(), 'websocket');
  refused(await get(s, '/'), 404, 'not_found');
});

test('upgrade: other paths and methods stay HTTP', async () => {
  const s = await server();
  assert.equal((await ask(s, { target: '/healthz' })).status, 200);
  refused(await ask(s, { target: '/wss' }), 404, 'not_found');
  refused(await ask(s, { target: '/ws/' }), 404, 'not_found');
  for (const method of ['POST', 'PUT', 'DELETE']) {
    const answer = refused(await ask(s, { method }), 405, 'method_not_allowed');
    assert.match(answer.headers.allow, /\bGET\b/);
  }
});

test('upgrade: a key that is not 16 bytes in base64 is refused', async () => {
  const s = await server();
  const keys = [null, '', 'AAAAAAAAAAAAAAAAAAAA', 'AAAAAAAAAAAAAAAAAAAAAA',
    'AAAAAAAAAAAAAAAAAAAAAA=', 'AAAAAAAAAAAAAAAAAAAAAAA=', 'AAAAAAAAAAAAAAAAAAAAAAAA',
    'AAAAAAAAAAAAAAAAAAA!AA==', 'AAAAAAAAAAAAAAAAAAAAAA==AAAA', 'AAAAAAAAAAA AAAAAAAAAA==',
    'AAAAAAAAAAAAAAAAAA-_AA==', '====', 'x'.repeat(300)];
  for (const key of keys) {
    for (const target of ['/ws', '/']) {
      const headers = { 'Sec-WebSocket-Key': key };
      refused(await ask(s, { target, headers }), 400, 'bad_upgrade');
    }
  }
  const two = ['AAAAAAAAAAAAAAAAAAAAAA==', 'x3JJHMbDL1EzLkh9GBhXDw=='];
  refused(await ask(s, { headers: { 'Sec-WebSocket-Key': two } }), 400, 'bad_upgrade');
});

test('upgrade: with a body or over HTTP/1.0 it is refused', async () => {
  const s = await server();
  const bodies = [[{ 'Content-Length': '5' }, 'hello'],
    [{ 'Transfer-Encoding': 'chunked' }, '5\r\nhello\r\n0\r\n\r\n']];
  for (const [headers, body] of bodies) {
    const conn = await Conn.open(s);
    refused(await conn.ask(upgradeText({ headers }) + body), 400, 'bad_upgrade');
    conn.close();
  }
  refused(await ask(s, { version: '1.0' }), 400, 'bad_upgrade');
});

test('upgrade: what is wrong with the token is told as over HTTP', async () => {
  const s = await server();
  const late = token({ sub: 'x', exp: seconds() - 3600 });
  const early = token({ sub: 'x', exp: seconds() + 3600, nbf: seconds() + 1800 });
  const forged = token({ sub: 'x', exp: seconds() + 3600 }, { secret: 'x'.repeat(32) });
  const rows = [['nonsense', 'invalid_token'], [late, 'token_expired'], [forged, 'invalid_token'],
    [early, 'token_not_yet_valid'], [`${late}x`, 'invalid_token'], ['a.b.c', 'invalid_token']];
  for (const [value, code] of rows) {
    for (const path of ['/ws', '/']) {
      refused(await ask(s, { target: `${path}?token=${value}` }), 401, code);
      const headers = { Authorization: `Bearer ${value}` };
      refused(await ask(s, { target: path, headers }), 401, code);
    }
  }
});

test('upgrade: a good token signs the socket in, wherever it stands', async () => {
  const s = await server();
  const user = minted(undefined, 'Ada');
  const ways = [{ target: `/ws?token=${user.token}` }, { target: `/?x=1&token=${user.token}&y=2` },
    { target: `/ws?t%6fken=${user.token.replaceAll('.', '%2E')}` }, { headers: asUser(user) }];
  for (const way of ways) {
    const raw = await Raw.open(s, way);
    await raw.write(message('handshake', { version: '1', name: 'somebody else' }));
    assert.deepEqual((await raw.next('handshake_accepted')).data,
      { peer_id: 0, user_id: user.user_id, username: 'Ada' });
  }
});

test('upgrade: no token reaches the log', async (t) => {
  const s = await start(t, { args: ['--log-level', 'debug'] });
  const user = minted();
  const good = await ask(s, { target: `/ws?x=1&token=${user.token}&y=2` });
  assert.equal(good.status, 101);
  refused(await ask(s, { target: '/?token=SECRET&y=2' }), 401, 'invalid_token');
  refused(await ask(s, { target: '/ws?t%6Fken=SECRET&z=3' }), 401, 'invalid_token');
  const lines = () => s.stderr.split('\n').filter((line) => /GET/.test(line));
  await until(lines, (got) => got.length >= 3, 'the log of three upgrades');
  assert.doesNotMatch(s.stderr, /SECRET/);
  assert.ok(!s.stderr.includes(user.token.slice(-20)));
  assert.match(s.stderr, /\/ws\?x=1&token=REDACTED&y=2/);
});

test('upgrade: it is a request like any other, with an id, a count and limits', async (t) => {
  const s = await start(t);
  const key = 'mpserver_requests_total{route="/ws",method="GET",status="101"}';
  const before = await metrics(s);
  const headers = { 'X-Request-Id': 'upgrade-7' };
  assert.equal((await ask(s, { headers })).headers['x-request-id'], 'upgrade-7');
  const made = (await ask(s, { headers: { 'X-Request-Id': 'no good' } })).headers['x-request-id'];
  assert.match(made, /^[A-Za-z0-9._-]{1,64}$/);
  const bad = await ask(s, { headers: { ...headers, 'Sec-WebSocket-Key': 'x' } });
  assert.equal(bad.headers['x-request-id'], 'upgrade-7');
  const late = await metrics(s);
  assert.equal(late.get(key) - before.get(key), 2);
  refused(await ask(s, { target: `/ws?${'x'.repeat(2100)}` }), 414, 'target_too_long');
});

test('upgrade: requests per second count upgrades too', async (t) => {
  const s = await start(t, { dev: false, config: { requests_per_s: 5, connections_per_s: 10000 } });
  const seen = { 101: 0, 429: 0 };
  for (let i = 0; i < 40; i++) {
    const answer = await ask(s);
    seen[answer.status]++;
    if (answer.status === 429) refused(answer, 429, 'rate_limited');
  }
  assert.ok(seen[101] >= 10 && seen[429] >= 5, JSON.stringify(seen));
});

test('upgrade: frames in the packet of the upgrade are served', async () => {
  const s = await server();
  const frames = [frame(PING, 'early'), message('handshake', { version: '1', name: 'Early' }),
    frame(PING, 'late')];
  const bytes = Buffer.concat([Buffer.from(upgradeText()), ...frames]);
  const cuts = [bytes.length, upgradeText().length + 1, upgradeText().length + 9,
    upgradeText().length - 1, bytes.length - 1];
  for (const cut of cuts) {
    const conn = await Conn.open(s);
    await conn.write(bytes.subarray(0, cut));
    await conn.write(bytes.subarray(cut));
    const raw = await Raw.on(conn).upgraded();
    assert.equal((await raw.payload(PONG)).toString(), 'early');
    assert.equal((await raw.payload(TEXT)).toString(), '{"type":"handshake_accepted",' +
      '"data":{"peer_id":0,"user_id":null,"username":"Early"}}');
    assert.equal((await raw.payload(PONG)).toString(), 'late');
    raw.drop();
  }
});

test('upgrade: many small frames and a large one in the packet of the upgrade', async () => {
  const conn = await Conn.open(await server());
  const big = message('nothing', { text: 'x'.repeat(20000) });
  const pings = Array.from({ length: 100 }, (_, i) => frame(PING, `${i}`));
  await conn.write(Buffer.concat([Buffer.from(upgradeText()), big, ...pings]));
  const raw = await Raw.on(conn).upgraded();
  await raw.refused('unknown_type');
  for (let i = 0; i < 100; i++) assert.equal((await raw.payload(PONG)).toString(), `${i}`);
});

test('upgrade: requests pipelined before it are answered before it', async () => {
  const s = await server();
  const conn = await Conn.open(s);
  const list = requestText('GET', '/lobbies/TEST');
  await conn.write(Buffer.concat([
    Buffer.from(requestText('GET', '/healthz') + list.repeat(20) +
      requestText('POST', '/lobbies/NOPE/join', { json: { player_name: 'x' } }) + upgradeText()),
    frame(PING, 'after all that'),
  ]));
  assert.equal((await conn.read()).json.status, 'ok');
  for (let i = 0; i < 20; i++) assert.equal((await conn.read()).status, 200);
  assert.equal((await conn.read()).status, 404);
  const raw = await Raw.on(conn).upgraded();
  assert.equal((await raw.payload(PONG)).toString(), 'after all that');
});

test('upgrade: a refused one leaves a connection that may try again', async () => {
  const conn = await Conn.open(await server());
  for (const headers of [{ 'Sec-WebSocket-Key': 'x' }, { 'Sec-WebSocket-Version': '8' },
    { Upgrade: null }]) {
    const answer = await conn.ask(upgradeText({ headers }));
    assert.ok(answer.status === 400 || answer.status === 426);
    if (/close/i.test(answer.headers.connection ?? '')) return; // its right, when it says so
  }
  await conn.write(upgradeText());
  await (await Raw.on(conn).upgraded()).quiet();
});

test('upgrade: while draining there are no new sockets', async (t) => {
  const s = await start(t, { config: { drain_grace_ms: 60000 } });
  const half = await Conn.open(s);
  await half.write(`GET /healthz HTTP/1.1\r\nHost: a\r\nX-Held: ${TAIL}`);
  s.signal('SIGTERM');
  await until(() => get(s, '/readyz'), (answer) => answer.status === 503, 'draining');
  for (const target of ['/ws', '/', `/ws?token=${minted().token}`]) {
    refused(await ask(s, { target }), 503, 'draining');
  }
  assert.equal((await half.ask('\r\n\r\n')).status, 200);
  await s.ended();
});

test('upgrade: a socket is a connection of the table', async (t) => {
  const s = await start(t, { config: { connections: 4 } });
  const sockets = [];
  for (let i = 0; i < 4; i++) sockets.push(await enter(s, null));
  refused(await ask(s), 503, 'connections_full');
  await sockets[0].close();
  const answer = await until(() => ask(s), (got) => got.status === 101, 'a free place');
  assert.equal(answer.status, 101);
  for (const socket of sockets.slice(1)) await socket.quiet();
});

test('upgrade: HTTP goes on beside it', async () => {
  const s = await server();
  const client = await enter(s);
  assert.equal((await request(s, 'GET', '/api/presence', { headers: stranger() })).status, 200);
  assert.equal((await post(s, '/lobbies', {})).status, 200);
  await client.quiet();
});
