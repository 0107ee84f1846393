// A socket that breaks keeps its seat for a while; its user takes it back, and nobody notices.
import assert from 'node:assert/strict';
import { get, refused, shared, start, until } from './server.mjs';
import { enter, join, joinBy, look, makeRoom, minted, party, quiet, test } from './socket.mjs';

const server = shared({ config: { rooms: 256 } });
const QUICK = { config: { seat_timeout_ms: 400 } };
const gone = (s, id) => until(() => look(s, id), (answer) => answer.status === 404, 'its end');

/* The request to take back the seat of `old`. */
const again = (old, fields) => ({ roomId: old.roomId, version: '', name: old.name,
  resumeToken: old.resumeToken, ...fields });

/* A new socket of the same user, in the old seat. */
async function resume(s, old, fields) {
  const client = await enter(s, old.user, { name: old.name });
  await joinBy(client, old.roomId, { resumeToken: old.resumeToken, ...fields });
  assert.equal(client.peerId, old.peerId);
  assert.notEqual(client.resumeToken, old.resumeToken);
  return client;
}

/* Both hear each other. */
async function talks(a, b) {
  for (const [from, to] of [[a, b], [b, a]]) {
    from.send('chat', { text: 'Still here.' });
    await to.hears('chat', { from: from.peerId, fromName: from.name, text: 'Still here.' });
  }
}

test('resume: a dropped socket comes back to its seat, the others hear nothing', async () => {
  const s = await server();
  const [host, member] = await party(s, ['Host', 'Member']);
  await member.dropped();
  const back = await resume(s, member);
  assert.deepEqual(back.joined.members, [{ peerId: 1, name: 'Host', isHost: true },
    { peerId: 2, name: 'Member', isHost: false }]);
  await quiet(back, host);
  await talks(host, back);
});

test('resume: a close frame keeps the seat too', async () => {
  const s = await server();
  const [host, member] = await party(s, ['Host', 'Member']);
  await member.close(1001);
  await quiet(host);
  assert.equal((await look(s, host.roomId)).json.current_players, 2);
  await talks(host, await resume(s, member));
});

test('resume: without a token the same user finds the dropped seat', async () => {
  const s = await server();
  const [host, member] = await party(s, ['Host', 'Member']);
  await member.close();
  const back = await resume(s, member, { resumeToken: undefined });
  await quiet(back, host);
  await talks(host, back);
  await back.close();
  await talks(host, await resume(s, member, { resumeToken: '' })); // as good as none
});

test('resume: the maker who confirmed by create_room comes back without a token', async () => {
  const s = await server();
  const user = minted(undefined, 'Ada');
  const roomId = await makeRoom(s, user);
  const first = await enter(s, user);
  await first.ask('create_room', {}, 'room_created');
  await first.close();
  const spare = await enter(s, user);
  await spare.asking('create_room', {}, 'no_room_found');
  await joinBy(spare, roomId);
  assert.equal(spare.peerId, 1);
  assert.equal(spare.joined.members[0].isHost, true);
});

test('resume: from an open socket, which is closed with 4001', async () => {
  const s = await server();
  const [host, member] = await party(s, ['Host', 'Member']);
  member.send('chat', { text: 'Before.' });
  await host.hears('chat', { from: 2, fromName: 'Member', text: 'Before.' });
  const back = await resume(s, member);
  await member.closed(4001, 'resumed_elsewhere');
  await quiet(back, host);
  await talks(host, back);
  const third = await resume(s, back);
  await back.closed(4001, 'resumed_elsewhere');
  await quiet(third, host);
  assert.equal((await look(s, host.roomId)).json.current_players, 2);
});

test('resume: without a token an open socket keeps its seat', async () => {
  const s = await server();
  const [, member] = await party(s, ['Host', 'Member']);
  const spare = await enter(s, member.user);
  await spare.asking('join_room', again(member, { resumeToken: undefined }), 'already_in_room');
  await quiet(spare, member);
});

test('resume: a token is good once', async () => {
  const s = await server();
  const [host, member] = await party(s, ['Host', 'Member']);
  await member.close();
  const back = await resume(s, member);
  const spare = await enter(s, member.user);
  await spare.asking('join_room', again(member), 'invalid_token');
  await quiet(back);
  await back.close();
  await spare.asking('join_room', again(member), 'invalid_token');
  await joinBy(spare, host.roomId, { resumeToken: back.resumeToken });
  assert.equal(spare.peerId, 2);
  await quiet(spare, host);
});

test('resume: a token is its user\'s and its room\'s', async () => {
  const s = await server();
  const [host, member] = await party(s, ['Host', 'Member']);
  const [, other] = await party(s, ['Host', 'Other']);
  await member.close();
  const thief = await enter(s);
  await thief.asking('join_room', again(member), 'invalid_token');
  const spare = await enter(s, member.user);
  for (const resumeToken of [host.resumeToken, other.resumeToken, 'x', '0'.repeat(32),
    `${member.resumeToken}0`, member.resumeToken.slice(1), member.resumeToken.repeat(2),
    'é'.repeat(16)]) {
    await spare.asking('join_room', again(member, { resumeToken }), 'invalid_token');
  }
  await spare.asking('join_room', again(member, { roomId: other.roomId }), 'invalid_token');
  await quiet(thief, other, host);
  await joinBy(spare, host.roomId, { resumeToken: member.resumeToken });
  assert.equal(spare.peerId, 2);
});

test('resume: to a full room', async () => {
  const s = await server();
  const [host, member] = await party(s, ['Host', 'Member'], { maxPlayers: 2 });
  await member.close();
  await (await enter(s)).asking('join_room', again(member, { resumeToken: undefined }),
    'room_full');
  await talks(host, await resume(s, member));
});

test('resume: of two sockets with the same token one wins', async () => {
  const s = await server();
  for (let round = 0; round < 20; round++) {
    const [host, member] = await party(s, ['Host', 'Member']);
    if (round % 2) await member.close();
    const twins = [await enter(s, member.user), await enter(s, member.user)];
    for (const twin of twins) twin.send('join_room', again(member));
    const answers = await Promise.all(twins.map((twin) => twin.next()));
    const won = answers.findIndex((answer) => answer.type === 'room_joined');
    assert.ok(won >= 0, JSON.stringify(answers));
    assert.equal(answers[won].data.peerId, 2);
    assert.equal(answers[1 - won].data.reason, 'invalid_token');
    await quiet(...twins, host);
    Object.assign(twins[won], { peerId: 2, name: 'Member' });
    await talks(host, twins[won]);
    assert.equal((await look(s, host.roomId)).json.current_players, 2);
    for (const client of [host, ...twins]) await client.close();
  }
});

test('resume: the returning host is still host', async () => {
  const s = await server();
  const [host, member] = await party(s, ['Host', 'Member']);
  await host.dropped();
  await quiet(member);
  const back = await resume(s, host);
  assert.deepEqual(back.joined.members.map((one) => one.isHost), [true, false]);
  await quiet(back, member);
  back.send('kick', { peerId: 2 });
  await member.hears('kicked', { reason: 'host_kick' });
});

test('resume: what happened meanwhile shows in the list alone', async () => {
  const s = await server();
  const [host, member, third] = await party(s, ['Host', 'Member', 'Third']);
  await member.close();
  host.send('chat', { text: 'Missed.' });
  await third.next('chat');
  host.send('rpc_call', { targetPeer: 2, method: 'missed', args: [] });
  host.send('player_snapshot', { payload: 1 });
  await third.next('player_snapshot');
  third.send('leave_room');
  await host.hears('peer_left', { peerId: 3 });
  const fourth = await join(s, host.roomId, undefined, { name: 'Fourth' });
  await host.hears('peer_joined', { peerId: 4, name: 'Fourth' });
  await quiet(host);
  const back = await resume(s, member);
  assert.deepEqual(back.joined.members.map((one) => one.peerId), [1, 2, 4]);
  await quiet(back, host, fourth);
});

test('resume: in time only', async (t) => {
  const s = await start(t, QUICK);
  const [host, member] = await party(s, ['Host', 'Member']);
  await member.dropped();
  await host.hears('peer_left', { peerId: 2 });
  const late = await enter(s, member.user);
  await late.asking('join_room', again(member), 'invalid_token');
  await joinBy(late, host.roomId);
  assert.equal(late.peerId, 3);
  await host.hears('peer_joined', { peerId: 3, name: late.name });
});

test('resume: a host that does not come back is replaced', async (t) => {
  const s = await start(t, QUICK);
  const [host, member] = await party(s, ['Host', 'Member']);
  await host.dropped();
  await member.hears('peer_left', { peerId: 1 });
  await member.hears('host_changed', { newHostPeerId: 2, newHostName: 'Member' });
  const late = await join(s, member.roomId, host.user);
  assert.equal(late.peerId, 3);
  assert.deepEqual(late.joined.members.map((one) => one.isHost), [true, false]);
});

test('resume: a seat taken back is not ended by its old time', async (t) => {
  const s = await start(t, QUICK);
  const [host, member, clock] = await party(s, ['Host', 'Member', 'Clock']);
  await member.dropped();
  const back = await resume(s, member);
  const third = await resume(s, back); // by a socket that was still open
  await back.closed(4001);
  await clock.dropped(); // whatever was due before its seat ends has come by then
  for (const client of [host, third]) await client.hears('peer_left', { peerId: 3 });
  await quiet(host, third);
  await talks(host, third);
});

test('resume: each drop has the whole time', async (t) => {
  const s = await start(t, { config: { seat_timeout_ms: 1500 } });
  const [host, member] = await party(s, ['Host', 'Member']);
  let current = member;
  for (const end = Date.now() + 2500; Date.now() < end;) {
    await current.dropped();
    current = await resume(s, current);
  }
  await quiet(current, host);
});

test('resume: a room goes with its last seat', async (t) => {
  const s = await start(t, QUICK);
  const watcher = await enter(s, null, { skip: ['user_online', 'user_offline'] });
  const members = await party(s, ['Host', 'Member']);
  const { roomId } = members[0];
  for (const member of members) member.drop();
  assert.equal((await look(s, roomId)).json.current_players, 2, 'held for now');
  await gone(s, roomId);
  while ((await get(s, '/api/rooms')).json.count) await watcher.next('rooms_changed');
  const late = await enter(s, members[0].user);
  await late.asking('join_room', again(members[0]), 'room_not_found');
  refused(await look(s, roomId), 404, 'room_not_found');
  await makeRoom(s, members[0].user);
});

test('resume: a deleted room leaves no seat to come back to', async () => {
  const s = await server();
  const [host, member] = await party(s, ['Host', 'Member']);
  await member.close();
  host.send('leave_room');
  await host.quiet();
  const back = await resume(s, member);
  assert.equal(back.joined.members[0].isHost, true, 'alone, away, and host');
  back.send('leave_room');
  await back.quiet();
  await back.asking('join_room', again(member), 'room_not_found');
});

test('resume: the user stays online over it', async () => {
  const s = await server();
  const [host, member] = await party(s, ['Host', 'Member']);
  const watcher = await enter(s, undefined, { skip: ['rooms_changed', 'user_online'] });
  const back = await resume(s, member);
  await member.closed(4001, 'resumed_elsewhere');
  await quiet(back, host);
  watcher.send('ping');
  for (let got = await watcher.next(); got.type !== 'pong'; got = await watcher.next()) {
    assert.notEqual(got.data.user_id, member.user.user_id);
  }
});

test('resume: an IP ban counts for who comes back from elsewhere', async (t) => {
  const s = await start(t, { config: { trusted_proxies: ['127.0.0.1'] } });
  const from = (ip) => ({ headers: { 'X-Forwarded-For': ip } });
  const maker = minted();
  const roomId = await makeRoom(s, maker);
  const host = await join(s, roomId, maker, from('203.0.113.1'));
  const member = await join(s, roomId, undefined, from('203.0.113.2'));
  await host.next('peer_joined');
  await member.close();
  host.send('ban', { ip: '203.0.113.3' });
  await quiet(host);
  const barred = await enter(s, member.user, { name: member.name, ...from('203.0.113.3') });
  await barred.asking('join_room', again(member), 'banned');
  const back = await enter(s, member.user, { name: member.name, ...from('203.0.113.2') });
  await joinBy(back, roomId, { resumeToken: member.resumeToken });
  assert.equal(back.peerId, 2);
});
