//! Which rooms this comet holds, as jobs know it: every job reads one log of changes, and says how far it has come. Who enters
//! a room first waits until they all have read that.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use perseid_rpc::cluster as rpc;
use tokio::sync::watch;

use crate::limits::{ITEMS_PER_MESSAGE, ROOM_CHANGES_MAX, ROOM_KEPT_MS};

/// What is done when a room may be entered.
pub(crate) type Go = Box<dyn FnOnce() + Send>;

/// See the module. Shared by the comet's link and its push service.
pub struct Interest {
    state: Mutex<State>,
    /// The version of the last change.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    rooms: HashMap<Arc<str>, Announced>,
    version: u64,
    /// Ascending by version; `forgotten` is the newest one that is no longer among them.
    changes: VecDeque<Change>,
    forgotten: u64,
    /// How far each job has come.
    readers: HashMap<u64, u64>,
    next_reader: u64,
    waiting: Vec<Waiting>,
}

struct Announced {
    version: u64,
    /// When somebody last asked for it, ms.
    wanted_ms: u64,
}

struct Change {
    version: u64,
    room: Arc<str>,
    added: bool,
}

struct Waiting {
    version: u64,
    deadline_ms: u64,
    go: Go,
}

/// One job's cursor into the changes. Given back when it is dropped.
pub(crate) struct Reader {
    interest: Arc<Interest>,
    id: u64,
    /// The last version read; `None`: everything has to be told.
    cursor: Option<u64>,
    /// What is left to be told of everything: the rooms at `cursor`.
    rest: Vec<Arc<str>>,
    telling_all: bool,
}

impl Default for Interest {
    fn default() -> Self {
        Self { state: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Interest {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces `room` if it is not. True: every job knows it, it may be entered now. Else `go` is made, and called when they
    /// know or [`Interest::expire`] says that it took too long.
    pub(crate) fn enter(&self, room: &str, now_ms: u64, deadline_ms: u64, go: impl FnOnce() -> Go) -> bool {
        let mut state = self.lock();
        let version = state.announce(room, now_ms);
        let known = state.readers.values().all(|acked| *acked >= version);
        if !known {
            let go = go();
            state.waiting.push(Waiting { version, deadline_ms, go });
        }
        let version = state.version;
        drop(state);
        self.tell(version);
        known
    }

    /// Lets those in who have waited long enough.
    pub(crate) fn expire(&self, now_ms: u64) {
        let gone = self.lock().release(|waiting| waiting.deadline_ms <= now_ms);
        gone.into_iter().for_each(|go| go());
    }

    /// Compares what is announced with what the comet holds (`held`; `holds` looks again, later than `held` was made): rooms
    /// that nobody has been in for a while are withdrawn, rooms that were missed are announced.
    pub(crate) fn sweep(&self, held: &[Arc<str>], holds: impl Fn(&str) -> bool, now_ms: u64) {
        let mut state = self.lock();
        for room in held {
            if let Some(announced) = state.rooms.get_mut(room) {
                announced.wanted_ms = now_ms;
            } else {
                state.announce(room, now_ms);
            }
        }
        let old = |announced: &Announced| now_ms.saturating_sub(announced.wanted_ms) > ROOM_KEPT_MS;
        let empty: Vec<Arc<str>> =
            state.rooms.iter().filter(|(room, announced)| old(announced) && !holds(room)).map(|(room, _)| room.clone()).collect();
        for room in empty {
            state.rooms.remove(&room);
            state.change(room, false);
        }
        if state.rooms.is_empty() {
            state.rooms.shrink_to(64);
        }
        let version = state.version;
        drop(state);
        self.tell(version);
    }

    /// A job that has to be told.
    pub(crate) fn reader(self: &Arc<Self>) -> Reader {
        let mut state = self.lock();
        let id = state.next_reader;
        state.next_reader += 1;
        state.readers.insert(id, 0);
        Reader { interest: self.clone(), id, cursor: None, rest: Vec::new(), telling_all: false }
    }

    /// Rooms announced.
    pub fn rooms(&self) -> usize {
        self.lock().rooms.len()
    }

    fn tell(&self, version: u64) {
        self.changed.send_if_modified(|known| {
            let newer = *known < version;
            *known = version.max(*known);
            newer
        });
    }
}

impl State {
    fn announce(&mut self, room: &str, now_ms: u64) -> u64 {
        if let Some(announced) = self.rooms.get_mut(room) {
            announced.wanted_ms = now_ms;
            return announced.version;
        }
        let room: Arc<str> = room.into();
        let version = self.change(room.clone(), true);
        self.rooms.insert(room, Announced { version, wanted_ms: now_ms });
        version
    }

    fn change(&mut self, room: Arc<str>, added: bool) -> u64 {
        self.version += 1;
        if self.readers.is_empty() || self.changes.len() >= ROOM_CHANGES_MAX {
            // Whoever has not read what is forgotten is told everything.
            self.changes.clear();
            self.forgotten = self.version;
        } else {
            self.changes.push_back(Change { version: self.version, room, added });
        }
        self.version
    }

    fn ack(&mut self, reader: u64, version: u64) -> Vec<Go> {
        if let Some(acked) = self.readers.get_mut(&reader) {
            *acked = version.max(*acked);
        }
        self.let_known_in()
    }

    /// Those whose rooms all jobs know; what all have read is forgotten.
    fn let_known_in(&mut self) -> Vec<Go> {
        let known = self.readers.values().copied().min().unwrap_or(self.version);
        while self.changes.front().is_some_and(|change| change.version <= known) {
            self.forgotten = self.changes.pop_front().map_or(self.forgotten, |change| change.version);
        }
        self.release(|waiting| waiting.version <= known)
    }

    fn release(&mut self, is_due: impl Fn(&Waiting) -> bool) -> Vec<Go> {
        if !self.waiting.iter().any(&is_due) {
            return Vec::new();
        }
        let (due, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting).into_iter().partition(is_due);
        self.waiting = waiting;
        due.into_iter().map(|waiting| waiting.go).collect()
    }
}

impl Reader {
    /// What the job has to be told next; waits until there is something.
    pub(crate) async fn next(&mut self) -> rpc::Interest {
        let mut changed = self.interest.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if let Some(interest) = self.try_next() {
                return interest;
            }
            // The sender lives as long as `interest`.
            let _ = changed.changed().await;
        }
    }

    /// What the job has to be told now, if there is something.
    pub(crate) fn try_next(&mut self) -> Option<rpc::Interest> {
        let state = self.interest.lock();
        if !self.telling_all && self.cursor.is_none_or(|cursor| cursor < state.forgotten) {
            self.rest = state.rooms.keys().cloned().collect();
            self.cursor = Some(state.version);
            drop(state);
            self.telling_all = true;
            return Some(self.part_of_all(true));
        }
        if self.telling_all {
            drop(state);
            return Some(self.part_of_all(false));
        }
        let cursor = self.cursor?;
        let from = state.changes.partition_point(|change| change.version <= cursor);
        let mut interest = rpc::Interest::default();
        for change in state.changes.iter().skip(from).take(ITEMS_PER_MESSAGE) {
            // Of changes to one room in a message the last counts: another is told in the next one.
            let other = if change.added { &interest.removed } else { &interest.added };
            if other.iter().any(|room| **room == *change.room) {
                break;
            }
            let list = if change.added { &mut interest.added } else { &mut interest.removed };
            list.push(change.room.to_string());
            interest.version = change.version;
        }
        if interest.version == 0 {
            return None;
        }
        self.cursor = Some(interest.version);
        interest.complete = true;
        Some(interest)
    }

    fn part_of_all(&mut self, restart: bool) -> rpc::Interest {
        let at = self.rest.len().saturating_sub(ITEMS_PER_MESSAGE);
        let added = self.rest.split_off(at).iter().map(ToString::to_string).collect();
        let complete = self.rest.is_empty();
        self.telling_all = !complete;
        // A part is acknowledged like the whole, which it can't be before its last part: version 0 says nothing.
        let version = if complete { self.cursor.unwrap_or_default() } else { 0 };
        rpc::Interest { version, restart, added, removed: Vec::new(), complete }
    }

    /// The job knows everything up to `version`.
    pub(crate) fn acked(&self) -> Acked {
        Acked { interest: self.interest.clone(), id: self.id }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.interest.lock();
        state.readers.remove(&self.id);
        let go = state.let_known_in();
        drop(state);
        go.into_iter().for_each(|go| go());
    }
}

/// Where a job's acknowledgements go.
pub(crate) struct Acked {
    interest: Arc<Interest>,
    id: u64,
}

impl Acked {
    pub(crate) fn up_to(&self, version: u64) {
        let go = self.interest.lock().ack(self.id, version);
        go.into_iter().for_each(|go| go());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Counting(Arc<AtomicUsize>);

    impl Counting {
        fn new() -> Self {
            Self(Arc::default())
        }

        fn go(&self) -> Go {
            let count = self.0.clone();
            Box::new(move || {
                count.fetch_add(1, Ordering::Relaxed);
            })
        }

        fn count(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn without_a_job_nobody_waits_and_with_one_until_it_knows() {
        let interest = Arc::new(Interest::default());
        let entered = Counting::new();
        assert!(interest.enter("live://1", 0, 100, || entered.go()));
        let mut reader = interest.reader();
        let all = reader.try_next().unwrap();
        assert!(all.restart && all.complete);
        assert_eq!(all.added, ["live://1"]);
        assert!(!interest.enter("live://1", 0, 100, || entered.go()), "it may not know yet");
        assert!(!interest.enter("live://2", 0, 100, || entered.go()));
        reader.acked().up_to(all.version);
        assert_eq!(entered.count(), 1);
        let change = reader.try_next().unwrap();
        assert_eq!((change.restart, &change.added[..]), (false, &["live://2".to_owned()][..]));
        assert_eq!(reader.try_next(), None);
        reader.acked().up_to(change.version);
        assert_eq!(entered.count(), 2);
        assert!(interest.enter("live://2", 0, 100, || entered.go()), "known");
    }

    #[test]
    fn nobody_waits_for_a_job_that_is_slow_or_gone() {
        let interest = Arc::new(Interest::default());
        let entered = Counting::new();
        let (slow, gone) = (interest.reader(), interest.reader());
        assert!(!interest.enter("live://1", 0, 100, || entered.go()));
        interest.expire(99);
        assert_eq!(entered.count(), 0);
        interest.expire(100);
        assert_eq!(entered.count(), 1);
        assert!(!interest.enter("live://1", 0, 200, || entered.go()));
        slow.acked().up_to(u64::MAX);
        assert_eq!(entered.count(), 1);
        drop(gone);
        assert_eq!(entered.count(), 2);
    }

    #[test]
    fn an_empty_room_is_withdrawn_late_and_never_one_that_was_just_wanted() {
        let interest = Arc::new(Interest::default());
        interest.enter("live://1", 0, 0, || Box::new(|| {}));
        let mut reader = interest.reader();
        reader.acked().up_to(reader.try_next().unwrap().version);
        interest.sweep(&[], |_| false, ROOM_KEPT_MS);
        assert_eq!(reader.try_next(), None);
        interest.sweep(&[], |_| true, ROOM_KEPT_MS + 1);
        assert_eq!(reader.try_next(), None, "somebody came while the list was made");
        interest.sweep(&[], |_| false, ROOM_KEPT_MS + 1);
        assert_eq!(reader.try_next().unwrap().removed, ["live://1"]);
        interest.sweep(&["live://1".into()], |_| true, ROOM_KEPT_MS + 2);
        assert_eq!(reader.try_next().unwrap().added, ["live://1"], "a room that was missed");
    }

    #[test]
    fn a_room_that_comes_and_goes_is_told_in_order() {
        let interest = Arc::new(Interest::default());
        let mut reader = interest.reader();
        reader.try_next().unwrap();
        let mut now_ms = 0;
        for _ in 0..3 {
            interest.enter("live://1", now_ms, now_ms, || Box::new(|| {}));
            now_ms += ROOM_KEPT_MS + 1;
            interest.sweep(&[], |_| false, now_ms);
        }
        let mut held = false;
        while let Some(change) = reader.try_next() {
            for _ in &change.added {
                held = true;
            }
            for _ in &change.removed {
                held = false;
            }
            assert!(change.added.is_empty() || change.removed.is_empty());
        }
        assert!(!held);
    }

    #[test]
    fn who_is_too_far_behind_is_told_everything() {
        let interest = Arc::new(Interest::default());
        let mut reader = interest.reader();
        reader.try_next().unwrap();
        for room in 0..=ROOM_CHANGES_MAX {
            interest.enter(&format!("live://{room}"), 0, 0, || Box::new(|| {}));
        }
        let first = reader.try_next().unwrap();
        assert!(first.restart && !first.complete && first.version == 0);
        let mut rooms = first.added.len();
        loop {
            let part = reader.try_next().unwrap();
            assert!(!part.restart);
            rooms += part.added.len();
            if part.complete {
                assert_eq!((rooms, part.version), (ROOM_CHANGES_MAX + 1, ROOM_CHANGES_MAX as u64 + 1));
                return;
            }
        }
    }
}
