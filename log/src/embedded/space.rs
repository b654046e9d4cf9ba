//! Zeroed space ahead of the tail: what is there, what is wanted next, and who waits for it.
//!
//! Overwriting zeros that are on disk already makes a sync cheap: the file neither grows nor changes its
//! metadata. The keeper zeroes a step at a time, so that its syncs hold up the writer's little.

use std::fs::File;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::queue::{Batch, Queue};
use super::segment::HEADER_BYTES;
use crate::{Offset, lock};

/// Bytes zeroed and synced at a time.
pub(super) const STEP_BYTES: u64 = 1 << 20;
/// Rest between two steps while some of what should be ahead is used up, and while none is.
const PACE: Duration = Duration::from_millis(20);
const PACE_EARLY: Duration = Duration::from_millis(100);
/// Rest after a step failed (no space).
const RETRY: Duration = Duration::from_millis(250);
/// Offsets of consumers are synced this long after they first moved.
const SYNC_DELAY: Duration = Duration::from_secs(1);
/// Age is looked at this often.
const RETAIN_EVERY: Duration = Duration::from_secs(60);

/// A file that is being zeroed.
pub(super) struct Ground {
    /// The keeper's own descriptor: an error of its syncs is then reported to the writer's as well.
    pub(super) file: Arc<File>,
    /// Up to here there are zeros, or records.
    pub(super) zeroed: u64,
    /// Up to here there will be.
    pub(super) capacity: u64,
}

struct State {
    active: Ground,
    next: Option<Ground>,
    /// The tail of the active segment, as of the last report.
    written: u64,
    /// The writer waits for space.
    waiting: bool,
    /// Why the last step failed.
    blocked: Option<String>,
    /// The writer took the next file and has not renamed it yet, so its name must not be used again.
    rolling: bool,
    retain: bool,
    stop: bool,
}

/// Zeroed space, and the keeper's work.
pub(super) struct Space {
    state: Mutex<State>,
    /// For the writer: there is more space, or none to be had.
    ready: Condvar,
    /// For the keeper: there is work.
    work: Condvar,
    /// Zeroes ahead this much.
    target: u64,
    /// Times the writer had to sleep for space.
    pub(super) waits: AtomicU64,
}

/// What the keeper does next.
pub(super) enum Work {
    /// Makes the next file.
    Create,
    /// Zeroes this part of this file.
    Zero {
        file: Arc<File>,
        from: u64,
        to: u64,
    },
    SyncConsumers,
    Retain,
    Stop,
}

/// When the keeper may do what.
pub(super) struct Timers {
    zero: Instant,
    sync: Option<Instant>,
    retain: Instant,
}

impl Timers {
    pub(super) fn new(now: Instant) -> Self {
        Self { zero: now, sync: None, retain: now }
    }
}

impl Space {
    pub(super) fn new(active: Ground, written: u64, zero_ahead_bytes: u64, segment_bytes: u64) -> Self {
        let target = zero_ahead_bytes.max(STEP_BYTES).min(segment_bytes);
        let state =
            State { active, next: None, written, waiting: false, blocked: None, rolling: false, retain: false, stop: false };
        Self { state: Mutex::new(state), ready: Condvar::new(), work: Condvar::new(), target, waits: 0.into() }
    }

    /// How far the writer may write between two reports.
    pub(super) fn report_bytes(&self) -> u64 {
        (self.target / 4).min(STEP_BYTES / 2)
    }

    /// The writer's tail.
    pub(super) fn report(&self, written: u64) {
        lock(&self.state).written = written;
        self.work.notify_one();
    }

    /// Waits until the active segment is zeroed up to `position` and says how far it is. If there is no space to
    /// be had, closes the queue's gate at `end` and returns why, with what was queued.
    pub(super) fn wait_active(&self, position: u64, queue: &Queue, end: Offset) -> Result<u64, (String, Batch)> {
        let have = |state: &mut State| Some(state.active.zeroed).filter(|&zeroed| zeroed >= position);
        self.wait(have, queue, end)
    }

    /// Waits for the next file, zeroed up to `position`, and makes it the active one. Returns how far it is
    /// zeroed. Same failure as above.
    pub(super) fn wait_next(&self, position: u64, queue: &Queue, end: Offset) -> Result<u64, (String, Batch)> {
        let have = |state: &mut State| {
            let next = state.next.take_if(|next| next.zeroed >= position)?;
            state.active = next;
            state.written = HEADER_BYTES;
            state.rolling = true;
            Some(state.active.zeroed)
        };
        self.wait(have, queue, end)
    }

    /// The file that [`Self::wait_next`] gave has its name and is in the list of segments.
    pub(super) fn rolled(&self) {
        let mut state = lock(&self.state);
        state.rolling = false;
        state.retain = true;
        drop(state);
        self.work.notify_one();
    }

    fn wait(&self, mut have: impl FnMut(&mut State) -> Option<u64>, queue: &Queue, end: Offset) -> Result<u64, (String, Batch)> {
        let mut state = lock(&self.state);
        let result = loop {
            if let Some(zeroed) = have(&mut state) {
                break Ok(zeroed);
            }
            if let Some(reason) = &state.blocked {
                // Under this lock, so that the keeper can't open the gate just before it is closed.
                break Err((reason.clone(), queue.refuse_no_space(reason, end)));
            }
            if !state.waiting {
                self.waits.fetch_add(1, Relaxed);
            }
            state.waiting = true;
            self.work.notify_one();
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.waiting = false;
        result
    }

    pub(super) fn wake_keeper(&self) {
        drop(lock(&self.state));
        self.work.notify_one();
    }

    /// What was held back may not be any more.
    pub(super) fn look_at_retention(&self) {
        lock(&self.state).retain = true;
        self.work.notify_one();
    }

    pub(super) fn stop(&self) {
        lock(&self.state).stop = true;
        self.work.notify_one();
    }

    /// The keeper's next work; sleeps while there is none.
    pub(super) fn next_work(&self, timers: &mut Timers, dirty: &AtomicBool) -> Work {
        let mut state = lock(&self.state);
        loop {
            if state.stop {
                return Work::Stop;
            }
            let now = Instant::now();
            if dirty.load(Relaxed) && timers.sync.is_none() {
                timers.sync = Some(now + SYNC_DELAY);
            }
            if timers.sync.is_some_and(|due| due <= now) {
                timers.sync = None;
                return Work::SyncConsumers;
            }
            if mem::take(&mut state.retain) || timers.retain <= now {
                timers.retain = now + RETAIN_EVERY;
                return Work::Retain;
            }
            let wanted = state.wanted(self.target);
            // A waiting writer ends the pace, but not the rest after a failure.
            if wanted.is_some() && (timers.zero <= now || (state.waiting && state.blocked.is_none())) {
                return wanted.unwrap_or(Work::Create);
            }
            let zero = wanted.map(|_| timers.zero);
            let due = [zero, timers.sync, Some(timers.retain)].into_iter().flatten().min().unwrap_or(timers.retain);
            state = self.sleep(state, due.saturating_duration_since(now));
        }
    }

    fn sleep<'a>(&self, state: MutexGuard<'a, State>, duration: Duration) -> MutexGuard<'a, State> {
        self.work.wait_timeout(state, duration).unwrap_or_else(PoisonError::into_inner).0
    }

    /// The next file exists.
    pub(super) fn created(&self, ground: Ground) {
        lock(&self.state).next = Some(ground);
    }

    /// `file` is zeroed up to `to`. Opens the queue's gate if that was what it waited for.
    pub(super) fn zeroed(&self, file: &Arc<File>, to: u64, queue: &Queue, timers: &mut Timers) {
        let mut state = lock(&self.state);
        if Arc::ptr_eq(&state.active.file, file) {
            state.active.zeroed = to;
        } else if let Some(next) = state.next.as_mut().filter(|next| Arc::ptr_eq(&next.file, file)) {
            next.zeroed = to;
        }
        if state.blocked.take().is_some() {
            tracing::info!("the log has space again");
            queue.accept_again();
        }
        timers.zero = Instant::now() + pace(state.ahead(), self.target);
        drop(state);
        self.ready.notify_one();
    }

    /// A step failed; it is tried again later.
    pub(super) fn failed(&self, reason: String, timers: &mut Timers) {
        let mut state = lock(&self.state);
        if state.blocked.is_none() {
            tracing::error!(
                reason,
                "no space can be prepared for the log: what comes is refused as soon as the space that there is is used up. \
                 Make room on its disk; it is tried again all the time"
            );
        }
        state.blocked = Some(reason);
        timers.zero = Instant::now() + RETRY;
        drop(state);
        self.ready.notify_one();
    }
}

impl State {
    /// Zeroed bytes that were not written yet.
    fn ahead(&self) -> u64 {
        let next = self.next.as_ref().map_or(0, |next| next.zeroed);
        self.active.zeroed.saturating_sub(self.written) + next
    }

    /// Whether to zero more than is needed yet. Zeroing the file that is being written makes the writer's syncs wait
    /// for the file system's journal, so once a log is in use the segment is finished soon, and then the next one
    /// while this one's second half fills. A log that is hardly used keeps to its target.
    fn early(&self) -> bool {
        let active = &self.active;
        let from = if active.zeroed < active.capacity { STEP_BYTES } else { active.capacity / 2 };
        self.written > from
    }

    /// The next step, if one is needed. After a failure one always is: its success opens the gate again.
    fn wanted(&self, target: u64) -> Option<Work> {
        let needed = self.ahead() < target || self.waiting || self.blocked.is_some();
        if !needed && !self.early() {
            return None;
        }
        let ground = match &self.next {
            _ if self.active.zeroed < self.active.capacity => &self.active,
            None if self.rolling => return None,
            None => return Some(Work::Create),
            Some(next) if next.zeroed < next.capacity => next,
            Some(_) => return None,
        };
        let to = (ground.zeroed + STEP_BYTES).min(ground.capacity);
        Some(Work::Zero { file: Arc::clone(&ground.file), from: ground.zeroed, to })
    }
}

/// The rest before the next step: none when half of what should be ahead is used up.
fn pace(ahead: u64, target: u64) -> Duration {
    match ahead {
        _ if ahead < target / 2 => Duration::ZERO,
        _ if ahead < target => PACE,
        _ => PACE_EARLY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn state(active: (u64, u64), next: Option<(u64, u64)>, written: u64) -> State {
        let ground = |(zeroed, capacity)| Ground { file: Arc::new(tempfile::tempfile().unwrap()), zeroed, capacity };
        State {
            active: ground(active),
            next: next.map(ground),
            written,
            waiting: false,
            blocked: None,
            rolling: false,
            retain: false,
            stop: false,
        }
    }

    #[test]
    fn zeroes_the_active_segment_first_then_makes_the_next() {
        let zeroes = |state: &State| match state.wanted(16 * MIB) {
            Some(Work::Zero { file, from, to }) => Some((Arc::ptr_eq(&file, &state.active.file), from / MIB, to / MIB)),
            _ => None,
        };
        let fresh = state((MIB, 64 * MIB), None, HEADER_BYTES);
        assert_eq!(zeroes(&fresh), Some((true, 1, 2)));
        let idle = state((17 * MIB, 64 * MIB), None, MIB);
        assert!(idle.wanted(16 * MIB).is_none());
        let in_use = state((20 * MIB, 64 * MIB), None, 2 * MIB);
        assert_eq!(zeroes(&in_use), Some((true, 20, 21)));
        let first_half = state((64 * MIB, 64 * MIB), None, 30 * MIB);
        assert!(first_half.wanted(16 * MIB).is_none());
        let near_end = state((64 * MIB, 64 * MIB), None, 33 * MIB);
        assert!(matches!(near_end.wanted(16 * MIB), Some(Work::Create)));
        let begun = state((64 * MIB, 64 * MIB), Some((0, 64 * MIB)), 49 * MIB);
        assert_eq!(zeroes(&begun), Some((false, 0, 1)));
        let all = state((64 * MIB, 64 * MIB), Some((64 * MIB, 64 * MIB)), 49 * MIB);
        assert!(all.wanted(16 * MIB).is_none(), "nothing is left to do");
    }

    /// The file that the writer took still has the name of the next one: making that anew would empty it.
    #[test]
    fn makes_no_next_file_while_the_writer_rolls() {
        let mut state = state((MIB, MIB), None, HEADER_BYTES);
        state.rolling = true;
        assert!(state.wanted(16 * MIB).is_none());
        state.rolling = false;
        assert!(matches!(state.wanted(16 * MIB), Some(Work::Create)));
    }

    #[test]
    fn hurries_when_half_is_used_up() {
        assert_eq!(pace(7 * MIB, 16 * MIB), Duration::ZERO);
        assert_eq!(pace(8 * MIB, 16 * MIB), PACE);
        assert_eq!(pace(16 * MIB, 16 * MIB), PACE_EARLY);
    }
}
