//! A message as a caller wrote it, whatever API it came through, and the rules for what it must be like.

use axum::body::Bytes;
use perseid_protocol::op;
use perseid_protocol::trace::Trace;
use perseid_rpc::PushPriority;
use serde::Deserialize;

use super::problem::Problem;
use crate::accept::{PushRequest, Target};

/// The operation of a push that names none.
const DEFAULT_OP: i32 = 1000;
/// Ids of groups are below: numbers that JSON holds exactly.
const GROUP_MAX: u64 = 1 << 53;

/// What was said; `None` is what was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) to: DraftTarget,
    pub(super) op: Option<i32>,
    pub(super) body: Option<Bytes>,
    pub(super) id: Option<String>,
    pub(super) ttl_ms: Option<u64>,
    pub(super) from: Option<u64>,
    pub(super) speed: Option<u32>,
    pub(super) store: bool,
    pub(super) priority: Priority,
    pub(super) collapse: Option<String>,
}

/// For whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DraftTarget {
    Mids(Vec<i64>),
    Keys(Vec<String>),
    /// As it was written.
    Group(String),
    Room(String),
    All(bool),
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Priority {
    High,
    Normal,
    Low,
}

impl From<Priority> for PushPriority {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::High => Self::High,
            Priority::Normal => Self::Normal,
            Priority::Low => Self::Low,
        }
    }
}

impl Draft {
    /// What it asks for, if it makes sense.
    pub(super) fn into_request(self, account: &str, trace: Option<Trace>) -> Result<PushRequest, Problem> {
        self.check_kind()?;
        if self.ttl_ms == Some(0) {
            return Err(Problem::bad("ttl_ms must be positive; without it the push is never too late"));
        }
        let op = self.op.unwrap_or(DEFAULT_OP);
        if (op::HANDSHAKE..op::UPSTREAM_MIN).contains(&op) {
            // A client would take it for a reply, a batch, or the end of its session.
            return Err(Problem::bad("op: 0 to 32 belong to the protocol itself; use 1000 and above"));
        }
        Ok(PushRequest {
            target: self.to.into_target(self.speed, self.store)?,
            op,
            body: self.body.ok_or_else(|| Problem::bad("body or body_base64 is missing; it may be empty"))?,
            id: self.id,
            ttl_ms: self.ttl_ms.unwrap_or(0),
            from: self.from.unwrap_or(0),
            account: account.to_owned(),
            trace,
            priority: self.priority.into(),
            collapse: self.collapse,
        })
    }

    /// What is stored, and what is not.
    fn check_kind(&self) -> Result<(), Problem> {
        let is_stored = match self.to {
            DraftTarget::Group(_) => true,
            DraftTarget::Mids(_) => self.store,
            _ if self.store => return Err(Problem::bad("store: only messages to mids or a group can be stored")),
            _ => false,
        };
        if is_stored && self.collapse.is_some() {
            return Err(Problem::bad("collapse is for what is not stored: leave it out"));
        }
        Ok(())
    }
}

impl DraftTarget {
    fn into_target(self, speed: Option<u32>, store: bool) -> Result<Target, Problem> {
        if speed.is_some() && !matches!(self, Self::All(_)) {
            return Err(Problem::bad("speed is for messages to all"));
        }
        match self {
            Self::Mids(mids) => match mids.iter().find(|mid| **mid <= 0) {
                Some(mid) => Err(Problem::bad(format!("to.mids: {mid} is no user; guests are reached by key"))),
                None if store => Ok(Target::Notice(mids)),
                None => Ok(Target::Mids(mids)),
            },
            Self::Keys(keys) => Ok(Target::Keys(keys)),
            Self::Room(room) => Ok(Target::Room(room)),
            Self::Group(id) => Ok(Target::Group(group_id(&id)?)),
            Self::All(false) => Err(Problem::bad("to.all must be true")),
            Self::All(true) => {
                let speed = speed.unwrap_or(0);
                // The record has room for 31 bits.
                i32::try_from(speed).map_err(|_| Problem::bad("speed is out of range"))?;
                Ok(Target::All { speed })
            }
        }
    }
}

/// The target is missing, or there are several.
pub(super) fn not_one_target() -> Problem {
    Problem::bad("to must name exactly one of mids, keys, group, room, all")
}

/// The group that a text names.
pub(super) fn group_id(text: &str) -> Result<u64, Problem> {
    let id = text.parse::<u64>().ok().filter(|id| (1..GROUP_MAX).contains(id));
    id.ok_or_else(|| Problem::bad("the id of a group must be a whole number above 0 and below 2^53"))
}
