//! What a stop leaves, and what the next start has to do.

use serde_json::{Value, json};

use crate::acknowledged::{ANN, Sent};
use crate::person::{Person, killed};
use crate::support::{Server, Transport};

/// How many records the start applied to the store.
fn applied_at_start(server: &Server) -> u64 {
    let lines = server.stderr();
    let line = lines.lines().find(|line| line.contains("stored messages: at the end of the log")).expect("the line of the start");
    serde_json::from_str::<Value>(line).unwrap()["records"].as_u64().unwrap()
}

/// In order: everything is in the store, though its last second was not over. A place in the log is kept nowhere but there.
#[test]
fn a_start_after_a_stop_in_order_applies_nothing_again() {
    let server = Server::start(&[]);
    let mut sent = Sent::default();
    sent.send_all(&mut Person::enter(&server, Transport::Tcp, ANN), 20);
    assert!(!server.data().join("log/consumers/inbox.offset").exists());
    let (status, _, stopped) = server.terminate();
    assert_eq!(status, 0);
    let server = stopped.restart();
    assert_eq!(applied_at_start(&server), 0);
    drop(sent.check(&server));
}

/// Clients were told an epoch and positions in the first moment: they hold after a kill, too.
#[test]
fn a_kill_in_the_first_moment_changes_no_epoch() {
    let server = Server::start(&[]);
    let mut sent = Sent::default();
    let mut ann = Person::enter(&server, Transport::Tcp, ANN);
    sent.send_all(&mut ann, 3);
    let epoch = ann.told["epoch"].clone();
    assert!(epoch.is_u64(), "{epoch}");
    let server = killed(server).restart();
    let ann = Person::enter_with(&server, Transport::Tcp, ANN, json!({ "epoch": epoch, "pos": 3 }));
    assert_eq!((&ann.told["epoch"], &ann.told["cursor"]), (&epoch, &json!(3)));
    drop(sent.check(&server));
}
