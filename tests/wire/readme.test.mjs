// The README's transcript, run as it stands: every `$ curl` line, its answer compared by shape.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { start, test } from './server.mjs';

const run = promisify(execFile);

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
