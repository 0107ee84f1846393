// build/embed from outside: a crowd that joins at once, hardly any time for it, each hook's effect.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { admin, get, post, refused, request, run, sleep, until } from '../wire/server.mjs';
import { Client, test } from '../wire/socket.mjs';
import { BinaryPlayer, Udp } from '../wire/datagrams.mjs';
import { CODE, EMBED, Guest, burst, host, totals, view } from './embed.mjs';

const CROWD = 100;

/* The local player sees so many, in the lobby and in the room. It says so once a second. */
const viewed = (s, count) => until(() => view(s),
  ({ others, peers }) => others === count && peers === count, `${count} in view`);

test('embed: a hundred join at once and all are served', async (t) => {
  const s = await host(t);
  const guests = await burst(t, s, CROWD);
  await Promise.all(guests.map((guest) => guest.meets(CROWD + 1)));
  await Promise.all(guests.map((guest, i) => guest.move(i % 40)));
  await Promise.all(guests.map((guest) => guest.sees(CROWD)));
  const lobby = (await get(s, `/lobbies/${CODE}`)).json;
  assert.equal(lobby.player_count, CROWD + 1);
  assert.ok(Math.abs(Date.parse(lobby.created_at) - Date.now()) < 600000, lobby.created_at);
  assert.deepEqual(new Set(lobby.players.map(({ name }) => name)),
    new Set(['Host', ...guests.map(({ name }) => name)]));
  assert.equal((await get(s, '/api/rooms')).json.rooms[0].current_players, CROWD + 1);
  const all = { avatars: CROWD + 1, others: CROWD, peers: CROWD, members: CROWD + 1 };
  await viewed(s, CROWD);
  assert.deepEqual(view(s), all, 'what the local player sees');

  for (const guest of guests) {
    guest.ws.send('leave_room');
    await guest.udp.say(3);
  }
  await viewed(s, 0);
  assert.deepEqual(view(s), { avatars: 1, others: 0, peers: 0, members: 1 });
  for (const guest of guests) guest.leave();
  await s.stop();
  const { hooks, work, frame, server } = totals(s);
  assert.equal(hooks.player_joined, CROWD + 1);
  assert.equal(hooks.player_left, CROWD + 1);
  assert.equal(hooks.peer_joined, CROWD + 1);
  assert.ok(hooks.peer_left >= CROWD, `${hooks.peer_left} left`);
  assert.ok(work > 4, 'else the next test proves nothing');
  t.diagnostic(`worst frame ${frame.worst} us of CPU, in the server's step ${server.worst} us`);
});

/* Asks without end and does not care for the answers. */
function asker(t, s, localAddress) {
  const socket = net.connect({ port: s.port, host: '127.0.0.1', localAddress });
  const text = 'GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(50);
  const more = () => { while (socket.write(text)) { /* until the socket is full */ } };
  socket.on('connect', more).on('drain', more).on('error', () => {});
  socket.on('data', () => {});
  t.after(() => socket.destroy());
}

/* More datagrams than a frame reads, so that the socket is never empty. */
async function flooder(t, s, localAddress) {
  const udp = await Udp.open(t, s, { bind: localAddress });
  const repeat = setInterval(() => {
    for (let i = 0; i < 100; i++) udp.send(Buffer.alloc(40, 0x55));
  }, 2);
  t.after(() => clearInterval(repeat));
}

/* A budget of a microsecond is over behind the first piece of work, so each part of a frame does
   just one: an event, and the connection that it accepts or the datagrams that it reads; a write; a
   batch of datagrams. The flood is always the first that is ready. */
test('embed: with hardly any time nobody is passed over', async (t) => {
  const FEW = 30;
  const s = await host(t, ['--budget-us', '1', '--hz', '1000']);
  await flooder(t, s, '127.2.0.4');
  for (const i of [1, 2, 3]) asker(t, s, `127.2.0.${i}`);
  const guests = await burst(t, s, FEW);
  const moving = setInterval(() => { // many are lost in the flood
    guests.forEach((guest, i) => guest.move(i).catch(() => {}));
  }, 100);
  t.after(() => clearInterval(moving));
  await Promise.all(guests.map((guest) => guest.meets(FEW + 1)));
  await Promise.all(guests.map((guest) => guest.sees(FEW)));
  await viewed(s, FEW);
  clearInterval(moving);
  for (const guest of guests) guest.leave();
  await s.stop();
  assert.equal(totals(s).work, 4);
});

test('embed: the local player is one like all others', async (t) => {
  const s = await host(t);
  const guest = await Guest.join(t, s, 0);
  const joined = await guest.udp.next('joined');
  assert.deepEqual([joined.id, joined.name], [1, 'Host']);
  const at = new Set();
  while (at.size < 5) {
    const { entries } = await guest.udp.next('snapshot');
    for (const { id, position } of entries) {
      assert.equal(id, 1);
      at.add(`${position.x} ${position.z}`);
    }
  }
  const { json } = await get(s, '/api/rooms');
  assert.equal(json.rooms[0].host_username, 'Host');
  assert.equal(json.rooms[0].current_players, 2);
  assert.deepEqual([...guest.members].sort(), [1, 2]);
  guest.leave();
});

/* -- hooks -- */

const bearer = (pass) => ({ Authorization: `Bearer ${pass}` });

/* Passes: known at once, asked for, refused at once and later. */
async function authenticates(s) {
  const who = (pass) => get(s, '/api/presence', bearer(pass));
  for (const pass of ['now:Ada', 'later:Bob']) assert.equal((await who(pass)).status, 200, pass);
  for (const pass of ['now:', 'later:', 'host', 'Ada']) {
    refused(await who(pass), 401, 'invalid_token');
  }
}

async function checksLobbies(s) {
  refused(await post(s, '/lobbies', { scene: 'moon' }), 403, 'refused_by_game');
  refused(await post(s, `/lobbies/${CODE}/join`, { player_name: 'Host' }), 403, 'refused_by_game');
  const made = await post(s, '/lobbies', { scene: 'arena', code: 'SIDE' });
  assert.equal(made.status, 200, made.text);
  const joined = await post(s, '/lobbies/SIDE/join', { player_name: 'Ada' });
  const { player_id, udp_token } = joined.json;
  assert.equal((await post(s, '/lobbies/SIDE/leave', { player_id, udp_token })).status, 200);
  assert.equal((await request(s, 'DELETE', '/lobbies/SIDE')).status, 200);
}

async function checksPositions(t, s) {
  const player = await BinaryPlayer.enter(t, s, CODE, { name: 'Walker' });
  await player.move([50, 1, 2]);
  await sleep(200); // or it would be too fast for the server
  await player.move([50.5, 1, 2]);
  assert.deepEqual((await player.next('correction')).position, { x: 50, y: 1, z: 2 });
  player.close();
}

async function checksRooms(s) {
  const ada = bearer('now:Ada');
  refused(await post(s, '/api/rooms', { gamemode: 'chess' }, ada), 403, 'refused_by_game');
  const made = await post(s, '/api/rooms', { gamemode: 'arena' }, ada);
  assert.equal(made.status, 201, made.text);
  const path = `/api/rooms/${made.json.room.id}`;
  assert.equal((await request(s, 'DELETE', path, { headers: ada })).status, 200);
}

async function enter(s, pass) {
  const client = await Client.open(s, { token: pass });
  client.send('handshake', { version: '1', name: pass.split(':')[1] });
  await client.next('handshake_accepted');
  return client;
}

async function answersMessages(s) {
  const join = (name) => ({ gamemode: 'arena', version: '1', name });
  const client = await enter(s, 'later:Cleo');
  await client.asking('quick_join', join('Host'), 'refused_by_game');
  assert.equal((await client.ask('quick_join', join('Cleo'), 'room_joined')).peerId, 2);
  client.send('echo', { n: [1, 2.50, 'x'] });
  await client.hears('echoed', { n: [1, 2.50, 'x'] });
  await client.asking('shout', {}, 'unknown_type');
  return client;
}

async function takesOrders(s, client) {
  for (const path of ['/admin/reload', '/admin/record']) {
    refused(await post(s, path, {}), 401, 'authentication_required');
    refused(await post(s, path, {}, bearer('now:Ada')), 403, 'forbidden');
  }
  for (const rules of [1, 2]) {
    const answer = await post(s, '/admin/reload', {}, admin());
    assert.deepEqual(answer.json, { status: 'ok' });
    await client.hears('rules_changed', { rules });
  }
  for (const on of [true, false]) {
    const answer = await post(s, '/admin/record', {}, admin());
    assert.deepEqual(answer.json, { status: 'ok' });
    const { data } = await client.next('recording');
    assert.deepEqual([data.on, data.calls > 0], [on, !on]);
  }
}

test('embed: every hook is called, and has its effect', async (t) => {
  const s = await host(t);
  await authenticates(s);
  await checksLobbies(s);
  await checksPositions(t, s);
  await checksRooms(s);
  const client = await answersMessages(s);
  await takesOrders(s, client);
  client.send('leave_room');
  const seats = async () => (await get(s, '/api/rooms')).json.rooms[0].current_players;
  await until(seats, (count) => count === 1, 'an empty seat');
  client.drop();
  await s.stop();
  assert.match(s.stderr, /player joined a lobby code=SIDE player_id=1 name=Ada$/m);
  const struct = readFileSync('mpserver.h', 'utf8').match(/struct mps_hooks \{(.*?)\n\}/s)[1];
  const names = [...struct.matchAll(/\(\*(\w+)\)\(/g)].map(([, name]) => name);
  assert.ok(names.length >= 18, `${names}`);
  const { hooks } = totals(s);
  assert.deepEqual(Object.keys(hooks).sort(), names.sort());
  assert.deepEqual(Object.entries(hooks).filter(([, calls]) => calls === 0), []);
});

/* -- life -- */

test('embed: a game that quits tells its guests', async (t) => {
  const s = await host(t);
  const guest = await Guest.join(t, s, 0);
  guest.ws.skip = [...guest.ws.skip, 'notification', 'peer_left', 'host_changed'];
  s.signal('SIGTERM');
  await guest.ws.closed(1001);
  await s.ended();
  assert.equal(totals(s).hooks.player_left, 1, 'the local player left by itself');
});

test('embed: --seconds ends it, --quiet keeps the log quiet', async (t) => {
  const s = await host(t, ['--seconds', '1', '--quiet']);
  await s.ended();
  assert.equal(s.stderr, '');
  assert.ok(totals(s).frames > 0);
});

test('embed: a game that was held up does not run after its steps', async (t) => {
  const s = await host(t);
  const HELD_MS = 500; // 30 steps, of which 5 are made up for
  s.signal('SIGSTOP');
  await sleep(HELD_MS);
  s.signal('SIGCONT');
  await s.stop();
  const { skipped } = totals(s);
  assert.ok(skipped >= 24, `${skipped} steps skipped`);
});

test('embed: wrong options end with 2 and a sentence', () => {
  for (const args of [['--nope'], ['--hz', '0'], ['--hz', '1001'], ['--http-port', '65536'],
    ['--seconds', '-1'], ['--seconds', '1x'], ['--budget-us'], ['--bind'], ['--hz', '']]) {
    const done = run(args, {}, EMBED);
    assert.equal(done.status, 2, args.join(' '));
    assert.equal(done.stderr, `embed: \`${args[0]}\` is no option, or its value is missing or out `
      + 'of range; see --help\n');
  }
  const bad = run(['--bind', 'localhost'], {}, EMBED);
  assert.equal(bad.status, 1);
  assert.match(bad.stderr, /^embed: cannot bind to `localhost`: give a numeric address/);
});

test('embed: --help names every option', () => {
  const done = run(['--help'], {}, EMBED);
  assert.equal(done.status, 0);
  assert.deepEqual(done.stdout.match(/--[a-z-]+/g), ['--bind', '--http-port', '--udp-port',
    '--seconds', '--hz', '--budget-us', '--quiet', '--help']);
});
