// The double behind a WebSocket on a free port of loopback. As a program: node test/support/server.mjs [port]

import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

import { Peer } from './peer.mjs';
import { accept } from './websocket.mjs';
import { World } from './world.mjs';

/** `{url, world, cut(), close()}`: `cut()` drops every connection without a word, as a killed process does. */
export async function startServer({ world = new World(), port = 0, onRequest = null } = {}) {
  const sockets = new Set();
  const clock = () => (world.nowMs = Date.now());
  clock();
  const server = createServer((request, response) => {
    if (onRequest === null || !onRequest(request, response, world)) response.writeHead(404).end();
  });
  server.on('upgrade', (request, socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    let peer = null;
    const connection = accept(request, socket, {
      onMessage(bytes) {
        clock();
        peer.receive(bytes);
      },
      onClose: () => peer.gone(),
    });
    peer = new Peer(world, { send: (bytes) => connection.send(bytes), close: (code, reason) => connection.close(code, reason) });
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  const cut = () => sockets.forEach((socket) => socket.destroy());
  return {
    world,
    port: server.address().port,
    url: `ws://127.0.0.1:${server.address().port}/sub`,
    cut,
    close() {
      cut();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { url } = await startServer({ port: Number(process.argv[2] ?? 3102) });
  console.log(url);
}
