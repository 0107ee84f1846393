// Seats of relay rooms: left, lost, handed on, taken away by the host.
import assert from 'node:assert/strict';
import { get, refused, shared, start, until } from './server.mjs';
import { enter, join, joinBy, look, makeRoom, minted, party, quiet, stranger, test }
  from './socket.mjs';

const server = shared({ config: { rooms: 256 } });
const gone = (s, id) => until(() => look(s, id), (answer) => answer.status === 404, 'its end');

/* The server has seen the end of their sockets; until then they are as present as anybody. */
const offline = (s, ...clients) => until(
  () => get(s, '/api/presence?limit=200', stranger()),
  ({ json }) => !json.users.some((user) =>
    clients.some((client) => client.user.user_id === user.user_id)),
  'their end',
);

const hostOf = (client) => client.joined.members.find((member) => member.isHost).peerId;

test('seats: who leaves hears nothing, the others hear who', async () => {
  const s = await server();
  const [host, member, third] = await party(s, ['Host', 'Member', 'Third']);
  member.send('leave_room');
  await quiet(member);
  for (const other of [host, third]) await other.hears('peer_left', { peerId: 2 });
  await member.asking('leave_room', {}, 'not_in_room');
  host.send('chat', { text: 'Gone.' });
  await third.hears('chat', { from: 1, fromName: 'Host', text: 'Gone.' });
  await quiet(host, member);
  await joinBy(member, host.roomId, { name: 'Back' });
  assert.equal(member.peerId, 4, 'no peer id comes twice');
  assert.deepEqual(member.joined.members, [{ peerId: 1, name: 'Host', isHost: true },
    { peerId: 3, name: 'Third', isHost: false }, { peerId: 4, name: 'Back', isHost: false }]);
  for (const other of [host, third]) await other.hears('peer_joined', { peerId: 4, name: 'Back' });
});

test('seats: the last to leave closes the room', async () => {
  const s = await server();
  const [host] = await party(s, ['Host']);
  host.send('leave_room');
  await host.quiet();
  refused(await look(s, host.roomId), 404, 'room_not_found');
  await host.asking('join_room', { roomId: host.roomId, version: '', name: 'x' }, 'room_not_found');
});

function permutations(items) {
  if (items.length < 2) return [items];
  return items.flatMap((item, i) =>
    permutations(items.filter((_, j) => j !== i)).map((rest) => [item, ...rest]));
}

/* Members 1 to 4 go in this order, every second one by breaking its connection. */
async function handOn(s, order, odd) {
  const members = await party(s, ['One', 'Two', 'Three', 'Four']);
  let left = [...members];
  for (const [i, peerId] of order.entries()) {
    const who = members[peerId - 1];
    const wasHost = left[0] === who;
    left = left.filter((member) => member !== who);
    if (i % 2 === odd) await who.dropped();
    else who.send('leave_room');
    for (const other of left) {
      await other.hears('peer_left', { peerId });
      if (!wasHost) continue;
      const [next] = left;
      await other.hears('host_changed', { newHostPeerId: next.peerId, newHostName: next.name });
    }
  }
  await gone(s, members[0].roomId);
}

for (const odd of [0, 1]) {
  test(`seats: handed on in every order of leaving, ${odd ? 'then' : 'first'} drops`, async (t) => {
    const s = await start(t, { config: { seat_timeout_ms: 200, rooms: 32 } });
    const orders = permutations([1, 2, 3, 4]);
    assert.equal(orders.length, 24);
    await Promise.all(orders.map((order) => handOn(s, order, odd)));
    assert.equal((await get(s, '/api/rooms')).json.count, 0);
  });
}

test('seats: handed on to who is there, not to a dropped seat', async () => {
  const s = await server();
  const [host, second, third] = await party(s, ['Host', 'Second', 'Third']);
  await second.dropped();
  await offline(s, second);
  host.send('leave_room');
  await third.hears('peer_left', { peerId: 1 });
  await third.hears('host_changed', { newHostPeerId: 3, newHostName: 'Third' });
  const back = await join(s, host.roomId, second.user);
  assert.equal(back.peerId, 2);
  assert.equal(hostOf(back), 3);
  third.send('leave_room');
  await back.hears('peer_left', { peerId: 3 });
  await back.hears('host_changed', { newHostPeerId: 2, newHostName: 'Second' });
});

test('seats: with only dropped seats left, the longest-present is host', async () => {
  const s = await server();
  const [host, second, third] = await party(s, ['Host', 'Second', 'Third']);
  for (const client of [second, third]) await client.dropped();
  await offline(s, second, third);
  host.send('leave_room');
  await host.quiet();
  const back = await join(s, host.roomId, third.user);
  assert.equal(hostOf(back), 2);
});

test('seats: kick and ban are for the host', async () => {
  const s = await server();
  const [host, member, third] = await party(s, ['Host', 'Member', 'Third']);
  for (const [type, data] of [['kick', { peerId: 3 }], ['ban', { peerId: 1 }], ['kick', {}],
    ['ban', { ip: '203.0.113.1' }], ['kick', { peerId: 99 }]]) {
    await member.asking(type, data, 'not_host');
  }
  for (const type of ['kick', 'ban']) {
    for (const peerId of [1, 0, 4, 99, -1, 4294967298]) {
      host.send(type, { peerId });
      const { data } = await host.next('error');
      const none = data.reason === 'invalid_field' && data.field === 'peerId';
      assert.ok(data.reason === 'invalid_target' || (none && (peerId < 1 || peerId > 65535)),
        `${type} ${peerId}: ${data.reason}`);
    }
    for (const peerId of ['2', null, {}, [2], true]) {
      await host.asking(type, { peerId }, 'invalid_field', { field: 'peerId' });
    }
  }
  await host.asking('kick', {}, 'invalid_field', { field: 'peerId' });
  await quiet(host, member, third);
});

test('seats: who is kicked may come back', async () => {
  const s = await server();
  const [host, member, third] = await party(s, ['Host', 'Member', 'Third']);
  host.send('kick', { peerId: 2 });
  await member.hears('kicked', { reason: 'host_kick' });
  for (const other of [host, third]) await other.hears('peer_left', { peerId: 2 });
  await member.asking('chat', { text: 'x' }, 'not_in_room');
  await member.asking('join_room', { roomId: host.roomId, version: '', name: 'x',
    resumeToken: member.resumeToken }, 'invalid_token');
  await joinBy(member, host.roomId);
  assert.equal(member.peerId, 4);
  for (const other of [host, third]) {
    await other.hears('peer_joined', { peerId: 4, name: 'Member' });
  }
  await quiet(host, member, third);
});

test('seats: a member can be kicked while it is away', async () => {
  const s = await server();
  const [host, member] = await party(s, ['Host', 'Member']);
  await member.dropped();
  host.send('kick', { peerId: 2 });
  await host.hears('peer_left', { peerId: 2 });
  const back = await enter(s, member.user);
  await back.asking('join_room', { roomId: host.roomId, version: '', name: 'x',
    resumeToken: member.resumeToken }, 'invalid_token');
  assert.equal((await look(s, host.roomId)).json.current_players, 1);
});

test('seats: who is banned does not come back to that room', async () => {
  const s = await server();
  const [host, member, third] = await party(s, ['Host', 'Member', 'Third']);
  host.send('ban', { peerId: 2 });
  await member.hears('kicked', { reason: 'host_ban' });
  for (const other of [host, third]) await other.hears('peer_left', { peerId: 2 });
  const data = { roomId: host.roomId, version: '', name: 'x' };
  await member.asking('join_room', data, 'banned');
  await member.asking('join_room', { ...data, resumeToken: member.resumeToken }, 'banned');
  const twin = await enter(s, member.user);
  await twin.asking('join_room', data, 'banned');
  const other = (await party(s, ['Elsewhere']))[0];
  await joinBy(member, other.roomId);
  host.send('leave_room');
  await third.next('peer_left');
  await third.next('host_changed');
  await twin.asking('join_room', data, 'banned');
  await quiet(third, twin);
});

const from = (ip) => ({ headers: { 'X-Forwarded-For': ip } });
const PROXIED = { config: { trusted_proxies: ['127.0.0.1'], requests_per_s: 10000 } };

test('seats: an address can be barred', async (t) => {
  const s = await start(t, PROXIED);
  const maker = minted();
  const roomId = await makeRoom(s, maker);
  const host = await join(s, roomId, maker, from('203.0.113.1'));
  const a = await join(s, roomId, undefined, from('203.0.113.2'));
  const b = await join(s, roomId, undefined, from('203.0.113.3'));
  const c = await join(s, roomId, undefined, from('203.0.113.2'));
  for (const [client, ids] of [[host, [2, 3, 4]], [a, [3, 4]], [b, [4]]]) {
    for (const peerId of ids) assert.equal((await client.next('peer_joined')).data.peerId, peerId);
  }
  const data = { roomId, version: '', name: 'x' };
  host.send('ban', { ip: '203.0.113.2' });
  await c.hears('peer_left', { peerId: 2 }); // one by one, in order of joining
  for (const client of [a, c]) {
    await client.hears('kicked', { reason: 'host_ban' });
    await client.asking('join_room', data, 'banned');
  }
  for (const client of [host, b]) {
    for (const peerId of [2, 4]) await client.hears('peer_left', { peerId });
  }
  const late = await enter(s, undefined, from('203.0.113.2'));
  await late.asking('join_room', data, 'banned');
  await joinBy(await enter(s, undefined, from('203.0.113.20')), roomId);
  assert.equal((await host.next('peer_joined')).data.peerId, 5);
  host.send('ban', { ip: '203.0.113.1' });
  await quiet(host, late);
  assert.equal((await look(s, roomId)).json.current_players, 3, 'the host stays');
  for (const ip of ['', 'x', '203.0.113', '203.0.113.256', '203.0.113.2/24', ':::', 7, {}]) {
    await host.asking('ban', { ip }, 'invalid_field', { field: 'ip' });
  }
  await quiet(host);
});

test('seats: an IPv6 address is barred with its /64', async (t) => {
  const s = await start(t, PROXIED);
  const maker = minted();
  const roomId = await makeRoom(s, maker);
  const host = await join(s, roomId, maker, from('2001:db8:0:1::1'));
  const a = await join(s, roomId, undefined, from('2001:db8:0:2::2'));
  const b = await join(s, roomId, undefined, from('2001:db8:0:2:ffff::3'));
  const c = await join(s, roomId, undefined, from('2001:db8:0:3::2'));
  for (const ip of ['2001:DB8:0:2::9', '2001:db8:0:1::9']) host.send('ban', { ip });
  await a.next('peer_joined');
  await a.next('peer_joined');
  await b.next('peer_joined');
  await b.hears('peer_left', { peerId: 2 });
  for (const client of [a, b]) await client.hears('kicked', { reason: 'host_ban' });
  for (let i = 0; i < 3; i++) await host.next('peer_joined');
  for (const client of [host, c]) {
    for (const peerId of [2, 3]) await client.hears('peer_left', { peerId });
  }
  await quiet(host, c);
  assert.equal((await look(s, roomId)).json.current_players, 2);
  const data = { roomId, version: '', name: 'x' };
  for (const ip of ['2001:db8:0:2::77', '2001:db8:0:1::77']) {
    await (await enter(s, undefined, from(ip))).asking('join_room', data, 'banned');
  }
  await joinBy(await enter(s, undefined, from('2001:db8:0:4::77')), roomId);
});
