//! The job as a consumer: one batch for each comet, lanes that refuse, dead records among good ones.
#![allow(clippy::unwrap_used)] // helpers of tests

mod support;

use std::sync::Arc;

use perseid_job::{DropReason, JobConsumer, Lane, LaneError, Metrics};
use perseid_log::{Consumer, Record, Topic};
use perseid_rpc::PushMsg;
use support::{Hands, Kept, Online, addr, raw_record, record, slots, to_keys};

struct Job {
    consumer: JobConsumer,
    lanes: [Arc<Kept>; 2],
    metrics: Arc<Metrics>,
}

fn job() -> Job {
    let online = Online::of(&[("a", 1, addr(0, 1)), ("b", 2, addr(7, 2)), ("c", 2, addr(7, 3))]);
    let lanes = [Kept::new(7), Kept::new(0)];
    let metrics = Arc::new(Metrics::default());
    let dynamic: Vec<Arc<dyn Lane>> = lanes.iter().map(|lane| Arc::clone(lane) as Arc<dyn Lane>).collect();
    let consumer = JobConsumer::new(online, dynamic, Arc::clone(&metrics), Hands::at(1_250).clock());
    Job { consumer, lanes, metrics }
}

#[test]
fn one_batch_for_each_comet_in_the_order_of_the_log() {
    let mut job = job();
    let by_mid = PushMsg { mids: vec![2], ..PushMsg::default() };
    job.consumer.on_records(&[
        record(1, &to_keys(&["b"])),
        Record { topic: Topic::Log, ..raw_record(2, "not ours".into()) },
        record(3, &by_mid),
        record(4, &to_keys(&["a", "x"])),
        record(5, &to_keys(&["c"])),
    ]);
    let [seven, zero] = &job.lanes;
    assert_eq!(seven.batches.lock().unwrap().len(), 1);
    assert_eq!(slots(&seven.all()), [2, 2, 3, 3]);
    assert_eq!(slots(&zero.all()), [1]);
    let metrics = job.metrics.snapshot();
    assert_eq!((metrics.records, metrics.deliveries, metrics.dead, metrics.offset), (4, 5, 0, 5));
    assert_eq!((metrics.dropped(DropReason::Offline), metrics.dropped_total()), (1, 1));
    assert_eq!(metrics.lag_ms, 250);
    assert_eq!((metrics.batches[0], metrics.batches[2]), (1, 1), "a batch of 1 and one of 4");
}

#[test]
fn a_lane_that_refuses_costs_its_own_deliveries_only() {
    for (refuse, reason, dropped) in
        [(LaneError::Full { dropped: 1 }, DropReason::LaneFull, 1), (LaneError::Broken { dropped: 9 }, DropReason::LaneBroken, 2)]
    {
        let mut job = job();
        *job.lanes[0].refuse.lock().unwrap() = Some(refuse);
        job.consumer.on_records(&[record(1, &to_keys(&["b", "a"])), record(2, &to_keys(&["c"]))]);
        assert_eq!(slots(&job.lanes[1].all()), [1], "the other comet got its own");
        let metrics = job.metrics.snapshot();
        assert_eq!(metrics.dropped(reason), dropped);
        assert_eq!(metrics.deliveries, 3 - dropped);
    }
}

#[test]
fn dead_records_stop_nothing() {
    let mut job = job();
    let mut records = Vec::new();
    for offset in 0..100 {
        records.push(raw_record(3 * offset + 1, vec![0xff, 0xff].into()));
        records.push(raw_record(3 * offset + 2, vec![0x08, 0x09].into()));
        records.push(record(3 * offset + 3, &to_keys(&["a"])));
    }
    job.consumer.on_records(&records);
    assert_eq!(job.lanes[1].all().len(), 100);
    let metrics = job.metrics.snapshot();
    assert_eq!((metrics.records, metrics.dead, metrics.deliveries), (300, 200, 100));
}

#[test]
fn a_flood_is_handed_over_in_pieces() {
    let mut job = job();
    let flood: Vec<Record> = (1..=10_000).map(|offset| record(offset, &to_keys(&["a"]))).collect();
    job.consumer.on_records(&flood);
    let lens: Vec<usize> = job.lanes[1].batches.lock().unwrap().iter().map(Vec::len).collect();
    assert_eq!(lens, [4096, 4096, 1808]);
}

#[test]
fn no_comet_at_all_is_counted() {
    let metrics = Arc::new(Metrics::default());
    let online = Online::of(&[("a", 1, addr(0, 1))]);
    let mut consumer = JobConsumer::new(online, Vec::new(), Arc::clone(&metrics), Hands::at(0).clock());
    let all = PushMsg { r#type: 2, speed: 1, ..PushMsg::default() };
    consumer.on_records(&[record(1, &to_keys(&["a"])), record(2, &all)]);
    let metrics = metrics.snapshot();
    assert_eq!((metrics.dropped(DropReason::NoLane), metrics.lag_ms), (2, 0), "a clock that is behind is no lag");
}
