//! Each limit, with what it says to the client and what it counts.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Read;

use perseid_comet::metrics::Limit;
use perseid_comet::{Config, DoorConfig, LimitConfig, Rate};
use perseid_protocol::{CloseReason, op};
use support::client::{UPGRADE, ws_frame};
use support::logic::{REFUSED, auth, auth_in};
use support::*;

fn limited(limit: LimitConfig) -> TestComet {
    TestComet::start(Config { limit, ..config() })
}

fn reached(test: &TestComet, limit: Limit) -> u64 {
    test.sum(|metrics| &metrics.limited[limit as usize])
}

fn user(mid: i64, key: &str) -> Auth {
    Auth { mid, ..auth(key) }
}

/// A connection that is closed before anything was said.
fn assert_closed(mut tcp: std::net::TcpStream) {
    assert!(!matches!(tcp.read(&mut [0; 64]), Ok(1..)), "it was told something");
}

#[test]
fn handshakes_of_the_node_have_a_rate() {
    let test = limited(LimitConfig { handshakes: Rate::new(1, 3), ..LimitConfig::default() });
    let started = std::time::Instant::now();
    let mut let_in: Vec<Client> = (0..3).map(|_| test.connect(TCP)).collect();
    let closed = (0..20).filter(|_| {
        let tcp = Client::connect_tcp(test.ws(), None);
        tcp.set_read_timeout(Some(std::time::Duration::from_millis(50))).unwrap();
        !matches!((&tcp).read(&mut [0; 1]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    });
    let closed = closed.count() as u64;
    assert!(closed + 1 + started.elapsed().as_secs() >= 20, "{closed}");
    assert_eq!(reached(&test, Limit::HandshakeRate), closed);
    assert_eq!(test.sum(|metrics| &metrics.turned_away), closed);
    for (at, client) in let_in.iter_mut().enumerate() {
        client.login(&auth(&format!("{at}")));
    }
}

#[test]
fn so_many_handshakes_at_a_time() {
    let test = limited(LimitConfig { handshakes_max: 2, ..LimitConfig::default() });
    for round in 0..3 {
        let mut first = test.connect(TCP);
        let second = test.connect(WS);
        assert_closed(Client::connect_tcp(test.tcp(), None));
        // Who is through, or gone, or refused, makes room.
        first.login(&auth(&format!("first {round}")));
        drop(second);
        eventually("the second has gone", || test.comet.connections() == 1);
        let mut third = test.connect(TCP_EXTENDED);
        third.send_auth(&Auth { platform: REFUSED.into(), ..auth("no") });
        third.expect_end(4500);
        let mut fourth = test.login(WS_EXTENDED, &auth(&format!("fourth {round}")));
        assert_eq!(fourth.heartbeat(), 0);
        drop((first, third, fourth));
        test.assert_empty();
    }
    assert_eq!(reached(&test, Limit::Handshakes), 3);
}

#[test]
fn connections_of_an_address_have_a_rate() {
    let limit = LimitConfig { address_connects: Rate::new(1, 2), ..LimitConfig::default() };
    let test = limited(limit.clone());
    let held = [test.connect(TCP), test.connect(TCP)];
    assert_closed(Client::connect_tcp(test.tcp(), None));
    assert_eq!(reached(&test, Limit::AddressConnects), 1);
    drop(held);
    let exempt = limited(LimitConfig { exempt: vec!["127.0.0.1/32".parse().unwrap()], ..limit });
    let held: Vec<Client> = (0..20).map(|_| exempt.connect(TCP)).collect();
    assert_eq!((held.len(), reached(&exempt, Limit::AddressConnects)), (20, 0));
}

#[test]
fn behind_a_proxy_addresses_count_and_not_the_proxy() {
    let limit = LimitConfig { address_connects: Rate::new(1, 2), ..LimitConfig::default() };
    let door = DoorConfig { proxies: vec!["127.0.0.0/8".parse().unwrap()], ..DoorConfig::default() };
    let test = TestComet::start(Config { limit, door, ..config() });
    let ask = |from: &str| {
        let request = String::from_utf8(UPGRADE.to_vec()).unwrap();
        let request = request.replace("Host: x\r\n", &format!("Host: x\r\nX-Forwarded-For: 127.9.9.9, {from}\r\n"));
        let mut client = Client::connect(test.ws(), TCP, None);
        client.send_raw(request.as_bytes());
        let mut answer = [0; 12];
        client.stream.read_exact(&mut answer).unwrap();
        (String::from_utf8(answer[9..].to_vec()).unwrap(), client)
    };
    let statuses: Vec<String> = ["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8::3"]
        .map(|from| ask(from).0)
        .into();
    assert_eq!(statuses, ["101", "101", "429", "101", "101", "101", "429"]);
    assert_eq!(reached(&test, Limit::AddressConnects), 2);
    // On TCP nobody says whom it speaks for: the proxy itself is not limited.
    for _ in 0..10 {
        drop(test.connect(TCP));
    }
    test.assert_empty();
}

#[test]
fn sessions_of_an_address() {
    for wire in WIRES {
        let test = limited(LimitConfig { address_sessions_max: 2, ..LimitConfig::default() });
        let mut first = test.login(wire, &auth("first"));
        let second = test.login(wire, &auth("second"));
        let mut third = test.connect(wire);
        third.send_auth(&auth("third"));
        third.expect_end(4504);
        assert_eq!(test.logic.registered(), 2, "logic was not asked");
        // A place is free as soon as a session has ended, or was refused.
        drop(second);
        eventually("it has gone", || test.comet.sessions() == 1);
        let mut refused = test.connect(wire);
        refused.send_auth(&Auth { platform: REFUSED.into(), ..auth("no") });
        refused.expect_end(4500);
        let mut fourth = test.login(wire, &auth("fourth"));
        assert_eq!([first.heartbeat(), fourth.heartbeat()], [0, 0]);
        assert_eq!(reached(&test, Limit::AddressSessions), 1);
        assert_eq!(test.ended(CloseReason::ConnectionLimit), 1);
        drop((first, third, refused, fourth));
        test.assert_empty();
    }
}

#[test]
fn a_session_that_sends_too_many_frames() {
    for wire in WIRES {
        let test = limited(LimitConfig { frames: Rate::new(1, 5), ..LimitConfig::default() });
        let mut quiet = test.login(wire, &auth("quiet"));
        let mut client = test.login(wire, &auth("k"));
        let mut frames = Vec::new();
        for _ in 0..20 {
            let (_, frame) = client.frame(op::HEARTBEAT, b"");
            frames.extend_from_slice(&frame);
        }
        client.send(&frames);
        let ending = client.expect_end(4006);
        assert_eq!(ending.frames.len(), 5, "what was within was answered");
        if let Some(disconnect) = ending.disconnect {
            assert!(disconnect["retry_after_ms"].as_u64().unwrap() > 0);
        }
        assert_eq!((reached(&test, Limit::Frames), test.ended(CloseReason::RateLimited)), (1, 1));
        assert_eq!(quiet.heartbeat(), 0, "nobody else is concerned");
        drop((quiet, client));
        test.assert_empty();
    }
}

#[test]
fn pings_count_as_frames() {
    let test = limited(LimitConfig { frames: Rate::new(1, 5), ..LimitConfig::default() });
    let mut client = test.login(WS, &auth("k"));
    client.send_raw(&ws_frame(0x89, b"ping").repeat(20));
    let mut pongs = 0;
    let close = loop {
        match client.next() {
            Event::Pong(_) => pongs += 1,
            Event::Close(code, _) => break code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((pongs, close), (5, 4006));
}

#[test]
fn a_session_that_sends_too_many_bytes() {
    for wire in WIRES {
        let test = limited(LimitConfig { bytes: Rate::new(1000, 200_000), ..LimitConfig::default() });
        let mut client = test.login(wire, &auth("k"));
        let (_, frame) = client.frame(1000, &[7; 50_000]);
        // Some within, and then too many: the server may be gone before all of it is written.
        client.send(&frame);
        client.next_frame();
        let frame = if wire.websocket { ws_frame(0x82, &frame) } else { frame };
        let mut sender = client.sender();
        let sending = std::thread::spawn(move || {
            for _ in 0..20 {
                if sender.try_send_raw(&frame).is_err() {
                    break;
                }
            }
        });
        eventually("it is too much", || reached(&test, Limit::Bytes) == 1);
        assert_eq!(test.ended(CloseReason::RateLimited), 1);
        drop(client);
        sending.join().unwrap();
        test.assert_empty();
    }
}

#[test]
fn a_user_who_sends_too_many_frames_with_several_sessions() {
    for wires in [[TCP, TCP_EXTENDED], [WS, WS_EXTENDED], [TCP, WS_EXTENDED]] {
        let limit = LimitConfig { user_frames: Rate::new(1, 10), ..LimitConfig::default() };
        // On several workers: all of them share the count.
        let test = TestComet::start(Config { limit, workers: 4, ..config() });
        let mut sessions: Vec<Client> =
            wires.into_iter().chain(wires).enumerate().map(|(at, wire)| test.login(wire, &user(7, &format!("k{at}")))).collect();
        let mut other = test.login(wires[0], &user(8, "other"));
        let mut guest = test.login(wires[1], &user(0, "guest"));
        let frames = |client: &mut Client, count: usize| {
            let beats: Vec<u8> = (0..count).flat_map(|_| client.frame(op::HEARTBEAT, b"").1).collect();
            client.send(&beats);
        };
        for session in &mut sessions[..3] {
            frames(session, 3);
            (0..3).for_each(|_| drop(session.next_frame()));
        }
        // Each of them sends little. The tenth is the last, but for what a second gives back.
        frames(&mut sessions[3], 200);
        let ending = sessions[3].expect_end(4006);
        assert!((1..200).contains(&ending.frames.len()), "{}", ending.frames.len());
        if let Some(disconnect) = ending.disconnect {
            assert!(disconnect["retry_after_ms"].as_u64().unwrap() > 0);
            assert!(disconnect["message"].as_str().unwrap().contains("user"), "{disconnect}");
        }
        assert_eq!((reached(&test, Limit::UserFrames), reached(&test, Limit::Frames)), (1, 0));
        assert_eq!(test.ended(CloseReason::RateLimited), 1);
        // Others are not concerned, and guests are nobody.
        (0..5).for_each(|_| assert_eq!(other.heartbeat(), 0));
        (0..50).for_each(|_| assert_eq!(guest.heartbeat(), 0));
        drop((sessions, other, guest));
        test.assert_empty();
    }
}

#[test]
fn a_user_who_sends_too_many_bytes_with_several_sessions() {
    for wire in WIRES {
        let limit = LimitConfig { user_bytes: Rate::new(1000, 200_000), ..LimitConfig::default() };
        let test = TestComet::start(Config { limit, workers: 2, ..config() });
        let mut sessions: Vec<Client> = (0..3).map(|at| test.login(wire, &user(7, &format!("k{at}")))).collect();
        // 60,000 each, and 200,000 in all.
        for session in &mut sessions {
            let (_, frame) = session.frame(1000, &[7; 60_000]);
            session.send(&frame);
            session.next_frame();
        }
        let (_, frame) = sessions[0].frame(1000, &[7; 60_000]);
        sessions[0].send(&frame);
        eventually("it is too much", || reached(&test, Limit::UserBytes) == 1);
        assert_eq!((reached(&test, Limit::Bytes), test.ended(CloseReason::RateLimited)), (0, 1));
        assert_eq!(sessions[1].heartbeat(), 0, "who sends nothing is left alone");
        drop(sessions);
        test.assert_empty();
    }
}

#[test]
fn rooms_of_the_node() {
    for wire in WIRES {
        let test = limited(LimitConfig { rooms_max: 2, ..LimitConfig::default() });
        let mut first = test.login(wire, &auth_in("first", "live://1", &[]));
        let mut second = test.login(wire, &auth_in("second", "live://2", &[]));
        let mut joins = test.login(wire, &auth_in("joins", "live://1", &[]));
        assert_eq!(joins.heartbeat(), 2);
        // One that is in a room alone takes its place along.
        second.change_room("live://3");
        assert_eq!((second.heartbeat(), test.comet.room_count()), (1, 2));
        // With AUTH.
        let mut third = test.connect(wire);
        third.send_auth(&auth_in("third", "live://4", &[]));
        third.expect_end(4008);
        // And later.
        let (seq, frame) = joins.frame(op::CHANGE_ROOM, b"live://4");
        joins.send(&frame);
        if wire.extended {
            let error = joins.next_frame();
            assert_eq!((error.header.op, error.header.seq, error.json()["code"].as_u64()), (op::ERROR, seq, Some(503)));
            assert_eq!(joins.heartbeat(), 2, "it stays where it is");
        } else {
            joins.expect_end(4008);
        }
        assert_eq!((reached(&test, Limit::Rooms), test.comet.room_count()), (2, 2));
        first.change_room("");
        drop((first, second, joins, third));
        test.assert_empty();
    }
}

#[test]
fn a_full_node_says_so_to_who_can_hear_it() {
    if SECURE {
        return; // a handshake would be more than a word costs
    }
    let test = TestComet::start(Config { sessions_max: 2, ..config() });
    let mut held = vec![test.login(TCP, &auth("one")), test.login(WS, &auth("two"))];
    assert_closed(Client::connect_tcp(test.tcp(), None));
    for _ in 0..40 {
        let mut client = Client::connect(test.ws(), TCP, None);
        client.send_raw(UPGRADE);
        let mut answer = String::new();
        client.stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nRetry-After: "), "{answer}");
    }
    // Those who only sit there are told nothing, and take nobody's place.
    let idle: Vec<_> = (0..30).map(|_| Client::connect_tcp(test.ws(), None)).collect();
    eventually("the rest is closed", || test.comet.connections() == 2 + 16);
    held.pop();
    eventually("it has gone", || test.comet.connections() == 1 + 16);
    held.push(test.login(TCP, &auth("three")));
    assert_eq!(reached(&test, Limit::Sessions), 1 + 40 + 30);
    drop(idle);
    eventually("they have gone", || test.comet.connections() == 2);
    assert_closed(Client::connect_tcp(test.tcp(), None));
    held.iter_mut().for_each(|client| assert_eq!(client.heartbeat(), 0));
    drop(held);
    test.assert_empty();
}

#[test]
fn limits_count_from_a_reload_on() {
    let test = limited(LimitConfig::default());
    let mut client = test.login(TCP, &auth("k"));
    for _ in 0..50 {
        client.heartbeat();
    }
    let limit = LimitConfig { frames: Rate::new(1, 2), address_sessions_max: 1, ..LimitConfig::default() };
    test.comet.reload(Config { limit, ..test.comet.config().clone() });
    // Sessions that were there before are not counted by address.
    let mut second = test.login(TCP, &auth("second"));
    let mut third = test.connect(TCP);
    third.send_auth(&auth("third"));
    third.until_end();
    let (_, frame) = client.frame(op::HEARTBEAT, b"");
    client.send(&frame.repeat(3));
    assert_eq!(client.until_end().frames.len(), 2);
    test.comet.reload(Config { limit: LimitConfig::default(), ..test.comet.config().clone() });
    let mut fourth = test.login(TCP, &auth("fourth"));
    for _ in 0..50 {
        second.heartbeat();
        fourth.heartbeat();
    }
    drop((client, second, third, fourth));
    test.assert_empty();
}
