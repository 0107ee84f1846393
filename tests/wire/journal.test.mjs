// --record, --flight and --replay: what a server did can be done again, from outside.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ON_WINDOWS, admin, get, post, refused, replayed, run, sleep, start, until, within }
  from './server.mjs';
import { party, test } from './socket.mjs';
import { Player, lobby } from './datagrams.mjs';

const QUICK = { drain_grace_ms: 50 };
const CROWD = 20; // rooms of five

/* A name for a file that is not there yet. */
function fresh(t, name = 'recording') {
  const dir = mkdtempSync(join(tmpdir(), 'mpserver-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return join(dir, name);
}

const fails = (args, status, pattern) => {
  const done = run(args);
  assert.match(done.stderr, pattern);
  assert.equal(done.status, status, done.stderr);
};

test('journal: what is wrong with the flags', (t) => {
  const there = fresh(t);
  writeFileSync(there, 'x');
  fails(['--record', 'a', '--flight', 'b'], 2, /give one of them/);
  fails(['--flight-seconds', '9'], 2, /--flight-seconds belongs to --flight/);
  fails(['--flight', 'a', '--flight-seconds', '0'], 2, /takes a number from 1 to 86400/);
  fails(['--until', '3'], 2, /--until belongs to --replay/);
  for (const until of ['x', '1.', '.', '-1', '1.x', '', '99999999999']) {
    fails(['--replay', there, `--until=${until}`], 2, /--until (takes|needs)/);
  }
  fails(['--replay', there, '--dev'], 2, /--replay takes everything from the recording/);
  fails(['--replay', there], 2, /this is no journal of mpserver/);
  fails(['--replay', fresh(t)], 2, /there is no such file, it is empty/);
  fails(['--dev', '--http-port', '0', '--udp-port', '0', '--record', there], 2,
    /there is such a file already; take another name/);
  assert.equal(readFileSync(there, 'utf8'), 'x');
  fails(['--dev', '--http-port', '0', '--udp-port', '0', '--record', join(there, 'x')], 2,
    /the file cannot be made/);
  fails(['--dev', '--http-port', '0', '--udp-port', '0', '--flight', join(there, 'x')], 2,
    /such a file cannot be made/);
});

/* Everybody has heard what there was to hear. */
async function caughtUp(members) {
  for (const member of members) {
    member.send('ping');
    while ((await member.next()).type !== 'pong');
  }
}

/* A room, a lobby and some requests: something of every protocol. */
async function play(t, server) {
  const members = await party(server, ['Ann', 'Bob', 'Cid']);
  for (let i = 0; i < 20; i++) {
    members[i % 3].send('rpc_call', { method: 'move', args: { n: i } });
    members[i % 3].send('player_state', { position: [i] });
  }
  await caughtUp(members);
  const code = await lobby(server);
  const ann = await Player.enter(t, server, code, { name: 'Ann' });
  const bob = await Player.enter(t, server, code, { name: 'Bob' });
  await ann.move(1, 2, 3);
  await bob.next('position_update');
  assert.equal((await get(server, '/lobbies')).status, 200);
  refused(await get(server, '/nowhere'), 404, 'not_found');
  return members;
}

test('journal: a recording replays to the same bytes and state', async (t) => {
  const file = fresh(t);
  const s = await start(t, { config: QUICK, args: ['--record', file, '--log-level', 'debug'] });
  await play(t, s);
  await s.stop();
  const done = replayed(file);
  assert.equal(done.stderr, '');
  const [, calls, seconds, inward, outward] = done.stdout
    .match(/^replayed (\d+) calls of (\S+) s in \S+ s: (\d+) bytes in, (\d+) bytes out/);
  assert.ok(calls > 200 && seconds > 0.05 && inward > 5000 && outward > 10000, done.stdout);

  const log = run(['--replay', file, '--log-level', 'info', '--log-format', 'json']);
  assert.match(log.stderr, /"item":"room_opened"/);
  assert.doesNotMatch(log.stderr, /"level":"debug"/);

  const early = run(['--replay', file, '--until', String(seconds / 2)]);
  assert.match(early.stdout, /all the same\nstate [0-9a-f]{16}: stopped at --until\n$/);
  const [, some, until_s] = early.stdout.match(/^replayed (\d+) calls of (\S+) s/);
  assert.ok(Number(some) < calls && Number(until_s) <= seconds / 2, early.stdout);
  assert.equal(early.status, 0);
});

test('journal: what is cut is replayed as far as it goes, what was changed is found', async (t) => {
  const file = fresh(t);
  const other = fresh(t);
  const s = await start(t, { config: QUICK, args: ['--record', file] });
  await play(t, s);
  await s.stop();
  const bytes = readFileSync(file);
  writeFileSync(other, bytes.subarray(0, bytes.length - 100));
  const cut = run(['--replay', other]);
  assert.match(cut.stdout, /: the recording ends without one to compare\n$/);
  assert.equal(cut.status, 0);
  const at = bytes.lastIndexOf('"code":"UDP');
  bytes.write('"code":"UDQ', at); // what clients say in WebSocket frames is masked
  writeFileSync(other, bytes);
  fails(['--replay', other], 1, /: call \d+, at \S+ s: other bytes to a connection than recorded/);
});

test('journal: a hundred players replay to the same bytes', async (t) => {
  const file = fresh(t);
  const s = await start(t, { config: { ...QUICK, connections_per_s: 1000, requests_per_s: 1000 },
    args: ['--record', file, '--log-level', 'warn'] });
  const rooms = await Promise.all(Array.from({ length: CROWD }, (_, room) =>
    party(s, Array.from({ length: 5 }, (_, i) => `${room} ${i}`))));
  for (let round = 0; round < 20; round++) {
    for (const member of rooms.flat()) member.send('player_state', { position: [round] });
    for (const [host] of rooms) host.send('rpc_call', { method: 'round', args: { round } });
    await sleep(50);
  }
  await caughtUp(rooms.flat());
  await s.stop();
  assert.ok(Number(replayed(file).stdout.match(/(\d+) bytes out/)[1]) > 500000);
});

test('journal: POST /admin/record makes a recording complete so far', async (t) => {
  const file = fresh(t);
  const s = await start(t, { config: QUICK, args: ['--record', file] });
  await play(t, s);
  const before = readFileSync(file).length;
  assert.equal((await post(s, '/admin/record', {}, admin())).status, 202);
  await s.says('recording is in the file');
  assert.ok(readFileSync(file).length > before);
  const done = run(['--replay', file]);
  assert.match(done.stdout, /the recording ends without one to compare/);
  assert.equal(done.status, 0);
});

test('journal: a flight recorder writes the last seconds when asked', async (t) => {
  const file = fresh(t);
  const s = await start(t, { config: QUICK, args: ['--flight', file, '--flight-seconds', '1'] });
  await play(t, s);
  await sleep(1200);
  await play(t, s);
  assert.ok(!existsSync(file));
  for (const name of [file, `${file}.1`]) {
    assert.equal((await post(s, '/admin/record', {}, admin())).status, 202);
    await s.says(`file=${name}\n`);
    const done = run(['--replay', name]);
    assert.match(done.stdout, /all the same\nstate [0-9a-f]{16}: the recording ends without/);
    assert.equal(done.status, 0);
  }
});

test('journal: a flight recorder with every name taken says so', async (t) => {
  const file = fresh(t);
  for (let i = 1; i < 100; i++) writeFileSync(`${file}.${i}`, 'mine');
  const s = await start(t, { config: QUICK, args: ['--flight', file] });
  await play(t, s);
  assert.equal((await post(s, '/admin/record', {}, admin())).status, 202);
  await s.says(`file=${file}\n`);
  assert.equal((await post(s, '/admin/record', {}, admin())).status, 202);
  await s.says(`every name for a recording is taken; move the files away last=${file}.99\n`);
  for (let i = 1; i < 100; i++) assert.equal(readFileSync(`${file}.${i}`, 'utf8'), 'mine');
});

/* Its start fits into the 8 KiB, a game does not. */
if (!ON_WINDOWS) {
  test('journal: a file that may not grow is told each time, and at a crash', async (t) => {
    const file = fresh(t);
    const s = await start(t, { ulimit: '-f 8', config: QUICK, args: ['--record', file] });
    for (let times = 1; times <= 2; times++) {
      await play(t, s);
      assert.equal((await post(s, '/admin/record', {}, admin())).status, 202);
      await until(() => s.stderr.split('recording cannot be written').length - 1,
        (told) => told === times, 'the log line');
    }
    s.stop = async () => {};
    s.signal('SIGSEGV');
    assert.notEqual((await within(s.exited, 'the end')).code, 0);
    assert.match(s.stderr, /mpserver: crashed; the recording could not be written: .*recording\n/);
    assert.doesNotMatch(s.stderr, /recording is in the file/);
  });
}

for (const way of ON_WINDOWS ? [] : ['record', 'flight']) {
  test(`journal: what crashes leaves its --${way}`, async (t) => {
    const file = fresh(t);
    const s = await start(t, { config: QUICK, args: [`--${way}`, file] });
    await play(t, s);
    s.stop = async () => {};
    s.signal('SIGSEGV');
    assert.notEqual((await within(s.exited, 'the end')).code, 0);
    assert.match(s.stderr, /mpserver: crashed; --replay shows how: .*recording\n/);
    const done = run(['--replay', file]);
    assert.match(done.stdout, /all the same\nstate [0-9a-f]{16}: the recording ends without/);
    assert.ok(Number(done.stdout.match(/(\d+) bytes out/)[1]) > 10000);
    assert.equal(done.status, 0);
  });
}
