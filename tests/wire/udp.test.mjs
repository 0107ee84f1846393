// Positions by UDP, as clients see them over real sockets.
import assert from 'node:assert/strict';
import {
  get, metrics, post, shared, sleep, start, test, until,
} from './server.mjs';
import {
  BinaryPlayer, Player, SETTLE_MS, Udp, binary, joinBody, lobby, pingBody, seat, stateBody,
} from './datagrams.mjs';

const server = shared({ config: { drain_grace_ms: 50 } });
const ZERO = { x: 0, y: 0, z: 0 };

test('udp: a shipped client\'s whole flow, by IP and without a token', async (t) => {
  const s = await server();
  const code = await lobby(s);
  const ada = await seat(s, code, 'Ada');
  const a = await Udp.open(t, s);
  await a.send({ type: 'join', lobby_code: code, player_id: ada.id });
  const welcome = await a.next('welcome');
  assert.deepEqual([welcome.player_id, welcome.tick_hz, typeof welcome.message], [1, 20, 'string']);
  assert.match(welcome.cookie, /^[0-9a-f]{16}$/);
  const alone = await a.next('state_sync');
  assert.deepEqual([alone.players, alone.part, alone.parts], [[], 1, 1]);

  const bob = await seat(s, code, 'Bob');
  assert.deepEqual((await a.next('player_joined')).player, { id: 2, name: 'Bob' });
  const b = await Udp.open(t, s);
  await b.send({ type: 'join', lobby_code: code, player_id: bob.id });
  assert.equal((await b.next('welcome')).player_id, 2);
  assert.deepEqual((await b.next('state_sync')).players,
    [{ id: 1, name: 'Ada', position: ZERO, rotation: ZERO, weapon_id: null }]);

  const position = { x: 1.5, y: -0.1, z: 12.345678901234567 };
  const rotation = { x: 0, y: 3.14159, z: -1e-7 };
  await a.send({ type: 'position_update', player_id: 1, position, rotation });
  const update = await b.next('position_update');
  assert.deepEqual([update.player_id, update.position, update.rotation], [1, position, rotation]);

  await b.send({ type: 'weapon_switch', lobby_code: code, player_id: 2, weapon_id: 'bow_2' });
  const weapon = await a.next('weapon_switched');
  assert.deepEqual([weapon.player_id, weapon.weapon_id], [2, 'bow_2']);
  const sync = await a.next('state_sync', (m) => m.players[0].weapon_id);
  assert.deepEqual(sync.players,
    [{ id: 2, name: 'Bob', position: ZERO, rotation: ZERO, weapon_id: 'bow_2' }]);

  await a.send({ type: 'ping', t: 17.25 });
  const pong = await a.next('pong');
  assert.equal(pong.t, 17.25);
  assert.ok(Math.abs(pong.server_time - Date.now()) < 5000);

  await b.send({ type: 'leave', lobby_code: code.toLowerCase(), player_id: 2 });
  assert.equal((await a.next('player_left')).player_id, 2);
  assert.deepEqual((await get(s, `/lobbies/${code}`)).json.players, [{ id: 1, name: 'Ada' }]);
  assert.equal(a.of('position_update').length, 0, 'the owner never gets its own');
});

test('udp: JSON and binary players see each other, and nobody sees himself', async (t) => {
  const s = await server();
  const code = await lobby(s);
  const json = await Player.enter(t, s, code, { name: 'Ada' });
  const bin = await BinaryPlayer.enter(t, s, code, { name: 'Bj\u00f6rn' });
  assert.deepEqual([bin.welcome.player_id, bin.welcome.tick_hz], [2, 20]);
  assert.equal((await bin.next('joined')).name, 'Ada');
  await json.move(1, 2, 3, { x: 0.5, y: -7, z: Math.PI });
  const [entry] = (await bin.next('snapshot', (m) => m.entries.length)).entries;
  assert.deepEqual([entry.id, entry.position, entry.flags], [1, { x: 1, y: 2, z: 3 }, 0]);
  assert.ok(Math.abs(entry.rotation.x - 0.5) < 1e-4);
  assert.ok(Math.abs(entry.rotation.y - (2 * Math.PI - 7)) < 1e-4);
  assert.ok(Math.abs(Math.abs(entry.rotation.z) - Math.PI) < 1e-4);
  assert.ok(entry.age_ms < 5000);

  await bin.move([4.5, 0.1, -6], [32767, -16384, 0], 0xbeef);
  const update = await json.next('position_update');
  assert.equal(update.player_id, 2);
  assert.deepEqual(update.position, { x: 4.5, y: 0.1, z: -6 });
  assert.ok(Math.abs(update.rotation.x - Math.PI) < 1e-6);
  assert.ok(Math.abs(update.rotation.y + Math.PI / 2) < 1e-4);

  const third = await BinaryPlayer.enter(t, s, code, { name: 'Cy' });
  const seen = await third.next('snapshot', (m) => m.entries.length === 2);
  assert.deepEqual(seen.entries.map((e) => [e.id, e.flags]).sort(), [[1, 0], [2, 0xbeef]]);
  await sleep(1200); // a sync
  for (const player of [json, bin, third]) {
    for (const m of player.messages.filter((one) => one.type !== 'welcome')) {
      const ids = m.entries?.map((e) => e.id) ?? m.players?.map((p) => p.id) ?? [m.player_id];
      assert.ok(!ids.includes(player.id), `${player.id} in ${JSON.stringify(m)}`);
    }
  }
  await bin.say(3);
  assert.equal((await third.next('left')).id, 2);
  assert.equal((await json.next('player_left')).player_id, 2);
});

test('udp: batch is one state_sync a tick instead of single updates', async (t) => {
  const s = await server();
  const code = await lobby(s);
  const batch = await Player.enter(t, s, code, { joining: { batch: true } });
  const movers = [];
  for (const name of ['b', 'c', 'd']) movers.push(await Player.enter(t, s, code, { name }));
  await batch.settled();
  for (const [i, mover] of movers.entries()) await mover.move(i, 5, 6);
  const sync = await batch.next('state_sync', (m) => m.players.every((p) => p.position.y === 5));
  assert.deepEqual(sync.players.map((p) => [p.id, p.position.x]).sort(), [[2, 0], [3, 1], [4, 2]]);
  assert.equal((await batch.settled()).filter((m) => m.type === 'position_update').length, 0);
});

test('udp: TEST has its dummy on a circle, with an id of 999', async (t) => {
  const s = await server();
  const json = await Player.enter(t, s, 'TEST');
  const bin = await BinaryPlayer.enter(t, s, 'TEST');
  const { position } = await json.next('server_dummy_update');
  assert.equal(position.y, 1);
  assert.ok(Math.abs(Math.hypot(position.x, position.z) - 3) < 1e-6);
  const entry = (await bin.next('snapshot')).entries.find((e) => e.id === 999);
  assert.ok(Math.abs(Math.hypot(entry.position.x, entry.position.z) - 3) < 1e-5);
  const later = (await json.next('server_dummy_update')).position;
  assert.notDeepEqual(later, position);
  const info = (await get(s, '/lobbies/TEST')).json;
  assert.ok(!info.players.some((p) => p.id === 999));
  await json.say('leave');
  await bin.say(3);
});

test('udp: a teleport is corrected and nobody else sees it', async (t) => {
  const s = await server();
  const code = await lobby(s);
  const [json, other] = [await Player.enter(t, s, code), await Player.enter(t, s, code)];
  const bin = await BinaryPlayer.enter(t, s, code);
  await json.move(1000, 0, 0); // the first is taken as it is
  await other.next('position_update', (m) => m.position.x === 1000);
  await sleep(200);
  await json.move(5000, 0, 0);
  const fix = await json.next('position_correction');
  assert.deepEqual([fix.player_id, fix.position], [json.id, { x: 1000, y: 0, z: 0 }]);
  await json.move(1002, 0, 0);
  await other.next('position_update', (m) => m.position.x === 1002);
  await bin.move([0, 0, 0], [1, 2, 3], 7);
  await bin.move([0, 4000, 0]);
  const entry = await bin.next('correction');
  assert.deepEqual([entry.id, entry.position, entry.flags], [bin.id, ZERO, 7]);
  const seen = (await other.settled()).filter((m) => m.type === 'position_update');
  assert.ok(!seen.some((m) => m.position.x === 5000 || m.position.y === 4000));
});

test('udp: a file can turn the speed check off, discovery off and the tick up', async (t) => {
  const s = await start(t, { config: { player_speed_max: 0, tick_hz: 100,
    lan_discovery: false, drain_grace_ms: 50 } });
  const code = await lobby(s);
  const [a, b] = [await Player.enter(t, s, code), await Player.enter(t, s, code)];
  assert.equal(a.welcome.tick_hz, 100);
  await a.move(0);
  await a.move(1e30);
  await b.next('position_update', (m) => m.position.x === 1e30);
  const asking = await Udp.open(t, s);
  await asking.send({ type: 'discover', nonce: 1, pad: 'x'.repeat(600) });
  assert.deepEqual(await asking.settled(), []);
});

test('udp: older sequence numbers are ignored, also across the wrap', async (t) => {
  const s = await server();
  const code = await lobby(s);
  const [bin, json] = [await BinaryPlayer.enter(t, s, code), await Player.enter(t, s, code)];
  const state = (x, seq) => bin.say(2, stateBody([x, 0, 0]), seq);
  for (const [x, seq] of [[1, 65530], [2, 65529], [3, 65530], [4, 5], [5, 65535], [6, 4]]) {
    await state(x, seq);
    await sleep(SETTLE_MS);
  }
  const seen = (await json.settled()).filter((m) => m.type === 'position_update');
  assert.deepEqual(seen.map((m) => m.position.x), [1, 4]);
});

test('udp: a player whose port changes keeps its seat by its token', async (t) => {
  const s = await server();
  const code = await lobby(s);
  const [a, b] = [await Player.enter(t, s, code), await Player.enter(t, s, code)];
  await a.move(1);
  await b.next('position_update');
  const moved = await Udp.open(t, s);
  const update = { type: 'position_update', player_id: a.id, position: { x: 2, y: 0, z: 0 },
    rotation: ZERO };
  await moved.send(update); // not joined from here
  await moved.send({ type: 'join', lobby_code: code, player_id: a.id }); // bound: needs the token
  assert.equal((await moved.next('error')).error, 'invalid_udp_token');
  assert.equal((await b.settled()).filter((m) => m.type === 'position_update').length, 0);
  await moved.send({ type: 'join', lobby_code: code, player_id: a.id, udp_token: a.token });
  await moved.next('welcome');
  await moved.send(update);
  assert.equal((await b.next('position_update')).position.x, 2);
  await a.settled();
  await a.move(3); // the old address is nobody's
  const [late] = (await b.settled()).filter((m) => m.type === 'position_update');
  assert.equal(late, undefined);
  assert.equal((await a.settled()).length, 0);
  assert.equal((await get(s, `/lobbies/${code}`)).json.player_count, 2);
});

test('udp: a stranger with the right id and a wrong token changes nothing', async (t) => {
  const s = await server();
  const code = await lobby(s);
  const [a, b] = [await Player.enter(t, s, code), await BinaryPlayer.enter(t, s, code)];
  const before = await metrics(s);
  const wrong = 'f'.repeat(32);
  const stranger = await Udp.open(t, s);
  for (const udp_token of [wrong, '', 'x', 7, `${a.token}00`]) {
    await stranger.send({ type: 'join', lobby_code: code, player_id: a.id, udp_token, pad: 'x' });
    assert.equal((await stranger.next('error')).error, 'invalid_udp_token', String(udp_token));
  }
  await stranger.send(binary(1, { id: b.id, token: wrong }, joinBody(code)));
  assert.equal((await stranger.next('error')).code, 3);
  for (const type of ['leave', 'weapon_switch', 'position_update', 'ping']) {
    await stranger.send({ type, lobby_code: code, player_id: a.id, weapon_id: 1, t: 1,
      position: ZERO, rotation: ZERO });
  }
  await stranger.send(binary(3, { id: b.id, token: b.token }));
  await stranger.send(binary(2, { id: b.id, token: b.token }, stateBody([9, 9, 9])));
  assert.deepEqual(await stranger.settled(), []);
  // From a joined address, too, nobody is spoken for but oneself.
  await a.send({ type: 'leave', lobby_code: code, player_id: b.id });
  await a.send({ type: 'leave', lobby_code: 'OTHER', player_id: a.id });
  await b.send(binary(3, { id: b.id, token: wrong }));
  await b.send(binary(3, { id: a.id, token: a.token }));
  await sleep(SETTLE_MS);
  const late = await metrics(s);
  const grown = (reason) => late.get(`mpserver_drops_total{reason="${reason}"}`) -
    before.get(`mpserver_drops_total{reason="${reason}"}`);
  assert.deepEqual([grown('invalid_udp_token'), grown('not_joined'), grown('foreign_player')],
    [7, 6, 3]);
  assert.equal((await get(s, `/lobbies/${code}`)).json.player_count, 2);
  assert.equal(a.of('player_left').length + b.of('left').length, 0);
});

test('udp: joins that cannot be are told why', async (t) => {
  const s = await server();
  const code = await lobby(s);
  const one = await seat(s, code);
  const udp = await Udp.open(t, s);
  await udp.send({ type: 'join', lobby_code: 'NO-SUCH', player_id: 1, udp_token: one.token });
  assert.equal((await udp.next('error')).error, 'lobby_not_found');
  await udp.send({ type: 'join', lobby_code: code, player_id: 77, udp_token: one.token });
  assert.equal((await udp.next('error')).error, 'player_not_found');
  await udp.send(binary(1, { id: 1, token: one.token }, joinBody('NO-SUCH')));
  assert.equal((await udp.next('error')).code, 1);
  await udp.send(binary(1, { id: 9, token: one.token }, joinBody(code)));
  assert.equal((await udp.next('error')).code, 2);
});

test('udp: one address is one player\'s; the newer join from its own IP wins', async (t) => {
  const s = await server();
  const code = await lobby(s);
  const a = await Player.enter(t, s, code);
  const second = await seat(s, code, 'second');
  await a.send({ type: 'join', lobby_code: code, player_id: second.id, udp_token: second.token });
  assert.equal((await a.next('welcome')).player_id, second.id);
  await a.move(1); // says the first one's id
  const m = await until(() => metrics(s), (all) =>
    all.get('mpserver_drops_total{reason="foreign_player"}') > 0, 'a drop');
  assert.ok(m);
  assert.equal((await get(s, `/lobbies/${code}`)).json.player_count, 2);
});

test('udp: without --dev a join needs its token', async (t) => {
  const s = await start(t, { dev: false, config: { drain_grace_ms: 50 } });
  const code = (await post(s, '/lobbies', { code: 'STRICT' })).json.code;
  const one = await seat(s, code);
  const udp = await Udp.open(t, s);
  await udp.send({ type: 'join', lobby_code: code, player_id: one.id });
  assert.equal((await udp.next('error')).error, 'invalid_udp_token');
  await udp.send({ type: 'join', lobby_code: code, player_id: one.id, udp_token: one.token });
  await udp.next('welcome');
});

test('udp: silent players are dropped and the others hear of it', async (t) => {
  const s = await start(t, { config: { player_timeout_ms: 600, lobby_timeout_ms: 500 } });
  const code = await lobby(s);
  const [a, b] = [await Player.enter(t, s, code), await BinaryPlayer.enter(t, s, code)];
  for (let i = 0; i < 8 && !a.of('player_left').length; i++) {
    await a.send({ type: 'ping', t: i });
    await sleep(200);
  }
  assert.deepEqual(a.of('player_left').map((m) => m.player_id), [b.id]);
  await until(() => get(s, `/lobbies/${code}`), (answer) => answer.status === 404, 'its end');
});

test('udp: binary ping and the cookie', async (t) => {
  const s = await server();
  const bin = await BinaryPlayer.enter(t, s, await lobby(s));
  await bin.say(4, pingBody(0xfffffff0, bin.welcome.cookie));
  const pong = await bin.next('pong');
  assert.equal(pong.t, 0xfffffff0);
  assert.equal(pong.time, pong.server_ms);
});

test('udp: LAN discovery answers what is at least as long as the answer', async (t) => {
  const s = await start(t, { config: { name: 'Cellar "1"' } });
  const udp = await Udp.open(t, s);
  await udp.send({ type: 'discover', nonce: 'n1' });
  assert.deepEqual(await udp.settled(), []);
  const sent = await udp.send({ type: 'discover', nonce: 'n2', pad: 'x'.repeat(200) });
  const here = await udp.next('here');
  assert.ok(here.bytes.length <= sent);
  delete here.bytes;
  assert.deepEqual(here, { type: 'here', nonce: 'n2', name: 'Cellar "1"', version: s.version,
    http_port: s.port, udp_port: s.udp, lobbies: 1, players: 0, max_players: 1024 });
});

test('udp: on IPv6, and from the address that was asked', async (t) => {
  const s = await start(t, { args: ['--bind', '::'], config: { drain_grace_ms: 50 } });
  const udp = await Udp.open(t, s, { host: '::1' });
  const code = await lobby({ ...s, host: '127.0.0.1' });
  const one = await seat(s, code);
  await udp.send({ type: 'join', lobby_code: code, player_id: one.id, udp_token: one.token });
  await udp.next('welcome');
  assert.equal(udp.from.address, '::1');
  for (const host of ['127.0.0.1', '127.0.0.9']) {
    const four = await Udp.open(t, s, { host });
    await four.send({ type: 'discover', nonce: 4, pad: 'x'.repeat(300) });
    await four.next('here');
    assert.equal(four.from.address, host);
  }
});

test('udp: an address that is not proved gets no more bytes than it sent', async (t) => {
  const s = await start(t, { dev: false, config: { drain_grace_ms: 50, connections_per_s: 1000 } });
  const code = (await post(s, '/lobbies', { code: 'PROOF' })).json.code;
  const mover = await Player.enter(t, s, code);
  const one = await seat(s, code);
  const udp = await Udp.open(t, s, { bind: '127.0.0.5' });
  const join = { type: 'join', lobby_code: code, player_id: one.id, udp_token: one.token };
  let sent = await udp.send(join);
  const welcome = await udp.next('welcome');
  let got = welcome.bytes.length;
  for (let i = 0; i < 25; i++) {
    await mover.move(i);
    await sleep(50);
  }
  sent += await udp.send({ type: 'ping', t: 1, cookie: '0'.repeat(16) });
  for (const m of await udp.settled()) got += m.bytes.length;
  assert.ok(got <= sent, `${got} bytes for ${sent}`);
  await udp.send({ type: 'ping', t: 2, cookie: welcome.cookie });
  await mover.move(30);
  assert.equal((await udp.next('pong')).t, 2);
  await udp.next('position_update', (m) => m.position.x === 30);
  assert.equal((await udp.next('state_sync')).players.length, 1);
});
