// The command line: exit codes, faults with their place, what is printed.
import assert from 'node:assert/strict';
import net from 'node:net';
import { SECRET, get, printedMemory, run, seconds, start, temporaryFile, test } from './server.mjs';

const fails = (done, code, pattern) => {
  assert.equal(done.status, code, `${done.stdout}${done.stderr}`);
  assert.match(done.stderr, pattern);
  assert.doesNotMatch(done.stdout, /ready/);
};

test('cli: version and help', () => {
  const version = run(['--version']);
  assert.equal(version.status, 0);
  assert.match(version.stdout, /^mpserver \d+\.\d+\.\d+\n$/);
  const help = run(['--help']);
  assert.equal(help.status, 0);
  const flags = '--bind --http-port --udp-port --public-host --config --preset --dev --log-level ' +
    '--log-format --print-config --print-memory --help-config --help-routes --version ' +
    '--mint-token --sub --role --ttl --record --flight --flight-seconds --replay --until';
  for (const flag of flags.split(' ')) {
    assert.ok(help.stdout.includes(flag), flag);
  }
});

test('cli: the tables are printed', () => {
  const config = run(['--help-config']);
  assert.equal(config.status, 0);
  for (const key of ['connections', 'head_timeout_ms', 'trusted_proxies', 'jwt_audience']) {
    assert.ok(config.stdout.includes(key), key);
  }
  const routes = run(['--help-routes']);
  assert.equal(routes.status, 0);
  for (const path of ['/healthz', '/lobbies', '/auth/guest', '/admin/drain', '/metrics']) {
    assert.ok(routes.stdout.includes(path), path);
  }
});

test('cli: what is wrong with the flags is exit code 2', () => {
  fails(run(['--nonsense']), 2, /--nonsense/);
  fails(run(['stray']), 2, /stray/);
  fails(run(['--http-port']), 2, /--http-port/);
  fails(run(['--dev', '--http-port', '65536']), 2, /--http-port|65536/);
  fails(run(['--dev', '--http-port', 'x']), 2, /--http-port|x/);
  fails(run(['--dev', '--http-port', '-1']), 2, /--http-port|-1/);
  fails(run(['--dev', '--preset', 'huge']), 2, /huge/);
  fails(run(['--dev', '--log-level', 'loud']), 2, /loud/);
  fails(run(['--dev', '--log-format', 'xml']), 2, /xml/);
  fails(run(['--dev', '--bind', 'not an address']), 2, /bind|address/i);
});

test('cli: without --dev a secret is wanted', () => {
  fails(run(['--http-port', '0', '--udp-port', '0'], {}), 2, /MPSERVER_JWT_SECRET/);
});

test('cli: a short secret is warned about, not refused', async (t) => {
  const s = await start(t, { dev: false, env: { MPSERVER_JWT_SECRET: 'short' } });
  assert.equal((await get(s, '/healthz')).status, 200);
  await s.says(/32/);
  assert.ok(!s.stderr.includes('short secret: short'));
});

test('cli: a taken port is exit code 1', async (t) => {
  const taken = net.createServer().listen(0, '127.0.0.1');
  t.after(() => taken.close());
  await new Promise((resolve) => { taken.once('listening', resolve); });
  const { port } = taken.address();
  fails(run(['--dev', '--udp-port', '0', '--http-port', String(port)]), 1, new RegExp(port));
});

const FAULTS = [
  ['an unknown key', '{\n  "nonsense": 1\n}', 2, 'nonsense'],
  ['a repeated key', '{"lobbies": 5,\n\n"lobbies": 6}', 3, 'lobbies'],
  ['a wrong type', '{\n"lobbies": "many"}', 2, 'lobbies'],
  ['a negative number', '{\n\n"lobbies": -1}', 3, 'lobbies'],
  ['a fraction', '{"lobbies": 1.5}', 1, 'lobbies'],
  ['a number beyond its range', '{"lobbies": 4294967296}', 1, 'lobbies'],
  ['a range that is none', '{"trusted_proxies": ["10.0.0.0/8",\n"10.0.0.0/33"]}', null,
    'trusted_proxies'],
  ['an unknown level', '{"log_level": "loud"}', 1, 'log_level'],
];

for (const [title, text, line, key] of FAULTS) {
  test(`cli: configuration with ${title} is told by file, line and key`, (t) => {
    const path = temporaryFile(t, 'faulty.json', text);
    const done = run(['--dev', '--http-port', '0', '--udp-port', '0', '--config', path]);
    fails(done, 2, new RegExp(`${path.replaceAll('.', '\\.')}:${line ?? '\\d+'}: ${key}`));
  });
}

test('cli: configuration that is no JSON, no object, or not there', (t) => {
  const cases = [['{"lobbies": 5,\n}', /broken\.json:2/], ['[]', /broken\.json:1/],
    ['', /broken\.json:1/], ['{} {}', /broken\.json:1/]];
  for (const [text, pattern] of cases) {
    const path = temporaryFile(t, 'broken.json', text);
    fails(run(['--dev', '--config', path, '--print-config']), 2, pattern);
  }
  fails(run(['--dev', '--config', '/nowhere/at/all.json']), 2, /\/nowhere\/at\/all\.json/);
});

test('cli: --print-config is JSON that --config takes back, without secrets', (t) => {
  for (const preset of ['tiny', 'small', 'large']) {
    const first = run(['--dev', '--preset', preset, '--print-config']);
    assert.equal(first.status, 0, first.stderr);
    const config = JSON.parse(first.stdout);
    assert.ok(config.connections > 0 && config.lobbies > 0);
    assert.ok(!first.stdout.includes(SECRET));
    const path = temporaryFile(t, 'printed.json', first.stdout);
    const second = run(['--config', path, '--print-config']);
    assert.equal(second.status, 0, second.stderr);
    assert.deepEqual(JSON.parse(second.stdout), config);
  }
});

test('cli: flags go over the file', (t) => {
  const path = temporaryFile(t, 'c.json', '{"http_port": 1234, "public_host": "file"}');
  const done = run(['--dev', '--config', path, '--http-port', '4321', '--print-config']);
  const config = JSON.parse(done.stdout);
  assert.equal(config.http_port, 4321);
  assert.equal(config.public_host, 'file');
});

test('cli: --print-memory says how much, and tiny is within 128 KiB', () => {
  const core = (preset) => printedMemory(preset).core;
  const [tiny, small, large] = ['tiny', 'small', 'large'].map(core);
  assert.ok(tiny <= 128 * 1024, `${tiny}`);
  assert.ok(tiny < small && small < large);
});

test('cli: --mint-token makes tokens that the server takes', async (t) => {
  const s = await start(t);
  const minted = run(['--mint-token', '--sub', 'ops', '--role', 'admin', '--ttl', '60']);
  assert.equal(minted.status, 0, minted.stderr);
  const text = minted.stdout.trim();
  const claims = JSON.parse(Buffer.from(text.split('.')[1], 'base64url'));
  assert.equal(claims.sub, 'ops');
  assert.equal(claims.role, 'admin');
  assert.ok(Math.abs(claims.exp - seconds() - 60) <= 5);
  const log = await get(s, '/admin/log', { Authorization: `Bearer ${text}` });
  assert.equal(log.status, 200, log.text);
  fails(run(['--mint-token', '--sub', 'x', '--role', 'god']), 2, /god/);
  fails(run(['--mint-token', '--sub', 'x'], {}), 2, /MPSERVER_JWT_SECRET/);
});

test('cli: the ready line names both ports', async (t) => {
  const s = await start(t);
  assert.equal(s.host, '127.0.0.1');
  assert.ok(s.port > 0 && s.udp > 0);
  assert.equal(s.stdout, `${s.line}\n`, 'one line and no more');
});

test('cli: IPv6 loopback is served', async (t) => {
  const s = await start(t, { args: ['--bind', '::1'] }).catch((error) => error);
  if (s instanceof Error) return t.skip(s.message.slice(0, 100));
  const { Conn } = await import('./server.mjs');
  const conn = await Conn.open(s, { host: '::1' });
  assert.equal((await conn.ask('GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n')).status, 200);
  return conn.close();
});
