//! Whatever a client or a caller sends, it gets the documented answer, and nobody else notices.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::net::Shutdown;

use serde_json::{Value, json};
use support::frame::{self, AUTH, CHANGE_ROOM, ERROR, Extended, HEARTBEAT, SEND_MSG, SUB, classic, lying};
use support::measure::{Metrics, stat, stats};
use support::websocket::{self as ws, BINARY, CLOSE, CONTINUATION, PING, TEXT};
use support::{BOTH, Client, End, Http, Response, Server, Transport, until_eq};

const BAD_FRAME: (u16, &str) = (4501, "BAD_FRAME");
const TOO_LARGE: (u16, &str) = (4502, "FRAME_TOO_LARGE");
const UNAUTHENTICATED: (u16, &str) = (4500, "UNAUTHENTICATED");

/// Sessions beside the one that misbehaves.
struct Neighbours {
    http: Http,
    sessions: Vec<Client>,
    pushed: u32,
}

impl Neighbours {
    fn of(server: &Server) -> Self {
        let auth = json!({ "mid": 1, "room_id": "live://neighbours", "accepts": [1000] });
        let sessions = BOTH.map(|transport| Client::classic(server, transport, &auth)).into();
        Self { http: server.http(), sessions, pushed: 0 }
    }

    /// They still get what is pushed to them.
    fn are_well(&mut self, after: &str) {
        self.pushed += 1;
        let body = format!("{} after {after}", self.pushed);
        let route = ["mids?operation=1000&mids=1", "room?operation=1000&type=live&room=neighbours"][self.pushed as usize % 2];
        self.http.goim_push(route, body.as_bytes());
        for session in &mut self.sessions {
            assert_eq!(session.push(), body);
        }
    }

    /// At the very end: nobody but them is left, and the server is healthy.
    fn are_alone(&mut self) {
        let expected = (self.sessions.len() as u64, 0);
        until_eq("only the neighbours left", &expected, || {
            let stats = stats(&mut self.http);
            let connections = stats["connections"]["tcp"].as_u64().unwrap() + stats["connections"]["websocket"].as_u64().unwrap();
            (connections, stats["queued_bytes"].as_u64().unwrap())
        });
        assert_eq!(self.http.get("/healthz").status, 200);
        assert_eq!(self.http.get("/readyz").status, 200);
        assert_eq!(Metrics::of(&mut self.http).get("perseid_log_poisoned"), 0);
    }
}

/// How a classic session ends.
fn classic_end(transport: Transport, (code, word): (u16, &str)) -> End {
    let close = (transport == Transport::WebSocket).then(|| (code, word.to_owned()));
    End { close, disconnect: None }
}

/// Checks how an extended session ended.
fn assert_extended_end(end: &End, transport: Transport, (code, word): (u16, &str), what: &str) {
    assert_eq!(end.close, classic_end(transport, (code, word)).close, "{what}");
    let json = end.disconnect.as_ref().unwrap_or_else(|| panic!("no DISCONNECT: {what}"));
    assert_eq!((&json["code"], &json["reason"]), (&json!(code), &json!(word)), "{what}");
    assert!(json["message"].as_str().is_some_and(|message| !message.is_empty()), "{json}");
    assert_eq!(json.get("retry_after_ms").is_some(), code < 4500, "{json}");
}

#[test]
fn first_frames() {
    let server = Server::start(&[]);
    let mut neighbours = Neighbours::of(&server);
    let long_key = json!({ "key": "k".repeat(129) }).to_string();
    let many = json!({ "accepts": (0..1001).collect::<Vec<_>>() }).to_string();
    let long_room = json!({ "room_id": format!("a://{}", "b".repeat(253)) }).to_string();
    let auth = |body: &str| classic(1, AUTH, 1, body.as_bytes());
    let cases: Vec<(&str, Vec<u8>, (u16, &str))> = vec![
        ("length 0", lying(0, 16, 1, AUTH, 1, b"{}"), BAD_FRAME),
        ("length 15", lying(15, 16, 1, AUTH, 1, b"{}"), BAD_FRAME),
        ("length -1", lying(-1, 16, 1, AUTH, 1, b"{}"), BAD_FRAME),
        ("least length", lying(i32::MIN, 16, 1, AUTH, 1, b"{}"), BAD_FRAME),
        ("greatest length", lying(i32::MAX, 16, 1, AUTH, 1, b"{}"), TOO_LARGE),
        ("AUTH over 8 KiB", lying(16 + 8193, 16, 1, AUTH, 1, b"{}"), TOO_LARGE),
        ("header 0", lying(18, 0, 1, AUTH, 1, b"{}"), BAD_FRAME),
        ("header 15", lying(18, 15, 1, AUTH, 1, b"{}"), BAD_FRAME),
        ("header 17", lying(18, 17, 1, AUTH, 1, b"{}"), BAD_FRAME),
        ("header 71", lying(73, 71, 1, AUTH, 1, &[b' '; 57]), BAD_FRAME),
        ("header 257", lying(259, 257, 1, AUTH, 1, &[b' '; 243]), BAD_FRAME),
        ("header -1", lying(18, -1, 1, AUTH, 1, b"{}"), BAD_FRAME),
        ("header over the length", lying(71, 72, 1, AUTH, 1, &[b' '; 55]), BAD_FRAME),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), BAD_FRAME),
        ("TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0\0\0\0\0\0\0\0\0".to_vec(), BAD_FRAME),
        ("HEARTBEAT", classic(1, HEARTBEAT, 1, b""), BAD_FRAME),
        ("SEND_MSG", classic(1, SEND_MSG, 1, b"x"), BAD_FRAME),
        ("a business operation", classic(2, 1000, 1, b"x"), BAD_FRAME),
        ("AUTH empty", auth(""), UNAUTHENTICATED),
        ("AUTH no JSON", auth("hello"), UNAUTHENTICATED),
        ("AUTH cut", auth(r#"{"mid":1"#), UNAUTHENTICATED),
        ("AUTH and more", auth("{} {}"), UNAUTHENTICATED),
        ("AUTH a list", auth("[1]"), UNAUTHENTICATED),
        ("AUTH mid as text", auth(r#"{"mid":"12"}"#), UNAUTHENTICATED),
        ("AUTH mid broken", auth(r#"{"mid":1.5}"#), UNAUTHENTICATED),
        ("AUTH mid too large", auth(r#"{"mid":9223372036854775808}"#), UNAUTHENTICATED),
        ("AUTH accepts of text", auth(r#"{"accepts":["1000"]}"#), UNAUTHENTICATED),
        ("AUTH accepts too large", auth(r#"{"accepts":[2147483648]}"#), UNAUTHENTICATED),
        ("AUTH with 1,001 operations", auth(&many), UNAUTHENTICATED),
        ("AUTH with a long key", auth(&long_key), UNAUTHENTICATED),
        ("AUTH room no room", auth(r#"{"room_id":"1000"}"#), UNAUTHENTICATED),
        ("AUTH with a long room", auth(&long_room), UNAUTHENTICATED),
        ("AUTH no UTF-8", classic(1, AUTH, 1, b"{\"key\":\"\xff\"}"), UNAUTHENTICATED),
        ("AUTH nested deeply", auth(&"[".repeat(8000)), UNAUTHENTICATED),
    ];
    for transport in BOTH {
        for (what, bytes, expected) in &cases {
            let mut client = Client::connect(&server, transport);
            client.send(bytes);
            assert_eq!(client.end(), classic_end(transport, *expected), "{transport:?} {what}");
            neighbours.are_well(what);
        }
        // Refused as an extended session, it is told why.
        for (what, body) in [("no JSON", "hello"), ("wrong type", r#"{"mid":[12]}"#), ("wrong room", r#"{"room_id":"x"}"#)] {
            let mut client = Client::connect(&server, transport);
            client.send(&frame::extended(AUTH, 1, &Extended::default(), body.as_bytes()));
            assert_extended_end(&client.end(), transport, UNAUTHENTICATED, what);
            // As it does with a short header.
            let mut client = Client::connect(&server, transport);
            client.send(&classic(2, AUTH, 1, body.as_bytes()));
            assert_extended_end(&client.end(), transport, UNAUTHENTICATED, what);
            neighbours.are_well(what);
        }
    }
    neighbours.are_alone();
}

#[test]
fn frames_of_living_sessions() {
    let server = Server::start(&[]);
    let mut neighbours = Neighbours::of(&server);
    let cases: Vec<(&str, Vec<u8>, (u16, &str))> = vec![
        ("length 15", lying(15, 16, 1, HEARTBEAT, 1, b""), BAD_FRAME),
        ("least length", lying(i32::MIN, 16, 1, HEARTBEAT, 1, b""), BAD_FRAME),
        ("greatest length", lying(i32::MAX, 16, 1, HEARTBEAT, 1, b""), TOO_LARGE),
        ("over 64 KiB", lying(16 + 65_537, 16, 1, 99, 1, b""), TOO_LARGE),
        ("over 64 KiB behind a long header", lying(256 + 65_537, 256, 1, 99, 1, b""), TOO_LARGE),
        ("header 17", lying(17, 17, 1, HEARTBEAT, 1, b"x"), BAD_FRAME),
        ("header over the length", lying(16, 72, 1, HEARTBEAT, 1, b""), BAD_FRAME),
        ("PROTO_READY", classic(1, 10, 1, b""), BAD_FRAME),
        ("PROTO_FINISH", classic(1, 11, 1, b""), BAD_FRAME),
    ];
    for transport in BOTH {
        for (what, bytes, expected) in &cases {
            let mut client = Client::user(&server, transport, 2);
            // What stands before it in the same write is answered.
            client.send(&[&classic(1, HEARTBEAT, 7, b"")[..], bytes].concat());
            assert_eq!(client.next().head(), (1, 3, 7), "{transport:?} {what}");
            assert_eq!(client.end(), classic_end(transport, *expected), "{transport:?} {what}");

            let (mut client, _) = Client::extended(&server, transport, &json!({ "mid": 2 }));
            client.send(bytes);
            assert_extended_end(&client.end(), transport, *expected, what);
            neighbours.are_well(what);
        }
        // A second AUTH: another user.
        let (mut client, _) = Client::extended(&server, transport, &json!({ "mid": 2 }));
        client.send(&classic(2, AUTH, 2, br#"{"mid":3}"#));
        assert_extended_end(&client.end(), transport, UNAUTHENTICATED, "another user");
        // Half a frame, and gone.
        let mut client = Client::user(&server, transport, 2);
        client.write(&classic(1, 99, 1, &[0; 1000])[..500]);
        client.stream.shutdown(Shutdown::Both).unwrap();
        neighbours.are_well("half a frame");
    }
    neighbours.are_alone();
}

#[test]
fn requests_that_are_refused_and_the_session_goes_on() {
    let server = Server::start(&[]);
    let mut http = server.http();
    let long_room = format!("a://{}", "b".repeat(253));
    let many = (5000..6001).map(|op| op.to_string()).collect::<Vec<_>>().join(",");
    let wrong: Vec<(i32, Vec<u8>)> = vec![
        (CHANGE_ROOM, long_room.clone().into_bytes()),
        (CHANGE_ROOM, b"no room".to_vec()),
        (CHANGE_ROOM, b"a://\xff".to_vec()),
        (SUB, many.clone().into_bytes()),
        (SUB, b"1000, 1001".to_vec()),
        (SUB, b"2147483648".to_vec()),
        (SUB, vec![b'1'; 60_000]),
        (frame::UNSUB, b"1000,".to_vec()),
        (frame::UNSUB, b"".to_vec()),
    ];
    for transport in BOTH {
        let auth = json!({ "mid": 2, "room_id": "live://a", "accepts": [1000] });
        let mut client = Client::classic(&server, transport, &auth);
        let (mut extended, _) = Client::extended(&server, transport, &auth);
        for (op, body) in &wrong {
            let reply = client.ask(*op, 4, body);
            assert_eq!((reply.head(), &reply.body), ((1, op + 1, 4), body), "{transport:?}");
            refused(&mut extended, *op, body, 400, "BAD_REQUEST");
        }
        // Each alone is allowed, together they are too many: 1,000 and the one from AUTH.
        let thousand = (5000..6000).map(|op| op.to_string()).collect::<Vec<_>>().join(",");
        assert_eq!(client.ask(SUB, 5, thousand.as_bytes()).text(), thousand);
        refused(&mut extended, SUB, thousand.as_bytes(), 400, "BAD_REQUEST");
        // What only a server sends, and what nobody sends.
        for op in [0, 1, 3, 5, 6, 8, 9, 13, 15, 17, 19, 31, 32, -1, i32::MIN] {
            refused(&mut extended, op, b"", 400, "BAD_REQUEST");
        }
        // Positions that were never given.
        refused(&mut extended, 18, b"", 412, "EPOCH_CHANGED");
        for op in [20, 22, 24, 28] {
            refused(&mut extended, op, b"", 400, "BAD_REQUEST");
        }
        let (mut guest, _) = Client::extended(&server, transport, &json!({}));
        refused(&mut guest, 18, b"", 403, "PERMISSION_DENIED");

        // Nothing of it changed anything.
        assert_eq!((client.heartbeat(), stat(&mut http, "/rooms")), (2, 1));
        http.goim_push("mids?operation=5000&mids=2", b"not accepted");
        http.goim_push("mids?operation=1000&mids=2", b"accepted");
        assert_eq!((client.push(), extended.push()), ("accepted".to_owned(), "accepted".to_owned()));
        drop((client, extended, guest));
        until_eq("nobody", &0, || stat(&mut http, "/rooms"));
    }
}

/// A request that an extended session is refused: ERROR with what it is known by.
fn refused(client: &mut Client, op: i32, body: &[u8], code: u16, word: &str) {
    let ext = Extended { id: 1, pos: 2, conv: 3, conv_pos: 4, from: 5, cid: 6, kind: 1, flags: 1, reserved: 9 };
    client.send(&frame::extended(op, 77, &ext, body));
    let reply = client.next();
    assert_eq!(reply.head(), (2, ERROR, 77), "{op}");
    let echoed = Extended { conv: 3, conv_pos: 4, cid: 6, kind: 1, ..Extended::default() };
    assert_eq!(reply.extended, Some(echoed), "{op}");
    let json = reply.json();
    assert_eq!((&json["code"], &json["reason"]), (&json!(code), &json!(word)), "{op}");
}

#[test]
fn the_largest_that_is_allowed() {
    let server = Server::start(&[]);
    let mut http = server.http();
    for transport in BOTH {
        // AUTH of 8 KiB.
        let mut auth = br#"{"mid":2,"key":"k","accepts":[1000]}"#.to_vec();
        auth.resize(8192, b' ');
        let mut client = Client::connect(&server, transport);
        client.send(&classic(1, AUTH, 1, &auth));
        assert_eq!(client.next().head(), (1, 8, 1), "{transport:?}");
        // Bodies of 64 KiB behind the longest header, fifteen in one message of less than 1 MiB.
        let mut long = lying(256 + 65_536, 256, 1, 99, 5, &[]);
        long.resize(256 + 65_536, b'x');
        client.send(&long.repeat(15));
        for _ in 0..15 {
            assert_eq!(client.next().head(), (1, 99, 5));
        }
        // A push of 1 MiB.
        let body = vec![b'y'; 1024 * 1024];
        http.goim_push("keys?operation=1000&keys=k", &body);
        assert!(client.next().body == body);
        let too_large = http.post("/goim/push/keys?operation=1000&keys=k", &vec![b'y'; 1024 * 1024 + 1]);
        assert_eq!((too_large.status, &too_large.json()["code"]), (413, &json!(-400)));
        http = server.http();
        // One byte more.
        client.send(&classic(1, 99, 6, &[0; 65_537]));
        assert_eq!(client.end(), classic_end(transport, TOO_LARGE));
    }
}

#[test]
fn websocket_violations() {
    let server = Server::start(&[]);
    let mut neighbours = Neighbours::of(&server);
    let heartbeat = classic(1, HEARTBEAT, 1, b"");
    let mut fragments = ws::fragment(false, BINARY, b"\0");
    for _ in 0..10_000 {
        fragments.extend(ws::fragment(false, CONTINUATION, b""));
    }
    let with_first_byte = |byte: u8| {
        let mut frame = ws::message(BINARY, &heartbeat);
        frame[0] = byte;
        frame
    };
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("text", ws::message(TEXT, b"hello"), 1003),
        ("text that is a frame", ws::message(TEXT, &heartbeat), 1003),
        ("no mask", ws::unmasked(BINARY, &heartbeat), 1002),
        ("no mask on a ping", ws::unmasked(PING, b""), 1002),
        ("reserved bit", with_first_byte(0xc2), 1002),
        ("opcode 3", with_first_byte(0x83), 1002),
        ("opcode 11", with_first_byte(0x8b), 1002),
        ("a ping in pieces", ws::fragment(false, PING, b""), 1002),
        ("a long ping", ws::message(PING, &[0; 126]), 1002),
        ("a piece of nothing", ws::fragment(true, CONTINUATION, &heartbeat), 1002),
        ("a message inside another", [ws::fragment(false, BINARY, b"\0"), ws::message(BINARY, &heartbeat)].concat(), 1002),
        ("ten thousand fragments", fragments, 1009),
        ("over 1 MiB", ws::claim(0x82, 1024 * 1024 + 1), 1009),
        ("a terabyte", ws::claim(0x82, 1 << 40), 1009),
        ("a close of one byte", ws::message(CLOSE, b"\x03"), 1002),
        ("a close code that is none", ws::message(CLOSE, &1005u16.to_be_bytes()), 1002),
        ("a close reason that is no text", ws::message(CLOSE, b"\x03\xe8\xff"), 1007),
        ("a frame across two messages", ws::message(BINARY, &heartbeat[..10]), 4501),
        ("two frames and a half", ws::message(BINARY, &[&heartbeat.repeat(2)[..], &heartbeat[..5]].concat()), 4501),
        ("a claim beyond the message", ws::message(BINARY, &lying(4112, 16, 1, 12, 1, b"")), 4501),
    ];
    for (what, bytes, code) in &cases {
        // Before AUTH and after.
        for live in [false, true] {
            let mut client = if live {
                Client::user(&server, Transport::WebSocket, 2)
            } else {
                Client::connect(&server, Transport::WebSocket)
            };
            client.write_if_open(bytes);
            let end = client.end();
            let found = end.close.map(|(code, _)| code);
            // Before AUTH a frame that is no AUTH ends it first, in the same message.
            assert_eq!(found, Some(*code), "{what}, live: {live}");
        }
        neighbours.are_well(what);
    }
    // Nothing in it is no frame, and harms nobody.
    let mut client = Client::user(&server, Transport::WebSocket, 2);
    client.write(&ws::message(BINARY, b""));
    assert_eq!(client.heartbeat(), 0);
    drop(client);
    neighbours.are_alone();
}

#[test]
fn upgrades_that_are_none() {
    let server = Server::start(&[]);
    let mut neighbours = Neighbours::of(&server);
    let good = String::from_utf8(ws::upgrade("/sub")).unwrap();
    let without = |line: &str| good.split("\r\n").filter(|known| !known.starts_with(line)).collect::<Vec<_>>().join("\r\n");
    let with = |lines: &str| good.replace("\r\n\r\n", &format!("\r\n{lines}\r\n\r\n"));
    let many = (0..100).map(|at| format!("X-{at}: y")).collect::<Vec<_>>().join("\r\n");
    let cases: Vec<(&str, String, u16)> = vec![
        ("another path", good.replace("/sub", "/"), 404),
        ("a longer path", good.replace("/sub", "/sub/"), 404),
        ("POST", good.replace("GET", "POST"), 405),
        ("no Upgrade", without("Upgrade"), 426),
        ("no Connection", without("Connection"), 426),
        ("no version", without("Sec-WebSocket-Version"), 426),
        ("version 12", good.replace("Version: 13", "Version: 12"), 426),
        ("no key", without("Sec-WebSocket-Key"), 400),
        ("a short key", good.replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIA=="), 400),
        ("two keys", with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400),
        ("no Host", without("Host"), 400),
        ("a body", with("Content-Length: 5"), 400),
        ("HTTP/1.0", good.replace("HTTP/1.1", "HTTP/1.0"), 505),
        ("no HTTP", "hello\r\n\r\n".to_owned(), 400),
        ("many headers", with(&many), 431),
        ("an endless header", with(&format!("Cookie: {}", "x".repeat(20_000))), 431),
        ("headers without an end", good.trim_end().to_owned() + &"\r\nX: y".repeat(3000), 431),
        ("a line without an end", format!("GET /{}", "x".repeat(20_000)), 431),
    ];
    for (what, request, status) in &cases {
        let mut http = Http::connect(server.ws);
        // It may be closed before all is written.
        let _ = http.write(request.as_bytes());
        let response = http.response().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(response.status, *status, "{what}: {}", response.text());
        let connection = if *status == 426 { "Upgrade" } else { "close" };
        assert!(!response.body.is_empty() && response.header("connection") == Some(connection), "{what}");
        assert!(http.is_closed(), "{what}");
        neighbours.are_well(what);
    }
    neighbours.are_alone();
}

#[test]
fn who_says_nothing_is_closed() {
    let server = Server::start(&["--set", "comet.handshake_ms=500"]);
    let mut neighbours = Neighbours::of(&server);
    let auth = classic(1, AUTH, 1, b"{}");
    let upgrade = ws::upgrade("/sub");
    for (what, addr, bytes) in [
        ("nothing on TCP", server.tcp, &b""[..]),
        ("half of AUTH", server.tcp, &auth[..17]),
        ("nothing on WebSocket", server.ws, b""),
        ("half of an upgrade", server.ws, &upgrade[..50]),
    ] {
        let mut client = Client::connect_raw(addr, Transport::Tcp);
        client.write(bytes);
        assert_eq!(client.end(), End::PLAIN, "{what}");
        neighbours.are_well(what);
    }
    for bytes in [Vec::new(), ws::claim(0x82, 500), ws::message(BINARY, b""), ws::fragment(false, BINARY, &auth[..10])] {
        let mut client = Client::connect(&server, Transport::WebSocket);
        client.write(&bytes);
        assert_eq!(client.end(), classic_end(Transport::WebSocket, (4007, "HANDSHAKE_TIMEOUT")), "{bytes:?}");
    }
    // A byte now and then is no handshake.
    let mut client = Client::connect_raw(server.tcp, Transport::Tcp);
    support::until("the end of a trickle", || client.stream.write_all(&[0]).is_err().then_some(()));
    neighbours.are_well("a trickle");
    neighbours.are_alone();
}

#[test]
fn who_sends_no_heartbeat_is_closed_and_any_frame_counts() {
    let server = Server::start(&["--set", "comet.heartbeat_ms=700", "--set", "comet.handshake_ms=1000"]);
    let mut http = server.http();
    for transport in BOTH {
        let mut busy = Client::user(&server, transport, 1);
        let mut silent = Client::user(&server, transport, 2);
        let (mut extended, reply) = Client::extended(&server, transport, &json!({ "mid": 3 }));
        assert_eq!(reply["heartbeat_ms"], 700);
        until_eq("the silent ones gone", &1, || {
            assert_eq!(busy.ask(99, 1, b"").head(), (1, 99, 1));
            stat(&mut http, "/users")
        });
        const TIMEOUT: (u16, &str) = (4005, "HEARTBEAT_TIMEOUT");
        assert_eq!(silent.end(), classic_end(transport, TIMEOUT));
        assert_extended_end(&extended.end(), transport, TIMEOUT, "silence");
        assert_eq!(busy.heartbeat(), 0);
        drop(busy);
        until_eq("nobody", &0, || stat(&mut http, "/users"));
    }
}

#[test]
fn json_that_is_wrong() {
    let server = Server::start(&[]);
    let mut neighbours = Neighbours::of(&server);
    let many_mids: Vec<i64> = (1..=10_001).collect();
    let long_room = format!("a://{}", "b".repeat(253));
    let cases: Vec<(String, u16, &str)> = [
        ("", 400, "BAD_REQUEST"),
        ("[]", 400, "BAD_REQUEST"),
        ("{", 400, "BAD_REQUEST"),
        (r#"{"to":{"mids":[1]}}"#, 400, "BAD_REQUEST"),
        (r#"{"to":{"mids":1},"body":"x"}"#, 400, "BAD_REQUEST"),
        (r#"{"to":{"mids":["a"]},"body":"x"}"#, 400, "BAD_REQUEST"),
        (r#"{"to":{"mids":[1.5]},"body":"x"}"#, 400, "BAD_REQUEST"),
        (r#"{"to":{"mids":[]},"body":"x"}"#, 400, "BAD_REQUEST"),
        (r#"{"to":{"mids":[0]},"body":"x"}"#, 400, "BAD_REQUEST"),
        (r#"{"to":{"keys":[""]},"body":"x"}"#, 400, "BAD_REQUEST"),
        (r#"{"to":{"mids":[1],"all":true},"body":"x"}"#, 400, "BAD_REQUEST"),
        (r#"{"to":{"room":"1000"},"body":"x"}"#, 400, "BAD_REQUEST"),
        (r#"{"to":{"mids":[1]},"body":7}"#, 400, "BAD_REQUEST"),
        (r#"{"to":{"mids":[1]},"body_base64":"*"}"#, 400, "BAD_REQUEST"),
        (r#"{"to":{"mids":[1]},"body":"x","op":"1000"}"#, 400, "BAD_REQUEST"),
        (r#"{"to":{"mids":[1]},"body":"x","op":2147483648}"#, 400, "BAD_REQUEST"),
        (r#"{"to":{"mids":[1]},"body":"x","ttl_ms":-1}"#, 400, "BAD_REQUEST"),
        (r#"{"to":{"mids":[1]},"body":"x","id":""}"#, 400, "BAD_REQUEST"),
        (r#"{"to":{"mids":[1]},"body":"x","unknown":1}"#, 400, "BAD_REQUEST"),
        (r#"{"to":{"room":"a://b"},"body":"x","store":true}"#, 400, "BAD_REQUEST"),
        (r#"{"to":{"keys":["a"]},"body":"x","store":true}"#, 400, "BAD_REQUEST"),
        (r#"{"to":{"group":1},"body":"x"}"#, 404, "NOT_FOUND"),
    ]
    .map(|(body, status, reason)| (body.to_owned(), status, reason))
    .into_iter()
    .chain([
        (json!({ "to": { "mids": many_mids }, "body": "x" }).to_string(), 413, "TOO_LARGE"),
        (json!({ "to": { "room": long_room }, "body": "x" }).to_string(), 400, "BAD_REQUEST"),
        (json!({ "to": { "mids": [1] }, "body": "x", "id": "i".repeat(65) }).to_string(), 400, "BAD_REQUEST"),
        (json!({ "to": { "keys": ["k".repeat(129)] }, "body": "x" }).to_string(), 400, "BAD_REQUEST"),
        ("[".repeat(100_000), 400, "BAD_REQUEST"),
        (r#"{"to":"#.repeat(50_000), 400, "BAD_REQUEST"),
    ])
    .collect();
    let mut http = server.http();
    for (body, status, reason) in &cases {
        let answer = http.post("/v1/messages", body.as_bytes());
        let shown = &body[..body.len().min(100)];
        assert_problem(&answer, *status, reason, shown);
        let batch = http.post("/v1/messages:batch", format!(r#"{{"messages":[{body}]}}"#).as_bytes());
        match batch.status {
            200 => assert_eq!(batch.json()["results"][0]["status"], *status, "{shown}"),
            // What is no JSON, or more of nothing than one message, spoils the batch.
            _ => assert_problem(&batch, 400, "BAD_REQUEST", shown),
        }
    }
    for body in [r#"{"messages":[]}"#.to_owned(), format!(r#"{{"messages":[{}0]}}"#, "0,".repeat(1000)), "{}".to_owned()] {
        assert_problem(&http.post("/v1/messages:batch", body.as_bytes()), 400, "BAD_REQUEST", &body[..15.min(body.len())]);
    }
    assert_problem(&http.post("/v1/users:online", br#"{"mids":[true]}"#), 400, "BAD_REQUEST", "users:online");
    for path in ["/v1/users/x", "/v1/users/-1", "/v1/users/99999999999999999999", "/v1/rooms?limit=0", "/v1/rooms?limit=x"] {
        assert_problem(&http.get(path), 400, "BAD_REQUEST", path);
    }
    let long = format!("/goim/push/room?operation=1000&type=a&room={}", "b".repeat(253));
    let answer = http.post(&long, b"x");
    assert_eq!((answer.status, &answer.json()["code"]), (200, &json!(-400)), "{}", answer.text());
    assert_eq!(http.post("/goim/push/keys?operation=1000&keys=%ff", b"x").status, 400);
    assert_eq!(stat(&mut http, "/log/end"), 0, "nothing of it was accepted");
    neighbours.are_well("all that");
    neighbours.are_alone();
}

fn assert_problem(answer: &Response, status: u16, reason: &str, what: &str) {
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
    let json: Value = answer.json();
    assert_eq!((&json["status"], &json["reason"]), (&json!(status), &json!(reason)), "{what}: {json}");
    assert!(json["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}: {json}");
}

#[test]
fn bodies_over_the_limit() {
    let server = Server::start(&[]);
    let mut neighbours = Neighbours::of(&server);
    for route in ["/v1/messages", "/v1/messages:batch", "/v1/users:online", "/goim/push/all?operation=1000"] {
        // Told at once by a length; the body is not waited for.
        let mut http = server.http();
        http.write(format!("POST {route} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1099511627776\r\n\r\n").as_bytes())
            .unwrap();
        let answer = http.response().unwrap();
        assert_eq!(answer.status, 413, "{route}: {}", answer.text());
        // Told by counting.
        let mut http = server.http();
        http.write(format!("POST {route} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes()).unwrap();
        let chunk = [&b"10000\r\n"[..], &[b'x'; 65_536], b"\r\n"].concat();
        for _ in 0..17 {
            // It may have been answered and closed meanwhile.
            let _ = http.write(&chunk);
        }
        let answer = http.response().unwrap();
        assert_eq!(answer.status, 413, "{route}: {}", answer.text());
        neighbours.are_well(route);
    }
    neighbours.are_alone();
}

#[test]
fn slow_and_broken_http() {
    let server = Server::start(&["--set", "logic.request_ms=500"]);
    let mut neighbours = Neighbours::of(&server);
    let open = |bytes: &[u8]| {
        let mut http = server.http();
        http.write(bytes).unwrap();
        http
    };
    // Many that never finish their headers, and that nobody notices.
    let lorises: Vec<_> = (0..300).map(|_| open(b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nX-")).collect();
    neighbours.are_well("slow headers");
    // Bodies that never come.
    for route in ["/v1/messages", "/goim/push/all?operation=1000"] {
        let mut slow = open(format!("POST {route} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n1").as_bytes());
        neighbours.are_well("a slow body");
        let answer = slow.response().unwrap();
        assert_eq!(answer.status, 400, "{route}: {}", answer.text());
    }
    for garbage in
        [&b"\x16\x03\x01\x02\0\x01\0"[..], b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0\0\0\x10\0\x10\0\x01\r\n\r\n"]
    {
        let mut broken = open(garbage);
        match broken.response() {
            Ok(answer) => assert_eq!(answer.status, 400, "{garbage:?}"),
            Err(error) => assert!(
                matches!(error.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset),
                "{error}"
            ),
        }
        assert!(broken.is_closed());
        neighbours.are_well("garbage");
    }
    let mut endless = server.http();
    let _ = endless.write(format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(200_000)).as_bytes());
    assert_eq!(endless.response().unwrap().status, 431);
    drop(lorises);
    neighbours.are_well("all that");
    neighbours.are_alone();
}

/// Requests that two readers could understand differently: where the body ends must have one answer, or none.
#[test]
fn http_that_could_be_read_in_two_ways() {
    let server = Server::start(&[]);
    let mut neighbours = Neighbours::of(&server);
    let smuggled = "DELETE /v1/users/7/sessions HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let push = r#"{"to":{"mids":[9]},"body":"x"}"#;
    let post = |headers: &str, body: &str| format!("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{body}");
    let len = push.len();
    for (what, request) in [
        ("CL and TE", post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{smuggled}"))),
        ("TE and CL", post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", &format!("0\r\n\r\n{smuggled}"))),
        ("two lengths", post(&format!("Content-Length: {len}\r\nContent-Length: 0\r\n"), &format!("{push}{smuggled}"))),
        ("two lengths in one", post(&format!("Content-Length: {len}, 0\r\n"), &format!("{push}{smuggled}"))),
        ("a signed length", post(&format!("Content-Length: +{len}\r\n"), push)),
        ("a length that is none", post("Content-Length: 0x10\r\n", push)),
        ("a length below zero", post("Content-Length: -1\r\n", push)),
        ("a folded header", post(&format!("Content-Length:\r\n {len}\r\n"), push)),
        ("a space before the colon", post(&format!("Content-Length : {len}\r\n"), push)),
        ("chunked twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{smuggled}"))),
        ("chunked, then not", post("Transfer-Encoding: chunked, identity\r\n", &format!("0\r\n\r\n{smuggled}"))),
        ("another encoding", post("Transfer-Encoding: xchunked\r\n", &format!("0\r\n\r\n{smuggled}"))),
        ("a chunk without a size", post("Transfer-Encoding: chunked\r\n", &format!("\r\n\r\n{smuggled}"))),
        ("a chunk too large to count", post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\nx\r\n0\r\n\r\n")),
        ("a NUL in a header", post("X: a\0b\r\nContent-Length: 0\r\n", "")),
    ] {
        let mut http = server.http();
        http.write(request.as_bytes()).unwrap();
        // What follows on the connection is never taken for a request.
        if let Ok(answer) = http.response() {
            assert!((400..=501).contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
            while let Ok(next) = http.response() {
                assert_ne!(next.status, 200, "{what}: {}", next.text());
            }
        }
        neighbours.are_well(what);
    }
    // Line ends without CR are the same to every reader that takes them; hyper's does, and the length is what it is.
    let mut http = server.http();
    http.write(format!("POST /v1/messages HTTP/1.1\nHost: localhost\nContent-Length: {len}\n\n{push}").as_bytes()).unwrap();
    assert!([200, 400].contains(&http.response().unwrap().status));
    neighbours.are_well("bare LF");
    let mut http = server.http();
    http.write(b"GET /v1/nodes HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n").unwrap();
    assert_eq!(http.response().unwrap().status, 400, "two hosts");
    // More headers than anybody sends.
    let mut http = server.http();
    let many: String = (0..1_000).map(|at| format!("X-{at}: y\r\n")).collect();
    http.write(format!("GET /v1/nodes HTTP/1.1\r\nHost: localhost\r\n{many}\r\n").as_bytes()).unwrap();
    assert_eq!(http.response().unwrap().status, 431);
    neighbours.are_well("a flood of headers");
    // One byte more than a body may have.
    let mut http = server.http();
    assert_eq!(http.post("/v1/messages", &vec![b' '; (1 << 20) + 1]).status, 413);
    neighbours.are_alone();
}
