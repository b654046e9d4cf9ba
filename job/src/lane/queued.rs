//! A lane that may wait: a [`LaneQueue`] and the thread that empties it into a [`Transport`].

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use perseid_protocol::push::Delivery;

use super::queue::{LaneConfig, LaneCounters, LaneQueue, Step};
use super::{BreakerState, Lane, LaneError, Transport};

/// See the module. Dropping it ends its thread as soon as the transport returns.
pub struct QueuedLane {
    node: u32,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Something was offered, or the lane is closed.
    offered: Condvar,
    /// A batch was settled.
    settled: Condvar,
    start: Instant,
    send_ms: u64,
}

struct State {
    queue: LaneQueue,
    closed: bool,
}

impl Shared {
    /// Locks; no critical section here can leave its data half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl QueuedLane {
    /// Starts a lane to the comet `node`.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start(node: u32, config: LaneConfig, transport: impl Transport) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            send_ms: config.send_ms,
            state: Mutex::new(State { queue: LaneQueue::new(config), closed: false }),
            offered: Condvar::new(),
            settled: Condvar::new(),
            start: Instant::now(),
        });
        let driver = Arc::clone(&shared);
        // Not joined: a transport that hangs must not hang who drops the lane.
        std::thread::Builder::new().name(format!("lane-{node}")).spawn(move || drive(&driver, transport))?;
        Ok(Self { node, shared })
    }

    /// What became of all that was offered.
    pub fn counters(&self) -> LaneCounters {
        self.shared.lock().queue.counters()
    }

    /// Deliveries and bytes that wait or are on their way.
    pub fn waiting(&self) -> (usize, usize) {
        let state = self.shared.lock();
        (state.queue.waiting(), state.queue.bytes())
    }

    /// Where its breaker stands.
    pub fn breaker(&self) -> BreakerState {
        let now_ms = self.shared.now_ms();
        self.shared.lock().queue.breaker(now_ms)
    }

    /// Waits until nothing waits any more, at most `timeout`; whether that is so.
    pub fn drain(&self, timeout: Duration) -> bool {
        let state = self.shared.lock();
        let waited = self.shared.settled.wait_timeout_while(state, timeout, |state| state.queue.waiting() > 0 && !state.closed);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.queue.waiting() == 0
    }
}

impl Lane for QueuedLane {
    fn node(&self) -> u32 {
        self.node
    }

    fn deliver(&self, batch: Vec<Delivery>) -> Result<(), LaneError> {
        let now_ms = self.shared.now_ms();
        let dropped = batch.len();
        let mut state = self.shared.lock();
        let result = state.queue.offer(batch, now_ms);
        if state.closed {
            // Its driver is gone, which only a panic in the transport can do.
            state.queue.abandon();
            return Err(LaneError::Broken { dropped });
        }
        drop(state);
        self.shared.offered.notify_one();
        result
    }

    fn resync(&self) {
        self.shared.lock().queue.need_resync();
        self.shared.offered.notify_one();
    }
}

impl Drop for QueuedLane {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.offered.notify_one();
    }
}

/// Closes the lane when the driver ends, however it ends.
struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.queue.abandon();
        drop(state);
        self.0.settled.notify_all();
    }
}

fn drive(shared: &Shared, mut transport: impl Transport) {
    let _closing = Closing(shared);
    let mut state = shared.lock();
    while !state.closed {
        match state.queue.poll(shared.now_ms()) {
            Step::Idle => state = shared.offered.wait(state).unwrap_or_else(PoisonError::into_inner),
            Step::WaitUntil(at_ms) => {
                let wait = Duration::from_millis(at_ms.saturating_sub(shared.now_ms()).max(1));
                state = shared.offered.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
            }
            Step::Send(batch) => {
                drop(state);
                let result = transport.send(batch.sequence, &batch.deliveries, deadline(shared));
                state = shared.lock();
                state.queue.settle(batch, result, shared.now_ms());
                shared.settled.notify_all();
            }
            Step::Resync => {
                drop(state);
                let result = transport.resync(deadline(shared));
                state = shared.lock();
                state.queue.settle_resync(result, shared.now_ms());
            }
        }
    }
    drop(state);
}

fn deadline(shared: &Shared) -> Instant {
    Instant::now() + Duration::from_millis(shared.send_ms)
}
