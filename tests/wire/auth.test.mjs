// Bearer tokens (RFC 7519, HS256), guests, refreshing, roles. Tokens are made and checked here with
// node:crypto, independently of the server.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { SECRET, bearer, get, post, refused, request, seconds, shared, sleep, start, test, token }
  from './server.mjs';

const server = shared();
const closed = shared({ dev: false });
const audience = shared({ dev: false, config: { jwt_audience: 'the-game', jwt_issuer: 'studio' } });
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const refresh = async (headers, s) => request(await (s ?? server)(), 'POST', '/auth/refresh',
  { headers, body: '{}' });
const log = async (headers, s) => get(await (s ?? server)(), '/admin/log', headers);
const root = (claims = {}, options) => bearer({ sub: 'root', role: 'admin', ...claims }, options);

function claimsOf(text, secret = SECRET) {
  const [header, claims, mac] = text.split('.');
  assert.equal(createHmac('sha256', secret).update(`${header}.${claims}`).digest('base64url'), mac);
  assert.equal(JSON.parse(Buffer.from(header, 'base64url')).alg, 'HS256');
  return JSON.parse(Buffer.from(claims, 'base64url'));
}

async function guest(body = {}) {
  const answer = await post(await server(), '/auth/guest', body);
  assert.equal(answer.status, 201, answer.text);
  return answer.json;
}

test('auth: a guest gets a token that anybody with the secret can check', async () => {
  const made = await guest({ username: 'Ada' });
  const claims = claimsOf(made.token);
  assert.match(made.user_id, UUID);
  assert.equal(made.username, 'Ada');
  assert.equal(claims.sub, made.user_id);
  assert.equal(claims.username, 'Ada');
  assert.equal(claims.iss, 'mpserver');
  assert.ok(['player', undefined].includes(claims.role));
  assert.ok(Math.abs(claims.auth_time - seconds()) < 10);
  assert.ok(claims.exp > seconds() + 60);
  assert.match(made.expires_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.equal(Math.floor(Date.parse(made.expires_at) / 1000), claims.exp);
});

test('auth: a guest without a name gets one, two guests differ', async () => {
  const [a, b] = [await guest(), await guest()];
  assert.ok(a.username.length > 0);
  assert.notEqual(a.user_id, b.user_id);
  assert.notEqual(a.token, b.token);
});

test('auth: names are 1 to 32 code points', async () => {
  const name = '😀'.repeat(32);
  assert.equal((await guest({ username: name })).username, name);
  assert.equal(claimsOf((await guest({ username: name })).token).username, name);
  for (const username of ['😀'.repeat(33), 'x'.repeat(33), '', 7, null, ['x'], {}, true]) {
    const answer = await post(await server(), '/auth/guest', { username });
    if (username === null && answer.status === 201) continue; // null may count as absent
    refused(answer, 400, 'invalid_field', { field: 'username' });
  }
});

test('auth: without --dev, with a secret, there are no guests', async () => {
  refused(await post(await closed(), '/auth/guest', {}), 403, 'guest_login_disabled');
});

test('auth: refreshing keeps the identity and the first sign-in', async () => {
  const made = await guest({ username: 'Grace' });
  const first = claimsOf(made.token);
  await sleep(1100);
  const answer = await refresh({ Authorization: `Bearer ${made.token}` });
  assert.equal(answer.status, 200, answer.text);
  const next = claimsOf(answer.json.token);
  assert.notEqual(answer.json.token, made.token);
  assert.equal(answer.json.user_id, made.user_id);
  assert.equal(next.sub, first.sub);
  assert.equal(next.username, 'Grace');
  assert.equal(next.auth_time, first.auth_time);
  assert.ok(next.exp > first.exp);
});

test('auth: the scheme is Bearer in any case', async () => {
  const { token: text } = await guest();
  assert.equal((await refresh({ Authorization: `bearer ${text}` })).status, 200);
  assert.equal((await refresh({ Authorization: `BEARER ${text}` })).status, 200);
  refused(await refresh({ Authorization: `Basic ${text}` }), 401, 'authentication_required');
  refused(await refresh({}), 401, 'authentication_required');
});

test('auth: refreshing ends 24 hours after the first sign-in', async () => {
  const claims = (age) => ({ iss: 'mpserver', sub: 'x', auth_time: seconds() - age });
  assert.equal((await refresh(bearer(claims(86400 - 120)))).status, 200);
  refused(await refresh(bearer(claims(86400 + 120))), 401, 'refresh_expired');
  const near = claimsOf((await refresh(bearer(claims(86400 - 120)))).json.token);
  assert.equal(near.auth_time, near.auth_time | 0);
});

test('auth: only a player from here can refresh', async () => {
  const own = { iss: 'mpserver', sub: 'x', auth_time: seconds() };
  refused(await refresh(bearer({ ...own, role: 'admin' })), 403, 'not_refreshable');
  refused(await refresh(bearer({ ...own, role: 'server' })), 403, 'not_refreshable');
  const foreign = await refresh(bearer({ ...own, iss: 'elsewhere' }));
  assert.ok([401, 403].includes(foreign.status), foreign.text);
  const nobody = await refresh(bearer({ sub: 'x' }));
  assert.ok([401, 403].includes(nobody.status), nobody.text);
});

test('auth: user ids keep their JSON type', async () => {
  const own = { iss: 'mpserver', auth_time: seconds() };
  const number = await refresh(bearer({ ...own, userId: 7 }));
  assert.strictEqual(number.json?.user_id, 7, number.text);
  assert.strictEqual(claimsOf(number.json.token).userId, 7);
  const text = await refresh(bearer({ ...own, sub: '7' }));
  assert.strictEqual(text.json.user_id, '7');
  assert.strictEqual(claimsOf(text.json.token).sub, '7');
  const both = await refresh(bearer({ ...own, userId: 9, sub: 'seven' }));
  assert.strictEqual(both.json.user_id, 9);
  const exact = await refresh(bearer({ ...own, userId: 9007199254740991 }));
  assert.strictEqual(exact.json.user_id, 9007199254740991);
});

test('auth: the display name is username, else name, else the id', async () => {
  const own = { iss: 'mpserver', sub: 'the-id', auth_time: seconds() };
  const name = async (claims) => (await refresh(bearer({ ...own, ...claims }))).json.username;
  assert.equal(await name({ username: 'U', name: 'N' }), 'U');
  assert.equal(await name({ name: 'N' }), 'N');
  assert.equal(await name({}), 'the-id');
  assert.equal(await name({ sub: undefined, userId: 7 }), '7');
});

test('auth: roles open what they should', async () => {
  assert.equal((await log(root())).status, 200);
  for (const role of ['player', 'server', undefined]) {
    refused(await log(bearer({ sub: 'x', role })), 403, 'forbidden');
  }
  refused(await log({}), 401, 'authentication_required');
  for (const role of ['god', 'Admin', 7, null, ['admin']]) {
    const answer = await log(bearer({ sub: 'x', role }));
    assert.ok([401, 403].includes(answer.status), `${role}: ${answer.status}`);
  }
});

const twist = (text, at) => text.slice(0, at) + (text[at] === 'A' ? 'B' : 'A') + text.slice(at + 1);
const now = { sub: 'root', role: 'admin' };
const good = () => token({ ...now, exp: seconds() + 600 });
const headed = (header) => token({ ...now, exp: seconds() + 600 }, { header });
const FORGED = {
  'alg none without signature': () => headed({ alg: 'none' }).replace(/[^.]*$/, ''),
  'alg none with signature': () => headed({ alg: 'none' }),
  'alg HS512': () => headed({ alg: 'HS512' }),
  'alg hs256': () => headed({ alg: 'hs256' }),
  'alg RS256': () => headed({ alg: 'RS256' }),
  'no alg': () => headed({ typ: 'JWT' }),
  crit: () => headed({ alg: 'HS256', crit: ['exp'] }),
  'empty crit': () => headed({ alg: 'HS256', crit: [] }),
  'alg twice': () => headed('{"alg":"none","alg":"HS256"}'),
  'role twice': () =>
    token(`{"sub":"root","role":"player","role":"admin","exp":${seconds() + 600}}`),
  'exp twice': () => token(`{"sub":"root","role":"admin","exp":1,"exp":${seconds() + 600}}`),
  'a member twice by its escape': () =>
    token(`{"sub":"root","role":"admin","rol\\u0065":"admin","exp":${seconds() + 600}}`),
  'another secret': () => token({ ...now, exp: seconds() + 600 }, { secret: `${SECRET}!` }),
  'a changed signature': () => twist(good(), good().length - 10),
  'a changed claim': () => twist(good(), good().indexOf('.') + 10),
  'a changed header': () => twist(good(), 4),
  'no signature': () => good().replace(/[^.]*$/, ''),
  'half a signature': () => good().slice(0, -20),
  'a longer signature': () => `${good()}AAAA`,
  'two parts': () => good().split('.').slice(0, 2).join('.'),
  'four parts': () => `${good()}.x`,
  'padding': () => `${good()}=`,
  'standard base64': () => `${good().split('.').slice(0, 2).join('.')}.++//`,
  'no exp': () => token(now),
  'exp as text': () => token({ ...now, exp: String(seconds() + 600) }),
  'exp null': () => token({ ...now, exp: null }),
  'nobody': () => token({ role: 'admin', exp: seconds() + 600 }),
  'sub a number': () => token({ sub: 7, role: 'admin', exp: seconds() + 600 }),
  'userId text': () => token({ userId: '7', role: 'admin', exp: seconds() + 600 }),
  'sub empty': () => token({ sub: '', role: 'admin', exp: seconds() + 600 }),
  'sub too long': () => token({ sub: 'x'.repeat(129), role: 'admin', exp: seconds() + 600 }),
  'claims an array': () => token('[]'),
  'claims no JSON': () => token('{'),
  'not a token': () => 'opaque',
};

for (const [title, make] of Object.entries(FORGED)) {
  test(`auth: refused: ${title}`, async () => {
    const answer = refused(await log({ Authorization: `Bearer ${make()}` }), 401, 'invalid_token');
    assert.ok(!answer.text.includes(SECRET));
  });
}

test('auth: exp and nbf have 60 s of leeway', async () => {
  assert.equal((await log(root({ exp: seconds() - 50 }))).status, 200);
  refused(await log(root({ exp: seconds() - 70 })), 401, 'token_expired');
  assert.equal((await log(root({ exp: seconds() + 0.5 }))).status, 200);
  assert.equal((await log(root({ nbf: seconds() + 50 }))).status, 200);
  refused(await log(root({ nbf: seconds() + 70 })), 401, 'token_not_yet_valid');
});

test('auth: a configured audience and issuer are checked', async () => {
  const fine = { aud: 'the-game', iss: 'studio' };
  assert.equal((await log(root(fine), audience)).status, 200);
  assert.equal((await log(root({ ...fine, aud: ['x', 'the-game'] }), audience)).status, 200);
  for (const bad of [{ aud: 'other' }, { aud: ['x'] }, { aud: undefined }, { aud: 7 }]) {
    refused(await log(root({ ...fine, ...bad }), audience), 401, 'invalid_token');
  }
  refused(await log(root({ ...fine, iss: 'other' }), audience), 401, 'invalid_token');
});

test('auth: without a configured audience any passes', async () => {
  assert.equal((await log(root({ aud: 'whoever' }))).status, 200);
});

test('auth: WWW-Authenticate comes with 401', async () => {
  const answer = await log({});
  assert.match(answer.headers['www-authenticate'] ?? '', /^Bearer/);
});

test('auth: guest_login can be on without --dev', async (t) => {
  const open = await start(t, { dev: false, config: { guest_login: 'on' } });
  assert.equal((await post(open, '/auth/guest', {})).status, 201);
});
