//! What was accepted arrives in its order, once; and what does not arrive is counted.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Read;
use std::time::Duration;

use serde_json::{Value, json};
use support::measure::{self, Metrics, stat};
use support::{BOTH, Client, Http, Server, Transport, until_eq};

/// How the push with this number goes to the session that is user 7, key k, room live://a.
fn target(number: usize) -> Value {
    match number % 7 {
        0 | 4 => json!({ "keys": ["k"] }),
        1 | 5 => json!({ "mids": [7] }),
        2 | 6 => json!({ "room": "live://a" }),
        _ => json!({ "all": true }),
    }
}

const AUTH: &str = r#"{"mid":7,"key":"k","room_id":"live://a","accepts":[1000]}"#;

#[test]
fn twenty_thousand_pushes_by_all_ways_keep_their_order_on_tcp() {
    twenty_thousand(Transport::Tcp);
}

#[test]
fn twenty_thousand_pushes_by_all_ways_keep_their_order_on_websocket() {
    twenty_thousand(Transport::WebSocket);
}

fn twenty_thousand(transport: Transport) {
    const PUSHES: usize = 20_000;
    let server = Server::start(&[]);
    let mut client = Client::classic(&server, transport, &serde_json::from_str(AUTH).unwrap());
    let mut http = server.http();
    let pusher = std::thread::spawn(move || {
        let mut next = 0;
        while next < PUSHES {
            // Now and then one by one, by goim's routes; otherwise as fast as it goes.
            if next % 1000 < 8 {
                let route = [
                    "keys?operation=1000&keys=k",
                    "mids?operation=1000&mids=7",
                    "room?operation=1000&type=live&room=a",
                    "all?operation=1000",
                ];
                http.goim_push(route[next % 4], next.to_string().as_bytes());
                next += 1;
                continue;
            }
            let end = (next + 331).min(PUSHES);
            let messages: Vec<Value> =
                (next..end).map(|number| json!({ "to": target(number), "body": number.to_string() })).collect();
            let answer = http.post_json("/v1/messages:batch", &json!({ "messages": messages })).json();
            let results = answer["results"].as_array().unwrap();
            assert!(results.iter().all(|result| result["status"] == 200), "{answer}");
            next = end;
        }
        http
    });
    for number in 0..PUSHES {
        assert_eq!(client.push(), number.to_string(), "{transport:?}");
    }
    let mut http = pusher.join().unwrap();
    assert_eq!(client.flush(), [], "something came twice");
    assert_eq!(stat(&mut http, "/log/end"), PUSHES as u64);
    let metrics = Metrics::of(&mut http);
    let delivered: u64 = ["direct", "room", "all"].iter().map(|way| metrics.delivered(way)).sum();
    assert_eq!(delivered, PUSHES as u64);
}

#[test]
fn each_pusher_keeps_its_own_order() {
    const PUSHERS: usize = 8;
    const PUSHES: usize = 400;
    let server = Server::start(&[]);
    let auth: Value = serde_json::from_str(AUTH).unwrap();
    let mut sessions: Vec<_> = BOTH
        .into_iter()
        .map(|transport| {
            Client::classic(
                &server,
                transport,
                &json!({ "mid": 7, "key": format!("{transport:?}"), "room_id": auth["room_id"], "accepts": [1000] }),
            )
        })
        .collect();
    std::thread::scope(|scope| {
        for pusher in 0..PUSHERS {
            let mut http = server.http();
            scope.spawn(move || {
                for number in 0..PUSHES {
                    let body = format!("{pusher} {number}");
                    match number % 5 {
                        0 => http.goim_push("mids?operation=1000&mids=7", body.as_bytes()),
                        1 => http.goim_push("room?operation=1000&type=live&room=a", body.as_bytes()),
                        2 => http.goim_push("all?operation=1000", body.as_bytes()),
                        3 => http.goim_push("keys?operation=1000&keys=Tcp&keys=WebSocket", body.as_bytes()),
                        _ => drop(http.push(&json!({ "to": { "mids": [7] }, "body": body }))),
                    }
                }
            });
        }
        for session in &mut sessions {
            let mut next = [0; PUSHERS];
            for _ in 0..PUSHERS * PUSHES {
                let body = session.push();
                let (pusher, number) = body.split_once(' ').unwrap();
                let next: &mut usize = &mut next[pusher.parse::<usize>().unwrap()];
                assert_eq!(number.parse(), Ok(*next), "of pusher {pusher} on {:?}", session.transport);
                *next += 1;
            }
        }
    });
    for session in &mut sessions {
        assert_eq!(session.flush(), [], "something came twice");
    }
}

/// Bounds that a slow reader meets soon.
const NARROW: [&str; 16] = [
    "--set",
    "logic.push_bytes_max=16KiB",
    "--set",
    "comet.body_bytes_max=4KiB",
    "--set",
    "comet.auth_bytes_max=4KiB",
    "--set",
    "comet.session_bytes_max=128KiB",
    "--set",
    "room.ring_bytes_max=128KiB",
    "--set",
    "comet.write_stall_ms=600000",
    "--set",
    "comet.workers=2",
    "--set",
    "telemetry.level=warn",
];

#[test]
fn a_slow_reader_on_tcp_loses_only_what_is_counted() {
    slow_reader(Transport::Tcp);
}

#[test]
fn a_slow_reader_on_websocket_loses_only_what_is_counted() {
    slow_reader(Transport::WebSocket);
}

fn slow_reader(transport: Transport) {
    const PUSHES: usize = 3000;
    const QUICK: usize = 4;
    let server = Server::start(&NARROW);
    let mut http = server.http();
    let session = |key: &str, transport| {
        Client::classic(&server, transport, &json!({ "mid": 7, "key": key, "room_id": "live://a", "accepts": [1000] }))
    };
    let mut slow = session("slow", transport);
    let quick: Vec<_> = (0..QUICK).map(|at| session(&format!("quick-{at}"), BOTH[at % 2])).collect();
    let padding = "x".repeat(8000);
    let readers: Vec<_> = quick
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                for number in 0..PUSHES {
                    let body = client.push();
                    assert_eq!(
                        body.split(' ').next(),
                        Some(number.to_string().as_str()),
                        "a reader that keeps up lost something"
                    );
                }
                client
            })
        })
        .collect();
    for first in (0..PUSHES).step_by(50) {
        let messages: Vec<Value> = (first..first + 50)
            .map(|number| {
                let to = [json!({ "mids": [7] }), json!({ "room": "live://a" }), json!({ "all": true })][number % 3].clone();
                json!({ "to": to, "body": format!("{number} {padding}") })
            })
            .collect();
        let answer = http.post_json("/v1/messages:batch", &json!({ "messages": messages }));
        assert_eq!(answer.status, 200, "{}", answer.text());
        // The quick ones are to be quick; what is under way at a time is less than any bound.
        let sent = ((first + 50) * QUICK) as u64;
        support::until("the quick readers to keep up", || {
            let metrics = Metrics::of(&mut http);
            (["direct", "room", "all"].iter().map(|way| metrics.delivered(way)).sum::<u64>() >= sent).then_some(())
        });
    }
    let quick: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    let metrics = Metrics::of(&mut http);
    assert!(metrics.dropped("slow") > 0, "the slow reader was not slow");
    assert_eq!(metrics.get("perseid_client_blocked"), 1);

    // Now it reads all there is for it: its own heartbeat comes behind.
    let mut last = None;
    let mut got = 0;
    for frame in slow.flush() {
        let number: usize = frame.text().split(' ').next().unwrap().parse().unwrap();
        assert!(last.is_none_or(|last| last < number), "{last:?} before {number}");
        assert_eq!(frame.body.len(), format!("{number} {padding}").len(), "a torn frame");
        last = Some(number);
        got += 1;
    }
    assert!(got > 0 && got < PUSHES, "{got} of {PUSHES}");
    assert_eq!(last, Some(PUSHES - 1), "the newest are kept, the oldest go");

    let addressed = (PUSHES * (QUICK + 1)) as u64;
    until_eq("addressed = delivered + dropped", &addressed, || {
        let metrics = Metrics::of(&mut http);
        let delivered: u64 = ["direct", "room", "all"].iter().map(|way| metrics.delivered(way)).sum();
        delivered + metrics.dropped("slow")
    });
    let metrics = Metrics::of(&mut http);
    assert_eq!(metrics.dropped("slow"), (PUSHES - got) as u64);
    for reason in ["offline", "filtered", "expired", "closing", "collapsed"] {
        assert_eq!(metrics.dropped(reason), 0, "{reason}");
    }
    until_eq("nothing waits any more", &(0, 0), || (stat(&mut http, "/queued_bytes"), stat(&mut http, "/blocked")));
    // And it is a session like any other again.
    http.push(&json!({ "to": { "keys": ["slow"] }, "body": "again" }));
    assert_eq!(slow.push(), "again");
    drop(quick);
}

#[test]
fn who_takes_nothing_at_all_is_closed_and_costs_nobody_else() {
    let server = Server::start(&["--set", "comet.write_stall_ms=500", "--set", "comet.workers=1"]);
    let mut http = server.http();
    for transport in BOTH {
        let stuck = Client::user(&server, transport, 8);
        let mut fine = Client::user(&server, Transport::Tcp, 9);
        let body = "x".repeat(900_000);
        let mut pushed = 0;
        // Until the kernel takes no more of it.
        support::until("a full socket", || {
            http.goim_push("mids?operation=1000&mids=8&mids=9", body.as_bytes());
            assert_eq!(fine.next().body.len(), body.len());
            pushed += 1;
            (stat(&mut http, "/blocked") > 0).then_some(())
        });
        until_eq("the stuck session ended", &1, || stat(&mut http, "/users"));
        http.goim_push("mids?operation=1000&mids=9", b"still served");
        assert_eq!(fine.push(), "still served");
        until_eq("its queue given back", &0, || stat(&mut http, "/queued_bytes"));
        let ended = stat(&mut http, "/counters/ended/SLOW_CONSUMER");
        assert_eq!(ended, if transport == Transport::Tcp { 1 } else { 2 });
        let stream = &stuck.stream;
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let read = std::io::copy(&mut stream.take(u64::MAX), &mut std::io::sink());
        assert!(read.is_err() || read.is_ok_and(|bytes| bytes < pushed * 1_000_000), "the connection is closed");
        drop(fine);
        until_eq("nobody", &0, || stat(&mut http, "/users"));
    }
}

#[test]
fn a_push_to_who_is_not_there_is_counted() {
    let server = Server::start(&[]);
    let mut http: Http = server.http();
    let _client = Client::user(&server, Transport::Tcp, 7);
    http.goim_push("keys?operation=1000&keys=nobody", b"x");
    http.goim_push("mids?operation=1000&mids=8&mids=9", b"x");
    http.goim_push("mids?operation=1001&mids=7", b"x");
    http.goim_push("all?operation=1001", b"x");
    until_eq("what was dropped", &(3, 2), || {
        let metrics = Metrics::of(&mut http);
        (metrics.dropped("offline"), metrics.dropped("filtered"))
    });
    assert_eq!(measure::stats(&mut http)["counters"]["dropped"]["offline"], 3);
}
