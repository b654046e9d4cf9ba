//! What comes from the connection: its begin, frames, its end, and time.

use bytes::Bytes;
use perseid_protocol::auth::AuthReply;
use perseid_protocol::frame::{Frame, Header, flag, kind};
use perseid_protocol::limits::SUBSCRIPTIONS_MAX;
use perseid_protocol::op;
use perseid_protocol::operations;
use perseid_protocol::session::client::{self, Session};

use super::requests::Request;
use super::{Action, Core, Link, Open, Reply};
use crate::error::{Disconnect, Error, Farewell, Refused};
use crate::event::{ConversationHead, Ephemeral, Event, Push};
use crate::storage::Record;

/// A frame's meaning, with its body owned.
enum Heard {
    Ready(Option<Box<AuthReply>>),
    Online(i32),
    Reply(Header, Bytes),
    Push(Header, Bytes),
    Disconnect(Farewell),
}

impl Core {
    /// A connection is open: AUTH goes out.
    pub(crate) fn handle_connected(&mut self, now_ms: u64) {
        if self.closed {
            self.actions.push_back(Action::Close);
            return;
        }
        // The cursor in AUTH acknowledges: it has to be stored first.
        if let Some(position) = self.acks.take_any() {
            self.actions.push_back(Action::Store(Record::Cursor(position)));
        }
        let processed = self.acks.processed();
        let mut session = Session::new(true)
            .with_heartbeat_ms(self.config.heartbeat_ms)
            .with_deadline_ms(now_ms.saturating_add(self.config.handshake_ms));
        let mut request = self.config.auth.clone();
        (request.pos, request.epoch) = (processed.pos, processed.epoch);
        let mut frames = Vec::new();
        session.put_auth(&mut frames, &request);
        self.link = Link::Open(Box::new(Open { session, farewell: None, auth: processed, sync: None, renewal: None }));
        self.put_bytes(frames);
    }

    /// The connection is gone, or could not be made.
    pub(crate) fn handle_lost(&mut self, why: Disconnect, now_ms: u64) {
        if !self.closed && !matches!(self.link, Link::Down { .. }) {
            // The driver knows that it is closed.
            self.lose(why, now_ms);
        }
    }

    /// A frame came.
    pub(crate) fn handle_frame(&mut self, frame: &Frame<'_>, now_ms: u64) {
        let Link::Open(open) = &mut self.link else { return };
        if frame.header.op == op::HEARTBEAT_REPLY {
            self.inbox.handle_head(frame.header.ext.pos);
        }
        let mut heard = Vec::new();
        let outcome = open.session.handle_frame(frame, now_ms, &mut |event| heard.push(own(event)));
        if let Err(error) = outcome {
            self.lose(Disconnect::Breach(error.to_string()), now_ms);
            return;
        }
        for one in heard {
            self.hear(one, now_ms);
        }
        self.pump(now_ms);
    }

    /// Bytes came that are no frame.
    pub(crate) fn handle_breach(&mut self, what: String, now_ms: u64) {
        if matches!(self.link, Link::Open(_)) {
            self.lose(Disconnect::Breach(what), now_ms);
        }
    }

    /// Too much waits for the application, or not any more. While it does the inbox stands still, to be read on by SYNC; what
    /// nobody keeps is dropped and counted. Reading goes on: an application may wait for an answer.
    pub(crate) fn set_full(&mut self, full: bool, now_ms: u64) {
        if std::mem::replace(&mut self.full, full) == full {
            return;
        }
        self.inbox.suspend(full);
        if full {
            return;
        }
        self.room.resume();
        let count = std::mem::take(&mut self.unkept);
        if count > 0 {
            self.tell(Event::Dropped { count });
        }
        self.pump(now_ms);
    }

    /// Time has come to [`Core::poll_timeout`].
    pub(crate) fn handle_timeout(&mut self, now_ms: u64) {
        for token in self.requests.take_expired(now_ms) {
            self.fail(token, Error::TimedOut { after_ms: self.config.request_ms });
        }
        match &mut self.link {
            Link::Down { retry_at_ms } if now_ms >= *retry_at_ms => {
                self.link = Link::Connecting;
                self.actions.push_back(Action::Connect);
            }
            Link::Down { .. } | Link::Connecting => {}
            Link::Open(open) => {
                let mut frames = Vec::new();
                let heard = open.session.handle_timeout(now_ms, &mut frames);
                self.put_bytes(frames);
                self.inbox.handle_timeout(now_ms);
                if !heard || self.is_unanswered(now_ms) {
                    self.lose(Disconnect::Silent, now_ms);
                }
            }
        }
        self.pump(now_ms);
    }

    fn is_unanswered(&self, now_ms: u64) -> bool {
        let Link::Open(open) = &self.link else { return false };
        now_ms >= self.oldest_unanswered_ms(open).saturating_add(self.config.request_ms)
    }

    fn hear(&mut self, heard: Heard, now_ms: u64) {
        // An earlier frame of the same wrapper may have ended the session.
        let Link::Open(open) = &mut self.link else { return };
        match heard {
            Heard::Ready(Some(reply)) => self.handle_ready(reply, now_ms),
            Heard::Ready(None) => self.lose(Disconnect::Unsupported, now_ms),
            Heard::Online(people) => self.tell(Event::Online(people)),
            Heard::Disconnect(farewell) => open.farewell = Some(farewell),
            Heard::Reply(header, body) => self.handle_reply(&header, body, now_ms),
            Heard::Push(header, body) => self.handle_push(&header, body, now_ms),
        }
    }

    fn handle_ready(&mut self, reply: Box<AuthReply>, now_ms: u64) {
        let Link::Open(open) = &mut self.link else { return };
        if let Some(token) = open.renewal.take() {
            self.answer(token, Ok(Reply::Frame(Header::default(), Bytes::new())));
            return;
        }
        let auth = open.auth;
        let fresh = self.acks.processed().epoch == 0;
        self.sessions += 1;
        self.mid = reply.mid;
        self.limits = reply.limits.clone();
        self.reconnect.handle_ready(reply.reconnect_ms);
        self.inbox.begin(&reply, auth, now_ms);
        if fresh && reply.mid > 0 && reply.epoch > 0 {
            self.acks.start_at(self.inbox.position(), now_ms);
        }
        self.tell(Event::Connected(reply));
    }

    fn handle_push(&mut self, header: &Header, body: Bytes, now_ms: u64) {
        let ext = &header.ext;
        if ext.flags & flag::STORED != 0 {
            self.inbox.handle_push(header, body, now_ms);
        } else if header.op == op::HEAD && ext.conv == 0 {
            self.inbox.handle_head(ext.pos);
        } else if self.full && ext.kind == kind::ROOM && self.room.misses(header) {
            // It comes again when there is room.
        } else if self.full {
            self.unkept += 1;
        } else if header.op == op::HEAD {
            self.tell(Event::Head(ConversationHead::new(header)));
        } else if ext.kind == kind::ROOM {
            self.room.handle_frame(header, body);
        } else if header.op == op::EPHEMERAL {
            self.tell(Event::Ephemeral(Ephemeral { kind: ext.kind, conv: ext.conv, from: ext.from, body }));
        } else if header.op >= op::BUSINESS_MIN {
            self.tell(Event::Push(Push { op: header.op, id: ext.id, from: ext.from, body }));
        } else {
            self.ignored += 1;
        }
    }

    fn handle_reply(&mut self, header: &Header, body: Bytes, now_ms: u64) {
        match header.op {
            op::ERROR => self.handle_refusal(header, &body, now_ms),
            op::SYNC_REPLY if self.takes_sync(header.seq) => {
                if let Err(what) = self.inbox.handle_page(header, &body, now_ms) {
                    self.lose(Disconnect::Breach(what), now_ms);
                }
            }
            op::SEND_MSG_REPLY if self.outbox.handle_reply(header.seq, header, now_ms, &mut self.random) => {}
            op::CHANGE_ROOM_REPLY if self.room.handle_reply(header) => {}
            _ => match self.requests.answered(header.seq) {
                Some(request) => {
                    self.note_subscription(&request);
                    self.answer(request.token, Ok(Reply::Frame(*header, body)));
                }
                None => self.ignored += 1, // its time was over
            },
        }
    }

    fn handle_refusal(&mut self, header: &Header, body: &[u8], now_ms: u64) {
        let refused = Refused::parse(body);
        if self.takes_sync(header.seq) {
            self.inbox.handle_refused(&refused, now_ms);
            return;
        }
        if self.outbox.handle_refused(header.seq, refused.clone(), now_ms, &mut self.random) {
            return;
        }
        let error = Error::Refused(refused);
        if self.room.handle_refused(header.seq, &error) {
            return;
        }
        match self.requests.answered(header.seq) {
            Some(request) => self.fail(request.token, error),
            None => self.ignored += 1,
        }
    }

    /// Whether `seq` is that of the SYNC under way, which is answered with this.
    fn takes_sync(&mut self, seq: i32) -> bool {
        let Link::Open(open) = &mut self.link else { return false };
        let ours = open.sync.is_some_and(|(asked, _)| asked == seq);
        if ours {
            open.sync = None;
        }
        ours
    }

    /// The next session accepts what this one does.
    fn note_subscription(&mut self, request: &Request) {
        let Some(list) = operations::parse_list(&request.body, SUBSCRIPTIONS_MAX) else { return };
        let accepts = &mut self.config.auth.accepts;
        match request.op {
            op::SUB => accepts.extend(list),
            op::UNSUB => accepts.retain(|one| !list.contains(one)),
            _ => return,
        }
        accepts.sort_unstable();
        accepts.dedup();
    }
}

fn own(event: client::Event<'_>) -> Heard {
    match event {
        client::Event::Ready(reply) => Heard::Ready(reply),
        client::Event::Online(people) => Heard::Online(people),
        client::Event::Reply { header, body } => Heard::Reply(header, Bytes::copy_from_slice(body)),
        client::Event::Push { header, body } => Heard::Push(header, Bytes::copy_from_slice(body)),
        client::Event::Disconnect(json) => Heard::Disconnect(Farewell::parse(json)),
    }
}
