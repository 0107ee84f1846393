// Every rule of lint.mjs fires on a planted violation, and on nothing in a clean tree.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const core = (code) => `#include "mpserver.h"\n\n#include <string.h>\n\n/* == 10 base == */\n\n` +
  `${code}\n/* == 90 api == */\n\nint mps_go(void) {\n    return 1;\n}\n`;
const lines = (n) => `static int f(int x) {\n${'    x++;\n'.repeat(n - 3)}    return x;\n}\n`;
/* A prototype too long for one line. */
const LONG = 'static struct span f(const char *a_text_of_quite_great_length, ' +
  'unsigned long and_a_number_too,\n                     int x);\n';
const CLEAN = core(`/* time() and malloc() are only named: "_WIN32" */
struct later;
typedef int (*call)(int x);
_Static_assert(sizeof(int) == 4, "int");

static const char *const names[] = {"malloc(", "printf("};

static int f(int x) {
    struct shape *s = shape_of(x);
    return s->free(x) + s->time(x);
}
`);

/* What lint says of a tree of these files, laid over a clean one. */
function lint(files) {
  const root = mkdtempSync(join(tmpdir(), 'lint-'));
  try {
    copyFileSync(join(here, '..', '.clang-format'), join(root, '.clang-format'));
    for (const [path, text] of Object.entries({ 'mpserver.c': CLEAN, ...files })) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    }
    return spawnSync(process.execPath, [join(here, 'lint.mjs'), root], { encoding: 'utf8' });
  } finally {
    rmSync(root, { recursive: true });
  }
}

test('a clean tree passes', () => {
  const run = lint({ 'platform/a.c': lines(70), 'README.md': `${'x'.repeat(200)}\n` });
  assert.equal(run.stdout, '9 passed, 0 failed\n');
  assert.equal(run.status, 0);
});

const planted = [
  ['forward declarations', 'mpserver.c:7', core('static int f(int x);\n')],
  ['forward declarations', 'mpserver.c:7',
    core(LONG)],
  ['function over 70', 'mpserver.c:7: 71 lines', core(lines(71))],
  ['function over 70', 'platform/a.c:1: 71 lines', { 'platform/a.c': lines(71) }],
  ['function over 70', 'examples/b/a.c:1: 90 lines', { 'examples/b/a.c': lines(90) }],
  ['mps_ call', 'mpserver.c:8', core('static int f(void) {\n    return mps_go();\n}\n')],
  ['100 columns', 'mpserver.c:7: 101 columns', core(`/* ${'x'.repeat(95)} */\n`)],
  ['100 columns', 'tests/a.sh:1: 101 columns', { 'tests/a.sh': `#${'x'.repeat(100)}\n` }],
  ['trailing white space', 'README.md:1', { 'README.md': 'x \n' }],
  ['trailing white space', 'tests/a.mjs:2', { 'tests/a.mjs': 'x\n\t\n' }],
  ['banned', 'mpserver.c:8: malloc', core('static void *f(void) {\n    return malloc(1);\n}\n')],
  ['banned', 'mpserver.c:8: time', core('static long f(void) {\n    return time(NULL);\n}\n')],
  ['banned', 'mpserver.c:8: printf', core('static void f(void) {\n    printf("x");\n}\n')],
  ['banned', 'mpserver.c:7: malloc', core('#define GET(n) malloc(n)\n')],
  ['banned', 'mpserver.c:7: includes <stdio.h>', core('#include <stdio.h>\n')],
  ['platform macro', 'mpserver.c:7: platform macro _WIN32', core('#ifdef _WIN32\n#endif\n')],
  ['platform macro', 'mpserver.c:7: platform macro __linux__',
    core('#if defined(__linux__)\n#endif\n')],
  ['top level', 'notes.txt', { 'notes.txt': 'x\n' }],
  ['clang-format', 'mpserver.c:7', core('static int f(int x) {\n  return x;\n}\n')],
  ['clang-format', 'tests/a.h:1', { 'tests/a.h': 'int  a;\n' }],
];

for (const [rule, where, files] of planted) {
  test(`${rule}: ${where}`, () => {
    const run = lint(typeof files === 'string' ? { 'mpserver.c': files } : files);
    assert.match(run.stdout, new RegExp(`FAIL .*${rule}`));
    assert.ok(run.stdout.includes(`  ${where}`), run.stdout);
    assert.match(run.stdout, /8 passed, 1 failed\n$/);
    assert.equal(run.status, 1);
  });
}
