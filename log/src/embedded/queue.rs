//! Between the producers and the writer: two buffers that are swapped, and who sleeps.
//!
//! Records are encoded into the buffer under the producers' lock. The writer takes the whole buffer and
//! leaves an empty one. It is woken only if it sleeps: wake-ups, not bytes, are what an append costs.

use std::mem;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;

use super::consumer::Subscribed;
use crate::record::{self, Head};
use crate::{AppendDone, AppendError, Offset, Record, Topic, lock};

/// Bytes after which a new write begins within one batch, so that early records needn't wait for the last.
const WRITE_BYTES: usize = 1 << 20;

/// Buffers that grew beyond this in a burst are given back.
const SPARE_BYTES_MAX: usize = 4 << 20;

/// Accepted records in order, ready to be written.
#[derive(Default)]
pub(super) struct Batch {
    /// All of them, encoded.
    pub(super) bytes: Vec<u8>,
    pub(super) records: Vec<Record>,
    /// One per record.
    pub(super) waiting: Vec<Waiting>,
}

/// Who waits for a record.
pub(super) struct Waiting {
    /// Taken when it is called.
    pub(super) done: Option<AppendDone>,
    pub(super) since: Instant,
    pub(super) encoded_bytes: usize,
    pub(super) begins_write: bool,
}

/// Whether appends are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    NoSpace(String),
    Closed,
    Poisoned(String),
}

struct State {
    pending: Batch,
    /// Bytes of the write that the last pending record belongs to.
    write_bytes: usize,
    /// Bytes the writer is at work on.
    taken_bytes: usize,
    next: Offset,
    gate: Gate,
    writer_sleeps: bool,
    subscribed: Vec<Subscribed>,
    stop: bool,
}

/// What woke the writer, besides records.
pub(super) struct Turn {
    pub(super) subscribed: Vec<Subscribed>,
    pub(super) stop: bool,
}

/// The queue before the writer.
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    bytes_max: usize,
    salt: u32,
}

impl Batch {
    fn clear(&mut self) {
        self.bytes.clear();
        self.records.clear();
        self.waiting.clear();
        if self.bytes.capacity() > SPARE_BYTES_MAX {
            *self = Self::default();
        }
    }
}

impl Queue {
    pub(super) fn new(next: Offset, salt: u32, bytes_max: usize) -> Self {
        let state = State {
            pending: Batch::default(),
            write_bytes: 0,
            taken_bytes: 0,
            next,
            gate: Gate::Open,
            writer_sleeps: false,
            subscribed: Vec::new(),
            stop: false,
        };
        Self { state: Mutex::new(state), wake: Condvar::new(), bytes_max, salt }
    }

    /// Accepts a record, or gives `done` back with the reason.
    pub(super) fn push(
        &self,
        topic: Topic,
        key: &[u8],
        value: Bytes,
        done: AppendDone,
        clock: &dyn Fn() -> u64,
    ) -> Result<(), (AppendDone, AppendError)> {
        let since = Instant::now();
        let encoded_bytes = record::encoded_bytes(key.len(), value.len());
        let mut state = lock(&self.state);
        let state_now = &mut *state;
        match &state_now.gate {
            Gate::Open => {}
            Gate::NoSpace(reason) | Gate::Poisoned(reason) => {
                return Err((done, AppendError::Unavailable(reason.clone())));
            }
            Gate::Closed => return Err((done, AppendError::Unavailable("the log is closed".to_owned()))),
        }
        if state_now.pending.bytes.len() + state_now.taken_bytes + encoded_bytes > self.bytes_max {
            return Err((done, AppendError::Overloaded));
        }
        let begins_write = state_now.pending.records.is_empty() || state_now.write_bytes + encoded_bytes > WRITE_BYTES;
        state_now.write_bytes = encoded_bytes + if begins_write { 0 } else { state_now.write_bytes };

        let offset = state_now.next;
        state_now.next += 1;
        let ts_ms = clock();
        let head = Head { offset, ts_ms, topic, begins_write };
        record::encode(&mut state_now.pending.bytes, self.salt, &head, key, &value);
        state_now.pending.records.push(Record { offset, topic, ts_ms, value });
        state_now.pending.waiting.push(Waiting { done: Some(done), since, encoded_bytes, begins_write });
        let wake = mem::replace(&mut state_now.writer_sleeps, false);
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Gives a consumer to the writer, or back if the log is closed.
    pub(super) fn subscribe(&self, subscribed: Subscribed) -> Result<(), Subscribed> {
        let mut state = lock(&self.state);
        if state.stop {
            return Err(subscribed);
        }
        state.subscribed.push(subscribed);
        state.writer_sleeps = false;
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Sleeps until there is something to do and takes all of it. What was taken before counts as finished.
    pub(super) fn take(&self, batch: &mut Batch) -> Turn {
        batch.clear();
        let mut state = lock(&self.state);
        state.taken_bytes = 0;
        while state.pending.records.is_empty() && state.subscribed.is_empty() && !state.stop {
            state.writer_sleeps = true;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.writer_sleeps = false;
        mem::swap(&mut state.pending, batch);
        state.taken_bytes = batch.bytes.len();
        Turn { subscribed: mem::take(&mut state.subscribed), stop: state.stop }
    }

    /// Refuses appends from now on and returns what nobody will write; offsets go on after `end`.
    pub(super) fn refuse_no_space(&self, reason: &str, end: Offset) -> Batch {
        let mut state = lock(&self.state);
        if state.gate == Gate::Open {
            state.gate = Gate::NoSpace(reason.to_owned());
        }
        // None of them was written, so their offsets are free again and the log stays dense.
        state.next = end + 1;
        mem::take(&mut state.pending)
    }

    /// Space is back.
    pub(super) fn accept_again(&self) {
        let mut state = lock(&self.state);
        if matches!(state.gate, Gate::NoSpace(_)) {
            state.gate = Gate::Open;
        }
    }

    /// Refuses appends for good; the first reason stays. Returns what nobody will write, and whether this was
    /// the first time.
    pub(super) fn poison(&self, reason: &str) -> (Batch, bool) {
        let mut state = lock(&self.state);
        let first = !matches!(state.gate, Gate::Poisoned(_));
        if first {
            state.gate = Gate::Poisoned(reason.to_owned());
        }
        (mem::take(&mut state.pending), first)
    }

    /// Refuses appends; the writer finishes what was accepted and stops.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        if !matches!(state.gate, Gate::Poisoned(_)) {
            state.gate = Gate::Closed;
        }
        state.stop = true;
        drop(state);
        self.wake.notify_one();
    }

    pub(super) fn poisoned(&self) -> Option<String> {
        match &lock(&self.state).gate {
            Gate::Poisoned(reason) => Some(reason.clone()),
            _ => None,
        }
    }

    pub(super) fn refusing(&self) -> Option<String> {
        match &lock(&self.state).gate {
            Gate::NoSpace(reason) => Some(reason.clone()),
            _ => None,
        }
    }

    pub(super) fn queue_bytes(&self) -> usize {
        let state = lock(&self.state);
        state.pending.bytes.len() + state.taken_bytes
    }
}
