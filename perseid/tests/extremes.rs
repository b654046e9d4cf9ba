//! What the check of the configuration accepts, the server can start with: the ends of every range.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Mutex;

use perseid::config::{self, Kind, Sources};
use support::Server;

/// Bounds that stand in relations are lowered together, where one alone is refused.
const SMALL: [&str; 5] = [
    "logic.push_bytes_max=1KiB",
    "comet.body_bytes_max=1KiB",
    "comet.auth_bytes_max=1KiB",
    "comet.session_bytes_max=64KiB",
    "comet.heartbeat_ms=60000",
];

fn is_valid(set: &[String]) -> bool {
    config::load(&Sources { set: set.to_vec(), ..Sources::default() }).is_ok()
}

/// The ends of a key's range, as in `--set`.
fn ends(kind: &Kind) -> Vec<String> {
    match kind {
        Kind::Integer { min, max, .. } | Kind::Bytes { min, max } => vec![min.to_string(), max.to_string()],
        Kind::Number { min, max } => vec![min.to_string(), max.to_string()],
        _ => Vec::new(),
    }
}

#[test]
fn the_ends_of_every_range_start_or_are_refused_by_the_check() {
    let mut cases = Vec::new();
    for key in config::keys() {
        for end in ends(&key.kind) {
            let mut set = vec![format!("{}={end}", key.path())];
            if !is_valid(&set) {
                // The key itself comes last, and wins.
                set = SMALL.iter().map(|small| (*small).to_owned()).chain(set).collect();
            }
            if is_valid(&set) {
                cases.push(set);
            }
        }
    }
    assert!(cases.len() > 60, "{} of the keys' ends were tried", cases.len());
    let cases = Mutex::new(cases);
    let next = || cases.lock().unwrap().pop();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(set) = next() {
                    let args: Vec<&str> = set.iter().flat_map(|set| ["--set", set.as_str()]).collect();
                    // Fails with the words of the server if it does not start.
                    let server = Server::start(&args);
                    assert_eq!(server.http().get("/healthz").status, 200, "{set:?}");
                }
            });
        }
    });
}
