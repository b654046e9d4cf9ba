//! What sessions get of their users' inboxes: messages where the client has all before them, hints where it has to read.

use std::sync::Arc;

use perseid_protocol::frame::{Extension, kind};
use perseid_protocol::op;
use perseid_protocol::push::{Drop, Push};
use perseid_protocol::session::server::Phase;
use perseid_protocol::session::stored::Inbox;

use super::Worker;
use crate::link::Greeting;
use crate::outbox::Way;
use crate::slab::Key;
use crate::traced::Traced;

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
            self.replies.put(Way::Reply, 0, |out| encoding.put_head(out, head));
        }
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
            Phase::Live if !slot.rules.is_extended() => return self.push_classic(key, push, traced),
            Phase::Live if slot.rules.inbox() == Inbox::None => return metrics.drop_pushes(Drop::Filtered, 1),
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

    /// A classic session can't tell events from messages, and knows what its own user sent.
    fn push_classic(&mut self, key: Key, push: &Push, traced: Option<&Arc<Traced>>) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let own = push.from != 0 && u64::try_from(slot.mid) == Ok(push.from);
        if push.op == op::HEAD || push.kind == kind::EVENT || own || slot.mid <= 0 {
            return self.env.metrics.drop_pushes(Drop::Filtered, 1);
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
        gather.put(Way::Reply, 0, |out| encoding.put_head(out, hint));
        self.gathers.put_back(key, gather);
    }
}
