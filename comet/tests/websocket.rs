//! What is particular to WebSocket: upgrades, messages that hold frames, violations.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Read;

use perseid_comet::Config;
use perseid_protocol::{CloseReason, op};
use support::client::{UPGRADE, classic, ws_frame};
use support::logic::{auth, auth_in};
use support::*;

fn answer_to(test: &TestComet, request: &[u8]) -> String {
    let mut client = Client::connect(test.ws(), TCP, None);
    // The answer may come, and the connection end, before all of an endless request is written.
    let _ = client.try_send_raw(request);
    let mut answer = Vec::new();
    let _ = client.stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

#[test]
fn what_is_no_upgrade_is_told_so() {
    let test = TestComet::start(config());
    let upgrade = String::from_utf8(UPGRADE.to_vec()).unwrap();
    let table = [
        (upgrade.replace("/sub", "/"), 404),
        (upgrade.replace("GET", "POST"), 405),
        (upgrade.replace("HTTP/1.1", "HTTP/1.0"), 505),
        (upgrade.replace("Host: x\r\n", ""), 400),
        (upgrade.replace("Upgrade: websocket\r\n", ""), 426),
        (upgrade.replace("Version: 13", "Version: 8"), 426),
        (upgrade.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), 400),
        (upgrade.replace("Host: x", "Host: x\r\nContent-Length: 5"), 400),
        ("\x16\x03\x01\x02\x00\x01\x00\r\n\r\n".into(), 400),
        (format!("GET /sub HTTP/1.1\r\nCookie: {}\r\n\r\n", "c".repeat(9000)), 431),
        (format!("GET /sub HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65)), 431),
        (format!("GET /sub HTTP/1.1\r\nX: {}", "x".repeat(100_000)), 431),
    ];
    for (request, status) in &table {
        let answer = answer_to(&test, request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer:.60} to {request:.60}");
    }
    assert_eq!(test.sum(|metrics| &metrics.upgrades_refused), table.len() as u64);
    test.assert_empty();
}

#[test]
fn an_upgrade_in_pieces_with_frames_behind_it() {
    let test = TestComet::start(config());
    let body = serde_json::to_vec(&auth("k")).unwrap();
    let request = [UPGRADE, &ws_frame(0x82, &classic(1, op::AUTH, 1, &body)), &ws_frame(0x89, b"ping")].concat();
    for piece in [1, 7, 100, request.len()] {
        let mut client = Client::connect(test.ws(), TCP, None);
        for bytes in request.chunks(piece) {
            client.send_raw(bytes);
        }
        let mut answer = vec![0; 129 + 18 + 6];
        client.stream.read_exact(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{:?}", String::from_utf8_lossy(&answer));
        let frame = [&[0x82, 16][..], &classic(1, op::AUTH_REPLY, 1, b""), &[0x8a, 4], b"ping"].concat();
        assert!(answer.ends_with(&frame), "{:?}", String::from_utf8_lossy(&answer));
        drop(client);
        test.assert_empty();
    }
}

#[test]
fn violations_end_with_their_own_codes() {
    let test = TestComet::start(Config { message_bytes_max: 100_000, fragments_max: 10, ..config() });
    let mut unmasked = ws_frame(0x82, b"");
    unmasked[1] &= 0x7f;
    let fragments = |count| [ws_frame(0x02, b""), ws_frame(0x00, b"").repeat(count)].concat();
    let table = [
        ("text", ws_frame(0x81, b"hello"), 1003),
        ("unmasked", unmasked, 1002),
        ("reserved bit", ws_frame(0xc2, b""), 1002),
        ("reserved opcode", ws_frame(0x83, b""), 1002),
        ("continuation of nothing", ws_frame(0x80, b""), 1002),
        ("fragmented ping", ws_frame(0x09, b""), 1002),
        ("long ping", ws_frame(0x89, &[0; 126]), 1002),
        ("message in a message", [ws_frame(0x02, b"a"), ws_frame(0x82, b"b")].concat(), 1002),
        ("close of one byte", ws_frame(0x88, b"x"), 1002),
        ("close 1005", ws_frame(0x88, &1005_u16.to_be_bytes()), 1002),
        ("close reason not UTF-8", ws_frame(0x88, b"\x03\xe8\xff"), 1007),
        ("too big, in one", ws_frame(0x82, &vec![0; 100_001]), 1009),
        ("too big, in two", [ws_frame(0x02, &vec![0; 60_000]), ws_frame(0x80, &vec![0; 60_000])].concat(), 1009),
        ("too many fragments", fragments(10), 1009),
    ];
    for (name, bytes, code) in table {
        for wire in [WS, WS_EXTENDED] {
            let mut client = test.login(wire, &auth_in("k", "live://1", &[]));
            let (_, frame) = client.frame(1000, b"asked before");
            let before = client.wired(&frame);
            client.send_raw(&before);
            let _ = client.try_send_raw(&bytes);
            let ending = client.until_end();
            assert_eq!(ending.close.as_ref().map(|close| close.0), Some(code), "{name}: {ending:?}");
            assert!(ending.frames.iter().map(|got| got.header.op).eq([1000]), "{name}: {ending:?}");
            drop(client);
        }
    }
    test.assert_empty();
}

#[test]
fn ten_thousand_fragments_make_one_message_if_that_is_allowed() {
    let test = TestComet::start(Config { fragments_max: 20_000, ..config() });
    let mut client = test.login(WS, &auth("k"));
    let (seq, frame) = client.frame(1000, &[9; 4000]);
    let mut bytes = ws_frame(0x02, &frame[..1]);
    for (nth, byte) in frame[1..].iter().enumerate() {
        bytes.extend(ws_frame(0x00, &[*byte]));
        bytes.extend(ws_frame(0x00, b""));
        if nth % 1000 == 0 {
            bytes.extend(ws_frame(0x89, b"between"));
        }
    }
    while bytes.len() < 10_000 * 6 {
        bytes.extend(ws_frame(0x00, b""));
    }
    bytes.extend(ws_frame(0x80, b""));
    client.send_raw(&bytes);
    let mut pongs = 0;
    loop {
        match client.next() {
            Event::Pong(payload) => {
                assert_eq!(payload, b"between");
                pongs += 1;
            }
            Event::Frame(got) => break assert_eq!((got.header.seq, got.header.op), (seq, 1000)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(pongs, 5);
    assert_eq!(test.logic.upstream(), [(1000, vec![9; 4000])]);
    drop(client);
    test.assert_empty();
}

#[test]
fn a_message_holds_whole_frames_and_only_those() {
    let test = TestComet::start(config());
    for wire in [WS, WS_EXTENDED] {
        let mut client = test.login(wire, &auth("k"));
        let frames: Vec<u8> = (0..100).flat_map(|nth| client.frame(1000 + nth, b"x").1).collect();
        client.send(&frames);
        for nth in 0..100 {
            assert_eq!(client.next_frame().header.op, 1000 + nth);
        }
        client.send(b"");
        client.heartbeat();
        // A frame that goes on in the next message.
        let (_, whole) = client.frame(1000, b"whole");
        let (_, cut) = client.frame(1001, b"cut");
        client.send(&[&whole[..], &cut[..cut.len() - 1]].concat());
        let rest = client.wired(&cut[cut.len() - 1..]);
        let _ = client.try_send_raw(&rest);
        let ending = client.expect_end(4501);
        assert!(ending.frames.iter().map(|got| got.header.op).eq([1000]), "{ending:?}");
        drop(client);
        test.assert_empty();
    }
}

#[test]
fn ping_and_close_are_answered() {
    let test = TestComet::start(config());
    for wire in [WS, WS_EXTENDED] {
        // Before AUTH, too.
        let mut client = test.connect(wire);
        client.send_raw(&ws_frame(0x89, b"hi"));
        assert_eq!(client.next(), Event::Pong(b"hi".to_vec()));
        client.login(&auth("k"));
        client.send_raw(&ws_frame(0x8a, b"nobody asked"));
        client.send_raw(&ws_frame(0x89, &[7; 125]));
        assert_eq!(client.next(), Event::Pong(vec![7; 125]));
        let left = test.sum(|metrics| &metrics.left);
        for (body, code) in [(&b""[..], 0), (b"\x03\xe8bye", 1000), (b"\x0f\xa0", 4000)] {
            let mut client = test.login(wire, &auth("other"));
            client.send_raw(&ws_frame(0x88, body));
            let ending = client.until_end();
            assert_eq!((ending.close, ending.disconnect), (Some((code, String::new())), None));
        }
        eventually("three have left", || test.comet.connections() == 1);
        assert_eq!(test.sum(|metrics| &metrics.left) - left, 3);
        drop(client);
        test.assert_empty();
    }
    let ended: u64 = CloseReason::ALL.into_iter().map(|reason| test.ended(reason)).sum();
    assert_eq!(ended, 0);
}

#[test]
fn tungstenite_gets_along_with_it() {
    let test = TestComet::start(config());
    let (mut socket, response) = {
        let stream = Client::connect(test.ws(), TCP, None).stream;
        tungstenite::client(format!("ws://{}/sub?from=test", test.ws()), stream).unwrap()
    };
    assert_eq!(response.status(), 101);
    let body = serde_json::to_vec(&auth_in("k", "live://1", &[1000])).unwrap();
    socket.send(tungstenite::Message::Binary(classic(1, op::AUTH, 1, &body).into())).unwrap();
    assert_eq!(socket.read().unwrap().into_data(), classic(1, op::AUTH_REPLY, 1, b""));
    test.push_room("live://1", push(1000, vec![5; 70_000]));
    let inner = classic(1, 1000, 0, &[5; 70_000]);
    assert_eq!(socket.read().unwrap().into_data(), classic(1, op::RAW, 0, &inner));
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    drop(socket);
    test.assert_empty();
}
