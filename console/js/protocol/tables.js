// Names of what the protocol numbers: operations, kinds, flags, close codes.

/** Operations below 1000, by number. */
export const OPERATIONS = new Map([
  [0, 'HANDSHAKE'],
  [1, 'HANDSHAKE_REPLY'],
  [2, 'HEARTBEAT'],
  [3, 'HEARTBEAT_REPLY'],
  [4, 'SEND_MSG'],
  [5, 'SEND_MSG_REPLY'],
  [6, 'DISCONNECT'],
  [7, 'AUTH'],
  [8, 'AUTH_REPLY'],
  [9, 'RAW'],
  [12, 'CHANGE_ROOM'],
  [13, 'CHANGE_ROOM_REPLY'],
  [14, 'SUB'],
  [15, 'SUB_REPLY'],
  [16, 'UNSUB'],
  [17, 'UNSUB_REPLY'],
  [18, 'SYNC'],
  [19, 'SYNC_REPLY'],
  [20, 'ACK'],
  [21, 'ACK_REPLY'],
  [22, 'PULL'],
  [23, 'PULL_REPLY'],
  [24, 'READ'],
  [25, 'READ_REPLY'],
  [26, 'HEADS'],
  [27, 'HEADS_REPLY'],
  [28, 'RECALL'],
  [29, 'RECALL_REPLY'],
  [30, 'EPHEMERAL'],
  [31, 'HEAD'],
  [32, 'ERROR'],
]);

/** Operations by name: `OP.AUTH` is 7. */
export const OP = Object.freeze(Object.fromEntries([...OPERATIONS].map(([code, name]) => [name, code])));

/** Operations whose body is whole frames. */
export const CARRIERS = new Set([OP.RAW, OP.SYNC_REPLY, OP.PULL_REPLY, OP.HEADS_REPLY]);

/** Name of an operation; business operations have none of their own. */
export function operationName(op) {
  return OPERATIONS.get(op) ?? (op >= 1000 ? 'PUSH' : 'UPSTREAM');
}

/** What a frame is about (`kind`), by number. */
export const KINDS = ['notice', 'direct', 'group', 'channel', 'room', 'event'];

/** Bits of `flags`. */
export const FLAGS = Object.freeze({ STORED: 1, MORE: 2, GONE: 4, EPHEMERAL: 8, DUPLICATE: 16, QUIET: 32 });

/** Words of the bits that are set; unknown bits as one hexadecimal number. */
export function flagNames(flags) {
  const names = [];
  let rest = flags;
  for (const [name, bit] of Object.entries(FLAGS)) {
    if (flags & bit) names.push(name);
    rest &= ~bit;
  }
  if (rest) names.push(`0x${rest.toString(16)}`);
  return names;
}

/** Why a session ends, by close code. */
export const CLOSE_REASONS = new Map([
  [4001, 'DRAINING'],
  [4002, 'TOKEN_EXPIRED'],
  [4003, 'SLOW_CONSUMER'],
  [4004, 'RESYNC'],
  [4005, 'HEARTBEAT_TIMEOUT'],
  [4006, 'RATE_LIMITED'],
  [4007, 'HANDSHAKE_TIMEOUT'],
  [4008, 'OVERLOADED'],
  [4010, 'INTERNAL'],
  [4500, 'UNAUTHENTICATED'],
  [4501, 'BAD_FRAME'],
  [4502, 'FRAME_TOO_LARGE'],
  [4503, 'KICKED'],
  [4504, 'CONNECTION_LIMIT'],
  [4505, 'PERMISSION_DENIED'],
  [4506, 'UNSUPPORTED'],
  [4507, 'REPLACED'],
]);

/** Close codes of WebSocket itself (RFC 6455 section 7.4.1, and the two that a browser makes up). */
const WEBSOCKET_REASONS = new Map([
  [1000, 'NORMAL'],
  [1001, 'GOING_AWAY'],
  [1002, 'PROTOCOL_ERROR'],
  [1003, 'UNSUPPORTED_DATA'],
  [1005, 'NO_CODE'],
  [1006, 'CONNECTION_LOST'],
  [1007, 'INVALID_TEXT'],
  [1008, 'POLICY_VIOLATION'],
  [1009, 'MESSAGE_TOO_BIG'],
  [1011, 'SERVER_ERROR'],
  [1015, 'TLS_FAILED'],
]);

/** The word of a close code, or null. */
export function closeName(code) {
  return CLOSE_REASONS.get(code) ?? WEBSOCKET_REASONS.get(code) ?? null;
}

/** What a client should do after a close: true come back, false do not, null the code does not say. */
export function comesBack(code) {
  if (code >= 4000 && code <= 4499) return true;
  if (code >= 4500 && code <= 4999) return false;
  return null;
}
