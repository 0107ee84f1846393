// What players do with a server, whatever its size: lobbies over HTTP, a room over WebSocket,
// positions over UDP.
import assert from 'node:assert/strict';
import { BinaryPlayer, Player } from '../wire/datagrams.mjs';
import { get, post, refused, request } from '../wire/server.mjs';
import { enter, join, makeRoom, signIn } from '../wire/socket.mjs';

const NOWHERE = { x: 0, y: 0, z: 0 };

export async function lobbies(board) {
  const made = await post(board, '/lobbies', { code: 'CAVE', scene: 'cave', max_players: 4 });
  assert.equal(made.status, 200, made.text);
  assert.match(made.json.created_at, /^1970-01-01T00:/); // the board does not know the date
  assert.deepEqual(made.json, { code: 'CAVE', player_count: 0, max_players: 4, players: [],
    server_ip: board.host, udp_port: board.udp, scene: 'cave',
    created_at: made.json.created_at });
  assert.deepEqual((await get(board, '/lobbies?scene=cave')).json, [made.json]);
  refused(await post(board, '/lobbies', { code: 'CAVE' }), 409, 'lobby_exists');
  const joined = await post(board, '/lobbies/cave/join', { player_name: 'Ada' });
  assert.equal(joined.json.player_id, 1);
  assert.match(joined.json.udp_token, /^[0-9a-f]{32}$/);
  assert.deepEqual((await get(board, '/lobbies/CAVE')).json.players, [{ id: 1, name: 'Ada' }]);
  const { udp_token } = joined.json;
  assert.deepEqual(
    (await post(board, '/lobbies/CAVE/leave', { player_id: 1, udp_token })).json,
    { status: 'ok' },
  );
  assert.equal((await request(board, 'DELETE', '/lobbies/CAVE')).status, 200);
  refused(await get(board, '/lobbies/CAVE'), 404, 'lobby_not_found');
}

export async function room(board) {
  const [ada, bob] = [await signIn(board, 'Ada'), await signIn(board, 'Bob')];
  const id = await makeRoom(board, ada);
  const host = await join(board, id, ada);
  const guest = await join(board, id, bob);
  assert.deepEqual([host.peerId, guest.peerId], [1, 2]);
  await host.hears('peer_joined', { peerId: 2, name: 'Bob' });
  const text = 'Grüße aus dem Gerät';
  host.send('chat', { text });
  assert.deepEqual((await guest.next('chat')).data, { from: 1, fromName: 'Ada', text });
  guest.send('rpc_call', { targetPeer: 1, method: 'fire', args: [1, 'two'] });
  assert.deepEqual((await host.next('rpc_call')).data.args, [1, 'two']);
  await guest.close();
  await host.close();
}

export async function positions(t, board, code) {
  assert.equal((await post(board, '/lobbies', { code, max_players: 4 })).status, 200);
  const json = await Player.enter(t, board, code, { name: 'Ada' });
  const binary = await BinaryPlayer.enter(t, board, code, { name: 'Bob' });
  assert.deepEqual([json.welcome.player_id, json.welcome.tick_hz], [1, 20]);
  assert.deepEqual([binary.welcome.player_id, binary.welcome.tick_hz], [2, 20]);
  const position = { x: 1.5, y: -0.25, z: 12.345678901234567 };
  const rotation = { x: 0, y: 3.14159, z: -1e-7 };
  await json.send({ type: 'position_update', player_id: 1, position, rotation });
  const [entry] = (await binary.next('snapshot', (m) => m.entries.length)).entries;
  assert.deepEqual([entry.id, entry.position],
    [1, { x: 1.5, y: -0.25, z: Math.fround(position.z) }]);
  await binary.move([4.5, 0.125, -6]);
  const update = await json.next('position_update');
  assert.deepEqual([update.player_id, update.position],
    [2, { x: 4.5, y: 0.125, z: -6 }]);
  const sync = await json.next('state_sync', (m) => m.players[0]?.position.x === 4.5);
  assert.deepEqual(sync.players, [{ id: 2, name: 'Bob', position: { x: 4.5, y: 0.125, z: -6 },
    rotation: NOWHERE, weapon_id: null }]);
  await json.send({ type: 'ping', t: 17.25 });
  assert.equal((await json.next('pong')).t, 17.25);
  for (const { id, token } of [json, binary]) {
    await post(board, `/lobbies/${code}/leave`, { player_id: id, udp_token: token });
  }
  for (const player of [json, binary]) player.close();
  assert.equal((await request(board, 'DELETE', `/lobbies/${code}`)).status, 200);
}
