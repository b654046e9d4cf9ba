//! What other threads ask.

use std::sync::Arc;

use perseid_protocol::frame::flag;
use perseid_protocol::push::{Drop, Push};

use super::Worker;
use super::ending::Drain;
use crate::broadcast::Broadcast;
use crate::mailbox::Command;
use crate::outbox::Way;
use crate::slab::Key;
use crate::terms::Terms;
use crate::traced::Traced;

impl Worker {
    pub(super) fn handle_command(&mut self, command: Command) {
        match command {
            Command::Direct { session, push, traced } => self.push_direct(session, &push, traced.as_ref()),
            Command::Room { room, push, traced } => self.push_room(&room, &push, traced),
            Command::All { push, speed, traced } => self.push_all(push, speed, traced),
            Command::Authenticated { session, outcome } => self.go_on_after_auth(session, outcome),
            Command::RoomEntered { session } => self.go_on_entering(session),
            Command::Renewed { session, outcome } => self.go_on_after_renewal(session, outcome),
            Command::Received { session, outcome } => self.go_on_after_upstream(session, outcome),
            Command::Stored { session, number, outcome } => self.go_on_stored(session, number, outcome),
            Command::RoomTail { session, tail } => self.go_on_recovering(session, &tail),
            Command::Inbox { session, push, pos, conv, traced } => {
                self.push_inbox(session, &push, pos, conv, traced.as_ref());
            }
            Command::End { session, reason, message } => self.end(session, reason, message.as_deref(), None),
            Command::Drain { per_second, retry_after_ms } => {
                self.listeners.clear();
                self.accept_more.clear();
                self.drain = Some(Drain::new(per_second, retry_after_ms, self.env.now_ms));
            }
            Command::Reload(config) => self.env.config = config,
            Command::Stop => self.stopping = true,
        }
    }

    /// When a push arrived, in this worker's order.
    pub(super) fn next_arrival(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    pub(super) fn push_direct(&mut self, key: Key, push: &Push, traced: Option<&Arc<Traced>>) {
        let metrics = &self.env.metrics;
        let Some(slot) = self.sessions.get_mut(key) else {
            return metrics.drop_pushes(Drop::Offline, 1);
        };
        if !slot.is_live() {
            let reason = if slot.is_ended() { Drop::Closing } else { Drop::Offline };
            return metrics.drop_pushes(reason, 1);
        }
        if push.expires_at_ms != 0 && push.is_expired(unix_ms()) {
            return metrics.drop_pushes(Drop::Expired, 1);
        }
        // Typing and the like is the protocol's own: extended sessions get it whatever they accept, others never.
        let ephemeral = push.flags & flag::EPHEMERAL != 0;
        let accepted = slot.accepts.is_some_and(|id| self.accepts.get(id).contains(push.accepted_as()));
        if if ephemeral { !slot.rules.is_extended() } else { !accepted } {
            return metrics.drop_pushes(Drop::Filtered, 1);
        }
        let encoding = slot.encoding();
        let mut gather = self.gathers.take(key);
        self.gather_outstanding(key, &mut gather);
        let replaced = gather.put_push(Way::Direct, Terms::of(push), |out| encoding.put_push(out, push));
        self.env.metrics.collapse(replaced);
        self.gathers.put_back(key, gather);
        self.gathers.trace(traced);
    }

    fn push_room(&mut self, name: &str, push: &Push, traced: Option<Arc<Traced>>) {
        let arrival = self.next_arrival();
        if let Some(&index) = self.rooms_by_name.get(name) {
            self.publish(index, push, arrival, traced);
        }
    }

    fn push_all(&mut self, push: Arc<Push>, speed: u32, traced: Option<Arc<Traced>>) {
        let arrival = self.next_arrival();
        self.env.node.budget.add(Broadcast::bytes(&push));
        self.broadcasts.push(push, speed, arrival, self.env.now_ms, traced);
    }
}

/// Wall clock, unix ms. Asked only where a push can be too late.
pub(super) fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
