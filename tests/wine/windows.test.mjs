// What only Windows has: console events, names in UTF-16, a log that a thread writes.
// With MPSERVER=tests/wine/mpserver.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, constants, mkdirSync, openSync, readSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Conn, MINUTES, Server, get, post, requestText, run, sleep, start, temporaryFile, test,
  within } from '../wire/server.mjs';

const HALF = 'GET /healthz HTTP/1.1\r\nHost: a\r\nX-Half: ';
const [CTRL_C, BREAK, CLOSE, LOGOFF, SHUTDOWN] = [0, 1, 2, 5, 6];

/* A server whose console says what `happens` is told to. */
async function consoled(t, config) {
  const s = await start(t, { env: { CONSOLE: 'yes' }, config });
  s.happens = (event) => s.child.stdin.write(`${event}\n`);
  return s;
}

/* Of the 5 s that a console, or the system, gives. */
const SOON = 'new work is refused grace_ms=1500\n';

for (const [title, event] of [['Ctrl-C', CTRL_C], ['Ctrl-Break', BREAK]]) {
  test(`windows: ${title} drains, the second one stops at once`, async (t) => {
    const s = await consoled(t, MINUTES);
    const half = await Conn.open(s);
    await half.write(HALF);
    s.happens(event);
    await s.says('new work is refused grace_ms=180000\n');
    assert.equal((await get(s, '/readyz')).status, 503);
    assert.equal((await get(s, '/healthz')).status, 200);
    await s.says(`event ${event} returned`);
    s.happens(event);
    await s.ended();
    half.close();
  });
}

for (const [title, event] of [['closing the console', CLOSE], ['a shutdown', SHUTDOWN]]) {
  test(`windows: ${title} drains within the seconds it gives`, async (t) => {
    const s = await consoled(t, MINUTES);
    const half = await Conn.open(s);
    await half.write(HALF);
    s.happens(event);
    await s.says(SOON);
    await s.ended();
    assert.match(s.stderr, new RegExp(`event ${event} held`));
    assert.match(s.stderr, /shut down$/m);
    half.close();
  });
}

test('windows: closing the console makes a drain shorter, and does not break it off', async (t) => {
  const s = await consoled(t, MINUTES);
  const half = await Conn.open(s);
  await half.write(HALF);
  s.happens(CTRL_C);
  await s.says('event 0 returned');
  s.happens(CLOSE);
  await s.says(SOON);
  await s.ended();
  assert.match(s.stderr, /shut down$/m);
  half.close();
});

test('windows: a reader that does not read cannot outlast the console', async (t) => {
  const s = await consoled(t, { ...MINUTES, linger_ms: 60000, lobbies: 300 });
  for (let i = 0; i < 100; i++) await post(s, '/lobbies', { code: `L${i}`, scene: 's'.repeat(60) });
  const conn = await Conn.open(s);
  conn.socket.pause();
  conn.socket.write(requestText('GET', '/lobbies?limit=200').repeat(800));
  await sleep(500);
  s.happens(CLOSE);
  await s.ended();
  assert.doesNotMatch(s.stderr, /shut down$/m);
  conn.close();
});

test('windows: another user who logs off is nothing to it', async (t) => {
  const s = await consoled(t, {});
  s.happens(LOGOFF);
  await s.says('event 5 returned');
  assert.equal((await get(s, '/readyz')).status, 200);
});

test('windows: file names and arguments are UTF-8', (t) => {
  const faulty = temporaryFile(t, 'Größe-日本-🎲.json', '{\n"nonsense": 1}');
  const told = run(['--dev', '--config', faulty, '--print-config']);
  assert.equal(told.status, 2);
  assert.ok(told.stderr.includes('Größe-日本-🎲.json:2: nonsense'), told.stderr);
  const good = temporaryFile(t, 'Größe-日本-🎲.json', '{"name": "Füchse"}');
  const printed = run(['--dev', '--config', good, '--print-config']);
  assert.equal(printed.status, 0, printed.stderr);
  assert.equal(JSON.parse(printed.stdout).name, 'Füchse');
  assert.ok(!printed.stdout.includes('\r'));
});

test('windows: what is no file is refused, without waiting for it', (t) => {
  const folder = join(dirname(temporaryFile(t, 'x', '')), 'folder');
  mkdirSync(folder);
  const said = [[folder, /it is a directory/], ['NUL', /it cannot be read/],
    ['/nowhere/x.json', /there is no such file/]];
  for (const [name, pattern] of said) {
    const done = run(['--dev', '--config', name, '--print-config']);
    assert.equal(done.status, 2);
    assert.match(done.stderr, pattern);
  }
});

/* A pipe by name that is full to the last byte; gives its two ends. */
function fullPipe(t) {
  const path = join(dirname(temporaryFile(t, 'x', '')), 'pipe');
  assert.equal(spawnSync('mkfifo', [path]).status, 0);
  const read = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const write = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  for (let bytes = 65536; bytes > 0;) {
    try {
      writeSync(write, Buffer.alloc(bytes, '-'));
    } catch (error) {
      assert.equal(error.code, 'EAGAIN');
      bytes >>= 1;
    }
  }
  const blocking = openSync(path, constants.O_WRONLY);
  closeSync(write);
  t.after(() => { closeSync(read); });
  return { read, write: blocking };
}

test('windows: a log that nobody reads holds nobody up', async (t) => {
  const { read, write } = fullPipe(t);
  const config = temporaryFile(t, 'c.json', '{"log_level": "debug"}');
  const s = new Server(['--dev', '--http-port', '0', '--udp-port', '0', '--config', config], {},
    { stderr: write });
  t.after(() => s.child.kill('SIGKILL')); // nothing when it has ended
  await s.ready();
  closeSync(write);
  const fill = `/${'x'.repeat(1000)}`;
  const lost = Date.now() + 7000; // 20 lines a second of a kilobyte: more than the ring holds
  for (let asked = 0; asked < 140 || Date.now() < lost; asked++) {
    assert.equal((await get(s, fill)).status, 404);
    await sleep(10);
  }
  const text = await within((async () => {
    const bytes = Buffer.alloc(65536);
    for (let all = ''; ;) {
      try {
        all += bytes.toString('latin1', 0, readSync(read, bytes));
      } catch (error) {
        assert.equal(error.code, 'EAGAIN');
        await sleep(100);
        await get(s, fill);
      }
      if (/lines=\d+\n/.test(all)) return all;
    }
  })(), 'the line that tells of lost ones');
  assert.match(text, /WARN +standard error was not read; log lines are lost lines=[1-9]\d*\n/);
  s.signal('SIGTERM');
  assert.deepEqual(await within(s.exited, 'end'), { code: 0, signal: null });
});
