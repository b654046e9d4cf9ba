// Names of what the protocol numbers.

/** Operations. From 1000 on they are the business' own. */
export const OP = Object.freeze({
  HEARTBEAT: 2,
  HEARTBEAT_REPLY: 3,
  SEND_MSG: 4,
  SEND_MSG_REPLY: 5,
  DISCONNECT: 6,
  AUTH: 7,
  AUTH_REPLY: 8,
  RAW: 9,
  CHANGE_ROOM: 12,
  CHANGE_ROOM_REPLY: 13,
  SUB: 14,
  SUB_REPLY: 15,
  UNSUB: 16,
  UNSUB_REPLY: 17,
  SYNC: 18,
  SYNC_REPLY: 19,
  ACK: 20,
  ACK_REPLY: 21,
  PULL: 22,
  PULL_REPLY: 23,
  READ: 24,
  READ_REPLY: 25,
  HEADS: 26,
  HEADS_REPLY: 27,
  RECALL: 28,
  RECALL_REPLY: 29,
  EPHEMERAL: 30,
  HEAD: 31,
  ERROR: 32,
});

/** What a frame is about. */
export const KIND = Object.freeze({ NOTICE: 0, DIRECT: 1, GROUP: 2, CHANNEL: 3, ROOM: 4, EVENT: 5 });

/** Names of kinds, by number. */
export const KIND_NAMES = Object.freeze(['notice', 'direct', 'group', 'channel', 'room', 'event']);

/** Bits of `flags`. */
export const FLAG = Object.freeze({ STORED: 1, MORE: 2, GONE: 4, EPHEMERAL: 8, DUPLICATE: 16, QUIET: 32 });

/** Why a session ends: close codes with a meaning of their own here. */
export const CLOSE = Object.freeze({
  DRAINING: 4001,
  TOKEN_EXPIRED: 4002,
  SLOW_CONSUMER: 4003,
  RESYNC: 4004,
  UNAUTHENTICATED: 4500,
  REPLACED: 4507,
});

/** Whether a client should come back after a close with this code. Codes of WebSocket itself say nothing, so it does. */
export function comesBack(code) {
  return !(code >= 4500 && code <= 4999);
}
