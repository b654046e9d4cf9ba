//! Sends that wait for the store: those of one session stay in their order.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use perseid_protocol::push::SessionAddr;

use super::send::Sending;
use super::{Answerer, lock};

/// Bodies that wait, of all sessions, bytes.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// What one costs beside its body, bytes.
const COST_BYTES: usize = 512;

/// A send that waits, and where its answer goes.
pub(super) struct Queued {
    pub(super) sending: Sending,
    pub(super) answerer: Answerer,
}

impl Sending {
    fn cost(&self) -> usize {
        self.body.len() + COST_BYTES
    }
}

/// What became of [`LateSends::offer`].
pub(super) enum Offered<F> {
    /// None of its session waits: it is sent at once.
    NotLate(Sending, F),
    /// It waits too.
    Queued,
    /// There is no room.
    Full,
}

/// Sessions with a send that waits for the store, and what they sent behind it. A session's requests come one after another,
/// from one thread.
#[derive(Default)]
pub(super) struct LateSends {
    /// How many sessions: in the usual case none, and then nothing is locked.
    sessions: AtomicUsize,
    queues: Mutex<Queues>,
}

#[derive(Default)]
struct Queues {
    of: HashMap<SessionAddr, VecDeque<Queued>>,
    bytes: usize,
}

impl LateSends {
    /// Puts one behind the one of its session that waits, if there is one.
    pub(super) fn offer<F: FnOnce() -> Answerer>(&self, sending: Sending, later: F) -> Offered<F> {
        // What a session's own thread has begun, that thread sees.
        if self.sessions.load(Ordering::Acquire) == 0 {
            return Offered::NotLate(sending, later);
        }
        let mut queues = lock(&self.queues);
        let bytes = queues.bytes.saturating_add(sending.cost());
        let Some(queue) = queues.of.get_mut(&sending.addr) else { return Offered::NotLate(sending, later) };
        if bytes > BYTES_MAX {
            return Offered::Full;
        }
        queue.push_back(Queued { sending, answerer: later() });
        queues.bytes = bytes;
        Offered::Queued
    }

    /// One waits from now on, until [`LateSends::next`] gives none: its session has none so far.
    pub(super) fn begin(&self, addr: SessionAddr) {
        self.sessions.fetch_add(1, Ordering::AcqRel);
        lock(&self.queues).of.insert(addr, VecDeque::new());
    }

    /// All of a session that wait behind the one that is dealt with.
    pub(super) fn all_of(&self, addr: SessionAddr) -> VecDeque<Queued> {
        let mut queues = lock(&self.queues);
        let all = queues.of.get_mut(&addr).map(std::mem::take).unwrap_or_default();
        queues.bytes -= all.iter().map(|queued| queued.sending.cost()).sum::<usize>();
        all
    }

    /// The next of a session; `None`: there is none, and the session has none that waits any more.
    pub(super) fn next(&self, addr: SessionAddr) -> Option<Queued> {
        let mut queues = lock(&self.queues);
        let next = queues.of.get_mut(&addr).and_then(VecDeque::pop_front);
        match &next {
            Some(queued) => queues.bytes -= queued.sending.cost(),
            None => {
                queues.of.remove(&addr);
                self.sessions.fetch_sub(1, Ordering::AcqRel);
            }
        }
        next
    }
}
