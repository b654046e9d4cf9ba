//! A consistency check of the whole program: devices that chat at random, a server that is killed with -9 meanwhile,
//! and an oracle that judges what they saw by the rules of docs/delivery.md. And the proof that it can fail: a liar between
//! a device and the server, with one fault at a time, each of which the oracle has to find.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

#[path = "consistency/device.rs"]
mod device;
#[path = "consistency/history.rs"]
mod history;
#[path = "consistency/liar.rs"]
mod liar;
#[path = "consistency/oracle.rs"]
mod oracle;
#[path = "consistency/random.rs"]
mod random;
#[path = "consistency/reading.rs"]
mod reading;
#[path = "consistency/wire.rs"]
mod wire;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use device::{Address, Device};
use history::{Event, Final, History, Talk};
use liar::{Liar, Lie};
use oracle::{Violation, judge};
use random::Random;
use serde_json::json;
use support::Server;

const USERS: [u64; 5] = [11, 12, 13, 14, 15];
/// The groups and who is in them.
const GROUPS: [(u64, &[u64]); 2] = [(900, &USERS), (901, &[11, 12, 13])];
const KILLS: usize = 20;

/// The seed of this run: `PERSEID_TEST_SEED`, or one of the clock. Printed, so that it can be given again.
fn seed() -> u64 {
    let given = std::env::var("PERSEID_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos()) ^ now.as_secs() << 20
    });
    eprintln!("PERSEID_TEST_SEED={seed}");
    seed
}

fn make_groups(server: &Server) {
    let mut http = server.http();
    for (group, members) in GROUPS {
        let described = json!({ "kind": "group", "members": members, "owner": members[0] });
        let made = http
            .request(
                "PUT",
                &format!("/v1/groups/{group}"),
                &[("Content-Type", "application/json")],
                described.to_string().as_bytes(),
            )
            .expect("an answer");
        assert!(made.status < 300, "PUT group: {made:?}");
    }
}

/// The devices: two of the first two users, one of the others. The first device is at `first`, which may be a liar's address.
fn devices(address: &Address, first: &Address, history: &History, seed: u64) -> Vec<Device> {
    let owners = [11, 11, 12, 12, 13, 14, 15];
    let device = |(number, mid): (usize, u64)| {
        let groups: Vec<u64> = GROUPS.iter().filter(|(_, members)| members.contains(&mid)).map(|(group, _)| *group).collect();
        let address = if number == 0 { first } else { address };
        Device::new(number, mid, &USERS, &groups, address.clone(), history.clone(), seed)
    };
    owners.into_iter().enumerate().map(|(number, mid)| device((number, mid))).collect()
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Lets the devices chat while `meanwhile` runs, then come to rest; gives what was seen and what is there.
fn run(address: &Address, first: &Address, seed: u64, meanwhile: impl FnOnce()) -> (Vec<Event>, Final) {
    let history = History::default();
    let stop = AtomicBool::new(false);
    let mut devices = devices(address, first, &history, seed);
    std::thread::scope(|scope| {
        for device in &mut devices {
            let stop = &stop;
            scope.spawn(move || device.chat(stop));
        }
        // Also when `meanwhile` fails: the devices would chat for ever.
        let _stop = StopAtEnd(&stop);
        meanwhile();
    });
    // One after the other would do; again and again until nobody had anything left to send.
    for _ in 0..2 {
        std::thread::scope(|scope| {
            for device in &mut devices {
                scope.spawn(|| device.settle());
            }
        });
    }
    let server = address.lock().unwrap().expect("a server that serves");
    let mut last = Final::default();
    for mid in USERS {
        last.inboxes.insert(mid, reading::inbox(server, mid));
        for peer in USERS.into_iter().filter(|peer| *peer >= mid) {
            last.timelines.insert(Talk::Direct(mid, peer), reading::timeline(server, mid, 1, peer));
        }
    }
    for (group, members) in GROUPS {
        last.timelines.insert(Talk::Group(group), reading::timeline(server, members[0], 2, group));
    }
    (history.take(), last)
}

fn acknowledged(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::Acknowledged { .. })).count()
}

#[test]
fn killed_twenty_times_while_they_chat() {
    let seed = seed();
    let mut random = Random::new(seed);
    let mut server = Some(Server::start(&[]));
    make_groups(server.as_ref().unwrap());
    let address: Address = Arc::new(Mutex::new(Some(server.as_ref().unwrap().tcp)));
    let (events, last) = run(&address, &address, seed, || {
        for _ in 0..KILLS {
            std::thread::sleep(Duration::from_millis(150 + random.below(500)));
            let running = server.take().unwrap();
            support::server::signal(running.pid, "KILL");
            *address.lock().unwrap() = None;
            let running = running.killed().restart();
            *address.lock().unwrap() = Some(running.tcp);
            server = Some(running);
        }
        std::thread::sleep(Duration::from_millis(300));
    });
    let found = judge(&events, &last);
    assert_eq!(found, [], "PERSEID_TEST_SEED={seed}");
    assert!(acknowledged(&events) > 200, "hardly anything was sent: {}", acknowledged(&events));
}

#[test]
fn every_lie_is_found() {
    let seed = seed();
    let server = Server::start(&[]);
    make_groups(&server);
    let address: Address = Arc::new(Mutex::new(Some(server.tcp)));
    for (lie, rule) in Lie::ALL {
        // Each on a server of its own: what one lie leaves behind must not betray the next.
        let server = Server::start(&[]);
        make_groups(&server);
        *address.lock().unwrap() = Some(server.tcp);
        let liar = Liar::start(lie, address.clone());
        let first: Address = Arc::new(Mutex::new(Some(liar.addr)));
        let (events, last) = run(&address, &first, seed, || {
            support::until("the liar to find the occasion", || liar.lied().then_some(()));
            std::thread::sleep(Duration::from_millis(300));
            // It comes to rest with the truth.
            *first.lock().unwrap() = Some(server.tcp);
        });
        let found = judge(&events, &last);
        let named = found.iter().any(|violation: &Violation| violation.rule == rule);
        assert!(named, "{lie:?} breaks {rule}, found was {found:?}; PERSEID_TEST_SEED={seed}");
    }
}
