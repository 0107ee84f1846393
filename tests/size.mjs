// What the core takes: text, data and bss at -Os for a Cortex-M3 and for x86-64, by part of
// mpserver.c and for the combinations of switches, and the block of each preset.
// Usage: node tests/size.mjs           prints it
//        node tests/size.mjs --write   puts the tables into README.md
//        node tests/size.mjs --check   is README.md right? ends with `N passed, N failed`
import { execFile, execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';

const TARGETS = [
  { name: 'Cortex-M3', prefix: 'arm-none-eabi-', flags: ['-mcpu=cortex-m3', '-mthumb'] },
  { name: 'x86-64', prefix: '', flags: ['-fno-pic'] },
];
const SWITCHES = [
  ['everything'],
  ['without rooms', 'ROOMS'],
  ['without UDP', 'UDP'],
  ['without --help texts', 'DOCS'],
  ['without error texts', 'ERROR_TEXTS'],
  ['without rooms and UDP', 'ROOMS', 'UDP'],
  ['without all four', 'ROOMS', 'UDP', 'DOCS', 'ERROR_TEXTS'],
];
/* The parts of the core by the numbers of their sections. What the compiler copies into a caller
   counts as the caller's. */
const PARTS = [
  ['base, memory, timers, metrics', /^(0.|1[0248]|2.|3[06]) /],
  ['hashes, JSON, addresses', /^(16|32|34) /],
  ['HTTP, connections, requests', /^(40|50|54|81|84|85) /],
  ['tokens, lobbies', /^(52|64) /],
  ['WebSocket, presence, rooms', /^(42|60|62|82|83|91) /],
  ['UDP, STUN, ticks', /^(38|44|46|65|86) /],
  ['configuration, start, calls', /^(80|87|88|89|90) /],
  ['--help texts', /^92 /],
];
const BEGIN = '<!-- make size -->';
const END = '<!-- end of make size -->';
/* Compilers of another version are a little off; a change of the core is not so easily. */
const tolerated = (a, b) => Math.abs(a - b) <= Math.max(64, b * 0.03);
const TOGETHER = 2; // compilers at a time
const run = (program, ...args) => execFileSync(program, args, { encoding: 'utf8' });

/* The section that each line of mpserver.c stands in. */
const sections = [];
let current = '00 contents';
for (const line of readFileSync('mpserver.c', 'utf8').split('\n')) {
  const banner = line.match(/^\/\* == (\d\d [^=]*?) =+$/);
  if (banner) [, current] = banner;
  sections.push(current);
}

/* Text, data and bss of one build, and the object. */
async function build({ name, prefix, flags }, switches) {
  const object = `build/size-${[name, ...switches].join('-')}.o`;
  const defines = switches.map((word) => `-DMPS_NO_${word}`);
  await promisify(execFile)('tests/freestanding.sh',
    [object, `${prefix}gcc`, '-Os', '-g', ...flags, ...defines]);
  const [, numbers] = run(`${prefix}size`, object).split('\n');
  const [text, data, bss] = numbers.trim().split(/\s+/).map(Number);
  return { object, prefix, text, data, bss };
}

/* Bytes of functions and tables by section, from where the debugger says they stand; string
   literals have no names and make up the rest. */
function bySection({ object, prefix, text }) {
  const rows = new Map();
  let named = 0;
  for (const line of run(`${prefix}nm`, '-S', '-l', object).split('\n')) {
    const symbol = line.match(/^\S+ ([0-9a-f]+) [tTrR] \S+\s+(\S+):(\d+)/);
    if (!symbol) continue;
    const bytes = parseInt(symbol[1], 16);
    const section = symbol[2].endsWith('mpserver.c') ? sections[symbol[3] - 1] : '22 stb_ds';
    rows.set(section, (rows.get(section) ?? 0) + bytes);
    named += bytes;
  }
  rows.set('strings', text - named);
  return rows;
}

const jobs = SWITCHES.flatMap(([title, ...words]) =>
  TARGETS.map((target) => ({ title, target, words })));
const built = new Map();
await Promise.all(Array.from({ length: TOGETHER }, async () => {
  for (let job = jobs.shift(); job; job = jobs.shift()) {
    built.set(`${job.title}/${job.target.name}`, await build(job.target, job.words));
  }
}));
const whole = TARGETS.map(({ name }) => built.get(`everything/${name}`));
const maps = whole.map(bySection);

/* Tables as [title, ...numbers]. */
const number = (value) => value.toLocaleString('en-US');
const partOf = (section) => PARTS.find(([, pattern]) => pattern.test(section))?.[0] ?? section;
const bytesOf = (map, part) => [...map].filter(([section]) => partOf(section) === part)
  .reduce((sum, [, bytes]) => sum + bytes, 0);
const parts = [...PARTS.map(([title]) => title), 'strings'].map((part) =>
  [part, ...maps.map((map) => bytesOf(map, part))]);
const combinations = SWITCHES.map(([title]) =>
  [`**${title}**: text`, ...TARGETS.map(({ name }) => built.get(`${title}/${name}`).text)]);
const variables = ['data', 'bss'].map((kind) => [kind, ...whole.map((result) => result[kind])]);
const blocks = ['tiny', 'small', 'large'].map((preset) => {
  const printed = run('build/mpserver', '--dev', '--preset', preset, '--print-memory');
  return [preset, Number(printed.match(/^core\s+(\d+)$/m)[1])];
});
const markdown = (head, rows) => [head, head.map((_, i) => (i ? '---:' : '---')),
  ...rows.map(([title, ...values]) => [title, ...values.map(number)])]
  .map((cells) => `| ${cells.join(' | ')} |`).join('\n');
const text = `${BEGIN}\n
${markdown(['bytes at -Os', ...TARGETS.map(({ name }) => name)],
    [...parts, ...combinations, ...variables])}

${markdown(['preset', 'block of the core, bytes'], blocks)}

${END}`;

const readme = readFileSync('README.md', 'utf8');
const [begin, end] = [readme.indexOf(BEGIN), readme.indexOf(END)];
const cells = (block) => [...block.matchAll(/^\| (.*?) \|((?: [\d,]+ \|)+)$/gm)].map(
  ([, title, values]) =>
    [title, ...values.match(/[\d,]+/g).map((n) => Number(n.replaceAll(',', '')))],
);
if (process.argv[2] === '--write') {
  writeFileSync('README.md', readme.slice(0, begin) + text + readme.slice(end + END.length));
} else if (process.argv[2] === '--check') {
  const told = begin < 0 ? '' : readme.slice(begin, end);
  const said = new Map(cells(told).map((row) => [row[0], row]));
  const wrong = cells(text).filter(([title, ...values]) => {
    const row = said.get(title) ?? [];
    return row.length !== values.length + 1 || !values.every((v, i) => tolerated(row[i + 1], v));
  });
  for (const [title, ...values] of wrong) {
    const now = values.map(number).join(', ');
    console.log(`README.md: ${title} is ${now} now; node tests/size.mjs --write`);
  }
  console.log(`${cells(text).length - wrong.length} passed, ${wrong.length} failed`);
  process.exit(wrong.length ? 1 : 0);
} else {
  for (const section of [...maps[0].keys()].sort()) {
    const values = maps.map((map) => String(map.get(section) ?? 0).padStart(10));
    console.log(section.padEnd(28) + values.join(''));
  }
  console.log(text.replace(BEGIN, '').replace(END, '').trimEnd());
}
