//! Frames from clients: the session's rules decide, this carries it out.

use perseid_protocol::auth::{AuthLimits, AuthReply};
use perseid_protocol::frame::{self, Extension, Frame, Header};
use perseid_protocol::limits::SERVER_FRAME_BYTES_MAX;
use perseid_protocol::operation::op;
use perseid_protocol::operations::OperationSet;
use perseid_protocol::push::SessionAddr;
use perseid_protocol::room::RoomId;
use perseid_protocol::session::server::{ReplyTo, Request, put_refusal, room_reply};
use perseid_protocol::{CloseReason, Refusal};

use super::Worker;
use super::commands::unix_ms;
use crate::link::{Answer, Connect, Connected, Refused, Renew, Renewed, Ticket, Upstream};
use crate::mailbox::Command;
use crate::outbox::Way;
use crate::session::{Input, Membership, REPLIES_BYTES_MAX, expires_s};
use crate::slab::Key;
use crate::users::Sent;

const NO_STORE: &str = "this node keeps no messages: use transient pushes";
const UPSTREAM_REFUSED: &str = "the event log does not take it now: nothing was written, try again";
const ROOMS_FULL: &str = "this node holds as many rooms as it may: join one that is there, or try again later";
const GUEST: &str = "a guest (mid 0) has no inbox: authenticate as a user";

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
            if slot.is_paused() || (from == From::Kept && slot.is_waiting()) {
                return used;
            }
            let body_bytes_max = slot.rules.body_bytes_max(&self.env.config.limits);
            match frame::decode(&bytes[used..], body_bytes_max) {
                Ok(Some(frame)) => {
                    let start = used;
                    used += frame.len;
                    if let Some(input) = &mut slot.input
                        && from == From::Wire
                        && (input.waiting.is_some() || !input.frames.is_empty())
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
                self.reply(key, reply, Extension::default(), &online);
            }
            Request::ChangeRoom { room, .. } => self.enter_room(key, reply, room.map(RoomId::as_str), body),
            Request::Subscribe(list) => self.change_accepts(key, frame, reply, |set, max| set.with(&list, max)),
            Request::Unsubscribe(list) => self.change_accepts(key, frame, reply, |set, _| Some(set.without(&list))),
            Request::EchoOnly => self.reply(key, reply, Extension::default(), body),
            Request::Upstream => self.send_upstream(key, frame, reply),
            Request::Stored => self.refuse_stored(key, frame),
            Request::Refuse(refusal, message) => self.refuse(key, frame, refusal, message),
        }
    }

    fn reply(&mut self, key: Key, reply: ReplyTo, ext: Extension, body: &[u8]) {
        if let Some(slot) = self.sessions.get_mut(key) {
            let encoding = slot.encoding();
            self.replies.put(Way::Reply, 0, |out| encoding.put_reply(out, reply, ext, body));
        }
    }

    fn refuse(&mut self, key: Key, frame: &Frame<'_>, refusal: Refusal, message: &str) {
        self.env.metrics.requests_refused.inc();
        if let Some(slot) = self.sessions.get_mut(key) {
            let encoding = slot.encoding();
            let mut error = Vec::new();
            put_refusal(&mut error, &frame.header, refusal, message, None);
            self.replies.put(Way::Reply, 0, |out| encoding.put_frame(out, &error));
        }
    }

    /// Refuses a request of which only the way back is still known.
    fn refuse_reply(&mut self, key: Key, reply: ReplyTo, refusal: Refusal, message: &str) {
        self.env.metrics.requests_refused.inc();
        if let Some(slot) = self.sessions.get_mut(key) {
            let encoding = slot.encoding();
            let mut error = Vec::new();
            let header = Header { ver: reply.ver, op: reply.op, seq: reply.seq, ext: Extension::default() };
            put_refusal(&mut error, &header, refusal, message, None);
            self.replies.put(Way::Reply, 0, |out| encoding.put_frame(out, &error));
        }
    }

    fn refuse_stored(&mut self, key: Key, frame: &Frame<'_>) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let silent = frame.header.seq == 0 && matches!(frame.header.op, op::ACK | op::EPHEMERAL);
        if !silent {
            let (refusal, message) =
                if slot.mid <= 0 { (Refusal::PermissionDenied, GUEST) } else { (Refusal::Unsupported, NO_STORE) };
            self.refuse(key, frame, refusal, message);
        }
    }

    /// People online in the session's room, on all nodes as far as is known; 0 in none.
    fn online(&mut self, key: Key) -> i32 {
        let room = self.sessions.get_mut(key).and_then(|slot| slot.membership).map(Membership::room);
        let room = room.and_then(|index| self.rooms.get(index as usize)?.as_ref());
        room.map_or(0, |room| i32::try_from(room.shared.online_everywhere()).unwrap_or(i32::MAX))
    }

    /// Changes the room, or leaves it. One that this node does not hold is announced first.
    fn enter_room(&mut self, key: Key, reply: ReplyTo, room: Option<&str>, body: &[u8]) {
        if let Some(room) = room
            && self.env.node.rooms.workers(room) == 0
        {
            let ticket = self.ticket(key);
            if let Answer::Later = self.env.link.enter_room(room, ticket) {
                // No frame of the old room is begun after this request was read.
                self.change_room(key, None);
                self.wait(key, reply);
                if let Some(input) = self.sessions.get_mut(key).and_then(|slot| slot.input.as_mut()) {
                    input.entering = Some((room.into(), body.into()));
                }
                return;
            }
        }
        let changed = self.change_room(key, room);
        self.finish_room(key, reply, changed, body);
    }

    /// Answers CHANGE_ROOM. A classic session can't be told that there is no room: it would believe that it is in it.
    fn finish_room(&mut self, key: Key, reply: ReplyTo, changed: bool, body: &[u8]) {
        if changed {
            self.reply(key, reply, room_reply(0, false), body);
        } else if reply.extended {
            self.refuse_reply(key, reply, Refusal::Unavailable, ROOMS_FULL);
        } else {
            self.end(key, CloseReason::Overloaded, Some(ROOMS_FULL), None);
        }
    }

    pub(super) fn go_on_entering(&mut self, key: Key) {
        let input = self.sessions.get_mut(key).and_then(|slot| slot.input.as_mut());
        let Some((room, body)) = input.and_then(|input| input.entering.take()) else { return };
        if let Some(reply) = self.stop_waiting(key) {
            let changed = self.change_room(key, Some(&room));
            self.finish_room(key, reply, changed, &body);
            self.flush_replies(key);
        }
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
            None if reply.extended => self.refuse(key, frame, Refusal::BadRequest, "too many operations: UNSUB some first"),
            None => self.reply(key, reply, Extension::default(), frame.body),
        }
    }

    fn ticket(&self, key: Key) -> Ticket {
        Ticket { session: key, mailbox: self.mailbox.clone() }
    }

    /// The session's next frames wait until the answer to this one is here.
    fn wait(&mut self, key: Key, reply: ReplyTo) {
        if let Some(slot) = self.sessions.get_mut(key) {
            slot.input.get_or_insert_with(|| Box::new(Input::default())).waiting = Some(reply);
        }
    }

    /// The request that a late answer is for; the session's frames go on.
    fn stop_waiting(&mut self, key: Key) -> Option<ReplyTo> {
        let slot = self.sessions.get_mut(key)?;
        let reply = slot.input.as_mut()?.waiting.take()?;
        if slot.input.as_ref().is_some_and(|input| input.is_empty()) {
            slot.input = None;
        }
        self.read_more.push(key);
        Some(reply)
    }

    fn authenticate(&mut self, key: Key, reply: ReplyTo, body: &[u8]) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let peer = Self::client(slot);
        let cookie = slot.guest.as_deref_mut().map(|guest| std::mem::take(&mut guest.cookie)).unwrap_or_default();
        self.env.node.budget.sub(cookie.len());
        if !self.take_place(key, peer) {
            return;
        }
        let request = Connect { body, addr: self.env.addr(key), peer, extended: reply.extended, cookie: &cookie };
        let ticket = self.ticket(key);
        match self.env.link.connect(&request, ticket) {
            Answer::Now(outcome) => self.finish_auth(key, reply, outcome),
            Answer::Later => self.wait(key, reply),
        }
    }

    pub(super) fn go_on_after_auth(&mut self, key: Key, outcome: Result<Connected, Refused>) {
        match self.stop_waiting(key) {
            Some(reply) => {
                self.finish_auth(key, reply, outcome);
                self.flush_replies(key);
            }
            // The session has gone meanwhile; logic believes that it is there.
            None => {
                if let Ok(connected) = outcome {
                    self.env.link.disconnect(&connected.key, connected.mid, self.env.addr(key), None);
                }
            }
        }
    }

    fn finish_auth(&mut self, key: Key, reply: ReplyTo, outcome: Result<Connected, Refused>) {
        let now_ms = self.env.now_ms;
        let limits = &self.env.config.limits;
        let connected = match outcome {
            Ok(connected) => connected,
            Err(refused) => {
                self.env.metrics.auth_refused.inc();
                return self.end(key, refused.reason, Some(&refused.message), refused.retry_after_ms);
            }
        };
        let Some(slot) = self.sessions.get_mut(key) else { return };
        slot.rules.handle_auth(true, now_ms, limits);
        slot.mid = connected.mid;
        slot.broadcasts_seen = self.broadcasts.last_number();
        slot.key = Some(connected.key);
        self.env.metrics.sessions[slot.transport()].inc();
        let Some(accepts) = OperationSet::from_list(&connected.accepts, limits.subscriptions_max) else {
            self.env.metrics.auth_refused.inc();
            let message = format!("accepts has more than {} operations", limits.subscriptions_max);
            return self.end(key, CloseReason::Unauthenticated, Some(&message), None);
        };
        slot.accepts = Some(self.accepts.intern(accepts));
        self.env.metrics.auth_accepted.inc();
        self.settle(key);
        let joined = connected.room.is_none_or(|room| self.join(key, &room));
        if joined {
            self.expire_at(key, connected.expires_at_ms);
            self.reply_to_auth(key, reply);
        }
        // Logic has forgotten the former session already.
        if let Some(addr) = connected.replaced {
            self.replace(addr);
        }
        if !joined {
            self.end(key, CloseReason::Overloaded, Some(ROOMS_FULL), None);
        }
    }

    /// Takes note of when a session's token expires (unix ms; 0: never).
    fn expire_at(&mut self, key: Key, expires_at_ms: u64) {
        let now_ms = self.env.now_ms;
        let Some(slot) = self.sessions.get_mut(key).filter(|slot| slot.is_live()) else { return };
        slot.until_s = if expires_at_ms == 0 { 0 } else { expires_s(expires_at_ms, unix_ms(), now_ms) };
        if slot.until_s != 0 {
            let until_ms = u64::from(slot.until_s) * 1000;
            self.arm(key, until_ms);
        }
    }

    fn reply_to_auth(&mut self, key: Key, reply: ReplyTo) {
        if !reply.extended {
            return self.reply(key, reply, Extension::default(), &[]);
        }
        let config = &self.env.config;
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let body = AuthReply {
            mid: slot.mid,
            key: slot.key.as_ref().map(ToString::to_string).unwrap_or_default(),
            server: config.node_id.clone(),
            heartbeat_ms: config.heartbeat_ms,
            reconnect_ms: config.reconnect_ms,
            // Nothing is stored here: an inbox without positions.
            epoch: 0,
            floor: 1,
            head: 0,
            cursor: 0,
            limits: AuthLimits {
                body_bytes: config.limits.body_bytes_max as u64,
                frame_bytes: SERVER_FRAME_BYTES_MAX as u64,
                id_epoch_ms: config.id_epoch_ms,
                ..AuthLimits::default()
            },
        };
        // A plain struct of strings and numbers always serializes.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        self.reply(key, reply, Extension::default(), &body);
    }

    /// A newer session has the key of this one.
    fn replace(&mut self, addr: SessionAddr) {
        if (addr.node, addr.incarnation) != (self.env.config.node, self.env.config.incarnation) {
            return; // another comet's: logic tells that one
        }
        let session = Key { slot: addr.slot, generation: addr.generation };
        if let Some(mailbox) = self.env.node.mailbox(addr.worker) {
            mailbox.post(Command::End { session, reason: CloseReason::Replaced, message: None });
        }
    }

    /// A living session shows who it is again; another user is not let in through it.
    fn renew(&mut self, key: Key, reply: ReplyTo, body: &[u8]) {
        let ticket = self.ticket(key);
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let peer = Self::client(slot);
        let Some(session) = &slot.key else { return };
        match self.env.link.renew(&Renew { body, mid: slot.mid, key: session, peer }, ticket) {
            Answer::Now(outcome) => self.finish_renewal(key, reply, outcome),
            Answer::Later => self.wait(key, reply),
        }
    }

    pub(super) fn go_on_after_renewal(&mut self, key: Key, outcome: Result<Renewed, Refused>) {
        if let Some(reply) = self.stop_waiting(key) {
            self.finish_renewal(key, reply, outcome);
            self.flush_replies(key);
        }
    }

    fn finish_renewal(&mut self, key: Key, reply: ReplyTo, outcome: Result<Renewed, Refused>) {
        match outcome {
            Ok(renewed) => {
                self.expire_at(key, renewed.expires_at_ms);
                self.reply_to_auth(key, reply);
            }
            Err(refused) => self.end(key, refused.reason, Some(&refused.message), refused.retry_after_ms),
        }
    }

    fn send_upstream(&mut self, key: Key, frame: &Frame<'_>, reply: ReplyTo) {
        self.env.metrics.upstream.inc();
        let ticket = self.ticket(key);
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let Some(session) = &slot.key else { return };
        let addr = self.env.addr(key);
        let upstream = Upstream { mid: slot.mid, key: session, addr, op: frame.header.op, body: frame.body };
        match self.env.link.receive(&upstream, ticket) {
            Answer::Now(outcome) => self.finish_upstream(key, reply, outcome),
            Answer::Later => self.wait(key, reply),
        }
    }

    pub(super) fn go_on_after_upstream(&mut self, key: Key, outcome: Result<(), Refusal>) {
        if let Some(reply) = self.stop_waiting(key) {
            self.finish_upstream(key, reply, outcome);
            self.flush_replies(key);
        }
    }

    fn finish_upstream(&mut self, key: Key, reply: ReplyTo, outcome: Result<(), Refusal>) {
        match outcome {
            Ok(()) => self.reply(key, reply, Extension::default(), &[]),
            Err(refusal) if reply.extended => self.refuse_reply(key, reply, refusal, UPSTREAM_REFUSED),
            Err(_) => self.end(key, CloseReason::Overloaded, Some(UPSTREAM_REFUSED), None),
        }
    }
}
