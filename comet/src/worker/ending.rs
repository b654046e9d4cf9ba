//! The end of sessions: by us with a farewell, by the client, by the network, all of them in turn.

use perseid_protocol::CloseReason;
use perseid_protocol::push::{Drop, Priority};
use perseid_protocol::session::server::put_disconnect;

use super::Worker;
use crate::gather::Gather;
use crate::net::websocket::encode;
use crate::session::{Wire, until_s};
use crate::slab::Key;

/// How long a client may take to read our farewell before its connection is dropped, ms.
const LINGER_MS: u64 = 2000;

/// Sessions are told to leave, so many per second.
#[derive(Debug)]
pub(crate) struct Drain {
    per_second: u32,
    retry_after_ms: u64,
    started_ms: u64,
    told: u64,
    /// The next slot to look at.
    slot: u32,
}

/// How often a draining worker goes on, ms.
pub(super) const DRAIN_STEP_MS: u64 = 10;

impl Drain {
    pub(super) const fn new(per_second: u32, retry_after_ms: u64, now_ms: u64) -> Self {
        Self { per_second, retry_after_ms, started_ms: now_ms, told: 0, slot: 0 }
    }

    fn allowance(&self, now_ms: u64) -> u64 {
        let elapsed_ms = now_ms.saturating_sub(self.started_ms) + DRAIN_STEP_MS;
        (elapsed_ms * u64::from(self.per_second) / 1000).max(1).saturating_sub(self.told)
    }
}

impl Worker {
    /// Ends a session for `reason`: it is told why as far as its protocol allows, and what it had is given back now.
    pub(super) fn end(&mut self, key: Key, reason: CloseReason, message: Option<&str>, retry_after_ms: Option<u64>) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        if slot.is_ended() {
            return;
        }
        self.env.metrics.end(reason);
        if self.env.node.session_log.allow() {
            let (mid, session) = (slot.mid, slot.key.as_ref().map(ToString::to_string).unwrap_or_default());
            let client = Self::client(slot).map(|client| client.to_string()).unwrap_or_default();
            tracing::debug!(mid, session, client, reason = reason.word(), message, "session ended");
        }
        let mut linger_ms = LINGER_MS;
        if reason == CloseReason::SlowConsumer {
            self.drop_queued(key);
            // It has been slow for that long: it gets as long again to see why it goes.
            linger_ms = linger_ms.max(self.env.config.write_stall_ms);
        }
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let retry_after_ms = retry_after_ms.or_else(|| reason.comes_back().then_some(self.env.config.reconnect_ms));
        let (encoding, extended, wire) = (slot.encoding(), slot.rules.is_extended(), slot.wire);
        let mut farewell = Gather::default();
        if extended {
            let mut frame = Vec::new();
            put_disconnect(&mut frame, reason, message, retry_after_ms);
            farewell.put_reply(|out| encoding.put_frame(out, &frame));
        }
        if wire == Wire::WebSocket {
            farewell.put_reply(|out| encode::put_close(out, reason.code(), reason.word()));
        }
        self.close_within(key, &farewell, linger_ms, Some(reason));
    }

    /// Drops what a session does not take, so that the reason why it ends comes next.
    fn drop_queued(&mut self, key: Key) {
        self.leave_room(key);
        if let Some(outbox) = self.sessions.get_mut(key).and_then(|slot| slot.outbox.as_deref_mut()) {
            let (frames, bytes) = outbox.drop_pushes(usize::MAX, Priority::High);
            self.env.node.budget.sub(bytes);
            self.env.metrics.drop_pushes(Drop::Slow, frames as u64);
        }
    }

    /// Ends a session with these last bytes.
    pub(super) fn close(&mut self, key: Key, farewell: &Gather) {
        self.close_within(key, farewell, LINGER_MS, None);
    }

    fn close_within(&mut self, key: Key, farewell: &Gather, linger_ms: u64, reason: Option<CloseReason>) {
        // If it ends while its frames are read, what it asked before is answered. (Nobody else's replies are there then.)
        self.flush_replies(key);
        // Before the session has ended: what was pushed to it goes first.
        let mut gather = Gather::default();
        self.gather_outstanding(key, &mut gather);
        self.write(key, &gather);
        self.give_back(key, reason);
        self.write(key, farewell);
        let until_ms = self.env.now_ms + linger_ms;
        let Some(slot) = self.sessions.get_mut(key) else { return };
        slot.until_s = until_s(until_ms);
        let flushed = slot.outbox.is_none();
        self.arm(key, until_ms);
        if flushed {
            self.shut(key);
        }
    }

    /// Ends the session as far as others are concerned: its room, its registration, what it accepts.
    fn give_back(&mut self, key: Key, reason: Option<CloseReason>) {
        self.leave_room(key);
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let transport = slot.transport();
        slot.rules.end();
        if let Some(input) = slot.input.take() {
            self.env.node.budget.sub(input.len() + input.decoder.buffered_bytes());
            self.env.metrics.sends_in_flight.sub(input.unanswered.sends_in_flight() as u64);
        }
        if let Some(mut guest) = slot.guest.take() {
            self.env.node.budget.sub(guest.buffered_bytes());
            guest.give_back(&self.env.node.admission);
        }
        let accepts = slot.accepts.take();
        let registered = slot.key.take().map(|session| (session, slot.mid));
        if let Some(accepts) = accepts {
            self.accepts.release(accepts);
        }
        if let Some((session, mid)) = registered {
            self.env.metrics.sessions[transport].dec();
            self.env.link.disconnect(&session, mid, self.env.addr(key), reason);
        }
    }

    /// Closes our half of the connection; the client reads to the end and closes its own.
    pub(super) fn shut(&mut self, key: Key) {
        if !self.say_close_notify(key) {
            return; // once the socket has taken it, we are here again
        }
        if let Some(slot) = self.sessions.get_mut(key)
            && !slot.shut
        {
            slot.shut = true;
            if slot.stream.shutdown(std::net::Shutdown::Write).is_err() {
                self.broken.push(key);
            } else {
                // The end of the other half may have been read over already.
                slot.unread = true;
                self.read_more.push(key);
            }
        }
    }

    /// The client has left, or the connection is broken, or it has lingered long enough.
    pub(super) fn leave(&mut self, key: Key) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        if !slot.is_ended() {
            self.env.metrics.left.inc();
        }
        self.drop_unseen(key);
        self.give_back(key, None);
        let Some(slot) = self.sessions.remove(key) else { return };
        let transport = slot.transport();
        let env = &self.env;
        if let Some(outbox) = slot.outbox {
            env.node.budget.sub(outbox.len());
            env.metrics.drop_pushes(Drop::Closing, outbox.pushes() as u64);
            env.metrics.blocked.dec();
        }
        env.node.budget.sub(slot.tls.as_ref().map_or(0, |tls| tls.buffered_bytes()));
        env.metrics.connections[transport].dec();
    }

    pub(super) fn end_broken(&mut self) {
        for key in std::mem::take(&mut self.broken) {
            self.leave(key);
        }
    }

    /// Tells the next sessions to leave, if the node is draining.
    pub(super) fn go_on_draining(&mut self) {
        let now_ms = self.env.now_ms;
        let slots = self.sessions.slots();
        let Some(drain) = &mut self.drain else { return };
        let retry_after_ms = drain.retry_after_ms;
        let mut told = Vec::new();
        let allowance = drain.allowance(now_ms);
        while (told.len() as u64) < allowance && drain.slot < slots {
            told.extend(self.sessions.key_at(drain.slot));
            drain.slot += 1;
        }
        drain.told += told.len() as u64;
        if drain.slot >= slots {
            // Whoever was being accepted meanwhile is found in the next round.
            drain.slot = 0;
        }
        for key in told {
            self.end(key, CloseReason::Draining, None, Some(retry_after_ms));
        }
    }

    /// Drops every connection: the node stops now.
    pub(super) fn remove_all(&mut self) {
        for slot in 0..self.sessions.slots() {
            if let Some(key) = self.sessions.key_at(slot) {
                self.leave(key);
            }
        }
    }
}
