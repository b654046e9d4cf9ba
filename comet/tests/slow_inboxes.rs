//! Clients that do not read, and what they have in the inbox: it can be read again, so it makes way first, and they are told
//! to read as soon as they take anything.

#![allow(clippy::unwrap_used)]

mod support;

use perseid_comet::Config;
use perseid_protocol::frame::{Extension, flag, kind};
use perseid_protocol::push::{Drop, Push};
use perseid_protocol::{CloseReason, op};
use support::logic::auth_in;
use support::stored::{behind_at, live_at};
use support::*;

const MID: i64 = 42;

fn message(pos: u64, len: usize) -> Push {
    Push { kind: kind::DIRECT, from: 7, conv_pos: pos, flags: flag::STORED, ..push(op::SEND_MSG, vec![pos as u8; len]) }
}

/// A live session whose socket is full, with at least one direct push in it.
fn stuck(test: &TestComet, wire: Wire) -> Client {
    let client = test.login_narrow(wire, &auth_in("k", "", &[1000]));
    let before = test.sum(|metrics| &metrics.blocked);
    let mut looks = 0;
    eventually("its socket is full", || {
        looks += 1;
        if test.sum(|metrics| &metrics.blocked) <= before {
            looks = 0;
            test.push_key("k", push(1000, vec![0; 100_000]));
        }
        looks > 20
    });
    client
}

fn start(session_bytes_max: usize) -> TestComet {
    let test = TestComet::start(Config { write_stall_ms: 600_000, session_bytes_max, ..config() });
    test.logic.store.greet(MID, live_at(0));
    test
}

/// What came up to the HEAD of the inbox, that without its frame.
fn until_head(client: &mut Client) -> (Vec<Got>, u64) {
    let mut before = Vec::new();
    loop {
        let got = client.next_frame();
        if got.header.op == op::HEAD && got.header.ext.kind == 0 {
            return (before, got.header.ext.pos);
        }
        before.push(got);
    }
}

#[test]
fn over_its_bound_an_outbox_loses_messages_and_its_client_is_told_the_highest() {
    for wire in EXTENDED {
        let test = start(1 << 20);
        let mut client = stuck(&test, wire);
        let addr = test.addr("k");
        // Transient pushes between them stay: only the messages make way.
        for round in 0..50 {
            test.deliver((1..=10).map(|nth| to_inbox(addr, round * 10 + nth, 7, message(round * 10 + nth, 10_000))).collect());
            test.push_key("k", push(1000, format!("direct {round}")));
            let (_, heartbeat) = client.frame(op::HEARTBEAT, b"");
            client.send(&heartbeat);
        }
        test.settle(addr);
        assert!(test.comet.queued_bytes() <= 2 << 20, "{}", test.comet.queued_bytes());
        let (before, head) = until_head(&mut client);
        assert_eq!(head, 500);
        let stored: Vec<u64> = before.iter().filter(|got| got.header.op == op::SEND_MSG).map(|got| got.header.ext.pos).collect();
        assert!(stored.len() < 500 && stored.iter().copied().eq(1..=stored.len() as u64), "a gap in {stored:?}");
        assert_eq!(test.dropped(Drop::Slow), 500 - stored.len() as u64);
        let direct: Vec<&[u8]> =
            before.iter().filter(|got| got.body.starts_with(b"direct")).map(|got| got.body.as_slice()).collect();
        let wanted: Vec<Vec<u8>> = (0..50).map(|round| format!("direct {round}").into_bytes()).collect();
        assert_eq!(direct, wanted);
        let replies = before.iter().filter(|got| got.header.op == op::HEARTBEAT_REPLY).count();
        assert_eq!(replies, 50, "replies are never dropped");
        // It takes again what comes.
        test.deliver(vec![to_inbox(addr, 501, 7, message(501, 10))]);
        assert_eq!(client.next_frame().header.ext.pos, 501);
        drop(client);
        test.assert_empty();
    }
}

#[test]
fn when_the_node_is_full_they_make_way_too() {
    for wire in EXTENDED {
        let test = TestComet::start(Config { write_stall_ms: 600_000, node_bytes_max: 400_000, ..config() });
        test.logic.store.greet(MID, live_at(0));
        let mut client = stuck(&test, wire);
        let addr = test.addr("k");
        test.deliver((1..=100).map(|pos| to_inbox(addr, pos, 7, message(pos, 10_000))).collect());
        test.settle(addr);
        assert_eq!(until_head(&mut client).1, 100);
    }
}

#[test]
fn of_many_hints_the_newest_of_each_timeline_is_told() {
    for wire in EXTENDED {
        let test = start(1 << 20);
        // Also one that is not live gets hints.
        test.logic.store.greet(MID, behind_at(0));
        let mut client = stuck(&test, wire);
        let addr = test.addr("k");
        let hint = |kind, conv_pos| Push { kind, conv_pos, ..push(op::HEAD, "") };
        for conv_pos in 1..=300 {
            for conv in 0..3 {
                test.deliver(vec![to_inbox(addr, 0, conv, hint(kind::CHANNEL, conv_pos * 10 + conv))]);
            }
            test.deliver(vec![to_inbox(addr, conv_pos, 0, hint(0, 0))]);
        }
        test.settle(addr);
        let (before, head) = until_head(&mut client);
        assert_eq!(head, 300);
        let hints: Vec<Extension> = before.iter().filter(|got| got.header.op == op::HEAD).map(|got| got.header.ext).collect();
        let of = |conv| Extension { kind: kind::CHANNEL, conv, conv_pos: 3000 + conv, ..Extension::default() };
        assert_eq!(hints, [of(0), of(1), of(2)]);
        test.settle(addr);
        assert_eq!((test.sum(|metrics| &metrics.heads), test.dropped(Drop::Slow)), (4, 0));
    }
}

#[test]
fn more_timelines_than_are_remembered_lose_the_oldest_and_are_counted() {
    let test = start(1 << 20);
    let mut client = stuck(&test, TCP_EXTENDED);
    let addr = test.addr("k");
    let hint = |conv| to_inbox(addr, 0, conv, Push { kind: kind::CHANNEL, conv_pos: 1, ..push(op::HEAD, "") });
    test.deliver((0..1030).map(hint).collect());
    test.settle(addr);
    assert_eq!(test.dropped(Drop::Slow), 6);
    let mut convs = Vec::new();
    while convs.len() < 1024 {
        let got = client.next_frame();
        if got.header.op == op::HEAD {
            convs.push(got.header.ext.conv);
        }
    }
    assert!(convs.into_iter().eq(6..1030));
    client.heartbeat();
}

#[test]
fn one_that_stays_stuck_is_closed() {
    for wire in EXTENDED {
        let test = TestComet::start(Config { write_stall_ms: 1000, session_bytes_max: 100_000, ..config() });
        test.logic.store.greet(MID, live_at(0));
        let mut client = stuck(&test, wire);
        let addr = test.addr("k");
        test.deliver((1..=100).map(|pos| to_inbox(addr, pos, 7, message(pos, 10_000))).collect());
        eventually("it is ended", || test.ended(CloseReason::SlowConsumer) == 1);
        let ending = client.expect_end(4003);
        assert!(ending.frames.iter().all(|got| got.header.op != op::HEAD), "it reads everything when it is back");
        drop(client);
        test.assert_empty();
    }
}

/// What a worker's mailbox refuses is not silently missing.
#[test]
fn messages_lost_before_a_worker_had_them_are_hinted_at() {
    for wire in EXTENDED {
        let test = TestComet::start(Config { mailbox_bytes_max: 4096, workers: 1, ..config() });
        test.logic.store.greet(MID, live_at(0));
        let mut client = test.login(wire, &auth_in("k", "", &[]));
        let addr = test.addr("k");
        let mut pos = 0;
        // The worker is woken each time, so now and then it is quicker.
        while test.dropped(Drop::Slow) == 0 {
            pos += 100;
            test.logic.store.set_head(MID, pos);
            for pos in pos - 99..=pos {
                test.deliver(vec![to_inbox(addr, pos, 7, message(pos, 1000))]);
            }
        }
        // Whatever was lost, in the end it knows of the last.
        let mut known = 0;
        while known < pos {
            known = known.max(client.next_frame().header.ext.pos);
        }
        assert_eq!(known, pos);
        // A hint may follow still: nothing is asked of it.
        drop(client);
        test.assert_empty();
    }
}

/// The end of a session and hints are posted even where nothing else is.
#[test]
fn a_full_mailbox_takes_ends() {
    let test = TestComet::start(Config { mailbox_bytes_max: 1, ..config() });
    for wire in WIRES {
        let mut client = test.login(wire, &auth_in("k", "", &[1000]));
        let addr = test.addr("k");
        for _ in 0..1000 {
            test.deliver(vec![to_session(addr, push(1000, "x")), to_session(addr, push(1000, "x"))]);
        }
        let end = perseid_protocol::push::Target::End(addr, CloseReason::Resync);
        let end = perseid_protocol::push::Delivery { target: end, push: Push::default().into() };
        test.deliver(vec![to_session(addr, push(1000, "x")), end]);
        client.expect_end(4004);
    }
}
