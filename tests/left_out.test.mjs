// What the tables of ports leave out of the wire tests is there to be left out, by its exact title,
// and for a reason.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

const tables = ['lwip/left_out.mjs', 'wine/left_out.mjs'];
const files = readdirSync('tests/wire').map((name) => readFileSync(`tests/wire/${name}`, 'utf8'));

for (const table of tables) {
  const { default: leftOut } = await import(`./${table}`);
  test(`every test that ${table} leaves out exists`, () => {
    for (const [title, reason] of Object.entries(leftOut)) {
      assert.equal(files.filter((text) => text.includes(`test('${title}'`)).length, 1, title);
      assert.ok(reason.length > 10, title);
    }
  });
}
