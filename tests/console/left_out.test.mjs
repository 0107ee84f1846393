// What is left out for consoles is there to be left out, by its exact title, and for a reason.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import leftOut from './left_out.mjs';
import leftOutKestrel from './left_out_kestrel.mjs';

test('console: every test that is left out exists', () => {
  const tests = readdirSync('tests/wire').map((name) => readFileSync(`tests/wire/${name}`, 'utf8'));
  for (const [title, reason] of Object.entries({ ...leftOut, ...leftOutKestrel })) {
    assert.equal(tests.filter((text) => text.includes(`test('${title}'`)).length, 1, title);
    assert.ok(reason.length > 10, title);
  }
});
