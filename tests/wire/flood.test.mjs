// Floods of garbage beside players, and what the packaged tools say to the UDP port.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { metrics, shared, sleep, start, test, until } from './server.mjs';
import { BinaryPlayer, Player, SETTLE_MS, Udp, lobby, seat } from './datagrams.mjs';

const execute = promisify(execFile);
const server = shared({ config: { drain_grace_ms: 50 } });
const PLAYERS = 16;
const RATE = 20;

async function flood(s, ms, rate = 0) {
  const { stdout } = await execute('build/flood', [String(s.udp), String(ms), String(rate)]);
  return Number(stdout);
}

const resident = (s) => Number(readFileSync(`/proc/${s.pid}/status`, 'utf8')
  .match(/VmRSS:\s+(\d+) kB/)[1]);
const drops = (all) => [...all.samples].filter(([key]) => key.startsWith('mpserver_drops_total'))
  .reduce((sum, [, value]) => sum + value, 0);

/* Players move for some time; gives how many of their updates the server took. */
async function arrived(s, players, ms) {
  const before = await metrics(s);
  let sent = 0;
  for (const end = Date.now() + ms; Date.now() < end;) {
    const next = Date.now() + 1000 / RATE;
    for (const player of players) {
      await player.move([sent * 1e-4, 0, 0]);
      sent++;
    }
    await sleep(Math.max(0, next - Date.now()));
  }
  await sleep(300);
  const late = await metrics(s);
  return (late.get('mpserver_positions_total') - before.get('mpserver_positions_total')) / sent;
}

/* How many datagrams a second the server takes when there are more than it can. */
async function drains(s) {
  const taken = async () => (await metrics(s)).get('mpserver_datagrams_total');
  const before = await taken();
  const began = Date.now();
  await flood(s, 1000);
  return Math.round((await taken() - before) / (Date.now() - began) * 1000);
}

test('flood: garbage at half of what the server drains leaves players alone', async (t) => {
  const s = await start(t, { config: { drain_grace_ms: 50, log_level: 'info' } });
  const code = await lobby(s);
  const players = [];
  for (let i = 0; i < PLAYERS; i++) players.push(await BinaryPlayer.enter(t, s, code));
  await flood(s, 300); // warm: pages are touched
  const memory = resident(s);
  const lines = s.stderr.split('\n').length;
  const began = Date.now();
  // The kernel drops when the machine holds the server up: what it can do, it has to show once.
  let ratio = 0;
  for (let tries = 0; ratio < 0.99 && tries < 5; tries++) {
    const drained = await drains(s);
    const [part, sent] =
      await Promise.all([arrived(s, players, 2500), flood(s, 3000, drained / 2)]);
    t.diagnostic(`${drained} datagrams drained a second; ${sent} of garbage in three, ` +
      `${(100 * part).toFixed(2)} % of ${PLAYERS} players' updates arrived`);
    ratio = Math.max(ratio, part);
  }
  assert.ok(ratio >= 0.99, `${ratio} arrived`);
  assert.ok(resident(s) - memory < 512, `${memory} kB, then ${resident(s)} kB`);
  const told = s.stderr.split('\n').length - lines;
  assert.ok(told <= 40 * (Date.now() - began) / 1000, `${told} lines: the log is flooded`);
});

test('flood: at full rate memory is flat and what the kernel drops is told', async (t) => {
  const s = await start(t, { config: { drain_grace_ms: 50 } });
  await flood(s, 300);
  const memory = resident(s);
  await Promise.all([flood(s, 1500), flood(s, 1500)]);
  assert.ok(resident(s) - memory < 512, `${memory} kB, then ${resident(s)} kB`);
  // Nobody reads for a moment: more comes than any buffer holds. What was dropped until now is told
  // with the next datagram.
  const udp = await Udp.open(t, s);
  await udp.send('x');
  await sleep(SETTLE_MS);
  const before = await metrics(s);
  s.signal('SIGSTOP');
  const sent = await flood(s, 600);
  s.signal('SIGCONT');
  const late = await until(async () => {
    await udp.send('x');
    return metrics(s);
  }, (m) => m.get('mpserver_drops_total{reason="kernel"}') >
    before.get('mpserver_drops_total{reason="kernel"}'), 'drops of the kernel');
  const lost = late.get('mpserver_drops_total{reason="kernel"}') -
    before.get('mpserver_drops_total{reason="kernel"}');
  assert.ok(lost < sent);
  await s.says(/the kernel dropped some count=\d+/);
  assert.ok(resident(s) - memory < 512, `${memory} kB, then ${resident(s)} kB`);
});

test('flood: a stranger is held to its rate, each drop has its reason', async (t) => {
  const s = await start(t, { dev: false, config: { drain_grace_ms: 50 } });
  const udp = await Udp.open(t, s);
  const before = await metrics(s);
  for (let i = 0; i < 400; i++) await udp.send({ type: 'ping', t: i });
  for (let i = 0; i < 30; i++) await udp.send('?');
  const late = await until(() => metrics(s), (m) =>
    m.get('mpserver_datagrams_total') - before.get('mpserver_datagrams_total') === 430, 'all');
  assert.equal(drops(late) - drops(before), 430);
  assert.equal(late.get('mpserver_drops_total{reason="unknown"}'), 30);
  const limited = late.get('mpserver_drops_total{reason="rate_limited"}');
  assert.ok(limited >= 200 && limited <= 300, `${limited}`);
  assert.deepEqual(udp.messages, []);
});

test('flood: STUN as a packaged client asks', async () => {
  const s = await server();
  const { stdout } = await execute('turnutils_stunclient', ['-p', String(s.udp), '127.0.0.1']);
  assert.match(stdout, /UDP reflexive addr: 127\.0\.0\.1:\d+/);
});

test('flood: STUN by hand: the port it came from, 420 for what is not known', async (t) => {
  const s = await server();
  const udp = await Udp.open(t, s);
  const request = (attributes = '') => Buffer.from(
    `0001${(attributes.length / 2).toString(16).padStart(4, '0')}2112a442${'5a'.repeat(12)}` +
    attributes, 'hex');
  await udp.send(request());
  const success = (await udp.next('other')).bytes;
  assert.equal(success.length, 40);
  assert.equal(success.readUInt16BE(0), 0x0101);
  assert.equal(success.toString('hex', 8, 20), '5a'.repeat(12));
  assert.equal(success.readUInt16BE(26) ^ 0x2112, udp.socket.address().port);
  assert.equal((success.readUInt32BE(28) ^ 0x2112a442) >>> 0, 0x7f000001);
  await udp.send(request('7fff0004000000007ffe00040000000080220004616263648022000461626364'));
  const error = (await udp.next('other')).bytes;
  assert.equal(error.toString('hex', 20, 36), '0009000400000414000a00047fff7ffe');
  await udp.send(request('7fff0000')); // 24 bytes would ask for 44
  await udp.send(request().subarray(0, 19));
  assert.deepEqual(await udp.settled(), []);
});

test('flood: the sample client joins, prints what moves, and leaves', async (t) => {
  const s = await server();
  const code = await lobby(s);
  const ada = await Player.enter(t, s, code, { name: 'Ada' });
  const running = execute('build/udp_client', ['127.0.0.1', String(s.port), code, 'Cee', '2']);
  const joined = await ada.next('player_joined');
  assert.equal(joined.player.name, 'Cee');
  for (let i = 0; i < 20; i++) {
    await ada.move(i / 4, 1, 2);
    await sleep(50);
  }
  const walk = ada.of('position_update');
  assert.ok(walk.length > 5 && walk.every((m) =>
    Math.abs(Math.hypot(m.position.x, m.position.z) - 5) < 1e-4));
  await ada.next('player_left', (m) => m.player_id === joined.player.id);
  const { stdout } = await running;
  assert.match(stdout, /^welcome, player 2, 20 ticks a second$/m);
  assert.match(stdout, /^player 1 is called Ada$/m);
  assert.match(stdout, /^player 1 at 4\.75 1\.00 2\.00, \d+ ms ago$/m);
  assert.match(stdout, /^round trip \d+ ms$/m);
  const full = await execute('build/udp_client', ['127.0.0.1', String(s.port), 'NO', 'x', '1'])
    .catch((error) => error);
  assert.match(full.stderr, /lobby_not_found/);
  await seat(s, code);
});
