//! Idempotency keys: what was pushed under which, and who waits for the first to be done.
//!
//! ```text
//!           claim                 settle(answer)
//! unknown ────────▶ in flight ───────────────────▶ answered ──▶ unknown, after its time or for want of memory
//!    ▲                  │ settle(failed)
//!    └──────────────────┘
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Outcome, PushAnswer};

/// What one key costs beside its text, bytes: an entry in the table at its usual load, one in the queue, an allocation.
const ENTRY_BYTES: usize = 192;

/// An account's idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RetryKey(Arc<str>);

impl RetryKey {
    pub(super) fn new(account: &str, id: &str) -> Self {
        // The length keeps two accounts apart whatever their names contain.
        Self(format!("{}:{account}{id}", account.len()).into())
    }

    /// The key as records of stored messages have it: all that is known of it after a restart.
    pub(super) fn of_idem(idem: u64) -> Self {
        // The others begin with a digit.
        Self(format!("#{idem:016x}").into())
    }

    fn cost(&self) -> usize {
        self.0.len() + ENTRY_BYTES
    }
}

/// What a request with an idempotency key is to do.
#[derive(Debug)]
pub(super) enum Claim {
    /// Go on; tell how it went with [`Retries::settle`].
    First,
    /// Go on where it ended, with the same id: a part of it is written, for so many recipients.
    Resume {
        /// Its id.
        id: u64,
        /// Recipients that are done.
        done: usize,
    },
    /// It was done before.
    Answered(PushAnswer),
    /// It is being done.
    Waiting(oneshot::Receiver<Outcome>),
    /// The key came with another request.
    Conflict,
}

struct Entry {
    hash: u64,
    state: State,
}

enum State {
    InFlight(Vec<oneshot::Sender<Outcome>>),
    /// Written for the first so many recipients of `answer`, and for no others.
    Partly {
        answer: PushAnswer,
        done: usize,
    },
    Answered(PushAnswer),
}

/// The table of idempotency keys. Time is an argument.
pub(super) struct Retries {
    keep_ms: u64,
    bytes_max: usize,
    entries: HashMap<RetryKey, Entry>,
    /// The answered ones with the time they were accepted, oldest first.
    oldest: VecDeque<(u64, RetryKey)>,
    /// Cost of all entries.
    bytes: usize,
}

impl Retries {
    pub(super) fn new(keep_ms: u64, bytes_max: usize) -> Self {
        Self { keep_ms, bytes_max, entries: HashMap::new(), oldest: VecDeque::new(), bytes: 0 }
    }

    /// Asks what to do with a request whose fingerprint is `hash`.
    pub(super) fn claim(&mut self, key: &RetryKey, hash: u64, now_ms: u64) -> Claim {
        self.expire(now_ms);
        match self.entries.get_mut(key) {
            None => {
                self.bytes += key.cost();
                self.entries.insert(key.clone(), Entry { hash, state: State::InFlight(Vec::new()) });
                Claim::First
            }
            Some(entry) if entry.hash != hash => Claim::Conflict,
            Some(Entry { state: State::Answered(answer), .. }) => Claim::Answered(PushAnswer { duplicate: true, ..*answer }),
            Some(Entry { state: state @ State::Partly { .. }, .. }) => {
                match std::mem::replace(state, State::InFlight(Vec::new())) {
                    State::Partly { answer, done } => {
                        self.oldest.retain(|(_, other)| other != key);
                        Claim::Resume { id: answer.id, done }
                    }
                    State::InFlight(_) | State::Answered(_) => Claim::First,
                }
            }
            Some(Entry { state: State::InFlight(waiting), .. }) => {
                let (tell, told) = oneshot::channel();
                waiting.push(tell);
                Claim::Waiting(told)
            }
        }
    }

    /// Under which of two keys something is known; `key` when under none.
    pub(super) fn known_as(&self, key: RetryKey, other: RetryKey) -> RetryKey {
        if !self.entries.contains_key(&key) && self.entries.contains_key(&other) { other } else { key }
    }

    /// The first is written for some recipients and not for all: who comes again goes on there. Returns who waits for it.
    pub(super) fn settle_partly(
        &mut self,
        key: &RetryKey,
        answer: &PushAnswer,
        done: usize,
        accepted_ms: u64,
    ) -> Vec<oneshot::Sender<Outcome>> {
        let Some(entry) = self.entries.get_mut(key) else { return Vec::new() };
        let waiting = match std::mem::replace(&mut entry.state, State::Partly { answer: *answer, done }) {
            State::InFlight(waiting) => waiting,
            State::Answered(_) | State::Partly { .. } => return Vec::new(),
        };
        self.oldest.push_back((accepted_ms, key.clone()));
        waiting
    }

    /// The first is done: `answer`, or `None` when it failed, and is then forgotten. Returns who waits for it, and how many
    /// keys went before their time to make room.
    pub(super) fn settle(
        &mut self,
        key: &RetryKey,
        answer: Option<&PushAnswer>,
        accepted_ms: u64,
    ) -> (Vec<oneshot::Sender<Outcome>>, u64) {
        let Some(entry) = self.entries.get_mut(key) else { return (Vec::new(), 0) };
        let Some(&answer) = answer else {
            self.bytes -= key.cost();
            let waiting = self.entries.remove(key).map_or_else(Vec::new, Entry::into_waiting);
            return (waiting, 0);
        };
        let waiting = match std::mem::replace(&mut entry.state, State::Answered(answer)) {
            State::InFlight(waiting) => waiting,
            State::Answered(_) | State::Partly { .. } => return (Vec::new(), 0),
        };
        self.oldest.push_back((accepted_ms, key.clone()));
        (waiting, self.make_room())
    }

    /// Takes back what was answered before a restart. The last record of a key counts: the ones before it had expired, or
    /// were forgotten. Returns how many keys went before their time.
    pub(super) fn restore(&mut self, key: RetryKey, hash: u64, answer: PushAnswer, accepted_ms: u64) -> u64 {
        self.restore_as(key, Entry { hash, state: State::Answered(answer) }, accepted_ms)
    }

    /// The same of a message that may stand in several records; this one is for `done` of its recipients.
    pub(super) fn restore_part(&mut self, key: RetryKey, hash: u64, answer: PushAnswer, done: usize, accepted_ms: u64) -> u64 {
        let before = match self.entries.get(&key) {
            Some(Entry { state: State::Partly { answer: before, done }, .. }) if before.id == answer.id => *done,
            _ => 0,
        };
        let done = before + done;
        let is_whole = done as u64 >= answer.recipients;
        let state = if is_whole { State::Answered(answer) } else { State::Partly { answer, done } };
        self.restore_as(key, Entry { hash, state }, accepted_ms)
    }

    fn restore_as(&mut self, key: RetryKey, entry: Entry, accepted_ms: u64) -> u64 {
        self.expire(accepted_ms);
        if self.entries.contains_key(&key) {
            self.oldest.retain(|(_, other)| *other != key);
            self.bytes -= key.cost();
        }
        self.bytes += key.cost();
        self.entries.insert(key.clone(), entry);
        self.oldest.push_back((accepted_ms, key));
        self.make_room()
    }

    fn expire(&mut self, now_ms: u64) {
        while self.oldest.front().is_some_and(|(accepted_ms, _)| now_ms >= accepted_ms.saturating_add(self.keep_ms)) {
            self.forget_oldest();
        }
        if self.entries.capacity() > 1024 && self.entries.len() * 8 < self.entries.capacity() {
            self.entries.shrink_to(self.entries.len() * 2);
            self.oldest.shrink_to(self.oldest.len() * 2);
        }
    }

    fn make_room(&mut self) -> u64 {
        let mut forgotten = 0;
        while self.bytes > self.bytes_max && !self.oldest.is_empty() {
            self.forget_oldest();
            forgotten += 1;
        }
        forgotten
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.oldest.pop_front() {
            self.bytes -= key.cost();
            self.entries.remove(&key);
        }
    }
}

impl Entry {
    fn into_waiting(self) -> Vec<oneshot::Sender<Outcome>> {
        match self.state {
            State::InFlight(waiting) => waiting,
            State::Answered(_) | State::Partly { .. } => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(id: u64) -> PushAnswer {
        PushAnswer { id, duplicate: false, recipients: 1 }
    }

    fn key(id: &str) -> RetryKey {
        RetryKey::new("account", id)
    }

    fn first(retries: &mut Retries, id: &str, now_ms: u64) -> bool {
        matches!(retries.claim(&key(id), 1, now_ms), Claim::First)
    }

    #[test]
    fn first_waits_answered_conflict() {
        let mut retries = Retries::new(100, 1 << 20);
        assert!(first(&mut retries, "a", 0));
        assert!(matches!(retries.claim(&key("a"), 2, 0), Claim::Conflict));
        let Claim::Waiting(mut told) = retries.claim(&key("a"), 1, 0) else { panic!("not waiting") };
        let (waiting, _) = retries.settle(&key("a"), Some(&answer(7)), 0);
        assert_eq!(waiting.len(), 1);
        waiting.into_iter().for_each(|tell| tell.send(Ok(answer(7))).unwrap());
        assert_eq!(told.try_recv().unwrap(), Ok(answer(7)));
        let Claim::Answered(again) = retries.claim(&key("a"), 1, 99) else { panic!("not answered") };
        assert_eq!(again, PushAnswer { duplicate: true, ..answer(7) });
        assert!(matches!(retries.claim(&key("a"), 2, 99), Claim::Conflict));
        assert!(first(&mut retries, "a", 100), "its time was over");
    }

    #[test]
    fn a_failed_first_is_forgotten() {
        let mut retries = Retries::new(100, 1 << 20);
        assert!(first(&mut retries, "a", 0));
        let Claim::Waiting(_told) = retries.claim(&key("a"), 1, 0) else { panic!("not waiting") };
        assert_eq!(retries.settle(&key("a"), None, 0).0.len(), 1);
        assert_eq!(retries.bytes, 0);
        assert!(matches!(retries.claim(&key("a"), 2, 0), Claim::First));
    }

    #[test]
    fn bounded_in_bytes_the_oldest_go_first_and_what_is_in_flight_stays() {
        let mut retries = Retries::new(1 << 40, 10 * (ENTRY_BYTES + 20));
        assert!(first(&mut retries, "flying", 0));
        let mut forgotten = 0;
        for n in 0..100u64 {
            let id = format!("{n:04}");
            assert!(first(&mut retries, &id, n));
            forgotten += retries.settle(&key(&id), Some(&answer(n)), n).1;
        }
        assert!(retries.bytes <= retries.bytes_max);
        assert_eq!(forgotten + retries.oldest.len() as u64, 100);
        assert!(forgotten >= 90);
        assert!(matches!(retries.claim(&key("0099"), 1, 100), Claim::Answered(_)));
        assert!(matches!(retries.claim(&key("flying"), 1, 100), Claim::Waiting(_)));
        assert!(first(&mut retries, "0000", 100));
    }

    #[test]
    fn restored_ones_count_and_the_last_of_a_key_holds() {
        let mut retries = Retries::new(100, 1 << 20);
        retries.restore(key("a"), 1, answer(1), 0);
        retries.restore(key("b"), 1, answer(2), 10);
        retries.restore(key("a"), 2, answer(3), 20);
        assert_eq!(retries.bytes, key("a").cost() + key("b").cost());
        let Claim::Answered(again) = retries.claim(&key("a"), 2, 119) else { panic!("not answered") };
        assert_eq!(again.id, 3);
        assert!(first(&mut retries, "b", 119));
        assert!(first(&mut retries, "a", 120));
    }

    #[test]
    fn what_was_written_in_part_goes_on_there() {
        let mut retries = Retries::new(100, 1 << 20);
        let whole = PushAnswer { id: 7, duplicate: false, recipients: 2500 };
        assert!(first(&mut retries, "a", 0));
        let Claim::Waiting(_told) = retries.claim(&key("a"), 1, 0) else { panic!("not waiting") };
        assert_eq!(retries.settle_partly(&key("a"), &whole, 1000, 0).len(), 1);
        assert!(matches!(retries.claim(&key("a"), 2, 1), Claim::Conflict));
        assert!(matches!(retries.claim(&key("a"), 1, 1), Claim::Resume { id: 7, done: 1000 }));
        assert!(matches!(retries.claim(&key("a"), 1, 1), Claim::Waiting(_)), "it is on its way again");
        retries.settle(&key("a"), Some(&whole), 1);
        assert!(matches!(retries.claim(&key("a"), 1, 2), Claim::Answered(_)));
        assert_eq!(retries.oldest.len(), 1);
        // The same over a restart, where the key is known by its hash alone.
        let (idem, text) = (RetryKey::of_idem(9), key("b"));
        retries.restore_part(idem.clone(), 1, whole, 1000, 10);
        retries.restore_part(idem.clone(), 1, whole, 1000, 10);
        assert_eq!(retries.known_as(text.clone(), idem.clone()), idem);
        assert!(matches!(retries.claim(&idem, 1, 10), Claim::Resume { id: 7, done: 2000 }));
        retries.restore_part(idem.clone(), 1, whole, 2500, 10);
        assert!(matches!(retries.claim(&idem, 1, 10), Claim::Answered(_)));
        assert!(first(&mut retries, "b", 10));
        assert_eq!(retries.known_as(text.clone(), idem), text);
    }

    #[test]
    fn accounts_are_kept_apart() {
        assert_ne!(RetryKey::new("a", "bc"), RetryKey::new("ab", "c"));
        assert_ne!(RetryKey::new("1:a", "b"), RetryKey::new("", "1:ab"));
    }
}
