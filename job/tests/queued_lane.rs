//! Lanes with threads: a comet that hangs costs its own lane's bound and nobody else anything.
#![allow(clippy::unwrap_used)] // helpers of tests

mod support;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use perseid_job::{JobConsumer, Lane, LaneConfig, LaneError, Metrics, QueuedLane, Transport, TransportError};
use perseid_log::Consumer;
use perseid_protocol::push::Delivery;
use support::{Hands, Online, addr, delivery, record, slots, to_keys};

/// A test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a transport has seen.
#[derive(Default)]
struct Seen {
    slots: Vec<u32>,
    resyncs: usize,
}

struct Well(Arc<Mutex<Seen>>);

impl Transport for Well {
    fn send(&mut self, _sequence: u64, batch: &[Delivery], deadline: Instant) -> Result<(), TransportError> {
        assert!(deadline > Instant::now());
        self.0.lock().unwrap().slots.extend(slots(batch));
        Ok(())
    }

    fn resync(&mut self, _deadline: Instant) -> Result<(), TransportError> {
        self.0.lock().unwrap().resyncs += 1;
        Ok(())
    }
}

/// Hangs in its first send until it is let go, whatever its deadline.
struct Hung {
    entered: Sender<()>,
    let_go: Receiver<()>,
    hung: bool,
    then: Well,
}

impl Transport for Hung {
    fn send(&mut self, _sequence: u64, batch: &[Delivery], deadline: Instant) -> Result<(), TransportError> {
        if !self.hung {
            self.hung = true;
            self.entered.send(()).unwrap();
            let _ = self.let_go.recv();
            return Err(TransportError::Unknown);
        }
        self.then.send(0, batch, deadline)
    }

    fn resync(&mut self, deadline: Instant) -> Result<(), TransportError> {
        self.then.resync(deadline)
    }
}

fn config() -> LaneConfig {
    LaneConfig { bytes_max: 100_000, batch_max: 16, resync_ms: 1, ..LaneConfig::default() }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn all_arrives_in_order() {
    let seen = Arc::default();
    let lane = QueuedLane::start(3, LaneConfig::default(), Well(Arc::clone(&seen))).unwrap();
    assert_eq!(lane.node(), 3);
    for slot in 0..1_000 {
        lane.deliver(vec![delivery(2 * slot, 10), delivery(2 * slot + 1, 10)]).unwrap();
    }
    assert!(lane.drain(PATIENCE));
    assert_eq!(seen.lock().unwrap().slots, (0..2_000).collect::<Vec<_>>());
    assert_eq!((lane.counters().sent, lane.waiting()), (2_000, (0, 0)));
}

#[test]
fn a_comet_that_hangs_costs_nobody_else() {
    let (entered, is_in) = channel();
    let (release, let_go) = channel();
    let (seen_hung, seen_well) = (Arc::default(), Arc::default());
    let hung = Hung { entered, let_go, hung: false, then: Well(Arc::clone(&seen_hung)) };
    let hung = Arc::new(QueuedLane::start(0, config(), hung).unwrap());
    let well = Arc::new(QueuedLane::start(1, LaneConfig::default(), Well(Arc::clone(&seen_well))).unwrap());

    let online = Online::of(&[("h", 1, addr(0, 5)), ("w", 1, addr(1, 6))]);
    let metrics = Arc::new(Metrics::default());
    let lanes: Vec<Arc<dyn Lane>> = vec![hung.clone(), well.clone()];
    let mut consumer = JobConsumer::new(online, lanes, Arc::clone(&metrics), Hands::at(0).clock());

    consumer.on_records(&[record(1, &to_keys(&["h", "w"]))]);
    is_in.recv_timeout(PATIENCE).unwrap();
    // While it hangs, much more than its bound comes by.
    for offset in 2..=5_000 {
        consumer.on_records(&[record(offset, &to_keys(&["h", "w"]))]);
    }
    assert!(well.drain(PATIENCE), "the other comet's lane empties");
    assert_eq!(seen_well.lock().unwrap().slots.len(), 5_000);
    let (waiting, bytes) = hung.waiting();
    assert!(waiting > 100 && bytes <= 100_000, "bounded: {waiting} deliveries, {bytes} bytes");
    let counters = hung.counters();
    assert_eq!((counters.offered, counters.sent), (5_000, 0));
    assert_eq!(counters.dropped_full, 5_000 - waiting as u64);
    let counted = metrics.snapshot();
    assert_eq!(counted.dropped_total(), counters.dropped_full);
    assert_eq!(counted.deliveries, 5_000 + waiting as u64);

    // It comes back: what waited arrives, what was lost is told.
    release.send(()).unwrap();
    assert!(hung.drain(PATIENCE));
    until("the comet is told to resync", || seen_hung.lock().unwrap().resyncs > 0);
    let counters = hung.counters();
    assert_eq!(counters.dropped_unknown, 1, "the batch that hung is not sent twice");
    assert_eq!(counters.sent + counters.dropped(), 5_000);
    assert_eq!(seen_hung.lock().unwrap().slots.len() as u64, counters.sent);
}

#[test]
fn dropping_a_lane_does_not_wait_for_its_transport() {
    let (entered, is_in) = channel();
    let (release, let_go) = channel();
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let lane = QueuedLane::start(0, config(), Hung { entered, let_go, hung: false, then: Well(Arc::clone(&seen)) }).unwrap();
    lane.deliver(vec![delivery(0, 1)]).unwrap();
    is_in.recv_timeout(PATIENCE).unwrap();
    lane.deliver(vec![delivery(1, 1)]).unwrap();
    drop(lane); // would hang here
    release.send(()).unwrap();
    until("the thread ends and lets its transport go", || Arc::strong_count(&seen) == 1);
    assert_eq!(seen.lock().unwrap().slots, Vec::<u32>::new());
}

struct Panics;

impl Transport for Panics {
    fn send(&mut self, _sequence: u64, _batch: &[Delivery], _deadline: Instant) -> Result<(), TransportError> {
        panic!("a deliberate panic of the test's transport")
    }

    fn resync(&mut self, _deadline: Instant) -> Result<(), TransportError> {
        Ok(())
    }
}

#[test]
fn a_transport_that_panics_breaks_its_lane_only() {
    let lane = QueuedLane::start(0, config(), Panics).unwrap();
    lane.deliver(vec![delivery(0, 1), delivery(1, 1)]).unwrap();
    until("what was on its way is counted", || lane.counters().dropped_broken == 2);
    assert_eq!(lane.deliver(vec![delivery(2, 1)]), Err(LaneError::Broken { dropped: 1 }));
    assert_eq!((lane.counters().offered, lane.counters().dropped(), lane.waiting()), (3, 3, (0, 0)));
    assert!(lane.drain(PATIENCE));
}
