//! The server's end: which frame may come when, what it asks for, and when silence has lasted too long.

use crate::close::CloseReason;
use crate::frame::{self, Extension, Frame, Header, VER_EXTENDED, flag};
use crate::limits::Limits;
use crate::operation::{self, Class, op};
use crate::operations;
use crate::refusal::{InboxSpan, Refusal};
use crate::room::RoomId;
use crate::session::stored::Inbox;

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Connected; nothing but AUTH is allowed.
    AwaitingAuth,
    /// AUTH was read and is being looked at; later frames wait unread.
    Authenticating,
    /// In service.
    Live,
    /// Over; nothing is read or written any more but the farewell.
    Ended,
}

/// How to answer a request: the fields that a reply echoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    /// The request's version, echoed.
    pub ver: u16,
    /// The reply's operation.
    pub op: i32,
    /// The request's sequence, echoed.
    pub seq: i32,
    /// Whether the session is extended: replies then have 72-byte headers.
    pub extended: bool,
}

impl ReplyTo {
    /// Appends the reply; `ext` counts only on extended sessions.
    pub fn put(self, out: &mut Vec<u8>, ext: Extension, body: &[u8]) {
        let header = Header { ver: self.ver, op: self.op, seq: self.seq, ext };
        if self.extended {
            frame::put_extended(out, &header, body);
        } else {
            frame::put_classic(out, &header, body);
        }
    }
}

/// What a frame asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Find out who this is; then call [`Session::handle_auth`].
    Auth {
        /// JSON, see [`crate::auth::AuthRequest`].
        body: &'a [u8],
    },
    /// A living extended session shows a fresh token.
    Renew {
        /// JSON, see [`crate::auth::AuthRequest`].
        body: &'a [u8],
    },
    /// Answer with the number of people online in the session's room.
    Heartbeat,
    /// Change the room, or leave it; the reply echoes the body.
    ChangeRoom {
        /// The new room; `None` leaves.
        room: Option<RoomId<'a>>,
        /// Last position seen in it (extended); 0 asks for nothing.
        pos: u64,
    },
    /// Accept these operations from now on; the reply echoes the body.
    Subscribe(Vec<i32>),
    /// Accept these operations no longer; the reply echoes the body.
    Unsubscribe(Vec<i32>),
    /// A malformed list or room from a classic session: nothing changes, the reply echoes the body, as in goim.
    EchoOnly,
    /// Hand the body to the business; the reply has the same operation and no body.
    Upstream,
    /// A request about stored messages; see [`stored`](crate::session::stored) for whether it is answered.
    Stored,
    /// Refuse it with ERROR; the session goes on.
    Refuse(Refusal, &'static str),
}

/// A session as the server sees it. Small, because a comet holds a million of them.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(4))]
pub struct Session {
    deadline_ms: u64,
    phase: Phase,
    extended: bool,
    inbox: Inbox,
}

impl Session {
    /// A session that has just connected.
    pub fn new(now_ms: u64, limits: &Limits) -> Self {
        let deadline_ms = now_ms.saturating_add(limits.handshake_ms);
        Self { deadline_ms, phase: Phase::AwaitingAuth, extended: false, inbox: Inbox::None }
    }

    /// Where it stands.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether its AUTH had `ver` 2 or more.
    pub const fn is_extended(&self) -> bool {
        self.extended
    }

    /// What it gets of its user's inbox.
    pub const fn inbox(&self) -> Inbox {
        self.inbox
    }

    /// Takes note of what it gets of its user's inbox from now on. A classic session gets nothing that has a position.
    pub const fn set_inbox(&mut self, inbox: Inbox) {
        if self.extended {
            self.inbox = inbox;
        }
    }

    /// The largest body that its next frame may have, bytes.
    pub const fn body_bytes_max(&self, limits: &Limits) -> usize {
        match self.phase {
            Phase::Live => limits.body_bytes_max,
            Phase::AwaitingAuth | Phase::Authenticating | Phase::Ended => limits.auth_bytes_max,
        }
    }

    /// Reads a frame: how to answer it, and what it asks for.
    ///
    /// # Errors
    /// The reason for which the session has to end. Call [`Session::end`] then.
    pub fn handle_frame<'a>(
        &mut self,
        frame: &Frame<'a>,
        now_ms: u64,
        limits: &Limits,
    ) -> Result<(ReplyTo, Request<'a>), CloseReason> {
        let header = &frame.header;
        match self.phase {
            Phase::AwaitingAuth => {
                // Known before it is refused: an AUTH with ver 2 that fails is told why.
                self.extended = header.op == op::AUTH && header.ver >= VER_EXTENDED;
                if header.op != op::AUTH {
                    return Err(CloseReason::BadFrame);
                }
                self.phase = Phase::Authenticating;
                Ok((self.reply_to(header, op::AUTH_REPLY), Request::Auth { body: frame.body }))
            }
            Phase::Live => {
                self.deadline_ms = now_ms.saturating_add(limits.silence_ms);
                if self.extended { self.extended_request(frame, limits) } else { self.classic_request(frame, limits) }
            }
            // The driver holds frames back while AUTH is being looked at, and reads none after the end.
            Phase::Authenticating | Phase::Ended => Err(CloseReason::Internal),
        }
    }

    /// Looks at the beginning of what is no acceptable frame: who tried an extended AUTH is told why it failed.
    pub fn handle_bad_frame(&mut self, input: &[u8]) {
        if let (Phase::AwaitingAuth, Some(header)) = (self.phase, frame::peek(input)) {
            self.extended = header.op == op::AUTH && header.ver >= VER_EXTENDED;
        }
    }

    /// Takes note of the outcome of AUTH. An outcome that comes after the end changes nothing.
    pub fn handle_auth(&mut self, accepted: bool, now_ms: u64, limits: &Limits) {
        if self.phase == Phase::Ended {
            return;
        }
        self.phase = if accepted { Phase::Live } else { Phase::Ended };
        self.deadline_ms = now_ms.saturating_add(limits.silence_ms);
    }

    /// Takes note that the session is over.
    pub const fn end(&mut self) {
        self.phase = Phase::Ended;
    }

    /// When [`Session::handle_timeout`] has to be called, ms.
    pub const fn poll_timeout(&self) -> u64 {
        self.deadline_ms
    }

    /// Why the session has to end at `now_ms`, if it has to.
    pub const fn handle_timeout(&self, now_ms: u64) -> Option<CloseReason> {
        if now_ms < self.deadline_ms {
            return None;
        }
        match self.phase {
            Phase::AwaitingAuth | Phase::Authenticating => Some(CloseReason::HandshakeTimeout),
            Phase::Live => Some(CloseReason::HeartbeatTimeout),
            Phase::Ended => None,
        }
    }

    const fn reply_to(&self, header: &Header, reply_op: i32) -> ReplyTo {
        ReplyTo { ver: header.ver, op: reply_op, seq: header.seq, extended: self.extended }
    }

    fn classic_request<'a>(&self, frame: &Frame<'a>, limits: &Limits) -> Result<(ReplyTo, Request<'a>), CloseReason> {
        let header = &frame.header;
        let request = match header.op {
            op::HEARTBEAT => return Ok((self.reply_to(header, op::HEARTBEAT_REPLY), Request::Heartbeat)),
            op::CHANGE_ROOM | op::SUB | op::UNSUB => match control(frame, limits) {
                // What stands beyond the 16 bytes of a classic header counts for nothing.
                Some(Request::ChangeRoom { room, .. }) => Request::ChangeRoom { room, pos: 0 },
                Some(request) => request,
                None => Request::EchoOnly,
            },
            op::PROTO_READY | op::PROTO_FINISH => return Err(CloseReason::BadFrame),
            // Everything else goes to the business and comes back with its own operation.
            _ => return Ok((self.reply_to(header, header.op), Request::Upstream)),
        };
        Ok((self.reply_to(header, header.op + 1), request))
    }

    fn extended_request<'a>(&self, frame: &Frame<'a>, limits: &Limits) -> Result<(ReplyTo, Request<'a>), CloseReason> {
        let header = &frame.header;
        let refuse = |refusal, message| Ok((self.reply_to(header, op::ERROR), Request::Refuse(refusal, message)));
        match operation::class(header.op) {
            Class::Forbidden => Err(CloseReason::BadFrame),
            Class::Refused => refuse(Refusal::BadRequest, "this operation is not one that a client sends"),
            Class::Upstream => Ok((self.reply_to(header, header.op), Request::Upstream)),
            Class::Stored => Ok((self.reply_to(header, header.op + 1), Request::Stored)),
            Class::Control => match header.op {
                op::HEARTBEAT => Ok((self.reply_to(header, op::HEARTBEAT_REPLY), Request::Heartbeat)),
                op::AUTH if frame.body.len() > limits.auth_bytes_max => Err(CloseReason::FrameTooLarge),
                op::AUTH => Ok((self.reply_to(header, op::AUTH_REPLY), Request::Renew { body: frame.body })),
                _ => match control(frame, limits) {
                    Some(request) => Ok((self.reply_to(header, header.op + 1), request)),
                    None => refuse(
                        Refusal::BadRequest,
                        "the body is malformed or over its limit: a room is type://id, operations are integers with commas",
                    ),
                },
            },
        }
    }
}

/// Reads the body of CHANGE_ROOM, SUB or UNSUB; `None` when it is malformed.
fn control<'a>(frame: &Frame<'a>, limits: &Limits) -> Option<Request<'a>> {
    match frame.header.op {
        op::CHANGE_ROOM if frame.body.is_empty() => Some(Request::ChangeRoom { room: None, pos: 0 }),
        op::CHANGE_ROOM => RoomId::parse(frame.body, limits.room_id_bytes_max)
            .map(|room| Request::ChangeRoom { room: Some(room), pos: frame.header.ext.pos }),
        op::SUB => operations::parse_list(frame.body, limits.subscriptions_max).map(Request::Subscribe),
        op::UNSUB => operations::parse_list(frame.body, limits.subscriptions_max).map(Request::Unsubscribe),
        _ => None,
    }
}

/// Appends ERROR: the reply to a refused request. The fields by which the client knows its request are echoed.
pub fn put_refusal(out: &mut Vec<u8>, request: &Header, refusal: Refusal, message: &str, retry_after_ms: Option<u64>) {
    put_refusal_at(out, request, refusal, message, retry_after_ms, None);
}

/// As [`put_refusal`]; `detail` says where the client has to start anew.
pub fn put_refusal_at(
    out: &mut Vec<u8>,
    request: &Header,
    refusal: Refusal,
    message: &str,
    retry_after_ms: Option<u64>,
    detail: Option<InboxSpan>,
) {
    let ext = Extension {
        conv: request.ext.conv,
        conv_pos: request.ext.conv_pos,
        cid: request.ext.cid,
        kind: request.ext.kind,
        ..Extension::default()
    };
    let header = Header { ver: request.ver, op: op::ERROR, seq: request.seq, ext };
    frame::put_extended(out, &header, refusal.json(message, retry_after_ms, detail).as_bytes());
}

/// Appends DISCONNECT, which an extended session gets before its connection is closed.
pub fn put_disconnect(out: &mut Vec<u8>, reason: CloseReason, message: Option<&str>, retry_after_ms: Option<u64>) {
    let header = Header { ver: VER_EXTENDED, op: op::DISCONNECT, seq: 0, ext: Extension::default() };
    frame::put_extended(out, &header, reason.json(message, retry_after_ms).as_bytes());
}

/// The extended fields of a CHANGE_ROOM reply: the room's head, and whether recovery was impossible.
pub fn room_reply(head: u64, gone: bool) -> Extension {
    Extension { pos: head, flags: if gone { flag::GONE } else { 0 }, ..Extension::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_extended_auth_makes_a_bad_frame_extended() {
        let is_extended = |ver, op, len: usize| {
            let mut session = Session::new(0, &Limits::default());
            let mut frame = Vec::new();
            frame::put_classic(&mut frame, &Header { ver, op, ..Header::default() }, &[]);
            session.handle_bad_frame(&frame[..len]);
            session.is_extended()
        };
        assert!(is_extended(VER_EXTENDED, op::AUTH, 16));
        assert!(!is_extended(1, op::AUTH, 16));
        assert!(!is_extended(VER_EXTENDED, op::HEARTBEAT, 16));
        assert!(!is_extended(VER_EXTENDED, op::AUTH, 15));
    }
}
