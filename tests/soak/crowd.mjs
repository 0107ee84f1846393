// Ten thousand real connections that do what clients do at their worst: they come and go, stop
// reading, flood, send garbage; in the end the server drains in the middle of it. What the clients
// saw must add up with what the server counted, nothing may be kept, and the recording of it all
// replays to the same bytes.
// Environment: COUNT of connections (10000), TRAFFIC in seconds (25), SEED (1), JOURNAL, a file to
// leave the recording in.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import {
  BINARY, Conn, admin, parseMetrics, post, requestText, run, seconds, sleep, start, temporaryFile,
  token, until, within,
} from '../wire/server.mjs';
import { check, messages, soak } from './checks.mjs';

const COUNT = Number(process.env.COUNT || 10000);
const TRAFFIC_MS = Number(process.env.TRAFFIC || 25) * 1000;
const SEED = process.env.SEED || '1';
const COMMAND_MS = 180000;
const DRAIN_MS = 1500; // of traffic before it
const GRACE_MS = 1500;
const SEAT_MS = 2000;
const MORE_FILES = 400; // of the server
const PROGRAM_BYTES = 8 << 20; // code, libraries, stack
const LAP_SCRAPES = 2; // and one before; the last one does not count itself yet
const ROLES = { members: 13, sockets: 15 }; // of twenty, see crowd.c

/* Tables at the size of the crowd; what is left behind goes soon. */
const CONFIG = {
  preset: 'large', connections: COUNT + 1, large_inputs: 8, log_level: 'off',
  seat_timeout_ms: SEAT_MS, room_timeout_ms: 2000,
  player_timeout_ms: 4000, lobby_timeout_ms: 2000, drain_grace_ms: GRACE_MS,
};

const ending = [];
const t = { after: (done) => ending.push(done) };
const sum = (list) => Object.values(list).reduce((all, n) => all + n, 0);

/* The program with the clients: commands in, reports out. */
class Crowd {
  constructor(server) {
    const tokens = Array.from({ length: COUNT }, (_, i) =>
      token({ sub: `user-${i}`, username: `c${i}`, exp: seconds() + 3600 }));
    const file = temporaryFile(t, 'tokens', `${tokens.join('\n')}\n`);
    this.child = spawn('build/crowd', [server.port, server.udp, COUNT, SEED, file].map(String),
      { stdio: ['pipe', 'pipe', 'inherit'] });
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
    t.after(() => this.child.kill());
  }

  async do(command) {
    this.child.stdin.write(`${command}\n`);
    const { value, done } = await within(this.lines.next(), command, COMMAND_MS);
    if (done) throw new Error(`the crowd ended at ${command}`);
    return JSON.parse(value);
  }
}

/* Over one connection of its own: it counts as one more. */
async function scrape(scraper) {
  const answer = await scraper.ask(requestText('GET', '/metrics'));
  return parseMetrics(answer.text);
}

function table(metrics, what) {
  const rows = {};
  for (const [key, value] of metrics.samples) {
    const match = key.match(/^mpserver_table_(\w+)\{table="(.*)"\}$/);
    if (match?.[1] === what) rows[match[2]] = value;
  }
  return rows;
}

const count = (metrics, name) => metrics.get(`mpserver_${name}`);

/* All labels of one counter together. */
function total(metrics, name) {
  let all = 0;
  for (const [key, value] of metrics.samples) {
    if (key === `mpserver_${name}` || key.startsWith(`mpserver_${name}{`)) all += value;
  }
  return all;
}

/* Everybody says one thing to its room: what is said and heard is exact. */
async function lap(crowd, scraper) {
  const before = { crowd: await crowd.do('calm'), server: await scrape(scraper) };
  const after = { crowd: await crowd.do('lap'), server: await scrape(scraper) };
  const { members, listeners } = before.crowd;
  const grown = (side, counts) =>
    (counts(after[side]).rpc_call ?? 0) - (counts(before[side]).rpc_call ?? 0);
  check('said, by members', grown('crowd', ({ sent }) => sent), members);
  check('said, by the server', grown('server', (m) => messages(m, 'in')), members);
  check('heard, by members', grown('crowd', ({ received }) => received), listeners);
  check('heard, by the server', grown('server', (m) => messages(m, 'out')), listeners);
  check('members', members, ROLES.members * COUNT / 20);
  check('each member has a seat', count(after.server, 'room_members'), members);
  check('sockets', after.crowd.sockets, ROLES.sockets * COUNT / 20);
  check('sockets that the server has', count(after.server, 'sockets'), after.crowd.sockets);
  check('connections held', after.crowd.held, COUNT);
  check('connections that the server has', count(after.server, 'connections'), COUNT + 1);
  console.log(`${after.crowd.held} connections at once, ${after.crowd.sockets} of them sockets; ` +
    `${members} members said one thing each, and ${listeners} were heard`);
}

/* What was sent and not read is on the side that is known. */
function compareMessages(report, metrics) {
  for (const [type, n] of Object.entries(messages(metrics, 'in'))) {
    check(`${type}: ${n} in of ${report.sent[type]} sent`, n <= report.sent[type], true);
  }
  for (const [type, n] of Object.entries(report.received)) {
    const out = messages(metrics, 'out')[type];
    check(`${type}: ${n} received of ${out} out`, n <= out, true);
  }
}

/* Answers by status: what was made came, but for what a reset of the connection ate. */
function compareAnswers(report, metrics, asked) {
  const made = {};
  for (const [key, value] of metrics.samples) {
    const status = key.match(/^mpserver_requests_total\{.*,status="(\d+)"\}$/)?.[1];
    if (status) made[status] = (made[status] ?? 0) + value;
  }
  made[200] -= asked;
  let missing = 0;
  for (const status of new Set([...Object.keys(made), ...Object.keys(report.statuses)])) {
    const [came, all] = [report.statuses[status] ?? 0, made[status] ?? 0];
    check(`answers ${status}: ${came} of ${all}`, came <= all, true);
    missing += all - came;
  }
  check(`answers missing: ${missing}, with ${report.reset} resets`, missing <= report.reset, true);
}

/* What both sides counted since the beginning, now that nobody is there any more. */
function balance(report, metrics, asked) {
  const closed = (reason) => count(metrics, `connections_closed_total{reason="${reason}"}`);
  const slow = closed('slow_reader') + closed('no_memory');
  check('connections', count(metrics, 'connections_opened_total') +
    total(metrics, 'connections_refused_total'), report.opened + 1);
  check('upgrades', report.statuses[101], count(metrics, 'sockets_opened_total'));
  for (const [what, begun, over] of [['sockets', 'opened', 'closed'], ['rooms', 'opened', 'closed'],
    ['peers', 'joined', 'left'], ['players', 'joined', 'left']]) {
    check(`${what} ${begun} and ${over}`, count(metrics, `${what}_${begun}_total`),
      count(metrics, `${what}_${over}_total`));
  }
  check('answers that were cut', report.cut, 0);
  check('datagrams', count(metrics, 'datagrams_total') +
    count(metrics, 'drops_total{reason="kernel"}'), report.datagrams_out);
  const told = report.codes[1013] ?? 0;
  check(`1013: ${told} of ${slow} were told`, told > 0 && told <= slow, true);
  check('slow readers', closed('slow_reader') > 0, true);
  check('idle', closed('idle'), 0);
  check('port errors', count(metrics, 'port_errors_total'), 0);
  compareMessages(report, metrics);
  compareAnswers(report, metrics, asked);
}

const list = (counts) => Object.entries(counts).map(([key, n]) => `${key} ${n}`).join(', ');

function tell(report, metrics) {
  const { opened, reset, sent, received, requests, statuses, codes, datagrams_out: out } = report;
  console.log(`${opened} connections opened, ${reset} of them reset by the server; ` +
    `${total(metrics, 'connections_refused_total')} refused; ` +
    `${requests} requests, answered ${list(statuses)}\n` +
    `${sum(sent)} messages sent, ${sum(received)} received; sockets closed with ${list(codes)}\n` +
    `${out} datagrams sent, ${count(metrics, 'drops_total{reason="kernel"}')} dropped by the ` +
    `system, ${report.datagrams_in} received`);
}

function tellMemory(server, metrics, limit) {
  const status = readFileSync(`/proc/${server.pid}/status`, 'utf8');
  const resident = Number(status.match(/^VmHWM:\s+(\d+) kB$/m)[1]) * 1024;
  const limits = table(metrics, 'limit');
  const high = Object.entries(table(metrics, 'high'))
    .map(([key, n]) => `${key} ${n}/${limits[key]}`);
  console.log(`memory: ${resident} bytes resident at most, --print-memory says ${limit}; ` +
    `high water of ${high.join(', ')}`);
  check('resident', resident <= limit + PROGRAM_BYTES, true);
  check('connections at most', table(metrics, 'high').connections, COUNT + 1);
}

/* All comes back to where it was, but for the buckets of addresses, which are forgotten later. */
async function empty(scraper, baseline) {
  const used = (metrics) => list({ ...table(metrics, 'used'), buckets: 0 });
  let metrics;
  let asked = 0;
  await until(async () => {
    asked++;
    metrics = await scrape(scraper);
    return used(metrics);
  }, (now) => now === baseline, 'empty tables').catch(() => {});
  check('tables', used(metrics), baseline);
  return { metrics, asked };
}

/* In the middle of the traffic; whoever has a socket is told. */
async function drain(crowd, server) {
  const before = await crowd.do('calm');
  const playing = crowd.do(`drain ${COMMAND_MS / 2}`);
  await sleep(DRAIN_MS);
  const answer = await post(server, '/admin/drain', { grace_ms: GRACE_MS }, admin());
  check('drain', answer.status, 202);
  const after = await playing;
  await server.ended();
  const told = after.codes[1001] - (before.codes[1001] ?? 0);
  check('connections left', after.held, 0);
  check('sockets that were told', told > 0 && told <= before.sockets, true);
  console.log(`drained in the middle: ${told} of ${before.sockets} sockets were told 1001, ` +
    `${after.statuses[503] - (before.statuses[503] ?? 0)} requests 503`);
}

/* The same bytes again, from the recording alone. */
function replay(journal) {
  const { stdout, stderr, status } = spawnSync(BINARY, ['--replay', journal], { encoding: 'utf8' });
  check(`replay ${stderr}`, status, 0);
  check('replay', /all the same\nstate [0-9a-f]{16}: as recorded\n$/.test(stdout), true);
  console.log(`journal of ${statSync(journal).size} bytes: ${stdout.trim()}`);
}

async function main() {
  const dir = mkdtempSync('build/soak-');
  ending.push(() => rmSync(dir, { recursive: true, force: true }));
  const journal = process.env.JOURNAL ?? join(dir, 'journal');
  const config = temporaryFile(t, 'config.json', JSON.stringify(CONFIG));
  const printed = run(['--config', config, '--print-memory', '--record', journal]);
  const limit = Number(printed.stdout.match(/^total\s+(\d+)$/m)[1]);
  const server = await start(t, { dev: false, config: CONFIG, args: ['--record', journal],
    ulimit: `-n ${COUNT + MORE_FILES}` });
  const scraper = await Conn.open(server);
  const baseline = list({ ...table(await scrape(scraper), 'used'), buckets: 0 });
  const crowd = new Crowd(server);
  await crowd.do('calm');
  await crowd.do(`play ${TRAFFIC_MS}`);
  await crowd.do('calm');
  await sleep(2 * SEAT_MS); // seats that nobody took back end
  await lap(crowd, scraper);
  const report = await crowd.do('leave');
  const { metrics, asked } = await empty(scraper, baseline);
  balance(report, metrics, asked + LAP_SCRAPES);
  tell(report, metrics);
  tellMemory(server, metrics, limit);
  await drain(crowd, server);
  scraper.close();
  replay(journal);
}

await soak(main, ending);
