// The README's transcripts, run as they stand: every `$ curl` line, its answer compared by shape.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/* Pairs of a command that asks `address` and the answer printed below it. */
function transcript(address) {
  const lines = readFileSync('README.md', 'utf8').split('\n');
  return lines.flatMap((line, i) =>
    (line.startsWith('$ curl') && line.includes(address) ? [[line.slice(2), lines[i + 1]]] : []));
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

/* Follows the transcript that asks `address`, at `here` instead; gives its commands' number. */
export async function follow(t, address, here) {
  const folder = mkdtempSync(join(tmpdir(), 'mpserver-readme-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const pairs = transcript(address);
  for (const [command, wanted] of pairs) {
    const { stdout } = await run('bash', ['-c', command.replaceAll(address, here)],
      { cwd: folder });
    assert.deepEqual(shape(JSON.parse(stdout)), shape(JSON.parse(wanted)), command);
  }
  return pairs.length;
}
