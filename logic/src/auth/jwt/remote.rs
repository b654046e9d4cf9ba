//! The driver of [`Refresh`]: one task that fetches, and what the others see of it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use perseid_outbound::OutboundError;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::jwks::{self, Source};
use super::key::KeyError;
use super::keys::KeySet;
use super::refresh::{Hope, Refresh, Timing};
use crate::auth::call::{Call, unix_ms};
use crate::metrics::{CallFailure, Metrics};

/// So many clients wait for a fetch at a time, each with its token.
const WAITING_MAX: usize = 4_096;
/// Nobody is told to come back sooner, ms.
const RETRY_AFTER_MS_MIN: u64 = 1_000;

/// A key set at a URL. Dropping it ends its task.
pub(super) struct RemoteKeys {
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    call: Arc<dyn Call>,
    metrics: Arc<Metrics>,
    machine: Mutex<Refresh>,
    set: RwLock<Arc<KeySet>>,
    /// Until when `set` counts, ms since `started`; 0: there is none.
    counts_until_ms: AtomicU64,
    wake: Notify,
    /// How many fetches have ended.
    ended: watch::Sender<u64>,
    waiting: AtomicUsize,
    started: Instant,
}

/// What a client is told whose key is not there.
pub(super) enum Asked {
    /// Wait, then look again.
    Coming(Waiting),
    /// It does not exist.
    Unknown,
    /// Nobody knows now; so many ms until it is worth another try.
    Unavailable(u64),
}

/// A place among those who wait for the next set.
pub(super) struct Waiting {
    shared: Arc<Shared>,
    ended: watch::Receiver<u64>,
    seen: u64,
}

impl Drop for RemoteKeys {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RemoteKeys {
    /// Begins to fetch. Must run inside a tokio runtime.
    pub(super) fn start(call: Arc<dyn Call>, timing: Timing, metrics: Arc<Metrics>) -> Self {
        let shared = Arc::new(Shared {
            call,
            metrics,
            machine: Mutex::new(Refresh::new(timing, 0)),
            set: RwLock::default(),
            counts_until_ms: AtomicU64::new(0),
            wake: Notify::new(),
            ended: watch::Sender::new(0),
            waiting: AtomicUsize::new(0),
            started: Instant::now(),
        });
        let task = tokio::spawn(shared.clone().run());
        Self { shared, task }
    }

    /// The keys, while they count.
    pub(super) fn keys(&self) -> Option<Arc<KeySet>> {
        let shared = &self.shared;
        if shared.now_ms() >= shared.counts_until_ms.load(Relaxed) {
            return None;
        }
        Some(shared.set.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Whether there ever was a set.
    pub(super) fn was_fetched(&self) -> bool {
        self.shared.counts_until_ms.load(Relaxed) > 0
    }

    /// For a token whose key is not in the set.
    pub(super) fn ask(&self) -> Asked {
        let mut machine = self.shared.machine();
        // Under the lock, as the end of a fetch is told: what is waited for can't end before it is known which one that is.
        let ended = self.shared.ended.subscribe();
        let seen = *ended.borrow();
        match machine.unknown(self.shared.now_ms()) {
            Hope::None => Asked::Unknown,
            Hope::Later(ms) => Asked::Unavailable(ms.max(RETRY_AFTER_MS_MIN)),
            Hope::Wait => {
                drop(machine);
                self.shared.wake.notify_one();
                self.wait(ended, seen)
            }
        }
    }

    fn wait(&self, ended: watch::Receiver<u64>, seen: u64) -> Asked {
        if self.shared.waiting.fetch_add(1, Relaxed) >= WAITING_MAX {
            self.shared.waiting.fetch_sub(1, Relaxed);
            return Asked::Unavailable(RETRY_AFTER_MS_MIN);
        }
        Asked::Coming(Waiting { shared: self.shared.clone(), ended, seen })
    }

    /// For a token whose key is still not in the set, after it waited.
    pub(super) fn after_waiting(&self) -> Asked {
        if self.shared.machine().is_troubled() { Asked::Unavailable(RETRY_AFTER_MS_MIN) } else { Asked::Unknown }
    }

    /// Goes on with these times, and fetches at once.
    pub(super) fn reload(&self, timing: Timing) {
        let mut machine = self.shared.machine();
        machine.set_timing(timing);
        machine.again(self.shared.now_ms());
        self.shared.publish_until(&machine);
        drop(machine);
        self.shared.wake.notify_one();
    }
}

impl Waiting {
    /// Until the fetch has ended, well or not: it has a deadline.
    pub(super) async fn wait(mut self) {
        let seen = self.seen;
        // An error means that the node leaves.
        let _ = self.ended.wait_for(|ended| *ended != seen).await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.shared.waiting.fetch_sub(1, Relaxed);
    }
}

impl Shared {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn machine(&self) -> MutexGuard<'_, Refresh> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish_until(&self, machine: &Refresh) {
        // 0 is for "never": a set counts from its first moment on.
        self.counts_until_ms.store(machine.counts_until_ms().map_or(0, |until_ms| until_ms.max(1)), Relaxed);
    }

    async fn run(self: Arc<Self>) {
        loop {
            let due_ms = self.machine().due_ms().unwrap_or(u64::MAX);
            // Clocks don't take every sum: a year is as good as never, and asked again.
            let wait = Duration::from_millis(due_ms.saturating_sub(self.now_ms()).min(365 * 86_400_000));
            let _ = tokio::time::timeout(wait, self.wake.notified()).await;
            let now_ms = self.now_ms();
            if self.machine().begin(now_ms) {
                self.fetch().await;
            }
        }
    }

    async fn fetch(&self) {
        let outcome = match self.call.call(Bytes::new()).await {
            Ok(reply) if reply.status != 200 => Err(Failure::Status(reply.status, reply.retry_after_ms)),
            Ok(reply) => reply.body.map_err(Failure::Call).and_then(|body| read(&body)),
            Err(error) => Err(Failure::Call(error)),
        };
        let mut machine = self.machine();
        match outcome {
            Ok(keys) => self.take(keys, &mut machine),
            Err(failure) => self.report(&failure, &mut machine),
        }
        self.publish_until(&machine);
        self.ended.send_modify(|ended| *ended += 1);
    }

    fn take(&self, keys: KeySet, machine: &mut Refresh) {
        let (count, recovered) = (keys.len(), machine.is_troubled());
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        machine.succeeded(self.now_ms());
        self.metrics.jwks_fetched(count, unix_ms());
        if recovered {
            tracing::info!(keys = count, "jwt.jwks_url was fetched");
        } else {
            tracing::debug!(keys = count, "jwt.jwks_url was fetched");
        }
    }

    /// The first failure in a row is worth a line; the rest are counted.
    fn report(&self, failure: &Failure, machine: &mut Refresh) {
        let retry_after_ms = if let Failure::Status(_, ms) = failure { *ms } else { None };
        machine.failed(self.now_ms(), retry_after_ms);
        self.metrics.jwks_failed(failure.counted());
        if machine.failures() == 1 {
            let stays = if self.counts_until_ms.load(Relaxed) > 0 { "the last keys stay" } else { "there are no keys yet" };
            tracing::warn!(error = %failure, "jwt.jwks_url was not fetched: {stays}, and it is tried again");
        } else {
            tracing::debug!(error = %failure, failures = machine.failures(), "jwt.jwks_url was not fetched");
        }
    }
}

fn read(body: &[u8]) -> Result<KeySet, Failure> {
    jwks::read(body, Source::Server).map_err(Failure::Document)
}

/// Why a fetch brought no set.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("status {0}")]
    Status(u16, Option<u64>),
    #[error("the answer is no usable key set: {0}")]
    Document(KeyError),
    #[error("{0}")]
    Call(OutboundError),
}

impl Failure {
    fn counted(&self) -> CallFailure {
        match self {
            Self::Status(..) => CallFailure::Status,
            Self::Document(_) => CallFailure::Answer,
            Self::Call(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests;
