// Tables of users, rooms, seats and bans: each can be full, says so, and is empty again when
// everybody has gone.
import assert from 'node:assert/strict';
import { get, metrics, post, refused, request, start, until } from './server.mjs';
import { Client, Raw, asUser, enter, join, joinBy, makeRoom, message, minted, party, quiet, test,
  upgradeText } from './socket.mjs';

const used = (m, table) => m.samples.get(`mpserver_table_used{table="${table}"}`);
const fulls = (m, table) => m.samples.get(`mpserver_table_full_total{table="${table}"}`);

test('tables: users', async (t) => {
  const s = await start(t, { config: { users: 2 } });
  const [a] = [await enter(s), await enter(s)];
  const third = minted();
  const headers = Object.fromEntries(upgradeText().split('\r\n').slice(1).filter(Boolean)
    .map((line) => line.split(': ')));
  refused(await request(s, 'GET', `/ws?token=${third.token}`, { headers }), 503, 'users_full');
  refused(await post(s, '/api/rooms', { gamemode: 'x' }, asUser(third)), 503, 'users_full');
  const nobody = await enter(s, null);
  await nobody.asking('handshake', { version: '1', name: 'x', token: third.token }, 'users_full');
  await nobody.quiet();
  await enter(s, a.user); // no more users than before
  assert.ok(fulls(await metrics(s), 'users') >= 3);
  const b = await enter(s, a.user);
  await b.close();
  await a.close();
  await quiet(nobody);
  await nobody.asking('handshake', { version: '1', name: 'x', token: third.token }, 'users_full');
});

test('tables: a user who has gone leaves a place', async (t) => {
  const s = await start(t, { config: { users: 1 } });
  for (let i = 0; i < 5; i++) {
    const client = await enter(s);
    await client.close();
    await until(() => metrics(s), (m) => used(m, 'users') === 0, 'no users');
  }
  const maker = minted();
  const id = await makeRoom(s, maker);
  refused(await post(s, '/api/rooms', { gamemode: 'x' }, asUser(minted())), 503, 'users_full');
  const host = await join(s, id, maker);
  await host.close();
  refused(await post(s, '/api/rooms', { gamemode: 'x' }, asUser(minted())), 503, 'users_full');
});

test('tables: seats', async (t) => {
  const s = await start(t, { config: { seats: 3, room_players_max: 3 } });
  const [host, member] = await party(s, ['Host', 'Member'], { maxPlayers: 3 });
  const [other] = await party(s, ['Other'], { maxPlayers: 3 });
  const late = await enter(s);
  await late.asking('join_room', { roomId: host.roomId, version: '', name: 'x' }, 'room_full');
  await late.asking('quick_join', { gamemode: 'new', version: '', name: 'x' }, 'room_full');
  assert.equal((await get(s, '/api/rooms')).json.count, 2, 'no room without its maker');
  assert.ok(fulls(await metrics(s), 'seats') >= 2);
  await quiet(host, member, other);
  member.send('leave_room');
  await host.hears('peer_left', { peerId: 2 });
  await joinBy(late, host.roomId);
  assert.equal(late.peerId, 3);
});

test('tables: bans', async (t) => {
  const s = await start(t, { config: { bans: 2 } });
  const [host, ...members] = await party(s, ['Host', 'A', 'B', 'C']);
  for (const member of members.slice(0, 2)) {
    host.send('ban', { peerId: member.peerId });
    while ((await member.next()).type !== 'kicked');
  }
  for (const peerId of [2, 3]) await host.hears('peer_left', { peerId });
  await host.asking('ban', { peerId: 4 }, 'bans_full');
  await host.asking('ban', { ip: '203.0.113.1' }, 'bans_full');
  assert.equal(fulls(await metrics(s), 'bans'), 2);
  host.send('kick', { peerId: 4 });
  await host.hears('peer_left', { peerId: 4 });
  host.send('leave_room');
  await host.quiet();
  assert.equal(used(await metrics(s), 'bans'), 0, 'bans go with their room');
  const [next] = await party(s, ['Next', 'Member']);
  next.send('ban', { peerId: 2 });
  await next.hears('peer_left', { peerId: 2 });
  await next.quiet();
});

test('tables: barring twice takes one place', async (t) => {
  const s = await start(t, { config: { bans: 2 } });
  const [host] = await party(s, ['Host']);
  for (let i = 0; i < 5; i++) host.send('ban', { ip: '203.0.113.1' });
  host.send('ban', { ip: '2001:db8::1' });
  host.send('ban', { ip: '2001:db8::2' });
  await host.quiet();
  assert.equal(used(await metrics(s), 'bans'), 2);
});

test('tables: all of them are empty when everybody has gone', async (t) => {
  const s = await start(t, { config: { seat_timeout_ms: 100, room_timeout_ms: 300 } });
  const before = await metrics(s);
  for (let round = 0; round < 3; round++) {
    const [host, a, b, c, d] = await party(s, ['Host', 'A', 'B', 'C', 'D']);
    const twin = await enter(s, a.user);
    await joinBy(twin, host.roomId, { resumeToken: a.resumeToken });
    host.send('kick', { peerId: 3 });
    host.send('ban', { peerId: 4 });
    host.send('ban', { ip: '203.0.113.1' });
    d.send('leave_room');
    for (d.send('ping'); (await d.next()).type !== 'pong';);
    await makeRoom(s, d.user);
    await makeRoom(s, minted());
    const broken = await Raw.open(s, { target: `/ws?token=${minted().token}` });
    await broken.write(message('ping').subarray(0, 5));
    const large = await Raw.open(s);
    await large.write(message('chat', { text: 'x'.repeat(50000) }).subarray(0, 40000));
    await Client.open(s); // the only one of the round that stays
    for (const client of [host, b, c]) client.drop();
    for (const socket of [twin, d, broken, large]) socket.drop();
  }
  const tables = ['users', 'rooms', 'seats', 'bans', 'large_inputs'];
  const late = await until(() => metrics(s), (m) => m.get('mpserver_sockets') === 3 &&
    tables.every((table) => used(m, table) === 0), `nothing in ${tables}`);
  assert.equal(late.get('mpserver_rooms'), 0);
  assert.equal(late.get('mpserver_room_members'), 0);
  assert.equal(late.get('mpserver_rooms_opened_total') - before.get('mpserver_rooms_opened_total'),
    9);
});

const counter = (type, direction) =>
  `mpserver_websocket_messages_total{type="${type}",direction="${direction}"}`;

test('tables: messages are counted by type and direction', async (t) => {
  const s = await start(t);
  const [a, b, c] = await party(s, ['A', 'B', 'C']);
  const before = await metrics(s);
  for (let i = 0; i < 5; i++) a.send('chat', { text: 'x' });
  for (let i = 0; i < 7; i++) b.send('player_state', {});
  c.send('rpc_call', { targetPeer: 1, method: 'x' });
  c.send('what is this');
  const late = await until(() => metrics(s), (m) =>
    m.get(counter('error', 'out')) > before.get(counter('error', 'out')) &&
    m.get(counter('player_state', 'in')) - before.get(counter('player_state', 'in')) === 7,
  'all that was sent');
  const grown = (...of) => late.get(counter(...of)) - before.get(counter(...of));
  assert.equal(grown('chat', 'in'), 5);
  assert.equal(grown('player_state', 'in'), 7);
  assert.equal(grown('rpc_call', 'in'), 1);
  assert.equal(grown('rpc_call', 'out'), 1);
  assert.equal(grown('other', 'in'), 1);
  assert.equal(grown('error', 'out'), 1);
  assert.equal(grown('chat', 'out'), 10);
});
