// Running a server: metrics, status, the admin routes, draining, signals.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import dgram from 'node:dgram';
import { Conn, MINUTES, admin, bearer, get, metrics, post, refused, request, requestText, sleep,
  start, test, until, within } from './server.mjs';

const PROXY = { trusted_proxies: ['127.0.0.0/8'] };
const away = { 'X-Forwarded-For': '203.0.113.9' };
const HALF = 'GET /healthz HTTP/1.1\r\nHost: a\r\nX-Half: ';

test('operations: metrics are Prometheus text and count', async (t) => {
  const s = await start(t, { config: { drain_grace_ms: 50 } });
  const answer = await get(s, '/metrics');
  assert.match(answer.headers['content-type'], /^text\/plain; version=0\.0\.4/);
  const before = await metrics(s);
  for (let i = 0; i < 5; i++) await get(s, '/lobbies/TEST');
  for (let i = 0; i < 3; i++) await get(s, '/lobbies/NOPE');
  await get(s, '/nowhere');
  await post(s, '/lobbies', { code: 'METER' });
  await post(s, '/lobbies/METER/join', { player_name: 'x' });
  const late = await metrics(s);
  const grown = (key) => late.get(key) - before.get(key);
  const requests = (route, method, status) =>
    grown(`mpserver_requests_total{route="${route}",method="${method}",status="${status}"}`);
  assert.equal(requests('/lobbies/{code}', 'GET', 200), 5);
  assert.equal(requests('/lobbies/{code}', 'GET', 404), 3);
  assert.equal(requests('/lobbies', 'POST', 200), 1);
  assert.equal(requests('/lobbies/{code}/join', 'POST', 200), 1);
  assert.equal(requests('/metrics', 'GET', 200), 1);
  assert.equal(grown('mpserver_connections_opened_total'), 12);
  assert.equal(grown('mpserver_request_seconds_count'), 12);
  assert.equal(grown('mpserver_lobbies'), 1);
  assert.equal(grown('mpserver_players'), 1);
  assert.equal(late.get('mpserver_connections'), 1);
  assert.ok(late.get('mpserver_core_call_seconds_count') >= 0);
  assert.ok(late.samples.has('mpserver_core_call_seconds_count'));
  assert.ok(late.get('mpserver_memory_bytes') > 100000);
  for (const table of ['connections', 'lobbies', 'players', 'large_inputs', 'chunks']) {
    const [used, high, limit] = ['used', 'high', 'limit'].map((kind) =>
      late.samples.get(`mpserver_table_${kind}{table="${table}"}`));
    assert.ok(used <= high && high <= limit && limit > 0, `${table}: ${used} ${high} ${limit}`);
    assert.equal(late.samples.get(`mpserver_table_full_total{table="${table}"}`), 0);
  }
  for (const [name, type] of [['mpserver_requests_total', 'counter'],
    ['mpserver_request_seconds', 'histogram'], ['mpserver_connections', 'gauge'],
    ['mpserver_core_call_seconds', 'histogram'], ['mpserver_drops_total', 'counter'],
    ['mpserver_connections_refused_total', 'counter'], ['mpserver_datagrams_total', 'counter']]) {
    assert.equal(late.families[name], type, name);
  }
});

test('operations: a stranger\'s datagrams are counted and dropped', async (t) => {
  const s = await start(t);
  const before = await metrics(s);
  const socket = dgram.createSocket('udp4');
  t.after(() => socket.close());
  const texts = ['', '{', '{"type":"x"}', '\xb1\x01', 'x'.repeat(1500), '\0'.repeat(20)];
  for (const text of texts) socket.send(Buffer.from(text, 'latin1'), s.udp, '127.0.0.1');
  const sum = (all, prefix) => [...all.samples].filter(([key]) => key.startsWith(prefix))
    .reduce((total, [, value]) => total + value, 0);
  const late = await until(() => metrics(s), (m) =>
    sum(m, 'mpserver_drops_total') - sum(before, 'mpserver_drops_total') >= texts.length, 'drops');
  assert.equal(sum(late, 'mpserver_drops_total') - sum(before, 'mpserver_drops_total'),
    texts.length);
  assert.equal((await get(s, '/healthz')).status, 200);
});

test('operations: status is JSON at a glance', async (t) => {
  const s = await start(t, { config: { name: 'Cellar-1' } });
  const { json } = await get(s, '/api/status');
  assert.equal(json.name, 'Cellar-1');
  assert.equal(json.version, s.version);
});

test('operations: metrics outside --dev are for loopback, metrics_allow and admins', async (t) => {
  const s = await start(t, { dev: false,
    config: { ...PROXY, metrics_allow: ['198.51.100.0/24'] } });
  for (const path of ['/metrics', '/api/status']) {
    assert.equal((await get(s, path)).status, 200);
    refused(await get(s, path, away), 403, 'metrics_forbidden');
    refused(await get(s, path, { ...away, ...bearer({ sub: 'x' }) }), 403, 'metrics_forbidden');
    assert.equal((await get(s, path, { ...away, ...admin() })).status, 200);
    assert.equal((await get(s, path, { 'X-Forwarded-For': '198.51.100.7' })).status, 200);
  }
});

test('operations: X-Forwarded-For counts from trusted proxies alone, right to left', async (t) => {
  const trusting = await start(t, { dev: false, config: { trusted_proxies: ['127.0.0.1',
    '10.0.0.0/8', '2001:db8::/32'] } });
  const seen = async (s, value) => (await get(s, '/metrics', { 'X-Forwarded-For': value })).status;
  assert.equal(await seen(trusting, '127.0.0.1, 203.0.113.9'), 403);
  assert.equal(await seen(trusting, '203.0.113.9, 10.1.2.3'), 403);
  assert.equal(await seen(trusting, '203.0.113.9,2001:db8::1'), 403);
  assert.equal(await seen(trusting, '127.0.0.2, 10.1.2.3'), 200);
  assert.equal(await seen(trusting, '2001:db9::1'), 403);
  const plain = await start(t, { dev: false });
  assert.equal(await seen(plain, '203.0.113.9'), 200);
});

test('operations: admin routes want the role admin', async (t) => {
  const s = await start(t);
  const routes = [['POST', '/admin/drain'], ['POST', '/admin/announce'], ['POST', '/admin/reload'],
    ['POST', '/admin/record'], ['GET', '/admin/log']];
  for (const [method, path] of routes) {
    const ask = (headers) => request(s, method, path,
      { headers, ...(method === 'POST' && { body: '{}' }) });
    refused(await ask({}), 401, 'authentication_required');
    refused(await ask(bearer({ sub: 'x', role: 'server' })), 403, 'forbidden');
  }
  assert.equal((await get(s, '/readyz')).status, 200);
  refused(await request(s, 'POST', '/admin/record', { headers: admin(), body: '{}' }), 501,
    'record_unavailable');
  refused(await post(s, '/admin/drain', { grace_ms: -1 }, admin()), 400, 'invalid_field',
    { field: 'grace_ms' });
});

test('operations: the log can be followed', async (t) => {
  const s = await start(t, { config: { log_level: 'debug' } });
  const first = (await get(s, '/admin/log', admin())).json;
  assert.ok(Array.isArray(first.entries) && Number.isInteger(first.next));
  await get(s, '/lobbies/TEST', { 'X-Request-Id': 'find-me-in-the-log' });
  const next = await get(s, `/admin/log?since=${first.next}`, admin());
  assert.ok(next.text.includes('find-me-in-the-log'), next.text);
  assert.ok(next.json.next > first.next);
  const none = (await get(s, `/admin/log?since=${next.json.next + 1000000}`, admin())).json;
  assert.deepEqual(none.entries, []);
  refused(await get(s, '/admin/log?since=x', admin()), 400, 'bad_query', { field: 'since' });
  await s.says(/find-me-in-the-log/);
});

test('operations: a log line stays one line', async (t) => {
  const s = await start(t, { config: { log_level: 'debug' }, args: ['--log-format', 'json'] });
  await get(s, '/lobbies/%0a%0dINJECTED%1b%5b31m');
  await post(s, '/lobbies', { code: 'LOGGED', scene: 'a\nb\u0000' });
  await s.says(/LOGGED|.lobbies/);
  for (const line of s.stderr.trimEnd().split('\n')) {
    assert.doesNotThrow(() => JSON.parse(line), line);
  }
});

test('operations: reload by the admin route', async (t) => {
  const s = await start(t, { config: { log_level: 'info' } });
  assert.equal((await post(s, '/admin/reload', {}, admin())).status, 202);
  assert.equal((await get(s, '/healthz')).status, 200);
});

test('operations: SIGHUP takes over live keys from the file', async (t) => {
  const s = await start(t, { dev: false, config: { guest_login: 'on' } });
  assert.equal((await post(s, '/auth/guest', {})).status, 201);
  writeFileSync(s.configPath, JSON.stringify({ guest_login: 'off', connections: 77 }));
  s.signal('SIGHUP');
  const closed = await until(() => post(s, '/auth/guest', {}), (a) => a.status === 403, 'reload');
  refused(closed, 403, 'guest_login_disabled');
  await s.says(/connections/);
});

test('operations: SIGHUP with a broken file changes nothing', async (t) => {
  const s = await start(t, { dev: false, config: { guest_login: 'on' } });
  writeFileSync(s.configPath, '{"guest_login": "off",\n "nonsense": 1}');
  s.signal('SIGHUP');
  await s.says(/config\.json:2.*nonsense/);
  assert.equal((await post(s, '/auth/guest', {})).status, 201);
});

async function drains(t, begin) {
  const s = await start(t);
  const half = await Conn.open(s);
  await half.write(HALF);
  const idle = await Conn.open(s);
  assert.equal((await idle.ask(requestText('GET', '/healthz'))).status, 200);
  await begin(s);
  await until(() => get(s, '/readyz'), (a) => a.status === 503, 'draining');
  refused(await get(s, '/readyz'), 503, 'draining');
  refused(await post(s, '/lobbies', {}), 503, 'draining');
  refused(await post(s, '/lobbies/TEST/join', { player_name: 'x' }), 503, 'draining');
  refused(await post(s, '/auth/guest', {}), 503, 'draining');
  assert.equal((await get(s, '/healthz')).status, 200);
  await idle.end();
  const answer = await half.ask('x\r\n\r\n');
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.connection, 'close');
  await s.ended();
}

test('operations: SIGTERM drains', (t) => drains(t, (s) => s.signal('SIGTERM')));
test('operations: SIGINT drains', (t) => drains(t, (s) => s.signal('SIGINT')));
test('operations: the admin route drains', (t) => drains(t, async (s) => {
  const answer = await post(s, '/admin/drain', { grace_ms: 8000 }, admin());
  assert.equal(answer.status, 202, answer.text);
}));

test('operations: draining ends with the grace period', async (t) => {
  const s = await start(t, { config: MINUTES });
  const half = await Conn.open(s);
  await half.write(HALF);
  const before = Date.now();
  assert.equal((await post(s, '/admin/drain', { grace_ms: 700 }, admin())).status, 202);
  await s.ended();
  assert.ok(Date.now() - before >= 600, 'not before');
  half.close();
});

test('operations: with nobody connected SIGTERM ends at once', async (t) => {
  const s = await start(t, { config: MINUTES });
  await get(s, '/healthz');
  s.signal('SIGTERM');
  await s.ended();
});

test('operations: a second signal stops at once', async (t) => {
  const s = await start(t, { config: MINUTES });
  const half = await Conn.open(s);
  await half.write(HALF);
  s.signal('SIGTERM');
  await until(() => get(s, '/readyz'), (a) => a.status === 503, 'draining');
  s.signal('SIGTERM');
  const end = await within(s.exited, 'end');
  assert.equal(end.signal, null);
  half.close();
  s.stop = async () => s.sane(); // it has ended, and not as a drained one
});
