//! Many things at once: what goim loses when members come and go, rooms change, and keys are taken over.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use support::frame::{CHANGE_ROOM, classic};
use support::measure::{Metrics, stat, stats};
use support::{BOTH, Client, Http, Server, Transport, until_eq};

/// Pushes to a room, as many as a batch holds.
fn push_batch(http: &mut Http, room: &str, numbers: std::ops::Range<usize>) {
    let message = |number: usize| json!({ "to": { "room": room }, "body": format!("{room} {number}") });
    let messages: Vec<Value> = numbers.map(message).collect();
    let answer = http.post_json("/v1/messages:batch", &json!({ "messages": messages }));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn split(body: &str) -> (&str, usize) {
    let (room, number) = body.split_once(' ').unwrap();
    (room, number.parse().unwrap())
}

#[test]
fn after_a_change_of_room_nothing_comes_from_the_old_one() {
    const ROOMS: [&str; 2] = ["live://a", "live://b"];
    const CHANGES: i32 = 300;
    let server = Server::start(&[]);
    for transport in BOTH {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for room in ROOMS {
                let (mut http, stop) = (server.http(), &stop);
                scope.spawn(move || {
                    for batch in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        push_batch(&mut http, room, batch * 20..(batch + 1) * 20);
                    }
                });
            }
            let mut client = Client::user(&server, transport, 1);
            let mut last = [None, None];
            let mut current = None;
            let mut seen = 0;
            for change in 0..CHANGES {
                let next = change as usize % 2;
                client.send(&classic(1, CHANGE_ROOM, change, ROOMS[next].as_bytes()));
                // The old room until the reply, the new one after it: at least one push of it.
                let mut in_new = 0;
                while in_new == 0 {
                    let frame = client.next();
                    if frame.op == CHANGE_ROOM + 1 {
                        assert_eq!(frame.head(), (1, CHANGE_ROOM + 1, change));
                        current = Some(next);
                        continue;
                    }
                    let (room, number) = split(frame.text());
                    assert_eq!(Some(room), current.map(|current: usize| ROOMS[current]), "{transport:?}");
                    let last: &mut Option<usize> = &mut last[current.unwrap()];
                    assert!(last.is_none_or(|last| last < number), "{last:?} before {number}");
                    *last = Some(number);
                    seen += 1;
                    in_new += usize::from(current == Some(next));
                }
            }
            assert!(seen >= CHANGES);
            stop.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn who_stays_in_a_room_misses_nothing_while_others_come_and_go() {
    const PUSHES: usize = 2000;
    const ROOM: &str = "live://a";
    let server = Server::start(&[]);
    let auth = json!({ "mid": 1, "room_id": ROOM });
    let mut staying: Vec<_> = (0..4).map(|at| Client::classic(&server, BOTH[at % 2], &auth)).collect();
    let stop = AtomicBool::new(false);
    let doors = (server.tcp, server.ws);
    std::thread::scope(|scope| {
        for thread in 0..4usize {
            let stop = &stop;
            scope.spawn(move || {
                for round in thread.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let transport = BOTH[round % 2];
                    let mut client = Client::connect_raw(if transport == Transport::Tcp { doors.0 } else { doors.1 }, transport);
                    client.upgrade();
                    client.authenticate(&json!({ "mid": 2, "room_id": if round % 3 == 0 { ROOM } else { "" } }));
                    for room in [ROOM, "", ROOM, "live://other", ROOM].iter().take(round % 6) {
                        client.send(&classic(1, CHANGE_ROOM, 1, room.as_bytes()));
                    }
                    // Gone, at times with replies and pushes unread.
                    if round % 4 != 0 {
                        client.flush();
                    }
                }
            });
        }
        let mut http = server.http();
        scope.spawn(move || {
            for first in (0..PUSHES).step_by(10) {
                push_batch(&mut http, ROOM, first..first + 10);
            }
        });
        for number in 0..PUSHES {
            for client in &mut staying {
                let frame = client.next();
                assert_eq!(split(frame.text()), (ROOM, number), "{:?}", client.transport);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let mut http = server.http();
    until_eq("those who stay", &(4, 1), || {
        let stats = stats(&mut http);
        (
            stats["sessions"]["tcp"].as_u64().unwrap() + stats["sessions"]["websocket"].as_u64().unwrap(),
            stats["rooms"].as_u64().unwrap(),
        )
    });
    for client in &mut staying {
        assert_eq!((client.heartbeat(), client.flush()), (4, vec![]));
    }
    assert_eq!(http.get("/v1/rooms/live/a").json()["online"], 4);
}

#[test]
fn of_many_who_take_one_key_one_is_left() {
    let server = Server::start(&[]);
    let mut http = server.http();
    let doors = (server.tcp, server.ws);
    let mut clients: Vec<Client> = std::thread::scope(|scope| {
        let take = |thread: usize| {
            let auth = json!({ "mid": 1 + thread % 3, "key": "k", "room_id": "live://a", "accepts": [1000] });
            move || -> Vec<Client> {
                let enter = |round: usize| {
                    let transport = BOTH[(thread + round) % 2];
                    let mut client = Client::connect_raw(if transport == Transport::Tcp { doors.0 } else { doors.1 }, transport);
                    client.upgrade();
                    client.authenticate(&auth);
                    client
                };
                (0..20).map(enter).collect()
            }
        };
        let threads: Vec<_> = (0..8).map(|thread| scope.spawn(take(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    until_eq("one left", &(1, 1, 1), || {
        let stats = stats(&mut http);
        let sessions = stats["sessions"]["tcp"].as_u64().unwrap() + stats["sessions"]["websocket"].as_u64().unwrap();
        (sessions, stats["users"].as_u64().unwrap(), stats["top_rooms"][0]["online"].as_u64().unwrap())
    });
    http.goim_push("keys?operation=1000&keys=k", b"by key");
    http.goim_push("mids?operation=1000&mids=1&mids=2&mids=3", b"by mid");
    let got: Vec<_> =
        clients.iter_mut().filter_map(|client| Some((client.next_within(support::PATIENCE)?, client.push()))).collect();
    let got: Vec<_> = got.iter().map(|(first, second)| (first.text(), second.as_str())).collect();
    assert_eq!(got, [("by key", "by mid")]);
    assert_eq!(stat(&mut http, "/counters/ended/REPLACED"), clients.len() as u64 - 1);
    drop(clients);
    until_eq("nobody", &0, || stat(&mut http, "/users"));
}

#[test]
fn a_paced_push_to_all_reaches_each_once() {
    const SESSIONS: usize = 60;
    let server = Server::start(&[]);
    let mut http = server.http();
    let mut clients: Vec<_> = (0..SESSIONS).map(|at| Client::user(&server, BOTH[at % 2], 1 + at as i64)).collect();
    http.goim_push("all?operation=1000&speed=100", b"slowly");
    // Some leave before their turn, some come after it began.
    clients.truncate(SESSIONS - 10);
    http.push(&json!({ "to": { "all": true }, "body": "slowly too", "speed": 200 }));
    let mut late = Client::user(&server, Transport::Tcp, 1000);
    for client in &mut clients {
        let mut bodies = [client.push(), client.push()];
        bodies.sort();
        assert_eq!(bodies, ["slowly", "slowly too"]);
        assert_eq!(client.flush(), []);
    }
    http.goim_push("mids?operation=1000&mids=1000", b"end");
    let bodies: Vec<_> = std::iter::from_fn(|| Some(late.push()).filter(|body| body != "end")).collect();
    assert!(bodies.len() <= 2, "{bodies:?}");
    assert!(Metrics::of(&mut http).delivered("all") >= 2 * (SESSIONS as u64 - 10));
}
