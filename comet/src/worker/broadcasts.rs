//! Pushes to all sessions of this worker.

use super::Worker;

/// Sessions visited before others get their turn: of them perhaps all are written to.
const SLICE_SESSIONS: u32 = 64;
/// Slots looked at for them.
const SLICE_SLOTS: u32 = 1024;

impl Worker {
    /// Goes on with a push to all; whether there was one to go on with.
    pub(super) fn run_broadcast_slice(&mut self) -> bool {
        if self.broadcasts.is_empty() {
            return false;
        }
        let now_ms = self.env.now_ms;
        // What waits for its pace is held for all that time: a full node has none for that.
        let in_haste = self.env.node.budget.is_over();
        let Some((from, sessions)) = self.broadcasts.next_stretch(now_ms, in_haste) else { return false };
        let sessions = sessions.min(SLICE_SESSIONS);
        let slots = self.sessions.slots();
        let end = slots.min(from.saturating_add(SLICE_SLOTS));
        let mut gather = std::mem::take(&mut self.gather);
        let (mut slot, mut visited) = (from, 0);
        while slot < end && visited < sessions {
            if let Some(key) = self.sessions.key_at(slot) {
                visited += 1;
                gather.clear();
                self.gather_outstanding(key, &mut gather);
                self.write(key, &gather);
            }
            slot += 1;
        }
        self.gather = gather;
        // Only now: a walk that has ended is forgotten, and nothing could be gathered for its last stretch.
        let bytes = self.broadcasts.finish_stretch(slot, visited, slots, now_ms, in_haste);
        self.env.node.budget.sub(bytes);
        true
    }
}
