//! A process whose files may not grow any more, as on a full disk; and one whose disk takes nothing at all for a while.

use rustix::process::{Pid, Resource, Rlimit};
use serde_json::json;

use crate::acknowledged::{ANN, BOB, Sent};
use crate::person::{Person, killed};
use crate::standing::{arrived, metric, missing, reading_goes_on, refused, stored_push};
use crate::support::{Server, Transport, until};

/// More than the store's journal takes here, and less than the log's first segment.
const FULL_BYTES: u64 = 20 << 20;
/// So little that even what stands already could not be written.
const NOTHING_BYTES: u64 = 4 << 10;

/// How large a file of this process may become; the kernel refuses what would be larger.
fn limit_files(server: &Server, bytes: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(server.pid).unwrap());
    let limit = Rlimit { current: bytes, maximum: None };
    rustix::process::prlimit(pid, Resource::Fsize, limit).unwrap();
}

#[test]
fn a_process_without_room_refuses_sends_and_goes_on_when_there_is_some() {
    let server = Server::start(&[]);
    let mut http = server.http();
    let mut sent = Sent::default();
    let [mut ann, mut bob] = [ANN, BOB].map(|mid| Person::enter(&server, Transport::Tcp, mid));
    sent.send_all(&mut ann, 5);
    limit_files(&server, Some(FULL_BYTES));
    let large = json!({ "to": { "mids": [8] }, "op": 1000, "body": "x".repeat(60 << 10) });
    until("the log is full", || (http.post_json("/v1/messages", &large).status == 503).then_some(()));
    // Small ones may find room that a large one did not.
    let refusal = until("a message finds no room", || sent.send(&mut ann).err());
    assert_eq!(refusal, "UNAVAILABLE");
    let count = sent.acknowledged.len();
    assert_eq!(refused(&mut http, &stored_push()), (503, "UNAVAILABLE".to_owned()));
    assert!(missing(&mut http).iter().any(|why| why.starts_with("log: takes nothing now: ")));
    assert_eq!((metric(&mut http, "log_refusing"), metric(&mut http, "log_poisoned")), (1, 0));
    until("the log says what to do", || server.stderr().contains("Make room on its disk").then_some(()));
    arrived(&mut bob, count);
    reading_goes_on(&server, &mut bob, ANN, count);

    limit_files(&server, None);
    until("there is room again", || missing(&mut http).is_empty().then_some(()));
    sent.send_all(&mut ann, 5);
    drop((ann, bob));
    drop(sent.check(&server));
    let server = killed(server).restart();
    let [mut ann, _bob] = sent.check(&server);
    sent.repeat(&mut ann);
}

#[test]
fn a_write_that_failed_ends_writing_until_a_restart() {
    let server = Server::start(&[]);
    let mut http = server.http();
    let mut sent = Sent::default();
    let [mut ann, mut bob] = [ANN, BOB].map(|mid| Person::enter(&server, Transport::Tcp, mid));
    sent.send_all(&mut ann, 5);
    arrived(&mut bob, 5);
    limit_files(&server, Some(NOTHING_BYTES));
    assert_eq!(sent.send(&mut ann), Err("UNKNOWN".to_owned()));
    assert_eq!(sent.send(&mut ann), Err("UNAVAILABLE".to_owned()));
    limit_files(&server, None);
    assert_eq!(sent.send(&mut ann), Err("UNAVAILABLE".to_owned()));
    assert_eq!(refused(&mut http, &stored_push()), (503, "UNAVAILABLE".to_owned()));
    assert_eq!(metric(&mut http, "log_poisoned"), 1);
    until("the store is well", || (metric(&mut http, "store_down") == 0).then_some(()));
    reading_goes_on(&server, &mut bob, ANN, 5);
    until("the log says what to do", || server.stderr().contains("then restart").then_some(()));

    drop((ann, bob, http));
    let (status, _, stopped) = server.terminate();
    assert_eq!(status, 0);
    let server = stopped.restart();
    let [mut ann, _bob] = sent.check(&server);
    sent.repeat(&mut ann);
    sent.send_all(&mut ann, 1);
}
