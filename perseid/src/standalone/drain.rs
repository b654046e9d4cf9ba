//! A drain that was asked for through the API: sessions leave at a pace, then the process.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use perseid_comet::Comet;
use perseid_logic::DrainProgress;
use tokio::sync::watch;

use crate::clock::unix_ms;

/// Who was told to go has this long to do so, beyond what the pace takes.
const GRACE: Duration = Duration::from_secs(30);
/// Who asked for a drain can read for at least this long how it went, before the process ends.
const SEEN: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The drain of this process' comet.
pub(super) struct Drain {
    comet: Arc<Comet>,
    /// The node is leaving, for whatever reason.
    leaving: Arc<AtomicBool>,
    /// Sessions a second that are told to go if nobody says otherwise.
    per_second: AtomicU32,
    begun: Mutex<Option<DrainProgress>>,
    asked: watch::Sender<bool>,
}

impl Drain {
    pub(super) fn new(comet: Arc<Comet>, leaving: Arc<AtomicBool>, per_second: u32) -> Self {
        Self { comet, leaving, per_second: AtomicU32::new(per_second), begun: Mutex::new(None), asked: watch::channel(false).0 }
    }

    /// Goes on with another pace for drains that begin from now on.
    pub(super) fn reload(&self, per_second: u32) {
        self.per_second.store(per_second, Ordering::Relaxed);
    }

    fn begun(&self) -> MutexGuard<'_, Option<DrainProgress>> {
        // Set whole or not at all.
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins; once more, and while the process leaves anyway, it changes nothing.
    pub(super) fn begin(&self, per_second: Option<u32>) {
        let mut begun = self.begun();
        if begun.is_some() {
            return;
        }
        let per_second = per_second.unwrap_or_else(|| self.per_second.load(Ordering::Relaxed)).max(1);
        let sessions = self.comet.sessions();
        *begun = Some(DrainProgress { sessions_at_start: sessions, sessions, per_second, since_ms: unix_ms() });
        if self.leaving.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::info!(sessions, per_second, "told to drain: sessions are told to go, then this process ends");
        self.comet.drain(per_second, self.comet.config().reconnect_ms);
        self.asked.send_replace(true);
    }

    /// How far it has come.
    pub(super) fn progress(&self) -> Option<DrainProgress> {
        let begun = *self.begun();
        begun.map(|begun| DrainProgress { sessions: self.comet.sessions(), ..begun })
    }

    /// Waits until a drain was asked for.
    pub(super) async fn asked(&self) {
        // It fails when the sender is gone, which is `self`.
        let _ = self.asked.subscribe().wait_for(|asked| *asked).await;
    }

    /// Waits until everybody has left, or has had the time to.
    pub(super) async fn done(&self) {
        let Some(begun) = *self.begun() else { return };
        let pace = Duration::from_secs(begun.sessions_at_start.div_ceil(u64::from(begun.per_second)));
        let begun_at = tokio::time::Instant::now();
        let end = begun_at + pace + GRACE;
        while self.comet.connections() > 0 && tokio::time::Instant::now() < end {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        tokio::time::sleep_until(begun_at + SEEN).await;
    }
}
