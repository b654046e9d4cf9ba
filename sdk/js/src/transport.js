// One WebSocket: bytes in, bytes out, nothing else. In browsers their own, in Node from 22 on the global one.

import { PerseidError } from './errors.js';

/** The WebSocket class of this place. Throws where there is none. */
export function webSocketClass(given) {
  const found = given ?? globalThis.WebSocket;
  if (typeof found === 'function') return found;
  throw new PerseidError('NO_WEBSOCKET', 'this runtime has no WebSocket: use Node 22 or later, or pass a class as the option WebSocket');
}

/**
 * Connects to `url`. Calls `opened()`, `received(bytes)` for each binary message and `closed({code, reason})` once; after
 * `close()` none of them any more. What is sent before it is open is lost.
 */
export function openSocket(Socket, url, { opened, received, closed }) {
  let over = false;
  const end = (result) => {
    if (over) return;
    over = true;
    closed(result);
  };
  let socket;
  try {
    socket = new Socket(url);
  } catch (error) {
    queueMicrotask(() => end({ code: 0, reason: error.message }));
    return { send() {}, close: () => (over = true) };
  }
  socket.binaryType = 'arraybuffer';
  socket.addEventListener('open', () => over || opened());
  socket.addEventListener('message', ({ data }) => {
    if (over) return;
    if (data instanceof ArrayBuffer) received(new Uint8Array(data));
    else if (ArrayBuffer.isView(data)) received(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    else {
      socket.close(1003);
      end({ code: 1003, reason: 'TEXT' });
    }
  });
  // The event `error` says nothing that `close` does not say; classes for Node want it listened to.
  socket.addEventListener('error', () => {});
  socket.addEventListener('close', ({ code, reason }) => end({ code, reason }));
  return {
    send(bytes) {
      if (socket.readyState === 1) socket.send(bytes);
    },
    close() {
      over = true;
      socket.close(1000);
    },
  };
}
