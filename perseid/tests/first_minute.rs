//! What somebody does in the first minute: start it, connect, push, look.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};
use support::frame::Extended;
use support::measure::{self, Metrics};
use support::server::{Process, perseid, run};
use support::{BOTH, Client, Http, Server, Transport, until, until_eq};

/// goim's four routes: what each is called with to reach one session.
const ROUTES: [&str; 4] = [
    "keys?operation=1000&keys=k1&keys=nobody",
    "mids?operation=1000&mids=7&mids=70",
    "room?operation=1000&type=live&room=1",
    "all?operation=1000",
];

#[test]
fn goims_pushes_arrive_byte_for_byte() {
    let server = Server::start(&[]);
    let mut http = server.http();
    for transport in BOTH {
        let auth = json!({ "mid": 7, "key": "k1", "room_id": "live://1", "platform": "test", "accepts": [1000] });
        let mut client = Client::classic(&server, transport, &auth);
        for route in ROUTES {
            http.goim_push(route, b"hello");
            let inner = b"\0\0\0\x15\0\x10\0\x01\0\0\x03\xe8\0\0\0\0hello";
            let expected = match transport {
                Transport::Tcp => inner.to_vec(),
                Transport::WebSocket => [&b"\x82\x25\0\0\0\x25\0\x10\0\x01\0\0\0\x09\0\0\0\0"[..], inner].concat(),
            };
            assert_eq!(client.raw(expected.len()), expected, "{transport:?} {route}");
        }
        assert_eq!(client.flush(), [], "{transport:?}");
    }
}

#[test]
fn v1_messages_arrive_on_both_levels() {
    let server = Server::start(&[]);
    let mut http = server.http();
    for transport in BOTH {
        let auth = |key: &str| json!({ "mid": 7, "key": key, "room_id": "live://1", "platform": "test", "accepts": [1000] });
        let mut classic = Client::classic(&server, transport, &auth("classic"));
        let (mut extended, reply) = Client::extended(&server, transport, &auth("extended"));
        assert_eq!((&reply["mid"], &reply["key"]), (&json!(7), &json!("extended")));
        assert_eq!((&reply["heartbeat_ms"], &reply["reconnect_ms"]), (&json!(240_000), &json!(10_000)));
        assert!(reply["server"].is_string() && reply["limits"]["body_bytes"] == 65_536, "{reply}");

        for to in [
            json!({ "keys": ["classic", "extended"] }),
            json!({ "mids": [7] }),
            json!({ "room": "live://1" }),
            json!({ "all": true }),
        ] {
            let answer = http.push(&json!({ "to": to, "body": "hällo", "from": 42 }));
            assert_eq!((&answer["accepted"], &answer["duplicate"]), (&json!(true), &json!(false)), "{answer}");
            assert!(answer["recipients"].as_u64().is_some_and(|recipients| (1..=2).contains(&recipients)), "{answer}");

            let frame = classic.next();
            assert_eq!((frame.head(), frame.extended, frame.text()), ((1, 1000, 0), None, "hällo"), "{transport:?} {to}");
            assert_eq!(frame.wrapped, transport == Transport::WebSocket);

            let frame = extended.next();
            let room = to.get("room").is_some();
            let expected = Extended {
                id: answer["id"].as_str().expect("an id as text").parse().unwrap(),
                kind: if room { 4 } else { 0 },
                conv: if room { fnv("live://1") } else { 0 },
                from: 42,
                ..Extended::default()
            };
            assert_eq!((frame.head(), frame.text(), frame.wrapped), ((2, 1000, 0), "hällo", false), "{transport:?} {to}");
            assert_eq!(frame.extended, Some(expected), "{transport:?} {to}");
        }
        let answer = http.push(&json!({ "to": { "keys": ["classic"] }, "body_base64": "AAEC/w==", "op": -7 }));
        assert!(answer["id"].is_string());
        http.push(&json!({ "to": { "keys": ["classic"] }, "body_base64": "AAEC/w==" }));
        assert_eq!(classic.next().body, [0, 1, 2, 255], "and nothing with an operation that it does not accept");
        drop((classic, extended));
        until_eq("sessions gone", &0, || measure::stat(&mut http, "/users"));
    }
}

fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn a_batch_is_answered_one_by_one_and_delivered_in_order() {
    let server = Server::start(&[]);
    let mut http = server.http();
    let mut client = Client::user(&server, Transport::Tcp, 7);
    let messages = json!({ "messages": [
        { "to": { "mids": [7] }, "body": "1" },
        { "to": { "mids": [7] } },
        { "to": { "all": true }, "body": "2" },
        { "to": { "mids": [7] }, "body": "3", "id": "x" },
        { "to": { "mids": [7] }, "body": "3", "id": "x" },
        { "to": { "mids": [7] }, "body": "4", "id": "x" },
    ] });
    let answer = http.post_json("/v1/messages:batch", &messages);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let results = answer["results"].as_array().unwrap();
    let statuses: Vec<_> = results.iter().map(|result| result["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 400, 200, 200, 200, 409]);
    assert_eq!((&results[4]["duplicate"], &results[4]["id"]), (&json!(true), &results[3]["id"]));
    let bodies: Vec<_> = client.flush_after(3);
    assert_eq!(bodies, ["1", "2", "3"]);
}

impl Client {
    /// The bodies of the next `count` pushes, and of whatever else was under way.
    fn flush_after(&mut self, count: usize) -> Vec<String> {
        let mut bodies: Vec<_> = (0..count).map(|_| self.push()).collect();
        bodies.extend(self.flush().iter().map(|frame| frame.text().to_owned()));
        bodies
    }
}

#[test]
fn stored_messages_by_hand() {
    let server = Server::start(&[]);
    let (tcp, api) = (server.tcp.to_string(), format!("http://{}", server.http));
    let push = |args: &[&str]| {
        let mut push = perseid();
        push.args(["push", "--json", "--api", &api]).args(args);
        output(push, 0)
    };
    let send = |args: &[&str], status| {
        let mut send = perseid();
        send.args(["send", "--json", "--tcp", &tcp, "--mid", "8"]).args(args);
        output(send, status)
    };
    push(&["--mid", "7", "--store", "--from", "5", "while you were away"]);
    let sent = send(&["--to", "7", "--cid", "11", "from a friend"], 0);
    let again = send(&["--to", "7", "--cid", "11", "from a friend"], 0);
    assert_eq!((&again["id"], &again["op"], &again["cid"]), (&sent["id"], &json!(5), &json!("11")));
    assert_eq!(send(&["--group", "4", "nobody's"], 1)["op"], 32, "there is no such group");
    let group = br#"{"kind":"group","members":[7,8]}"#;
    assert_eq!(server.http().request("PUT", "/v1/groups/4", &[], group).unwrap().status, 200);
    push(&["--group", "4", "to all members"]);
    send(&["--group", "4", "to my group"], 0);
    let heard = |count: &str| -> Vec<Value> {
        let mut listen = perseid();
        listen.args(["listen", "--json", "--tcp", &tcp, "--mid", "7", "--extended", "--device", "phone"]);
        listen.args(["--count", count, "--timeout-ms", "20000"]);
        let stdout = String::from_utf8(run(listen).stdout).unwrap();
        let lines = stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines.filter(|line| line["event"] == "push").collect()
    };
    let bodies = |heard: Vec<Value>| -> Vec<(u64, String)> {
        let body = |line: &Value| (line["pos"].as_u64().unwrap(), line["body"].as_str().unwrap().to_owned());
        heard.iter().map(body).filter(|(_, body)| !body.starts_with('{')).collect()
    };
    // Two, then what follows them: what was shown is not shown again. The third position is the event that made the group.
    assert_eq!(bodies(heard("2")), [(1, "while you were away".to_owned()), (2, "from a friend".to_owned())]);
    assert_eq!(bodies(heard("3")), [(4, "to all members".to_owned()), (5, "to my group".to_owned())]);
}

#[test]
fn listen_push_and_send_by_hand() {
    let server = Server::start(&[]);
    let mut http = server.http();
    let (tcp, ws, api) = (server.tcp.to_string(), format!("ws://{}/sub", server.ws), format!("http://{}", server.http));
    for (name, session) in [
        ("tcp", vec!["--tcp", tcp.as_str()]),
        ("ws", vec!["--ws", ws.as_str()]),
        ("tcp extended", vec!["--tcp", tcp.as_str(), "--extended"]),
        ("ws extended", vec!["--ws", ws.as_str(), "--extended"]),
    ] {
        let mut listen = perseid();
        listen.args(["listen", "--json", "--count", "1", "--timeout-ms", "20000", "--mid", "7"]).args(&session);
        let mut listen = Process::spawn(listen);
        let ready: Value = serde_json::from_str(&listen.first_line()).expect("a line when it is connected");
        assert_eq!(ready["event"], "ready", "{name}");

        let mut push = perseid();
        push.args(["push", "--json", "--api", &api, "--mid", "7", "hello"]);
        let pushed = output(push, 0);
        assert_eq!((&pushed["accepted"], &pushed["recipients"]), (&json!(true), &json!(1)), "{name}");

        assert_eq!(listen.wait(), Some(0), "{name}");
        let stdout = listen.stdout();
        let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), 2, "{stdout}");
        assert_eq!((&lines[1]["event"], &lines[1]["op"], &lines[1]["body"]), (&json!("push"), &json!(1000), &json!("hello")));
        if session.contains(&"--extended") {
            assert_eq!(lines[1]["id"], pushed["id"]);
        }

        // Operation 4 of an extended session is an IM message; any other from 33 on goes to the business on both levels.
        let mut send = perseid();
        send.args(["send", "--json", "--mid", "8", "--op", "99", "what"]).args(&session);
        let reply = output(send, 0);
        assert_eq!((&reply["event"], &reply["op"], &reply["body"]), (&json!("reply"), &json!(99), &json!("")), "{name}");
        until_eq("nobody left", &0, || measure::stat(&mut http, "/users"));
    }

    let mut listen = perseid();
    listen.args(["listen", "--count", "1", "--timeout-ms", "50", "--tcp", &tcp]);
    assert_eq!(run(listen).status.code(), Some(1), "nothing came in time");
    let mut refused = perseid();
    refused.args(["push", "--api", &api, "--room", "no room", "hello"]);
    let refused = run(refused);
    assert_eq!(refused.status.code(), Some(1));
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(stderr.starts_with("refused (400"), "{stderr}");
}

fn output(command: Command, status: i32) -> Value {
    let output = run(command);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error} in {stdout}; {stderr}"))
}

#[test]
fn nobody_there_is_said_in_one_line() {
    // A port that was free a moment ago, and that nobody listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for args in [
        vec!["push", "--api", "URL", "--mid", "7", "hello"],
        vec!["listen", "--tcp", "ADDR"],
        vec!["send", "--ws", "ADDR", "hello"],
    ] {
        let mut command = perseid();
        command.args(args.iter().map(|arg| arg.replace("URL", &format!("http://{port}")).replace("ADDR", &port.to_string())));
        let output = run(command);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len(), stderr.lines().count()), (Some(1), 0, 1), "{args:?} {stderr}");
        assert!(stderr.contains(&format!("can't connect to {port}: is a server running there?")), "{stderr}");
    }
}

#[test]
fn health_and_metrics_and_the_page() {
    let server = Server::start(&[]);
    let mut http = server.http();
    assert_eq!(http.get("/healthz").status, 200);
    let ready = http.get("/readyz");
    assert_eq!((ready.status, ready.json()), (200, json!({ "ready": true, "reasons": [] })));

    let mut client =
        Client::classic(&server, Transport::WebSocket, &json!({ "mid": 7, "room_id": "live://1", "accepts": [1000] }));
    http.push(&json!({ "to": { "room": "live://1" }, "body": "x" }));
    client.push();
    let response = http.get("/metrics");
    assert_eq!(response.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    // The upgrade, AUTH_REPLY and a push: a pass over a room counts when its slice has ended, after the client has its frame.
    let metrics = until("three writes", || {
        Some(Metrics::parse(http.get("/metrics").text())).filter(|metrics| metrics.get("perseid_comet_writes_total") >= 3)
    });
    assert_eq!(metrics.get("perseid_client_sessions_inflight{transport=\"websocket\"}"), 1);
    assert_eq!(metrics.get("perseid_client_sessions_inflight{transport=\"tcp\"}"), 0);
    assert_eq!(metrics.delivered("room"), 1);
    for name in ["perseid_log_end_offset", "perseid_log_sync_duration_seconds_count", "perseid_process_resident_memory_bytes"] {
        assert!(metrics.get(name) >= 1, "{name}");
    }

    let stats = until("the job's progress", || Some(measure::stats(&mut http)).filter(|stats| stats["log"]["lag"] == 0));
    for (pointer, expected) in [
        ("/ready", json!(true)),
        ("/draining", json!(false)),
        ("/version", json!(env!("CARGO_PKG_VERSION"))),
        ("/connections", json!({ "tcp": 0, "websocket": 1, "tls": 0, "wss": 0 })),
        ("/sessions", json!({ "tcp": 0, "websocket": 1, "tls": 0, "wss": 0 })),
        ("/users", json!(1)),
        ("/rooms", json!(1)),
        ("/top_rooms", json!([{ "room": "live://1", "online": 1 }])),
        ("/listen/tcp/0", json!(server.tcp.to_string())),
        ("/listen/ws/0", json!(server.ws.to_string())),
        ("/listen/http/0", json!(server.http.to_string())),
        ("/counters/delivered", json!({ "direct": 0, "room": 1, "all": 0 })),
        ("/counters/dropped", json!({ "offline": 0, "filtered": 0, "expired": 0, "slow": 0, "closing": 0, "collapsed": 0 })),
        ("/log/end", json!(1)),
        ("/log/poisoned", json!(null)),
    ] {
        assert_eq!(stats.pointer(pointer), Some(&expected), "{pointer} in {stats}");
    }
    let known: BTreeSet<_> = stats["counters"].as_object().unwrap().keys().map(String::as_str).collect();
    for name in [
        "accepted",
        "left",
        "ended",
        "frames_received",
        "bytes_received",
        "heartbeats",
        "upstream",
        "pushes",
        "writes",
        "bytes_sent",
    ] {
        assert!(known.contains(name), "{name} in {known:?}");
    }

    let page = http.get("/");
    assert_eq!(page.status, 200, "the console page");
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{page:?}");
    assert!(page.text().to_ascii_lowercase().starts_with("<!doctype html>"), "{}", page.text());
}

#[test]
fn who_is_online() {
    let server = Server::start(&[]);
    let mut http = server.http();
    let auth = json!({ "mid": 7, "key": "k", "room_id": "live://1", "platform": "ios", "accepts": [1000] });
    let _client = Client::classic(&server, Transport::Tcp, &auth);
    let _guest = Client::user(&server, Transport::WebSocket, 0);

    let user = http.get("/v1/users/7").json();
    assert_eq!(
        (&user["mid"], &user["sessions"][0]["key"], &user["sessions"][0]["platform"]),
        (&json!(7), &json!("k"), &json!("ios")),
        "{user}"
    );
    assert_eq!(user["sessions"].as_array().map(Vec::len), Some(1));
    let online = http.post_json("/v1/users:online", &json!({ "mids": [7, "8"] })).json();
    let expected = json!([{ "mid": 7, "online": true, "platforms": ["ios"] }, { "mid": 8, "online": false, "platforms": [] }]);
    assert_eq!(online["users"], expected);
    let room = json!({ "room": "live://1", "type": "live", "id": "1", "online": 1 });
    assert_eq!(http.get("/v1/rooms").json(), json!({ "rooms": [room] }));
    assert_eq!(http.get("/v1/rooms/live/1").json(), room);
    assert_eq!(http.get("/v1/rooms/live/2").json()["online"], 0);
    assert_eq!(http.get("/v1/nodes").status, 200);
    assert_eq!(http.get("/v1/nothing").status, 404);
    let wrong = http.get("/v1/messages");
    assert_eq!((wrong.status, wrong.header("allow"), &wrong.json()["reason"]), (405, Some("POST"), &json!("METHOD_NOT_ALLOWED")));
}

#[test]
fn what_comes_too_late_is_not_delivered_and_an_id_is_answered_once() {
    let server = Server::start(&[]);
    let mut http = server.http();
    let mut client = Client::user(&server, Transport::Tcp, 7);
    let message = json!({ "to": { "mids": [7] }, "body": "once", "id": "order-1", "ttl_ms": 60_000 });
    let first = http.push(&message);
    // The same over another connection.
    let second = Http::connect(server.http).push(&message);
    assert_eq!((&second["id"], &second["duplicate"]), (&first["id"], &json!(true)));
    let other = http.post_json("/v1/messages", &json!({ "to": { "mids": [7] }, "body": "other", "id": "order-1" }));
    assert_eq!((other.status, other.header("content-type")), (409, Some("application/problem+json")));
    assert_eq!(other.json()["reason"], "CONFLICT");
    assert_eq!(client.flush_after(1), ["once"]);
    assert_eq!(measure::stat(&mut http, "/log/end"), 1);
}
