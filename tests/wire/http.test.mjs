// HTTP as a client library expects it: RFC 9110 and 9112, limits, CORS, request ids.
import assert from 'node:assert/strict';
import http from 'node:http';
import { Conn, curl, get, post, refused, request, requestText, shared, test } from './server.mjs';

const server = shared();
const LF = 'GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n';

async function answerTo(text, method) {
  const conn = await Conn.open(await server());
  try {
    return await conn.ask(text, method);
  } finally {
    conn.close();
  }
}

test('http: healthz says ok, its version and its age', async () => {
  const answer = await get(await server(), '/healthz');
  assert.equal(answer.status, 200);
  assert.match(answer.headers['content-type'], /^application\/json/);
  assert.equal(answer.json.status, 'ok');
  assert.equal(answer.json.version, (await server()).version);
  assert.ok(Number.isInteger(answer.json.uptime_ms) && answer.json.uptime_ms >= 0);
  assert.equal(answer.text, JSON.stringify(answer.json), 'compact');
  assert.ok(Math.abs(Date.parse(answer.headers.date) - Date.now()) < 5000);
  assert.match(answer.headers.date, /^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/);
});

test('http: readyz is 200', async () => {
  assert.equal((await get(await server(), '/readyz')).status, 200);
});

test('http: curl is served', async () => {
  const { port } = await server();
  const { code, text } = await curl('-i', `http://127.0.0.1:${port}/healthz`);
  assert.equal(code, 0, text);
  assert.match(text, /^HTTP\/1\.1 200 /);
  const made = await curl('-d', '{"code":"CURL"}', `http://127.0.0.1:${port}/lobbies`);
  assert.equal(JSON.parse(made.text).code, 'CURL');
});

test('http: a Node agent keeps one connection for ten requests', async () => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const { port } = await server();
  const ports = new Set();
  for (let i = 0; i < 10; i++) {
    ports.add(await new Promise((resolve, reject) => {
      const ask = http.get({ port, path: '/healthz', agent }, (res) => {
        const local = res.socket.localPort;
        res.resume().on('end', () => resolve(local));
      });
      ask.on('error', reject);
    }));
  }
  agent.destroy();
  assert.equal(ports.size, 1);
});

test('http: HEAD is GET without the body', async () => {
  const conn = await Conn.open(await server());
  const whole = await conn.ask(requestText('GET', '/lobbies/TEST'));
  const head = await conn.ask(requestText('HEAD', '/lobbies/TEST'), 'HEAD');
  assert.equal(head.status, 200);
  assert.equal(head.headers['content-length'], whole.headers['content-length']);
  assert.equal(head.headers['content-type'], whole.headers['content-type']);
  const next = await conn.ask(requestText('GET', '/healthz'));
  assert.equal(next.status, 200, 'nothing followed the head');
  const missing = await conn.ask(requestText('HEAD', '/nowhere'), 'HEAD');
  assert.equal(missing.status, 404);
  conn.close();
});

test('http: unknown paths are 404, wrong methods 405 with Allow', async () => {
  refused(await get(await server(), '/nowhere'), 404, 'not_found');
  refused(await get(await server(), '/healthz/more'), 404, 'not_found');
  const cases = [
    ['POST', '/healthz', ['GET', 'HEAD']], ['PUT', '/lobbies', ['GET', 'POST']],
    ['GET', '/auth/guest', ['POST']], ['POST', '/lobbies/TEST', ['GET', 'DELETE']],
    ['GET', '/lobbies/TEST/join', ['POST']], ['DELETE', '/metrics', ['GET']],
    ['GET', '/admin/drain', ['POST']],
  ];
  for (const [method, path, allowed] of cases) {
    const answer = refused(await request(await server(), method, path, { body: '' }), 405,
      'method_not_allowed');
    const listed = answer.headers.allow.split(/, ?/);
    for (const name of allowed) assert.ok(listed.includes(name), `${path}: ${listed}`);
    assert.ok(!listed.includes(method));
  }
});

test('http: methods it does not know are 501', async () => {
  refused(await answerTo('BREW /healthz HTTP/1.1\r\nHost: a\r\n\r\n'), 501, 'method_unknown');
  refused(await answerTo('get /healthz HTTP/1.1\r\nHost: a\r\n\r\n'), 501, 'method_unknown');
});

test('http: an HTTP/1.0 body must tell its length', async () => {
  refused(await answerTo('POST /auth/guest HTTP/1.0\r\nConnection: keep-alive\r\n\r\n{}'), 411,
    'length_required');
  const told = await answerTo('POST /auth/guest HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}');
  assert.equal(told.status, 201);
});

test('http: HTTP/1.0 is served and closed', async () => {
  const conn = await Conn.open(await server());
  const answer = await conn.ask('GET /healthz HTTP/1.0\r\n\r\n');
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.connection, 'close');
  await conn.end();
  conn.close();
});

test('http: HTTP/1.0 with keep-alive stays', async () => {
  const conn = await Conn.open(await server());
  for (let i = 0; i < 3; i++) {
    const answer = await conn.ask('GET /healthz HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n');
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.connection.toLowerCase(), 'keep-alive');
  }
  conn.close();
});

test('http: HTTP/1.0 lists end with the connection or have a length, never chunks', async () => {
  const conn = await Conn.open(await server());
  const answer = await conn.ask('GET /lobbies HTTP/1.0\r\n\r\n');
  assert.equal(answer.status, 200);
  assert.ok(!('transfer-encoding' in answer.headers));
  assert.ok(Array.isArray(JSON.parse(answer.text)));
  conn.close();
});

test('http: Connection: close is kept', async () => {
  const conn = await Conn.open(await server());
  const answer = await conn.ask(
    requestText('GET', '/healthz', { headers: { Connection: 'close' } }),
  );
  assert.equal(answer.headers.connection, 'close');
  await conn.end();
  conn.close();
});

test('http: other versions are 505', async () => {
  for (const version of ['2.0', '0.9', '3.1']) {
    refused(await answerTo(`GET /healthz HTTP/${version}\r\nHost: a\r\n\r\n`), 505,
      'http_version_unsupported');
  }
});

test('http: fifty pipelined requests are answered in order', async () => {
  const conn = await Conn.open(await server());
  const ids = Array.from({ length: 50 }, (_, i) => `pipe-${i}`);
  const paths = ['/healthz', '/lobbies/TEST', '/nowhere', '/readyz', '/lobbies'];
  await conn.write(ids.map((id, i) =>
    requestText(i % 7 === 3 ? 'HEAD' : 'GET', paths[i % 5], { headers: { 'X-Request-Id': id } }))
    .join(''));
  for (let i = 0; i < 50; i++) {
    const answer = await conn.read(i % 7 === 3 ? 'HEAD' : 'GET');
    assert.equal(answer.headers['x-request-id'], ids[i]);
    assert.equal(answer.status, i % 5 === 2 ? 404 : 200);
  }
  conn.close();
});

test('http: pipelined posts of which some fail stay in step', async () => {
  const conn = await Conn.open(await server());
  const wanted = [];
  let text = '';
  for (let i = 0; i < 20; i++) {
    const bad = i % 3 === 1;
    wanted.push(bad ? 400 : 200);
    text += requestText('POST', '/lobbies', { body: bad ? '{"code":' : `{"code":"PIPE-${i}"}` });
  }
  await conn.write(text);
  for (const status of wanted) assert.equal((await conn.read()).status, status);
  conn.close();
});

test('http: what follows Connection: close is not answered', async () => {
  const conn = await Conn.open(await server());
  await conn.write(requestText('GET', '/healthz', { headers: { Connection: 'close' } }) + LF);
  assert.equal((await conn.read()).status, 200);
  await conn.end();
  conn.close();
});

test('http: a half-closed client gets its answers', async () => {
  const conn = await Conn.open(await server(), { allowHalfOpen: true });
  conn.socket.end(LF + LF);
  assert.equal((await conn.read()).status, 200);
  assert.equal((await conn.read()).status, 200);
  await conn.end();
});

test('http: the absolute form is served', async () => {
  const answer = await answerTo('GET http://example.org/healthz HTTP/1.1\r\nHost: b\r\n\r\n');
  assert.equal(answer.json.status, 'ok');
});

test('http: percent-encoding is decoded once', async () => {
  assert.equal((await get(await server(), '/%68ealth%7A')).status, 200);
  assert.equal((await get(await server(), '/lobbies/%54e%53t')).json.code, 'TEST');
  assert.equal((await get(await server(), '/%2568ealthz')).status, 404);
  assert.equal((await get(await server(), '/%zz')).status, 400);
  assert.equal((await get(await server(), '/%6')).status, 400);
});

test('http: header names have no case, white space around values is not theirs', async () => {
  const answer = await answerTo('GET /healthz HTTP/1.1\r\nhOsT:a\r\n' +
    'x-reQUEST-iD: \t abc \t\r\n\r\n');
  assert.equal(answer.headers['x-request-id'], 'abc');
});

test('http: an empty line before a request is skipped', async () => {
  assert.equal((await answerTo(`\r\n${LF}`)).status, 200);
});

test('http: X-Request-Id is echoed when good and replaced when not', async () => {
  const id = async (value) => (await get(await server(), '/healthz',
    value === undefined ? {} : { 'X-Request-Id': value })).headers['x-request-id'];
  for (const good of ['a', 'A.b_c-9', 'x'.repeat(64)]) assert.equal(await id(good), good);
  const made = [];
  for (const bad of [undefined, '', 'x'.repeat(65), 'a b', 'a/b', 'a"b']) {
    made.push(await id(bad));
    assert.match(made.at(-1), /^[A-Za-z0-9._-]{1,64}$/);
    assert.notEqual(made.at(-1), bad);
  }
  assert.equal(new Set(made).size, made.length);
  const error = await get(await server(), '/nowhere', { 'X-Request-Id': 'of-an-error' });
  assert.equal(error.headers['x-request-id'], 'of-an-error');
});

test('http: CORS on answers and errors, preflight on every route', async () => {
  const origin = { Origin: 'https://game.example' };
  for (const path of ['/healthz', '/lobbies', '/nowhere']) {
    const { headers } = await get(await server(), path, origin);
    assert.equal(headers['access-control-allow-origin'], '*');
    const exposed = headers['access-control-expose-headers'].toLowerCase();
    for (const name of ['x-next-cursor', 'x-request-id', 'retry-after', 'etag']) {
      assert.ok(exposed.includes(name), exposed);
    }
  }
  const routes = ['/healthz', '/readyz', '/metrics', '/api/status', '/admin/drain', '/admin/log',
    '/auth/guest', '/auth/refresh', '/lobbies', '/lobbies/TEST', '/lobbies/TEST/join',
    '/lobbies/TEST/leave'];
  for (const path of routes) {
    const answer = await request(await server(), 'OPTIONS', path, {
      headers: { ...origin, 'Access-Control-Request-Method': 'POST',
        'Access-Control-Request-Headers': 'authorization, content-type' },
    });
    assert.equal(answer.status, 204, path);
    assert.equal(answer.headers['access-control-allow-origin'], '*');
    assert.match(answer.headers['access-control-allow-methods'], /\b(GET|POST)\b/);
    const allowed = answer.headers['access-control-allow-headers'].toLowerCase();
    for (const name of ['authorization', 'content-type', 'x-signature', 'x-request-id',
      'if-none-match']) {
      assert.ok(allowed.includes(name), allowed);
    }
  }
});

test('http: chunked bodies', async () => {
  const chunked = (body, headers = '') => answerTo('POST /lobbies HTTP/1.1\r\nHost: a\r\n' +
    `${headers}Transfer-Encoding: chunked\r\n\r\n${body}`);
  const one = await chunked('d\r\n{"code":"CH1"\r\n1\r\n}\r\n0\r\n\r\n');
  assert.equal(one.json.code, 'CH1', one.text);
  const two = await chunked('00000E;a=b;c="d"\r\n{"code":"CH2"}\r\n0\r\nX-Trailer: 1\r\n\r\n');
  assert.equal(two.json.code, 'CH2', two.text);
  const three = await chunked([...'{"code":"CH3"}'].map((c) => `1\r\n${c}\r\n`).join('') +
    '0\r\n\r\n');
  assert.equal(three.json.code, 'CH3', three.text);
  refused(await chunked('0\r\n\r\n'), 400, 'bad_json');
  for (const bad of ['zz\r\n', '-1\r\n', '0x5\r\n', '5 5\r\n', '\r\n', '5\r\nabcdefg\r\n', '5\n{',
    'fffffffffffffffff\r\n']) {
    const answer = await chunked(bad);
    assert.ok(answer.status === 400 || answer.status === 413, `${bad}: ${answer.status}`);
    if (answer.status === 400) assert.equal(answer.error, 'bad_chunk', bad);
  }
  refused(await chunked(`20000\r\n${'x'.repeat(1000)}`), 413, 'body_too_large');
});

test('http: Expect: 100-continue', async () => {
  const conn = await Conn.open(await server());
  const head = (length) => requestText('POST', '/lobbies', {
    headers: { Expect: '100-continue', 'Content-Length': length },
  });
  const goOn = await conn.ask(head(15));
  assert.equal(goOn.status, 100);
  const answer = await conn.ask('{"code":"EXP1"}');
  assert.equal(answer.json.code, 'EXP1', answer.text);
  const large = await conn.ask(head(10_000_000));
  refused(large, 413, 'body_too_large');
  conn.close();
  const other = await answerTo(requestText('POST', '/lobbies', {
    headers: { Expect: 'a-miracle' }, body: '{}',
  }));
  refused(other, 417, 'expectation_failed');
});

test('http: a body that is there already needs no 100', async () => {
  const conn = await Conn.open(await server());
  await conn.write(requestText('POST', '/lobbies', {
    headers: { Expect: '100-continue' }, body: '{"code":"EXP2"}',
  }));
  let answer = await conn.read();
  if (answer.status === 100) answer = await conn.read(); // RFC 9110, 10.1.1: may be left out
  assert.equal(answer.json.code, 'EXP2');
  conn.close();
});

test('http: the limits of target, head and body', async () => {
  const at = `/${'x'.repeat(2047)}`;
  refused(await get(await server(), at), 404, 'not_found');
  refused(await get(await server(), `${at}x`), 414, 'target_too_long');
  refused(await get(await server(), `/${'x'.repeat(100_000)}`), 414, 'target_too_long');
  const fill = (bytes) => {
    const text = requestText('GET', '/healthz', { headers: { 'X-Fill': '' } });
    return { 'X-Fill': 'x'.repeat(bytes - text.length) };
  };
  assert.equal((await get(await server(), '/healthz', fill(8192))).status, 200);
  refused(await get(await server(), '/healthz', fill(8193)), 431, 'head_too_large');
  refused(await get(await server(), '/healthz', fill(80_000)), 431, 'head_too_large');
  const body = (bytes) => `{"scene":"s"${' '.repeat(bytes - 13)}}`;
  const large = await request(await server(), 'POST', '/lobbies', { body: body(65536) });
  assert.ok(large.status === 200 || large.json.limit < 65536, large.text);
  const over = refused(await request(await server(), 'POST', '/lobbies', { body: body(65537) }),
    413, 'body_too_large');
  assert.ok(over.json.limit > 0 && over.json.limit <= 65536);
});

test('http: encoded bodies are 415', async () => {
  refused(await request(await server(), 'POST', '/lobbies', {
    headers: { 'Content-Encoding': 'gzip' }, body: '{}',
  }), 415, 'content_encoding_unsupported');
});

test('http: a body is JSON whatever its type says', async () => {
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'image/png']) {
    const answer = await request(await server(), 'POST', '/auth/guest', {
      headers: { 'Content-Type': type }, body: '{}',
    });
    assert.equal(answer.status, 201, answer.text);
  }
});

test('http: what is no JSON object is bad_json, with its position', async () => {
  const cases = ['', ' ', '[]', '"x"', 'null', '1', '{', '{"a"}', '{"a":1,}', '{"a":01}', '{} x',
    "{'a':1}", '{"a":"\\ud800"}', '{"a":"\u0001"}', '{"a":tru}', '{"a":1e}',
    `{"a":${'['.repeat(32)}`,
    '\ufeff{}'];
  for (const body of cases) {
    const answer = refused(await request(await server(), 'POST', '/auth/guest', { body }), 400,
      'bad_json');
    assert.ok(Number.isInteger(answer.json.position), `${body}: ${answer.text}`);
  }
  const placed = await request(await server(), 'POST', '/auth/guest', { body: '{"a":1,}' });
  assert.equal(placed.json.position, 7);
  refused(await answerTo('POST /auth/guest HTTP/1.1\r\nHost: a\r\n\r\n'), 400, 'bad_json');
});

test('http: bad UTF-8 is bad_json', async () => {
  const cases = [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82]];
  for (const bytes of cases) {
    const body = Buffer.from([...Buffer.from('{"a":"'), ...bytes, ...Buffer.from('"}')]);
    const head = `POST /auth/guest HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n`;
    refused(await answerTo(Buffer.concat([Buffer.from(head), body])), 400, 'bad_json');
  }
});

test('http: nesting up to 32 passes, unknown and repeated members too', async () => {
  const nested = (n) => `{"a":${'['.repeat(n)}${']'.repeat(n)}}`;
  const ask = async (body) => request(await server(), 'POST', '/auth/guest', { body });
  assert.equal((await ask(nested(31))).status, 201);
  refused(await ask(nested(32)), 400, 'bad_json');
  const twice = await ask('{"username":"first","username":"last"}');
  assert.equal(twice.json.username, 'last');
});

const SMUGGLING = [
  ['both framings', 'Content-Length: 4\r\nTransfer-Encoding: chunked\r\n', 'bad_framing'],
  ['two lengths', 'Content-Length: 4\r\nContent-Length: 5\r\n', 'bad_framing'],
  ['a list of lengths', 'Content-Length: 4, 5\r\n', 'bad_framing'],
  ['a negative length', 'Content-Length: -4\r\n', 'bad_framing'],
  ['a plus', 'Content-Length: +4\r\n', 'bad_framing'],
  ['hexadecimal', 'Content-Length: 0x4\r\n', 'bad_framing'],
  ['a length of words', 'Content-Length: four\r\n', 'bad_framing'],
  ['an empty length', 'Content-Length:\r\n', 'bad_framing'],
  ['chunked twice', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n'],
  ['chunked, chunked', 'Transfer-Encoding: chunked, chunked\r\n'],
  ['chunked not last', 'Transfer-Encoding: chunked, identity\r\n'],
  ['vertical tab', 'Transfer-Encoding: \x0bchunked\r\n'],
  ['a quoted coding', 'Transfer-Encoding: "chunked"\r\n'],
  ['space before the colon', 'Content-Length : 4\r\n'],
  ['a folded field', 'X-A: b\r\n c\r\n'],
  ['a folded first field', ' X-A: b\r\n'],
  ['no colon', 'Nonsense\r\n'],
  ['an empty name', ': x\r\n'],
  ['NUL in a value', 'X-A: a\0b\r\n'],
  ['a bare CR', 'X-A: a\rb\r\n'],
  ['a bare LF', 'X-A: b\n'],
  ['a bare LF before a second request', 'X-A: b\n\nGET / HTTP/1.1\r\n'],
  ['a second Host', 'Host: b\r\n', 'bad_host'],
  ['a name with a bracket', 'X(A: b\r\n'],
];

for (const [title, fields, code] of SMUGGLING) {
  test(`http: smuggling is refused: ${title}`, async () => {
    const conn = await Conn.open(await server());
    const answer = await conn.ask(`POST /lobbies HTTP/1.1\r\nHost: a\r\n${fields}\r\n` +
      `0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\nX-Request-Id: smuggled\r\n\r\n`);
    assert.ok(answer.status === 400 || (answer.status === 501 && !code), `${answer.status}`);
    if (code) assert.equal(answer.error, code);
    assert.equal(answer.headers.connection, 'close');
    await conn.end(); // and not one answer more
    conn.close();
  });
}

test('http: Host must be there, once and valid', async () => {
  const ask = (fields) => answerTo(`GET /healthz HTTP/1.1\r\n${fields}\r\n`);
  for (const bad of ['', 'Host: a b\r\n', 'Host: a/b\r\n', 'Host: a\r\nHost: a\r\n',
    'Host: user@a\r\n']) {
    refused(await ask(bad), 400, 'bad_host');
  }
  for (const good of ['Host: a\r\n', 'Host: a:80\r\n', 'Host: [::1]:8080\r\n',
    'Host: 1.2.3.4\r\n']) {
    assert.equal((await ask(good)).status, 200, good);
  }
});

test('http: malformed request lines are 400', async () => {
  for (const line of ['GET /healthz', 'GET  /healthz HTTP/1.1', ' GET /healthz HTTP/1.1',
    'GET /healthz HTTP/1.1 ', 'GET healthz HTTP/1.1', 'GET /a b HTTP/1.1', 'GET /healthz http/1.1',
    'GET /\x01 HTTP/1.1', 'G\x00T / HTTP/1.1', '/ HTTP/1.1', '\x16\x03\x01\x02\x00\x01']) {
    const answer = await answerTo(`${line}\r\nHost: a\r\n\r\n`);
    assert.equal(answer?.status, 400, line);
  }
});

test('http: a refusal is readable while the client still sends', async () => {
  for (const head of ['POST /lobbies HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n',
    'POST /lobbies HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 5000000\r\n\r\n']) {
    const conn = await Conn.open(await server(), { allowHalfOpen: true });
    conn.write(head);
    const block = Buffer.alloc(64 * 1024, 'x');
    for (let i = 0; i < 40 && !conn.ended; i++) conn.write(block);
    const answer = await conn.read();
    assert.ok(answer.status === 413 || answer.status === 400, `${answer.status} ${conn.error}`);
    conn.close();
  }
});

test('http: targets in the log have token cut out', async () => {
  const running = await server();
  await get(running, '/lobbies?token=SECRET-IN-QUERY&scene=x');
  const log = await get(running, '/admin/log', (await import('./server.mjs')).admin());
  assert.equal(log.status, 200);
  assert.ok(!log.text.includes('SECRET-IN-QUERY'));
  assert.ok(!running.stderr.includes('SECRET-IN-QUERY'));
});

test('http: an unread body does not confuse the next request', async () => {
  const conn = await Conn.open(await server());
  await conn.write(requestText('POST', '/nowhere', { body: LF }) + LF);
  refused(await conn.read(), 404, 'not_found');
  const next = await conn.read();
  if (next) assert.equal(next.json.status, 'ok'); // a close is as good
  conn.close();
});

test('http: post of another JSON value names what is wanted', async () => {
  const answer = await post(await server(), '/lobbies', [1]);
  refused(answer, 400, 'bad_json', { position: 0 });
});
