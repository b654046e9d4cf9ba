//! The door: whom a connection comes from, whose pages may open a WebSocket, what is said to those who may not.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};

use perseid_comet::metrics::Unwelcome;
use perseid_comet::{Config, DoorConfig, ForeignPages, Pages};
use support::client::UPGRADE;
use support::logic::auth;
use support::*;

const PROXIED: &str = "192.0.2.7:4711";

fn door(door: DoorConfig) -> Config {
    Config { door, ..config() }
}

fn loopback_proxies() -> Vec<ipnet::IpNet> {
    vec!["127.0.0.0/8".parse().unwrap()]
}

fn v1() -> Vec<u8> {
    b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n".to_vec()
}

fn v2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    header.extend_from_slice(&[192, 0, 2, 7, 192, 0, 2, 1]);
    header.extend_from_slice(&[4711u16.to_be_bytes(), 443u16.to_be_bytes()].concat());
    header
}

/// A v2 header of a proxy that speaks for itself.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// Connects as a proxy does: the header stands before everything else, TLS too.
fn through_proxy(test: &TestComet, wire: Wire, header: &[u8], cuts: bool) -> Client {
    let mut tcp = Client::connect_tcp(if wire.websocket { test.ws() } else { test.tcp() }, None);
    if cuts {
        for byte in header {
            tcp.write_all(&[*byte]).unwrap();
        }
    } else {
        tcp.write_all(header).unwrap();
    }
    let stream = if SECURE {
        stream::Stream::secure(tcp, certificates::shared_client_config(), "localhost").unwrap()
    } else {
        stream::Stream::plain(tcp)
    };
    Client::on(stream, wire)
}

fn unwelcome(test: &TestComet, why: Unwelcome) -> u64 {
    test.sum(|metrics| &metrics.unwelcome[why as usize])
}

/// Upgrades with these header lines beside the usual ones; gives the whole answer, as far as it comes.
fn ask(test: &TestComet, host: &str, lines: &str) -> (Client, String) {
    let request = String::from_utf8(UPGRADE.to_vec()).unwrap().replace("Host: x\r\n", &format!("Host: {host}\r\n{lines}"));
    let mut client = Client::connect(test.ws(), TCP, None);
    client.send_raw(request.as_bytes());
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && client.stream.read(&mut byte).unwrap_or(0) > 0 {
        head.push(byte[0]);
    }
    (client, String::from_utf8(head).unwrap())
}

fn status(test: &TestComet, host: &str, lines: &str) -> String {
    let (_, head) = ask(test, host, lines);
    head.get(9..12).unwrap_or("nothing").to_owned()
}

#[test]
fn a_proxy_names_its_client() {
    let test =
        TestComet::start(door(DoorConfig { proxies: loopback_proxies(), proxy_protocol: [true; 4], ..DoorConfig::default() }));
    for (at, wire) in WIRES.into_iter().enumerate() {
        for (header, cuts, peer) in [(v1(), false, PROXIED), (v1(), true, PROXIED), (v2(), false, PROXIED), (v2(), true, PROXIED)]
        {
            let key = format!("{at} {cuts} {}", header.len());
            let mut client = through_proxy(&test, wire, &header, cuts);
            client.login(&auth(&key));
            assert_eq!(test.logic.peer(&key), peer, "{wire:?}");
            assert_eq!(client.heartbeat(), 0);
        }
        // A health check, which may even speak.
        let mut local = through_proxy(&test, wire, LOCAL, false);
        local.login(&auth("local"));
        assert!(test.logic.peer("local").starts_with("127.0.0.1:"));
    }
    // A renewal is told the same.
    let mut client = through_proxy(&test, TCP_EXTENDED, &v2(), false);
    client.login(&auth("again"));
    client.request(perseid_protocol::op::AUTH, br#"{"mid":42}"#);
    assert_eq!(test.logic.renewed_by(), PROXIED);
    drop(client);
    test.assert_empty();
}

#[test]
fn a_header_and_frames_in_one_write() {
    if SECURE {
        return; // nobody can know the frames' ciphertext so early
    }
    let test =
        TestComet::start(door(DoorConfig { proxies: loopback_proxies(), proxy_protocol: [true; 4], ..DoorConfig::default() }));
    let mut client = Client::on_quiet(stream::Stream::plain(Client::connect_tcp(test.tcp(), None)), TCP);
    let bytes = [v2(), client.auth_frame(&auth("one"))].concat();
    client.send_raw(&bytes);
    client.next_frame();
    assert_eq!(test.logic.peer("one"), PROXIED);
}

#[test]
fn without_the_header_or_from_elsewhere_nobody_comes_in() {
    let proxied = |proxies: &[&str]| DoorConfig {
        proxies: proxies.iter().map(|net| net.parse().unwrap()).collect(),
        proxy_protocol: [true; 4],
        ..DoorConfig::default()
    };
    let is_closed = |mut tcp: std::net::TcpStream| {
        assert!(!matches!(tcp.read(&mut [0; 64]), Ok(1..)), "it was told something");
    };
    let test = TestComet::start(door(proxied(&["127.0.0.0/8"])));
    let mut count = 0;
    for addr in [test.tcp(), test.ws()] {
        for bytes in [&b"GET /sub HTTP/1.1\r\n"[..], b"\0\0\0\x10", b"\x16\x03\x01", b"PROXY TCP4 x\r\n", &[0xff; 4096]] {
            let mut tcp = Client::connect_tcp(addr, None);
            tcp.write_all(bytes).unwrap();
            is_closed(tcp);
            count += 1;
        }
    }
    assert_eq!(unwelcome(&test, Unwelcome::ProxyHeader), count);
    test.assert_empty();

    let test = TestComet::start(door(proxied(&["10.0.0.0/8"])));
    for addr in [test.tcp(), test.ws()] {
        let mut tcp = Client::connect_tcp(addr, None);
        let _ = tcp.write_all(&v1());
        is_closed(tcp);
    }
    assert_eq!(unwelcome(&test, Unwelcome::NotAProxy), 2);
    assert_eq!(test.comet.connections(), 0);
}

#[test]
fn where_no_header_is_expected_it_is_noise() {
    if SECURE {
        return; // it is no TLS
    }
    let test = TestComet::start(door(DoorConfig { proxies: loopback_proxies(), ..DoorConfig::default() }));
    let mut client = Client::on_quiet(stream::Stream::plain(Client::connect_tcp(test.tcp(), None)), TCP);
    client.send_raw(&v1());
    client.until_end();
    assert_eq!(test.ended(perseid_protocol::CloseReason::FrameTooLarge) + test.ended(perseid_protocol::CloseReason::BadFrame), 1);
    assert_eq!(test.logic.registered(), 0);
}

#[test]
fn a_header_that_never_ends_is_waited_for_no_longer_than_a_handshake() {
    let mut config = door(DoorConfig { proxies: loopback_proxies(), proxy_protocol: [true; 4], ..DoorConfig::default() });
    config.limits.handshake_ms = 300;
    let test = TestComet::start(config);
    let mut held = Vec::new();
    for addr in [test.tcp(), test.ws()] {
        for bytes in [&b""[..], b"PROXY TCP4 1", &v2()[..20]] {
            let mut tcp = Client::connect_tcp(addr, None);
            tcp.write_all(bytes).unwrap();
            held.push(tcp);
        }
    }
    for mut tcp in held {
        let mut rest = Vec::new();
        let _ = tcp.read_to_end(&mut rest);
    }
    assert_eq!(test.ended(perseid_protocol::CloseReason::HandshakeTimeout), 6);
    test.assert_empty();
}

fn login_forwarded(test: &TestComet, key: &str, lines: &str) -> String {
    let (mut client, head) = ask(test, "x", lines);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client.wire = WS;
    client.login(&auth(key));
    test.logic.peer(key)
}

#[test]
fn x_forwarded_for_is_believed_from_proxies_only() {
    let lines = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 192.0.2.7, 127.0.0.2\r\n";
    let test = TestComet::start(config());
    assert!(login_forwarded(&test, "liar", lines).starts_with("127.0.0.1:"));
    let test = TestComet::start(door(DoorConfig { proxies: loopback_proxies(), ..DoorConfig::default() }));
    assert_eq!(login_forwarded(&test, "honest", lines), "192.0.2.7:0");
    assert_eq!(login_forwarded(&test, "v6", "X-Forwarded-For: [2001:db8::1]:99\r\n"), "[2001:db8::1]:99");
    assert!(login_forwarded(&test, "none", "").starts_with("127.0.0.1:"));
    assert!(login_forwarded(&test, "nonsense", "X-Forwarded-For: 192.0.2.7, somebody\r\n").starts_with("127.0.0.1:"));
}

#[test]
fn the_cookie_reaches_logic_and_nothing_is_kept() {
    let test = TestComet::start(config());
    let (mut client, _) = ask(&test, "x", "Cookie: session=abc; theme=dark\r\n");
    eventually("it counts", || test.comet.queued_bytes() == 23);
    client.wire = WS;
    client.login(&auth("cookie"));
    assert_eq!(test.logic.cookie("cookie"), "session=abc; theme=dark");
    assert_eq!(test.comet.queued_bytes(), 0);
    let (gone, _) = ask(&test, "x", "Cookie: a=b\r\n");
    drop(gone);
    drop(client);
    test.assert_empty();
}

#[test]
fn foreign_pages_are_refused_where_nobody_proves_who_he_is() {
    let pages =
        Pages { foreign: ForeignPages::Refuse, origins: vec!["https://app.example".into()], hosts: vec!["im.example".into()] };
    let test = TestComet::start(door(DoorConfig { pages, ..DoorConfig::default() }));
    let table = [
        ("127.0.0.1:3102", "", "101"),
        ("localhost", "Origin: http://localhost:3111\r\n", "101"),
        ("localhost", "Origin: https://app.example\r\n", "101"),
        ("im.example", "Origin: https://im.example\r\n", "101"),
        ("localhost", "Origin: https://evil.example\r\n", "403"),
        ("localhost", "Origin: null\r\n", "403"),
        ("evil.example", "", "403"),
        ("evil.example", "Origin: http://evil.example\r\n", "403"),
        ("localhost", "Origin: http://localhost\r\nOrigin: http://localhost\r\n", "400"),
    ];
    for (host, lines, expected) in table {
        assert_eq!(status(&test, host, lines), expected, "{host} {lines}");
    }
    assert_eq!(unwelcome(&test, Unwelcome::ForeignHost), 2);
    assert_eq!(unwelcome(&test, Unwelcome::ForeignOrigin), 2);
    assert_eq!(test.sum(|metrics| &metrics.upgrades_refused), 5);
    test.assert_empty();
}

#[test]
fn elsewhere_a_list_of_origins_is_what_counts() {
    let pages = Pages { origins: vec!["https://app.example".into()], ..Pages::default() };
    let test = TestComet::start(door(DoorConfig { pages, ..DoorConfig::default() }));
    assert_eq!(status(&test, "any.example", ""), "101");
    assert_eq!(status(&test, "any.example", "Origin: https://app.example\r\n"), "101");
    assert_eq!(status(&test, "any.example", "Origin: https://any.example\r\n"), "403");
}
