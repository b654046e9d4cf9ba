//! Every request that has to be refused, as a client could write it; the session goes on after each.

use serde_json::json;

use crate::person::{ACK, EPHEMERAL, HEADS, PULL, Person, READ, RECALL, SEND, SYNC, direct};
use crate::support::frame::{self, Extended};
use crate::support::{BOTH, Server, Transport};

const NONE: Extended = Extended { id: 0, pos: 0, conv: 0, conv_pos: 0, from: 0, cid: 0, kind: 0, flags: 0, reserved: 0 };

/// (what, op, fields, body, reason)
fn table() -> Vec<(&'static str, i32, Extended, Vec<u8>, &'static str)> {
    let kind = |kind, conv| Extended { kind, conv, cid: 77, ..NONE };
    let big = u64::MAX;
    vec![
        ("a message without a cid", SEND, direct(9, 0), b"x".to_vec(), "BAD_REQUEST"),
        ("a message to nobody", SEND, direct(0, 77), b"x".to_vec(), "BAD_REQUEST"),
        ("a notice", SEND, kind(0, 9), b"x".to_vec(), "PERMISSION_DENIED"),
        ("to a room", SEND, kind(4, 9), b"x".to_vec(), "PERMISSION_DENIED"),
        ("an event", SEND, kind(5, 9), b"x".to_vec(), "PERMISSION_DENIED"),
        ("a kind that there is not", SEND, kind(u16::MAX, 9), b"x".to_vec(), "PERMISSION_DENIED"),
        ("to a group that there is not", SEND, kind(2, 5), b"x".to_vec(), "NOT_MEMBER"),
        ("to a channel that there is not", SEND, kind(3, big), b"x".to_vec(), "NOT_MEMBER"),
        ("SYNC above the head", SYNC, Extended { pos: 1, ..NONE }, vec![], "EPOCH_CHANGED"),
        ("SYNC far above the head", SYNC, Extended { pos: big, ..NONE }, vec![], "EPOCH_CHANGED"),
        ("SYNC with a body of 3 bytes", SYNC, NONE, vec![0; 3], "BAD_REQUEST"),
        ("SYNC with a body of 5 bytes", SYNC, NONE, vec![0; 5], "BAD_REQUEST"),
        ("ACK above the head", ACK, Extended { pos: 1, ..NONE }, vec![], "BAD_REQUEST"),
        ("ACK far above the head", ACK, Extended { pos: big, ..NONE }, vec![], "BAD_REQUEST"),
        ("PULL of a strange group", PULL, kind(2, 5), vec![], "NOT_MEMBER"),
        ("PULL of a notice", PULL, kind(0, 9), vec![], "BAD_REQUEST"),
        ("PULL of an event", PULL, kind(5, 9), vec![], "BAD_REQUEST"),
        ("PULL above the head", PULL, Extended { conv_pos: 1, ..kind(1, 9) }, vec![], "BAD_REQUEST"),
        ("PULL far above the head", PULL, Extended { conv_pos: big, ..kind(1, 9) }, vec![], "BAD_REQUEST"),
        ("PULL with a body of 8 bytes", PULL, kind(1, 9), vec![0; 8], "BAD_REQUEST"),
        ("READ above the head", READ, Extended { conv_pos: 1, ..kind(1, 9) }, vec![], "BAD_REQUEST"),
        ("READ of a strange group", READ, Extended { conv_pos: 1, ..kind(2, 5) }, vec![], "NOT_MEMBER"),
        ("READ of a notice", READ, Extended { conv_pos: 1, ..kind(0, 9) }, vec![], "BAD_REQUEST"),
        ("HEADS with a body of 2 bytes", HEADS, NONE, vec![0; 2], "BAD_REQUEST"),
        ("RECALL of what is not there", RECALL, Extended { conv_pos: 9, ..kind(1, 9) }, vec![], "BAD_REQUEST"),
        ("RECALL in a strange group", RECALL, Extended { conv_pos: 1, ..kind(2, 5) }, vec![], "NOT_MEMBER"),
        ("EPHEMERAL to a channel", EPHEMERAL, kind(3, 9), b"x".to_vec(), "PERMISSION_DENIED"),
        ("EPHEMERAL to a strange group", EPHEMERAL, kind(2, 5), b"x".to_vec(), "NOT_MEMBER"),
        ("a reply", SYNC + 1, NONE, vec![], "BAD_REQUEST"),
        ("HEAD", 31, NONE, vec![], "BAD_REQUEST"),
        ("a reserved operation", 0, NONE, vec![], "BAD_REQUEST"),
    ]
}

#[test]
fn each_is_refused_with_its_reason_and_the_session_goes_on() {
    for transport in BOTH {
        let server = Server::start(&[]);
        let mut ann = Person::enter(&server, transport, 7);
        for (what, op, ext, body, wanted) in table() {
            let reply = ann.ask(op, ext, &body);
            assert_eq!(reply.op, frame::ERROR, "{what}: {reply:?}");
            let error = reply.json();
            assert_eq!(error["reason"], wanted, "{what}: {error}");
            let echoed = reply.extended.unwrap();
            assert_eq!(
                (echoed.kind, echoed.conv, echoed.conv_pos, echoed.cid),
                (ext.kind, ext.conv, ext.conv_pos, ext.cid),
                "{what}"
            );
        }
        ann.send(1, 9, 1, "it goes on");
        assert_eq!(ann.pushed().text(), "it goes on");
    }
}

#[test]
fn what_wants_no_answer_gets_none() {
    let server = Server::start(&[]);
    let mut ann = Person::enter(&server, Transport::Tcp, 7);
    for (op, ext) in [(ACK, Extended { pos: u64::MAX, ..NONE }), (EPHEMERAL, Extended { kind: 2, conv: 5, ..NONE })] {
        ann.client.send(&frame::extended(op, 0, &ext, b""));
    }
    assert_eq!(ann.quiet(), (0, vec![]));
    // A SEND with seq 0 is answered like any other.
    ann.client.send(&frame::extended(SEND, 0, &direct(7, 1), b"x"));
    let reply = ann.pushed_where("an answer", |frame| frame.op == SEND + 1);
    assert_eq!(reply.seq, 0);
}

#[test]
fn guests_have_no_inbox() {
    let server = Server::start(&[]);
    for mid in [0, -5] {
        let (mut client, told) = crate::support::Client::extended(&server, Transport::Tcp, &json!({ "mid": mid }));
        assert_eq!(told["head"].as_u64(), Some(0), "{told}");
        for op in [SEND, SYNC, PULL, READ, HEADS, RECALL] {
            client.send(&frame::extended(op, op, &direct(9, 5), b""));
            let reply = client.next();
            assert_eq!((reply.op, reply.json()["reason"].as_str()), (frame::ERROR, Some("PERMISSION_DENIED")), "{op}");
        }
    }
}

#[test]
fn bodies_over_the_limit() {
    let server = Server::start(&["--set", "stored.body_bytes_max=1KiB"]);
    let mut ann = Person::enter(&server, Transport::Tcp, 7);
    ann.send(1, 9, 1, &"x".repeat(1024));
    assert_eq!(ann.refused(SEND, direct(9, 2), &[b'x'; 1025]).0, "BAD_REQUEST");
    let mut http = server.http();
    let push = json!({ "to": { "mids": [7] }, "store": true, "body": "x".repeat(1025) });
    assert_eq!(http.post_json("/v1/messages", &push).status, 413);
}

#[test]
fn extremes_of_64_bits() {
    let server = Server::start(&[]);
    let top = i64::MAX as u64;
    let (mut ann, mut bob) = (Person::enter(&server, Transport::Tcp, top), Person::enter(&server, Transport::Tcp, 1));
    let sent = ann.send(1, 1, u64::MAX, "edge");
    assert_eq!((sent.cid, sent.from), (u64::MAX, top));
    let got = bob.pushed().extended.unwrap();
    assert_eq!((got.conv, got.from, got.cid), (top, top, u64::MAX));
    bob.send(1, top, 1 << 63, "back");
    assert_eq!(ann.pull(1, 1, 0, 0, u32::MAX).1.len(), 2);
    // No user has such a number.
    let reply = ann.ask(SEND, direct(u64::MAX, 5), b"x");
    assert_eq!((reply.op, reply.json()["reason"].as_str()), (frame::ERROR, Some("BAD_REQUEST")));
}

#[test]
fn a_user_who_sends_too_much() {
    let server = Server::start(&["--set", "stored.sends_per_second=3"]);
    let mut ann = Person::enter(&server, Transport::Tcp, 7);
    for cid in 1..=3 {
        ann.send(1, 9, cid, "x");
    }
    let (reason, error) = ann.refused(SEND, direct(9, 4), b"x");
    assert_eq!(reason, "RATE_LIMITED");
    assert!(error["retry_after_ms"].as_u64().is_some_and(|ms| (1..=2000).contains(&ms)), "{error}");
    // A retry of what is stored costs nothing; another user is not concerned.
    ann.send(1, 9, 1, "x");
    Person::enter(&server, Transport::Tcp, 8).send(1, 9, 1, "x");
}
