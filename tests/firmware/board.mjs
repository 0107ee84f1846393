// A board in QEMU for the tests of the firmware: its UART, its network, its switch. Runs within
// tests/firmware/netns.sh.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Conn, parseMetrics, requestText, until, within } from '../wire/server.mjs';

export const SEED_ADDRESS = '0x21ffff00';
const READY = /^mpserver (\S+) ready http=(\S+):(\d+) udp=(\S+):(\d+)$/m;
const USAGE = /^up (\d+)ms INFO {2}lwip (.*)$/gm;
const ALIASES = 80; // of netns.sh

export const alias = (index) => `10.0.2.${100 + index % ALIASES}`;
const execute = promisify(execFile);
export const ip = (...words) => execute('ip', words);

/* A QEMU whose monitor and debugger can be spoken to; `capture` keeps its frames in a file. */
export class Board {
  static async start(t, image, { seed = randomBytes(64), capture = false } = {}) {
    const board = new Board();
    board.dir = mkdtempSync(join(tmpdir(), 'mpserver-board-'));
    board.path = (name) => join(board.dir, name);
    const words = ['-M', 'mps2-an385', '-kernel', `build/firmware/${image}`, '-no-reboot',
      '-display', 'none', '-serial', 'stdio',
      '-monitor', `unix:${board.path('monitor')},server=on,wait=off`,
      '-gdb', `unix:${board.path('gdb')},server=on,wait=off`,
      '-netdev', 'tap,id=n0,ifname=board,script=no,downscript=no',
      '-net', 'nic,model=lan9118,netdev=n0'];
    if (seed) {
      writeFileSync(board.path('seed'), seed);
      words.push('-device',
        `loader,file=${board.path('seed')},addr=${SEED_ADDRESS},force-raw=on`);
    }
    if (capture) {
      board.capture = board.path('frames.pcap');
      words.push('-object', `filter-dump,id=f0,netdev=n0,file=${board.capture}`);
    }
    board.uart = '';
    board.child = spawn('qemu-system-arm', words);
    board.child.stdout.on('data', (bytes) => { board.uart += bytes; });
    board.child.stderr.on('data', (bytes) => { board.uart += `QEMU: ${bytes}`; });
    board.ended = new Promise((resolve) => { board.child.on('close', resolve); });
    t.after(async () => {
      await board.off();
      rmSync(board.dir, { recursive: true });
    });
    return board;
  }

  /* Switched on, and serving. */
  static async boot(t, image, options) {
    const board = await Board.start(t, image, options);
    const [, version, host, port, , udp] = await board.says(READY);
    return Object.assign(board, { version, host, port: Number(port), udp: Number(udp) });
  }

  async off() {
    this.child.kill('SIGKILL');
    await this.ended;
  }

  /* The first match in what the UART said. */
  async says(pattern) {
    return until(() => this.uart.match(pattern), Boolean, `${pattern} on the UART: ${this.uart}`);
  }

  /* lwIP's memory right now: {pbufs: {used, most, limit, errors}, ..., up, received, ...}. */
  async usage() {
    const before = [...this.uart.matchAll(USAGE)].length;
    this.child.stdin.write('?');
    const lines = await until(() => [...this.uart.matchAll(USAGE)],
      (all) => all.length > before, 'the usage of lwIP');
    const [, up, text] = lines.at(-1);
    const usage = { up: Number(up) };
    for (const [, name, value] of text.matchAll(/(\w+)=(\S+)/g)) {
      const [used, most, limit, errors] = value.split('/').map(Number);
      usage[name] = most === undefined ? used : { used, most, limit, errors };
    }
    return usage;
  }

  /* One line to QEMU's monitor; what it answers. */
  async monitor(line) {
    const socket = net.connect(this.path('monitor'));
    let text = '';
    socket.on('data', (bytes) => { text += bytes; });
    const prompts = (count) => until(() => text.split('(qemu) ').length > count, Boolean, line);
    await prompts(1);
    socket.write(`${line}\n`);
    await prompts(2);
    socket.destroy();
    return text.split('(qemu) ')[1];
  }

  /* Sends the processor to `address`, as a wild pointer to a function would. */
  async jump(address) {
    const socket = net.connect(this.path('gdb'));
    let text = '';
    socket.on('data', (bytes) => { text += bytes; });
    const tell = (packet) => {
      const sum = [...packet].reduce((total, c) => total + c.charCodeAt(0), 0) & 255;
      socket.write(`$${packet}#${sum.toString(16).padStart(2, '0')}`);
    };
    const value = Buffer.alloc(4);
    value.writeUInt32LE(address);
    tell('?');
    await until(() => text.includes('$T05'), Boolean, 'the debugger');
    tell('qXfer:features:read:target.xml:0,ffb'); // else it lets nobody write a register
    await until(() => text.includes('<?xml'), Boolean, 'the registers');
    socket.write('+');
    tell(`Pf=${value.toString('hex')}`);
    await until(() => text.includes('$OK'), Boolean, 'a register');
    socket.write('+');
    tell('c');
    await within(this.ended, 'end of QEMU');
    socket.destroy();
  }
}

/* A connection that ends with the test, whatever becomes of it. */
export async function open(t, board, options) {
  const conn = await Conn.open(board, options);
  t.after(() => conn.close());
  return conn;
}

export async function metrics(board, options) {
  const conn = await Conn.open(board, options);
  const answer = await conn.ask(requestText('GET', '/metrics'));
  conn.close();
  assert.equal(answer.status, 200, answer.text);
  return parseMetrics(answer.text);
}

/* What a client's kernel takes of an answer that nobody reads: least, usual, most. */
export function receiveBuffer(bytes) {
  writeFileSync('/proc/sys/net/ipv4/tcp_rmem', bytes);
}

/* Everything of lwIP's is given back; connections that lwIP still remembers are gone soon. */
export async function atRest(board, ms) {
  const idle = (usage) => ['pbufs', 'spans', 'segments', 'pcbs', 'heap']
    .every((name) => usage[name].used === 0);
  return until(() => board.usage(), idle, 'rest', ms);
}
