//! The way into service: AUTH first, in time, answered now or later, by logic and nobody else.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use perseid_protocol::frame::Extension;
use perseid_protocol::limits::AUTH_BODY_BYTES_MAX;
use perseid_protocol::{CloseReason, op};
use support::client::{UPGRADE, classic, ws_frame};
use support::logic::{LATER, REFUSED, UPSTREAM_LATER, auth, auth_in};
use support::*;

#[test]
fn nothing_but_auth_is_taken_first() {
    let test = TestComet::start(config());
    for wire in WIRES {
        for op in [op::HEARTBEAT, op::CHANGE_ROOM, op::SUB, 10, 11, 1000, -1] {
            let mut client = test.connect(wire);
            let (_, frame) = client.frame(op, b"");
            client.send(&frame);
            let ending = client.until_end();
            assert_eq!(ending.close, wire.websocket.then(|| (4501, "BAD_FRAME".into())), "{wire:?} {op}");
            assert_eq!(ending.frames, []);
        }
    }
    assert_eq!(test.ended(CloseReason::BadFrame), 28);
    test.assert_empty();
    assert_eq!(test.logic.registered(), 0);
}

#[test]
fn lies_about_lengths_end_the_session_at_once() {
    let test = TestComet::start(config());
    let header = |package_len: i32, header_len: u16| {
        let mut bytes = package_len.to_be_bytes().to_vec();
        bytes.extend_from_slice(&header_len.to_be_bytes());
        bytes
    };
    let table = [
        (header(16 + AUTH_BODY_BYTES_MAX as i32 + 1, 16), 4502),
        (header(i32::MAX, 16), 4502),
        (header(-1, 16), 4501),
        (header(15, 16), 4501),
        (header(16, 15), 4501),
        (header(100, 71), 4501),
        (header(1000, 257), 4501),
    ];
    for wire in CLASSIC {
        for (bytes, code) in &table {
            let mut client = test.connect(wire);
            client.send(bytes);
            client.expect_end(*code);
        }
    }
    test.assert_empty();
}

#[test]
fn auth_of_the_largest_size_and_one_byte_more() {
    let test = TestComet::start(config());
    for wire in WIRES {
        let mut body = serde_json::to_vec(&auth("large")).unwrap();
        body.resize(AUTH_BODY_BYTES_MAX, b' ');
        let mut client = test.connect(wire);
        let (seq, frame) = client.frame(op::AUTH, &body);
        client.send(&frame);
        let reply = client.next_frame();
        assert_eq!((reply.header.op, reply.header.seq), (op::AUTH_REPLY, seq));
        drop(client);

        body.push(b' ');
        let mut client = test.connect(wire);
        let (_, frame) = client.frame(op::AUTH, &body);
        client.send(&frame);
        // Who tried an extended AUTH is told why it failed, although the frame was never read.
        let ending = client.expect_end(4502);
        assert_eq!(ending.close, wire.websocket.then(|| (4502, "FRAME_TOO_LARGE".into())));
    }
    test.assert_empty();
}

#[test]
fn refused_by_logic() {
    let test = TestComet::start(config());
    for wire in WIRES {
        let mut client = test.connect(wire);
        client.send_auth(&Auth { key: "ask the operator".into(), platform: REFUSED.into(), ..Auth::default() });
        let ending = client.expect_end(4500);
        if let Some(disconnect) = ending.disconnect {
            assert_eq!((&disconnect["reason"], &disconnect["message"]), (&"UNAUTHENTICATED".into(), &"ask the operator".into()));
            assert_eq!(disconnect["retry_after_ms"], serde_json::Value::Null);
        }
        for body in ["", "{", "[]", r#"{"mid":"x"}"#, "\u{0}"] {
            let mut client = test.connect(wire);
            let (_, frame) = client.frame(op::AUTH, body.as_bytes());
            client.send(&frame);
            client.expect_end(4500);
        }
    }
    assert_eq!(test.sum(|metrics| &metrics.auth_refused), 24);
    test.assert_empty();
    assert_eq!(test.logic.registered(), 0);
}

#[test]
fn upgrade_and_refused_auth_in_one_write_are_answered_in_order() {
    let test = TestComet::start(config());
    let body = serde_json::to_vec(&Auth { platform: REFUSED.into(), ..Auth::default() }).unwrap();
    for ver in [1, 2] {
        let mut client = Client::connect(test.ws(), TCP, None);
        client.send_raw(&[UPGRADE, &ws_frame(0x82, &classic(ver, op::AUTH, 1, &body))].concat());
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut client.stream, &mut all).unwrap();
        assert!(all.starts_with(b"HTTP/1.1 101 "), "{:?}", String::from_utf8_lossy(&all));
        let close = [&[0x88, 17][..], &4500_u16.to_be_bytes(), b"UNAUTHENTICATED"].concat();
        assert!(all.ends_with(&close), "{:?}", String::from_utf8_lossy(&all));
    }
    test.assert_empty();
}

#[test]
fn accepted_with_more_operations_than_allowed() {
    let mut config = config();
    config.limits.subscriptions_max = 3;
    let test = TestComet::start(config);
    for wire in WIRES {
        let mut client = test.connect(wire);
        client.send_auth(&auth_in("k", "live://1", &[1, 2, 3, 4]));
        client.expect_end(4500);
    }
    test.assert_empty();
    assert_eq!(test.logic.registered(), 4);
}

#[test]
fn what_an_extended_session_is_told() {
    let mut config = config();
    config.heartbeat_ms = 12_345;
    config.reconnect_ms = 77;
    config.id_epoch_ms = 99;
    let test = TestComet::start(config);
    for wire in EXTENDED {
        let mut client = test.connect(wire);
        let reply = client.login(&auth("me"));
        assert_eq!((reply.header_len, reply.header.ver, reply.header.ext), (72, 2, Extension::default()));
        let json = reply.json();
        assert_eq!((&json["mid"], &json["key"], &json["server"]), (&42.into(), &"me".into(), &"test".into()));
        assert_eq!((&json["heartbeat_ms"], &json["reconnect_ms"]), (&12_345.into(), &77.into()));
        assert_eq!((&json["head"], &json["floor"]), (&0.into(), &1.into()));
        assert_eq!((&json["limits"]["body_bytes"], &json["limits"]["frame_bytes"]), (&65_536.into(), &(2 << 20).into()));
        assert_eq!(json["limits"]["id_epoch_ms"], 99);
        // A fresh AUTH of the same user renews, another user's ends the session.
        client.send_auth(&auth("me"));
        assert_eq!(client.next_frame().header.op, op::AUTH_REPLY);
        client.send_auth(&Auth { mid: 43, ..Auth::default() });
        client.expect_end(4500);
    }
    for wire in CLASSIC {
        let mut client = test.connect(wire);
        let reply = client.login(&auth("me"));
        assert_eq!((reply.header_len, reply.header.ver, reply.body.len(), reply.wrapped), (16, 1, 0, false));
        // On a classic session a second AUTH is upstream.
        assert_eq!(client.request(op::AUTH, b"again").header.op, op::AUTH);
        // The version of a request is echoed, and a longer header is skipped.
        client.send(&classic(0, op::HEARTBEAT, -7, b""));
        let reply = client.next_frame().header;
        assert_eq!((reply.ver, reply.seq, reply.op), (0, -7, op::HEARTBEAT_REPLY));
    }
    test.assert_empty();
}

fn hasty() -> perseid_comet::Config {
    let mut config = config();
    config.limits.handshake_ms = 300;
    config
}

#[test]
fn the_silent_are_closed_at_the_handshake_deadline() {
    let test = TestComet::start(hasty());
    let mut silent: Vec<Client> = WIRES.map(|wire| test.connect(wire)).into();
    let mut never_upgraded = Client::connect(test.ws(), TCP, None);
    for client in &mut silent {
        let ending = client.until_end();
        assert_eq!(ending.close, client.wire.websocket.then(|| (4007, "HANDSHAKE_TIMEOUT".into())));
    }
    never_upgraded.until_end();
    assert_eq!(test.ended(CloseReason::HandshakeTimeout), 5);
    test.assert_empty();
}

#[test]
fn a_byte_at_a_time_does_not_move_the_handshake_deadline() {
    let test = TestComet::start(hasty());
    let mut slow: Vec<(Client, Vec<u8>)> = Vec::new();
    for wire in CLASSIC {
        let mut client = test.connect(wire);
        let frame = client.auth_frame(&Auth { key: "k".repeat(100), ..Auth::default() });
        let bytes = client.wired(&frame);
        slow.push((client, bytes));
    }
    slow.push((Client::connect(test.ws(), TCP, None), UPGRADE.to_vec()));
    for nth in 0..90 {
        for (client, bytes) in &mut slow {
            let _ = client.try_send_raw(&bytes[nth..=nth]);
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    for (mut client, _) in slow {
        client.until_end();
    }
    assert_eq!(test.ended(CloseReason::HandshakeTimeout), 3);
    assert_eq!(test.logic.registered(), 0);
    test.assert_empty();
}

#[test]
fn frames_behind_a_late_answer_wait_in_order() {
    let test = TestComet::start(config());
    for wire in WIRES {
        let mut client = test.connect(wire);
        let mut frames = client.auth_frame(&Auth { platform: LATER.into(), ..auth_in("late", "live://1", &[]) });
        frames.extend(client.frame(op::CHANGE_ROOM, b"live://2").1);
        frames.extend(client.frame(1000, b"first").1);
        frames.extend(client.frame(UPSTREAM_LATER, b"second").1);
        client.send(&frames);
        let (_, more) = client.frame(1001, b"third");
        client.send(&more);
        eventually("AUTH is asked", || test.logic.open_questions() == 1);
        assert_eq!(test.comet.sessions(), 0);
        test.logic.answer_all();
        for op in [op::AUTH_REPLY, op::CHANGE_ROOM_REPLY, 1000] {
            assert_eq!(client.next_frame().header.op, op, "{wire:?}");
        }
        eventually("the upstream frame is asked", || test.logic.open_questions() == 1);
        assert_eq!(test.comet.room_online("live://2"), 1);
        test.logic.answer_all();
        for (seq, op) in [(4, UPSTREAM_LATER), (5, 1001)] {
            let header = client.next_frame().header;
            assert_eq!((header.seq, header.op), (seq, op));
        }
        drop(client);
        test.assert_empty();
    }
}

#[test]
fn a_stream_of_requests_and_late_answers_stays_in_order() {
    let test = TestComet::start(config());
    const MESSAGES: i32 = 400;
    for wire in WIRES {
        let mut client = test.login(wire, &auth("stream"));
        let before = test.logic.upstream().len();
        let mut sender = client.sender();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for nth in 0..MESSAGES {
                    let mut message = Vec::new();
                    for (step, op) in [UPSTREAM_LATER, 1000, 1001].into_iter().enumerate() {
                        let seq = nth * 3 + step as i32;
                        message.extend(sender.frame_with(op, seq, Extension::default(), &seq.to_be_bytes()));
                    }
                    let message = sender.wired(&message);
                    // Cut, so that reads come at odd moments.
                    let (head, tail) = message.split_at(message.len() / 3);
                    sender.send_raw(head);
                    sender.send_raw(tail);
                }
            });
            scope.spawn(|| {
                for _ in 0..MESSAGES {
                    eventually("asked", || test.logic.open_questions() > 0);
                    test.logic.answer_all();
                }
            });
            for seq in 0..MESSAGES * 3 {
                assert_eq!(client.next_frame().header.seq, seq, "{wire:?}");
            }
        });
        let upstream = &test.logic.upstream()[before..];
        let expected: Vec<Vec<u8>> = (0..MESSAGES * 3).map(|seq| seq.to_be_bytes().to_vec()).collect();
        assert!(upstream.iter().map(|(_, body)| body).eq(&expected), "{wire:?}: the business saw another order");
        drop(sender);
        drop(client);
        test.assert_empty();
    }
}

#[test]
fn heartbeats_are_answered_while_the_business_thinks() {
    let test = TestComet::start(config());
    for wire in WIRES {
        let mut client = test.login(wire, &auth("thinks"));
        let mut frames = client.frame(UPSTREAM_LATER, b"slow").1;
        frames.extend(client.frame(1000, b"behind").1);
        frames.extend(client.frame(op::HEARTBEAT, b"").1);
        client.send(&frames);
        assert_eq!(client.next_frame().header.op, op::HEARTBEAT_REPLY, "{wire:?}");
        let (_, frame) = client.frame(op::HEARTBEAT, b"");
        client.send(&frame);
        assert_eq!(client.next_frame().header.op, op::HEARTBEAT_REPLY);
        test.logic.answer_all();
        for op in [UPSTREAM_LATER, 1000] {
            assert_eq!(client.next_frame().header.op, op);
        }
        drop(client);
        test.assert_empty();
    }
}

#[test]
fn an_end_while_logic_thinks_is_told_once() {
    let test = TestComet::start(hasty());
    for wire in WIRES {
        // The deadline comes first.
        let mut client = test.connect(wire);
        client.send_auth(&Auth { platform: LATER.into(), ..auth("late") });
        client.expect_end(4007);
        test.logic.answer_all();
        drop(client);
        eventually("told of the end", || test.logic.addr("late").is_none());
        test.assert_empty();
        // The client goes first.
        let mut client = test.connect(wire);
        client.send_auth(&Auth { platform: LATER.into(), ..auth("gone") });
        eventually("asked", || test.logic.open_questions() == 1);
        drop(client);
        test.logic.answer_all();
        test.assert_empty();
        // The client goes while the business thinks.
        let mut client = test.login(wire, &auth("busy"));
        let (_, frame) = client.frame(UPSTREAM_LATER, b"");
        client.send(&frame);
        eventually("asked", || test.logic.open_questions() == 1);
        drop(client);
        test.logic.answer_all();
        test.assert_empty();
    }
}

#[test]
fn a_second_session_with_the_key_replaces_the_first() {
    for workers in [1, 2] {
        let test = TestComet::start(perseid_comet::Config { workers, ..config() });
        for wire in WIRES {
            let mut first = test.login(wire, &auth_in("same", "live://1", &[1000]));
            let mut second = test.login(wire, &auth_in("same", "live://1", &[1000]));
            first.expect_end(4507);
            drop(first);
            eventually("one connection", || test.comet.connections() == 1);
            assert_eq!(second.heartbeat(), 1);
            test.push_key("same", push(1000, "x"));
            assert_eq!(second.next_frame().body, b"x");
            drop(second);
            test.assert_empty();
        }
        assert_eq!(test.ended(CloseReason::Replaced), 4);
    }
}

#[test]
fn kicked_with_a_message() {
    let test = TestComet::start(config());
    for wire in WIRES {
        let mut client = test.login(wire, &auth("k"));
        let addr = test.addr("k");
        let mut other_life = addr;
        other_life.incarnation += 1;
        test.comet.end_session(other_life, CloseReason::Kicked, None);
        client.heartbeat();
        test.comet.end_session(addr, CloseReason::Kicked, Some("because"));
        let ending = client.expect_end(4503);
        if let Some(disconnect) = ending.disconnect {
            assert_eq!(disconnect["message"], "because");
        }
        drop(client);
        // An address is never used again.
        let mut next = test.login(wire, &auth("next"));
        test.comet.end_session(addr, CloseReason::Kicked, None);
        next.heartbeat();
        drop(next);
        test.assert_empty();
    }
}
