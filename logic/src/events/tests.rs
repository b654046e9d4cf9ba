//! Pairs of events under races, over a real log and one that refuses.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use perseid_log::{
    AppendDone, Consumer, Counters, Cursor, EmbeddedConfig, EmbeddedLog, HistogramSnapshot, LogError, LogStatus, Record, Start,
    Topic,
};
use perseid_protocol::{CloseReason, SessionKey};
use perseid_store::{MemoryRegistry, NewSession, Restored, Takeover};

use super::*;
use EventKind::{SessionOffline as Off, SessionOnline as On, SessionStill as Still};

/// A log in memory that refuses when it is told to, at once or later.
#[derive(Default)]
struct Moody {
    records: Arc<Mutex<Vec<Record>>>,
    refuses: AtomicBool,
    holds: AtomicBool,
    held: Mutex<Vec<(Topic, Bytes, AppendDone)>>,
}

impl Moody {
    fn take(&self, topic: Topic, value: Bytes) -> Offset {
        let mut records = self.records.lock().unwrap();
        let offset = records.last().map_or(1, |last| last.offset + 1);
        records.push(Record { offset, topic, ts_ms: 0, value });
        offset
    }

    /// Answers what was held, after all: in order, with a refusal if it is to be one.
    fn release(&self, takes: bool) {
        let mut held = self.held.lock().unwrap();
        let refused = || Err(AppendError::Unavailable("no space".into()));
        let answer = |(topic, value, done)| (done, if takes { Ok(self.take(topic, value)) } else { refused() });
        let answers: Vec<(AppendDone, _)> = held.drain(..).map(answer).collect();
        drop(held);
        answers.into_iter().for_each(|(done, result)| done(result));
    }
}

struct All(Arc<Mutex<Vec<Record>>>, Offset);

impl LogReader for All {
    fn read(&mut self) -> Result<Vec<Record>, LogError> {
        let records = self.0.lock().unwrap();
        let next: Vec<_> = records.iter().filter(|record| record.offset >= self.1).take(3).cloned().collect();
        self.1 = next.last().map_or(self.1, |last| last.offset + 1);
        Ok(next)
    }

    fn next(&self) -> Offset {
        self.1
    }
}

impl EventLog for Moody {
    fn append(&self, topic: Topic, _: &[u8], value: Bytes, done: AppendDone) {
        if self.refuses.load(SeqCst) {
            done(Err(AppendError::Overloaded));
            return;
        }
        // It may even refuse one, later, and take another meanwhile.
        if self.holds.load(SeqCst) {
            self.held.lock().unwrap().push((topic, value, done));
        } else {
            done(Ok(self.take(topic, value)));
        }
    }

    fn subscribe(&self, _: &str, _: Start, _: Box<dyn Consumer>) -> Result<(), LogError> {
        Err(LogError::Closed)
    }

    fn follow(&self, _: &str, _: Box<dyn Consumer>) -> Result<(), LogError> {
        Err(LogError::Closed)
    }

    fn replay(&self, _: &mut dyn FnMut(&[Record])) -> Result<Offset, LogError> {
        Err(LogError::Closed)
    }

    fn reader(&self, from: Offset) -> Box<dyn LogReader> {
        Box::new(All(self.records.clone(), from))
    }

    fn cursor(&self, _: &str, _: Start) -> Result<Box<dyn Cursor>, LogError> {
        Err(LogError::Closed)
    }

    fn status(&self) -> LogStatus {
        let none = HistogramSnapshot { bounds_seconds: &[], counts: Vec::new(), sum_seconds: 0.0 };
        LogStatus {
            first: 1,
            end: self.records.lock().unwrap().last().map_or(0, |last| last.offset),
            segments: 1,
            disk_bytes: 0,
            queue_bytes: 0,
            poisoned: None,
            refusing: None,
            consumers: Vec::new(),
            counters: Counters::default(),
            sync_seconds: none.clone(),
            append_seconds: none,
        }
    }

    fn close(&self) {}
}

fn clock() -> Clock {
    Arc::new(|| 1_800_000_000_000)
}

const EVERYTHING: Wanted = Wanted { sessions: true, upstream: true };

fn presence(log: Arc<dyn EventLog>) -> Arc<Presence> {
    let feed = Feed::new(log, EVERYTHING, 0, clock());
    Presence::new(feed, Arc::new(MemoryRegistry::new()))
}

fn moody() -> (Arc<Moody>, Arc<Presence>) {
    let log = Arc::new(Moody::default());
    (log.clone(), presence(log))
}

fn session(key: &str, mid: i64, slot: u32) -> NewSession<'static> {
    NewSession {
        key: SessionKey::parse(key),
        mid,
        addr: addr(slot),
        platform: "web",
        device_id: "",
        peer: None,
        since_ms: u64::from(slot),
        extended: false,
    }
}

fn addr(slot: u32) -> SessionAddr {
    SessionAddr { slot, ..SessionAddr::default() }
}

fn end(presence: &Arc<Presence>, key: &str, mid: i64, slot: u32) -> bool {
    presence.end(&SessionKey::parse(key), mid, addr(slot), Some(CloseReason::Kicked))
}

fn events_of(log: &dyn EventLog) -> Vec<Event> {
    let mut reader = log.reader(0);
    let mut events = Vec::new();
    loop {
        let records = reader.read().unwrap();
        if records.is_empty() {
            return events;
        }
        events.extend(records.into_iter().flat_map(|record| Events::decode(record.value).unwrap().events));
    }
}

fn story(log: &dyn EventLog) -> Vec<(EventKind, u32, u32, String)> {
    events_of(log).into_iter().map(|event| (event.kind(), event.slot, event.sessions, event.reason)).collect()
}

fn told(kind: EventKind, slot: u32, sessions: u32, reason: &str) -> (EventKind, u32, u32, String) {
    (kind, slot, sessions, reason.to_owned())
}

/// One online, one offline, in this order; and at most one session of a key at a time.
fn check_pairs(events: &[Event], still_online: &[u32]) {
    let mut state: HashMap<u32, u32> = HashMap::new();
    let mut holder: HashMap<&str, u32> = HashMap::new();
    let mut ids = std::collections::HashSet::new();
    for event in events {
        if event.kind() != Still {
            assert!(ids.insert(event.id), "id {} was used twice", event.id);
        }
        let seen = state.entry(event.slot).or_default();
        match event.kind() {
            On => {
                assert_eq!(*seen, 0, "session {} began twice", event.slot);
                assert_eq!(holder.insert(&event.key, event.slot), None, "two sessions of key {}", event.key);
                *seen = 1;
            }
            Off => {
                assert_eq!(*seen, 1, "session {} ended out of turn", event.slot);
                assert_eq!(holder.remove(&*event.key), Some(event.slot));
                *seen = 2;
            }
            Still => assert_eq!(*seen, 1, "session {} is said to be online", event.slot),
            _ => {}
        }
    }
    let mut open: Vec<u32> = state.into_iter().filter(|(_, seen)| *seen == 1).map(|(slot, _)| slot).collect();
    open.sort_unstable();
    assert_eq!(open, still_online);
}

#[test]
fn a_session_and_its_replacement() {
    let (log, presence) = moody();
    assert_eq!(presence.open(session("k", 7, 1), Takeover::SameUser).now(), Some(Ok(None)));
    assert_eq!(presence.open(session("other", 7, 2), Takeover::SameUser).now(), Some(Ok(None)));
    assert_eq!(presence.open(session("k", 8, 3), Takeover::SameUser).now(), Some(Err(OpenError::KeyTaken)));
    assert_eq!(presence.open(session("k", 7, 4), Takeover::SameUser).now(), Some(Ok(Some(addr(1)))));
    assert!(!end(&presence, "k", 7, 1), "it was replaced");
    assert!(end(&presence, "other", 7, 2) && !end(&presence, "other", 7, 2));
    assert!(presence.end(&SessionKey::parse("k"), 7, addr(4), None));
    let expected = [
        told(On, 1, 1, ""),
        told(On, 2, 2, ""),
        told(Off, 1, 1, "REPLACED"),
        told(On, 4, 2, ""),
        told(Off, 2, 1, "KICKED"),
        told(Off, 4, 0, "LEFT"),
    ];
    assert_eq!(story(&*log), expected);
    check_pairs(&events_of(&*log), &[]);
    assert_eq!(*presence.feed().newest().borrow(), 5, "the replacement is one record");
}

#[test]
fn who_cannot_be_told_of_is_not_let_in() {
    let (log, presence) = moody();
    assert_eq!(presence.open(session("k", 7, 1), Takeover::Anybody).now(), Some(Ok(None)));
    log.refuses.store(true, SeqCst);
    assert_eq!(presence.open(session("k", 7, 2), Takeover::Anybody).now(), Some(Err(OpenError::Unavailable)));
    assert_eq!(presence.registry.by_key(&SessionKey::parse("k")), Some(addr(1)), "the old one stays");
    assert!(end(&presence, "k", 7, 1), "whoever leaves, leaves");
    assert_eq!((presence.feed().snapshot().waiting, presence.registry.counts().sessions), (1, 0));
    assert_eq!(presence.open(session("x", 9, 3), Takeover::Anybody).now(), Some(Err(OpenError::Unavailable)));
    log.refuses.store(false, SeqCst);
    assert_eq!(presence.open(session("x", 9, 3), Takeover::Anybody).now(), Some(Ok(None)));
    assert_eq!(presence.feed().snapshot().waiting, 0);
    assert_eq!(story(&*log), [told(On, 1, 1, ""), told(Off, 1, 0, "KICKED"), told(On, 3, 1, "")]);
}

#[tokio::test]
async fn a_refusal_that_comes_later_undoes_everything() {
    let (log, presence) = moody();
    presence.open(session("k", 7, 1), Takeover::Anybody).get().await.unwrap();
    log.holds.store(true, SeqCst);
    let newer = presence.open(session("k", 7, 2), Takeover::Anybody);
    let third = presence.open(session("k", 7, 3), Takeover::Anybody);
    assert!(end(&presence, "k", 7, 1) && !end(&presence, "k", 7, 1), "the old one leaves before it is replaced");
    log.holds.store(false, SeqCst);
    log.release(false);
    assert_eq!(newer.get().await, Err(OpenError::Unavailable));
    assert_eq!(third.get().await, Ok(None), "it waited for its turn");
    let expected = [told(On, 1, 1, ""), told(Off, 1, 0, "KICKED"), told(On, 3, 1, "")];
    assert_eq!(story(&*log), expected);

    // Ended before it began, and nobody waits for the answer.
    log.holds.store(true, SeqCst);
    let gone = presence.open(session("a", 7, 4), Takeover::Anybody);
    let ended = presence.open(session("b", 7, 5), Takeover::Anybody);
    assert!(end(&presence, "b", 7, 5) && !end(&presence, "b", 7, 5));
    drop(gone);
    log.holds.store(false, SeqCst);
    log.release(true);
    ended.get().await.unwrap();
    check_pairs(&events_of(&*log), &[3]);
    assert_eq!(presence.registry.counts().sessions, 1);
}

#[test]
fn upstream_is_answered_when_the_log_has_it() {
    let (log, presence) = moody();
    let key = SessionKey::parse("k");
    let frame = |body| Upstream { mid: 7, key: &key, addr: addr(1), op: 4, body, now_ms: 1_800_000_000_000 };
    assert_eq!(presence.feed().upstream(&frame(b"one")).now(), Some(Ok(())));
    log.refuses.store(true, SeqCst);
    assert_eq!(presence.feed().upstream(&frame(b"two")).now(), Some(Err(Refusal::Unavailable)));
    log.refuses.store(false, SeqCst);
    log.holds.store(true, SeqCst);
    assert!(presence.feed().upstream(&frame(b"three")).now().is_none());
    let events = events_of(&*log);
    assert_eq!((events.len(), events[0].op, &events[0].body[..], events[0].mid), (1, 4, &b"one"[..], 7));
    let counted = presence.feed().snapshot();
    assert_eq!((counted.written[2], counted.refused[2]), (("upstream", 1), ("upstream", 1)));
}

#[test]
fn a_crash_is_made_good_once_also_for_those_who_were_repeated() {
    let (log, first) = moody();
    for slot in 1..=3 {
        first.open(session(&format!("k{slot}"), 7, slot), Takeover::Anybody).now().unwrap().unwrap();
    }
    let from = first.repeat_all().unwrap();
    assert_eq!(from, 4);
    assert!(end(&first, "k2", 7, 2));
    drop(first);
    // What was repeated may go.
    log.records.lock().unwrap().retain(|record| record.offset >= from);
    let second = presence(log.clone());
    assert_eq!(second.feed().recover(|_| true).unwrap(), 2);
    let ends: Vec<_> = story(&*log).into_iter().filter(|(kind, ..)| *kind == Off).collect();
    assert_eq!(ends, [told(Off, 2, 2, "KICKED"), told(Off, 1, 1, "CRASH"), told(Off, 3, 0, "CRASH")]);
    assert_eq!(presence(log).feed().recover(|_| true).unwrap(), 0, "once");
    assert_eq!(second.feed().snapshot().crashed, 2);
}

/// Sessions of a comet in another process live on while logic starts again.
#[test]
fn sessions_of_other_comets_may_come_back() {
    let (log, first) = moody();
    for slot in 1..=4 {
        first.open(session(&format!("k{slot}"), 7, slot), Takeover::Anybody).now().unwrap().unwrap();
    }
    drop(first);
    let second = presence(log.clone());
    assert_eq!(second.feed().recover(|node| node != 0).unwrap(), 0);
    assert!(second.repeat_all().is_err(), "the log must not forget them yet");
    assert_eq!(second.restore(session("k1", 7, 1)), Restored::Added);
    assert_eq!(second.restore(session("k1", 7, 1)), Restored::Known);
    // A younger one came first; and one that was never told of.
    second.open(session("k2", 7, 9), Takeover::Anybody).now().unwrap().unwrap();
    assert_eq!(second.restore(session("k2", 7, 2)), Restored::Outlived);
    assert!(!end(&second, "k2", 7, 2));
    assert_eq!(second.restore(session("k8", 8, 8)), Restored::Added);
    assert_eq!(second.restore(session("k1", 7, 10)), Restored::Replaced(addr(1)));
    assert_eq!((second.give_up_unconfirmed(), second.give_up_unconfirmed()), (2, 0));
    second.repeat_all().unwrap();
    let ends: Vec<_> = story(&*log).into_iter().filter(|(kind, ..)| *kind == Off).map(|(_, slot, _, why)| (slot, why)).collect();
    assert_eq!(ends[..2], [(2, "REPLACED".to_owned()), (1, "REPLACED".to_owned())]);
    let mut crashed = ends[2..].to_vec();
    crashed.sort_unstable();
    assert_eq!(crashed, [(3, "CRASH".to_owned()), (4, "CRASH".to_owned())]);
    let events = events_of(&*log);
    let of = |slot: u32, kind| events.iter().filter(|event| event.slot == slot && event.kind() == kind).count();
    for slot in [1, 2, 3, 4, 8, 9, 10] {
        let online = [8, 9, 10].contains(&slot);
        assert_eq!((of(slot, On), of(slot, Off)), (1, usize::from(!online)), "{slot}");
    }
}

/// A small generator, so that a failure can be repeated by its seed.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// Threads that connect, are replaced, and leave, over few keys and users; a log that refuses now and then, at once or later.
#[test]
fn pairs_hold_when_everybody_races() {
    const KEYS: u64 = 5;
    let chosen = std::env::var("EVENTS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = chosen.unwrap_or_else(|| RandomState::new().hash_one(0)) | 1;
    println!("EVENTS_SEED={seed}");
    let dir = tempfile::tempdir().unwrap();
    let embedded = EmbeddedLog::open(dir.path(), EmbeddedConfig::default()).unwrap();
    let (moody_log, real): (_, Arc<dyn EventLog>) = (Arc::new(Moody::default()), Arc::new(embedded));
    for (round, log) in [moody_log.clone() as Arc<dyn EventLog>, real].into_iter().enumerate() {
        let presence = presence(log.clone());
        let slots = AtomicU32::new(1);
        let over = AtomicBool::new(false);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4_u64)
                .map(|worker| {
                    let (presence, slots, runtime) = (&presence, &slots, &runtime);
                    scope.spawn(move || {
                        let mut dice = Dice(seed ^ ((worker + 1) * 0x1234_5678_9abc));
                        let mut mine: Vec<(String, i64, u32)> = Vec::new();
                        for _ in 0..400 {
                            if dice.throw(3) > 0 || mine.is_empty() {
                                let number = dice.throw(KEYS);
                                let (key, slot) = (format!("k{number}"), slots.fetch_add(1, SeqCst));
                                let mid = i64::try_from(number % 3).unwrap();
                                let verdict = presence.open(session(&key, mid, slot), Takeover::Anybody);
                                if runtime.block_on(verdict.get()).is_ok() {
                                    mine.push((key, mid, slot));
                                } else {
                                    // As a client would: not at once again.
                                    std::thread::sleep(std::time::Duration::from_micros(100));
                                }
                            } else {
                                let place = usize::try_from(dice.throw(mine.len() as u64)).unwrap();
                                let (key, mid, slot) = mine.swap_remove(place);
                                end(presence, &key, mid, slot);
                            }
                        }
                        for (key, mid, slot) in mine {
                            end(presence, &key, mid, slot);
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                let mut dice = Dice(seed | 1);
                while !over.load(SeqCst) {
                    if round == 0 {
                        moody_log.refuses.store(dice.throw(4) == 0, SeqCst);
                        moody_log.holds.store(dice.throw(2) == 0, SeqCst);
                    }
                    std::thread::sleep(std::time::Duration::from_micros(200));
                    moody_log.holds.store(false, SeqCst);
                    moody_log.release(dice.throw(3) > 0);
                    if dice.throw(8) == 0 {
                        // Refused now and then, like everything else.
                        let _ = presence.repeat_all();
                    }
                }
            });
            for worker in workers {
                worker.join().unwrap();
            }
            over.store(true, SeqCst);
        });
        moody_log.refuses.store(false, SeqCst);
        moody_log.release(true);
        assert!(presence.feed().flush());
        log.close();
        let events = events_of(&*log);
        check_pairs(&events, &[]);
        assert!(events.iter().filter(|event| event.kind() == On).count() > 20, "hardly anybody was let in");
        assert_eq!(presence.registry.counts().sessions, 0);
        let mut counts: HashMap<i64, u32> = HashMap::new();
        for event in events.iter().filter(|event| event.mid > 0 && event.kind() != Still) {
            let count = counts.entry(event.mid).or_default();
            *count = if event.kind() == On { *count + 1 } else { *count - 1 };
            if round == 1 {
                assert_eq!(event.sessions, *count, "of user {} with {}", event.mid, event.id);
            }
        }
    }
}
