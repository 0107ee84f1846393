// A lean WebSocket client for many sockets in one process: frames are gathered into one write, and
// what comes is counted by type; only what a test waits for is read as JSON.
import net from 'node:net';
import { within } from '../wire/server.mjs';

const MASK = [0x9a, 0x27, 0x41, 0xf3];
const UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n'
  + 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='; // of that key (RFC 6455, 1.3)
const TYPE_AT = 9; // behind {"type":"

export const sent = {}; // messages by type, all sockets
export const received = {};
export const shakeless = (user) => user.index % 4 === 3;

/* A masked frame (RFC 6455, 5.2). */
function frame(opcode, payload) {
  const bytes = payload.length;
  const wide = bytes < 126 ? 0 : bytes < 65536 ? 2 : 8;
  const out = Buffer.allocUnsafe(6 + wide + bytes);
  out[0] = 0x80 | opcode;
  out[1] = 0x80 | (wide === 0 ? bytes : wide === 2 ? 126 : 127);
  if (wide === 2) out.writeUInt16BE(bytes, 2);
  if (wide === 8) out.writeBigUInt64BE(BigInt(bytes), 2);
  const at = 6 + wide;
  for (let i = 0; i < 4; i++) out[at - 4 + i] = MASK[i];
  for (let i = 0; i < bytes; i++) out[at + i] = payload[i] ^ MASK[i & 3];
  return out;
}

export class Socket {
  static async open(server, user) {
    const socket = new Socket();
    socket.tcp = net.connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true });
    socket.tcp.setNoDelay(true);
    socket.bytes = Buffer.alloc(0);
    socket.out = [];
    socket.waiting = new Map(); // by type, who waits for the next of it
    socket.tests = []; // {test, resolve}, asked after each read
    socket.pings = 0;
    socket.pongs = 0;
    socket.over = new Promise((resolve) => { socket.isOver = resolve; });
    socket.tcp.on('data', (more) => socket.take(more));
    socket.tcp.on('end', () => { socket.tcp.end(); socket.isOver(); });
    socket.tcp.on('close', () => socket.isOver());
    socket.tcp.on('error', () => socket.isOver());
    socket.tcp.write(`GET /ws?token=${user.token} HTTP/1.1\r\nHost: localhost\r\n${UPGRADE}\r\n`);
    await within(new Promise((resolve, reject) => {
      socket.upgraded = resolve;
      socket.over.then(() => reject(new Error('closed before it was a socket')));
    }), 'an upgrade');
    return socket;
  }

  /* -- out -- */

  say(type, data) {
    this.sayText(`{"type":"${type}","data":${JSON.stringify(data)}}`, type);
    if (type === 'ping') this.pings++;
  }

  sayText(text, type) {
    sent[type] = (sent[type] ?? 0) + 1;
    this.out.push(frame(1, Buffer.from(text)));
    if (this.out.length === 1) setImmediate(() => this.flush());
  }

  flush() {
    if (this.out.length) this.tcp.write(Buffer.concat(this.out));
    this.out = [];
  }

  /* -- in -- */

  take(more) {
    let bytes = this.bytes.length ? Buffer.concat([this.bytes, more]) : more;
    if (this.upgraded) {
      const head = bytes.indexOf('\r\n\r\n');
      if (head < 0) {
        this.bytes = bytes;
        return;
      }
      const text = bytes.subarray(0, head).toString('latin1');
      if (!text.startsWith('HTTP/1.1 101 ') || !text.includes(ACCEPT)) throw new Error(text);
      bytes = bytes.subarray(head + 4);
      this.upgraded();
      this.upgraded = undefined;
    }
    this.bytes = this.frames(bytes);
    this.tests = this.tests.filter(({ test, resolve }) => !test() || resolve());
  }

  /* All whole frames; gives what is left. */
  frames(bytes) {
    let at = 0;
    while (bytes.length - at >= 2) {
      let head = 2;
      let count = bytes[at + 1];
      if (count > 127) throw new Error('a masked frame');
      if (count >= 126) {
        head = count === 126 ? 4 : 10;
        if (bytes.length - at < head) break;
        count = head === 4 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2));
      }
      if (bytes.length - at < head + count) break;
      this.event(bytes[at], bytes, at + head, at + head + count);
      at += head + count;
    }
    return bytes.subarray(at);
  }

  event(first, bytes, from, to) {
    if (first === 0x81) {
      let end = from + TYPE_AT;
      while (bytes[end] !== 0x22) end++;
      this.message(bytes.latin1Slice(from + TYPE_AT, end), bytes, from, to);
    } else if (first === 0x88) {
      this.code = to - from >= 2 ? bytes.readUInt16BE(from) : 0;
    } else if (first === 0x89) {
      this.tcp.write(frame(10, bytes.subarray(from, to)));
    } else {
      throw new Error(`a frame that begins with ${first}`);
    }
  }

  message(type, bytes, from, to) {
    if (this.code !== undefined) throw new Error('a message behind the close frame');
    received[type] = (received[type] ?? 0) + 1;
    if (type === 'pong') this.pongs++;
    if (type === 'player_state' && this.newest) {
      const { peerId, position } = JSON.parse(bytes.utf8Slice(from, to)).data;
      if (this.newest.get(peerId) > position) throw new Error('an older state behind a newer');
      this.newest.set(peerId, position);
    }
    const list = this.waiting.get(type);
    if (list) {
      this.waiting.delete(type);
      const { data } = JSON.parse(bytes.utf8Slice(from, to));
      for (const resolve of list) resolve(data);
    }
  }

  /* -- waiting -- */

  next(type) {
    return within(new Promise((resolve) => {
      const list = this.waiting.get(type);
      if (list) list.push(resolve);
      else this.waiting.set(type, [resolve]);
    }), type, 60000);
  }

  until(test) {
    return within(new Promise((resolve) => {
      if (test()) resolve();
      else this.tests.push({ test, resolve });
    }), 'something that a socket waits for', 60000);
  }

  /* Every ping is answered. */
  settled() {
    return this.until(() => this.pongs === this.pings);
  }

  /* All that this socket said before is done. */
  synced() {
    this.say('ping', {});
    return this.settled();
  }

  /* -- ends -- */

  pause() {
    this.tcp.pause();
  }

  resume() {
    this.tcp.resume();
  }

  ended() {
    return within(this.over, 'the end of a socket', 60000);
  }

  /* The polite way: a close frame, which is answered. */
  close() {
    this.flush();
    this.tcp.write(frame(8, Buffer.from([3, 232])));
    return this.ended();
  }

  /* FIN alone; what is on its way still comes. */
  end() {
    this.flush();
    this.tcp.end();
    return this.ended();
  }

  /* The connection is reset. */
  reset() {
    this.tcp.resetAndDestroy();
  }
}
