/**
 * One rule for 64-bit numbers (mids, conversations, positions, epochs, message ids, cids): what the SDK gives is `bigint`;
 * what it takes is `bigint`, an integer `number` below 2^53, or a decimal `string`. Nothing is ever rounded.
 */
export type Int64Like = bigint | number | string;

export type Bytes = string | Uint8Array | ArrayBuffer;

/** What a message is about. */
export declare const KIND: Readonly<{ NOTICE: 0; DIRECT: 1; GROUP: 2; CHANNEL: 3; ROOM: 4; EVENT: 5 }>;
export type Kind = 0 | 1 | 2 | 3 | 4 | 5;
/** Kinds of conversations that a client may write to. */
export type ConversationKind = 1 | 2 | 3;

export declare const FLAG: Readonly<{ STORED: 1; MORE: 2; GONE: 4; EPHEMERAL: 8; DUPLICATE: 16; QUIET: 32 }>;
export declare const OP: Readonly<Record<string, number>>;

/** The body of an event. */
export interface EventBody {
  type: 'read' | 'recall' | 'members' | 'convert' | 'deleted' | 'blocked' | 'rejected' | (string & {});
  conv_pos?: number;
  [name: string]: unknown;
}

export declare class Message {
  private constructor();
  /** Identity; never a cursor. */
  readonly id: bigint;
  /** 4 for a user's message; a business operation for what a business pushed. */
  readonly op: number;
  readonly kind: Kind;
  readonly type: 'notice' | 'direct' | 'group' | 'channel' | 'room' | 'event' | 'unknown';
  /** Position in the user's inbox, or in the room; 0n for what has none. */
  readonly pos: bigint;
  /** The peer's mid, the group's id, or the room's hash. */
  readonly conv: bigint;
  readonly convPos: bigint;
  /** The sender's mid; 0n is the system. */
  readonly from: bigint;
  /** The id that the sender chose. */
  readonly cid: bigint;
  readonly stored: boolean;
  /** This position holds nothing any more: recalled, say. */
  readonly gone: boolean;
  /** Does not count as unread. */
  readonly quiet: boolean;
  /** When it was accepted, ms since 1970; 0 if unknown. */
  readonly acceptedMs: number;
  readonly body: Uint8Array;
  /** The body as UTF-8. */
  readonly text: string;
  /** The body as a JSON object; empty if it is none. */
  readonly json: Record<string, unknown>;
  /** What an event (`kind` 5) says; null for everything else. */
  readonly event: EventBody | null;
}

export declare class PerseidError extends Error {
  /** An UPPER_SNAKE word: `NOT_MEMBER`, `TOO_LARGE`, `HANDLER_FAILED` … */
  readonly reason: string;
  /** The protocol's code, or 0. */
  readonly code: number;
  /** The same call may succeed later. */
  readonly retryable: boolean;
  readonly retryAfterMs: number | null;
  readonly detail: Record<string, unknown>;
}
/** The server refused a request. */
export declare class RefusedError extends PerseidError {}
/** The session ended. `comesBack`: the client connects again by itself. */
export declare class DisconnectedError extends PerseidError {
  readonly comesBack: boolean;
}
export declare class TimeoutError extends PerseidError {}
export declare class ClosedError extends PerseidError {}
export declare class StorageError extends PerseidError {}
export declare class FullError extends PerseidError {}

export interface Cursor {
  epoch: bigint;
  pos: bigint;
}

/** A message on its way out. */
export interface OutboxEntry {
  cid: bigint;
  kind: ConversationKind;
  conv: bigint;
  body: Uint8Array;
  quiet: boolean;
  atMs: number;
}

type Awaitable<T> = T | Promise<T>;

/** What has to survive a restart. Methods may be asynchronous; when one resolves, it is kept. */
export interface Storage {
  open(): Awaitable<{ cursor: Cursor | null; entries: OutboxEntry[] }>;
  put(entry: OutboxEntry): Awaitable<void>;
  /** A new cursor, if given, and entries (by cid) that are done: both or neither. */
  commit(change: { cursor?: Cursor; done?: bigint[] }): Awaitable<void>;
  close(): Awaitable<void>;
}

/** As long as the object lives. */
export declare class MemoryStorage implements Storage {
  open(): { cursor: Cursor | null; entries: OutboxEntry[] };
  put(entry: OutboxEntry): void;
  commit(change: { cursor?: Cursor; done?: bigint[] }): void;
  close(): void;
}

/** In IndexedDB, under a name: one for each user and device. A second tab with the same name gets `STORAGE_BUSY`. */
export declare class IndexedDbStorage implements Storage {
  constructor(name: string);
  open(): Promise<{ cursor: Cursor | null; entries: OutboxEntry[] }>;
  put(entry: OutboxEntry): Promise<void>;
  commit(change: { cursor?: Cursor; done?: bigint[] }): Promise<void>;
  close(): void;
}

export interface ClientOptions {
  /** The WebSocket address of a comet: `ws://127.0.0.1:3102/sub`. */
  url: string;
  /** The user. 0 or less is a guest: transient pushes only. */
  mid: Int64Like;
  /** What the node asks for; a function is called for each connection. */
  token?: string | (() => Awaitable<string>);
  /** Names the cursor on the server. Default: `platform`. */
  deviceId?: string;
  /** Default: `web`. */
  platform?: string;
  /** Session key; the server makes one. */
  key?: string;
  /** Operations accepted of pushes that are not stored. */
  accepts?: number[];
  /** Default: IndexedDB where there is one, else memory. */
  storage?: Storage;
  /** Where a device without a cursor begins: after what it acknowledged (default), at the oldest, or with what comes from now on. */
  start?: 'cursor' | 'floor' | 'head';
  /** For Node below 22. */
  WebSocket?: new (url: string) => unknown;
  /** An answer later than this means that the connection is dead. Default: 15,000. */
  replyMs?: number;
  /** For tests: numbers in [0, 1). */
  random?: () => number;
  /** For tests: ms since 1970. */
  now?: () => number;
}

export interface ClientState {
  phase: 'idle' | 'connecting' | 'authenticating' | 'syncing' | 'live' | 'waiting' | 'stopped';
  /** `waiting`: the next try, ms since 1970. */
  retryAtMs?: number | null;
  /** `waiting`, `stopped`: why. */
  error?: PerseidError | null;
}

export interface Accepted {
  cid: bigint;
  id: bigint;
  kind: ConversationKind;
  conv: bigint;
  /** 0n where the server did not say. */
  pos: bigint;
  convPos: bigint;
  duplicate: boolean;
}

export interface Outgoing {
  cid: bigint;
  kind: ConversationKind;
  conv: bigint;
  body: Uint8Array;
  atMs: number;
  /** When the server has it; rejects when it refused for good. */
  accepted: Promise<Accepted>;
}

export type OutboxChange =
  | { cid: bigint; state: 'queued' | 'sent' }
  | (Accepted & { state: 'accepted'; error: null })
  | (Accepted & { state: 'failed'; error: PerseidError });

export interface ClientEvents {
  /** Each stored message once and in order. Waited for: the cursor moves when the listener has resolved. */
  message: Message;
  /** A push that is not stored. */
  push: Message;
  room: { room: string; message: Message };
  /** In the room; `recovered`: nothing was missed since `pos`. */
  joined: { room: string; pos: bigint; recovered: boolean };
  /** The room's frames after `from` up to `to` are lost: load its state again. */
  gap: { room: string; from: bigint; to: bigint };
  /** Typing and the like. */
  ephemeral: Message;
  /** A timeline's new head: `pull` from it. */
  head: { kind: Kind; conv: bigint; convPos: bigint };
  /** Some messages of the inbox are not there any more: older ones by `pull`. */
  reset: { reason: 'TOO_OLD' | 'EPOCH_CHANGED'; epoch: bigint; floor: bigint; head: bigint };
  state: ClientState;
  outbox: OutboxChange;
  error: unknown;
}

export interface Page {
  messages: Message[];
  head: bigint;
  floor: bigint;
  more: boolean;
}

export interface Head {
  kind: ConversationKind;
  conv: bigint;
  head: bigint;
  read: bigint;
  /** Id of the last message. */
  id: bigint;
}

export declare class Client {
  constructor(options: ClientOptions);
  readonly mid: bigint;
  readonly state: ClientState;
  readonly session: { mid: bigint; key: string; server: string; limits: Record<string, number> } | null;
  on<Name extends keyof ClientEvents>(name: Name, listener: (value: ClientEvents[Name]) => unknown): () => void;
  /** Reads the storage, connects, and stays connected. Resolves with the messages that still wait to be sent. */
  start(): Promise<Outgoing[]>;
  /** Ends it for good; what waits to be sent stays in the storage. */
  close(): Promise<void>;
  /** Tries to connect within a second, if it waits. */
  hurry(): void;
  /** Offline until `resume()`; what is sent meanwhile waits in the outbox. */
  pause(): void;
  /** After `stopped`: tries again. */
  resume(): void;
  /** Resolves when the message is kept in the outbox. */
  send(message: { kind?: ConversationKind; conv: Int64Like; body: Bytes; quiet?: boolean }): Promise<Outgoing>;
  /** After `after`, or, with `before`, the last ones before it (0: from the end). Ascending. */
  pull(range: { kind: ConversationKind; conv: Int64Like; after?: Int64Like; before?: Int64Like; limit?: number }): Promise<Page>;
  heads(range?: { kind?: Kind; conv?: Int64Like; limit?: number }): Promise<{ heads: Head[]; more: boolean }>;
  read(place: { kind: ConversationKind; conv: Int64Like; convPos: Int64Like }): Promise<bigint>;
  recall(place: { kind: ConversationKind; conv: Int64Like; convPos: Int64Like }): Promise<void>;
  /** True if it went out. */
  ephemeral(message: { kind?: 1 | 2; conv: Int64Like; body?: Bytes }): boolean;
  subscribe(operations: number[]): Promise<void>;
  unsubscribe(operations: number[]): Promise<void>;
  /** `type://id`. `pos`: the last position seen there, to get what was missed. */
  joinRoom(room: string, options?: { pos?: Int64Like }): Promise<void>;
  leaveRoom(): Promise<void>;
  /** A fresh token, before the old one expires. */
  renew(): Promise<void>;
}

/** `conv` of the frames of a room: FNV-1a 64 of its name. */
export declare function roomConv(room: string): bigint;
