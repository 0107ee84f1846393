// The house rules that a program can check. Usage: node tests/lint.mjs [ROOT]
// Prints FILE:LINE: what is wrong, and ends with `N passed, N failed` over the rules.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = process.argv[2] ?? dirname(dirname(fileURLToPath(import.meta.url)));
const COLUMNS_MAX = 100;
const FUNCTION_LINES_MAX = 70;

const LAYOUT = new Set(['mpserver.h', 'mpserver.c', 'platform', 'examples', 'tests', 'Makefile',
  'README.md', 'LICENSE', 'build', 'node_modules']); // the last two are never committed

const BANNED = ['malloc', 'calloc', 'realloc', 'free', 'alloca', 'printf', 'fprintf', 'sprintf',
  'snprintf', 'vsnprintf', 'puts', 'putchar', 'fputs', 'fwrite', 'fopen', 'strcpy', 'strcat',
  'strncpy', 'strdup', 'strtol', 'strtoul', 'strtod', 'atoi', 'atof', 'sscanf', 'qsort', 'bsearch',
  'time', 'clock', 'gmtime', 'localtime', 'mktime', 'gettimeofday', 'clock_gettime', 'rand',
  'srand', 'random', 'getenv', 'setlocale', 'exit', 'abort', 'signal', 'setjmp', 'longjmp',
  'sqrt', 'sin', 'cos', 'pow', 'floor', 'ceil', 'fabs', 'isdigit', 'isalpha', 'isspace',
  'tolower', 'toupper', 'socket', 'send', 'recv', 'read', 'write', 'open', 'close'];
const HEADERS = new Set(['"mpserver.h"', '<string.h>', '<stb/stb_ds.h>', '<float.h>', '<limits.h>',
  '<stddef.h>', '<stdint.h>', '<stdbool.h>']); // but for two those of a freestanding C
const PLATFORM = /\b(_?WIN(32|64)|_WIN(32|64)|_?_?linux(__)?|__gnu_linux__|__APPLE__|__MACH__|_?_?unix(__)?|__(Free|Net|Open)BSD__|__ANDROID__|__EMSCRIPTEN__|__CYGWIN__|_POSIX\w*|_GNU_SOURCE|ESP_PLATFORM|ARDUINO\w*)\b/;

/* Every file of the tree as {path, text}; what is built or fetched is not ours. */
function tree(dir = root) {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const path = join(dir, entry.name);
    if (['.git', 'build', 'node_modules'].includes(entry.name)) return [];
    if (entry.isDirectory()) return tree(path);
    return /\.(c|h|mjs|js|sh|lua|json|md|css|html|gd|py)$|(^|\/)(Makefile|run|LICENSE|\.[a-z-]+)$/
      .test(path)
      ? [{ path: relative(root, path), lines: readFileSync(path, 'utf8').split('\n') }]
      : [];
  });
}

/* C with comments, strings and (unless kept) preprocessor lines blanked, line for line. */
function bare(text, keepPreprocessor = false) {
  const blank = (s) => s.replace(/[^\n]/g, ' ');
  const code = text.replace(
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\[\s\S]|[^"\\\n])*"|'(?:\\[\s\S]|[^'\\\n])*'/g,
    (s) => (s[0] === '/' ? blank(s) : s[0] + blank(s.slice(1, -1)) + s[0]),
  );
  return keepPreprocessor ? code : code.replace(/^[ \t]*#(?:[^\n\\]|\\[\s\S])*/gm, blank);
}

/* What stands at file level: {head, line, end, body}; body false for what ends in a semicolon. */
function toplevel(lines) {
  const code = bare(lines.join('\n'));
  const found = [];
  let depth = 0;
  let head = '';
  let line = 1;
  let start = 0;
  for (const c of code) {
    if (c === '\n') line++;
    if (depth === 0 && head === '' && c.trim()) start = line;
    if (depth === 0 && (head || c.trim())) head += c;
    if (c === '{') depth++;
    if (c === '}' && --depth === 0 && /\)\s*\{$/.test(head)) {
      found.push({ head, line: start, end: line, body: true });
      head = '';
    } else if (c === '}' && depth === 0 && /extern\s+"\s*"\s*\{$/.test(head)) {
      head = '';
    }
    if (c === ';' && depth === 0) {
      found.push({ head, line: start, end: line, body: false });
      head = '';
    }
  }
  return found;
}

const files = tree();
const c = files.filter((f) => /\.[ch]$/.test(f.path));
const core = files.filter((f) => f.path === 'mpserver.c');
const product = files.filter((f) => /^(mpserver\.c|platform\/.*\.c|examples\/.*\.c)$/.test(f.path));

/* Rows of [FILE:LINE, what] from a check of each line of code. */
function eachLine(file, code, check) {
  return code.split('\n').flatMap((text, index) => {
    const what = check(text, index);
    return what ? [[`${file.path}:${index + 1}`, what]] : [];
  });
}

const rules = {
  'no forward declarations in mpserver.c': () => core.flatMap((file) => toplevel(file.lines)
    .filter((item) => !item.body && /\w\s*\([\s\S]*\)\s*;$/.test(item.head) &&
      !/\bstbds_/.test(item.head) && // to make them static
      !/[={}]|^typedef\b|^_?_?[sS]tatic_assert\b|\(\s*\*/.test(item.head))
    .map((item) => [`${file.path}:${item.line}`,
      `forward declaration: ${item.head.split('\n')[0]}`])),

  [`no function over ${FUNCTION_LINES_MAX} lines`]: () => product.flatMap((file) =>
    toplevel(file.lines)
      .filter((item) => item.body && item.end - item.line + 1 > FUNCTION_LINES_MAX)
      .map((item) => [`${file.path}:${item.line}`,
        `${item.end - item.line + 1} lines: ${item.head.split('\n')[0]}`])),

  'no mps_ call below the api section': () => core.flatMap((file) => {
    const api = file.lines.findIndex((text) => text.includes('== 90 api'));
    const banner = file.lines.findIndex((text, i) => i > 60 && text.startsWith('/* == 90 api'));
    const end = banner >= 0 ? banner : api;
    return eachLine(file, bare(file.lines.join('\n')), (text, index) =>
      index < end && /\bmps_\w+\((?!\*)/.test(text) && 'the core calls its own wrapper');
  }),

  [`no line over ${COLUMNS_MAX} columns`]: () => files
    .filter((f) => /\.(c|h|mjs|sh|lua)$|Makefile$/.test(f.path) && f.path !== 'tests/lint.mjs')
    .flatMap((file) => eachLine(file, file.lines.join('\n'), (text) =>
      [...text].length > COLUMNS_MAX && `${[...text].length} columns`)),

  'no trailing white space': () => files.flatMap((file) =>
    eachLine(file, file.lines.join('\n'), (text) => /[ \t\r]$/.test(text) && 'white space')),

  'no banned function in mpserver.c': () => core.flatMap((file) =>
    eachLine(file, bare(file.lines.join('\n'), true), (text, index) => {
      const include = file.lines[index].match(/^\s*#\s*include\s+(\S+)/)?.[1];
      if (include) return !HEADERS.has(include) && `includes ${include}`;
      const called = text.match(/(?<![.\w>])([a-z]\w*)\s*\(/g) ?? [];
      const name = called.map((s) => s.replace(/\s*\($/, '')).find((s) => BANNED.includes(s));
      return name && `${name} is not for the core`;
    })),

  'no platform macro in mpserver.c': () => core.flatMap((file) =>
    eachLine(file, bare(file.lines.join('\n'), true), (text) =>
      PLATFORM.test(text) && `platform macro ${text.match(PLATFORM)[0]}`)),

  'nothing at the top level outside the layout': () => readdirSync(root)
    .filter((name) => !LAYOUT.has(name) && !name.startsWith('.'))
    .map((name) => [name, 'has no place at the top level']),

  'clang-format has nothing to change': () => {
    if (!c.length) return [];
    const style = existsSync(join(root, '.clang-format')) ? 'file' : 'LLVM';
    const run = spawnSync('clang-format',
      ['--dry-run', '--Werror', `--style=${style}`, ...c.map((f) => f.path)],
      { cwd: root, encoding: 'utf8' });
    if (run.error) return [['clang-format', run.error.message]];
    const places = run.stderr.match(/^\S+?:\d+(?=:\d+: error)/gm) ?? [];
    return run.status === 0 ? [] : (places.length ? places : [run.stderr])
      .map((place) => [place, 'run make format']);
  },
};

let passed = 0;
let failed = 0;
for (const [title, check] of Object.entries(rules)) {
  const rows = check();
  if (rows.length) {
    failed++;
    console.log(`FAIL ${title}`);
    rows.slice(0, 40).forEach(([where, what]) => console.log(`  ${where}: ${what}`));
  } else {
    passed++;
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
