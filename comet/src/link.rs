//! What a comet asks of logic. In the standalone a call in the process, in a cluster an ordered stream.

use std::fmt;
use std::net::SocketAddr;

use perseid_protocol::push::SessionAddr;
use perseid_protocol::{CloseReason, SessionKey};

use crate::mailbox::{Command, Mailbox};
use crate::slab::Key;

/// Logic, as a comet sees it. Called on worker threads: an answer that takes time comes later, through the [`Ticket`].
pub trait LogicLink: Send + Sync + 'static {
    /// A session has sent AUTH: who is it? When the answer is "accepted", logic has registered the session.
    fn connect(&self, request: &Connect<'_>, ticket: Ticket) -> Answer<Result<Connected, Refused>>;

    /// A session that was accepted has ended.
    fn disconnect(&self, session: &SessionKey, mid: i64, addr: SessionAddr);

    /// A session sends something to the business. Its next frames wait until this is answered; only
    /// HEARTBEAT does not.
    fn receive(&self, frame: &Upstream<'_>, ticket: Ticket) -> Answer<()>;
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
    /// The other end of its connection.
    pub peer: Option<SocketAddr>,
    /// Whether it will be an extended session.
    pub extended: bool,
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
}

/// A session that is not accepted.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Why.
    pub reason: CloseReason,
    /// What to do about it.
    pub message: String,
}

/// A frame for the business.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    /// The sender.
    pub mid: i64,
    /// The sender's session.
    pub key: &'a SessionKey,
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

    /// Answers [`LogicLink::receive`].
    pub fn received(self) {
        self.mailbox.post(Command::Received { session: self.session });
    }
}
