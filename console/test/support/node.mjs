// A real node: the program itself, on free ports of loopback, with a data directory of its own.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL('../../../target', import.meta.url));
const program = [process.env.PERSEID, join(root, 'debug', 'perseid'), join(root, 'release', 'perseid')].find((path) => path && existsSync(path));
const READY_MS = 30_000;

/** Why tests with a real node are skipped, or false. */
export const noNode = program ? false : 'no program: cargo build --package perseid, or set PERSEID to its path';

/** Starts it: `{url, ws, ended, close()}`. `ended` resolves to its exit status. */
export async function startNode(...options) {
  const data = mkdtempSync(join(tmpdir(), 'console-node-'));
  const anywhere = ['--tcp', '127.0.0.1:0', '--ws', '127.0.0.1:0', '--http', '127.0.0.1:0', '--comet-grpc', '127.0.0.1:0', '--logic-grpc', '127.0.0.1:0'];
  const child = spawn(program, ['standalone', '--data-dir', data, ...anywhere, ...options], { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  child.stderr.on('data', (chunk) => {
    log = (log + chunk).slice(-8000);
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const ready = await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`the node is not ready: ${log}`)), READY_MS);
    child.stdout.once('data', (line) => {
      clearTimeout(timer);
      resolve(JSON.parse(line));
    });
    child.once('exit', (status) => reject(new Error(`the node ended with ${status}: ${log}`)));
  });
  return {
    url: `http://${ready.http}`,
    ws: ready.ws[0],
    ended,
    async close() {
      if (child.exitCode === null) child.kill('SIGKILL');
      await ended;
      rmSync(data, { recursive: true, force: true });
    },
  };
}
