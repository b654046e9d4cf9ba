//! The port through which logic sees the comets, and asks things of them. In the standalone it looks into the one in the same
//! process.

use perseid_protocol::CloseReason;
use perseid_protocol::push::SessionAddr;

/// What all comets hold together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sessions.
    pub sessions: u64,
    /// Different addresses that they come from.
    pub ips: u64,
}

/// What a node does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeRole {
    /// Holds sessions.
    #[default]
    Comet,
    /// Says who may what, and takes pushes.
    Logic,
    /// Delivers.
    Job,
}

impl NodeRole {
    /// As answers have it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Comet => "comet",
            Self::Logic => "logic",
            Self::Job => "job",
        }
    }
}

/// One node: a part of the system, also where several are one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its name (goim: hostname).
    pub id: String,
    /// What it does.
    pub role: NodeRole,
    /// Where clients reach it by TCP, `host:port`.
    pub tcp: Vec<String>,
    /// Where clients reach it by WebSocket, `host:port`.
    pub ws: Vec<String>,
    /// Where businesses reach it by HTTP, `host:port`.
    pub http: Vec<String>,
    /// Where the other parts reach it, `host:port`.
    pub grpc: Vec<String>,
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

/// No node has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no node has this name")]
pub struct UnknownNode;

/// How far a drain has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainProgress {
    /// Sessions when it began.
    pub sessions_at_start: u64,
    /// Sessions that are still there.
    pub sessions: u64,
    /// Sessions told to go each second.
    pub per_second: u32,
    /// When it began, unix ms.
    pub since_ms: u64,
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

    /// The nodes that are no comets.
    fn other_nodes(&self) -> Vec<NodeInfo> {
        Vec::new()
    }

    /// Ends these sessions, wherever they are; one that has gone meanwhile is passed over. Does not wait until they are gone.
    fn end_sessions(&self, sessions: &[SessionAddr], reason: CloseReason, message: Option<&str>);

    /// Tells the node of this name to leave: no new sessions, those that are there told to go at `per_second` (`None`: as
    /// configured), then the end of the process. Once more changes nothing.
    ///
    /// # Errors
    /// [`UnknownNode`].
    fn drain(&self, node: &str, per_second: Option<u32>) -> Result<(), UnknownNode>;

    /// How far the drain of the node of this name has come; `None` if it is not known or not leaving.
    fn drain_progress(&self, node: &str) -> Option<DrainProgress>;

    /// Whether sessions can be served.
    ///
    /// # Errors
    /// Why not, for people.
    fn is_ready(&self) -> Result<(), String>;
}
