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

// A file is reported as a test of its own when it holds none (a filter) or broke: not counted, but
// a run that ends badly without a failed test is one failure.
let passed = 0;
let failed = 0;
let skipped = 0;
const POINT = /^ *(not )?ok \d+ - (.*?)( # (?:SKIP|TODO).*)?$/gm;
for (const [, not, name, mark] of text.matchAll(POINT)) {
  if (name.endsWith('.test.mjs')) continue;
  if (mark) skipped++;
  else if (not) failed++;
  else passed++;
}
if (run.status !== 0 && failed === 0) failed = 1;
console.log(`${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ''}`);
process.exit(failed ? 1 : 0);
