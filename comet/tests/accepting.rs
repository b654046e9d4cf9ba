//! No file descriptors left: the listener waits, and goes on when there are some.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use support::logic::auth;
use support::*;

const DESCRIPTORS: &str = "60";

/// Runs in a process of its own, which has few descriptors; ends when its input does.
#[test]
#[ignore = "the other process of the test below"]
fn comet_with_few_descriptors() {
    if std::env::var_os("COMET_TEST_CHILD").is_none() {
        return;
    }
    let test = TestComet::start(config());
    println!("\nlistening {} {}", test.tcp(), test.ws());
    std::io::stdout().flush().unwrap();
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line).unwrap() > 0 {
        println!("errors {}", test.sum(|metrics| &metrics.accept_errors));
        println!("connections {}", test.comet.connections());
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn accepting_goes_on_after_descriptors_ran_out() {
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -n \"$1\"; shift; exec \"$@\"", "sh", DESCRIPTORS])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "comet_with_few_descriptors", "--ignored", "--nocapture"])
        .env("COMET_TEST_CHILD", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut stdin = child.stdin.take().unwrap();
    let mut line = |start: &str| loop {
        let line = lines.next().expect("the process has ended").unwrap();
        if let Some(rest) = line.strip_prefix(start) {
            break rest.trim().to_owned();
        }
    };
    let listening = line("listening ");
    let addrs: Vec<std::net::SocketAddr> = listening.split(' ').map(|addr| addr.parse().unwrap()).collect();

    // Many more than it can take; the kernel completes them all.
    let mut held: Vec<Client> = (0..150).map(|_| Client::connect(addrs[0], TCP, None)).collect();
    let mut ask = || {
        stdin.write_all(b"\n").unwrap();
        let errors: u64 = line("errors ").parse().unwrap();
        (errors, line("connections ").parse::<u64>().unwrap())
    };
    eventually("it ran out of descriptors", || ask().0 > 0);
    let (_, connections) = ask();
    assert!(connections > 20 && connections < 60, "{connections}");
    // Knocking on makes no more errors than the pauses allow: ten a second.
    let (before, started) = (ask().0, std::time::Instant::now());
    for _ in 0..200 {
        held.push(Client::connect(addrs[0], TCP, None));
    }
    let (after, _) = ask();
    let pauses = started.elapsed().as_millis() as u64 / 100;
    assert!(after - before <= 2 * (pauses + 2), "{} errors in {pauses} pauses", after - before);

    // Those inside leave, and all who waited, and one who comes now, are served.
    let mut last = held.pop().unwrap();
    drop(held);
    last.login(&auth("last"));
    let mut late = Client::connect(addrs[1], WS, None);
    late.login(&auth("late"));
    drop(stdin);
    child.wait().unwrap();
}
