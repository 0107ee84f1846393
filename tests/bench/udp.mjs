// Positions by UDP beside relays that move the same updates with no protocol at all, and ENet:
// server CPU and throughput, in alternation, because a shared machine drifts.
// Environment: SERVERS (ours,enet), ROTATIONS (5), SECONDS a run (3).
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { metrics, post, temporaryFile } from '../wire/server.mjs';
import {
  LOAD_CORE, ROTATIONS, SECONDS, median, startMpserver, startPinned,
} from './measure.mjs';

const CLIENTS = 400;
const GROUP = 4;
const RATE = 20;
const SERVERS = (process.env.SERVERS ?? 'ours,enet').split(',');
const execute = promisify(execFile);
const ending = [];
const t = { after: (done) => ending.unshift(done) };

const CONFIG = {
  preset: 'large', log_level: 'off', connections_per_s: 1000000, requests_per_s: 1000000,
  connections_per_address: 1000000,
  datagrams_per_s: 1000000, player_datagrams_per_s: 1000000, player_speed_max: 0,
  drain_grace_ms: 10,
};

/* A server with everybody seated; the load reads who sits where. */
async function startOurs(tick_hz) {
  const { server, pid, stop } = await startMpserver({ config: { ...CONFIG, tick_hz } });
  const seats = [];
  for (let i = 0; i < CLIENTS; i++) {
    const code = `G${Math.floor(i / GROUP)}`;
    if (i % GROUP === 0) await post(server, '/lobbies', { code, max_players: GROUP });
    const { json } = await post(server, `/lobbies/${code}/join`, { player_name: `c${i}` });
    seats.push(`${code} ${json.player_id} ${json.udp_token}`);
  }
  return { pid, port: server.udp, stop, server, seats: temporaryFile(t, 'seats',
    `${seats.join('\n')}\n`) };
}

const kinds = {
  relay: { title: 'plain relay', mode: 'raw', start: () => startPinned('build/udp-bare', 'relay') },
  coalesce: { title: 'coalescing relay', mode: 'raw',
    start: () => startPinned('build/udp-bare', 'coalesce') },
  enet: { title: 'ENet', mode: 'enet', start: () => startPinned('build/udp-enet') },
  ours: { title: 'mpserver', mode: 'binary', start: startOurs },
};

async function measure(name, workload) {
  const kind = kinds[name];
  const server = await kind.start(workload.tick_hz);
  const options = { ...workload.load, clients: CLIENTS, port: server.port, pid: server.pid,
    ms: Math.round(SECONDS * 1000) };
  if (server.seats) options.seats = server.seats;
  const words = Object.entries(options).map(([key, value]) => `${key}=${value}`);
  try {
    const { stdout } = await execute('taskset',
      ['-c', LOAD_CORE, 'build/udp-load', kind.mode, ...words], { timeout: options.ms + 60000 });
    const result = JSON.parse(stdout);
    if (server.server) {
      const all = await metrics(server.server);
      result.dropped = [...all.samples].filter(([key]) => key.startsWith('mpserver_drops_total'))
        .reduce((sum, [, value]) => sum + value, 0);
    }
    return figures(result);
  } finally {
    await server.stop();
  }
}

/* What is known counts: delivered itself, or a newer one in its place. */
function figures(r) {
  const known = r.deliveries + r.superseded;
  return {
    us: r.server_cpu_ns / 1000 / r.deliveries, usKnown: r.server_cpu_ns / 1000 / known,
    core: 100 * r.server_cpu_ns / r.ns, rate: r.deliveries / r.ns * 1e9,
    known: known / r.ns * 1e9, p50: r.p50_us / 1000, p99: r.p99_us / 1000,
    load: 100 * r.load_cpu_ns / r.ns, superseded: r.superseded, lost: r.lost + (r.dropped ?? 0),
  };
}

const workloads = [
  { title: `${CLIENTS} clients in groups of ${GROUP}, ${RATE} updates/s each, tick 20 Hz`,
    load: { rate: RATE }, tick_hz: 20, against: ['relay', 'enet'] },
  { title: 'the same with a tick of 60 Hz, so that no update is superseded',
    load: { rate: RATE }, tick_hz: 60, against: ['relay', 'enet'], whole: true },
  { title: `${CLIENTS} clients in groups of ${GROUP}, 4 outstanding each, tick 1,000 Hz`,
    load: { outstanding: 4 }, tick_hz: 1000, against: ['relay', 'coalesce', 'enet'] },
];

const COLUMNS = [['us CPU', 'us', 3], ['% core', 'core', 1], ['per s', 'rate', 0],
  ['known/s', 'known', 0], ['p50 ms', 'p50', 2], ['p99 ms', 'p99', 2], ['load %', 'load', 0],
  ['superseded', 'superseded', 0], ['lost', 'lost', 0]];

async function measureAll(workload) {
  const names = [...workload.against, 'ours'].filter((name) =>
    !['ours', 'enet'].includes(name) || SERVERS.includes(name));
  const rows = Object.fromEntries(names.map((name) => [name, []]));
  for (let rotation = 0; rotation < ROTATIONS; rotation++) {
    for (const name of rotation % 2 ? [...names].reverse() : names) {
      rows[name].push(await measure(name, workload));
    }
  }
  return rows;
}

/* The median of what each rotation says: both had the machine at about the same time. */
const paired = (mine, other, key) => median(mine.map((row, i) => row[key] / other[i][key]));
let met = 0;
let judged = 0;

function bar(what, value, limit, most) {
  const good = most ? value <= limit : value >= limit;
  judged++;
  met += good;
  console.log(`  bar ${what}: ${value.toFixed(3)}, ${most ? 'at most' : 'at least'} ${limit}: ` +
    `${good ? 'met' : `missed by ${Math.abs(100 * (value / limit - 1)).toFixed(1)} %`}`);
}

/* The bars are for the default rate of ticks. */
function ratio(workload, what, value, limit) {
  if (workload.whole) console.log(`  ${what}: ${value.toFixed(3)}`);
  else bar(what, value, limit, true);
}

function print(workload, rows) {
  console.log(`\n${workload.title}`);
  console.log(`  ${'server'.padEnd(18)}${COLUMNS.map(([head]) => head.padStart(11)).join('')}`);
  for (const [name, mine] of Object.entries(rows)) {
    const cells = COLUMNS.map(([, key, digits]) =>
      median(mine.map((row) => row[key])).toFixed(digits).padStart(11));
    console.log(`  ${kinds[name].title.padEnd(18)}${cells.join('')}`);
  }
  if (!rows.ours) return;
  if (workload.load.rate) {
    ratio(workload, 'CPU per delivered update / plain relay', paired(rows.ours, rows.relay, 'us'),
      1.05);
    if (rows.enet) {
      ratio(workload, 'CPU per delivered update / ENet', paired(rows.ours, rows.enet, 'us'), 0.65);
    }
    bar('lost', Math.max(...rows.ours.map((row) => row.lost)), 0, true);
    if (workload.whole) {
      bar('superseded', Math.max(...rows.ours.map((row) => row.superseded)), 0, true);
    }
  } else {
    bar('known updates/s / coalescing relay', paired(rows.ours, rows.coalesce, 'known'), 0.8,
      false);
  }
}

try {
  console.log(`UDP: ${ROTATIONS} rotations of ${SECONDS} s`);
  for (const workload of workloads) print(workload, await measureAll(workload));
  console.log(`\n${met} of ${judged} bars met`);
} finally {
  for (const done of ending) await done();
}
