//! A session's slot: all that it costs while it idles.

use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, RawFd};

use mio::net::TcpStream;
use perseid_protocol::frame::{Extension, Header};
use perseid_protocol::session::server::{Phase, ReplyTo, Session as Rules};
use perseid_protocol::session::stored::Inbox;
use perseid_protocol::{SessionKey, op};

use crate::accepts::AcceptsId;
use crate::encoding::Encoding;
use crate::guest::Guest;
use crate::net::tls::Tls;
use crate::net::websocket::Decoder;
use crate::outbox::Outbox;
use crate::unanswered::Unanswered;

/// Replies that may wait for one session before its next frames do, bytes.
pub(crate) const REPLIES_BYTES_MAX: usize = 256 * 1024;
/// Frames that may wait behind a request before the socket does, bytes. Heartbeats among them are answered at once.
pub(crate) const KEPT_BYTES_MAX: usize = 128 * 1024;

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
    /// Plus one, so that a slot's `Option` of all this takes eight bytes.
    room: NonZeroU32,
    /// Index in the table of the session's encoding.
    pub(crate) member: u32,
}

impl Membership {
    pub(crate) const fn new(room: u32, member: u32) -> Self {
        Self { room: NonZeroU32::MIN.saturating_add(room), member }
    }

    pub(crate) const fn room(self) -> u32 {
        self.room.get() - 1
    }
}

/// A request whose answer comes later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) reply: ReplyTo,
    /// What a refusal echoes.
    pub(crate) ext: Extension,
}

impl Asked {
    /// The request's header, as far as a refusal echoes it.
    pub(crate) const fn header(&self) -> Header {
        Header { ver: self.reply.ver, op: self.reply.op, seq: self.reply.seq, ext: self.ext }
    }
}

/// What is half read, or waits for an answer. Exists only then.
#[derive(Debug, Default)]
pub(crate) struct Input {
    /// Bytes as they were read: of frames, of an HTTP head, of WebSocket messages.
    pub(crate) held: Vec<u8>,
    /// Whole frames that wait for their turn. They come before what is held.
    pub(crate) frames: Vec<u8>,
    /// Bytes at the start of `frames` that had their turn.
    pub(crate) frames_taken: usize,
    /// The request whose answer comes later; other requests wait meanwhile.
    pub(crate) waiting: Option<Asked>,
    /// The room that it asked for.
    pub(crate) entering: Option<Box<Entering>>,
    /// Requests about stored messages whose answers come later.
    pub(crate) unanswered: Unanswered,
    /// Which sends are refused because one before them failed.
    pub(crate) failed: Failed,
    /// A WebSocket frame or message that is half read.
    pub(crate) decoder: Decoder,
}

/// Which sends are refused because one before them failed: those that were sent before their client can have known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failed {
    /// None.
    #[default]
    Nothing,
    /// Those that wait for their turn.
    Kept,
    /// Those, and what the socket holds.
    Unread,
}

/// A CHANGE_ROOM that waits.
#[derive(Debug)]
pub(crate) struct Entering {
    pub(crate) room: Box<str>,
    /// What its reply echoes.
    pub(crate) body: Box<[u8]>,
    /// What the client has seen of the room.
    pub(crate) pos: u64,
    /// How often the room's end was asked for; 0: the room is not entered yet.
    pub(crate) asked: u8,
}

impl Input {
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
            && self.frames.is_empty()
            && !self.is_waiting()
            && self.failed == Failed::Nothing
            && self.decoder.is_idle()
    }

    /// Whether a request waits for an answer that comes later.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.is_some() || !self.unanswered.is_empty()
    }

    /// A send failed; `unread` says that the socket may hold others.
    pub(crate) fn fail_run(&mut self, unread: bool) {
        let failed = if unread || !self.held.is_empty() {
            Failed::Unread
        } else if self.frames_len() > 0 {
            Failed::Kept
        } else {
            Failed::Nothing
        };
        self.failed = self.failed.max(failed);
    }

    /// Those that waited had their turn, or the socket holds nothing any more either: what comes now was sent later.
    pub(crate) fn end_run(&mut self, of: Failed) {
        if self.frames.is_empty() && self.failed <= of {
            self.failed = Failed::Nothing;
        }
    }

    /// Bytes that wait for their turn, or for more bytes. They count against the node's bound.
    pub(crate) fn len(&self) -> usize {
        self.held.len() + self.frames_len()
    }

    /// Whether any do.
    pub(crate) fn has_bytes(&self) -> bool {
        !self.held.is_empty() || self.frames_len() > 0
    }

    /// Bytes of frames that wait for their turn.
    pub(crate) fn frames_len(&self) -> usize {
        self.frames.len() - self.frames_taken
    }

    /// Puts whole frames behind those that wait.
    pub(crate) fn keep_frames(&mut self, frames: &[u8]) {
        if self.frames_taken > self.frames.len() / 2 {
            self.frames.drain(..self.frames_taken);
            self.frames_taken = 0;
        }
        self.frames.extend_from_slice(frames);
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
    /// The highest inbox position that came for it, whether it was pushed or withheld; 0: none.
    pub(crate) inbox_pos: u64,
    /// Present if what travels is encrypted.
    pub(crate) tls: Option<Box<Tls>>,
    /// Present while the socket is full.
    pub(crate) outbox: Option<Box<Outbox>>,
    /// Present if more has to be known of where it comes from, or how fast it sends.
    pub(crate) guest: Option<Box<Guest>>,
    /// When it is over, in seconds of the worker's time; 0 = nobody knows. Of a live session: when its token expires. Of one
    /// that has ended: when its connection is dropped even if the peer stays.
    pub(crate) until_s: u32,
    pub(crate) wire: Wire,
    /// Our half of the connection is closed.
    pub(crate) shut: bool,
    /// The socket may hold more than was read, because reading was paused.
    pub(crate) unread: bool,
    /// The poll tells when the socket takes bytes again: since it was full for the first time.
    pub(crate) watches_writing: bool,
}

// What a million idle sessions cost, TLS apart.
// (A debug build's sockets carry a number more.) The slab adds 8 bytes.
const _: () = assert!(size_of::<Slot>() <= 120 + if cfg!(debug_assertions) { 16 } else { 0 });

/// Index of a transport in [`TRANSPORTS`](crate::metrics::TRANSPORTS).
pub(crate) const fn transport(websocket: bool, tls: bool) -> usize {
    websocket as usize | (tls as usize) << 1
}

/// Worker time in whole seconds, as a slot keeps it: not early, never 0.
pub(crate) fn until_s(until_ms: u64) -> u32 {
    u32::try_from(until_ms.div_ceil(1000)).unwrap_or(u32::MAX).max(1)
}

/// When a token expires in worker time, in seconds as a slot keeps it; 0: never. The wall clock counts only here, once: if
/// it is set afterwards, a session stays as long as it was granted.
pub(crate) fn expires_s(expires_at_ms: u64, unix_ms: u64, now_ms: u64) -> u32 {
    match expires_at_ms {
        0 => 0,
        at_ms => until_s(now_ms.saturating_add(at_ms.saturating_sub(unix_ms))),
    }
}

impl Slot {
    pub(crate) fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// Index of the transport in [`TRANSPORTS`](crate::metrics::TRANSPORTS).
    pub(crate) fn transport(&self) -> usize {
        transport(self.wire != Wire::Tcp, self.tls.is_some())
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

    /// Whether nothing may be read now: while AUTH is looked at, while much waits for an answer, while replies pile up.
    pub(crate) fn is_paused(&self) -> bool {
        let is_live = self.is_live();
        self.input.as_ref().is_some_and(|input| input.is_waiting() && (!is_live || input.frames_len() > KEPT_BYTES_MAX))
            || self.is_behind()
    }

    /// Whether replies pile up.
    pub(crate) fn is_behind(&self) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| outbox.reply_bytes() > REPLIES_BYTES_MAX)
    }

    /// Whether a frame has to wait for the answer to an earlier one. Sends wait for sends only when there are many.
    pub(crate) fn holds_up(&self, op: i32, body_bytes: usize) -> bool {
        let Some(input) = self.input.as_ref() else { return false };
        let pipelined = op == op::SEND_MSG && self.rules.inbox() != Inbox::None && input.unanswered.admits_send(body_bytes);
        input.waiting.is_some() || !(pipelined || input.unanswered.is_empty())
    }

    /// Gives the box of the input back, if there is nothing in it.
    pub(crate) fn tidy_input(&mut self) {
        if self.input.as_ref().is_some_and(|input| input.is_empty()) {
            self.input = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_in_worker_time() {
        // (expires at, now by the wall clock, worker time) and when it is over, s.
        let table = [
            (0, 1_700_000_000_000, 5_000, 0),
            (1_700_000_010_000, 1_700_000_000_000, 5_000, 15),
            (1_700_000_010_001, 1_700_000_000_000, 5_000, 16),
            (1_700_000_000_000, 1_700_000_000_000, 0, 1),
            (1, 1_700_000_000_000, 7_000, 7),
            (u64::MAX, 1_700_000_000_000, 5_000, u32::MAX),
            (u64::MAX, 0, u64::MAX, u32::MAX),
        ];
        for (expires_at_ms, unix_ms, now_ms, over_s) in table {
            assert_eq!(expires_s(expires_at_ms, unix_ms, now_ms), over_s, "{expires_at_ms} at {unix_ms}");
        }
    }
}
