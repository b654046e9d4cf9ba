//! A client as a machine: no socket, no clock, no task.
//!
//! The driver says what happened (`handle_*`, and the calls of the application), carries out what it finds in
//! [`Core::poll_action`] one after the other, and calls [`Core::handle_timeout`] when [`Core::poll_timeout`] says so.
//! Times are unix ms that never go back. The order of actions is the promise: what has to be stored stands before what
//! depends on it.
//!
//! ```text
//!          ┌─ frame ─▶ session ─┬▶ inbox (client rule, SYNC) ──▶ application, in order
//! driver ──┤                    ├▶ outbox (cid, order, retries) ◀── send
//!          └─ time ──▶ acks ◀───┼▶ room (recovery)
//!                               └▶ requests (PULL, HEADS, READ, …)
//! ```

mod acks;
mod calls;
mod inbox;
mod mutation;
mod outbox;
mod pump;
mod random;
mod reconnect;
mod requests;
mod rooms;
mod session;

use std::collections::VecDeque;

use bytes::Bytes;
use perseid_protocol::auth::{AuthLimits, AuthRequest};
use perseid_protocol::frame::{Extension, Header};
use perseid_protocol::session::client::Session;

pub(crate) use calls::{Ask, Draft};
pub use inbox::Start;
pub use rooms::Joined;

use self::acks::Acks;
use self::inbox::Inbox;
use self::outbox::Outbox;
use self::random::Random;
use self::reconnect::Reconnect;
use self::requests::Requests;
use self::rooms::Room;
use crate::error::{Disconnect, Error, Farewell};
use crate::event::{Event, Position, Sent};
use crate::storage::{Record, Stored};

/// The driver's number for a call that waits for an answer.
pub(crate) type Token = u64;

/// What a machine has to know from the beginning.
#[derive(Clone, Debug)]
pub(crate) struct CoreConfig {
    pub(crate) auth: AuthRequest,
    pub(crate) start: Start,
    /// HEARTBEAT at least this often, ms.
    pub(crate) heartbeat_ms: u64,
    /// From a connection to AUTH_REPLY, ms.
    pub(crate) handshake_ms: u64,
    /// How long a request waits for its answer, ms.
    pub(crate) request_ms: u64,
    pub(crate) outbox_bytes_max: usize,
    pub(crate) held_bytes_max: usize,
    pub(crate) requests_bytes_max: usize,
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Open a connection; its end is `handle_connected` or `handle_lost`.
    Connect,
    /// Write whole frames.
    Write(Vec<u8>),
    /// Close the connection; nothing of it is reported any more.
    Close,
    /// Save, before anything that follows is done.
    Store(Record),
    /// Give to the application.
    Tell(Event),
    /// Answer a call.
    Answer(Token, Result<Reply, Error>),
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Sent(Sent),
    Frame(Header, Bytes),
    Joined(Joined),
}

/// What a client counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Stored frames that were not given to the application because it had them already, or because a SYNC brought them.
    pub inbox_dropped: u64,
    /// Room frames that were not given to the application: seen before, of the room before, or coming again.
    pub room_dropped: u64,
    /// Frames that this version has no use for.
    pub ignored: u64,
    /// Sessions that began.
    pub sessions: u64,
}

enum Link {
    /// No connection; the next try is at `retry_at_ms`, `u64::MAX`: never.
    Down {
        retry_at_ms: u64,
    },
    Connecting,
    Open(Box<Open>),
}

/// A connection.
struct Open {
    session: Session,
    farewell: Option<Farewell>,
    /// What AUTH named as the stored cursor.
    auth: Position,
    /// The SYNC that waits for its answer: `seq`, and when it was asked.
    sync: Option<(i32, u64)>,
    /// A renewal of the token that waits for its answer.
    renewal: Option<Token>,
}

pub(crate) struct Core {
    config: CoreConfig,
    random: Random,
    link: Link,
    inbox: Inbox,
    acks: Acks,
    outbox: Outbox,
    requests: Requests,
    room: Room,
    reconnect: Reconnect,
    limits: AuthLimits,
    /// The user, as the server knows it: from AUTH_REPLY.
    mid: i64,
    actions: VecDeque<Action>,
    ignored: u64,
    /// Whether too much waits for the application.
    full: bool,
    /// What was dropped because of that since the application was told.
    unkept: u64,
    sessions: u64,
    told_synced: bool,
    /// Whether the application has closed it.
    closed: bool,
}

impl Core {
    /// A machine that connects at once. `seed` is all of its randomness.
    pub(crate) fn new(config: CoreConfig, stored: Stored, seed: u64, now_ms: u64) -> Self {
        Self {
            random: Random::new(seed),
            link: Link::Down { retry_at_ms: now_ms },
            inbox: Inbox::new(stored.cursor, config.start, config.held_bytes_max),
            acks: Acks::new(stored.cursor),
            outbox: Outbox::new(stored.outbox, config.outbox_bytes_max),
            requests: Requests::new(config.requests_bytes_max),
            room: Room::default(),
            reconnect: Reconnect::new(),
            limits: AuthLimits::default(),
            mid: config.auth.mid,
            actions: VecDeque::new(),
            ignored: 0,
            full: false,
            unkept: 0,
            sessions: 0,
            told_synced: false,
            closed: false,
            config,
        }
    }

    /// The next thing to do, in order.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Core::handle_timeout`] has to be called, unix ms.
    pub(crate) fn poll_timeout(&self) -> u64 {
        let requests_ms = self.requests.poll_timeout().min(self.acks.poll_timeout());
        let link_ms = match &self.link {
            Link::Down { retry_at_ms } => *retry_at_ms,
            Link::Connecting => u64::MAX,
            Link::Open(open) => {
                let answers_ms = self.oldest_unanswered_ms(open).saturating_add(self.config.request_ms);
                let session_ms = open.session.poll_timeout().min(answers_ms);
                session_ms.min(self.inbox.poll_timeout()).min(self.outbox.poll_timeout())
            }
        };
        requests_ms.min(link_ms)
    }

    /// What it counted.
    pub(crate) const fn counts(&self) -> Counts {
        Counts {
            inbox_dropped: self.inbox.dropped(),
            room_dropped: self.room.dropped(),
            ignored: self.ignored,
            sessions: self.sessions,
        }
    }

    /// Messages that wait to be sent or acknowledged.
    pub(crate) fn outbox_len(&self) -> usize {
        self.outbox.waiting()
    }

    fn tell(&mut self, event: Event) {
        self.actions.push_back(Action::Tell(event));
    }

    fn answer(&mut self, token: Token, answer: Result<Reply, Error>) {
        self.actions.push_back(Action::Answer(token, answer));
    }

    fn fail(&mut self, token: Token, error: Error) {
        self.answer(token, Err(error));
    }

    fn is_ready(&self) -> bool {
        matches!(&self.link, Link::Open(open) if open.session.is_ready())
    }

    /// Appends a request to what is to be written; 0 when there is no session.
    fn write(&mut self, op: i32, ext: Extension, body: &[u8]) -> i32 {
        let Link::Open(open) = &mut self.link else { return 0 };
        let mut frames = Vec::new();
        let seq = open.session.put_request(&mut frames, op, ext, body);
        self.put_bytes(frames);
        seq
    }

    /// Frames that follow one another are written as one.
    fn put_bytes(&mut self, frames: Vec<u8>) {
        if frames.is_empty() {
            return;
        }
        match self.actions.back_mut() {
            Some(Action::Write(bytes)) => bytes.extend_from_slice(&frames),
            _ => self.actions.push_back(Action::Write(frames)),
        }
    }

    /// Ends the connection, if there is one, and says what follows.
    fn lose(&mut self, why: Disconnect, now_ms: u64) {
        let was_open = matches!(self.link, Link::Open(_));
        let why = match &mut self.link {
            Link::Open(open) => match open.farewell.take() {
                // The server's word explains the loss that follows it.
                Some(farewell) if why.comes_back() => Disconnect::Told(farewell),
                _ => why,
            },
            _ => why,
        };
        if was_open {
            self.actions.push_back(Action::Close);
        }
        self.drop_session();
        let wait_ms = self.reconnect.handle_lost(&why, now_ms, &mut self.random);
        self.link = Link::Down { retry_at_ms: wait_ms.map_or(u64::MAX, |wait_ms| now_ms.saturating_add(wait_ms)) };
        match wait_ms {
            Some(retry_in_ms) => self.tell(Event::Disconnected { reason: why, retry_in_ms }),
            None => self.tell(Event::Closed { reason: why }),
        }
    }

    fn drop_session(&mut self) {
        if let Link::Open(open) = &mut self.link
            && let Some(token) = open.renewal.take()
        {
            self.fail(token, Error::Disconnected);
        }
        self.inbox.lose();
        self.outbox.lose();
        self.room.lose();
        self.told_synced = false;
        for token in self.requests.lose() {
            self.fail(token, Error::Disconnected);
        }
    }

    /// When the oldest SYNC or send without an answer was written, ms; `u64::MAX`: there is none.
    fn oldest_unanswered_ms(&self, open: &Open) -> u64 {
        let sync_ms = open.sync.map_or(u64::MAX, |(_, asked_ms)| asked_ms);
        self.outbox.oldest_sent_ms().map_or(sync_ms, |sent_ms| sent_ms.min(sync_ms))
    }
}

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
