// What the tests and the bench of build/embed share: the game as a child, guests, its totals.
import assert from 'node:assert/strict';
import { Conn, get, requestText, sleep, start, until } from '../wire/server.mjs';
import { Client, minted } from '../wire/socket.mjs';
import { BinaryPlayer, joinBody } from '../wire/datagrams.mjs';

export const EMBED = process.env.EMBED || 'build/embed';
export const CODE = 'ARENA';
const LOOK_MS = 5;
const RETRIES = 50; // looks until a join is said again

/* The game, once its own player has a seat in the lobby and in the room. */
export async function host(t, args = [], options = {}) {
  const server = await start(t, { binary: EMBED, dev: false, args, ...options });
  await until(() => get(server, '/api/rooms'), ({ json }) => json.count === 1, 'the room');
  await until(() => get(server, `/lobbies/${CODE}`), ({ json }) => json.player_count === 1,
    'the local player');
  return server;
}

/* A third of all have a pass that the game knows, a third one that it has to ask for, the others a
   token of the server's own. */
function credentials(i, name) {
  return [`now:${name}`, `later:${name}`, minted(`guest-${i}`, name).token][i % 3];
}

/* Somebody from an address of their own, as over a network: rates count by address. */
export class Guest {
  static async join(t, server, i) {
    const guest = Object.assign(new Guest(), { name: `Guest ${i}`, seen: new Set() });
    guest.localAddress = `127.1.${i >> 7}.${(i & 127) + 1}`;
    await Promise.all([guest.#play(t, server), guest.#enter(server, i)]);
    return guest;
  }

  async #play(t, server) {
    const conn = await Conn.open(server, { localAddress: this.localAddress });
    const text = requestText('POST', `/lobbies/${CODE}/join`, { json: { player_name: this.name } });
    const answer = await conn.ask(text, 'POST');
    conn.close();
    assert.equal(answer?.status, 200, answer?.text);
    this.udp = await BinaryPlayer.open(t, server, { bind: this.localAddress });
    const { player_id: id, udp_token: token } = answer.json;
    Object.assign(this.udp, { code: CODE, id, token, seq: 0 });
    while (!this.udp.of('welcome').length) { // datagrams may be lost
      await this.udp.say(1, joinBody(CODE));
      for (let i = 0; i < RETRIES && !this.udp.of('welcome').length; i++) await sleep(LOOK_MS);
    }
  }

  async #enter(server, i) {
    const { localAddress, name } = this;
    const token = credentials(i, name);
    this.ws = await Client.open(server, { token, localAddress });
    this.ws.send('handshake', { version: '1', name });
    await this.ws.next('handshake_accepted');
    this.ws.send('quick_join', { gamemode: 'arena', version: '1', name });
    const { data } = await this.ws.next('room_joined');
    this.peerId = data.peerId;
    this.members = new Set(data.members.map((member) => member.peerId));
  }

  /* Until everybody has come who was to come: by events in the room, by positions in the lobby. */
  async meets(count) {
    while (this.members.size < count) {
      const { data } = await this.ws.next('peer_joined');
      assert.ok(!this.members.has(data.peerId), `peer ${data.peerId} twice`);
      this.members.add(data.peerId);
    }
  }

  async sees(count) {
    while (this.seen.size < count) {
      const { entries } = await this.udp.next('snapshot');
      for (const { id } of entries) this.seen.add(id);
    }
    assert.ok(!this.seen.has(this.udp.id), 'itself');
  }

  move(at) {
    return this.udp.move([at, 0, 0]);
  }

  leave() {
    this.udp.close();
    this.ws.drop();
  }
}

/* All at once. */
export const burst = (t, server, count) =>
  Promise.all(Array.from({ length: count }, (_, i) => Guest.join(t, server, i)));

const TIMES = 'us: mean ([\\d.]+) p50 (\\d+) p99 (\\d+) worst ([\\d.]+)';
const TOTAL = new RegExp(`^total: (\\d+) frames, (\\d+) steps skipped, work (\\d+), server ${TIMES}`
  + `, frame ${TIMES}$`, 'm');

/* What the game prints at its end. */
export function totals(server) {
  const found = server.stdout.match(TOTAL);
  assert.ok(found, server.stdout.slice(-1000));
  const [frames, skipped, work, ...times] = found.slice(1).map(Number);
  const [mean, p50, p99, worst] = times;
  const line = server.stdout.match(/^hooks:(.*)$/m)[1];
  const hooks = Object.fromEntries([...line.matchAll(/ (\w+) (\d+)/g)]
    .map(([, name, calls]) => [name, Number(calls)]));
  return { frames, skipped, work, hooks, server: { mean, p50, p99, worst },
    frame: { mean: times[4], p50: times[5], p99: times[6], worst: times[7] } };
}

const SECOND = /^second \d+: .*, avatars (\d+), others (\d+), peers (\d+) of (\d+)$/gm;

/* What the local player sees, as the latest line tells: players of the lobby as the game has them
   and as its datagrams say, others in the room as its socket says, members as the game has them. */
export function view(server) {
  const last = [...server.stdout.matchAll(SECOND)].at(-1);
  const [avatars, others, peers, members] = last ? last.slice(1).map(Number) : [];
  return { avatars, others, peers, members };
}
