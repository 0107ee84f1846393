// A peer of the benchmark: the rooms that load.c uses, as one writes them with Node's ws. It keeps
// no accounts: whatever token comes is taken. Prints its port and runs until SIGTERM.
import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const { WebSocket, WebSocketServer } = require('/usr/share/nodejs/ws'); // Debian's node-ws
const waiting = new Map(); // gamemode: the room that has seats left

const text = (type, data) => JSON.stringify({ type, data });

function send(socket, type, data) {
  if (socket.readyState === WebSocket.OPEN) socket.send(text(type, data));
}

/* To all members but `except`, printed once. */
function broadcast(room, except, type, data) {
  const message = text(type, data);
  for (const socket of room.members) {
    if (socket !== except && socket.readyState === WebSocket.OPEN) socket.send(message);
  }
}

const fail = (socket, reason) => send(socket, 'error', { reason, message: reason });

const handlers = {
  handshake(socket, { name }) {
    socket.name = name;
    send(socket, 'handshake_accepted', { peer_id: 0, user_id: null, username: name });
  },

  quick_join(socket, { gamemode, mapName = '', maxPlayers = 8, name }) {
    if (socket.room) return fail(socket, 'already_in_room');
    let room = waiting.get(gamemode);
    if (!room) {
      room = { id: randomUUID(), gamemode, mapName, maxPlayers, members: [], nextPeer: 1 };
      waiting.set(gamemode, room);
    }
    socket.room = room;
    socket.name = name;
    socket.peerId = room.nextPeer++;
    room.members.push(socket);
    if (room.members.length >= room.maxPlayers) waiting.delete(gamemode);
    const members = room.members.map((member, i) =>
      ({ peerId: member.peerId, name: member.name, isHost: i === 0 }));
    send(socket, 'room_joined', {
      roomId: room.id, peerId: socket.peerId, members, gamemode, mapName: room.mapName,
    });
    broadcast(room, socket, 'peer_joined', { peerId: socket.peerId, name });
  },

  rpc_call(socket, { targetPeer = 0, method, args = null }) {
    const { room } = socket;
    if (!room) return fail(socket, 'not_in_room');
    const data = { fromPeer: socket.peerId, method, args };
    if (targetPeer === 0) return broadcast(room, socket, 'rpc_call', data);
    const member = room.members.find((other) => other.peerId === targetPeer);
    return member ? send(member, 'rpc_call', data) : fail(socket, 'invalid_target');
  },
};

function received(socket, bytes) {
  let message;
  try {
    message = JSON.parse(bytes);
  } catch {
    return fail(socket, 'bad_json');
  }
  const handler = Object.hasOwn(handlers, message?.type) && handlers[message.type];
  return handler ? handler(socket, message.data ?? {}) : fail(socket, 'unknown_type');
}

function left(socket) {
  const { room } = socket;
  if (!room) return;
  room.members.splice(room.members.indexOf(socket), 1);
  broadcast(room, socket, 'peer_left', { peerId: socket.peerId });
  if (!room.members.length && waiting.get(room.gamemode) === room) waiting.delete(room.gamemode);
}

const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false });
server.on('connection', (socket) => {
  socket.on('message', (bytes) => received(socket, bytes));
  socket.on('close', () => left(socket));
  socket.on('error', () => {});
});
server.on('listening', () => console.log(server.address().port));
