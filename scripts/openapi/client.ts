// A client as a stranger makes it: types from the node's own /openapi.json by openapi-typescript, calls by openapi-fetch. It is
// type-checked before it runs, so each line also says that the document describes what is used here.
import createClient from "openapi-fetch";
import type { components, paths } from "./perseid.js";

const [url = "", token = ""] = process.argv.slice(2);
const api = createClient<paths>({ baseUrl: url, headers: { authorization: `Bearer ${token}` } });
const stranger = createClient<paths>({ baseUrl: url });

let passed = 0;
let failed = 0;

function check(what: string, is: boolean, seen: unknown): void {
  if (is) {
    passed += 1;
    console.log(`ok: ${what}`);
  } else {
    failed += 1;
    console.log(`not ok: ${what}: ${JSON.stringify(seen)}`);
  }
}

async function isOnline(mid: number): Promise<boolean> {
  const { data } = await api.POST("/v1/users:online", { body: { mids: [mid] } });
  return data?.users[0]?.online ?? false;
}

// The session that scripts/test-openapi opened.
for (let at = 0; at < 200 && !(await isOnline(7)); at += 1) {
  await new Promise((resolve) => setTimeout(resolve, 50));
}
check("a user is online", await isOnline(7), null);

const user = await api.GET("/v1/users/{mid}", { params: { path: { mid: 7 } } });
const session: components["schemas"]["Session"] | undefined = user.data?.sessions[0];
check("his session is shown", session?.key === "web-1" && session.since_ms > 0, user.error ?? user.data);

const push = await api.POST("/v1/messages", { body: { to: { mids: [7] }, body: "from a made client", id: "once" } });
check("a push is accepted", push.data?.accepted === true && push.data.recipients === 1 && /^\d+$/.test(push.data.id), push.error ?? push.data);
const again = await api.POST("/v1/messages", { body: { to: { mids: ["7"] }, body: "from a made client", id: "once" } });
check("the same again is a duplicate", again.data?.duplicate === true && again.data.id === push.data?.id, again.error ?? again.data);

const conflict = await api.POST("/v1/messages", { body: { to: { all: true }, body: "other", id: "once" } });
check("a refusal has its reason", conflict.error?.reason === "CONFLICT" && conflict.response.status === 409, conflict.error);

const batch = await api.POST("/v1/messages:batch", {
  body: { messages: [{ to: { room: "live://1" }, body_base64: "AAH/" }, { to: {}, body: "to nobody" }] },
});
const outcomes = batch.data?.results.map((result) => ("accepted" in result ? "accepted" : result.reason));
check("each message of a batch has its answer", outcomes?.join() === "accepted,BAD_REQUEST", batch.error ?? batch.data);

const rooms = await api.GET("/v1/rooms", { params: { query: { type: "live", limit: 5 } } });
check("rooms", rooms.data?.rooms[0]?.room === "live://1" && rooms.data.rooms[0].online === 1, rooms.error ?? rooms.data);
const room = await api.GET("/v1/rooms/{type}/{id}", { params: { path: { type: "live", id: "1" } } });
check("one room", room.data?.online === 1, room.error ?? room.data);

const nodes = await api.GET("/v1/nodes");
const id = nodes.data?.nodes[0]?.id ?? "";
const drain = await api.GET("/v1/nodes/{id}:drain", { params: { path: { id } } });
check("a node and its drain", drain.data?.draining === false && drain.data.sessions === 1, drain.error ?? drain.data);

const refused = await stranger.GET("/v1/users/{mid}", { params: { path: { mid: 7 } } });
check("who has no token is refused", refused.response.status === 401 && refused.error?.reason === "UNAUTHENTICATED", refused.error);

const kick = await api.DELETE("/v1/users/{mid}/sessions", { params: { path: { mid: 7 }, query: { reason: "out" } } });
check("a kick ends the session", kick.data?.ended === 1, kick.error ?? kick.data);
for (let at = 0; at < 200 && (await isOnline(7)); at += 1) {
  await new Promise((resolve) => setTimeout(resolve, 50));
}
check("the user is offline", !(await isOnline(7)), null);

const ready = await stranger.GET("/readyz");
check("ready", ready.data?.ready === true, ready.error ?? ready.data);

console.log(`# pass ${passed}`);
console.log(`# fail ${failed}`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
