//! The start: everything that the log has is applied before anybody connects.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use perseid_log::{EventLog, LogError};
use thiserror::Error;
use tracing::info;

use super::engine::{Engine, Stand};
use super::inbound::{Chunk, Inbound};
use super::{Inbox, Ports, Shared};
use crate::inbox::meaning::RoomKeep;
use crate::inbox::progress::{Progress, Stop};

/// So long a store may refuse at the start.
const PATIENCE: Duration = Duration::from_secs(30);
/// Before a step is taken again.
const RETRY: Duration = Duration::from_millis(5);
/// Between two lines about how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// Why the job did not come to the end of the log.
#[derive(Debug, Error)]
pub enum CatchUpError {
    /// The log can't be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Store and log do not belong together.
    #[error(transparent)]
    Stopped(#[from] Stop),
    /// The store took nothing for half a minute.
    #[error("the store takes no stored messages: {0}. Look at its disk")]
    Store(String),
}

impl Inbox {
    /// Applies what the log has and the store has not, on the calling thread, until the end of the log; nobody is told of it.
    ///
    /// # Errors
    /// See [`CatchUpError`].
    pub fn catch_up(log: Arc<dyn EventLog>, ports: Ports, keep: RoomKeep) -> Result<Self, CatchUpError> {
        let progress = Progress::new(ports.partition, Arc::clone(&ports.store), keep);
        let mut engine = Engine::new(ports.clone(), Arc::clone(&log), progress);
        let (started, mut told) = (Instant::now(), Instant::now());
        patiently(|| engine.advance(true, &mut None))?;
        let begin = engine.progress.next_offset();
        let mut reader = log.reader(begin);
        loop {
            let records = reader.read()?;
            let (Some(first), Some(last)) = (records.first(), records.last()) else { break };
            if first.offset > engine.progress.next_offset() {
                engine.progress.gone();
            }
            let chunk = Chunk::of(first.offset, &records, last.offset);
            patiently(|| engine.apply(chunk.first, &chunk.records, chunk.last, true, &mut None))?;
            let next = engine.progress.next_offset();
            if next <= chunk.last {
                // It was loaded again.
                reader = log.reader(next);
            }
            if told.elapsed() >= TOLD_EVERY {
                told = Instant::now();
                info!(offset = next - 1, end = log.status().end, "stored messages: applying the log");
            }
        }
        let (offset, end) = (engine.progress.next_offset().saturating_sub(1), log.status().end);
        ports.inbox_metrics.offset.store(offset, Relaxed);
        ports.inbox_metrics.told.store(end, Relaxed);
        let (records, ms) = (engine.progress.next_offset().saturating_sub(begin), started.elapsed().as_millis());
        info!(records, ms, "stored messages: at the end of the log");
        let (engine, hints) = (Mutex::new(engine), Mutex::default());
        Ok(Self { shared: Arc::new(Shared { ports, log, engine, inbound: Inbound::new(), hints }) })
    }
}

/// Does it until the store takes it, for a while.
fn patiently(mut step: impl FnMut() -> Stand) -> Result<(), CatchUpError> {
    let mut until = Instant::now() + PATIENCE;
    loop {
        match step() {
            Stand::Idle => return Ok(()),
            Stand::Stopped(stop) => return Err(stop.into()),
            Stand::Later(reason) if Instant::now() >= until => return Err(CatchUpError::Store(reason)),
            Stand::Later(_) => thread::sleep(RETRY),
            Stand::Cold => until = Instant::now() + PATIENCE,
        }
    }
}
