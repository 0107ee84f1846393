// The README's transcript, run as it stands: every `$ curl` line, its answer compared by shape.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { start, test, within } from './server.mjs';

const run = promisify(execFile);
const { WebSocket } = createRequire('/usr/share/nodejs/')('/usr/share/nodejs/ws');

/* Pairs of a command and the answer printed below it. */
function transcript() {
  const lines = readFileSync('README.md', 'utf8').split('\n');
  return lines.flatMap((line, i) =>
    (line.startsWith('$ curl') ? [[line.slice(2), lines[i + 1]]] : []));
}

/* What changes from run to run is replaced by its type; the rest must be equal. */
function shape(value, key = '') {
  if (Array.isArray(value)) return value.map((element) => shape(element));
  if (value && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, shape(v, k)]));
  }
  const varies = ['token', 'user_id', 'udp_token', 'uptime_ms', 'udp_port'];
  return varies.includes(key) || key.endsWith('_at') ? typeof value : value;
}

test('readme: the transcript is what happens', async (t) => {
  const server = await start(t);
  const folder = mkdtempSync(join(tmpdir(), 'mpserver-readme-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const pairs = transcript();
  assert.ok(pairs.length >= 8, `${pairs.length} commands`);
  for (const [command, wanted] of pairs) {
    const line = command.replaceAll('localhost:8080', `127.0.0.1:${server.port}`);
    const { stdout } = await run('bash', ['-c', line], { cwd: folder });
    assert.deepEqual(shape(JSON.parse(stdout)), shape(JSON.parse(wanted)), command);
  }
});

/* The block of `language` that `word` stands in. */
function block(language, word) {
  const blocks = readFileSync('README.md', 'utf8').matchAll(/```(\w+)\n(.*?)```/gs);
  const found = [...blocks].filter(([, is, text]) => is === language && text.includes(word));
  assert.equal(found.length, 1, `${language} with ${word}`);
  return found[0][2];
}

test('readme: two players meet in a room as the script says', async (t) => {
  const server = await start(t);
  const wanted = block('console', 'Bob hears').trim().split('\n');
  const script = block('js', 'quick_join').replace('localhost:8080', `127.0.0.1:${server.port}`);
  const said = [];
  const sockets = [];
  let done;
  const all = new Promise((resolve) => { done = resolve; });
  class Socket extends WebSocket {
    constructor(...args) {
      super(...args);
      sockets.push(this);
    }
  }
  const output = { log: (line) => said.push(line) >= wanted.length && done() };
  new Function('WebSocket', 'console', script)(Socket, output);
  await within(all, 'what the script prints');
  for (const socket of sockets) socket.close();
  assert.deepEqual(said, wanted);
});
