//! What every implementation of the log must do. To add one: a [`Place`] for it, and a line at the end.
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it only in #[test] functions, not in their helpers")]

mod common;

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use common::{Collector, Each, HANG, append, small, start_append};
use perseid_log::{AppendError, ConsumerState, EmbeddedLog, EventLog, KEY_BYTES_MAX, LogError, LogReader, Start, Topic};

/// Storage in which a log can be opened again after it was closed.
trait Place {
    /// Opens the log. The largest value it takes is 4 KiB.
    fn open(&self) -> Arc<dyn EventLog>;
}

struct Embedded(tempfile::TempDir);

impl Place for Embedded {
    fn open(&self) -> Arc<dyn EventLog> {
        Arc::new(EmbeddedLog::open(self.0.path(), small()).expect("open"))
    }
}

fn offsets_are_dense_from_one_and_go_on_after_reopening(place: &dyn Place) {
    let log = place.open();
    for expected in 1..=20 {
        assert_eq!(append(&*log, vec![b'x'; 900]), Ok(expected));
    }
    assert_eq!((log.status().first, log.status().end), (1, 20));
    log.close();
    drop(log);
    let log = place.open();
    assert_eq!(log.status().end, 20);
    assert_eq!(append(&*log, "y"), Ok(21));
}

fn a_consumer_gets_every_field_back(place: &dyn Place) {
    let log = place.open();
    let live = Collector::default();
    log.subscribe("live", Start::Earliest, live.boxed()).unwrap();
    let values = [Bytes::new(), Bytes::from_static(b"hello"), Bytes::from(vec![7; 4096])];
    for (topic, value) in [Topic::Push, Topic::Log, Topic::Events].into_iter().zip(&values) {
        let (sender, receiver) = channel();
        let key = [b'k'; KEY_BYTES_MAX];
        log.append(topic, &key, value.clone(), Box::new(move |result| sender.send(result).unwrap()));
        receiver.recv_timeout(HANG).unwrap().unwrap();
    }
    let late = Collector::default();
    log.subscribe("late", Start::Earliest, late.boxed()).unwrap();
    let (live, late) = (live.wait_len(3), late.wait_len(3));
    assert_eq!(live, late, "from memory and from storage");
    assert_eq!(live.iter().map(|r| r.topic).collect::<Vec<_>>(), [Topic::Push, Topic::Log, Topic::Events]);
    assert_eq!(live.iter().map(|r| r.value.clone()).collect::<Vec<_>>(), values);
    assert!(live.iter().all(|r| r.ts_ms > 1_600_000_000_000) && live.is_sorted_by_key(|r| r.offset));
}

fn a_replay_gives_everything_once_and_moves_no_offset(place: &dyn Place) {
    let log = place.open();
    assert_eq!(log.replay(&mut |_| panic!("an empty log has no records")).unwrap(), 0);
    for number in 0..700_u32 {
        append(&*log, number.to_be_bytes().to_vec()).unwrap();
    }
    for _ in 0..2 {
        let mut numbers = Vec::new();
        let last = log.replay(&mut |records| numbers.extend(records.iter().map(|record| record.offset))).unwrap();
        assert_eq!((last, numbers), (700, (1..=700).collect::<Vec<_>>()));
    }
    assert!(log.status().consumers.is_empty());
}

fn what_is_acknowledged_was_handed_over(place: &dyn Place) {
    let log = place.open();
    let seen = Arc::new(AtomicU64::new(0));
    let consumer = {
        let seen = Arc::clone(&seen);
        Each(move |records: &[perseid_log::Record]| seen.store(records.last().unwrap().offset, SeqCst))
    };
    log.subscribe("job", Start::Earliest, Box::new(consumer)).unwrap();
    append(&*log, "attached by now").unwrap();
    let (sender, receiver) = channel();
    for _ in 0..500 {
        let (sender, seen) = (sender.clone(), Arc::clone(&seen));
        let done = move |result: Result<u64, AppendError>| sender.send((result.unwrap(), seen.load(SeqCst))).unwrap();
        log.append(Topic::Push, b"", Bytes::from_static(b"v"), Box::new(done));
    }
    for _ in 0..500 {
        let (offset, seen) = receiver.recv_timeout(HANG).unwrap();
        assert!(seen >= offset, "{offset} was acknowledged when the consumer had {seen}");
    }
}

fn answers_come_once_each_and_in_order(place: &dyn Place) {
    let log = place.open();
    let answers = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..300 {
        let answers = Arc::clone(&answers);
        log.append(Topic::Log, b"k", Bytes::from_static(b"v"), Box::new(move |r| answers.lock().unwrap().push(r)));
    }
    log.close();
    let answers = answers.lock().unwrap();
    assert_eq!(*answers, (1..=300).map(Ok).collect::<Vec<_>>(), "close drains what was accepted");
}

fn many_producers_keep_their_order(place: &dyn Place) {
    const PRODUCERS: u64 = 4;
    const EACH: u64 = 1500;
    let log = place.open();
    let seen = Collector::default();
    log.subscribe("job", Start::Earliest, seen.boxed()).unwrap();
    thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let log = &log;
            scope.spawn(move || {
                for n in 0..EACH {
                    let value = format!("{producer} {n}");
                    log.append(Topic::Log, b"k", value.into(), Box::new(|result| assert!(result.is_ok())));
                }
            });
        }
    });
    let records = seen.wait_len((PRODUCERS * EACH) as usize);
    let mut next = [0; PRODUCERS as usize];
    for (record, expected) in records.iter().zip(1..) {
        assert_eq!(record.offset, expected);
        let text = std::str::from_utf8(&record.value).unwrap();
        let (producer, n) = text.split_once(' ').unwrap();
        let next = &mut next[producer.parse::<usize>().unwrap()];
        assert_eq!(n.parse::<u64>().unwrap(), *next, "producer {producer}");
        *next += 1;
    }
    assert_eq!(next, [EACH; PRODUCERS as usize]);
}

fn consumers_go_on_where_they_were(place: &dyn Place) {
    let log = place.open();
    let first = Collector::default();
    append(&*log, "1").unwrap();
    log.subscribe("early", Start::Earliest, first.boxed()).unwrap();
    log.subscribe("late", Start::Latest, Collector::default().boxed()).unwrap();
    append(&*log, "2").unwrap();
    first.wait_len(2);
    log.close();
    drop(log);

    let log = place.open();
    append(&*log, "3").unwrap();
    let (early, late, fresh) = (Collector::default(), Collector::default(), Collector::default());
    log.subscribe("early", Start::Earliest, early.boxed()).unwrap();
    log.subscribe("late", Start::Latest, late.boxed()).unwrap();
    log.subscribe("fresh", Start::Earliest, fresh.boxed()).unwrap();
    append(&*log, "4").unwrap();
    early.wait_len(2);
    late.wait_len(2);
    fresh.wait_len(4);
    assert_eq!((early.offsets(), late.offsets()), (vec![3, 4], vec![3, 4]));
    assert_eq!(fresh.offsets(), [1, 2, 3, 4]);
    log.close();
    let status = log.status();
    assert!(status.consumers.iter().all(|consumer| consumer.offset == 4 && consumer.lag == 0), "{status:?}");
}

/// The start of a consumer is fixed by its first subscription, also if it saw nothing then.
fn latest_means_since_the_first_subscription(place: &dyn Place) {
    let log = place.open();
    append(&*log, "before").unwrap();
    log.subscribe("job", Start::Latest, Collector::default().boxed()).unwrap();
    log.close();
    drop(log);
    let log = place.open();
    append(&*log, "while it was away").unwrap();
    let seen = Collector::default();
    log.subscribe("job", Start::Latest, seen.boxed()).unwrap();
    assert_eq!(seen.wait_len(1)[0].value, "while it was away");
}

fn refusals_say_why(place: &dyn Place) {
    let log = place.open();
    assert!(matches!(append(&*log, vec![0; 4097]), Err(AppendError::TooLarge { what: "value", .. })));
    let (sender, receiver) = channel();
    log.append(Topic::Log, &[0; KEY_BYTES_MAX + 1], Bytes::new(), Box::new(move |result| sender.send(result).unwrap()));
    assert!(matches!(receiver.recv_timeout(HANG).unwrap(), Err(AppendError::TooLarge { what: "key", .. })));

    let subscribe = |name: &str| log.subscribe(name, Start::Earliest, Collector::default().boxed());
    assert!(matches!(subscribe("../job"), Err(LogError::ConsumerName { .. })));
    subscribe("job").unwrap();
    assert!(matches!(subscribe("job"), Err(LogError::AlreadySubscribed { .. })));
    log.close();
    log.close();
    assert!(matches!(append(&*log, "x"), Err(AppendError::Unavailable(_))));
    assert!(matches!(subscribe("other"), Err(LogError::Closed)));
    assert_eq!(log.status().end, 0);
}

/// A consumer may append, and an answer may close.
fn callbacks_may_call_the_log(place: &dyn Place) {
    let log = place.open();
    let appender = {
        let log = Arc::downgrade(&log);
        Each(move |records: &[perseid_log::Record]| {
            if let Some(log) = log.upgrade().filter(|_| records[0].offset < 5) {
                log.append(Topic::Events, b"", Bytes::from_static(b"echo"), Box::new(drop));
            }
        })
    };
    log.subscribe("echo", Start::Earliest, Box::new(appender)).unwrap();
    let seen = Collector::default();
    log.subscribe("seen", Start::Earliest, seen.boxed()).unwrap();
    append(&*log, "first").unwrap();
    seen.wait_len(5);
    let (sender, receiver) = channel();
    let handle = Arc::clone(&log);
    let done = move |_| {
        handle.close();
        sender.send(()).unwrap();
    };
    log.append(Topic::Log, b"", Bytes::new(), Box::new(done));
    receiver.recv_timeout(HANG).unwrap();
    log.close();
    assert!(matches!(append(&*log, "x"), Err(AppendError::Unavailable(_))));
}

fn status_counts(place: &dyn Place) {
    let log = place.open();
    let seen = Collector::default();
    log.subscribe("job", Start::Earliest, seen.boxed()).unwrap();
    let answers: Vec<_> = (0..100).map(|_| start_append(&*log, "some value")).collect();
    for answer in answers {
        answer.recv_timeout(HANG).unwrap().unwrap();
    }
    let status = log.status();
    assert_eq!((status.counters.records, status.append_seconds.count()), (100, 100));
    assert!((1..=100).contains(&status.counters.syncs) && status.counters.syncs == status.sync_seconds.count());
    assert!(status.poisoned.is_none() && status.refusing.is_none());
    assert_eq!(status.consumers.len(), 1);
    assert_eq!((status.consumers[0].lag, &status.consumers[0].state), (0, &ConsumerState::AtEnd));
}

fn read_all(reader: &mut dyn LogReader) -> Vec<u64> {
    let mut offsets = Vec::new();
    loop {
        let records = reader.read().unwrap();
        if records.is_empty() {
            return offsets;
        }
        offsets.extend(records.iter().map(|record| record.offset));
    }
}

fn a_reader_reads_on_from_anywhere(place: &dyn Place) {
    let log = place.open();
    let mut reader = log.reader(0);
    assert_eq!((read_all(&mut *reader), reader.next()), (vec![], 1), "an empty log");
    for number in 0..700_u32 {
        append(&*log, vec![number as u8; 100]).unwrap();
    }
    assert_eq!(read_all(&mut *reader), (1..=700).collect::<Vec<_>>());
    append(&*log, "later").unwrap();
    let records = reader.read().unwrap();
    assert_eq!((records.len(), &records[0].value[..], reader.next()), (1, &b"later"[..], 702));
    for from in [2, 150, 151, 699, 701] {
        assert_eq!(read_all(&mut *log.reader(from)), (from..=701).collect::<Vec<_>>());
    }
    let mut beyond = log.reader(703);
    assert_eq!(read_all(&mut *beyond), []);
    append(&*log, "702").unwrap();
    append(&*log, "703").unwrap();
    assert_eq!(read_all(&mut *beyond), [703]);
}

fn a_cursor_stays_where_it_was_put(place: &dyn Place) {
    let log = place.open();
    append(&*log, "1").unwrap();
    append(&*log, "2").unwrap();
    let (early, late) = (log.cursor("early", Start::Earliest).unwrap(), log.cursor("late", Start::Latest).unwrap());
    assert_eq!((early.offset(), late.offset()), (0, 2));
    assert!(matches!(log.cursor("late", Start::Latest), Err(LogError::AlreadySubscribed { .. })));
    assert!(matches!(log.cursor("a/b", Start::Latest), Err(LogError::ConsumerName { .. })));
    early.store(1).unwrap();
    let status = log.status();
    let early_now = status.consumers.iter().find(|consumer| consumer.name == "early").unwrap();
    assert_eq!((early_now.offset, early_now.lag, &early_now.state), (1, 1, &ConsumerState::Cursor));
    drop(late);
    assert_eq!(log.status().consumers.len(), 1, "a cursor that is closed holds nothing up, and is not shown");
    assert_eq!(log.cursor("late", Start::Earliest).unwrap().offset(), 2, "it keeps its place");
    log.close();
    drop((early, log));
    let log = place.open();
    assert_eq!(log.cursor("early", Start::Latest).unwrap().offset(), 1);
}

fn who_follows_gets_what_comes_and_leaves_no_trace(place: &dyn Place) {
    let log = place.open();
    append(&*log, "before").unwrap();
    let first = Collector::default();
    log.follow("job", first.boxed()).unwrap();
    assert!(matches!(log.follow("job", first.boxed()), Err(LogError::AlreadySubscribed { .. })));
    assert!(matches!(log.follow("a/b", first.boxed()), Err(LogError::ConsumerName { .. })));
    append(&*log, "after").unwrap();
    assert_eq!(first.wait_len(1)[0].offset, 2);
    assert_eq!(log.status().consumers.iter().map(|consumer| (consumer.offset, consumer.lag)).collect::<Vec<_>>(), [(2, 0)]);
    log.close();
    drop(log);
    let log = place.open();
    assert!(log.status().consumers.is_empty(), "nothing was stored of it");
    append(&*log, "unseen").unwrap();
    let second = Collector::default();
    log.follow("job", second.boxed()).unwrap();
    append(&*log, "seen").unwrap();
    assert_eq!(second.wait_len(1)[0].offset, 4);
    log.close();
    drop(log);

    // Who kept his place before and follows now is not waited for by retention any more.
    let log = place.open();
    log.subscribe("other", Start::Earliest, Collector::default().boxed()).unwrap();
    log.close();
    drop(log);
    let log = place.open();
    log.follow("other", Collector::default().boxed()).unwrap();
    log.close();
    drop(log);
    assert!(place.open().status().consumers.is_empty());
}

macro_rules! contract {
    ($module:ident, $place:expr, $($test:ident)*) => {
        mod $module {
            use super::*;
            $(#[test] fn $test() { super::$test(&$place); })*
        }
    };
}

macro_rules! all {
    ($module:ident, $place:expr) => {
        contract!($module, $place,
            offsets_are_dense_from_one_and_go_on_after_reopening a_consumer_gets_every_field_back
            a_replay_gives_everything_once_and_moves_no_offset
            what_is_acknowledged_was_handed_over answers_come_once_each_and_in_order many_producers_keep_their_order
            consumers_go_on_where_they_were latest_means_since_the_first_subscription refusals_say_why
            callbacks_may_call_the_log status_counts a_reader_reads_on_from_anywhere a_cursor_stays_where_it_was_put
            who_follows_gets_what_comes_and_leaves_no_trace);
    };
}

all!(embedded, Embedded(tempfile::tempdir().unwrap()));
