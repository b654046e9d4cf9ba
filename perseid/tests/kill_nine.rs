//! SIGKILL at any moment: the next start recovers by itself, and what was accepted is there.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::{Value, json};
use support::measure::{Metrics, stat};
use support::server::run;
use support::{BOTH, Client, Http, Server, Transport, until_eq};

const KILLS: usize = 5;
const PUSHERS: usize = 6;

/// What is known about the pushes of all lives.
#[derive(Default)]
struct Known {
    /// Sent, whatever became of them.
    sent: u64,
    /// Answered as accepted: body and message id.
    accepted: Vec<(String, String)>,
}

#[test]
fn killed_five_times_under_load() {
    let mut server = Server::start(&[]);
    let known = Mutex::new(Known::default());
    // Bodies that the session with this key has seen, over all lives.
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut end_before = 0;
    for life in 0..KILLS {
        let transport = BOTH[life % 2];
        let mut session = Client::classic(&server, transport, &json!({ "mid": 7, "key": "k", "accepts": [1000] }));
        let accepted_before = known.lock().unwrap().accepted.len();
        let got = std::thread::scope(|scope| {
            for pusher in 0..PUSHERS {
                let (addr, known) = (server.http, &known);
                scope.spawn(move || push_until_it_dies(addr, &format!("{life}-{pusher}"), known));
            }
            // Killed as soon as a few hundred are through: while many others are on their way.
            let mut got = Vec::new();
            while got.len() < 300 {
                got.push(session.push());
            }
            support::server::signal(server.pid, "KILL");
            while let Some(frame) = session.next_within(support::PATIENCE) {
                got.push(frame.text().to_owned());
            }
            got
        });
        for body in got {
            assert!(seen.insert(body.clone()), "{body} was delivered twice to the session, in life {life}");
        }
        let (sent, accepted) = {
            let known = known.lock().unwrap();
            (known.sent, known.accepted.len() as u64)
        };
        assert!(accepted as usize > accepted_before + 200, "the load was none");

        server = server.killed().restart();
        let mut http = server.http();
        let end = stat(&mut http, "/log/end");
        assert!(end >= accepted, "life {life}: {accepted} were accepted, the log has {end}");
        assert!(end <= sent, "life {life}: {sent} were sent, the log has {end}");
        assert!(end > end_before, "offsets go on");
        end_before = end;
        until_eq("the job to have caught up", &0, || stat(&mut http, "/log/lag"));
        // It serves as before.
        http.goim_push("all?operation=1000", b"to nobody");
        known.lock().unwrap().sent += 1;
        known.lock().unwrap().accepted.push(("to nobody".to_owned(), String::new()));
    }

    // Each id is remembered, whatever life it was given in.
    let known = known.into_inner().unwrap();
    let mut http = server.http();
    let mut session = Client::classic(&server, Transport::Tcp, &json!({ "mid": 7, "key": "k", "accepts": [1000] }));
    let with_id: Vec<_> = known.accepted.iter().filter(|(_, id)| !id.is_empty()).collect();
    for some in with_id.chunks(500) {
        let messages: Vec<_> = some.iter().map(|(body, _)| message(body)).collect();
        let answer = http.post_json("/v1/messages:batch", &json!({ "messages": messages })).json();
        for ((body, id), result) in some.iter().zip(answer["results"].as_array().unwrap()) {
            assert_eq!((&result["id"], &result["duplicate"]), (&json!(id), &json!(true)), "{body}");
        }
    }
    assert_eq!(session.flush(), [], "answered again, not delivered again");
    let ids: BTreeSet<_> = with_id.iter().map(|(_, id)| id).collect();
    assert_eq!(ids.len(), with_id.len(), "a message id was given twice");
}

fn message(body: &str) -> Value {
    json!({ "to": { "mids": [7] }, "body": body, "id": format!("id-{body}") })
}

fn push_until_it_dies(addr: std::net::SocketAddr, name: &str, known: &Mutex<Known>) {
    let mut http = Http::connect(addr);
    for number in 0.. {
        let body = format!("{name}-{number}");
        known.lock().unwrap().sent += 1;
        let answer = http.request("POST", "/v1/messages", &[], message(&body).to_string().as_bytes());
        match answer {
            Ok(answer) if answer.status == 200 => {
                let id = answer.json()["id"].as_str().unwrap().to_owned();
                known.lock().unwrap().accepted.push((body, id));
            }
            Ok(answer) => panic!("{}", answer.text()),
            Err(_) => return,
        }
    }
}

#[test]
fn an_id_is_remembered_over_a_kill_and_another_body_is_a_conflict() {
    let server = Server::start(&[]);
    let first = server.http().push(&message("one"));
    let server = server.kill9().restart();
    let mut http = server.http();
    let mut session = Client::user(&server, Transport::Tcp, 7);
    let again = http.push(&message("one"));
    assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &json!(true)));
    let other = json!({ "to": { "mids": [7] }, "body": "other", "id": "id-one" });
    assert_eq!(http.post_json("/v1/messages", &other).status, 409);
    let second = http.push(&message("two"));
    assert!(id_of(&second) > id_of(&first), "ids grow over a restart");
    assert_eq!(session.push(), "two");
    assert_eq!(session.flush(), []);
    assert_eq!(stat(&mut http, "/log/end"), 2);
}

fn id_of(answer: &Value) -> u64 {
    answer["id"].as_str().unwrap().parse().unwrap()
}

#[test]
fn who_comes_back_gets_nothing_twice_and_what_is_new() {
    let mut server = Server::start(&[]);
    for transport in BOTH {
        let auth = json!({ "mid": 7, "key": "k", "room_id": "live://a", "accepts": [1000] });
        let mut session = Client::classic(&server, transport, &auth);
        let mut http = server.http();
        for number in 0..50 {
            http.goim_push("room?operation=1000&type=live&room=a", format!("old {number}").as_bytes());
        }
        for number in 0..50 {
            assert_eq!(session.push(), format!("old {number}"));
        }
        server = server.kill9().restart();
        session.end();
        // At once: a consumer that reads again what it had seen would find it there.
        let mut session = Client::classic(&server, transport, &auth);
        server.http().goim_push("keys?operation=1000&keys=k", b"new");
        assert_eq!(session.push(), "new", "{transport:?}");
        assert_eq!(session.flush(), []);
    }
}

/// The segment files of a log, in order.
fn segments(data: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(data.join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    files.sort();
    files
}

/// Where the last byte that is not zero stands: segments are written with zeros ahead.
fn last_byte(file: &Path) -> u64 {
    let bytes = std::fs::read(file).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).expect("records") as u64
}

fn overwrite(file: &Path, at: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(file).unwrap().write_all_at(bytes, at).unwrap();
}

fn server_with_records(count: u64) -> Server {
    let server = Server::start(&[]);
    let mut http = server.http();
    for number in 0..count {
        http.goim_push("all?operation=1000", format!("record {number}").as_bytes());
    }
    assert_eq!(stat(&mut http, "/log/end"), count);
    server
}

#[test]
fn a_torn_tail_is_cut_off_and_counted() {
    let mut stopped = server_with_records(20).kill9();
    for (round, garbage) in [vec![0xa5; 1], vec![0xa5; 40], vec![0xff; 5000]].into_iter().enumerate() {
        let file = segments(&stopped.data()).pop().unwrap();
        // As if a write had begun and a sector of it had come to the disk.
        overwrite(&file, last_byte(&file) + 100, &garbage);
        let server = stopped.restart();
        let mut http = server.http();
        let round = round as u64;
        assert_eq!(stat(&mut http, "/log/end"), 20 + round, "nothing accepted is lost");
        assert!(Metrics::of(&mut http).get("perseid_log_torn_bytes_total") >= garbage.len() as u64);
        assert!(server.stderr().contains("torn tail"), "{}", server.stderr());
        http.goim_push("all?operation=1000", b"after it");
        assert_eq!(stat(&mut http, "/log/end"), 21 + round);
        stopped = server.kill9();
    }
}

#[test]
fn damage_in_the_middle_is_refused_with_its_place() {
    let stopped = server_with_records(20).kill9();
    let file = segments(&stopped.data()).pop().unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let text = b"record 9";
    let at = bytes.windows(text.len()).position(|window| window == text).expect("the tenth record") as u64;
    overwrite(&file, at, b"R");
    for _ in 0..2 {
        let output = run(Server::command(&stopped.data(), &["--log-level".to_owned(), "error".to_owned()]));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len(), stderr.lines().count()), (Some(1), 0, 1), "{stderr}");
        assert!(stderr.contains(file.to_str().unwrap()) && stderr.contains("damaged at byte "), "{stderr}");
        let position = stderr.split("damaged at byte ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
        let position: u64 = position.parse().unwrap();
        assert!((at - 100..=at).contains(&position), "byte {position}, but the damage is at {at}");
        assert!(stderr.contains("offset 10 "), "{stderr}");
    }
    // Put right again, everything is there.
    overwrite(&file, at, b"r");
    let server = stopped.restart();
    assert_eq!(stat(&mut server.http(), "/log/end"), 20);
}

#[test]
fn killed_while_it_starts() {
    let mut stopped = server_with_records(20).kill9();
    for _ in 0..5 {
        let mut process = support::server::Process::spawn(Server::command(&stopped.data(), &[]));
        // At some moment before or after it is ready.
        process.child.kill().unwrap();
        assert_eq!(process.wait(), None);
    }
    let server = stopped.restart();
    assert_eq!(stat(&mut server.http(), "/log/end"), 20);
    stopped = server.kill9();
    drop(stopped);
}

#[test]
fn segments_roll_and_old_ones_go_over_kills() {
    let mut server = Server::start(&["--set", "log.segment_bytes=4MiB", "--set", "log.retention_bytes=8MiB"]);
    let body = "x".repeat(400_000);
    let mut accepted = 0;
    for _ in 0..3 {
        let mut http = server.http();
        for _ in 0..40 {
            http.goim_push("all?operation=1000", body.as_bytes());
            accepted += 1;
        }
        server = server.kill9().restart();
        let mut http = server.http();
        assert_eq!(stat(&mut http, "/log/end"), accepted);
        until_eq("the old segments deleted", &true, || stat(&mut http, "/log/bytes") <= 16 * 1024 * 1024);
        assert!(stat(&mut http, "/log/first") > accepted - 40, "only the newest are kept");
    }
    let kept = segments(&server.data()).len();
    assert!((2..=5).contains(&kept), "{kept} segments");
}
