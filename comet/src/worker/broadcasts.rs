//! Pushes to all sessions of this worker.

use super::Worker;

/// Slots visited before others get their turn: of them perhaps all are written to.
const SLICE_SLOTS: u32 = 64;

impl Worker {
    /// Goes on with a push to all; whether there was one to go on with.
    pub(super) fn run_broadcast_slice(&mut self) -> bool {
        if self.broadcasts.is_empty() {
            return false;
        }
        let slots = self.sessions.slots();
        let stretch = self.broadcasts.peek_slots(slots, SLICE_SLOTS, self.env.now_ms);
        let Some(stretch) = stretch else { return false };
        let mut gather = std::mem::take(&mut self.gather);
        for slot in stretch {
            let Some(key) = self.sessions.key_at(slot) else { continue };
            gather.clear();
            self.gather_outstanding(key, &mut gather);
            if !gather.is_empty() {
                self.write(key, &gather);
            }
        }
        self.gather = gather;
        // Only now: a walk that has ended is forgotten, and nothing could be gathered for its last stretch.
        self.broadcasts.finish_slots(slots, SLICE_SLOTS, self.env.now_ms);
        true
    }
}
