//! AUTH: who a session is, and that it still is.

use perseid_protocol::CloseReason;
use perseid_protocol::auth::{AuthLimits, AuthReply};
use perseid_protocol::frame::Extension;
use perseid_protocol::limits::SERVER_FRAME_BYTES_MAX;
use perseid_protocol::operations::OperationSet;
use perseid_protocol::push::SessionAddr;
use perseid_protocol::session::server::ReplyTo;

use super::Worker;
use super::commands::unix_ms;
use super::joining::ROOMS_FULL;
use crate::link::{Answer, Connect, Connected, Greeting, Refused, Renew, Renewed};
use crate::mailbox::Command;
use crate::session::{Asked, expires_s};
use crate::slab::Key;

impl Worker {
    pub(super) fn authenticate(&mut self, key: Key, reply: ReplyTo, body: &[u8]) {
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
            Answer::Later => self.wait(key, Asked { reply, ext: Extension::default() }),
        }
    }

    pub(super) fn go_on_after_auth(&mut self, key: Key, outcome: Result<Connected, Refused>) {
        match self.stop_waiting(key) {
            Some(asked) => {
                self.finish_auth(key, asked.reply, outcome);
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
            let inbox = connected.inbox.filter(|_| reply.extended && connected.mid > 0);
            self.reply_to_auth(key, reply, inbox.as_ref());
            self.open_inbox(key, inbox.as_ref());
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

    /// `inbox`: none is an inbox without positions.
    fn reply_to_auth(&mut self, key: Key, reply: ReplyTo, inbox: Option<&Greeting>) {
        if !reply.extended {
            return self.reply(key, reply, Extension::default(), &[]);
        }
        let config = &self.env.config;
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let body_bytes = config.limits.body_bytes_max as u64;
        // A client that keeps to what it is told is never refused: neither as a frame nor as a message.
        let body_bytes = inbox.map_or(body_bytes, |inbox| inbox.body_bytes.min(body_bytes));
        let inbox = inbox.copied().unwrap_or(Greeting { floor: 1, ..Greeting::default() });
        let body = AuthReply {
            mid: slot.mid,
            key: slot.key.as_ref().map(ToString::to_string).unwrap_or_default(),
            server: config.node_id.clone(),
            heartbeat_ms: config.heartbeat_ms,
            reconnect_ms: config.reconnect_ms,
            epoch: inbox.epoch,
            floor: inbox.floor,
            head: inbox.head,
            cursor: inbox.cursor,
            limits: AuthLimits {
                body_bytes,
                frame_bytes: SERVER_FRAME_BYTES_MAX as u64,
                page_bytes: inbox.page_bytes,
                cid_ms: inbox.cid_ms,
                recall_ms: inbox.recall_ms,
                fanout: inbox.fanout,
                id_epoch_ms: config.id_epoch_ms,
                inbox_max: inbox.inbox_max,
                inbox_days: inbox.inbox_days,
            },
        };
        // A plain struct of strings and numbers always serializes.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        self.reply(key, reply, Extension { pos: inbox.head, ..Extension::default() }, &body);
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
    pub(super) fn renew(&mut self, key: Key, reply: ReplyTo, body: &[u8]) {
        let ticket = self.ticket(key);
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let peer = Self::client(slot);
        let Some(session) = &slot.key else { return };
        match self.env.link.renew(&Renew { body, mid: slot.mid, key: session, peer }, ticket) {
            Answer::Now(outcome) => self.finish_renewal(key, reply, outcome),
            Answer::Later => self.wait(key, Asked { reply, ext: Extension::default() }),
        }
    }

    pub(super) fn go_on_after_renewal(&mut self, key: Key, outcome: Result<Renewed, Refused>) {
        if let Some(asked) = self.stop_waiting(key) {
            self.finish_renewal(key, asked.reply, outcome);
            self.flush_replies(key);
        }
    }

    fn finish_renewal(&mut self, key: Key, reply: ReplyTo, outcome: Result<Renewed, Refused>) {
        match outcome {
            Ok(renewed) => {
                self.expire_at(key, renewed.expires_at_ms);
                self.reply_to_auth(key, reply, renewed.inbox.as_ref());
            }
            Err(refused) => self.end(key, refused.reason, Some(&refused.message), refused.retry_after_ms),
        }
    }
}
