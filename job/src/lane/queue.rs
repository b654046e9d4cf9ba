//! What waits for one comet, and what to do next. Pure: time is an argument, in ms of any steady clock.
//!
//! ```text
//! offer ──▶ queue ──poll: Send──▶ transport ──settle──▶ sent
//!   │ full                           │ not sent: again, within the budget and before the batch's deadline
//!   ▼                                ▼ unknown, no budget, too late
//!  drop ◀────────────────────────── drop ──▶ resync_needed
//! ```

use std::collections::VecDeque;

use perseid_protocol::push::{Delivery, Target};

use super::breaker::{Breaker, BreakerState};
use super::retry::RetryBudget;
use super::{LaneError, TransportError};

/// Bounds of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneConfig {
    /// Everything that waits or is on its way, bytes: what a hung comet may cost.
    pub bytes_max: usize,
    /// Deliveries in a batch.
    pub batch_max: usize,
    /// Bytes in a batch; a single delivery may be larger.
    pub batch_bytes_max: usize,
    /// How long one send may take, ms.
    pub send_ms: u64,
    /// How long after its first attempt a batch is worth another, ms.
    pub retry_ms: u64,
    /// Pause before the first retry, ms; doubles with each.
    pub retry_wait_ms: u64,
    /// Retries that may be made at once; a tenth of what is sent is earned back.
    pub retries_max: u32,
    /// Failures in a row that open the breaker.
    pub failures_max: u32,
    /// How long the breaker stays open, ms.
    pub open_ms: u64,
    /// At most one resync in this time, ms: it makes the comet work for every session.
    pub resync_ms: u64,
}

impl Default for LaneConfig {
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            batch_max: 512,
            batch_bytes_max: 1 << 20,
            send_ms: 2_000,
            retry_ms: 1_000,
            retry_wait_ms: 20,
            retries_max: 10,
            failures_max: 5,
            open_ms: 1_000,
            resync_ms: 1_000,
        }
    }
}

/// What became of the deliveries offered: `offered` = `sent` + all dropped + what waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCounters {
    /// Deliveries offered.
    pub offered: u64,
    /// Deliveries that the comet has taken.
    pub sent: u64,
    /// Dropped because there was no room.
    pub dropped_full: u64,
    /// Dropped because the comet could not be reached.
    pub dropped_broken: u64,
    /// Dropped because it is unknown whether they arrived.
    pub dropped_unknown: u64,
    /// Batches tried again.
    pub retries: u64,
    /// Times the breaker opened.
    pub opens: u64,
    /// Resyncs that the comet has taken.
    pub resyncs: u64,
}

impl LaneCounters {
    /// All drops.
    pub const fn dropped(&self) -> u64 {
        self.dropped_full + self.dropped_broken + self.dropped_unknown
    }
}

/// Deliveries on their way.
#[derive(Debug)]
pub struct Batch {
    /// Grows from batch to batch, from 1; stays when one is tried again.
    pub sequence: u64,
    /// In the order of the log.
    pub deliveries: Vec<Delivery>,
    bytes: usize,
    attempts: u32,
    give_up_ms: u64,
}

/// What the driver has to do now.
#[derive(Debug)]
pub enum Step {
    /// Send this, then call [`LaneQueue::settle`] with it.
    Send(Batch),
    /// Tell the comet to resync, then call [`LaneQueue::settle_resync`].
    Resync,
    /// Nothing before this time, ms, unless something is offered.
    WaitUntil(u64),
    /// Nothing until something is offered.
    Idle,
}

/// See the module.
#[derive(Debug)]
pub struct LaneQueue {
    config: LaneConfig,
    queue: VecDeque<Delivery>,
    /// Of the queue, of the batch on its way and of the one that waits for its retry.
    bytes: usize,
    waiting: usize,
    retry: Option<(u64, Batch)>,
    sequence: u64,
    breaker: Breaker,
    budget: RetryBudget,
    resync_needed: bool,
    next_resync_ms: u64,
    counters: LaneCounters,
}

/// What a delivery counts beside its body: its place in the queue and its share of the push.
const DELIVERY_BYTES: usize = size_of::<Delivery>() + 96;

/// What a delivery counts, bytes. A body that several deliveries share counts for each: a bound must hold for the worst.
fn delivery_bytes(delivery: &Delivery) -> usize {
    let room = if let Target::Room(room) = &delivery.target { room.len() } else { 0 };
    delivery.push.body.len() + room + DELIVERY_BYTES
}

impl LaneQueue {
    /// An empty queue.
    pub fn new(config: LaneConfig) -> Self {
        Self {
            breaker: Breaker::new(config.failures_max, config.open_ms),
            budget: RetryBudget::new(config.retries_max, 100),
            config,
            queue: VecDeque::new(),
            bytes: 0,
            waiting: 0,
            retry: None,
            sequence: 0,
            resync_needed: false,
            next_resync_ms: 0,
            counters: LaneCounters::default(),
        }
    }

    /// Takes deliveries. What has no room is dropped, and everything behind it in this batch: order is kept.
    ///
    /// # Errors
    /// How many were dropped.
    pub fn offer(&mut self, batch: Vec<Delivery>, now_ms: u64) -> Result<(), LaneError> {
        self.counters.offered += batch.len() as u64;
        if matches!(self.breaker.state(now_ms), BreakerState::Open { .. }) {
            return Err(self.drop_broken(batch.len()));
        }
        let mut rest = batch.into_iter();
        while let Some(delivery) = rest.next() {
            let bytes = delivery_bytes(&delivery);
            if self.bytes + bytes > self.config.bytes_max {
                let dropped = 1 + rest.len();
                self.counters.dropped_full += dropped as u64;
                self.resync_needed = true;
                return Err(LaneError::Full { dropped });
            }
            self.bytes += bytes;
            self.waiting += 1;
            self.queue.push_back(delivery);
        }
        Ok(())
    }

    /// What to do at `now_ms`. There is one batch on its way at a time: call again when it is settled.
    pub fn poll(&mut self, now_ms: u64) -> Step {
        if let BreakerState::Open { until_ms } = self.breaker.state(now_ms) {
            return if self.resync_needed { Step::WaitUntil(until_ms) } else { Step::Idle };
        }
        if let Some((at_ms, batch)) = self.retry.take() {
            if now_ms >= at_ms {
                self.counters.retries += 1;
                return Step::Send(batch);
            }
            self.retry = Some((at_ms, batch));
            return Step::WaitUntil(at_ms);
        }
        if self.resync_needed && now_ms >= self.next_resync_ms {
            self.resync_needed = false;
            self.next_resync_ms = now_ms.saturating_add(self.config.resync_ms);
            return Step::Resync;
        }
        match self.next_batch(now_ms) {
            Some(batch) => Step::Send(batch),
            None if self.resync_needed => Step::WaitUntil(self.next_resync_ms),
            None => Step::Idle,
        }
    }

    fn next_batch(&mut self, now_ms: u64) -> Option<Batch> {
        let (mut count, mut bytes) = (0, 0);
        for delivery in self.queue.iter().take(self.config.batch_max.max(1)) {
            let more = delivery_bytes(delivery);
            if count > 0 && bytes + more > self.config.batch_bytes_max {
                break;
            }
            count += 1;
            bytes += more;
        }
        let deliveries: Vec<_> = self.queue.drain(..count).collect();
        if self.queue.is_empty() {
            // What a burst took is given back.
            self.queue.shrink_to(self.config.batch_max);
        }
        let give_up_ms = now_ms.saturating_add(self.config.retry_ms);
        self.sequence += u64::from(count > 0);
        (count > 0).then_some(Batch { sequence: self.sequence, deliveries, bytes, attempts: 1, give_up_ms })
    }

    /// Takes note of what became of a batch.
    pub fn settle(&mut self, mut batch: Batch, result: Result<(), TransportError>, now_ms: u64) {
        let Err(error) = result else {
            self.counters.sent += batch.deliveries.len() as u64;
            self.release(&batch);
            self.breaker.succeed();
            self.budget.earn();
            return;
        };
        let opened = self.breaker.fail(now_ms);
        let again = error != TransportError::Unknown && !opened && now_ms < batch.give_up_ms;
        if again && self.budget.take() {
            let wait_ms = self.config.retry_wait_ms.saturating_mul(1 << batch.attempts.saturating_sub(1).min(16));
            batch.attempts += 1;
            self.retry = Some((now_ms.saturating_add(wait_ms), batch));
            return;
        }
        self.release(&batch);
        match error {
            TransportError::NotSent => {
                self.drop_broken(batch.deliveries.len());
            }
            TransportError::Unknown | TransportError::Again => {
                self.counters.dropped_unknown += batch.deliveries.len() as u64;
                self.resync_needed = true;
            }
        }
        if opened {
            self.open();
        }
    }

    /// Something was lost before it came here.
    pub fn need_resync(&mut self) {
        self.resync_needed = true;
    }

    /// Takes note of what became of a resync.
    pub fn settle_resync(&mut self, result: Result<(), TransportError>, now_ms: u64) {
        match result {
            Ok(()) => {
                self.counters.resyncs += 1;
                self.breaker.succeed();
            }
            Err(_) => {
                self.resync_needed = true;
                if self.breaker.fail(now_ms) {
                    self.open();
                }
            }
        }
    }

    /// Drops all that waits: the lane has no driver any more.
    pub fn abandon(&mut self) {
        self.drop_broken(self.waiting);
        self.clear();
    }

    /// Deliveries that wait or are on their way.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// The bytes they count.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether deliveries were dropped of which the comet was not told yet.
    pub fn resync_needed(&self) -> bool {
        self.resync_needed
    }

    /// Where the breaker stands.
    pub fn breaker(&mut self, now_ms: u64) -> BreakerState {
        self.breaker.state(now_ms)
    }

    /// What became of all that was offered.
    pub fn counters(&self) -> LaneCounters {
        self.counters
    }

    /// Transient pushes are worth nothing by the time the breaker closes again, stored ones are found by the resync.
    fn open(&mut self) {
        self.counters.opens += 1;
        self.drop_broken(self.waiting);
        self.clear();
    }

    fn clear(&mut self) {
        self.queue = VecDeque::new();
        self.retry = None;
        (self.bytes, self.waiting) = (0, 0);
    }

    fn drop_broken(&mut self, dropped: usize) -> LaneError {
        self.counters.dropped_broken += dropped as u64;
        self.resync_needed |= dropped > 0;
        LaneError::Broken { dropped }
    }

    fn release(&mut self, batch: &Batch) {
        self.bytes = self.bytes.saturating_sub(batch.bytes);
        self.waiting = self.waiting.saturating_sub(batch.deliveries.len());
    }
}
