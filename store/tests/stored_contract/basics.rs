//! One thing after the other, by hand.

use std::sync::atomic::{AtomicU64, Ordering};

use perseid_store::stored::conv::{Conv, ConvKind};
use perseid_store::stored::read::{OpenInbox, OutOfRange, Pull, PullError, PullFrom, Reserve, Reserved};
use perseid_store::stored::step::{Bucket, Change, ConvOutcome, Recipients, Rejection, Step, StepError, UserItem};
use perseid_store::stored::testing::{Call, Fate};
use perseid_store::stored::{Store, StoredConfig};

use crate::bench::{ALL, EPOCH, Feed, group, items, memory, message, now, pos};

fn bodies<S: Store>(store: &S, mid: u64) -> Vec<(u64, String)> {
    let page = now(store.sync(mid, 0, ALL)).unwrap().unwrap();
    page.messages.into_iter().map(|message| (message.pos, String::from_utf8(message.body.to_vec()).unwrap())).collect()
}

fn pull<S: Store>(store: &S, conv: Conv, reader: u64, from: PullFrom) -> Result<Vec<u64>, PullError> {
    let page = now(store.pull(Pull { conv, reader, from, since_joined: false, bound: ALL })).unwrap()?;
    Ok(page.messages.into_iter().map(|message| message.conv_pos).collect())
}

pub(crate) fn a_direct_message_stands_in_both_inboxes_and_once_in_the_timeline(store: &impl Store) {
    let mut feed = Feed::new(store);
    let chat = Conv::direct(9, 7);
    let outcome = feed.say(chat, 7, 5, "hello");
    assert!(matches!(
        outcome,
        ConvOutcome::Row { pos: 1, kind: ConvKind::Direct, event: None, recipients: Recipients::Pair(7, 9), .. }
    ));
    assert_eq!(feed.say(chat, 7, 5, "hello"), ConvOutcome::Duplicate { id: 1_001, pos: 1 });
    feed.say(Conv::direct(7, 7), 7, 0, "note");
    assert_eq!(bodies(store, 7), [(1, "hello".to_owned()), (2, "note".to_owned())]);
    assert_eq!(bodies(store, 9), [(1, "hello".to_owned())]);
    assert_eq!(pull(store, chat, 9, PullFrom::After(0)), Ok(vec![1]));
    assert_eq!(pull(store, chat, 8, PullFrom::After(0)), Err(PullError::NotMember));
    assert_eq!(pull(store, Conv::direct(7, 8), 8, PullFrom::Before(0)), Ok(vec![]));
    let heads = now(store.heads(7, (0, 0), None, 10)).unwrap();
    assert_eq!(
        heads.heads.iter().map(|head| (head.conv, head.head, head.id)).collect::<Vec<_>>(),
        [(7, 1, 1_003), (9, 1, 1_001)]
    );
    assert_eq!(now(store.find(7, 1_003, 100)), Ok(Some(2)));
    assert_eq!(now(store.find(7, 1_001, 1)), Ok(None), "looks at one row only");
}

pub(crate) fn groups_come_change_and_go(store: &impl Store) {
    let mut feed = Feed::new(store);
    let conv = Conv::Group(4);
    assert_eq!(feed.say(conv, 1, 1, "nobody"), ConvOutcome::Rejected(Rejection::NoGroup));
    feed.apply(conv, 0, 0, group(&[1, 2, 3, 2, 0]));
    let outcome = feed.apply(conv, 1, 0, Change::Members { add: vec![4, 2], remove: vec![3, 9] });
    let ConvOutcome::Row { pos: 2, event: Some(event), recipients, joined, left, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(event, r#"{"type":"members","kind":2,"add":[4],"remove":[3],"version":2}"#);
    assert_eq!((recipients, &joined[..], &left[..]), (Recipients::Members([1, 2, 3, 4].into()), &[4][..], &[3][..]));
    let op = feed.op(conv, 1, 0, Change::Members { add: vec![4], remove: vec![4, 3] });
    let done = feed.conv(&op).unwrap();
    assert!(matches!(&done.outcome, ConvOutcome::Row { left, .. } if left[..] == [4]), "to remove is stronger: {done:?}");
    feed.users(items(&op, &done.outcome)).unwrap();
    assert_eq!(feed.conv(&op).unwrap().outcome, done.outcome, "found again");
    assert_eq!(feed.apply(conv, 1, 0, Change::Members { add: vec![1], remove: vec![4] }), ConvOutcome::Nothing);
    feed.say(conv, 2, 0, "three of us no more");
    assert_eq!(now(store.group(4)).unwrap().unwrap().members, [1, 2]);
    assert_eq!(
        feed.apply(conv, 0, 0, Change::Put { channel: true, owner: 1, name: "x".into(), members: vec![] }),
        ConvOutcome::Rejected(Rejection::OtherKind)
    );
    assert!(matches!(
        feed.apply(conv, 1, 0, Change::Convert),
        ConvOutcome::Row { kind: ConvKind::Channel, recipients: Recipients::Members(_), .. }
    ));
    assert!(matches!(
        feed.say(conv, 1, 0, "to all"),
        ConvOutcome::Row { kind: ConvKind::Channel, recipients: Recipients::Nobody, .. }
    ));
    assert_eq!(bodies(store, 3).len(), 2, "the change that made him leave is his last");
    let head = pos(&feed.apply(conv, 1, 0, Change::Delete));
    assert_eq!((now(store.group(4)), now(store.is_member(4, 1))), (Ok(None), Ok(false)));
    assert_eq!(feed.say(conv, 1, 0, "too late"), ConvOutcome::Rejected(Rejection::NoGroup));
    assert_eq!(pos(&feed.apply(conv, 0, 0, group(&[1]))), head + 1, "positions go on");
    assert_eq!(now(store.head(conv)), Ok(head + 1));
}

pub(crate) fn what_is_taken_back_is_gone_and_stays_where_it_stood(store: &impl Store) {
    let mut feed = Feed::new(store);
    let chat = Conv::direct(1, 2);
    feed.say(chat, 1, 0, "oops");
    let recall = Change::Recall { pos: 1, id: 1_001 };
    let outcome = feed.apply(chat, 1, 0, recall.clone());
    assert!(
        matches!(&outcome, ConvOutcome::Row { pos: 2, event: Some(event), .. } if event == r#"{"type":"recall","kind":1,"conv_pos":1,"id":"1001"}"#)
    );
    assert_eq!(feed.apply(chat, 1, 0, recall), ConvOutcome::Nothing);
    let wrong = Change::Recall { pos: 2, id: 1_002 };
    assert_eq!(feed.apply(chat, 1, 0, wrong), ConvOutcome::Rejected(Rejection::NoMessage), "an event");
    let page = now(store.sync(2, 0, ALL)).unwrap().unwrap();
    assert_eq!(
        page.messages.iter().map(|message| (message.pos, message.flags, message.body.len())).collect::<Vec<_>>()[0],
        (1, 4, 0)
    );
    let row = now(store.row(chat, 1)).unwrap().unwrap();
    assert_eq!((row.flags, row.body.len(), row.id), (4, 0, 1_001));
}

pub(crate) fn who_may_write(store: &impl Store) {
    let mut feed = Feed::new(store);
    let (chat, conv) = (Conv::direct(1, 2), Conv::Group(4));
    let ask = |conv, from, idem, hash, id| {
        now(store.reserve(Reserve { conv, from, idem, hash, id, hold: true, now_ms: 10_000_000 })).unwrap()
    };
    let direct = ConvKind::Direct;
    assert_eq!(ask(chat, 1, 5, 12, 50), Reserved::New { kind: direct });
    assert_eq!(ask(chat, 1, 5, 12, 51), Reserved::Retry { id: 50, kind: direct });
    assert_eq!(ask(chat, 1, 5, 13, 52), Reserved::Conflict);
    feed.say(chat, 1, 5, "x");
    assert_eq!(ask(chat, 1, 5, 12, 53), Reserved::Duplicate { id: 1_001, kind: direct, conv_pos: 1 });
    assert_eq!(ask(chat, 1, 5, 13, 54), Reserved::Conflict);
    assert_eq!(feed.apply(chat, 2, 0, Change::Block { blocked: true }), ConvOutcome::Done);
    assert_eq!(feed.apply(chat, 2, 0, Change::Block { blocked: true }), ConvOutcome::Nothing);
    assert_eq!((now(store.is_blocked(2, 1)), now(store.is_blocked(1, 2))), (Ok(true), Ok(false)));
    assert_eq!(ask(chat, 1, 6, 1, 55), Reserved::Blocked);
    assert_eq!(ask(chat, 2, 6, 1, 56), Reserved::New { kind: direct });
    assert_eq!(ask(chat, 1, 5, 12, 57), Reserved::Duplicate { id: 1_001, kind: direct, conv_pos: 1 }, "asked first");
    assert_eq!(ask(conv, 1, 1, 1, 58), Reserved::NotMember);
    feed.apply(conv, 0, 0, group(&[1, 2]));
    assert_eq!(ask(conv, 1, 1, 1, 59), Reserved::New { kind: ConvKind::Group });
    assert_eq!(ask(conv, 3, 1, 1, 60), Reserved::NotMember);
    feed.apply(conv, 1, 0, Change::Convert);
    assert_eq!(ask(conv, 2, 2, 1, 61), Reserved::NotOwner);
    assert_eq!(ask(conv, 0, 2, 1, 62), Reserved::New { kind: ConvKind::Channel }, "the business");
}

#[test]
fn guards_find_lost_writes_and_lost_buckets() {
    let store = memory(1, 1, StoredConfig::default());
    let mut feed = Feed::new(&store);
    let chat = Conv::direct(1, 2);
    feed.say(chat, 1, 5, "one");
    let (old_conv, old_user) = (store.snapshot(Bucket::Conv(0)), store.snapshot(Bucket::User(0)));
    let op = feed.op(chat, 1, 6, message("two"));
    let first = feed.conv(&op).unwrap();
    let again = feed.conv(&op).unwrap();
    assert_eq!((first.fresh, again.fresh, first.outcome == again.outcome), (true, false, true));
    let boot = now(store.load(0)).unwrap().boot;
    let step = Step { partition: 0, bucket: 0, boot, prev: 9, last: 9, items: vec![op.clone()] };
    assert_eq!(now(store.conv(step.clone())), Err(StepError::Gap { guard: 2 }));
    store.roll_back(&old_conv).unwrap();
    store.roll_back(&old_user).unwrap();
    assert_eq!(now(store.conv(step.clone())), Err(StepError::Rebooted));
    let loaded = now(store.load(0)).unwrap();
    assert!(loaded.boot != boot && loaded.buckets.iter().all(|state| state.boot == boot && state.guard == 1));
    let ask = Reserve { conv: chat, from: 1, idem: 6, hash: 13, id: 1, hold: true, now_ms: 10_000_000 };
    assert_eq!(now(store.reserve(ask)), Ok(Reserved::Rebuilding));
    let prepare = |renewed| perseid_store::stored::step::Prepare { partition: 0, boot: loaded.boot, shown: 2, renewed };
    now(store.prepare(prepare(vec![]))).unwrap();
    assert_eq!(now(store.reserve(ask)), Ok(Reserved::Rebuilding), "not up to what was shown");
    assert_eq!(feed.conv(&op).unwrap(), first, "applied again, the same");
    assert!(matches!(now(store.reserve(ask)), Ok(Reserved::Duplicate { .. })));
    store.wipe(Bucket::Conv(0)).unwrap();
    assert_eq!(feed.conv(&op), Err(StepError::Lost));
}

#[test]
fn a_call_can_fail_and_an_answer_can_be_lost() {
    let store = memory(1, 1, StoredConfig::default());
    let mut feed = Feed::new(&store);
    let op = feed.op(Conv::direct(1, 2), 1, 5, message("one"));
    store.set_faults(|call| if call == Call::Conv { Fate::Fail } else { Fate::Work });
    assert!(matches!(feed.conv(&op), Err(StepError::Down(_))));
    assert_eq!(now(store.head(op.conv)), Ok(0));
    store.set_faults(|call| if call == Call::Conv { Fate::LoseAnswer } else { Fate::Work });
    assert!(matches!(feed.conv(&op), Err(StepError::Down(_))));
    store.clear_faults();
    assert!(!feed.conv(&op).unwrap().fresh);
}

pub(crate) fn cursors_go_forward_only(store: &impl Store) {
    let mut feed = Feed::new(store);
    (0..3).for_each(|_| drop(feed.say(Conv::direct(1, 2), 1, 0, "x")));
    let open = |device: &str, has| now(store.open_inbox(OpenInbox { mid: 1, device: device.into(), has, now_ms: 5 })).unwrap();
    assert_eq!((open("web", None).cursor, open("web", Some((EPOCH, 2))).cursor, open("web", None).cursor), (0, 2, 2));
    assert!(open("web", Some((EPOCH + 1, 2))).foreign && open("web", Some((EPOCH, 4))).foreign);
    assert_eq!(now(store.ack(1, "web", 1, 6)), Ok(Ok(2)));
    assert_eq!(now(store.ack(1, "web", 1, 9_000_000)), Ok(Ok(2)), "hours later, when that is noted");
    assert_eq!(now(store.ack(1, "ios", 3, 9_000_001)), Ok(Ok(3)));
    assert!(matches!(now(store.ack(1, "web", 4, 8)), Ok(Err(OutOfRange::AboveHead(_)))));
    let devices =
        |store: &dyn Store| now(store.devices(1)).unwrap().into_iter().map(|known| (known.device, known.pos)).collect::<Vec<_>>();
    assert_eq!(devices(store), [("web".into(), 2), ("ios".into(), 3)]);
    for index in 0..40_u64 {
        now(store.ack(1, &format!("d{index}"), 1, 9_000_100 + index)).unwrap().unwrap();
    }
    assert_eq!((devices(store).len(), devices(store)[0].0.as_ref()), (32, "d8"));
}

pub(crate) fn positions_that_were_lost_make_a_new_epoch(store: &impl Store) {
    let mut feed = Feed::new(store);
    let chat = Conv::direct(1, 2);
    feed.say(chat, 1, 0, "one");
    now(store.ack(1, "web", 1, 6)).unwrap().unwrap();
    let op = feed.op(chat, 1, 0, message("two"));
    let done = feed.conv(&op).unwrap();
    let epoch = |mid| now(store.inbox(mid)).unwrap().epoch;
    assert_eq!((epoch(1), epoch(2)), (EPOCH, EPOCH));
    let mine: Vec<UserItem> = items(&op, &done.outcome).into_iter().filter(|item| item.mid == 1).collect();
    let boot = now(store.load(0)).unwrap().boot;
    let step = Step { partition: 0, bucket: store.user_bucket(1), boot, prev: 0, last: op.offset, items: mine };
    assert!(now(store.user(step.clone(), true)).unwrap()[0].fresh);
    assert!(epoch(1) >= 2 * EPOCH, "the clock's time");
    assert_eq!((epoch(2), now(store.inbox(1)).unwrap().head), (EPOCH, 2));
    assert_eq!(now(store.devices(1)), Ok(vec![]), "cursors of another epoch are nothing");
    let renewed = epoch(1);
    assert!(!now(store.user(step, true)).unwrap()[0].fresh);
    assert_eq!(epoch(1), renewed, "nothing was lost again");
    let open = OpenInbox { mid: 1, device: "web".into(), has: Some((EPOCH, 1)), now_ms: 7 };
    let opened = now(store.open_inbox(open)).unwrap();
    assert!(opened.foreign && opened.cursor == 0);
}

pub(crate) fn a_read_never_answers_below_what_a_step_has_answered(store: &impl Store) {
    const MESSAGES: u64 = 2_000;
    let shown = AtomicU64::new(0);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut feed = Feed::new(store);
            for pos in 1..=MESSAGES {
                feed.say(Conv::direct(1, 2), 1, pos, &format!("message {pos}"));
                shown.store(pos, Ordering::SeqCst);
            }
        });
        for _ in 0..2 {
            threads.spawn(|| {
                while shown.load(Ordering::SeqCst) < MESSAGES {
                    let pos = shown.load(Ordering::SeqCst);
                    if pos > 0 {
                        see(store, pos);
                    }
                }
            });
        }
    });
}

/// Everything up to this position is there.
fn see(store: &impl Store, pos: u64) {
    let page = now(store.sync(2, pos.saturating_sub(5), ALL)).unwrap().unwrap();
    assert!(page.inbox.head >= pos && page.messages.last().is_some_and(|last| last.pos >= pos));
    for message in &page.messages {
        assert_eq!(message.body, format!("message {}", message.pos));
    }
    assert!(now(store.head(Conv::direct(1, 2))).unwrap() >= pos);
    assert!(now(store.row(Conv::direct(1, 2), pos)).unwrap().is_some());
    let before = PullFrom::Before(0);
    assert!(pull(store, Conv::direct(1, 2), 1, before).unwrap().last().is_some_and(|last| *last >= pos));
}
