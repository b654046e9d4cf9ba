// The server's half of WebSocket, as much as the doubles of tests need: unfragmented messages, ping, close.

import { createHash } from 'node:crypto';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const MESSAGE_MAX = 1024 * 1024;

/** Answers an upgrade. `onMessage(bytes)` for binary messages, `onClose()` once. */
export function accept(request, socket, { onMessage, onClose }) {
  const key = createHash('sha1').update(request.headers['sec-websocket-key'] + GUID).digest('base64');
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${key}\r\n\r\n`,
  );
  let rest = Buffer.alloc(0);
  const write = (opcode, body) => {
    if (!socket.destroyed) socket.write(Buffer.concat([head(opcode, body.length), body]));
  };
  const connection = {
    send: (bytes) => write(2, Buffer.from(bytes)),
    close(code, reason = '') {
      const body = Buffer.alloc(2 + Buffer.byteLength(reason));
      body.writeUInt16BE(code);
      body.write(reason, 2);
      write(8, body);
      socket.end();
    },
  };
  socket.on('data', (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    for (let read = next(rest); read !== null; read = next(rest)) {
      rest = rest.subarray(read.size);
      if (read.size === Infinity) return socket.destroy();
      if (read.opcode === 2) onMessage(read.body);
      else if (read.opcode === 9) write(10, read.body);
      else if (read.opcode === 8) {
        write(8, read.body.subarray(0, 2));
        return socket.end();
      }
    }
  });
  socket.on('close', onClose);
  socket.on('error', () => {});
  return connection;
}

function head(opcode, length) {
  if (length < 126) return Buffer.from([0x80 | opcode, length]);
  const bytes = Buffer.alloc(length < 65536 ? 4 : 10);
  bytes[0] = 0x80 | opcode;
  bytes[1] = length < 65536 ? 126 : 127;
  if (length < 65536) bytes.writeUInt16BE(length, 2);
  else bytes.writeBigUInt64BE(BigInt(length), 2);
  return bytes;
}

// The first masked frame of `bytes`, or null while it is not all there.
function next(bytes) {
  if (bytes.length < 2) return null;
  const short = bytes[1] & 0x7f;
  const extra = short === 126 ? 2 : short === 127 ? 8 : 0;
  const start = 2 + extra + 4;
  if (bytes.length < start) return null;
  const length = extra === 2 ? bytes.readUInt16BE(2) : extra === 8 ? Number(bytes.readBigUInt64BE(2)) : short;
  if (length > MESSAGE_MAX || !(bytes[1] & 0x80)) return { size: Infinity };
  if (bytes.length < start + length) return null;
  const mask = bytes.subarray(start - 4, start);
  const body = Buffer.from(bytes.subarray(start, start + length));
  body.forEach((byte, index) => {
    body[index] = byte ^ mask[index % 4];
  });
  return { opcode: bytes[0] & 0x0f, body, size: start + length };
}
