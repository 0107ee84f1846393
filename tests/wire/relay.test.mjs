// What members of a relay room say to each other, value for value, and how much of it they may.
import assert from 'node:assert/strict';
import { shared, sleep, start } from './server.mjs';
import { Client, Raw, enter, join, joinBy, makeRoom, minted, party, quiet, test, text }
  from './socket.mjs';

const server = shared({ config: { rooms: 256 } });
const SMILE = '😀';

/* Raw tokens that a parser in between would change. */
const VALUES = ['0', '-0', '-0.0', '1e400', '-1E+400', '1.0', '1.50', '1e-7', '0.1E-00007',
  '123456789012345678901234567890', '9007199254740993', '3.141592653589793238462643383279502884',
  'null', 'true', 'false', '""', '" "', '"\\u0041\\/\\b\\f\\n\\r\\t\\"\\\\"', '"\\u0000"',
  '"\\ud83d\\ude00\\uD83D\\uDE00"', `"${SMILE}é\u2028"`, '"\\u00e9"', '[]', '{}', '[ ]', '{ }',
  '[ 1 ,\t2 ,\n3 ]', '{ "a" : 1 , "a" : 2 ,"b":[ { } ]}', '{"__proto__":1,"type":"x"}',
  '{"\\u0061":"\\u0061"}', '[[[[[[[[[[{"deep":[null]}]]]]]]]]]]', '{"y":1,"x":0,"w":1}',
  '{\r\n\t"position" : [ 0.10 , -0.20 ]\r\n}', `"${'x'.repeat(3000)}"`,
  `[${'1,'.repeat(700)}1]`, '1E3', '[1e0,1E0]'];

test('relay: values go out byte for byte as they came', async () => {
  const [host, member] = await party(await server(), ['Host', 'Member']);
  for (const value of VALUES) {
    host.sendText(`{"type":"player_snapshot","data":{"payload": ${value} }}`);
    await member.hearsText(`{"type":"player_snapshot","data":{"from":1,"payload":${value}}}`);
    host.sendText(`{ "data" : { "velocity" :${value},"position":\n${value}\t, "rotation"\r:` +
      `${value}} , "type" : "player_state" }`);
    await member.hearsText('{"type":"player_state","data":{"peerId":1,' +
      `"position":${value},"rotation":${value},"velocity":${value}}}`);
    host.sendText(`{"type":"rpc_call","data":{"args":${value},"method":"do it","targetPeer":2}}`);
    await member.hearsText('{"type":"rpc_call","data":{"fromPeer":1,"method":"do it",' +
      `"args":${value}}}`);
  }
  await quiet(host, member);
});

test('relay: as deep as JSON goes here', async () => {
  const [host, member] = await party(await server(), ['Host', 'Member']);
  const nested = (depth) => '['.repeat(depth) + ']'.repeat(depth);
  host.sendText(`{"type":"player_snapshot","data":{"payload":${nested(30)}}}`);
  await member.hearsText(`{"type":"player_snapshot","data":{"from":1,"payload":${nested(30)}}}`);
  host.sendText(`{"type":"player_snapshot","data":{"payload":${nested(31)}}}`);
  const { data } = await host.next('error');
  assert.equal(data.reason, 'bad_json');
  assert.ok(Number.isInteger(data.position));
  await quiet(host, member);
});

test('relay: what is absent goes out as null', async () => {
  const [host, member] = await party(await server(), ['Host', 'Member']);
  const state = (p, r, v) => `{"type":"player_state","data":{"peerId":1,"position":${p},` +
    `"rotation":${r},"velocity":${v}}}`;
  host.send('player_state', {});
  await member.hearsText(state(null, null, null));
  host.sendText('{"type":"player_state"}');
  await member.hearsText(state(null, null, null));
  host.sendText('{"type":"player_state","data":null}');
  await member.hearsText(state(null, null, null));
  host.send('player_state', { velocity: [1], more: 'ignored', peerId: 9 });
  await member.hearsText(state(null, null, '[1]'));
  host.send('player_snapshot');
  await member.hearsText('{"type":"player_snapshot","data":{"from":1,"payload":null}}');
  host.send('rpc_call', { method: 'm' });
  await member.hearsText('{"type":"rpc_call","data":{"fromPeer":1,"method":"m","args":null}}');
});

test('relay: the last of two keys counts', async () => {
  const [host, member] = await party(await server(), ['Host', 'Member']);
  host.sendText('{"type":"ping","type":"player_snapshot","data":{"payload":1},' +
    '"data":{"payload":2,"payload":3}}');
  await member.hearsText('{"type":"player_snapshot","data":{"from":1,"payload":3}}');
  host.sendText('{"type":"p\\u0069ng","d\\u0061ta":{}}');
  await host.next('pong');
});

test('relay: states and snapshots reach the other members only', async () => {
  const s = await server();
  const [host, member, third] = await party(s, ['Host', 'Member', 'Third']);
  const [stranger] = await party(s, ['Elsewhere']);
  member.send('player_state', { position: [1, 2, 3], rotation: [0], velocity: [0] });
  member.send('player_snapshot', { payload: { hp: 5 } });
  for (const other of [host, third]) {
    await other.hears('player_state',
      { peerId: 2, position: [1, 2, 3], rotation: [0], velocity: [0] });
    await other.hears('player_snapshot', { from: 2, payload: { hp: 5 } });
  }
  await quiet(member, host, third, stranger);
});

test('relay: rpc_call goes to one, to all others, to oneself', async () => {
  const [one, two, three] = await party(await server(), ['One', 'Two', 'Three']);
  const heard = { fromPeer: 2, method: 'm', args: { a: [1] } };
  const call = (targetPeer) => two.send('rpc_call', { targetPeer, method: 'm', args: { a: [1] } });
  call(3);
  await three.hears('rpc_call', heard);
  await quiet(two, one);
  for (const all of [0, undefined, null]) {
    call(all);
    for (const other of [one, three]) await other.hears('rpc_call', heard);
    await quiet(two);
  }
  call(2);
  await two.hears('rpc_call', heard);
  await quiet(two, one, three);
  two.sendText('{"type":"rpc_call","data":{"targetPeer":1.0,"method":"m","args":{"a":[1]}}}');
  await one.hears('rpc_call', heard); // as Godot writes whole numbers
  for (const unknown of [4, 99, 1000, 4294967297, 65537]) {
    call(unknown);
    const { data } = await two.next('error');
    assert.ok(data.reason === 'invalid_target' || (unknown > 65535 &&
      data.reason === 'invalid_field' && data.field === 'targetPeer'), data.reason);
  }
  three.send('leave_room');
  await three.quiet();
  for (const other of [one, two]) await other.hears('peer_left', { peerId: 3 });
  call(3);
  await two.refused('invalid_target');
});

test('relay: rpc_call to a member that is away is nobody\'s', async () => {
  const [one, two] = await party(await server(), ['One', 'Two']);
  await two.close();
  one.send('rpc_call', { targetPeer: 2, method: 'm', args: [] });
  one.send('rpc_call', { targetPeer: 0, method: 'm', args: [] });
  await quiet(one);
});

test('relay: the fields of chat and rpc_call', async () => {
  const [host, member] = await party(await server(), ['Host', 'Member']);
  for (const value of [undefined, null, 7, {}, ['x'], true]) {
    await host.asking('chat', { text: value }, 'invalid_field', { field: 'text' });
  }
  for (const method of [undefined, null, '', 'x'.repeat(65), 'ä'.repeat(33), 7, {}]) {
    await host.asking('rpc_call', { method, args: [] }, 'invalid_field', { field: 'method' });
  }
  for (const targetPeer of ['2', {}, [2], true, 1.5]) {
    await host.asking('rpc_call', { targetPeer, method: 'm' }, 'invalid_field',
      { field: 'targetPeer' });
  }
  await quiet(host, member);
  host.send('rpc_call', { method: 'ä'.repeat(32) });
  await member.hears('rpc_call', { fromPeer: 1, method: 'ä'.repeat(32), args: null });
});

test('relay: a name that had to be escaped stays what it is', async () => {
  const name = '"\\/\u0001\u007fé😀';
  const [host, member] = await party(await server(), [name, 'Member']);
  host.send('chat', { text: 'x' });
  const { data } = await member.next('chat');
  assert.deepEqual(data, { from: 1, fromName: name, text: 'x' });
  assert.equal(member.joined.members[0].name, name);
});

test('relay: chat goes out as it came', async () => {
  const [host, member] = await party(await server(), ['Host', 'Member']);
  const texts = ['"x"', '"\\u0041\\/\\"\\\\\\n"', '"\\ud83d\\ude00"', `"${SMILE}"`, '"\\u0000"',
    `"${'\\u00e9'.repeat(500)}"`, `"${SMILE.repeat(500)}"`, `"${'\\ud83d\\ude00'.repeat(500)}"`];
  for (const value of texts) {
    host.sendText(`{"type":"chat","data":{"text": ${value} ,"from":7}}`);
    await member.hearsText(`{"type":"chat","data":{"from":1,"fromName":"Host","text":${value}}}`);
  }
  await quiet(host, member);
});

test('relay: chat is cut after 500 code points', async () => {
  const [host, member] = await party(await server(), ['Host', 'Member']);
  const rows = [['x'.repeat(501), 'x'.repeat(500)], ['x'.repeat(60000), 'x'.repeat(500)],
    [`${'x'.repeat(499)}${SMILE}tail`, `${'x'.repeat(499)}${SMILE}`],
    [SMILE.repeat(501), SMILE.repeat(500)], ['é'.repeat(600), 'é'.repeat(500)],
    [`${'"'.repeat(499)}\\\\`, `${'"'.repeat(499)}\\`],
    [`${'\n'.repeat(500)}\n`, '\n'.repeat(500)],
    ['👩‍👩‍👧'.repeat(101), '👩‍👩‍👧'.repeat(100)]]; // five code points each
  const escaped = (value) => JSON.stringify(value).replace(/[^\x20-\x7e]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
  for (const [sent, kept] of rows) {
    for (const write of [JSON.stringify, escaped]) {
      host.sendText(`{"type":"chat","data":{"text":${write(sent)}}}`);
      assert.deepEqual((await member.next('chat')).data, { from: 1, fromName: 'Host', text: kept });
    }
  }
  await quiet(host, member);
});

test('relay: what is no message is told so, and where', async () => {
  const client = await enter(await server(), null);
  const rows = ['', ' ', 'ping', '{', '{"type":"ping"', '{"type":"ping"}x', '{"type":"ping",}',
    '[]', '[{"type":"ping"}]', '"ping"', '7', 'null', '{"type":"ping","data":[]}',
    '{"type":"ping","data":"x"}', '{"type":"ping","data":7}', "{'type':'ping'}",
    '{"type":"ping","data":{"a":01}}', '{"type":"\\ud83d"}', '{"type":"ping","data":{"a":"\t"}}'];
  for (const row of rows) {
    client.sendText(row);
    const { data, text: got } = await client.next('error');
    assert.deepEqual(Object.keys(data), ['reason', 'message', 'position'], got);
    assert.equal(data.reason, 'bad_json', row);
    assert.ok(Number.isInteger(data.position) && data.position >= 0 &&
      data.position <= row.length, `${row}: ${data.position}`);
  }
  const unknown = ['{}', '{"type":7}', '{"type":null}', '{"type":""}', '{"type":"Ping"}',
    '{"type":"pinge"}', '{"type":"pin"}', '{"type":"ping\\u0000"}', '{"type":["ping"]}',
    '{"type":"room_joined","data":{}}', '{"data":{}}', '{"type":"__proto__"}',
    `{"type":"${'x'.repeat(5000)}"}`];
  for (const row of unknown) {
    client.sendText(row);
    await client.refused('unknown_type');
  }
  for (const row of ['{"type":"ping"}', ' \t\r\n{ "type" : "ping" } \n',
    '{"type":"ping","data":{}}', '{"type":"ping","data":null,"more":[1]}']) {
    client.sendText(row);
    await client.next('pong');
  }
});

test('relay: everybody hears a sender in its order', async () => {
  const members = await party(await server(), ['A', 'B', 'C', 'D']);
  const COUNT = 50;
  for (let i = 0; i < COUNT; i++) {
    for (const member of members) {
      if (i % 2) member.send('chat', { text: `${i}` });
      else member.send('rpc_call', { method: `${i}`, args: member.peerId });
    }
  }
  for (const member of members) {
    const next = {};
    for (let i = 0; i < COUNT * 3; i++) {
      const { data } = await member.next();
      const from = data.from ?? data.fromPeer;
      next[from] ??= 0;
      assert.equal(data.text ?? data.method, `${next[from]++}`);
      assert.notEqual(from, member.peerId);
    }
    assert.deepEqual(Object.values(next), [COUNT, COUNT, COUNT]);
  }
  await quiet(...members);
});

test('relay: messages in one packet with the join take effect in order', async () => {
  const s = await server();
  const [host] = await party(s, ['Host']);
  const user = minted();
  const raw = await Raw.open(s, { target: `/ws?token=${user.token}` });
  await raw.write(
    text({ type: 'join_room', data: { roomId: host.roomId, version: '', name: 'Raw' } }),
    text({ type: 'chat', data: { text: 'at once' } }),
    text({ type: 'leave_room' }),
    text({ type: 'chat', data: { text: 'too late' } }),
  );
  await host.hears('peer_joined', { peerId: 2, name: 'Raw' });
  await host.hears('chat', { from: 2, fromName: 'Raw', text: 'at once' });
  await host.hears('peer_left', { peerId: 2 });
  await raw.next('room_joined');
  await raw.refused('not_in_room');
  await quiet(host);
});

const LIMITED = { dev: false, config: { connections_per_s: 10000, requests_per_s: 10000,
  messages_per_s: 5, chats_per_s: 1, states_per_s: 8 } };

/* Bounds of what a bucket of `rate` lets through since `since`. */
function within(passed, rate, since) {
  const most = 2 * rate + Math.ceil((Date.now() - since) / 1000 * rate) + 1;
  assert.ok(passed >= 2 * rate && passed <= most, `${passed}, not ${2 * rate}..${most}`);
}

test('relay: messages per second, counted for the user', async (t) => {
  const s = await start(t, LIMITED);
  const user = minted();
  const since = Date.now();
  const sockets = [await Client.open(s, { user }), await Client.open(s, { user })];
  const other = await Client.open(s, { user: minted() });
  let passed = 0;
  for (let i = 0; i < 15; i++) {
    for (const socket of sockets) {
      socket.send('ping');
      const got = await socket.next();
      if (got.type === 'pong') passed++;
      else assert.equal(got.data.reason, 'rate_limited', got.text);
    }
  }
  within(passed, 5, since);
  for (let i = 0; i < 10; i++) await other.quiet();
});

test('relay: messages per second, counted for each anonymous socket', async (t) => {
  const s = await start(t, LIMITED);
  const since = Date.now();
  for (const socket of [await Client.open(s), await Client.open(s)]) {
    let passed = 0;
    for (let i = 0; i < 20; i++) {
      socket.send('ping');
      if ((await socket.next()).type === 'pong') passed++;
    }
    within(passed, 5, since);
  }
});

test('relay: chat and states have rates of their own', async (t) => {
  const s = await start(t, LIMITED);
  const user = minted();
  const roomId = await makeRoom(s, user);
  const host = await join(s, roomId, user);
  const member = await join(s, roomId);
  await host.next('peer_joined');
  const rows = [['chat', { text: 'x' }, 1, 10], ['player_state', {}, 8, 26]];
  for (const [type, data, rate, count] of rows) {
    const since = Date.now();
    for (let i = 0; i < count; i++) member.send(type, data);
    for (let passed = 0, refused = 0; passed + refused < count;) {
      if (host.messages.length) {
        await host.next(type);
        passed++;
      } else if (member.messages.length) {
        await member.refused('rate_limited');
        refused++;
      } else {
        await Promise.race([host.more(), member.more()]);
      }
      if (passed + refused === count) within(passed, rate, since);
    }
  }
  member.send('player_snapshot', { payload: 1 });
  const got = await Promise.race([host.next(), member.next()]);
  assert.ok(got.type === 'player_snapshot' || got.data.reason === 'rate_limited');
});

test('relay: who goes on being refused is closed with 1008', async (t) => {
  const s = await start(t, { dev: false, config: { ...LIMITED.config, messages_per_s: 1 } });
  const client = await Client.open(s);
  const calm = await Client.open(s);
  const COUNT = 200;
  for (let i = 0; i < COUNT; i++) client.send('ping');
  const seen = { pong: 0, error: 0 };
  while (client.messages.length || !client.end) {
    if (!client.messages.length) {
      await client.more();
      continue;
    }
    const { type, data } = await client.next();
    seen[type]++;
    if (type === 'error') assert.equal(data.reason, 'rate_limited');
  }
  await client.closed(1008);
  assert.ok(seen.pong >= 2 && seen.pong <= 4, JSON.stringify(seen));
  assert.ok(seen.error >= 20 && seen.error < 60, JSON.stringify(seen));
  await calm.quiet();
});

test('relay: refusals that are far apart add up to nothing', async (t) => {
  const s = await start(t, { dev: false, config: { ...LIMITED.config, chats_per_s: 1 } });
  const user = minted();
  const roomId = await makeRoom(s, user);
  const host = await join(s, roomId, user);
  let refused = 0;
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 16; i++) host.send('chat', { text: 'x' });
    await sleep(round ? 0 : 1500); // longer than refusals in a row may be apart
    host.send('ping');
    for (let got = await host.next(); got.type !== 'pong'; got = await host.next()) {
      assert.equal(got.data.reason, 'rate_limited', got.text);
      refused++;
    }
  }
  assert.ok(refused > 20, `${refused} refusals`);
});

test('relay: too large a message closes its sender only, whose seat stays', async () => {
  const s = await server();
  const [host, member] = await party(s, ['Host', 'Member']);
  member.sendText(`{"type":"chat","data":{"text":"${'x'.repeat(70000)}"}}`);
  await member.refused('message_too_large');
  await member.closed(1009);
  await quiet(host);
  const back = await enter(s, member.user);
  await joinBy(back, host.roomId, { resumeToken: member.resumeToken });
  assert.equal(back.peerId, 2);
  await quiet(back, host);
});
