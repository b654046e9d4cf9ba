// perseid-client: everything that an application may use.

export { Client } from './client.js';
export { Message } from './core/message.js';
export { ClosedError, DisconnectedError, FullError, PerseidError, RefusedError, StorageError, TimeoutError } from './errors.js';
export { fnv1a64 as roomConv } from './int64.js';
export { IndexedDbStorage, MemoryStorage } from './storage.js';
export { FLAG, KIND, OP } from './tables.js';
