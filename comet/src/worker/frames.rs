//! Frames from clients: the session's rules decide, this carries it out.

use perseid_protocol::frame::{self, Extension, Frame, Header};
use perseid_protocol::operation::op;
use perseid_protocol::operations::OperationSet;
use perseid_protocol::room::RoomId;
use perseid_protocol::session::server::{ReplyTo, Request, put_refusal};
use perseid_protocol::{CloseReason, Refusal};

use super::Worker;
use super::joining::Wish;
use crate::link::{Answer, Ticket, Upstream};
use crate::session::{Asked, Input, Membership, REPLIES_BYTES_MAX};
use crate::slab::Key;
use crate::users::Sent;

const UPSTREAM_REFUSED: &str = "the event log does not take it now: nothing was written, try again";

/// Where frames that are taken come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// They were kept: it is their turn, until one has to wait for its answer.
    Kept,
    /// They have just arrived: they come behind those that wait; only a heartbeat does not.
    Wire,
}

impl Worker {
    /// Takes the whole frames at the start of `bytes`, until reading is paused; gives how many bytes that was.
    pub(super) fn take_frames(&mut self, key: Key, bytes: &[u8], from: From) -> usize {
        let mut used = 0;
        loop {
            let Some(slot) = self.sessions.get_mut(key) else { return bytes.len() };
            if slot.is_ended() {
                return bytes.len();
            }
            if slot.is_paused() {
                return used;
            }
            let body_bytes_max = slot.rules.body_bytes_max(&self.env.config.limits);
            match frame::decode(&bytes[used..], body_bytes_max) {
                Ok(Some(frame)) => {
                    let holds_up = slot.holds_up(frame.header.op, frame.body.len());
                    if from == From::Kept && holds_up {
                        return used;
                    }
                    let start = used;
                    used += frame.len;
                    if let Some(input) = &mut slot.input
                        && from == From::Wire
                        && (holds_up || !input.frames.is_empty())
                        && frame.header.op != op::HEARTBEAT
                    {
                        input.keep_frames(&bytes[start..used]);
                        self.env.node.budget.add(frame.len);
                        continue;
                    }
                    self.env.metrics.frames_received.inc();
                    if !self.is_within(key, Sent::Frames, 1) {
                        return bytes.len();
                    }
                    self.handle_frame(key, &frame);
                    // Replies pile up in one write, but not without end.
                    if self.replies.bytes.len() > REPLIES_BYTES_MAX {
                        self.flush_replies(key);
                    }
                }
                Ok(None) => return used,
                Err(error) => {
                    slot.rules.handle_bad_frame(&bytes[used..]);
                    self.end(key, error.into(), Some(&error.to_string()), None);
                    return bytes.len();
                }
            }
        }
    }

    /// Writes the replies made so far, all in one.
    pub(super) fn flush_replies(&mut self, key: Key) {
        if self.replies.is_empty() {
            return;
        }
        let mut replies = std::mem::take(&mut self.replies);
        self.write(key, &replies);
        replies.clear();
        self.replies = replies;
    }

    fn handle_frame(&mut self, key: Key, frame: &Frame<'_>) {
        let now_ms = self.env.now_ms;
        let Some(slot) = self.sessions.get_mut(key) else { return };
        match slot.rules.handle_frame(frame, now_ms, &self.env.config.limits) {
            Ok((reply, request)) => self.handle_request(key, frame, reply, request),
            Err(reason) => self.end(key, reason, None, None),
        }
    }

    fn handle_request(&mut self, key: Key, frame: &Frame<'_>, reply: ReplyTo, request: Request<'_>) {
        let body = frame.body;
        match request {
            Request::Auth { body } => self.authenticate(key, reply, body),
            Request::Renew { body } => self.renew(key, reply, body),
            Request::Heartbeat => {
                self.env.metrics.heartbeats.inc();
                let online = self.online(key).to_be_bytes();
                let ext = self.heartbeat_fields(key);
                self.reply(key, reply, ext, &online);
            }
            Request::ChangeRoom { room, pos } => {
                let wish = Wish { room: room.map_or("", RoomId::as_str), body, pos };
                self.enter_room(key, Asked { reply, ext: frame.header.ext }, wish);
            }
            Request::Subscribe(list) => self.change_accepts(key, frame, reply, |set, max| set.with(&list, max)),
            Request::Unsubscribe(list) => self.change_accepts(key, frame, reply, |set, _| Some(set.without(&list))),
            Request::EchoOnly => self.reply(key, reply, Extension::default(), body),
            Request::Upstream => self.send_upstream(key, frame, reply),
            Request::Stored => self.ask_stored(key, frame),
            Request::Refuse(refusal, message) => self.refuse(key, &frame.header, refusal, message),
        }
    }

    pub(super) fn reply(&mut self, key: Key, reply: ReplyTo, ext: Extension, body: &[u8]) {
        if let Some(slot) = self.sessions.get_mut(key) {
            let encoding = slot.encoding();
            self.replies.put_reply(|out| encoding.put_reply(out, reply, ext, body));
        }
    }

    pub(super) fn refuse(&mut self, key: Key, request: &Header, refusal: Refusal, message: &str) {
        self.env.metrics.requests_refused.inc();
        if let Some(slot) = self.sessions.get_mut(key) {
            let encoding = slot.encoding();
            let mut error = Vec::new();
            put_refusal(&mut error, request, refusal, message, None);
            self.replies.put_reply(|out| encoding.put_frame(out, &error));
        }
    }

    /// People online in the session's room, on all nodes as far as is known; 0 in none.
    fn online(&mut self, key: Key) -> i32 {
        let room = self.sessions.get_mut(key).and_then(|slot| slot.membership).map(Membership::room);
        let room = room.and_then(|index| self.rooms.get(index as usize)?.as_ref());
        room.map_or(0, |room| i32::try_from(room.shared.online_everywhere()).unwrap_or(i32::MAX))
    }

    fn change_accepts(
        &mut self,
        key: Key,
        frame: &Frame<'_>,
        reply: ReplyTo,
        change: impl FnOnce(&OperationSet, usize) -> Option<OperationSet>,
    ) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let before = slot.accepts.map(|id| self.accepts.get(id).clone()).unwrap_or_default();
        match change(&before, self.env.config.limits.subscriptions_max) {
            Some(after) => {
                let old = slot.accepts.replace(self.accepts.intern(after));
                if let Some(old) = old {
                    self.accepts.release(old);
                }
                self.reply(key, reply, Extension::default(), frame.body);
            }
            None if reply.extended => {
                self.refuse(key, &frame.header, Refusal::BadRequest, "too many operations: UNSUB some first");
            }
            None => self.reply(key, reply, Extension::default(), frame.body),
        }
    }

    pub(super) fn ticket(&self, key: Key) -> Ticket {
        Ticket { session: key, mailbox: self.mailbox.clone() }
    }

    /// The session's next frames wait until the answer to this one is here.
    pub(super) fn wait(&mut self, key: Key, asked: Asked) {
        if let Some(slot) = self.sessions.get_mut(key) {
            slot.input.get_or_insert_with(|| Box::new(Input::default())).waiting = Some(asked);
        }
    }

    /// The request that a late answer is for; the session's frames go on.
    pub(super) fn stop_waiting(&mut self, key: Key) -> Option<Asked> {
        let slot = self.sessions.get_mut(key)?;
        let asked = slot.input.as_mut()?.waiting.take()?;
        slot.tidy_input();
        self.read_more.push(key);
        Some(asked)
    }

    fn send_upstream(&mut self, key: Key, frame: &Frame<'_>, reply: ReplyTo) {
        self.env.metrics.upstream.inc();
        let ticket = self.ticket(key);
        let asked = Asked { reply, ext: frame.header.ext };
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let Some(session) = &slot.key else { return };
        let addr = self.env.addr(key);
        let upstream = Upstream { mid: slot.mid, key: session, addr, op: frame.header.op, body: frame.body };
        match self.env.link.receive(&upstream, ticket) {
            Answer::Now(outcome) => self.finish_upstream(key, &asked, outcome),
            Answer::Later => self.wait(key, asked),
        }
    }

    pub(super) fn go_on_after_upstream(&mut self, key: Key, outcome: Result<(), Refusal>) {
        if let Some(asked) = self.stop_waiting(key) {
            self.finish_upstream(key, &asked, outcome);
            self.flush_replies(key);
        }
    }

    fn finish_upstream(&mut self, key: Key, asked: &Asked, outcome: Result<(), Refusal>) {
        match outcome {
            Ok(()) => self.reply(key, asked.reply, Extension::default(), &[]),
            Err(refusal) if asked.reply.extended => self.refuse(key, &asked.header(), refusal, UPSTREAM_REFUSED),
            Err(_) => self.end(key, CloseReason::Overloaded, Some(UPSTREAM_REFUSED), None),
        }
    }
}
