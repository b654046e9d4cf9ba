//! How fast sessions may send, each of them and those of one user together.

use perseid_protocol::CloseReason;

use super::Worker;
use crate::guest::charge;
use crate::metrics::Limit;
use crate::slab::Key;
use crate::users::Sent;

const TOO_FAST: &str = "this session sends faster than this node takes from one: send less";
const USER_TOO_FAST: &str = "the sessions of this user send faster than this node takes from one user: send less";

impl Worker {
    /// Counts what a session sends, for itself and for its user; one that sends too fast is ended, and `false`.
    pub(super) fn is_within(&mut self, key: Key, sent: Sent, count: usize) -> bool {
        let Err((limit, wait_ms)) = self.take_from_buckets(key, sent, count) else { return true };
        self.env.metrics.limit(limit);
        let message = if matches!(limit, Limit::UserFrames | Limit::UserBytes) { USER_TOO_FAST } else { TOO_FAST };
        let retry_after_ms = wait_ms.max(self.env.config.reconnect_ms);
        self.end(key, CloseReason::RateLimited, Some(message), Some(retry_after_ms));
        false
    }

    /// Takes from the buckets of a session and of its user.
    ///
    /// # Errors
    /// The limit that is reached, and how long until it would be there, ms.
    fn take_from_buckets(&mut self, key: Key, sent: Sent, count: usize) -> Result<(), (Limit, u64)> {
        let config = &self.env.config.limit;
        let (rate, user_rate, limit, user_limit) = match sent {
            Sent::Frames => (config.frames, config.user_frames, Limit::Frames, Limit::UserFrames),
            Sent::Bytes => (config.bytes, config.user_bytes, Limit::Bytes, Limit::UserBytes),
        };
        if !rate.is_on() && !user_rate.is_on() {
            return Ok(());
        }
        let Some(slot) = self.sessions.get_mut(key).filter(|slot| slot.is_live()) else { return Ok(()) };
        if rate.is_on() {
            let guest = slot.guest.get_or_insert_default();
            let full_ns = if sent == Sent::Bytes { &mut guest.bytes_ns } else { &mut guest.frames_ns };
            charge(rate, full_ns, self.env.now_ms, count).map_err(|wait_ms| (limit, wait_ms))?;
        }
        self.env.node.users.take(user_rate, slot.mid, sent, count).map_err(|wait_ms| (user_limit, wait_ms))
    }
}
