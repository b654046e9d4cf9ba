//! What sessions get of their users' inboxes: who gets a message at once, who a hint, who nothing, and in how many writes.

#![allow(clippy::unwrap_used)]

mod support;

use perseid_comet::Config;
use perseid_comet::link::{Greeting, StoredRefusal};
use perseid_protocol::frame::{Extension, flag, kind};
use perseid_protocol::push::{Delivery, Drop, Push, Target};
use perseid_protocol::{CloseReason, Refusal, op};
use support::client::Got;
use support::logic::{LATER, auth, auth_in};
use support::stored::{behind_at, done, live_at, page};
use support::*;

const MID: i64 = 42;

/// A message of user 7.
fn message(conv_pos: u64, body: &str) -> Push {
    Push {
        id: 1000 + conv_pos,
        kind: kind::DIRECT,
        from: 7,
        conv_pos,
        cid: 5,
        flags: flag::STORED,
        ..push(op::SEND_MSG, body.to_owned())
    }
}

fn hint(kind: u16, conv_pos: u64) -> Push {
    Push { kind, conv_pos, ..push(op::HEAD, "") }
}

impl TestComet {
    fn push_inbox(&self, key: &str, pos: u64, push: Push) {
        self.deliver(vec![to_inbox(self.addr(key), pos, 7, push)]);
    }

    fn withheld(&self) -> u64 {
        self.sum(|metrics| &metrics.withheld)
    }
}

#[track_caller]
fn expect_head(client: &mut Client, pos: u64) {
    let got = client.next_frame();
    assert_eq!((got.header.op, got.header.ver, got.header.seq), (op::HEAD, 2, 0), "{got:?}");
    assert_eq!((got.header.ext, got.body.len()), (Extension { pos, ..Extension::default() }, 0));
}

fn position(got: &Got) -> u64 {
    assert!(got.header.ext.flags & flag::STORED != 0, "{got:?}");
    got.header.ext.pos
}

#[test]
fn a_live_session_gets_each_message_whatever_it_accepts() {
    let test = TestComet::start(config());
    test.logic.store.greet(MID, live_at(0));
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        for pos in [1, u64::MAX] {
            test.push_inbox("k", pos, message(9, "hello"));
            let got = client.next_frame();
            let ext = Extension { id: 1009, pos, conv: 7, conv_pos: 9, from: 7, cid: 5, kind: kind::DIRECT, flags: flag::STORED };
            assert_eq!((got.header.op, got.header.ver, got.header.seq, got.header.ext), (op::SEND_MSG, 2, 0, ext));
            assert_eq!((got.header_len, got.body.as_slice()), (72, &b"hello"[..]));
        }
        let event = Push { kind: kind::EVENT, from: 42, expires_at_ms: 1, ..message(2, "{}") };
        test.push_inbox("k", 3, event);
        assert_eq!(position(&client.next_frame()), 3, "events, one's own, and late ones, too: positions are dense");
        test.settle(test.addr("k"));
    }
    assert_eq!(test.sum(|metrics| &metrics.delivered[3]), 6);
    assert_eq!(test.withheld(), 0);
}

#[test]
fn a_classic_session_gets_messages_of_others_that_it_accepts() {
    let test = TestComet::start(config());
    test.logic.store.greet(MID, live_at(0));
    for wire in CLASSIC {
        let mut client = test.login(wire, &auth_in("k", "", &[op::SEND_MSG, op::HEAD]));
        let before = test.dropped(Drop::Filtered);
        for filtered in [
            Push { kind: kind::EVENT, ..message(1, "an event") },
            Push { from: 42, ..message(2, "its own") },
            Push { op: 1000, ..message(3, "not accepted") },
            hint(0, 0),
        ] {
            test.push_inbox("k", 3, filtered);
        }
        test.push_inbox("k", 4, message(4, "hello"));
        test.settle(test.addr("k"));
        let got = client.next_frame();
        assert_eq!((got.header.op, got.header.ver, got.header_len, got.wrapped), (op::SEND_MSG, 1, 16, wire.websocket));
        assert_eq!(got.body, b"hello");
        assert_eq!(test.dropped(Drop::Filtered), before + 4);
        // A notice of the system is from nobody, not from a user whose mid is not known.
        test.push_inbox("k", 5, Push { from: 0, ..message(5, "of the system") });
        assert_eq!(client.next_frame().body, b"of the system");
    }
}

#[test]
fn who_has_no_inbox_gets_nothing_of_one() {
    let test = TestComet::start(config());
    test.logic.store.greet(0, live_at(0));
    for wire in WIRES {
        for mid in [0, -1] {
            let mut client = test.login(wire, &Auth { mid, ..auth_in("guest", "", &[op::SEND_MSG]) });
            test.push_inbox("guest", 1, message(1, "x"));
            test.push_inbox("guest", 1, hint(0, 0));
            test.settle(test.addr("guest"));
            assert_eq!(client.heartbeat(), 0);
        }
    }
    assert_eq!(test.dropped(Drop::Filtered), 16);
}

#[test]
fn where_nothing_is_stored_messages_are_pushed_as_if_they_were_not() {
    let test = TestComet::start(config());
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth_in("k", "", &[op::SEND_MSG]));
        let before = test.dropped(Drop::Filtered);
        for filtered in [Push { kind: kind::EVENT, ..message(1, "") }, Push { from: 42, ..message(2, "") }, hint(0, 0)] {
            test.push_inbox("k", 1, filtered);
        }
        test.push_inbox("k", 1, Push { op: 1000, ..message(3, "not accepted") });
        test.push_inbox("k", 2, message(4, "hello"));
        let got = client.next_frame();
        let ext = Extension { id: 1004, conv: 7, conv_pos: 4, from: 7, cid: 5, kind: kind::DIRECT, ..Extension::default() };
        assert_eq!((got.header.op, got.header.ext, got.body.as_slice()), (op::SEND_MSG, ext, &b"hello"[..]));
        test.settle(test.addr("k"));
        assert_eq!(test.dropped(Drop::Filtered), before + 4);
        assert_eq!(client.request(op::HEARTBEAT, b"").header.ext, Extension::default());
    }
}

#[test]
fn messages_are_withheld_until_a_page_that_nothing_follows() {
    let test = TestComet::start(config());
    test.logic.store.greet(MID, behind_at(5));
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        let sync = client.frame_with(op::SYNC, 1, Extension::default(), b"");
        let first = test.logic.store.asked().len();
        let withheld = test.withheld();
        test.push_inbox("k", 6, message(1, "withheld"));
        client.send(&sync);
        eventually("asked", || test.logic.store.asked().len() == first + 1);
        test.logic.store.answer(first, page(6, flag::MORE, ""));
        assert_eq!(client.next_frame().header.ext.flags, flag::MORE);
        test.push_inbox("k", 8, message(2, "withheld"));
        test.push_inbox("k", 7, message(3, "withheld"));
        client.send(&sync);
        eventually("asked", || test.logic.store.asked().len() == first + 2);
        test.settle(test.addr("k"));
        assert_eq!(test.withheld(), withheld + 3);
        // The page and the hint are one write.
        let writes = test.sum(|metrics| &metrics.writes);
        test.logic.store.answer(first + 1, page(7, 0, ""));
        assert_eq!(client.next_frame().header.op, op::SYNC_REPLY);
        expect_head(&mut client, 8);
        test.settle(test.addr("k"));
        assert_eq!(test.sum(|metrics| &metrics.writes), writes + 1);
        test.push_inbox("k", 9, message(4, "live"));
        assert_eq!(position(&client.next_frame()), 9);
        // Live it stays, whatever it reads.
        client.send(&sync);
        eventually("asked", || test.logic.store.asked().len() == first + 3);
        test.logic.store.answer(first + 2, page(6, flag::MORE, ""));
        assert_eq!(client.next_frame().header.op, op::SYNC_REPLY);
        test.push_inbox("k", 10, message(5, "live"));
        assert_eq!(position(&client.next_frame()), 10);
    }
}

#[test]
fn no_hint_where_the_page_has_all_that_was_withheld() {
    let test = TestComet::start(config());
    test.logic.store.greet(MID, behind_at(5));
    for wire in EXTENDED {
        for (head, withheld) in [(9, 9), (u64::MAX, 9), (9, 0)] {
            let mut client = test.login(wire, &auth("k"));
            if withheld > 0 {
                test.push_inbox("k", withheld, message(1, "withheld"));
            }
            let first = test.logic.store.asked().len();
            let sync = client.frame_with(op::SYNC, 1, Extension::default(), b"");
            client.send(&sync);
            eventually("asked", || test.logic.store.asked().len() == first + 1);
            test.logic.store.answer(first, page(head, 0, ""));
            assert_eq!(client.next_frame().header.op, op::SYNC_REPLY);
            client.heartbeat();
        }
    }
    assert_eq!(test.sum(|metrics| &metrics.heads), 0);
}

#[test]
fn a_foreign_epoch_is_told_once() {
    let test = TestComet::start(config());
    test.logic.store.greet(MID, Greeting { foreign: true, ..behind_at(5) });
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        let first = test.logic.store.asked().len();
        test.push_inbox("k", 6, message(1, "withheld"));
        let changed = StoredRefusal { detail: Some((9, 1, 5)), ..StoredRefusal::new(Refusal::EpochChanged, "start anew") };
        let answers = [
            // Another request does not tell it, nor does a refusal that says nothing of the epoch.
            (op::HEADS, done(Extension::default()), true),
            (op::SYNC, Err(StoredRefusal::new(Refusal::Unavailable, "later")), true),
            (op::SYNC, Err(changed), true),
            (op::HEADS, done(Extension::default()), false),
            (op::SYNC, page(6, 0, ""), false),
        ];
        for (nth, (op, outcome, foreign)) in answers.into_iter().enumerate() {
            let frame = client.frame_with(op, nth as i32, Extension::default(), b"");
            client.send(&frame);
            eventually("asked", || test.logic.store.asked().len() == first + nth + 1);
            assert_eq!(test.logic.store.asked()[first + nth].foreign, foreign, "request {nth}");
            test.logic.store.answer(first + nth, outcome);
            assert_eq!(client.next_frame().header.seq, nth as i32);
        }
        test.push_inbox("k", 7, message(2, "live"));
        assert_eq!(position(&client.next_frame()), 7);
    }
}

#[test]
fn what_comes_while_auth_is_looked_at_is_hinted_at() {
    let test = TestComet::start(config());
    for (greeting, hinted) in [(live_at(5), true), (live_at(6), false), (behind_at(5), false)] {
        test.logic.store.greet(MID, greeting);
        for wire in EXTENDED {
            let mut client = test.connect(wire);
            client.send_auth(&Auth { platform: LATER.into(), ..auth("k") });
            eventually("AUTH was asked", || test.logic.open_questions() == 1);
            let withheld = test.withheld();
            test.push_inbox("k", 6, message(1, "early"));
            eventually("withheld", || test.withheld() == withheld + 1);
            test.logic.answer_all();
            assert_eq!(client.next_frame().header.op, op::AUTH_REPLY);
            if hinted {
                expect_head(&mut client, 6);
            }
            client.heartbeat();
        }
    }
    for wire in CLASSIC {
        let mut client = test.connect(wire);
        client.send_auth(&Auth { platform: LATER.into(), ..auth_in("k", "", &[op::SEND_MSG]) });
        eventually("AUTH was asked", || test.logic.open_questions() == 1);
        test.push_inbox("k", 6, message(1, "early"));
        eventually("dropped", || test.dropped(Drop::Offline) > 0);
        test.logic.answer_all();
        assert_eq!(client.next_frame().header.op, op::AUTH_REPLY);
        client.heartbeat();
    }
}

#[test]
fn hints_come_whether_or_not_the_session_is_live() {
    let test = TestComet::start(config());
    for greeting in [live_at(5), behind_at(5), Greeting { foreign: true, ..behind_at(5) }] {
        test.logic.store.greet(MID, greeting);
        for wire in EXTENDED {
            let mut client = test.login(wire, &auth("k"));
            test.push_inbox("k", 0, hint(kind::CHANNEL, 33));
            let got = client.next_frame();
            let ext = Extension { conv: 7, conv_pos: 33, kind: kind::CHANNEL, ..Extension::default() };
            assert_eq!((got.header.op, got.header.ext, got.header.seq, got.header.ver), (op::HEAD, ext, 0, 2));
            test.deliver(vec![to_inbox(test.addr("k"), 9, 0, hint(0, 0))]);
            expect_head(&mut client, 9);
        }
    }
}

#[test]
fn heartbeat_tells_the_head() {
    let test = TestComet::start(config());
    test.logic.store.greet(MID, live_at(5));
    for wire in WIRES {
        test.logic.store.set_head(MID, 7);
        let mut client = test.login(wire, &auth("k"));
        let pos = |client: &mut Client| client.request(op::HEARTBEAT, &[]).header.ext.pos;
        let is = |pos: u64| if wire.extended { pos } else { 0 };
        assert_eq!(pos(&mut client), is(7));
        // At least what it was pushed, also where logic knows less.
        test.push_inbox("k", 12, message(1, "x"));
        if wire.extended {
            assert_eq!(position(&client.next_frame()), 12);
        }
        assert_eq!(pos(&mut client), is(12));
        test.logic.store.set_head(MID, u64::MAX);
        assert_eq!(pos(&mut client), is(u64::MAX));
        let mut guest = test.login(wire, &Auth { mid: 0, ..auth("guest") });
        assert_eq!(pos(&mut guest), 0);
    }
}

#[test]
fn a_reply_its_echo_and_what_came_with_it_are_one_write() {
    let test = TestComet::start(config());
    test.logic.store.greet(MID, live_at(0));
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth_in("k", "", &[1000]));
        let mut other = test.login(wire, &auth_in("other", "", &[1000]));
        let first = test.logic.store.asked().len();
        let send = client.frame_with(op::SEND_MSG, 1, Extension { kind: 1, conv: 7, cid: 5, ..Extension::default() }, b"x");
        client.send(&send);
        eventually("asked", || test.logic.store.asked().len() == first + 1);
        test.settle(test.addr("k"));
        let writes = test.sum(|metrics| &metrics.writes);
        test.logic.store.ticket(first).answer_quietly(done(Extension { cid: 5, ..Extension::default() }));
        let (one, two) = (test.addr("k"), test.addr("other"));
        test.deliver(vec![
            to_inbox(one, 1, 7, message(1, "echo")),
            to_inbox(two, 1, 7, message(1, "echo")),
            to_session(one, push(1000, "direct")),
            to_inbox(one, 2, 7, message(2, "next")),
            to_session(two, push(1000, "direct")),
        ]);
        let bodies = |client: &mut Client, count| -> Vec<Vec<u8>> { (0..count).map(|_| client.next_frame().body).collect() };
        assert_eq!(bodies(&mut client, 4), [&b""[..], b"echo", b"direct", b"next"]);
        assert_eq!(bodies(&mut other, 2), [&b"echo"[..], b"direct"]);
        test.settle(one);
        assert_eq!(test.sum(|metrics| &metrics.writes), writes + 2, "one for each session");
    }
}

#[test]
fn rooms_and_pushes_to_all_keep_their_place_in_a_batch() {
    let test = TestComet::start(config());
    test.logic.store.greet(MID, live_at(0));
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth_in("k", "live://1", &[1000, 1001]));
        let addr = test.addr("k");
        for round in 0..50 {
            let mut batch = vec![
                to_inbox(addr, 1, 7, message(1, "1")),
                to_room("live://1", push(1000, "2")),
                to_inbox(addr, 2, 7, message(2, "3")),
                to_all(0, push(1001, "4")),
                to_session(addr, push(1000, "5")),
            ];
            batch.rotate_left(round % 5);
            let wanted: Vec<_> = batch.iter().map(|delivery| delivery.push.body.clone()).collect();
            test.deliver(batch);
            for body in wanted {
                assert_eq!(client.next_frame().body, body);
            }
        }
    }
}

#[test]
fn more_than_is_put_together_at_a_time_keeps_its_order() {
    let test = TestComet::start(config());
    test.logic.store.greet(MID, live_at(0));
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        let addr = test.addr("k");
        let body = "b".repeat(60_000);
        test.deliver((1..=60).map(|pos| to_inbox(addr, pos, 7, message(pos, &body))).collect());
        for pos in 1..=60 {
            let got = client.next_frame();
            assert_eq!((position(&got), got.body.len()), (pos, 60_000));
        }
    }
}

#[test]
fn a_session_that_was_shown_what_no_longer_holds_is_ended() {
    let test = TestComet::start(config());
    test.logic.store.greet(MID, live_at(0));
    for wire in WIRES {
        let mut client = test.login(wire, &auth("k"));
        let addr = test.addr("k");
        let end = Delivery { target: Target::End(addr, CloseReason::Resync), push: Push::default().into() };
        // What was pushed before it in the same batch goes out first; what comes after it goes nowhere.
        let closing = test.dropped(Drop::Closing);
        test.deliver(vec![to_inbox(addr, 1, 7, message(1, "before")), end, to_inbox(addr, 2, 7, message(2, "after"))]);
        let ending = client.expect_end(4004);
        assert_eq!(ending.frames.len(), usize::from(wire.extended));
        eventually("counted", || test.dropped(Drop::Closing) == closing + 1);
        drop(client);
        eventually("gone", || test.comet.connections() == 0);
    }
    test.assert_empty();
}

#[test]
fn withholding_costs_nothing_that_stays() {
    let test = TestComet::start(Config { workers: 2, ..config() });
    test.logic.store.greet(MID, behind_at(0));
    let clients = EXTENDED.map(|wire| test.login(wire, &auth(&format!("{wire:?}"))));
    for wire in EXTENDED {
        test.deliver((1..=1000).map(|pos| to_inbox(test.addr(&format!("{wire:?}")), pos, 7, message(pos, "x"))).collect());
    }
    eventually("all withheld", || test.withheld() == 2000);
    assert_eq!(test.comet.queued_bytes(), 0);
    drop(clients);
    test.assert_empty();
}
