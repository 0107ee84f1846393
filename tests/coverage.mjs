// Line coverage of mpserver.c by section: of sections 32 to 46 by the fuzzers' corpora alone, of
// the whole core by these and the unit tests. Usage: node tests/coverage.mjs [--missed]
// Runs build/coverage/fuzz and build/coverage/unit, which gcc built with --coverage, and reads what
// gcov makes of it. --missed prints the lines that nothing reached. Fails below the bars.
import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dir = join(root, 'build/coverage');
const PARSERS = { first: 32, last: 46, bar: 95 };
const CORE = { first: 0, last: 99, bar: 90 };

function run(command, ...args) {
  const done = spawnSync(command, args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 });
  if (done.status !== 0) {
    console.log(`${command} ${args.join(' ')}\n${done.stdout}${done.stderr}0 passed, 1 failed`);
    process.exit(1);
  }
  return done.stdout;
}

/* The lines of mpserver.c that a program has, and how often each ran. */
function lines(program) {
  const data = join(dir, `${program}-main.gcda`);
  const found = new Map();
  for (const file of JSON.parse(run('gcov', '--json-format', '--stdout', data)).files) {
    if (!/(^|\/)mpserver\.c$/.test(file.file)) continue;
    for (const { line_number: line, count } of file.lines) {
      found.set(line, Math.max(found.get(line) ?? 0, count));
    }
  }
  return found;
}

const source = readFileSync(join(root, 'mpserver.c'), 'utf8').split('\n');
const sections = source.flatMap((text, i) => {
  const banner = text.match(/^\/\* == (\d+) ([^=]+?) =+$/);
  return banner ? [{ number: Number(banner[1]), title: banner[2], from: i + 1 }] : [];
});

/* Prints a row per section and the sum; true when the sum is not below the bar. */
function report(title, found, { first, last, bar }) {
  const sum = { ran: 0, all: 0 };
  const row = (name, ran, all) => console.log(
    `  ${name.padEnd(32)} ${String(ran).padStart(6)} of ${String(all).padStart(6)} lines ` +
    `${(100 * ran / all).toFixed(2).padStart(6)} %`);
  console.log(title);
  sections.forEach(({ number, title: name, from }, i) => {
    if (number < first || number > last) return;
    const to = sections[i + 1]?.from ?? source.length + 1;
    const own = [...found].filter(([line]) => line >= from && line < to);
    const ran = own.filter(([, count]) => count > 0).length;
    if (own.length) row(`${String(number).padStart(2, '0')} ${name}`, ran, own.length);
    sum.ran += ran;
    sum.all += own.length;
    if (process.argv.includes('--missed')) {
      own.filter(([, count]) => !count).sort(([a], [b]) => a - b)
        .forEach(([line]) => console.log(`    ${line}: ${source[line - 1].trim()}`));
    }
  });
  const met = 100 * sum.ran >= bar * sum.all;
  row('all of these', sum.ran, sum.all);
  console.log(`  bar ${bar} %: ${met ? 'met' : 'MISSED'}`);
  return met;
}

for (const name of readdirSync(dir)) {
  if (name.endsWith('.gcda')) rmSync(join(dir, name));
}
for (const target of run(join(dir, 'fuzz')).trim().split('\n')) {
  run(join(dir, 'fuzz'), target, join('tests/corpus', target));
}
const byCorpus = lines('fuzz');
run(join(dir, 'unit'));
const byBoth = lines('unit');
for (const [line, count] of byCorpus) byBoth.set(line, Math.max(byBoth.get(line) ?? 0, count));

const met = [
  report('sections 32 to 46 by the fuzz corpora', byCorpus, PARSERS),
  report('the whole core by unit tests and fuzz corpora', byBoth, CORE),
].filter(Boolean).length;
console.log(`${met} passed, ${2 - met} failed`);
process.exitCode = met === 2 ? 0 : 1;
