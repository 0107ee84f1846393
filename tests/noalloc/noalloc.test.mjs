// After the ready line the server allocates nothing, whatever comes: noalloc.so tells of each call
// of libc's allocator and of mmap and brk, and the list of mappings must be the same before and
// after.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import dgram from 'node:dgram';
import { resolve } from 'node:path';
import { Conn, admin, get, metrics, post, printedMemory, request, requestText, sleep, start, test }
  from '../wire/server.mjs';
import { BinaryPlayer, Player } from '../wire/datagrams.mjs';
import { Client, signIn } from '../wire/socket.mjs';
import { burst, host } from '../embed/embed.mjs';

const LIBRARY = resolve('build/noalloc.so');
const CONFIG = {
  connections: 32, refusals: 4, lobbies: 16, players: 20, large_inputs: 2, chunks: 34,
  large_inputs_per_address: 2, buffer_wait_ms: 500, head_timeout_ms: 2000, body_timeout_ms: 2000,
  send_timeout_ms: 2000, player_timeout_ms: 1500, lobby_timeout_ms: 1500, log_level: 'debug',
  users: 12, rooms: 3, seats: 8, bans: 4, ping_after_ms: 500, silence_timeout_ms: 1000,
  message_timeout_ms: 800, seat_timeout_ms: 700, room_timeout_ms: 700,
};

/* The process's mappings; the stack may grow. */
function mappings(pid) {
  return readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')
    .filter((line) => line && !/\[stack\]|\[v(var|dso)/.test(line))
    .map((line) => line.split(/\s+/).filter((_, i) => i !== 3 && i !== 4).join(' '));
}

const memoryKiB = (pid, key) => Number(readFileSync(`/proc/${pid}/status`, 'utf8')
  .match(new RegExp(`^${key}:\\s+(\\d+)`, 'm'))[1]);

async function told(s, text) {
  for (let i = 0; i < 100 && !s.stderr.includes(text); i++) await sleep(50);
  assert.ok(s.stderr.includes(text), `${text}\n${s.stderr.slice(-1000)}`);
}

async function ordinary(s) {
  for (const path of ['/', '/healthz', '/readyz', '/metrics', '/api/status', '/lobbies',
    '/lobbies/TEST', '/lobbies/NOPE', '/nowhere', '/lobbies?limit=x', '/%zz']) {
    await get(s, path);
    await request(s, 'HEAD', path);
    await request(s, 'OPTIONS', path);
  }
  for (let i = 0; i < 30; i++) {
    const made = await post(s, '/lobbies', { code: `N-${i}`, scene: 'x'.repeat(i) });
    const seat = await post(s, `/lobbies/N-${i}/join`, { player_name: '😀'.repeat(i + 1) });
    if (seat.status === 200 && i % 2) {
      await post(s, `/lobbies/N-${i}/leave`,
        { player_id: seat.json.player_id, udp_token: seat.json.udp_token });
    }
    if (made.status === 200 && i % 3 === 0) await request(s, 'DELETE', `/lobbies/N-${i}`);
  }
  const guest = await post(s, '/auth/guest', { username: 'x' });
  await request(s, 'POST', '/auth/refresh',
    { headers: { Authorization: `Bearer ${guest.json.token}` }, body: '{}' });
  for (const path of ['/admin/log', '/admin/log?since=3']) await get(s, path, admin());
  for (const path of ['announce', 'record']) {
    await post(s, `/admin/${path}`, { text: 'x' }, admin());
  }
  await request(s, 'POST', '/lobbies', { body: `{"scene":"s"${' '.repeat(50000)}}` });
}

/* Rooms that fill up, refusals, relays short and long, silence, a reader that stalls. */
async function players(s) {
  const clients = [];
  for (let i = 0; i < 14; i++) {
    const user = await signIn(s, `p${i}`);
    const client = await Client.open(s, { user }).catch(() => null);
    if (!client) continue;
    clients.push(client);
    client.send('handshake', { version: '1', name: `p${i}` });
    client.send('quick_join', { gamemode: `g${i % 4}`, maxPlayers: 3, version: '1', name: 'p' });
    client.send(i % 2 ? 'leave_room' : 'ban', { ip: '192.0.2.1', peerId: 7 });
    await post(s, '/api/rooms', { gamemode: 'g' }, { Authorization: `Bearer ${user.token}` });
  }
  clients[0].ws._socket.pause();
  for (let i = 0; i < 200; i++) {
    for (const client of clients) {
      client.send('player_state', { position: i, rotation: 'x'.repeat(i * 3) });
      client.send('chat', { text: '\u{1f600}'.repeat(i * 4) });
      client.send('rpc_call', { targetPeer: i % 3, method: 'm', args: 'x'.repeat(i * 100) });
    }
    if (i % 20 === 0) await sleep(20);
  }
  await get(s, '/api/rooms');
  await post(s, '/admin/announce', { text: 'all' }, admin());
  for (const client of clients) client.ws.send('{');
  await sleep(300);
  for (const client of clients.slice(0, 6)) client.drop();
  await sleep(1500); // seats and rooms run out, the silent are closed
  for (const client of clients) client.drop();
}

async function walkers(t, s) {
  const some = [];
  for (let i = 0; i < 3; i++) {
    some.push(await Player.enter(t, s, 'TEST', { joining: { batch: i === 0 } }));
    some.push(await BinaryPlayer.enter(t, s, 'TEST'));
  }
  for (let i = 0; i < 30; i++) {
    for (const one of some) await one.move(one instanceof BinaryPlayer ? [i, 0, 0] : i * 20);
    await some[0].say('weapon_switch', { weapon_id: i });
    await some[0].send({ type: 'ping', t: i });
    await some[0].send({ type: 'discover', nonce: i, pad: 'x'.repeat(300) });
    await some[0].send(Buffer.from(`000100002112a442${'11'.repeat(12)}`, 'hex'));
    await some[0].send({ type: 'join', lobby_code: 'TEST', player_id: 1, udp_token: 'no' });
    await sleep(50);
  }
  assert.ok(some[0].of('state_sync').length > 5 && some[1].of('snapshot').length > 5);
  for (const player of some) player.close(); // they fall silent
}

async function rude(s) {
  const socket = dgram.createSocket('udp4');
  for (let i = 0; i < 300; i++) socket.send(Buffer.alloc(i * 5, i), s.udp, '127.0.0.1');
  const held = [];
  for (let i = 0; i < 60; i++) { // more than `connections`, most of them doing something silly
    const conn = await Conn.open(s).catch(() => null);
    if (!conn) continue;
    held.push(conn);
    if (i % 4 === 0) {
      conn.socket.pause();
      conn.write(requestText('GET', '/lobbies').repeat(500));
    }
    if (i % 4 === 1) conn.write(Buffer.alloc(3000, i));
    if (i % 4 === 2) {
      conn.write('POST /lobbies HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n{');
    }
    if (i % 4 === 3) conn.write('GET / HTTP/1.1\r\nHost: ');
  }
  await sleep(4500); // all time-outs pass, lobbies and players go
  held.forEach((conn, i) => (i % 2 ? conn.close() : conn.socket.resetAndDestroy()));
  socket.close();
  await sleep(300);
}

test('noalloc: nothing is allocated after the ready line', async (t) => {
  assert.ok(existsSync(LIBRARY), 'make build/noalloc.so');
  const s = await start(t, { config: CONFIG, env: { LD_PRELOAD: LIBRARY } });
  const before = mappings(s.pid);
  s.signal('SIGUSR2');
  await told(s, 'noalloc: armed');
  await ordinary(s);
  await players(s);
  await walkers(t, s);
  await rude(s);
  await ordinary(s);

  // Drain while a half request keeps the server up.
  const half = await Conn.open(s);
  await half.write('GET /healthz HTTP/1.1\r\nHost: a\r\nX: ');
  assert.equal((await post(s, '/admin/drain', { grace_ms: 3000 }, admin())).status, 202);
  await get(s, '/readyz');
  await post(s, '/lobbies', {});
  const after = mappings(s.pid);
  s.signal('SIGUSR2');
  await told(s, ' calls\n');
  half.close();
  assert.match(s.stderr, /noalloc: 0 calls/, s.stderr.split('\n')
    .filter((line) => /noalloc|mpserver\(/.test(line)).slice(0, 30).join('\n'));
  assert.deepEqual(after, before, 'mappings');
  await s.ended();
});

test('noalloc: SIGHUP allocates nothing', async (t) => {
  const s = await start(t, { config: CONFIG, env: { LD_PRELOAD: LIBRARY } });
  s.signal('SIGUSR2');
  await told(s, 'noalloc: armed');
  s.signal('SIGHUP');
  await sleep(500);
  s.signal('SIGUSR2');
  await told(s, ' calls\n');
  assert.match(s.stderr, /noalloc: 0 calls/, s.stderr);
});

test('noalloc: a game that hosts allocates nothing while it runs', async (t) => {
  const s = await host(t, [], { env: { LD_PRELOAD: LIBRARY } });
  const before = mappings(s.pid);
  s.signal('SIGUSR2');
  await told(s, 'noalloc: armed');
  const guests = await burst(t, s, 20);
  await Promise.all(guests.map((guest) => guest.meets(21)));
  for (let i = 0; i < 40; i++) { // two lines of frame times
    await Promise.all(guests.map((guest) => guest.move(i)));
    await sleep(50);
  }
  await post(s, '/admin/reload', {}, admin());
  for (const guest of guests) guest.leave();
  const after = mappings(s.pid);
  s.signal('SIGUSR2');
  await told(s, ' calls\n');
  assert.match(s.stderr, /noalloc: 0 calls/, s.stderr);
  assert.deepEqual(after, before, 'mappings');
});

test('noalloc: an allocation would be seen', async (t) => {
  const s = await start(t, { env: { LD_PRELOAD: LIBRARY } });
  s.signal('SIGUSR2');
  await told(s, 'noalloc: armed');
  s.signal('SIGUSR1');
  await told(s, 'noalloc: malloc from');
  s.signal('SIGUSR2');
  await told(s, 'noalloc: 2 calls');
});

test('noalloc: --print-memory agrees with the process', async (t) => {
  for (const preset of ['tiny', 'small', 'large']) {
    const { core, total: bytes } = printedMemory(preset);
    const s = await start(t, { args: ['--preset', preset] });
    const data = memoryKiB(s.pid, 'VmData') * 1024;
    assert.ok(data >= bytes, `${preset}: VmData ${data} < ${bytes}`);
    assert.ok(data <= bytes * 1.1 + 4 * 1024 * 1024, `${preset}: VmData ${data} > ${bytes}`);
    assert.ok(memoryKiB(s.pid, 'VmRSS') * 1024 <= bytes * 1.1 + 8 * 1024 * 1024);
    assert.equal((await metrics(s)).get('mpserver_memory_bytes'), core);
    await s.stop();
  }
});
