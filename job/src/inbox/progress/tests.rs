use bytes::Bytes;
use perseid_log::Topic;
use perseid_rpc::log_record::Body;
use perseid_rpc::{DirectMessage, LogRecord, Notice};
use perseid_store::stored::{MemoryConfig, MemoryStore, StoredConfig};

use super::*;

fn store() -> Arc<MemoryStore> {
    let (stored, clock) = (StoredConfig::default(), Arc::new(|| 5));
    Arc::new(MemoryStore::new(MemoryConfig { conv_buckets: 1, user_buckets: 1, boot: 1, stored, clock }))
}

fn said(offset: u64, body: Body) -> Record {
    let record = LogRecord { id: offset, ts_ms: 5, from: 7, idem: offset, body: Some(body), ..LogRecord::default() };
    Record { offset, topic: Topic::Log, ts_ms: 5, value: record.to_value() }
}

fn direct(offset: u64) -> Record {
    said(offset, Body::Direct(DirectMessage { peer: 9, body: "hi".into(), quiet: false }))
}

/// Answers until records are wanted; gives what was asked for, and what followed for comets.
fn run(progress: &mut Progress, store: &MemoryStore, end: u64) -> (Vec<String>, Vec<Applied>) {
    let (mut asked, mut applied) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let next = progress.next();
        let done = match next {
            Next::Records { .. } => return (asked, applied),
            Next::Stopped(stop) => panic!("{stop}"),
            Next::Load => {
                asked.push("load".to_owned());
                Done::Loaded(store.load(0).now().unwrap(), Ends { first: 1, end }, 1_000)
            }
            Next::Prepare(prepare) => {
                asked.push(format!("prepare {}", prepare.shown));
                Done::Prepared(store.prepare(prepare).now().unwrap())
            }
            Next::Conv(step) => {
                asked.push(format!("conv {}..{} {}", step.prev, step.last, step.items.len()));
                Done::Conv(store.conv(step).now().unwrap())
            }
            Next::User(step, again) => {
                asked.push(format!("user {}..{} {} {again}", step.prev, step.last, step.items.len()));
                Done::User(store.user(step, again).now().unwrap())
            }
        };
        applied.extend(taken(progress.done(done)));
    }
    panic!("it never wants records: {asked:?}");
}

fn taken(follows: Follows) -> Option<Applied> {
    match follows {
        Follows::Applied(applied) => Some(applied),
        _ => None,
    }
}

/// A machine that wants the first record of a log with `end` records.
fn begun(store: &Arc<MemoryStore>, end: u64) -> Progress {
    let mut progress = Progress::new(0, Arc::clone(store) as Arc<dyn Store>, RoomKeep::default());
    run(&mut progress, store, end);
    progress
}

#[test]
fn what_may_be_lost_is_applied_apart() {
    let store = store();
    let mut progress = begun(&store, 2);
    let records: Vec<_> = (1..=4).map(direct).collect();
    assert_eq!(progress.give(1, &records, 4), (2, Follows::Nothing));
    let (asked, applied) = run(&mut progress, &store, 4);
    assert_eq!(asked, ["conv 0..2 2", "user 0..2 4 true"]);
    assert!(applied[0].again && applied[0].upto == 2);
    assert_eq!(progress.give(1, &records, 4), (4, Follows::Nothing));
    let (asked, applied) = run(&mut progress, &store, 4);
    assert_eq!(asked, ["conv 2..4 2", "user 2..4 4 false"]);
    assert!(!applied[0].again && applied[0].upto == 4);
}

/// Else the store would not trust its dedupe for half a minute.
#[test]
fn idle_buckets_follow_to_what_may_be_lost() {
    let store = store();
    let mut progress = begun(&store, 2);
    let notice = said(2, Body::Notice(Notice { mids: vec![7], op: 1_000, body: "n".into() }));
    assert_eq!(progress.give(1, &[notice], 2).0, 2);
    let (asked, _) = run(&mut progress, &store, 2);
    assert_eq!(asked, ["user 0..2 1 true", "conv 0..2 0"]);
}

#[test]
fn what_makes_no_sense_counts_as_applied() {
    let store = store();
    let mut progress = begun(&store, 0);
    let nonsense = Record { value: Bytes::from_static(b"x"), ..direct(2) };
    let foreign = Record { topic: Topic::Push, ..direct(3) };
    assert_eq!(progress.give(1, &[direct(1), nonsense, foreign, direct(4)], 5).0, 5);
    let (asked, applied) = run(&mut progress, &store, 5);
    assert_eq!(asked, ["conv 0..5 2", "user 0..5 4 false"]);
    assert_eq!(applied[0].shown.iter().map(|shown| shown.offset).collect::<Vec<_>>(), [1, 4]);
    assert_eq!(progress.take_dead().iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [2]);
    // Of nothing at all only the offset is taken.
    assert!(matches!(progress.give(6, &[], 9).1, Follows::Applied(Applied { upto: 9, .. })));
    assert_eq!(progress.next_offset(), 10);
}

#[test]
fn batches_are_bounded() {
    let store = store();
    let mut progress = begun(&store, 0);
    let records: Vec<_> = (1..=600).map(direct).collect();
    assert_eq!(progress.give(1, &records, 600).0, 512);
    run(&mut progress, &store, 600);
    assert_eq!(progress.give(1, &records, 600).0, 600);
    run(&mut progress, &store, 600);
    let body = Bytes::from(vec![b'x'; 400 << 10]);
    let large = |offset| said(offset, Body::Direct(DirectMessage { peer: 9, body: body.clone(), quiet: false }));
    let records: Vec<_> = (601..=604).map(large).collect();
    assert_eq!(progress.give(601, &records, 604).0, 602);
}

#[test]
fn records_out_of_their_place_are_not_taken() {
    let store = store();
    let mut progress = begun(&store, 0);
    assert_eq!(progress.give(2, &[direct(2)], 2), (0, Follows::Nothing), "the first is missing");
    assert_eq!(progress.give(1, &[direct(1)], 1).0, 1);
    assert_eq!(progress.give(2, &[direct(2)], 2).0, 0, "something else is to be done");
    run(&mut progress, &store, 1);
    assert_eq!(progress.give(1, &[direct(1)], 1), (1, Follows::Nothing), "it was applied");
    progress.gone();
    assert_eq!(progress.next(), Next::Load);
}

#[test]
fn a_step_is_taken_again_until_it_is_taken() {
    let store = store();
    let mut progress = begun(&store, 0);
    progress.give(1, &[direct(1)], 1);
    let next = progress.next();
    for error in [StepError::Busy, StepError::Down("disk".into())] {
        assert!(matches!(progress.done(Done::Conv(Err(error))), Follows::Later(_)));
        assert_eq!(progress.next(), next);
    }
    assert!(matches!(progress.done(Done::Conv(Ok(Vec::new()))), Follows::Later(_)), "no outcome for an item");
    assert_eq!(progress.done(Done::User(Ok(Vec::new()))), Follows::Nothing, "no answer to what was asked");
    assert_eq!(progress.next(), next);
    assert!(matches!(progress.done(Done::Conv(Err(StepError::Lost))), Follows::Again(_)));
    assert_eq!(progress.next(), Next::Load);
}

#[test]
fn a_look_moves_idle_guards_and_finds_losses() {
    let store = store();
    let mut progress = begun(&store, 0);
    progress.give(1, &[], 9);
    assert!(progress.look_after());
    assert_eq!(run(&mut progress, &store, 9).0, ["load", "conv 0..9 0", "user 0..9 0 false"]);
    assert!(progress.look_after());
    assert_eq!(run(&mut progress, &store, 9).0, ["load"]);
    store.wipe(Bucket::User(0)).unwrap();
    assert!(progress.look_after());
    assert_eq!(run(&mut progress, &store, 9).0, ["load", "prepare 9"]);
    assert_eq!(progress.next_offset(), 1);
}

/// Found again the next time, it would be told as if it had been there before.
#[test]
fn who_got_positions_anew_is_told_of_it_though_the_batch_was_dropped() {
    let store = store();
    let mut progress = begun(&store, 1);
    progress.give(1, &[direct(1)], 1);
    let Next::Conv(step) = progress.next() else { panic!() };
    progress.done(Done::Conv(store.conv(step).now().unwrap()));
    assert!(matches!(progress.done(Done::User(Err(StepError::Rebooted))), Follows::Again(_)));
    progress.done(Done::Loaded(store.load(0).now().unwrap(), Ends { first: 1, end: 1 }, 1_000));
    let Next::Prepare(prepare) = progress.next() else { panic!() };
    assert_eq!(progress.done(Done::Prepared(store.prepare(prepare).now().unwrap())), Follows::Unsure(vec![0]));
}
