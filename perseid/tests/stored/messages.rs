//! Sending, receiving, taking back.

use std::time::Duration;

use serde_json::json;

use crate::person::{DUPLICATE, EPHEMERAL, EPHEMERAL_FLAG, GONE, Person, QUIET, READ, RECALL, SEND, STORED, direct, killed};
use crate::support::frame::{self, Extended};
use crate::support::{BOTH, Client, Server, Transport};

#[test]
fn both_sides_have_a_message_at_one_place() {
    for transport in BOTH {
        let server = Server::start(&[]);
        let (mut ann, mut bob) = (Person::enter(&server, transport, 7), Person::enter(&server, transport, 9));
        let sent = ann.send(1, 9, 5, "hello");
        assert_eq!((sent.kind, sent.conv, sent.cid, sent.from), (1, 9, 5, 7));
        let (echo, got) = (ann.pushed(), bob.pushed());
        let wanted =
            |conv| Extended { id: sent.id, pos: 1, conv, conv_pos: 1, from: 7, cid: 5, kind: 1, flags: STORED, reserved: 0 };
        assert_eq!((echo.op, echo.seq, echo.ver, echo.text()), (SEND, 0, 2, "hello"));
        assert_eq!(echo.extended, Some(wanted(9)));
        assert_eq!((got.op, got.text(), got.extended), (SEND, "hello", Some(wanted(7))));
        // To oneself: one place, one frame.
        ann.send(1, 7, 6, "a note");
        assert_eq!(ann.pushed().extended.map(|ext| (ext.pos, ext.conv, ext.conv_pos)), Some((2, 7, 1)));
        assert_eq!(ann.quiet(), (2, vec![]));
        assert_eq!(bob.quiet(), (1, vec![]));
    }
}

#[test]
fn a_retry_gets_the_first_answer_and_another_body_a_conflict() {
    let server = Server::start(&[]);
    let mut ann = Person::enter(&server, Transport::Tcp, 7);
    let first = ann.send(1, 9, 5, "hello");
    let again = ann.send(1, 9, 5, "hello");
    assert_eq!((again.id, again.flags & DUPLICATE), (first.id, DUPLICATE));
    assert_eq!(ann.refused(SEND, direct(9, 5), b"other").0, "CONFLICT");
    // The same cid elsewhere, and by somebody else, is another message.
    let elsewhere = ann.send(1, 8, 5, "hello");
    let mut bob = Person::enter(&server, Transport::WebSocket, 9);
    let back = bob.send(1, 7, 5, "hello");
    assert!(elsewhere.id != first.id && back.id != first.id && back.flags & DUPLICATE == 0);
    ann.pushed_where("his message", |frame| frame.extended.is_some_and(|ext| ext.id == back.id));
    let (_, rows) = ann.pull(1, 9, 0, 0, 100);
    assert_eq!(rows.len(), 2);
    // It holds over a restart.
    let server = killed(server).restart();
    let mut ann = Person::enter(&server, Transport::Tcp, 7);
    assert_eq!(ann.send(1, 9, 5, "hello").id, first.id);
    assert_eq!(ann.refused(SEND, direct(9, 5), b"other").0, "CONFLICT");
}

/// The second is read before the log has the first.
#[test]
fn of_twins_in_one_write_the_second_is_the_duplicate() {
    for transport in BOTH {
        let server = Server::start(&[]);
        let mut ann = Person::enter(&server, transport, 7);
        let mut bytes = Vec::new();
        for round in 0..20 {
            for seq in [2 * round, 2 * round + 1] {
                bytes.extend(frame::extended(SEND, 1000 + seq, &direct(9, 1 + round as u64), b"twin"));
            }
        }
        ann.client.send(&bytes);
        for round in 0..20 {
            let first = ann.answer(1000 + 2 * round).extended.unwrap();
            let second = ann.answer(1000 + 2 * round + 1).extended.unwrap();
            assert_eq!((first.flags, second), (0, Extended { flags: DUPLICATE, ..first }));
        }
        ann.pushed_where("the last", |frame| frame.extended.is_some_and(|ext| ext.cid == 20));
        assert_eq!(ann.quiet().0, 20, "each is there once");
    }
}

#[test]
fn many_sends_in_one_write_are_answered_and_applied_in_order() {
    for transport in BOTH {
        let server = Server::start(&[]);
        let (mut ann, mut bob) = (Person::enter(&server, transport, 7), Person::enter(&server, transport, 9));
        let mut bytes = Vec::new();
        for cid in 1..=200_u64 {
            bytes.extend(frame::extended(SEND, 1000 + cid as i32, &direct(9, cid), format!("m{cid}").as_bytes()));
        }
        ann.client.send(&bytes);
        let (mut answered, mut echoed) = (0, 0);
        while answered < 200 || echoed < 200 {
            let frame = ann.client.next();
            let ext = frame.extended.unwrap();
            if frame.op == SEND {
                echoed += 1;
                assert_eq!((ext.cid, ext.conv_pos, ext.pos), (echoed, echoed, echoed));
            } else {
                answered += 1;
                assert_eq!((frame.op, frame.seq, ext.cid), (SEND + 1, 1000 + answered as i32, answered));
            }
        }
        for cid in 1..=200 {
            assert_eq!(bob.pushed().text(), format!("m{cid}"));
        }
    }
}

#[test]
fn classic_sessions_get_the_body_if_they_accept_it_and_never_their_own() {
    let server = Server::start(&[]);
    let mut ann = Person::enter(&server, Transport::Tcp, 7);
    let mut old = Client::classic(&server, Transport::Tcp, &json!({ "mid": 9, "accepts": [4, 1000] }));
    let mut deaf = Client::classic(&server, Transport::Tcp, &json!({ "mid": 9, "accepts": [1001] }));
    let mut own = Client::classic(&server, Transport::Tcp, &json!({ "mid": 7, "accepts": [4] }));
    ann.send(1, 9, 5, "hello");
    let got = old.next();
    assert_eq!((got.ver, got.op, got.seq, got.extended, got.text()), (1, 4, 0, None, "hello"));
    assert_eq!(deaf.flush(), []);
    assert_eq!(own.flush(), []);
    // Events are not for them.
    let answer = server.http().post_json("/v1/users/9:block", &json!({ "peer": 7 }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(old.flush(), []);
}

#[test]
fn what_is_taken_back_is_gone_for_everybody() {
    let server = Server::start(&[]);
    let (mut ann, mut bob) = (Person::enter(&server, Transport::Tcp, 7), Person::enter(&server, Transport::WebSocket, 9));
    let sent = ann.send(1, 9, 5, "oops");
    let pos = bob.pushed().extended.unwrap().conv_pos;
    let recall = Extended { kind: 1, conv: 9, conv_pos: pos, ..Extended::default() };
    ann.granted(RECALL, recall, b"");
    let (ext, event) = bob.event("recall");
    assert_eq!((ext.conv, ext.conv_pos, ext.from, ext.flags), (7, pos + 1, 7, STORED | QUIET));
    assert_eq!((event["conv_pos"].as_u64(), event["id"].as_str()), (Some(pos), Some(&*sent.id.to_string())));
    ann.event("recall");
    for row in [&bob.sync(0, 100).1[0], &bob.pull(1, 7, 0, 0, 100).1[0]] {
        let ext = row.extended.unwrap();
        assert_eq!((ext.id, ext.cid, ext.conv_pos, row.text()), (sent.id, 5, pos, ""));
        assert_eq!(ext.flags & GONE, GONE);
    }
    // Again is no error, and no second event.
    ann.granted(RECALL, recall, b"");
    assert_eq!(bob.quiet().0, 2);
    // The other one's, and one that is not there.
    let theirs = Extended { conv: 7, ..recall };
    assert_eq!(bob.refused(RECALL, theirs, b"").0, "PERMISSION_DENIED");
    // Taken back, it is still known by its cid.
    assert_eq!(ann.send(1, 9, 5, "oops").id, sent.id);
}

#[test]
fn too_late_to_take_back() {
    let server = Server::start(&["--set", "stored.recall_ms=1"]);
    let mut ann = Person::enter(&server, Transport::Tcp, 7);
    ann.send(1, 9, 5, "said");
    let pos = ann.pushed().extended.unwrap().conv_pos;
    std::thread::sleep(Duration::from_millis(20));
    let recall = Extended { kind: 1, conv: 9, conv_pos: pos, ..Extended::default() };
    assert_eq!(ann.refused(RECALL, recall, b"").0, "PERMISSION_DENIED");
    assert_eq!(ann.pull(1, 9, 0, 0, 100).1[0].text(), "said");
}

#[test]
fn read_marks_reach_the_other_devices_and_the_peer() {
    let server = Server::start(&[]);
    let (mut ann, mut bob) = (Person::enter(&server, Transport::Tcp, 7), Person::enter(&server, Transport::WebSocket, 9));
    let mut tablet = Person::enter_with(&server, Transport::Tcp, 9, json!({ "device_id": "tablet" }));
    tablet.sync_all();
    for cid in 1..=3 {
        ann.send(1, 9, cid, "x");
    }
    bob.pushed_where("the last", |frame| frame.extended.is_some_and(|ext| ext.cid == 3));
    let read = |conv_pos| Extended { kind: 1, conv: 7, conv_pos, ..Extended::default() };
    assert_eq!(bob.granted(READ, read(2), b"").0.conv_pos, 2);
    for (person, conv) in [(&mut ann, 9), (&mut tablet, 7)] {
        let (ext, event) = person.event("read");
        assert_eq!((ext.conv, ext.from, ext.conv_pos, event["conv_pos"].as_u64()), (conv, 9, 0, Some(2)));
    }
    // It never goes back, and a mark that does not move tells nobody.
    assert_eq!(bob.granted(READ, read(1), b"").0.conv_pos, 2);
    // The last of a burst is always told.
    assert_eq!(bob.granted(READ, read(3), b"").0.conv_pos, 3);
    assert_eq!(ann.event("read").1["conv_pos"].as_u64(), Some(3));
    assert_eq!(bob.refused(READ, read(4), b"").0, "BAD_REQUEST");
    let (_, heads) = bob.granted(crate::person::HEADS, Extended::default(), b"");
    let head = frame::all(&heads)[0].extended.unwrap();
    assert_eq!((head.kind, head.conv, head.conv_pos, head.pos), (1, 7, 3, 3));
}

#[test]
fn typing_is_relayed_and_never_stored() {
    let server = Server::start(&[]);
    let (mut ann, mut bob) = (Person::enter(&server, Transport::Tcp, 7), Person::enter(&server, Transport::WebSocket, 9));
    let mut phone = Person::enter_with(&server, Transport::Tcp, 7, json!({ "device_id": "phone" }));
    phone.sync_all();
    let ext = Extended { kind: 1, conv: 9, flags: EPHEMERAL_FLAG, ..Extended::default() };
    ann.client.send(&frame::extended(EPHEMERAL, 0, &ext, b"typing"));
    let got = bob.pushed();
    let seen = got.extended.unwrap();
    assert_eq!((got.op, got.text(), seen.conv, seen.from, seen.pos), (EPHEMERAL, "typing", 7, 7, 0));
    assert_eq!(seen.flags & (EPHEMERAL_FLAG | STORED), EPHEMERAL_FLAG);
    assert_eq!(phone.quiet(), (0, vec![]), "not to own devices");
    assert_eq!(bob.pull(1, 7, 0, 0, 10).1, []);
}

#[test]
fn a_blocked_sender_is_told_so() {
    let server = Server::start(&[]);
    let (mut ann, mut bob) = (Person::enter(&server, Transport::Tcp, 7), Person::enter(&server, Transport::WebSocket, 9));
    let first = ann.send(1, 9, 1, "hello");
    bob.pushed();
    let block = |verb: &str| {
        let answer = server.http().post_json(&format!("/v1/users/9:{verb}"), &json!({ "peer": 7 }));
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    block("block");
    bob.event("blocked");
    assert_eq!(ann.refused(SEND, direct(9, 2), b"again").0, "BLOCKED");
    // What was accepted before stays so, and the other way is open.
    assert_eq!(ann.send(1, 9, 1, "hello").id, first.id);
    bob.send(1, 7, 1, "leave me");
    let typing = Extended { kind: 1, conv: 9, flags: EPHEMERAL_FLAG, ..Extended::default() };
    ann.client.send(&frame::extended(EPHEMERAL, 0, &typing, b"typing"));
    ann.quiet();
    assert!(bob.quiet().1.iter().all(|frame| frame.op != EPHEMERAL));
    block("unblock");
    ann.send(1, 9, 2, "again");
}
