//! What the operator may set of logic.

use std::collections::BTreeMap;

use perseid_protocol::origin::{ForeignPages, Pages};

/// Logic's settings. Read once; parts are passed down.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Largest HTTP body, bytes.
    pub request_bytes_max: usize,
    /// A request that took longer is answered with a refusal, ms.
    pub request_ms: u64,
    /// Largest body of a push, bytes.
    pub push_bytes_max: usize,
    /// How long an idempotency key is remembered, ms.
    pub idempotency_ms: u64,
    /// Memory for idempotency keys, bytes; the oldest go first.
    pub idempotency_bytes_max: usize,
    /// Messages in one batch.
    pub batch_max: usize,
    /// Keys or mids in one push, and mids in one question.
    pub targets_max: usize,
    /// This node's number in message ids, below 1,024. No two nodes have the same.
    pub snowflake_worker: u16,
    /// How often a client is to send HEARTBEAT, ms.
    pub heartbeat_ms: u64,
    /// Heartbeats missed until a session ends.
    pub heartbeat_max: u32,
    /// Names that this node is called by, and origins whose pages may call. Where callers are believed, foreign ones are refused.
    pub pages: Pages,
    /// What goim's clients are told.
    pub goim: GoimConfig,
    /// Stored messages.
    pub stored: StoredConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            request_bytes_max: 1024 * 1024,
            request_ms: 10_000,
            push_bytes_max: 1024 * 1024,
            idempotency_ms: 24 * 60 * 60 * 1000,
            idempotency_bytes_max: 64 * 1024 * 1024,
            batch_max: 1000,
            targets_max: 10_000,
            snowflake_worker: 0,
            heartbeat_ms: 240_000,
            heartbeat_max: 2,
            pages: Pages { foreign: ForeignPages::Refuse, ..Pages::default() },
            goim: GoimConfig::default(),
            stored: StoredConfig::default(),
        }
    }
}

/// Settings of stored messages. The store has its own copy of those that say what it keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredConfig {
    /// Largest body of a stored message, bytes; at most [`STORED_BODY_BYTES_MAX`].
    pub body_bytes_max: usize,
    /// Largest page of messages, bytes; at most [`PAGE_BYTES_MAX`].
    pub page_bytes: usize,
    /// How long a `cid` is remembered at least, ms: what clients are told, and what the store keeps.
    pub cid_ms: u64,
    /// How long a message can be taken back, ms.
    pub recall_ms: u64,
    /// Largest group that is written to every inbox, members.
    pub fanout: usize,
    /// Messages kept in an inbox: what clients are told, and what the store keeps.
    pub inbox_max: u64,
    /// Days that they are kept.
    pub inbox_days: u64,
    /// What a new member may read of the past.
    pub history: History,
    /// Messages that one user may send a second, and as many at once; 0: any number.
    pub sends_per_second: u32,
    /// Rooms of these types keep their last frames, so many of them.
    pub recovery: BTreeMap<String, u32>,
}

/// Largest body of a stored message that can be configured, bytes: a page and the log have room for it.
pub const STORED_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Largest page that can be configured, bytes: with its own header it stays within what a client must be able to take.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// What a new member may read of the past of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// All that is kept.
    All,
    /// What came since he joined.
    Joined,
}

impl Default for StoredConfig {
    fn default() -> Self {
        Self {
            body_bytes_max: 64 * 1024,
            page_bytes: PAGE_BYTES_MAX,
            cid_ms: 3_600_000,
            recall_ms: 120_000,
            fanout: 500,
            inbox_max: 10_000,
            inbox_days: 30,
            history: History::All,
            sends_per_second: 0,
            recovery: BTreeMap::new(),
        }
    }
}

impl StoredConfig {
    /// How many frames a room keeps, by its id (`type://id`); 0: none.
    pub fn room_keeps(&self, room: &str) -> u32 {
        let kind = room.split_once("://").map_or("", |(kind, _)| kind);
        self.recovery.get(kind).copied().unwrap_or(0)
    }
}

/// What `/goim/nodes/weighted` tells; the names and defaults are goim's.
#[derive(Clone, Debug, PartialEq)]
pub struct GoimConfig {
    /// Told as the only node when there is no other.
    pub domain: String,
    /// Follows a node's name in what browsers are told.
    pub host_domain: String,
    /// Port for TCP; 0 leaves it out.
    pub tcp_port: u16,
    /// Port for WebSocket; 0 leaves it out.
    pub ws_port: u16,
    /// Port for WebSocket with TLS; 0 leaves it out.
    pub wss_port: u16,
    /// Longest wait before a client connects again, s.
    pub backoff_max_delay: i32,
    /// First wait, s.
    pub backoff_base_delay: i32,
    /// Each wait is the one before times this.
    pub backoff_factor: f32,
    /// Random share of each wait.
    pub backoff_jitter: f32,
}

impl Default for GoimConfig {
    fn default() -> Self {
        Self {
            domain: "conn.goim.io".to_owned(),
            host_domain: ".goim.io".to_owned(),
            tcp_port: 3101,
            ws_port: 3102,
            wss_port: 3103,
            backoff_max_delay: 300,
            backoff_base_delay: 3,
            backoff_factor: 1.8,
            backoff_jitter: 0.3,
        }
    }
}
