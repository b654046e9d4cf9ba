//! The job's own thread: applies what the log's thread must not wait for, moves idle guards, gives the hints of channels.

use std::sync::Arc;
use std::time::{Duration, Instant};

use perseid_log::LogReader;
use perseid_protocol::push::{Delivery, Target};
use tracing::{error, warn};

use super::engine::Stand;
use super::inbound::{Chunk, Work};
use super::sink::Sink;
use super::{Shared, lock};
use crate::driver::Seldom;
use crate::inbox::show::{Hint, channel_push};
use crate::outlet::Outlet;

/// Between two looks at retention, and at what the store may have lost while nothing came.
const SWEEP: Duration = Duration::from_secs(30);
/// Between two moves of idle guards, while something comes: the log keeps what guards have not passed.
const SETTLE: Duration = Duration::from_secs(5);
/// The first wait before a step is taken again, and the longest.
const RETRY_MS: (u64, u64) = (5, 1_000);

/// Runs until it is stopped.
pub(super) fn run(shared: &Arc<Shared>) {
    let sink = Sink::new(Outlet::new(shared.ports.lanes.clone()));
    let mut worker =
        Worker { shared, sink, reader: None, swept: Instant::now(), settled: (Instant::now(), 0), failed_log: Seldom::default() };
    loop {
        let go_on = match shared.inbound.next(worker.rest()) {
            Work::Stop => false,
            Work::Chunk(chunk) => worker.apply(&chunk) && worker.caught_up(false),
            Work::Behind => worker.read_on(),
            Work::Time => true,
        };
        if !go_on {
            return;
        }
        worker.give_hints();
        worker.settle();
        worker.sweep();
    }
}

struct Worker<'a> {
    shared: &'a Arc<Shared>,
    sink: Sink,
    /// While it is behind.
    reader: Option<Box<dyn LogReader>>,
    swept: Instant,
    /// When idle guards were moved, and what came next then; 0: what is durable is not told yet.
    settled: (Instant, u64),
    failed_log: Seldom,
}

impl Worker<'_> {
    fn rest(&self) -> Duration {
        let rest = SWEEP.saturating_sub(self.swept.elapsed()).min(SETTLE.saturating_sub(self.settled.0.elapsed()));
        let now_ms = (self.shared.ports.clock)();
        let hint = lock(&self.shared.hints).wait_ms(now_ms);
        hint.map_or(rest, |wait_ms| rest.min(Duration::from_millis(wait_ms)))
    }

    /// Applies a run, however long the store takes; `false`: it is to end, or nothing is applied any more.
    fn apply(&mut self, chunk: &Chunk) -> bool {
        let mut retry_ms = RETRY_MS.0;
        loop {
            self.sink.look();
            let mut engine = lock(&self.shared.engine);
            let stand = engine.apply(chunk.first, &chunk.records, chunk.last, true, &mut Some(&mut self.sink));
            let next = engine.progress.next_offset();
            drop(engine);
            self.flush();
            match stand {
                Stand::Idle if next > chunk.last => return true,
                Stand::Idle if next < chunk.first => {
                    // Back to older guards.
                    self.shared.inbound.fall_behind();
                    return true;
                }
                Stand::Idle | Stand::Cold => {}
                Stand::Stopped(_) => return false,
                Stand::Later(reason) => {
                    if let Some(suppressed) = self.failed_log.take((self.shared.ports.clock)()) {
                        warn!(reason, suppressed, "the store does not take stored messages now: trying again");
                    }
                    if !self.shared.inbound.pause(Duration::from_millis(retry_ms)) {
                        return false;
                    }
                    retry_ms = (retry_ms * 2).min(RETRY_MS.1);
                }
            }
        }
    }

    /// Reads on from the log until it meets what the log's thread has.
    fn read_on(&mut self) -> bool {
        let next = lock(&self.shared.engine).progress.next_offset();
        let mut reader =
            self.reader.take().filter(|reader| reader.next() == next).unwrap_or_else(|| self.shared.log.reader(next));
        let records = match reader.read() {
            Ok(records) => records,
            Err(error) => {
                if self.failed_log.take((self.shared.ports.clock)()).is_some() {
                    error!(%error, "can't read the event log: stored messages wait");
                }
                return self.shared.inbound.pause(Duration::from_millis(RETRY_MS.1));
            }
        };
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return self.caught_up(true) };
        let (first, last) = (first.offset, last.offset);
        if first > next {
            lock(&self.shared.engine).progress.gone();
        }
        self.reader = Some(reader);
        self.apply(&Chunk::of(first, &records, last))
    }

    fn caught_up(&mut self, at_end: bool) -> bool {
        let next = lock(&self.shared.engine).progress.next_offset();
        if self.shared.inbound.caught_up(next, at_end) {
            self.reader = None;
        }
        true
    }

    fn flush(&mut self) {
        self.sink.flush(&self.shared.ports.metrics);
        self.shared.hint(self.sink.take_hints());
    }

    fn give_hints(&mut self) {
        let due = lock(&self.shared.hints).due((self.shared.ports.clock)());
        for hint in due {
            self.give_hint(hint);
        }
    }

    /// To the members who are online; who is not sees it when he comes.
    fn give_hint(&mut self, hint: Hint) {
        let ports = &self.shared.ports;
        let Ok(Some(group)) = ports.store.group(hint.group).wait() else { return };
        let push = Arc::new(channel_push(hint));
        let mut sessions = Vec::new();
        let mut hints = 0;
        for mid in group.members {
            sessions.clear();
            ports.sessions(mid, &mut sessions);
            for session in &sessions {
                let target = Target::Inbox { session: *session, pos: 0, conv: hint.group };
                self.sink.deliver(*session, Delivery { target, push: Arc::clone(&push) }, &ports.metrics);
                hints += 1;
            }
        }
        ports.inbox_metrics.add(|it| &it.hints, hints);
        self.flush();
    }

    /// Moves the guards of idle buckets, and tells the log what it may forget.
    fn settle(&mut self) {
        if self.settled.0.elapsed() < SETTLE {
            return;
        }
        let ports = &self.shared.ports;
        let durable = ports.store.durable(ports.partition);
        let next = lock(&self.shared.engine).progress.next_offset();
        let (told, came) = (durable.saturating_add(1) >= next, next != self.settled.1);
        self.settled = (Instant::now(), if told { next } else { 0 });
        if came {
            self.look_after(next);
            (self.shared.ports.durable)(durable);
        }
    }

    fn look_after(&mut self, next: u64) {
        let mut engine = lock(&self.shared.engine);
        if engine.progress.look_after() {
            // What fails is tried again with the next records.
            let _ = engine.advance(true, &mut Some(&mut self.sink));
        }
        if engine.progress.next_offset() < next {
            self.shared.inbound.fall_behind();
        }
        drop(engine);
        self.flush();
    }

    fn sweep(&mut self) {
        if self.swept.elapsed() < SWEEP {
            return;
        }
        self.swept = Instant::now();
        let next = lock(&self.shared.engine).progress.next_offset();
        self.look_after(next);
        let ports = &self.shared.ports;
        // Guards were moved above, under every check; this is retention.
        if let Err(error) = ports.store.sweep(ports.partition, 0, (ports.clock)()).wait() {
            warn!(%error, "retention of stored messages waits");
        }
    }
}
