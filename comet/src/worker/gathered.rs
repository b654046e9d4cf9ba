//! What a batch of commands has for a session goes out in one write: a reply, the echo of what was sent, several pushes.

use perseid_protocol::push::Drop;

use super::Worker;
use crate::gather::Gather;
use crate::slab::Key;

impl Worker {
    /// Writes what was put together for all sessions.
    pub(super) fn flush_gathers(&mut self) {
        if self.gathers.is_empty() {
            return;
        }
        let all = self.gathers.drain();
        for (key, gather) in all.iter().flatten() {
            self.write_gathered(*key, gather);
        }
        self.gathers.recycle(all);
    }

    /// Writes what was put together for one session, because something else is about to be.
    pub(super) fn flush_gathered(&mut self, key: Key) {
        if let Some(gather) = self.gathers.remove(key) {
            self.write_gathered(key, &gather);
        }
    }

    fn write_gathered(&mut self, key: Key, gather: &Gather) {
        // Put together before it ended, or left, in the same batch.
        if self.sessions.get_mut(key).is_none_or(|slot| slot.is_ended()) {
            return self.env.metrics.drop_pushes(Drop::Closing, gather.pushes() as u64);
        }
        self.write_now(key, gather);
    }
}
