//! What a client tells its application.

mod live;
mod stored;

use perseid_protocol::auth::AuthReply;

pub use live::{ConversationHead, Ephemeral, Push, RoomFrame, RoomGap};
pub(crate) use stored::is_change;
pub use stored::{Change, Message, Sent, Skipped, What};

use crate::error::{Disconnect, Error};

/// A position in the user's inbox, with the epoch that gives it a meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// Changes only when the server lost positions; all begins anew then.
    pub epoch: u64,
    /// Dense, from 1; 0 is before the first.
    pub pos: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A session began.
    Connected(Box<AuthReply>),
    /// All messages up to `head` have been given to the application; from here they come as they are written.
    Synced {
        /// The inbox head then.
        head: u64,
    },
    /// A connection ended or could not be made; the client tries again.
    Disconnected {
        /// Why.
        reason: Disconnect,
        /// When it tries again, ms from now.
        retry_in_ms: u64,
    },
    /// The client will not come back by itself: see [`Client::connect_again`](crate::Client::connect_again).
    Closed {
        /// Why.
        reason: Disconnect,
    },
    /// A stored message: each position once, in order, own messages from this and other devices too.
    Message(Message),
    /// Something changed in a conversation; stored, and in order with the messages.
    Change(Change),
    /// Positions that this device can't be given any more. Reload what is older with `heads` and `pull`.
    Skipped(Skipped),
    /// A push that is not stored: to this user, this session or all.
    Push(Push),
    /// Typing and the like.
    Ephemeral(Ephemeral),
    /// A timeline has grown whose messages are not written to inboxes: `pull` it.
    Head(ConversationHead),
    /// A frame of the room.
    RoomFrame(RoomFrame),
    /// Frames of the room were missed and can't be had any more: reload the room's state.
    RoomGap(RoomGap),
    /// What became of a message whose `send` was called in an earlier life of the program.
    Outcome {
        /// Its `cid`.
        cid: u64,
        /// What became of it.
        result: Result<Sent, Error>,
    },
    /// Pushes, heads, room frames and the like that were dropped because too much was waiting for the application: look at
    /// `heads`, and reload the state of a room. Messages are never dropped.
    Dropped {
        /// How many.
        count: u64,
    },
    /// People online in the room; with each heartbeat.
    Online(i32),
}

impl Event {
    /// The inbox position that is done with when the application has processed this event.
    pub const fn position(&self) -> Option<Position> {
        match self {
            Self::Message(message) => Some(message.at),
            Self::Change(change) => Some(change.at),
            Self::Skipped(skipped) => Some(skipped.at),
            _ => None,
        }
    }

    /// About how much memory it takes, bytes.
    pub(crate) fn bytes(&self) -> usize {
        const FIXED: usize = 256;
        FIXED
            + match self {
                Self::Message(message) => message.body.len(),
                Self::Change(change) => change.body.len().saturating_mul(2),
                Self::Push(push) => push.body.len(),
                Self::Ephemeral(ephemeral) => ephemeral.body.len(),
                Self::RoomFrame(frame) => frame.body.len(),
                _ => 0,
            }
    }
}
