//! What a session in service is answered and pushed.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use perseid_comet::Config;
use perseid_protocol::frame::Extension;
use perseid_protocol::push::{Drop, Push};
use perseid_protocol::room::room_hash;
use perseid_protocol::{CloseReason, op};
use support::client::classic;
use support::logic::{auth, auth_in};
use support::*;

#[test]
fn heartbeat_tells_how_many_are_in_the_room() {
    for workers in [1, 2] {
        let test = TestComet::start(Config { workers, ..config() });
        for wire in WIRES {
            let mut one = test.login(wire, &auth_in("1", "live://1", &[]));
            let mut two = test.login(wire, &auth_in("2", "live://1", &[]));
            let mut alone = test.login(wire, &auth("3"));
            assert_eq!((one.heartbeat(), two.heartbeat(), alone.heartbeat()), (2, 2, 0));
            two.change_room("live://2");
            assert_eq!((one.heartbeat(), two.heartbeat()), (1, 1));
            two.change_room("");
            assert_eq!(two.heartbeat(), 0);
            drop(one);
            eventually("it has left", || test.comet.room_online("live://1") == 0);
            assert_eq!(test.comet.room_count(), 0);
            drop((two, alone));
            test.assert_empty();
        }
    }
}

#[test]
fn silence_ends_a_session_and_any_frame_keeps_it() {
    let mut config = config();
    config.limits.silence_ms = 4000;
    let test = TestComet::start(config);
    let mut silent = WIRES.map(|wire| test.login(wire, &auth(&format!("silent {wire:?}"))));
    let mut loud = WIRES.map(|wire| test.login(wire, &auth(&format!("loud {wire:?}"))));
    let (mut turn, ops) = (0, [op::HEARTBEAT, op::SUB, 1000, op::CHANGE_ROOM]);
    eventually("the silent are ended", || {
        for client in &mut loud {
            let (_, frame) = client.frame(ops[turn % ops.len()], b"");
            client.send(&frame);
            client.next_frame();
        }
        turn += 1;
        std::thread::sleep(Duration::from_millis(50));
        test.ended(CloseReason::HeartbeatTimeout) == 4
    });
    for client in &mut silent {
        client.expect_end(4005);
    }
    for client in &mut loud {
        client.heartbeat();
    }
    drop((silent, loud));
    test.assert_empty();
}

#[test]
fn after_change_room_nothing_comes_from_the_old_one() {
    let test = TestComet::start(config());
    for wire in WIRES {
        let mut client = test.login(wire, &auth_in("mover", "live://old", &[1000]));
        let mut stays = test.login(wire, &auth_in("stays", "live://old", &[1000]));
        for round in 0..50 {
            // Some before, some while it moves.
            let (old, new) = if round % 2 == 0 { ("live://old", "live://new") } else { ("live://new", "live://old") };
            test.push_room(old, push(1, "to the old one"));
            let (seq, frame) = client.frame(op::CHANGE_ROOM, new.as_bytes());
            client.send(&frame);
            test.push_room(old, push(1, "to the old one"));
            loop {
                let got = client.next_frame();
                if got.header.seq == seq {
                    assert_eq!((got.header.op, &got.body[..]), (op::CHANGE_ROOM_REPLY, new.as_bytes()));
                    break;
                }
                assert_eq!(got.body, b"to the old one");
            }
            test.push_room(old, push(1, "to the old one"));
            test.push_key("mover", push(1000, "fence"));
            assert_eq!(client.next_frame().body, b"fence", "{wire:?} round {round}");
            test.push_room(new, push(1, "new"));
            assert_eq!(client.next_frame().body, b"new");
            stays.read_now(1 << 20);
        }
        drop((client, stays));
        test.assert_empty();
    }
}

#[test]
fn changing_to_the_same_room_loses_nothing() {
    let test = TestComet::start(config());
    for wire in WIRES {
        let mut client = test.login(wire, &auth_in("same", "live://1", &[]));
        let mut numbers = Vec::new();
        for number in 0..200_u32 {
            test.push_room("live://1", push(1, number.to_be_bytes().to_vec()));
            numbers.extend(client.change_room("live://1"));
        }
        while numbers.len() < 200 {
            numbers.push(client.next_frame());
        }
        for (number, got) in (0_u32..).zip(numbers) {
            assert_eq!(got.body, number.to_be_bytes());
        }
        assert_eq!(client.heartbeat(), 1);
    }
    test.assert_empty();
}

#[test]
fn malformed_control_bodies_change_nothing() {
    let mut config = config();
    config.limits.subscriptions_max = 3;
    let test = TestComet::start(config);
    let bad = [
        (op::CHANGE_ROOM, &b"no scheme"[..]),
        (op::CHANGE_ROOM, b"live://\xff"),
        (op::CHANGE_ROOM, &[b'x'; 300]),
        (op::SUB, b""),
        (op::SUB, b"1000,x"),
        (op::SUB, b"1,2,3,4"),
        (op::SUB, b"5,6,7"), // with those it has: too many
        (op::UNSUB, b"1000 ,"),
    ];
    for wire in WIRES {
        let mut client = test.login(wire, &auth_in("k", "live://1", &[1000]));
        for (op, body) in bad {
            let reply = client.request(op, body);
            if wire.extended {
                assert_eq!((reply.header.op, reply.header_len), (op::ERROR, 72));
                assert_eq!(reply.json()["code"], 400, "{reply:?}");
            } else {
                assert_eq!((reply.header.op, &reply.body[..]), (op + 1, body));
            }
        }
        assert_eq!(client.heartbeat(), 1);
        test.push_key("k", push(5, "not accepted"));
        test.push_key("k", push(1000, "accepted"));
        assert_eq!(client.next_frame().body, b"accepted");
        drop(client);
        test.assert_empty();
    }
}

#[test]
fn subscriptions_filter_direct_and_all_but_not_the_room() {
    let test = TestComet::start(config());
    for wire in WIRES {
        let mut client = test.login(wire, &auth_in("k", "live://1", &[1000]));
        let filtered = test.dropped(Drop::Filtered);
        let push_everywhere = |client: &mut Client, expected: &[&str]| {
            for op in [1000, 1001] {
                test.push_key("k", push(op, format!("direct {op}")));
                test.push_all(0, push(op, format!("all {op}")));
                test.push_room("live://1", push(op, format!("room {op}")));
            }
            for body in expected {
                assert_eq!(String::from_utf8(client.next_frame().body).unwrap(), *body, "{wire:?}");
            }
        };
        push_everywhere(&mut client, &["direct 1000", "all 1000", "room 1000", "room 1001"]);
        assert_eq!(client.request(op::SUB, b"1001,1002").body, b"1001,1002");
        push_everywhere(&mut client, &["direct 1000", "all 1000", "room 1000", "direct 1001", "all 1001", "room 1001"]);
        assert_eq!(client.request(op::UNSUB, b"1000").body, b"1000");
        push_everywhere(&mut client, &["room 1000", "direct 1001", "all 1001", "room 1001"]);
        assert_eq!(client.request(op::UNSUB, b"1001,1002,7").body, b"1001,1002,7");
        push_everywhere(&mut client, &["room 1000", "room 1001"]);
        client.heartbeat();
        assert_eq!(test.dropped(Drop::Filtered) - filtered, 2 + 2 + 4);
        drop(client);
        test.assert_empty();
    }
}

#[test]
fn whatever_else_is_upstream_and_comes_back_empty() {
    let test = TestComet::start(config());
    for wire in CLASSIC {
        let mut client = test.login(wire, &auth("k"));
        let before = test.logic.upstream().len();
        let ops: Vec<i32> =
            [-1, i32::MIN, i32::MAX, 0, 1, 3, 4, 5, 6, 7, 8, 9, 13, 15, 17, 100, 1000].into_iter().chain(18..=33).collect();
        for &op in &ops {
            let reply = client.request(op, b"body");
            assert_eq!((reply.header.op, reply.header.ver, reply.body.len(), reply.wrapped), (op, 1, 0, false));
        }
        let upstream = &test.logic.upstream()[before..];
        assert!(upstream.iter().map(|(op, _)| op).eq(&ops) && upstream.iter().all(|(_, body)| body == b"body"));
    }
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        for op in [33, 999, 1000, i32::MAX] {
            let reply = client.request(op, b"body");
            assert_eq!((reply.header.op, reply.header_len, reply.header.ver), (op, 72, 2));
        }
        let before = test.logic.upstream().len();
        for op in [0, 1, 3, 5, 6, 8, 9, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 32, -1] {
            let reply = client.request(op, b"");
            assert_eq!((reply.header.op, &reply.json()["reason"]), (op::ERROR, &"BAD_REQUEST".into()), "{op}");
        }
        // Stored messages are not kept here.
        for op in [op::SEND_MSG, op::SYNC, op::ACK, op::PULL, op::READ, op::HEADS, op::RECALL, op::EPHEMERAL] {
            let seq = client.next_seq();
            let ext = Extension { kind: 1, conv: 7, conv_pos: 8, cid: 9, pos: 3, ..Extension::default() };
            let frame = client.frame_with(op, seq, ext, b"");
            client.send(&frame);
            let reply = client.next_frame();
            assert_eq!((reply.header.op, reply.header.seq), (op::ERROR, seq));
            assert_eq!(reply.header.ext, Extension { kind: 1, conv: 7, conv_pos: 8, cid: 9, ..Extension::default() });
        }
        assert_eq!(test.logic.upstream().len(), before);
        // An extended session may send 16-byte headers, and is answered with 72.
        client.send(&classic(1, op::HEARTBEAT, 5, b""));
        let reply = client.next_frame();
        assert_eq!((reply.header_len, reply.header.ver, reply.header.seq), (72, 1, 5));
    }
    test.assert_empty();
}

#[test]
fn reserved_signals_end_the_session() {
    let test = TestComet::start(config());
    for wire in WIRES {
        for op in [10, 11] {
            let mut client = test.login(wire, &auth("k"));
            let mut frames = client.frame(1000, b"before").1;
            frames.extend(client.frame(op, b"").1);
            frames.extend(client.frame(1001, b"after").1);
            client.send(&frames);
            let ending = client.expect_end(4501);
            // What was asked before is answered first.
            assert!(ending.frames.iter().map(|got| got.header.op).eq([1000]), "{wire:?} {ending:?}");
            drop(client);
        }
    }
    test.assert_empty();
}

#[test]
fn pushes_as_each_kind_of_session_sees_them() {
    let test = TestComet::start(config());
    for wire in WIRES {
        let mut client = test.login(wire, &auth_in("k", "live://1", &[1000]));
        let direct = Push { id: 5, from: 6, kind: 0, ..push(1000, "direct") };
        test.push_key("k", direct.clone());
        test.push_room("live://1", Push { id: 7, ..push(1001, "room") });
        test.push_all(0, Push { id: 8, ..push(1000, "all") });
        let expected = [
            (1000, Extension { id: 5, from: 6, ..Extension::default() }, "direct"),
            (1001, Extension { id: 7, kind: 4, conv: room_hash("live://1"), ..Extension::default() }, "room"),
            (1000, Extension { id: 8, ..Extension::default() }, "all"),
        ];
        for (op, ext, body) in expected {
            let got = client.next_frame();
            assert_eq!((got.header.op, got.header.seq, &got.body[..]), (op, 0, body.as_bytes()));
            assert_eq!(got.wrapped, wire == WS);
            if wire.extended {
                assert_eq!((got.header_len, got.header.ver, got.header.ext), (72, 2, ext));
            } else {
                assert_eq!((got.header_len, got.header.ver), (16, 1));
            }
        }
        drop(client);
        test.assert_empty();
    }
}

#[test]
fn pushes_that_are_too_late_are_not_delivered() {
    let test = TestComet::start(config());
    for wire in WIRES {
        let mut client = test.login(wire, &auth_in("k", "live://1", &[1000]));
        let expired = test.dropped(Drop::Expired);
        let late = || Push { expires_at_ms: 1, ..push(1000, "late") };
        test.push_key("k", late());
        test.push_room("live://1", late());
        test.push_all(0, late());
        let far = Push { expires_at_ms: u64::MAX, ..push(1000, "in time") };
        test.push_room("live://1", far.clone());
        assert_eq!(client.next_frame().body, b"in time");
        test.push_key("k", far);
        assert_eq!(client.next_frame().body, b"in time");
        assert_eq!(test.dropped(Drop::Expired) - expired, 3, "{wire:?}");
        drop(client);
        test.assert_empty();
    }
}

#[test]
fn the_largest_frames_pass_and_one_byte_more_does_not() {
    let test = TestComet::start(config());
    let max = test.comet.config().limits.body_bytes_max;
    for wire in WIRES {
        let mut client = test.login(wire, &auth_in("k", "live://1", &[1000]));
        let body: Vec<u8> = (0..max).map(|at| at as u8).collect();
        assert_eq!(client.request(1000, &body).header.op, 1000);
        assert!(test.logic.upstream().last().is_some_and(|(_, got)| *got == body));
        // As large as a transient push may be.
        let body: Vec<u8> = (0..1 << 20).map(|at| (at * 7) as u8).collect();
        test.push_key("k", push(1000, body.clone()));
        test.push_room("live://1", push(1000, body.clone()));
        test.push_all(0, push(1000, body.clone()));
        for _ in 0..3 {
            assert!(client.next_frame().body == body);
        }
        let (_, frame) = client.frame(1000, &vec![0; max + 1]);
        client.send(&frame);
        client.expect_end(4502);
        drop(client);
        test.assert_empty();
    }
}

#[test]
fn bytes_one_at_a_time_are_the_same_frames() {
    let test = TestComet::start(config());
    for wire in WIRES {
        let mut client = test.connect(wire);
        let frame = client.auth_frame(&auth_in("k", "live://1", &[]));
        let mut bytes = client.wired(&frame);
        for body in ["a", "", "bcd"] {
            let frame = client.frame(1000, body.as_bytes()).1;
            bytes.extend(client.wired(&frame));
        }
        for byte in bytes {
            client.send_raw(&[byte]);
            std::thread::sleep(Duration::from_micros(200));
        }
        for (seq, op) in [(1, op::AUTH_REPLY), (2, 1000), (3, 1000), (4, 1000)] {
            let header = client.next_frame().header;
            assert_eq!((header.seq, header.op), (seq, op));
        }
        drop(client);
        test.assert_empty();
    }
}

#[test]
fn a_client_that_closes_its_half_is_answered_what_it_asked() {
    let test = TestComet::start(config());
    for wire in WIRES {
        let mut client = test.login(wire, &auth("k"));
        let (_, one) = client.frame(1000, b"one");
        let (_, two) = client.frame(1001, b"two");
        client.send(&[one, two].concat());
        client.shutdown_write();
        let ending = client.until_end();
        assert!(ending.frames.iter().map(|got| got.header.op).eq([1000, 1001]), "{ending:?}");
        drop(client);
        test.assert_empty();
    }
}

#[test]
fn no_more_sessions_than_allowed() {
    let test = TestComet::start(Config { sessions_max: 3, ..config() });
    for wire in WIRES {
        let mut held: Vec<Client> = (0..3).map(|nth| test.login(wire, &auth(&format!("{nth}")))).collect();
        let before = test.sum(|metrics| &metrics.turned_away);
        let mut one_more = Client::connect_tcp(test.tcp(), None);
        assert!(!matches!(std::io::Read::read(&mut one_more, &mut [0; 64]), Ok(1..)), "it was told something");
        assert_eq!(test.sum(|metrics| &metrics.turned_away), before + 1);
        held.pop();
        eventually("a place is free", || test.comet.connections() == 2);
        held.push(test.login(wire, &auth("again")));
        held.iter_mut().for_each(|client| assert_eq!(client.heartbeat(), 0));
        drop(held);
        test.assert_empty();
    }
}
