// Lobbies over HTTP: section 3 of the wire contract.
import assert from 'node:assert/strict';
import { admin, bearer, get, metrics, post, refused, request, shared, sleep, start, test }
  from './server.mjs';

const server = shared();
const proxied = { dev: false, config: { trusted_proxies: ['127.0.0.0/8'], requests_per_s: 10000,
  connections_per_s: 10000, drain_grace_ms: 50 } };
const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const FIELDS = ['code', 'player_count', 'max_players', 'players', 'server_ip', 'udp_port', 'scene',
  'created_at'];
const from = (ip) => ({ 'X-Forwarded-For': ip });
const erase = (s, path, options) => request(s, 'DELETE', path, options);

async function make(body = {}, s) {
  const answer = await post(s ?? await server(), '/lobbies', body);
  assert.equal(answer.status, 200, answer.text);
  return answer.json;
}

async function join(code, player_name, s) {
  const answer = await post(s ?? await server(), `/lobbies/${code}/join`, { player_name });
  assert.equal(answer.status, 200, answer.text);
  return answer.json;
}

test('lobby: one made of nothing has the defaults', async () => {
  const running = await server();
  const lobby = await make();
  for (const name of FIELDS) assert.ok(name in lobby, name);
  assert.match(lobby.code, /^[A-Z0-9]{6}$/);
  assert.doesNotMatch(lobby.code, /[01OIL]/, 'no look-alikes');
  assert.equal(lobby.player_count, 0);
  assert.equal(lobby.max_players, 4);
  assert.deepEqual(lobby.players, []);
  assert.equal(lobby.server_ip, '127.0.0.1');
  assert.equal(lobby.udp_port, running.udp);
  assert.equal(lobby.scene, 'world');
  assert.match(lobby.created_at, ISO);
  assert.ok(Math.abs(Date.parse(lobby.created_at) - Date.now()) < 5000);
  assert.deepEqual((await get(running, `/lobbies/${lobby.code}`)).json, lobby);
});

test('lobby: made codes differ', async () => {
  const codes = new Set();
  for (let i = 0; i < 20; i++) codes.add((await make()).code);
  assert.equal(codes.size, 20);
});

test('lobby: a code of one\'s own is shown as created and found in any case', async () => {
  const lobby = await make({ code: 'My-Lobby_1', scene: 'cave', max_players: 2 });
  assert.equal(lobby.code, 'My-Lobby_1');
  assert.equal(lobby.scene, 'cave');
  assert.equal(lobby.max_players, 2);
  for (const code of ['my-lobby_1', 'MY-LOBBY_1', 'My-Lobby_1']) {
    assert.equal((await get(await server(), `/lobbies/${code}`)).json.code, 'My-Lobby_1');
    refused(await post(await server(), '/lobbies', { code }), 409, 'lobby_exists');
  }
});

test('lobby: codes are 1 to 32 of A-Z a-z 0-9 _ -', async () => {
  assert.equal((await make({ code: 'x' })).code, 'x');
  assert.equal((await make({ code: 'y'.repeat(32) })).code, 'y'.repeat(32));
  for (const code of ['', 'x'.repeat(33), 'a b', 'a/b', 'ä', 'a.b', '\u0000', 7, true, [], {}]) {
    refused(await post(await server(), '/lobbies', { code }), 400, 'invalid_field',
      { field: 'code' });
  }
});

test('lobby: the other members are checked', async () => {
  const cases = [['max_players', 0], ['max_players', -1], ['max_players', 65], ['max_players', 2.5],
    ['max_players', '4'], ['max_players', 1e300], ['scene', 7], ['scene', 's'.repeat(65)],
    ['is_public', 'yes'], ['is_public', 1], ['scene', 'a\u0000b'], ['scene', '']];
  for (const [field, value] of cases) {
    refused(await post(await server(), '/lobbies', { [field]: value }), 400, 'invalid_field',
      { field });
  }
  assert.equal((await make({ max_players: 64 })).max_players, 64);
  assert.equal((await make({ max_players: 1 })).max_players, 1);
  assert.equal((await make({ scene: 's'.repeat(64) })).scene.length, 64);
  assert.equal((await make({ scene: 'Höhle "1"\n' })).scene, 'Höhle "1"\n');
});

test('lobby: one that is not there', async () => {
  refused(await get(await server(), '/lobbies/NOPE'), 404, 'lobby_not_found');
  refused(await get(await server(), `/lobbies/${'x'.repeat(40)}`), 404, 'lobby_not_found');
  refused(await post(await server(), '/lobbies/NOPE/join', { player_name: 'x' }), 404,
    'lobby_not_found');
  refused(await post(await server(), '/lobbies/NOPE/leave',
    { player_id: 1, udp_token: '0'.repeat(32) }), 404, 'lobby_not_found');
  refused(await erase(await server(), '/lobbies/NOPE'), 404, 'lobby_not_found');
});

test('lobby: joining', async () => {
  const { code } = await make({ max_players: 3 });
  const first = await join(code, 'Ada');
  assert.equal(first.player_id, 1);
  assert.match(first.udp_token, /^[0-9a-f]{32}$/);
  assert.equal(first.lobby.player_count, 1);
  assert.deepEqual(first.lobby.players, [{ id: 1, name: 'Ada' }]);
  const second = await join(code.toLowerCase(), 'Ada');
  assert.equal(second.player_id, 2);
  assert.notEqual(second.udp_token, first.udp_token);
  assert.deepEqual(second.lobby.players, [{ id: 1, name: 'Ada' }, { id: 2, name: 'Ada' }]);
  const seen = await get(await server(), `/lobbies/${code}`);
  assert.deepEqual(seen.json, second.lobby);
  assert.ok(!seen.text.includes(first.udp_token));
  await join(code, 'x');
  refused(await post(await server(), `/lobbies/${code}/join`, { player_name: 'late' }), 409,
    'lobby_full');
});

test('lobby: player names are 1 to 32 code points', async () => {
  const { code } = await make({ max_players: 8 });
  const names = ['😀'.repeat(32), 'e\u0301'.repeat(16), '"\\/\u0007\u2028', 'x'];
  for (const name of names) {
    const { lobby } = await join(code, name);
    assert.equal(lobby.players.at(-1).name, name);
  }
  for (const player_name of ['😀'.repeat(33), '', 7, null, undefined, [], true]) {
    refused(await post(await server(), `/lobbies/${code}/join`, { player_name }), 400,
      'invalid_field', { field: 'player_name' });
  }
});

test('lobby: leaving wants the right token', async () => {
  const { code } = await make();
  const a = await join(code, 'a');
  const b = await join(code, 'b');
  const leave = async (player_id, udp_token) =>
    post(await server(), `/lobbies/${code}/leave`, { player_id, udp_token });
  refused(await leave(1, b.udp_token), 403, 'invalid_udp_token');
  refused(await leave(1, 'f'.repeat(32)), 403, 'invalid_udp_token');
  refused(await leave(99, a.udp_token), 404, 'player_not_found');
  refused(await leave('1', a.udp_token), 400, 'invalid_field', { field: 'player_id' });
  refused(await leave(1, undefined), 400, 'invalid_field', { field: 'udp_token' });
  assert.equal((await leave(1, a.udp_token)).status, 200);
  refused(await leave(1, a.udp_token), 404, 'player_not_found');
  const left = (await get(await server(), `/lobbies/${code}`)).json;
  assert.deepEqual(left.players, [{ id: 2, name: 'b' }]);
  assert.equal((await leave(2, b.udp_token)).status, 200);
  assert.equal((await get(await server(), `/lobbies/${code}`)).json.player_count, 0);
});

test('lobby: a seat that was left can be taken', async () => {
  const { code } = await make({ max_players: 1 });
  const { player_id, udp_token } = await join(code, 'a');
  await post(await server(), `/lobbies/${code}/leave`, { player_id, udp_token });
  const next = await join(code, 'b');
  assert.ok(Number.isInteger(next.player_id) && next.player_id > 0);
  assert.deepEqual(next.lobby.players, [{ id: next.player_id, name: 'b' }]);
});

test('lobby: its creator deletes it once empty', async () => {
  const { code } = await make();
  const { player_id, udp_token } = await join(code, 'a');
  refused(await erase(await server(), `/lobbies/${code}`), 409, 'lobby_not_empty');
  await post(await server(), `/lobbies/${code}/leave`, { player_id, udp_token });
  assert.equal((await erase(await server(), `/lobbies/${code}`)).status, 200);
  refused(await get(await server(), `/lobbies/${code}`), 404, 'lobby_not_found');
  refused(await erase(await server(), `/lobbies/${code}`), 404, 'lobby_not_found');
});

test('lobby: who may delete', async (t) => {
  const s = await start(t, proxied);
  const owner = from('203.0.113.1');
  const other = from('203.0.113.2');
  const { code } = (await post(s, '/lobbies', {}, owner)).json;
  const path = `/lobbies/${code}`;
  const root = { headers: { ...other, ...admin() } };
  refused(await erase(s, path, { headers: other }), 403, 'not_lobby_owner');
  refused(await erase(s, path, { headers: { ...other, ...bearer({ sub: 'x' }) } }),
    403, 'not_lobby_owner');
  const seat = (await post(s, `/lobbies/${code}/join`, { player_name: 'm' }, other)).json;
  refused(await erase(s, path, { headers: other, json: { udp_token: seat.udp_token } }),
    409, 'lobby_not_empty');
  refused(await erase(s, path, { headers: other, json: { udp_token: '0'.repeat(32) } }),
    403, 'not_lobby_owner');
  refused(await erase(s, `${path}?force=true`, { headers: owner }), 409, 'lobby_not_empty');
  refused(await erase(s, path, root), 409,
    'lobby_not_empty');
  const forced = await erase(s, `${path}?force=true`, root);
  assert.equal(forced.status, 200);
  refused(await get(s, `/lobbies/${code}`), 404, 'lobby_not_found');
  const next = (await post(s, '/lobbies', {}, owner)).json.code;
  assert.equal((await erase(s, `/lobbies/${next}`, root)).status, 200);
});

test('lobby: TEST is always there with --dev and cannot be deleted', async () => {
  const lobby = (await get(await server(), '/lobbies/TEST')).json;
  assert.equal(lobby.code, 'TEST');
  assert.deepEqual(lobby.players, []);
  refused(await erase(await server(), '/lobbies/test'), 403, 'lobby_permanent');
  refused(await erase(await server(), '/lobbies/TEST?force=true', { headers: admin() }), 403,
    'lobby_permanent');
  refused(await post(await server(), '/lobbies', { code: 'test' }), 409, 'lobby_exists');
  const { player_id, udp_token } = await join('test', 'me');
  assert.equal((await post(await server(), '/lobbies/TEST/leave', { player_id, udp_token })).status,
    200);
});

test('lobby: no TEST without --dev', async (t) => {
  const s = await start(t, { dev: false });
  refused(await get(s, '/lobbies/TEST'), 404, 'lobby_not_found');
  assert.deepEqual((await get(s, '/lobbies')).json, []);
});

test('lobby: the list filters by scene, room left, and public', async (t) => {
  const s = await start(t, { ...proxied });
  await make({ code: 'A', scene: 'cave' }, s);
  await make({ code: 'B', scene: 'cave', max_players: 1 }, s);
  await make({ code: 'C', scene: 'wood' }, s);
  await make({ code: 'D', scene: 'cave', is_public: false }, s);
  await join('B', 'x', s);
  const list = async (query) => {
    const answer = await get(s, `/lobbies${query}`);
    assert.equal(answer.status, 200, answer.text);
    return answer.json.map((lobby) => lobby.code).sort().join();
  };
  assert.equal(await list(''), 'A,B,C');
  assert.equal(await list('?scene=cave'), 'A,B');
  assert.equal(await list('?open=true'), 'A,C');
  assert.equal(await list('?scene=cave&open=true'), 'A');
  assert.equal(await list('?scene=sea'), '');
  assert.equal(await list('?scene=c%61ve'), 'A,B');
  assert.equal(await list('?unknown=1'), 'A,B,C');
  assert.equal((await get(s, '/lobbies/D')).json.code, 'D');
  const whole = (await get(s, '/lobbies')).json;
  for (const lobby of whole) {
    assert.deepEqual(lobby, (await get(s, `/lobbies/${lobby.code}`)).json);
  }
});

test('lobby: the list pages by cursor', async (t) => {
  const s = await start(t, { ...proxied, config: { ...proxied.config, lobbies: 300 } });
  for (let i = 0; i < 230; i++) await make({ code: `L${i}` }, s);
  const page = async (query) => {
    const answer = await get(s, `/lobbies${query}`);
    assert.equal(answer.status, 200, answer.text);
    return { codes: answer.json.map((l) => l.code), next: answer.headers['x-next-cursor'] };
  };
  assert.equal((await page('')).codes.length, 50);
  assert.equal((await page('?limit=200')).codes.length, 200);
  assert.equal((await page('?limit=100000')).codes.length, 200, 'clamped');
  const seen = [];
  let cursor = '';
  for (let i = 0; i < 50; i++) {
    const { codes, next } = await page(`?limit=7${cursor}`);
    seen.push(...codes);
    if (!next) break;
    assert.equal(codes.length, 7);
    cursor = `&cursor=${encodeURIComponent(next)}`;
  }
  assert.equal(seen.length, 230);
  assert.equal(new Set(seen).size, 230);
  for (const bad of [
    'limit=x', 'limit=-1', 'limit=0', 'cursor=%20', 'cursor=zzz!', 'open=perhaps']) {
    const answer = await get(s, `/lobbies?${bad}`);
    refused(answer, 400, 'bad_query', { field: bad.split('=')[0] });
  }
});

test('lobby: players time out without a datagram, lobbies without players', async (t) => {
  const s = await start(t, { config: { player_timeout_ms: 1000, lobby_timeout_ms: 1500 } });
  const { code } = await make({}, s);
  await join(code, 'a', s);
  await sleep(600);
  assert.equal((await get(s, `/lobbies/${code}`)).json.player_count, 1);
  await sleep(900);
  assert.equal((await get(s, `/lobbies/${code}`)).json.player_count, 0);
  await sleep(600);
  assert.equal((await get(s, `/lobbies/${code}`)).status, 200, 'counted from the last player');
  await sleep(1600);
  refused(await get(s, `/lobbies/${code}`), 404, 'lobby_not_found');
  assert.equal((await get(s, '/lobbies/TEST')).status, 200);
  const count = await metrics(s);
  assert.equal(count.get('mpserver_players'), 0);
});

test('lobby: a full table of lobbies or players is an answer', async (t) => {
  const s = await start(t, { ...proxied, config: { ...proxied.config, lobbies: 4, players: 3 } });
  for (const code of ['A', 'B', 'C', 'D']) await make({ code }, s);
  refused(await post(s, '/lobbies', { code: 'E' }), 503, 'lobbies_full');
  for (const name of ['a', 'b', 'c']) await join('A', name, s);
  refused(await post(s, '/lobbies/B/join', { player_name: 'd' }), 503, 'players_full');
  let count = await metrics(s);
  assert.equal(count.get('mpserver_table_full_total{table="lobbies"}'), 1);
  assert.equal(count.get('mpserver_table_full_total{table="players"}'), 1);
  assert.equal(count.get('mpserver_table_used{table="lobbies"}'), 4);
  assert.equal(count.get('mpserver_table_high{table="players"}'), 3);
  assert.equal(count.get('mpserver_table_limit{table="players"}'), 3);
  assert.equal((await erase(s, '/lobbies/D')).status, 200);
  await make({ code: 'E' }, s);
  count = await metrics(s);
  assert.equal(count.get('mpserver_lobbies'), 4);
  assert.equal(count.get('mpserver_players'), 3);
});

test('lobby: server_ip is the public host when there is one', async (t) => {
  const s = await start(t, { args: ['--public-host', 'play.example.org'] });
  assert.equal((await get(s, '/lobbies/TEST')).json.server_ip, 'play.example.org');
});
