//! The whole generator, child processes included, against a mock server: every
//! scenario on both transports, and every fault that it must catch.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used)]

mod mock;

use mock::{Fault, Mock};
use serde_json::Value;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_perseid-bench");

struct Run {
    status: i32,
    json: Value,
    text: String,
}

impl Run {
    fn figure(&self, key: &str) -> f64 {
        let figures = self.json["runs"][0]["figures"].as_array().unwrap();
        let found = figures.iter().find(|figure| figure["key"] == key);
        found.unwrap_or_else(|| panic!("no {key} in {}", self.text))["value"].as_f64().unwrap()
    }

    fn count(&self, what: &str) -> u64 {
        self.json["runs"][0]["integrity"][what].as_u64().unwrap()
    }

    fn problems(&self) -> String {
        self.json["runs"][0]["problems"].to_string()
    }
}

fn command(words: &str) -> Output {
    Command::new(PROGRAM).args(words.split_whitespace()).output().unwrap()
}

/// Runs a scenario against the mock, with this process as the server.
fn bench(mock: &Mock, words: &str) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let line = format!(
        "{words} --quiet --target {} --ws-target {} --api http://{} --server-pid {} --json {}",
        mock.tcp,
        mock.ws,
        mock.http,
        std::process::id(),
        json.display()
    );
    let output = command(&line);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let json = std::fs::read(&json).map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap());
    Run { status: output.status.code().unwrap(), json, text }
}

fn good(mock: &Mock, words: &str) -> Run {
    let run = bench(mock, words);
    assert_eq!(run.status, 0, "{words}: {}", run.text);
    assert_eq!(run.json["ok"], true);
    run
}

const ROOM: &str = "room --sessions 12 --processes 2 --rate 40 --duration 0.5 --warmup 0.2";

#[test]
fn connect_counts_every_session_on_both_transports() {
    let mock = Mock::start(Fault::None);
    for transport in ["", "--ws"] {
        let run = good(&mock, &format!("connect --sessions 40 --processes 2 --rate 400 {transport}"));
        assert_eq!(run.figure("online").to_bits(), 40f64.to_bits());
        assert!(run.figure("connect_p99_ms") > 0.0);
        assert!(run.figure("cpu_us_per_connect") > 0.0);
    }
}

#[test]
fn idle_sends_heartbeats_and_weighs() {
    let mock = Mock::start(Fault::None);
    for transport in ["", "--ws"] {
        let run = good(&mock, &format!("idle --sessions 20 --heartbeat 0.2 --duration 1 --warmup 0 {transport}"));
        assert!(run.figure("heartbeats") >= 60.0, "{}", run.text);
        assert!(run.figure("rss_with_mib") > 0.0);
    }
}

#[test]
fn room_delivers_everything_on_both_transports() {
    let mock = Mock::start(Fault::None);
    for transport in ["", "--ws"] {
        let run = good(&mock, &format!("{ROOM} {transport}"));
        // 8 messages of warm-up and 20 measured, to 12 sessions.
        assert_eq!((run.count("received"), run.count("expected")), (336, 336), "{}", run.text);
        assert_eq!(run.count("lost") + run.count("duplicates") + run.count("disordered"), 0);
        assert!(run.figure("latency_p99_ms") > 0.0);
        assert!(run.figure("last_p50_ms") >= run.figure("first_p50_ms"));
        assert!(run.figure("frames_per_write") > 0.0, "{}", run.text);
    }
}

#[test]
fn sources_are_spread_and_rounds_repeated() {
    let mock = Mock::start(Fault::None);
    let run = good(&mock, &format!("{ROOM} --spread-sources --repeat 2"));
    assert_eq!(run.count("received"), 2 * 336, "{}", run.text);
    assert!(run.text.contains("of 2"), "{}", run.text);
}

#[test]
fn large_bodies_arrive_whole() {
    let mock = Mock::start(Fault::None);
    for transport in ["", "--ws"] {
        let run = good(&mock, &format!("{ROOM} --size 30000 {transport}"));
        assert_eq!(run.count("received"), 336);
    }
}

#[test]
fn room_in_turn_with_the_floor() {
    let mock = Mock::start(Fault::None);
    let words = "room --with-floor --pairs 2 --sessions 10 --rate 20 --duration 0.5 --warmup 0 --floor-threads 2";
    let run = good(&mock, words);
    assert!(run.figure("floor_us_per_send") > 0.0);
    assert!(run.figure("ratio_to_floor") > 0.0);
    // Two rounds of 10 messages to 10 sessions, room and floor.
    assert_eq!(run.count("received"), 400, "{}", run.text);
}

#[test]
fn step_finds_a_rate_that_is_carried() {
    let mock = Mock::start(Fault::None);
    let run = bench(&mock, "room --step --sessions 4 --rate 20 --duration 0.2 --warmup 0");
    assert_eq!(run.status, 0, "{}", run.text);
    assert!(run.figure("deliveries_per_s_max") > 10.0);
}

#[test]
fn push_reaches_its_user_by_every_route() {
    let mock = Mock::start(Fault::None);
    for by in ["mids", "keys", "v1"] {
        let run = good(
            &mock,
            &format!("push --by {by} --sessions 7 --rate 100 --connections 3 --duration 0.5 --warmup 0.1 --repeat 2"),
        );
        assert_eq!((run.count("received"), run.count("expected")), (120, 120), "{by}: {}", run.text);
        assert!(run.figure("cpu_us_per_push") > 0.0);
    }
}

#[test]
fn push_beside_a_room_checks_both() {
    let mock = Mock::start(Fault::None);
    let run = good(&mock, "push --ws --sessions 5 --rate 50 --beside-room 8,20 --duration 0.5 --warmup 0");
    // 25 pushes, and 10 messages to 8.
    assert_eq!(run.count("received"), 25 + 80, "{}", run.text);
    assert!(run.figure("room_p99_ms") > 0.0);
}

#[test]
fn floor_needs_no_server() {
    let output = command("floor --sessions 16 --threads 2 --rate 20 --duration 0.5 --warmup 0.1 --quiet");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("CPU of a send"), "{text}");
}

#[test]
fn all_judges_budgets_and_writes_reports() {
    let mock = Mock::start(Fault::None);
    let dir = tempfile::tempdir().unwrap();
    let html = dir.path().join("report.html");
    let run = good(&mock, &format!("all --quick --only room --html {}", html.display()));
    // The one that needs a server of its own is left out, and that is said.
    assert!(run.text.contains("room-15000-pace: skipped"), "{}", run.text);
    let page = std::fs::read_to_string(html).unwrap();
    assert!(page.contains("<svg") && page.contains("Budgets"));
    std::thread::scope(|scope| {
        for (part, rows) in [("connect", 2), ("idle-tcp", 1), ("idle-ws", 1), ("push-", 3), ("growth", 2)] {
            let mock = &mock;
            scope.spawn(move || {
                let run = good(mock, &format!("all --quick --only {part}"));
                let runs = run.json["runs"].as_array().unwrap();
                assert_eq!(runs.len(), rows, "{part}");
                let budgets = runs.iter().flat_map(|run| run["budgets"].as_array().unwrap());
                budgets.for_each(|budget| assert!(budget["value"].is_number(), "{budget}"));
            });
        }
    });
}

#[test]
fn a_lost_message_fails_the_run() {
    for words in [ROOM.to_owned(), format!("{ROOM} --ws")] {
        let run = bench(&Mock::start(Fault::Lose), &words);
        assert_eq!((run.status, run.count("lost")), (1, 1), "{}", run.text);
        assert_eq!(run.count("duplicates") + run.count("disordered"), 0);
        assert!(run.text.contains("1 deliveries lost") && run.text.contains("FAILED"));
    }
}

#[test]
fn a_lost_push_fails_the_run() {
    let run = bench(&Mock::start(Fault::Lose), "push --sessions 2 --rate 50 --duration 0.5 --warmup 0");
    assert_eq!((run.status, run.count("lost")), (1, 1), "{}", run.text);
}

#[test]
fn a_duplicate_fails_the_run() {
    for words in [ROOM.to_owned(), format!("{ROOM} --ws")] {
        let run = bench(&Mock::start(Fault::Duplicate), &words);
        assert_eq!((run.status, run.count("duplicates")), (1, 1), "{}", run.text);
        assert_eq!(run.count("lost") + run.count("disordered"), 0);
    }
}

#[test]
fn disorder_fails_the_run() {
    for words in [ROOM.to_owned(), format!("{ROOM} --ws")] {
        let run = bench(&Mock::start(Fault::Reorder), &words);
        assert_eq!((run.status, run.count("disordered")), (1, 1), "{}", run.text);
        assert_eq!(run.count("lost") + run.count("duplicates"), 0);
    }
}

#[test]
fn a_step_search_does_not_take_a_fault_for_a_limit() {
    let run = bench(&Mock::start(Fault::RefusePushes), "room --step --sessions 2 --rate 50 --duration 0.2 --warmup 0");
    assert_eq!(run.status, 1, "{}", run.text);
    assert!(run.problems().contains("not even the first rate"), "{}", run.text);
}

#[test]
fn dropped_sessions_and_broken_bytes_fail_the_run() {
    let run = bench(&Mock::start(Fault::Drop), ROOM);
    assert_eq!(run.status, 1, "{}", run.text);
    assert!(run.problems().contains("sessions dropped"), "{}", run.text);
    let run = bench(&Mock::start(Fault::Garbage), ROOM);
    assert!(run.problems().contains("a frame with a wrong length"), "{}", run.text);
}

#[test]
fn a_refusing_server_fails_the_run() {
    let run = bench(&Mock::start(Fault::RefusePushes), ROOM);
    assert_eq!(run.status, 1, "{}", run.text);
    assert!(run.problems().contains("pushes failed: code -500"), "{}", run.text);
    let run = bench(&Mock::start(Fault::RefuseAuth), "connect --sessions 5 --rate 100");
    assert_eq!(run.status, 1, "{}", run.text);
    assert!(run.problems().contains("did not come online"), "{}", run.text);
    let run = bench(&Mock::start(Fault::Deaf), "idle --sessions 10 --heartbeat 0.2 --duration 1 --warmup 0");
    assert_eq!(run.status, 1, "{}", run.text);
    assert!(run.problems().contains("heartbeats were not answered"), "{}", run.text);
    let output = command("connect --sessions 5 --target 127.0.0.1:1 --quiet");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn usage_is_status_2_and_strangers_are_refused() {
    assert_eq!(command("").status.code(), Some(2));
    assert_eq!(command("room --sessions 0").status.code(), Some(2));
    assert_eq!(command("room --help").status.code(), Some(0));
    let output = command("connect --target 192.0.2.1:3101 --quiet");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--i-own-this-target"));
}

/// A server that is started by the generator: a script that stands for it and
/// leads to the mock.
#[test]
fn a_server_of_its_own_is_started_and_stopped() {
    use std::os::unix::fs::PermissionsExt;
    let mock = Mock::start(Fault::None);
    let dir = tempfile::tempdir().unwrap();
    let (script, said) = (dir.path().join("server"), dir.path().join("said"));
    let text = format!(
        "#!/bin/sh\necho \"$@\" > {said}\ntrap 'echo stopped >> {said}; kill $sleeper; exit 0' TERM\n\
         echo '{{\"ready\":true,\"pid\":1,\"tcp\":[\"{}\"],\"ws\":[\"{}\"],\"http\":\"{}\",\"version\":\"9\"}}'\n\
         sleep 60 & sleeper=$!; wait\n",
        mock.tcp,
        mock.ws,
        mock.http,
        said = said.display(),
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let words = "room --sessions 4 --rate 20 --duration 0.3 --warmup 0 --quiet --spawn-server --server-exe";
    let output = command(&format!("{words} {} -- --set room.pace_ms=5", script.display()));
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    let said = std::fs::read_to_string(said).unwrap();
    assert!(said.starts_with("standalone --tcp 127.0.0.1:0") && said.contains("--set room.pace_ms=5"), "{said}");
    assert!(said.ends_with("stopped\n"), "{said}");
}
