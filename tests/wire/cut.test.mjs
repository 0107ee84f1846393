// However a request is cut into writes, its answer is the same.
import assert from 'node:assert/strict';
import { Conn, requestText, shared, sleep, test } from './server.mjs';

const server = shared({ config: { head_timeout_ms: 60000 } });
const id = { 'X-Request-Id': 'cut' };
const SAMPLES = {
  get: requestText('GET', '/lobbies/TEST', { headers: id }),
  head: requestText('HEAD', '/readyz', { headers: id }),
  'not found': requestText('GET', '/nowhere?token=x', { headers: id }),
  post: requestText('POST', '/lobbies/none/join', { headers: id, json: { player_name: 'x' } }),
  'bad json': requestText('POST', '/auth/guest', { headers: id, body: '{"username":}' }),
  preflight: requestText('OPTIONS', '/lobbies', {
    headers: { ...id, Origin: 'http://a', 'Access-Control-Request-Method': 'POST' },
  }),
  chunked: 'POST /lobbies/none/leave HTTP/1.1\r\nHost: a\r\nX-Request-Id: cut\r\n' +
    'Transfer-Encoding: chunked\r\n\r\n5;x=y\r\n{"pla\r\n' +
    'B\r\nyer_id":"1"\r\n1\r\n}\r\n0\r\nT: u\r\n\r\n',
  'two at once': requestText('GET', '/readyz', { headers: id }) +
    requestText('GET', '/lobbies/none', { headers: id }),
  '1.0': 'GET /readyz HTTP/1.0\r\nX-Request-Id: cut\r\n\r\n',
  'two hosts': 'GET /readyz HTTP/1.1\r\nHost: a\r\nX-Request-Id: cut\r\nHost: b\r\n\r\n',
  'both framings': 'POST /lobbies HTTP/1.1\r\nHost: a\r\nX-Request-Id: cut\r\n' +
    'Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}',
};

/* What must not depend on the cuts. The date may pass a second, a refused head has no id to echo,
   and an answer that lost its body to HEAD still counts its headers. */
function essence(answer) {
  const { date, 'x-request-id': made, ...headers } = answer.headers;
  return { status: answer.status, headers, text: answer.text };
}

/* Sends the pieces, each in a segment of its own, and reads all the answers. */
async function answers(text, pieces, methods) {
  const conn = await Conn.open(await server());
  for (const piece of pieces) {
    await conn.write(Buffer.from(piece, 'latin1'));
    await sleep(piece === pieces.at(-1) ? 0 : 1);
  }
  const got = [];
  for (const method of methods) got.push(essence(await conn.read(method)));
  conn.close();
  return got;
}

for (const [title, text] of Object.entries(SAMPLES)) {
  const methods = title === 'two at once' ? ['GET', 'GET'] : [text.split(' ')[0]];

  test(`http: ${title}, cut at every byte`, async () => {
    const whole = await answers(text, [text], methods);
    const cuts = Array.from({ length: text.length - 1 }, (_, i) => i + 1);
    for (let at = 0; at < cuts.length; at += 16) {
      await Promise.all(cuts.slice(at, at + 16).map(async (cut) => {
        const got = await answers(text, [text.slice(0, cut), text.slice(cut)], methods);
        assert.deepEqual(got, whole, `cut at ${cut}`);
      }));
    }
  });

  test(`http: ${title}, a byte at a time`, async () => {
    const whole = await answers(text, [text], methods);
    assert.deepEqual(await answers(text, [...text], methods), whole);
  });
}
