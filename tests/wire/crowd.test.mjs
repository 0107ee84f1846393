// Many sockets at once: every message reaches every member once and in its sender's order, and who
// does not read costs nobody else anything.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { get, metrics, requestText, sleep, start, until, within } from './server.mjs';
import { Raw, TEXT, enter, join, joinBy, look, makeRoom, message, minted, parseFrame, party, quiet,
  stranger, test } from './socket.mjs';

const CLIENTS = 200;
const LARGE = { connections: 400, rooms: 100, seats: 2000, users: 400, room_players_max: 400,
  output_bytes_max: 262144 };

/* All at once, but not more than the listen queue holds. */
async function inBatches(items, body, size = 50) {
  const done = [];
  for (let at = 0; at < items.length; at += size) {
    done.push(...await Promise.all(items.slice(at, at + size).map(body)));
  }
  return done;
}

/* The next message of a kind; those about members that come and go in between are passed over. */
async function nextOf(client, ...types) {
  for (;;) {
    const got = await client.next();
    if (types.includes(got.type)) return got;
    assert.match(got.type, /^peer_/, got.text);
  }
}

/* Everybody says `count` things; everybody hears each of the others' once, in order. */
async function talk(members, count) {
  for (let i = 0; i < count; i++) {
    for (const member of members) {
      if (i % 2) member.send('chat', { text: `${i}` });
      else member.send('rpc_call', { targetPeer: 0, method: 'said', args: i });
    }
  }
  await Promise.all(members.map(async (member) => {
    const next = new Map();
    for (let i = 0; i < count * (members.length - 1); i++) {
      const { type, data } = await nextOf(member, 'chat', 'rpc_call');
      const from = data.from ?? data.fromPeer;
      const said = type === 'chat' ? Number(data.text) : data.args;
      assert.equal(said, next.get(from) ?? 0, `from ${from} to ${member.peerId}`);
      next.set(from, said + 1);
    }
    assert.equal(next.size, members.length - 1);
    assert.ok(!next.has(member.peerId));
  }));
}

test('crowd: 50 rooms of four, then one room of all 200', async (t) => {
  const s = await start(t, { config: LARGE });
  const clients = await inBatches(Array.from({ length: CLIENTS }), () => enter(s));
  const rooms = Array.from({ length: CLIENTS / 4 }, (_, i) => clients.slice(4 * i, 4 * i + 4));
  await inBatches(rooms, async (members) => {
    const roomId = await makeRoom(s, members[0].user, { maxPlayers: 4 });
    for (const member of members) await joinBy(member, roomId);
  });
  await Promise.all(rooms.map((members) => talk(members, 40)));
  for (const client of clients) client.send('leave_room');
  await Promise.all(clients.map(async (client) => {
    client.send('ping');
    for (let got; got?.type !== 'pong';) {
      got = await client.next();
      assert.match(got.type, /^(peer_left|host_changed|pong)$/);
    }
  }));
  assert.equal((await get(s, '/api/rooms')).json.count, 0);
  const roomId = await makeRoom(s, clients[0].user, { maxPlayers: CLIENTS });
  for (const client of clients) await joinBy(client, roomId);
  await talk(clients, 2);
  const { json } = await look(s, roomId);
  assert.equal(json.current_players, CLIENTS);
  assert.equal(json.is_full, true);
});

test('crowd: everybody in a full room talks at once, as much as the rates allow', async (t) => {
  const s = await start(t);
  const members = await party(s, Array.from({ length: 64 }, (_, i) => `m${i}`), { maxPlayers: 64 });
  const COUNT = 4; // twice chats_per_s
  const line = 'x'.repeat(490);
  for (let i = 0; i < COUNT; i++) { // each reads on before it is output_bytes_max behind
    for (const member of members) member.send('chat', { text: `${i} ${line}` });
    await Promise.all(members.map(async (member) => {
      const heard = new Set();
      while (heard.size < members.length - 1) {
        const { data } = await member.next('chat');
        assert.equal(data.text, `${i} ${line}`);
        assert.ok(!heard.has(data.from));
        heard.add(data.from);
      }
    }));
  }
  await quiet(...members);
});

/* A member on a connection of its own that can stop reading. Presence is passed over. */
async function rawMember(s, roomId, name) {
  const user = minted(undefined, name);
  const raw = await Raw.open(s, { target: `/ws?token=${user.token}` });
  await raw.write(message('join_room', { roomId, version: '', name }));
  const { data } = await raw.next('room_joined');
  return Object.assign(raw, { user, name, peerId: data.peerId, roomId });
}

/* What has come and comes until `done(all)`, or until the end. Buffers are joined only once. */
async function readAll(raw, done) {
  const all = [];
  const parts = [raw.conn.bytes];
  raw.conn.socket.removeAllListeners('data');
  let wake;
  raw.conn.socket.on('data', (bytes) => { parts.push(bytes); wake?.(); });
  raw.conn.socket.resume();
  for (;;) {
    let bytes = Buffer.concat(parts.splice(0));
    for (let found = parseFrame(bytes); found; found = parseFrame(bytes)) {
      all.push({ opcode: found.opcode, payload: found.payload,
        ...(found.opcode === TEXT && JSON.parse(found.payload)) });
      bytes = bytes.subarray(found.end);
    }
    parts.push(bytes);
    if (raw.conn.ended || done(all)) return all;
    await within(Promise.race([raw.conn.more(), new Promise((resolve) => { wake = resolve; })]),
      'more of what was not read');
  }
}

const stateOf = (seq, pad) => ({ position: [seq, 0, 0], rotation: pad, velocity: null });

test('crowd: a slow reader gets the newest state of each, the others all of them', async (t) => {
  const s = await start(t);
  const members = await party(s, ['A', 'B', 'C']);
  const slow = await rawMember(s, members[0].roomId, 'Slow');
  for (const member of members) await member.hears('peer_joined', { peerId: 4, name: 'Slow' });
  slow.conn.socket.pause();
  const pad = 'p'.repeat(400);
  const COUNT = 6000; // three times this is more than the sockets' buffers hold
  const STEP = 8; // little enough that who reads is never behind
  for (let at = 0; at < COUNT; at += STEP) {
    for (let seq = at; seq < at + STEP; seq++) {
      for (const member of members) {
        if (seq % 2) member.send('player_state', stateOf(seq, pad));
        else member.send('player_snapshot', { payload: { seq, pad } });
      }
    }
    await Promise.all(members.map(async (member) => {
      const next = new Map();
      for (let i = 0; i < STEP * 2; i++) {
        const { type, data } = await member.next();
        const from = data.from ?? data.peerId;
        const seq = type === 'player_state' ? data.position[0] : data.payload.seq;
        assert.equal(seq, next.get(from) ?? at);
        next.set(from, seq + 1);
      }
    }));
  }
  members[0].send('chat', { text: 'over' });
  for (const other of members.slice(1)) await other.next('chat');
  const newest = { player_state: new Map(), player_snapshot: new Map() };
  let heard = 0;
  let over = false;
  let seen = 0;
  const all = await readAll(slow, (messages) => {
    for (; seen < messages.length; seen++) {
      const { type, data } = messages[seen];
      if (type === 'chat') over = true;
      if (!newest[type]) continue;
      heard++;
      const from = data.from ?? data.peerId;
      const seq = type === 'player_state' ? data.position[0] : data.payload.seq;
      assert.ok(seq > (newest[type].get(from) ?? -1), 'never an older one after a newer one');
      newest[type].set(from, seq);
    }
    return over && [1, 2, 3].every((from) => newest.player_state.get(from) === COUNT - 1 &&
      newest.player_snapshot.get(from) === COUNT - 2);
  });
  assert.ok(!slow.conn.ended, `closed: ${JSON.stringify(all.at(-1)?.payload?.toString())}`);
  assert.ok(heard < COUNT * 3, `all of ${heard} came: nothing was slow`);
  await slow.write(message('chat', { text: 'awake' }));
  for (const member of members) {
    await member.hears('chat', { from: 4, fromName: 'Slow', text: 'awake' });
  }
});

test('crowd: a slow reader that would lose an event is closed with 1013', async (t) => {
  const s = await start(t);
  const members = await party(s, ['A', 'B', 'C']);
  const slow = await rawMember(s, members[0].roomId, 'Slow');
  for (const member of members) await member.hears('peer_joined', { peerId: 4, name: 'Slow' });
  slow.conn.socket.pause();
  const online = async () => {
    const { json } = await get(s, '/api/presence', stranger());
    return json.users.some((user) => user.user_id === slow.user.user_id);
  };
  const args = 'x'.repeat(30000);
  let sent = 0;
  for (const most = 4000; await online(); ) {
    assert.ok(sent < most, 'it is never closed');
    for (let i = 0; i < 10; i++) {
      members[0].send('rpc_call', { targetPeer: 0, method: `${sent++}`, args });
      members[1].send('chat', { text: `${sent}` });
    }
    for (const other of members) {
      let [calls, chats] = [sent - 10, sent - 9];
      for (let i = other === members[2] ? 20 : 10; i > 0; i--) {
        const { type, data } = await other.next();
        if (type === 'rpc_call') {
          assert.equal(data.method, `${calls++}`);
          assert.equal(data.args.length, args.length);
        } else {
          assert.equal(data.text, `${chats++}`);
        }
      }
    }
  }
  const all = await readAll(slow, () => false);
  const last = all.at(-1);
  assert.equal(last.opcode, 8, 'a close frame is the last of it');
  assert.equal(last.payload.readUInt16BE(0), 1013);
  assert.equal(last.payload.subarray(2).toString(), 'slow_reader');
  let calls = 0;
  for (const { type, data } of all) {
    if (type === 'rpc_call') assert.equal(data.method, `${calls++}`, 'without a gap');
  }
  assert.ok(calls > 0 && calls < sent);
  await quiet(...members);
  assert.equal((await look(s, members[0].roomId)).json.current_players, 4, 'its seat is held');
});

/* A member that reads nothing until it is told to, and says how its connection ended. (Node takes a
   reset for an end when it comes while nobody reads.) */
function deafMember(s, roomId) {
  const { token } = minted(undefined, 'Deaf');
  const bytes = Buffer.concat([Buffer.from(requestText('GET', `/ws?token=${token}`, { headers: {
    Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': 13,
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==' } })),
  message('join_room', { roomId, version: '', name: 'Deaf' })]);
  const escaped = [...bytes].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('');
  const child = spawn('bash', ['-c',
    'exec 3<>/dev/tcp/127.0.0.1/$0; printf "$1" >&3; read -r; cat <&3 >/dev/null',
    s.port, escaped]);
  let said = '';
  child.stderr.on('data', (text) => { said += text; });
  const ended = new Promise((resolve) => { child.on('close', () => resolve(said)); });
  return { reads: () => { child.stdin.end('\n'); return within(ended, 'its end'); } };
}

test('crowd: a reader that is given up is reset, its cut message not ended', async (t) => {
  const s = await start(t, { config: { send_timeout_ms: 500 } });
  const [host] = await party(s, ['Host']);
  const deaf = deafMember(s, host.roomId);
  await host.hears('peer_joined', { peerId: 2, name: 'Deaf' });
  const connections = async () => (await metrics(s)).get('mpserver_connections');
  const before = await connections();
  const args = 'x'.repeat(30000);
  for (let most = 2000; most > 0 && await connections() === before; most--) {
    host.send('rpc_call', { targetPeer: 0, method: 'm', args });
    await sleep(1);
  }
  assert.equal(await connections(), before - 1);
  assert.match(await deaf.reads(), /reset by peer/);
});

test('crowd: a reader that pauses and goes on loses no event', async (t) => {
  const s = await start(t);
  const [host] = await party(s, ['Host']);
  const slow = await rawMember(s, host.roomId, 'Slow');
  await host.next('peer_joined');
  const COUNT = 100;
  slow.conn.socket.pause();
  for (let i = 0; i < COUNT; i++) host.send('rpc_call', { method: `${i}`, args: 'x'.repeat(500) });
  await host.quiet();
  const all = await readAll(slow, (messages) => messages.length >= COUNT);
  assert.deepEqual(all.map(({ data }) => data.method),
    Array.from({ length: COUNT }, (_, i) => `${i}`));
});

test('crowd: large messages pass each other', async (t) => {
  const s = await start(t);
  const members = await party(s, ['A', 'B', 'C', 'D']);
  const args = 'é'.repeat(30 * 1024);
  const COUNT = 10;
  for (let i = 0; i < COUNT; i++) {
    for (const member of members) member.send('rpc_call', { method: `${i}`, args });
  }
  await Promise.all(members.map(async (member) => {
    const next = new Map();
    for (let i = 0; i < COUNT * 3; i++) {
      const { data } = await member.next('rpc_call');
      assert.equal(data.method, `${next.get(data.fromPeer) ?? 0}`);
      assert.equal(data.args, args);
      next.set(data.fromPeer, Number(data.method) + 1);
    }
  }));
  await quiet(...members);
});

test('crowd: many who break off at once are missed by nobody for long', async (t) => {
  const s = await start(t, { config: { ...LARGE, seat_timeout_ms: 500 } });
  const [host] = await party(s, ['Host'], { maxPlayers: 200 });
  const others = await inBatches(Array.from({ length: 100 }), () => join(s, host.roomId));
  assert.equal(new Set(others.map((other) => other.peerId)).size, 100);
  for (const other of others) other.drop();
  const left = new Set();
  while (left.size < 100) left.add((await nextOf(host, 'peer_left')).data.peerId);
  assert.deepEqual(left, new Set(others.map((other) => other.peerId)));
  await until(() => look(s, host.roomId), ({ json }) => json.current_players === 1, 'one left');
  await host.quiet();
});

/* A member that only counts: text frames by type. A thousand of them hear a million words. */
class Counter {
  static async open(s, roomId, name) {
    const counter = Object.assign(new Counter(), { counts: {}, rest: Buffer.alloc(0), name });
    const raw = await rawMember(s, roomId, name);
    Object.assign(counter, { raw, peerId: raw.peerId });
    raw.conn.socket.removeAllListeners('data');
    counter.#take(raw.conn.bytes);
    raw.conn.socket.on('data', (bytes) => counter.#take(bytes));
    return counter;
  }

  #take(more) {
    let bytes = this.rest.length ? Buffer.concat([this.rest, more]) : more;
    for (let found = parseFrame(bytes); found; found = parseFrame(bytes)) {
      const type = found.opcode === TEXT
        ? found.payload.toString('latin1', 9, found.payload.indexOf('"', 9)) : found.opcode;
      this.counts[type] = (this.counts[type] ?? 0) + 1;
      if (type === 'chat') this.said = found.payload.toString();
      bytes = bytes.subarray(found.end);
    }
    this.rest = bytes;
    this.wake?.();
  }

  async hears(type, count) {
    while ((this.counts[type] ?? 0) < count) {
      assert.ok(!this.raw.conn.ended, `${this.peerId} ended: ${JSON.stringify(this.counts)}`);
      await within(new Promise((resolve) => { this.wake = resolve; }), `${count} ${type}`);
    }
  }
}

test('crowd: 1,001 members in one room hear one of them', async (t) => {
  const MEMBERS = 1001;
  const s = await start(t, { ulimit: '-n 4096', args: ['--preset', 'large'],
    config: { room_players_max: 1024 } });
  const user = minted(undefined, 'Host');
  const roomId = await makeRoom(s, user, { maxPlayers: 1024 });
  const host = await join(s, roomId, user);
  const others = await inBatches(Array.from({ length: MEMBERS - 1 }),
    (_, i) => Counter.open(s, roomId, `m${i}`));
  assert.equal(new Set(others.map((other) => other.peerId)).size, MEMBERS - 1);
  // Whoever came n-th has heard of all who came later.
  await Promise.all(others.map((other) => other.hears('peer_joined', MEMBERS - other.peerId)));
  host.send('chat', { text: 'Everybody?' });
  const expected = '{"type":"chat","data":{"from":1,"fromName":"Host","text":"Everybody?"}}';
  await Promise.all(others.map(async (other) => {
    await other.hears('chat', 1);
    assert.equal(other.said, expected);
    assert.equal(other.counts.peer_joined ?? 0, MEMBERS - other.peerId);
  }));
  for (let i = 0; i < MEMBERS - 1; i++) await host.next('peer_joined');
  await host.quiet();
  assert.ok(others.every((other) => other.counts.chat === 1));
  assert.equal((await look(s, roomId)).json.current_players, MEMBERS);
});
