//! What waits for the job's own thread: bounded in bytes, and where that is not enough, in the log.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use perseid_log::{Offset, Record, Topic};

use super::lock;

/// Bytes of records that wait; more is read from the log again.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// What a record costs besides its value, bytes.
const RECORD_BYTES: usize = 96;

/// A run of the log: its records of the topic `log`, and from where to where it reaches.
pub(super) struct Chunk {
    pub(super) first: Offset,
    pub(super) last: Offset,
    pub(super) records: Vec<Record>,
}

impl Chunk {
    pub(super) fn of(first: Offset, records: &[Record], last: Offset) -> Self {
        Self { first, last, records: records.iter().filter(|record| record.topic == Topic::Log).cloned().collect() }
    }

    fn bytes(&self) -> usize {
        RECORD_BYTES + self.records.iter().map(|record| RECORD_BYTES + record.value.len()).sum::<usize>()
    }
}

/// What the own thread does next.
pub(super) enum Work {
    /// These records.
    Chunk(Chunk),
    /// What the log has from where the machine stands.
    Behind,
    /// Nothing waits: look at the clock.
    Time,
    /// End.
    Stop,
}

/// See the module. Only the log's thread makes it busy, only the own one makes it idle.
pub(super) struct Inbound {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    /// Everything goes to the own thread until it has caught up.
    busy: bool,
    /// What waited was dropped: it stands in the log.
    behind: bool,
    /// The last offset that came.
    last: Offset,
    nudged: bool,
    stop: bool,
}

impl Inbound {
    /// Behind from the beginning: what became durable before the log told of it is read from it.
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { busy: true, behind: true, ..State::default() }), changed: Condvar::new() }
    }

    /// Nothing waits, and the own thread is at nothing.
    pub(super) fn is_idle(&self) -> bool {
        !lock(&self.state).busy
    }

    /// Hands over a run; `false` if there was no room, and it will be read from the log.
    pub(super) fn push(&self, chunk: Chunk) -> bool {
        let mut state = lock(&self.state);
        if state.stop {
            return true;
        }
        state.busy = true;
        state.last = chunk.last;
        let follows = state.chunks.back().is_none_or(|before| before.last + 1 == chunk.first);
        let bytes = chunk.bytes();
        let fits = !state.behind && follows && state.bytes.saturating_add(bytes) <= WAITING_BYTES_MAX;
        if fits {
            state.bytes += bytes;
            state.chunks.push_back(chunk);
        } else {
            state.behind = true;
            state.chunks = VecDeque::new();
            state.bytes = 0;
        }
        drop(state);
        self.changed.notify_one();
        fits
    }

    /// What to do now; waits at most `timeout` for it.
    pub(super) fn next(&self, timeout: Duration) -> Work {
        let state = lock(&self.state);
        let waits = |state: &mut State| !state.stop && !state.nudged && !state.behind && state.chunks.is_empty();
        let waited = self.changed.wait_timeout_while(state, timeout, waits);
        let (mut state, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        state.nudged = false;
        if state.stop {
            return Work::Stop;
        }
        if state.behind {
            return Work::Behind;
        }
        match state.chunks.pop_front() {
            Some(chunk) => {
                state.bytes = state.bytes.saturating_sub(chunk.bytes());
                Work::Chunk(chunk)
            }
            None => Work::Time,
        }
    }

    /// All before `next` is applied, and handed over; gives whether nothing waits any more. `at_end`: the log had no more.
    pub(super) fn caught_up(&self, next: Offset, at_end: bool) -> bool {
        let mut state = lock(&self.state);
        if state.behind && at_end && state.last < next {
            state.behind = false;
        }
        if !state.behind && state.chunks.is_empty() {
            state.busy = false;
        }
        !state.busy
    }

    /// The rest has to be read from the log.
    pub(super) fn fall_behind(&self) {
        let mut state = lock(&self.state);
        (state.busy, state.behind) = (true, true);
        state.chunks = VecDeque::new();
        state.bytes = 0;
    }

    /// Waits, but not beyond a stop; gives whether to go on.
    pub(super) fn pause(&self, duration: Duration) -> bool {
        let state = lock(&self.state);
        let waited = self.changed.wait_timeout_while(state, duration, |state| !state.stop);
        let (state, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        !state.stop
    }

    /// Has the own thread look at the clock.
    pub(super) fn nudge(&self) {
        lock(&self.state).nudged = true;
        self.changed.notify_one();
    }

    /// Ends the own thread.
    pub(super) fn stop(&self) {
        lock(&self.state).stop = true;
        self.changed.notify_all();
    }
}
