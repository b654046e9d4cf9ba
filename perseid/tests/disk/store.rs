//! The store's disk, while that of the log is well: messages are accepted, and come when it is back.

use perseid_store::stored::DiskUse;
use serde_json::json;

use crate::acknowledged::{ANN, BOB, Sent};
use crate::faults::{Failing, Faults, IO_ERROR, Inside, NO_SPACE};
use crate::person::{ACK, Person};
use crate::standing::{arrived, metric, missing, reading_goes_on};
use crate::support::frame::Extended;
use crate::support::{Transport, until};

#[test]
fn what_is_accepted_while_the_store_fails_comes_when_it_works_again() {
    for (what, code) in [(DiskUse::Commit, NO_SPACE), (DiskUse::Commit, IO_ERROR), (DiskUse::Sync, IO_ERROR)] {
        let faults = Faults::default();
        let server = Inside::start(&faults);
        let mut http = server.http();
        let mut sent = Sent::default();
        let [mut ann, mut bob] = [ANN, BOB].map(|mid| Person::enter(&server, Transport::Tcp, mid));
        sent.send_all(&mut ann, 3);
        arrived(&mut bob, 3);
        faults.set(Failing { store: vec![(what, code), (DiskUse::Open, code)], ..Failing::default() });
        // What fails is the next commit or sync: this one is projected before that, as a rule.
        sent.send_all(&mut ann, 1);
        until("the store has noticed", || (metric(&mut http, "store_down") == 1).then_some(()));
        sent.send_all(&mut ann, 6);
        let reasons = missing(&mut http);
        assert!(matches!(&reasons[..], [why] if why.starts_with("store: takes nothing now: ")), "{reasons:?}");
        assert_eq!(bob.refused(ACK, Extended { pos: 3, ..Extended::default() }, b"").0, "UNAVAILABLE");
        // What was applied is read; the rest waits in the log.
        let count = bob.sync_all().len();
        assert!((3..=4).contains(&count), "{count}");
        reading_goes_on(&server, &mut bob, ANN, count);

        faults.heal();
        let last = bob.pushed_where("the last one", |frame| frame.text() == Sent::body(10));
        assert_eq!(last.extended.unwrap().pos, 10);
        until("it works again", || missing(&mut http).is_empty().then_some(()));
        assert_eq!((metric(&mut http, "store_down"), metric(&mut http, "store_reopened_total")), (0, 1));
        assert_eq!(bob.granted(ACK, Extended { pos: 10, ..Extended::default() }, b"").0.pos, 10);
        sent.send_all(&mut ann, 1);
        sent.repeat(&mut ann);
        drop((ann, bob));
        drop(sent.check(&server));
        let server = server.restart();
        drop(sent.check(&server));
    }
}

/// However large the log becomes meanwhile: it has the only copy.
#[test]
fn the_log_keeps_what_the_store_has_not() {
    let faults = Faults::default();
    let server = Inside::start_with(&faults, &["log.segment_bytes=4MiB", "log.retention_bytes=4MiB"]);
    let mut http = server.http();
    let mut sent = Sent::default();
    let [mut ann, mut bob] = [ANN, BOB].map(|mid| Person::enter(&server, Transport::Tcp, mid));
    faults.set(Failing { store: [DiskUse::Commit, DiskUse::Open].map(|what| (what, NO_SPACE)).to_vec(), ..Failing::default() });
    sent.send_all(&mut ann, 3);
    let large = json!({ "to": { "mids": [8] }, "op": 1000, "body": "x".repeat(60 << 10) });
    while metric(&mut http, "log_rolls_total") < 4 {
        http.push(&large);
    }
    until("the store has noticed", || (metric(&mut http, "store_down") == 1).then_some(()));
    assert_eq!(metric(&mut http, "log_first_offset"), 1);
    sent.send_all(&mut ann, 3);
    faults.heal();
    bob.pushed_where("the last one", |frame| frame.text() == Sent::body(6));
    until("what nobody needs goes", || (metric(&mut http, "log_first_offset") > 1).then_some(()));
    drop((ann, bob));
    drop(sent.check(&server));
}
