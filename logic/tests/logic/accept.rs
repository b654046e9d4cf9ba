//! The one way in for pushes.

use std::future::Future;
use std::task::{Context, Poll, Waker};

use axum::body::Bytes;
use perseid_log::{AppendError, EventLog, Record};
use perseid_logic::snowflake::made_ms;
use perseid_logic::{Config, PushAnswer, PushError, PushRequest, Target};
use perseid_rpc::{PushMsg, PushType};
use prost::Message;

use crate::fakes::{FakeNodes, Mode, World, room};

/// 2026-01-01.
const NOW: u64 = 1_767_225_600_000;

fn push(target: Target) -> PushRequest {
    PushRequest { body: Bytes::from_static(b"hi"), account: "a".into(), ..PushRequest::to(target) }
}

fn mids(mids: &[i64]) -> Target {
    Target::Mids(mids.to_vec())
}

fn with_id(id: &str, body: &'static str) -> PushRequest {
    PushRequest { id: Some(id.to_owned()), body: body.into(), ..push(mids(&[7])) }
}

/// The outcome if it is there without waiting.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

#[test]
fn records_and_their_keys() {
    let world = World::with(FakeNodes { rooms: vec![room("live://1", 5)], ..FakeNodes::default() }, Config::default());
    world.connect(1, "k", "web", 1);
    world.connect(0, "guest", "web", 2);

    let answer = now(world.accept.push(push(Target::Keys(vec!["b".into(), "a".into(), "b".into()])), NOW)).unwrap().unwrap();
    assert_eq!((answer.recipients, answer.duplicate, made_ms(answer.id)), (2, false, NOW));
    let record = world.log.last();
    assert_eq!((record.r#type(), record.operation, record.id), (PushType::Push, 1000, answer.id));
    assert_eq!((&record.keys[..], &record.msg[..]), (&["b".to_owned(), "a".to_owned()][..], &b"hi"[..]));
    assert_eq!((world.log.last_key().as_str(), record.expire_at_ms, record.idem.as_str()), ("b", 0, ""));

    let request = PushRequest { ttl_ms: 5, from: 9, ..push(mids(&[-3, 4, 4])) };
    let answer = now(world.accept.push(request, NOW)).unwrap().unwrap();
    let record = world.log.last();
    assert_eq!((answer.recipients, &record.mids[..], world.log.last_key().as_str()), (2, &[-3, 4][..], "-3"));
    assert_eq!((record.expire_at_ms, record.from), (NOW + 5, 9));

    let answer = now(world.accept.push(push(Target::Room("live://1".into())), NOW)).unwrap().unwrap();
    let record = world.log.last();
    assert_eq!((answer.recipients, record.r#type(), record.room.as_str()), (5, PushType::Room, "live://1"));
    assert_eq!(world.log.last_key(), "live://1");

    let answer = now(world.accept.push(push(Target::All { speed: 64 }), NOW)).unwrap().unwrap();
    let record = world.log.last();
    assert_eq!((answer.recipients, record.r#type(), record.speed), (2, PushType::Broadcast, 64));
    assert_eq!(world.log.last_key(), "1000");
    assert_eq!(world.counters().pushes, [("keys", 1), ("mids", 1), ("notice", 0), ("group", 0), ("room", 1), ("all", 1)]);
}

#[test]
fn what_is_refused() {
    let config = Config { push_bytes_max: 4, targets_max: 3, ..Config::default() };
    let world = World::with(FakeNodes::default(), config);
    let long = "k".repeat(129);
    let bad = [
        push(mids(&[])),
        push(Target::Keys(vec![])),
        push(Target::Keys(vec![String::new()])),
        push(Target::Keys(vec![long])),
        push(Target::Room("live".into())),
        push(Target::Room("live://".into())),
        push(Target::Room(format!("a://{}", "b".repeat(300)))),
        push(Target::Room("a://b\n".into())),
        with_id("", "x"),
        with_id(&"i".repeat(65), "x"),
        with_id("a\n", "x"),
    ];
    for request in bad {
        let outcome = now(world.accept.push(request.clone(), NOW)).unwrap();
        assert!(matches!(outcome, Err(PushError::BadRequest(_))), "{request:?} {outcome:?}");
    }
    for request in [push(mids(&[1, 2, 3, 4])), with_id("a", "12345")] {
        let outcome = now(world.accept.push(request.clone(), NOW)).unwrap();
        assert!(matches!(outcome, Err(PushError::TooLarge(_))), "{request:?} {outcome:?}");
    }
    assert_eq!(world.log.pushes(), []);
    assert_eq!(world.counters().refusals[0], ("BAD_REQUEST", 11));
    // Allowed each, but not together: two MiB are what a record can hold.
    let wide = World::with(FakeNodes::default(), Config { push_bytes_max: 1 << 21, ..Config::default() });
    let keys = (0..10_000).map(|n| format!("{n:0>120}")).collect();
    let request = PushRequest { body: vec![0; 1 << 20].into(), ..push(Target::Keys(keys)) };
    assert!(matches!(now(wide.accept.push(request, NOW)), Some(Err(PushError::TooLarge(_)))));
}

#[test]
fn the_logs_refusals() {
    let world = World::new();
    for (refusal, reason, retries) in [
        (AppendError::Overloaded, "UNAVAILABLE", true),
        (AppendError::Unavailable("no space".into()), "UNAVAILABLE", true),
        (AppendError::Unknown("sync failed".into()), "UNKNOWN", false),
        (AppendError::TooLarge { what: "value", bytes: 9, bytes_max: 8 }, "TOO_LARGE", false),
    ] {
        world.log.set(Mode::Refuse(refusal));
        let error = now(world.accept.push(push(mids(&[1])), NOW)).unwrap().unwrap_err();
        assert_eq!((error.reason().word(), error.retry_after_ms().is_some()), (reason, retries));
    }
    world.log.set(Mode::Forget);
    let error = now(world.accept.push(push(mids(&[1])), NOW)).unwrap().unwrap_err();
    assert_eq!(error.reason().word(), "UNKNOWN");
    assert_eq!(world.counters().pushes[1], ("mids", 0));
}

#[test]
fn answered_when_the_log_has_it_and_not_before() {
    let world = World::new();
    world.log.set(Mode::Hold);
    let mut answer = std::pin::pin!(world.accept.push(push(mids(&[1])), NOW));
    let mut context = Context::from_waker(Waker::noop());
    assert!(answer.as_mut().poll(&mut context).is_pending());
    assert_eq!((world.log.pushes().len(), world.counters().pushes[1].1), (1, 0));
    world.log.release(&Ok(1));
    assert!(matches!(answer.as_mut().poll(&mut context), Poll::Ready(Ok(_))));
    // Nobody waits, and it is pushed all the same.
    drop(world.accept.submit(push(mids(&[1])), NOW));
    world.log.release(&Ok(2));
    assert_eq!(world.counters().pushes[1].1, 2);
}

#[test]
fn a_retry_gets_the_first_answer() {
    let world = World::new();
    let first = now(world.accept.push(with_id("x", "body"), NOW)).unwrap().unwrap();
    let again = now(world.accept.push(with_id("x", "body"), NOW + 1_000)).unwrap().unwrap();
    assert_eq!(again, PushAnswer { duplicate: true, ..first });
    let record = world.log.last();
    assert_eq!((record.idem.as_str(), record.account.as_str(), record.recipients), ("x", "a", 1));
    assert_eq!((world.log.pushes().len(), world.counters().idempotent_hits), (1, 1));

    assert_eq!(now(world.accept.push(with_id("x", "other"), NOW)).unwrap(), Err(PushError::Conflict));
    let other_target = PushRequest { target: mids(&[8]), ..with_id("x", "body") };
    assert_eq!(now(world.accept.push(other_target, NOW)).unwrap(), Err(PushError::Conflict));
    let other_account = PushRequest { account: "b".into(), ..with_id("x", "other") };
    assert!(!now(world.accept.push(other_account, NOW)).unwrap().unwrap().duplicate);
    let day = Config::default().idempotency_ms;
    assert!(!now(world.accept.push(with_id("x", "other"), NOW + day)).unwrap().unwrap().duplicate);
}

#[test]
fn a_second_waits_for_the_first_and_a_failed_first_is_forgotten() {
    let world = World::new();
    world.log.set(Mode::Hold);
    let first = world.accept.submit(with_id("x", "body"), NOW);
    let second = world.accept.submit(with_id("x", "body"), NOW);
    assert_eq!(now(world.accept.push(with_id("x", "other"), NOW)).unwrap(), Err(PushError::Conflict));
    assert_eq!(world.log.pushes().len(), 1);
    world.log.release(&Ok(1));
    let (first, second) = (now(first.answer()).unwrap().unwrap(), now(second.answer()).unwrap().unwrap());
    assert_eq!(second, PushAnswer { duplicate: true, ..first });

    let first = world.accept.submit(with_id("y", "body"), NOW);
    let second = world.accept.submit(with_id("y", "body"), NOW);
    world.log.release(&Err(AppendError::Overloaded));
    for pending in [first, second] {
        assert!(matches!(now(pending.answer()).unwrap(), Err(PushError::Unavailable { .. })));
    }
    world.log.set(Mode::Take);
    assert!(!now(world.accept.push(with_id("y", "other"), NOW)).unwrap().unwrap().duplicate);
}

#[test]
fn retries_are_known_after_a_restart() {
    let before = World::new();
    let first = now(before.accept.push(with_id("x", "body"), NOW)).unwrap().unwrap();
    now(before.accept.push(push(mids(&[7])), NOW)).unwrap().unwrap();

    let after = World::new();
    let restore = &mut |records: &[Record]| {
        records.iter().for_each(|record| after.accept.restore(&PushMsg::decode(record.value.clone()).unwrap(), record.ts_ms));
    };
    assert_eq!(before.log.replay(restore).unwrap(), 2);
    let again = now(after.accept.push(with_id("x", "body"), NOW + 10_000)).unwrap().unwrap();
    assert_eq!(again, PushAnswer { duplicate: true, ..first });
    assert_eq!(now(after.accept.push(with_id("x", "other"), NOW)).unwrap(), Err(PushError::Conflict));
    assert_eq!(after.log.pushes(), []);
}

#[test]
fn a_clock_that_goes_back_stops_nothing_also_over_a_restart() {
    let before = World::new();
    let first = now(before.accept.push(push(mids(&[1])), NOW + 3_600_000)).unwrap().unwrap();
    let second = now(before.accept.push(push(mids(&[1])), NOW)).unwrap().unwrap();
    let after = World::new();
    before.log.pushes().iter().for_each(|push| after.accept.restore(push, NOW));
    let third = now(after.accept.push(push(mids(&[1])), NOW)).unwrap().unwrap();
    assert!(first.id < second.id && second.id < third.id);
}
