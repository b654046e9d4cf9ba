//! The port through which logic sees the comets. In the standalone it looks into the one in the same process.

/// What all comets hold together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sessions.
    pub sessions: u64,
    /// Different addresses that they come from.
    pub ips: u64,
}

/// One comet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its name (goim: hostname).
    pub id: String,
    /// Where clients reach it by TCP, `host:port`.
    pub tcp: Vec<String>,
    /// Where clients reach it by WebSocket, `host:port`.
    pub ws: Vec<String>,
    /// Its sessions.
    pub sessions: u64,
    /// Different addresses that they come from.
    pub ips: u64,
    /// Whether it is leaving: it takes no new sessions.
    pub draining: bool,
    /// Version of the program.
    pub version: String,
    /// When it started, unix ms.
    pub started_ms: u64,
}

/// What the comets know and the registry does not. Every call answers at once, from what is known.
pub trait Nodes: Send + Sync + 'static {
    /// Sessions in a room (`type://id`); 0 for a room that nobody is in.
    fn room_online(&self, room: &str) -> u64;

    /// Rooms with their sessions, the fullest first, at most `limit`; with `kind` only those of exactly that type.
    fn rooms(&self, kind: Option<&str>, limit: usize) -> Vec<(String, u64)>;

    /// What all comets hold together.
    fn totals(&self) -> Totals;

    /// The comets.
    fn nodes(&self) -> Vec<NodeInfo>;

    /// Whether sessions can be served.
    ///
    /// # Errors
    /// Why not, for people.
    fn is_ready(&self) -> Result<(), String>;
}
