//! Events on their way to the business: webhooks and `GET /v1/events`, over crashes of the node.

#![allow(clippy::unwrap_used)]

#[path = "../../hooks/tests/support/receiver.rs"]
mod receiver;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use receiver::{Receiver, Reply};
use serde_json::{Value, json};
use support::measure::Metrics;
use support::{BOTH, Client, Http, Server, Transport, frame, until_eq};
use tempfile::TempDir;

/// A file with a secret, and a server whose events go to `url`.
fn start(url: &str, more: &[&str]) -> (TempDir, PathBuf, Server) {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("secrets");
    std::fs::write(&file, "0123456789abcdef\n").unwrap();
    let (urls, secret) = (format!("hooks.urls={url}"), format!("hooks.secret_file={}", file.display()));
    let args = [&["--set", &urls, "--set", &secret, "--set", "hooks.retry_ms_max=100"][..], more].concat();
    let server = Server::start(&args);
    (dir, file, server)
}

fn of_type<'a>(events: &'a [Value], word: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["type"] == word).collect()
}

/// For each session its events, in order.
fn sessions(events: &[Value]) -> BTreeMap<String, Vec<String>> {
    let mut sessions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in events.iter().filter(|event| event["type"] != "upstream") {
        let word = match event["reason"].as_str() {
            Some(reason) => format!("offline {reason}"),
            None => "online".to_owned(),
        };
        sessions.entry(event["session"].as_str().unwrap().to_owned()).or_default().push(word);
    }
    sessions
}

fn upstream(op: i32, seq: i32, body: &str) -> Vec<u8> {
    frame::classic(1, op, seq, body.as_bytes())
}

#[test]
fn a_session_and_what_it_says_is_told_of() {
    let receiver = Receiver::taking();
    let (_dir, file, server) = start(&receiver.url(), &[]);
    for transport in BOTH {
        let auth = json!({ "mid": 7, "key": format!("{transport:?}"), "platform": "ios", "accepts": [1000] });
        let mut client = Client::classic(&server, transport, &auth);
        for (op, seq) in [(4, 5), (2000, 6)] {
            client.send(&upstream(op, seq, "hello"));
            assert_eq!(client.next().seq, seq);
        }
        drop(client);
        let ended = |got: &[receiver::Got]| {
            got.iter().any(|got| got.body.contains("session.offline") && got.body.contains(&format!("{transport:?}")))
        };
        receiver.wait("the end of the session", ended);
    }
    let events = receiver.events();
    let ops: Vec<_> = of_type(&events, "upstream").iter().map(|event| event["op"].as_i64().unwrap()).collect();
    assert_eq!(ops, [4, 2000, 4, 2000]);
    assert_eq!(of_type(&events, "upstream")[0]["body_base64"], "aGVsbG8=");
    let told = sessions(&events);
    assert_eq!(told.len(), 2);
    assert!(told.values().all(|told| *told == ["online", "offline LEFT"]), "{told:?}");
    let online = of_type(&events, "session.online")[0];
    assert_eq!((&online["platform"], &online["sessions"], &online["mid"]), (&json!("ios"), &json!(1), &json!(7)));
    assert_eq!(of_type(&events, "session.offline")[0]["sessions"], 0);

    // The same in the log.
    let mut http = server.http();
    let page = |http: &mut Http, query: &str| {
        let answer = http.get(&format!("/v1/events?{query}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    assert_eq!(page(&mut http, "")["events"], json!(events));
    let (mut after, mut seen) = ("0".to_owned(), Vec::new());
    loop {
        let answer = page(&mut http, &format!("limit=1&types=upstream&after={after}"));
        let some = answer["events"].as_array().unwrap();
        after = answer["next"].as_str().unwrap().to_owned();
        if some.is_empty() {
            break;
        }
        seen.extend(some.iter().cloned());
    }
    assert_eq!(seen.iter().collect::<Vec<_>>(), of_type(&events, "upstream"));
    // One waits for what comes.
    let waiting = std::thread::spawn({
        let addr = server.http;
        move || Http::connect(addr).get(&format!("/v1/events?types=session.online&wait_ms=20000&after={after}")).json()
    });
    let _client = Client::user(&server, Transport::Tcp, 8);
    let answer = waiting.join().unwrap();
    assert_eq!((answer["events"].as_array().unwrap().len(), &answer["events"][0]["mid"]), (1, &json!(8)));
    for bad in ["limit=0", "limit=1001", "after=x", "types=session.still", "wait_ms=60001"] {
        assert_eq!(http.get(&format!("/v1/events?{bad}")).status, 400, "{bad}");
    }

    // SIGHUP: another secret.
    std::fs::write(&file, "a-new-secret-of-ours\n0123456789abcdef\n").unwrap();
    server.signal("HUP");
    let mut client = Client::user(&server, Transport::Tcp, 9);
    until_eq("two signatures", &2, || {
        client.send(&upstream(2000, 1, "again"));
        client.next();
        receiver.got().last().unwrap().signature.matches("v1=").count()
    });
}

#[test]
fn what_was_answered_is_delivered_after_a_kill_and_each_session_ends_once() {
    let receiver = Receiver::start(|_| Reply::Status(503));
    let (_dir, _file, mut server) = start(&receiver.url(), &[]);
    let mut answered = BTreeSet::new();
    let mut let_in = 0;
    for life in 0..3 {
        let mut clients: Vec<Client> = (1..=10)
            .map(|mid| {
                let key = format!("k{mid}");
                let transport = BOTH[usize::try_from(mid).unwrap() % 2];
                let_in += 1;
                Client::classic(&server, transport, &json!({ "mid": mid, "key": key, "accepts": [1000] }))
            })
            .collect();
        // Replaced, left, and there until the end.
        let_in += 1;
        let mut newer = Client::classic(&server, Transport::Tcp, &json!({ "mid": 1, "key": "k1" }));
        clients[0].end();
        drop(clients.pop());
        for (number, client) in clients.iter_mut().enumerate().skip(1).chain([(0, &mut newer)]) {
            let body = format!("{life}-{number}");
            client.send(&upstream(2000, 1, &body));
            assert_eq!(client.next().seq, 1);
            answered.insert(body);
        }
        server = server.kill9().restart();
    }
    receiver.set(|_| Reply::Status(200));
    let said = |events: &[Value]| -> BTreeSet<String> {
        let decode = |text: &str| String::from_utf8(base64_decode(text)).unwrap();
        of_type(events, "upstream").iter().map(|event| decode(event["body_base64"].as_str().unwrap())).collect()
    };
    let events = receiver.wait_events(answered.len() + 2 * let_in);
    assert_eq!(said(&events), answered, "answered, and so delivered");
    let told = sessions(&events);
    assert_eq!(told.len(), let_in);
    for (session, told) in &told {
        assert!(told.len() == 2 && told[0] == "online" && told[1].starts_with("offline "), "{session}: {told:?}");
    }
    let ends = |word: &str| told.values().filter(|told| told[1] == format!("offline {word}")).count();
    assert_eq!((ends("REPLACED"), ends("CRASH") + ends("LEFT")), (3, let_in - 3), "{told:?}");
    assert!(ends("CRASH") >= 27, "{told:?}");
    let mut metrics = Metrics::of(&mut server.http());
    assert!(metrics.get("perseid_events_crashed_total") >= 9);
    metrics = Metrics::of(&mut server.http());
    drop(metrics);
    // Once more: nobody is told again.
    let before = receiver.events().len();
    let server = server.kill9().restart();
    let _client = Client::user(&server, Transport::Tcp, 99);
    let events = receiver.wait_events(before + 1);
    assert_eq!((events.len(), &events[before]["mid"]), (before + 1, &json!(99)));
}

fn base64_decode(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

#[test]
fn a_calm_end_tells_of_everybody_before_it_ends() {
    let receiver = Receiver::taking();
    let (_dir, _file, server) = start(&receiver.url(), &[]);
    let clients: Vec<Client> = (1..=20).map(|mid| Client::user(&server, Transport::Tcp, mid)).collect();
    receiver.wait_events(20);
    let (status, _, stopped) = server.terminate();
    assert_eq!(status, 0);
    drop(clients);
    let told = sessions(&receiver.events());
    assert!(told.len() == 20 && told.values().all(|told| *told == ["online", "offline DRAINING"]), "{told:?}");
    let server = stopped.restart();
    assert_eq!(Metrics::of(&mut server.http()).get("perseid_events_crashed_total"), 0);
}

/// A session outlives what the log keeps: its end after a crash is told all the same.
#[test]
fn a_session_that_the_log_has_forgotten_ends_once() {
    let receiver = Receiver::taking();
    let small = ["--set", "log.segment_bytes=4MiB", "--set", "log.retention_bytes=8MiB", "--set", "events.hold_bytes_max=8MiB"];
    let (_dir, _file, server) = start(&receiver.url(), &small);
    let client = Client::user(&server, Transport::Tcp, 7);
    let began = receiver.wait_events(1).remove(0);
    let mut http = server.http();
    let body = "x".repeat(500_000);
    until_eq("its beginning to be gone from the log", &true, || {
        http.goim_push("all?operation=2000", body.as_bytes());
        support::measure::stat(&mut http, "/log/first") > 2
    });
    let server = server.kill9().restart();
    drop(client);
    let events = receiver.wait_events(2);
    assert_eq!((&events[1]["session"], &events[1]["reason"], &events[1]["mid"]), (&began["session"], &json!("CRASH"), &json!(7)));
    assert_eq!((&events[1]["since_ms"], &events[1]["sessions"]), (&began["since_ms"], &json!(0)));
    let server = server.kill9().restart();
    let _client = Client::user(&server, Transport::Tcp, 8);
    assert_eq!(receiver.wait_events(3)[2]["type"], "session.online");
}

#[test]
fn a_receiver_that_hangs_delays_nobody() {
    let receiver = Receiver::start(|_| Reply::Hang);
    let (_dir, _file, server) = start(&receiver.url(), &[]);
    let mut client = Client::user(&server, Transport::Tcp, 7);
    receiver_is_asked(&receiver);
    let mut http = server.http();
    for number in 0..200 {
        http.goim_push("mids?operation=1000&mids=7", format!("{number}").as_bytes());
        client.send(&upstream(2000, number, "up"));
    }
    let mut pushes = 0;
    let mut answers = 0;
    while pushes < 200 || answers < 200 {
        if client.next().op == 1000 { pushes += 1 } else { answers += 1 }
    }
}

fn receiver_is_asked(receiver: &Receiver) {
    until_eq("a request that hangs", &true, || !receiver.got().is_empty());
}

#[test]
fn without_hooks_nothing_is_written_and_nobody_can_ask() {
    let server = Server::start(&[]);
    let mut http = server.http();
    let mut client = Client::user(&server, Transport::Tcp, 7);
    client.send(&upstream(2000, 1, "up"));
    assert_eq!(client.next().seq, 1);
    assert_eq!(support::measure::stat(&mut http, "/log/end"), 0);
    assert_eq!(http.get("/v1/events").status, 501);
    // Kept for those who read, and only that.
    let server = Server::start(&["--set", "events.keep=upstream"]);
    let mut client = Client::user(&server, Transport::Tcp, 7);
    client.send(&upstream(2000, 1, "up"));
    assert_eq!(client.next().seq, 1);
    let events = server.http().get("/v1/events").json();
    assert_eq!((events["events"].as_array().unwrap().len(), &events["events"][0]["type"]), (1, &json!("upstream")));
}

#[test]
fn mistakes_in_the_configuration_are_told_with_their_place() {
    for (set, says) in [
        ("hooks.urls=http://10.0.0.1/x", "private"),
        ("hooks.urls=ftp://a.example/", "https://"),
        ("hooks.urls=nonsense", "not a URL"),
        ("hooks.urls=https://a.example/x", "hooks.secret_file"),
        ("hooks.events=session.onlin", "did you mean `session.online`"),
        ("events.keep=everything", "is no event"),
    ] {
        let dir = TempDir::new().unwrap();
        let args = ["--set".to_owned(), set.to_owned()];
        let output = support::server::run(Server::command(&dir.path().join("data"), &args));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{set}: {stderr}");
        assert!(stderr.contains(says) && stderr.contains("--set"), "{set}: {stderr}");
    }
}

/// The check of a signature as docs/events.md tells it, on what a receiver really got. Languages that are not installed here
/// are passed over, and said so.
#[test]
fn the_documented_checks_of_a_signature_hold() {
    let receiver = Receiver::taking();
    let (dir, _file, server) = start(&receiver.url(), &[]);
    let _client = Client::user(&server, Transport::Tcp, 7);
    let got = receiver.wait("an event", |got| !got.is_empty()).remove(0);
    let doc = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/events.md")).unwrap();
    let block = |language: &str| {
        let (_, rest) = doc.split_once(&format!("```{language}\n")).unwrap();
        rest.split("```").next().unwrap().to_owned()
    };
    let (header, body) = (&got.signature, dir.path().join("body"));
    std::fs::write(&body, &got.body).unwrap();
    let body = body.display();
    let good = "0123456789abcdef";
    let python = format!(
        "{}\nbody = open({:?}, 'rb').read()\nprint([is_perseid({header:?}, b, s) for b, s in [(body, {good:?}), (body + b' ', {good:?}), (body, 'another')]])",
        block("python"),
        body.to_string()
    );
    let js = format!(
        "{}\nimport {{ readFileSync }} from 'node:fs';\nconst body = readFileSync({:?});\nconst more = Buffer.concat([body, Buffer.from(' ')]);\nconsole.log(JSON.stringify([[body, {good:?}], [more, {good:?}], [body, 'another']].map(([b, s]) => isPerseid({header:?}, b, s))));",
        block("js"),
        body.to_string()
    );
    for (program, file, text, says) in
        [("python3", "check.py", python, "[True, False, False]"), ("node", "check.mjs", js, "[true,false,false]")]
    {
        let path = dir.path().join(file);
        std::fs::write(&path, text).unwrap();
        match std::process::Command::new(program).arg(&path).output() {
            Err(error) => println!("{program} is not here: {error}"),
            Ok(output) => {
                let errors = String::from_utf8_lossy(&output.stderr);
                assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), says, "{program}: {errors}");
            }
        }
    }
}
