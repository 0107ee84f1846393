// Rooms over WebSocket beside bare baselines, which move as many bytes with no protocol at all, and
// two peers: server CPU, throughput and delay, in alternation, because a shared machine drifts.
// Runs that others disturbed are left out where there are better ones.
// Environment: WORKLOADS (all; W1,W3 picks), SERVERS (ours,ws,lws), ROTATIONS (5), SECONDS a run
// (3), PEER_ROTATIONS (2).
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { BINARY, run, temporaryFile } from '../wire/server.mjs';
import {
  BYTES, CONFIG as LARGE, FOUR, MS, ROTATIONS, SECONDS, WAIT_MAX, loadTokens, median, runLoad,
  startMpserver, startPinned,
} from './measure.mjs';

const PEER_ROTATIONS = Math.min(ROTATIONS, Number(process.env.PEER_ROTATIONS ?? 2));
const WORKLOADS = process.env.WORKLOADS?.split(',');
const SERVERS = (process.env.SERVERS ?? 'ours,ws,lws').split(',');
const LARGE_ROOM = 1001;
const IDLE = 10000;
const IDLE_BYTES_MAX = 1024;
const execute = promisify(execFile);
const ending = [];
const t = { after: (done) => ending.unshift(done) };

const CONFIG = { ...LARGE, connections: IDLE + 100 };

/* Every server of a run is a fresh one: where its memory happens to lie is then part of what the
   median evens out. */
const servers = {
  bare: { title: (w) => `bare-${w.baseline}`, mode: 'raw' },
  ours: { title: () => 'mpserver', mode: 'ws' },
  ws: { title: () => 'ws (Node)', mode: 'ws' },
  lws: { title: () => 'libwebsockets', mode: 'ws' },
};

async function startServer(name, workload, sizes) {
  if (name === 'bare') return startPinned('build/bare', workload.baseline, ...sizes);
  if (name === 'ws') return startPinned(process.execPath, 'tests/bench/peer-ws.mjs');
  if (name === 'lws') return startPinned('build/peer-lws');
  const { server, pid, stop } = await startMpserver({ config: CONFIG,
    ulimit: `-n ${IDLE + 1000}` });
  return { pid, port: server.port, stop };
}

/* One run of the load against a server of its own. */
async function measure(name, workload, { sizes, tokens }) {
  const server = await startServer(name, workload, sizes);
  const options = { ...workload.load, port: server.port, pid: server.pid, bytes: BYTES, ms: MS };
  if (name === 'ours' && workload.baseline) options.tokens = tokens;
  try {
    return await runLoad(servers[name].mode, options);
  } catch (error) {
    if (name === 'bare' || name === 'ours') throw error;
    return { failed: (error.stderr || error.message).trim().split('\n').at(-1) };
  } finally {
    await server.stop();
  }
}

const figures = (r) => ({
  us: r.server_cpu_ns / 1000 / r.deliveries, core: 100 * r.server_cpu_ns / r.ns,
  rate: r.deliveries / r.ns * 1e9, p50: r.p50_us, p99: r.p99_us, load: 100 * r.load_cpu_ns / r.ns,
  wait: 100 * Math.max(r.server_wait_ns, r.load_wait_ns) / r.ns, saturated: r.saturated,
});

/* All runs of a workload: {server: [figures of each rotation]}; odd rotations go backwards. */
async function measureAll(workload, context) {
  const rows = {};
  const failed = {};
  for (let rotation = 0; rotation < ROTATIONS; rotation++) {
    const turn = ['bare', ...SERVERS].filter((name) => !failed[name] &&
      (name === 'bare' || name === 'ours' || rotation < PEER_ROTATIONS));
    if (rotation % 2) turn.reverse();
    for (const name of turn) {
      const result = await measure(name, workload, context);
      if (result.failed) failed[name] = result.failed;
      else (rows[name] ??= []).push(figures(result));
    }
  }
  return { rows, failed };
}

/* Runs during which others had the cores count only where there are no better ones. */
function undisturbed(list, wait) {
  const quiet = list.filter((entry) => wait(entry) <= WAIT_MAX);
  return quiet.length ? quiet : list;
}

const of = (rows, key) => median(undisturbed(rows, (row) => row.wait).map((row) => row[key]));

/* The median of what each rotation says, for both had the machine at about the same time; whether
   others had it too, in every rotation; whether one of the two could not keep up, in every one:
   what is late goes out in one piece, and costs less. */
function paired(mine, bare, combine) {
  const saturated = ([a, b]) => a.saturated || b.saturated;
  const wait = (pair) => (saturated(pair) ? 100 : Math.max(pair[0].wait, pair[1].wait));
  const pairs = undisturbed(mine.map((row, i) => [row, bare[i]]), wait);
  return {
    value: median(pairs.map(([a, b]) => combine(a, b))),
    disturbed: wait(pairs[0]) > WAIT_MAX,
    saturated: pairs.every(saturated),
  };
}

/* A bar: what is compared, what came out, the limit, and whether more or less is wanted. What
   others disturbed is not judged, except by CPU time. */
const atMost = (what, value, limit, more) => ({ what, value, limit, most: true, ...more });
const atLeast = (what, value, limit, more) => ({ what, value, limit, most: false, ...more });

function cpuBar(limit, baseline) {
  return ({ rows: { ours, bare } }) => {
    const { value, saturated } = paired(ours, bare, (o, b) => o.us / b.us);
    return atMost(`CPU per operation / bare-${baseline}`, value, limit, { disturbed: saturated });
  };
}

function delayBar(limit) {
  return ({ rows: { ours, bare } }) => {
    const { value, disturbed } = paired(ours, bare, (o, b) => o.p50 - b.p50);
    return atMost('p50 - bare', value, limit, { unit: ' us', disturbed });
  };
}

function rateBar(limit) {
  return ({ rows: { ours, bare } }) => {
    const { value, disturbed } = paired(ours, bare, (o, b) => o.rate / b.rate);
    return atLeast('deliveries/s / bare-batch', value, limit, { disturbed });
  };
}

function peersBar({ rows }) {
  const peers = Object.keys(rows).filter((name) => name !== 'bare' && name !== 'ours');
  return peers.length && atMost('CPU per delivery / best peer',
    of(rows.ours, 'us') / Math.min(...peers.map((name) => of(rows[name], 'us'))), 1);
}

function cliffBar({ rows }, before) {
  const eight = before.W3b?.rows.ours;
  return eight && atMost('CPU per delivery / with 8 outstanding',
    of(rows.ours, 'us') / of(eight, 'us'), 1);
}

const workloads = [
  { id: 'W1', title: 'echo of rpc_call to oneself, 100 connections, 1 outstanding each',
    baseline: 'echo', load: { clients: 100, outstanding: 1 }, bars: [cpuBar(1.05, 'echo')] },
  { id: 'W2', title: '400 clients in 100 rooms, 20 messages/s each', baseline: 'imm',
    load: { ...FOUR, rate: 20 }, bars: [cpuBar(1.05, 'imm'), delayBar(3)] },
  { id: 'W3a', title: '400 clients in 100 rooms, 1 outstanding each', baseline: 'batch',
    load: { ...FOUR, outstanding: 1 }, bars: [rateBar(0.95)] },
  { id: 'W3b', title: '400 clients in 100 rooms, 8 outstanding each', baseline: 'batch',
    load: { ...FOUR, outstanding: 8 }, bars: [rateBar(0.85), peersBar] },
  { id: 'W3c', title: '400 clients in 100 rooms, 32 outstanding each', baseline: 'batch',
    load: { ...FOUR, outstanding: 32 }, bars: [rateBar(0.5), cliffBar] },
  { id: 'W4', title: `one room of ${LARGE_ROOM}, one sender, 100 messages/s`, baseline: 'imm',
    load: { clients: LARGE_ROOM, group: LARGE_ROOM, senders: 1, rate: 100 },
    bars: [cpuBar(1.03, 'imm')] },
];

/* Prints whether a bar is met and tells it; undefined where nobody can say. */
function printBar({ what, value, limit, unit = '', most, disturbed }) {
  const met = most ? value <= limit : value >= limit;
  const by = unit ? `${Math.abs(value - limit).toFixed(2)}${unit}`
    : `${Math.abs(100 * (value / limit - 1)).toFixed(1)} %`;
  const verdict = disturbed ? 'not judged, others had the cores too'
    : met ? 'met' : `missed by ${by}`;
  console.log(`  bar ${what}: ${value.toFixed(unit ? 2 : 3)}${unit}, ` +
    `${most ? 'at most' : 'at least'} ${limit}${unit}: ${verdict}`);
  return disturbed ? undefined : met;
}

const COLUMNS = [['us CPU', 'us', 3], ['% core', 'core', 1], ['per s', 'rate', 0],
  ['p50 us', 'p50', 1], ['p99 us', 'p99', 1], ['load %', 'load', 0],
  ['wait %', 'wait', 0]];

function printTable(workload, { rows, failed }) {
  console.log(`\n${workload.id}  ${workload.title}`);
  console.log(`  ${'server'.padEnd(14)}${COLUMNS.map(([title]) => title.padStart(10)).join('')}` +
    '   CPU / bare  rate / bare');
  for (const name of ['bare', ...SERVERS]) {
    const title = `  ${servers[name].title(workload).padEnd(14)}`;
    if (failed[name]) {
      console.log(`${title}    failed: ${failed[name]}`);
      continue;
    }
    const mine = rows[name];
    const cells = COLUMNS.map(([, key, digits]) => of(mine, key).toFixed(digits).padStart(10));
    const ratios = ['us', 'rate'].map((key) =>
      paired(mine, rows.bare, (a, b) => a[key] / b[key]).value.toFixed(3).padStart(13));
    const quiet = undisturbed(mine, (row) => row.wait);
    const behind = quiet.filter((row) => row.saturated).length;
    console.log(title + cells.join('') + ratios.join('') +
      (behind ? `  saturated in ${behind} of ${quiet.length}` : ''));
  }
}

/* All bytes that the server takes at start with these settings. */
function blockBytes(config) {
  const path = temporaryFile(t, 'config.json', JSON.stringify({ ...CONFIG, ...config }));
  const { stdout, stderr } = run(['--dev', '--config', path, '--print-memory']);
  assert.match(stdout, /^total\s+\d+$/m, stderr);
  return Number(stdout.match(/^total\s+(\d+)$/m)[1]);
}

async function idle() {
  console.log(`\nW5  ${IDLE} idle connections`);
  const bars = [];
  const grown = [];
  if (SERVERS.includes('ours')) {
    const base = { connections: IDLE, users: IDLE, seats: IDLE };
    const more = { connections: 2 * IDLE, users: 2 * IDLE, seats: 2 * IDLE };
    const block = (config) => (blockBytes(config) - blockBytes(base)) / IDLE;
    const alone = block({ ...base, connections: more.connections });
    console.log(`  mpserver       ${alone.toFixed(0)} bytes of its block for each, fixed at ` +
      `start; ${block(more).toFixed(0)} with a user and a seat`);
    bars.push(atMost('bytes of the block for each', alone, IDLE_BYTES_MAX, { unit: ' B' }));
  }
  for (const name of SERVERS) {
    const result = await measure(name, { load: { clients: IDLE } }, {});
    const each = (result.resident_after - result.resident_before) / IDLE;
    console.log(`  ${servers[name].title().padEnd(14)} ${result.failed ? `failed: ${result.failed}`
      : `${each.toFixed(0)} bytes of resident memory for each`}`);
    if (name === 'ours') grown.push(each);
  }
  for (const each of grown) {
    bars.push(atMost('resident bytes for each', each, IDLE_BYTES_MAX, { unit: ' B' }));
  }
  return bars;
}

async function prepare() {
  const { stdout } = await execute('build/load', ['sizes', `bytes=${BYTES}`]);
  return { sizes: stdout.trim().split(' '), tokens: loadTokens(t, LARGE_ROOM) };
}

const wanted = (id) => !WORKLOADS || WORKLOADS.some((name) => id.startsWith(name));

try {
  const context = await prepare();
  const results = {};
  const bars = [];
  console.log(`${BINARY}: messages of ${BYTES} bytes of JSON, ${context.sizes.join(' and ')} on ` +
    `the wire in and out; ${ROTATIONS} rotations of ${SECONDS} s, ${PEER_ROTATIONS} for peers`);
  for (const workload of workloads.filter(({ id }) => wanted(id))) {
    const result = await measureAll(workload, context);
    results[workload.id] = result;
    printTable(workload, result);
    if (!result.rows.ours) continue;
    const own = workload.bars.map((bar) => bar(result, results)).filter(Boolean);
    bars.push(...own.map(printBar));
  }
  if (wanted('W5')) bars.push(...(await idle()).map(printBar));
  const judged = bars.filter((met) => met !== undefined);
  console.log(`\n${judged.filter(Boolean).length} of ${judged.length} bars met` +
    (judged.length < bars.length ? `, ${bars.length - judged.length} not judged` : ''));
} finally {
  for (const done of ending) await done();
}
