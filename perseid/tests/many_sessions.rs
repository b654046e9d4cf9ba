//! Many sessions in one room: all get what is pushed, and when they have gone nothing is left of them.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::measure::{Metrics, resident_bytes, stats};
use support::{BOTH, Client, Server, Transport, until_eq};

/// As many as the machine's limit on open files allows, at most.
const SESSIONS_MAX: usize = 15_000;
const THREADS: usize = 4;
/// Files that this process and the server need for other things than sessions.
const FILES_SPARE: usize = 1500;
/// How much more memory may be in use afterwards than before.
const REMAINDER_BYTES: u64 = 8 * 1024 * 1024;

#[test]
fn thousands_come_are_reached_and_go() {
    let files = perseid::limits::raise_file_limit() as usize;
    let per_thread = SESSIONS_MAX.min(files.saturating_sub(FILES_SPARE)) / THREADS;
    let sessions = per_thread * THREADS;
    assert!(sessions >= 400, "only {files} files may be open here");
    let server = Server::start(&[]);
    let mut http = server.http();
    // What is made once, at the first use, is not counted as left behind.
    for transport in BOTH {
        let mut first = Client::classic(&server, transport, &json!({ "mid": 1, "room_id": "live://a" }));
        http.goim_push("room?operation=1000&type=live&room=a", b"first");
        first.push();
    }
    until_eq("nobody", &nobody(), || who(&stats(&mut http)));
    Metrics::of(&mut http);
    let before = resident_bytes(&server);

    let mut clients: Vec<Client> = std::thread::scope(|scope| {
        let doors = Doors::of(&server);
        let enter = |thread| scope.spawn(move || doors.enter(thread * per_thread, per_thread));
        let threads: Vec<_> = (0..THREADS).map(enter).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let half = (sessions / 2) as u64;
    let expected = json!({ "connections": [half, half], "sessions": [half, half], "users": sessions, "rooms": 1 });
    until_eq("everybody there", &expected, || who(&stats(&mut http)));
    let online = clients[0].heartbeat();
    assert_eq!(online as usize, sessions);

    http.goim_push("room?operation=1000&type=live&room=many", b"to everybody");
    for client in &mut clients {
        let frame = client.next();
        assert_eq!((frame.op, frame.text(), frame.wrapped), (1000, "to everybody", client.transport == Transport::WebSocket));
    }
    let delivered = Metrics::of(&mut http).delivered("room");
    assert_eq!(delivered, sessions as u64 + 2);
    // Half of them go with something unread: a reset instead of an end.
    http.goim_push("room?operation=1000&type=live&room=many", b"unread by some");
    for client in clients.iter_mut().filter(|client| client.transport == Transport::Tcp) {
        client.push();
    }
    until_eq("the second push", &(2 * sessions as u64 + 2), || Metrics::of(&mut http).delivered("room"));
    drop(clients);

    until_eq("nobody", &nobody(), || who(&stats(&mut http)));
    assert_eq!(stats(&mut http)["queued_bytes"], 0);
    let bound = before + before / 4 + REMAINDER_BYTES;
    let gone = Instant::now();
    loop {
        let after = resident_bytes(&server);
        if after <= bound {
            break;
        }
        assert!(gone.elapsed() < Duration::from_secs(10), "{before} bytes before {sessions} sessions, {after} bytes after them");
        std::thread::sleep(Duration::from_millis(50));
    }
    // It goes on as before.
    let mut last = Client::user(&server, Transport::Tcp, 5);
    http.goim_push("mids?operation=1000&mids=5", b"as before");
    assert_eq!(last.push(), "as before");
}

#[test]
fn without_files_it_waits_and_goes_on() {
    // Nobody in the crowd is sent away for silence.
    let server = Server::start_with_files(
        200,
        &["--log-level", "warn", "--set", "comet.handshake_ms=400000", "--set", "log.segment_bytes=4MiB"],
    );
    let mut http = server.http();
    let mut one = Client::user(&server, Transport::Tcp, 1);
    let crowd: Vec<_> = (0..400).map(|at| Client::connect_raw(BOTH[at % 2].addr(&server), BOTH[at % 2])).collect();
    // Who is in is served, by a connection that is there and by a new one.
    for http in [&mut http, &mut server.http()] {
        http.goim_push("mids?operation=1000&mids=1", b"in a crowd");
        assert_eq!(one.push(), "in a crowd");
        assert_eq!(http.get("/healthz").status, 200);
    }
    // There are files left for the next segment of the log, too.
    for _ in 0..10 {
        http.goim_push("mids?operation=1000&mids=3", &vec![b'x'; 1024 * 1024]);
    }
    drop(crowd);
    until_eq("one left", &1, || {
        let stats = stats(&mut http);
        stats["connections"]["tcp"].as_u64().unwrap() + stats["connections"]["websocket"].as_u64().unwrap()
    });
    // Its doors are open again (goim's stay shut for ever).
    for transport in BOTH.repeat(10) {
        let mut new = Client::user(&server, transport, 2);
        http.goim_push("mids?operation=1000&mids=2", b"welcome");
        assert_eq!(new.push(), "welcome");
    }
}

#[test]
fn so_many_sessions_and_no_more() {
    let server = Server::start(&["--set", "comet.sessions_max=10"]);
    let mut http = server.http();
    let mut clients: Vec<_> = (0..10).map(|at| Client::user(&server, BOTH[at % 2], 1)).collect();
    for transport in BOTH {
        let mut turned_away = Client::connect_raw(transport.addr(&server), Transport::Tcp);
        turned_away.write_if_open(&support::frame::classic(1, 7, 1, b"{}"));
        turned_away.end();
    }
    assert!(Metrics::of(&mut http).get("perseid_client_turned_away_total") >= 2);
    clients.pop();
    until_eq("a place", &9, || Metrics::of(&mut http).get("perseid_node_num_clients"));
    clients.push(Client::user(&server, Transport::WebSocket, 1));
    http.goim_push("mids?operation=1000&mids=1", b"to all ten");
    for client in &mut clients {
        assert_eq!(client.push(), "to all ten");
    }
}

/// Where to connect; a server can't be shared between threads.
#[derive(Clone, Copy)]
struct Doors {
    tcp: std::net::SocketAddr,
    ws: std::net::SocketAddr,
}

impl Doors {
    fn of(server: &Server) -> Self {
        Self { tcp: server.tcp, ws: server.ws }
    }

    /// Sessions of users from `first + 1` on, alternately over TCP and WebSocket.
    fn enter(self, first: usize, count: usize) -> Vec<Client> {
        let mut clients = Vec::with_capacity(count);
        for mid in first..first + count {
            let transport = BOTH[mid % 2];
            let addr = if transport == Transport::Tcp { self.tcp } else { self.ws };
            let mut client = Client::connect_raw(addr, transport);
            client.upgrade();
            client.authenticate(&json!({ "mid": mid + 1, "room_id": "live://many", "accepts": [1000] }));
            clients.push(client);
        }
        clients
    }
}

/// Who is there, of the stats.
fn who(stats: &Value) -> Value {
    let pair = |name: &str| json!([stats[name]["tcp"], stats[name]["websocket"]]);
    json!({ "connections": pair("connections"), "sessions": pair("sessions"), "users": stats["users"], "rooms": stats["rooms"] })
}

fn nobody() -> Value {
    json!({ "connections": [0, 0], "sessions": [0, 0], "users": 0, "rooms": 0 })
}
