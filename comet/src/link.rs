//! What a comet asks of logic. In the standalone a call in the process, in a cluster an ordered stream.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use perseid_protocol::frame::{Extension, Header};
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

    /// An extended session of a user (not of a guest) asks something of stored messages. Answers of one session come in the order of
    /// its requests' numbers or out of it: the comet puts them in order. Several may be in flight, but only sends.
    fn stored(&self, request: &Stored<'_>, ticket: StoredTicket) -> Answer<StoredOutcome> {
        let (_, _) = (request, ticket);
        Answer::Now(Err(StoredRefusal::new(Refusal::Unsupported, "this node keeps no messages: use transient pushes")))
    }

    /// The newest position in a user's inbox, for HEARTBEAT_REPLY: at least everything that any session of the user was pushed. 0:
    /// nobody knows here.
    fn inbox_head(&self, _mid: i64) -> u64 {
        0
    }

    /// A session enters a room that may keep its last frames, and has seen what stands up to `pos`; 0: it asks for nothing.
    fn recover_room(&self, _room: &str, _pos: u64, _ticket: RoomTicket) -> Answer<RoomTail> {
        Answer::Now(RoomTail::default())
    }

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
    /// Its user's inbox now, as in [`Connected`]: told again.
    pub inbox: Option<Greeting>,
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
    /// Its user's inbox, if it is extended and there are stored messages.
    pub inbox: Option<Greeting>,
}

/// What AUTH_REPLY tells of an inbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// Newest position.
    pub head: u64,
    /// Oldest position still kept; head + 1 when none is.
    pub floor: u64,
    /// Changes only when positions were lost, unix ms.
    pub epoch: u64,
    /// What the device has acknowledged.
    pub cursor: u64,
    /// It has everything: stored messages are pushed to it at once.
    pub live: bool,
    /// What it said it has can't be: its first SYNC is answered with EPOCH_CHANGED.
    pub foreign: bool,
    /// How long a `cid` is remembered, ms.
    pub cid_ms: u64,
    /// How long a message can be taken back, ms.
    pub recall_ms: u64,
    /// Largest group that is written to every inbox.
    pub fanout: u64,
    /// Messages kept in an inbox.
    pub inbox_max: u64,
    /// Days that they are kept.
    pub inbox_days: u64,
    /// Largest page, bytes.
    pub page_bytes: u64,
    /// Longest body of a message from a client, bytes.
    pub body_bytes: u64,
}

/// A request about stored messages.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// The user: above 0.
    pub mid: u64,
    /// Its session.
    pub key: &'a SessionKey,
    /// Where the session lives.
    pub addr: SessionAddr,
    /// The request's header.
    pub header: &'a Header,
    /// The request's body.
    pub body: &'a [u8],
    /// What this session said it has can't be, and it was not told yet: a SYNC is refused with EPOCH_CHANGED.
    pub foreign: bool,
}

/// What is answered to [`Stored`].
pub type StoredOutcome = Result<StoredReply, StoredRefusal>;

/// The answer to a request about stored messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredReply {
    /// The extended fields of the reply.
    pub ext: Extension,
    /// Its body: frames, or nothing.
    pub body: Bytes,
    /// No reply is sent: the request wants none.
    pub silent: bool,
}

/// A request about stored messages that is refused; the session goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRefusal {
    /// Why.
    pub refusal: Refusal,
    /// What to do about it.
    pub message: Cow<'static, str>,
    /// When to try again, ms.
    pub retry_after_ms: Option<u64>,
    /// `{epoch, floor, head}` of the inbox, where the client has to start anew.
    pub detail: Option<(u64, u64, u64)>,
    /// No ERROR is sent: the request wants none.
    pub silent: bool,
}

impl StoredRefusal {
    /// A refusal without more.
    pub fn new(refusal: Refusal, message: impl Into<Cow<'static, str>>) -> Self {
        Self { refusal, message: message.into(), retry_after_ms: None, detail: None, silent: false }
    }
}

/// The end of a room that keeps its last frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomTail {
    /// Its newest position; 0: it keeps nothing.
    pub head: u64,
    /// Not all of what was asked for is kept any more: there are no frames.
    pub gone: bool,
    /// The frames after the position asked for, as extended sessions get them, up to `head`.
    pub frames: Bytes,
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

/// Where the answer to one of a session's requests about stored messages is given, if it comes later.
#[derive(Clone)]
pub struct StoredTicket {
    pub(crate) session: Key,
    /// Which of the session's requests.
    pub(crate) number: u32,
    pub(crate) mailbox: Mailbox,
}

impl fmt::Debug for StoredTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoredTicket").field(&self.session).field(&self.number).finish()
    }
}

impl StoredTicket {
    /// Answers [`LogicLink::stored`].
    pub fn answer(self, outcome: StoredOutcome) {
        self.mailbox.post(Command::Stored { session: self.session, number: self.number, outcome });
    }

    /// Answers [`LogicLink::stored`] without waking the worker: whoever does this calls [`Comet::wake`](crate::Comet::wake) very
    /// soon, after what belongs into the same write was delivered.
    pub fn answer_quietly(self, outcome: StoredOutcome) {
        self.mailbox.post_quietly(Command::Stored { session: self.session, number: self.number, outcome });
    }
}

/// Where the answer to [`LogicLink::recover_room`] is given, if it comes later.
#[derive(Clone)]
pub struct RoomTicket {
    pub(crate) session: Key,
    pub(crate) mailbox: Mailbox,
}

impl fmt::Debug for RoomTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RoomTicket").field(&self.session).finish()
    }
}

impl RoomTicket {
    /// Answers [`LogicLink::recover_room`].
    pub fn answer(self, tail: RoomTail) {
        self.mailbox.post(Command::RoomTail { session: self.session, tail });
    }
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
