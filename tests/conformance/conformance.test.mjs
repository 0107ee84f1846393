// The rows of rfc9112.h and rfc6455.h, put to the sockets of a server: what the parsers say there,
// the server has to answer here, byte for byte the same requests and streams.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { Conn, refused, shared, test } from '../wire/server.mjs';
import { CLOSE, Raw, readClosing } from '../wire/socket.mjs';

const NO_CODE = 1005; // RFC 6455, 7.1.5: as if, for a close frame without one
const server = shared();
const told = spawnSync('build/unit', ['--rows'], { encoding: 'utf8', maxBuffer: 1 << 26 });
const rows = told.stdout.trim().split('\n').map((line) => {
  const row = JSON.parse(line);
  return { ...row, bytes: Buffer.from(row.bytes, 'hex') };
});
const heads = rows.filter((row) => row.table === 'http');
const faults = new Set(heads.filter((row) => row.status).map((row) => row.code));
const title = (row, i) => `${row.where}: ${row.what} (${row.table} ${i})`;

heads.filter((row) => row.status).forEach((row, i) => test(title(row, i), async () => {
  const conn = await Conn.open(await server());
  try {
    const answer = refused(await conn.ask(row.bytes), row.status, row.code);
    assert.equal(answer.headers.connection, 'close');
    await conn.end();
  } finally {
    conn.close();
  }
}));

/* What the path or the method comes to is not the parser's matter, only that nothing refuses it.
   With a body to come there would be no answer yet. */
const whole = (row) => !row.status &&
  /^(\r\n)?(GET|OPTIONS) (?![^]*Content-Length)/.test(row.bytes.toString('latin1'));
heads.filter(whole).forEach((row, i) => test(`${title(row, i)}, taken`, async () => {
  const conn = await Conn.open(await server());
  try {
    const answer = await conn.ask(row.bytes);
    assert.ok(answer, 'no answer');
    assert.ok(!faults.has(answer.error), answer.text);
  } finally {
    conn.close();
  }
}));

rows.filter((row) => row.table === 'ws').forEach((row, i) => test(title(row, i), async () => {
  const raw = await Raw.open(await server());
  try {
    raw.conn.write(row.bytes);
    let said = await raw.frame();
    while (said && said.opcode !== CLOSE) said = await raw.frame();
    assert.ok(said, 'no close frame');
    const { code = NO_CODE, reason = '' } = readClosing(said.payload);
    assert.deepEqual({ code, reason }, { code: row.close, reason: row.code });
    assert.equal(await raw.frame(), null);
  } finally {
    raw.drop();
  }
}));

test('conformance: the unit tests told rows of both tables', () => {
  assert.equal(told.status, 0);
  assert.ok(heads.length > 0 && heads.length < rows.length, `${heads.length} of ${rows.length}`);
});
