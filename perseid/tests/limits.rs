//! The door of the real process, by configuration keys: limits, proxies, pages; and what SIGHUP changes of them.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::json;
use support::server::{perseid, run};
use support::{BOTH, Client, Server, Transport, until, websocket};

fn metric(server: &Server, line: &str) -> u64 {
    let answer = server.http().get("/metrics");
    let text = answer.text();
    let found = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("no {line} in {text}"))
}

fn limited(server: &Server, limit: &str) -> u64 {
    metric(server, &format!("perseid_limited_total{{limit=\"{limit}\"}}"))
}

/// Asks for a WebSocket with this `Host` and these header lines; gives the status.
fn status(addr: SocketAddr, host: &str, lines: &str) -> String {
    let request = String::from_utf8(websocket::upgrade("/sub")).unwrap();
    let request = request.replace("Host: localhost\r\n", &format!("Host: {host}\r\n{lines}"));
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8(answer[9..].to_vec()).unwrap()
}

#[test]
fn a_foreign_page_reaches_no_developer_s_machine() {
    let server = Server::start(&["--set", "comet.origins=https://app.example", "--set", "comet.hosts=im.example"]);
    let own = server.ws.to_string();
    for (host, lines, expected) in [
        (&own[..], "", "101"),
        (&own, "Origin: http://127.0.0.1:3111\r\n", "101"),
        (&own, "Origin: https://app.example\r\n", "101"),
        ("im.example", "Origin: https://im.example\r\n", "101"),
        (&own, "Origin: https://evil.example\r\n", "403"),
        ("evil.example", "Origin: http://evil.example\r\n", "403"),
    ] {
        assert_eq!(status(server.ws, host, lines), expected, "{host} {lines}");
    }
    assert_eq!(metric(&server, "perseid_client_unwelcome_total{reason=\"foreign_origin\"}"), 1);
    assert_eq!(metric(&server, "perseid_client_unwelcome_total{reason=\"foreign_host\"}"), 1);
}

#[test]
fn the_client_behind_a_proxy_is_who_the_api_shows() {
    let server = Server::start(&["--set", "comet.proxies=127.0.0.1", "--set", "comet.proxy_protocol=tcp"]);
    let mut client = Client::connect_raw(server.tcp, Transport::Tcp);
    client.write(b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 3101\r\n");
    client.authenticate(&json!({ "mid": 7 }));
    let shown = server.http().get("/v1/users/7").text().to_owned();
    assert!(shown.contains("192.0.2.7"), "{shown}");
    assert!(!shown.contains("127.0.0.1"), "{shown}");
    // Where it is expected, nobody comes in without.
    let mut plain = Client::connect_raw(server.tcp, Transport::Tcp);
    plain.write_if_open(&support::frame::classic(1, 7, 1, b"{}"));
    plain.end();
    assert_eq!(metric(&server, "perseid_client_unwelcome_total{reason=\"proxy_header\"}"), 1);
}

/// Sends so many heartbeats at once; gives how many were answered before the end, if it ended.
fn answered(server: &Server, transport: Transport, count: i32) -> i32 {
    let mut client = Client::user(server, transport, 1);
    let heartbeats: Vec<u8> = (0..count).flat_map(|seq| support::frame::classic(1, 2, seq, b"")).collect();
    client.send(&heartbeats);
    let replies = std::iter::from_fn(|| client.next_within(support::PATIENCE)).take(count as usize);
    i32::try_from(replies.count()).unwrap()
}

#[test]
fn sighup_changes_limits() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("perseid.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("");
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    assert_eq!(BOTH.map(|transport| answered(&server, transport, 50)), [50, 50]);
    write("[limit]\nframes_per_second = 1\nframes_burst = 5\nrooms_max = 1\n");
    server.signal("HUP");
    until("the limit counts", || (answered(&server, Transport::Tcp, 50) < 50).then_some(()));
    let before = limited(&server, "frames_per_second");
    let few = BOTH.map(|transport| answered(&server, transport, 50));
    assert!(few.iter().all(|few| (5..10).contains(few)), "{few:?}");
    assert_eq!(limited(&server, "frames_per_second"), before + 2);
    let mut extended = Client::extended(&server, Transport::Tcp, &json!({ "mid": 1, "room_id": "live://1" })).0;
    let _other = Client::extended(&server, Transport::Tcp, &json!({ "mid": 2, "room_id": "live://1" })).0;
    let refused = extended.ask(12, 9, b"live://2");
    assert_eq!((refused.op, refused.seq), (32, 9), "{refused:?}");
    assert_eq!(limited(&server, "rooms_max"), 1);
    // And back.
    write("");
    server.signal("HUP");
    until("the limit has gone", || (answered(&server, Transport::WebSocket, 50) == 50).then_some(()));
    // Each worker takes it in when its turn comes.
    until("the room is free", || (extended.ask(12, 10, b"live://2").op == 13).then_some(()));
}

#[test]
fn the_sessions_of_a_user_share_a_limit() {
    let rate = ["--set", "limit.frames_per_user_per_second=1", "--set", "limit.frames_per_user_burst=60"];
    let server = Server::start(&rate);
    assert_eq!(answered(&server, Transport::Tcp, 50), 50);
    let few = answered(&server, Transport::WebSocket, 50);
    assert!((10..50).contains(&few), "{few}");
    assert_eq!((limited(&server, "frames_per_user_per_second"), limited(&server, "frames_per_second")), (1, 0));
}

#[test]
fn a_full_node_answers_upgrades() {
    let server = Server::start(&["--set", "comet.sessions_max=2"]);
    let _held: Vec<Client> = BOTH.iter().map(|transport| Client::user(&server, *transport, 1)).collect();
    assert_eq!(status(server.ws, "localhost", ""), "503");
    assert_eq!(limited(&server, "sessions_max"), 1);
}

#[test]
fn what_contradicts_itself_does_not_start() {
    for (sets, said) in [
        (&["comet.proxy_protocol=tcp"][..], "comet.proxies"),
        (&["comet.proxy_protocol=http", "comet.proxies=10.0.0.0/8"], "no kind of listener"),
        (&["comet.origins=*"], "any web page"),
        (&["comet.origins=app.example"], "no origin"),
    ] {
        let mut command = perseid();
        command.args(["config", "check"]).args(sets.iter().flat_map(|set| ["--set", set]));
        let output = run(command);
        assert!(!output.status.success(), "{sets:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(said), "{sets:?}: {text}");
    }
}
