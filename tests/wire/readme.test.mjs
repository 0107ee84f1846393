// The README's transcript, run as it stands: every `$ curl` line, its answer compared by shape.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { follow } from './readme.mjs';
import { start, test, within } from './server.mjs';

const { WebSocket } = createRequire('/usr/share/nodejs/')('/usr/share/nodejs/ws');

test('readme: the transcript is what happens', async (t) => {
  const server = await start(t);
  assert.ok(await follow(t, 'localhost:8080', `127.0.0.1:${server.port}`) >= 8);
});

/* The block of `language` that `word` stands in. */
function block(language, word) {
  const blocks = readFileSync('README.md', 'utf8').matchAll(/```(\w+)\n(.*?)```/gs);
  const found = [...blocks].filter(([, is, text]) => is === language && text.includes(word));
  assert.equal(found.length, 1, `${language} with ${word}`);
  return found[0][2];
}

test('readme: two players meet in a room as the script says', async (t) => {
  const server = await start(t);
  const wanted = block('console', 'Bob hears').trim().split('\n');
  const script = block('js', 'quick_join').replace('localhost:8080', `127.0.0.1:${server.port}`);
  const said = [];
  const sockets = [];
  let done;
  const all = new Promise((resolve) => { done = resolve; });
  class Socket extends WebSocket {
    constructor(...args) {
      super(...args);
      sockets.push(this);
    }
  }
  const output = { log: (line) => said.push(line) >= wanted.length && done() };
  new Function('WebSocket', 'console', script)(Socket, output);
  await within(all, 'what the script prints');
  for (const socket of sockets) socket.close();
  assert.deepEqual(said, wanted);
});
