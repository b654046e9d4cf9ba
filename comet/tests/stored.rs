//! Requests about stored messages: what reaches logic, in which order it is answered, and what a refusal looks like.

#![allow(clippy::unwrap_used)]

mod support;

use perseid_comet::Config;
use perseid_comet::link::{Greeting, StoredRefusal, StoredReply};
use perseid_protocol::frame::{Extension, flag, kind};
use perseid_protocol::{Refusal, op};
use support::client::Got;
use support::logic::{LATER, UPSTREAM_LATER, auth};
use support::stored::{behind_at, done, live_at, page, refused};
use support::*;

const MID: i64 = 42;

/// A comet whose user 42 has an inbox, of which its sessions have everything.
fn start() -> TestComet {
    let test = TestComet::start(config());
    test.logic.store.greet(MID, live_at(5));
    test
}

fn to_peer(cid: u64) -> Extension {
    Extension { kind: kind::DIRECT, conv: 7, cid, ..Extension::default() }
}

/// The bytes of sends with these cids; each has its cid as seq.
fn sends(client: &Client, cids: impl IntoIterator<Item = i32>) -> Vec<u8> {
    cids.into_iter().flat_map(|cid| client.frame_with(op::SEND_MSG, cid, to_peer(cid as u64), b"hello")).collect()
}

fn wait_asked(test: &TestComet, count: usize) {
    eventually("logic was asked", || test.logic.store.asked().len() == count);
}

#[track_caller]
fn expect_sent(client: &mut Client, cid: i32) {
    let got = client.next_frame();
    assert_eq!((got.header.op, got.header.seq), (op::SEND_MSG_REPLY, cid), "{got:?}");
}

#[track_caller]
fn expect_refused(client: &mut Client, cid: i32, reason: &str) -> Got {
    let got = client.next_frame();
    assert_eq!((got.header.op, got.header.seq, got.header.ext.cid), (op::ERROR, cid, cid as u64), "{got:?}");
    assert_eq!(got.json()["reason"], reason);
    got
}

#[test]
fn auth_reply_tells_of_the_inbox() {
    let test = TestComet::start(config());
    let greeting = Greeting {
        head: 9,
        floor: 3,
        epoch: 1_700_000_000_123,
        cursor: 8,
        cid_ms: 3_600_000,
        recall_ms: 120_000,
        fanout: 500,
        inbox_max: 10_000,
        inbox_days: 30,
        page_bytes: 1 << 20,
        body_bytes: 1024,
        ..Greeting::default()
    };
    test.logic.store.greet(MID, greeting);
    for wire in EXTENDED {
        let mut client = test.connect(wire);
        for what in ["at first", "renewed"] {
            let got = client.login(&auth("k"));
            let body = got.json();
            assert_eq!(got.header.ext, Extension { pos: 9, ..Extension::default() }, "{what}");
            let numbers = ["head", "floor", "epoch", "cursor"].map(|name| body[name].as_u64().unwrap());
            assert_eq!(numbers, [9, 3, 1_700_000_000_123, 8], "{what}");
            let names = ["cid_ms", "recall_ms", "fanout", "inbox_max", "inbox_days", "page_bytes", "body_bytes"];
            let limits = names.map(|name| body["limits"][name].as_u64().unwrap());
            // Of what a frame and what a message may have, the smaller.
            assert_eq!(limits, [3_600_000, 120_000, 500, 10_000, 30, 1 << 20, 1024], "{what}");
        }
    }
    for wire in CLASSIC {
        assert!(test.login(wire, &auth("c")).heartbeat() == 0);
    }
}

#[test]
fn a_request_reaches_logic_whole_and_its_reply_the_client() {
    let test = start();
    for (nth, wire) in EXTENDED.into_iter().enumerate() {
        let mut client = test.login(wire, &auth("k"));
        let asked = Extension { id: 1, pos: u64::MAX, conv: 7, conv_pos: 3, from: 9, cid: u64::MAX, kind: 2, flags: flag::MORE };
        let frame = client.frame_with(op::PULL, i32::MIN, asked, b"body");
        client.send(&frame);
        wait_asked(&test, nth + 1);
        let request = test.logic.store.asked().pop().unwrap();
        assert_eq!((request.mid, request.key.as_str(), request.foreign), (42, "k", false));
        assert_eq!((request.header.op, request.header.seq, request.header.ext), (op::PULL, i32::MIN, asked));
        assert_eq!(request.body, b"body");
        let ext = Extension { pos: 4, conv_pos: u64::MAX, kind: 3, flags: flag::MORE, ..Extension::default() };
        test.logic.store.answer(nth, Ok(StoredReply { ext, body: "frames".into(), silent: false }));
        let got = client.next_frame();
        assert_eq!((got.header.op, got.header.ver, got.header.seq, got.header.ext), (op::PULL_REPLY, 2, i32::MIN, ext));
        assert_eq!((got.header_len, got.body.as_slice()), (72, &b"frames"[..]));
    }
}

#[test]
fn what_logic_does_not_know_of_is_refused_here() {
    let test = TestComet::start(config());
    test.logic.store.greet(0, live_at(5));
    for wire in EXTENDED {
        // A guest has no inbox, whatever logic says; nor has a user of a node that keeps no messages.
        for (mid, reason) in [(0, "PERMISSION_DENIED"), (-3, "PERMISSION_DENIED"), (42, "UNSUPPORTED")] {
            let mut client = test.login(wire, &Auth { mid, ..auth("k") });
            for op in [op::SEND_MSG, op::SYNC, op::ACK, op::PULL, op::READ, op::HEADS, op::RECALL, op::EPHEMERAL] {
                assert_eq!(client.request(op, b"").json()["reason"], reason, "op {op} of {mid}");
            }
            let frames = [op::ACK, op::EPHEMERAL].map(|op| client.frame_with(op, 0, Extension::default(), b""));
            client.send(&frames.concat());
            assert_eq!(client.heartbeat(), 0, "who wants no reply gets no refusal");
        }
    }
    assert_eq!(test.logic.store.asked(), []);
}

#[test]
fn pipelined_sends_reach_logic_in_order_and_are_answered_in_order() {
    let test = start();
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        let first = test.logic.store.asked().len();
        let bytes = sends(&client, 1..=5);
        client.send(&bytes);
        wait_asked(&test, first + 5);
        let cids: Vec<u64> = test.logic.store.asked()[first..].iter().map(|asked| asked.header.ext.cid).collect();
        assert_eq!(cids, [1, 2, 3, 4, 5]);
        eventually("all in flight", || test.sum(|metrics| &metrics.sends_in_flight) == 5);
        for cid in [3, 5, 2] {
            test.logic.store.answer(first + cid - 1, done(to_peer(cid as u64)));
        }
        assert_eq!(client.heartbeat(), 0, "what comes out of order waits; a heartbeat does not");
        test.logic.store.answer(first, done(to_peer(1)));
        for cid in 1..=3 {
            expect_sent(&mut client, cid);
        }
        assert_eq!(client.heartbeat(), 0);
        test.logic.store.answer(first + 3, refused(Refusal::Conflict));
        expect_refused(&mut client, 4, "CONFLICT");
        expect_sent(&mut client, 5);
        assert_eq!(test.sum(|metrics| &metrics.sends_in_flight), 0);
    }
    assert_eq!(test.sum(|metrics| &metrics.stored_requests[0]), 10);
}

#[test]
fn any_other_request_waits_for_the_sends_before_it_and_holds_up_what_follows() {
    let test = start();
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        let first = test.logic.store.asked().len();
        for between in [op::SYNC, op::SUB, op::CHANGE_ROOM, 1234] {
            let at = test.logic.store.asked().len();
            let body: &[u8] = if between == op::SUB { b"1000" } else { b"" };
            let mut bytes = sends(&client, [1]);
            bytes.extend(client.frame_with(between, 2, Extension::default(), body));
            bytes.extend(sends(&client, [3]));
            client.send(&bytes);
            wait_asked(&test, at + 1);
            assert_eq!(client.heartbeat(), 0);
            assert_eq!(test.logic.store.asked().len(), at + 1, "op {between} waits, and the send behind it");
            test.logic.store.answer(at, done(Extension::default()));
            expect_sent(&mut client, 1);
            let mut next = at + 1;
            if between == op::SYNC {
                wait_asked(&test, at + 2);
                test.logic.store.answer(next, page(5, 0, ""));
                next += 1;
            }
            let reply = client.next_frame();
            let wanted = if between < 33 { between + 1 } else { between };
            assert_eq!((reply.header.op, reply.header.seq), (wanted, 2));
            wait_asked(&test, next + 1);
            test.logic.store.answer(next, done(Extension::default()));
            expect_sent(&mut client, 3);
        }
        assert!(test.logic.store.asked().len() > first);
    }
}

#[test]
fn sends_wait_for_a_request_that_is_answered_late() {
    let test = start();
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        let first = test.logic.store.asked().len();
        let mut bytes = client.frame_with(UPSTREAM_LATER, 1, Extension::default(), b"");
        bytes.extend(sends(&client, 2..=3));
        client.send(&bytes);
        eventually("upstream was asked", || test.logic.open_questions() == 1);
        assert_eq!(client.heartbeat(), 0);
        assert_eq!(test.logic.store.asked().len(), first);
        test.logic.answer_all();
        wait_asked(&test, first + 2);
        for nth in [1, 0] {
            test.logic.store.answer(first + nth, done(Extension::default()));
        }
        assert_eq!(client.next_frame().header.op, UPSTREAM_LATER);
        expect_sent(&mut client, 2);
        expect_sent(&mut client, 3);
    }
}

#[test]
fn answers_that_are_there_at_once_need_no_turn_of_their_own() {
    let test = start();
    test.logic.store.answer_at_once(|asked| (asked.header.ext.cid != 2).then(|| done(asked.header.ext)));
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        let first = test.logic.store.asked().len();
        let bytes = sends(&client, 1..=4);
        client.send(&bytes);
        expect_sent(&mut client, 1);
        wait_asked(&test, first + 4);
        assert_eq!(client.heartbeat(), 0, "3 and 4 wait for 2");
        test.logic.store.answer(first + 1, done(Extension::default()));
        for cid in 2..=4 {
            expect_sent(&mut client, cid);
        }
    }
}

#[test]
fn so_many_sends_are_asked_at_a_time_and_the_rest_waits() {
    let test = start();
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        let first = test.logic.store.asked().len();
        let bytes = sends(&client, 1..=100);
        client.send(&bytes);
        wait_asked(&test, first + 64);
        assert_eq!(client.heartbeat(), 0);
        assert_eq!(test.logic.store.asked().len(), first + 64);
        for nth in 0..100 {
            wait_asked(&test, first + 100.min(64 + nth));
            test.logic.store.answer(first + nth, done(Extension::default()));
            expect_sent(&mut client, nth as i32 + 1);
        }
        // Four of the largest bodies are as much as may be asked.
        let large = vec![b'x'; 64 * 1024];
        let at = test.logic.store.asked().len();
        for cid in 1..=5 {
            let frame = client.frame_with(op::SEND_MSG, cid, to_peer(cid as u64), &large);
            client.send(&frame);
        }
        wait_asked(&test, at + 4);
        assert_eq!(client.heartbeat(), 0);
        assert_eq!(test.logic.store.asked().len(), at + 4);
        for nth in 0..5 {
            wait_asked(&test, at + 5.min(4 + nth));
            test.logic.store.answer(at + nth, done(Extension::default()));
            expect_sent(&mut client, nth as i32 + 1);
        }
        eventually("nothing is kept", || test.comet.queued_bytes() == 0);
    }
}

#[test]
fn after_a_send_that_failed_those_received_behind_it_are_not_taken() {
    for refusal in [Refusal::Unavailable, Refusal::Unknown] {
        let test = start();
        for wire in EXTENDED {
            let mut client = test.login(wire, &auth("k"));
            let first = test.logic.store.asked().len();
            // 64 are in flight, and 36 wait.
            let bytes = sends(&client, 1..=100);
            client.send(&bytes);
            wait_asked(&test, first + 64);
            // The others are received, too, when this is.
            assert_eq!(client.heartbeat(), 0);
            for nth in (1..64).rev() {
                test.logic.store.answer(first + nth, refused(Refusal::Unavailable));
            }
            test.logic.store.answer(first, refused(refusal));
            expect_refused(&mut client, 1, refusal.word());
            for cid in 2..=100 {
                expect_refused(&mut client, cid, "UNAVAILABLE");
            }
            assert_eq!(test.logic.store.asked().len(), first + 64, "none of those was asked");
            // Nothing is behind it any more: the next one counts.
            let next = sends(&client, [101]);
            client.send(&next);
            wait_asked(&test, first + 65);
            test.logic.store.answer(first + 64, done(Extension::default()));
            expect_sent(&mut client, 101);
        }
    }
}

/// Far more than waits here: the rest is in the socket.
#[test]
fn a_failure_fails_what_the_socket_holds_too() {
    let test = start();
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        let first = test.logic.store.asked().len();
        let body = vec![b'x'; 2000];
        for cid in 1..=180 {
            let frame = client.frame_with(op::SEND_MSG, cid, to_peer(cid as u64), &body);
            client.send(&frame);
        }
        wait_asked(&test, first + 64);
        eventually("as much waits as may", || test.comet.queued_bytes() > 128 * 1024);
        for nth in 0..64 {
            test.logic.store.answer(first + nth, refused(Refusal::Unavailable));
        }
        for cid in 1..=180 {
            expect_refused(&mut client, cid, "UNAVAILABLE");
        }
        assert_eq!(test.logic.store.asked().len(), first + 64);
        drop(client);
        test.assert_empty();
    }
}

#[test]
fn a_failure_that_is_known_at_once_fails_what_was_read_with_it() {
    let test = start();
    test.logic.store.answer_at_once(|asked| match asked.header.ext.cid {
        2 => Some(refused(Refusal::Unavailable)),
        _ => Some(done(Extension::default())),
    });
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        let first = test.logic.store.asked().len();
        let mut bytes = sends(&client, 1..=3);
        bytes.extend(client.frame_with(op::SYNC, 9, Extension::default(), b""));
        bytes.extend(sends(&client, [4]));
        client.send(&bytes);
        expect_sent(&mut client, 1);
        for cid in [2, 3] {
            expect_refused(&mut client, cid, "UNAVAILABLE");
        }
        assert_eq!(client.next_frame().header.op, op::SYNC_REPLY, "only sends are in a run");
        expect_refused(&mut client, 4, "UNAVAILABLE");
        assert_eq!(test.logic.store.asked().len(), first + 3);
        // The next reading is another run.
        eventually("a send is taken again", || {
            let retry = sends(&client, [5]);
            client.send(&retry);
            client.next_frame().header.op == op::SEND_MSG_REPLY
        });
    }
}

#[test]
fn other_refusals_end_no_run() {
    let test = start();
    test.logic.store.answer_at_once(|asked| match asked.header.ext.cid {
        2 => Some(refused(Refusal::NotMember)),
        3 => Some(refused(Refusal::RateLimited)),
        _ => Some(done(Extension::default())),
    });
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        let bytes = sends(&client, 1..=4);
        client.send(&bytes);
        expect_sent(&mut client, 1);
        expect_refused(&mut client, 2, "NOT_MEMBER");
        expect_refused(&mut client, 3, "RATE_LIMITED");
        expect_sent(&mut client, 4);
    }
}

#[test]
fn a_refusal_on_the_wire() {
    let test = start();
    let refusal = StoredRefusal {
        retry_after_ms: Some(250),
        detail: Some((1_700_000_000_000, 4, (1 << 53) - 1)),
        ..StoredRefusal::new(Refusal::TooOld, "start at the floor")
    };
    test.logic.store.answer_at_once(move |_| Some(Err(refusal.clone())));
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        let asked = Extension { id: 1, pos: 2, conv: 3, conv_pos: 4, from: 5, cid: 6, kind: 2, flags: flag::MORE };
        let frame = client.frame_with(op::PULL, -7, asked, b"body");
        client.send(&frame);
        let got = client.next_frame();
        let echoed = Extension { conv: 3, conv_pos: 4, cid: 6, kind: 2, ..Extension::default() };
        assert_eq!((got.header.op, got.header.ver, got.header.seq, got.header.ext), (op::ERROR, 2, -7, echoed));
        let body = concat!(
            r#"{"code":410,"detail":{"epoch":1700000000000,"floor":4,"head":9007199254740991},"message":"start at the floor","#,
            r#""reason":"TOO_OLD","retry_after_ms":250}"#
        );
        let wanted: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(got.json(), wanted);
    }
}

#[test]
fn every_refusal_has_its_code_and_its_word() {
    let test = start();
    test.logic.store.answer_at_once(|asked| Some(refused(Refusal::ALL[asked.header.ext.cid as usize - 1])));
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        for (cid, refusal) in (1..).zip(Refusal::ALL) {
            let frame = client.frame_with(op::RECALL, cid, to_peer(cid as u64), b"");
            client.send(&frame);
            let got = expect_refused(&mut client, cid, refusal.word());
            assert_eq!(got.json(), serde_json::json!({ "code": refusal.code(), "reason": refusal.word(), "message": "do this" }));
        }
    }
}

#[test]
fn silence_where_no_reply_is_wanted() {
    let test = start();
    // As if logic knew nothing of it.
    test.logic.store.answer_at_once(|asked| {
        Some(if asked.header.ext.pos == 1 { refused(Refusal::BadRequest) } else { done(Extension::default()) })
    });
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        let at = |pos| Extension { pos, ..Extension::default() };
        let quiet = [
            client.frame_with(op::ACK, 0, at(0), b""),
            client.frame_with(op::ACK, 0, at(1), b""),
            client.frame_with(op::EPHEMERAL, 0, at(0), b""),
            client.frame_with(op::EPHEMERAL, 0, at(1), b""),
            client.frame_with(op::EPHEMERAL, 5, at(0), b""),
        ];
        client.send(&quiet.concat());
        let loud = [client.frame_with(op::ACK, 7, at(0), b""), client.frame_with(op::EPHEMERAL, 8, at(1), b"")];
        client.send(&loud.concat());
        let replies = [client.next_frame(), client.next_frame()].map(|got| (got.header.op, got.header.seq));
        assert_eq!(replies, [(op::ACK_REPLY, 7), (op::ERROR, 8)]);
    }
    test.logic.store.answer_at_once(|_| {
        let silent = StoredRefusal { silent: true, ..StoredRefusal::new(Refusal::BadRequest, "") };
        Some(Err(silent))
    });
    let mut client = test.login(TCP_EXTENDED, &auth("k"));
    let frame = client.frame_with(op::READ, 1, Extension::default(), b"");
    client.send(&frame);
    assert_eq!(client.heartbeat(), 0);
}

#[test]
fn answers_for_a_session_that_has_gone_reach_nobody() {
    let test = start();
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        let first = test.logic.store.asked().len();
        let bytes = sends(&client, 1..=3);
        client.send(&bytes);
        wait_asked(&test, first + 3);
        let slot = test.addr("k").slot;
        drop(client);
        eventually("it has left", || test.comet.connections() == 0);
        assert_eq!(test.sum(|metrics| &metrics.sends_in_flight), 0);
        // Its slot has another session when the answers come.
        let mut next = test.login(wire, &auth("k"));
        assert_eq!(test.addr("k").slot, slot);
        let frame = next.frame_with(op::SYNC, 77, Extension::default(), b"");
        next.send(&frame);
        wait_asked(&test, first + 4);
        for nth in 0..3 {
            test.logic.store.answer(first + nth, done(Extension::default()));
        }
        test.logic.store.answer(first + 3, page(5, 0, ""));
        assert_eq!(next.next_frame().header.seq, 77);
        assert_eq!(next.heartbeat(), 0);
        drop(next);
        test.assert_empty();
    }
}

#[test]
fn a_session_that_ends_with_sends_in_flight_leaves_nothing() {
    let test = start();
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        let first = test.logic.store.asked().len();
        let bytes = sends(&client, 1..=100);
        client.send(&bytes);
        wait_asked(&test, first + 64);
        assert_eq!(client.heartbeat(), 0);
        test.comet.end_session(test.addr("k"), perseid_protocol::CloseReason::Kicked, None);
        client.expect_end(4503);
        test.logic.store.answer(first, done(Extension::default()));
        drop(client);
        test.assert_empty();
        assert_eq!(test.sum(|metrics| &metrics.sends_in_flight), 0);
    }
}

#[test]
fn a_late_auth_is_followed_by_what_was_sent_behind_it() {
    let test = TestComet::start(Config { workers: 2, ..config() });
    test.logic.store.greet(MID, behind_at(5));
    test.logic.store.answer_at_once(|asked| Some(page(5, 0, asked.body.clone())));
    for wire in EXTENDED {
        let mut client = test.connect(wire);
        let mut bytes = client.auth_frame(&Auth { platform: LATER.into(), ..auth("k") });
        bytes.extend(client.frame_with(op::SYNC, 2, Extension::default(), b"page"));
        client.send(&bytes);
        eventually("AUTH was asked", || test.logic.open_questions() == 1);
        test.logic.answer_all();
        assert_eq!(client.next_frame().header.op, op::AUTH_REPLY);
        assert_eq!(client.next_frame().body, b"page");
    }
}
