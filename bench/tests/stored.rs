//! The scenarios of stored messages, child processes included, against a mock
//! server: what they count, and every fault that they must catch.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used)]

mod stored_mock;

use serde_json::Value;
use std::process::Command;
use stored_mock::{Fault, Mock};

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

    fn faults(&self) -> (u64, u64, u64) {
        (self.count("lost"), self.count("duplicates"), self.count("disordered"))
    }

    fn problems(&self) -> String {
        self.json["runs"][0]["problems"].to_string()
    }
}

/// Runs a scenario against a mock, with this process as the server.
fn bench(fault: Fault, words: &str) -> Run {
    let mock = Mock::start(fault);
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let line =
        format!("{words} --quiet --target {} --api http://{} --server-pid {} --json", mock.tcp, mock.http, std::process::id());
    let output = Command::new(PROGRAM).args(line.split_whitespace()).arg(&json).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let json = std::fs::read(&json).map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap());
    Run { status: output.status.code().unwrap(), json, text }
}

fn good(words: &str) -> Run {
    let run = bench(Fault::None, words);
    assert_eq!(run.status, 0, "{words}: {}", run.text);
    run
}

/// 150 messages among 5 users with 2 peers each: every pair has several.
const SEND: &str = "send --sessions 5 --peers 2 --rate 300 --duration 0.4 --warmup 0.1";
const SYNC: &str = "sync --sessions 4 --messages 50 --page 20 --rate 50 --writers 3 --fill-rate 2000";
const STORM: &str = "storm --sessions 30 --messages 5 --idle 4 --heartbeat 0.1 --writers 3 --fill-rate 2000";

#[test]
fn send_accounts_for_every_message_at_both_ends() {
    let run = good(SEND);
    assert_eq!((run.count("received"), run.count("expected"), run.faults()), (300, 300, (0, 0, 0)), "{}", run.text);
    for key in ["ack_p50_ms", "ack_p99_ms", "arrival_p99_ms", "echo_p99_ms", "cpu_us_per_message", "generator_us_per_message"] {
        assert!(run.figure(key) > 0.0, "{key}");
    }
    let run = good(&format!("{SEND} --processes 3 --pipeline 4 --repeat 2 --size 1000"));
    // Two rounds of 150 messages.
    assert_eq!((run.count("received"), run.faults()), (600, (0, 0, 0)), "{}", run.text);
}

#[test]
fn send_accounts_for_every_member_of_a_group() {
    let words = "send --sessions 12 --group 4 --rate 200 --duration 0.4 --warmup 0.1 --processes 2";
    let run = good(words);
    // 100 messages to four members each.
    assert_eq!((run.count("received"), run.count("expected"), run.faults()), (400, 400, (0, 0, 0)), "{}", run.text);
    assert!(run.figure("cpu_us_per_delivery") > 0.0);
    let run = bench(Fault::Lose, words);
    assert_eq!((run.status, run.faults()), (1, (1, 0, 0)), "{}", run.text);
    let run = bench(Fault::None, "send --sessions 10 --group 4");
    assert!(run.status == 1 && run.text.contains("do not make whole groups"), "{}", run.text);
}

#[test]
fn send_finds_the_most_that_is_carried() {
    let run = good("send --step --sessions 6 --rate 100 --duration 0.2 --warmup 0");
    assert!(run.figure("messages_per_s_max") >= 100.0, "{}", run.text);
    assert_eq!(run.faults(), (0, 0, 0));
    let run = bench(Fault::Refuse, "send --step --sessions 4 --rate 100 --duration 0.2 --warmup 0");
    assert!(run.status == 1 && run.problems().contains("not even the first rate"), "{}", run.text);
}

#[test]
fn send_finds_what_is_lost_twice_or_out_of_order() {
    let expected = [
        (Fault::Lose, (1, 0, 0)),
        (Fault::LoseEcho, (1, 0, 0)),
        (Fault::Duplicate, (0, 1, 0)),
        (Fault::Repeat, (0, 1, 0)),
        (Fault::Reorder, (0, 0, 1)),
    ];
    std::thread::scope(|scope| {
        for (fault, faults) in expected {
            scope.spawn(move || {
                let run = bench(fault, SEND);
                assert_eq!((run.status, run.faults()), (1, faults), "{fault:?}: {}", run.text);
            });
        }
    });
}

#[test]
fn send_names_every_other_fault() {
    let expected = [
        (Fault::Withhold, "1 jumps in inbox positions"),
        (Fault::Repeat, "1 inbox positions came twice"),
        (Fault::Reorder, "conversation positions were not the next"),
        (Fault::Garble, "1 messages came with another body"),
        (Fault::Stray, "1 messages came to the wrong session"),
        (Fault::Silent, "1 messages were never answered"),
        (Fault::LateReply, "1 replies were wrong"),
        (Fault::Refuse, "150 messages were refused: UNAVAILABLE (150)"),
        (Fault::Disconnect, "sessions dropped: DISCONNECT RESYNC (1)"),
    ];
    std::thread::scope(|scope| {
        for (fault, what) in expected {
            scope.spawn(move || {
                let run = bench(fault, SEND);
                assert!(run.status == 1 && run.problems().contains(what), "{fault:?}: {}", run.text);
            });
        }
    });
    // What was withheld came with the SYNC that the jump asks for.
    assert_eq!(bench(Fault::Withhold, SEND).faults(), (0, 0, 0));
}

#[test]
fn sync_reads_all_that_was_missed() {
    let run = good(SYNC);
    // 200 echoes while they were written, and 200 arrivals.
    assert_eq!((run.count("received"), run.count("expected"), run.faults()), (400, 400, (0, 0, 0)), "{}", run.text);
    assert!(run.figure("sync_p50_ms") > 0.0 && run.figure("cpu_ms_per_sync") > 0.0);
}

#[test]
fn sync_finds_holes_and_short_pages() {
    let run = bench(Fault::HoleInPages, SYNC);
    // The second message of the three pages of each of four users.
    assert_eq!((run.status, run.faults()), (1, (12, 0, 0)), "{}", run.text);
    assert!(run.problems().contains("12 jumps in inbox positions"), "{}", run.text);
    let run = bench(Fault::ShortPages, SYNC);
    assert!(run.status == 1 && run.problems().contains("ends below its own head"), "{}", run.text);
    let run = bench(Fault::Duplicate, SYNC);
    assert_eq!((run.status, run.faults()), (1, (0, 1, 0)), "{}", run.text);
    let run = bench(Fault::RefuseSync, SYNC);
    assert!(run.status == 1 && run.text.contains("ERROR UNAVAILABLE"), "{}", run.text);
}

#[test]
fn a_storm_is_timed_to_its_last_session() {
    let run = good(STORM);
    assert_eq!((run.count("received"), run.faults()), (300, (0, 0, 0)), "{}", run.text);
    assert!(run.figure("storm_s") > 0.0 && run.figure("beat_p99_ms") > 0.0 && run.figure("heartbeats") >= 8.0, "{}", run.text);
    let run = bench(Fault::Lose, STORM);
    assert_eq!((run.status, run.faults()), (1, (1, 0, 0)), "{}", run.text);
    let run = bench(Fault::Deaf, STORM);
    assert!(run.status == 1 && run.problems().contains("heartbeats were not answered"), "{}", run.text);
}

#[test]
fn extended_sessions_stand_idle() {
    let run = good("idle --extended --sessions 20 --heartbeat 0.2 --duration 1 --warmup 0");
    assert!(run.figure("heartbeats") >= 60.0, "{}", run.text);
}

#[test]
fn the_quick_rows_of_all_run() {
    std::thread::scope(|scope| {
        for (part, rows) in [("send", 4), ("sync-", 1), ("storm", 1), ("extended", 1)] {
            scope.spawn(move || {
                let run = good(&format!("all --quick --only {part}"));
                let runs = run.json["runs"].as_array().unwrap();
                assert_eq!(runs.len(), rows, "{part}");
                let budgets = runs.iter().flat_map(|run| run["budgets"].as_array().unwrap());
                budgets.for_each(|budget| assert!(budget["value"].is_number(), "{budget}"));
            });
        }
    });
}
