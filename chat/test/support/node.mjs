// The program on free ports of loopback, with a data directory of its own, that can be killed and started again.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL('../../../target', import.meta.url));
const program = [process.env.PERSEID, join(root, 'debug', 'perseid'), join(root, 'release', 'perseid')].find((path) => path && existsSync(path));
const READY_MS = 60_000;

/** Why tests with the program are skipped, or false. */
export const noProgram = program ? false : 'no program: cargo build --package perseid, or set PERSEID to its path';

export class Program {
  #data = mkdtempSync(join(tmpdir(), 'chat-node-'));
  #child = null;
  #ended = null;
  #log = '';
  #listen = { tcp: '127.0.0.1:0', ws: '127.0.0.1:0', http: '127.0.0.1:0', 'comet-grpc': '127.0.0.1:0', 'logic-grpc': '127.0.0.1:0' };

  /** The page's address. */
  get url() {
    return `http://${this.#listen.http}/chat/`;
  }

  get ws() {
    return `ws://${this.#listen.ws}/sub`;
  }

  /** Starts it; the second time on the same ports, over the same data. */
  async start() {
    const options = Object.entries(this.#listen).flatMap(([name, address]) => [`--${name}`, address]);
    const child = spawn(program, ['standalone', '--data-dir', this.#data, ...options], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    child.stderr.on('data', (chunk) => {
      this.#log = (this.#log + chunk).slice(-8000);
    });
    this.#ended = new Promise((resolve) => child.once('exit', resolve));
    const ready = await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`the node is not ready: ${this.#log}`)), READY_MS);
      child.stdout.once('data', (line) => {
        clearTimeout(timer);
        resolve(JSON.parse(line));
      });
      child.once('exit', (status) => reject(new Error(`the node ended with ${status}: ${this.#log}`)));
    });
    Object.assign(this.#listen, { tcp: ready.tcp[0], ws: ready.ws[0], http: ready.http, 'comet-grpc': ready.comet_grpc, 'logic-grpc': ready.logic_grpc });
  }

  /** kill -9. */
  async kill() {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }

  async close() {
    if (this.#child?.exitCode === null && this.#child.signalCode === null) await this.kill();
    rmSync(this.#data, { recursive: true, force: true });
  }
}
