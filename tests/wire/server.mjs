// What the wire tests share: a server as a child process, raw sockets, a strict reader of answers.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { after, test as nodeTest } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

export { sleep };
export const BINARY = process.env.MPSERVER || 'build/mpserver';
export const ON_WINDOWS = BINARY.endsWith('tests/wine/mpserver');
const TEXTS = !process.env.LEFT_OUT?.includes('ERROR_TEXTS'); // see tests/switches.sh
export const SECRET = 'a secret of the wire tests, 32 bytes and more';
const { RECORD } = process.env; // set: every server is recorded, and replayed at its end
const WAIT_MS = 20000; // for anything that should happen at once; sanitized builds are slow

/* Settings of a server that does not end by itself within WAIT_MS: if it has, it was made to. */
export const MINUTES = { drain_grace_ms: 180000, head_timeout_ms: 60000 };

/* For ports that lack something: WITHOUT names a module whose keys are the titles to leave out. */
const { WITHOUT } = process.env;
const leftOut = WITHOUT ? (await import(resolve(WITHOUT))).default : {};

/* What wine says when it is at fault: its own heap, or a process that it could not start. Seen once
   in a thousand starts. */
const WINE_BROKE = /^Fatal glibc error|^console: cannot start it/m;
let wineBroke = 0; // servers that it took along

/* A test; with T=name in the environment only those whose names contain it. One that failed while
   wine broke is made again. */
export function test(name, body) {
  if (name in leftOut || !name.includes(process.env.T ?? '')) return;
  nodeTest(name, { timeout: 120000 }, async (t) => {
    const before = wineBroke;
    try {
      await body(t);
    } catch (error) {
      if (wineBroke === before) throw error;
      t.diagnostic(`wine broke, so once more: ${error.message}`);
      await body(t);
    }
  });
}

export function temporaryFile(t, name, text) {
  const dir = mkdtempSync(join(tmpdir(), 'mpserver-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
}

/* `promise`, or an error that names what did not happen in time. */
export function within(promise, what, ms = WAIT_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/* Asks until `good(answer)`; for what happens soon after, not at once. */
export async function until(ask, good, what, ms = WAIT_MS) {
  for (const end = Date.now() + ms; Date.now() < end; await sleep(50)) {
    // A connection that draining finds idle is closed, even one that was about to ask.
    const got = await Promise.resolve().then(ask).catch(() => null);
    if (got !== null && good(got)) return got;
  }
  throw new Error(`${what}: not within ${ms} ms`);
}

export class Server {
  constructor(args, env, { ulimit, stderr = 'pipe', binary = BINARY } = {}) {
    this.binary = binary;
    this.stderr = '';
    this.stdout = '';
    const limited = ['-c', `ulimit ${ulimit}; exec "$0" "$@"`, binary, ...args];
    const [program, words] = ulimit ? ['bash', limited] : [binary, args];
    this.child = spawn(program, words,
      { env: { PATH: process.env.PATH, ...env }, stdio: ['pipe', 'pipe', stderr] });
    this.pid = this.child.pid;
    this.child.stderr?.on('data', (bytes) => this.hear(bytes));
    this.exited = new Promise((resolve, reject) => {
      this.child.on('error', reject);
      this.child.on('close', (code, signal) => resolve({ code, signal }));
    });
    this.exited.catch(() => {});
  }

  hear(bytes) {
    this.stderr += bytes;
    if (ON_WINDOWS && !this.broke && WINE_BROKE.test(this.stderr)) {
      this.broke = true;
      wineBroke++;
    }
  }

  async ready() {
    const line = new Promise((resolve, reject) => {
      this.child.stdout.on('data', (bytes) => {
        this.stdout += bytes;
        if (this.stdout.includes('\n')) resolve(this.stdout.split('\n')[0]);
      });
      this.exited.then(
        (end) => reject(new Error(`ended ${JSON.stringify(end)} before ready\n${this.stderr}`)),
        reject,
      );
    });
    this.line = await within(line, `ready line of ${this.binary}`);
    const found = this.line.match(/^mpserver (\S+) ready http=(\S+):(\d+) udp=(\S+):(\d+)$/);
    assert.ok(found, `ready line: ${this.line}`);
    [, this.version, this.host, this.port, , this.udp] = found;
    this.port = Number(this.port);
    this.udp = Number(this.udp);
    return this;
  }

  /* On Windows a Ctrl-C, which SIGINT becomes, is what there is for a SIGTERM, and the admin route
     for a SIGHUP. */
  signal(name) {
    if (ON_WINDOWS && name === 'SIGHUP') {
      post(this, '/admin/reload', {}, admin()).catch(() => {});
    } else {
      process.kill(this.pid, ON_WINDOWS && name === 'SIGTERM' ? 'SIGINT' : name);
    }
  }

  /* SIGTERM; the server must end with 0 and without a sanitizer's word. */
  async stop() {
    const runs = this.child.exitCode === null && this.child.signalCode === null;
    if (this.broke) {
      if (runs) this.signal('SIGKILL');
      return;
    }
    if (runs) this.signal('SIGTERM');
    await this.ended();
  }

  async ended() {
    try {
      const end = await within(this.exited, 'end of the server');
      this.sane();
      assert.deepEqual(end, { code: 0, signal: null }, this.stderr.slice(-2000));
    } finally {
      if (this.child.exitCode === null && this.child.signalCode === null) this.signal('SIGKILL');
    }
  }

  /* The log says it, sooner or later: not every port has written it when an answer is out. */
  says(pattern) {
    const said = (text) => (pattern.test ? pattern.test(text) : text.includes(pattern));
    return until(() => this.stderr, said, `the log: ${pattern}`);
  }

  sane() {
    assert.doesNotMatch(this.stderr, /Sanitizer|runtime error:/);
  }
}

/* Starts a server that ends with the test. Options: dev, config (an object), env, args,
   ulimit, the shell's words for what it may use, and binary, another program with the same ready
   line. */
export async function start(t, options = {}) {
  const { dev = true, config, env = {}, args = [], ...more } = options;
  const flags = ['--http-port', '0', '--udp-port', '0', '--bind', '127.0.0.1', ...args];
  if (dev) flags.push('--dev');
  const configPath = config && temporaryFile(t, 'config.json', JSON.stringify(config));
  if (config) flags.push('--config', configPath);
  const recording = RECORD && join(mkdtempSync(join(tmpdir(), 'mpserver-')), 'recording');
  if (recording) flags.push('--record', recording);
  const begin = () => new Server(flags, { MPSERVER_JWT_SECRET: SECRET, ...env }, more);
  let server = begin();
  t.after(async () => {
    await server.stop();
    if (recording) replayed(recording);
    if (recording) rmSync(dirname(recording), { recursive: true });
  });
  try {
    await server.ready();
  } catch (error) {
    if (!mute(server)) throw error;
    server = begin();
    await server.ready();
  }
  server.configPath = configPath;
  return server;
}

/* What a server that ended in order has recorded is replayed to the same bytes and state. */
export function replayed(recording) {
  const done = run(['--replay', recording]);
  assert.match(done.stdout, /^replayed .* all the same\nstate [0-9a-f]{16}: as recorded\n$/,
    done.stderr);
  assert.equal(done.status, 0);
  return done;
}

/* wine, once in a few hundred starts, ends before the program begins: status 1, not a word. The
   server says why it ends. */
function mute({ stdout, stderr }) {
  return ON_WINDOWS && stdout === '' && (stderr === '' || WINE_BROKE.test(stderr));
}

/* One server for all tests of a file, made when the first asks, and anew when wine has broken it;
   ended after the last. */
export function shared(options) {
  let server;
  let made;
  const ending = []; // a hook made inside a test would run at that test's end
  after(async () => {
    await server?.catch(() => {});
    for (const end of ending.reverse()) await end();
  });
  return () => {
    if (made !== wineBroke) server = start({ after: (end) => ending.push(end) }, options);
    made = wineBroke;
    return server;
  };
}

const FIELD =
  /^([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?$/;

/* One answer at `at` in `bytes`, or null while it is incomplete. Strict: anything odd throws. */
export function parseAnswer(bytes, method = 'GET', ended = false) {
  const head = bytes.indexOf('\r\n\r\n');
  if (head < 0) return null;
  const [first, ...rest] = bytes.subarray(0, head).toString('latin1').split('\r\n');
  const line = first.match(/^HTTP\/1\.1 (\d{3}) ([\x20-\x7e]*)$/);
  assert.ok(line, `status line: ${JSON.stringify(first)}`);
  const answer = { status: Number(line[1]), headers: {}, body: Buffer.alloc(0), end: head + 4 };
  for (const text of rest) {
    const field = text.match(FIELD);
    assert.ok(field, `header: ${JSON.stringify(text)}`);
    const name = field[1].toLowerCase();
    assert.ok(!(name in answer.headers), `${name} twice`);
    answer.headers[name] = field[2] ?? '';
  }
  if (answer.status < 200 || answer.status === 204 || answer.status === 304) {
    assert.ok(!('content-length' in answer.headers) || answer.status === 304);
    return answer;
  }
  if (method === 'HEAD') return answer;
  return takeBody(bytes, answer, ended);
}

function takeBody(bytes, answer, ended) {
  const { headers } = answer;
  if (headers['transfer-encoding']) {
    assert.equal(headers['transfer-encoding'], 'chunked');
    assert.ok(!('content-length' in headers), 'both framings');
    return takeChunks(bytes, answer);
  }
  if (!('content-length' in headers)) { // an HTTP/1.0 stream ends with the connection
    assert.equal(headers.connection?.toLowerCase(), 'close');
    if (!ended) return null;
    answer.body = bytes.subarray(answer.end);
    answer.end = bytes.length;
    return answer;
  }
  assert.match(headers['content-length'], /^\d+$/);
  const length = Number(headers['content-length']);
  if (bytes.length < answer.end + length) return null;
  answer.body = bytes.subarray(answer.end, answer.end + length);
  answer.end += length;
  return answer;
}

function takeChunks(bytes, answer) {
  const parts = [];
  for (let at = answer.end; ;) {
    const eol = bytes.indexOf('\r\n', at);
    if (eol < 0) return null;
    const text = bytes.subarray(at, eol).toString('latin1');
    assert.match(text, /^[0-9a-fA-F]+$/, 'chunk size');
    const size = parseInt(text, 16);
    if (bytes.length < eol + 2 + size + 2) return null;
    assert.equal(bytes.subarray(eol + 2 + size, eol + 4 + size).toString(), '\r\n');
    parts.push(bytes.subarray(eol + 2, eol + 2 + size));
    at = eol + 4 + size;
    if (size === 0) {
      answer.body = Buffer.concat(parts);
      answer.end = at;
      return answer;
    }
  }
}

/* Adds text() and json() and, for every error, checks its shape. */
function dress(answer) {
  answer.text = answer.body.toString('utf8');
  answer.json = /^application\/json\b/.test(answer.headers['content-type'] ?? '') && answer.text
    ? JSON.parse(answer.text) : undefined;
  if (answer.status >= 400 && answer.json) {
    assert.equal(answer.json.status, 'error');
    assert.match(answer.json.error, /^[a-z][a-z0-9_]*$/);
    assert.match(answer.json.message, TEXTS ? /\.$/ : /^[a-z0-9_]+$/);
  }
  answer.error = answer.json?.error;
  return answer;
}

/* Where clients find a server that may listen on all addresses. */
export const hostOf = (server) =>
  (/^(\[?::\]?|0\.0\.0\.0)?$/.test(server.host ?? '') ? '127.0.0.1' : server.host)
    .replace(/^\[(.*)\]$/, '$1');

/* A raw connection. */
export class Conn {
  static async open(server, options = {}) {
    const conn = new Conn();
    conn.socket = net.connect({ port: server.port, host: hostOf(server), ...options });
    conn.bytes = Buffer.alloc(0);
    conn.ended = false;
    conn.waiters = [];
    const wake = () => conn.waiters.splice(0).forEach((resolve) => resolve());
    conn.socket.on('data', (more) => {
      conn.bytes = Buffer.concat([conn.bytes, more]);
      wake();
    });
    conn.socket.on('end', () => { conn.ended = true; wake(); });
    conn.socket.on('close', () => { conn.ended = true; wake(); });
    conn.socket.on('error', (error) => { conn.error = error; conn.ended = true; wake(); });
    conn.socket.setNoDelay(true);
    if (!options.lazy) {
      await within(new Promise((resolve, reject) => {
        conn.socket.once('connect', resolve);
        conn.socket.once('error', reject);
      }), 'connect');
    }
    return conn;
  }

  write(data) {
    return new Promise((resolve) => { this.socket.write(data, () => resolve()); });
  }

  more() {
    return new Promise((resolve) => { this.waiters.push(resolve); });
  }

  /* The next answer; null when the connection ended without one. */
  async read(method, ms) {
    for (;;) {
      const answer = parseAnswer(this.bytes, method, this.ended);
      if (answer) {
        this.bytes = this.bytes.subarray(answer.end);
        return dress(answer);
      }
      if (this.ended) {
        assert.equal(this.bytes.length, 0, `cut answer: ${this.bytes}`);
        return null;
      }
      await within(this.more(), 'an answer', ms);
    }
  }

  async ask(text, method) {
    this.write(text); // an answer may come before all of it is taken
    return this.read(method);
  }

  /* Waits for the server's FIN; nothing more may come before it. */
  async end(ms) {
    while (!this.ended) await within(this.more(), 'end of the connection', ms);
    assert.equal(this.bytes.length, 0, `left over: ${this.bytes}`);
  }

  close() {
    this.socket.destroy();
  }
}

/* The text of a request; `json` or `body` bring their Content-Length. */
export function requestText(method, target, { headers = {}, body, json, version = '1.1' } = {}) {
  const data = json === undefined ? body : JSON.stringify(json);
  const fields = { Host: 'localhost', ...headers };
  if (data !== undefined) fields['Content-Length'] ??= Buffer.byteLength(data);
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`).join('');
  return `${method} ${target} HTTP/${version}\r\n${lines}\r\n${data ?? ''}`;
}

/* One request on a connection of its own. */
export async function request(server, method, target, options = {}) {
  const conn = await Conn.open(server);
  try {
    const answer = await conn.ask(requestText(method, target, options), method);
    assert.ok(answer, `no answer to ${method} ${target} ${conn.error ?? ''}`);
    return answer;
  } finally {
    conn.close();
  }
}

export const get = (server, target, headers) => request(server, 'GET', target, { headers });
export const post = (server, target, json, headers) =>
  request(server, 'POST', target, { json, headers });

/* Asserts an error answer: its status, its code and any fields given; gives the answer. */
export function refused(answer, status, code, fields = {}) {
  assert.equal(answer?.status, status, answer?.text);
  assert.equal(answer.error, code);
  for (const [name, value] of Object.entries(fields)) assert.deepEqual(answer.json[name], value);
  if (status === 429 || status === 503) assert.match(answer.headers['retry-after'], /^[1-9]\d*$/);
  return answer;
}

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/* A token; `claims` and `header` may be text, to be encoded as it stands. */
export function token(claims, { secret = SECRET, header = { alg: 'HS256', typ: 'JWT' } } = {}) {
  const encode = (v) => (typeof v === 'string' ? Buffer.from(v).toString('base64url') : part(v));
  const signed = `${encode(header)}.${encode(claims)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

export const seconds = () => Math.floor(Date.now() / 1000);
export const bearer = (claims, options) =>
  ({ Authorization: `Bearer ${token({ exp: seconds() + 600, ...claims }, options)}` });
export const admin = () => bearer({ sub: 'root', role: 'admin' });

export function run(args, env = { MPSERVER_JWT_SECRET: SECRET }, binary = BINARY) {
  const once = () => spawnSync(binary, args, {
    env: { PATH: process.env.PATH, ...env }, encoding: 'utf8', timeout: WAIT_MS,
  });
  let done = once();
  if (mute(done)) done = once();
  assert.doesNotMatch(done.stderr, /Sanitizer|runtime error:/);
  return done;
}

/* What --print-memory says in bytes: the core's block, and all of it. */
export function printedMemory(preset) {
  const done = run(['--dev', '--preset', preset, '--print-memory']);
  assert.equal(done.status, 0, done.stderr);
  const row = (name) => Number(done.stdout.match(new RegExp(`^${name}\\s+(\\d+)$`, 'm'))[1]);
  return { core: row('core'), total: row('total') };
}

export function curl(...args) {
  return new Promise((resolve, reject) => {
    const child = spawn('curl', ['-sS', '--max-time', '20', '--noproxy', '*', ...args]);
    let text = '';
    child.stdout.on('data', (bytes) => { text += bytes; });
    child.stderr.on('data', (bytes) => { text += bytes; });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, text }));
  });
}

const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})? (\S+)$/;

/* The Prometheus text format 0.0.4, read strictly: {families: {name: type}, samples: Map}. */
export function parseMetrics(text) {
  assert.ok(text.endsWith('\n'));
  const families = {};
  const samples = new Map();
  let current;
  for (const line of text.slice(0, -1).split('\n')) {
    const comment = line.match(/^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/);
    if (comment) {
      const [, kind, name, rest] = comment;
      if (kind === 'TYPE') {
        assert.ok(!(name in families), `${name} typed twice`);
        assert.match(rest, /^(counter|gauge|histogram|summary|untyped)$/);
        families[name] = rest;
        current = name;
      }
      continue;
    }
    const sample = line.match(SAMPLE);
    assert.ok(sample, `metrics line: ${line}`);
    const [, name, labels = '', value] = sample;
    const family = families[current] === 'histogram'
      ? name.replace(/_(bucket|sum|count)$/, '') : name;
    assert.equal(family, current, `${name} stands outside its family`);
    assert.match(labels, /^(\{([a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)+\})?$/);
    assert.ok(!samples.has(name + labels), `${name}${labels} twice`);
    const number = value === '+Inf' ? Infinity : Number(value);
    assert.ok(!Number.isNaN(number), line);
    if (families[current] === 'counter') {
      assert.match(name, /_total$/);
      assert.ok(number >= 0);
    }
    samples.set(name + labels, number);
  }
  checkHistograms(families, samples);
  return { families, samples, get: (key) => samples.get(key) ?? 0 };
}

function checkHistograms(families, samples) {
  for (const [name, type] of Object.entries(families)) {
    if (type !== 'histogram') continue;
    const series = new Map(); // other labels: the buckets in order
    for (const [key, value] of samples) {
      const bucket = key.match(/^(\w+)_bucket\{(.*?),?le="([^"]+)"\}$/);
      if (bucket?.[1] !== name) continue;
      if (!series.has(bucket[2])) series.set(bucket[2], []);
      series.get(bucket[2]).push([bucket[3] === '+Inf' ? Infinity : Number(bucket[3]), value]);
    }
    assert.ok(series.size > 0, `${name} has no buckets`);
    for (const [labels, buckets] of series) {
      buckets.slice(1).forEach(([le, count], i) => {
        assert.ok(le > buckets[i][0] && count >= buckets[i][1], `${name} is not cumulative`);
      });
      assert.equal(buckets.at(-1)[0], Infinity);
      const suffix = labels ? `{${labels}}` : '';
      assert.equal(samples.get(`${name}_count${suffix}`), buckets.at(-1)[1]);
      assert.ok(samples.has(`${name}_sum${suffix}`));
    }
  }
}

export async function metrics(server) {
  const answer = await get(server, '/metrics', admin());
  assert.equal(answer.status, 200, answer.text);
  return parseMetrics(answer.text);
}
