// A million requests and messages in one run, and every one of them accounted for: what clients
// sent and were sent adds up with what the server counted, no table keeps anything, memory stays
// flat.
// The run is bounded in count, not in time. Environment: COUNT (1000000), SEED (1), MPSERVER.
import { readFileSync } from 'node:fs';
import {
  Conn, parseMetrics, requestText, seconds, start, token,
} from '../wire/server.mjs';
import { check, messages, soak } from './checks.mjs';
import { Socket, received, sent, shakeless } from './socket.mjs';

const COUNT = Number(process.env.COUNT || 1000000);
const SIZES = [...Array(30).fill(2), ...Array(10).fill(3), ...Array(8).fill(5), ...Array(5).fill(8),
  30]; // of rooms
const SOCKETS = SIZES.reduce((sum, size) => sum + size); // 200
const BURST = 40; // messages of a socket at once
const STATE_BYTES = 14000; // unsent states of a room that nobody falls behind with
const REBUILD = 4; // cycles that a set of rooms lasts
const RSS_MARGIN_KB = 1024; // pages of the block that are touched for the first time
const SLOW_BURST = 3; // states of 4 kB: only who does not read at all falls behind
const SLOW_ROUNDS_MAX = 2000; // 96 MB: no kernel takes as much for one reader
const EVENTUALLY_MS = 20000;

const ending = [];
const random = generator(Number(process.env.SEED ?? 1));
const pick = (list) => list[Math.floor(random() * list.length)];
const others = (member) => member.room.members.length - 1;

let done = 0; // requests and messages so far
let names = 0;
let lost = 0; // messages cut off when a slow reader was closed
let slow = 0; // readers closed
const want = {}; // messages that clients should be sent, of those types that are foreseen
const requests = {}; // answers by route and status

function generator(seed) { // mulberry32
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function expect(type, count = 1) {
  want[type] = (want[type] ?? 0) + count;
}

/* -- requests -- */

const bearer = (user) => ({ Authorization: `Bearer ${user.token}` });

/* [route, method, target, options, status] of requests that have one right answer. */
function asked(user) {
  const headers = bearer(user);
  return pick([
    ['/healthz', 'GET', '/healthz', {}, 200],
    ['/lobbies', 'GET', '/lobbies?limit=2', {}, 200],
    ['/lobbies', 'POST', '/lobbies', { body: '{x}' }, 400],
    ['/lobbies/{code}', 'GET', '/lobbies/TEST', {}, 200],
    ['/lobbies/{code}', 'GET', '/lobbies/NOPE', {}, 404],
    ['/api/rooms', 'GET', '/api/rooms?limit=2', {}, 200],
    ['/api/rooms', 'GET', '/api/rooms?limit=x', {}, 400],
    ['/api/rooms', 'POST', '/api/rooms', { json: { gamemode: 'x' } }, 401],
    ['/api/rooms', 'POST', '/api/rooms', { json: {}, headers }, 400],
    ['/api/rooms/{id}', 'GET', '/api/rooms/none', {}, 404],
    ['/api/rooms/{id}', 'DELETE', '/api/rooms/none', { headers }, 404],
    ['/api/presence', 'GET', '/api/presence?limit=2', { headers }, 200],
    ['/api/presence', 'GET', '/api/presence', {}, 401],
    ['/ws', 'GET', '/ws', {}, 426],
    ['other', 'GET', '/nothing', {}, 404],
  ]);
}

function answered(route, method, status) {
  const key = `${route} ${method} ${status}`;
  requests[key] = (requests[key] ?? 0) + 1;
  done++;
}

/* Pipelined requests on one kept connection, each answered in its turn. */
async function pipeline(run, conn, list) {
  const texts = list.map(([, method, target, options]) => requestText(method, target, options));
  conn.write(texts.join(''));
  for (const [route, method, target, , status] of list) {
    const answer = await conn.read(method);
    if (answer?.status !== status) check(`${method} ${target}`, answer?.status, status);
    answered(route, route === 'other' ? 'OTHER' : method, status);
  }
}

async function httpPhase(run) {
  await Promise.all(run.http.map(async (conn) => {
    for (let i = 0; i < 4; i++) {
      await pipeline(run, conn, Array.from({ length: 16 }, () => asked(pick(run.users))));
    }
  }));
  const bad = await open(run); // answered, and closed
  bad.write('GET /healthz HTTP/1.1\nHost: h\n\n');
  check('malformed', (await bad.read()).status, 400);
  answered('other', 'OTHER', 400);
  await bad.end();
  bad.close();
}

async function open(run) {
  run.opened++;
  return Conn.open(run.server);
}

/* What /metrics says; the connection is always the same. */
async function scrape(run) {
  const answer = await run.scraper.ask(requestText('GET', '/metrics'));
  return parseMetrics(answer.text);
}

/* -- sockets and rooms -- */

/* Every fourth stays without a handshake: it hears no announcements. */
async function connect(run, user) {
  const socket = await Socket.open(run.server, user);
  run.opened++;
  run.sockets++;
  answered('/ws', 'GET', 101);
  user.socket = socket;
  if (!shakeless(user)) {
    socket.say('handshake', { version: '1', name: user.name });
    expect('handshake_accepted');
    await socket.next('handshake_accepted');
  }
  return socket;
}

/* Everything that was said before is done and has arrived. The first round tells that the server
   has read it, the second that what it made of it has come. */
async function barrier(run) {
  for (let i = 0; i < 2; i++) {
    await Promise.all(run.users.map((user) => {
      user.socket.say('ping', {});
      return user.socket.settled();
    }));
  }
}

async function join(user, room, resumeToken) {
  user.socket.say('join_room', { roomId: room.id, version: '1', name: user.name, resumeToken });
  expect('room_joined');
  seated(user, room, await user.socket.next('room_joined'));
}

function seated(user, room, data) {
  room.id = data.roomId;
  user.room = room;
  user.peer = data.peerId;
  user.resume = data.resumeToken;
}

/* The first member makes it, over HTTP or by asking for a kind that there is not yet. */
async function makeRoom(run, members, overHttp) {
  const [host, ...rest] = members;
  const room = { members, host, gamemode: `mode ${names++}` };
  const wish = { gamemode: room.gamemode, maxPlayers: members.length };
  if (overHttp) {
    const conn = pick(run.http);
    await (run.asking = run.asking.then(() => pipeline(run, conn, [['/api/rooms', 'POST',
      '/api/rooms', { json: { ...wish, isPublic: false }, headers: bearer(host) }, 201]])));
    host.socket.say('create_room', {});
    expect('room_created');
    seated(host, room, await host.socket.next('room_created'));
  } else {
    host.socket.say('quick_join', { ...wish, version: '1', name: host.name });
    expect('room_joined');
    seated(host, room, await host.socket.next('room_joined'));
  }
  for (const [i, user] of rest.entries()) {
    expect('peer_joined', i + 1);
    await join(user, room);
  }
  run.joined += members.length;
  return room;
}

async function makeRooms(run) {
  const users = run.users.slice();
  for (let i = users.length - 1; i > 0; i--) { // another company each time
    const k = Math.floor(random() * (i + 1));
    [users[i], users[k]] = [users[k], users[i]];
  }
  const rooms = SIZES.map((size) => users.splice(0, size));
  run.rooms = await Promise.all(rooms.map((members, i) => makeRoom(run, members, i % 2 === 0)));
}

/* Those who stay hear each one leave; the host goes last, so no host is named anew. */
async function leaveRooms(run) {
  await Promise.all(run.rooms.map(async (room) => {
    const order = [...room.members.filter((user) => user !== room.host), room.host];
    for (const [i, user] of order.entries()) {
      user.socket.say('leave_room', {});
      expect('peer_left', order.length - 1 - i);
      await user.socket.synced();
    }
  }));
  run.rooms = [];
}

/* -- relay -- */

/* One message of a mix; what clients should be sent because of it. */
function speak(user) {
  const { socket, room } = user;
  const kind = Math.floor(random() * 20);
  if (kind < 6) {
    socket.say('rpc_call', { targetPeer: 0, method: 'fire', args: [done, 'x'] });
    expect('rpc_call', others(user));
  } else if (kind < 11) {
    socket.say('rpc_call', { targetPeer: pick(room.members).peer, method: 'aim', args: {} });
    expect('rpc_call');
  } else if (kind < 15) {
    socket.say('chat', { text: 'how is it going over there?' });
    expect('chat', others(user));
  } else if (kind < 16) {
    socket.say('ping', {});
  } else if (kind < 17) {
    socket.sayText('{"type":', 'other');
    expect('error');
  } else if (kind < 18) {
    socket.say('rpc_call', { targetPeer: 999999, method: 'aim' });
    expect('error');
  } else if (kind < 19) {
    socket.say('chat', { text: 1 });
    expect('error');
  } else {
    socket.say(room.host === user ? 'join_room' : 'kick', {}); // of a member; of no host
    expect('error');
  }
}

async function eventPhase(run) {
  for (const user of run.users) {
    for (let i = 0; i < BURST; i++) speak(user);
    user.socket.flush();
  }
  await barrier(run);
}

/* So few at once that nobody can fall behind: each goes to each other member. */
async function statePhase(run) {
  for (const room of run.rooms) {
    const count = Math.min(BURST, Math.floor(STATE_BYTES / 150 / room.members.length));
    for (const user of room.members) {
      for (let i = 0; i < count; i++) {
        if (i % 2) {
          user.socket.say('player_snapshot', { payload: { hp: i } });
          expect('player_snapshot', others(user));
        } else {
          user.socket.say('player_state', { position: [i, 0, 1], rotation: [0, 1], velocity: [1] });
          expect('player_state', others(user));
        }
      }
      user.socket.flush();
    }
  }
  await barrier(run);
}

/* One member reads nothing, until states are held back for it; then it has the newest of all. */
async function slowPhase(run, size) {
  const room = run.rooms.find((r) => r.members.length === size);
  const [reader, ...senders] = room.members;
  const velocity = 'x'.repeat(3900);
  const before = { held: await held(run), got: received.player_state };
  let rounds = 0;
  reader.socket.pause();
  while (rounds < SLOW_ROUNDS_MAX && (rounds % 20 || await held(run) === before.held)) {
    rounds++; // how much the kernel takes differs
    for (const user of senders) {
      for (let i = 0; i < SLOW_BURST; i++) {
        user.socket.say('player_state', { position: rounds * SLOW_BURST + i, velocity });
      }
      user.socket.flush();
      await user.socket.synced();
    }
  }
  reader.socket.newest = new Map();
  reader.socket.resume();
  await barrier(run);
  const last = rounds * SLOW_BURST + SLOW_BURST - 1;
  await reader.socket.until(() => senders.every((u) => reader.socket.newest.get(u.peer) === last));
  await barrier(run);
  check('newest states', senders.map((u) => reader.socket.newest.get(u.peer)).join(),
    senders.map(() => last).join());
  // Held back once for each member that is passed over; given later at most as often.
  const all = rounds * SLOW_BURST * senders.length * (size - 1);
  const heldBack = await held(run) - before.held;
  const got = received.player_state - before.got;
  const later = got + heldBack - all;
  check('held back', heldBack > 0, true);
  check(`given later: ${later} of ${heldBack}`, later > 0 && later <= heldBack, true);
  expect('player_state', got);
  reader.socket.newest = undefined;
}

const held = async (run) => (await scrape(run)).get('mpserver_states_held_back_total');

/* A reader that never reads is closed over an event that cannot be stored, and comes back. */
async function closedPhase(run) {
  const room = run.rooms.find((r) => r.members.length === 3);
  const [, reader, sender] = room.members;
  const key = 'mpserver_websocket_messages_total{type="rpc_call",direction="out"}';
  const before = { out: (await scrape(run)).get(key), got: received.rpc_call };
  reader.socket.pause();
  const args = 'y'.repeat(60000);
  let said = 0;
  while (!(await closedSlow(run) > slow)) {
    for (let i = 0; i < 20; i++, said++) {
      sender.socket.say('rpc_call', { targetPeer: reader.peer, method: 'x', args });
      sender.socket.flush();
    }
    await sender.socket.synced();
  }
  slow++;
  reader.socket.resume();
  await reader.socket.ended();
  check('close code', reader.socket.code, 1013);
  await comeBack(run, reader);
  await barrier(run);
  const out = (await scrape(run)).get(key) - before.out;
  const got = received.rpc_call - before.got;
  check('sent to a slow reader', out <= said && got <= out, true);
  expect('rpc_call', got);
  lost += out - got;
}

const closedSlow = async (run) =>
  (await scrape(run)).get('mpserver_connections_closed_total{reason="slow_reader"}');

/* -- membership -- */

async function comeBack(run, user) {
  const { room, peer } = user;
  await connect(run, user);
  await join(user, room, user.resume);
  check('the same peer', user.peer, peer);
}

/* A member of each room leaves and comes back; in each second cycle it is the host. */
async function leavePhase(run, cycle) {
  await Promise.all(run.rooms.map(async (room) => {
    const user = cycle % 2 ? room.host : room.members.at(-1);
    user.socket.say('leave_room', {});
    expect('peer_left', others(user));
    if (user === room.host) {
      expect('host_changed', others(user));
      // The one that is there longest follows: peer ids tell.
      const stay = room.members.filter((member) => member !== user);
      room.host = stay.reduce((a, b) => (a.peer < b.peer ? a : b));
    }
    await user.socket.synced();
    expect('peer_joined', others(user));
    run.joined++;
    await join(user, room);
  }));
  await barrier(run);
}

async function kickPhase(run) {
  await Promise.all(run.rooms.map(async (room, i) => {
    const victim = room.members.find((m) => m !== room.host);
    room.host.socket.say('kick', { peerId: victim.peer });
    expect('kicked');
    expect('peer_left', others(victim));
    await victim.socket.next('kicked');
    if (i === 0) room.host.socket.say('ban', { ip: `203.0.113.${Math.floor(random() * 256)}` });
    expect('peer_joined', others(victim));
    run.joined++;
    await join(victim, room);
  }));
  await barrier(run);
}

/* Connections end in each way there is, and their users take their seats back. */
async function dropPhase(run) {
  await Promise.all(run.rooms.map(async (room, i) => {
    const user = room.members[1];
    const old = user.socket;
    if (shakeless(user)) {
      old.reset(); // nothing is on its way to it
      await comeBack(run, user);
    } else if (i % 3 === 0) {
      await comeBack(run, user); // the seat is taken over
      await old.ended();
      check('close code', old.code, 4001);
    } else {
      await (i % 3 === 1 ? old.close() : old.end());
      await comeBack(run, user);
    }
  }));
  await barrier(run);
}

/* -- the end -- */

/* In kB: what is in use of memory, and what was asked for. */
function memory(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const row = (name) => Number(status.match(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm'))[1]);
  return { resident: row('VmRSS'), data: row('VmData') };
}

function tables(metrics) {
  const used = [...metrics.samples].filter(([key]) => key.startsWith('mpserver_table_used'));
  return used.map(([key, value]) => `${key.match(/"(.*)"/)[1]}=${value}`).join(' ');
}

const sorted = (counts) => Object.entries(counts).filter(([, n]) => n).sort()
  .map(([key, n]) => `${key}=${n}`).join(' ');

/* Announcements come when their turn comes: waits until all that was counted has arrived. */
async function arrived(run) {
  const until = Date.now() + EVENTUALLY_MS;
  for (;;) {
    const out = messages(await scrape(run), 'out');
    out.rpc_call -= lost;
    if (sorted(out) === sorted(received) || Date.now() > until) return out;
    await barrier(run);
  }
}

async function compare(run) {
  const out = await arrived(run);
  want.pong = sent.ping;
  check('messages out', sorted(out), sorted(received));
  for (const type of Object.keys(want)) check(`${type} out`, out[type] ?? 0, want[type]);
  check('messages in', sorted(messages(await scrape(run), 'in')), sorted(sent));
}

function compareRequests(run, metrics) {
  const counted = {};
  for (const [key, value] of metrics.samples) {
    const labels = key.match(/^mpserver_requests_total\{route="(.*)",method="(.*)",status="(.*)"/);
    if (labels && labels[1] !== '/metrics') counted[labels.slice(1).join(' ')] = value;
  }
  check('requests', sorted(counted), sorted(requests));
}

async function leave(run) {
  await leaveRooms(run);
  await barrier(run);
  await compare(run);
  await Promise.all(run.users.map((user) => user.socket.close()));
  run.http.forEach((conn) => conn.close());
  const until = Date.now() + EVENTUALLY_MS;
  let metrics;
  do metrics = await scrape(run);
  while (tables(metrics) !== run.baseline && Date.now() < until);
  check('tables', tables(metrics), run.baseline);
  compareRequests(run, metrics);
  const count = (name) => metrics.get(`mpserver_${name}`);
  check('connections opened', count('connections_opened_total'), run.opened);
  check('connections open', count('connections'), 1);
  check('sockets opened', count('sockets_opened_total'), run.sockets);
  check('sockets closed', count('sockets_closed_total'), run.sockets);
  check('sockets open', count('sockets'), 0);
  check('peers joined', count('peers_joined_total'), run.joined);
  check('peers left', count('peers_left_total'), run.joined);
  check('slow readers', count('connections_closed_total{reason="slow_reader"}'), slow);
  for (const [key, value] of metrics.samples) {
    if (/table_full|refused|rate_limited|port_errors|timeout|idle|no_memory/.test(key)) {
      check(key, value, 0);
    }
  }
}

const total = () => done + Object.values(sent).reduce((sum, n) => sum + n, 0);

async function cycle(run, number) {
  if (number % REBUILD === 0) {
    if (run.rooms.length) await leaveRooms(run);
    await barrier(run);
    await makeRooms(run);
    await barrier(run);
    check('members', (await scrape(run)).get('mpserver_room_members'), SOCKETS);
  }
  for (let i = 0; i < 3; i++) await eventPhase(run);
  await statePhase(run);
  await statePhase(run);
  await httpPhase(run);
  await leavePhase(run, number);
  await kickPhase(run);
  await dropPhase(run);
  if (number % 8 === 1) await slowPhase(run, 5);
  if (number % 16 === 2) await closedPhase(run);
}

async function main() {
  const config = {
    chunks: 4096, large_inputs: 64, large_inputs_per_address: 64, slot_bytes: 4096,
    log_level: 'off', idle_timeout_ms: 3600000,
  };
  const server = await start({ after: (end) => ending.push(end) }, { dev: true, config });
  const run = { server, opened: 0, sockets: 0, joined: 0, rooms: [], users: [], http: [],
    asking: Promise.resolve() };
  run.scraper = await open(run);
  run.baseline = tables(await scrape(run));
  for (let i = 0; i < SOCKETS; i++) {
    const claims = { sub: `user-${i}`, name: `player ${i}`, exp: seconds() + 3600 };
    run.users.push({ index: i, name: `player ${i}`, token: token(claims) });
  }
  for (let i = 0; i < 8; i++) run.http.push(await open(run));
  await Promise.all(run.users.map((user) => connect(run, user)));
  const began = Date.now();
  let warm;
  for (let number = 0; total() < COUNT; number++) {
    await cycle(run, number);
    if (number <= 2) warm = memory(server.pid); // one of each kind of phase
  }
  const end = memory(server.pid);
  await leave(run);
  check('kB of data', end.data, warm.data);
  check(`kB resident: ${warm.resident}, then ${end.resident}`,
    end.resident - warm.resident <= RSS_MARGIN_KB, true);
  const all = Object.values(received).reduce((sum, n) => sum + n, 0);
  console.log(`${total()} requests and messages, ${all} messages received, ${run.sockets} sockets, `
    + `${Math.round((Date.now() - began) / 1000)} s, `
    + `${warm.resident} kB resident, then ${end.resident} kB`);
  run.scraper.close();
}

await soak(main, ending);
