//! What sessions get of their users' inboxes: messages where the client has all before them, hints where it has to read.

use std::sync::Arc;

use perseid_protocol::frame::{Extension, flag, kind};
use perseid_protocol::op;
use perseid_protocol::push::{Drop, Push};
use perseid_protocol::session::server::Phase;
use perseid_protocol::session::stored::Inbox;

use super::Worker;
use crate::link::Greeting;
use crate::slab::Key;
use crate::traced::Traced;

/// Sessions looked at before others get their turn.
const SLICE_SESSIONS: usize = 64;
/// Slots looked at for them.
const SLICE_SLOTS: u32 = 1024;

/// A walk over the sessions of a worker that lost messages of inboxes before it had them.
#[derive(Debug, Default)]
pub(super) struct CatchUp {
    /// The next slot to look at.
    slot: Option<u32>,
    /// More was lost meanwhile.
    again: bool,
}

impl CatchUp {
    pub(super) const fn begin(&mut self) {
        match self.slot {
            None => self.slot = Some(0),
            Some(_) => self.again = true,
        }
    }

    pub(super) const fn is_under_way(&self) -> bool {
        self.slot.is_some()
    }

    /// All slots before `next` were looked at, of so many.
    const fn go_on(&mut self, next: u32, slots: u32) {
        self.slot = match (next < slots, self.again) {
            (true, _) => Some(next),
            (false, true) => Some(0),
            (false, false) => None,
        };
        if next >= slots {
            self.again = false;
        }
    }
}

impl Worker {
    /// AUTH_REPLY was made: from here on the session gets what its client can apply.
    pub(super) fn open_inbox(&mut self, key: Key, greeting: Option<&Greeting>) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let Some(greeting) = greeting else { return slot.inbox_pos = 0 };
        slot.rules.set_inbox(Inbox::greeted(greeting.live, greeting.foreign));
        // What came while AUTH was looked at was not pushed.
        if slot.rules.inbox() == Inbox::Live && slot.inbox_pos > greeting.head {
            let (encoding, head) = (slot.encoding(), Extension { pos: slot.inbox_pos, ..Extension::default() });
            self.env.metrics.heads.inc();
            self.replies.put_reply(|out| encoding.put_head(out, head));
        }
        // Heartbeats tell it, also when logic does not know at once.
        slot.inbox_pos = slot.inbox_pos.max(greeting.head);
    }

    /// The extended fields of HEARTBEAT_REPLY: the inbox head, at least everything that came for this session.
    pub(super) fn heartbeat_fields(&mut self, key: Key) -> Extension {
        let Some(slot) = self.sessions.get_mut(key).filter(|slot| slot.rules.inbox() != Inbox::None) else {
            return Extension::default();
        };
        Extension { pos: self.env.link.inbox_head(slot.mid).max(slot.inbox_pos), ..Extension::default() }
    }

    /// Something in the inbox of a session's user, or a hint.
    pub(super) fn push_inbox(&mut self, key: Key, push: &Arc<Push>, pos: u64, conv: u64, traced: Option<&Arc<Traced>>) {
        let metrics = &self.env.metrics;
        let Some(slot) = self.sessions.get_mut(key) else { return metrics.drop_pushes(Drop::Offline, 1) };
        match slot.rules.phase() {
            Phase::Live if slot.rules.inbox() == Inbox::None => return self.push_without_inbox(key, push, conv, traced),
            Phase::Live => {}
            // Whether it will have an inbox is not known yet.
            Phase::Authenticating if slot.rules.is_extended() => {
                slot.inbox_pos = slot.inbox_pos.max(pos);
                return metrics.withheld.inc();
            }
            Phase::AwaitingAuth | Phase::Authenticating => return metrics.drop_pushes(Drop::Offline, 1),
            Phase::Ended => return metrics.drop_pushes(Drop::Closing, 1),
        }
        slot.inbox_pos = slot.inbox_pos.max(pos);
        if push.op == op::HEAD {
            self.hint(key, push, pos, conv);
        } else if slot.rules.inbox() == Inbox::Live {
            self.push_stored(key, push, pos, conv, traced);
        } else {
            metrics.withheld.inc();
        }
    }

    /// A session without an inbox gets messages of others, filtered, as if they were not stored: a position is nothing to it.
    fn push_without_inbox(&mut self, key: Key, push: &Push, conv: u64, traced: Option<&Arc<Traced>>) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let own = push.from != 0 && u64::try_from(slot.mid) == Ok(push.from);
        let is_gone = push.flags & flag::GONE != 0;
        if push.op == op::HEAD || push.kind == kind::EVENT || own || is_gone || slot.mid <= 0 {
            return self.env.metrics.drop_pushes(Drop::Filtered, 1);
        }
        if slot.rules.is_extended() {
            let transient = Push { conv, pos: 0, flags: push.flags & !flag::STORED, ..push.clone() };
            return self.push_direct(key, &transient, traced);
        }
        self.push_direct(key, push, traced);
    }

    fn push_stored(&mut self, key: Key, push: &Push, pos: u64, conv: u64, traced: Option<&Arc<Traced>>) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let encoding = slot.encoding();
        if let Some(outbox) = slot.outbox.as_deref_mut().filter(|outbox| outbox.has_lost()) {
            outbox.lose(pos);
            return self.env.metrics.drop_pushes(Drop::Slow, 1);
        }
        let mut gather = self.gathers.take(key);
        self.gather_outstanding(key, &mut gather);
        gather.put_inbox(pos, |out| encoding.put_inbox(out, push, pos, conv));
        self.gathers.put_back(key, gather);
        self.gathers.trace(traced);
    }

    /// A hint says where a head is. Of many only the newest counts, so they don't pile up where the socket is full.
    fn hint(&mut self, key: Key, push: &Push, pos: u64, conv: u64) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let Push { id, conv_pos, from, cid, kind, flags, .. } = *push;
        let hint = Extension { id, pos, conv, conv_pos, from, cid, kind, flags };
        if let Some(outbox) = slot.outbox.as_deref_mut() {
            if !outbox.owe(hint) {
                self.env.metrics.drop_pushes(Drop::Slow, 1);
            }
            return;
        }
        let encoding = slot.encoding();
        self.env.metrics.heads.inc();
        let mut gather = self.gathers.take(key);
        gather.put_reply(|out| encoding.put_head(out, hint));
        self.gathers.put_back(key, gather);
    }

    /// Goes on telling sessions where the heads of their inboxes are, after messages were lost; whether there were any.
    pub(super) fn run_catch_up_slice(&mut self) -> bool {
        let Some(mut slot) = self.catch_up.slot else { return false };
        let slots = self.sessions.slots();
        let end = slots.min(slot.saturating_add(SLICE_SLOTS));
        let mut visited = 0;
        while slot < end && visited < SLICE_SESSIONS {
            if let Some(key) = self.sessions.key_at(slot) {
                visited += 1;
                self.catch_up(key);
            }
            slot += 1;
        }
        self.flush_gathers();
        self.catch_up.go_on(slot, slots);
        true
    }

    /// A session may not have got everything.
    fn catch_up(&mut self, key: Key) {
        let Some(slot) = self.sessions.get_mut(key).filter(|slot| slot.is_live()) else { return };
        let inbox = slot.rules.inbox();
        if inbox == Inbox::None {
            return;
        }
        let head = self.env.link.inbox_head(slot.mid);
        if head <= slot.inbox_pos {
            return;
        }
        slot.inbox_pos = head;
        // Whoever still reads is told at the end of that.
        if inbox == Inbox::Live {
            self.hint(key, &Push { op: op::HEAD, ..Push::default() }, head, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_on_the_way_is_looked_for_again() {
        let mut walk = CatchUp::default();
        assert!(!walk.is_under_way());
        walk.begin();
        walk.go_on(64, 200);
        assert_eq!(walk.slot, Some(64));
        walk.begin();
        walk.go_on(200, 200);
        assert_eq!(walk.slot, Some(0), "once more from the start");
        walk.go_on(200, 200);
        assert!(!walk.is_under_way());
        walk.begin();
        walk.go_on(0, 0);
        assert!(!walk.is_under_way(), "nobody is there");
    }
}
