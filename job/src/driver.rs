//! Joins log, dispatcher and lanes. Runs on the log's thread: it calls, counts and returns.

use std::sync::Arc;

use perseid_log::{Clock, Consumer, Record, Topic};
use perseid_protocol::trace::Spans;
use tracing::warn;

use crate::dispatch::{Counts, Dispatcher, Routes, Unheard};
use crate::lane::Lanes;
use crate::metrics::Metrics;
use crate::outlet::Outlet;

/// At most one line about dead records in this time, ms.
const DEAD_LOG_MS: u64 = 10_000;

/// The job as a consumer of the event log.
pub struct JobConsumer {
    dispatcher: Dispatcher,
    outlet: Outlet,
    metrics: Arc<Metrics>,
    clock: Clock,
    dead_log: Seldom,
}

impl JobConsumer {
    /// A job that hands deliveries to `lanes`, one for each comet. They may change while it runs: what it is told next goes to
    /// those that are there then.
    ///
    /// `clock` gives unix ms: expiry and lag are told by it.
    pub fn new(routes: Arc<dyn Routes>, lanes: impl Into<Lanes>, metrics: Arc<Metrics>, clock: Clock) -> Self {
        let outlet = Outlet::new(lanes.into());
        Self { dispatcher: Dispatcher::new(routes), outlet, metrics, clock, dead_log: Seldom::default() }
    }

    /// Tells `spans` what is done for pushes that are sampled.
    #[must_use]
    pub fn with_spans(self, spans: Option<Arc<dyn Spans>>) -> Self {
        Self { dispatcher: self.dispatcher.with_spans(spans), ..self }
    }

    /// Tells `unheard` of pushes that nobody got.
    #[must_use]
    pub fn telling(self, unheard: Option<Arc<dyn Unheard>>) -> Self {
        Self { dispatcher: self.dispatcher.telling(unheard), ..self }
    }

    fn hand_over(&mut self, counts: &mut Counts) {
        self.outlet.hand_over(&self.metrics, counts);
        self.dispatcher.handed_over();
    }
}

impl Consumer for JobConsumer {
    fn on_records(&mut self, records: &[Record]) {
        self.outlet.look_at_lanes();
        let now_ms = (self.clock)();
        let mut counts = Counts::default();
        let (mut count, mut dead) = (0, 0);
        for record in records.iter().filter(|record| record.topic == Topic::Push) {
            count += 1;
            if let Err(error) = self.dispatcher.dispatch(&record.value, now_ms, &mut self.outlet.batches, &mut counts) {
                dead += 1;
                if let Some(suppressed) = self.dead_log.take(now_ms) {
                    let offset = record.offset;
                    warn!(offset, suppressed, %error, "a push record makes no sense and was skipped");
                }
            }
            if self.outlet.is_full() {
                self.hand_over(&mut counts);
            }
        }
        self.hand_over(&mut counts);
        if let Some(last) = records.last() {
            self.metrics.add(count, dead, &counts, last.offset, now_ms.saturating_sub(last.ts_ms));
        }
    }
}

/// Lets something through at most once in [`DEAD_LOG_MS`].
#[derive(Default)]
pub(crate) struct Seldom {
    next_ms: u64,
    suppressed: u64,
}

impl Seldom {
    /// How many were held back since the last time, if it may be said now.
    pub(crate) fn take(&mut self, now_ms: u64) -> Option<u64> {
        if now_ms < self.next_ms {
            self.suppressed += 1;
            return None;
        }
        self.next_ms = now_ms.saturating_add(DEAD_LOG_MS);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_ten_seconds() {
        let mut seldom = Seldom::default();
        let said: Vec<_> = [5, 6, 10_004, 10_005, 10_006].into_iter().map(|now_ms| seldom.take(now_ms)).collect();
        assert_eq!(said, [Some(0), None, None, Some(2), None]);
    }
}
