//! What the application asks for.

use bytes::Bytes;
use perseid_protocol::auth::AuthRequest;
use perseid_protocol::frame::{Extension, kind};
use perseid_protocol::limits::{CLIENT_BODY_BYTES_MAX, ROOM_ID_BYTES_MAX};
use perseid_protocol::op;
use perseid_protocol::room::RoomId;

use super::requests::Request;
use super::{Action, Core, Link, Token};
use crate::error::{Disconnect, Error};
use crate::event::{Event, Position};
use crate::storage::{OutboxEntry, Record};

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) kind: u16,
    pub(crate) conv: u64,
    pub(crate) quiet: bool,
    pub(crate) body: Bytes,
}

/// A request other than sending.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) op: i32,
    pub(crate) ext: Extension,
    pub(crate) body: Bytes,
    /// Whether it is sent again on a new session.
    pub(crate) again: bool,
}

impl Core {
    /// Sends a message: stored at once, sent when its turn comes, answered when the server has it. Gives its `cid`.
    pub(crate) fn send(&mut self, draft: Draft, token: Token, now_ms: u64) -> Option<u64> {
        let cid = self.random.cid();
        match self.queue(draft, cid, token) {
            Ok(()) => {
                self.pump(now_ms);
                Some(cid)
            }
            Err(error) => {
                self.fail(token, error);
                None
            }
        }
    }

    fn queue(&mut self, draft: Draft, cid: u64, token: Token) -> Result<(), Error> {
        self.check(&draft.body)?;
        if !matches!(draft.kind, kind::DIRECT | kind::GROUP | kind::CHANNEL) || draft.conv == 0 {
            return Err(Error::Invalid("a message goes to a user, a group or a channel, and that has a number"));
        }
        let Draft { kind, conv, quiet, body } = draft;
        let entry = OutboxEntry { cid, kind, conv, quiet, sent_ms: 0, body };
        self.outbox.push(entry.clone(), token)?;
        self.actions.push_back(Action::Store(Record::Queued(entry)));
        Ok(())
    }

    /// Asks the server for something.
    pub(crate) fn ask(&mut self, ask: Ask, token: Token, now_ms: u64) {
        let Ask { op, ext, body, again } = ask;
        let deadline_ms = now_ms.saturating_add(self.config.request_ms);
        let outcome = self.check(&body).and_then(|()| self.requests.push(Request { token, op, ext, body, again, deadline_ms }));
        match outcome {
            Ok(()) => self.pump(now_ms),
            Err(error) => self.fail(token, error),
        }
    }

    /// Sends what nobody answers and nobody keeps; counts for nothing without a session.
    pub(crate) fn cast(&mut self, ext: Extension, body: &Bytes) {
        if self.is_ready() && self.check(body).is_ok() {
            self.write_silent(op::EPHEMERAL, ext, body);
        } else {
            self.ignored += 1;
        }
    }

    /// Goes to another room; an empty id leaves.
    pub(crate) fn change_room(&mut self, room: &str, token: Token, now_ms: u64) {
        if !room.is_empty() && RoomId::parse(room.as_bytes(), ROOM_ID_BYTES_MAX).is_none() {
            self.fail(token, Error::Invalid("a room's id is `type://id`, at most 256 bytes"));
        } else if self.closed {
            self.fail(token, Error::Closed);
        } else {
            self.room.change(room, token);
            self.pump(now_ms);
        }
    }

    /// The application is done with all up to `position`.
    pub(crate) fn handle_processed(&mut self, position: Position, now_ms: u64) {
        self.acks.handle_processed(position, self.inbox.position(), now_ms);
        self.pump(now_ms);
    }

    /// From now on AUTH carries this token; a living session is renewed at once.
    pub(crate) fn set_token(&mut self, text: String, token: Token, now_ms: u64) {
        self.config.auth.token = text;
        let request = AuthRequest { pos: 0, epoch: 0, ..self.config.auth.clone() };
        let ready = self.is_ready();
        match &mut self.link {
            Link::Open(open) if ready && open.renewal.is_none() => {
                open.renewal = Some(token);
                let mut frames = Vec::new();
                open.session.put_auth(&mut frames, &request);
                self.put_bytes(frames);
            }
            _ => {
                self.connect_again(now_ms);
                self.answer(token, Ok(super::Reply::Frame(perseid_protocol::Header::default(), Bytes::new())));
            }
        }
    }

    /// Comes back although the server said not to: because something has changed.
    pub(crate) fn connect_again(&mut self, now_ms: u64) {
        if let Link::Down { retry_at_ms } = &mut self.link
            && *retry_at_ms == u64::MAX
            && !self.closed
        {
            *retry_at_ms = now_ms;
        }
    }

    /// Ends everything. What was processed is stored and acknowledged; what was not sent waits in the storage.
    pub(crate) fn close(&mut self, why: Disconnect) {
        if self.closed {
            return;
        }
        if let Some(position) = self.acks.take_any() {
            self.actions.push_back(Action::Store(Record::Cursor(position)));
            if self.is_ready() && position.epoch == self.inbox.position().epoch {
                self.write_silent(op::ACK, Extension { pos: position.pos, ..Extension::default() }, &Bytes::new());
            }
        }
        if !matches!(self.link, Link::Down { .. }) {
            self.actions.push_back(Action::Close);
        }
        self.drop_session();
        self.closed = true;
        self.link = Link::Down { retry_at_ms: u64::MAX };
        self.tell(Event::Closed { reason: why });
    }

    fn check(&self, body: &Bytes) -> Result<(), Error> {
        if self.closed {
            return Err(Error::Closed);
        }
        let told = usize::try_from(self.limits.body_bytes).unwrap_or(usize::MAX);
        let bytes_max = if told == 0 { CLIENT_BODY_BYTES_MAX } else { told };
        if body.len() > bytes_max {
            return Err(Error::TooLarge { bytes: body.len(), bytes_max });
        }
        Ok(())
    }
}
