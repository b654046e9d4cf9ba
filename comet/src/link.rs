//! What a comet asks of logic. In the standalone a call in the process, in a cluster an ordered stream.

use std::fmt;
use std::net::SocketAddr;

use perseid_protocol::push::SessionAddr;
use perseid_protocol::{CloseReason, Refusal, SessionKey};

use crate::mailbox::{Command, Mailbox};
use crate::slab::Key;

/// Logic, as a comet sees it. Called on worker threads: an answer that takes time comes later, through the [`Ticket`].
pub trait LogicLink: Send + Sync + 'static {
    /// A session has sent AUTH: who is it? When the answer is "accepted", logic has registered the session.
    fn connect(&self, request: &Connect<'_>, ticket: Ticket) -> Answer<Result<Connected, Refused>>;

    /// A session wants to enter a room that nobody on this node is in: pushes to it may have to be sent for. The session
    /// enters when this is answered.
    fn enter_room(&self, _room: &str, _ticket: Ticket) -> Answer<()> {
        Answer::Now(())
    }

    /// A living session shows who it is again, with a fresh token. Its next frames wait until this is answered.
    fn renew(&self, request: &Renew<'_>, ticket: Ticket) -> Answer<Result<Renewed, Refused>>;

    /// A session that was accepted has ended: by us, for `reason`, or by the client or the network (`None`).
    fn disconnect(&self, session: &SessionKey, mid: i64, addr: SessionAddr, reason: Option<CloseReason>);

    /// A session sends something to the business. Its next frames wait until this is answered; only
    /// HEARTBEAT does not. Answered when it can't be lost any more. Refused: an extended session is told so, a classic one,
    /// which can't be, is ended with OVERLOADED.
    fn receive(&self, frame: &Upstream<'_>, ticket: Ticket) -> Answer<Result<(), Refusal>>;
}

/// An answer: here it is, or it comes later through the ticket.
#[derive(Debug)]
pub enum Answer<T> {
    /// Here it is.
    Now(T),
    /// It comes through the [`Ticket`].
    Later,
}

/// What is known of a session that sends AUTH.
#[derive(Clone, Copy, Debug)]
pub struct Connect<'a> {
    /// The body of AUTH.
    pub body: &'a [u8],
    /// Where the session lives.
    pub addr: SessionAddr,
    /// The client: the other end of its connection, or what a proxy that is believed says of it.
    pub peer: Option<SocketAddr>,
    /// Whether it will be an extended session.
    pub extended: bool,
    /// The `Cookie` header of its WebSocket upgrade; empty: none.
    pub cookie: &'a str,
}

/// What is known of a session that sends AUTH once more.
#[derive(Clone, Copy, Debug)]
pub struct Renew<'a> {
    /// The body of AUTH.
    pub body: &'a [u8],
    /// The user it was accepted as.
    pub mid: i64,
    /// Its session.
    pub key: &'a SessionKey,
    /// The client, as in [`Connect`].
    pub peer: Option<SocketAddr>,
}

/// A session that showed who it is again, and is the same user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// When it ends with TOKEN_EXPIRED, unless it is renewed again, unix ms; 0: never.
    pub expires_at_ms: u64,
}

/// An accepted session.
#[derive(Clone, Debug)]
pub struct Connected {
    /// User id; ≤ 0 is a guest.
    pub mid: i64,
    /// Its key.
    pub key: SessionKey,
    /// The room it joins, checked.
    pub room: Option<String>,
    /// The operations it accepts.
    pub accepts: Vec<i32>,
    /// A former session with the same key, which has to go.
    pub replaced: Option<SessionAddr>,
    /// When it ends with TOKEN_EXPIRED, unless it is renewed, unix ms; 0: never.
    pub expires_at_ms: u64,
}

/// A session that is not accepted.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Why.
    pub reason: CloseReason,
    /// What to do about it.
    pub message: String,
    /// How long to stay away, ms; `None`: what the comet tells everybody.
    pub retry_after_ms: Option<u64>,
}

/// A frame for the business.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    /// The sender.
    pub mid: i64,
    /// The sender's session.
    pub key: &'a SessionKey,
    /// Where the session lives.
    pub addr: SessionAddr,
    /// Operation of the frame.
    pub op: i32,
    /// Body of the frame.
    pub body: &'a [u8],
}

/// Where an answer that comes later is given.
#[derive(Clone)]
pub struct Ticket {
    pub(crate) session: Key,
    pub(crate) mailbox: Mailbox,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ticket").field(&self.session).finish()
    }
}

impl Ticket {
    /// Answers [`LogicLink::connect`].
    pub fn connected(self, outcome: Result<Connected, Refused>) {
        self.mailbox.post(Command::Authenticated { session: self.session, outcome });
    }

    /// Answers [`LogicLink::enter_room`].
    pub fn room_entered(self) {
        self.mailbox.post(Command::RoomEntered { session: self.session });
    }

    /// Answers [`LogicLink::renew`].
    pub fn renewed(self, outcome: Result<Renewed, Refused>) {
        self.mailbox.post(Command::Renewed { session: self.session, outcome });
    }

    /// Answers [`LogicLink::receive`].
    pub fn received(self, outcome: Result<(), Refusal>) {
        self.mailbox.post(Command::Received { session: self.session, outcome });
    }
}
