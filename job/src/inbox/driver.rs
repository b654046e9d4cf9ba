//! Joins the log, the store and the lanes.
//!
//! ```text
//!             ┌─ warm and small ─▶ applied at once ─▶ handed over when the appends are answered
//! log thread ─┤
//!             └─ else ─▶ [Inbound], bounded ─▶ own thread: may wait for the store ─▶ handed over
//!                            └─ full: the own thread reads on from the log until it meets the end
//! ```
//!
//! **Invariants**: the log's thread never waits for the store. Once something went to the own thread, everything after it does,
//! until that has caught up: what one session gets goes in the order of the log.

mod catch_up;
mod engine;
mod inbound;
mod sink;
mod traced;
mod worker;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use perseid_log::{Clock, Consumer, EventLog, LogError, Offset, Record, Topic};
use perseid_protocol::push::SessionAddr;
use perseid_protocol::trace::Spans;
use perseid_store::stored::Store;
use thiserror::Error;

use super::hints::Hints;
use super::metrics::InboxMetrics;
use super::show::Hint;
use crate::dispatch::Routes;
use crate::lane::Lanes;
use crate::metrics::Metrics;
use crate::outlet::Outlet;
pub use catch_up::CatchUpError;
use engine::{Engine, Stand};
use inbound::{Chunk, Inbound};
use sink::Sink;

/// The name under which it follows the log.
const CONSUMER: &str = "inbox";

/// What a job of stored messages works with.
#[derive(Clone)]
pub struct Ports {
    /// The partition of the log.
    pub partition: u32,
    /// What is applied to.
    pub store: Arc<dyn Store>,
    /// Who is online, and where.
    pub routes: Arc<dyn Routes>,
    /// The ways to the comets.
    pub lanes: Lanes,
    /// What is counted of all deliveries.
    pub metrics: Arc<Metrics>,
    /// What is counted of stored messages.
    pub inbox_metrics: Arc<InboxMetrics>,
    /// Unix ms.
    pub clock: Clock,
    /// Called on the log's thread when appends were answered: replies may wait in a comet that sleeps.
    pub wake: Arc<dyn Fn() + Send + Sync>,
    /// Told now and then: what does not stand above this offset is in the store for good, the log may forget it.
    pub durable: Arc<dyn Fn(Offset) + Send + Sync>,
    /// Told what is done for records that are sampled.
    pub spans: Option<Arc<dyn Spans>>,
}

impl Ports {
    /// Ports that do nothing on `wake` and `durable`, and trace nothing; see the fields.
    pub fn new(store: Arc<dyn Store>, routes: Arc<dyn Routes>, lanes: Lanes, metrics: Arc<Metrics>, clock: Clock) -> Self {
        Self {
            partition: 0,
            store,
            routes,
            lanes,
            metrics,
            inbox_metrics: Arc::default(),
            clock,
            wake: Arc::new(|| {}),
            durable: Arc::new(|_| {}),
            spans: None,
        }
    }

    /// Appends where all sessions of a user live.
    fn sessions(&self, mid: u64, out: &mut Vec<SessionAddr>) {
        if let Ok(mid) = i64::try_from(mid) {
            self.routes.by_mid(mid, out);
        }
    }
}

/// A job of stored messages that is at the end of the log; see [`Inbox::catch_up`].
pub struct Inbox {
    shared: Arc<Shared>,
}

/// A job that runs. Dropping it ends its thread; its consumer stays in the log and does nothing then.
pub struct InboxJob {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the log's thread and the own one share.
struct Shared {
    ports: Ports,
    log: Arc<dyn EventLog>,
    engine: Mutex<Engine>,
    inbound: Inbound,
    hints: Mutex<Hints>,
}

/// Locks. Nothing in this module leaves data half changed when it panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// The own thread tells the members of these channels.
    fn hint(&self, hints: Vec<Hint>) {
        if hints.is_empty() {
            return;
        }
        let now_ms = (self.ports.clock)();
        let mut waiting = lock(&self.hints);
        hints.into_iter().for_each(|hint| waiting.add(hint, now_ms));
        drop(waiting);
        self.inbound.nudge();
    }
}

/// Why a job did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The log does not give its records.
    #[error(transparent)]
    Log(#[from] LogError),
    /// There is no thread for it.
    #[error("can't start the thread of the stored messages: {0}")]
    Thread(#[from] io::Error),
}

impl Inbox {
    /// Goes on with what becomes durable from now on.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(self) -> Result<InboxJob, StartError> {
        let shared = self.shared;
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("inbox".into()).spawn(move || worker::run(&own))?;
        let job = InboxJob { shared: Arc::clone(&shared), thread: Some(thread) };
        // The guards in the store are its place: what stands between them and the log's next record the own thread reads.
        shared.log.clone().follow(CONSUMER, Box::new(InboxConsumer::new(shared)))?;
        Ok(job)
    }
}

impl InboxJob {
    /// Ends its thread, and waits for that. What is not applied then will be at the next start.
    pub fn stop(&mut self) {
        self.shared.inbound.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of it has been reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for InboxJob {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The job on the log's thread.
struct InboxConsumer {
    shared: Arc<Shared>,
    sink: Sink,
    /// Appends of ours are answered after these records.
    ours: bool,
}

impl InboxConsumer {
    fn new(shared: Arc<Shared>) -> Self {
        let sink = Sink::new(Outlet::new(shared.ports.lanes.clone()));
        Self { shared, sink, ours: false }
    }

    /// Whether all of it was applied here.
    fn apply_at_once(&mut self, first: Offset, records: &[Record], last: Offset) -> bool {
        // The own thread may be moving guards: a moment.
        let Ok(mut engine) = self.shared.engine.try_lock() else { return false };
        if first > engine.progress.next_offset() {
            return false;
        }
        matches!(engine.apply(first, records, last, false, &mut Some(&mut self.sink)), Stand::Idle)
    }

    fn flush(&mut self) {
        self.sink.flush(&self.shared.ports.metrics);
    }
}

impl Consumer for InboxConsumer {
    fn on_records(&mut self, records: &[Record]) {
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return };
        let (first, last) = (first.offset, last.offset);
        let shared = Arc::clone(&self.shared);
        let metrics = &shared.ports.inbox_metrics;
        metrics.told.store(last, std::sync::atomic::Ordering::Relaxed);
        self.sink.look();
        self.ours |= records.iter().any(|record| record.topic == Topic::Log);
        if shared.inbound.is_idle() && self.apply_at_once(first, records, last) {
            metrics.add(|it| &it.inline, 1);
            return shared.hint(self.sink.take_hints());
        }
        // What was applied here comes first.
        self.flush();
        shared.hint(self.sink.take_hints());
        metrics.add(|it| &it.cold, 1);
        if !shared.inbound.push(Chunk::of(first, records, last)) {
            metrics.add(|it| &it.overflows, 1);
        }
    }

    fn on_answered(&mut self) {
        self.flush();
        if std::mem::take(&mut self.ours) {
            (self.shared.ports.wake)();
        }
    }
}
