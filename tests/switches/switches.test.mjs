// What a server does that leaves subsystems out, and what it refuses. LEFT_OUT names them, joined
// by `+`; build/mpserver, which leaves nothing out, tells which keys there are.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import dgram from 'node:dgram';
import {
  get, post, refused, request, run, start, temporaryFile, test, until, within,
} from '../wire/server.mjs';

const out = new Set((process.env.LEFT_OUT ?? 'nothing').split('+'));
const title = (text) => `switches, ${process.env.LEFT_OUT ?? 'nothing'} left out: ${text}`;
const UPGRADE = {
  Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
};
const KEYS = {
  ROOMS: ['presence_public', 'users', 'rooms', 'room_players_max', 'seats', 'bans',
    'room_bans_max', 'message_bytes_max', 'fanout_bytes_max', 'slot_bytes', 'announce_bytes',
    'ping_after_ms', 'silence_timeout_ms', 'message_timeout_ms', 'seat_timeout_ms',
    'room_timeout_ms', 'states_per_s', 'chats_per_s', 'messages_per_s', 'refusals_max'],
  UDP: ['datagram_batch', 'datagram_reply_bytes', 'tick_hz', 'player_speed_max',
    'udp_same_ip_join', 'lan_discovery', 'datagrams_per_s', 'stun_per_s',
    'player_datagrams_per_s'],
};
const TABLES = {
  ROOMS: ['users', 'user index', 'rooms', 'room index', 'room cards', 'seats', 'seat index',
    'states of seats', 'bans', 'announcements'],
  UDP: ['address index', 'lobby leavers', 'tick marks', 'tick arena', 'datagram heads',
    'datagram replies'],
};

test(title('lobbies work'), async (t) => {
  const s = await start(t);
  const made = await post(s, '/lobbies', { code: 'CAVE', scene: 'cave', max_players: 4 });
  assert.equal(made.status, 200);
  assert.equal(made.json.code, 'CAVE');
  const joined = await post(s, '/lobbies/cave/join', { player_name: 'Ada' });
  assert.equal(joined.status, 200);
  const { player_id: id, udp_token: token } = joined.json;
  assert.equal(id, 1);
  const list = await get(s, '/lobbies');
  assert.deepEqual(list.json.map((lobby) => [lobby.code, lobby.player_count]).sort(),
    [['CAVE', 1], ['TEST', 0]]);
  const left = await post(s, '/lobbies/CAVE/leave', { player_id: id, udp_token: token });
  assert.deepEqual(left.json, { status: 'ok' });
  assert.equal((await request(s, 'DELETE', '/lobbies/CAVE')).status, 200);
  const guest = await post(s, '/auth/guest', { username: 'Ada' });
  assert.equal(guest.status, 201);
  await s.stop();
});

test(title('rooms and sockets'), async (t) => {
  const s = await start(t);
  const { text } = await get(s, '/metrics');
  const told = ['sockets', 'rooms', 'room_members', 'sockets_opened_total', 'rooms_opened_total',
    'peers_joined_total', 'websocket_messages_total'].map(
    (name) => new RegExp(`^# TYPE mpserver_${name} `, 'm').test(text),
  );
  assert.deepEqual(told, told.map(() => !out.has('ROOMS')));
  assert.equal(text.includes('table="seats"'), !out.has('ROOMS'));
  const socket = await request(s, 'GET', '/ws', { headers: UPGRADE });
  const rooms = await get(s, '/api/rooms');
  const presence = await get(s, '/api/presence');
  if (out.has('ROOMS')) {
    for (const answer of [socket, rooms, presence]) refused(answer, 404, 'not_found');
  } else {
    assert.equal(socket.status, 101);
    assert.deepEqual(rooms.json.rooms, []);
    assert.equal(presence.status, 401);
  }
  await s.stop();
});

/* A STUN Binding request (RFC 8489): whoever serves UDP answers it. */
test(title('datagrams'), async (t) => {
  const s = await start(t);
  const udp = dgram.createSocket('udp4');
  t.after(() => udp.close());
  const binding = Buffer.concat([Buffer.from('000100002112a442', 'hex'), Buffer.alloc(12, 7)]);
  const answer = new Promise((resolve) => { udp.once('message', resolve); });
  udp.send(binding, s.udp, '127.0.0.1');
  const sample = async (name) =>
    Number((await get(s, '/metrics')).text.match(new RegExp(`^${name} (\\d+)$`, 'm'))[1]);
  if (out.has('UDP')) {
    await until(() => sample('mpserver_datagrams_total'), (count) => count === 1, 'a datagram');
    assert.equal(await sample('mpserver_datagram_bytes_total{way="in"}'), 20);
    assert.equal(await sample('mpserver_drops_total{reason="unknown"}'), 1);
  } else {
    const bytes = await within(answer, 'the answer of STUN');
    assert.equal(bytes.readUInt16BE(0), 0x0101);
    assert.equal(await sample('mpserver_stun_answers_total'), 1);
  }
  const { text } = await get(s, '/metrics');
  for (const name of ['positions_total', 'datagrams_sent_total', 'stun_answers_total']) {
    assert.equal(text.includes(`# TYPE mpserver_${name} `), !out.has('UDP'), name);
  }
  await s.stop();
});

test(title('texts'), async (t) => {
  const s = await start(t);
  const body = (await get(s, '/metrics')).text;
  assert.equal(body.includes('# HELP '), !out.has('DOCS'));
  assert.match(body, /^# TYPE mpserver_connections_refused_total counter$/m);
  assert.equal(body.match(/^# TYPE mpserver_connections_refused_total /gm).length, 1);
  for (const flag of ['--help-config', '--help-routes']) {
    const help = run([flag]);
    if (out.has('DOCS')) {
      assert.equal(help.status, 2);
      assert.match(help.stderr, /^mpserver: this build has no such texts \(MPS_NO_DOCS\)/);
      assert.equal(help.stdout, '');
    } else {
      assert.equal(help.status, 0);
      assert.match(help.stdout, /^(connections = 1000 .* served at once|GET \/healthz .*)$/m);
    }
  }
  const { error, message } = (await get(s, '/lobbies/NONE')).json;
  assert.equal(error, 'lobby_not_found');
  assert.equal(message, out.has('ERROR_TEXTS') ? 'lobby_not_found'
    : 'No lobby has this code; list them with GET /lobbies.');
  await s.stop();
});

/* Every key of the whole server is either there, or is said to be left out. */
test(title('keys'), (t) => {
  const help = spawnSync('build/mpserver', ['--help-config'], { encoding: 'utf8' });
  const keys = help.stdout.trim().split('\n').map((line) => line.split(' ')[0]);
  assert.ok(keys.length > 60);
  for (const key of keys) {
    const file = temporaryFile(t, 'config.json', JSON.stringify({ [key]: {} }));
    const done = run(['--dev', '--print-config', '--config', file]);
    const subsystem = Object.keys(KEYS).find((name) => KEYS[name].includes(key));
    assert.equal(done.status, 2, key);
    if (out.has(subsystem)) {
      const words = { ROOMS: 'rooms', UDP: 'UDP' }[subsystem];
      assert.equal(done.stderr, `mpserver: ${file}:1: ${key}: is unknown: this build leaves ` +
        `${words} out (MPS_NO_${subsystem})\n`);
    } else {
      assert.match(done.stderr, /: must be /, key);
    }
  }
  assert.deepEqual(Object.values(KEYS).flat().filter((key) => !keys.includes(key)), []);
});

test(title('memory'), () => {
  const done = run(['--dev', '--preset', 'tiny', '--print-memory']);
  const rows = done.stdout.split('\n').map((line) => line.split(/\s{2,}/)[0]);
  for (const [subsystem, names] of Object.entries(TABLES)) {
    assert.deepEqual(rows.filter((row) => names.includes(row)).sort(),
      out.has(subsystem) ? [] : [...names].sort());
  }
  assert.ok(rows.includes('lobbies'));
});
