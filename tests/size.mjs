// What the core takes: text, data and bss at -Os for a Cortex-M3 and for this machine, section by
// section of mpserver.c, and the block of each preset. Usage: node tests/size.mjs
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const TARGETS = [
  { name: 'Cortex-M3', prefix: 'arm-none-eabi-', flags: ['-mcpu=cortex-m3', '-mthumb'] },
  { name: 'x86-64', prefix: '', flags: ['-fno-pic'] },
];
const run = (program, ...args) => execFileSync(program, args, { encoding: 'utf8' });

/* The section that each line of mpserver.c stands in. */
const sections = [];
let current = '00 contents';
for (const line of readFileSync('mpserver.c', 'utf8').split('\n')) {
  const banner = line.match(/^\/\* == (\d\d [^=]*?) =+$/);
  if (banner) [, current] = banner;
  sections.push(current);
}

/* Bytes of functions and tables by section, from where the debugger says they stand; string
   literals have no names and make up the rest. */
function measure({ name, prefix, flags }) {
  const object = `build/size-${name}.o`;
  run('tests/freestanding.sh', object, `${prefix}gcc`, '-Os', '-g', ...flags);
  const [, numbers] = run(`${prefix}size`, object).split('\n');
  const [text, data, bss] = numbers.trim().split(/\s+/).map(Number);
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
  rows.set('strings and the rest', text - named);
  return { text, data, bss, rows };
}

const results = TARGETS.map(measure);
const cell = (value) => String(value ?? 0).padStart(10);
console.log(`${'bytes at -Os'.padEnd(24)}${TARGETS.map(({ name }) => name.padStart(10)).join('')}`);
for (const section of [...results[0].rows.keys()].sort()) {
  console.log(section.padEnd(24) + results.map(({ rows }) => cell(rows.get(section))).join(''));
}
for (const total of ['text', 'data', 'bss']) {
  console.log(total.padEnd(24) + results.map((result) => cell(result[total])).join(''));
}
console.log('\nblock of the core, by preset');
for (const preset of ['tiny', 'small', 'large']) {
  const printed = run('build/mpserver', '--dev', '--preset', preset, '--print-memory');
  console.log(preset.padEnd(24) + cell(printed.match(/^core\s+(\d+)$/m)[1]));
}
