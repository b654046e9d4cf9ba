//! What is trimmed, and what must outlive it: heads, floors, and that nothing is applied twice.

use perseid_store::stored::conv::Conv;
use perseid_store::stored::read::{OutOfRange, Reserve, Reserved};
use perseid_store::stored::step::{Change, ConvOutcome};
use perseid_store::stored::{Retention, Store, StoredConfig};

use crate::bench::{ALL, Feed, embedded, group, memory, message, now, pos};

/// Messages of the tests are from about here.
const THEN_MS: u64 = 10_000_000;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

fn by_age() -> StoredConfig {
    let retention =
        Retention { inbox_age_ms: 2 * DAY_MS, timeline_age_ms: 5 * DAY_MS, left_age_ms: DAY_MS, ..Retention::default() };
    StoredConfig { retention, ..StoredConfig::default() }
}

fn sweep(store: &impl Store, now_ms: u64) {
    // A pass through little is over in one call; the next one begins anew.
    (0..3).for_each(|_| now(store.sweep(0, 0, now_ms)).unwrap());
}

/// (head, floor) of an inbox, and how many messages a page has.
fn inbox(store: &impl Store, mid: u64) -> (u64, u64, usize) {
    let page = now(store.sync(mid, 0, ALL)).unwrap().unwrap();
    (page.inbox.head, page.inbox.floor, page.messages.len())
}

pub(crate) fn old_rows_go_and_heads_stay(store: &impl Store) {
    let mut feed = Feed::new(store);
    let chat = Conv::direct(1, 2);
    (0..5).for_each(|_| drop(feed.say(chat, 1, 0, "old")));
    sweep(store, THEN_MS + DAY_MS);
    assert_eq!(inbox(store, 2), (5, 1, 5), "young enough");
    sweep(store, THEN_MS + 3 * DAY_MS);
    assert_eq!(inbox(store, 2), (5, 6, 0));
    assert_eq!(now(store.sync(2, 5, ALL)).unwrap().unwrap().messages.len(), 0);
    assert!(matches!(now(store.sync(2, 3, ALL)).unwrap(), Err(OutOfRange::TooOld(_))));
    assert!(now(store.row(chat, 5)).unwrap().is_some(), "timelines are kept longer");
    sweep(store, THEN_MS + 6 * DAY_MS);
    assert_eq!(now(store.row(chat, 5)), Ok(None));
    assert_eq!(now(store.heads(2, (0, 0), None, 9)).unwrap().heads[0].head, 5);
    assert_eq!(pos(&feed.say(chat, 1, 0, "new")), 6, "positions go on");
    assert_eq!(inbox(store, 2), (6, 6, 1));
}

pub(crate) fn what_is_trimmed_is_found_old_and_never_applied_twice(store: &impl Store) {
    let mut feed = Feed::new(store);
    let room = Conv::Room(9);
    let frame = |_| Change::RoomFrame { op: 1_000, body: "x".into(), keep: 2 };
    let first = feed.op(room, 0, 77, frame(0));
    let first_pos = pos(&feed.conv(&first).unwrap().outcome);
    assert_eq!(first_pos, (THEN_MS / 1_000) << 20);
    (0..10).for_each(|index| drop(feed.apply(room, 0, 0, frame(index))));
    assert_eq!(now(store.row(room, first_pos)), Ok(None), "the ring holds two");
    assert!(now(store.row(room, first_pos + 10)).unwrap().is_some());
    let again = feed.conv(&first).unwrap();
    assert_eq!((again.fresh, again.outcome), (false, ConvOutcome::Old));
    assert_eq!(
        feed.apply(room, 0, 77, frame(0)),
        ConvOutcome::Duplicate { id: first.id, pos: first_pos },
        "trimmed, not forgotten"
    );
    sweep(store, THEN_MS + DAY_MS);
    let ask = |hash| {
        now(store.reserve(Reserve { conv: room, from: 0, idem: 77, hash, id: 1, hold: true, now_ms: THEN_MS + DAY_MS })).unwrap()
    };
    assert!(matches!(ask(5), Reserved::New { .. }), "an hour is long over");
}

pub(crate) fn who_left_long_ago_is_forgotten_and_the_past_is_old(store: &impl Store) {
    let mut feed = Feed::new(store);
    let conv = Conv::Group(4);
    feed.apply(conv, 0, 0, group(&[1, 2, 3]));
    let said = feed.op(conv, 1, 0, message("three"));
    let outcome = feed.conv(&said).unwrap().outcome;
    feed.apply(conv, 1, 0, Change::Members { add: vec![], remove: vec![3] });
    let later = feed.op(conv, 1, 0, message("two"));
    let later_outcome = feed.conv(&later).unwrap().outcome;
    sweep(store, THEN_MS + DAY_MS / 2);
    assert_eq!(feed.conv(&said).unwrap().outcome, outcome, "3 is remembered for a day");
    sweep(store, THEN_MS + 2 * DAY_MS);
    assert_eq!(feed.conv(&said).unwrap().outcome, ConvOutcome::Old, "and is no member of a past that is told wrong");
    assert_eq!(feed.conv(&later).unwrap().outcome, later_outcome);
    assert_eq!(now(store.group(4)).unwrap().unwrap().members, [1, 2]);
}

pub(crate) fn what_came_to_nothing_is_forgotten_too(store: &impl Store) {
    let mut feed = Feed::new(store);
    let blocked = feed.op(Conv::direct(1, 2), 1, 0, Change::Block { blocked: true });
    let first = feed.conv(&blocked).unwrap().outcome;
    assert_eq!((&first, feed.conv(&blocked).unwrap().outcome), (&ConvOutcome::Done, ConvOutcome::Done));
    sweep(store, THEN_MS + 2 * DAY_MS);
    assert_eq!(feed.conv(&blocked).unwrap().outcome, ConvOutcome::Old);
    assert_eq!(now(store.is_blocked(1, 2)), Ok(true), "what it did stays");
}

/// Runs a test on every store.
macro_rules! on_every_store {
    ($($test:ident => $name:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            $test(&memory(1, 1, by_age()));
            $test(&memory(3, 5, by_age()));
            let folder = tempfile::tempdir().unwrap();
            $test(&embedded(folder.path(), by_age()));
        }
    )*};
}

on_every_store!(
    old_rows_go_and_heads_stay => age,
    what_is_trimmed_is_found_old_and_never_applied_twice => trimmed,
    who_left_long_ago_is_forgotten_and_the_past_is_old => left,
    what_came_to_nothing_is_forgotten_too => outcomes,
);

#[test]
fn an_emptied_inbox_keeps_its_head_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let chat = Conv::direct(1, 2);
    let mut feed_offset = 0;
    for round in 0..3 {
        let store = embedded(folder.path(), by_age());
        let mut feed = Feed { store: &store, offset: feed_offset };
        if round == 0 {
            feed = Feed::new(&store);
        }
        assert_eq!(pos(&feed.say(chat, 1, 0, "x")), round + 1);
        feed_offset = feed.offset;
        sweep(&store, THEN_MS + 9 * DAY_MS);
        assert_eq!(inbox(&store, 2), (round + 1, round + 2, 0));
        assert_eq!(now(store.head(chat)), Ok(round + 1));
    }
}

#[test]
fn a_sweep_of_much_is_done_in_parts() {
    let store = memory(1, 1, by_age());
    let mut feed = Feed::new(&store);
    // More inboxes and timelines than one call looks at.
    (0..2_500).for_each(|mid| drop(feed.say(Conv::direct(2 * mid + 1, 2 * mid + 2), 2 * mid + 1, 0, "x")));
    let left = |store: &dyn Store| (1..=5_000).filter(|mid| now(store.inbox(*mid)).unwrap().floor == 1).count();
    let mut before = left(&store);
    assert_eq!(before, 5_000);
    let mut calls = 0;
    while before > 0 {
        now(store.sweep(0, 0, THEN_MS + 9 * DAY_MS)).unwrap();
        let after = left(&store);
        assert!(before - after <= 4_000, "a bounded part");
        (before, calls) = (after, calls + 1);
        assert!(calls < 20, "it comes to an end");
    }
    assert!(calls > 1);
}

#[test]
fn a_full_disk_shortens_what_is_kept() {
    let retention = Retention { disk_bytes_max: 1, ..by_age().retention };
    let folder = tempfile::tempdir().unwrap();
    let store = embedded(folder.path(), StoredConfig { retention, ..by_age() });
    let mut feed = Feed::new(&store);
    (0..3).for_each(|_| drop(feed.say(Conv::direct(1, 2), 1, 0, "x")));
    sweep(&store, THEN_MS + HOUR_MS / 2);
    assert_eq!(inbox(&store, 2), (3, 1, 3), "an hour is kept whatever happens");
    (0..10).for_each(|_| sweep(&store, THEN_MS + DAY_MS));
    assert_eq!(inbox(&store, 2), (3, 4, 0), "half of two days, and half of that");
}
