// What the benchmarks share: child processes pinned to one core, and what is made of many runs.
import { execFile, spawn } from 'node:child_process';
import { promisify } from 'node:util';
import { start, within } from '../wire/server.mjs';

export const ROTATIONS = Number(process.env.ROTATIONS ?? 5);
export const SECONDS = Number(process.env.SECONDS ?? 3);
export const SERVER_CORE = '0';
export const LOAD_CORE = '1';

export const median = (list) => list.slice().sort((a, b) => a - b)[list.length >> 1];

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
