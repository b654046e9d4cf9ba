//! The binary: exit statuses, and what goes to stdout and stderr.

use std::process::{Command, Output};

fn perseid(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perseid"));
    // Variables of whoever runs the tests are not part of them.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PERSEID_") {
            command.env_remove(name);
        }
    }
    command.args(args).envs(env.iter().copied()).output().unwrap()
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn check_of_what_is_valid() {
    let output = perseid(&["config", "check"], &[]);
    assert_eq!((status(&output), stdout(&output).as_str(), stderr(&output).as_str()), (0, "configuration is valid\n", ""));
    let output = perseid(&["config", "check", "--json", "--tcp", "127.0.0.1:0"], &[]);
    let json: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((status(&output), &json["valid"]), (0, &true.into()));
}

#[test]
fn check_reports_everything_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.toml");
    std::fs::write(&file, "[comet]\nheartbeet_ms = 1\nworkers = \"two\"\n").unwrap();
    let file = file.to_str().unwrap();
    let args = ["--config", file, "--set", "room.share=2", "--ws", "nowhere", "--log", "loud"];
    let env = [("PERSEID_NODE__NAME", "x")];
    let check = [&["config", "check"][..], &args].concat();
    let output = perseid(&check, &env);
    assert_eq!((status(&output), stdout(&output).as_str()), (2, ""));
    let report = stderr(&output);
    for part in [
        "perseid: 6 errors in the configuration:",
        &format!("{file}:2:1: comet.heartbeet_ms: unknown key"),
        "hint: did you mean comet.heartbeat_ms?",
        &format!("{file}:3:11: comet.workers: expected integer"),
        "env PERSEID_NODE__NAME: ",
        "--set room.share=2: room.share: 2 is out of bounds",
        "--ws: comet.ws: `nowhere` is not an address",
        "--log: telemetry.format: `loud` is not one of",
    ] {
        assert!(report.contains(part), "{part} in\n{report}");
    }
    // The server says the same, with and without its name, and starts nothing.
    for name in [&[][..], &["standalone"]] {
        let output = perseid(&[name, &args].concat(), &env);
        assert_eq!((status(&output), stdout(&output).as_str(), stderr(&output)), (2, "", report.clone()));
    }
    let output = perseid(&[&["config", "print"][..], &args].concat(), &env);
    assert_eq!((status(&output), stdout(&output).as_str(), stderr(&output)), (2, "", report));
    let output = perseid(&[&check[..], &["--json"]].concat(), &env);
    let json: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(status(&output), 2);
    assert_eq!(json["valid"], false);
    assert_eq!(json["problems"].as_array().unwrap().len(), 6);
    assert_eq!(json["problems"][0]["place"]["line"], 2);
}

#[test]
fn print_shows_values_and_origins() {
    let output = perseid(&["config", "print", "--http", "127.0.0.1:0"], &[("PERSEID_COMET__WORKERS", "2")]);
    assert_eq!((status(&output), stderr(&output).as_str()), (0, ""));
    let lines = stdout(&output);
    let line = |name: &str| lines.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
    assert!(line("workers").ends_with("# env PERSEID_COMET__WORKERS"));
    assert!(line("http").ends_with("# --http"));
    assert!(line("share").ends_with("# default"));
    let output = perseid(&["config", "print", "--json"], &[]);
    let json: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(json["logic"]["auth"]["value"], "insecure");
}

#[test]
fn docs_are_written_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("docs/configuration.md");
    let path = file.to_str().unwrap();
    let check = || status(&perseid(&["config", "docs", "--check", "--output", path], &[]));
    assert_eq!(check(), 1);
    assert_eq!(status(&perseid(&["config", "docs", "--output", path], &[])), 0);
    assert_eq!(check(), 0);
    std::fs::write(&file, "old").unwrap();
    assert_eq!(check(), 1);
}

#[test]
fn a_wrong_command_line_is_status_2_and_help_is_0() {
    for wrong in
        [&["comet"][..], &["logic"], &["job", "--x"], &["standlone"], &["--tls", "127.0.0.1:0"], &["config"], &["push", "hello"]]
    {
        let output = perseid(wrong, &[]);
        assert_eq!((status(&output), stdout(&output).as_str()), (2, ""), "{wrong:?}");
    }
    for help in ["--help", "-h", "--version"] {
        let output = perseid(&[help], &[]);
        assert_eq!((status(&output), stderr(&output).as_str()), (0, ""), "{help}");
    }
    let version = stdout(&perseid(&["--version"], &[]));
    assert_eq!(version, format!("perseid {}\n", env!("CARGO_PKG_VERSION")));
}
