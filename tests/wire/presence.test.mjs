// Who is online, what changed in the list of rooms, what the operator has to say, and the end.
import assert from 'node:assert/strict';
import { admin, get, post, refused, request, seconds, sleep, start, token, until, within }
  from './server.mjs';
import { Client, Raw, asUser, enter, join, joinBy, look, makeRoom, message, minted, party, quiet,
  signIn, stranger, test } from './socket.mjs';

// Each test has a server of its own: who leaves one test late would be heard of in the next.
const HEAR = { skip: ['rooms_changed'] }; // everything else is to be expected
const HEAR_ROOMS = { skip: ['user_online', 'user_offline'] };
const as = ({ user_id, username }) => ({ user_id, username });

const remove = (s, id, user) => request(s, 'DELETE', `/api/rooms/${id}`, { headers: asUser(user) });

/* Everybody who is online, by pages of `limit`. */
async function everybody(s, limit) {
  const users = [];
  for (let cursor; ;) {
    const query = `limit=${limit}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`;
    const answer = await get(s, `/api/presence?${query}`, stranger());
    assert.equal(answer.status, 200, answer.text);
    assert.deepEqual(Object.keys(answer.json), ['users', 'count']);
    assert.equal(answer.json.count, answer.json.users.length);
    assert.ok(answer.json.count <= limit);
    users.push(...answer.json.users);
    cursor = answer.headers['x-next-cursor'];
    if (!cursor) return users;
  }
}

test('presence: two users see each other come and go', async (t) => {
  const s = await start(t);
  const [ada, bob] = [await signIn(s, 'Ada'), await signIn(s, 'Bob')];
  const a = await enter(s, ada, HEAR);
  const b = await enter(s, bob, HEAR);
  await a.hears('user_online', as(bob));
  await quiet(b, a);
  await b.close();
  await a.hears('user_offline', as(bob));
  const again = await enter(s, bob, HEAR);
  await a.hears('user_online', as(bob));
  again.drop();
  await a.hears('user_offline', as(bob));
  await a.quiet();
});

test('presence: once per user, however many sockets', async (t) => {
  const s = await start(t);
  const bob = minted(undefined, 'Bob');
  const a = await enter(s, undefined, HEAR);
  const sockets = [];
  for (let i = 0; i < 4; i++) sockets.push(await enter(s, bob, HEAR));
  await a.hears('user_online', as(bob));
  await quiet(...sockets, a);
  await sockets[0].close();
  await sockets[2].dropped();
  await quiet(sockets[1], a);
  await sockets[1].close();
  await quiet(sockets[3], a);
  sockets.push(await enter(s, bob, HEAR));
  await sockets[3].close();
  await quiet(sockets[4], a);
  await sockets[4].close();
  await a.hears('user_offline', as(bob));
  await a.quiet();
});

test('presence: a user is online from the moment of the token', async (t) => {
  const s = await start(t);
  const [early, late] = [minted(), minted()];
  const a = await enter(s, undefined, HEAR);
  const b = await Client.open(s, { token: early.token, ...HEAR });
  await a.hears('user_online', as(early));
  b.send('handshake', { version: '1', name: 'x' });
  await b.hears('handshake_accepted', { peer_id: 0, ...as(early) });
  await quiet(b, a);
  const c = await enter(s, null, HEAR);
  await quiet(c, a);
  c.send('handshake', { version: '1', name: 'x', token: late.token });
  await c.hears('handshake_accepted', { peer_id: 0, ...as(late) });
  await a.hears('user_online', as(late));
  await b.hears('user_online', as(late));
  await quiet(c, a, b);
});

test('presence: a handshake may be repeated, not with another user\'s token', async (t) => {
  const s = await start(t);
  const [user, other] = [minted(), minted()];
  const a = await enter(s, undefined, HEAR);
  const c = await enter(s, user, HEAR);
  await a.hears('user_online', as(user));
  const again = { version: '2', name: 'Other' };
  c.send('handshake', again);
  await c.hears('handshake_accepted', { peer_id: 0, ...as(user) });
  c.send('handshake', { ...again, token: user.token });
  await c.hears('handshake_accepted', { peer_id: 0, ...as(user) });
  await c.asking('handshake', { ...again, token: other.token }, 'invalid_handshake');
  await quiet(c, a);
});

test('presence: a bad token in a handshake leaves the socket anonymous', async (t) => {
  const s = await start(t);
  const c = await Client.open(s, HEAR);
  const late = token({ sub: 'x', exp: seconds() - 3600 });
  const data = { version: '1', name: 'Nobody' };
  await c.asking('handshake', { ...data, token: 'x' }, 'invalid_token');
  await c.asking('handshake', { ...data, token: late }, 'token_expired');
  await c.quiet();
  await c.asking('create_room', {}, 'authentication_required');
  c.send('handshake', data);
  await c.hears('handshake_accepted', { peer_id: 0, user_id: null, username: 'Nobody' });
});

test('presence: the fields of a handshake', async (t) => {
  const c = await Client.open(await start(t), HEAR);
  const good = { version: '1', name: 'x' };
  const rows = [['version', [undefined, '', 'v'.repeat(65), 'ä'.repeat(33), 7, {}, null]],
    ['name', [undefined, '', 'x'.repeat(33), '😀'.repeat(33), 7, ['x'], null, true]]];
  for (const [field, values] of rows) {
    for (const value of values) {
      await c.asking('handshake', { ...good, [field]: value }, 'invalid_handshake', { field });
    }
  }
  for (const token of [7, {}, true]) {
    c.send('handshake', { ...good, token });
    assert.match((await c.next('error')).data.reason, /^invalid_(handshake|token)$/);
  }
  const most = { version: 'ä'.repeat(32), name: '😀'.repeat(32), more: { ignored: true } };
  c.send('handshake', most);
  await c.hears('handshake_accepted', { peer_id: 0, user_id: null, username: most.name });
});

test('presence: the anonymous hear nothing of it and are not told of', async (t) => {
  const s = await start(t);
  const a = await enter(s, undefined, HEAR);
  const nobody = await enter(s, null, HEAR);
  await quiet(nobody, a);
  const bob = await enter(s, undefined, HEAR);
  await a.hears('user_online', as(bob.user));
  await quiet(bob, nobody);
  await bob.close();
  await a.hears('user_offline', as(bob.user));
  await nobody.quiet();
  await nobody.close();
  await a.quiet();
});

test('presence: with presence_public the anonymous hear it too', async (t) => {
  const s = await start(t, { config: { presence_public: true } });
  const nobody = await enter(s, null, HEAR);
  const silent = await Client.open(s, HEAR); // no handshake yet
  const bob = await enter(s, undefined, HEAR);
  await nobody.hears('user_online', as(bob.user));
  await bob.close();
  await nobody.hears('user_offline', as(bob.user));
  await silent.quiet();
});

test('presence: before its handshake a socket hears nothing', async (t) => {
  const s = await start(t);
  const user = minted();
  const early = await Client.open(s, { token: user.token, skip: [] });
  const anonymous = await Client.open(s, { skip: [] });
  const a = await enter(s, undefined, HEAR_ROOMS);
  const id = await makeRoom(s, minted());
  await a.hears('rooms_changed', {});
  assert.equal((await post(s, '/admin/announce', { text: 'Hear.' }, admin())).status, 202);
  await a.hears('notification', { text: 'Hear.' });
  await a.close();
  await quiet(early, anonymous);
  assert.equal((await look(s, id)).status, 200);
});

test('presence: ids keep their JSON type, and 7 is not "7"', async (t) => {
  const s = await start(t);
  const a = await enter(s, minted('watcher'), HEAR);
  const sockets = [];
  for (const id of [7, '7', 9007199254740991, '007', 'ä"\\']) {
    const user = minted(id, `Name ${id}`);
    sockets.push(await enter(s, user, { skip: ['user_online', 'user_offline'] }));
    await a.hears('user_online', as(user));
  }
  const ids = (await everybody(s, 50)).map((user) => user.user_id);
  assert.deepEqual(new Set(ids), new Set(['watcher', 7, '7', 9007199254740991, '007', 'ä"\\']));
  await sockets[0].close();
  await a.hears('user_offline', { user_id: 7, username: 'Name 7' });
  await a.quiet();
  const left = (await everybody(s, 50)).map((user) => user.user_id);
  assert.ok(left.includes('7') && !left.includes(7));
});

test('presence: the list is for users, in pages', async (t) => {
  const s = await start(t);
  refused(await get(s, '/api/presence'), 401, 'authentication_required');
  refused(await get(s, '/api/presence', { Authorization: 'Bearer x' }), 401, 'invalid_token');
  assert.deepEqual(await everybody(s, 3), []);
  const clients = [];
  for (let i = 0; i < 11; i++) clients.push(await enter(s));
  await enter(s, null);
  await enter(s, clients[3].user);
  const names = (users) => users.map((user) => JSON.stringify(as(user))).sort();
  const expected = names(clients.map((client) => client.user));
  for (const limit of [1, 2, 5, 10, 11, 12, 50, 200]) {
    assert.deepEqual(names(await everybody(s, limit)), expected, `limit ${limit}`);
  }
  for (const query of ['limit=0', 'limit=x', 'limit=-1', 'cursor=x%00', 'cursor=-1']) {
    refused(await get(s, `/api/presence?${query}`, stranger()), 400, 'bad_query');
  }
  assert.equal((await get(s, '/api/presence?limit=100000', stranger())).json.count, 11);
  await clients[0].close();
  await until(() => everybody(s, 4), (users) => users.length === 10, 'one less');
});

test('presence: rooms that come, fill and go are told of', async (t) => {
  const s = await start(t);
  const maker = minted();
  const watchers = [await enter(s, null, HEAR_ROOMS), await enter(s, undefined, HEAR_ROOMS)];
  const all = async () => { for (const w of watchers) await w.hears('rooms_changed', {}); };
  const id = await makeRoom(s, maker, { maxPlayers: 2 });
  await all();
  const host = await join(s, id, maker);
  await all();
  const second = await join(s, id);
  await all();
  host.send('leave_room');
  await second.hears('peer_left', { peerId: 1 });
  await second.hears('host_changed', { newHostPeerId: 2, newHostName: second.name });
  await all();
  second.send('leave_room');
  await all();
  await quiet(second, ...watchers);
  assert.equal((await look(s, id)).status, 404);
  const other = await makeRoom(s, maker);
  await all();
  assert.equal((await remove(s, other, maker)).status, 200);
  await all();
});

test('presence: private rooms change no list', async (t) => {
  const s = await start(t, { config: { seat_timeout_ms: 100 } });
  const watcher = await enter(s, null, HEAR_ROOMS);
  const user = minted();
  const id = await makeRoom(s, user, { isPublic: false });
  const host = await join(s, id, user);
  const guest = await join(s, id);
  await host.hears('peer_joined', { peerId: 2, name: guest.name });
  await guest.dropped();
  await host.hears('peer_left', { peerId: 2 });
  await sleep(300); // a word held back for the sake of its rate would come now
  await watcher.quiet();
});

/* Fifty changes at once; a watcher that reads the list whenever it is told to. */
test('presence: many changes make few words, and the last one is true', async (t) => {
  const s = await start(t, { config: { connections: 300, rooms: 100 } });
  const COUNT = 50;
  const watcher = await enter(s, null, HEAR_ROOMS);
  const before = Date.now();
  const users = Array.from({ length: COUNT }, () => minted());
  let words = 0;
  const reach = async (count) => {
    for (let seen = -1; seen !== count;) {
      await watcher.next('rooms_changed');
      words++;
      seen = (await get(s, '/api/rooms?limit=200')).json.count;
    }
  };
  const [ids] = await Promise.all([
    Promise.all(users.map((user) => makeRoom(s, user))), reach(COUNT),
  ]);
  const made = words;
  await Promise.all([
    Promise.all(ids.map((id, i) => remove(s, id, users[i]))), reach(0),
  ]);
  await sleep(300); // whatever was still owed
  watcher.send('ping');
  while ((await watcher.next()).type === 'rooms_changed') words++;
  assert.ok(made >= 1 && words >= made + 1, `${words} words`);
  assert.ok(words <= (Date.now() - before) / 100 + 2, `${words} in ${Date.now() - before} ms`);
  assert.ok(words < 2 * COUNT);
});

test('presence: an announcement reaches every socket that shook hands', async (t) => {
  const s = await start(t);
  const clients = [await enter(s, null), await enter(s), await enter(s)];
  const [, member] = await party(s, ['Host', 'Member']);
  const early = await Client.open(s);
  const said = 'Löschen in 5 min. "\\ \u{1f600}';
  const answer = await post(s, '/admin/announce', { text: said }, admin());
  assert.equal(answer.status, 202);
  assert.deepEqual(answer.json, { status: 'ok', sockets: 5 });
  for (const client of [...clients, member]) await client.hears('notification', { text: said });
  await quiet(...clients, early);
  refused(await post(s, '/admin/announce', { text: 'x' }, stranger()), 403, 'forbidden');
  refused(await post(s, '/admin/announce', { text: '' }, admin()), 400, 'invalid_field',
    { field: 'text' });
  await quiet(...clients);
});

test('presence: an announcement to nobody says so', async (t) => {
  const s = await start(t);
  const answer = await post(s, '/admin/announce', { text: 'Anybody?' }, admin());
  assert.deepEqual(answer.json, { status: 'ok', sockets: 0 });
});

const GOODBYE = { text: 'The server is shutting down.' };

async function drains(t, begin) {
  const s = await start(t, { config: { drain_grace_ms: 1500 } });
  const [host, member] = await party(s, ['Host', 'Member']);
  const made = minted();
  const open = await makeRoom(s, made);
  const clients = [await enter(s, null), await enter(s, made), host, member];
  const early = await Client.open(s);
  const raw = await Raw.open(s);
  await begin(s);
  for (const client of clients) await client.hears('notification', GOODBYE);
  refused(await post(s, '/api/rooms', { gamemode: 'duel' }, asUser(minted())), 503, 'draining');
  await clients[1].asking('create_room', {}, 'draining');
  await clients[1].asking('join_room', { roomId: open, version: '', name: 'x' }, 'draining');
  await clients[1].asking('quick_join', { gamemode: 'duel', version: '', name: 'x' }, 'draining');
  host.send('chat', { text: 'Good night.' });
  await member.hears('chat', { from: 1, fromName: 'Host', text: 'Good night.' });
  await quiet(...clients, early);
  for (const client of [...clients, early]) await client.closed(1001, 'draining');
  await raw.closed(1001, 'draining');
  await s.ended();
}

test('presence: draining is announced, sockets close with 1001 (signal)', (t) =>
  drains(t, async (s) => s.signal('SIGTERM')));
test('presence: draining is announced, sockets close with 1001 (route)', (t) =>
  drains(t, async (s) => {
    assert.equal((await post(s, '/admin/drain', { grace_ms: 1500 }, admin())).status, 202);
  }));

test('presence: a seat can be taken back while draining', async (t) => {
  const s = await start(t, { config: { drain_grace_ms: 1500 } });
  const [host, member] = await party(s, ['Host', 'Member']);
  const spare = await enter(s, member.user);
  await member.dropped();
  s.signal('SIGTERM');
  await spare.hears('notification', GOODBYE);
  await joinBy(spare, host.roomId, { resumeToken: member.resumeToken });
  assert.equal(spare.peerId, 2);
  await spare.closed(1001, 'draining');
  await s.ended();
});

test('presence: a drain ends at once when the last socket has gone', async (t) => {
  const s = await start(t, { config: { drain_grace_ms: 60000 } });
  const clients = [await enter(s), await enter(s, null)];
  s.signal('SIGTERM');
  for (const client of clients) await client.hears('notification', GOODBYE);
  for (const client of clients) await client.close();
  const end = await within(s.exited, 'the end, long before the grace period');
  assert.deepEqual(end, { code: 0, signal: null });
});

test('presence: what stands in a packet after a handshake comes after its answer', async (t) => {
  const s = await start(t);
  const raw = await Raw.open(s, { target: `/ws?token=${minted().token}` });
  await raw.write(message('handshake', { version: '1', name: 'x' }), message('ping'),
    message('chat', { text: 'x' }));
  await raw.next('handshake_accepted');
  for (let got = await raw.next(); got.type !== 'pong'; got = await raw.next()) {
    assert.ok(got.type === 'rooms_changed' || got.type.startsWith('user_'), got.type);
  }
});
