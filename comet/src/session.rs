//! A session's slot: all that it costs while it idles.

use std::os::fd::{AsRawFd, RawFd};

use mio::net::TcpStream;
use perseid_protocol::SessionKey;
use perseid_protocol::session::server::{Phase, ReplyTo, Session as Rules};

use crate::accepts::AcceptsId;
use crate::encoding::Encoding;
use crate::net::websocket::Decoder;
use crate::outbox::Outbox;

/// What speaks on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Tcp,
    /// An HTTP upgrade is being read.
    Upgrading,
    WebSocket,
}

/// Where a session is a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) room: u32,
    /// Index in the table of the session's encoding.
    pub(crate) member: u32,
}

/// What is half read, or waits for an answer. Exists only then.
#[derive(Debug, Default)]
pub(crate) struct Input {
    /// Bytes as they were read: of frames, of an HTTP head, of WebSocket messages.
    pub(crate) held: Vec<u8>,
    /// Whole frames of a WebSocket message in the middle of which reading was paused. They come before what is held.
    pub(crate) frames: Vec<u8>,
    /// The request whose answer comes later; nothing is read meanwhile.
    pub(crate) waiting: Option<ReplyTo>,
}

impl Input {
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.frames.is_empty() && self.waiting.is_none()
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len() + self.frames.len()
    }
}

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) stream: TcpStream,
    /// The tick of the wheel at which this session is looked at.
    pub(crate) wheel_tick: u32,
    pub(crate) rules: Rules,
    pub(crate) mid: i64,
    /// Present from AUTH accepted until logic was told of the end.
    pub(crate) key: Option<SessionKey>,
    pub(crate) membership: Option<Membership>,
    pub(crate) accepts: Option<AcceptsId>,
    /// Pushes to all that this session has seen, or need not see.
    pub(crate) broadcasts_seen: u64,
    pub(crate) input: Option<Box<Input>>,
    pub(crate) decoder: Decoder,
    /// Present while the socket is full.
    pub(crate) outbox: Option<Box<Outbox>>,
    /// When a closing connection is dropped even if the peer stays, in seconds of the worker's time; 0 = not closing.
    pub(crate) linger_until_s: u32,
    pub(crate) wire: Wire,
    /// Our half of the connection is closed.
    pub(crate) shut: bool,
    /// The socket may hold more than was read, because reading was paused.
    pub(crate) unread: bool,
}

// What a million idle sessions cost. TLS will be boxed.
const _: () = assert!(size_of::<Slot>() <= 128);

impl Slot {
    pub(crate) fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    pub(crate) fn encoding(&self) -> Encoding {
        Encoding { websocket: self.wire == Wire::WebSocket, extended: self.rules.is_extended() }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.rules.phase() == Phase::Live
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.rules.phase() == Phase::Ended
    }

    /// Whether frames may be read now: not while a request waits for its answer, nor while replies pile up.
    pub(crate) fn is_paused(&self, queued_bytes_max: usize) -> bool {
        self.input.as_ref().is_some_and(|input| input.waiting.is_some())
            || self.outbox.as_ref().is_some_and(|outbox| outbox.len() > queued_bytes_max)
    }
}
