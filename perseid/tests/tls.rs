//! The TLS ports of the real process: what they say when it starts, when its certificates change, and when they are bad.

#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;

use serde_json::json;
use support::server::{perseid, run};
use support::tls::{Authority, SecureClient};
use support::{Server, until};

struct Tls {
    authority: Authority,
    server: Server,
    tls: SocketAddr,
    wss: SocketAddr,
}

/// A server with these certificates, on free ports.
fn start(authority: Authority, labels: &[&str]) -> Tls {
    let mut args = authority.args(labels);
    args.extend(["--tls", "127.0.0.1:0", "--wss", "127.0.0.1:0"].map(str::to_owned));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let server = Server::start(&args);
    let addr = |name: &str| server.ready[name][0].as_str().unwrap().parse().unwrap();
    Tls { tls: addr("tls"), wss: addr("wss"), authority, server }
}

impl Tls {
    fn connect(&self, websocket: bool, name: &str) -> SecureClient {
        let addr = if websocket { self.wss } else { self.tls };
        SecureClient::connect(addr, websocket, &self.authority.client_config(), name)
    }

    fn metric(&self, line: &str) -> u64 {
        let answer = self.server.http().get("/metrics");
        let text = answer.text();
        let found = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("no {line} in {text}"))
    }
}

#[test]
fn sessions_behind_tls_are_sessions_like_others() {
    let authority = Authority::new();
    authority.issue("site", &["localhost"]);
    let tls = start(authority, &["site"]);
    for websocket in [false, true] {
        let mut client = tls.connect(websocket, "localhost");
        client.authenticate(&json!({ "mid": 7, "room_id": "live://1", "accepts": [1000] }));
        assert_eq!(client.heartbeat(), 1);
        let pushed = tls.server.http().post("/goim/push/mids?operation=1000&mids=7", b"to you");
        assert_eq!(pushed.status, 200);
        assert_eq!(client.next().text(), "to you");
        let pushed = tls.server.http().post("/goim/push/room?operation=1000&type=live&room=1", b"to the room");
        assert_eq!(pushed.status, 200);
        assert_eq!(client.next().text(), "to the room");
        let transport = if websocket { "wss" } else { "tls" };
        assert_eq!(tls.metric(&format!("perseid_client_sessions_inflight{{transport=\"{transport}\"}}")), 1);
        drop(client);
        until("it has gone", || (tls.metric("perseid_node_num_sessions") == 0).then_some(()));
    }
    assert!(tls.metric("perseid_tls_handshakes_total{kind=\"full\"}") >= 1);
    let mut client = tls.connect(false, "localhost");
    client.authenticate(&json!({ "mid": 7 }));
    tls.server.signal("TERM");
    assert!(client.end(), "a session that is told to leave is told so by TLS, too");
    drop(client);
    assert_eq!(tls.server.wait().0, 0);
}

#[test]
fn listen_and_send_speak_tls_and_trust_nobody_else() {
    let authority = Authority::new();
    authority.issue("site", &["localhost"]);
    let tls = start(authority, &["site"]);
    let ca = tls.authority.path("ca.pem").display().to_string();
    let client = |words: &[&str]| {
        let mut command = perseid();
        command.args(words);
        run(command)
    };
    let (port, ws_port) = (tls.tls.port(), tls.wss.port());
    let (addr, url) = (format!("localhost:{port}"), format!("wss://localhost:{ws_port}"));
    for (option, target) in [("--tls", &addr), ("--ws", &url)] {
        // The business answers with an empty body.
        let sent = client(&["send", option, target, "--ca", &ca, "--mid", "7", "--op", "2", ""]);
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
        let heard = client(&["listen", option, target, "--ca", &ca, "--mid", "7", "--extended", "--json", "--timeout-ms", "300"]);
        assert!(heard.status.success(), "{}", String::from_utf8_lossy(&heard.stderr));
        assert!(String::from_utf8_lossy(&heard.stdout).contains("\"ready\""));
        // Another authority, another name, another port.
        let stranger = Authority::new().path("ca.pem").display().to_string();
        let by_address = target.replace("localhost", "127.0.0.1");
        let plain = target.replace(&port.to_string(), &tls.server.tcp.port().to_string());
        let plain = plain.replace(&ws_port.to_string(), &tls.server.ws.port().to_string());
        for (target, ca) in [(target, &stranger), (&by_address, &ca), (&plain, &ca)] {
            let refused = client(&["send", option, target, "--ca", ca, "--mid", "7", "--op", "2", ""]);
            assert!(!refused.status.success(), "{target} with {ca}");
            assert!(String::from_utf8_lossy(&refused.stderr).contains("perseid: "), "{target}");
        }
    }
}

#[test]
fn the_generator_measures_over_tls() {
    for words in ["connect --rate 200 --sessions 40", "room --rate 40 --sessions 20 --size 30000 --duration 0.5 --warmup 0"] {
        for ws in [&[][..], &["--ws"]] {
            let mut command = perseid();
            command.arg("bench").args(words.split(' ')).args(["--tls", "--spawn-server", "--quiet"]).args(ws);
            let output = run(command);
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{words} {ws:?}: {text} {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    let mut command = perseid();
    command.args(["bench", "connect", "--tls", "--target", "192.0.2.1:443", "--i-own-this-target"]);
    assert!(!run(command).status.success(), "it does not look at certificates: not for others");
}

#[test]
fn certificates_are_chosen_by_name_and_reread_on_hang_up() {
    let authority = Authority::new();
    let first = authority.issue("first", &["a.example.com"]);
    let wild = authority.issue("wild", &["*.wild.example.com", "b.example.com"]);
    let tls = start(authority, &["first", "wild"]);
    let shown = |name: &str| tls.connect(true, name).certificate();
    assert_eq!(
        (shown("a.example.com"), shown("b.example.com"), shown("x.wild.example.com")),
        (first, wild.clone(), wild.clone())
    );

    let mut before = tls.connect(false, "a.example.com");
    before.authenticate(&json!({ "mid": 1, "accepts": [1000] }));
    let fresh = tls.authority.issue("first", &["a.example.com"]);
    tls.server.signal("HUP");
    until("the new certificate is shown", || (shown("a.example.com") == fresh).then_some(()));
    assert_eq!(before.heartbeat(), 0, "a session from before the reload goes on");

    // A file that is no certificate, and one whose key is another's, change nothing.
    let broken = tls.authority.path("wild.crt");
    let good = std::fs::read(&broken).unwrap();
    for bad in [b"rubbish".to_vec(), std::fs::read(tls.authority.path("first.crt")).unwrap()] {
        let errors = || tls.server.stderr().matches("wild.crt").count();
        let said = errors();
        std::fs::write(&broken, &bad).unwrap();
        tls.server.signal("HUP");
        until("it says what is wrong, and where", || (errors() > said).then_some(()));
        assert_eq!((shown("a.example.com"), shown("b.example.com")), (fresh.clone(), wild.clone()));
    }
    std::fs::write(&broken, &good).unwrap();
    assert_eq!(before.heartbeat(), 0);
}

#[test]
fn bad_certificates_are_one_clear_line_at_the_start() {
    let authority = Authority::new();
    authority.issue("site", &["localhost"]);
    authority.issue("other", &["localhost"]);
    std::fs::write(authority.path("empty.crt"), "").unwrap();
    std::fs::copy(authority.path("site.key"), authority.path("empty.key")).unwrap();
    std::fs::copy(authority.path("site.crt"), authority.path("mixed.crt")).unwrap();
    std::fs::copy(authority.path("other.key"), authority.path("mixed.key")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (label, said) in [("none", "none.crt"), ("empty", "empty.crt"), ("mixed", "the key belongs to another certificate")] {
        let output = run(Server::command(dir.path(), &authority.args(&[label])));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{stderr}");
        assert!(stderr.contains(said) && stderr.lines().count() == 1, "{stderr}");
    }
}

#[test]
fn listeners_without_certificates_and_certificates_without_keys_are_reported_together() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--tls", "127.0.0.1:0", "--wss", "127.0.0.1:0", "--set", "tls.keys=a.key"].map(str::to_owned);
    let output = run(Server::command(dir.path(), &args));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("3 errors"), "{stderr}");
    for key in ["comet.tls", "comet.wss", "tls.keys"] {
        assert!(stderr.contains(key), "{stderr}");
    }
}

#[test]
fn an_expired_certificate_is_warned_of() {
    let authority = Authority::new();
    authority.issue_with("old", &["localhost"], |params| {
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let tls = start(authority, &["old"]);
    until("a warning", || tls.server.stderr().contains("expired").then_some(()));
    let path = tls.authority.path("old.crt");
    let gauge = format!("perseid_tls_certificate_expiry_seconds{{file=\"{}\"}}", path.display());
    assert_eq!(tls.metric(&gauge), 1_577_836_800);
}
