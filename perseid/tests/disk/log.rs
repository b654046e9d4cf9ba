//! The log's disk: full, and with a sync that failed.

use serde_json::json;

use crate::acknowledged::{ANN, BOB, Sent};
use crate::faults::{Failing, Faults, IO_ERROR, Inside, NO_SPACE};
use crate::person::{ACK, Person};
use crate::standing::{arrived, metric, missing, reading_goes_on, refused, stored_push, transient_push};
use crate::support::frame::Extended;
use crate::support::{Http, Transport, until};
use perseid_store::stored::DiskUse;

/// Where the log's space ends, bytes: less than it prepares for itself at the start, so that it is used up soon.
const ROOM_BYTES: u64 = 2 << 20;

/// Everything that stands on one disk, which is full.
fn full_disk() -> Failing {
    let store = [DiskUse::Open, DiskUse::Commit, DiskUse::Sync].map(|what| (what, NO_SPACE)).to_vec();
    Failing { log_room_bytes: Some(ROOM_BYTES), store, ..Failing::default() }
}

/// Pushes until the log has no space any more.
fn fill(http: &mut Http) {
    let large = json!({ "to": { "mids": [8] }, "op": 1000, "body": "x".repeat(32 << 10) });
    until("the space of the log is used up", || {
        let answer = http.post_json("/v1/messages", &large);
        (answer.status != 200).then(|| assert_eq!(answer.status, 503, "{}", answer.text()))
    });
}

#[test]
fn a_full_disk_refuses_what_is_new_and_forgets_nothing() {
    let faults = Faults::default();
    faults.set(Failing { log_room_bytes: Some(ROOM_BYTES), ..Failing::default() });
    let server = Inside::start(&faults);
    let mut http = server.http();
    let mut sent = Sent::default();
    let [mut ann, mut bob] = [ANN, BOB].map(|mid| Person::enter(&server, Transport::Tcp, mid));
    sent.send_all(&mut ann, 5);
    arrived(&mut bob, 5);
    faults.set(full_disk());
    fill(&mut http);

    assert_eq!(sent.send(&mut ann), Err("UNAVAILABLE".to_owned()));
    for push in [stored_push(), transient_push()] {
        assert_eq!(refused(&mut http, &push), (503, "UNAVAILABLE".to_owned()), "{push}");
    }
    reading_goes_on(&server, &mut bob, ANN, 5);
    until("the store has noticed", || (missing(&mut http).len() == 2).then_some(()));
    let reasons = missing(&mut http);
    assert!(reasons.iter().any(|why| why.starts_with("log: takes nothing now: ")), "{reasons:?}");
    assert!(reasons.iter().any(|why| why.starts_with("store: takes nothing now: ")), "{reasons:?}");
    assert_eq!((metric(&mut http, "log_refusing"), metric(&mut http, "log_poisoned")), (1, 0));
    assert!(metric(&mut http, "log_unavailable_total") >= 3);
    assert_eq!((metric(&mut http, "store_down"), metric(&mut http, "store_reopened_total")), (1, 0));
    assert!(metric(&mut http, "store_failures_total") > 0);
    // Where a device stands can't be kept: it is told so, and keeps it itself.
    assert_eq!(bob.refused(ACK, Extended { pos: 5, ..Extended::default() }, b"").0, "UNAVAILABLE");
    reading_goes_on(&server, &mut bob, ANN, 5);

    faults.heal();
    until("all of it works again", || missing(&mut http).is_empty().then_some(()));
    sent.send_all(&mut ann, 5);
    sent.repeat(&mut ann);
    assert_eq!(bob.granted(ACK, Extended { pos: 5, ..Extended::default() }, b"").0.pos, 5);
    http.push(&stored_push());
    assert_eq!((metric(&mut http, "log_refusing"), metric(&mut http, "store_down")), (0, 0));
    drop((ann, bob));
    drop(sent.check(&server));
    let server = server.restart();
    let [mut ann, _bob] = sent.check(&server);
    sent.repeat(&mut ann);
    sent.send_all(&mut ann, 1);
}

/// After a failed sync nobody knows what is on the disk: it is not tried again, whatever the disk says later.
#[test]
fn a_failed_sync_ends_writing_until_a_restart() {
    let faults = Faults::default();
    let server = Inside::start(&faults);
    let mut http = server.http();
    let mut sent = Sent::default();
    let [mut ann, mut bob] = [ANN, BOB].map(|mid| Person::enter(&server, Transport::Tcp, mid));
    sent.send_all(&mut ann, 5);
    arrived(&mut bob, 5);
    faults.set(Failing { log_sync: Some(IO_ERROR), ..Failing::default() });
    assert_eq!(sent.send(&mut ann), Err("UNKNOWN".to_owned()), "it may be there, or not");
    assert_eq!(sent.send(&mut ann), Err("UNAVAILABLE".to_owned()));
    faults.heal();
    for push in [stored_push(), transient_push()] {
        assert_eq!(refused(&mut http, &push), (503, "UNAVAILABLE".to_owned()), "{push}");
    }
    assert_eq!(sent.send(&mut ann), Err("UNAVAILABLE".to_owned()), "the disk is well again, and what it has is unknown");
    let reasons = missing(&mut http);
    assert!(matches!(&reasons[..], [why] if why.starts_with("log: stopped until a restart: ")), "{reasons:?}");
    assert_eq!((metric(&mut http, "log_poisoned"), metric(&mut http, "log_unknown_total")), (1, 1));
    reading_goes_on(&server, &mut bob, ANN, 5);
    assert_eq!(bob.granted(ACK, Extended { pos: 5, ..Extended::default() }, b"").0.pos, 5);

    drop((ann, bob, http));
    let server = server.restart();
    assert!(missing(&mut server.http()).is_empty());
    let [mut ann, _bob] = sent.check(&server);
    sent.repeat(&mut ann);
    // What was unknown is sent again, and is there once.
    for cid in std::mem::take(&mut sent.unknown) {
        sent.acknowledged.insert(cid, ann.send(1, BOB, cid, &Sent::body(cid)).id);
    }
    sent.send_all(&mut ann, 1);
    drop(sent.check(&server));
}
