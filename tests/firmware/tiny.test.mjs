// The firmware with the preset `tiny`: what it needs to start, what is told apart from start to
// start, and what it does when its 16 connections, or lwIP's records, are used up.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Conn, get, refused, request, requestText, sleep, until }
  from '../wire/server.mjs';
import { follow } from '../wire/readme.mjs';
import { signIn } from '../wire/socket.mjs';
import { Board, SEED_ADDRESS, alias, atRest, ip, metrics, open, receiveBuffer }
  from './board.mjs';
import { lobbies, positions, room } from './play.mjs';

const IMAGE = 'mpserver.elf';
const CONNECTIONS = 16; // as in sizes.h
const REFUSALS = 4;
const PCBS = 28;
const DEADLINE = { timeout: 150000 };

const healthz = requestText('GET', '/healthz');

async function serves(board, options) {
  const conn = await Conn.open(board, options);
  conn.write(healthz);
  const answer = await conn.read('GET', 60000);
  conn.close();
  assert.equal(answer?.status, 200, answer?.text);
  return answer.json.uptime_ms;
}

/* What the linker kept of the C library, in its map: a place and a size, neither of them 0. */
const KEPT = / 0x0*[1-9a-f][0-9a-f]* +0x[1-9a-f]\S* \S*\/libc\.a\(lib_a-(.*?)(?:-stub)?\.o\)/g;

test('firmware: of a C library there are six functions', () => {
  for (const size of ['tiny', 'small']) {
    const map = readFileSync(`build/firmware/${size}/mpserver.elf.map`, 'utf8')
      .split('Linker script and memory map')[1].split(/^\.debug/m)[0];
    const kept = new Set([...map.matchAll(KEPT)].map(([, name]) => name));
    assert.deepEqual([...kept].sort(),
      ['memcmp', 'memcpy', 'memmove', 'memset', 'strcmp', 'strlen']);
  }
});

test('firmware, tiny: lobbies, a room, positions', DEADLINE, async (t) => {
  const board = await Board.boot(t, IMAGE);
  assert.deepEqual([board.host, board.port, board.udp], ['10.0.2.15', 8080, 8081]);
  assert.equal(await follow(t, '127.0.0.1:18080', `${board.host}:${board.port}`), 2);
  assert.equal((await request(board, 'DELETE', '/lobbies/CAVE')).status, 200);
  await lobbies(board);
  await room(board);
  await positions(t, board, 'UDP');
  assert.equal((await get(board, '/auth/guest')).status, 405);
  await board.says(/ INFO {2}lobby opened code=CAVE scene=cave max_players=4$/m);
  const { most } = (await atRest(board)).pcbs;
  assert.ok(most > 0 && most <= CONNECTIONS, `${most} connections`);
});

test('firmware, tiny: a board without a seed says so and serves nobody', DEADLINE, async (t) => {
  const half = Buffer.concat([randomBytes(32), Buffer.alloc(32)]);
  for (const seed of [null, Buffer.alloc(64), half]) {
    const board = await Board.start(t, IMAGE, { seed });
    await board.says(/^mpserver: the board has no entropy: .*64 bytes$/m);
    assert.doesNotMatch(board.uart, /ready/);
    await board.off();
  }
});

/* Initial sequence numbers of the server's, by the client's port, from captured frames. */
function sequences(file) {
  const bytes = readFileSync(file);
  const found = new Map();
  for (let at = 24; at + 16 <= bytes.length;) { // libpcap's file and record headers
    const frame = bytes.subarray(at + 16, at + 16 + bytes.readUInt32LE(at + 8));
    at += 16 + frame.length;
    if (frame.length < 54 || frame.readUInt16BE(12) !== 0x0800 || frame[23] !== 6) continue;
    const tcp = frame.subarray(14 + (frame[14] & 15) * 4);
    if ((tcp[13] & 0x12) === 0x12) found.set(tcp.readUInt16BE(2), tcp.readUInt32BE(4));
  }
  return found;
}

test('firmware, tiny: each seed makes other sequence numbers and tokens', DEADLINE, async (t) => {
  const seed = randomBytes(64);
  const ports = [40001, 40002, 40003];
  const boots = [];
  for (const one of [seed, seed, randomBytes(64)]) {
    const board = await Board.boot(t, IMAGE, { seed: one, capture: true });
    const wiped = await board.monitor(`xp /16wx ${SEED_ADDRESS}`);
    assert.deepEqual(wiped.match(/0x[0-9a-f]{8}/g).slice(-16), Array(16).fill('0x00000000'));
    for (const localPort of ports) {
      const conn = await open(t, board, { localPort });
      await conn.ask(healthz);
      conn.socket.resetAndDestroy(); // the port is free again
    }
    const user = await signIn(board, 'Ada');
    const last = boots.at(-1)?.token;
    if (last && one !== seed) {
      refused(await get(board, '/api/presence', { Authorization: `Bearer ${last}` }), 401,
        'invalid_token');
    }
    await board.off();
    const isn = sequences(board.capture);
    boots.push({ token: user.token, id: user.user_id, isn: ports.map((port) => isn.get(port)) });
  }
  const [first, again, other] = boots;
  const MINUTE = 15e6; // of their clock, which adds one in 4 us
  const near = (a, b) => Math.abs((a - b) | 0) < MINUTE;
  assert.ok(first.isn.every((isn, i) => near(isn, again.isn[i])), 'the same seed, the same key');
  assert.equal(first.id, again.id);
  assert.ok(!first.isn.every((isn, i) => near(isn, other.isn[i])), 'another seed, another key');
  assert.ok(!first.isn.every((isn) => near(isn, first.isn[0])), 'another port, another number');
  assert.notEqual(first.id, other.id);
});

test('firmware, tiny: a UART that nobody reads costs lines, not service', DEADLINE, async (t) => {
  const board = await Board.boot(t, IMAGE);
  board.child.stdout.pause();
  for (let i = 0; i < 2500; i++) { // more than all the buffers on the way hold
    board.child.stdin.write('?');
    await sleep(1);
  }
  await serves(board);
  board.child.stdout.resume();
  await sleep(200);
  await board.usage();
  const [, lines] = await board.says(
    /^up \d+ms WARN {2}the UART was too slow; log lines are lost lines=(\d+)$/m);
  assert.ok(Number(lines) > 0 && Number(lines) <= 2500);
});

test('firmware, tiny: a fault is told on the UART, and resets', DEADLINE, async (t) => {
  const board = await Board.boot(t, IMAGE);
  await serves(board);
  await board.jump(0xe0000000); // where nothing can be executed
  assert.match(board.uart, /^mpserver: fault, exception 00000003 pc e0000000 lr [0-9a-f]{8} /m);
  assert.equal(board.child.exitCode, 0);
});

test('firmware, tiny: 16 are served, 4 told 503, others reset', DEADLINE, async (t) => {
  const board = await Board.boot(t, IMAGE);
  const conns = [];
  for (let i = 0; i < CONNECTIONS; i++) {
    conns.push(await open(t, board, { localAddress: alias(i) }));
    assert.equal((await conns[i].ask(healthz)).status, 200);
  }
  const more = [];
  for (let i = 0; i < REFUSALS + 4; i++) {
    const localAddress = alias(20 + i); // half-open: who hangs up, too, makes room for the next
    const conn = await open(t, board, { localAddress, allowHalfOpen: true, lazy: true });
    more.push({ conn, answer: await conn.read() });
  }
  for (const { answer } of more.slice(0, REFUSALS)) refused(answer, 503, 'connections_full');
  assert.deepEqual(more.slice(REFUSALS).map(({ answer }) => answer), Array(4).fill(null));
  for (const conn of conns) assert.equal((await conn.ask(healthz)).status, 200);
  for (const { conn } of more) conn.close();
  conns.pop().close();
  await until(() => serves(board), Boolean, 'a place');
  for (const conn of conns) conn.close();
  await atRest(board);
});

test('firmware, tiny: a peer that sends crumbs and does not read takes little', DEADLINE,
  async (t) => {
    const board = await Board.boot(t, IMAGE);
    receiveBuffer('4096 4096 4096');
    t.after(() => receiveBuffer('4096 131072 6291456'));
    const conn = await open(t, board, { localAddress: alias(1) });
    conn.socket.pause();
    await conn.write(requestText('GET', '/metrics').repeat(20));
    await sleep(200);
    for (let i = 0; i < 400; i++) { // one segment each
      conn.socket.write('G');
      await sleep(1);
    }
    const { pbufs } = await board.usage();
    assert.ok(pbufs.used >= 1 && pbufs.used <= 8, `${pbufs.used} pbufs`);
    assert.equal(pbufs.errors, 0);
    await serves(board);
  });

/* Clients that leave without a word: their addresses are taken away. */
async function pull(addresses) {
  for (const address of addresses) await ip('addr', 'del', `${address}/24`, 'dev', 'board');
}

async function plug(addresses) {
  for (const address of addresses) await ip('addr', 'add', `${address}/24`, 'dev', 'board');
}

test('firmware, tiny: every record of lwIP taken by half-open connections', DEADLINE,
  async (t) => {
    const board = await Board.boot(t, IMAGE);
    const before = await serves(board);
    const addresses = Array.from({ length: PCBS + 4 }, (_, i) => alias(i));
    await board.monitor('stop');
    for (const localAddress of addresses) await open(t, board, { localAddress, lazy: true });
    t.after(() => plug(addresses)); // behind their end, or they would ask the next board
    await sleep(200); // their SYNs are in the TAP's queue
    await pull(addresses);
    await board.monitor('cont');
    const full = await until(() => board.usage(), (usage) => usage.pcbs.used === PCBS, 'full');
    assert.ok(full.pcbs.errors >= 4, `${full.pcbs.errors} refused`);
    const after = await serves(board, { lazy: true }); // when the half-open ones are given up
    assert.ok(after > before, 'no reset');
    const all = await metrics(board);
    assert.ok(all.get('mpserver_port_errors_total') >= 1);
    await atRest(board);
    assert.doesNotMatch(board.uart, /fault/);
  });

test('firmware, tiny: all clients pulled, half of them with an answer on its way', DEADLINE,
  async (t) => {
    const board = await Board.boot(t, IMAGE);
    const addresses = Array.from({ length: CONNECTIONS }, (_, i) => alias(40 + i));
    const conns = [];
    for (const localAddress of addresses) {
      conns.push(await open(t, board, { localAddress }));
      assert.equal((await conns.at(-1).ask(healthz)).status, 200);
    }
    await board.monitor('stop');
    for (const conn of conns.slice(0, CONNECTIONS / 2)) conn.write(healthz);
    await sleep(200);
    await pull(addresses);
    conns.forEach((conn) => conn.close()); // nothing of it leaves this host
    t.after(() => plug(addresses));
    await board.monitor('cont');
    refused(await request(board, 'GET', '/healthz'), 503, 'connections_full');
    assert.ok((await board.usage()).segments.used >= CONNECTIONS / 2, 'answers on their way');
    const uptime = await until(() => serves(board), Boolean, 'a place', 60000);
    assert.ok(uptime > 30000 && uptime < 60000, `send_timeout_ms, ${uptime}`);
    assert.ok((await board.usage()).pcbs.used >= CONNECTIONS / 2, 'the idle ones');
    const rest = await atRest(board, 75000); // idle_timeout_ms
    assert.ok(rest.up > 75000, `${rest.up}`);
    assert.deepEqual([rest.pcbs.errors, rest.heap.errors], [0, 0]);
    assert.doesNotMatch(board.uart, /fault/);
  });
