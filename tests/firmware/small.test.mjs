// The firmware with the preset `small`: one board that serves many, runs short of memory, is worked
// hard for two minutes, and is at rest afterwards as if nothing had been.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Player } from '../wire/datagrams.mjs';
import { post, request, requestText, sleep, until } from '../wire/server.mjs';
import { Client, signIn } from '../wire/socket.mjs';
import { Board, alias, atRest, metrics, open, receiveBuffer } from './board.mjs';
import { lobbies, positions, room } from './play.mjs';

const LOAD_MS = 120000;
const REQUESTS = 20000; // at least
const WORKERS = 20; // each has an address of its own, and so a rate of its own
const DEADLINE = { timeout: 200000 };

const ending = [];
const board = await Board.boot({ after: (end) => ending.push(end) }, 'mpserver-small.elf');
after(async () => {
  for (const end of ending) await end();
});

const healthz = requestText('GET', '/healthz');

test('firmware, small: lobbies, a room, positions', DEADLINE, async (t) => {
  await lobbies(board);
  await room(board);
  await positions(t, board, 'UDP');
});

test('firmware, small: 100 connections at once, each kept and served', DEADLINE, async (t) => {
  const conns = await Promise.all(Array.from({ length: 100 }, (_, i) =>
    open(t, board, { localAddress: alias(i) })));
  for (let round = 0; round < 3; round++) {
    const answers = await Promise.all(conns.map((conn) => conn.ask(healthz)));
    assert.ok(answers.every((answer) => answer.status === 200));
  }
  assert.equal((await metrics(board)).get('mpserver_connections'), 101);
  assert.ok((await board.usage()).pcbs.used >= 100);
});

test('firmware, small: lwIP out of heap by clients that do not read', DEADLINE, async (t) => {
  receiveBuffer('4096 4096 4096');
  const before = await board.usage();
  const stuck = [];
  const pipelined = requestText('GET', '/metrics').repeat(8);
  // Nobody waits to be connected: whose SYN finds no heap is answered when there is some again.
  while (stuck.length < 600 && (await board.usage()).heap.errors === before.heap.errors) {
    for (let k = 0; k < 40; k++) {
      const conn = await open(t, board, { localAddress: alias(stuck.length), lazy: true });
      conn.socket.pause();
      conn.write(pipelined);
      stuck.push(conn);
    }
    await sleep(1000);
  }
  receiveBuffer('4096 131072 6291456');
  const short = await board.usage();
  assert.ok(short.heap.errors > before.heap.errors, JSON.stringify(short));
  assert.ok(short.up > before.up, 'no reset');
  const reader = await open(t, board, { lazy: true }); // has to wait for what the others hold
  reader.write(healthz);
  stuck.forEach((conn) => conn.close());
  assert.equal((await reader.read('GET', 60000)).status, 200);
  assert.ok((await metrics(board)).get('mpserver_port_errors_total') > 0);
  console.log(`${stuck.length} clients, heap ${JSON.stringify(short.heap)}`);
});

/* One of the clients: requests on a kept connection, now and then on a new one, at a rate that its
   address is allowed. Counts the answers. */
async function work(t, index, end) {
  const localAddress = alias(index);
  const ask = [
    ['GET', '/healthz', {}, 200],
    ['GET', '/lobbies?limit=5', {}, 200],
    ['GET', '/lobbies/NOPE', {}, 404],
    ['POST', '/lobbies', { body: '{x}' }, 400],
    ['GET', '/api/rooms', {}, 200],
    ['GET', '/metrics', {}, 200],
    ['POST', '/auth/guest', { json: { username: `Worker ${index}` } }, 201],
  ];
  let count = 0;
  while (Date.now() < end) {
    const conn = await open(t, board, { localAddress });
    for (let i = 0; i < 70 && Date.now() < end; i++) {
      const [method, target, options, status] = ask[count % ask.length];
      const answer = await conn.ask(requestText(method, target, options));
      assert.equal(answer?.status, status, `${method} ${target}: ${answer?.text}`);
      count++;
      await sleep(25);
    }
    conn.close();
  }
  return count;
}

/* Two players that send positions all the while; counts what they hear of each other. */
async function move(t, end) {
  assert.equal((await post(board, '/lobbies', { code: 'WALK', max_players: 4 })).status, 200);
  const players = [await Player.enter(t, board, 'WALK', { name: 'Ada' }),
    await Player.enter(t, board, 'WALK', { name: 'Bob' })];
  let heard = 0;
  for (let i = 0; Date.now() < end; i++) {
    for (const player of players) await player.move(i / 10, 0, 0);
    await sleep(50);
    for (const player of players) {
      heard += player.messages.filter((m) => m.type === 'position_update').length;
      player.messages.length = 0;
    }
  }
  for (const player of players) {
    await post(board, '/lobbies/WALK/leave', { player_id: player.id, udp_token: player.token });
    player.close();
  }
  assert.equal((await request(board, 'DELETE', '/lobbies/WALK')).status, 200);
  return heard;
}

/* A socket of a signed-in user that asks all the while, one answer each. */
async function talk(end) {
  const socket = await Client.open(board, { user: await signIn(board, 'Talker') });
  socket.send('handshake', { version: '1.0', name: 'Talker', token: socket.user.token });
  await socket.next('handshake_accepted');
  let count = 0;
  for (; Date.now() < end; count++) {
    await socket.ask('ping', {}, 'pong');
    await sleep(100);
  }
  await socket.close();
  return count;
}

test('firmware, small: two minutes and 20,000 requests leave nothing behind', DEADLINE,
  async (t) => {
    const before = await atRest(board, 40000);
    const end = Date.now() + LOAD_MS;
    const [counts, heard, pongs] = await Promise.all([
      Promise.all(Array.from({ length: WORKERS }, (_, i) => work(t, i, end))),
      move(t, end),
      talk(end),
    ]);
    const requests = counts.reduce((sum, count) => sum + count, 0);
    assert.ok(requests >= REQUESTS, `${requests} requests`);
    assert.ok(heard > 2000 && pongs > 500, `${heard} updates, ${pongs} pongs`);
    const rest = await atRest(board, 40000);
    assert.ok(rest.up - before.up >= LOAD_MS, 'no reset');
    for (const name of ['pbufs', 'spans', 'segments', 'pcbs', 'heap']) {
      assert.equal(rest[name].errors, before[name].errors, name);
    }
    const all = await metrics(board);
    await until(() => metrics(board), (m) => m.get('mpserver_connections') === 1, 'one connection');
    assert.equal(all.get('mpserver_udp_players') ?? 0, 0);
    assert.doesNotMatch(board.uart, /fault/);
    console.log(`${requests} requests, ${heard} updates, ${pongs} pongs; ${board.uart
      .trim().split('\n').at(-1)}`);
  });
