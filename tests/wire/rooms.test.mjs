// Relay rooms: made, listed and deleted over HTTP, confirmed and entered over sockets.
import assert from 'node:assert/strict';
import { admin, get, post, refused, request, shared, start, test as plainTest, until }
  from './server.mjs';
import { Client, asUser, enter, join, joinBy, look, makeRoom, minted, party, quiet, signIn,
  stranger, test } from './socket.mjs';

const server = shared({ config: { rooms: 256 } });
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const NOWHERE = '00000000-0000-4000-8000-000000000000';
let modes = 0;
const mode = () => `mode-${++modes}`; // one of a test's own: rooms of other tests stay about

const create = (s, user, json) => post(s, '/api/rooms', json, asUser(user));
const remove = (s, id, headers) => request(s, 'DELETE', `/api/rooms/${id}`, { headers });
const gone = (s, id) => until(() => look(s, id), (answer) => answer.status === 404, 'its end');

async function list(s, query) {
  const answer = await get(s, `/api/rooms?${query}`);
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.json.count, answer.json.rooms.length);
  return answer;
}

/* A room as every answer shows it; its id and age are taken from `got`. */
function shape(got, fields) {
  assert.match(got.created_at, ISO);
  assert.ok(Math.abs(Date.parse(got.created_at) - Date.now()) < 60000);
  return { id: got.id, map_name: '', current_players: 0, max_players: 8,
    created_at: got.created_at, is_full: false, is_public: true, ...fields };
}

const peers = (client) => client.joined.members.map((member) => member.peerId);
const hostOf = (client) => client.joined.members.find((member) => member.isHost).peerId;

plainTest('rooms: one is made by a user', async (t) => {
  const s = await start(t, { config: { rooms: 2 } });
  const user = await signIn(s, 'Ada');
  const answer = await create(s, user, { gamemode: 'duel', mapName: 'Höhle', maxPlayers: 4,
    isPublic: false, version: '1.2', more: 'ignored' });
  assert.equal(answer.status, 201, answer.text);
  const { id } = answer.json.room;
  assert.match(id, UUID);
  assert.deepEqual(answer.json, {
    success: true,
    room: shape(answer.json.room, { host_username: 'Ada', gamemode: 'duel', map_name: 'Höhle',
      max_players: 4, is_public: false }),
    server_capacity: { current_rooms: 1, max_rooms: 2, can_create_room: true },
  });
  const plain = await create(s, minted(undefined, 'Bob'), { gamemode: 'x' });
  assert.equal(plain.status, 201, plain.text);
  assert.deepEqual(plain.json.room,
    shape(plain.json.room, { host_username: 'Bob', gamemode: 'x' }));
  assert.deepEqual(plain.json.server_capacity,
    { current_rooms: 2, max_rooms: 2, can_create_room: false });
  refused(await create(s, minted(), { gamemode: 'x' }), 409, 'room_capacity_reached');
  assert.equal((await remove(s, id, asUser(user))).status, 200);
  assert.equal((await create(s, minted(), { gamemode: 'x' })).status, 201);
});

plainTest('rooms: what a room may not be', async () => {
  const s = await server();
  const user = minted();
  const rows = [['gamemode', [undefined, null, '', 'x'.repeat(65), 'ä'.repeat(33), 7, {}, []]],
    ['mapName', ['x'.repeat(65), 7, {}, false]], ['version', ['x'.repeat(65), 7, []]],
    ['maxPlayers', [0, -1, 65, 1.5, '8', true, 1e400]], ['isPublic', ['yes', 1, {}]]];
  for (const [field, values] of rows) {
    for (const value of values) {
      const json = { gamemode: 'duel', [field]: value };
      const body = JSON.stringify(json).replace(/null/g, value === 1e400 ? '1e400' : 'null');
      const answer = await request(s, 'POST', '/api/rooms', { headers: asUser(user), body });
      refused(answer, 400, 'invalid_field', { field });
    }
  }
  for (const body of ['', '[]', '{"gamemode":}', 'null']) {
    refused(await request(s, 'POST', '/api/rooms', { headers: asUser(user), body }), 400,
      'bad_json');
  }
  refused(await post(s, '/api/rooms', { gamemode: 'duel' }), 401, 'authentication_required');
  refused(await post(s, '/api/rooms', { gamemode: 'duel' }, { Authorization: 'Bearer x' }), 401,
    'invalid_token');
  const most = await create(s, user, { gamemode: 'ä'.repeat(32), mapName: 'x'.repeat(64),
    version: 'x'.repeat(64), maxPlayers: 64, isPublic: true });
  assert.equal(most.status, 201, most.text);
});

test('rooms: one at a time for each user', async () => {
  const s = await server();
  const user = minted();
  const id = await makeRoom(s, user);
  const has = { existing_room_id: id };
  refused(await create(s, user, { gamemode: 'duel' }), 400, 'room_exists', has);
  const host = await enter(s, user);
  await host.ask('create_room', {}, 'room_created');
  refused(await create(s, user, { gamemode: 'duel' }), 400, 'room_exists', has);
  const other = await join(s, id);
  await host.hears('peer_joined', { peerId: 2, name: other.name });
  host.send('leave_room');
  await other.hears('peer_left', { peerId: 1 });
  await other.hears('host_changed', { newHostPeerId: 2, newHostName: other.name });
  const second = await create(s, user, { gamemode: 'duel' });
  assert.equal(second.status, 201, second.text);
  await joinBy(host, id);
  assert.equal(host.peerId, 3);
  await other.hears('peer_joined', { peerId: 3, name: host.name });
});

plainTest('rooms: the list shows public ones, filtered, in pages', async () => {
  const s = await server();
  const gamemode = mode();
  const users = Array.from({ length: 7 }, (_, i) => minted(undefined, `Maker ${i}`));
  const ids = [];
  for (const [i, user] of users.entries()) {
    ids.push(await makeRoom(s, user, { gamemode, mapName: `map ${i}`, isPublic: i !== 3 }));
  }
  const expected = new Set(ids.filter((_, i) => i !== 3));
  const { rooms, server_capacity: capacity } = (await list(s, `gamemode=${gamemode}`)).json;
  assert.deepEqual(new Set(rooms.map((room) => room.id)), expected);
  assert.equal(capacity.max_rooms, 256);
  assert.ok(capacity.current_rooms >= 7 && capacity.can_create_room);
  const first = rooms.find((room) => room.id === ids[0]);
  assert.deepEqual(first,
    shape(first, { id: ids[0], host_username: 'Maker 0', gamemode, map_name: 'map 0' }));
  for (const limit of [1, 2, 4, 6, 7]) {
    const seen = [];
    let cursor = '';
    do {
      const page = await list(s, `gamemode=${gamemode}&limit=${limit}${cursor}`);
      assert.ok(page.json.count <= limit);
      seen.push(...page.json.rooms.map((room) => room.id));
      const next = page.headers['x-next-cursor'];
      cursor = next && `&cursor=${encodeURIComponent(next)}`;
    } while (cursor);
    assert.equal(seen.length, expected.size);
    assert.deepEqual(new Set(seen), expected, `limit ${limit}`);
  }
  assert.equal((await list(s, `gamemode=${gamemode}&dungeon_id=crypt`)).json.count, 0);
  assert.equal((await list(s, `gamemode=${gamemode.toUpperCase()}`)).json.count, 0);
  for (const query of ['limit=0', 'limit=x', 'cursor=-1']) {
    refused(await get(s, `/api/rooms?${query}`), 400, 'bad_query');
  }
});

test('rooms: a room by its id', async () => {
  const s = await server();
  const gamemode = mode();
  const user = minted(undefined, 'Ada');
  const id = await makeRoom(s, user, { gamemode, maxPlayers: 2, isPublic: false });
  const { json } = await look(s, id);
  assert.deepEqual(json,
    shape(json, { id, host_username: 'Ada', gamemode, max_players: 2, is_public: false }));
  const host = await join(s, id, user);
  assert.equal((await look(s, id)).json.current_players, 1);
  const guest = await join(s, id);
  assert.deepEqual((await look(s, id)).json, { ...json, current_players: 2, is_full: true });
  await host.hears('peer_joined', { peerId: 2, name: guest.name });
  host.send('leave_room');
  await guest.next('peer_left');
  assert.deepEqual((await look(s, id)).json,
    { ...json, current_players: 1, host_username: guest.user.username });
  for (const other of [NOWHERE, 'x', id.slice(1), `${id}0`]) {
    refused(await look(s, other), 404, 'room_not_found');
  }
});

test('rooms: deleted by its host or an admin', async () => {
  const s = await server();
  const [host, member] = await party(s, ['Host', 'Member']);
  const id = host.roomId;
  refused(await remove(s, id, {}), 401, 'authentication_required');
  refused(await remove(s, id, stranger()), 403, 'not_host');
  refused(await remove(s, id, asUser(member.user)), 403, 'not_host');
  refused(await remove(s, NOWHERE, admin()), 404, 'room_not_found');
  const answer = await remove(s, id, asUser(host.user));
  assert.equal(answer.text, '{"success":true}');
  for (const client of [host, member]) await client.hears('kicked', { reason: 'room_closed' });
  refused(await look(s, id), 404, 'room_not_found');
  await host.asking('chat', { text: 'x' }, 'not_in_room');
  await member.asking('join_room', { roomId: id, version: '', name: 'x' }, 'room_not_found');
  refused(await remove(s, id, asUser(host.user)), 404, 'room_not_found');
  const next = await makeRoom(s, host.user);
  await joinBy(host, next);
  await joinBy(member, next);
  assert.equal((await remove(s, next, admin())).status, 200);
  await host.hears('peer_joined', { peerId: 2, name: 'Member' });
  for (const client of [host, member]) await client.hears('kicked', { reason: 'room_closed' });
  const unconfirmed = await makeRoom(s, host.user);
  refused(await remove(s, unconfirmed, asUser(member.user)), 403, 'not_host');
  assert.equal((await remove(s, unconfirmed, asUser(host.user))).status, 200);
});

test('rooms: who was handed a room may delete it, who left may not', async () => {
  const s = await server();
  const [host, member] = await party(s, ['Host', 'Member']);
  host.send('leave_room');
  await member.hears('peer_left', { peerId: 1 });
  refused(await remove(s, host.roomId, asUser(host.user)), 403, 'not_host');
  assert.equal((await remove(s, host.roomId, asUser(member.user))).status, 200);
});

test('rooms: create_room confirms the room made over HTTP', async () => {
  const s = await server();
  const user = minted(undefined, 'Ada');
  const host = await enter(s, user);
  await host.asking('create_room', {}, 'no_room_found');
  const gamemode = mode();
  const id = await makeRoom(s, user, { gamemode, mapName: 'Höhle "1"' });
  host.send('create_room');
  await host.hears('room_created', { roomId: id, peerId: 1, gamemode, mapName: 'Höhle "1"' });
  await host.quiet();
  await host.asking('create_room', {}, 'already_in_room');
  const guest = await enter(s, undefined, { name: 'Bob' });
  guest.send('join_room', { roomId: id, version: '', name: 'Bob' });
  const { data, text } = await guest.next('room_joined');
  assert.equal(text, JSON.stringify({ type: 'room_joined', data: {
    roomId: id, peerId: 2,
    members: [{ peerId: 1, name: 'Ada', isHost: true }, { peerId: 2, name: 'Bob', isHost: false }],
    gamemode, mapName: 'Höhle "1"', resumeToken: data.resumeToken,
  } }));
  assert.match(data.resumeToken, /^[0-9a-f]{32}$/);
  await host.hears('peer_joined', { peerId: 2, name: 'Bob' });
  await quiet(host, guest);
});

test('rooms: the maker may confirm by join_room, nobody else', async () => {
  const s = await server();
  const user = minted();
  const id = await makeRoom(s, user);
  const other = await enter(s);
  await other.asking('join_room', { roomId: id, version: '', name: 'x' }, 'room_not_found');
  const host = await join(s, id, user, { name: 'As I like' });
  assert.deepEqual(host.joined.members, [{ peerId: 1, name: 'As I like', isHost: true }]);
  await host.asking('create_room', {}, 'already_in_room');
  await joinBy(other, id);
  await host.hears('peer_joined', { peerId: 2, name: other.name });
});

const SEATED = [['leave_room', {}], ['chat', { text: 'x' }], ['player_state', {}],
  ['player_snapshot', {}], ['rpc_call', { method: 'x' }], ['kick', { peerId: 1 }],
  ['ban', { peerId: 1 }]];
const ENTERING = [['create_room', {}], ['join_room', { roomId: NOWHERE, version: '', name: 'x' }],
  ['quick_join', { gamemode: 'x', version: '', name: 'x' }]];

test('rooms: the anonymous are told to sign in', async () => {
  const s = await server();
  const clients = [await Client.open(s), await enter(s, null)];
  for (const client of clients) {
    for (const [type, data] of [...ENTERING, ...SEATED]) {
      await client.asking(type, data, 'authentication_required');
    }
    await client.quiet();
  }
});

test('rooms: who has no seat is told so', async () => {
  const client = await enter(await server());
  for (const [type, data] of SEATED) await client.asking(type, data, 'not_in_room');
});

test('rooms: one seat for a socket', async () => {
  const s = await server();
  const [host, member] = await party(s, ['Host', 'Member']);
  await makeRoom(s, member.user);
  for (const [type, data] of ENTERING) {
    for (const client of [host, member]) await client.asking(type, data, 'already_in_room');
  }
  const again = { roomId: member.roomId, version: '', name: 'x', resumeToken: member.resumeToken };
  await member.asking('join_room', again, 'already_in_room');
  await quiet(member, host);
});

test('rooms: an upgrade with a token needs no handshake to join', async () => {
  const s = await server();
  const user = minted();
  const client = Object.assign(await Client.open(s, { user }), { name: 'Quick' });
  await joinBy(client, await makeRoom(s, user));
  assert.deepEqual(client.joined.members, [{ peerId: 1, name: 'Quick', isHost: true }]);
});

test('rooms: the fields of join_room', async () => {
  const s = await server();
  const [host] = await party(s, ['Host'], { version: '1.0' });
  const client = await enter(s);
  const good = { roomId: host.roomId, version: '1.0', name: 'x' };
  const rows = [['roomId', [undefined, null, 7, {}]], ['version', [7, 'x'.repeat(65), {}]],
    ['name', [undefined, null, '', 'x'.repeat(33), '😀'.repeat(33), 7]], ['resumeToken', [7, {}]]];
  for (const [field, values] of rows) {
    for (const value of values) {
      await client.asking('join_room', { ...good, [field]: value }, 'invalid_join_room', { field });
    }
  }
  await quiet(client, host);
  for (const fields of [{ version: undefined }, { version: '' }, { name: '😀'.repeat(32) }]) {
    await joinBy(client, host.roomId, { ...good, ...fields });
    assert.equal(client.joined.members.at(-1).name, fields.name ?? 'x');
    client.send('leave_room');
    await client.quiet();
  }
});

test('rooms: a version is compared when both name one', async () => {
  const s = await server();
  const rows = [['1.0', '1.0', true], ['1.0', '1.1', false], ['1.0', '', true], ['', '1.1', true],
    ['1.0', '1.0 ', false], [undefined, '9', true], ['ä', 'ä', true]];
  for (const [version, said, fits] of rows) {
    const [host] = await party(s, ['Host'], { version });
    const client = await enter(s);
    const data = { roomId: host.roomId, version: said, name: 'x' };
    if (!fits) await client.asking('join_room', data, 'version_mismatch');
    else await joinBy(client, host.roomId, data);
  }
});

test('rooms: refusals come in their order', async () => {
  const s = await server();
  const [host, member] = await party(s, ['Host', 'Member'], { maxPlayers: 2, version: '1' });
  const third = await enter(s);
  const roomId = host.roomId;
  const bad = '0'.repeat(32);
  await third.asking('join_room', { roomId: NOWHERE, version: '2', name: 'x', resumeToken: bad },
    'room_not_found');
  await third.asking('join_room', { roomId, version: '2', name: 'x', resumeToken: bad },
    'version_mismatch');
  await third.asking('join_room', { roomId, version: '1', name: 'x', resumeToken: bad },
    'invalid_token');
  await third.asking('join_room', { roomId, version: '1', name: 'x' }, 'room_full');
  const twin = await enter(s, member.user);
  await twin.asking('join_room', { roomId, version: '2', name: 'x' }, 'version_mismatch');
  await twin.asking('join_room', { roomId, version: '1', name: 'x' }, 'already_in_room');
  host.send('ban', { peerId: 2 });
  await member.hears('kicked', { reason: 'host_ban' });
  await host.hears('peer_left', { peerId: 2 });
  await joinBy(third, roomId, { version: '1' });
  await twin.asking('join_room', { roomId, version: '2', name: 'x', resumeToken: bad }, 'banned');
  await twin.asking('join_room', { roomId: NOWHERE, version: '', name: 'x' }, 'room_not_found');
});

test('rooms: quick_join takes the fullest that fits', async () => {
  const s = await server();
  const gamemode = mode();
  const fields = (more) => ({ gamemode, ...more });
  const [one] = await party(s, ['One'], fields({ mapName: 'b' }));
  const three = await party(s, ['Two', 'Twin', 'Trip'], fields({ mapName: 'a', version: '1' }));
  const [two] = three;
  await party(s, ['Full', 'House', 'Here', '!'], fields({ mapName: 'a', maxPlayers: 4 }));
  await party(s, ['In', 'Secret', 'Four', '!'], fields({ isPublic: false }));
  await party(s, ['Other', 'Mode', 'Too', '!'], { gamemode: `${gamemode}x` });
  await makeRoom(s, minted(), fields());
  const quick = async (client, data) => Object.assign(client, { joined: await client.ask(
    'quick_join', { gamemode, version: '', name: client.name, ...data }, 'room_joined') });
  const a = await quick(await enter(s), {});
  assert.equal(a.joined.roomId, two.roomId);
  assert.deepEqual(peers(a), [1, 2, 3, 4]);
  assert.equal(hostOf(a), 1);
  for (const client of three) await client.hears('peer_joined', { peerId: 4, name: a.name });
  const b = await quick(await enter(s), { version: '2' });
  assert.equal(b.joined.roomId, one.roomId, 'the other room has another version');
  const c = await quick(await enter(s), { mapName: 'b', version: '1' });
  assert.equal(c.joined.roomId, one.roomId, 'the other room has another map');
  const d = await quick(await enter(s), { version: '1' });
  assert.equal(d.joined.roomId, two.roomId, 'still the fullest');
  const e = await quick(await enter(s), { mapName: 'c' });
  assert.ok(![one.roomId, two.roomId].includes(e.joined.roomId));
  assert.deepEqual(e.joined.members, [{ peerId: 1, name: e.name, isHost: true }]);
  assert.equal(e.joined.mapName, 'c');
});

test('rooms: among rooms as full quick_join takes the oldest, never one twice', async () => {
  const s = await server();
  const gamemode = mode();
  const rooms = [];
  for (const name of ['A', 'B', 'C']) rooms.push((await party(s, [name], { gamemode }))[0].roomId);
  const user = minted();
  const seats = [];
  for (let i = 0; i < 4; i++) {
    const client = await enter(s, user);
    seats.push(await client.ask('quick_join', { gamemode, version: '', name: 'x' }, 'room_joined'));
  }
  assert.deepEqual(seats.slice(0, 3).map((seat) => seat.roomId), rooms);
  assert.ok(!rooms.includes(seats[3].roomId), 'no room is left without the user');
});

test('rooms: quick_join passes over a room that barred the user', async () => {
  const s = await server();
  const gamemode = mode();
  const [host, member] = await party(s, ['Host', 'Member', 'Third'], { gamemode });
  host.send('ban', { peerId: 2 });
  await member.hears('kicked', { reason: 'host_ban' });
  const data = await member.ask('quick_join', { gamemode, version: '', name: 'x' }, 'room_joined');
  assert.notEqual(data.roomId, host.roomId);
});

test('rooms: quick_join makes a room when none fits', async (t) => {
  const s = await start(t, { config: { rooms: 2 } });
  const client = await enter(s, undefined, { name: 'Called' });
  client.send('quick_join', { gamemode: 'duel', mapName: 'cave', maxPlayers: 2, version: '7',
    name: 'Called' });
  const { data, text } = await client.next('room_joined');
  assert.equal(text, JSON.stringify({ type: 'room_joined', data: {
    roomId: data.roomId, peerId: 1, members: [{ peerId: 1, name: 'Called', isHost: true }],
    gamemode: 'duel', mapName: 'cave', resumeToken: data.resumeToken,
  } }));
  const [room] = (await list(s, '')).json.rooms;
  assert.deepEqual(room, shape(room, { id: data.roomId, host_username: client.user.username,
    gamemode: 'duel', map_name: 'cave', current_players: 1, max_players: 2 }));
  const plain = await enter(s);
  const made = await plain.ask('quick_join', { gamemode: 'x', version: '', name: 'x' },
    'room_joined');
  assert.equal((await look(s, made.roomId)).json.max_players, 8);
  assert.equal(made.mapName, '');
  const third = await enter(s);
  await third.asking('quick_join', { gamemode: 'y', version: '', name: 'x' },
    'room_capacity_reached');
  await third.asking('quick_join', { gamemode: 'duel', version: '8', name: 'x' },
    'room_capacity_reached');
  const fits = await third.ask('quick_join', { gamemode: 'duel', version: '7', name: 'x' },
    'room_joined');
  assert.equal(fits.roomId, data.roomId);
});

test('rooms: the fields of quick_join', async () => {
  const client = await enter(await server());
  const good = { gamemode: mode(), version: '', name: 'x' };
  const rows = [['gamemode', [undefined, '', 'x'.repeat(65), 7, null]],
    ['mapName', ['x'.repeat(65), 7, {}]], ['maxPlayers', [0, 65, -1, 1.5, '8', {}]],
    ['version', ['x'.repeat(65), 7]], ['name', [undefined, '', 'x'.repeat(33), 7, null]]];
  for (const [field, values] of rows) {
    for (const value of values) {
      await client.asking('quick_join', { ...good, [field]: value }, 'invalid_join_room',
        { field });
    }
  }
  await client.ask('quick_join', { ...good, maxPlayers: 64, mapName: null }, 'room_joined');
});

test('rooms: one that nobody confirms is gone in time', async (t) => {
  const s = await start(t, { config: { room_timeout_ms: 500, rooms: 4 } });
  const watcher = await enter(s, null, { skip: ['user_online', 'user_offline'] });
  const user = minted();
  const id = await makeRoom(s, user);
  await watcher.hears('rooms_changed', {});
  const confirmed = await enter(s);
  const kept = await makeRoom(s, confirmed.user);
  await confirmed.ask('create_room', {}, 'room_created');
  await watcher.hears('rooms_changed', {});
  await gone(s, id);
  assert.equal((await look(s, kept)).status, 200);
  const host = await enter(s, user);
  await host.asking('create_room', {}, 'no_room_found');
  const again = await makeRoom(s, user);
  assert.equal((await look(s, again)).status, 200);
});
