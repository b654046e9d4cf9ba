//! How the program starts, changes, and ends.

#![allow(clippy::unwrap_used)]

mod support;

use std::net::TcpListener;

use serde_json::{Value, json};
use support::frame::{self, HEARTBEAT, classic};
use support::measure::stat;
use support::server::{Process, perseid, run};
use support::{BOTH, Client, End, Http, Server, Transport, until, until_eq};

const DRAINING: (u16, &str) = (4001, "DRAINING");

#[test]
fn the_ready_line_is_all_of_stdout() {
    let server = Server::start(&[]);
    let ready = &server.ready;
    let known: Vec<_> = ready.as_object().unwrap().keys().map(String::as_str).collect();
    for name in ["ready", "pid", "tcp", "ws", "http", "version"] {
        assert!(known.contains(&name), "{name} in {ready}");
    }
    assert_eq!((&ready["pid"], &ready["version"]), (&json!(server.pid), &json!(env!("CARGO_PKG_VERSION"))));
    for addr in [server.tcp, server.ws, server.http] {
        assert!(addr.ip().is_loopback() && addr.port() != 0, "{addr}");
    }
    // Everything serves as soon as the line is there.
    assert_eq!(server.http().get("/readyz").status, 200);
    let mut client = Client::user(&server, Transport::WebSocket, 1);
    server.http().goim_push("all?operation=1000", b"x");
    client.push();
    client.write(b"nonsense");
    client.end();
    let line = format!("{ready}");
    let (status, stdout, _) = server.terminate();
    assert_eq!(status, 0);
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap().to_string(), line);
}

#[test]
fn several_listeners_of_a_kind() {
    let server = Server::start(&["--tcp", "127.0.0.1:0", "--ws", "[::1]:0"]);
    for (name, count) in [("tcp", 2), ("ws", 2)] {
        let addrs = server.ready[name].as_array().unwrap();
        assert_eq!(addrs.len(), count);
        for addr in addrs {
            std::net::TcpStream::connect(addr.as_str().unwrap()).unwrap();
        }
    }
}

#[test]
fn terminated_it_tells_everybody_and_leaves() {
    for signal in ["TERM", "INT"] {
        let server = Server::start(&["--set", "comet.reconnect_ms=1234"]);
        let mut http = server.http();
        let mut classic: Vec<_> = BOTH.map(|transport| Client::user(&server, transport, 1)).into();
        let mut extended: Vec<_> =
            BOTH.map(|transport| Client::extended(&server, transport, &json!({ "mid": 2, "accepts": [1000] })).0).into();
        let mut silent = Client::connect(&server, Transport::Tcp);
        http.goim_push("all?operation=1000", b"the last");
        server.signal(signal);
        for client in &mut classic {
            // What was pushed comes before the farewell.
            assert_eq!(client.push(), "the last");
            let close = (client.transport == Transport::WebSocket).then(|| (DRAINING.0, DRAINING.1.to_owned()));
            assert_eq!(client.end(), End { close, disconnect: None }, "{signal}");
        }
        for client in &mut extended {
            assert_eq!(client.push(), "the last");
            let end = client.end();
            let json = end.disconnect.expect("DISCONNECT");
            assert_eq!(
                (&json["code"], &json["reason"], &json["retry_after_ms"]),
                (&json!(DRAINING.0), &json!(DRAINING.1), &json!(1234))
            );
            assert_eq!(end.close.is_some(), client.transport == Transport::WebSocket);
        }
        silent.end();
        drop((classic, extended, silent, http));
        let line = server.ready.to_string();
        let (status, stdout, stopped) = server.wait();
        assert_eq!(status, 0, "SIG{signal}");
        assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap().to_string(), line);
        // Nothing had to be recovered, and nothing is lost.
        let server = stopped.restart();
        let mut http = server.http();
        assert_eq!(stat(&mut http, "/log/end"), 1);
        assert_eq!(support::measure::Metrics::of(&mut http).get("perseid_log_torn_bytes_total"), 0);
    }
}

#[test]
fn while_it_drains_it_is_not_ready_and_takes_nobody_in() {
    // One session a second is told, and there are twenty.
    let server = Server::start(&["--set", "comet.drain_rate=1", "--set", "comet.workers=1"]);
    let mut http = server.http();
    let mut clients: Vec<_> = (0..20).map(|at| Client::user(&server, BOTH[at % 2], 1)).collect();
    assert_eq!(http.get("/readyz").status, 200);
    server.signal("TERM");
    let answer = until("503", || Some(http.get("/readyz")).filter(|answer| answer.status == 503));
    assert_eq!(answer.json()["ready"], false);
    assert!(answer.text().contains("draining"), "{}", answer.text());
    assert_eq!(http.get("/healthz").status, 200, "alive all the same");
    assert_eq!(support::measure::stats(&mut http)["draining"], true);
    // Who is there still is still served.
    http.goim_push("all?operation=1000", b"still served");
    assert_eq!(clients.last_mut().unwrap().push(), "still served");
    // A new session is refused: by the closed port, or with DRAINING.
    for transport in BOTH {
        match std::net::TcpStream::connect(transport.addr(&server)) {
            Err(_) => {}
            Ok(stream) => {
                drop(stream);
                let mut late = Client::connect_raw(transport.addr(&server), Transport::Tcp);
                late.write_if_open(&classic(1, frame::AUTH, 1, b"{}"));
                assert_eq!(late.next_within(support::PATIENCE), None, "let in while draining");
            }
        }
    }
    drop((clients, http));
    let (status, _, _) = server.wait();
    assert_eq!(status, 0);
}

#[test]
fn told_twice_it_leaves_at_once() {
    for (first, second) in [("TERM", "TERM"), ("INT", "TERM")] {
        let server = Server::start(&["--set", "comet.drain_rate=1", "--set", "comet.workers=1"]);
        let mut http = server.http();
        let clients: Vec<_> = (0..30).map(|_| Client::user(&server, Transport::Tcp, 1)).collect();
        server.signal(first);
        until("draining", || (http.get("/readyz").status == 503).then_some(()));
        server.signal(second);
        let (status, stdout, _) = server.wait();
        assert_eq!((status, stdout.lines().count()), (130, 1));
        drop(clients);
    }
}

#[test]
fn clients_that_do_not_leave_are_cut_off_in_time() {
    let server = Server::start(&["--set", "node.shutdown_ms=1000", "--set", "comet.drain_rate=1"]);
    let clients: Vec<_> = (0..50).map(|at| Client::connect(&server, BOTH[at % 2])).collect();
    let (status, _, _) = server.terminate();
    assert_eq!(status, 0);
    for mut client in clients {
        client.end();
    }
}

#[test]
fn who_does_not_read_and_who_does_not_finish_hold_nothing_up() {
    let server = Server::start(&["--set", "node.shutdown_ms=3000", "--set", "comet.workers=1"]);
    let mut http = server.http();
    let stuck: Vec<_> = BOTH.map(|transport| Client::user(&server, transport, 1)).into();
    let body = vec![b'x'; 1_000_000];
    until("full sockets", || {
        http.goim_push("mids?operation=1000&mids=1", &body);
        (stat(&mut http, "/blocked") == 2).then_some(())
    });
    let mut slow = server.http();
    slow.write(b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n1").unwrap();
    let mut slower = server.http();
    slower.write(b"POST /v1/messages HTTP/1.1\r\nHost: ").unwrap();
    let (status, _, stopped) = server.terminate();
    assert_eq!(status, 0);
    drop((stuck, slow, slower));
    // Ended in order: nothing to recover.
    let server = stopped.restart();
    assert_eq!(support::measure::Metrics::of(&mut server.http()).get("perseid_log_torn_bytes_total"), 0);
}

#[test]
fn who_listens_by_hand_is_told() {
    for (signal, event) in [("TERM", "disconnect"), ("KILL", "closed")] {
        let server = Server::start(&[]);
        let mut listen = perseid();
        listen.args(["listen", "--json", "--extended", "--tcp", &server.tcp.to_string()]);
        let mut listen = Process::spawn(listen);
        listen.first_line();
        server.signal(signal);
        assert_eq!(listen.wait(), Some(1));
        let stdout = listen.stdout();
        assert!(stdout.lines().any(|line| serde_json::from_str::<Value>(line).unwrap()["event"] == event), "{stdout}");
    }
}

#[test]
fn accepted_while_leaving_is_in_the_log() {
    let server = Server::start(&[]);
    let pushers: Vec<_> = (0..4)
        .map(|_| {
            let mut http = server.http();
            std::thread::spawn(move || {
                let mut accepted = 0u64;
                // Until the server is gone.
                while let Ok(answer) = http.request("POST", "/goim/push/all?operation=1000", &[], b"x") {
                    accepted += u64::from(answer.json()["code"] == 0);
                    if answer.header("connection") == Some("close") {
                        break;
                    }
                }
                accepted
            })
        })
        .collect();
    let mut http = server.http();
    until("some pushes", || (stat(&mut http, "/log/end") > 50).then_some(()));
    drop(http);
    let (status, _, stopped) = server.terminate();
    assert_eq!(status, 0);
    let accepted: u64 = pushers.into_iter().map(|pusher| pusher.join().unwrap()).sum();
    let server = stopped.restart();
    let mut http = server.http();
    assert_eq!(stat(&mut http, "/log/end"), accepted);
    until_eq("nothing left to do", &0, || stat(&mut http, "/log/lag"));
}

#[test]
fn hang_up_reads_limits_and_level_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("perseid.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("[comet]\nbody_bytes_max = \"1KiB\"\n[telemetry]\nlevel = \"info\"\n");
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    let mut http = server.http();
    let mut old = Client::user(&server, Transport::Tcp, 1);
    let mut too_much = Client::user(&server, Transport::WebSocket, 1);
    too_much.send(&classic(1, 99, 1, &[0; 2000]));
    assert_eq!(too_much.end().close, Some((4502, "FRAME_TOO_LARGE".to_owned())));
    assert!(!server.stderr().contains("\"DEBUG\""));

    let said = |words: &str| until(words, || server.stderr().contains(words).then_some(()));
    write(
        "[comet]\nbody_bytes_max = \"2KiB\"\n[telemetry]\nlevel = \"info,perseid_logic=debug\"\n[node]\nsnowflake_worker = 5\n",
    );
    server.signal("HUP");
    said("comet.body_bytes_max");
    // What needs a restart says so.
    said("counts only after a restart");
    until("more allowed for a session that is there", || {
        let mut client = Client::user(&server, Transport::WebSocket, 1);
        client.send(&classic(1, 99, 1, &[0; 2000]));
        client.next_within(support::PATIENCE).map(|reply| assert_eq!(reply.op, 99))
    });
    assert_eq!(old.ask(99, 1, &[0; 2000]).op, 99);
    http.get("/healthz");
    said("\"DEBUG\"");

    // A bad file changes nothing and is reported.
    let reports = || server.stderr().lines().filter(|line| line.contains("was not read again")).count();
    let wrong = [
        ("[comet]\nbody_bytes_max = \"lots\"\nnonsense = 1\n", "comet.nonsense"),
        ("[comet", "perseid.toml"),
        ("[comet]\nmessage_bytes_max = \"4KiB\"\n", "comet.message_bytes_max"),
    ];
    for (at, (text, words)) in wrong.into_iter().enumerate() {
        write(text);
        server.signal("HUP");
        until_eq("reports", &(at + 1), reports);
        assert!(server.stderr().lines().last().is_some_and(|line| line.contains(words)), "{words} in {}", server.stderr());
    }
    std::fs::remove_file(&file).unwrap();
    server.signal("HUP");
    until_eq("reports", &(wrong.len() + 1), reports);
    assert_eq!(old.ask(99, 1, &[0; 2000]).op, 99, "as before");
    old.send(&classic(1, HEARTBEAT, 1, &[0; 2049]));
    old.end();
    assert_eq!(http.get("/readyz").status, 200);
    let (status, stdout, _) = server.terminate();
    assert_eq!((status, stdout.lines().count()), (0, 1));
}

#[test]
fn hang_up_without_a_file_is_harmless() {
    let server = Server::start(&["--log-level", "debug"]);
    let mut client = Client::user(&server, Transport::Tcp, 1);
    for _ in 0..3 {
        server.signal("HUP");
        server.signal("PIPE");
        assert_eq!(client.heartbeat(), 0);
    }
    assert_eq!(server.http().get("/readyz").status, 200);
    let (status, stdout, _) = server.terminate();
    assert_eq!((status, stdout.lines().count()), (0, 1));
}

/// Runs the standalone where it must not start; gives exit status and stderr.
fn refused(args: &[&str]) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let output = run(Server::command(&dir.path().join("data"), &args));
    assert_eq!(output.stdout, b"", "{args:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for option in ["--tcp", "--ws", "--http"] {
        let (status, stderr) = refused(&[option, &addr, "--log-level", "error"]);
        assert_eq!(status, 1, "{option}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{option}: {stderr}");
        assert!(stderr.starts_with("perseid: ") && stderr.contains(&addr), "{option}: {stderr}");
    }
    // Another server's port, which is shared between its own threads but with nobody else.
    let server = Server::start(&[]);
    for (option, addr) in [("--tcp", server.tcp), ("--ws", server.ws), ("--http", server.http)] {
        let (status, stderr) = refused(&[option, &addr.to_string(), "--log-level", "error"]);
        assert_eq!((status, stderr.lines().count()), (1, 1), "{option}: {stderr}");
        assert!(stderr.contains(&addr.to_string()), "{option}: {stderr}");
    }
    let (status, stderr) = refused(&["--http", "203.0.113.1:0", "--insecure", "--log-level", "error"]);
    assert_eq!(status, 1, "{stderr}");
}

#[test]
fn a_data_directory_in_use_or_unusable_is_one_clear_line() {
    let server = Server::start(&[]);
    let data = server.data();
    let output = run(Server::command(&data, &["--log-level".to_owned(), "error".to_owned()]));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len(), stderr.lines().count()), (Some(1), 0, 1), "{stderr}");
    assert!(stderr.contains("in use by another process") && stderr.contains(data.to_str().unwrap()), "{stderr}");
    // The one that has it goes on.
    server.http().goim_push("all?operation=1000", b"x");

    let file = server.place().join("a file");
    std::fs::write(&file, "").unwrap();
    let output = run(Server::command(&file, &[]));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("a file"), "{stderr}");
}

#[test]
fn everything_wrong_is_said_at_once_and_nothing_starts() {
    let args =
        ["--set", "comet.heartbeet_ms=1", "--set", "comet.workers=many", "--set", "room.ring_bytes_max=64KiB", "--log", "loud"];
    let (status, stderr) = refused(&args);
    assert_eq!(status, 2, "{stderr}");
    for words in ["unknown key", "did you mean comet.heartbeat_ms?", "comet.workers", "room.ring_bytes_max", "`loud`"] {
        assert!(stderr.contains(words), "{words} in {stderr}");
    }
    let (status, stderr) = refused(&["--http", "0.0.0.0:0"]);
    assert_eq!(status, 2, "{stderr}");
    assert!(stderr.contains("--insecure"), "{stderr}");
    let (status, _) = refused(&["--no-such-option"]);
    assert_eq!(status, 2);
}

#[test]
fn beyond_loopback_it_warns() {
    let server = Server::start(&["--http", "0.0.0.0:0", "--insecure"]);
    until("a warning", || server.stderr().contains("anybody there can be anybody").then_some(()));
}

#[test]
fn the_log_is_json_where_nobody_watches_and_text_where_it_is_asked_for() {
    let server = Server::start(&["--log-level", "debug"]);
    server.http().get("/healthz");
    until("a line", || (!server.stderr().is_empty()).then_some(()));
    let (_, _, stopped) = server.terminate();
    drop(stopped);
    let mut command = perseid();
    let dir = tempfile::tempdir().unwrap();
    command.args(["--tcp", "127.0.0.1:0", "--ws", "127.0.0.1:0", "--http", "127.0.0.1:0", "--log-level", "debug"]);
    command.arg("--data-dir").arg(dir.path());
    let mut process = Process::spawn(command);
    let ready: Value = serde_json::from_str(&process.first_line()).expect("the standalone without its name");
    let addr = ready["http"].as_str().unwrap().parse().unwrap();
    Http::connect(addr).get("/healthz");
    support::server::signal(process.child.id(), "INT");
    assert_eq!(process.wait(), Some(0));
    let stderr = process.stderr();
    assert!(!stderr.is_empty());
    for line in stderr.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()), "{line}");
    }
}
