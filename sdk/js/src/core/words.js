// The JSON of the protocol, read with care: what is missing or strange becomes its default.

import { refused } from '../errors.js';
import { toText } from '../frame.js';
import { readJson, readU64 } from '../int64.js';

const HEARTBEAT_MS = 240_000;
const CID_MS = 3_600_000;

/** The body of AUTH. `told`: the cursor that this device has stored, or null. */
export function authBody({ mid, key, platform, deviceId, accepts }, told, token) {
  const rest = { key, platform, device_id: deviceId, accepts, token: token || undefined };
  const cursor = told === null ? '' : `,"pos":${told.pos},"epoch":${told.epoch}`;
  // By hand: these numbers may have more bits than those of JavaScript.
  return `{"mid":${mid}${cursor},${JSON.stringify(rest).slice(1)}`;
}

/** AUTH_REPLY. `place`: where the inbox stands; its epoch is 0 on a node that keeps no messages. */
export function readAuthReply(frame) {
  const json = readJson(toText(frame.body));
  const heartbeatMs = Number(readU64(json.heartbeat_ms));
  return {
    key: json.key,
    server: json.server,
    limits: json.limits ?? {},
    heartbeatMs: heartbeatMs > 0 ? heartbeatMs : HEARTBEAT_MS,
    reconnectMs: Number(json.reconnect_ms),
    place: { epoch: readU64(json.epoch), floor: readU64(json.floor), head: frame.pos, cursor: readU64(json.cursor) },
  };
}

/** What of the server's limits the core itself goes by. */
export function readLimits(limits) {
  return { idEpochMs: Number(readU64(limits.id_epoch_ms)), cidMs: Number(readU64(limits.cid_ms, BigInt(CID_MS))) };
}

/** The error of an ERROR frame; positions of its detail are BigInt, or null where there is none. */
export function refusedBy(frame) {
  const error = refused(readJson(toText(frame.body)));
  if (error.reason !== 'TOO_OLD' && error.reason !== 'EPOCH_CHANGED') return error;
  const { epoch, floor, head } = error.detail;
  error.detail = { epoch: readU64(epoch, null), floor: readU64(floor, null), head: readU64(head, null) };
  return error;
}
