//! A client and a business that know only goim: everything works as goim's own reference describes it, but for its defects.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::frame::{self, CHANGE_ROOM, HEARTBEAT, SUB, UNSUB};
use support::measure::stat;
use support::{BOTH, Client, End, Http, Server, Transport, until_eq};

/// What goim's benchmark client sends: 83 bytes for user 1.
const BENCHMARK_AUTH: &str = r#"{"mid":1,"key":"","room_id":"test://1","platform":"ios","accepts":[1000,1001,1002]}"#;
/// What its JavaScript example sends.
const EXAMPLE_AUTH: &str = r#"{"mid":123, "room_id":"live://1000", "platform":"web", "accepts":[1000,1001,1002]}"#;

#[test]
fn goims_own_clients_get_in() {
    let server = Server::start(&[]);
    let mut http = server.http();
    assert_eq!((BENCHMARK_AUTH.len(), EXAMPLE_AUTH.len()), (83, 82));
    for transport in BOTH {
        // The benchmark: AUTH with ver 1 and seq 0, then heartbeats with ver 0 and seq 1, 2, …
        let mut client = Client::connect(&server, transport);
        client.send(&frame::classic(1, 7, 0, BENCHMARK_AUTH.as_bytes()));
        let reply = client.next();
        assert_eq!((reply.head(), reply.body.len(), reply.wrapped), ((1, 8, 0), 0, false), "{transport:?}");
        for seq in 1..=3 {
            client.send(&frame::classic(0, HEARTBEAT, seq, &[]));
            let reply = client.next();
            assert_eq!((reply.head(), reply.body), ((0, 3, seq), vec![0, 0, 0, 1]), "{transport:?}");
        }
        http.goim_push("room?operation=1000&type=test&room=1", b"in the room");
        assert_eq!(client.push(), "in the room");
        drop(client);

        // The example: AUTH with ver 1 and seq 1, a heartbeat with the same seq at once.
        let mut client = Client::connect(&server, transport);
        client.send(&frame::classic(1, 7, 1, EXAMPLE_AUTH.as_bytes()));
        assert_eq!(client.next().head(), (1, 8, 1));
        assert_eq!(client.ask(HEARTBEAT, 1, &[]).body, [0, 0, 0, 1]);
        http.goim_push("mids?operation=1002&mids=123", b"hello");
        assert_eq!(client.next().head(), (1, 1002, 0));
        drop(client);

        // What Go reads as an empty request: a guest without a room.
        for auth in ["{}", "null", r#"{"MID":null,"unknown":[1,{}]}"#] {
            let mut client = Client::connect(&server, transport);
            client.send(&frame::classic(3, 7, 7, auth.as_bytes()));
            assert_eq!(client.next().head(), (3, 8, 7), "{transport:?} {auth}");
            assert_eq!(client.heartbeat(), 0);
        }
    }
}

#[test]
fn rooms_count_and_change() {
    let server = Server::start(&[]);
    let mut http = server.http();
    for transport in BOTH {
        let mut one = Client::user(&server, transport, 1);
        let mut two = Client::classic(&server, Transport::Tcp, &json!({ "mid": 2, "room_id": "live://a" }));
        assert_eq!((one.heartbeat(), two.heartbeat()), (0, 1), "{transport:?}");
        enter(&mut one, "live://a");
        assert_eq!((one.heartbeat(), two.heartbeat()), (2, 2));
        push_room(&mut http, "a", "both");
        assert_eq!((one.push(), two.push()), ("both".to_owned(), "both".to_owned()));

        // Left: goim would go on saying 2 (R7).
        enter(&mut one, "");
        assert_eq!((one.heartbeat(), two.heartbeat()), (0, 1));
        push_room(&mut http, "a", "only two");
        assert_eq!((one.flush(), two.push()), (vec![], "only two".to_owned()));

        // The only member of a room enters it again, and is in it still (L5).
        enter(&mut two, "live://a");
        assert_eq!(two.heartbeat(), 1);
        push_room(&mut http, "a", "still there");
        assert_eq!(two.push(), "still there");

        // From one room to the other.
        enter(&mut two, "live://b");
        push_room(&mut http, "a", "nobody");
        push_room(&mut http, "b", "here");
        assert_eq!(two.push(), "here");

        // What is no room changes nothing, and is echoed all the same.
        for wrong in ["1000", "://", "live://", "live://\n"] {
            enter(&mut two, wrong);
            assert_eq!(two.heartbeat(), 1, "{wrong:?}");
        }
        push_room(&mut http, "b", "as before");
        assert_eq!(two.push(), "as before");
        drop((one, two));
        until_eq("rooms forgotten (R5)", &(0, 0), || (stat(&mut http, "/users"), stat(&mut http, "/rooms")));
        assert_eq!(http.get("/goim/online/top?type=live&limit=9").text(), r#"{"code":0,"message":"","data":[]}"#);
    }
}

/// CHANGE_ROOM, which is echoed.
fn enter(client: &mut Client, room: &str) {
    let reply = client.ask(CHANGE_ROOM, 5, room.as_bytes());
    assert_eq!((reply.head(), reply.text()), ((1, CHANGE_ROOM + 1, 5), room));
}

fn push_room(http: &mut Http, room: &str, body: &str) {
    http.goim_push(&format!("room?operation=1000&type=live&room={room}"), body.as_bytes());
}

#[test]
fn operations_are_filtered_but_in_rooms() {
    let server = Server::start(&[]);
    let mut http = server.http();
    for transport in BOTH {
        let auth = json!({ "mid": 1, "key": "k", "room_id": "live://a", "accepts": [1000] });
        let mut client = Client::classic(&server, transport, &auth);
        let got = |client: &mut Client, http: &mut Http, op: i32| {
            for route in ["keys?keys=k", "mids?mids=1", "all?x=", "room?type=live&room=a"] {
                http.goim_push(&format!("{route}&operation={op}"), route.split('?').next().unwrap().as_bytes());
            }
            // A push that arrives in any case, behind the others.
            http.goim_push("room?operation=9999&type=live&room=a", b"end");
            let mut bodies = Vec::new();
            loop {
                let frame = client.next();
                match frame.op {
                    9999 => return bodies.join(" "),
                    found => assert_eq!(found, op),
                }
                bodies.push(frame.text().to_owned());
            }
        };
        assert_eq!(got(&mut client, &mut http, 1000), "keys mids all room", "{transport:?}");
        assert_eq!(got(&mut client, &mut http, 7777), "room");
        for (op, list, accepted) in [
            (SUB, "7777", "keys mids all room"),
            (SUB, "7777,1001", "keys mids all room"),
            (UNSUB, "7777", "room"),
            // A space makes the whole list void; it is echoed all the same.
            (SUB, "1002, 7777", "room"),
            (SUB, "", "room"),
            (SUB, "7777,", "room"),
            (SUB, "99999999999", "room"),
            (SUB, "-5,7777", "keys mids all room"),
            (UNSUB, "7777, 1000", "keys mids all room"),
            (UNSUB, "7777", "room"),
        ] {
            let reply = client.ask(op, 3, list.as_bytes());
            assert_eq!((reply.head(), reply.text()), ((1, op + 1, 3), list), "{transport:?}");
            assert_eq!(got(&mut client, &mut http, 7777), accepted, "{transport:?} after {op} {list:?}");
        }
        drop(client);
        until_eq("the session gone", &0, || stat(&mut http, "/users"));
    }
}

#[test]
fn everything_else_goes_upstream_and_comes_back_empty() {
    let server = Server::start(&[]);
    for transport in BOTH {
        let mut client = Client::user(&server, transport, 1);
        for op in [4, 0, 5, 7, 8, 1, 3, 9, 18, 30, 32, 33, 99, 1000, 70_000, -5, i32::MAX, i32::MIN] {
            for (ver, seq) in [(1, 0), (9, -1)] {
                client.send(&frame::classic(ver, op, seq, b"to the business"));
                let reply = client.next();
                assert_eq!((reply.head(), reply.body.len(), reply.wrapped), ((ver, op, seq), 0, false), "{transport:?}");
            }
        }
        // A longer header is skipped, and the reply is classic all the same.
        client.send(&frame::extended(99, 5, &frame::Extended { id: 1, pos: 2, ..Default::default() }, b"x"));
        let reply = client.next();
        assert_eq!((reply.head(), reply.extended), ((2, 99, 5), None));
    }
}

#[test]
fn pipelined_requests_are_all_answered_with_pushes_between() {
    let server = Server::start(&[]);
    let mut http = server.http();
    for transport in BOTH {
        let mut client = Client::classic(&server, transport, &json!({ "mid": 1, "accepts": [1000] }));
        // goim closes at the ninth that is in flight.
        for round in 0..20 {
            let mut batch = Vec::new();
            for seq in 0..50 {
                batch.extend(frame::classic(1, if seq % 2 == 0 { HEARTBEAT } else { 99 }, seq, &[]));
            }
            client.send(&batch);
            http.goim_push("mids?operation=1000&mids=1", format!("{round}").as_bytes());
        }
        let (mut replies, mut pushes) = (Vec::new(), Vec::new());
        while replies.len() < 1000 || pushes.len() < 20 {
            let frame = client.next();
            match frame.op {
                1000 => pushes.push(frame.text().to_owned()),
                _ => replies.push((frame.op, frame.seq)),
            }
        }
        let expected: Vec<_> = (0..1000).map(|at| (if at % 2 == 0 { 3 } else { 99 }, at % 50)).collect();
        assert_eq!(replies, expected, "{transport:?}");
        assert_eq!(pushes, (0..20).map(|round| round.to_string()).collect::<Vec<_>>());

        if transport == Transport::WebSocket {
            // One frame in each message, all in one write.
            let messages: Vec<u8> = (0..10)
                .flat_map(|seq| support::websocket::message(support::websocket::BINARY, &frame::classic(1, HEARTBEAT, seq, &[])))
                .collect();
            client.write(&messages);
            for seq in 0..10 {
                assert_eq!(client.next().head(), (1, 3, seq));
            }
        }
    }
}

#[test]
fn frames_come_in_any_pieces() {
    let server = Server::start(&[]);
    for transport in BOTH {
        let mut client = Client::connect(&server, transport);
        let mut bytes = frame::classic(1, 7, 1, EXAMPLE_AUTH.as_bytes());
        bytes.extend(frame::classic(1, HEARTBEAT, 2, b"ignored"));
        if transport == Transport::WebSocket {
            bytes = support::websocket::message(support::websocket::BINARY, &bytes);
        }
        for byte in bytes {
            client.write(&[byte]);
        }
        assert_eq!(client.next().head(), (1, 8, 1));
        assert_eq!(client.next().head(), (1, 3, 2));
    }
}

#[test]
fn websocket_as_goims_clients_use_it() {
    let server = Server::start(&[]);
    for path in ["/sub", "/sub?token=1&x=2"] {
        let mut client = Client::connect_raw(server.ws, Transport::WebSocket);
        client.write(&support::websocket::upgrade(path));
        client.take_upgrade();
        // A pong leaves at once, not with the next reply (R1).
        client.write(&support::websocket::message(support::websocket::PING, b"ping"));
        assert_eq!(client.pong(), b"ping");
        // Fragments, with a ping between them.
        let auth = frame::classic(1, 7, 1, EXAMPLE_AUTH.as_bytes());
        client.write(&support::websocket::fragment(false, support::websocket::BINARY, &auth[..10]));
        client.write(&support::websocket::message(support::websocket::PING, b"between"));
        client.write(&support::websocket::fragment(false, support::websocket::CONTINUATION, &auth[10..50]));
        client.write(&support::websocket::fragment(true, support::websocket::CONTINUATION, &auth[50..]));
        assert_eq!(client.next().head(), (1, 8, 1), "{path}");
        assert_eq!(client.pong(), b"between");
        client.write(&support::websocket::message(support::websocket::CLOSE, &1000u16.to_be_bytes()));
        assert_eq!(client.end().close.map(|(code, _)| code), Some(1000));
    }
}

#[test]
fn a_session_comes_back_with_its_key() {
    let server = Server::start(&[]);
    let mut http = server.http();
    for (at, (old_transport, new_transport)) in BOTH.into_iter().flat_map(|old| BOTH.map(|new| (old, new))).enumerate() {
        let mid = 100 + at as i64;
        let key = format!("device-{at}");
        let auth = json!({ "mid": mid, "key": key, "room_id": "live://a", "accepts": [1000] });
        let mut old = Client::classic(&server, old_transport, &auth);
        let mut new = Client::classic(&server, new_transport, &auth);
        let expected = match old_transport {
            Transport::Tcp => End::PLAIN,
            Transport::WebSocket => End { close: Some((4507, "REPLACED".to_owned())), disconnect: None },
        };
        assert_eq!(old.end(), expected);
        // The goodbye of the old one comes late, and does not take the new one with it (L3).
        drop(old);
        until_eq("one session left", &1, || {
            let stats = support::measure::stats(&mut http);
            stats["connections"]["tcp"].as_u64().unwrap() + stats["connections"]["websocket"].as_u64().unwrap()
        });
        http.goim_push(&format!("keys?operation=1000&keys={key}"), b"by key");
        http.goim_push(&format!("mids?operation=1000&mids={mid}"), b"by mid");
        http.goim_push("room?operation=1000&type=live&room=a", b"by room");
        assert_eq!([new.push(), new.push(), new.push()], ["by key", "by mid", "by room"]);
        assert_eq!((new.heartbeat(), new.flush()), (1, vec![]));

        // As in goim, another user may take the key where nobody proves who he is.
        let mut thief = Client::classic(&server, new_transport, &json!({ "mid": -1, "key": key, "accepts": [1000] }));
        new.end();
        http.goim_push(&format!("keys?operation=1000&keys={key}"), b"to the thief");
        assert_eq!(thief.push(), "to the thief");
        drop(thief);
        until_eq("nobody", &0, || stat(&mut http, "/rooms") + stat(&mut http, "/users"));
    }
}

#[test]
fn a_user_has_many_sessions() {
    let server = Server::start(&[]);
    let mut http = server.http();
    let mut sessions: Vec<_> = (0..10).map(|at| Client::user(&server, BOTH[at % 2], 5)).collect();
    http.goim_push("mids?operation=1000&mids=5&mids=5&mids=6", b"each once");
    for session in &mut sessions {
        assert_eq!(session.push(), "each once");
        assert_eq!(session.flush(), []);
    }
}

/// Method, path with query, body; then status, content type, and the body of the answer.
type Exchange = (&'static str, &'static str, u16, &'static str, &'static str);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json; charset=utf-8";
const OK: &str = r#"{"code":0,"message":""}"#;

#[test]
fn http_forms() {
    const EXCHANGES: [Exchange; 24] = [
        ("POST", "/goim/push/keys?operation=1000&keys=a", 200, JSON, OK),
        ("POST", "/goim/push/keys?operation=1000", 200, JSON, r#"{"code":-400,"message":""}"#),
        (
            "POST",
            "/goim/push/keys?operation=x&keys=a",
            400,
            TEXT,
            r#"{"code":-400,"message":"strconv.ParseInt: parsing \"x\": invalid syntax"}"#,
        ),
        ("POST", "/goim/push/mids?operation=1000&mids=1&mids=2", 200, JSON, OK),
        ("POST", "/goim/push/mids?operation=1000", 200, JSON, OK),
        (
            "POST",
            "/goim/push/mids?operation=1000&mids=1,2",
            400,
            TEXT,
            r#"{"code":-400,"message":"strconv.ParseInt: parsing \"1,2\": invalid syntax"}"#,
        ),
        (
            "POST",
            "/goim/push/mids?operation=3000000000&mids=1",
            400,
            TEXT,
            r#"{"code":-400,"message":"strconv.ParseInt: parsing \"3000000000\": value out of range"}"#,
        ),
        ("POST", "/goim/push/room?operation=1000&type=live&room=1", 200, JSON, OK),
        (
            "POST",
            "/goim/push/room?operation=1000&type=live",
            400,
            TEXT,
            r#"{"code":-400,"message":"Key: 'Room' Error:Field validation for 'Room' failed on the 'required' tag"}"#,
        ),
        (
            "POST",
            "/goim/push/room?operation=0&type=live&room=1",
            400,
            TEXT,
            r#"{"code":-400,"message":"Key: 'Op' Error:Field validation for 'Op' failed on the 'required' tag"}"#,
        ),
        ("POST", "/goim/push/all?operation=1000", 200, JSON, OK),
        ("POST", "/goim/push/all?operation=1000&speed=100", 200, JSON, OK),
        (
            "POST",
            "/goim/push/all",
            400,
            TEXT,
            r#"{"code":-400,"message":"Key: 'Op' Error:Field validation for 'Op' failed on the 'required' tag"}"#,
        ),
        (
            "GET",
            "/goim/online/top?type=live&limit=10",
            200,
            JSON,
            r#"{"code":0,"message":"","data":[{"room_id":"1","count":2},{"room_id":"2","count":1}]}"#,
        ),
        ("GET", "/goim/online/top?type=live&limit=1", 200, JSON, r#"{"code":0,"message":"","data":[{"room_id":"1","count":2}]}"#),
        ("GET", "/goim/online/top?type=li&limit=10", 200, JSON, r#"{"code":0,"message":"","data":[]}"#),
        (
            "GET",
            "/goim/online/top?type=live&limit=0",
            400,
            TEXT,
            r#"{"code":-400,"message":"Key: 'Limit' Error:Field validation for 'Limit' failed on the 'required' tag"}"#,
        ),
        ("GET", "/goim/online/top?type=live&limit=-1", 400, TEXT, r#"{"code":-400,"message":"limit must not be negative"}"#),
        ("GET", "/goim/online/room?type=live&rooms=1&rooms=3", 200, JSON, r#"{"code":0,"message":"","data":{"1":2,"3":0}}"#),
        ("GET", "/goim/online/total", 200, JSON, r#"{"code":0,"message":"","data":{"conn_count":3,"ip_count":1}}"#),
        ("GET", "/goim/push/keys", 404, "text/plain", "404 page not found"),
        ("POST", "/goim/online/total", 404, "text/plain", "404 page not found"),
        ("GET", "/nodes/instances", 404, "text/plain", "404 page not found"),
        ("GET", "/goim", 404, "text/plain", "404 page not found"),
    ];
    let server = Server::start(&[]);
    let mut http = server.http();
    let _sessions: Vec<_> = ["live://1", "live://1", "live://2"]
        .map(|room| Client::classic(&server, Transport::Tcp, &json!({ "room_id": room })))
        .into();
    for (method, path, status, content_type, body) in EXCHANGES {
        let answer = http.request(method, path, &[], b"x").unwrap();
        let found = (answer.status, answer.header("content-type").unwrap(), answer.text());
        assert_eq!(found, (status, content_type, body), "{method} {path}");
    }
    let answer = http.request("GET", "/goim/online/total/", &[], b"").unwrap();
    assert_eq!((answer.status, answer.header("location")), (301, Some("/goim/online/total")));
}

#[test]
fn nodes_as_goims_clients_ask_for_them() {
    let server = Server::start(&["--set", "goim.ws_port=1234", "--set", "node.id=node-1"]);
    let mut http = server.http();
    let weighted = http.get("/goim/nodes/weighted?platform=ios");
    let expected = concat!(
        r#"{"code":0,"message":"","data":{"domain":"conn.goim.io","tcp_port":3101,"ws_port":1234,"wss_port":3103,"#,
        r#""heartbeat":240,"nodes":["127.0.0.1"],"backoff":{"max_delay":300,"base_delay":3,"factor":1.8,"jitter":0.3},"heartbeat_max":2}}"#
    );
    assert_eq!(weighted.text(), expected);
    let web = http.get("/goim/nodes/weighted?platform=web").json();
    assert_eq!(web["data"]["nodes"], json!(["node-1.goim.io"]));
    let instances: Value = http.get("/goim/nodes/instances").json();
    assert_eq!((&instances["code"], &instances["data"][0]["hostname"]), (&json!(0), &json!("node-1")), "{instances}");
}
