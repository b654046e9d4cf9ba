//! Sessions may live for days, the log forgets after a time: before it forgets the beginning of a session, that is written
//! again, so that a crash still finds it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use perseid_log::Offset;
use perseid_protocol::SessionKey;
use perseid_rpc::{EventKind, Events};
use prost::Message;

use super::Presence;
use super::offer::{Offered, offer};
use super::presence::event_of;

/// Sessions in one record: so many that the lock on their keys is short.
const CHUNK: usize = 128;
/// How often, and how long apart, one looks again after sessions that are just beginning.
const ROUNDS: usize = 100;
const ROUND: Duration = Duration::from_millis(20);

/// When all sessions are repeated: after so many bytes of the log, and after so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StillPace {
    every_bytes: u64,
    every_ms: u64,
    last_bytes: u64,
    last_ms: u64,
}

impl StillPace {
    /// Four times within what the log keeps.
    pub const fn within(retention_bytes: u64, retention_ms: u64, now_ms: u64) -> Self {
        Self { every_bytes: retention_bytes / 4, every_ms: retention_ms / 4, last_bytes: 0, last_ms: now_ms }
    }

    /// Whether it is time, when the log has taken so many bytes since the start.
    pub const fn is_due(&self, log_bytes: u64, now_ms: u64) -> bool {
        log_bytes.saturating_sub(self.last_bytes) > self.every_bytes || now_ms.saturating_sub(self.last_ms) > self.every_ms
    }

    /// It was done.
    pub const fn done(&mut self, log_bytes: u64, now_ms: u64) {
        (self.last_bytes, self.last_ms) = (log_bytes, now_ms);
    }
}

impl Presence {
    /// Writes again the beginning of each session that is online. Gives the offset from which on the log now tells of all of
    /// them: what is older may go. Blocks until they are durable.
    ///
    /// # Errors
    /// The log did not take it, for people: what is older must stay.
    pub fn repeat_all(self: &Arc<Self>) -> Result<Offset, String> {
        if self.feed.has_unconfirmed() {
            return Err("some sessions of other comets are not known to live yet".to_owned());
        }
        let from = self.feed.log.status().end + 1;
        let mut keys = self.registry.keys();
        for round in 0..ROUNDS {
            if round > 0 {
                std::thread::sleep(ROUND);
            }
            let mut beginning = Vec::new();
            let mut by_stripe: HashMap<usize, Vec<SessionKey>> = HashMap::new();
            for key in keys {
                by_stripe.entry(self.stripe_of(&key)).or_default().push(key);
            }
            for chunk in by_stripe.values().flat_map(|keys| keys.chunks(CHUNK)) {
                self.repeat(chunk, &mut beginning)?;
            }
            if beginning.is_empty() {
                return Ok(from);
            }
            keys = beginning;
        }
        Err("the log has not answered for sessions that begin".to_owned())
    }

    /// Repeats sessions of one stripe. One that is just beginning can't be told from one that never will: it comes later.
    fn repeat(self: &Arc<Self>, keys: &[SessionKey], beginning: &mut Vec<SessionKey>) -> Result<(), String> {
        let Some(first) = keys.first() else { return Ok(()) };
        let (tell, told) = channel();
        let now_ms = self.feed.now_ms();
        let stripe = self.stripe(first);
        beginning.extend(keys.iter().filter(|key| stripe.pending.contains_key(*key)).cloned());
        let rows = keys.iter().filter(|key| !stripe.pending.contains_key(*key)).filter_map(|key| self.registry.row(key));
        let events: Vec<_> = rows.map(|row| event_of(&row, EventKind::SessionStill, 0, now_ms)).collect();
        if events.is_empty() {
            return Ok(());
        }
        let value = Bytes::from(Events { events }.encode_to_vec());
        let offered = offer(&*self.feed.log, b"still", value, move |result| _ = tell.send(result));
        drop(stripe);
        let result = match offered {
            Offered::Durable(_) => return Ok(()),
            Offered::Refused(error) => Err(error),
            // An offer is always answered.
            Offered::Coming => told.recv().map_err(|error| error.to_string())?.map(drop),
        };
        result.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_by_bytes_or_by_time() {
        let mut pace = StillPace::within(400, 4000, 1_000_000);
        assert!(!pace.is_due(100, 1_001_000));
        assert!(pace.is_due(101, 1_001_000) && pace.is_due(0, 1_001_001));
        pace.done(101, 1_000_500);
        assert!(!pace.is_due(201, 1_001_500) && pace.is_due(202, 1_001_500));
    }
}
