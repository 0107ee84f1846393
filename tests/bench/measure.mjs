// What the benchmarks share: child processes pinned to one core, and what is made of many runs.
import { execFile, spawn } from 'node:child_process';
import { promisify } from 'node:util';
import { seconds, start, temporaryFile, token, within } from '../wire/server.mjs';

export const ROTATIONS = Number(process.env.ROTATIONS ?? 5);
export const SECONDS = Number(process.env.SECONDS ?? 3);
export const MS = Math.round(SECONDS * 1000);
export const BYTES = 128; // of a client's JSON
export const SERVER_CORE = '0';
export const LOAD_CORE = '1';

/* No limit is to bite, and nothing to be written. */
export const CONFIG = {
  preset: 'large', log_level: 'off', room_players_max: 1024, connections_per_s: 1000000,
  requests_per_s: 1000000, messages_per_s: 1000000, states_per_s: 1000000, chats_per_s: 1000000,
  connections_per_address: 1000000, drain_grace_ms: 10,
};

/* A line of rooms of four, as many as a game has: see W2 in rooms.mjs. */
export const FOUR = { clients: 400, group: 4 };
export const WAIT_MAX = 3; // percent of the time that the server or the load waited for its core

export const median = (list) => list.slice().sort((a, b) => a - b)[list.length >> 1];

/* One run of build/load on its core; `options` are its keys. */
export async function runLoad(mode, options) {
  const words = Object.entries(options).map(([key, value]) => `${key}=${value}`);
  const { stdout } = await promisify(execFile)('taskset',
    ['-c', LOAD_CORE, 'build/load', mode, ...words], { timeout: (options.ms ?? 0) + 90000 });
  return JSON.parse(stdout);
}

/* A file of tokens for build/load, which is gone after `t`. */
export function loadTokens(t, count) {
  const tokens = Array.from({ length: count }, (_, i) =>
    token({ sub: `bench${i}`, username: `c${i}`, exp: seconds() + 3600 }));
  return temporaryFile(t, 'tokens', `${tokens.join('\n')}\n`);
}

/* Starts a server that prints its port, with as many files as it may have. */
export async function startPinned(program, ...args) {
  const script = 'ulimit -n "$(ulimit -H -n)"; exec taskset -c "$0" "$@"';
  const child = spawn('bash', ['-c', script, SERVER_CORE, program, ...args],
    { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = new Promise((resolve) => { child.once('exit', resolve); });
  const port = await within(new Promise((resolve, reject) => {
    child.stdout.once('data', (bytes) => resolve(Number(bytes)));
    exited.then((code) => reject(new Error(`${program} ended with ${code}`)));
  }), `the port of ${program}`);
  const stop = async () => {
    child.kill('SIGTERM');
    await within(exited, `end of ${program}`);
  };
  return { pid: child.pid, port, stop };
}

/* Starts an mpserver on the server's core, with a life of its own: `stop` ends it. */
export async function startMpserver(options) {
  const own = [];
  const server = await start({ after: (done) => own.unshift(done) }, options);
  await promisify(execFile)('taskset', ['-a', '-cp', SERVER_CORE, String(server.pid)]);
  const stop = async () => {
    for (const done of own) await done();
  };
  return { server, pid: server.pid, stop };
}
