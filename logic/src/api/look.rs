//! Who and what is there, the same for every API. Reads only, from what this process knows.

use perseid_protocol::limits::ROOM_ID_BYTES_MAX;
use perseid_protocol::room::RoomId;
use perseid_store::SessionRow;

use super::Api;
use super::manage::user as user_mid;
use super::problem::Problem;
use crate::nodes::NodeInfo;
use crate::reason::Reason;

const ROOMS_DEFAULT: usize = 100;
const ROOMS_MAX: usize = 10_000;

/// Whether a user is online, and on what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UserOnline {
    pub(super) mid: i64,
    pub(super) online: bool,
    /// Sorted, each once.
    pub(super) platforms: Vec<Box<str>>,
}

/// A room with the people in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RoomOnline {
    /// `type://id`
    pub(super) room: String,
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) online: u64,
}

impl RoomOnline {
    fn of(room: String, online: u64) -> Option<Self> {
        let parsed = RoomId::parse(room.as_bytes(), ROOM_ID_BYTES_MAX)?;
        let (kind, id) = (parsed.kind().to_owned(), parsed.id().to_owned());
        Some(Self { room, kind, id, online })
    }
}

impl Api {
    /// The sessions of a user, oldest first.
    pub(super) fn sessions_of(&self, mid: i64) -> Result<Vec<SessionRow>, Problem> {
        Ok(self.registry.describe(user_mid(mid)?))
    }

    /// Who of these is online, in order.
    pub(super) fn users_online(&self, mids: &[i64]) -> Result<Vec<UserOnline>, Problem> {
        let targets_max = self.config().targets_max;
        if mids.len() > targets_max {
            let message = format!("more mids than the {targets_max} allowed: ask for fewer at a time");
            return Err(Problem::new(Reason::TooLarge, message));
        }
        Ok(mids.iter().map(|mid| self.user_online(*mid)).collect())
    }

    fn user_online(&self, mid: i64) -> UserOnline {
        let sessions = self.registry.describe(mid);
        let online = !sessions.is_empty();
        let mut platforms: Vec<_> =
            sessions.into_iter().map(|session| session.platform).filter(|platform| !platform.is_empty()).collect();
        platforms.sort_unstable();
        platforms.dedup();
        UserOnline { mid, online, platforms }
    }

    /// The fullest rooms; with `kind` only those of exactly that type.
    pub(super) fn rooms(&self, kind: Option<&str>, limit: Option<u64>) -> Result<Vec<RoomOnline>, Problem> {
        let limit = match limit {
            None => ROOMS_DEFAULT,
            Some(0) => return Err(bad_limit()),
            Some(limit) => usize::try_from(limit).unwrap_or(ROOMS_MAX).min(ROOMS_MAX),
        };
        let rooms = self.nodes.rooms(kind, limit);
        Ok(rooms.into_iter().filter_map(|(room, online)| RoomOnline::of(room, online)).collect())
    }

    /// One room; nobody is online in one that nobody is in.
    pub(super) fn room(&self, kind: &str, id: &str) -> Result<RoomOnline, Problem> {
        let room = format!("{kind}://{id}");
        let online = self.nodes.room_online(&room);
        RoomOnline::of(room, online).ok_or_else(bad_room)
    }

    /// The nodes, comets first.
    pub(super) fn all_nodes(&self) -> Vec<NodeInfo> {
        let mut nodes = self.nodes.nodes();
        nodes.extend(self.nodes.other_nodes());
        nodes
    }
}

/// A limit that is no number, or 0.
pub(super) fn bad_limit() -> Problem {
    Problem::bad(format!("limit must be a number above 0; {ROOMS_MAX} rooms at most are told of at once"))
}

/// Not the id of a room.
pub(super) fn bad_room() -> Problem {
    let rule = format!("as type://id they have at most {ROOM_ID_BYTES_MAX} bytes, and no control characters");
    Problem::bad(format!("type and id must be those of a room: {rule}"))
}
