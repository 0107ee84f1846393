// A hundred join a game at once: what its frames take of its thread's CPU time, by build/embed.
// Alternates with a game without a budget, which shows what the budget is for.
// ROTATIONS=5 PLAYERS=100 BUDGET_US=700
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { LOAD_CORE, ROTATIONS, SERVER_CORE } from './measure.mjs';
import { sleep } from '../wire/server.mjs';
import { burst, host, totals, view } from '../embed/embed.mjs';

const PLAYERS = Number(process.env.PLAYERS ?? 100);
const BUDGET_US = Number(process.env.BUDGET_US ?? 700);
const BAR_US = 1000;
const PLAY_MS = 2000;

const pinned = (pid, core) =>
  promisify(execFile)('taskset', ['-a', '-cp', core, String(pid)]);

/* Pages that the process touched first, or again after they were taken from it. */
function faults(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return Number(fields[7]) + Number(fields[9]);
}

async function run(budget) {
  const own = [];
  const t = { after: (done) => own.unshift(done) };
  try {
    const server = await host(t, ['--budget-us', String(budget)]);
    await pinned(server.pid, SERVER_CORE);
    const before = faults(server.pid);
    const begin = performance.now();
    const guests = await burst(t, server, PLAYERS);
    const ms = performance.now() - begin;
    await Promise.all(guests.map((guest) => guest.meets(PLAYERS + 1)));
    for (const end = Date.now() + PLAY_MS; Date.now() < end; await sleep(50)) {
      await Promise.all(guests.map((guest, i) => guest.move(i % 40)));
    }
    await Promise.all(guests.map((guest) => guest.sees(PLAYERS)));
    const paged = faults(server.pid) - before;
    const { others, peers } = view(server);
    if (others !== PLAYERS || peers !== PLAYERS) throw new Error(`seen: ${others}, ${peers}`);
    for (const guest of guests) guest.leave();
    await server.stop();
    return { ...totals(server), ms, paged };
  } finally {
    for (const done of own) await done();
  }
}

function row(name, { frames, frame, server, ms, paged, work, skipped }) {
  const us = (times) => `${times.p50} / ${times.p99} / ${times.worst}`;
  console.log(`${name.padEnd(14)} frame ${us(frame).padEnd(20)} server ${us(server).padEnd(20)}`
    + ` in ${ms.toFixed(0)} ms, ${frames} frames, ${skipped} skipped, work <= ${work},`
    + ` ${paged} page faults`);
}

await pinned(process.pid, LOAD_CORE);
console.log(`embed: ${PLAYERS} join at once, CPU us of a frame, p50 / p99 / worst`);
const worst = [];
for (let i = 0; i < ROTATIONS; i++) {
  const limited = await run(BUDGET_US);
  row(`${BUDGET_US} us`, limited);
  worst.push(limited.frame.worst);
  row('no budget', await run(0));
}
const most = Math.max(...worst);
console.log(`worst frame us: ${most}, bar ${BAR_US}: ${most <= BAR_US ? 'met' : 'MISSED'}`);
