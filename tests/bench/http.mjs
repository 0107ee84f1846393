// HTTP GET of 284 bytes of JSON beside a bare baseline that sends as many bytes with no protocol at
// all: server CPU per request, in alternation, because a shared machine drifts.
// Environment: ROTATIONS (5), SECONDS a run (3).
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { promisify } from 'node:util';
import { Conn, get, post, requestText, start } from '../wire/server.mjs';
import {
  LOAD_CORE, ROTATIONS, SECONDS, SERVER_CORE, median, startPinned,
} from './measure.mjs';

const BODY_BYTES = 284;
const run = promisify(execFile);
const ending = [];
const t = { after: (done) => ending.unshift(done) };

/* Nanoseconds of CPU that a process's threads have had. */
function cpu(pid) {
  return readdirSync(`/proc/${pid}/task`).reduce((sum, task) => sum +
    Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]), 0);
}

/* Makes a lobby whose LobbyInfo is exactly BODY_BYTES long: scene and player name fill it, once a
   first lobby has told how much is missing. */
async function prepare(server) {
  const make = async (code, scene, player_name) => {
    await post(server, '/lobbies', { code, scene, max_players: 4 });
    await post(server, `/lobbies/${code}/join`, { player_name });
    return `/lobbies/${code}`;
  };
  const first = await get(server, await make('BENC1', 'w', 'a'));
  const missing = BODY_BYTES - first.body.length;
  const inScene = Math.min(63, missing);
  const emoji = (missing - inScene) >> 2; // four bytes each; a name has up to 32 code points
  const name = `${'\u{1f600}'.repeat(emoji)}${'a'.repeat(missing - inScene - 4 * emoji + 1)}`;
  return make('BENC2', 'w'.repeat(1 + inScene), name);
}

async function prepared() {
  const config = {
    requests_per_s: 1000000, connections_per_s: 1000000, log_level: 'off',
    player_timeout_ms: 3600000, lobby_timeout_ms: 3600000, idle_timeout_ms: 3600000,
  };
  const server = await start(t, { dev: true, config });
  const path = await prepare(server);
  const conn = await Conn.open(server);
  await conn.write(requestText('GET', path));
  await conn.read();
  await conn.write(requestText('GET', path));
  while (!conn.bytes.includes('\r\n\r\n')) await conn.more();
  const head = conn.bytes.indexOf('\r\n\r\n') + 4;
  const answer = await conn.read();
  assert.equal(answer.body.length, BODY_BYTES, answer.text);
  conn.close();
  await run('taskset', ['-a', '-cp', SERVER_CORE, String(server.pid)]);
  return { pid: server.pid, port: server.port, path, wire: head + BODY_BYTES };
}

async function bare(wire) {
  const child = await startPinned('build/bare-http', String(wire));
  t.after(child.stop);
  return child;
}

/* One run of wrk: microseconds of the server's CPU per request, and requests a second. */
async function measure({ pid, port }, path, pipelined) {
  const script = pipelined ? ['-s', 'tests/bench/pipeline.lua'] : [];
  const before = cpu(pid);
  const { stdout } = await run('taskset', ['-c', LOAD_CORE, 'wrk', '-t1', '-c64', `-d${SECONDS}s`,
    ...script, `http://127.0.0.1:${port}${path}`]);
  const used = cpu(pid) - before;
  assert.doesNotMatch(stdout, /Non-2xx|Socket errors: .*(read|write|timeout) [1-9]/, stdout);
  const count = Number(stdout.match(/(\d+) requests in/)[1]);
  return { us: used / 1000 / count, rate: count / SECONDS };
}

try {
  const ours = await prepared();
  const base = await bare(ours.wire);
  console.log(`GET ${ours.path}: ${BODY_BYTES} bytes of JSON, ${ours.wire} on the wire; ` +
    `64 connections; ${ROTATIONS} rotations of ${SECONDS} s`);
  console.log('mode          bare us   ours us   ours - bare   ours / bare   bare /s   ours /s');
  const result = {};
  for (const [mode, pipelined] of [['keep-alive', false], ['16 pipelined', true]]) {
    const rows = { bare: [], ours: [] };
    for (let i = 0; i < ROTATIONS; i++) {
      rows.bare.push(await measure(base, ours.path, pipelined));
      rows.ours.push(await measure(ours, ours.path, pipelined));
    }
    const [b, o] = [rows.bare, rows.ours].map((list) => median(list.map((row) => row.us)));
    const rates = [rows.bare, rows.ours].map((list) => Math.round(median(list.map((r) => r.rate))));
    const difference = median(rows.ours.map((row, i) => row.us - rows.bare[i].us));
    const ratio = median(rows.ours.map((row, i) => row.us / rows.bare[i].us));
    result[mode] = o;
    console.log([mode.padEnd(12), b.toFixed(2).padStart(8), o.toFixed(2).padStart(9),
      difference.toFixed(2).padStart(13), ratio.toFixed(3).padStart(13),
      String(rates[0]).padStart(9), String(rates[1]).padStart(9)].join(' '));
  }
  const share = result['16 pipelined'] / result['keep-alive'];
  console.log(`pipelined / keep-alive: ${share.toFixed(3)}`);
} finally {
  for (const done of ending) await done();
}
