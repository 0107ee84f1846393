// Slow clients, floods, full tables: each is told, counted, and of no concern to anybody else.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Conn, get, metrics, post, refused, request, requestText, sleep, start, test, until }
  from './server.mjs';

const GET = requestText('GET', '/healthz');
const LIST = requestText('GET', '/lobbies?limit=1');

/* So many connections, each of them served. */
async function hold(s, count) {
  const held = [];
  for (let i = 0; i < count; i++) {
    held.push(await Conn.open(s));
    assert.equal((await held[i].ask(GET)).status, 200);
  }
  return held;
}

const closing = (list) => list.forEach((conn) => conn.close());

/* Sixty lobbies: with TEST, a list of 61 that is some 15 KB long. */
async function crowd(s) {
  for (let i = 0; i < 60; i++) {
    await post(s, '/lobbies', { code: `CROWD-${i}`, scene: 's'.repeat(64) });
  }
}

test('limits: a head that does not come is 408', async (t) => {
  const s = await start(t, { config: { head_timeout_ms: 1000 } });
  const conn = await Conn.open(s);
  const before = Date.now();
  await conn.write('GET /healthz HTTP/1.1\r\nHost:');
  refused(await conn.read(), 408, 'request_timeout');
  assert.ok(Date.now() - before >= 900, 'not before its time');
  await conn.end();
  conn.close();
});

test('limits: trickling a head does not move its time-out', async (t) => {
  const s = await start(t, { config: { head_timeout_ms: 1000 } });
  const conn = await Conn.open(s);
  await conn.write('GET /healthz HTTP/1.1\r\nHost: ');
  const trickle = setInterval(() => conn.socket.writable && conn.write('a'), 100);
  refused(await conn.read(), 408, 'request_timeout');
  clearInterval(trickle);
  conn.close();
});

test('limits: a body that does not come is 408', async (t) => {
  const s = await start(t, { config: { body_timeout_ms: 1000 } });
  const conn = await Conn.open(s);
  await conn.write('POST /lobbies HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{"a"');
  refused(await conn.read(), 408, 'request_timeout');
  await conn.end();
  conn.close();
});

test('limits: an idle connection is closed without a word', async (t) => {
  const s = await start(t, { config: { idle_timeout_ms: 1000 } });
  const conn = await Conn.open(s);
  assert.equal((await conn.ask(GET)).status, 200);
  await conn.end();
  conn.close();
});

test('limits: requests per second and address', async (t) => {
  const s = await start(t, { dev: false, config: { requests_per_s: 5 } });
  const conn = await Conn.open(s);
  await conn.write(LIST.repeat(40));
  const seen = { 200: 0, 429: 0 };
  for (let i = 0; i < 40; i++) {
    const answer = await conn.read();
    seen[answer.status]++;
    if (answer.status === 429) refused(answer, 429, 'rate_limited');
  }
  assert.ok(seen[200] >= 10 && seen[200] <= 20, JSON.stringify(seen));
  await sleep(1300);
  assert.equal((await conn.ask(LIST)).status, 200, 'it refills');
  conn.close();
});

test('limits: the bucket belongs to the forwarded address', async (t) => {
  const s = await start(t, { dev: false,
    config: { requests_per_s: 5, trusted_proxies: ['127.0.0.1'] } });
  const conn = await Conn.open(s);
  const ask = (ip) => conn.ask(
    requestText('GET', '/lobbies', { headers: { 'X-Forwarded-For': ip } }),
  );
  let last;
  for (let i = 0; i < 30; i++) last = await ask('203.0.113.1');
  assert.equal(last.status, 429);
  assert.equal((await ask('203.0.113.2')).status, 200);
  for (let i = 0; i < 30; i++) last = await ask(`2001:db8:0:1::${i + 1}`);
  assert.equal(last.status, 429, 'a /64 is one address');
  assert.equal((await ask('2001:db8:0:2::1')).status, 200);
  conn.close();
});

test('limits: connections per second and address', async (t) => {
  const config = { connections_per_s: 5, requests_per_s: 10000 };
  const s = await start(t, { dev: false, config });
  const seen = {};
  for (let i = 0; i < 40; i++) {
    const conn = await Conn.open(s);
    await conn.write(GET);
    const answer = await conn.read().catch(() => null);
    seen[answer?.status ?? 'closed'] = (seen[answer?.status ?? 'closed'] ?? 0) + 1;
    if (answer?.status === 429) refused(answer, 429, 'rate_limited');
    conn.close();
  }
  assert.ok(seen[200] >= 10 && seen[200] <= 25, JSON.stringify(seen));
  assert.ok(seen[429] >= 5, JSON.stringify(seen));
  await sleep(1300);
  const count = await metrics(s);
  assert.ok(count.get('mpserver_connections_refused_total') >= 5 ||
    [...count.samples.keys()].some((key) => key.startsWith('mpserver_connections_refused_total{')));
});

test('limits: --dev exempts loopback', async (t) => {
  const s = await start(t, { config: { requests_per_s: 5, connections_per_s: 5 } });
  for (let i = 0; i < 50; i++) assert.equal((await get(s, '/lobbies')).status, 200);
});

test('limits: --dev exempts loopback alone', async (t) => {
  const s = await start(t, { config: { requests_per_s: 5, trusted_proxies: ['127.0.0.1'] } });
  let last;
  const away = { 'X-Forwarded-For': '203.0.113.1' };
  for (let i = 0; i < 30; i++) last = await get(s, '/lobbies', away);
  refused(last, 429, 'rate_limited');
});

test('limits: connections of one address', async (t) => {
  const s = await start(t, { dev: false, config: { connections_per_address: 3 } });
  const held = await hold(s, 3);
  const fourth = await Conn.open(s);
  await fourth.write(GET);
  refused(await fourth.read(), 429, 'address_connections_full');
  await s.says(/connection refused.*address_connections_full/);
  fourth.close();
  held[1].close();
  await until(() => get(s, '/healthz'), (answer) => answer.status === 200, 'room for one more');
  closing(held);
});

test('limits: connections', async (t) => {
  const s = await start(t, { config: { connections: 8, refusals: 2 } });
  const held = await hold(s, 8);
  const ninth = await Conn.open(s);
  await ninth.write(GET);
  refused(await ninth.read(), 503, 'connections_full');
  ninth.close();
  for (let i = 0; i < 20; i++) (await Conn.open(s)).write(GET);
  for (const conn of held) assert.equal((await conn.ask(GET)).status, 200, 'nobody else noticed');
  const count = await (async () => {
    const answer = await held[0].ask(requestText('GET', '/metrics'));
    return (await import('./server.mjs')).parseMetrics(answer.text);
  })();
  assert.ok(count.get('mpserver_table_full_total{table="connections"}') >= 1);
  assert.equal(count.get('mpserver_table_high{table="connections"}'), 8);
  closing(held);
  await sleep(300);
  assert.equal((await get(s, '/healthz')).status, 200);
});

const BIG = 40000;
const bigHead = `POST /lobbies HTTP/1.1\r\nHost: a\r\nContent-Length: ${BIG}\r\n\r\n`;
const bigBody = `{"code":"BIG"${' '.repeat(BIG - 14)}}`;

test('limits: large inputs', async (t) => {
  const s = await start(t, { config: {
    large_inputs: 1, large_inputs_per_address: 1, buffer_wait_ms: 700, chunks: 64,
  } });
  const first = await Conn.open(s);
  await first.write(bigHead + bigBody.slice(0, 30000));
  await sleep(200);
  const second = await Conn.open(s);
  second.write(bigHead + bigBody);
  refused(await second.read(), 503, 'large_inputs_full');
  second.close();
  assert.equal((await get(s, '/healthz')).status, 200);
  const done = await first.ask(bigBody.slice(30000));
  assert.equal(done.json.code, 'BIG', done.text);
  first.close();
  const count = await metrics(s);
  assert.ok(count.get('mpserver_table_full_total{table="large_inputs"}') >= 1);
  assert.equal(count.get('mpserver_table_used{table="large_inputs"}'), 0);
});

test('limits: a large input waits for its turn', async (t) => {
  const s = await start(t, { config: {
    large_inputs: 1, large_inputs_per_address: 1, buffer_wait_ms: 8000,
  } });
  const first = await Conn.open(s);
  await first.write(bigHead + bigBody.slice(0, 30000));
  await sleep(200);
  const second = await Conn.open(s);
  second.write(bigHead + bigBody.replace('BIG', 'TOO'));
  await sleep(300);
  assert.equal((await first.ask(bigBody.slice(30000))).json.code, 'BIG');
  assert.equal((await second.read()).json.code, 'TOO');
  closing([first, second]);
});

test('limits: readers that stall', async (t) => {
  const s = await start(t, { config: { chunks: 34, send_timeout_ms: 2000 } });
  await crowd(s);
  const stalled = [];
  for (let i = 0; i < 12; i++) {
    const conn = await Conn.open(s);
    conn.socket.pause();
    conn.write(requestText('GET', '/lobbies?limit=200').repeat(2000));
    stalled.push(conn);
  }
  for (let i = 0; i < 20; i++) {
    assert.equal((await get(s, '/healthz')).status, 200);
    await sleep(50);
  }
  await sleep(3000); // send_timeout_ms: the stalled are gone, their memory is back
  const count = await metrics(s);
  assert.ok(count.get('mpserver_table_used{table="chunks"}') <= 2);
  assert.ok(count.get('mpserver_table_high{table="chunks"}') > 0);
  assert.ok(count.get('mpserver_connections') <= 2, 'stalled readers were closed');
  const list = await get(s, '/lobbies?limit=200');
  assert.equal(list.json.length, 61);
  closing(stalled);
});

test('limits: a slow reader gets every byte', async (t) => {
  const s = await start(t);
  await crowd(s);
  const conn = await Conn.open(s);
  conn.socket.pause();
  conn.write(requestText('GET', '/lobbies?limit=200').repeat(300));
  await sleep(500);
  conn.socket.resume();
  for (let i = 0; i < 300; i++) {
    const answer = await conn.read();
    assert.equal(answer.json.length, 61, `list ${i}`);
  }
  conn.close();
});

const ticks = (pid) => Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6;

test('limits: connections reset before they are accepted hold nobody up', async (t) => {
  const s = await start(t);
  for (let i = 0; i < 100; i++) {
    const conn = await Conn.open(s);
    conn.socket.resetAndDestroy();
  }
  assert.equal((await get(s, '/healthz')).status, 200);
  assert.equal((await metrics(s)).get('mpserver_port_errors_total'), 0);
});

test('limits: a half-closed reader that stalls costs nothing, and gets every byte', async (t) => {
  const s = await start(t);
  await crowd(s);
  const conn = await Conn.open(s);
  conn.socket.pause();
  conn.socket.end(requestText('GET', '/lobbies?limit=200').repeat(1000));
  await sleep(1500);
  const before = ticks(s.pid);
  await sleep(1500);
  const spent = ticks(s.pid) - before;
  assert.ok(spent < 300, `${spent} ms of CPU in 1.5 s of nothing`);
  conn.socket.resume();
  for (let i = 0; i < 1000; i++) {
    const answer = await conn.read();
    assert.equal(answer.json.length, 61, `list ${i}`);
  }
  await conn.end();
});

test('limits: garbage of every kind leaves the server well', async (t) => {
  const s = await start(t);
  let seed = 1;
  const random = (n) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % n;
  };
  for (let i = 0; i < 150; i++) {
    const bytes = Buffer.from(Array.from({ length: random(600) + 1 }, () => random(256)));
    const conn = await Conn.open(s);
    if (i % 3 === 1) {
      await conn.write('POST /lobbies HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n{');
    }
    if (i % 3 === 2) await conn.write('GET /lobbies HTTP/1.1\r\nHost: a\r\n');
    await conn.write(bytes);
    if (i % 2) conn.socket.resetAndDestroy();
    else conn.close();
  }
  assert.equal((await get(s, '/healthz')).status, 200);
  await until(() => metrics(s), (m) => m.get('mpserver_connections') === 1, 'one connection');
});

test('limits: the tiny preset serves', async (t) => {
  const s = await start(t, { args: ['--preset', 'tiny'] });
  assert.equal((await get(s, '/lobbies/TEST')).status, 200);
  assert.equal((await request(s, 'GET', `/${'x'.repeat(1023)}`)).status, 404);
  refused(await request(s, 'GET', `/${'x'.repeat(1024)}`), 414, 'target_too_long');
  refused(await request(s, 'POST', '/lobbies', { body: ' '.repeat(4097) }), 413, 'body_too_large');
  refused(await get(s, '/healthz', { 'X-Fill': 'x'.repeat(2048) }), 431, 'head_too_large');
});

test('limits: out of descriptors the server waits without spinning, and goes on', async (t) => {
  const s = await start(t, { ulimit: '-n 40' });
  const held = [];
  for (let i = 0; i < 80; i++) {
    held.push(await Conn.open(s));
    held[i].write(GET);
  }
  await sleep(300);
  const before = ticks(s.pid);
  await sleep(1000);
  assert.ok(ticks(s.pid) - before < 300, 'milliseconds of CPU in a second of nothing');
  let served = held.filter((conn) => conn.bytes.length > 0).length;
  assert.ok(served > 10 && served < 40, `${served} served`);
  for (let i = 0; i < 50 && served < held.length; i++) {
    held.filter((conn) => conn.bytes.length > 0).forEach((conn) => conn.close());
    await sleep(200);
    served = held.filter((conn) => conn.bytes.length > 0).length;
  }
  assert.equal(served, held.length, 'all of them in the end');
  closing(held);
  await sleep(200);
  assert.ok((await metrics(s)).get('mpserver_port_errors_total') >= 1);
  await s.says(/accepting failed/);
});
