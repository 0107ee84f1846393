// UDP clients for the wire tests: JSON as shipped clients speak it, and binary v1.
import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { hostOf, post, sleep, within } from './server.mjs';

export const SETTLE_MS = 150; // longer than a tick takes on a busy machine

/* A datagram of the server's, by its first byte. */
export function parseDatagram(bytes) {
  assert.ok(bytes.length <= 1200, `${bytes.length} bytes`);
  if (bytes[0] === 0x7b) return { bytes, ...JSON.parse(bytes.toString('utf8')) };
  if (bytes[0] === 0xb1) return { bytes, ...parseBinary(bytes) };
  return { bytes, type: 'other' };
}

const angle = (units) => units * Math.PI / 32767;
const vector = (bytes, at) =>
  ({ x: bytes.readFloatLE(at), y: bytes.readFloatLE(at + 4), z: bytes.readFloatLE(at + 8) });

function parseEntry(bytes, at) {
  const turn = [16, 18, 20].map((offset) => angle(bytes.readInt16LE(at + offset)));
  return {
    id: bytes.readUInt32LE(at), position: vector(bytes, at + 4),
    rotation: { x: turn[0], y: turn[1], z: turn[2] },
    flags: bytes.readUInt16LE(at + 22), age_ms: bytes.readUInt16LE(at + 24),
  };
}

const BODIES = {
  129: (b) => ({ type: 'welcome', player_id: b.readUInt32LE(8), tick_hz: b[12],
    cookie: b.subarray(13, 21), size: 21 }),
  130: (b) => ({ type: 'snapshot', size: 9 + 26 * b[8],
    entries: Array.from({ length: b[8] }, (_, i) => parseEntry(b, 9 + 26 * i)) }),
  131: (b) => ({ type: 'joined', id: b.readUInt32LE(8), name: b.toString('utf8', 13, 13 + b[12]),
    size: 13 + b[12] }),
  132: (b) => ({ type: 'left', id: b.readUInt32LE(8), size: 12 }),
  133: (b) => ({ type: 'correction', ...parseEntry(b, 8), size: 34 }),
  134: (b) => ({ type: 'pong', t: b.readUInt32LE(8), time: b.readUInt32LE(12), size: 16 }),
  255: (b) => ({ type: 'error', code: b[8], size: 9 }),
};

function parseBinary(bytes) {
  const body = BODIES[bytes[1]];
  assert.ok(body, `binary type ${bytes[1]}`);
  const found = body(bytes);
  assert.equal(bytes.length, found.size, `length of a ${found.type}`);
  return { seq: bytes.readUInt16LE(2), server_ms: bytes.readUInt32LE(4), ...found };
}

/* A socket of its own. `lose` may swallow what arrives. */
export class Udp {
  static async open(t, server, options = {}) {
    const udp = new this();
    udp.server = server;
    udp.host = options.host ?? hostOf(server);
    udp.socket = dgram.createSocket(udp.host.includes(':') ? 'udp6' : 'udp4');
    udp.messages = [];
    udp.waiters = [];
    udp.socket.on('message', (bytes, from) => {
      const message = parseDatagram(bytes);
      if (options.lose?.(message)) return;
      udp.from = from;
      udp.messages.push(message);
      udp.waiters.splice(0).forEach((wake) => wake());
    });
    await new Promise((resolve) => { udp.socket.bind(0, options.bind, resolve); });
    udp.open = true;
    t.after(() => udp.close());
    return udp;
  }

  close() {
    if (this.open) this.socket.close();
    this.open = false;
  }

  /* A Buffer, text, or an object to be sent as JSON. */
  send(what) {
    const bytes = Buffer.isBuffer(what) ? what
      : Buffer.from(typeof what === 'string' ? what : JSON.stringify(what));
    return new Promise((resolve, reject) => {
      this.socket.send(bytes, this.server.udp, this.host, (error) =>
        (error ? reject(error) : resolve(bytes.length)));
    });
  }

  /* The next message that fits, taken with all before it. */
  async next(type, good = () => true) {
    for (;;) {
      const at = this.messages.findIndex((m) => m.type === type && good(m));
      if (at >= 0) return this.messages.splice(0, at + 1).at(-1);
      await within(new Promise((resolve) => { this.waiters.push(resolve); }), `a ${type}`);
    }
  }

  /* What has come until nothing more can be on its way; taken. */
  async settled(ms = SETTLE_MS) {
    await sleep(ms);
    return this.messages.splice(0);
  }

  of(type) {
    return this.messages.filter((m) => m.type === type);
  }
}

/* Takes a seat over HTTP. */
export async function seat(server, code, name = 'Ada') {
  const answer = await post(server, `/lobbies/${code}/join`, { player_name: name });
  assert.equal(answer.status, 200, answer.text);
  return { code, id: answer.json.player_id, token: answer.json.udp_token };
}

let lobbies = 0;

export async function lobby(server, max_players = 64) {
  const answer = await post(server, '/lobbies', { code: `UDP${++lobbies}`, max_players });
  assert.equal(answer.status, 200, answer.text);
  return answer.json.code;
}

/* A player that speaks JSON. */
export class Player extends Udp {
  static async enter(t, server, code, { name, joining = {}, ...options } = {}) {
    const player = await Player.open(t, server, options);
    Object.assign(player, await seat(server, code, name));
    player.rejoin = (more) => player.send({ type: 'join', lobby_code: code,
      player_id: player.id, udp_token: player.token, ...joining, ...more });
    await player.rejoin();
    player.welcome = await player.next('welcome');
    return player;
  }

  move(x, y = 0, z = 0, rotation = { x: 0, y: 0, z: 0 }) {
    return this.send({ type: 'position_update', player_id: this.id, position: { x, y, z },
      rotation });
  }

  say(type, more) {
    return this.send({ type, lobby_code: this.code, player_id: this.id, ...more });
  }
}

/* The datagrams of a binary client. `token` is the udp_token's hex. */
export function binary(type, { seq = 0, id, token }, body = Buffer.alloc(0)) {
  const head = Buffer.alloc(16);
  head.writeUInt8(0xb1, 0);
  head.writeUInt8(type, 1);
  head.writeUInt16LE(seq & 0xffff, 2);
  head.writeUInt32LE(id, 4);
  Buffer.from(token ?? '0000000000000000', 'hex').copy(head, 8, 0, 8);
  return Buffer.concat([head, body]);
}

export const joinBody = (code) => Buffer.concat([Buffer.from([code.length]), Buffer.from(code)]);

export function stateBody([x, y, z], [rx, ry, rz] = [0, 0, 0], flags = 0) {
  const body = Buffer.alloc(24);
  [x, y, z].forEach((value, i) => body.writeFloatLE(value, 4 + 4 * i));
  [rx, ry, rz].forEach((value, i) => body.writeInt16LE(value, 16 + 2 * i));
  body.writeUInt16LE(flags, 22);
  return body;
}

export function pingBody(time, cookie = Buffer.alloc(8)) {
  const body = Buffer.alloc(12);
  body.writeUInt32LE(time);
  cookie.copy(body, 4);
  return body;
}

/* A player that speaks binary v1. */
export class BinaryPlayer extends Udp {
  static async enter(t, server, code, { name, ...options } = {}) {
    const player = await BinaryPlayer.open(t, server, options);
    Object.assign(player, await seat(server, code, name), { seq: 0 });
    await player.say(1, joinBody(code));
    player.welcome = await player.next('welcome');
    return player;
  }

  say(type, body, seq = this.seq++) {
    return this.send(binary(type, { seq, id: this.id, token: this.token }, body));
  }

  move(position, rotation, flags) {
    return this.say(2, stateBody(position, rotation, flags));
  }
}
