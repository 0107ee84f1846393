// What the WebSocket tests share: a client on the `ws` package, a raw one whose frames are made and
// read here, strictly, and the steps that most tests begin with.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { Conn, bearer, hostOf, post, request, test as plainTest, token, seconds, within }
  from './server.mjs';

// By its path: only Debian's own node would look there for a bare name.
const { WebSocket } = createRequire('/usr/share/nodejs/')('./ws');

export const NOISE = ['user_online', 'user_offline', 'rooms_changed'];
export const TEXT = 1;
export const BINARY_FRAME = 2;
export const CLOSE = 8;
export const PING = 9;
export const PONG = 10;

const online = new Set();

/* A test whose sockets end with it: whoever stays would hold up the end of the server. */
export function test(name, body) {
  plainTest(name, async (t) => {
    try {
      await body(t);
    } finally {
      for (const socket of online) socket.drop();
      online.clear();
    }
  });
}

/* A WebSocket that takes messages in order, one `next` each. What `skip` lists may come at any time
   and is put `aside`. */
export class Client {
  static async open(server, options = {}) {
    const { user, path = '/ws', protocol = [], headers = {}, skip = NOISE, localAddress } = options;
    const secret = options.token ?? user?.token;
    const query = secret === undefined ? '' : `?token=${encodeURIComponent(secret)}`;
    const client = new Client();
    Object.assign(client, { server, user, skip, messages: [], aside: [], waiters: [] });
    const url = `ws://${hostOf(server)}:${server.port}${path}${query}`;
    const ws = new WebSocket(url, protocol, { headers, localAddress });
    client.ws = ws;
    online.add(client);
    ws.on('message', (bytes, binary) => client.#take(bytes, binary));
    ws.on('close', (code, reason) => {
      client.end = { code, reason: reason.toString() };
      client.#wake();
    });
    const opened = new Promise((resolve, reject) => {
      ws.once('open', resolve);
      ws.on('error', (error) => { client.fault ??= error; client.#wake(); reject(error); });
    });
    await within(opened, 'upgrade');
    return client;
  }

  /* The shape of every message is checked here, its meaning by whoever asks for it. */
  #take(bytes, binary) {
    try {
      assert.equal(binary, false, 'a binary message');
      const text = bytes.toString();
      assert.match(text, /^\{"type":"[a-z_]+","data":\{/);
      const { type, data, ...rest } = JSON.parse(text);
      assert.deepEqual(rest, {}, text);
      (this.skip.includes(type) ? this.aside : this.messages).push({ type, data, text });
    } catch (error) {
      this.fault ??= error;
    }
    this.#wake();
  }

  #wake() {
    this.waiters.splice(0).forEach((resolve) => resolve());
  }

  more() {
    return new Promise((resolve) => { this.waiters.push(resolve); });
  }

  sendText(text) {
    this.ws.send(text);
  }

  send(type, data = {}) {
    this.sendText(JSON.stringify({ type, data }));
  }

  /* The next message, which must be a `type`; any when none is named. */
  async next(type) {
    for (;;) {
      if (this.fault) throw this.fault;
      const message = this.messages.shift();
      if (message) {
        if (type) assert.equal(message.type, type, message.text);
        return message;
      }
      assert.ok(!this.end, `closed ${JSON.stringify(this.end)}, not ${type}`);
      await within(this.more(), type ?? 'a message');
    }
  }

  /* The next message must be this one, byte for byte: compact, members in this order. */
  async hears(type, data) {
    const { text } = await this.next();
    assert.equal(text, JSON.stringify({ type, data }));
  }

  async hearsText(expected) {
    assert.equal((await this.next()).text, expected);
  }

  /* The next message must be this error; `fields` besides reason and message, no others. */
  async refused(reason, fields = {}) {
    const { data, text } = await this.next('error');
    const { reason: said, message, ...rest } = data;
    assert.equal(said, reason, text);
    assert.match(message, /^[A-Z].*\.$/);
    assert.deepEqual(rest, fields, text);
    assert.deepEqual(Object.keys(data).slice(0, 2), ['reason', 'message']);
  }

  async ask(type, data, answer) {
    this.send(type, data);
    return (await this.next(answer)).data;
  }

  async asking(type, data, reason, fields) {
    this.send(type, data);
    await this.refused(reason, fields);
  }

  /* Nothing has come, and nothing was on its way before what the server does next. */
  async quiet() {
    const { ts } = await this.ask('ping', {}, 'pong');
    assert.ok(Number.isInteger(ts) && Math.abs(ts - Date.now()) < 60000, `ts ${ts}`);
  }

  /* The server closes, after nothing else. */
  async closed(code, reason) {
    while (!this.end) await within(this.more(), `close ${code}`);
    if (this.fault) throw this.fault;
    assert.deepEqual(this.messages, []);
    assert.deepEqual(this.end, { code, reason: reason ?? this.end.reason });
    assert.match(this.end.reason, /^[\x20-\x7e]{0,60}$/);
  }

  /* Ends properly, by a close frame; drop() is a connection that breaks. */
  async close(code = 1000) {
    this.ws.close(code);
    while (!this.end) await within(this.more(), 'answer to a close frame');
  }

  drop() {
    this.ws.terminate();
  }

  async dropped() {
    this.drop();
    while (!this.end) await within(this.more(), 'end of the own socket');
  }
}

/* Nobody has anything to say: first who might have caused it, then who might have heard. */
export async function quiet(...clients) {
  for (const client of clients) await client.quiet();
}

const SIZE_16 = 126;
const SIZE_64 = 127;

/* One frame of a client. `form` (7, 16 or 64) and `length` are for frames that are wrong. */
export function frame(opcode, payload = '', options = {}) {
  const { fin = true, rsv = 0, mask = [0x37, 0xfa, 0x21, 0x3d] } = options;
  const data = Buffer.from(payload);
  const length = options.length ?? data.length;
  const form = options.form ?? (length < SIZE_16 ? 7 : length < 65536 ? 16 : 64);
  const head = [(fin ? 128 : 0) | rsv << 4 | opcode];
  head.push((mask ? 128 : 0) | (form === 7 ? length : form === 16 ? SIZE_16 : SIZE_64));
  for (let bits = form === 7 ? 0 : form; bits > 0; bits -= 8) {
    head.push(Number(BigInt(length) >> BigInt(bits - 8) & 255n));
  }
  if (mask) head.push(...mask);
  const masked = mask ? data.map((byte, i) => byte ^ mask[i % 4]) : data;
  return Buffer.concat([Buffer.from(head), masked]);
}

export const text = (value, options) =>
  frame(TEXT, typeof value === 'string' ? value : JSON.stringify(value), options);
export const message = (type, data = {}) => text({ type, data });

/* The payload of a close frame. */
export function closing(code, reason = '') {
  return Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]);
}

export const close = (code, reason) => frame(CLOSE, closing(code, reason));

/* One frame of the server at the start of `bytes`, or null while it is incomplete. */
export function parseFrame(bytes) {
  if (bytes.length < 2) return null;
  assert.equal(bytes[0] & 0x80, 0x80, 'every frame of the server is a whole message');
  assert.equal(bytes[0] & 0x70, 0, 'a reserved bit');
  assert.equal(bytes[1] & 0x80, 0, 'a masked frame of the server');
  const opcode = bytes[0] & 15;
  assert.ok([TEXT, CLOSE, PING, PONG].includes(opcode), `opcode ${opcode}`);
  let length = bytes[1];
  let at = 2;
  if (length === SIZE_16) {
    if (bytes.length < 4) return null;
    length = bytes.readUInt16BE(2);
    assert.ok(length >= SIZE_16, 'not the shortest form');
    at = 4;
  } else if (length === SIZE_64) {
    if (bytes.length < 10) return null;
    length = Number(bytes.readBigUInt64BE(2));
    assert.ok(length >= 65536, 'not the shortest form');
    at = 10;
  }
  assert.ok(opcode < 8 || length < SIZE_16, 'a long control frame');
  if (bytes.length < at + length) return null;
  return { opcode, payload: bytes.subarray(at, at + length), end: at + length };
}

/* A close frame's payload as {code, reason}; an empty one has neither. */
export function readClosing(payload) {
  if (payload.length === 0) return {};
  assert.ok(payload.length >= 2, 'a close frame of one byte');
  const reason = new TextDecoder('utf-8', { fatal: true }).decode(payload.subarray(2));
  assert.match(reason, /^[\x20-\x7e]*$/);
  return { code: payload.readUInt16BE(0), reason };
}

export const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='; // the sample of RFC 6455, 1.3

export function acceptOf(key) {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
}

/* The head of an upgrade; a header given as null is left out, a list is sent once per entry. */
export function upgradeText(options = {}) {
  const { target = '/ws', method = 'GET', version = '1.1', headers = {} } = options;
  const fields = { Host: 'localhost', Upgrade: 'websocket', Connection: 'Upgrade',
    'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': KEY, ...headers };
  const lines = Object.entries(fields).filter(([, value]) => value !== null)
    .flatMap(([name, value]) => [value].flat().map((one) => `${name}: ${one}\r\n`));
  return `${method} ${target} HTTP/${version}\r\n${lines.join('')}\r\n`;
}

/* A connection that reads the answer to an upgrade, then frames. */
export class Raw {
  static async open(server, options = {}) {
    const raw = new Raw();
    raw.conn = await Conn.open(server, options.connect);
    online.add(raw);
    const key = randomBytes(16).toString('base64');
    const headers = { 'Sec-WebSocket-Key': key, ...options.headers };
    await raw.conn.write(upgradeText({ ...options, headers }));
    await raw.upgraded(key);
    return raw;
  }

  /* On a connection that asked already. */
  static on(conn) {
    const raw = new Raw();
    raw.conn = conn;
    online.add(raw);
    return raw;
  }

  async upgraded(key = KEY) {
    this.answer = await this.conn.read();
    assert.equal(this.answer?.status, 101, this.answer?.text);
    assert.equal(this.answer.headers['sec-websocket-accept'], acceptOf(key));
    return this;
  }

  write(...frames) {
    return this.conn.write(Buffer.concat(frames.map((part) => Buffer.from(part))));
  }

  /* The next frame, or null at the end of the connection. */
  async frame(ms) {
    for (;;) {
      const found = parseFrame(this.conn.bytes);
      if (found) {
        this.conn.bytes = this.conn.bytes.subarray(found.end);
        return found;
      }
      if (this.conn.ended) {
        assert.equal(this.conn.bytes.length, 0, 'a cut frame');
        return null;
      }
      await within(this.conn.more(), 'a frame', ms);
    }
  }

  /* The next frame's payload; it must be an `opcode`. */
  async payload(opcode, ms) {
    const got = await this.frame(ms);
    assert.ok(got, 'the end, not a frame');
    assert.equal(got.opcode, opcode, got.payload.toString());
    return got.payload;
  }

  async next(type) {
    const got = JSON.parse(await this.payload(TEXT));
    if (type) assert.equal(got.type, type, JSON.stringify(got));
    return got;
  }

  async refused(reason) {
    const { data } = await this.next('error');
    assert.equal(data.reason, reason);
    return data;
  }

  /* A close frame with this code is next (undefined: an empty one), then the end. */
  async closed(code, reason) {
    const said = readClosing(await this.payload(CLOSE));
    assert.equal(said.code, code, said.reason);
    if (reason !== undefined) assert.equal(said.reason, reason);
    await this.conn.end();
  }

  async quiet() {
    await this.write(frame(PING, 'still here'));
    assert.equal((await this.payload(PONG)).toString(), 'still here');
  }

  drop() {
    this.conn.close();
  }
}

let guests = 0;

/* Somebody of their own: {token, user_id, username}. */
export async function signIn(server, username = `Guest ${++guests}`) {
  const answer = await post(server, '/auth/guest', { username });
  assert.equal(answer.status, 201, answer.text);
  return answer.json;
}

/* The same without asking the server; `user_id` may be a number. */
export function minted(user_id = `u${++guests}`, username = `Name of ${user_id}`) {
  const id = typeof user_id === 'number' ? { userId: user_id } : { sub: user_id };
  return { token: token({ exp: seconds() + 600, username, ...id }), user_id, username };
}

export const asUser = (user) => ({ Authorization: `Bearer ${user.token}` });
export const stranger = () => bearer({ sub: `stranger ${++guests}` });

/* A socket after its handshake, signed in as `user` or as somebody new; null stays anonymous. */
export async function enter(server, user, options = {}) {
  const who = user === undefined ? minted() : user;
  const client = await Client.open(server, options);
  Object.assign(client, { user: who, name: options.name ?? who?.username ?? 'Nobody' });
  const data = { version: options.version ?? '1.0', name: client.name };
  client.send('handshake', who ? { ...data, token: who.token } : data);
  await client.hears('handshake_accepted', {
    peer_id: 0, user_id: who?.user_id ?? null, username: who?.username ?? client.name,
  });
  return client;
}

/* A room made over HTTP by `user`, not yet confirmed; its id. */
export async function makeRoom(server, user, fields = {}) {
  const answer = await post(server, '/api/rooms', { gamemode: 'duel', ...fields }, asUser(user));
  assert.equal(answer.status, 201, answer.text);
  return answer.json.room.id;
}

/* A new member of a room as a client that knows its room, peerId and resumeToken. */
export async function join(server, roomId, user, options = {}) {
  const client = await enter(server, user, options);
  return joinBy(client, roomId, options.join);
}

export async function joinBy(client, roomId, fields = {}) {
  const data = await client.ask('join_room',
    { roomId, version: '', name: client.name, ...fields }, 'room_joined');
  assert.equal(data.roomId, roomId);
  assert.match(data.resumeToken, /^[0-9a-f]{32}$/);
  return Object.assign(client, { roomId, peerId: data.peerId, joined: data,
    resumeToken: data.resumeToken });
}

/* A room with as many members as names; the first, its host, confirms it by join_room. Every
   member has heard of every later one. */
export async function party(server, names, fields = {}, options = {}) {
  const first = minted(undefined, names[0]);
  const roomId = await makeRoom(server, first, fields);
  const members = [];
  for (const [i, name] of names.entries()) {
    const user = i === 0 ? first : minted(undefined, name);
    const member = await join(server, roomId, user, { ...options, name });
    assert.equal(member.peerId, i + 1);
    for (const other of members) await other.hears('peer_joined', { peerId: i + 1, name });
    members.push(member);
  }
  return members;
}

/* GET /api/rooms/{id}: the answer. */
export const look = (server, id) => request(server, 'GET', `/api/rooms/${id}`);
