//! What the parent and its children say to each other: lines of JSON on the
//! child's standard input and output.

use super::check::Tally;
use super::stored::plan::Plan;
use super::stored::{From, Seen};
use crate::stats::Sparse;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The first line that a child reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WorkerConfig {
    /// Number of this child and of all of them; session `n` of this child is
    /// session `n × children + child` of the fleet.
    pub(crate) child: u64,
    pub(crate) children: u64,
    /// Sessions that this child holds.
    pub(crate) sessions: u64,
    pub(crate) targets: Vec<SocketAddr>,
    /// Address to connect from, when the ports of one are not enough.
    pub(crate) source: Option<IpAddr>,
    /// Through TLS.
    pub(crate) tls: bool,
    pub(crate) greeting: Greeting,
    /// Heartbeat of each session in ms; 0 = none.
    pub(crate) heartbeat_ms: u64,
}

/// What a session says before it counts as online.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Greeting {
    /// Nothing: connected is online (the receivers of the floor).
    None,
    /// The AUTH frame; its body is JSON made for each session.
    Auth {
        /// Over WebSocket, at this path.
        websocket: Option<String>,
        first_mid: i64,
        room: Option<String>,
        /// Keys are this text and the mid; none: the server makes them.
        key_prefix: Option<String>,
        token: Option<String>,
        /// An extended session, online when it has read its inbox from here.
        extended: Option<Extended>,
    },
}

/// What makes a session extended.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Extended {
    pub(crate) from: From,
    /// Messages asked for with each SYNC.
    pub(crate) page: u32,
}

/// What the parent asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Open all sessions: session `n` of the fleet at `at_ns` + n / rate.
    Open { at_ns: u64, rate: f64 },
    /// A phase begins: its stamps carry `marker`.
    Begin(Phase),
    /// The phase is over and `expect` was sent: answer with what was seen.
    End { expect: Expect },
    /// Stored messages of this plan are to be checked from now on, and this
    /// process's share of them to be written if it is told so.
    Talk { plan: Option<Plan>, speak: bool },
    /// Answer with what was seen since.
    EndTalk,
    /// Close all sessions and say so.
    Close,
}

/// One stretch of measuring over the same connections.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Phase {
    pub(crate) marker: u64,
    /// Messages due in [from, to) are measured; all are checked.
    pub(crate) from_ns: u64,
    pub(crate) to_ns: u64,
    /// The latency of one frame in 2^shift is recorded.
    pub(crate) sample_shift: u32,
    /// Remember the first and last receiver of this many messages.
    pub(crate) marks: usize,
}

/// What a session must have received by the end of a phase.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Expect {
    /// Every session the same stream of this length.
    Each(u64),
    /// `total` messages dealt round to `users` sessions, one after another.
    Dealt { total: u64, users: u64 },
}

impl Expect {
    /// Frames that session `n` of the fleet must have received.
    pub(crate) fn of(self, n: u64) -> u64 {
        match self {
            Self::Each(total) => total,
            Self::Dealt { total, users } if users > 0 && n < users => total / users + u64::from(n < total % users),
            Self::Dealt { .. } => 0,
        }
    }
}

/// What a child reports.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    /// How it stands, some times a second while it changes.
    Progress(Progress),
    /// Every session is online or has failed.
    Opened(Opened),
    /// The phase that just ended.
    Phase(Box<PhaseResult>),
    /// The talk that just ended.
    Talk(Box<Seen>),
    Closed,
    /// It cannot go on.
    Fatal(String),
}

/// Running totals of a child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) online: u64,
    /// Never came online.
    pub(crate) failed: u64,
    /// Were online and were closed by the server.
    pub(crate) dropped: u64,
    /// Stamped frames of this phase.
    pub(crate) received: u64,
    /// Replies to stored messages.
    pub(crate) answered: u64,
    pub(crate) heartbeats: u64,
    pub(crate) heartbeat_replies: u64,
}

/// How the opening went.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Opened {
    pub(crate) online: u64,
    /// Reason and count of what failed.
    pub(crate) failures: BTreeMap<String, u64>,
    /// From the scheduled start to the answer to AUTH, ns.
    pub(crate) latency: Sparse,
    pub(crate) last_ns: u64,
}

/// What one child saw in one phase.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PhaseResult {
    pub(crate) tally: Tally,
    /// Frames of messages that were due in the window.
    pub(crate) in_window: u64,
    /// Stamped frames of other phases, or of operation 1000 without a stamp.
    pub(crate) foreign: u64,
    /// Receiving calls and bytes: how well the frames were batched.
    pub(crate) reads: u64,
    pub(crate) bytes: u64,
    /// From due to received, ns, of the messages in the window.
    pub(crate) latency: Sparse,
    /// Of message n: µs after it was due at the first and last receiver,
    /// plus 1; 0 = nobody.
    pub(crate) first_us: Vec<u32>,
    pub(crate) last_us: Vec<u32>,
    pub(crate) last_ns: u64,
    /// Sessions that the server closed, by reason.
    pub(crate) drops: BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use super::Expect;

    #[test]
    fn dealt_messages_add_up() {
        let expect = Expect::Dealt { total: 11, users: 4 };
        let each: Vec<u64> = (0..5).map(|n| expect.of(n)).collect();
        assert_eq!(each, [3, 3, 3, 2, 0]);
    }
}
