//! Where not all can wait, what matters less goes first; what is delivered keeps its order.

#![allow(clippy::unwrap_used)]

mod support;

use perseid_comet::{Config, RoomConfig};
use perseid_protocol::push::{Drop, Priority, Push};
use support::logic::auth_in;
use support::*;

const ROOM: &str = "live://a";
const LEN: usize = 1000;

fn ranked(number: u32, priority: Priority) -> Push {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(LEN, 1);
    Push { priority, ..push(1000, body) }
}

/// High is rare, low is half of all.
fn priority_of(number: u32) -> Priority {
    match number % 10 {
        0 => Priority::High,
        1..5 => Priority::Normal,
        _ => Priority::Low,
    }
}

/// Numbers of what comes up to the push with `last`, but for what filled the socket; in order.
fn read_up_to(client: &mut Client, last: u32) -> Vec<u32> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        let body = client.next_frame().body;
        if body.len() == LEN {
            let number = u32::from_be_bytes(*body.first_chunk().unwrap());
            assert!(numbers.last().is_none_or(|before| *before < number), "{number} after {numbers:?}");
            numbers.push(number);
        }
    }
    numbers
}

/// How many of what was pushed came, by priority.
fn counts(numbers: &[u32]) -> [usize; 3] {
    let mut counts = [0; 3];
    numbers.iter().for_each(|number| counts[priority_of(*number) as usize] += 1);
    counts
}

const PUSHES: u32 = 1000;
/// Half of all fits: all that is high, what is normal, and few of the others.
const BYTES_MAX: usize = PUSHES as usize * LEN / 2 + PUSHES as usize * 40;

/// Pushes to a stuck session, by one way, more than may wait for it.
fn overfill(config: Config, wire: Wire, put: impl Fn(&TestComet, Push)) -> [usize; 3] {
    let test = TestComet::start(Config { write_stall_ms: 600_000, ..config });
    let mut client = test.login_narrow(wire, &auth_in("k", ROOM, &[1000]));
    fill(&test, "k", || Push { priority: Priority::Low, ..push(1000, vec![0; 10_000]) });
    for number in 0..PUSHES {
        put(&test, ranked(number, priority_of(number)));
        // Not more at a time than any bound.
        if number % 50 == 49 {
            test.settle(test.addr("k"));
        }
    }
    // High, and the newest: it comes in any case.
    put(&test, ranked(PUSHES, Priority::High));
    test.settle(test.addr("k"));
    let numbers = read_up_to(&mut client, PUSHES);
    eventually("what did not come is counted", || test.dropped(Drop::Slow) >= u64::from(PUSHES + 1) - numbers.len() as u64);
    drop(client);
    test.assert_empty();
    counts(&numbers)
}

fn assert_low_went_first(came: [usize; 3], what: &str) {
    let [low, normal, high] = came;
    assert_eq!(high, 101, "{what}: all that is high came; {came:?}");
    assert!(normal > 200, "{what}: most of what is normal came; {came:?}");
    assert!(low < 250, "{what}: what is low made way; {came:?}");
}

#[test]
fn in_a_full_queue_what_is_low_makes_way_and_what_is_high_stays() {
    for wire in WIRES {
        let came = overfill(Config { session_bytes_max: BYTES_MAX, ..config() }, wire, |test, push| test.push_key("k", push));
        assert_low_went_first(came, &format!("direct, {wire:?}"));
        let came = overfill(Config { session_bytes_max: BYTES_MAX, ..config() }, wire, |test, push| test.push_all(0, push));
        assert_low_went_first(came, &format!("all, {wire:?}"));
    }
}

#[test]
fn who_lags_behind_its_room_keeps_what_matters() {
    for wire in WIRES {
        let came = overfill(Config { session_bytes_max: BYTES_MAX, ..config() }, wire, |test, push| test.push_room(ROOM, push));
        // What fits the queue, and what has come since it was filled.
        assert_eq!(came[2], 101, "{wire:?} {came:?}");
        assert!(came[0] < 400, "{wire:?} {came:?}");
    }
}

#[test]
fn a_ring_that_is_full_keeps_what_matters() {
    for wire in WIRES {
        let room = RoomConfig { ring_bytes_max: BYTES_MAX, ..RoomConfig::default() };
        let came = overfill(Config { room, ..config() }, wire, |test, push| test.push_room(ROOM, push));
        assert_low_went_first(came, &format!("{wire:?}"));
    }
}

#[test]
fn who_keeps_up_gets_everything_in_its_order() {
    let test = TestComet::start(config());
    for wire in WIRES {
        let mut client = test.login(wire, &auth_in("k", ROOM, &[1000]));
        for first in (0..300).step_by(10) {
            let addr = test.addr("k");
            let batch = (first..first + 10).map(|number| {
                let push = ranked(number, priority_of(number));
                if number % 3 == 0 { to_room(ROOM, push) } else { to_session(addr, push) }
            });
            test.deliver(batch.collect());
            let wanted: Vec<u32> = (first..first + 10).collect();
            assert_eq!(read_up_to(&mut client, first + 9), wanted, "{wire:?}");
        }
        drop(client);
        test.assert_empty();
    }
    assert_eq!(test.dropped(Drop::Slow), 0);
}
