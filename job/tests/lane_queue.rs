//! The queue of a lane in virtual time.
#![allow(clippy::unwrap_used)] // helpers of tests

mod support;

use perseid_job::lane::BreakerState;
use perseid_job::lane::queue::{Batch, LaneConfig, LaneQueue, Step};
use perseid_job::{LaneError, TransportError};
use perseid_protocol::push::Delivery;
use proptest::prelude::*;
use support::{delivery, slots};

fn config() -> LaneConfig {
    LaneConfig {
        bytes_max: 10_000,
        batch_max: 4,
        batch_bytes_max: 4_000,
        send_ms: 500,
        retry_ms: 1_000,
        retry_wait_ms: 10,
        retries_max: 3,
        failures_max: 5,
        open_ms: 200,
        resync_ms: 1_000,
    }
}

fn some(slots: std::ops::Range<u32>) -> Vec<Delivery> {
    slots.map(|slot| delivery(slot, 10)).collect()
}

fn send(queue: &mut LaneQueue, now_ms: u64) -> Batch {
    match queue.poll(now_ms) {
        Step::Send(batch) => batch,
        other => panic!("{other:?} at {now_ms}"),
    }
}

fn assert_balance(queue: &LaneQueue) {
    let counters = queue.counters();
    assert_eq!(counters.offered, counters.sent + counters.dropped() + queue.waiting() as u64);
}

#[test]
fn batches_in_order_and_within_their_bounds() {
    let mut queue = LaneQueue::new(config());
    assert!(matches!(queue.poll(0), Step::Idle));
    queue.offer(some(0..3), 0).unwrap();
    queue.offer(some(3..6), 0).unwrap();
    queue.offer(vec![delivery(6, 3_000), delivery(7, 3_000)], 0).unwrap();
    let mut sent = Vec::new();
    while let Step::Send(batch) = queue.poll(0) {
        sent.push(slots(&batch.deliveries));
        queue.settle(batch, Ok(()), 0);
    }
    assert_eq!(sent, [vec![0, 1, 2, 3], vec![4, 5, 6], vec![7]]);
    assert_eq!((queue.bytes(), queue.waiting()), (0, 0));
    assert!(!queue.resync_needed());
}

#[test]
fn a_delivery_larger_than_a_batch_goes_alone() {
    let mut queue = LaneQueue::new(config());
    queue.offer(vec![delivery(0, 1), delivery(1, 6_000), delivery(2, 1)], 0).unwrap();
    for wanted in 0..3 {
        let batch = send(&mut queue, 0);
        assert_eq!(slots(&batch.deliveries), [wanted]);
        queue.settle(batch, Ok(()), 0);
    }
}

#[test]
fn a_full_queue_drops_the_rest_and_remembers_one_bit() {
    let mut queue = LaneQueue::new(config());
    let batch = (0..20).map(|slot| delivery(slot, 900)).collect();
    let Err(LaneError::Full { dropped }) = queue.offer(batch, 0) else { panic!("it fits?") };
    assert!(queue.bytes() <= config().bytes_max);
    assert_eq!(queue.waiting() + dropped, 20);
    assert!(dropped > 5 && dropped < 15, "{dropped}");
    assert_eq!(queue.counters().dropped_full, dropped as u64);
    // What is on its way counts until it is settled.
    assert!(matches!(queue.poll(0), Step::Resync), "the comet is there, so it is told at once");
    queue.settle_resync(Ok(()), 0);
    let batch = send(&mut queue, 0);
    let bytes = queue.bytes();
    assert!(queue.offer(vec![delivery(99, 2_000)], 0).is_err());
    queue.settle(batch, Ok(()), 0);
    assert!(queue.bytes() < bytes);
    queue.offer(vec![delivery(99, 2_000)], 0).unwrap();
    assert_balance(&queue);
}

#[test]
fn resyncs_are_few() {
    let mut queue = LaneQueue::new(config());
    let overflow = |queue: &mut LaneQueue, now_ms| assert!(queue.offer(vec![delivery(0, 20_000)], now_ms).is_err());
    overflow(&mut queue, 0);
    assert!(matches!(queue.poll(0), Step::Resync));
    queue.settle_resync(Ok(()), 1);
    for now_ms in 2..900 {
        overflow(&mut queue, now_ms);
        assert!(matches!(queue.poll(now_ms), Step::WaitUntil(1_000)), "at {now_ms}");
    }
    // Deliveries go on meanwhile.
    queue.offer(some(0..1), 900).unwrap();
    let batch = send(&mut queue, 900);
    queue.settle(batch, Ok(()), 900);
    assert!(matches!(queue.poll(1_000), Step::Resync), "the last is always told");
    queue.settle_resync(Ok(()), 1_000);
    assert!(matches!(queue.poll(5_000), Step::Idle));
    assert_eq!(queue.counters().resyncs, 2);
}

#[test]
fn what_was_surely_not_sent_is_tried_again_before_anything_behind_it() {
    let mut queue = LaneQueue::new(config());
    queue.offer(some(0..6), 0).unwrap();
    let batch = send(&mut queue, 0);
    queue.settle(batch, Err(TransportError::NotSent), 0);
    assert!(matches!(queue.poll(9), Step::WaitUntil(10)), "after a pause");
    let again = send(&mut queue, 10);
    assert_eq!(slots(&again.deliveries), [0, 1, 2, 3]);
    queue.settle(again, Err(TransportError::NotSent), 11);
    assert!(matches!(queue.poll(30), Step::WaitUntil(31)), "that doubles");
    let again = send(&mut queue, 31);
    assert_eq!(slots(&again.deliveries), [0, 1, 2, 3]);
    queue.settle(again, Ok(()), 31);
    let next = send(&mut queue, 31);
    assert_eq!(slots(&next.deliveries), [4, 5]);
    queue.settle(next, Ok(()), 31);
    let counters = queue.counters();
    assert_eq!((counters.sent, counters.retries, counters.dropped()), (6, 2, 0));
    assert!(!queue.resync_needed(), "nothing was lost");
}

#[test]
fn what_may_have_arrived_is_never_sent_twice() {
    let mut queue = LaneQueue::new(config());
    queue.offer(some(0..6), 0).unwrap();
    let batch = send(&mut queue, 0);
    queue.settle(batch, Err(TransportError::Unknown), 500);
    assert!(queue.resync_needed());
    assert!(matches!(queue.poll(500), Step::Resync));
    queue.settle_resync(Ok(()), 500);
    assert_eq!(slots(&send(&mut queue, 500).deliveries), [4, 5]);
    assert_eq!(queue.counters().dropped_unknown, 4);
}

#[test]
fn a_batch_has_a_deadline() {
    let mut queue = LaneQueue::new(config());
    queue.offer(some(0..1), 0).unwrap();
    let batch = send(&mut queue, 0);
    queue.settle(batch, Err(TransportError::NotSent), 999);
    let batch = send(&mut queue, 1_009);
    assert!(!queue.resync_needed());
    queue.settle(batch, Err(TransportError::NotSent), 1_010);
    assert!(queue.resync_needed(), "now something is lost");
    assert_eq!((queue.waiting(), queue.counters().dropped_broken), (0, 1));
    assert_balance(&queue);
}

#[test]
fn retries_have_a_budget() {
    // All that is tried fails; with 3 retries in the budget, 20 batches make no more than 23 attempts.
    let mut queue = LaneQueue::new(LaneConfig { failures_max: 1_000, ..config() });
    let (mut now_ms, mut attempts) = (0, 0);
    for round in 0..20 {
        queue.offer(some(round..round + 1), now_ms).unwrap();
        loop {
            match queue.poll(now_ms) {
                Step::Send(batch) => {
                    attempts += 1;
                    queue.settle(batch, Err(TransportError::NotSent), now_ms);
                }
                Step::Resync => queue.settle_resync(Err(TransportError::NotSent), now_ms),
                Step::WaitUntil(at_ms) if queue.waiting() > 0 => now_ms = at_ms,
                Step::WaitUntil(_) | Step::Idle => break,
            }
        }
    }
    assert_eq!(attempts, 23);
    assert_eq!(queue.counters().dropped_broken, 20);
    assert_balance(&queue);
}

#[test]
fn the_breaker_opens_drops_and_probes() {
    let mut queue = LaneQueue::new(LaneConfig { failures_max: 2, ..config() });
    queue.offer(some(0..12), 0).unwrap();
    for now_ms in [0, 1] {
        assert_eq!(queue.breaker(now_ms), BreakerState::Closed);
        match queue.poll(now_ms) {
            Step::Send(batch) => queue.settle(batch, Err(TransportError::Unknown), now_ms),
            Step::Resync => queue.settle_resync(Err(TransportError::Unknown), now_ms),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(queue.breaker(1), BreakerState::Open { until_ms: 201 });
    assert_eq!((queue.waiting(), queue.bytes()), (0, 0), "what waited is dropped and its memory given back");
    assert_eq!(queue.offer(some(20..25), 100), Err(LaneError::Broken { dropped: 5 }));
    assert!(matches!(queue.poll(100), Step::WaitUntil(201)), "nothing is tried");
    // Half open: deliveries are taken again, and something is tried.
    queue.offer(some(30..32), 201).unwrap();
    assert_eq!(queue.breaker(201), BreakerState::HalfOpen);
    let batch = send(&mut queue, 201);
    queue.settle(batch, Err(TransportError::NotSent), 201);
    assert_eq!(queue.breaker(400), BreakerState::Open { until_ms: 401 }, "the probe failed");
    // The resync is a probe as well: a comet without traffic comes back too.
    assert!(matches!(queue.poll(401), Step::WaitUntil(1_001)), "resyncs are few");
    assert!(matches!(queue.poll(1_001), Step::Resync));
    queue.settle_resync(Ok(()), 1_002);
    assert_eq!(queue.breaker(1_002), BreakerState::Closed);
    assert!(!queue.resync_needed());
    let counters = queue.counters();
    assert_eq!((counters.opens, counters.dropped_unknown, counters.dropped_broken), (2, 4, 8 + 5 + 2));
    assert_balance(&queue);
}

#[test]
fn an_abandoned_queue_accounts_for_what_was_on_its_way() {
    let mut queue = LaneQueue::new(config());
    queue.offer(some(0..6), 0).unwrap();
    drop(send(&mut queue, 0));
    queue.abandon();
    assert_eq!(queue.counters().dropped_broken, 6);
    assert_balance(&queue);
}

proptest! {
    /// Whatever the transport does: order, never twice, bounded, balanced; and the comet is told of losses in the end.
    #[test]
    fn any_transport(steps in prop::collection::vec((0u32..6, 0usize..3_000, 0u8..5, 0u64..400), 1..200)) {
        let mut queue = LaneQueue::new(config());
        let (mut now_ms, mut slot) = (0, 0);
        let mut arrived = Vec::new();
        for (count, body_bytes, fate, pass_ms) in steps {
            now_ms += pass_ms;
            let batch: Vec<_> = (slot..slot + count).map(|slot| delivery(slot, body_bytes)).collect();
            slot += count;
            let _ = queue.offer(batch, now_ms);
            prop_assert!(queue.bytes() <= config().bytes_max);
            let result = match fate {
                0 => Err(TransportError::NotSent),
                1 => Err(TransportError::Unknown),
                _ => Ok(()),
            };
            match queue.poll(now_ms) {
                Step::Send(batch) => {
                    prop_assert!(batch.deliveries.len() <= config().batch_max);
                    if result != Err(TransportError::NotSent) {
                        arrived.extend(slots(&batch.deliveries));
                    }
                    queue.settle(batch, result, now_ms);
                }
                Step::Resync => queue.settle_resync(result, now_ms),
                Step::WaitUntil(at_ms) => prop_assert!(at_ms > now_ms),
                Step::Idle => prop_assert_eq!(queue.waiting(), 0),
            }
            let counters = queue.counters();
            prop_assert_eq!(counters.offered, counters.sent + counters.dropped() + queue.waiting() as u64);
        }
        prop_assert!(arrived.is_sorted_by(|a, b| a < b), "in order, none twice: {:?}", arrived);
        // The comet is well again: everything settles.
        let lost = queue.counters().dropped() > 0;
        for _ in 0..1_000 {
            match queue.poll(now_ms) {
                Step::Send(batch) => queue.settle(batch, Ok(()), now_ms),
                Step::Resync => queue.settle_resync(Ok(()), now_ms),
                Step::WaitUntil(at_ms) => now_ms = at_ms,
                Step::Idle => break,
            }
        }
        prop_assert_eq!((queue.waiting(), queue.bytes(), queue.resync_needed()), (0, 0, false));
        prop_assert!(!lost || queue.counters().resyncs > 0);
    }
}
