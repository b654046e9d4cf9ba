//! What operators and businesses do to sessions and nodes: kick, drain.

use perseid_protocol::CloseReason;

use super::Api;
use super::problem::Problem;
use crate::nodes::{DrainProgress, NodeInfo};
use crate::reason::Reason;

/// Longest text that a kicked client is told, bytes.
const KICK_REASON_BYTES_MAX: usize = 256;
/// Fastest drain, sessions a second; as `comet.drain_rate`.
const DRAIN_RATE_MAX: u32 = 1_000_000;

/// Whom to kick of a user's sessions, and what to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kick<'a> {
    /// Only the session with this key.
    pub(super) key: Option<&'a str>,
    /// Only the sessions of this platform.
    pub(super) platform: Option<&'a str>,
    /// What the clients are told.
    pub(super) reason: Option<&'a str>,
}

/// How far a node's drain has come; `None`: it is not leaving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeDrain {
    pub(super) node: NodeInfo,
    pub(super) progress: Option<DrainProgress>,
}

impl Api {
    /// Ends sessions of a user with KICKED; says how many were told to end.
    pub(super) fn kick(&self, mid: i64, kick: &Kick<'_>) -> Result<u64, Problem> {
        let mid = user(mid)?;
        for (name, value) in [("key", kick.key), ("platform", kick.platform)] {
            if value == Some("") {
                // Most likely a variable that was not set; without it all sessions would go.
                return Err(Problem::bad(format!("{name} must not be empty; leave it out to mean all sessions")));
            }
        }
        if let Some(reason) = kick.reason
            && (reason.len() > KICK_REASON_BYTES_MAX || reason.contains(char::is_control))
        {
            return Err(Problem::bad(format!(
                "reason must have at most {KICK_REASON_BYTES_MAX} bytes, and no control characters"
            )));
        }
        let mut sessions = self.registry.describe(mid);
        sessions.retain(|session| {
            kick.key.is_none_or(|key| session.key.to_string() == key)
                && kick.platform.is_none_or(|platform| *session.platform == *platform)
        });
        let addrs: Vec<_> = sessions.iter().map(|session| session.addr).collect();
        self.nodes.end_sessions(&addrs, CloseReason::Kicked, kick.reason.filter(|reason| !reason.is_empty()));
        self.metrics.kicked(addrs.len() as u64);
        Ok(addrs.len() as u64)
    }

    /// One node.
    pub(super) fn node(&self, id: &str) -> Result<NodeInfo, Problem> {
        self.all_nodes().into_iter().find(|node| node.id == id).ok_or_else(unknown_node)
    }

    /// Tells a node to leave.
    pub(super) fn drain_node(&self, id: &str, per_second: Option<u32>) -> Result<NodeDrain, Problem> {
        if per_second.is_some_and(|rate| !(1..=DRAIN_RATE_MAX).contains(&rate)) {
            return Err(Problem::bad(format!("per_second must be from 1 to {DRAIN_RATE_MAX}; without it, as configured")));
        }
        self.nodes.drain(id, per_second).map_err(|_| unknown_node())?;
        self.drain_progress(id)
    }

    /// How far it has come.
    pub(super) fn drain_progress(&self, id: &str) -> Result<NodeDrain, Problem> {
        Ok(NodeDrain { node: self.node(id)?, progress: self.nodes.drain_progress(id) })
    }
}

/// A mid that names a user.
pub(super) fn user(mid: i64) -> Result<i64, Problem> {
    if mid > 0 { Ok(mid) } else { Err(Problem::bad("the mid must be a positive 64-bit integer")) }
}

fn unknown_node() -> Problem {
    Problem::new(Reason::NotFound, "there is no node of this name: GET /v1/nodes lists them")
}
