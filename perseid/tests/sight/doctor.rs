//! `perseid doctor`, as it is run: beside a server, before there is one, with a wrong configuration.

use serde_json::Value;

use crate::support::Server;
use crate::support::server::{perseid, run};

/// Runs it; gives the exit status and the answer in JSON.
fn doctor(args: &[&str]) -> (i32, Value) {
    let mut command = perseid();
    command.args(["doctor", "--json"]).args(args);
    let output = run(command);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let json = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"));
    (output.status.code().unwrap(), json)
}

/// The verdict and text of the findings of one check.
fn of<'a>(answer: &'a Value, check: &str) -> Vec<(&'a str, &'a str)> {
    let findings = answer["findings"].as_array().unwrap().iter().filter(|finding| finding["check"] == check);
    findings.map(|finding| (finding["verdict"].as_str().unwrap(), finding["what"].as_str().unwrap())).collect()
}

#[test]
fn beside_a_running_server_nothing_fails_because_of_it() {
    let server = Server::start(&[]);
    let (data, tcp) = (server.data(), server.tcp.to_string());
    let args = ["--data-dir", data.to_str().unwrap(), "--tcp", &tcp, "--ws", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let (status, answer) = doctor(&[&args[..], &["--sessions", "10"]].concat());
    assert_eq!(status, 0, "{answer:#}");
    assert!(of(&answer, "data directory").iter().all(|(verdict, what)| *verdict == "warn" && what.contains("another process")));
    assert!(of(&answer, "listeners").iter().any(|(verdict, what)| *verdict == "warn" && what.contains(&tcp)), "{answer:#}");
    assert_eq!(of(&answer, "fsync").len(), 1, "{answer:#}");
    // And the server does not mind.
    server.http().goim_push("all?operation=1000", b"x");
}

#[test]
fn what_fails_makes_the_status_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a-file");
    std::fs::write(&file, "no certificate").unwrap();
    let (file, data) = (file.to_str().unwrap(), dir.path().to_str().unwrap());
    for (args, check, words) in [
        (&["--data-dir", file][..], "data directory", "can't write"),
        (&["--data-dir", data, "--sessions", "1000000000"], "file descriptors", "1,000,000,000 are wanted"),
        (&["--data-dir", data, "--tcp", "203.0.113.7:3101", "--insecure"], "listeners", "203.0.113.7:3101"),
        (&["--data-dir", data, "--certificate", file, "--key", file], "certificates", "no certificate"),
        (&["--data-dir", data, "--set", "comet.workers=many"], "configuration", "comet.workers"),
    ] {
        let (status, answer) = doctor(args);
        assert_eq!((status, &answer["verdict"]), (1, &"fail".into()), "{args:?}");
        let found = of(&answer, check);
        assert!(found.iter().any(|(verdict, what)| *verdict == "fail" && what.contains(words)), "{args:?}: {found:?}");
    }
    let mut command = perseid();
    command.args(["doctor", "--certificate", file]);
    let output = run(command);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
}

#[test]
fn people_get_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = perseid();
    command.args(["doctor", "--data-dir", dir.path().to_str().unwrap()]);
    let text = String::from_utf8(run(command).stdout).unwrap();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let known = ["ok  ", "warn", "fail", "    "].iter().any(|start| line.starts_with(start));
        assert!(known || line.contains(" to look at, "), "{line}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "it leaves nothing behind");
}
