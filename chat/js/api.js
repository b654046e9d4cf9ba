// The push API as this page uses it: groups, who is online, the live room. Same origin, no token: a demonstration.

const DEADLINE_MS = 10_000;

/** A call that was refused or not answered; `status` 0: not answered. */
export class ApiError extends Error {
  constructor(status, reason, detail) {
    super(detail || reason);
    this.status = status;
    this.reason = reason;
  }
}

async function call(method, path, body) {
  const headers = body === undefined ? {} : { 'content-type': 'application/json' };
  const options = { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal: AbortSignal.timeout(DEADLINE_MS) };
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw new ApiError(0, 'NETWORK', error.message);
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(response.status, answer.reason ?? '', answer.detail ?? '');
  return answer;
}

/** `{ws: [address], insecure}`. */
export const config = () => call('GET', '/chat/config.json');

/** The group, or null. */
export async function group(id) {
  try {
    return await call('GET', `/v1/groups/${id}`);
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

export const makeGroup = (id, { name, members, owner }) =>
  call('PUT', `/v1/groups/${id}`, { kind: 'group', name, members: members.map(Number), owner: owner === undefined ? undefined : Number(owner) });

export const addMembers = (id, members) => call('POST', `/v1/groups/${id}/members`, { add: members.map(Number) });

/** Those of `mids` who are online. */
export async function online(mids) {
  if (mids.length === 0) return new Set();
  const { users = [] } = await call('POST', '/v1/users:online', { mids: mids.map(Number) });
  return new Set(users.filter((user) => user.online).map((user) => BigInt(user.mid)));
}

/** Says something in a room. */
export const say = (room, from, body) => call('POST', '/v1/messages', { to: { room }, op: 1000, from: Number(from), body: JSON.stringify(body) });

/** How many are in a room. */
export async function inRoom(room) {
  const [type, id] = room.split('://');
  const { online: count = 0 } = await call('GET', `/v1/rooms/${type}/${encodeURIComponent(id)}`);
  return count;
}
