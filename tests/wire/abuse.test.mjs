// What strangers tried: each of these once went wrong, or easily could.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import {
  admin, Conn, get, metrics, post, refused, request, requestText, run, sleep, start, test, token,
} from './server.mjs';

const lobbies = async (s, count) => {
  for (let i = 0; i < count; i++) {
    assert.equal((await post(s, '/lobbies', { code: `L${i}`, scene: 's'.repeat(60) })).status, 200);
  }
};

/* A reader that asks for far more than sockets hold, and never reads. */
async function stalled(s) {
  const conn = await Conn.open(s);
  conn.socket.pause();
  conn.socket.write(requestText('GET', '/lobbies?limit=200').repeat(500));
  await sleep(300);
  return conn;
}

test('abuse: a stalled reader does not hold the end of a drain', async (t) => {
  const s = await start(t, { config: { drain_grace_ms: 500, linger_ms: 500, lobbies: 300,
    send_timeout_ms: 60000 } });
  await lobbies(s, 200);
  const conn = await stalled(s);
  s.signal('SIGTERM');
  await s.ended(); // long before send_timeout_ms
  conn.close();
});

test('abuse: asked to drain again, the sooner end counts', async (t) => {
  const s = await start(t);
  const half = await Conn.open(s);
  await half.write('GET /healthz HTTP/1.1\r\n');
  assert.equal((await post(s, '/admin/drain', { grace_ms: 600000 }, admin())).status, 202);
  assert.equal((await post(s, '/admin/drain', { grace_ms: 300 }, admin())).status, 202);
  assert.equal((await post(s, '/admin/drain', { grace_ms: 600000 }, admin())).status, 202);
  await s.ended();
  half.close();
});

test('abuse: no token and no ticket reaches the log', async (t) => {
  const s = await start(t, { args: ['--log-level', 'debug'] });
  const names = ['token', 'udp_token', 'udp%5Ftoken', 'TOKEN', 'resumeToken', 'match_ticket'];
  for (const name of names) await get(s, `/lobbies/TEST?x=1&${name}=SECRET&y=2`);
  const { entries } = (await get(s, '/admin/log', admin())).json;
  assert.ok(entries.length >= names.length);
  await s.says(/match_ticket=REDACTED&y=2/); // the last of them
  assert.doesNotMatch(JSON.stringify(entries) + s.stderr, /SECRET/);
  assert.match(s.stderr, /udp%5Ftoken=REDACTED&y=2/);
});

test('abuse: a name cannot talk to the terminal of the log', async (t) => {
  const s = await start(t, { config: { drain_grace_ms: 100 } });
  const player_name = '\u009b31m\u202e\u2028\u007f';
  assert.equal((await post(s, '/lobbies/TEST/join', { player_name })).status, 200);
  await s.says(/name="\\u009b31m\\u202e\\u2028\\u007f"/);
});

test('abuse: a proxy that says nothing readable lends its rights to nobody', async (t) => {
  const s = await start(t, { dev: false, config: { trusted_proxies: ['127.0.0.1'] } });
  const bad = ['garbage', '8.8.8.8, unknown', '8.8.8.8,', '8.8.8.8', '1.2.3.4:x', 'fe80::1%eth0'];
  for (const list of bad) {
    refused(await get(s, '/metrics', { 'X-Forwarded-For': list }), 403, 'metrics_forbidden');
  }
  const three = 'X-Forwarded-For: 127.0.0.1\r\n'.repeat(3);
  const conn = await Conn.open(s);
  refused(await conn.ask(`GET /metrics HTTP/1.1\r\nHost: a\r\n${three}\r\n`), 403,
    'metrics_forbidden');
  conn.close();
  assert.equal((await get(s, '/metrics')).status, 200, 'asked by the host itself');
});

test('abuse: who it is from is said once', async (t) => {
  const s = await start(t);
  const field = `Authorization: Bearer ${token({ sub: 'a', exp: 4000000000, role: 'admin' })}\r\n`;
  const conn = await Conn.open(s);
  const head = `GET /admin/log HTTP/1.1\r\nHost: a\r\n${field}`;
  assert.equal((await conn.ask(`${head}\r\n`)).status, 200);
  refused(await conn.ask(`${head}${field}\r\n`), 400, 'bad_request');
  conn.close();
});

test('abuse: noise is answered at its first byte', async (t) => {
  const s = await start(t);
  for (const noise of [[0x16, 3, 1, 2], [0], [0xff, 0xfe], [0x20], [0x80]]) {
    const conn = await Conn.open(s);
    conn.write(Buffer.from(noise));
    refused(await conn.read(), 400, 'bad_request');
    conn.close();
  }
});

test('abuse: a reload tells of secrets and lists that wait for a restart', async (t) => {
  const config = { jwt_secret: 'x'.repeat(40), trusted_proxies: ['10.0.0.0/8'] };
  const s = await start(t, { config, env: { MPSERVER_JWT_SECRET: '' } });
  const reload = async (changed) => {
    const from = s.stderr.length;
    writeFileSync(s.configPath, JSON.stringify(changed));
    s.signal('SIGHUP');
    for (let i = 0; i < 100 && !/waiting_for_restart/.test(s.stderr.slice(from)); i++) {
      await sleep(20);
    }
    return s.stderr.slice(from);
  };
  assert.match(await reload(config), /waiting_for_restart=0/);
  const twice = { ...config, trusted_proxies: ['10.0.0.0/8', '10.0.0.0/8'] };
  assert.match(await reload(twice), /waiting_for_restart=0/);
  const said = await reload({ jwt_secret: 'y'.repeat(40), metrics_allow: ['::1'] });
  assert.match(said, /waiting_for_restart=3/);
  for (const key of ['jwt_secret', 'trusted_proxies', 'metrics_allow']) {
    assert.match(said, new RegExp(`key=${key}`));
  }
  assert.doesNotMatch(said, /yyyy/);
});

test('abuse: no token is minted that would be refused', () => {
  const minted = run(['--mint-token', '--sub', 'a\x01b']);
  assert.equal(minted.status, 2);
  assert.equal(minted.stdout, '');
});

test('abuse: request seconds take time, and count what was answered', async (t) => {
  const s = await start(t);
  const conn = await Conn.open(s);
  await conn.write('GET /healthz HTTP/1.1\r\n');
  await sleep(1000); // though the server may come to read it late
  assert.equal((await conn.ask('Host: a\r\n\r\n')).status, 200);
  await request(s, 'GET', '/healthz');
  const found = await metrics(s);
  assert.equal(found.get('mpserver_request_seconds_count'), 2);
  assert.ok(found.get('mpserver_request_seconds_sum') > 0.25);
  assert.equal(found.get('mpserver_request_seconds_bucket{le="0.25"}'), 1);
  conn.close();
});
