// Runs node:test files and ends with the line `N passed, N failed[, N skipped]`.
// Usage: node tests/node.mjs FILE...
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const dir = mkdtempSync(join(tmpdir(), 'mpserver-tests-'));
const tap = join(dir, 'tap');
const run = spawnSync(
  process.execPath,
  ['--test', '--test-reporter=spec', '--test-reporter-destination=stdout', '--test-reporter=tap',
    `--test-reporter-destination=${tap}`, ...process.argv.slice(2)],
  { stdio: 'inherit' },
);
const text = readFileSync(tap, 'utf8');
rmSync(dir, { recursive: true });
const count = (name) => Number(text.match(new RegExp(`^# ${name} (\\d+)`, 'm'))?.[1] ?? 0);
const failed = count('fail') + count('cancelled') + count('todo');
const skipped = count('skipped');
console.log(`${count('pass')} passed, ${failed || (run.status ? 1 : 0)} failed` +
  (skipped ? `, ${skipped} skipped` : ''));
process.exit(run.status === 0 && failed === 0 ? 0 : 1);
