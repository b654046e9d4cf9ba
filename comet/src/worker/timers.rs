//! Deadlines: handshake, silence, expired tokens, write stalls, farewells; and memory given back.

use perseid_protocol::CloseReason;

use super::Worker;
use crate::net::sys;
use crate::slab::Key;

/// So many sessions fewer are worth giving memory back for.
const TRIM_SESSIONS: usize = 500;
/// A session that is never quite drained and has lost pushes is closed after this many write stalls.
const STUCK_STALLS: u64 = 3;

enum Due {
    /// Look again then, ms.
    Later(u64),
    End(CloseReason),
    Drop,
}

impl Worker {
    pub(super) fn run_timers(&mut self) {
        if self.drain.is_some() {
            self.go_on_draining();
        }
        let mut due = std::mem::take(&mut self.due);
        self.wheel.advance(self.env.now_ms, &mut due);
        let second = self.env.now_ms / 1000;
        if second != self.memory_looked_at_s {
            self.memory_looked_at_s = second;
            self.give_memory_back();
        }
        for (tick, key) in due.drain(..) {
            match self.look_at_deadlines(tick, key) {
                None => {}
                Some(Due::Later(deadline_ms)) => {
                    let tick = self.wheel.tick_of(deadline_ms);
                    if let Some(slot) = self.sessions.get_mut(key) {
                        slot.wheel_tick = tick as u32;
                        self.wheel.insert(tick, key);
                    }
                }
                Some(Due::End(reason)) => {
                    // It is looked at once more, to see that it has gone.
                    if let Some(slot) = self.sessions.get_mut(key) {
                        slot.wheel_tick = u32::MAX;
                    }
                    self.end(key, reason, None, None);
                }
                Some(Due::Drop) => self.leave(key),
            }
        }
        self.due = due;
    }

    /// What has to be done about a session; `None` if another entry of the wheel counts for it.
    fn look_at_deadlines(&mut self, tick: u64, key: Key) -> Option<Due> {
        let now_ms = self.env.now_ms;
        let stall_ms = self.env.config.write_stall_ms;
        let slot = self.sessions.get_mut(key)?;
        if u64::from(slot.wheel_tick) != tick {
            return None;
        }
        let until_ms = if slot.until_s == 0 { u64::MAX } else { u64::from(slot.until_s) * 1000 };
        if slot.is_ended() {
            return Some(if now_ms >= until_ms { Due::Drop } else { Due::Later(until_ms) });
        }
        if now_ms >= until_ms {
            return Some(Due::End(CloseReason::TokenExpired));
        }
        if let Some(reason) = slot.rules.handle_timeout(now_ms) {
            return Some(Due::End(reason));
        }
        let mut next_ms = slot.rules.poll_timeout().min(until_ms);
        if let Some(outbox) = &slot.outbox {
            let stuck = outbox.dropped > 0 && now_ms >= outbox.since_ms + STUCK_STALLS * stall_ms;
            if stuck || now_ms >= outbox.progress_ms + stall_ms {
                return Some(Due::End(CloseReason::SlowConsumer));
            }
            next_ms = next_ms.min(outbox.progress_ms + stall_ms);
        }
        Some(Due::Later(next_ms))
    }

    /// After many sessions have left, the allocator is asked to give their memory back to the system.
    fn give_memory_back(&mut self) {
        let sessions = self.sessions.len();
        if self.peak_sessions >= sessions + TRIM_SESSIONS && self.peak_sessions > sessions + sessions / 4 {
            self.peak_sessions = sessions;
            self.wheel.shrink();
            self.read_more = Vec::new();
            sys::trim_heap();
        }
    }
}
