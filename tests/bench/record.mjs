// What recording costs: server CPU for the load of W2 (see rooms.mjs) of a server with --record and
// of one without, both at once on one core: what else the machine does then slows both.
// Environment: ROTATIONS (5), SECONDS a run (3).
import { rmSync, statSync } from 'node:fs';
import {
  BYTES, CONFIG, FOUR, MS, ROTATIONS, SECONDS, loadTokens, median, runLoad, startMpserver,
} from './measure.mjs';

const LIMIT = 1.05;
const RATE = 20;
const JOURNAL = `build/record-${process.pid}`;
const ending = [];
const t = { after: (done) => ending.unshift(done) };

async function begin(args) {
  return startMpserver({ config: CONFIG, ulimit: '-n 1000', args });
}

async function measure({ server, pid }, tokens) {
  const r = await runLoad('ws', {
    ...FOUR, rate: RATE, port: server.port, pid, bytes: BYTES, ms: MS, tokens,
  });
  return { us: r.server_cpu_ns / 1000 / r.deliveries, deliveries: r.deliveries };
}

/* The one that begins has a little of its run for itself, so they take turns. */
async function measurePair(rotation, tokens) {
  const servers = [await begin([]), await begin(['--record', JOURNAL])];
  try {
    const order = rotation % 2 ? [1, 0] : [0, 1];
    const runs = [];
    await Promise.all(order.map(async (i) => { runs[i] = await measure(servers[i], tokens); }));
    return { plain: runs[0], recorded: runs[1] };
  } finally {
    await Promise.all(servers.map(({ stop }) => stop()));
  }
}

try {
  t.after(() => rmSync(JOURNAL, { force: true }));
  const tokens = loadTokens(t, FOUR.clients);
  const ratios = [];
  console.log(`\nRecording: ${FOUR.clients} clients in rooms of ${FOUR.group}, ` +
    `${RATE} messages/s each, ${ROTATIONS} rotations of ${SECONDS} s`);
  console.log('    us CPU   recorded      ratio');
  for (let rotation = 0; rotation < ROTATIONS; rotation++) {
    const { plain, recorded } = await measurePair(rotation, tokens);
    const bytes = statSync(JOURNAL).size / recorded.deliveries;
    rmSync(JOURNAL);
    ratios.push(recorded.us / plain.us);
    console.log([plain.us, recorded.us, ratios.at(-1)]
      .map((number) => number.toFixed(3).padStart(10)).join(' ') +
      `   ${bytes.toFixed(0)} bytes of journal a delivery`);
  }
  console.log(`  bar CPU recorded / not: ${median(ratios).toFixed(3)}, at most ${LIMIT}: ` +
    (median(ratios) <= LIMIT ? 'met' : 'missed'));
} finally {
  for (const done of ending) await done();
}
